"""What an evaluation goes through: the values of names, and how many elements macros may visit.

The cost of an evaluation is bounded: its macros visit fewer than :data:`MAX_ELEMENTS` elements, and
those of all evaluations of one decision fewer than :data:`MAX_ELEMENTS_OF_DECISION`. Beyond that an
expression fails as a whole, which no operand of ``||`` makes up for.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, TypeAlias

from policy_router.cel.timestamps import Duration, Timestamp

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


class OutOfBudgetError(Exception):
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
            raise OutOfBudgetError


BUDGET: Final = "#budget"
"""Where a frame has its budget."""
VARIABLES: Final = "#variables"
"""Where a frame keeps the values of variables."""


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
    return {**roots, **more, BUDGET: budget or Budget(), VARIABLES: {}}
