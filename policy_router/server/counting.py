"""Counts over a log for the pages of money and rules: several passes, with one progress."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from policy_router.decision.compare import named
from policy_router.decision.evaluator import decide
from policy_router.decision.record import DecisionRecord
from policy_router.decision.request import Request
from policy_router.domain import Policy
from policy_router.errors import RecordError, RequestError
from policy_router.log.check.checking import check_log
from policy_router.log.entry import ACCESS, LogEntry
from policy_router.log.folder import Progress
from policy_router.log.policies import PolicyStore
from policy_router.log.report.log_report import log_report
from policy_router.server.index import Index

SPENT_BY: Final = ("month", "team", "model", "rule")
"""What spending is told apart by."""
AFTER_A_CHANGE: Final = 86_400_000_000
"""How long after a change of rules it is asked whom it affected: a day, in microseconds."""
MOST_AFFECTED: Final = 10_000
"""How many decisions after a change are looked at, the newest of them."""
_LABELS_BY: Final = ("label", "decided", "sent", "served", "plan")


class Changed(Struct, frozen=True):
    """A change of rules.

    Attributes:
        before: the old revision.
        after: the new revision.
        time: when that decided for the first time, in microseconds since 1970.
    """

    before: str
    after: str
    time: int


class Affected(Struct, frozen=True):
    """Whom a change of rules affected.

    Attributes:
        decisions: how many decisions were looked at.
        flips: how many the rules before would have made otherwise.
        is_cut: whether there are more, which were made before these.
    """

    decisions: int
    flips: int
    is_cut: bool


class Counting(Struct, frozen=True):
    """A log and the times that count.

    Attributes:
        log: the folder of the log.
        since: the earliest decisions, in microseconds since 1970; None for all.
        until: the time before which they are.
    """

    log: str
    since: int | None
    until: int | None

    def spend(self, progress: Progress) -> Any:
        """Count what was spent, by all that a page tells it apart by."""
        return self._report(progress, "spend", SPENT_BY)

    def compliance(self, progress: Progress) -> dict[str, Any]:
        """Count what ran where, which rules decided, and what is wrong with what ran."""
        passes = _passes(progress, 4)
        window: dict[str, Any] = {"since": self.since, "until": self.until}
        checked = check_log(self.log, **window, workers=1, progress=next(passes))
        rules = self._report(next(passes), "rules")
        return {
            "labels": self._report(next(passes), "spend", _LABELS_BY)["rows"],
            "rules": rules["rows"],
            "never": rules["never_fired"],
            "refusals": self._report(next(passes), "refusals")["rows"],
            "check": msgspec.Raw(checked.to_json()),
        }

    def _report(self, progress: Progress, kind: str, by: Sequence[str] | None = None) -> Any:
        window: dict[str, Any] = {"since": self.since, "until": self.until}
        made = log_report(self.log, kind, by=by, **window, workers=1, progress=progress)
        return msgspec.json.decode(made.to_json())


def affected(index: Index, changed: Changed) -> Affected | None:
    """Ask what the rules before a change would have decided after it.

    Args:
        index: that of the log.
        changed: the change.

    Returns:
        How many decisions that are; None where the rules or the decisions cannot be read.
    """
    window = {"since": changed.time, "until": changed.time + AFTER_A_CHANGE}
    wanted = {"policy": changed.after}
    lines = index.find(wanted, **window, limit=MOST_AFFECTED, cursor=None).lines
    try:
        policy = PolicyStore(index.folder).load(changed.before)
        entries = [LogEntry.from_json(line) for line in lines]
        records = [it.decision_record for it in entries if it.purpose != ACCESS]
    except RecordError:
        return None
    flips = sum(_is_other(policy, record) for record in records)
    return Affected(len(records), flips, is_cut=len(lines) == MOST_AFFECTED)


def _is_other(policy: Policy, record: DecisionRecord) -> bool:
    try:
        made = decide(policy, Request.from_mapping(record.request), now=record.now)
    except RequestError:
        return True  # it does not fit the policy
    return named(made.decision) != named(record.decision)


def _passes(progress: Progress, count: int) -> Iterator[Progress]:
    """Yield the progress of each of several passes, as parts of one."""
    for number in range(count):

        def part(done: int, total: int, number: int = number) -> None:
            progress((number * total + done) // count, total)

        yield part
