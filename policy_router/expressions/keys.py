"""Keys: what a fact has to be for a condition to be true, so that conditions can be looked up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from policy_router.expressions.folding import walks_far
from policy_router.expressions.tree import Apply, Attribute, ListOf, Literal, Node, Present

_MIRRORED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


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


def key_of(node: Node, given: frozenset[str]) -> Key | None:
    """Return the key of a condition, or None where it has none.

    A condition whose macros could use up the budget has none, since it could fail in any case.

    Args:
        node: the condition, folded.
        given: the names that certainly have a value.
    """
    return None if walks_far(node) else _key_of(node, given)


def _key_of(node: Node, given: frozenset[str]) -> Key | None:
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
            return _key_of_any(node, given)
        case "&&":
            return _key_of_all(node, given)
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


def _key_of_any(node: Apply, given: frozenset[str]) -> Key | None:
    """Return the key of alternatives that are about the values of one fact."""
    keys = [_key_of(argument, given) for argument in node.arguments]
    found = [key for key in keys if key is not None and key.values]
    if len(found) < len(keys) or len({key.path for key in found}) > 1:
        return None
    values = frozenset(value for key in found for value in key.values)
    return Key(found[0].path, values, decisive=all(key.decisive for key in found))


def _key_of_all(node: Apply, given: frozenset[str]) -> Key | None:
    """Return the key of the first operand that has one: where that is false, so is the whole.

    An optional fact may be used where another operand asks whether it is there.
    """
    given |= {argument.path for argument in node.arguments if isinstance(argument, Present)}
    keys = [key for argument in node.arguments if (key := _key_of(argument, given)) is not None]
    exact = [key for key in keys if key.values]
    return replace((exact or keys)[0], decisive=False) if keys else None
