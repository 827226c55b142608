"""The shape of a policy: JSON Schema, with its complaints put where the rule author wrote them.

This is the only door to jsonschema.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, cast

from policy_router.diagnostics.model import (
    SHOWN,
    Code,
    Diagnostic,
    Severity,
    Span,
    did_you_mean,
    json_path,
    quote,
)
from policy_router.policy.braces import CUT_BY_COMMA, cut_off
from policy_router.policy.first_sight import FirstSight
from policy_router.policy.yaml import Document, MappingNode, Node, ScalarNode, at, plain

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

MAX_VIOLATIONS = 1000
"""How many violations of one file are looked for; checking the rest would only take time."""

_WORDS = {
    "object": "a mapping",
    "array": "a list",
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
}


class DocumentSchema:
    """A schema, ready to be held against documents.

    Attributes:
        keys: the keys that the root of a document may have.
    """

    def __init__(self, schema: Mapping[str, Any], root: Mapping[str, Any] | None = None) -> None:
        """Prepare a schema.

        Args:
            schema: the decoded schema.
            root: the part of it that the root of a document has the shape of; all of it unless
                given.
        """
        root = schema if root is None else root
        # What names its draft would get the usual validator of the draft, which looks everywhere.
        self._part = {key: value for key, value in root.items() if key != "$schema"}
        self._sight = FirstSight(schema)
        self.keys: tuple[str, ...] = tuple(root["properties"])

    def violations(self, document: Document) -> Iterator[Diagnostic]:
        """Yield what in a document does not have the shape."""
        value = plain(document.root)
        if self._sight.of(self._part)(value):
            return
        errors = _validator(self._sight)(self._part).iter_errors(value)
        for error in islice(errors, MAX_VIOLATIONS):
            if error.validator == "const" and not isinstance(error.instance, int):
                continue  # its type is wrong already
            for cause in _causes(error):
                yield from _diagnostics(document, cause)


def policy_schema(schema: Mapping[str, Any]) -> DocumentSchema:
    """Prepare the decoded ``policy.schema.json`` for documents in the native form."""
    return DocumentSchema(schema, schema["definitions"]["native"])


def _validator(sight: FirstSight) -> Any:
    """Return jsonschema's validator, which is spared what is valid at first sight."""
    from jsonschema import Draft7Validator, validators  # noqa: PLC0415 - see first_sight

    def reference(
        self: Any, name: str, instance: Any, _: Mapping[str, Any]
    ) -> Iterator[ValidationError]:
        if not sight.fits(name, instance):
            yield from self.descend(instance, sight.referred(name))

    return validators.extend(Draft7Validator, {"$ref": reference})  # type: ignore[no-untyped-call]


def _causes(error: ValidationError) -> Iterator[ValidationError]:
    """Replace a failed choice by the failures of the branch that the author meant."""
    if error.validator != "oneOf" or not error.context:
        yield error
        return
    branches: dict[int, list[ValidationError]] = {}
    for inner in error.context:
        branches.setdefault(int(inner.schema_path[0]), []).append(inner)
    for inners in branches.values():
        if not any(inner.validator == "type" and not inner.path for inner in inners):
            for inner in inners:
                yield from _causes(inner)
            return
    yield error


def _diagnostics(document: Document, error: ValidationError) -> Iterator[Diagnostic]:
    parts = list(error.absolute_path)
    node = at(document.root, parts)
    path = json_path(*parts, base=document.path)
    if "propertyNames" in error.absolute_schema_path and isinstance(node, MappingNode):
        yield from _bad_key(error, node, path)
        return
    match error.validator:
        case "additionalProperties" if isinstance(node, MappingNode):
            yield from _unknown_keys(error, node, path)
        case "required" if isinstance(node, MappingNode):
            yield from _missing_keys(error, node, path)
        case _:
            code, message, remedy = _explained(error, node, parts)
            yield Diagnostic(code, Severity.ERROR, message, node.span, path, remedy)


_A_SUITE: Final = "policy tests are in a file `*_test.yaml`, which `policy-router test` runs"


def _unknown_keys(error: ValidationError, node: MappingNode, path: str) -> Iterator[Diagnostic]:
    known = _known(error)
    listed = f"known here: {', '.join(sorted(known)[:16])}"
    unknown = [pair for pair in node.pairs if pair.key.text not in known]
    rests = set(cut_off(node))
    for position, pair in enumerate(unknown):
        key = pair.key.text
        # Only so many findings are shown; looking for likenesses takes time.
        remedy = (did_you_mean(key, known) if position < SHOWN else None) or listed
        remedy = CUT_BY_COMMA if key in rests else remedy
        remedy = _A_SUITE if (path, key) == ("$", "tests") and "pool" in known else remedy
        message = f"unknown key {quote(key)}"
        where = json_path(key, base=path)
        yield Diagnostic(Code.UNKNOWN_KEY, Severity.ERROR, message, pair.key.span, where, remedy)


def _missing_keys(error: ValidationError, node: MappingNode, path: str) -> Iterator[Diagnostic]:
    """Yield what is missing, unless a misspelt key is an error already."""
    known = _known(error)
    for key in cast("list[str]", error.validator_value):
        others = [pair.key.text for pair in node.pairs if pair.key.text not in known]
        misspelt = did_you_mean(key, others)
        if node.get(key) is None and misspelt is None:
            message = f"the key `{key}` is missing"
            span = _beginning(node)
            yield Diagnostic(Code.MISSING_KEY, Severity.ERROR, message, span, path)


def _known(error: ValidationError) -> list[str]:
    return list(cast("Mapping[str, Any]", error.schema)["properties"])


def _bad_key(error: ValidationError, node: MappingNode, path: str) -> Iterator[Diagnostic]:
    key = str(error.instance)
    pair = node.pair(key)
    span = pair.key.span if pair else node.span
    message = f"{quote(key)} cannot be used as a name"
    remedy = "a name has only letters, digits and underscores, and is not a word of CEL"
    if "headers" in error.absolute_schema_path:
        remedy = "the name of a header is letters, digits and hyphens"
    elif "parameters" in error.absolute_schema_path:
        remedy = "it is no parameter: it would override the decision"
    where = json_path(key, base=path)
    yield Diagnostic(Code.BAD_VALUE, Severity.ERROR, message, span, where, remedy)


def _explained(
    error: ValidationError, node: Node, parts: list[str | int]
) -> tuple[Code, str, str | None]:
    """Return code, message and remedy; a value is quoted only where a word of a set is wanted."""
    wanted: Any = error.validator_value
    match error.validator:
        case "type":
            return _wrong_type(wanted if isinstance(wanted, list) else [wanted], error)
        case "oneOf":
            return _wrong_type([branch["type"] for branch in _resolved(error)], error)
        case "enum":
            if not isinstance(node, ScalarNode):
                found = _word_for(error.instance)
                return Code.WRONG_TYPE, f"found {found}, wanted one of {', '.join(wanted)}", None
            remedy = did_you_mean(node.text, wanted) or f"one of {', '.join(wanted)}"
            key = next(part for part in reversed(parts) if isinstance(part, str))
            return Code.NOT_ALLOWED, f"`{key}` cannot be {quote(node.text)}", remedy
        case "const":
            message = "this version of the policy language is not supported"
            return Code.UNSUPPORTED_VERSION, message, "write `version: 1`"
        case "pattern" if "headers" in error.absolute_schema_path:
            message = "a header is printable ASCII, without spaces at its ends"
            return Code.BAD_VALUE, message, None
        case "pattern" if parts and parts[-1] == "base_url":
            message = "an address begins with http:// or https:// and has no spaces"
            return Code.BAD_VALUE, message, None
        case "not":
            remedy = "name an effort, or write `false`: then none is sent"
            return Code.NOT_ALLOWED, f"`{parts[-1]}` cannot be `true`", remedy
        case "minimum" | "maximum":
            word = "less" if error.validator == "minimum" else "greater"
            return Code.BAD_VALUE, f"the number is {word} than {wanted}", None
    return Code.BAD_VALUE, _TEXTS.get(str(error.validator), "").format(wanted), None


_TEXTS = {
    "maxItems": "the list has more than {} items",
    "minItems": "the list is empty",
    "minProperties": "there is nothing in it",
    "minLength": "the text is empty",
    "maxLength": "the text is longer than {} characters",
    "pattern": "the text has control characters",
}


def _resolved(error: ValidationError) -> list[Mapping[str, Any]]:
    """Return the branches of a choice; one that is a reference is always to a list here."""
    branches = cast("list[Mapping[str, Any]]", error.validator_value)
    return [branch if "type" in branch else {"type": "array"} for branch in branches]


def _wrong_type(wanted: list[str], error: ValidationError) -> tuple[Code, str, str | None]:
    names = " or ".join(dict.fromkeys(_WORDS[word] for word in wanted))
    found = _word_for(error.instance)
    remedy = None
    if isinstance(error.instance, str) and {"integer", "number"} & set(wanted):
        looks_like_number = re.fullmatch(r"[\d_,.' ]*\d[\d_,.' ]*[kKmMbB]?", error.instance)
        remedy = "write the number in digits alone, such as `128000`" if looks_like_number else None
    if error.instance is None:
        what = "item" if error.path and isinstance(error.path[-1], int) else "key"
        remedy = "write `[]` for an empty list" if "array" in wanted else f"leave the {what} out"
    return Code.WRONG_TYPE, f"found {found}, wanted {names}", remedy


def _word_for(value: object) -> str:
    for kind, word in (
        (bool, "true or false"),
        (str, "a string"),
        (int, "a whole number"),
        (float, "a number"),
        (list, "a list"),
        (dict, "a mapping"),
    ):
        if isinstance(value, kind):
            return word
    return "nothing"


def _beginning(node: MappingNode) -> Span:
    """Return the first key of a mapping: where to look for one that is missing."""
    return node.pairs[0].key.span if node.pairs else node.span
