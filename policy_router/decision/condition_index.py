"""An index of many conditions, most of them false: found by a fact, or else evaluated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from msgspec import Struct

from policy_router.cel.ast import Apply, Attribute, ListOf, Literal, Node, Present, has_macros
from policy_router.cel.simplify import constant_of, may_exceed_budget, reads_of
from policy_router.domain import FrozenDict

Values = Mapping[str, Mapping[str, Any]]
"""The values of the names of a request, by section."""


class Bucket(Struct, frozen=True):
    """Conditions that may be true, given by their places in the index.

    Attributes:
        sure: the places of those that are true.
        unsure: the places of those that have to be evaluated.
    """

    sure: tuple[int, ...]
    unsure: tuple[int, ...]


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


@dataclass(frozen=True, slots=True)
class Key:
    """What a fact has to be: otherwise a condition is false, and does not fail.

    Either it is one of some values, or it is a number up to or from a bound.

    Attributes:
        path: the name of the fact; of a list, one of its items is meant.
        values: the values.
        at_most: the bound that it may not exceed, or None.
        at_least: the bound that it has to reach, or None.
        decisive: whether the condition is true wherever the fact is one of the values.
    """

    path: str
    values: frozenset[Any] = frozenset()
    at_most: float | str | None = None
    at_least: float | str | None = None
    decisive: bool = False


Keys = Mapping[str, Key]
"""The keys of variables, by their paths."""
NO_KEYS: Final[Keys] = FrozenDict()


class ConditionIndex:
    """Conditions about a request, to be looked up."""

    __slots__ = ("_rest", "_tables")

    def __init__(
        self, conditions: Sequence[Node], given: frozenset[str], named: Keys = NO_KEYS
    ) -> None:
        """Index conditions.

        Args:
            conditions: the conditions, simplified.
            given: the names that certainly have a value.
            named: the keys of variables, by their paths.
        """
        keys = [key_of(condition, given, named) for condition in conditions]
        keyed = {place: key for place, key in enumerate(keys) if key is not None}
        constants = {
            place: constant_of(condition)
            for place, condition in enumerate(conditions)
            if place not in keyed
        }
        rest = Bucket(
            tuple(place for place, constant in constants.items() if constant is True),
            tuple(place for place, constant in constants.items() if constant is None),
        )
        self._rest = (rest,) if rest.sure or rest.unsure else ()
        self._tables: tuple[_Table | _Range, ...] = (*_tables(keyed), *_ranges(keyed))

    def find(self, values: Values) -> list[Bucket]:
        """Return the conditions that may be true for a request; whatever is left out is false."""
        found = [*self._rest]
        for table in self._tables:
            value = values[table.section].get(table.key)
            if value is not None:
                found += table.find(value)
        return found


_MIRRORED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def key_of(node: Node, given: frozenset[str], named: Keys = NO_KEYS) -> Key | None:
    """Return the key of a condition, or None where it has none.

    A condition whose macros could use up the budget has none, since it could fail in any case.

    Args:
        node: the condition, folded.
        given: the names that certainly have a value.
        named: the keys of variables, by their paths.
    """
    return None if may_exceed_budget(node) else _key_of(node, given, named)


def keys_of(variables: Iterable[tuple[str, Node]], given: frozenset[str]) -> Keys:
    """Return the keys of variables without macros, given in an order in which none is used early.

    Args:
        variables: their paths and expressions.
        given: the names that certainly have a value.
    """
    found: dict[str, Key] = {}
    plain: set[str] = set()
    for path, tree in variables:
        used = {it for it in reads_of(tree) if it.startswith("variables.")}
        if not has_macros(tree) and used <= plain:
            plain.add(path)
            if (key := key_of(tree, given, found)) is not None:
                found[path] = key
    return found


def _key_of(node: Node, given: frozenset[str], named: Keys) -> Key | None:
    if isinstance(node, Attribute):
        return named.get(node.path)
    if not isinstance(node, Apply):
        return None
    match node.function:
        case "==":
            left, right = node.arguments
            return _key_of_values(left, (right,), given) or _key_of_values(right, (left,), given)
        case "in":
            item, items = node.arguments
            if isinstance(items, ListOf):
                return _key_of_values(item, items.items, given)
            return _key_of_values(items, (item,), given)
        case "<" | "<=" | ">" | ">=":
            left, right = node.arguments
            return _key_of_bound(left, node.function, right, given) or _key_of_bound(
                right, _MIRRORED[node.function], left, given
            )
        case "||":
            return _key_of_any(node, given, named)
        case "&&":
            return _key_of_all(node, given, named)
    return None


def _key_of_values(name: Node, values: Sequence[Node], given: frozenset[str]) -> Key | None:
    """Return the key of ``task.kind == "coding"`` and the like."""
    found = [value.value for value in values if isinstance(value, Literal)]
    if not isinstance(name, Attribute) or name.path not in given or len(found) < len(values):
        return None
    return Key(name.path, frozenset(found), decisive=True)


def _key_of_bound(name: Node, sign: str, bound: Node, given: frozenset[str]) -> Key | None:
    """Return the key of ``parent.depth > 2`` and the like."""
    if not isinstance(name, Attribute) or name.path not in given or not isinstance(bound, Literal):
        return None
    if bound.value != bound.value:
        return None
    if sign in {"<", "<="}:
        return Key(name.path, at_most=bound.value)
    return Key(name.path, at_least=bound.value)


def _key_of_any(node: Apply, given: frozenset[str], named: Keys) -> Key | None:
    """Return the key of alternatives that are about the values of one fact."""
    keys = [_key_of(argument, given, named) for argument in node.arguments]
    found = [key for key in keys if key is not None and key.values]
    if len(found) < len(keys) or len({key.path for key in found}) > 1:
        return None
    values = frozenset(value for key in found for value in key.values)
    return Key(found[0].path, values, decisive=all(key.decisive for key in found))


def _key_of_all(node: Apply, given: frozenset[str], named: Keys) -> Key | None:
    """Return the key of the first operand that has one: where that is false, so is the whole.

    An optional fact may be used where another operand asks whether it is there.
    """
    given |= {argument.path for argument in node.arguments if isinstance(argument, Present)}
    found = [_key_of(argument, given, named) for argument in node.arguments]
    keys = [key for key in found if key is not None]
    exact = [key for key in keys if key.values]
    return replace((exact or keys)[0], decisive=False) if keys else None


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


def _bucket(keyed: Mapping[int, Key], places: Iterable[int]) -> Bucket:
    sure: list[int] = []
    unsure: list[int] = []
    for place in places:
        (sure if keyed[place].decisive else unsure).append(place)
    return Bucket(tuple(sure), tuple(unsure))


def _split(path: str) -> tuple[str, str]:
    section, _, key = path.partition(".")
    return section, key
