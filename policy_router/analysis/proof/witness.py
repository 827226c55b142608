"""Models to requests: a request that does what a model says, as far as that was understood.

It may do something else, since a formula lets in more than requests can bring about. Whoever asks
lets the evaluator decide it before it is shown.
"""

from __future__ import annotations

import datetime
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from policy_router.analysis.proof.items import Items
from policy_router.analysis.proof.names import ELEMENT, NOW, Names, Plain
from policy_router.analysis.proof.solver import holds_in
from policy_router.analysis.proof.terms import Number, Question, Term, Text
from policy_router.analysis.proof.trees import plain, spelt
from policy_router.analysis.proof.wishes import Wish
from policy_router.cel.ast import Literal, walk
from policy_router.cel.frame import FAILURE
from policy_router.cel.texts import MAX_TEXT
from policy_router.cel.timestamps import EPOCH, TICKS, timestamp_of
from policy_router.domain import Level
from policy_router.parameters import EFFORT

_MICROSECOND: Final = TICKS // 1_000_000
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
_MOST_TRIES: Final = 3_000
_LONGEST_LIST: Final = 1_000
_MOST_ORDERS: Final = 24


class Witness:
    """What a model says of each name of a request."""

    def __init__(self, names: Names, model: list[int], now: datetime.datetime) -> None:
        """Read a model.

        Args:
            names: the names of the request.
            model: what holds.
            now: the time that is used where any is good.
        """
        self._names, self._model, self._now = names, model, now
        self._texts: dict[int, str] = {}
        self._found: dict[int, Any] = {}
        self._used: set[str] = set()

    def request(self, wishes: Iterable[Wish]) -> tuple[Plain, datetime.datetime]:
        """Return a request, as plain data, and the time of its decision."""
        found: Plain = {}
        numbers = self._numbers()
        for path, term in self._names.terms.items():
            if path.startswith(ELEMENT) or path == NOW or not self._is_given(path):
                continue
            section, _, key = path.partition(".")
            if isinstance(term, Text):
                value: Any = self._text(term)
            elif isinstance(term, Number):
                value = numbers[path]
            elif isinstance(term, Items):
                value = self._items(term)
            else:
                value = self._holds(term)
            found.setdefault(section, {})[key] = value
        self._wish(found, wishes)
        return found, self._time(numbers.get(NOW))

    def _holds(self, literal: int) -> bool:
        return holds_in(self._model, literal)

    def _is_given(self, path: str) -> bool:
        return self._holds(self._names.given.get(path, 1))

    # Texts.

    def _text(self, text: Text) -> str:
        found = self._texts.get(id(text))
        if found is None:
            group = self._equal_to(text)
            found = self._word(group)
            if found is None:
                found = self._fresh(group)
            for it in group:
                self._texts[id(it)] = found
        return found

    def _equal_to(self, text: Text) -> list[Text]:
        group, waiting = {id(text): text}, [text]
        while waiting:
            for other, same in waiting.pop().twins:
                if id(other) not in group and self._holds(same):
                    group[id(other)] = other
                    waiting.append(other)
        return [*group.values()]

    def _word(self, group: list[Text]) -> str | None:
        for text in group:
            for word, same in text.words.items():
                if self._holds(same):
                    return word
        return None

    def _fresh(self, group: list[Text]) -> str:
        """Return a text that is no known word, and answers all questions as the model does."""
        questions = {key: it for text in group for key, it in text.questions.items()}
        wanted = [(it.test, self._holds(it.literal)) for it in questions.values()]
        known = self._used.union(*[it.words for it in group or self._all_texts()])
        found = ""
        for found in self._candidates(questions):
            if found not in known and all(test(found) is is_so for test, is_so in wanted):
                break
        else:
            found = next(it for it in _words() if it not in known)
        self._used.add(found)
        return found

    def _all_texts(self) -> list[Text]:
        return [it for it in self._names.terms.values() if isinstance(it, Text)]

    def _candidates(self, questions: Mapping[Any, Question]) -> Iterator[str]:
        """Yield texts that are put together from the parts that are asked for."""
        parts: dict[str, list[str]] = {
            "startsWith": [],
            "contains": [],
            "endsWith": [],
            "below": [],
        }
        for key, it in questions.items():
            is_part = isinstance(key, tuple) and key[0] in parts and isinstance(key[1], str)
            if is_part and (key[0] == "below" or self._holds(it.literal)):
                parts[key[0]].append(key[1])
        first = max(parts["startsWith"], key=len, default="")
        last = max(parts["endsWith"], key=len, default="")
        middle = "".join(it for it in parts["contains"] if it not in first and it not in last)
        if first or last or middle:
            yield first + middle + last
            yield f"{first}w{middle}w{last}"
        for key in questions:
            if isinstance(key, tuple) and key[0] == "of":
                yield from spelt(key[1], *key[2])
            elif isinstance(key, tuple) and key[0] == "fits":
                now = str(timestamp_of(self._now))
                yield now if key[1].function == "timestamp" else "w" * MAX_TEXT
            elif isinstance(key, tuple) and key[0] in {"is", "is not"}:
                yield from (str(it.value) for it in walk(key[1]) if isinstance(it, Literal))
        for word in parts["below"]:
            yield from (
                f"{word}a",
                f"{word[:-1]}{chr(max(ord(word[-1]) - 1, 1))}z" if word else "a",
            )
        yield from ("0", "1", "-1", "2", "10", "true", "A", " ", "é")
        for word in itertools.islice(_words(), _MOST_TRIES):
            yield first + middle + word + last

    # Numbers.

    def _numbers(self) -> dict[str, Any]:
        """Return a value for each number: those that are compared with each other come in order."""
        terms = [it for it in self._names.terms.values() if isinstance(it, Number)]
        for number in sorted(terms, key=lambda it: self._rank(it, terms)):
            low, high = self._between(number)
            for twin, less, more in number.twins:
                value = self._value_of(twin)
                if value is None:
                    continue
                if self._holds(more):
                    low = max(low, _after(number, value))
                elif not self._holds(less):
                    low = high = value
                elif twin.source is not None:
                    high = min(high, -_after(number, -value))
            self._found[id(number)] = self._value(number, low, high)
        return {it.name: self._found[id(it)] for it in terms}

    def _value_of(self, term: Term) -> Any:
        """Return the value of a term that has one by now, or that follows from one; else None."""
        if isinstance(term, Text) and term.source is None:
            return self._text(term)
        if term.source is None or id(term) in self._found:
            return self._found.get(id(term))
        source, run = term.source
        value = self._value_of(source)
        outcome = None if value is None else plain(run(value))
        return None if outcome is FAILURE else outcome

    def _rank(self, number: Number, terms: list[Number]) -> int:
        """Return how many numbers are less."""
        return sum(self._holds(more) for twin, _, more in number.twins if twin in terms)

    def _between(self, number: Number) -> tuple[Any, Any]:
        low, high = number.low, number.high
        for bound in number.bounds:
            if self._holds(number.literal_of(bound)):
                high = min(high, bound)
            else:
                low = max(low, _after(number, bound))
        return low, high

    def _value(self, number: Number, low: Any, high: Any) -> Any:
        """Return a number between two bounds that answers all questions as the model does."""
        start = 0 if number.name != NOW else _ticks(self._now)
        near = min(max(start, low), high)
        if not number.is_whole:
            near = round(near, 2) if low <= round(near, 2) <= high else near
            near = float(near)
        wanted = [(it.test, self._holds(it.literal)) for it in number.questions.values()]
        if wanted:
            for value in _near(near, low, high, is_time=number.name == NOW):
                if all(test(value) is is_so for test, is_so in wanted):
                    return value
        return near

    def _time(self, ticks: Any) -> datetime.datetime:
        if ticks is None:
            return self._now
        return EPOCH + datetime.timedelta(microseconds=-(-int(ticks) // _MICROSECOND))

    # Lists.

    def _items(self, items: Items) -> list[str]:
        found: dict[str, None] = {}
        low, high = self._between(items.size)
        placed = {at: self._text(text) for at, text in items.places.items() if at < low}
        for text, is_in in items.elements:
            if self._holds(is_in) and text not in items.places.values():
                found[self._text(text)] = None
        found.update((word, None) for word, is_in in items.words.items() if self._holds(is_in))
        if self._holds(items.other) and not {*found, *placed.values()} - {*items.words}:
            found[self._fresh([])] = None
        if placed:
            return _filled(placed, [it for it in found if it not in placed.values()], low)
        wanted = [(it.test, self._holds(it.literal)) for it in items.questions.values()]
        elements = [*found]
        for elements in _lists([*found], min(low, _LONGEST_LIST), high):
            if all(test(tuple(elements)) is is_so for test, is_so in wanted):
                break
        return elements

    # Wishes.

    def _wish(self, found: Plain, wishes: Iterable[Wish]) -> None:
        for wish in wishes:
            if wish.name == EFFORT or not self._holds(wish.given):
                continue
            value = self._wished(wish)
            section = found.setdefault(Level(wish.level).value, {})
            section.setdefault("parameters", {})[wish.name] = value

    def _wished(self, wish: Wish) -> Any:
        if self._holds(wish.is_number):
            low, high = self._between(wish.number)
            return self._value(wish.number, low, high)
        for value, literal in wish.listed:
            if self._holds(literal):
                return value
        return self._fresh([])


def _filled(placed: Mapping[int, str], others: list[str], size: int) -> list[str]:
    """Return a list with some texts at their places, and all others between and after them."""
    some, waiting = [*placed.values()][-1], iter(others)
    places = range(min(size, _LONGEST_LIST))
    first = [placed[at] if at in placed else next(waiting, some) for at in places]
    return [*first, *waiting]


def _lists(elements: list[str], low: int, high: int) -> Iterator[list[str]]:
    """Yield lists of all of some elements, with some of them again, in some orders."""
    padded = [*elements, *elements[-1:] * max(0, low - len(elements))]
    yield padded
    for more in (0, 1, 2):
        for again in dict.fromkeys(elements) if more else ("",):
            longer = [*padded, *[again] * more]
            if len(longer) <= high:
                yield from map(list, itertools.islice(itertools.permutations(longer), _MOST_ORDERS))
    yield padded


def _ticks(now: datetime.datetime) -> int:
    return (now - EPOCH) // datetime.timedelta(microseconds=1) * _MICROSECOND


def _words() -> Iterator[str]:
    """Return words of letters and digits without end, short ones first."""
    lengths = itertools.count()
    endings = map(lambda it: itertools.product(_LETTERS, repeat=it), lengths)  # noqa: C417
    return map("".join, map(("w",).__add__, itertools.chain.from_iterable(endings)))


def _after(number: Number, value: Any) -> Any:
    """Return the least value above another one."""
    return value + 1 if number.is_whole else math.nextafter(value, math.inf)


def _near(near: Any, low: Any, high: Any, *, is_time: bool) -> Iterator[Any]:
    """Yield values between two bounds: the given one, those around it, and further ones."""
    yield near
    steps: list[Any] = [1, 2, 3, 4, 5, 7, 10, 50, 99, 100, 1000, 2**31, 2**53, 2**62]
    if is_time:
        hour = 3600 * TICKS
        steps = [hour * it for it in range(1, 24 * 8)]
        steps += [24 * hour * it for it in range(8, 400)]
        steps += [TICKS, 60 * TICKS, 60 * TICKS * 7, 24 * hour * 365 * 5]
    if isinstance(near, float):
        steps = [0.5, *map(float, steps), 1e300]
    for step in steps:
        for value in (near + step, near - step, step, -step, low + step, high - step):
            if low <= value <= high:
                yield value
    yield from (low, high)
