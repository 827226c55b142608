"""Operators, functions and macros of the profile of CEL, with the types they take and give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from policy_router.expressions.tree import (
    BOOL,
    DOUBLE,
    DURATION,
    EMPTY_LIST,
    INT,
    STRING,
    TIMESTAMP,
    Type,
)


@dataclass(frozen=True, slots=True)
class Signature:
    """One way to use a function: the types it takes and the type it gives."""

    takes: tuple[Type, ...]
    gives: Type


def _signatures(*rows: tuple[tuple[Type, ...], Type]) -> tuple[Signature, ...]:
    return tuple(Signature(takes, gives) for takes, gives in rows)


_NUMBERS = ((INT, INT), (DOUBLE, DOUBLE))
_ORDERED = (INT, DOUBLE, STRING, TIMESTAMP, DURATION)

ORDERING = _signatures(*(((type_, type_), BOOL) for type_ in _ORDERED))

OPERATORS: Mapping[str, tuple[Signature, ...]] = {
    "<": ORDERING,
    "<=": ORDERING,
    ">": ORDERING,
    ">=": ORDERING,
    "+": _signatures(
        *((pair, pair[0]) for pair in _NUMBERS),
        ((STRING, STRING), STRING),
        ((TIMESTAMP, DURATION), TIMESTAMP),
        ((DURATION, TIMESTAMP), TIMESTAMP),
        ((DURATION, DURATION), DURATION),
    ),
    "-": _signatures(
        *((pair, pair[0]) for pair in _NUMBERS),
        ((TIMESTAMP, TIMESTAMP), DURATION),
        ((TIMESTAMP, DURATION), TIMESTAMP),
        ((DURATION, DURATION), DURATION),
    ),
    "*": _signatures(*((pair, pair[0]) for pair in _NUMBERS)),
    "/": _signatures(*((pair, pair[0]) for pair in _NUMBERS)),
    "%": _signatures(((INT, INT), INT)),
    "neg": _signatures(((INT,), INT), ((DOUBLE,), DOUBLE)),
    "!": _signatures(((BOOL,), BOOL)),
}
"""Operators whose types are in a table; the others the checker knows by itself."""

FUNCTIONS: Mapping[str, tuple[Signature, ...]] = {
    "size": _signatures(((STRING,), INT), ((EMPTY_LIST,), INT)),
    "int": _signatures(((INT,), INT), ((DOUBLE,), INT), ((STRING,), INT), ((TIMESTAMP,), INT)),
    "double": _signatures(((DOUBLE,), DOUBLE), ((INT,), DOUBLE), ((STRING,), DOUBLE)),
    "string": _signatures(
        ((STRING,), STRING),
        ((INT,), STRING),
        ((BOOL,), STRING),
        ((TIMESTAMP,), STRING),
        ((DURATION,), STRING),
    ),
    "timestamp": _signatures(((STRING,), TIMESTAMP)),
    "duration": _signatures(((STRING,), DURATION)),
    "bucket": _signatures(((STRING, STRING), INT)),
}
"""What is written before its arguments: ``size(x)``."""

_TEXT = _signatures(((STRING, STRING), BOOL))
_CALENDAR = _signatures(((TIMESTAMP,), INT), ((TIMESTAMP, STRING), INT))
_CLOCK = (*_CALENDAR, *_signatures(((DURATION,), INT)))

METHODS: Mapping[str, tuple[Signature, ...]] = {
    "size": FUNCTIONS["size"],
    "startsWith": _TEXT,
    "endsWith": _TEXT,
    "contains": _TEXT,
    "matches": _TEXT,
    "getFullYear": _CALENDAR,
    "getMonth": _CALENDAR,
    "getDate": _CALENDAR,
    "getDayOfMonth": _CALENDAR,
    "getDayOfWeek": _CALENDAR,
    "getDayOfYear": _CALENDAR,
    "getHours": _CLOCK,
    "getMinutes": _CLOCK,
    "getSeconds": _CLOCK,
    "getMilliseconds": _CLOCK,
}
"""What is written after its first argument: ``x.size()``."""

MACROS = ("all", "exists", "exists_one", "filter", "map")
"""What walks a list: ``list.exists(item, condition)``."""


def result_of(signatures: tuple[Signature, ...], types: tuple[Type, ...]) -> Type | None:
    """Return the type that a function gives for arguments of some types, or None."""
    for signature in signatures:
        if len(signature.takes) == len(types) and all(
            wanted.accepts(found) for wanted, found in zip(signature.takes, types, strict=True)
        ):
            return signature.gives
    return None
