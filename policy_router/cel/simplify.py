"""Partial evaluation: names whose values are known are written into a condition.

What becomes constant is replaced by its value, and what that decides is dropped. Whatever the
other names stand for, the simplified condition comes to the same outcome as the one it was made
from, failures included. Two things are therefore left alone: what fails, since it is not constant,
and conditions whose macros could use up the budget of an evaluation.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from policy_router.cel.ast import (
    BOOL,
    DOUBLE,
    INT,
    STRING,
    STRINGS,
    Apply,
    Attribute,
    Bind,
    BoundName,
    ListOf,
    Literal,
    Loop,
    Node,
    Present,
    TableOf,
    has_macros,
    walk,
)
from policy_router.cel.evaluate import Program
from policy_router.cel.vocabulary import MAX_ITEMS, SHORT_LISTS

Known = Mapping[str, Node | None]
"""Path of a name to what stands for it: a constant or another name; None for an absent one."""

MAX_LOOPS: Final = 9
"""So many macros over lists of a request stay within the budget of one evaluation."""

_SCALARS: Final = {bool: BOOL, int: INT, float: DOUBLE, str: STRING}

EXACT: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": str.__contains__,
}
"""The operators that give a bool for any two constants of one type."""


def literal(value: bool | float | str) -> Literal:  # noqa: FBT001 - it is data
    """Return the constant of a plain value."""
    return Literal(_SCALARS[type(value)], 0, 0, value)


def strings(values: tuple[str, ...]) -> ListOf:
    """Return the constant list of strings."""
    return ListOf(STRINGS, 0, 0, tuple(literal(value) for value in values))


TRUE: Final = literal(True)  # noqa: FBT003 - it is data
FALSE: Final = literal(False)  # noqa: FBT003 - it is data


def constant_of(node: Node) -> bool | int | float | str | None:
    """Return the value of a condition that is nothing but a constant, else None."""
    return node.value if isinstance(node, Literal) else None


def may_exceed_budget(node: Node) -> bool:
    """Tell whether the macros of a condition could use up the budget of its evaluation.

    They cannot where each walks one short list, none stands in another, and they are few.
    """
    loops = [part for part in walk(node) if isinstance(part, Loop)]
    return len(loops) > MAX_LOOPS or any(
        not _is_short(loop.source) or any(isinstance(part, Loop) for part in walk(loop.body))
        for loop in loops
    )


def _is_short(source: Node) -> bool:
    if isinstance(source, ListOf):
        return len(source.items) <= MAX_ITEMS
    return isinstance(source, Attribute) and source.path in SHORT_LISTS


def joined(function: str, nodes: Iterable[Node]) -> Node:
    """Join conditions with ``&&`` or ``||``, up to a constant that decides.

    Args:
        function: ``&&`` or ``||``.
        nodes: the conditions; those after the constant are not asked for.
    """
    decisive = function == "||"
    kept: list[Node] = []
    for node in nodes:
        value = constant_of(node)
        if value is decisive:
            return node
        if value is None:
            kept.append(node)
    if not kept:
        return FALSE if decisive else TRUE
    return kept[0] if len(kept) == 1 else Apply(BOOL, 0, 0, function, tuple(kept))


def negated(node: Node) -> Node:
    """Return the opposite of a condition."""
    value = constant_of(node)
    return Apply(BOOL, 0, 0, "!", (node,)) if value is None else literal(not value)


def simplified(node: Node, known: Known) -> Node:
    """Write known values into a condition, and drop what they decide.

    Args:
        node: the condition.
        known: what is known.
    """
    if not has_macros(node):
        return _simplified(node, known)
    written = _written(node, known)
    return written if may_exceed_budget(written) else _simplified(written, {})


def _written(node: Node, known: Known) -> Node:
    """Write known values into a condition, and drop nothing: it walks as far as it did."""
    match node:
        case Attribute() | Present():
            return _simplified(node, known)
        case Bind():
            value, body = _written(node.value, known), _written(node.body, known)
            return replace(node, value=value, body=body)
        case ListOf():
            return replace(node, items=tuple([_written(item, known) for item in node.items]))
        case Loop():
            source, body = _written(node.source, known), _written(node.body, known)
            return replace(node, source=source, body=body)
        case Apply():
            chain = _chain(node)
            found = _written(chain[-1].arguments[0], known)
            for link in reversed(chain):
                others = [_written(argument, known) for argument in link.arguments[1:]]
                found = replace(link, arguments=(found, *others))
            return found
    return node


def _chain(node: Apply) -> list[Apply]:
    """Return a function and those to its left, of which there may be many: ``a + b + c``."""
    chain = [node]
    while isinstance(left := chain[-1].arguments[0], Apply):
        chain.append(left)
    return chain


def _simplified(node: Node, known: Known) -> Node:
    match node:
        case Attribute():
            return known.get(node.path) or node
        case Present():
            return literal(known[node.path] is not None) if node.path in known else node
        case ListOf():
            return replace(node, items=tuple([_simplified(item, known) for item in node.items]))
        case Loop():
            source, body = _simplified(node.source, known), _simplified(node.body, known)
            return replace(node, source=source, body=body)
        case BoundName():
            return known.get(_BOUND + node.name) or node
        case Bind():
            return _bind(node, known)
        case Apply(function="&&" | "||"):
            return joined(node.function, (_simplified(it, known) for it in node.arguments))
        case Apply(function="?:"):
            return _choice(node, known)
        case Apply():
            return _function(node, known)
    return node


_BOUND: Final = "#bound "


def _bind(node: Bind, known: Known) -> Node:
    """Write a constant, or the name of a fact, in place of what it is bound to."""
    value = _simplified(node.value, known)
    is_plain = isinstance(value, Attribute) or _is_constant(value)
    body = _simplified(node.body, {**known, _BOUND + node.name: value if is_plain else None})
    is_used = any(isinstance(it, BoundName) and it.name == node.name for it in walk(body))
    return replace(node, value=value, body=body) if is_used else body


def _function(node: Apply, known: Known) -> Node:
    """Simplify a function, and those to its left, of which there may be many: ``a + b + c``."""
    chain = [node]
    while isinstance(left := chain[-1].arguments[0], Apply) and left.function not in _LOGIC:
        chain.append(left)
    found = _simplified(left, known)
    for link in reversed(chain):
        others = [_simplified(argument, known) for argument in link.arguments[1:]]
        found = _applied(link, (found, *others))
    return found


_LOGIC: Final = frozenset({"&&", "||", "?:"})


def _choice(node: Node, known: Known) -> Node:
    """Simplify ``a ? b : c ? d : e``, of which there may be many."""
    links: list[tuple[Apply, Node, Node]] = []
    while isinstance(node, Apply) and node.function == "?:":
        condition, positive, negative = node.arguments
        condition = _simplified(condition, known)
        value = constant_of(condition)
        if value is None:
            links.append((node, condition, _simplified(positive, known)))
        node = positive if value is True else negative
    found = _simplified(node, known)
    for link, condition, positive in reversed(links):
        found = replace(link, arguments=(condition, positive, found))
    return found


def _applied(node: Apply, arguments: tuple[Node, ...]) -> Node:
    first = constant_of(arguments[0])
    if node.function == "!":
        return negated(arguments[0])
    rest = Apply(node.type, node.start, node.end, node.function, arguments)
    if not all(map(_is_constant, arguments)):
        return rest
    second = arguments[-1]
    if node.function == "in" and isinstance(second, ListOf) and first is not None:
        return literal(any(first == constant_of(item) for item in second.items))
    if node.function in EXACT and isinstance(second, Literal) and first is not None:
        return literal(EXACT[node.function](first, second.value))
    return _worked_out(rest)


def _worked_out(node: Node) -> Node:
    """Evaluate an expression without names; what fails, or has no literal, stays as it is."""
    outcome = Program(node).evaluate({})
    if isinstance(outcome, tuple) and node.type == STRINGS:
        return strings(outcome)
    if _SCALARS.get(type(outcome)) != node.type:
        return node
    return Literal(node.type, 0, 0, outcome)  # type: ignore[arg-type]


def _is_constant(node: Node) -> bool:
    return isinstance(node, Literal | TableOf) or (
        isinstance(node, ListOf) and all(isinstance(item, Literal) for item in node.items)
    )


def reads_of(tree: Node) -> frozenset[str]:
    """Return the names that an expression uses, ``has()`` included."""
    return frozenset(part.path for part in walk(tree) if isinstance(part, Attribute | Present))


def conjuncts(tree: Node) -> list[Node]:
    """Return the operands of a chain of ``&&``, those of chains in it included."""
    if not isinstance(tree, Apply) or tree.function != "&&":
        return [tree]
    return [part for argument in tree.arguments for part in conjuncts(argument)]
