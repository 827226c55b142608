"""The published shapes of requests and records, made from the definitions that the code uses.

``schemas/request.schema.json`` and ``schemas/record.schema.json`` are what these functions return;
a test holds the files to it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from policy_router.cel.ast import BOOL, DOUBLE, INT, STRING, STRINGS, Type
from policy_router.cel.vocabulary import MAX_ITEMS, SECTIONS, Name, default_of
from policy_router.decision import record as rec
from policy_router.decision.typed import MAX_CHARACTERS
from policy_router.domain import WISHES
from policy_router.parameters import KNOWN, LONGEST, RESERVED, SPELLINGS, Kind, named

_DRAFT = "http://json-schema.org/draft-07/schema#"
_ATTRIBUTE = re.compile(r"^\s{4,}(\w+): (.+?)(?=^\s{4,}\w+: |\Z)", re.MULTILINE | re.DOTALL)

_TEXT = {"type": "string", "maxLength": MAX_CHARACTERS}
_TYPES: Mapping[Type, Mapping[str, Any]] = {
    STRING: _TEXT,
    INT: {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    DOUBLE: {"type": "number"},
    BOOL: {"type": "boolean"},
    STRINGS: {"type": "array", "maxItems": MAX_ITEMS, "items": _TEXT},
}
_PARAMETER = {"type": ["string", "number", "boolean"], "maxLength": LONGEST}
_PARAMETERS: Mapping[Kind, Mapping[str, Any]] = {
    kind: {"description": f"{kind.value.capitalize()}.", **shape}
    for kind, shape in (
        (Kind.COUNT, _TYPES[INT]),
        (Kind.NUMBER, _TYPES[DOUBLE]),
        (Kind.TEXT, {"type": "string", "maxLength": LONGEST}),
    )
}
_SECTION_TEXTS = {
    "call": "What the agent asks for, for the whole call. Asserted by the agent.",
    "task": "What the agent asks for and says about this task. Asserted by the agent.",
    "parent": "What the delegating agent runs on.",
    "caller": "Who calls, verified by the host.",
    "budget": "Money. An absent value is unknown or unlimited, not 0.",
}


def request_schema() -> dict[str, Any]:
    """Return the JSON Schema of a request: one section for each root of the vocabulary."""
    facts = {
        "description": "The policy's own facts, as it declares them.",
        "type": "object",
        "additionalProperties": {"type": ["string", "number", "boolean", "array"]},
    }
    return {
        "$schema": _DRAFT,
        "$id": "urn:policy-router:schema:request:v1",
        "title": "policy-router request",
        "description": "Wishes and facts about one delegated task. Everything is optional.",
        "type": "object",
        "additionalProperties": False,
        "properties": {**{name: _section(name) for name in SECTIONS}, "facts": facts},
    }


def record_schema() -> dict[str, Any]:
    """Return the JSON Schema of a decision record."""
    definitions = described(rec.DecisionRecord)
    main = definitions.pop("DecisionRecord")
    main["properties"]["schema"] = {"const": rec.SCHEMA, "description": "Version of the record."}
    main["required"] = sorted({*main["required"], "schema"})
    return published("record", main, definitions, title="policy-router decision record")


def described(root: type, *others: type) -> dict[str, Any]:
    """Return the shapes of a type and of all in it, each with what its docstring says of it.

    Args:
        root: the type.
        others: types that it has from other modules than its own.
    """
    _, components = msgspec.json.schema_components([root], ref_template="#/definitions/{name}")
    known = {**vars(sys.modules[root.__module__]), **{it.__name__: it for it in others}}
    return {name: _described(known[name], it) for name, it in components.items()}


def published(
    name: str, main: Mapping[str, Any], definitions: Mapping[str, Any], *, title: str
) -> dict[str, Any]:
    """Return the JSON Schema of what is published under a name."""
    head = {"$schema": _DRAFT, "$id": f"urn:policy-router:schema:{name}:v1"}
    return {**head, **main, "title": title, "definitions": definitions}


def _section(section: str) -> dict[str, Any]:
    properties = {key: _property(name) for key, name in SECTIONS[section].items()}
    return {
        "description": _SECTION_TEXTS[section],
        "type": "object",
        "additionalProperties": False,
        "properties": properties | ({"parameters": _wishes()} if section in WISHES else {}),
    }


def _wishes() -> dict[str, Any]:
    """Return the shape of the wishes for parameters; a policy may know more names."""
    names = [*KNOWN, *SPELLINGS]
    return {
        "description": "Parameters of the model call, as they are wished for.",
        "type": "object",
        "propertyNames": {"not": {"enum": sorted(RESERVED)}},
        "properties": {name: _PARAMETERS[KNOWN[named(name)]] for name in names},
        "additionalProperties": {
            "description": "One that the limits of an entry are about.",
            **_PARAMETER,
        },
        "default": {},
    }


def _property(name: Name) -> dict[str, Any]:
    shape = {"description": name.description, **_TYPES[name.type]}
    return shape if name.optional else {**shape, "default": default_of(name)}


def _described(type_: type, shape: Mapping[str, Any]) -> dict[str, Any]:
    """Put what a docstring says of each attribute at its property."""
    summary, _, rest = (type_.__doc__ or "").partition("Attributes:")
    texts = {key: _sentence(words) for key, words in _ATTRIBUTE.findall(rest)}
    described = {**shape, "description": " ".join(summary.split())}
    if "properties" in shape:
        described["properties"] = {
            key: {**inner, "description": texts[key]} if key in texts else inner
            for key, inner in shape["properties"].items()
        }
    return described


def _sentence(words: str) -> str:
    text = " ".join(words.split()).replace("``", "`")
    return text[0].upper() + text[1:]
