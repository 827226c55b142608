"""Values that nobody knows yet, as far as conditions look at them.

A *term* stands for a text, a number or a list of texts of a request. What conditions ask of it is a
literal: is it equal to this constant, at most that number, does it begin so? Answers that exclude
each other exclude each other in the formula, as far as that is cheap: what is left out lets more
models in, never fewer. Each answer also has a function that tells it of a value, so that a value
can be found for a model.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from policy_router.analysis.proof.solver import FALSE, TRUE, Formula

Test: TypeAlias = Callable[[Any], bool]
"""Tells the answer to a question about a value."""
Derive: TypeAlias = Callable[[Hashable, Test], int]
"""Returns the literal of a question about a value that follows from another one."""

INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1
_MOST_PAIRS: Final = 24
"""The most questions of one kind that are compared with each other in pairs."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a term.

    Attributes:
        literal: whether the answer is yes.
        test: tells the answer for a value.
    """

    literal: int
    test: Test


class Term:
    """A value that nobody knows yet.

    Attributes:
        name: what it stands for.
        source: for a value that follows from another term: that term, and how it follows.
        questions: what is asked of it besides comparisons.
    """

    def __init__(self, formula: Formula, name: str, derive: Derive | None = None) -> None:
        """Begin with a value of which nothing is known.

        Args:
            formula: what is known is added to it.
            name: what it stands for.
            derive: for a value that follows from another term: asks that one.
        """
        self.name, self._formula, self._derive = name, formula, derive
        self.source: tuple[Term, Test] | None = None
        self.questions: dict[Hashable, Question] = {}

    def _new(self, key: Hashable, test: Test) -> int:
        """Return the literal of a question that was not asked before."""
        return self._derive(key, test) if self._derive else self._formula.new()

    def asks(self, key: Hashable, test: Test) -> int:
        """Return whether a question about it is answered with yes.

        Args:
            key: names the question.
            test: tells the answer for a value.
        """
        found = self.questions.get(key)
        if found is None:
            found = self.questions[key] = Question(self._formula.new(), test)
        return found.literal


class Text(Term):
    """A text.

    Attributes:
        words: constants that it is compared with, each with whether it is that.
        twins: the texts that it is compared with, each with whether they are equal.
    """

    def __init__(self, formula: Formula, name: str, derive: Derive | None = None) -> None:
        """Begin with a text of which nothing is known."""
        super().__init__(formula, name, derive)
        self.words: dict[str, int] = {}
        self.twins: list[tuple[Text, int]] = []
        self._is_any = FALSE
        self._closed = False

    def restrict(self, words: Iterable[str]) -> None:
        """Let it be one of some words."""
        self._formula.add(*[self.equals(word) for word in words])
        self._closed = True

    def equals(self, word: str) -> int:
        """Return whether it is a word."""
        found = self.words.get(word)
        if found is None:
            found = self._equals(word)
        return found

    def _equals(self, word: str) -> int:
        formula = self._formula
        if self._closed:
            self.words[word] = FALSE
            return FALSE
        literal = self._new(("==", word), word.__eq__)
        self.words[word] = literal
        formula.add(-self._is_any, -literal)
        self._is_any = formula.any(self._is_any, literal)
        for question in self.questions.values():
            formula.add(-literal, question.literal if question.test(word) else -question.literal)
        for other, same in self.twins:
            formula.same(literal, other.equals(word), where=same)
            formula.add(-literal, -other.equals(word), same)
        return literal

    def asks(self, key: Hashable, test: Test) -> int:
        """Return whether a question about it is answered with yes."""
        found = self.questions.get(key)
        if found is None:
            literal = self._new((key,), test)
            found = self.questions[key] = Question(literal, test)
            for word, same in self.words.items():
                self._formula.add(-same, literal if test(word) else -literal)
            for twin, same in self.twins:
                if key in twin.questions:
                    self._formula.same(literal, twin.questions[key].literal, where=same)
            self._relate(key, literal)
        return found.literal

    def _relate(self, key: Hashable, literal: int) -> None:
        """Compare a question about a part of the text with others of its kind."""
        if not isinstance(key, tuple) or key[0] not in _PARTS:
            return
        kind, part = key
        alike = [it for it in self.questions if isinstance(it, tuple) and it[0] == kind]
        for other in alike[:_MOST_PAIRS]:
            if other == key:
                continue
            second = self.questions[other].literal
            if _PARTS[kind](part, other[1]):
                self._formula.add(-literal, second)
            elif _PARTS[kind](other[1], part):
                self._formula.add(-second, literal)
            elif kind not in {"contains", "below"}:
                self._formula.add(-literal, -second)

    def is_same(self, other: Text) -> int:
        """Return whether it is equal to another text."""
        if self is other:
            return TRUE
        for twin, same in self.twins:
            if twin is other:
                return same
        literal, formula = self._formula.new(), self._formula
        for twin, same in [*self.twins]:
            for third, second in other.twins:
                if twin is third:
                    formula.add(-same, -second, literal)
                    formula.add(-same, -literal, second)
                    formula.add(-literal, -second, same)
        self.twins.append((other, literal))
        other.twins.append((self, literal))
        for word in dict.fromkeys((*self.words, *other.words)):
            one, two = self.equals(word), other.equals(word)
            formula.same(one, two, where=literal)
            formula.add(-one, -two, literal)
        for key in self.questions.keys() & other.questions.keys():
            formula.same(self.questions[key].literal, other.questions[key].literal, where=literal)
        return literal


_PARTS: Final[dict[Any, Callable[[str, str], bool]]] = {
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": str.__contains__,
    "below": str.__le__,
}
"""Kind of question to whether a yes for one text is a yes for another one, too."""


class Number(Term):
    """A whole number, a double that is finite, or a time in ticks.

    Attributes:
        low: the least value.
        high: the greatest value.
        bounds: the constants that it is compared with, in order.
        twins: the numbers that it is compared with, each with whether it is less, and more.
    """

    def __init__(
        self, formula: Formula, name: str, low: float, high: float, derive: Derive | None = None
    ) -> None:
        """Begin with a number between two bounds."""
        super().__init__(formula, name, derive)
        self.low, self.high, self.is_whole = low, high, isinstance(low, int)
        self.bounds: list[Any] = []
        self._at_most: dict[Any, int] = {}
        self.twins: list[tuple[Number, int, int]] = []
        self._is_asked = False

    def at_most(self, bound: Any) -> int:
        """Return whether it is a number or less."""
        if bound >= self.high:
            return TRUE
        if bound < self.low:
            return FALSE
        bound = bound + 0.0 if isinstance(bound, float) else bound  # there is one zero
        found = self._at_most.get(bound)
        return self._new_bound(bound) if found is None else found

    def _new_bound(self, bound: Any) -> int:
        # A twin may follow from this number, as `n + 1` from `n`, and ask for another bound.
        is_first, self._is_asked = not self._is_asked, True
        formula = self._formula
        literal = self._new(("<=", bound), lambda value: value <= bound)
        place = bisect_left(self.bounds, bound)
        if place > 0:
            formula.add(-self._at_most[self.bounds[place - 1]], literal)
        if place < len(self.bounds):
            formula.add(-literal, self._at_most[self.bounds[place]])
        insort(self.bounds, bound)
        self._at_most[bound] = literal
        for other, less, more in self.twins if is_first else ():
            self._link(other, less, more, bound)
            other.at_most(bound)
        self._is_asked = not is_first
        return literal

    def literal_of(self, bound: Any) -> int:
        """Return whether it is one of its bounds or less."""
        return self._at_most[bound]

    def compared(self, sign: str, bound: Any) -> int:
        """Return what a comparison with a constant comes to."""
        if bound != bound:  # noqa: PLR0124 - a NaN
            return TRUE if sign == "!=" else FALSE
        match sign:
            case "<=":
                return self.at_most(bound)
            case ">":
                return -self.at_most(bound)
            case "<":
                return self.at_most(self._before(bound))
            case ">=":
                return -self.at_most(self._before(bound))
        equal = self._formula.all(self.at_most(bound), -self.at_most(self._before(bound)))
        return equal if sign == "==" else -equal

    def _before(self, bound: Any) -> Any:
        return bound - 1 if self.is_whole else math.nextafter(bound + 0.0, -math.inf)

    def with_other(self, sign: str, other: Number) -> int:
        """Return what a comparison with another number comes to."""
        if self is other:
            return TRUE if sign in {"==", "<=", ">="} else FALSE
        less, more = self._orders(other)
        equal = self._formula.all(-less, -more)
        return {"<": less, ">": more, "<=": -more, ">=": -less, "==": equal, "!=": -equal}[sign]

    def _orders(self, other: Number) -> tuple[int, int]:
        for twin, less, more in self.twins:
            if twin is other:
                return less, more
        less, more = self._formula.new(), self._formula.new()
        self._formula.add(-less, -more)
        self.twins.append((other, less, more))
        other.twins.append((self, more, less))
        for bound in [*self.bounds, *other.bounds, self.low, self.high, other.low, other.high]:
            self._link(other, less, more, bound)
            other._link(self, more, less, bound)
        return less, more

    def _link(self, other: Number, less: int, more: int, bound: Any) -> None:
        """Let this not be more than what the other one is at most, where it is not more."""
        self._formula.add(more, -other.at_most(bound), self.at_most(bound))
        self._formula.add(less, -self.at_most(bound), other.at_most(bound))
        before = self._before(bound)
        if before < self.low or before in self._at_most:  # a new bound would bring another one
            self._formula.add(-less, -other.at_most(bound), self.at_most(before))
