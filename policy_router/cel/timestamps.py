"""Timestamps and durations of CEL, as exact as Google's engine has them.

They are read from text by the rules of its library absl (``ParseTime`` for RFC 3339,
``ParseDuration``) and written as protobuf's JSON does.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import Any, Final

TICKS: Final = 4 * 10**9  # ticks a second: Google's engine counts quarters of a nanosecond
DAY: Final = 86_400  # seconds
DAYS_IN_400_YEARS: Final = 146_097
EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
EPOCH_DAY: Final = EPOCH.toordinal()
_FIRST_SECOND: Final = -62_135_596_800  # 0001-01-01T00:00:00Z
_LAST_SECOND: Final = 253_402_300_799  # 9999-12-31T23:59:59Z
_LAST: Final = _LAST_SECOND * TICKS + 4 * 999_999_999  # in ticks
_LONGEST: Final = 315_576_000_001 * TICKS - 4  # a duration: 10,000 years, in ticks

# No pattern backs up over more than a few characters: the texts come from agents.
SPACE: Final = r"[ \t\n\v\f\r]*"
_TIMESTAMP: Final = re.compile(
    rf"{SPACE}([0-9]+)-([0-9]{{1,2}})-([0-9]{{1,2}})"
    r"T([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:\.([0-9]+))?"
    rf"(?:Z|([+-])([0-9]{{2}})(?::?([0-9]{{2}})(?::?([0-9]{{2}}))?)?){SPACE}(?:\0.*)?",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)
_DURATION: Final = re.compile(r"([+-]?)((?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|ms|s|m|h))+|0)")
_DURATION_PART: Final = re.compile(r"([0-9]*)\.?([0-9]*)(ns|us|ms|s|m|h)")
_UNITS: Final = {
    "ns": TICKS // 10**9,
    "us": TICKS // 10**6,
    "ms": TICKS // 10**3,
    "s": TICKS,
    "m": 60 * TICKS,
    "h": 3600 * TICKS,
}


def int64(number: int) -> int:
    """Return the number if 64 bits can hold it."""
    if not -(2**63) <= number < 2**63:
        raise OverflowError
    return number


def toward_zero(dividend: int, divisor: int) -> int:
    """Divide as CEL does, dropping the fraction."""
    return dividend // divisor if dividend >= 0 else -(-dividend // divisor)


@dataclass(frozen=True, order=True, slots=True)
class Duration:
    """A CEL duration.

    Attributes:
        ticks: its length in quarters of a nanosecond.
    """

    ticks: int

    def __post_init__(self) -> None:
        """Refuse more than about 10,000 years."""
        if abs(self.ticks) > _LONGEST:
            raise OverflowError

    def nanoseconds(self) -> int:
        """Return the length as Google's engine computes with it: 64 bits, saturated."""
        return min(max(toward_zero(self.ticks, 4), -(2**63)), 2**63 - 1)

    def __add__(self, other: Duration | Timestamp) -> Duration | Timestamp:
        """Add a duration or a point in time."""
        if isinstance(other, Timestamp):
            return other + self
        return Duration(4 * int64(self.nanoseconds() + other.nanoseconds()))

    def __sub__(self, other: Duration) -> Duration:
        """Subtract a duration."""
        return Duration(4 * int64(self.nanoseconds() - other.nanoseconds()))

    def __str__(self) -> str:
        """Spell it in seconds, with 0, 3, 6 or 9 digits after the point."""
        seconds, nanoseconds = divmod(abs(toward_zero(self.ticks, 4)), 10**9)
        sign = "-" if self.ticks <= -4 else ""  # noqa: PLR2004  # a nanosecond
        return f"{sign}{seconds}{_fraction(nanoseconds)}s"


@dataclass(frozen=True, order=True, slots=True)
class Timestamp:
    """A CEL timestamp.

    Attributes:
        ticks: quarters of a nanosecond since 1970.
    """

    ticks: int

    def __post_init__(self) -> None:
        """Refuse what is not in the years 1 to 9999."""
        if not _FIRST_SECOND * TICKS <= self.ticks <= _LAST:
            raise OverflowError

    def __add__(self, other: Duration) -> Timestamp:
        """Add a duration, in whole nanoseconds."""
        return Timestamp(4 * (self.ticks // 4 + toward_zero(other.ticks, 4)))

    def __sub__(self, other: Duration | Timestamp) -> Duration | Timestamp:
        """Subtract a duration, or another point in time."""
        if isinstance(other, Duration):
            return Timestamp(4 * (self.ticks // 4 + int64(-other.nanoseconds())))
        seconds = int64((self.ticks // TICKS - other.ticks // TICKS) * 10**9)
        return Duration(4 * int64(seconds + self.ticks % TICKS // 4 - other.ticks % TICKS // 4))

    def __str__(self) -> str:
        """Spell it as RFC 3339 does, in UTC, with 0, 3, 6 or 9 digits after the point."""
        whole = EPOCH + datetime.timedelta(seconds=self.ticks // TICKS)
        text = whole.replace(tzinfo=None).isoformat()
        return f"{text}{_fraction(self.ticks % TICKS // 4)}Z"


def _fraction(nanoseconds: int) -> str:
    """Spell a part of a second as protobuf's JSON does."""
    if not nanoseconds:
        return ""
    digits = f"{nanoseconds:09}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f".{digits}"


def timestamp(text: str) -> Timestamp:
    """Read a timestamp."""
    parts = parts_of(_TIMESTAMP, text)
    year, month, day, hour, minute, second = (int(part) for part in parts[:6])
    seconds = _days(year, month, day) * DAY + _clock(hour, minute, min(second, 59)) + second // 60
    zone = _clock(*(int(part or 0) for part in parts[8:]))
    ticks = 0 if second == 60 else int((parts[6] or "").ljust(10, "0")[:10]) * TICKS // 10**10  # noqa: PLR2004
    if second > 60:  # noqa: PLR2004  # a leap second is second 60, without a fraction
        raise ValueError
    return Timestamp((seconds + (zone if parts[7] == "-" else -zone)) * TICKS + ticks)


def parts_of(pattern: re.Pattern[str], text: str) -> tuple[Any, ...]:
    """Return the groups of a pattern that the whole text must match."""
    found = pattern.fullmatch(text)
    if not found:
        raise ValueError
    return found.groups()


def _clock(hour: int = 0, minute: int = 0, second: int = 0) -> int:
    """Return the seconds since midnight, of a time that exists."""
    time = datetime.time(hour, minute, second)
    return time.hour * 3600 + time.minute * 60 + time.second


def _days(year: int, month: int, day: int) -> int:
    """Return the days since 1970, of a date that exists, in any year from 0 on."""
    cycle, year = divmod(year, 400)
    date = datetime.date(year + 400, month, day)
    return date.toordinal() - EPOCH_DAY + (cycle - 1) * DAYS_IN_400_YEARS


def duration(text: str) -> Duration:
    """Read a duration."""
    sign, parts = parts_of(_DURATION, text)
    ticks = sum(_duration_part(*part.groups()) for part in _DURATION_PART.finditer(parts))
    return Duration(-ticks if sign == "-" else ticks)


def _duration_part(whole: str, fraction: str, unit: str) -> int:
    """Return the ticks of a number and a unit such as ``1.5h``."""
    scale: int = 10 ** len(fraction[:18])
    size = _UNITS[unit]
    part = int(fraction[:18] or 0) * size
    int64(part // TICKS)  # absl multiplies before it divides, in 64 bits of seconds
    return int64(int(whole or 0)) * size + part // scale


def timestamp_of(moment: datetime.datetime) -> Timestamp:
    """Turn an aware datetime into a timestamp."""
    since = moment - EPOCH
    return Timestamp((since.days * DAY + since.seconds) * TICKS + since.microseconds * 4000)


def datetime_of(moment: Timestamp) -> datetime.datetime:
    """Turn a timestamp into a datetime in UTC, without what is below a microsecond."""
    return EPOCH + datetime.timedelta(microseconds=moment.ticks // 4000)
