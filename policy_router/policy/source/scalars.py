"""What a scalar means, by the core schema (YAML 1.2.2, 10.3)."""

from __future__ import annotations

import re
from typing import TypeAlias

Value: TypeAlias = bool | int | float | str | None
"""What a scalar can mean."""

SHOWN_KINDS = {type(None): "null", bool: "a boolean", int: "a number", float: "a number"}
"""How a message names what is not a string."""

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NUMBER_STARTS = frozenset("0123456789+-.")
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_LONGEST_INTEGER = 30
_BASES = {"0o": 8, "0x": 16}


class BadNumberError(Exception):
    """A number that no policy can mean; the message says why."""


def resolved(text: str) -> Value:
    """Return what a plain scalar means (YAML 1.2.2, 10.3.2)."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_STARTS:
        return text
    if _INTEGER.fullmatch(text):
        return _integer(text)
    return _float(text) if _FLOAT.fullmatch(text) else text


def _integer(text: str) -> int:
    base = _BASES.get(text[:2], 10)
    sign = "-" if text[0] == "-" else ""
    digits = (text[2:] if base != 10 else text.lstrip("+-")).lstrip("0") or "0"  # noqa: PLR2004
    value = int(sign + digits, base) if len(digits) <= _LONGEST_INTEGER else 1 << 64
    if not -(1 << 63) <= value < 1 << 63:
        message = "the integer does not fit into 64 bits"
        raise BadNumberError(message)
    return value


def _float(text: str) -> float:
    if text[-1] in "fFnN":
        message = "a number must be finite"
        raise BadNumberError(message)
    value = float(text)
    if value in {float("inf"), float("-inf")}:
        message = "the number is too large"
        raise BadNumberError(message)
    return value


def kind_of_key(text: str) -> str | None:
    """Return what a plain key is where it is not a string."""
    try:
        return SHOWN_KINDS.get(type(resolved(text)))
    except BadNumberError:
        return "a number"
