"""One table of names: the published schemas follow from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import policy_router
from policy_router import RequestError
from policy_router.analysis.proof.report import analysis_schema
from policy_router.analysis.schema import suite_schema
from policy_router.cel.ast import DOUBLE, INT, STRING, STRINGS
from policy_router.cel.vocabulary import (
    REQUEST_NAMES,
    SECTIONS,
    TARGET_NAMES,
    Name,
    Vocabulary,
    default_of,
)
from policy_router.decision.fitting import values_of
from policy_router.decision.request import Request
from policy_router.decision.schema import record_schema, request_schema
from policy_router.files.loader import data_folder, schema
from policy_router.log.schema import log_schema
from policy_router.server.settings import serve_schema
from tests.support.rows import each

SCHEMAS = Path(__file__).parents[2] / "schemas"
MADE = {
    "policy-test": suite_schema,
    "request": request_schema,
    "record": record_schema,
    "log": log_schema,
    "serve": serve_schema,
    "analysis": analysis_schema,
}


@pytest.mark.parametrize("name", MADE)
def test_a_published_schema_is_the_one_that_the_code_makes(
    name: str,
    update_golden: bool,  # noqa: FBT001
) -> None:
    made = MADE[name]()
    if update_golden:
        text = json.dumps(made, indent=2, ensure_ascii=False)
        SCHEMAS.joinpath(f"{name}.schema.json").write_text(f"{text}\n", encoding="utf-8")
        schema.cache_clear()
    # Compared as JSON says it: a tuple is a list there.
    assert schema(name) == json.loads(json.dumps(made))


@each("name", ["policy", *MADE])
def test_a_published_schema_is_a_schema_of_draft_7(name: str) -> None:
    assert schema(name)["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert schema(name)["$id"] == f"urn:policy-router:schema:{name}:v1"
    jsonschema.Draft7Validator.check_schema(dict(schema(name)))


def properties(shape: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every property that a schema describes, with its place."""
    if isinstance(shape, list):
        for item in shape:
            yield from properties(item, path)
    elif isinstance(shape, dict):
        for key, inner in shape.get("properties", {}).items():
            yield f"{path}.{key}", inner
        for key, inner in shape.items():
            yield from properties(inner, f"{path}.{key}")


@each("name", ["policy", *MADE])
def test_every_property_of_a_published_schema_has_a_description(name: str) -> None:
    found = dict(properties(schema(name)))
    assert len(found) > 10
    assert [path for path, it in found.items() if not _described(schema(name), it)] == []


def _described(whole: Mapping[str, Any], shape: Any) -> bool:
    """Tell whether a shape has a description, or the one that it refers to."""
    while isinstance(shape, dict) and not shape.get("description"):
        refer = [it["$ref"] for it in (shape, *shape.get("anyOf", ())) if "$ref" in it]
        if not refer:
            return False
        shape = _at(whole, refer[-1])
    return isinstance(shape, dict) and bool(shape.get("description"))


def _at(whole: Mapping[str, Any], pointer: str) -> Any:
    """Return what a JSON pointer in a fragment leads to (RFC 6901)."""
    found: Any = whole
    for key in pointer.removeprefix("#/").split("/"):
        found = found[key]
    return found


@each("name", ["policy", *MADE])
def test_every_reference_in_a_published_schema_leads_somewhere(name: str) -> None:
    whole = schema(name)
    text = json.dumps(whole)
    used = {part.split('"')[0] for part in text.split('"#/definitions/')[1:]}
    assert all(isinstance(_at(whole, f"#/definitions/{path}"), dict) for path in used)


NAMES = [
    ("call.model", STRING, False),
    ("call.provider", STRING, False),
    ("call.reasoning_effort", STRING, False),
    ("task.model", STRING, False),
    ("task.provider", STRING, False),
    ("task.reasoning_effort", STRING, False),
    ("task.kind", STRING, False),
    ("task.labels", STRINGS, False),
    ("task.needs", STRINGS, False),
    ("task.index", INT, False),
    ("task.batch_size", INT, False),
    ("task.input_tokens", INT, True),
    ("parent.model", STRING, False),
    ("parent.provider", STRING, False),
    ("parent.reasoning_effort", STRING, False),
    ("parent.depth", INT, False),
    ("caller.id", STRING, False),
    ("caller.team", STRING, False),
    ("caller.roles", STRINGS, False),
    ("budget.spent_usd", DOUBLE, True),
    ("budget.remaining_usd", DOUBLE, True),
    ("target.name", STRING, False),
    ("target.model", STRING, False),
    ("target.provider", STRING, False),
    ("target.level", STRING, False),
    ("target.strengths", STRINGS, False),
    ("target.supports", STRINGS, False),
    ("target.price.input", DOUBLE, True),
    ("target.price.output", DOUBLE, True),
    ("target.price.cache_read", DOUBLE, True),
    ("target.price.cache_write", DOUBLE, True),
    ("target.context_window", INT, True),
]


def test_the_names_are_those_of_the_language_page() -> None:
    found = [(name.path, name.type, name.optional) for name in (*REQUEST_NAMES, *TARGET_NAMES)]
    assert found == NAMES


def test_every_name_is_described_in_one_sentence() -> None:
    texts = [name.description for name in (*REQUEST_NAMES, *TARGET_NAMES)]
    assert all(text.endswith(".") for text in texts)
    assert len(set(texts)) == len(texts)


def test_an_absent_name_has_the_empty_value_of_its_type_but_for_the_batch_size() -> None:
    defaults = {name.path: default_of(name) for name in REQUEST_NAMES if not name.optional}
    assert defaults["task.batch_size"] == 1
    assert defaults["task.index"] == 0
    assert defaults["task.kind"] == ""
    assert defaults["task.labels"] == ()


def test_an_optional_name_that_is_not_given_is_absent_from_the_values() -> None:
    policy = policy_router.loads("model: m")
    values = values_of(policy, Request())
    assert "input_tokens" not in values["task"]
    assert values["budget"] == {}
    assert set(values) == {*SECTIONS, "facts"}


def test_the_request_schema_has_every_name_with_its_default() -> None:
    shape = request_schema()["properties"]
    for name in REQUEST_NAMES:
        section, _, key = name.path.partition(".")
        found = shape[section]["properties"][key]
        assert found["description"] == name.description
        assert ("default" in found) is not name.optional


@each(
    ("request_", "good"),
    [
        ({}, True),
        ({"task": {"kind": "coding", "labels": ["a"], "input_tokens": 3}}, True),
        ({"facts": {"any": ["a"], "other": 1.5}}, True),
        ({"call": {"parameters": {}}, "task": {"parameters": {"temperature": 1, "x": True}}}, True),
        ({"task": {"parameters": {"max_output_tokens": 5, "verbosity": "low"}}}, True),
        ({"task": {"parameters": {"x": "a" * 64}}}, True),
        ({"task": {"parameters": {"x": "a" * 65}}}, False),
        ({"task": {"parameters": {"verbosity": "a" * 65}}}, False),
        ({"task": {"parameters": {"x": []}}}, False),
        ({"task": {"parameters": {"x": None}}}, False),
        ({"task": {"parameters": {"top_k": 1.5}}}, False),
        ({"task": {"parameters": {"top_k": True}}}, False),
        ({"task": {"parameters": {"max_completion_tokens": "5"}}}, False),
        ({"task": {"parameters": {"model": "m"}}}, False),
        ({"call": {"parameters": {"api_key": "m"}}}, False),
        ({"call": {"parameters": []}}, False),
        ({"parent": {"parameters": {}}}, False),
        ({"task": {"knd": "coding"}}, False),
        ({"tsk": {}}, False),
        ({"task": {"index": 2**63}}, False),
        ({"task": {"labels": "a"}}, False),
    ],
)
def test_the_request_schema_says_what_the_code_takes(
    request_: dict[str, Any],
    good: bool,  # noqa: FBT001
) -> None:
    validator = jsonschema.Draft7Validator(request_schema())
    assert validator.is_valid(request_) is good
    if good:
        Request(**request_)
    else:
        with pytest.raises(RequestError):
            Request(**request_)


@each("request_", [{"task": {"model": "x"}}, {"task": {"model": "m"}}, {}])
def test_a_record_has_the_shape_of_the_record_schema(request_: dict[str, Any]) -> None:
    policy = policy_router.loads(
        "pool: [{model: m, provider: p, fallback: [n]}, {model: n, provider: p}]\n"
        "precedence: strict"
    )
    record = policy_router.decide(policy, request_, now="2026-01-31T09:00:00Z")
    jsonschema.Draft7Validator(record_schema()).validate(json.loads(record.to_json()))


def test_a_vocabulary_knows_its_roots_and_what_is_under_a_path() -> None:
    vocabulary = Vocabulary.of(TARGET_NAMES)
    assert vocabulary.roots() == {"target"}
    keys = ("input", "output", "cache_read", "cache_write")
    assert vocabulary.under("target.price") == [f"target.price.{key}" for key in keys]
    assert vocabulary.under("target.pri") == []


def test_a_vocabulary_can_learn_a_name() -> None:
    vocabulary = Vocabulary.of(TARGET_NAMES)
    vocabulary.learn(Name("variables.x", INT))
    assert vocabulary.names["variables.x"].type is INT


def test_the_schemas_of_a_checkout_stand_beside_the_package() -> None:
    assert data_folder("schemas").joinpath("policy.schema.json").is_file()
