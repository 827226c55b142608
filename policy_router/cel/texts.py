"""What operations make of texts and lists, whose sizes are bounded before anything is allocated.

Beyond the language definition, the definitions are those of CEL's extension library of strings:
https://github.com/google/cel-go/blob/master/ext/README.md. Offsets count Unicode code points.
"""

from __future__ import annotations

from typing import Any, Final

MAX_TEXT: Final = 65_536
"""The most characters of a text that an operation makes."""
MAX_LIST: Final = 10_000
"""The most elements of a list that an operation makes."""

_SPACE: Final = (
    "\t\n\v\f\r \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009"
    "\u200a\u2028\u2029\u202f\u205f\u3000"
)
"""The characters that Unicode has as white space; Python's own list has four more."""


class EvaluationError(Exception):
    """An expression has no value; without a reason on purpose, since a reason may quote facts."""


def _fits(size: int, most: int = MAX_TEXT) -> None:
    if size > most:
        raise EvaluationError


def concatenated(left: str, right: str) -> str:
    """Join two texts."""
    _fits(len(left) + len(right))
    return left + right


def chained(left: tuple[Any, ...], right: tuple[Any, ...]) -> tuple[Any, ...]:
    """Join two lists."""
    _fits(len(left) + len(right), MAX_LIST)
    return left + right


def lower(text: str) -> str:
    """Make the letters A to Z small."""
    _fits(len(text))
    return text.encode().lower().decode()


def upper(text: str) -> str:
    """Make the letters a to z capital."""
    _fits(len(text))
    return text.encode().upper().decode()


def trimmed(text: str) -> str:
    """Drop white space at both ends."""
    found = text.strip(_SPACE)
    _fits(len(found))
    return found


def split(text: str, separator: str, limit: int = -1) -> tuple[str, ...]:
    """Cut a text at a separator, an empty one between all characters.

    Args:
        text: the text.
        separator: what stands between the parts.
        limit: the most parts, the last of which is the rest; a negative number for no limit.
    """
    if limit == 0:
        return ()
    parts = text.count(separator) + 1 if separator else max(len(text), 1)
    if 0 < limit < parts:
        parts = limit
    _fits(parts, MAX_LIST)
    if separator:
        return tuple(text.split(separator, parts - 1))
    return (*text[: parts - 1], text[parts - 1 :])


def joined(items: tuple[str, ...], separator: str = "") -> str:
    """Join the texts of a list."""
    _fits(sum(map(len, items)) + len(separator) * max(len(items) - 1, 0))
    return separator.join(items)


def replaced(text: str, old: str, new: str, limit: int = -1) -> str:
    """Write another text in place of one, from the left.

    Args:
        text: the text.
        old: what is replaced; an empty one stands before each character and at the end.
        new: what stands there then.
        limit: how often at most; a negative number for no limit.
    """
    found = text.count(old)
    times = min(found, limit) if limit >= 0 else found
    _fits(len(text) + times * (len(new) - len(old)))
    return text.replace(old, new, times)


def index(text: str, sought: str, start: int = 0) -> int:
    """Return the offset of a text in another, at or after a start; -1 where it is not there."""
    if not 0 <= start <= len(text):
        raise EvaluationError
    return text.find(sought, start)


def substring(text: str, start: int, end: int | None = None) -> str:
    """Return the characters from one offset up to another, or up to the end."""
    stop = len(text) if end is None else end
    if not 0 <= start <= stop <= len(text):
        raise EvaluationError
    _fits(stop - start)
    return text[start:stop]
