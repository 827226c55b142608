"""Remedies for words and operators of other languages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from policy_router.cel.ast import DOUBLE, DURATION, INT, TIMESTAMP, Apply, Literal, Node, Type

_A_TIME: Final = 'write `timestamp("2026-01-31T09:00:00Z")`'
_A_LIST: Final = 'a list is written in brackets: `["a", "b"]`'
_EQUALITY: Final = "equality is written `==`"
_PATTERN: Final = 'match a text with `x.matches("pattern")`'
_SIGNS: Final[Mapping[str, str]] = {
    "and": "write `&&`",
    "or": "write `||`",
    "not": "write `!`",
    "&": "write `&&`",
    "|": "write `||`",
    "=": _EQUALITY,
    "~": _PATTERN,
    "is": _EQUALITY,
    "if": "write `condition ? value : other`",
    "between": "write `1 <= x && x <= 3`",
    "`": "write a straight quote",
    "#": "move the comment above the condition; inside, it begins with `//`",
    "$": "write the name alone, such as `task.kind`",
    "\u2265": "write `>=`",
    "\u2264": "write `<=`",
    "\u2260": "write `!=`",
    **dict.fromkeys("\u2212\u2013\u2014", "write `-`"),
    **dict.fromkeys("\u201c\u201d\u2018\u2019", "write a straight quote"),
    **dict.fromkeys(
        ("like", "matches", "contains", "startswith", "endswith"),
        'write it after the text: `x.matches("pattern")`, `x.contains("part")`',
    ),
}
_AFTER: Final[tuple[tuple[str, str, str], ...]] = (
    (r"$", r"(?i:not\s+in)\b", "write `!(a in b)`"),
    (r"(?i:\bnot)\s+$", r"\w", "write `!(...)`"),
    (r"$", r"=~", _PATTERN),
    (r"[=!]$", r"~", _PATTERN),
    (r"=$", r"=", _EQUALITY),
    (r"\(\s*\w+\s*$", r"[=-]>", "write a comma: `list.exists(item, condition)`"),
    (r"$", r"=>", "write `>=`"),
    (r"$", r"=<", "write `<=`"),
    (r"<$", r">", "write `!=`"),
    (r"$", r"is\s+not\b", "write `!=`"),
    (r"\d$", r",\d", "write the number without a comma"),
    (r"\bin\s+[\"'][^\[]*$", r",", _A_LIST),
    (r"\.$", r"\?", "test with `has(x)`: `has(x) ? x : other`"),
    (r"\bin\s*[({][^(){}]*$", r",", _A_LIST),
    (r"\{\{[^{}]*$", r"\}", _SIGNS["$"]),
    (r"[(,]\s*$", r"/", 'a pattern is a text: `x.matches("pattern")`'),
    (r"\d{4}-\d\d-\d\d$", r"T", _A_TIME),
    (r"\d\s*%$", r"$", "write the number without `%`"),
    (r"\d$", r"[A-Za-z_]", "write the number in digits alone, such as `128000`"),
)
"""What stands before and after the place of a problem, and the remedy."""
_LACKS_OPERATOR: Final = (r"[\w)\]\"']\s*$", r"[\w\"']")

FUNCTIONS: Final[Mapping[str, str]] = {
    "not": "write `!(...)`",
    **dict.fromkeys(("if", "iif"), "write `condition ? value : other`"),
    **dict.fromkeys(("exists", "defined", "isset", "present"), "write `has(x)`"),
    **dict.fromkeys(
        ("coalesce", "default", "get", "getOrDefault", "orValue"), "write `has(x) ? x : other`"
    ),
    **dict.fromkeys(("float", "number"), "write `double(x)`"),
    **dict.fromkeys(("str", "toString"), "write `string(x)`"),
    **dict.fromkeys(("date", "datetime", "parseDate", "Date"), _A_TIME),
    **dict.fromkeys(("hash", "percentage", "rollout"), "write `bucket(salt, key) < percent`"),
    **dict.fromkeys(("regex", "match", "test"), 'write `x.matches("pattern")`'),
    **dict.fromkeys(("includes", "has_key", "member"), "write `value in list`"),
    **dict.fromkeys(("isEmpty", "empty"), 'write `x == ""`, or `size(x) == 0`'),
    "startswith": "write `x.startsWith(text)`",
    "endswith": "write `x.endsWith(text)`",
    **dict.fromkeys(("lower", "toLower", "toLowerCase", "lowercase"), "write `x.lowerAscii()`"),
    **dict.fromkeys(("upper", "toUpper", "toUpperCase", "uppercase"), "write `x.upperAscii()`"),
    **dict.fromkeys(("strip", "trimSpace"), "write `x.trim()`"),
    **dict.fromkeys(("find", "index", "position"), "write `x.indexOf(text)`"),
    **dict.fromkeys(("substr", "slice"), "write `x.substring(start, end)`"),
    **dict.fromkeys(("len", "length", "count"), "write `size(x)`"),
    **dict.fromkeys(("max", "maximum", "greatest"), "write `math.greatest(a, b)`"),
    **dict.fromkeys(("min", "minimum", "least"), "write `math.least(a, b)`"),
    **dict.fromkeys(("containsAll", "superset"), "write `sets.contains(list, values)`"),
    **dict.fromkeys(
        ("hasIntersection", "intersects", "containsAny", "overlaps"),
        "write `sets.intersects(a, b)`",
    ),
    **dict.fromkeys(("bind", "let"), "write `cel.bind(name, value, expression)`"),
    "abs": "write `x < 0 ? -x : x`",
    **dict.fromkeys(("any", "some"), "write `list.exists(item, condition)`"),
}
"""By the name of a function that there is not; some are of other languages."""

_CALLER: Final = "the names are `caller.id`, `caller.team` and `caller.roles`"
NAMES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("no", "off", "No", "Off", "NO", "OFF", "never"), "write `false`"),
    **dict.fromkeys(("yes", "on", "Yes", "On", "YES", "ON", "always"), "write `true`"),
    **dict.fromkeys(
        ("null", "None", "nil", "undefined", "Null", "NULL"),
        'ask `has(x)` for what may be absent, and compare with `""` what is always present',
    ),
    **dict.fromkeys(("user", "agent", "principal", "subject"), _CALLER),
    **dict.fromkeys(("request", "req", "input", "context"), "leave it out: write `task.kind`"),
    **dict.fromkeys(("model_name", "entry", "candidate"), "the candidate is `target`"),
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


_DAYS: Final = "days are numbers: Sunday is 0, Saturday 6"
_COUNTED: Final[Mapping[str, str]] = {
    "getDayOfWeek": _DAYS,
    "getMonth": "months are numbers: January is 0, December 11",
}
_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?")


def at(text: str, offset: int, word: str) -> str | None:
    """Return the remedy for what a text has at an offset, and cannot have there."""
    before, after = text[:offset], text[offset:]
    for left, right, remedy in _AFTER:
        if re.search(left, before) and re.match(right, after):
            return remedy
    found = _SIGNS.get(word.lower())
    left, right = _LACKS_OPERATOR
    if found is None and re.search(left, before) and re.match(right, after):
        return "an operator is missing before it, such as `&&` or `==`"
    return found


def of_types(operands: Sequence[Node]) -> str | None:
    """Return the remedy for operands whose types do not go together."""
    types = {node.type for node in operands}
    if TIMESTAMP in types and len(types) > 1:
        return _A_TIME
    if DURATION in types and len(types) > 1:
        return 'write `duration("1h30m")`'
    if isinstance(operands[0], Apply) and operands[0].function in {"<", "<=", ">", ">="}:
        return "write two comparisons, such as `1 < x && x < 3`"
    for node in operands:
        if isinstance(node, Apply) and node.function in _COUNTED:
            return _COUNTED[node.function]
        text = node.value if isinstance(node, Literal) else None
        if isinstance(text, str) and types & {INT, DOUBLE} and _NUMBER.fullmatch(text):
            return "write the number without quotes"
    return None


def of_duration(text: str) -> str | None:
    """Return how a duration of days or weeks is written."""
    found = re.fullmatch(r"(\d{1,6})\s*(d|w|days?|weeks?)", text)
    hours = {"d": 24, "w": 24 * 7}
    return f"write `{int(found[1]) * hours[found[2][0]]}h`" if found else None


def of_pattern(text: str) -> str | None:
    """Return the remedy for a pattern of another kind than RE2's."""
    if re.search(r"\(\?<?[=!]", text):
        return "there is no look-ahead: write two conditions, joined with `&&`"
    return "any text is `.*`" if text.startswith(("*", "?", "+")) else None


def field_of(path: str, type_: Type, word: str) -> str | None:
    """Return the remedy for a field of something that has none."""
    if type_ == TIMESTAMP and word in _FIELDS:
        return f"write `{path}.{_FIELDS[word]}`"
    if word in {"length", "size", "len", "count"}:
        return f"write `size({path})`"
    return None
