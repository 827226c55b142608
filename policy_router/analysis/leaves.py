"""The leaves of conditions, and which values each of them had.

A *leaf* is a part of a condition that is true or false and has no logic of its own: a comparison,
a function, a loop, a variable. An observer evaluates a condition part by part, with the short
circuits of CEL: of ``a && b``, nothing is said of ``b`` where ``a`` is false. It decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from policy_router.cel.ast import (
    BOOL,
    Apply,
    Attribute,
    Bind,
    BoundName,
    Literal,
    Loop,
    Node,
    walk,
)
from policy_router.cel.condition import Condition
from policy_router.cel.evaluate import Program
from policy_router.cel.frame import FAILURE, Frame, Outcome
from policy_router.diagnostics.model import Span
from policy_router.policy.yaml import ScalarNode

LOGIC: Final = frozenset({"&&", "||", "!", "?:"})
_VARIABLE: Final = "variables."
_QUOTES: Final = frozenset("'\"|>")

NoteVariable: TypeAlias = Callable[[str, Frame], None]
"""Is told that a variable was read, and with which values of names."""
_Run: TypeAlias = Callable[[Frame], Outcome]
_Unless: TypeAlias = tuple[tuple[Node, bool], ...]


@dataclass(slots=True, eq=False)
class Leaf:
    """A leaf of a condition, with how often it had which value.

    Attributes:
        text: as it was written.
        span: where it was written.
        node: the leaf.
        counts: how often it was true, and how often false.
        bound: the leaf, with what gives values to the names bound around it.
        unless: parts of the condition, each with a value: if one has it, the leaf is not looked at.
    """

    text: str
    span: Span
    node: Node
    counts: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})
    bound: Node | None = None
    unless: tuple[tuple[Node, bool], ...] = ()


class Observer:
    """Evaluates one condition part by part.

    Attributes:
        condition: the condition.
        all_leaves: its leaves, in reading order.
        leaves: the same; none where the condition is one leaf itself.
    """

    def __init__(self, condition: Condition, note_variable: NoteVariable) -> None:
        """Plan the evaluation.

        Args:
            condition: the condition.
            note_variable: is told of each variable that is read.
        """
        self.condition = condition
        self._note_variable = note_variable
        found: list[Leaf] = []
        self._run = self._plan(condition.tree, (), (), found)
        is_leaf = len(found) == 1 and found[0].node is condition.tree
        self.all_leaves = tuple(found)
        self.leaves: tuple[Leaf, ...] = () if is_leaf else self.all_leaves

    def observe(self, frame: Frame) -> Outcome:
        """Evaluate the condition, and count the values of its leaves."""
        return self._run(frame)

    def _plan(
        self, node: Node, binds: tuple[Bind, ...], unless: _Unless, found: list[Leaf]
    ) -> _Run:
        match node:
            case Literal():
                return _constant(node.value)
            case Apply(function="&&" | "||"):
                decisive = node.function == "||"
                parts = []
                for part in node.arguments:
                    parts.append(self._plan(part, binds, unless, found))
                    unless = (*unless, (_bound(part, binds), decisive))
                return _logic(parts, decisive=decisive)
            case Apply(function="!"):
                return _not(self._plan(node.arguments[0], binds, unless, found))
            case Apply(function="?:"):
                test = _bound(node.arguments[0], binds)
                before = (unless, (*unless, (test, False)), (*unless, (test, True)))
                pairs = zip(node.arguments, before, strict=True)
                return _choice(*(self._plan(it, binds, where, found) for it, where in pairs))
            case Bind():
                # A bound value is worked out where it is read; what is in it is seen there.
                return self._plan(node.body, (*binds, node), unless, found)
        return self._leaf(node, binds, unless, found)

    def _leaf(
        self, node: Node, binds: tuple[Bind, ...], unless: _Unless, found: list[Leaf]
    ) -> _Run:
        """Plan what has no logic of its own, after the choices inside it."""
        inner = [self._plan(part, binds, unless, found) for part in _logic_inside(node)]
        bound = _bound(node, binds)
        run = Program(bound).evaluate
        names = _variables(node, binds)
        leaf = None
        if node.type == BOOL:
            place = place_in(self.condition, node)
            text = self.condition.text_of(node)
            leaf = Leaf(text, place, node, bound=bound, unless=unless)
            found.append(leaf)

        def observed(frame: Frame) -> Outcome:
            for part in inner:
                part(frame)
            for name in names:
                self._note_variable(name, frame)
            outcome = run(frame)
            if leaf is not None and isinstance(outcome, bool):
                leaf.counts[outcome] += 1
            return outcome

        return observed


def place_in(condition: Condition, node: Node) -> Span:
    """Return where a part of a condition is written.

    Args:
        condition: the condition.
        node: a part of its tree.
    """
    span, source = condition.span, condition.span.source
    is_plain = source.text[span.start : span.start + 1] not in _QUOTES
    scalar = ScalarNode(condition.text, condition.text, is_plain, source, span.start, span.end)
    return scalar.span_of(node.start, node.end)


def _constant(value: Outcome) -> _Run:
    return lambda _: value


def _not(part: _Run) -> _Run:
    def negated(frame: Frame) -> Outcome:
        outcome = part(frame)
        return outcome if outcome is FAILURE else not outcome

    return negated


def _logic(parts: list[_Run], *, decisive: bool) -> _Run:
    """Go on until a part decides; a failure counts only where none does."""

    def joined(frame: Frame) -> Outcome:
        found: Outcome = not decisive
        for part in parts:
            outcome = part(frame)
            if outcome is decisive:
                return decisive
            if outcome is FAILURE:
                found = FAILURE
        return found

    return joined


def _choice(condition: _Run, positive: _Run, negative: _Run) -> _Run:
    def chosen(frame: Frame) -> Outcome:
        outcome = condition(frame)
        if outcome is FAILURE:
            return FAILURE
        return positive(frame) if outcome else negative(frame)

    return chosen


def _logic_inside(node: Node) -> Iterator[Node]:
    """Yield the outermost logic inside a node; that of a loop has no one value."""
    for child in () if isinstance(node, Loop) else node.children():
        if isinstance(child, Bind) or (isinstance(child, Apply) and child.function in LOGIC):
            yield child
        else:
            yield from _logic_inside(child)


def _bound(node: Node, binds: tuple[Bind, ...]) -> Node:
    """Put what gives names to values around a part that reads them."""
    for bind in reversed(binds):
        node = replace(bind, type=node.type, body=node)
    return node


def _variables(node: Node, binds: tuple[Bind, ...]) -> tuple[str, ...]:
    """Return the variables that a leaf reads, those in the names bound around it too."""
    values = {bind.name: bind.value for bind in binds}
    names: dict[str, None] = {}
    waiting = [node]
    while waiting:
        for part in walk(waiting.pop()):
            if isinstance(part, Attribute) and part.path.startswith(_VARIABLE):
                names[part.path.removeprefix(_VARIABLE)] = None
            elif isinstance(part, BoundName) and part.name in values:
                waiting.append(values.pop(part.name))
    return tuple(names)


def values_over(node: Node, frames: Iterable[Frame]) -> frozenset[bool]:
    """Return the values that a leaf has in some frames."""
    run = Program(node).evaluate
    return frozenset(it for frame in frames if isinstance(it := run(frame), bool))
