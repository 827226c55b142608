"""Evaluates checked expressions: a tree is planned once, and facts run through the plan."""

from __future__ import annotations

from enum import Enum

from policy_router.cel.ast import Node
from policy_router.cel.frame import FAILURE, Frame, Outcome, Value
from policy_router.cel.macros import Run
from policy_router.cel.operations import ERRORS
from policy_router.cel.planner import planned


class Truth(Enum):
    """What evaluating a condition comes to."""

    TRUE = "true"
    FALSE = "false"
    ERROR = "error"


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
        self._run = planned(self.tree)
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
        return truth_of(self.evaluate(frame))


def truth_of(outcome: Outcome) -> Truth:
    """Return the truth of what a condition came to."""
    if outcome is True:
        return Truth.TRUE
    return Truth.FALSE if outcome is False else Truth.ERROR
