"""The product's evaluator behind the interface of the oracles, so that all can be compared."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from policy_router.cel import evaluate
from policy_router.cel.ast import Node
from policy_router.cel.frame import FAILURE, frame_of
from policy_router.cel.timestamps import (
    DAY,
    TICKS,
    Duration,
    Timestamp,
    datetime_of,
    timestamp_of,
    toward_zero,
)
from tests.support.oracles.engine import Activation, Engine, Outcome, Program

_SAME: Final = {bool, int, float, str}
"""The types whose values are the evaluator's, too; lists of them may be very long."""


def bound(value: Any) -> Any:
    """Return the evaluator's value for a plain one."""
    if isinstance(value, list | tuple):
        return tuple(value) if _SAME.issuperset(map(type, value)) else tuple(map(bound, value))
    if isinstance(value, datetime.datetime):
        return timestamp_of(value)
    if isinstance(value, datetime.timedelta):
        seconds = value.days * DAY + value.seconds
        return Duration(seconds * TICKS + value.microseconds * 4000)
    return value


def frame(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a frame of plain values: roots to mappings, which may hold mappings; and ``now``."""
    roots = {
        root: _flat(value) if isinstance(value, Mapping) else {"": bound(value)}
        for root, value in values.items()
    }
    for root in ("call", "task", "parent", "caller", "budget", "facts", "target", "variables"):
        roots.setdefault(root, {})
    variables = {name: [(name, _Known(value))] for name, value in roots["variables"].items()}
    return frame_of({**roots, "variables": variables})


@dataclass(frozen=True, slots=True)
class _Known:
    """Stands for the program of a variable whose value is known."""

    value: Any

    def evaluate(self, _: object) -> Any:
        return self.value


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            found.update(_flat(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = bound(value)
    return found


def plain(outcome: Any) -> Outcome:
    """Return a plain value for the evaluator's, without what is below a microsecond."""
    if isinstance(outcome, tuple):
        return [plain(item) for item in outcome]
    if isinstance(outcome, Timestamp):
        return datetime_of(outcome)
    if isinstance(outcome, Duration):
        return datetime.timedelta(microseconds=toward_zero(outcome.ticks, 4000))
    return cast("Outcome", outcome)


@dataclass(frozen=True, slots=True)
class _Program:
    program: evaluate.Program

    def evaluate(self, activation: Activation) -> Outcome:
        return plain(self.program.evaluate(cast("dict[str, Any]", activation)))


class Product:
    """The product's evaluator."""

    name = "policy-router"
    has_extensions = True

    def compile(self, expression: Node) -> Program:
        """Plan an expression."""
        return _Program(evaluate.Program(expression))

    def bind(self, values: Mapping[str, Any]) -> Activation:
        """Make a frame."""
        return cast("Activation", frame(values))


PRODUCT: Engine = Product()
__all__ = ["FAILURE", "PRODUCT", "bound", "frame", "plain"]
