"""Parameters of a model call: what they are called, what type each has, and which are none."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, TypeAlias

EFFORT: Final = "reasoning_effort"
MAX_TOKENS: Final = "max_tokens"
BUDGET: Final = "thinking_budget"
LONGEST: Final = 64
"""The most characters of a text that may be wished for."""

Value: TypeAlias = bool | int | float | str


class Kind(Enum):
    """What type a parameter has, in words for a message."""

    COUNT = "a whole number"
    NUMBER = "a number"
    TEXT = "a string"


KNOWN: Final[Mapping[str, Kind]] = {
    "temperature": Kind.NUMBER,
    "top_p": Kind.NUMBER,
    "top_k": Kind.COUNT,
    MAX_TOKENS: Kind.COUNT,
    EFFORT: Kind.TEXT,
    BUDGET: Kind.COUNT,
    "verbosity": Kind.TEXT,
    "seed": Kind.COUNT,
    "frequency_penalty": Kind.NUMBER,
    "presence_penalty": Kind.NUMBER,
}
"""The parameters that an agent may wish for of any target."""

SPELLINGS: Final[Mapping[str, str]] = {
    "max_completion_tokens": MAX_TOKENS,
    "max_output_tokens": MAX_TOKENS,
}
"""Other names of a parameter; they are read as this one."""

RESERVED: Final = frozenset(
    {
        *("model", "models", "route", "messages", "input", "instructions", "stream", "tools"),
        *("extra_body", "extra_headers", "extra_query", "base_url", "api_base", "api_key"),
    }
)
"""Names that are no parameters: they would replace what was decided."""


def named(name: str) -> str:
    """Return the name that a parameter is known by, whatever it was called."""
    return SPELLINGS.get(name, name)


def fits(name: str, value: Any) -> bool:
    """Tell whether a value has the type of a parameter; one that is not known may have any."""
    match KNOWN.get(name):
        case Kind.TEXT:
            return isinstance(value, str)
        case Kind.COUNT:
            return isinstance(value, int) and not isinstance(value, bool)
        case Kind.NUMBER:
            return is_number(value)
    return True


def is_number(value: object) -> bool:
    """Tell whether a value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are the same to an endpoint: 1 is 1.0, and neither is true."""
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)
