"""What the pages of money and of rules count over a log: several passes, with one progress."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from policy_router.errors import RecordError
from policy_router.log.check.checking import check_log
from policy_router.log.folder import LogFolder, Progress
from policy_router.log.policies import PolicyStore
from policy_router.log.replay.what_if import what_if
from policy_router.log.report.dimensions import Filter
from policy_router.log.report.log_report import log_report

SPENT_BY: Final = ("month", "team", "model", "rule")
"""What spending is told apart by."""
AFTER_A_CHANGE: Final = 86_400_000_000
"""How long after a change of rules it is asked whom it affected: a day, in microseconds."""
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

    def compliance(self, changes: Sequence[Changed], progress: Progress) -> dict[str, Any]:
        """Count what ran where, which rules decided, what is wrong, and whom changes affected."""
        passes = _passes(progress, 4 + len(changes))
        checked = check_log(self.log, since=self.since, workers=1, progress=next(passes))
        rules = self._report(next(passes), "rules")
        return {
            "labels": self._report(next(passes), "spend", _LABELS_BY)["rows"],
            "rules": rules["rows"],
            "never": rules["never_fired"],
            "refusals": self._report(next(passes), "refusals")["rows"],
            "check": msgspec.Raw(checked.to_json()),
            "affected": {it.after: self._affected(it, next(passes)) for it in changes},
        }

    def _report(self, progress: Progress, kind: str, by: Sequence[str] | None = None) -> Any:
        window: dict[str, Any] = {"since": self.since, "until": self.until}
        made = log_report(self.log, kind, by=by, **window, workers=1, progress=progress)
        return msgspec.json.decode(made.to_json())

    def _affected(self, changed: Changed, progress: Progress) -> dict[str, int] | None:
        """Return how many decisions after a change the rules before it would have made otherwise.

        Returns:
            The counts; None where the old rules are not kept.
        """
        try:
            policy = PolicyStore(LogFolder(self.log)).load(changed.before)
        except RecordError:
            return None
        found = what_if(
            self.log,
            policy,
            since=changed.time,
            until=changed.time + AFTER_A_CHANGE,
            where=Filter((("policy", changed.after),)),
            workers=1,
            progress=progress,
        )
        return {"decisions": found.total, "flips": found.flips}


def _passes(progress: Progress, count: int) -> Iterator[Progress]:
    """Yield the progress of each of several passes, as parts of one."""
    for number in range(count):

        def part(done: int, total: int, number: int = number) -> None:
            progress((number * total + done) // count, total)

        yield part
