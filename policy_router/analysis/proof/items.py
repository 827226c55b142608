"""Lists of texts that nobody knows yet: what is in them, how much, and where.

A list has the words that conditions look for, further elements that have names, and a size. Where
the place of an element matters, the first elements have names, too: of longer lists, it is only
known that the rest is in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from policy_router.analysis.proof.solver import FALSE, Formula
from policy_router.analysis.proof.terms import Number, Term, Text


class Items(Term):
    """A list of texts.

    Attributes:
        words: texts that may be in it, each with whether one is.
        elements: further elements, each with whether it is in the list.
        places: elements by their place, as far as that was asked for.
        size: how many elements it has.
        first: the words of the beginning; None before they are known.
        other: whether an element is none of these words.
        is_closed: whether it has no elements but its words.
    """

    def __init__(self, formula: Formula, name: str, words: Iterable[str], most: int) -> None:
        """Begin with a list of which nothing is known.

        Args:
            formula: what is known is added to it.
            name: what it stands for.
            words: texts that conditions ask for.
            most: the most elements it can have.
        """
        super().__init__(formula, name)
        self.words: dict[str, int] = {}
        self.elements: list[tuple[Text, int]] = []
        self.places: dict[int, Text] = {}
        self._beyond = FALSE
        self.size = Number(formula, f"size({name})", 0, most)
        self._known: dict[int, int] = {}
        self._before = FALSE
        self.first: frozenset[str] | None = None
        self.is_closed = False
        self.other = formula.new()
        for word in words:
            self._new_word(word)
        self.first = frozenset(self.words)
        self._holds(self.other)
        formula.add(self.size.at_most(0), self.other, *self.words.values())

    def restrict(self) -> None:
        """Let it have no elements but its words."""
        self._formula.add(-self.other)
        self.is_closed = True

    def has(self, word: str) -> int:
        """Return whether a word is in it."""
        found = self.words.get(word)
        return self._new_word(word) if found is None else found

    def _new_word(self, word: str) -> int:
        if self.is_closed:
            self.words[word] = FALSE
            return FALSE
        literal = self.words[word] = self._formula.new()
        if self.first is None:
            self._holds(literal)
        else:
            self._formula.add(-literal, self.other)
        for element, is_in in self.elements:
            self._formula.same(is_in, literal, where=element.equals(word))
        self._is_placed(literal, lambda text: text.equals(word))
        return literal

    def _holds(self, literal: int) -> None:
        """Count what is in the list: its elements are at least so many."""
        self._formula.add(-literal, -self.size.at_most(0))
        self._formula.add(-literal, -self._before, -self.size.at_most(1))
        self._before = self._formula.any(self._before, literal)

    def has_text(self, text: Text) -> int:
        """Return whether a text that nobody knows is in it."""
        found = self._known.get(id(text))
        if found is None:
            found = self._known[id(text)] = self._formula.new()
            self.elements.append((text, found))
            words = [text.equals(word) for word in self.first or ()]
            for word, literal in self.words.items():
                self._formula.same(found, literal, where=text.equals(word))
            self._formula.add(-found, self.other, *words)
            self._formula.add(-found, -self.size.at_most(0))
            self._is_placed(found, text.is_same)
        return found

    def there(self, place: int) -> int:
        """Return whether it has an element at a place, counted from 0."""
        return -self.size.at_most(place)

    def put(self, place: int, text: Text) -> None:
        """Let a text be what is at a place, if anything is there."""
        self.places[place] = text
        self._formula.imply(self.there(place), self.has_text(text))

    def place_all(self, count: int) -> None:
        """Let each element be at one of its places, unless it has more elements than some."""
        others = [*self.elements]
        self._beyond = self.there(count)
        for word, literal in self.words.items():
            self._is_placed(literal, partial(Text.equals, word=word))
        for text, is_in in others:
            if text not in self.places.values():
                self._is_placed(is_in, text.is_same)
        words = self.first or ()
        self._is_placed(
            self.other, lambda text: self._formula.all(*[-text.equals(word) for word in words])
        )

    def _is_placed(self, literal: int, is_it: Callable[[Text], int]) -> None:
        """Let something in the list be at one of its places, once all elements are."""
        if FALSE not in {self._beyond, literal}:
            places = [*self.places.items()]
            found = [self._formula.all(self.there(at), is_it(text)) for at, text in places]
            self._formula.add(-literal, self._beyond, *found)

    def element(self, name: str) -> tuple[Text, int]:
        """Return a text, and whether it is one of the elements."""
        text = Text(self._formula, name)
        return text, self.has_text(text)
