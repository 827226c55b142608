"""What an oracle does: a library that evaluates CEL, beside the product's own evaluator."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

from policy_router.cel.ast import Node
from policy_router.cel.frame import FAILURE, Failure

__all__ = ["FAILURE", "Activation", "Engine", "Outcome", "Program", "Value"]

Value: TypeAlias = bool | int | float | str | datetime.datetime | datetime.timedelta | Sequence[Any]
Outcome: TypeAlias = Value | Literal[Failure.FAILURE]


class Activation(Protocol):
    """The values that the names of a condition stand for; immutable."""


class Program(Protocol):
    """A compiled expression. Safe to share between threads."""

    def evaluate(self, activation: Activation) -> Outcome:
        """Evaluate against facts. Never raises."""
        ...


class Engine(Protocol):
    """A library that evaluates CEL. Safe to share between threads.

    Attributes:
        has_extensions: whether it has CEL's extension libraries.
    """

    has_extensions: bool

    @property
    def name(self) -> str:
        """The library and its version."""
        ...

    def compile(self, expression: Node) -> Program:
        """Turn a checked tree into a program."""
        ...

    def bind(self, values: Mapping[str, Any]) -> Activation:
        """Turn facts into an activation.

        Args:
            values: root name to value: a mapping of attribute to plain value (``target.price`` is
                a mapping again), for ``now`` an aware datetime. What is missing from a mapping is
                absent: ``has()`` of it is false, and using it fails.
        """
        ...
