"""The coverage report: all outcomes of a policy, and which of them the tests brought about."""

from __future__ import annotations

from dataclasses import dataclass, field

from policy_router.analysis.leaves import Leaf
from policy_router.diagnostics.model import Span


@dataclass(slots=True, eq=False)
class CoverageItem:
    """Something that a policy says, and which of its outcomes the tests brought about.

    Attributes:
        kind: ``rule``, ``entry``, ``forbid``, ``variable``, ``when``, ``allow``, ``pick``,
            ``order_by``, ``fallback``, ``on_violation`` or ``leaf``.
        name: of the rule, entry or variable that it belongs to; of a leaf also the key.
        text: what was written, of a leaf.
        span: where it was written.
        counts: its outcomes, each with how often it came about.
        leaf: the leaf, if it is one.
        of: the kind of the condition that a leaf is of.
    """

    kind: str
    name: str
    span: Span | None
    counts: dict[str, int]
    text: str = ""
    leaf: Leaf | None = field(default=None, repr=False)
    of: str = ""

    @property
    def missing(self) -> tuple[str, ...]:
        """The outcomes that no test brought about."""
        return tuple(outcome for outcome, count in self.counts.items() if not count)


@dataclass(frozen=True, slots=True)
class CoverageReport:
    """How much of a policy its tests look at.

    Attributes:
        items: everything that the policy says, in order.
    """

    items: tuple[CoverageItem, ...]

    @property
    def total(self) -> int:
        """The number of outcomes that there are."""
        return sum(len(item.counts) for item in self.items)

    @property
    def covered(self) -> int:
        """The number of outcomes that came about."""
        return self.total - sum(len(item.missing) for item in self.items)

    @property
    def percent(self) -> float:
        """The part of the outcomes that came about, in percent; all of nothing is 100."""
        return 100.0 * self.covered / self.total if self.total else 100.0
