"""Operators, functions and macros of the profile of CEL, with the types they take and give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from policy_router.cel.ast import (
    BOOL,
    DOUBLE,
    DURATION,
    EMPTY_LIST,
    INT,
    STRING,
    STRINGS,
    TIMESTAMP,
    Type,
)


@dataclass(frozen=True, slots=True)
class Signature:
    """One way to use a function.

    Attributes:
        takes: the types it takes.
        gives: the type it gives.
        repeats: whether it takes more arguments of the last of these types.
        needs_items: whether a list without items is none that it takes.
    """

    takes: tuple[Type, ...]
    gives: Type
    repeats: bool = False
    needs_items: bool = False

    def accepts(self, types: tuple[Type, ...]) -> bool:
        """Tell whether the function can be used with arguments of some types."""
        takes = self.takes
        if self.repeats:
            takes += takes[-1:] * (len(types) - len(takes))
        if self.needs_items and EMPTY_LIST in types:
            return False
        return len(takes) == len(types) and all(map(Type.accepts, takes, types))


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

_EXTREME = (
    *(Signature((type_,), type_, repeats=True) for type_ in (INT, DOUBLE)),
    *(Signature((Type("list", type_),), type_, needs_items=True) for type_ in (INT, DOUBLE)),
)
_SETS = _signatures(((EMPTY_LIST, EMPTY_LIST), BOOL))

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
    "math.least": _EXTREME,
    "math.greatest": _EXTREME,
    "sets.contains": _SETS,
    "sets.intersects": _SETS,
}
"""What is written before its arguments: ``size(x)``.

The two lists of ``sets`` are of one type, as the operands of ``==`` are.
"""

NAMESPACES = ("cel", "math", "sets")
"""What some functions have before a dot. No loop variable and no bound name is called so."""

_TEXT = _signatures(((STRING, STRING), BOOL))
_CALENDAR = _signatures(((TIMESTAMP,), INT), ((TIMESTAMP, STRING), INT))
_CLOCK = (*_CALENDAR, *_signatures(((DURATION,), INT)))

METHODS: Mapping[str, tuple[Signature, ...]] = {
    "size": FUNCTIONS["size"],
    "startsWith": _TEXT,
    "endsWith": _TEXT,
    "contains": _TEXT,
    "matches": _TEXT,
    "lowerAscii": _signatures(((STRING,), STRING)),
    "upperAscii": _signatures(((STRING,), STRING)),
    "trim": _signatures(((STRING,), STRING)),
    "split": _signatures(((STRING, STRING), STRINGS), ((STRING, STRING, INT), STRINGS)),
    "join": _signatures(((STRINGS,), STRING), ((STRINGS, STRING), STRING)),
    "replace": _signatures(
        ((STRING, STRING, STRING), STRING), ((STRING, STRING, STRING, INT), STRING)
    ),
    "indexOf": _signatures(((STRING, STRING), INT), ((STRING, STRING, INT), INT)),
    "substring": _signatures(((STRING, INT), STRING), ((STRING, INT, INT), STRING)),
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
    return next((it.gives for it in signatures if it.accepts(types)), None)
