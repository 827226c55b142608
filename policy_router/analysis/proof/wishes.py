"""Wishes for parameters as formulas: which targets they keep from being selected."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

from policy_router.analysis.proof.names import Names
from policy_router.analysis.proof.solver import FALSE, Formula
from policy_router.analysis.proof.terms import Number, Text
from policy_router.domain import WISHES, Level, Limit, Policy, PoolEntry
from policy_router.parameters import EFFORT, KNOWN, Kind, is_number

_HUGE: Final = sys.float_info.max


class Wish:
    """A wish for a parameter at a level, which a request may have or not.

    Attributes:
        level: the level.
        name: the parameter.
        given: whether the request has it.
        number: its value where that is a number.
        is_number: whether that is so.
        listed: other values, each with whether it is that.
    """

    def __init__(self, formula: Formula, names: Names, level: Level, name: str) -> None:
        """Begin with a wish of which nothing is known."""
        self.level, self.name, self._formula = level, name, formula
        self.listed: list[tuple[Any, int]] = []
        self.text: Text | None = None
        kind = KNOWN.get(name)
        if name == EFFORT:
            text = names.term(f"{level.value}.{EFFORT}")
            assert isinstance(text, Text)  # noqa: S101 - so it is in the vocabulary
            self.text, self.given, self.is_number = text, -text.equals(""), FALSE
        else:
            self.given = formula.new()
            self.is_number = FALSE if kind is Kind.TEXT else formula.new()
            if kind in {Kind.COUNT, Kind.NUMBER}:
                formula.add(self.is_number)
        whole = kind is Kind.COUNT
        bounds = (-(2**63), 2**63 - 1) if whole else (-_HUGE, _HUGE)
        self.number = Number(formula, f"{level}.parameters.{name}", *bounds)
        self._before = FALSE

    def _is(self, value: Any) -> int:
        """Return whether the value is a constant."""
        if self.text is not None:
            return self.text.equals(value) if isinstance(value, str) and value else FALSE
        if is_number(value):
            return self._formula.all(self.is_number, self._bound("==", value))
        for other, literal in self.listed:
            if type(other) is type(value) and other == value:
                return literal
        literal = self._formula.new()
        self._formula.add(-literal, -self.is_number)
        self._formula.add(-literal, -self._before)
        self._before = self._formula.any(self._before, literal)
        self.listed.append((value, literal))
        return literal

    def _bound(self, sign: str, value: Any) -> int:
        """Compare the number, whichever of the two types its value has."""
        if not self.number.is_whole:
            return self.number.compared(sign, float(value))
        whole = int(value // 1)
        if whole != value:
            return {
                "==": FALSE,
                "<=": self.number.at_most(whole),
                ">=": -self.number.at_most(whole),
            }[sign]
        return self.number.compared(sign, whole)

    def within(self, limit: Limit) -> int:
        """Return whether a limit grants the wish just as it is."""
        if limit.allowed is not None:
            return self._formula.any(*[self._is(value) for value in limit.allowed])
        bounds = [self.is_number]
        if limit.greatest is not None:
            bounds.append(self._bound("<=", limit.greatest))
        if limit.least is not None:
            bounds.append(self._bound(">=", limit.least))
        return self._formula.all(*bounds)


class Wishes:
    """The wishes of a request, as a policy holds them against limits.

    Attributes:
        wishes: those that may matter.
    """

    def __init__(
        self,
        formula: Formula,
        names: Names,
        policy: Policy,
        rules: Sequence[tuple[Level, int, int, bool]],
        shared: dict[tuple[Level, str], Wish],
    ) -> None:
        """Begin with the precedence rules of the policy.

        Args:
            formula: what is known is added to it.
            names: the names of the request.
            policy: the policy.
            rules: for each rule of a level of wishes, in order: the level, whether its condition
                is true and whether it is false, and whether it rejects.
            shared: the wishes of the request that are known already.
        """
        self._formula, self._names = formula, names
        limited = {name for entry in policy.pool or () for name in entry.limits}
        self._limited = limited
        self.wishes = [
            _wish(formula, names, shared, level, name)
            for level in WISHES
            for name in sorted(limited)
        ]
        self._insists = {it: self._insisting(rules, it) for it in self.wishes}
        self._granted: dict[Any, int] = {}

    def _insisting(self, rules: Sequence[tuple[Level, int, int, bool]], wish: Wish) -> int:
        """Return whether a wish counts, and every target has to grant it."""
        formula = self._formula
        other = next(
            (it for it in self.wishes if it.name == wish.name and it.level is not wish.level), None
        )
        found, mine, theirs = [], FALSE, FALSE
        for level, true, false, rejects in rules:
            if level is wish.level:
                before = formula.all(theirs, other.given if other else FALSE)
                rule = formula.all(-false, -mine, -before, wish.given)
                found.append(rule if rejects else formula.all(rule, -true))
                mine = formula.any(mine, -false)
            else:
                theirs = formula.any(theirs, -false)
        return formula.any(*found)

    def granted(self, entry: PoolEntry | None) -> int:
        """Return whether a target grants all wishes that insist."""
        limits = {} if entry is None else entry.limits
        key = (
            None
            if entry is None
            else tuple(sorted((name, repr(it)) for name, it in limits.items()))
        )
        found = self._granted.get(key)
        if found is None:
            parts = []
            for wish in self.wishes:
                limit = limits.get(wish.name)
                if limit is not None:
                    grants = wish.within(limit)
                elif entry is None:
                    grants = FALSE
                else:
                    grants = -FALSE if wish.name in KNOWN else FALSE
                parts.append(self._formula.any(-self._insists[wish], grants))
            found = self._granted[key] = self._formula.all(*parts)
        return found


def _wish(
    formula: Formula, names: Names, shared: dict[tuple[Level, str], Wish], level: Level, name: str
) -> Wish:
    found = shared.get((level, name))
    if found is None:
        found = shared[level, name] = Wish(formula, names, level, name)
    return found
