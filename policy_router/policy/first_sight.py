"""Values that have a shape at first sight, without jsonschema: its import alone takes a while.

A value that is good here is valid. Of any other nothing is known: jsonschema looks at it, and says
what is wrong.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

Test = Callable[[Any], bool]
_Schema = Mapping[str, Any]

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}
_NOTES: Final = {"$id", "$schema", "default", "definitions", "description", "examples", "title"}
"""Keywords that say nothing of a value."""
_KEYWORDS: Final = _NOTES | {
    *("additionalProperties", "const", "enum", "items", "maxItems", "maxLength", "maximum"),
    *("minItems", "minLength", "minProperties", "minimum", "not", "pattern", "properties"),
    *("propertyNames", "required", "type"),
}


class FirstSight:
    """Tells that values surely have the shape of a part of a schema."""

    def __init__(self, root: _Schema) -> None:
        """Prepare a schema.

        Args:
            root: the decoded schema, with the definitions.
        """
        self._root = root
        self._known: dict[str, Test] = {}

    def of(self, part: _Schema) -> Test:
        """Return what tells it of values of a part."""
        if "$ref" in part:
            return partial(self.fits, part["$ref"])
        if part.keys() <= _NOTES:
            return lambda _: True
        tests = self._tests(part)
        return lambda value: (test := tests.get(type(value))) is not None and test(value)

    def fits(self, name: str, value: Any) -> bool:
        """Tell it of a value of the part that a reference names: ``#/definitions/word``."""
        if name not in self._known:
            self._known[name] = self.of(self.referred(name))
        return self._known[name](value)

    def referred(self, name: str) -> Any:
        """Return the part that a reference names."""
        part: Any = self._root
        for step in name.removeprefix("#/").split("/"):
            part = part[step]
        return part

    def _tests(self, part: _Schema) -> dict[type, Test]:
        """Return a test for each type that a value may have."""
        if part.keys() - _NOTES == {"oneOf"}:
            return self._one_of(part["oneOf"])
        if not part.keys() <= _KEYWORDS or part.get("not", {"enum": ()}).keys() != {"enum"}:
            return {}
        number = partial(_is_number, part.get("minimum", -math.inf), part.get("maximum", math.inf))
        tests: dict[type, Test] = {
            **dict.fromkeys((bool, type(None)), lambda _: True),
            **dict.fromkeys((int, float), number),
            str: partial(_is_text, part),
            list: self._lists(part),
            dict: self._mappings(part),
        }
        kinds = _kinds(part) or tests.keys()
        return {kind: _among(part, kind, test) for kind, test in tests.items() if kind in kinds}

    def _one_of(self, branches: Sequence[_Schema]) -> dict[type, Test]:
        """Return the tests of a choice, as far as the type alone tells the branches apart."""
        parts = [self.referred(it["$ref"]) if "$ref" in it else it for it in branches]
        kinds = [kind for part in parts for kind in _kinds(part)]
        if not all(map(_kinds, parts)) or len(kinds) != len(set(kinds)):
            return {}
        return {kind: test for part in parts for kind, test in self._tests(part).items()}

    def _lists(self, part: _Schema) -> Test:
        fewest, most = part.get("minItems", 0), part.get("maxItems", math.inf)
        fits = self.of(part["items"]) if "items" in part else lambda _: True
        return lambda items: fewest <= len(items) <= most and all(map(fits, items))

    def _mappings(self, part: _Schema) -> Test:
        known = {key: self.of(it) for key, it in part.get("properties", {}).items()}
        names = self.of(part.get("propertyNames", {}))
        others = part.get("additionalProperties", {})
        other: Test = self.of(others) if isinstance(others, Mapping) else lambda _: others
        required, fewest = part.get("required", ()), part.get("minProperties", 0)
        return lambda pairs: (
            len(pairs) >= fewest
            and all(key in pairs for key in required)
            and all(names(key) and known.get(key, other)(value) for key, value in pairs.items())
        )


def _kinds(part: _Schema) -> tuple[type, ...]:
    """Return the types that a part names; none if it names none."""
    names = part.get("type", ())
    return tuple(
        kind for name in ([names] if isinstance(names, str) else names) for kind in _TYPES[name]
    )


def _is_number(least: float, greatest: float, value: float) -> bool:
    return least <= value <= greatest


def _is_text(part: _Schema, value: str) -> bool:
    shortest, longest = part.get("minLength", 0), part.get("maxLength", math.inf)
    return shortest <= len(value) <= longest and (
        "pattern" not in part or re.search(part["pattern"], value) is not None
    )


def _among(part: _Schema, kind: type, test: Test) -> Test:
    """Return a test that also asks whether a value is one of a set, or none of one."""
    words = part.get("enum", [part["const"]] if "const" in part else None)
    if words is not None:
        same = [word for word in words if type(word) is kind]
        return lambda value: value in same and test(value)
    if "not" in part:
        others = part["not"]["enum"]
        return lambda value: value not in others and test(value)
    return test
