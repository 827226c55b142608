"""Comparisons of values, and tests of texts, as literals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from policy_router.analysis.proof.solver import FALSE, TRUE
from policy_router.analysis.proof.terms import Number, Text
from policy_router.analysis.proof.trees import MOST_CASES, Truths
from policy_router.cel.ast import BOOL, Apply
from policy_router.cel.simplify import EXACT

if TYPE_CHECKING:
    from policy_router.analysis.proof.conditions import Conditions

_MIRRORED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


class Comparisons:
    """Compares texts, numbers and truths, known or not."""

    def __init__(self, conditions: Conditions) -> None:
        """Use what is known of other expressions."""
        self._all, self._formula = conditions, conditions.formula
        self._orders: dict[tuple[int, int], int] = {}
        self._kept: list[Text] = []  # so that no other text gets the id of one that is gone

    def truths(self, node: Apply) -> Truths:
        """Return what a comparison comes to."""
        left, right = node.arguments
        if left.type == BOOL:
            return self._equal_truths(node)
        if left.type.name == "list":
            return self._all.equal_lists(node)
        one, two = self._all.values(left), self._all.values(right)
        if one is None or two is None or len(one) * len(two) > MOST_CASES:
            return self._all.left_open(node)
        return self._all.over(
            (where, also, self.of(node.function, value, other))
            for where, value in one
            for also, other in two
        )

    def _equal_truths(self, node: Apply) -> Truths:
        one, two = (self._all.truth(it) for it in node.arguments)
        equal, other = (self._formula.either(zip(one, it, strict=True)) for it in (two, two[::-1]))
        return (equal, other) if node.function == "==" else (other, equal)

    def of(self, sign: str, one: Any, two: Any) -> int:
        """Return whether a comparison of two values, known or not, is true."""
        if isinstance(one, Text | Number):
            if isinstance(two, Text | Number):
                return self._of_terms(sign, one, two)
            return (
                self._of_text(sign, one, two) if isinstance(one, Text) else one.compared(sign, two)
            )
        if isinstance(two, Text | Number):
            return self.of(_MIRRORED[sign], two, one)
        return TRUE if EXACT[sign](one, two) else FALSE

    def _of_text(self, sign: str, text: Text, word: str) -> int:
        if sign in {"==", "!="}:
            return text.equals(word) if sign == "==" else -text.equals(word)
        if not word:  # no text is below it
            return {"<": FALSE, "<=": text.equals(""), ">": -text.equals(""), ">=": TRUE}[sign]
        below = text.asks(("below", word), lambda value: bool(value < word))
        if sign in {"<", ">="}:
            return below if sign == "<" else -below
        most = self._formula.any(below, text.equals(word))
        return most if sign == "<=" else -most

    def _of_terms(self, sign: str, one: Text | Number, two: Text | Number) -> int:
        if isinstance(one, Number) and isinstance(two, Number):
            return one.with_other(sign, two)
        assert isinstance(one, Text)  # noqa: S101 - both sides have one type
        assert isinstance(two, Text)  # noqa: S101
        same = one.is_same(two)
        if sign in {"==", "!="}:
            return same if sign == "==" else -same
        less = self._is_less(one, two)
        return {
            "<": less,
            "<=": self._formula.any(less, same),
            ">": self._formula.all(-less, -same),
            ">=": -less,
        }[sign]

    def _is_less(self, one: Text, two: Text) -> int:
        if (id(two), id(one)) in self._orders:
            return self._formula.all(-self._orders[id(two), id(one)], -one.is_same(two))
        self._all.is_exact = False
        if (id(one), id(two)) not in self._orders:
            less = self._orders[id(one), id(two)] = self._formula.new()
            self._formula.add(-less, -one.is_same(two))
            self._kept += [one, two]
        return self._orders[id(one), id(two)]

    def text_test(self, node: Apply) -> Truths:
        """Return whether a text begins with another one, ends with it, or contains it."""
        texts, parts = (self._all.values(it) for it in node.arguments)
        if texts is None or parts is None or any(isinstance(it, Text) for _, it in parts):
            return self._all.left_open(node)
        return self._all.over(
            (where, also, self._tested(node.function, text, part))
            for where, text in texts
            for also, part in parts
        )

    def _tested(self, name: str, text: Any, part: str) -> int:
        test = EXACT[name]
        if not isinstance(text, Text):
            return TRUE if test(text, part) else FALSE
        if not part:
            return TRUE
        return text.asks((name, part), lambda value: test(value, part))
