"""Which entries the pool picks: looked up by a fact where that is possible, else evaluated."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from msgspec import Struct

from policy_router.decision.folded import Folded, Folder, Group
from policy_router.domain import Level, Policy, PoolEntry
from policy_router.expressions.condition import Condition
from policy_router.expressions.keys import key_of
from policy_router.expressions.tree import BOOL, INT, STRING, STRINGS
from policy_router.expressions.vocabulary import REQUEST_NAMES

_KEYS: Final = {STRING, INT, BOOL, STRINGS}
_ALWAYS_GIVEN: Final = {
    name.path: name.type for name in REQUEST_NAMES if not name.optional and name.type in _KEYS
}


class Bucket(Struct, frozen=True):
    """Entries that may be picked, given by their places in :attr:`Picks.entries`.

    Attributes:
        sure: the places of those that are picked.
        unsure: the places of those whose ``pick`` has to be evaluated.
        group: the conditions of these, or None.
    """

    sure: tuple[int, ...]
    unsure: tuple[int, ...]
    group: Group | None


class Table(Struct, frozen=True):
    """Entries that are picked only where a fact has a value.

    Attributes:
        section: where the fact is in a request.
        key: its name there.
        is_list: whether it is a list, of which each item counts.
        buckets: value to entries.
    """

    section: str
    key: str
    is_list: bool
    buckets: Mapping[Any, Bucket]


class Picks:
    """The entries that a rule of level ``pool`` may pick.

    Attributes:
        entries: those with a ``pick``, in the order of the rule; in file order where that order
            depends on the request.
        numbers: for each of them the rule's ``order_by``; None where they are in order.
    """

    def __init__(self, policy: Policy, folder: Folder, order_by: Condition | None) -> None:
        """Fold and index the conditions."""
        entries = [entry for entry in policy.pool or () if entry.pick]
        self.numbers: tuple[Folded, ...] | None = None
        if order_by is not None:
            numbers = [folder.folded(order_by, entry, Level.POOL) for entry in entries]
            if all(is_place(number.constant) for number in numbers):
                ordered = sorted(zip(numbers, entries, strict=True), key=_place)
                entries = [entry for _, entry in ordered]
            else:
                self.numbers = tuple(numbers)
        self.entries = tuple(entries)
        facts = {
            f"facts.{fact.name}": fact.type
            for fact in policy.facts.values()
            if fact.default is not None and fact.type in _KEYS
        }
        self._index(folder, {**_ALWAYS_GIVEN, **facts})

    def _index(self, folder: Folder, types: Mapping[str, Any]) -> None:
        conditions = [
            folder.folded(entry.pick, entry, Level.POOL) for entry in self.entries if entry.pick
        ]
        keys = [key_of(it.tree, types) if folder.folds else None for it in conditions]

        def bucket(places: Iterable[int], is_sure: Callable[[int], bool]) -> Bucket:
            sure = tuple(place for place in places if is_sure(place))
            unsure = tuple(place for place in places if not is_sure(place))
            group = folder.group(
                [conditions[place] for place in unsure], [self.entries[place] for place in unsure]
            )
            return Bucket(sure, unsure, group if unsure else None)

        def decisive(place: int) -> bool:
            key = keys[place]
            return key is not None and key.decisive

        loose = [
            place
            for place, (key, it) in enumerate(zip(keys, conditions, strict=True))
            if key is None and it.constant is not False
        ]
        self._rest = bucket(loose, lambda place: conditions[place].constant is True)
        found: dict[str, dict[Any, list[int]]] = {}
        for place, key in enumerate(keys):
            for value in key.values if key else ():
                found.setdefault(key.path if key else "", {}).setdefault(value, []).append(place)
        self._tables = tuple(
            Table(
                *_split(path),
                types[path] == STRINGS,
                {value: bucket(places, decisive) for value, places in by_value.items()},
            )
            for path, by_value in found.items()
        )

    def buckets(self, values: Mapping[str, Mapping[str, Any]]) -> Iterator[Bucket]:
        """Yield the entries that may be picked; what is left out has a ``pick`` that is false.

        Args:
            values: the values of the names of a request, by section.
        """
        yield self._rest
        for table in self._tables:
            value = values[table.section][table.key]
            for item in dict.fromkeys(value) if table.is_list else (value,):
                bucket = table.buckets.get(item)
                if bucket is not None:
                    yield bucket


def is_place(number: object) -> bool:
    """Tell whether an outcome of ``order_by`` puts a candidate anywhere in the order."""
    return isinstance(number, int | float) and not math.isnan(number)


def _place(item: tuple[Folded, PoolEntry]) -> Any:
    return item[0].constant


def _split(path: str) -> tuple[str, str]:
    section, _, key = path.partition(".")
    return section, key
