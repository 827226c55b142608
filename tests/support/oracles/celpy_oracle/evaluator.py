"""Evaluates a lowered tree once, with celpy's interpreter under its own loops and logic."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, cast

import lark
from celpy import celtypes, evaluation

from tests.support.oracles.celpy_oracle.values import FAILED, FALSE, TRUE, UNBOUND, Facts

MAX_ELEMENTS: Final = 10_000
"""An evaluation fails when its macros come to that element, all of them counted together.

Google's engine, the reference, has the same number and the same way of counting.
"""

_NOTHING: Final = evaluation.Activation()


class _NoLogger:
    """What celpy's evaluator has for a logger: nobody hears it."""

    def debug(self, *_: object) -> None:
        """Drop a message."""


class OutOfBudgetError(Exception):
    """The macros of one evaluation walk too far: no operator makes up for that."""


class Evaluator(evaluation.Evaluator):
    """Interprets one lowered tree once.

    A method is named after the ``data`` of the nodes it is for. An error is a value: it is what
    an operator or function of it comes to, except where CEL says otherwise.
    """

    logger = cast("Any", _NoLogger())

    def __init__(self, ast: lark.Tree[Any], facts: Facts) -> None:
        """Set up for a tree and the facts it reads."""
        super().__init__(ast, _NOTHING)
        self.facts = facts.roots
        self.elements: dict[str, Any] = {}
        self.budget = MAX_ELEMENTS

    def visit(self, tree: lark.Tree[Any]) -> Any:
        """Return the value of a node."""
        return getattr(self, tree.data)(tree)

    def constant(self, tree: lark.Tree[Any]) -> Any:
        """Return the value of a literal."""
        return tree.children[0]

    def attribute(self, tree: lark.Tree[Any]) -> Any:
        """Return the value of a name."""
        path: list[Any] = tree.children
        root, rest = path
        return self.facts.get(root, UNBOUND).get(rest, FAILED)

    def present(self, tree: lark.Tree[Any]) -> celtypes.BoolType:
        """Tell whether a name has a value."""
        path: list[Any] = tree.children
        root, rest = path
        return TRUE if rest in self.facts.get(root, UNBOUND) else FALSE

    def element(self, tree: lark.Tree[Any]) -> Any:
        """Return the element that a macro looks at."""
        name: Any = tree.children[0]
        return self.elements.get(name, FAILED)

    def call(self, tree: lark.Tree[Any]) -> Any:
        """Apply a function, unless an argument is an error."""
        function: Any = tree.children[0]
        values = list(map(self.visit, tree.children[1:]))
        for value in values:
            if isinstance(value, evaluation.CELEvalError):
                return value
        try:
            return function(*values)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            return FAILED

    def expr(self, tree: lark.Tree[Any]) -> Any:
        """Choose by a condition; celpy's own function logs the values."""
        condition, positive, negative = tree.children
        choice = self.visit(condition)
        if isinstance(choice, evaluation.CELEvalError):
            return choice
        return self.visit(positive if choice else negative)

    def conditionalor(self, tree: lark.Tree[Any]) -> Any:
        """Be true if any operand is, else an error if any is."""
        return _joined(map(self.visit, tree.children), TRUE)

    def conditionaland(self, tree: lark.Tree[Any]) -> Any:
        """Be false if any operand is, else an error if any is."""
        return _joined(map(self.visit, tree.children), FALSE)

    def list_lit(self, tree: lark.Tree[Any]) -> Any:
        """Make a list."""
        return _collected([], map(self.visit, tree.children))

    def macro(self, tree: lark.Tree[Any]) -> Any:
        """Walk a list; celpy's own loops copy all facts for each element."""
        parts: list[Any] = tree.children
        function, variable, source, body = parts
        items = self.visit(source)
        if isinstance(items, evaluation.CELEvalError):
            return items
        outer = self.elements.get(variable, FAILED)
        outcome = function(items, self._outcomes(variable, items, body))
        self.elements[variable] = outer
        return outcome

    def _outcomes(self, variable: str, items: Sequence[Any], body: lark.Tree[Any]) -> Iterator[Any]:
        """Yield what the body comes to for each element.

        Google's engine goes on to the next element before it sees whether a loop is over.
        """
        count = len(items)
        self.budget -= count > 0
        for position, item in enumerate(items, start=1):
            self.elements[variable] = item
            outcome = self.visit(body)
            self.budget -= position < count
            if self.budget <= 0:
                raise OutOfBudgetError
            yield outcome


def _joined(outcomes: Iterable[Any], decisive: celtypes.BoolType) -> Any:
    """Join truths: the decisive one wins over an error, and that over the other one."""
    joined: Any = FALSE if decisive else TRUE
    for outcome in outcomes:
        if isinstance(outcome, evaluation.CELEvalError):
            joined = outcome
        elif bool(outcome) is bool(decisive):
            return decisive
    return joined


def _collected(_: Iterable[Any], outcomes: Iterable[Any]) -> Any:
    """Collect outcomes in a list, or return the first error, the budget spent on all of them."""
    values: Any = celtypes.ListType(outcomes)
    errors = (value for value in values if isinstance(value, evaluation.CELEvalError))
    return next(errors, values)


def _chosen(items: Iterable[Any], outcomes: Iterable[Any]) -> Any:
    """Collect the elements whose outcome is true, or return the first error."""
    verdicts = _collected(items, outcomes)
    if isinstance(verdicts, evaluation.CELEvalError):
        return verdicts
    return celtypes.ListType(item for item, verdict in zip(items, verdicts, strict=True) if verdict)


def _single(items: Iterable[Any], outcomes: Iterable[Any]) -> Any:
    """Tell whether exactly one outcome is true, or return the first error."""
    chosen = _chosen(items, outcomes)
    if isinstance(chosen, evaluation.CELEvalError):
        return chosen
    return TRUE if len(chosen) == 1 else FALSE


MACROS: Final[dict[str, Callable[[Iterable[Any], Iterable[Any]], Any]]] = {
    "all": lambda _, outcomes: _joined(outcomes, FALSE),
    "exists": lambda _, outcomes: _joined(outcomes, TRUE),
    "exists_one": _single,
    "filter": _chosen,
    "map": _collected,
}
