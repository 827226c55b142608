"""Evaluates checked expressions: a tree is planned once into closures, through which facts run.

A closure takes a *frame*, the values that names stand for, and returns the value of its piece of
the tree, or raises one of :data:`~policy_router.cel.operations.ERRORS`. Truths are
three-valued, as CEL has them: a failed operand of ``&&`` or ``||`` matters only where no other
operand decides. Nothing is shared between evaluations but the plan, which never changes, so threads
may share a program.

The cost of an evaluation is bounded: its macros visit fewer than :data:`MAX_ELEMENTS` elements, and
those of all evaluations of one decision fewer than :data:`MAX_ELEMENTS_OF_DECISION`. Beyond that an
expression fails as a whole, which no operand of ``||`` makes up for.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache, partial
from typing import Any, Final, TypeAlias

import re2

from policy_router.cel.ast import (
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
    TableOf,
    has_macros,
)
from policy_router.cel.operations import ERRORS, Operation, operation
from policy_router.cel.texts import EvaluationError
from policy_router.cel.timestamps import Duration, Timestamp, timestamp_of

MAX_ELEMENTS: Final = 10_000
"""An evaluation fails when its macros come to this element, nested ones counted each time.

Google's engine, cel-cpp, has the same number.
"""
MAX_ELEMENTS_OF_DECISION: Final = 1_000_000
"""When the macros of one decision have come to this element, expressions with macros fail."""


class Failure(Enum):
    """The outcome of an expression that cannot be evaluated; without a reason, on purpose."""

    FAILURE = "failure"


FAILURE: Final = Failure.FAILURE

Value: TypeAlias = bool | int | float | str | Timestamp | Duration | tuple[Any, ...]
Outcome: TypeAlias = Value | Failure

Frame: TypeAlias = Mapping[str, Any]
"""The values of names: root (such as ``task``) to a mapping of the rest of the name (``kind``,
``price.input``; ``""`` where nothing follows the root) to value. What is missing is absent."""
Run: TypeAlias = Callable[[Frame], Any]
Items: TypeAlias = tuple[Any, ...]


class Truth(Enum):
    """What evaluating a condition comes to."""

    TRUE = "true"
    FALSE = "false"
    ERROR = "error"


class _OutOfBudgetError(Exception):
    """The macros of an evaluation, or of a decision, visit too many elements."""


class Budget:
    """How many more elements macros may visit; one for each decision.

    Attributes:
        of_expression: in the expression that is evaluated.
        of_decision: in all of them.
    """

    __slots__ = ("of_decision", "of_expression")

    def __init__(self) -> None:
        """Begin a decision."""
        self.of_expression, self.of_decision = MAX_ELEMENTS, MAX_ELEMENTS_OF_DECISION

    def spend(self, visited: int) -> None:
        """Count elements that a macro has visited."""
        self.of_expression -= visited
        self.of_decision -= visited
        if self.of_expression <= 0 or self.of_decision <= 0:
            raise _OutOfBudgetError


_BUDGET: Final = "#budget"
_VARIABLES: Final = "#variables"
_ELEMENT: Final = "#element "


def frame_of(
    roots: Mapping[str, Mapping[str, Any]], budget: Budget | None = None, **more: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a frame for one decision.

    Args:
        roots: the values, as in a :data:`Frame`. Under ``variables`` stand, for each variable, the
            names and programs of those that it needs, itself last, each after the ones that it
            uses: a variable is evaluated when it is first used, and once.
        budget: what the macros of the decision may still visit; all that they may, unless given.
        more: more roots.
    """
    return {**roots, **more, _BUDGET: budget or Budget(), _VARIABLES: {}}


class Program:
    """An expression to be evaluated; it is planned when it is first used, since many never are.

    Threads that come first at the same time plan it twice, to the same effect.

    Attributes:
        tree: the expression.
    """

    __slots__ = ("_run", "tree")

    def __init__(self, tree: Node) -> None:
        """Keep an expression."""
        self.tree = tree
        self._run: Run | None = None

    def plan(self) -> Run:
        """Plan the expression before it is used."""
        self._run = _planned(self.tree)
        return self._run

    def evaluate(self, frame: Frame) -> Outcome:
        """Return the value, or :data:`FAILURE`; never raises for a frame of the names' types."""
        run = self._run or self.plan()
        try:
            value: Value = run(frame)
        except ERRORS:
            return FAILURE
        return value

    def truth(self, frame: Frame) -> Truth:
        """Evaluate a condition."""
        outcome = self.evaluate(frame)
        if outcome is True:
            return Truth.TRUE
        return Truth.FALSE if outcome is False else Truth.ERROR


def _planned(tree: Node) -> Run:
    """Plan a whole expression; one with macros has a budget."""
    run = _plan(tree)
    if not has_macros(tree):
        return run

    def within_budget(frame: Frame) -> Any:
        budget: Budget = frame[_BUDGET]
        outer, budget.of_expression = budget.of_expression, MAX_ELEMENTS
        try:
            budget.spend(0)
            return run(frame)
        except _OutOfBudgetError:
            raise EvaluationError from None
        finally:
            budget.of_expression = outer

    return within_budget


def _plan(node: Node) -> Run:
    match node:
        case ListOf():
            return _list(node)
        case Loop():
            return _loop(node)
        case Bind():
            return _bind(node)
        case Apply():
            return _apply(node)
    return _leaf(node)


def _split(path: str) -> tuple[str, str]:
    root, _, rest = path.partition(".")
    return root, rest


# Leaves.


def _leaf(node: Node) -> Run:
    match node:
        case Literal():
            return _constant(node.value)
        case TableOf():
            return _constant(node.values)
        case Attribute():
            return _attribute(node)
        case Present():
            return _present(*_split(node.path))
        case LoopVariable():
            return _loop_variable(_ELEMENT + node.name)
        case BoundName():
            return _bound_name(_ELEMENT + node.name)
    raise TypeError(node)


def _constant(value: Any) -> Run:
    return lambda _: value


def _attribute(node: Attribute) -> Run:
    root, rest = _split(node.path)
    if root == "variables":
        return lambda frame: _variable(frame, rest)
    if node.type == TIMESTAMP:
        return lambda frame: _moment(frame[root][rest])
    return lambda frame: frame[root][rest]


def _variable(frame: Frame, name: str) -> Value:
    known: dict[str, Outcome] = frame[_VARIABLES]
    if name not in known:
        for needed, program in frame["variables"][name]:
            if needed not in known:
                known[needed] = program.evaluate(frame)
    value = known[name]
    if isinstance(value, Failure):
        raise EvaluationError
    return value


def _moment(value: datetime.datetime | Timestamp) -> Timestamp:
    return value if isinstance(value, Timestamp) else timestamp_of(value)


def _present(root: str, rest: str) -> Run:
    return lambda frame: rest in frame[root]


def _loop_variable(key: str) -> Run:
    return lambda frame: frame[key]


def _bound_name(key: str) -> Run:
    return lambda frame: frame[key].value()


def _list(node: ListOf) -> Run:
    items = tuple(map(_plan, node.items))
    if all(isinstance(item, Literal) for item in node.items):
        return _constant(tuple(run({}) for run in items))
    return lambda frame: tuple([run(frame) for run in items])


# Operators and functions.


def _apply(node: Apply) -> Run:
    match node.function:
        case "&&" | "||":
            decisive = node.function == "||"
            return _logic(decisive, [_plan(argument) for argument in node.arguments])
        case "?:":
            return _choice(node)
        case "matches":
            return _matches(*node.arguments)
    return _applied(node)


def _logic(decisive: bool, operands: list[Run]) -> Run:  # noqa: FBT001 - read once, in _apply
    """Join operands in pairs of pairs: a long chain is then not deep."""
    if len(operands) == 1:
        return operands[0]
    middle = (len(operands) + 1) // 2
    first, second = _logic(decisive, operands[:middle]), _logic(decisive, operands[middle:])
    return _either(first, second) if decisive else _both(first, second)


def _both(first: Run, second: Run) -> Run:
    def both(frame: Frame) -> Any:
        try:
            if not first(frame):
                return False
        except ERRORS:
            if second(frame):
                raise
            return False
        return second(frame)

    return both


def _either(first: Run, second: Run) -> Run:
    def either(frame: Frame) -> Any:
        try:
            if first(frame):
                return True
        except ERRORS:
            if second(frame):
                return True
            raise
        return second(frame)

    return either


def _choice(node: Node) -> Run:
    """Plan ``a ? b : c ? d : e``, which may be a long chain."""
    links: list[tuple[Run, Run]] = []
    while isinstance(node, Apply) and node.function == "?:":
        condition, positive, node = node.arguments
        links.append((_plan(condition), _plan(positive)))
    otherwise = _plan(node)

    def choice(frame: Frame) -> Any:
        for condition, positive in links:
            if condition(frame):
                return positive(frame)
        return otherwise(frame)

    return choice


def _matches(text: Node, pattern: Node) -> Run:
    """Search with RE2, whose time grows with the text and not with the pattern's choices."""
    found, run = _pattern(_value_of(pattern)).search, _plan(text)
    return lambda frame: found(run(frame)) is not None


@cache
def _pattern(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options=options)


def _value_of(node: Node) -> Any:
    return node.value if isinstance(node, Literal) else None


def _applied(node: Apply) -> Run:
    """Plan a function; a chain such as ``a + b - c``, which may be long, is planned as one."""
    links: list[tuple[Operation, tuple[Run, ...]]] = []
    first: Node = node
    while isinstance(first, Apply) and first.function not in _SPECIAL:
        others = tuple(map(_plan, first.arguments[1:]))
        links.append((operation(first.function, first.arguments[0].type), others))
        first = first.arguments[0]
    run = _plan(first)
    if len(links) == 1 and len(links[0][1]) <= 1:
        return _one(run, *links[0])
    links.reverse()

    def chain(frame: Frame) -> Any:
        value = run(frame)
        for function, others in links:
            value = function(value, *[other(frame) for other in others])
        return value

    return chain


_SPECIAL: Final = frozenset({"&&", "||", "?:", "matches"})


def _one(first: Run, function: Operation, others: tuple[Run, ...]) -> Run:
    if not others:
        return lambda frame: function(first(frame))
    (second,) = others
    return lambda frame: function(first(frame), second(frame))


# Bound names and macros.


class _Later:
    """A value that is worked out when it is first asked for, and once, its failure included."""

    __slots__ = ("_frame", "_outcome", "_run")

    def __init__(self, run: Callable[[Frame], Value], frame: Frame) -> None:
        self._run, self._frame = run, frame
        self._outcome: Outcome | None = None

    def value(self) -> Value:
        if self._outcome is None:
            try:
                self._outcome = self._run(self._frame)
            except ERRORS:
                self._outcome = FAILURE
        if isinstance(self._outcome, Failure):
            raise EvaluationError
        return self._outcome


def _bind(node: Bind) -> Run:
    value, body = _plan(node.value), _plan(node.body)
    key = _ELEMENT + node.name
    return lambda frame: body({**frame, key: _Later(value, frame)})


def _loop(node: Loop) -> Run:
    source, body = _plan(node.source), _plan(node.body)
    key, walk = _ELEMENT + node.variable, _WALKS[node.macro]

    def loop(frame: Frame) -> Any:
        items = source(frame)
        return walk(items, {**frame}, key, body)

    return loop


def _search(decisive: bool, items: Items, frame: dict[str, Any], key: str, body: Run) -> Any:  # noqa: FBT001 - read once, in _WALKS
    """Look for an element whose outcome decides; a failure matters only where there is none."""
    visited, failure = 0, None
    try:
        for visited, item in enumerate(items, start=1):  # noqa: B007 - read in the end
            frame[key] = item
            try:
                if body(frame) is decisive:
                    return decisive
            except ERRORS as problem:
                failure = problem
    finally:
        frame[_BUDGET].spend(visited)
    if failure is not None:
        raise failure
    return not decisive


def _outcomes(items: Items, frame: dict[str, Any], key: str, body: Run) -> list[Any]:
    """Return what the body comes to for each element."""
    found: list[Any] = []
    try:
        for item in items:
            frame[key] = item
            found.append(body(frame))
    finally:
        frame[_BUDGET].spend(min(len(found) + 1, len(items)))
    return found


def _map(*walk: Any) -> Items:
    return tuple(_outcomes(*walk))


def _filter(items: Items, *walk: Any) -> Items:
    verdicts = _outcomes(items, *walk)
    return tuple([item for item, verdict in zip(items, verdicts, strict=True) if verdict])


def _exists_one(*walk: Any) -> bool:
    return [*filter(None, _outcomes(*walk))] == [True]


_WALKS: Final[Mapping[str, Callable[..., Any]]] = {
    "all": partial(_search, False),  # noqa: FBT003 - it is data
    "exists": partial(_search, True),  # noqa: FBT003 - it is data
    "exists_one": _exists_one,
    "filter": _filter,
    "map": _map,
}
