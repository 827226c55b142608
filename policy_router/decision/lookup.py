"""Many conditions, of which most are false: looked up by a fact where possible, else evaluated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from policy_router.decision.folded import Folded, Folder, Group
from policy_router.domain import Policy, PoolEntry
from policy_router.expressions.keys import Key, key_of
from policy_router.expressions.vocabulary import REQUEST_NAMES

_ALWAYS_GIVEN: Final = frozenset(name.path for name in REQUEST_NAMES if not name.optional)

_FEW_VALUES: Final = 4


class Bucket(Struct, frozen=True):
    """Conditions that may be true, given by their places in the lookup.

    Attributes:
        sure: the places of those that are true.
        several: the places of those that are evaluated together.
        single: the places of those that are evaluated one by one.
    """

    sure: tuple[int, ...]
    several: tuple[int, ...]
    single: tuple[int, ...]


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
            return [bucket for item in value if (bucket := find(item)) is not None]
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
    """Conditions to be looked up.

    Attributes:
        conditions: the conditions.
    """

    __slots__ = ("_entries", "_folder", "_groups", "_loose", "_tables", "conditions")

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
        self.conditions, self._entries, self._folder = tuple(conditions), entries, folder
        self._groups: dict[tuple[int, ...], Group] = {}
        given = _ALWAYS_GIVEN.union(
            f"facts.{fact.name}" for fact in policy.facts.values() if fact.default is not None
        )
        keys = [key_of(it.tree, given) if folder.folds else None for it in conditions]
        loose = [place for place, key in enumerate(keys) if key is None]
        constants = [conditions[place].constant for place in loose]
        rest = Bucket(
            tuple(place for place, it in zip(loose, constants, strict=True) if it is True),
            tuple(place for place, it in zip(loose, constants, strict=True) if it is None),
            (),
        )
        self._loose = (rest,) if rest.sure or rest.several else ()
        keyed = {place: key for place, key in enumerate(keys) if key is not None}
        self._tables: tuple[_Table | _Range, ...] = (*_tables(keyed), *_ranges(keyed))

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

    def group(self, places: tuple[int, ...]) -> Group:
        """Return the conditions at some places, together."""
        found = self._groups.get(places)
        if found is None:
            members = [self.conditions[place] for place in places]
            entries = [self._entries[place] for place in places] if self._entries else ()
            found = self._groups[places] = self._folder.group(members, entries)
        return found


def _bucket(keyed: Mapping[int, Key], places: Sequence[int]) -> Bucket:
    """Sort conditions by how they are evaluated.

    One with many values is in many buckets. With others of each it would be compiled over and
    over, so it is evaluated by itself.
    """
    unsure = [place for place in places if not keyed[place].decisive]
    return Bucket(
        tuple(place for place in places if keyed[place].decisive),
        tuple(place for place in unsure if len(keyed[place].values) <= _FEW_VALUES),
        tuple(place for place in unsure if len(keyed[place].values) > _FEW_VALUES),
    )


def _tables(keyed: Mapping[int, Key]) -> Iterator[_Table]:
    by_path: dict[str, dict[Any, list[int]]] = {}
    for place, key in keyed.items():
        for value in key.values:
            by_path.setdefault(key.path, {}).setdefault(value, []).append(place)
    for path, by_value in by_path.items():
        buckets = {value: _bucket(keyed, places) for value, places in by_value.items()}
        yield _Table(*_split(path), buckets)


def _ranges(keyed: Mapping[int, Key]) -> Iterator[_Range]:
    """Yield a range for each fact and direction, with the bound that lets most through."""
    by_path: dict[tuple[str, bool], list[int]] = {}
    for place, key in keyed.items():
        if key.at_most is not None or key.at_least is not None:
            by_path.setdefault((key.path, key.at_least is not None), []).append(place)
    for (path, upwards), places in by_path.items():
        bounds: list[Any] = [
            keyed[place].at_least if upwards else keyed[place].at_most for place in places
        ]
        bound = min(bounds) if upwards else max(bounds)
        yield _Range(*_split(path), upwards, bound, _bucket(keyed, places))


def _split(path: str) -> tuple[str, str]:
    section, _, key = path.partition(".")
    return section, key
