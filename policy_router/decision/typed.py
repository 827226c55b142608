"""Requests in JSON, read and checked in one go: the quick way for those that are good.

What is not plainly good is None here, and read slowly, so that its error has a path and a reason.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from policy_router.cel.ast import BOOL, DOUBLE, INT, STRING, STRINGS, Type
from policy_router.cel.vocabulary import MAX_ITEMS, SECTIONS
from policy_router.domain import FrozenDict

MAX_CHARACTERS: Final = 65_536
"""The longest string in a request."""
_NUL: Final = b"\\u0000"  # as JSON spells it; it may not stand there as it is

_Text = Annotated[str, Meta(max_length=MAX_CHARACTERS)]
_Int = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Texts = Annotated[tuple[_Text, ...], Meta(max_length=MAX_ITEMS)]
_TYPES: Final[dict[Type, Any]] = {
    STRING: _Text,
    INT: _Int,
    DOUBLE: float,
    BOOL: bool,
    STRINGS: _Texts,
}


def _section_type(section: str) -> type[Struct]:
    """Return the shape of a section; wishes for parameters are read slowly."""
    fields = [(key, _TYPES[it.type] | UnsetType, UNSET) for key, it in SECTIONS[section].items()]
    return msgspec.defstruct(section.title(), fields, forbid_unknown_fields=True)


_FACTS: Final = dict[str, _Text | _Int | float | bool | _Texts]
_SECTIONS: Final = {section: _section_type(section) for section in SECTIONS}
_REQUEST: Final = msgspec.defstruct(
    "TypedRequest",
    [
        *((section, type_ | UnsetType, UNSET) for section, type_ in _SECTIONS.items()),
        ("facts", _FACTS | UnsetType, UNSET),
    ],
    forbid_unknown_fields=True,
)
_DECODER: Final = msgspec.json.Decoder(_REQUEST)


def typed_sections(content: bytes) -> dict[str, FrozenDict] | None:
    """Return the sections of a request, checked in shape; None where it has to be read slowly."""
    if _NUL in content:
        return None
    try:
        given = msgspec.to_builtins(_DECODER.decode(content))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return {section: FrozenDict(it) for section, it in given.items()}
