"""The shape of a request: its sections, their keys, and the types of their values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from policy_router.cel.ast import BOOL, DOUBLE, INT, STRING, STRINGS, Type
from policy_router.cel.vocabulary import MAX_ITEMS, SECTIONS
from policy_router.decision.typed import MAX_CHARACTERS
from policy_router.diagnostics.model import did_you_mean, json_path, quote
from policy_router.domain import NOTHING, FrozenDict
from policy_router.errors import RequestError
from policy_router.parameters import KNOWN, LONGEST, RESERVED, fits, named

_INT64 = 2**63
_EXPECTED = {
    STRING: "a string",
    INT: "an int",
    DOUBLE: "a number",
    BOOL: "true or false",
    STRINGS: "a list of strings",
}
_TYPES = {bool: BOOL, str: STRING, int: INT, float: DOUBLE, list: STRINGS, tuple: STRINGS}
WISHING = ("call", "task")
"""The sections with wishes."""


def checked_section(section: str, content: Any) -> FrozenDict:
    """Check a section of a request in shape.

    Raises:
        RequestError: an unknown section or key, a wrong type, or a number that is not finite.
    """
    if section not in SECTIONS and section != "facts":
        above = next((it for it in ("task", *SECTIONS) if section in SECTIONS[it]), None)
        remedy = (
            f"write it under `{above}`" if above else did_you_mean(section, [*SECTIONS, "facts"])
        )
        raise RequestError(json_path(section), f"unknown key {quote(section)}", remedy)
    if not isinstance(content, Mapping):
        reason = f"expected a mapping, found {kind_of(content)}"
        raise RequestError(json_path(section), reason)
    names = SECTIONS.get(section, NOTHING)
    found = {}
    for key, value in content.items():
        # Most values are plain strings, or whole numbers: they are known to be good at once.
        name = names.get(key)
        if name is None:
            found[key] = _given(section, key, value)
        elif name.type is STRING:
            found[key] = value if _is_plain(value) else _given(section, key, value)
        else:
            is_good = name.type is INT and type(value) is int and -_INT64 <= value < _INT64
            found[key] = value if is_good else _given(section, key, value)
    return FrozenDict(found)


def _given(section: str, key: Any, value: Any) -> Any:
    if not isinstance(key, str):
        raise RequestError(json_path(section), "a key must be a string")
    if section == "facts":
        return value_of_type(value, _type_of(value), section, key)
    if key == "parameters" and section in WISHING:
        return _parameters(value, section)
    name = SECTIONS[section].get(key)
    if name is None:
        remedy = did_you_mean(key, SECTIONS[section])
        raise RequestError(json_path(section, key), f"unknown key {quote(key)}", remedy)
    return value_of_type(value, name.type, section, key)


def _parameters(content: Any, section: str) -> FrozenDict:
    """Check the wishes for parameters, but for the names that only a policy knows."""
    path = (section, "parameters")
    if not isinstance(content, Mapping):
        reason = f"expected a mapping, found {kind_of(content)}"
        raise RequestError(json_path(*path), reason)
    seen: dict[str, str] = {}
    found = {}
    for key, value in content.items():
        if not isinstance(key, str):
            raise RequestError(json_path(*path), "a key must be a string")
        where = json_path(*path, key)
        if key in RESERVED:
            raise RequestError(
                where, f"{quote(key)} is not a parameter: it would override the decision"
            )
        first = seen.setdefault(named(key), key)
        if first != key:
            raise RequestError(where, f"{quote(key)} and {quote(first)} are the same parameter")
        found[key] = _parameter(named(key), value, *path, key)
    return FrozenDict(found)


def _parameter(name: str, value: Any, *path: str | int) -> Any:
    where = json_path(*path)
    if not fits(name, value) or not isinstance(value, str | int | float):
        wanted = KNOWN[name].value if name in KNOWN else "a string, a number, or true or false"
        raise RequestError(where, f"expected {wanted}, found {kind_of(value)}")
    if isinstance(value, str):
        if len(value) > LONGEST:
            raise RequestError(where, f"the string has more than {LONGEST} characters")
        return _string(value, *path)
    if isinstance(value, float) and not math.isfinite(value):
        raise RequestError(where, "expected a finite number")
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        raise RequestError(where, "the number does not fit in 64 bits")
    return value


def _type_of(value: Any) -> Type | None:
    """Return the type of a fact's value by itself; None where no fact can have it."""
    exact = _TYPES.get(type(value))
    if exact is not None:
        return exact
    return next((type_ for kind, type_ in _TYPES.items() if isinstance(value, kind)), None)


def value_of_type(value: Any, wanted: Type | None, section: str, key: str) -> Any:
    """Return a value of a type, with tuples for lists and a double for a whole number."""
    found = _type_of(value)
    fits = found is wanted or found == wanted or (found, wanted) == (INT, DOUBLE)
    if wanted is None or found is None or not fits:
        expected = _EXPECTED[wanted] if wanted else "a plain value"
        reason = f"expected {expected}, found {kind_of(value)}"
        raise RequestError(json_path(section, key), reason)
    if found is STRINGS:
        return _strings(value, section, key)
    if found is STRING:
        return value if _is_plain(value) else _string(value, section, key)
    if found is INT and not -_INT64 <= value < _INT64:
        raise RequestError(json_path(section, key), "the number does not fit in 64 bits")
    if found is DOUBLE and not math.isfinite(value):
        raise RequestError(json_path(section, key), "expected a finite number")
    if wanted is DOUBLE:
        return float(value)
    return int(value) if found is INT else value


def _strings(items: list[Any] | tuple[Any, ...], section: str, key: str) -> tuple[str, ...]:
    if len(items) > MAX_ITEMS:
        reason = f"the list has more than {MAX_ITEMS:,} items"
        raise RequestError(json_path(section, key), reason)
    return tuple(
        [
            item if _is_plain(item) else _string(item, section, key, position)
            for position, item in enumerate(items)
        ]
    )


def _is_plain(value: Any) -> bool:
    """Tell at once that a value is a string that may be given, as most are."""
    return (
        type(value) is str
        and value.isascii()
        and len(value) <= MAX_CHARACTERS
        and "\x00" not in value
    )


def _string(value: Any, *path: str | int) -> str:
    if not isinstance(value, str):
        raise RequestError(json_path(*path), f"expected a string, found {kind_of(value)}")
    if len(value) > MAX_CHARACTERS:
        reason = f"the string has more than {MAX_CHARACTERS:,} characters"
        raise RequestError(json_path(*path), reason)
    if "\x00" in value:
        raise RequestError(json_path(*path), "the string has a NUL character")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise RequestError(json_path(*path), "the string is not valid Unicode")
    return str(value)


def kind_of(value: Any) -> str:
    """Name the kind of a value, never the value."""
    for kind, word in (
        (bool, "true or false"),
        (str, "a string"),
        (int, "an int"),
        (float, "a double"),
        (list | tuple, "a list"),
        (Mapping, "a mapping"),
    ):
        if isinstance(value, kind):
            return word
    return "null" if value is None else "something else"
