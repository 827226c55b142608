"""Pieces of conditions that need no formula: rewritten, measured, and worked out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, TypeAlias

from policy_router.analysis.proof.items import Items
from policy_router.analysis.proof.names import Seen
from policy_router.analysis.proof.solver import FALSE, TRUE, Formula
from policy_router.analysis.proof.terms import INT_MAX, INT_MIN
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
from policy_router.cel.texts import MAX_TEXT
from policy_router.cel.timestamps import Duration, Timestamp, timestamp
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
_TIMES: Final = (
    timestamp("0001-01-01T00:00:00Z").ticks,
    timestamp("9999-12-31T23:59:59.999999999Z").ticks,
)
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
    outcome = plain(outcome)
    return None if isinstance(outcome, tuple) else [(TRUE, outcome)]


def plain(outcome: Any) -> Any:
    """Return what an expression came to, times as ticks."""
    return outcome.ticks if isinstance(outcome, Timestamp | Duration) else outcome


def excludes(one: Node, other: Node) -> bool:
    """Tell whether no text can be read in both of two ways: one as a time, one as a number."""
    if not isinstance(one, Apply) or not isinstance(other, Apply):
        return False
    is_plain = one.arguments == other.arguments and isinstance(one.arguments[0], Attribute)
    functions = {one.function, other.function}
    return is_plain and functions in ({"int", "timestamp"}, {"double", "timestamp"})


def affixes_of(node: Node) -> tuple[str, str] | None:
    """Return the constants before and after the one name in a concatenation; None for others."""
    if isinstance(node, Attribute):
        return "", ""
    if not isinstance(node, Apply) or node.function != "+":
        return None
    left, right = node.arguments
    if isinstance(right, Literal) and (inner := affixes_of(left)):
        return inner[0], inner[1] + str(right.value)
    if isinstance(left, Literal) and (inner := affixes_of(right)):
        return str(left.value) + inner[0], inner[1]
    return None


def without(text: str, affixes: tuple[str, str]) -> str | None:
    """Return what stands between two affixes in a text; None where they are not there."""
    first, last = affixes
    is_long = len(text) >= len(first) + len(last)
    if is_long and text.startswith(first) and text.endswith(last):
        return text[len(first) : len(text) - len(last)]
    return None


def spelt(node: Node, sign: object, value: Any = None) -> Iterator[str]:
    """Yield texts of which a function may come to a value, or to the next one."""
    affixes = affixes_of(node)
    if affixes and sign == "==":
        yield from filter(None, [without(value, affixes)])
    elif isinstance(node, Apply) and sign == "<=":
        for number in (value, value + 1, value + 4):  # 4 ticks are a nanosecond
            match node.function:
                case "int":
                    yield from (f"{number}", f"{number:04}", f"{number:05}")
                case "size" if 0 <= number <= MAX_TEXT:
                    yield "w" * number
                case "timestamp" if _TIMES[0] <= number <= _TIMES[1]:
                    yield str(Timestamp(number))


def range_of(node: Apply) -> tuple[int, int]:
    """Return between which numbers a whole number, or a time, is."""
    if node.type == TIMESTAMP:
        return _TIMES
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
