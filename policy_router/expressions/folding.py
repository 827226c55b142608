"""Partial evaluation: names whose values are known are written into a condition.

What becomes constant is replaced by its value, and what that decides is dropped. Whatever the
other names stand for, the folded condition comes to the same outcome as the one it was made from,
failures included. Two things are therefore left alone: what fails (it is not constant), and
macros, since an evaluation has a budget of elements that its macros walk.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from policy_router.expressions.engine import Engine
from policy_router.expressions.render import render
from policy_router.expressions.tree import (
    BOOL,
    DOUBLE,
    INT,
    STRING,
    STRINGS,
    Apply,
    Attribute,
    ListOf,
    Literal,
    Loop,
    Node,
    Present,
    walk,
)
from policy_router.expressions.vocabulary import MAX_ITEMS, SHORT_LISTS

Known = Mapping[str, Node | None]
"""Path of a name to what stands for it: a constant or another name; None for an absent one."""

MAX_LOOPS: Final = 9
"""So many macros over lists of a request stay within the budget of one evaluation."""

_SCALARS: Final = {bool: BOOL, int: INT, float: DOUBLE, str: STRING}

# Every engine gives what Python gives, for two constants of one type.
_EXACT: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
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


def walks_far(node: Node) -> bool:
    """Tell whether the macros of a condition could use up the budget of its evaluation.

    They cannot where each walks one short list, none stands in another, and they are few.
    """
    loops = [part for part in walk(node) if isinstance(part, Loop)]
    return len(loops) > MAX_LOOPS or any(
        not _is_short(loop.source) or any(isinstance(part, Loop) for part in walk(loop.body))
        for loop in loops
    )


def _has_macros(node: Node) -> bool:
    return any(isinstance(part, Loop) for part in walk(node))


def _is_short(source: Node) -> bool:
    if isinstance(source, ListOf):
        return len(source.items) <= MAX_ITEMS
    return isinstance(source, Attribute) and source.path in SHORT_LISTS


def joined(function: str, nodes: Iterable[Node], *, keeps_macros: bool = False) -> Node:
    """Join conditions with ``&&`` or ``||``, up to a constant that decides.

    Args:
        function: ``&&`` or ``||``.
        nodes: the conditions; those after the constant are not asked for.
        keeps_macros: whether to keep macros before that constant. They have no say in the
            outcome, unless they use up the budget.
    """
    decisive = function == "||"
    kept: list[Node] = []
    for node in nodes:
        value = constant_of(node)
        if value is decisive:
            kept = [*(filter(_has_macros, kept) if keeps_macros else ()), node]
            break
        if value is None:
            kept.append(node)
    if not kept:
        return FALSE if decisive else TRUE
    return kept[0] if len(kept) == 1 else Apply(BOOL, 0, 0, function, tuple(kept))


def negated(node: Node) -> Node:
    """Return the opposite of a condition."""
    value = constant_of(node)
    return Apply(BOOL, 0, 0, "!", (node,)) if value is None else literal(not value)


@dataclass(frozen=True, slots=True)
class Folding:
    """Folds conditions for one engine, which works out what has no names left.

    Attributes:
        engine: what evaluates.
        found: constant expressions, and what they came to.
    """

    engine: Engine
    found: dict[str, Node]

    def fold(self, node: Node, known: Known) -> Node:
        """Write known values into a condition.

        Args:
            node: the condition.
            known: what is known.
        """
        if not _has_macros(node):
            return self._folded(node, known, keeps_macros=False)
        folded = self._folded(node, known, keeps_macros=True)
        return folded if walks_far(folded) else self._folded(folded, {}, keeps_macros=False)

    def _folded(self, node: Node, known: Known, *, keeps_macros: bool) -> Node:
        def all_of(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
            return tuple(self._folded(part, known, keeps_macros=keeps_macros) for part in nodes)

        match node:
            case Attribute():
                return known.get(node.path) or node
            case Present():
                return literal(known[node.path] is not None) if node.path in known else node
            case ListOf():
                return replace(node, items=all_of(node.items))
            case Loop():
                source, body = all_of((node.source, node.body))
                return replace(node, source=source, body=body)
            case Apply(function="&&" | "||"):
                arguments = (all_of((part,))[0] for part in node.arguments)
                return joined(node.function, arguments, keeps_macros=keeps_macros)
            case Apply():
                return self._applied(node, all_of(node.arguments))
        return node

    def _applied(self, node: Apply, arguments: tuple[Node, ...]) -> Node:
        first = constant_of(arguments[0])
        if node.function == "!":
            return negated(arguments[0])
        if node.function == "?:" and first is not None:
            return arguments[1] if first else arguments[2]
        folded = replace(node, arguments=arguments)
        if not all(map(_is_constant, arguments)):
            return folded
        second = arguments[-1]
        if node.function == "in" and isinstance(second, ListOf) and first is not None:
            return literal(any(first == constant_of(item) for item in second.items))
        if node.function in _EXACT and isinstance(second, Literal) and first is not None:
            return literal(_EXACT[node.function](first, second.value))
        return self._worked_out(folded)

    def _worked_out(self, node: Node) -> Node:
        """Let the engine evaluate an expression without names; what fails stays as it is."""
        text = render(node)
        found = self.found.get(text)
        if found is None:
            outcome = self.engine.compile(node).evaluate(self.engine.bind({}))
            type_ = _SCALARS.get(type(outcome))
            found = Literal(node.type, 0, 0, outcome) if type_ == node.type else node  # type: ignore[arg-type]
            self.found[text] = found
        return found


def _is_constant(node: Node) -> bool:
    return isinstance(node, Literal) or (
        isinstance(node, ListOf) and all(isinstance(item, Literal) for item in node.items)
    )
