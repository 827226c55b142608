"""Requests from a policy's own words: they settle half of all questions before a solver does."""

from __future__ import annotations

import datetime
import random
from collections.abc import Iterator
from typing import Any, Final

from policy_router.analysis.proof.items import Items
from policy_router.analysis.proof.names import ELEMENT, NOW, Names, Plain
from policy_router.analysis.proof.terms import Number, Text
from policy_router.cel.timestamps import EPOCH, TICKS
from policy_router.cel.vocabulary import MAX_ITEMS

_MOST_WORDS: Final = 1_500
_LONG: Final = 3
_MICROSECOND: Final = TICKS // 1_000_000


class Samples:
    """Requests in which names have values that the conditions of a policy ask for."""

    def __init__(self, names: Names, now: datetime.datetime, seed: int = 1) -> None:
        """Take the names that conditions look at, with what they look for.

        Args:
            names: the names of the request.
            now: the time that is used where a condition does not look at it.
            seed: of the choice.
        """
        self._chance = random.Random(seed)  # noqa: S311 - for variety, not for secrets
        self._names, self._now = names, now
        self._values = {
            path: self._values_of(term)
            for path, term in names.terms.items()
            if not path.startswith(ELEMENT)
        }
        needed = names.required()
        self._needed = {path: it for path, it in self._values.items() if path in needed}

    def _values_of(self, term: Any) -> list[Any]:
        if isinstance(term, Text):
            return [*term.words, "w"]
        if isinstance(term, Items):
            return [*term.words]
        if isinstance(term, Number):
            bounds = [*term.bounds, *(it + 1 for it in term.bounds), 0 if term.is_whole else 0.0]
            return [it for it in dict.fromkeys(bounds) if term.low <= it <= term.high]
        return [True, False]

    def single(self) -> Iterator[tuple[Plain, datetime.datetime]]:
        """Yield requests in which one name has one value, the shortest first."""
        yield self._request({})
        for path, values in self._values.items():
            is_list = isinstance(self._names.terms[path], Items)
            for value in values[:_MOST_WORDS]:
                yield self._request({path: [value] if is_list else value})

    def mixed(self, count: int) -> Iterator[tuple[Plain, datetime.datetime]]:
        """Yield requests in which some names have values."""
        paths = [*self._values]
        for _ in range(count):
            some = [it for it in paths if self._chance.random() < 0.5]  # noqa: PLR2004 - half
            yield self._request({path: self._any(path) for path in some})

    def near(
        self, request: Plain, now: datetime.datetime, count: int
    ) -> Iterator[tuple[Plain, datetime.datetime]]:
        """Yield requests that differ from one in some names."""
        paths = [*self._values]
        for _ in range(count if paths else 0):
            some = self._chance.sample(paths, min(len(paths), self._chance.choice((1, 1, 2, 3))))
            other, then = self._request({path: self._any(path) for path in some})
            found = {section: {**content} for section, content in request.items()}
            for section, content in other.items():
                found.setdefault(section, {}).update(content)
            yield found, then if NOW in some else now

    def long(self, request: Plain) -> Iterator[Plain]:
        """Yield requests like one, with lists as long as they go."""
        lists = [it for it in self._values if isinstance(self._names.terms[it], Items)]
        for _ in range(_LONG):
            found = {section: {**content} for section, content in request.items()}
            for path in lists:
                section, _, key = path.partition(".")
                given = found.setdefault(section, {}).get(key) or []
                word = self._chance.choice([*given] or [*self._values[path]] or ["w"])
                found[section][key] = [*given, *[word] * (MAX_ITEMS - len(given))]
            yield found

    def _any(self, path: str) -> Any:
        values = self._values[path]
        if isinstance(self._names.terms[path], Items):
            return self._chance.sample(values, min(len(values), self._chance.randrange(3)))
        return self._chance.choice(values)

    def _request(self, values: dict[str, Any]) -> tuple[Plain, datetime.datetime]:
        found: Plain = {}
        now = self._now
        missing = {path: self._any(path) for path in self._needed if path not in values}
        for path, value in {**values, **missing}.items():
            if path == NOW:
                ticks = min(max(value, self._names.number(NOW).low), self._names.number(NOW).high)
                now = EPOCH + datetime.timedelta(microseconds=ticks // _MICROSECOND)
                continue
            section, _, key = path.partition(".")
            found.setdefault(section, {})[key] = value
        return found, now
