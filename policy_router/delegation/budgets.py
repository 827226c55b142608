"""Budgets: what children may cost together.

Before a batch starts, its tasks are decided and the most that each may cost is reserved, in one
transaction. When a child ends, its reservation becomes what it cost. So nothing starts that the
budget may not cover, however many threads and processes share it. All amounts are whole
nano-dollars, so that sums are exact.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Final, Protocol
from weakref import WeakSet

from msgspec import Struct
from msgspec.structs import replace

from policy_router.calls.notifications import LOGGER
from policy_router.calls.results import Result
from policy_router.domain import FrozenDict
from policy_router.errors import BudgetError

_NANO: Final = 9


def nano(usd: float, *, up: bool = True) -> int:
    """Return dollars as whole nano-dollars.

    Args:
        usd: US dollars.
        up: round up, as costs are; else down, as limits are.
    """
    exact = Decimal(repr(float(usd))).scaleb(_NANO)
    # A product of floats, such as 3 * 0.1, may be a trace above what it stands for.
    near = exact.quantize(Decimal("0.001"), ROUND_HALF_EVEN)
    return int(near.to_integral_value(ROUND_CEILING if up else ROUND_FLOOR))


def dollars(amount: int) -> float:
    """Return nano-dollars as US dollars."""
    return amount / 10**_NANO


class Funds(Struct, frozen=True):
    """What a budget has, in nano-dollars.

    Attributes:
        remaining: what is neither spent nor reserved; 0 where it is overdrawn.
        spent: what was settled.
    """

    remaining: int
    spent: int

    def less(self, amount: int) -> Funds:
        """Return what is left after a reservation."""
        return Funds(self.remaining - amount, self.spent)

    def section(self) -> FrozenDict:
        """Return the section ``budget`` of a request."""
        return FrozenDict(
            {"remaining_usd": dollars(self.remaining), "spent_usd": dollars(self.spent)}
        )


Choose = Callable[[Funds], Mapping[str, int]]
"""Is told what is left, and returns the reservations to be made: nano-dollars by id."""


class Budget(Protocol):
    """Money that batches share. It may be used by several threads at once."""

    def remaining(self) -> int:
        """Return what is neither spent nor reserved, in nano-dollars.

        Raises:
            BudgetError: it cannot be told.
        """
        ...

    def reserve(self, choose: Choose) -> None:
        """Make reservations, in one transaction: nobody reserves in between.

        Args:
            choose: is called once. What it raises ends the transaction, with nothing reserved.

        Raises:
            BudgetError: nothing is reserved, since the budget cannot be read or written, or holds
                less than was chosen.
        """
        ...

    def settle(self, reservation: str, cost: int) -> int:
        """Put what something cost in the place of its reservation; to be called once for each.

        Args:
            reservation: its id. One that is not known, since it has expired, covers nothing.
            cost: in nano-dollars; 0 releases the reservation.

        Returns:
            What goes beyond the reservation, in nano-dollars.

        Raises:
            BudgetError: it cannot be written; the reservation stays until it expires.
        """
        ...


def checked_choice(chosen: Mapping[str, int], funds: Funds) -> Mapping[str, int]:
    """Return reservations that a budget holds.

    Raises:
        BudgetError: it holds less.
    """
    if any(amount < 0 for amount in chosen.values()) or sum(chosen.values()) > funds.remaining:
        raise BudgetError("more would be reserved than is left")
    return chosen


class Forked(Protocol):
    """What a forked process has to make again."""

    def after_fork(self) -> None:
        """Use nothing of the parent's."""
        ...


ALIVE: Final[WeakSet[Forked]] = WeakSet()
"""The budgets of this process, for its children."""


def _after_fork() -> None:
    for budget in list(ALIVE):
        budget.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class MemoryBudget:
    """A budget of this process."""

    def __init__(self, limit_usd: float) -> None:
        """Begin with nothing spent.

        Args:
            limit_usd: what may be spent, in US dollars.

        Raises:
            ValueError: the limit is negative, or no number.
        """
        self._limit = limit(limit_usd)
        self._spent = 0
        self._reserved: dict[str, int] = {}
        self._lock = threading.Lock()
        ALIVE.add(self)

    def remaining(self) -> int:
        """Return what is neither spent nor reserved, in nano-dollars."""
        with self._lock:
            return self._funds().remaining

    def reserve(self, choose: Choose) -> None:
        """Make reservations; others wait meanwhile."""
        with self._lock:
            funds = self._funds()
            self._reserved |= checked_choice(choose(funds), funds)

    def settle(self, reservation: str, cost: int) -> int:
        """Put what something cost in the place of its reservation."""
        with self._lock:
            self._spent += cost
            return max(0, cost - self._reserved.pop(reservation, 0))

    def _funds(self) -> Funds:
        left = self._limit - self._spent - sum(self._reserved.values())
        return Funds(max(0, left), self._spent)

    def after_fork(self) -> None:
        """Make a new lock: a thread of the parent may have held it."""
        self._lock = threading.Lock()


def limit(limit_usd: float) -> int:
    """Return the limit of a budget in nano-dollars.

    Raises:
        ValueError: it is negative, no number, or more than a billion dollars.
    """
    if not 0 <= limit_usd <= 1_000_000_000:  # noqa: PLR2004 - a billion dollars
        raise ValueError("the limit of a budget must be a number of dollars from 0 on")
    return nano(limit_usd, up=False)


class Purse:
    """What a delegator may spend: its budget, and what its children have reserved of it."""

    def __init__(self, budget: Budget | None) -> None:
        """Keep a budget; without one, nothing is reserved and everything may run."""
        self._budget = budget
        self._held: dict[str, int] = {}

    @property
    def is_limited(self) -> bool:
        """Whether there is a budget."""
        return self._budget is not None

    def reserve(self, choose: Choose) -> None:
        """Make reservations, as the budget does.

        Raises:
            BudgetError: nothing is reserved.
        """
        if self._budget is None:  # pragma: no cover - who reserves has asked whether there is one
            raise TypeError("there is no budget")
        kept: dict[str, int] = {}

        def remembered(funds: Funds) -> Mapping[str, int]:
            kept.update(choose(funds))
            return kept

        self._budget.reserve(remembered)
        self._held |= kept

    def settled(self, result: Result) -> Result:
        """Settle the reservation of a child that has ended, and note it in its result.

        What it cost is unknown where a call may have been paid and nobody says how much: then it
        counts as all that was reserved.
        """
        held = None if result.decision_id is None else self._held.pop(result.decision_id, None)
        if self._budget is None or held is None or result.decision_id is None:
            return result
        known = 0 if result.is_free else result.cost_usd
        cost = held if known is None else nano(known)
        try:
            overrun = self._budget.settle(result.decision_id, cost)
        except BudgetError as problem:
            LOGGER.warning("decision %s: %s", result.decision_id, problem)
            warning = "the budget could not be settled; the reservation stays until it expires"
            return replace(result, reserved_usd=dollars(held), warnings=(*result.warnings, warning))
        return replace(result, reserved_usd=dollars(held), overrun_usd=dollars(overrun))

    @contextmanager
    def holding(self, ids: Sequence[str]) -> Iterator[None]:
        """Release at the end what is still reserved under some ids: nothing of it has started."""
        try:
            yield
        finally:
            self.release(ids)

    def release(self, ids: Iterable[str]) -> None:
        """Release what is still reserved under some ids."""
        for id_ in ids:
            if self._held.pop(id_, None) is not None and self._budget is not None:
                try:
                    self._budget.settle(id_, 0)
                except BudgetError as problem:
                    LOGGER.warning("decision %s: %s", id_, problem)
