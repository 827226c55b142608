"""Plain values to CEL's and back, and the facts that an evaluation reads."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from celpy import celtypes, evaluation

from policy_router.cel.timestamps import (
    DAY,
    EPOCH,
    TICKS,
    Duration,
    Timestamp,
    int64,
    toward_zero,
)
from tests.support.oracles import engine

FAILED: Final = evaluation.CELEvalError("failed")
TRUE: Final = celtypes.BoolType(source=True)
FALSE: Final = celtypes.BoolType(source=False)
UNBOUND: Final[dict[str, Any]] = {}


def _moment(value: datetime.datetime) -> Timestamp:
    """Turn an aware datetime into a timestamp."""
    return Timestamp(_span(value - EPOCH).ticks)


def _span(value: datetime.timedelta) -> Duration:
    """Turn a timedelta into a duration."""
    ticks = (value.days * DAY + value.seconds) * TICKS + value.microseconds * 4000
    return Duration(ticks)


def _bound_list(values: Iterable[Any]) -> celtypes.ListType:
    """Turn plain values into a CEL list, if each has its equal there."""
    items = [bound(value) for value in values]
    if any(item is FAILED for item in items):
        raise ValueError
    return celtypes.ListType(items)


# The types' own constructors first look for a dozen things that a plain value is not.
_BINDINGS: Final[dict[type, Callable[[Any], Any]]] = {
    bool: lambda value: TRUE if value else FALSE,
    int: lambda value: int.__new__(celtypes.IntType, int64(value)),
    float: functools.partial(float.__new__, celtypes.DoubleType),
    str: functools.partial(str.__new__, celtypes.StringType),
    list: _bound_list,
    tuple: _bound_list,
    datetime.datetime: _moment,
    datetime.timedelta: _span,
}


def bound(value: Any) -> Any:
    """Turn a plain value into CEL's, or into an error if it has no equal there."""
    try:
        return _BINDINGS[type(value)](value)
    except KeyError:
        kind = next((kind for kind in _BINDINGS if isinstance(value, kind)), None)
        return bound(_PLAIN[kind](value)) if kind in _PLAIN else FAILED
    except (ArithmeticError, TypeError, ValueError):
        return FAILED


# How a value of a subclass, such as a string of an Enum, becomes a plain one.
_PLAIN: Final[dict[Any, Callable[[Any], Any]]] = {
    int: int.__int__,
    float: float.__float__,
    str: str.__str__,
    list: list,
    tuple: list,
}


def root_of(value: Any, prefix: str = "") -> dict[str, Any]:
    """Turn the value of a root name into a flat mapping of paths under it."""
    if not isinstance(value, Mapping):
        return {prefix: bound(value)}
    flat: dict[str, Any] = {}
    for key, part in value.items():
        path = f"{prefix}.{key}" if prefix else key
        if isinstance(part, Mapping):
            flat.update(root_of(part, path))
        else:
            flat[path] = bound(part)
    return flat


_PLAIN_VALUES: Final[dict[type, Callable[[Any], engine.Outcome]]] = {
    celtypes.BoolType: bool,
    celtypes.IntType: int,
    celtypes.DoubleType: float,
    celtypes.StringType: str,
    celtypes.ListType: lambda value: [plain(item) for item in value],
    Timestamp: lambda value: EPOCH + datetime.timedelta(microseconds=value.ticks // 4000),
    Duration: lambda value: datetime.timedelta(microseconds=toward_zero(value.ticks, 4000)),
}


def plain(value: Any) -> engine.Outcome:
    """Turn what an evaluation came to into a plain value; there is none for an error."""
    return _PLAIN_VALUES[type(value)](value)


@dataclass(frozen=True, slots=True)
class Facts:
    """The values that names stand for.

    Attributes:
        roots: for each root name, its attributes (``price.input``) and their CEL values; the
            value of a root that has no attributes stands under the empty path.
    """

    roots: dict[str, dict[str, Any]]
