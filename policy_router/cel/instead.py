"""What to write in place of words and signs of other languages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from policy_router.cel.ast import TIMESTAMP, Type

_SIGNS: Final[Mapping[str, str]] = {
    "and": "write `&&`",
    "or": "write `||`",
    "not": "write `!`",
    "&": "write `&&`",
    "|": "write `||`",
    "=": "equality is written `==`",
    "~": 'match a text with `x.matches("pattern")`',
    **dict.fromkeys("\u201c\u201d\u2018\u2019", "write a straight quote"),
    **dict.fromkeys(
        ("like", "matches", "contains", "startsWith", "endsWith"),
        'write it after the text: `x.matches("pattern")`, `x.contains("part")`',
    ),
    "is": "equality is written `==`",
    "if": "write `condition ? value : other`",
}
_AFTER: Final[tuple[tuple[str, str, str], ...]] = (
    (r"$", r"not\s+in\b", "write `!(a in b)`"),
    (r"$", r"=~", _SIGNS["~"]),
    (r"[=!]$", r"~", _SIGNS["~"]),
    (r"=$", r"=", "equality is written `==`"),
    (r"\.$", r"\?", "test with `has(x)`: `has(x) ? x : other`"),
    (r"\bin\s*[({][^(){}]*$", r",", 'a list is written in brackets: `["a", "b"]`'),
)
"""What stands before and after the place of a problem, and the remedy."""

FUNCTIONS: Final[Mapping[str, str]] = {
    "not": "write `!(...)`",
    "if": "write `condition ? value : other`",
    "iif": "write `condition ? value : other`",
    **dict.fromkeys(("exists", "defined", "isset", "present"), "write `has(x)`"),
    **dict.fromkeys(
        ("coalesce", "default", "get", "getOrDefault", "orValue"), "write `has(x) ? x : other`"
    ),
    **dict.fromkeys(("float", "number"), "write `double(x)`"),
    **dict.fromkeys(("str", "toString"), "write `string(x)`"),
    **dict.fromkeys(("hash", "percentage", "rollout"), "write `bucket(salt, key) < percent`"),
    **dict.fromkeys(("regex", "match", "test"), 'write `x.matches("pattern")`'),
    **dict.fromkeys(("includes", "has_key", "member"), "write `value in list`"),
    "startswith": "write `x.startsWith(text)`",
    "endswith": "write `x.endsWith(text)`",
}
"""By the name of a function that there is not."""

NAMES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("no", "off", "No", "Off", "NO", "OFF"), "write `false`"),
    **dict.fromkeys(("yes", "on", "Yes", "On", "YES", "ON"), "write `true`"),
    **dict.fromkeys(
        ("null", "None", "nil", "undefined", "Null", "NULL"),
        'ask `has(x)` for what may be absent, and compare with `""` what is always present',
    ),
}
"""By a name that is not known."""

_FIELDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("hour", "hours"), "getHours()"),
    **dict.fromkeys(("minute", "minutes"), "getMinutes()"),
    **dict.fromkeys(("second", "seconds"), "getSeconds()"),
    **dict.fromkeys(("day", "date"), "getDate()"),
    **dict.fromkeys(("weekday", "dayOfWeek", "day_of_week"), "getDayOfWeek()"),
    "month": "getMonth()",
    "year": "getFullYear()",
}


def at(text: str, offset: int, word: str) -> str | None:
    """Return the remedy for what a text has at an offset, and cannot have there."""
    before, after = text[:offset], text[offset:]
    for left, right, remedy in _AFTER:
        if re.search(left, before) and re.match(right, after):
            return remedy
    return _SIGNS.get(word)


def field_of(path: str, type_: Type, word: str) -> str | None:
    """Return the remedy for a field of something that has none."""
    if type_ == TIMESTAMP and word in _FIELDS:
        return f"write `{path}.{_FIELDS[word]}`"
    if word in {"length", "size", "len", "count"}:
        return f"write `size({path})`"
    return None
