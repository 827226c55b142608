"""What a check of a log's meaning finds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec import Struct, field

MOST_IDS: Final = 1_000
"""How many ids of a finding are listed; all of them are counted."""
UUID7: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
"""The shape of an id that has its time in it."""
_ID_BYTES: Final = 16


class FindingKind(StrEnum):
    """What is wrong with a decision and what came of it."""

    OUTSIDE_PLAN = "outside_plan"
    """Something ran, or was called, that is neither its target nor one of its fallbacks."""
    FORBIDDEN = "forbidden"
    """What ran is against a forbid rule of its policy."""
    NO_DECISION = "no_decision"
    """Something ran without a decision."""
    NEVER_ENDED = "never_ended"
    """A target was selected, and nothing says how that ended."""
    ENDED_TWICE = "ended_twice"
    """It ended more than once."""
    OTHER_MODEL = "other_model"
    """The provider served another model than the one that was called."""
    UNEXPLAINED_COST = "unexplained_cost"
    """Its cost is not that of its tokens by the prices of its policy."""
    NO_PARENT = "no_parent"
    """The decision above it is not there."""
    BEFORE_DECISION = "before_decision"
    """Something happened before it was decided."""
    NO_POLICY = "no_policy"
    """Its policy is not kept, so that neither rules nor prices can be looked at."""
    UNREADABLE = "unreadable"
    """A line or a record cannot be read."""


WORDS: Final = {
    FindingKind.OUTSIDE_PLAN: "ran outside the plan",
    FindingKind.FORBIDDEN: "a forbid rule is against what ran",
    FindingKind.NO_DECISION: "ran without a decision",
    FindingKind.NEVER_ENDED: "selected, and never ended",
    FindingKind.ENDED_TWICE: "ended more than once",
    FindingKind.OTHER_MODEL: "another model was served",
    FindingKind.UNEXPLAINED_COST: "a cost that no price explains",
    FindingKind.NO_PARENT: "a parent that is not there",
    FindingKind.BEFORE_DECISION: "happened before the decision",
    FindingKind.NO_POLICY: "its policy is not kept",
    FindingKind.UNREADABLE: "cannot be read",
}
"""What each kind is called where it is told."""


class Finding(Struct, frozen=True):
    """Decisions with which the same is wrong.

    Attributes:
        kind: what is wrong.
        detail: the rule, the target or the field that it is about.
        count: with how many decisions it is.
        ids: the first of them, sorted.
    """

    kind: FindingKind
    detail: str
    count: int
    ids: tuple[str, ...]


class CheckReport(Struct, frozen=True):
    """What a check of a log's meaning comes to.

    Attributes:
        decisions: how many decisions were looked at.
        executions: how many events of their children.
        findings: what is wrong.
        pruned: how many decisions belong to lines that were pruned, and cannot be checked.
        silent: whether no event of any child is in the log, so that nothing is known of what ran.
    """

    decisions: int = 0
    executions: int = 0
    findings: tuple[Finding, ...] = ()
    pruned: int = 0
    silent: bool = False

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def to_json(self) -> bytes:
        """Return JSON."""
        plain: dict[str, Any] = {"clean": self.is_clean, **msgspec.to_builtins(self)}
        return msgspec.json.encode(plain)


class Tally(Struct):
    """Findings as they are counted.

    Attributes:
        counts: how many decisions there are by kind and detail.
        ids: some of them.
    """

    counts: dict[tuple[FindingKind, str], int] = field(default_factory=dict)
    ids: dict[tuple[FindingKind, str], list[str]] = field(default_factory=dict)

    def note(self, kind: FindingKind, detail: str, decision_id: str) -> None:
        """Count a decision, or a line that has no id."""
        key = kind, detail
        self.counts[key] = self.counts.get(key, 0) + 1
        ids = self.ids.setdefault(key, [])
        ids += [decision_id] if decision_id else []
        if len(ids) > 2 * MOST_IDS:
            ids[:] = sorted(ids)[:MOST_IDS]

    def add(self, other: Tally) -> None:
        """Add what was counted elsewhere."""
        for key, count in other.counts.items():
            self.counts[key] = self.counts.get(key, 0) + count
            self.ids[key] = sorted(self.ids.get(key, []) + other.ids[key])[:MOST_IDS]

    def findings(self) -> tuple[Finding, ...]:
        """Return what was counted, in the order of the kinds."""
        order = list(FindingKind)
        keys = sorted(self.counts, key=lambda key: (order.index(key[0]), key[1]))
        return tuple(
            Finding(*key, self.counts[key], tuple(sorted(self.ids[key])[:MOST_IDS])) for key in keys
        )


class Ids(Struct):
    """Many ids in little memory: 16 bytes for each that is a UUID."""

    packed: bytearray = field(default_factory=bytearray)
    others: list[str] = field(default_factory=list)

    def add(self, id_: str) -> None:
        """Add one."""
        if UUID7.fullmatch(id_):
            self.packed += bytes.fromhex(id_.replace("-", ""))
        else:
            self.others.append(id_)

    def extend(self, other: Ids) -> None:
        """Add all of others."""
        self.packed += other.packed
        self.others += other.others

    def __iter__(self) -> Iterator[str]:
        """Yield each."""
        for place in range(0, len(self.packed), _ID_BYTES):
            digits = self.packed[place : place + _ID_BYTES].hex()
            yield "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
        yield from self.others
