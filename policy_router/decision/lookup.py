"""Many conditions, of which most are false: looked up by a fact where possible, else evaluated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from policy_router.decision.folded import Folded, Folder, Group
from policy_router.domain import Level, Policy, PoolEntry
from policy_router.expressions.keys import Key, key_of
from policy_router.expressions.vocabulary import REQUEST_NAMES

_ALWAYS_GIVEN: Final = frozenset(name.path for name in REQUEST_NAMES if not name.optional)


class Bucket(Struct, frozen=True):
    """Conditions that may be true, given by their places in the lookup.

    Attributes:
        sure: the places of those that are true.
        unsure: the places of those that have to be evaluated.
        group: the conditions of these, or None.
    """

    sure: tuple[int, ...]
    unsure: tuple[int, ...]
    group: Group | None


class _Table(Struct, frozen=True):
    """Conditions by the value of a fact, without which each of them is false.

    Attributes:
        section: where the fact is in a request.
        key: its name there.
        buckets: value to conditions.
    """

    section: str
    key: str
    buckets: Mapping[Any, Bucket]

    def find(self, value: Any) -> Sequence[Bucket]:
        """Return the conditions for a value; for a list, those for each of its items."""
        find = self.buckets.get
        if type(value) is tuple:
            return [bucket for item in dict.fromkeys(value) if (bucket := find(item))]
        bucket = find(value)
        return () if bucket is None else (bucket,)


class _Range(Struct, frozen=True):
    """Conditions that are false where a fact is beyond a bound.

    Attributes:
        section: where the fact is in a request.
        key: its name there.
        upwards: whether the bound is the least value, and not the greatest.
        bound: the bound.
        bucket: the conditions.
    """

    section: str
    key: str
    upwards: bool
    bound: Any
    bucket: Bucket

    def find(self, value: Any) -> Sequence[Bucket]:
        """Return the conditions, if the value is not beyond the bound."""
        is_within = value >= self.bound if self.upwards else value <= self.bound
        return (self.bucket,) if is_within else ()


class Lookup:
    """Conditions to be looked up."""

    __slots__ = ("_loose", "_tables")

    def __init__(
        self,
        policy: Policy,
        folder: Folder,
        conditions: Sequence[Folded],
        entries: Sequence[PoolEntry] = (),
    ) -> None:
        """Index conditions.

        Args:
            policy: whose conditions they are.
            folder: fuses those that have to be evaluated.
            conditions: the conditions.
            entries: for each the entry that level ``pool`` proposes and that it is about; none
                where they are about the request.
        """
        given = _ALWAYS_GIVEN.union(
            f"facts.{fact.name}" for fact in policy.facts.values() if fact.default is not None
        )
        keys = [key_of(it.tree, given) if folder.folds else None for it in conditions]

        def bucket(places: Iterable[int], is_sure: Callable[[int], bool]) -> Bucket:
            sure, unsure = _parted(places, is_sure)
            about = [entries[place] for place in unsure] if entries else ()
            group = folder.group([conditions[place] for place in unsure], about, Level.POOL)
            return Bucket(sure, unsure, group if unsure else None)

        loose = [
            place
            for place, (key, it) in enumerate(zip(keys, conditions, strict=True))
            if key is None and it.constant is not False
        ]
        rest = bucket(loose, lambda place: conditions[place].constant is True)
        self._loose = (rest,) if loose else ()
        keyed = [(place, key) for place, key in enumerate(keys) if key is not None]
        decisive = {place for place, key in keyed if key.decisive}
        self._tables: tuple[_Table | _Range, ...] = (
            *(
                _Table(
                    *_split(path),
                    {
                        value: bucket(places, decisive.__contains__)
                        for value, places in table.items()
                    },
                )
                for path, table in _by_value(keyed).items()
            ),
            *(
                _Range(
                    *_split(path),
                    upwards,
                    (min if upwards else max)(bound for _, bound in found),
                    bucket([place for place, _ in found], decisive.__contains__),
                )
                for (path, upwards), found in _by_bound(keyed).items()
            ),
        )

    def buckets(self, values: Mapping[str, Mapping[str, Any]]) -> list[Bucket]:
        """Return the conditions that may be true; whatever is left out is false.

        Args:
            values: the values of the names of a request, by section.
        """
        found = [*self._loose]
        for table in self._tables:
            value = values[table.section].get(table.key)
            if value is not None:
                found += table.find(value)
        return found


def _by_value(keyed: Iterable[tuple[int, Key]]) -> dict[str, dict[Any, list[int]]]:
    """Return places by path and value."""
    found: dict[str, dict[Any, list[int]]] = {}
    for place, key in keyed:
        for value in key.values:
            found.setdefault(key.path, {}).setdefault(value, []).append(place)
    return found


def _by_bound(keyed: Iterable[tuple[int, Key]]) -> dict[tuple[str, bool], list[tuple[int, Any]]]:
    """Return places and bounds by path and direction."""
    found: dict[tuple[str, bool], list[tuple[int, Any]]] = {}
    for place, key in keyed:
        if key.at_most is not None:
            found.setdefault((key.path, False), []).append((place, key.at_most))
        if key.at_least is not None:
            found.setdefault((key.path, True), []).append((place, key.at_least))
    return found


def _parted(
    places: Iterable[int], is_sure: Callable[[int], bool]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    parts: tuple[list[int], list[int]] = ([], [])
    for place in places:
        parts[not is_sure(place)].append(place)
    return tuple(parts[0]), tuple(parts[1])


def _split(path: str) -> tuple[str, str]:
    section, _, key = path.partition(".")
    return section, key
