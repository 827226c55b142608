"""The entries that a rule of level ``pool`` may pick, and their order."""

from __future__ import annotations

import math
from typing import Any

from policy_router.decision.folded import Folded, Folder, Group
from policy_router.decision.lookup import Lookup
from policy_router.domain import Level, Policy, PoolEntry
from policy_router.expressions.condition import Condition


class Picks:
    """The entries that a rule may pick.

    Attributes:
        entries: those with a ``pick``, in the order of the rule; in file order where that order
            depends on the request.
        numbers: for each of them the rule's ``order_by``; None where they are in order.
        lookup: for each of them its ``pick``.
    """

    __slots__ = ("entries", "lookup", "numbers")

    def __init__(self, policy: Policy, folder: Folder, order_by: Condition | None) -> None:
        """Fold and index the conditions."""
        entries = [entry for entry in policy.pool or () if entry.pick]
        self.numbers: Group | None = None
        if order_by is not None:
            numbers = [folder.folded(order_by, entry, Level.POOL) for entry in entries]
            if all(is_place(number.constant) for number in numbers):
                ordered = sorted(zip(numbers, entries, strict=True), key=_place)
                entries = [entry for _, entry in ordered]
            else:
                self.numbers = folder.group(numbers, entries, Level.POOL)
        self.entries = tuple(entries)
        picks = [folder.folded(entry.pick, entry, Level.POOL) for entry in entries if entry.pick]
        self.lookup = Lookup(policy, folder, picks, self.entries)


def is_place(number: object) -> bool:
    """Tell whether an outcome of ``order_by`` puts a candidate anywhere in the order."""
    return isinstance(number, int | float) and not math.isnan(number)


def _place(item: tuple[Folded, PoolEntry]) -> Any:
    return item[0].constant
