"""The one door to the SAT solver: a formula that grows, and questions about it.

A *literal* is a number: that of a variable, or its negative for the opposite. ``TRUE`` is a literal
that holds in each model. A gate, such as the conjunction of some literals, is one literal; equal
gates are one.

The solver is CaDiCaL, by way of PySAT (https://pysathq.github.io). It is incremental: each question
is a set of literals that are assumed, and what was learnt from one helps with the next.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Final, TypeVar

TRUE: Final = 1
FALSE: Final = -1

MOST_CLAUSES: Final = 8_000_000
"""A formula may not have more clauses: each takes some fifty bytes."""
_CONFLICTS: Final = 20_000
"""A question is given up after so many conflicts: a few seconds."""


_Key = TypeVar("_Key")


class OutOfReachError(Exception):
    """A formula grows too large, or there is no time left."""


class Formula:
    """A formula in conjunctive normal form, with its solver.

    Attributes:
        clauses: how many clauses it has.
        asked: how many questions were asked.
        deadline: the time of the process, in seconds, when no more is asked; None for never.
    """

    def __init__(self, seconds: float | None = None) -> None:
        """Begin with a formula that is true.

        Args:
            seconds: how much time of the processor may be used; None for any.

        Raises:
            ModuleNotFoundError: the extra for proofs is not installed.
        """
        self._solver = _new_solver()
        self._last = TRUE
        self._gates: dict[tuple[int, ...], int] = {}
        self.clauses = self.asked = 0
        self.deadline = None if seconds is None else time.process_time() + seconds
        self._add = self._solver.add_clause
        self.add(TRUE)

    def new(self) -> int:
        """Return a literal of which nothing is known."""
        self._last += 1
        return self._last

    def add(self, *literals: int) -> None:
        """Let one of some literals hold in each model."""
        if TRUE in literals:
            if literals != (TRUE,) or self.clauses:
                return
        elif FALSE in literals:
            literals = tuple(it for it in literals if it != FALSE)
        self.clauses += 1
        if self.clauses > MOST_CLAUSES:
            raise OutOfReachError("the formula grows too large")
        self._add(literals or (FALSE,))

    def imply(self, condition: int, *literals: int) -> None:
        """Let one of some literals hold wherever another does."""
        self.add(-condition, *literals)

    def same(self, one: int, other: int, *, where: int = TRUE) -> None:
        """Let two literals be alike wherever a third one holds."""
        self.add(-where, -one, other)
        self.add(-where, one, -other)

    def all(self, *literals: int) -> int:
        """Return the conjunction of literals."""
        kept = set(literals)
        kept.discard(TRUE)
        if FALSE in kept:
            return FALSE
        if len(kept) < 2:  # noqa: PLR2004 - none, or one
            return kept.pop() if kept else TRUE
        key = tuple(sorted(kept))
        found = self._gates.get(key)
        if found is None:
            if any(-it in kept for it in kept):
                found = FALSE
            else:
                found = self.new()
                for it in key:
                    self.add(-found, it)
                self.add(found, *[-it for it in key])
            self._gates[key] = found
        return found

    def any(self, *literals: int) -> int:
        """Return the disjunction of literals."""
        return -self.all(*[-it for it in literals])

    def either(self, groups: Iterable[Iterable[int]]) -> int:
        """Return whether all literals of one of some groups hold."""
        return self.any(*[self.all(*group) for group in groups])

    def joined(self, pairs: Iterable[tuple[_Key, int]]) -> dict[_Key, int]:
        """Return for each key whether one of the literals that come with it holds."""
        found: dict[_Key, list[int]] = {}
        for key, literal in pairs:
            found.setdefault(key, []).append(literal)
        return {key: self.any(*literals) for key, literals in found.items()}

    def equal(self, one: int, other: int) -> int:
        """Return whether two literals are alike."""
        return self.either(((one, other), (-one, -other)))

    def at_most_one(self, literals: Iterable[int]) -> None:
        """Let no two of some literals hold together."""
        before = FALSE
        for it in literals:
            self.add(-before, -it)
            before = self.any(before, it)

    def counted(self, literals: Iterable[int]) -> list[int]:
        """Return whether at least one of some literals holds, at least two, and so on."""
        found: list[int] = []
        for it in literals:
            before = [TRUE, *found]
            found = [
                self.any(more, self.all(fewer, it))
                for more, fewer in zip([*found, FALSE], before, strict=True)
            ]
        return found

    def holds(self, assumed: Iterable[int]) -> bool | None:
        """Tell whether some literals can hold together; None where that was given up.

        Raises:
            OutOfReachError: there is no time left.
        """
        literals = [it for it in assumed if it != TRUE]
        if FALSE in literals:
            return False
        if self.deadline is not None and time.process_time() > self.deadline:
            raise OutOfReachError("there is no time left")
        self.asked += 1
        self._solver.conf_budget(_CONFLICTS)
        found: bool | None = self._solver.solve_limited(assumptions=literals)
        return found

    def model(self) -> list[int]:
        """Return what holds in the model that was found last: the literal of each variable."""
        return [0, *(self._solver.get_model() or ())]

    def close(self) -> None:
        """Give the memory of the solver back."""
        self._solver.delete()


def holds_in(model: list[int], literal: int) -> bool:
    """Tell whether a literal holds in a model; what the solver never saw does not."""
    place = abs(literal)
    return (place < len(model) and model[place] > 0) is (literal > 0)


def _new_solver() -> Any:
    try:
        from pysat.solvers import Cadical195
    except ModuleNotFoundError:
        reason = "proofs need the extra `prove`: pip install 'policy-router[prove]'"
        raise ModuleNotFoundError(reason) from None
    return Cadical195()
