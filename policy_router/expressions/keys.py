"""Keys: what a fact has to be for a condition to be true, so that conditions can be looked up."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace

from policy_router.expressions.folding import walks_far
from policy_router.expressions.tree import Apply, Attribute, ListOf, Literal, Node


@dataclass(frozen=True, slots=True)
class Key:
    """A condition is false, and does not fail, unless a fact is one of some values.

    Attributes:
        path: the name of the fact; of a list, one of its items is meant.
        values: the values.
        decisive: whether the condition is true wherever the fact is one of them.
    """

    path: str
    values: frozenset[bool | int | float | str]
    decisive: bool = True


def key_of(node: Node, paths: Container[str]) -> Key | None:
    """Return the key of a condition, or None where it has none.

    Args:
        node: the condition, folded.
        paths: the names that always have a value; no doubles, which may be NaN.
    """
    if not isinstance(node, Apply):
        return None
    match node.function:
        case "==":
            left, right = node.arguments
            return _key(left, (right,), paths) or _key(right, (left,), paths)
        case "in":
            return _key_of_membership(*node.arguments, paths)
        case "||":
            return _key_of_any(node, paths)
        case "&&" if not walks_far(node):
            keys = (key_of(argument, paths) for argument in node.arguments)
            found = next((key for key in keys if key is not None), None)
            return replace(found, decisive=False) if found else None
    return None


def _key_of_membership(item: Node, items: Node, paths: Container[str]) -> Key | None:
    """Return the key of ``"pii" in task.labels`` or ``task.kind in ["coding", "math"]``."""
    if isinstance(items, ListOf):
        return _key(item, items.items, paths)
    return _key(items, (item,), paths)


def _key_of_any(node: Apply, paths: Container[str]) -> Key | None:
    """Return the key of alternatives that are about one fact."""
    keys = [key_of(argument, paths) for argument in node.arguments]
    found = [key for key in keys if key is not None]
    if len(found) < len(keys) or len({key.path for key in found}) > 1:
        return None
    values = frozenset(value for key in found for value in key.values)
    return Key(found[0].path, values, all(key.decisive for key in found))


def _key(name: Node, values: tuple[Node, ...], paths: Container[str]) -> Key | None:
    """Return the key of a fact that is one of some constants."""
    found = [value.value for value in values if isinstance(value, Literal)]
    if not isinstance(name, Attribute) or name.path not in paths or len(found) < len(values):
        return None
    return Key(name.path, frozenset(found))
