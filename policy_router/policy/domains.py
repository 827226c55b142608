"""The possible values of an expression: a set of them, or an interval."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from policy_router.cel.simplify import EXACT

_OPERATIONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    **EXACT,
    "in": lambda value, values: value in values,
}
NEGATED: Final[Mapping[str, str]] = {
    "==": "!=",
    "<": ">=",
    "<=": ">",
    "!=": "==",
    ">=": "<",
    ">": "<=",
}
"""The operator that is true where another one is false."""
MIRRORED: Final[Mapping[str, str]] = {
    "<": ">",
    "<=": ">=",
    ">": "<",
    ">=": "<=",
    "==": "==",
    "!=": "!=",
}
"""The operator that says the same with its two sides exchanged."""


@dataclass(frozen=True, slots=True)
class Domain:
    """The values that something can have.

    Attributes:
        values: the only ones; None where they are not listed.
        without: values that it cannot have.
        low: none is smaller; None is no bound.
        high: none is greater; None is no bound.
        above: whether it is greater than ``low``, and never equal to it.
        below: whether it is smaller than ``high``, and never equal to it.
    """

    values: frozenset[Any] | None = None
    without: frozenset[Any] = frozenset()
    low: Any = None
    high: Any = None
    above: bool = False
    below: bool = False

    def may_be(self, value: Any) -> bool:
        """Tell whether a value is possible."""
        if self.values is not None:
            return value in self.values
        if value in self.without:
            return False
        if self.low is not None and (value < self.low or (self.above and value == self.low)):
            return False
        return self.high is None or value < self.high or (value == self.high and not self.below)

    def is_empty(self) -> bool:
        """Tell whether no value is possible."""
        if self.values is not None:
            return not self.values
        if self.low is None or self.high is None or self.low < self.high:
            return False
        return not self.may_be(self.low)

    def compared(self, function: str, value: Any) -> bool | None:
        """Tell what a comparison with a constant comes to; None where that depends."""
        if self.values is not None:
            results = {_OPERATIONS[function](own, value) for own in self.values}
            return results.pop() if len(results) == 1 else None
        match function:
            case "in":
                return None if any(map(self.may_be, value)) else False
            case "==":
                return self._equals(value)
            case "<":
                return self._is_less(value)
            case "<=":
                return _opposite(self._is_greater(value))
            case ">":
                return self._is_greater(value)
            case ">=":
                return _opposite(self._is_less(value))
            case "!=":
                return _opposite(self._equals(value))
            case "startsWith":
                return False if self.met(where(function, value)).is_empty() else None
        return None

    def _equals(self, value: Any) -> bool | None:
        if not self.may_be(value):
            return False
        return True if self.low is not None and self.low == self.high else None

    def _is_less(self, value: Any) -> bool | None:
        if self.high is not None and (self.high < value or (self.below and self.high == value)):
            return True
        return False if self.low is not None and self.low >= value else None

    def _is_greater(self, value: Any) -> bool | None:
        if self.low is not None and (self.low > value or (self.above and self.low == value)):
            return True
        return False if self.high is not None and self.high <= value else None

    def met(self, other: Domain) -> Domain:
        """Return the values that are in both."""
        for one, second in ((self, other), (other, self)):
            if one.values is not None:
                return exactly(value for value in one.values if second.may_be(value))
        low, above = _tighter((self.low, self.above), (other.low, other.above), operator.gt)
        high, below = _tighter((self.high, self.below), (other.high, other.below), operator.lt)
        without = self.without | other.without
        while isinstance(low, int) and low in without:
            low += 1
        while isinstance(high, int) and high in without:
            high -= 1
        return Domain(None, without, low, high, above, below)

    def joined(self, other: Domain) -> Domain:
        """Return at least the values that are in one of the two."""
        if self.values is not None and other.values is not None:
            return exactly(self.values | other.values)
        one, two = self._bounded(), other._bounded()
        without = {
            it for it in one.without | two.without if not (self.may_be(it) or other.may_be(it))
        }
        low = None if one.low is None or two.low is None else min(one.low, two.low)
        high = None if one.high is None or two.high is None else max(one.high, two.high)
        return Domain(None, frozenset(without), low, high)

    def _bounded(self) -> Domain:
        """Return the smallest domain with bounds that these values are in."""
        if not self.values:
            return self
        return Domain(low=min(self.values), high=max(self.values))


ANY: Final = Domain()
NATURAL: Final = Domain(low=0)


def exactly(values: Iterable[Any]) -> Domain:
    """Return the domain of some values."""
    return Domain(frozenset(values))


def between(low: Any, high: Any) -> Domain:
    """Return the domain of all values from one to another, both included."""
    return Domain(low=low, high=high)


def where(function: str, value: Any) -> Domain:
    """Return the values for which a comparison with a constant is true."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    match function:
        case "in":
            return exactly(value)
        case "==":
            return exactly((value,))
        case "!=" if isinstance(value, bool):
            return exactly((not value,))
        case "!=":
            return Domain(without=frozenset((value,)))
        case "<":
            return Domain(high=value - 1) if whole else Domain(high=value, below=True)
        case "<=":
            return Domain(high=value)
        case ">":
            return Domain(low=value + 1) if whole else Domain(low=value, above=True)
        case ">=":
            return Domain(low=value)
        case "startsWith" if value and ord(value[-1]) < ord("\U0010ffff"):
            return Domain(low=value, high=value[:-1] + chr(ord(value[-1]) + 1), below=True)
    return ANY


def added(one: Domain, other: Domain) -> Domain:
    """Return the sums of two whole numbers."""
    one, other = one._bounded(), other._bounded()  # noqa: SLF001 - a function of this class
    low = None if one.low is None or other.low is None else one.low + other.low
    high = None if one.high is None or other.high is None else one.high + other.high
    return Domain(low=low, high=high)


def opposite(one: Domain) -> Domain:
    """Return the negatives of whole numbers."""
    one = one._bounded()  # noqa: SLF001 - a function of this class
    low = None if one.high is None else -one.high
    return Domain(low=low, high=None if one.low is None else -one.low)


def _tighter(
    one: tuple[Any, bool], other: tuple[Any, bool], is_tighter: Callable[[Any, Any], bool]
) -> tuple[Any, bool]:
    if one[0] is None or other[0] is None:
        return other if one[0] is None else one
    if one[0] == other[0]:
        return one[0], one[1] or other[1]
    return one if is_tighter(one[0], other[0]) else other


def _opposite(truth: bool | None) -> bool | None:  # noqa: FBT001 - a truth
    return None if truth is None else not truth
