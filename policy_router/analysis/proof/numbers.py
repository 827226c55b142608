"""Numbers that grow, or shrink, with another one: sums with a constant, negatives, conversions.

Whether such a number is at most a bound is whether the other one is at most another bound, which is
found by halving: nothing is assumed of how numbers are rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

from policy_router.analysis.proof.solver import TRUE, Formula
from policy_router.analysis.proof.terms import INT_MAX, INT_MIN, Number
from policy_router.cel.ast import INT, Apply, Node
from policy_router.cel.timestamps import toward_zero

if TYPE_CHECKING:
    from policy_router.analysis.proof.conditions import Conditions
    from policy_router.analysis.proof.trees import Values


def node_name(node: Node) -> str:
    """Return a name for a term that follows from others; no name of a request is like it."""
    return f"({node.function})" if isinstance(node, Apply) else f"({type(node).__name__})"


class MonotoneNumbers:
    """Understands functions of one whole number."""

    def __init__(self, conditions: Conditions) -> None:
        """Use what is known of other expressions."""
        self._conditions = conditions

    def values(self, node: Apply) -> Values | None:
        """Return what an expression comes to; None where it is no such function."""
        if node.function in {"double", "int"} and node.arguments[0].type == node.type:
            return self._conditions.values(node.arguments[0])
        if node.function == "neg" and node.type == INT:
            return self._mapped(node.arguments[0], lambda it: -it, INT_MIN, INT_MAX)
        if node.function == "double" and node.arguments[0].type == INT:
            return self._mapped(node.arguments[0], float, -(2.0**63), 2.0**63)
        if node.function in {"+", "-"} and node.type == INT:
            return self._sum(node)
        if node.function in {"*", "/", "%"} and node.type == INT:
            return self._product(node)
        return None

    def _constant(self, node: Node) -> int | None:
        values = self._conditions.values(node)
        if values is None or len(values) != 1 or values[0][0] != TRUE:
            return None
        return None if isinstance(values[0][1], Number) else int(values[0][1])

    def _product(self, node: Apply) -> Values | None:
        left, right = node.arguments
        one, two = self._constant(left), self._constant(right)
        if node.function == "*":
            term, factor = (right, one) if one is not None else (left, two)
            if factor is None:
                return None
            return self._mapped(term, lambda it: it * factor, INT_MIN, INT_MAX)
        if node.function == "/" and two:
            return self._mapped(left, lambda it: _divide("/", it, two), INT_MIN, INT_MAX)
        if one is not None and abs(one) <= _SMALL:
            return self._divided(node.function, one, right)
        return None

    def _divided(self, sign: str, dividend: int, node: Node) -> Values | None:
        """Divide a small constant: a larger divisor makes no difference."""
        values = self._conditions.values(node)
        if values is None:
            return None
        found: Values = []
        all_, bound = self._conditions.formula.all, abs(dividend)
        for where, value in values:
            for divisor in range(-bound, bound + 1):
                at = self._conditions.comparison("==", value, divisor)
                if divisor and at != -TRUE:
                    found.append((all_(where, at), _divide(sign, dividend, divisor)))
            for outside in (("<", -bound), (">", bound)):
                there = all_(where, self._conditions.comparison(outside[0], value, outside[1]))
                if there != -TRUE:
                    found.append((there, _divide(sign, dividend, bound + 1)))
        return found

    def _sum(self, node: Apply) -> Values | None:
        left, right = node.arguments
        for term, other, is_first in ((left, right, True), (right, left, False)):
            values = self._conditions.values(other)
            if values is None or len(values) != 1 or values[0][0] != TRUE:
                continue
            number = values[0][1]
            if isinstance(number, Number):
                continue
            sign, shift = (-1, number) if node.function == "-" and not is_first else (1, number)
            if node.function == "-" and is_first:
                shift = -number
            return self._mapped(term, _line(sign, shift), INT_MIN, INT_MAX)
        return None

    def _mapped(
        self, node: Node, function: Callable[[Any], Any], low: Any, high: Any
    ) -> Values | None:
        values = self._conditions.values(node)
        if values is None:
            return None
        found: Values = []
        formula = self._conditions.formula
        for where, value in values:
            if not isinstance(value, Number):
                result = function(value)
                if low <= result <= high:
                    found.append((where, result))
                continue
            mapped = _Mapped(formula, value, function)
            within = formula.all(mapped.at_most(high), -mapped.below(low))
            number = Number(formula, node_name(node), low, high, mapped.derive)
            number.source = value, function
            found.append((formula.all(where, within), number))
        return found


def _line(sign: int, shift: int) -> Callable[[Any], Any]:
    return lambda it: sign * it + shift


_SMALL = 12


def _divide(sign: str, dividend: int, divisor: int) -> int:
    quotient = toward_zero(dividend if divisor > 0 else -dividend, abs(divisor))
    return quotient if sign == "/" else dividend - divisor * quotient


class _Mapped:
    """A number that follows from another one, and grows or shrinks with it."""

    def __init__(self, formula: Formula, source: Number, function: Callable[[Any], Any]) -> None:
        self._formula, self._source, self._function = formula, source, function

    def at_most(self, bound: Any) -> int:
        """Return whether it is a number or less."""
        return self._side(lambda it: self._function(it) <= bound)

    def below(self, bound: Any) -> int:
        """Return whether it is less than a number."""
        return self._side(lambda it: self._function(it) < bound)

    def _side(self, test: Callable[[Any], bool]) -> int:
        """Return whether a test holds that holds on one side of a number."""
        low, high = int(self._source.low), int(self._source.high)
        if test(low) is test(high):
            return TRUE if test(low) else -TRUE
        first = test(low)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if test(middle) is first else (low, middle)
        return self._source.at_most(low) if first else -self._source.at_most(low)

    def derive(self, _: Hashable, test: Callable[[Any], bool]) -> int:
        """Ask the other number whether this one is at most some bound."""
        return self._side(lambda it: test(self._function(it)))
