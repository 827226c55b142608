"""The shape of a policy: JSON Schema, with its complaints put where the rule author wrote them.

This is the only door to jsonschema.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from policy_router.diagnostics.codes import Code, Severity
from policy_router.diagnostics.model import SHOWN, Diagnostic, Span, did_you_mean, json_path, quote
from policy_router.policy import schema_remedies
from policy_router.policy.first_sight import FirstSight
from policy_router.policy.yaml import Document, MappingNode, Node, ScalarNode, at, plain
from policy_router.policy.yaml_effects import CUT_BY_COMMA, cut_off

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

MAX_VIOLATIONS = 1000
"""How many violations of one file are looked for; checking the rest would only take time."""

_LISTED = 16
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
            wants = {"const": int, "enum": str}.get(str(error.validator))
            has_type = isinstance(error.schema, Mapping) and "type" in error.schema
            if wants and has_type and not isinstance(error.instance, wants):
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


def _unknown_keys(error: ValidationError, node: MappingNode, path: str) -> Iterator[Diagnostic]:
    known = _known(error)
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    listed = f"known here: {', '.join(sorted(known)[:_LISTED])}{more}"
    unknown = [pair for pair in node.pairs if pair.key.text not in known]
    rests = set(cut_off(node))
    for position, pair in enumerate(unknown):
        key = pair.key.text
        # Only so many findings are shown; looking for likenesses takes time.
        close = position < SHOWN and schema_remedies.of_key(key, known, at_root=path == "$")
        remedy = CUT_BY_COMMA if key in rests else close or listed
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
        remedy = "it is not a parameter: it would override the decision"
    where = json_path(key, base=path)
    yield Diagnostic(Code.BAD_VALUE, Severity.ERROR, message, span, where, remedy)


def _explained(
    error: ValidationError, node: Node, parts: list[str | int]
) -> tuple[Code, str, str | None]:
    """Return code, message and remedy; a value is quoted only where a word of a set is wanted."""
    wanted: Any = error.validator_value
    match error.validator:
        case "type":
            types = wanted if isinstance(wanted, list) else [wanted]
            return _wrong_type(types, error, cast("Mapping[str, Any]", error.schema))
        case "oneOf":
            branches = _resolved(error)
            mapping = next((it for it in branches if it["type"] == "object"), {})
            return _wrong_type([it["type"] for it in branches], error, mapping)
        case "enum":
            if not isinstance(node, ScalarNode):
                found = _word_for(error.instance)
                return Code.WRONG_TYPE, f"expected one of {', '.join(wanted)}, found {found}", None
            # Where true and false are another choice, a word for one of them is meant.
            meant = schema_remedies.of_bool(node.text) if error.parent is not None else None
            remedy = meant or did_you_mean(node.text, wanted) or f"one of {', '.join(wanted)}"
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


def _wrong_type(
    wanted: list[str], error: ValidationError, schema: Mapping[str, Any]
) -> tuple[Code, str, str | None]:
    names = " or ".join(dict.fromkeys(_WORDS[word] for word in wanted))
    remedy = schema_remedies.of_type(error.instance, wanted, schema, [*error.absolute_path])
    return Code.WRONG_TYPE, f"expected {names}, found {_word_for(error.instance)}", remedy


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
