"""Literals and constant arguments: reads their text, and refuses those without a value.

Escapes are those of the CEL language definition, section "String and Bytes Values".
Timestamps are RFC 3339, durations are CEL's: signed decimal numbers with h, m, s, ms, us or ns.
"""

from __future__ import annotations

import datetime
import re

import re2

MIN_INT, MAX_INT = -(2**63), 2**63 - 1

_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\'\"`?])|[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})"
    r"|([0-3][0-7]{2})|(.?))",
    re.DOTALL,
)
_SIMPLE = dict(zip("abfnrtv\\'\"`?", "\a\b\f\n\r\t\v\\'\"`?", strict=True))
_NUMBER = re.compile(r"-?(?:0x[0-9a-fA-F]+|\d+)")
_TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d{1,9})?(?:Z|([+-])(\d\d):(\d\d))"
)
_DURATION = re.compile(r"[+-]?(?:0|(?:(?:\d+(?:\.\d*)?|\.\d+)(?:h|ms|us|ns|m|s))+)")
_OFFSET = re.compile(r"[+-]?(?:0\d|1[0-4]):[0-5]\d")


class LiteralProblem(Exception):  # noqa: N818 - becomes a diagnostic, never escapes
    """A literal that has no value."""


def value_of(text: str) -> bool | int | float | str:
    """Return the value of a literal.

    Args:
        text: the literal as it is written.

    Raises:
        LiteralProblem: a number out of range, an unknown escape, or a type outside the profile.
    """
    if text in {"true", "false"}:
        return text == "true"
    if text[-1] in "\"'":
        return _string_of(text)
    if _NUMBER.fullmatch(text):
        return _int_of(text)
    if text == "null" or text[-1] in "uU":
        raise LiteralProblem(f"`{text[:40]}` is outside the profile of CEL used here")
    number = float(text)
    if number in {float("inf"), float("-inf")}:
        raise LiteralProblem("the number is too large for a double")
    return number


def _int_of(text: str) -> int:
    number = int(text, 16 if "x" in text else 10)
    if not MIN_INT <= number <= MAX_INT:
        raise LiteralProblem("the number is too large for an int of 64 bits")
    return number


def _string_of(text: str) -> str:
    quote = text[-1]
    prefix, _, _ = text.partition(quote)
    if "b" in prefix.lower():
        raise LiteralProblem("bytes are outside the profile of CEL used here")
    body = text[len(prefix) :]
    width = 3 if body.startswith(quote * 3) and len(body) >= 6 else 1  # noqa: PLR2004 - two triple quotes
    body = body[width:-width]
    return body if prefix else _ESCAPE.sub(_unescaped, body)


def _unescaped(match: re.Match[str]) -> str:
    simple, hex2, hex4, hex8, octal, unknown = match.groups()
    if unknown is not None:
        raise LiteralProblem(f"unknown escape `{match.group()}` in a string")
    if simple:
        return _SIMPLE[simple]
    point = int(octal, 8) if octal else int(hex2 or hex4 or hex8, 16)
    if point > 0x10FFFF or 0xD800 <= point <= 0xDFFF:  # noqa: PLR2004 - Unicode's ranges
        raise LiteralProblem(f"`{match.group()}` is not a Unicode character")
    return chr(point)


def pattern_problem(pattern: str) -> str | None:
    """Return why a text is not a pattern in RE2's syntax, or None where it is."""
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options=options)
    except re2.error as problem:
        reason = problem.args[0] if problem.args else b""
        return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
    return None


def is_timestamp(text: str) -> bool:
    """Tell whether a text is a timestamp of RFC 3339 between the years 1 and 9999."""
    match = _TIMESTAMP.fullmatch(text)
    if not match:
        return False
    *parts, sign, hours, minutes = match.groups()
    try:
        moment = datetime.datetime(*(int(part) for part in parts), tzinfo=datetime.UTC)  # type: ignore[arg-type,misc]
        offset = datetime.timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
        moment - offset if sign == "+" else moment + offset
    except (ValueError, OverflowError):
        return False
    return True


def is_duration(text: str) -> bool:
    """Tell whether a text is a duration such as ``1h30m`` or ``-1.5s``."""
    return _DURATION.fullmatch(text) is not None


def is_utc_offset(text: str) -> bool:
    """Tell whether a text is ``UTC`` or an offset such as ``+02:00``."""
    return text == "UTC" or _OFFSET.fullmatch(text) is not None
