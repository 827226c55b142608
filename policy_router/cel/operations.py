"""The operators and functions of the profile, applied to values.

The definition is CEL's: https://github.com/google/cel-spec/blob/master/doc/langdef.md, section
"List of Standard Definitions". Where it leaves something open, Google's C++ engine is followed; the
conversions of text are those of its library absl (``SimpleAtoi``, ``SimpleAtod``).

Values are Python's ``bool``, ``int`` (64 bits), ``float``, ``str`` and ``tuple``, and our own
:class:`Timestamp` and :class:`Duration`. What has no value raises one of :data:`ERRORS`.
"""

from __future__ import annotations

import datetime
import hashlib
import math
import operator
import re
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from policy_router.cel import texts
from policy_router.cel.ast import Type
from policy_router.cel.texts import EvaluationError
from policy_router.cel.timestamps import (
    DAY,
    DAYS_IN_400_YEARS,
    EPOCH_DAY,
    SPACE,
    TICKS,
    Duration,
    Timestamp,
    duration,
    int64,
    parts_of,
    timestamp,
    toward_zero,
)

Operation: TypeAlias = Callable[..., Any]

ERRORS: Final = (EvaluationError, ArithmeticError, LookupError, ValueError)
"""What an operation raises where it has no value. Anything else is a bug, or a lack of memory."""

# No pattern backs up over more than a few characters: the texts come from agents.
_INT: Final = re.compile(rf"{SPACE}([+-]?)0*([0-9]{{1,19}}){SPACE}")
_DECIMAL: Final = re.compile(
    rf"{SPACE}([+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?|inf(?:inity)?)){SPACE}",
    re.ASCII | re.IGNORECASE,
)
_HEXADECIMAL: Final = re.compile(
    rf"{SPACE}([+-]?0x(?:[0-9a-f]+(?:\.[0-9a-f]*)?|\.[0-9a-f]+)(?:p[+-]?[0-9]+)?){SPACE}",
    re.ASCII | re.IGNORECASE,
)
_NAN: Final = re.compile(rf"{SPACE}[+-]?nan(?:\([0-9a-z_]*\))?{SPACE}", re.ASCII | re.IGNORECASE)
_OFFSET: Final = re.compile(r"([+-]?)([0-9]{1,2}):([0-9]{2})")


# Numbers.


def _int_result(function: Operation) -> Operation:
    """Make an operation on ints fail where 64 bits do not hold its result."""
    return lambda *operands: int64(function(*operands))


def _divide_ints(dividend: int, divisor: int) -> int:
    return int64(_quotient(dividend, divisor))


def _quotient(dividend: int, divisor: int) -> int:
    """Divide, dropping the fraction."""
    size = abs(dividend) // abs(divisor)
    return size if (dividend < 0) is (divisor < 0) else -size


def _remainder(dividend: int, divisor: int) -> int:
    """Return the remainder, with the sign of the dividend; it exists where the quotient does."""
    return dividend - divisor * _divide_ints(dividend, divisor)


def _divide_doubles(dividend: float, divisor: float) -> float:
    """Divide by the rules of IEEE 754."""
    if divisor:
        return dividend / divisor
    if not dividend or math.isnan(dividend):
        return math.nan
    return math.copysign(math.inf, math.copysign(1, dividend) * math.copysign(1, divisor))


def _least(*numbers: Any) -> Any:
    return min(numbers)


def _greatest(*numbers: Any) -> Any:
    return max(numbers)


# Values of any type.


def _same(left: Any, right: Any) -> bool:
    """Compare values of one type; Python takes a list that holds a NaN for equal to itself."""
    if type(left) is not tuple:
        return bool(left == right)
    return len(left) == len(right) and all(map(_same, left, right))


def _differ(left: Any, right: Any) -> bool:
    return not _same(left, right)


def _has_all(items: tuple[Any, ...], wanted: tuple[Any, ...]) -> bool:
    """Tell whether a list holds all elements of another, in time that grows with their sum.

    Python takes a NaN for an element of a list that holds the same object; it is not one here.
    """
    known = frozenset(items)
    return all(item in known and _same(item, item) for item in wanted)


def _has_any(items: tuple[Any, ...], wanted: tuple[Any, ...]) -> bool:
    known = frozenset(items)
    return any(item in known and _same(item, item) for item in wanted)


def _is_in(item: Any, items: tuple[Any, ...]) -> bool:
    return item in items


def _is_same_as_any(item: Any, items: tuple[Any, ...]) -> bool:
    return any(_same(item, other) for other in items)


def _element(items: tuple[Any, ...], index: int) -> Any:
    """Return an element; Python would count a negative index from the end."""
    if index < 0:
        raise EvaluationError
    return items[index]


def _bucket(salt: str, key: str) -> int:
    """Put a key into one of a hundred buckets."""
    digest = hashlib.sha256(salt.encode() + b"\0" + key.encode()).digest()
    return int.from_bytes(digest, "big") % 100


# Conversions.


def _int_of_text(text: str) -> int:
    sign, digits = parts_of(_INT, text)
    return int64(int(sign + digits))


def _int_of_double(value: float) -> int:
    if not -(2.0**63) < value < 2.0**63:
        raise EvaluationError
    return int(value)


def _int_of_timestamp(value: Timestamp) -> int:
    return value.ticks // TICKS


def _double_of_text(text: str) -> float:
    if _NAN.fullmatch(text):
        return math.nan
    if decimal := _DECIMAL.fullmatch(text):
        return float(decimal[1])
    (digits,) = parts_of(_HEXADECIMAL, text)
    try:
        return float.fromhex(digits)
    except OverflowError:
        return -math.inf if digits.startswith("-") else math.inf


def _text_of_bool(value: bool) -> str:  # noqa: FBT001 - it is data
    return "true" if value else "false"


# Parts of times.


def _calendar(part: Callable[[int, datetime.date], int]) -> Operation:
    """Make an accessor of a timestamp from one of its year and of its date in a like year."""

    def accessor(moment: Timestamp, zone: str = "UTC") -> int:
        days = (moment.ticks // TICKS + _offset(zone)) // DAY + EPOCH_DAY - 1
        cycle, day = divmod(days, DAYS_IN_400_YEARS)
        date = datetime.date.fromordinal(day + 1 + DAYS_IN_400_YEARS)
        return part(date.year + 400 * (cycle - 1), date)

    return accessor


def _clock(size: int, bound: int) -> dict[str, Operation]:
    """Make the accessors of one hand of the clock.

    Args:
        size: how many seconds it counts as one.
        bound: how many of them a timestamp shows before it begins at 0 again.
    """

    def of_timestamp(moment: Timestamp, zone: str = "UTC") -> int:
        return (moment.ticks // TICKS + _offset(zone)) // size % bound

    def of_duration(value: Duration) -> int:
        return toward_zero(value.ticks, size * TICKS)

    return {"timestamp": of_timestamp, "duration": of_duration}


def _milliseconds_of_timestamp(moment: Timestamp, zone: str = "UTC") -> int:
    """Return the milliseconds within the second."""
    _offset(zone)
    return moment.ticks % TICKS // (TICKS // 1000)


def _milliseconds_of_duration(value: Duration) -> int:
    """Return the milliseconds within the second."""
    size = abs(value.ticks) % TICKS // (TICKS // 1000)
    return -size if value.ticks < 0 else size


def _offset(zone: str) -> int:
    """Return how many seconds a time zone, ``UTC`` or an offset, is ahead of UTC.

    A zone with a name has no place in a policy: its rules differ between machines and years.
    """
    if zone == "UTC":
        return 0
    sign, hours, minutes = parts_of(_OFFSET, zone)
    size = int(hours) * 3600 + int(minutes) * 60
    return -size if sign == "-" else size


_ANY: Final = "any"

_OPERATIONS: Final[dict[str, dict[str, Operation]]] = {
    "!": {_ANY: operator.not_},
    "neg": {"int": _int_result(operator.neg), "double": operator.neg},
    "==": {_ANY: operator.eq, "list": _same},
    "!=": {_ANY: operator.ne, "list": _differ},
    "<": {_ANY: operator.lt},
    "<=": {_ANY: operator.le},
    ">": {_ANY: operator.gt},
    ">=": {_ANY: operator.ge},
    "in": {_ANY: _is_in, "double": _is_same_as_any, "list": _is_same_as_any},
    "+": {
        _ANY: operator.add,
        "int": _int_result(operator.add),
        "string": texts.concatenated,
        "list": texts.chained,
    },
    "-": {_ANY: operator.sub, "int": _int_result(operator.sub)},
    "*": {"int": _int_result(operator.mul), "double": operator.mul},
    "/": {"int": _divide_ints, "double": _divide_doubles},
    "%": {_ANY: _remainder},
    "[]": {_ANY: _element, "table": operator.getitem},
    "size": {_ANY: len},
    "startsWith": {_ANY: str.startswith},
    "endsWith": {_ANY: str.endswith},
    "contains": {_ANY: operator.contains},
    "lowerAscii": {_ANY: texts.lower},
    "upperAscii": {_ANY: texts.upper},
    "trim": {_ANY: texts.trimmed},
    "split": {_ANY: texts.split},
    "join": {_ANY: texts.joined},
    "replace": {_ANY: texts.replaced},
    "indexOf": {_ANY: texts.index},
    "substring": {_ANY: texts.substring},
    "math.least": {_ANY: _least, "list": min},
    "math.greatest": {_ANY: _greatest, "list": max},
    "sets.contains": {_ANY: _has_all},
    "sets.intersects": {_ANY: _has_any},
    "int": {
        "int": int,
        "double": _int_of_double,
        "string": _int_of_text,
        "timestamp": _int_of_timestamp,
    },
    "double": {"double": float, "int": float, "string": _double_of_text},
    "string": {_ANY: str, "bool": _text_of_bool},
    "timestamp": {_ANY: timestamp},
    "duration": {_ANY: duration},
    "bucket": {_ANY: _bucket},
    "getFullYear": {_ANY: _calendar(lambda year, _: year)},
    "getMonth": {_ANY: _calendar(lambda _, date: date.month - 1)},
    "getDate": {_ANY: _calendar(lambda _, date: date.day)},
    "getDayOfMonth": {_ANY: _calendar(lambda _, date: date.day - 1)},
    "getDayOfWeek": {_ANY: _calendar(lambda _, date: date.isoweekday() % 7)},
    "getDayOfYear": {_ANY: _calendar(lambda _, date: date.timetuple().tm_yday - 1)},
    "getHours": _clock(3600, 24),
    "getMinutes": _clock(60, 60),
    "getSeconds": _clock(1, 60),
    "getMilliseconds": {
        "timestamp": _milliseconds_of_timestamp,
        "duration": _milliseconds_of_duration,
    },
}
"""Function to what it does, by the type of its first argument."""


def operation(function: str, first: Type) -> Operation:
    """Return what an operator or a function does.

    Args:
        function: as in :class:`~policy_router.cel.ast.Apply`.
        first: the type of its first argument; for others it does the same whatever that is.
    """
    by_type = _OPERATIONS[function]
    return by_type.get(first.name) or by_type[_ANY]
