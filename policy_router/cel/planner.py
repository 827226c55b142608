"""Plans a checked tree into closures, through which facts run.

A closure takes a *frame*, the values that names stand for, and returns the value of its piece of
the tree, or raises one of :data:`~policy_router.cel.operations.ERRORS`. Truths are
three-valued, as CEL has them: a failed operand of ``&&`` or ``||`` matters only where no other
operand decides. Nothing is shared between evaluations but the plan, which never changes, so threads
may share a plan.
"""

from __future__ import annotations

import datetime
from functools import cache
from typing import Any, Final

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
from policy_router.cel.frame import (
    BUDGET,
    MAX_ELEMENTS,
    VARIABLES,
    Budget,
    Failure,
    Frame,
    Outcome,
    OutOfBudgetError,
    Value,
)
from policy_router.cel.macros import WALKS, Later, Run
from policy_router.cel.operations import ERRORS, Operation, operation
from policy_router.cel.texts import EvaluationError
from policy_router.cel.timestamps import Timestamp, timestamp_of

_ELEMENT: Final = "#element "


def planned(tree: Node) -> Run:
    """Plan a whole expression; one with macros has a budget."""
    run = _plan(tree)
    if not has_macros(tree):
        return run

    def within_budget(frame: Frame) -> Any:
        budget: Budget = frame[BUDGET]
        outer, budget.of_expression = budget.of_expression, MAX_ELEMENTS
        try:
            budget.spend(0)
            return run(frame)
        except OutOfBudgetError:
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
    known: dict[str, Outcome] = frame[VARIABLES]
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


def _bind(node: Bind) -> Run:
    value, body = _plan(node.value), _plan(node.body)
    key = _ELEMENT + node.name
    return lambda frame: body({**frame, key: Later(value, frame)})


def _loop(node: Loop) -> Run:
    source, body = _plan(node.source), _plan(node.body)
    key, walk = _ELEMENT + node.variable, WALKS[node.macro]

    def loop(frame: Frame) -> Any:
        items = source(frame)
        return walk(items, {**frame}, key, body)

    return loop
