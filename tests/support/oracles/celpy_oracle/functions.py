"""The table of operators and functions, with those of our own where celpy differs or logs."""

from __future__ import annotations

import datetime
import hashlib
import math
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from celpy import celtypes, evaluation

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
from tests.support.oracles.celpy_oracle.values import FALSE, TRUE

_MINUS_ONE: Final = celtypes.IntType(-1)

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


def _local(function: Callable[[int, datetime.date], int]) -> Callable[..., celtypes.IntType]:
    """Make an accessor of a timestamp from one of its year and of its date in a like year."""

    def accessor(moment: Timestamp, zone: str = "UTC") -> celtypes.IntType:
        seconds = moment.ticks // TICKS
        days = (seconds + _offset(zone)) // DAY + EPOCH_DAY - 1
        cycle, day = divmod(days, DAYS_IN_400_YEARS)
        date = datetime.date.fromordinal(day + 1 + DAYS_IN_400_YEARS)
        return celtypes.IntType(function(date.year + 400 * (cycle - 1), date))

    return accessor


def _clocked(
    of_timestamp: Callable[[int], int], of_duration: Callable[[int], int]
) -> Callable[..., celtypes.IntType]:
    """Make an accessor from one of local seconds and one of a duration's nanoseconds."""

    def accessor(value: Timestamp | Duration, zone: str = "UTC") -> celtypes.IntType:
        if isinstance(value, Duration):
            return celtypes.IntType(of_duration(toward_zero(value.ticks, 4)))
        seconds = value.ticks // TICKS
        return celtypes.IntType(of_timestamp(seconds + _offset(zone)))

    return accessor


def _milliseconds(value: Timestamp | Duration, zone: str = "UTC") -> celtypes.IntType:
    """Return the milliseconds within the second."""
    if isinstance(value, Duration):
        sign = -1 if value.ticks < 0 else 1
        return celtypes.IntType(sign * (abs(value.ticks) % TICKS // (TICKS // 1000)))
    _offset(zone)
    return celtypes.IntType(value.ticks % TICKS // (TICKS // 1000))


def _offset(zone: str) -> int:
    """Return how many seconds a time zone, ``UTC`` or an offset, is ahead of UTC.

    A zone with a name has no place in a policy: its rules differ between machines and years.
    """
    if zone == "UTC":
        return 0
    sign, hours, minutes = parts_of(_OFFSET, zone)
    size = int(hours) * 3600 + int(minutes) * 60
    return -size if sign == "-" else size


def _int(value: int | float | str | Timestamp) -> celtypes.IntType:  # noqa: PYI041
    """Convert to an int, by the rules of absl's ``SimpleAtoi``."""
    if isinstance(value, str):
        sign, digits = parts_of(_INT, value)
        return celtypes.IntType(int(sign + digits))
    if isinstance(value, Timestamp):
        return celtypes.IntType(value.ticks // TICKS)
    if isinstance(value, float) and not -(2.0**63) < value < 2.0**63:
        raise OverflowError
    return celtypes.IntType(value)


def _double(value: int | float | str) -> celtypes.DoubleType:  # noqa: PYI041
    """Convert to a double, by the rules of absl's ``SimpleAtod``."""
    if not isinstance(value, str):
        return celtypes.DoubleType(value)
    if _NAN.fullmatch(value):
        return celtypes.DoubleType(math.nan)
    if decimal := _DECIMAL.fullmatch(value):
        return celtypes.DoubleType(float(decimal[1]))
    (digits,) = parts_of(_HEXADECIMAL, value)
    try:
        return celtypes.DoubleType(float.fromhex(digits))
    except OverflowError:
        return celtypes.DoubleType(-math.inf if digits.startswith("-") else math.inf)


def _string(value: object) -> celtypes.StringType:
    """Convert to a string; not a double, which engines spell differently."""
    if isinstance(value, celtypes.BoolType):
        return celtypes.StringType("true" if value else "false")
    if isinstance(value, (int, str, Timestamp, Duration)):
        return celtypes.StringType(str(value))
    raise TypeError


def _bucket(salt: str, key: str) -> celtypes.IntType:
    """Put a key into one of a hundred buckets."""
    digest = hashlib.sha256(salt.encode() + b"\0" + key.encode()).digest()
    return celtypes.IntType(int.from_bytes(digest, "big") % 100)


def _not(value: celtypes.BoolType) -> celtypes.BoolType:
    """Negate; celpy's own function logs its operand."""
    return FALSE if value else TRUE


def _in(item: object, items: celtypes.ListType) -> celtypes.BoolType:
    """Look for an element; celpy's own function logs its operands."""
    return TRUE if any(item == other for other in items) else FALSE


def _size(value: Sequence[object]) -> celtypes.IntType:
    """Count elements or code points; celpy's own function logs its operand."""
    return celtypes.IntType(len(value))


def _element(items: celtypes.ListType, index: int) -> Any:
    """Return an element; Python would take a negative index as counted from the end."""
    if index < 0:
        raise IndexError
    return items[index]


def _divide(dividend: Any, divisor: Any) -> Any:
    """Divide: doubles by the rules of IEEE 754, ints by celpy."""
    if not isinstance(divisor, float) or divisor:
        return _typed(dividend / divisor)
    if not dividend or math.isnan(dividend):
        return celtypes.DoubleType(math.nan)
    sign = math.copysign(1, dividend) * math.copysign(1, divisor)
    return celtypes.DoubleType(math.copysign(math.inf, sign))


def _remainder(dividend: celtypes.IntType, divisor: celtypes.IntType) -> celtypes.IntType:
    """Divide and return the remainder, which exists only where the quotient does."""
    int64(abs(dividend) if divisor == _MINUS_ONE else 0)
    return dividend % divisor


_CEL_TYPES: Final[dict[type, Callable[[Any], Any]]] = {
    float: celtypes.DoubleType,
    str: celtypes.StringType,
    list: celtypes.ListType,
}


def _typed(value: Any) -> Any:
    """Give a value its CEL type back, which celpy's inherited operators lose."""
    cel_type = _CEL_TYPES.get(type(value))
    return cel_type(value) if cel_type else value


def _typed_result(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Wrap an operator so that its result has its CEL type."""
    return lambda left, right: _typed(function(left, right))


FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "!": _not,
    "neg": operator.neg,
    "==": evaluation.boolean(operator.eq),
    "!=": evaluation.boolean(operator.ne),
    "<": evaluation.boolean(operator.lt),
    "<=": evaluation.boolean(operator.le),
    ">": evaluation.boolean(operator.gt),
    ">=": evaluation.boolean(operator.ge),
    "in": _in,
    "+": _typed_result(operator.add),
    "-": _typed_result(operator.sub),
    "*": _typed_result(operator.mul),
    "/": _divide,
    "%": _remainder,
    "[]": _element,
    "size": _size,
    "startsWith": evaluation.function_startsWith,
    "endsWith": evaluation.function_endsWith,
    "contains": evaluation.function_contains,
    "matches": evaluation.function_matches,
    "int": _int,
    "double": _double,
    "string": _string,
    "timestamp": timestamp,
    "duration": duration,
    "bucket": _bucket,
    "getFullYear": _local(lambda year, _: year),
    "getMonth": _local(lambda _, date: date.month - 1),
    "getDate": _local(lambda _, date: date.day),
    "getDayOfMonth": _local(lambda _, date: date.day - 1),
    "getDayOfWeek": _local(lambda _, date: date.isoweekday() % 7),
    "getDayOfYear": _local(lambda _, date: date.timetuple().tm_yday - 1),
    "getHours": _clocked(lambda s: s // 3600 % 24, lambda ns: toward_zero(ns, 3600 * 10**9)),
    "getMinutes": _clocked(lambda s: s // 60 % 60, lambda ns: toward_zero(ns, 60 * 10**9)),
    "getSeconds": _clocked(lambda s: s % 60, lambda ns: toward_zero(ns, 10**9)),
    "getMilliseconds": _milliseconds,
}
