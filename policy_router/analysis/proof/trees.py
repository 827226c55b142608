"""Pieces of conditions that need no formula: rewritten, measured, and worked out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, TypeAlias

from policy_router.analysis.proof.names import Seen
from policy_router.analysis.proof.solver import FALSE, TRUE, Formula
from policy_router.analysis.proof.terms import INT_MAX, INT_MIN, Items
from policy_router.cel.ast import (
    DOUBLE,
    DURATION,
    INT,
    STRING,
    TIMESTAMP,
    Apply,
    Attribute,
    Bind,
    BoundName,
    ListOf,
    Literal,
    Loop,
    LoopVariable,
    Node,
    Present,
    walk,
)
from policy_router.cel.evaluate import Program
from policy_router.cel.frame import FAILURE, frame_of
from policy_router.cel.simplify import literal
from policy_router.cel.timestamps import Duration, Timestamp
from policy_router.policy.truth import RANGES

Truths: TypeAlias = tuple[int, int]
"""Whether a condition is true, and whether it is false."""
Values: TypeAlias = list[tuple[int, Any]]
"""What an expression comes to, each with where; nowhere else it has a value. One holds at most."""

MOST_CASES: Final = 64
MOST_PIECES: Final = 2_000
_SAFE: Final = frozenset(
    {
        *("&&", "||", "!", "?:", "==", "!=", "<", "<=", ">", ">=", "in", "size", "startsWith"),
        *("endsWith", "contains", "matches", "lowerAscii", "upperAscii", "trim", "bucket"),
        *("sets.contains", "sets.intersects", "math.least", "math.greatest", "string", "double"),
    }
)
"""What has a value wherever its operands have one; ``double`` of a text is none of it."""
ANY_TEXT: Final = literal("")
_ARITHMETIC: Final = frozenset({"+", "-", "*", "/", "neg"})


def is_safe(node: Apply) -> bool:
    """Tell whether a function has a value wherever its arguments have one."""
    first = node.arguments[0].type
    if node.function == "double":
        return first != STRING
    if node.function.startswith("math."):
        return first.name != "list"
    if node.function.startswith("get"):
        return len(node.arguments) == 1 or _is_zone(node)
    if node.function in {"/", "%"} and node.type == INT:
        return _divisor(node) is not None
    return node.function in _SAFE or (node.type == DOUBLE and node.function in _ARITHMETIC)


def _divisor(node: Apply) -> int | None:
    """Return the constant that is divided by; None for one with which a division can fail."""
    divisor = node.arguments[1]
    if isinstance(divisor, Literal) and divisor.value not in {0, -1}:  # -1 may overflow
        return int(divisor.value)
    return None


def _is_zone(node: Apply) -> bool:
    """Tell whether an accessor of a time has a constant zone, and a good one."""
    some = Apply(TIMESTAMP, 0, 0, "timestamp", (literal("2000-01-01T00:00:00Z"),))
    at = replace(node, arguments=(some, node.arguments[1]))
    found = constant_of(at) if node.arguments[0].type == TIMESTAMP else None
    return bool(found)


def opened(loop: Loop) -> Node:
    """Return the body of a loop with any text for its variable."""
    return written(loop.body, {loop.variable: ANY_TEXT})


def binds(node: Node, name: str) -> bool:
    """Tell whether a loop or a binding in an expression has a name for its own."""
    return any(
        (isinstance(it, Loop) and it.variable == name) or (isinstance(it, Bind) and it.name == name)
        for it in walk(node)
    )


def bool_of(seen: Seen) -> int:
    """Return whether a name that is true or false is true."""
    if isinstance(seen.value, bool):
        return TRUE if seen.value else FALSE
    return int(seen.value)


def parts_of(value: Any) -> tuple[Items | Node, ...]:
    """Return the parts of a list that a policy sees: a term, or the default of a fact."""
    return (value,) if isinstance(value, Items) else tuple(map(literal, value))


def chosen(
    formula: Formula, test: Truths, one: list[Any] | None, two: list[Any] | None
) -> list[Any] | None:
    """Return what a choice comes to, of what its branches do."""
    if one is None or two is None:
        return None
    return [
        *((formula.all(test[0], where), value) for where, value in one),
        *((formula.all(test[1], where), value) for where, value in two),
    ]


def constant_of(node: Node) -> Values | None:
    """Return what an expression without names comes to; nothing where it fails."""
    if any(isinstance(it, Attribute | Present | LoopVariable | BoundName) for it in walk(node)):
        return None
    outcome = Program(node).evaluate(frame_of({}))
    if outcome is FAILURE:
        return []
    if isinstance(outcome, Timestamp | Duration):
        outcome = outcome.ticks
    return None if isinstance(outcome, tuple) else [(TRUE, outcome)]


def range_of(node: Apply) -> tuple[int, int]:
    """Return between which numbers a whole number is."""
    divisor = _divisor(node) if node.function == "%" else None
    if divisor is not None:
        return 1 - abs(divisor), abs(divisor) - 1
    domain = RANGES.get(node.function)
    if domain is None or node.arguments[0].type == DURATION:
        return INT_MIN, INT_MAX
    low = INT_MIN if domain.low is None else domain.low
    return low, INT_MAX if domain.high is None else domain.high


def size_of(node: Node) -> int:
    """Return how many pieces a tree has, as far as that matters."""
    count = 0
    for _ in walk(node):
        count += 1
        if count > MOST_PIECES:
            break
    return count


def written(node: Node, names: Mapping[str, Node]) -> Node:
    """Write expressions in place of loop variables and bound names."""
    match node:
        case LoopVariable() | BoundName():
            return names.get(node.name, node)
        case Apply():
            return replace(node, arguments=tuple([written(it, names) for it in node.arguments]))
        case ListOf():
            return replace(node, items=tuple([written(it, names) for it in node.items]))
        case Loop():
            inner = {key: it for key, it in names.items() if key != node.variable}
            source, body = written(node.source, names), written(node.body, inner)
            return replace(node, source=source, body=body)
        case Bind():
            inner = {key: it for key, it in names.items() if key != node.name}
            return replace(node, value=written(node.value, names), body=written(node.body, inner))
    return node
