"""What a CEL engine does for the rest of the product.

An engine turns checked trees into programs, facts into an activation, and a program with an
activation into a value or :data:`FAILURE`. It never raises for a checked tree, keeps no state
between calls that one call could see of another, and never shows or logs a fact's value.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Final, Literal, Protocol, TypeAlias

from policy_router.expressions.tree import Node


class Failure(Enum):
    """The outcome of an expression that cannot be evaluated, without a reason on purpose.

    What an engine says about a failure may quote facts, so it stops at the engine.
    """

    FAILURE = "failure"


FAILURE: Final = Failure.FAILURE

Value: TypeAlias = bool | int | float | str | datetime.datetime | datetime.timedelta | Sequence[Any]
Outcome: TypeAlias = Value | Literal[Failure.FAILURE]


class Truth(Enum):
    """What evaluating a condition comes to."""

    TRUE = "true"
    FALSE = "false"
    ERROR = "error"


class Activation(Protocol):
    """The values that the names of a condition stand for; immutable."""

    def extended(self, values: Mapping[str, Any]) -> Activation:
        """Return a new activation in which some roots have other values.

        Args:
            values: root name (such as ``target``) to its value, as for :meth:`Engine.bind`.
        """
        ...


class Program(Protocol):
    """A compiled expression. Safe to share between threads."""

    def evaluate(self, activation: Activation) -> Outcome:
        """Evaluate against facts. Never raises."""
        ...


class Engine(Protocol):
    """A library that evaluates CEL. Safe to share between threads."""

    @property
    def name(self) -> str:
        """The library and its version, as it stands in a decision record."""
        ...

    def compile(self, expression: Node) -> Program:
        """Turn a checked tree into a program."""
        ...

    def bind(self, values: Mapping[str, Any]) -> Activation:
        """Turn facts into an activation.

        Args:
            values: root name to value: for ``call``, ``task``, ``parent``, ``caller``, ``budget``,
                ``facts``, ``variables`` and ``target`` a mapping of attribute to plain value
                (``target.price`` is a mapping again), for ``now`` an aware datetime. What is
                missing from a mapping is absent: ``has()`` of it is false, and using it fails.
        """
        ...


class Deferred:
    """A program that is compiled when it is first used: many never are.

    Threads that come first at the same time compile it twice, to the same effect.

    Attributes:
        evaluate: as of :class:`Program`.
    """

    __slots__ = ("evaluate",)

    evaluate: Callable[[Activation], Outcome]

    def __init__(self, engine: Engine, expression: Node) -> None:
        """Keep what is to be compiled, until it is."""

        def compile_and_evaluate(activation: Activation) -> Outcome:
            self.evaluate = engine.compile(expression).evaluate
            return self.evaluate(activation)

        self.evaluate = compile_and_evaluate


def truth(program: Program, activation: Activation) -> Truth:
    """Evaluate a condition to one of three truths."""
    outcome = program.evaluate(activation)
    if outcome is True:
        return Truth.TRUE
    return Truth.FALSE if outcome is False else Truth.ERROR
