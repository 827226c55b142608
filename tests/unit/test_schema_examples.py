"""The examples in the schema of a policy: there is one for each condition, and each is right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema

from policy_router.files.loader import check_text, schema
from tests.support.rows import each

CONDITION = "#/definitions/condition"
BASE: dict[str, Any] = {
    "version": 1,
    "model": "m",
    "provider": "main",
    "providers": {"main": {"base_url": "https://llm.example.com/v1"}},
    "pool": [{"model": "m"}],
}
PLACES: dict[str, Any] = {
    "/native/properties/variables/additionalProperties": lambda it: {"variables": {"x": it}},
    "/native/properties/assume/items": lambda it: {"assume": [it]},
    "/entry/properties/allow": lambda it: {"pool": [{"model": "m", "allow": it}]},
    "/entry/properties/pick": lambda it: {"pool": [{"model": "m", "pick": it}]},
    "/forbid/properties/when": lambda it: {"forbid": [{"when": it}]},
    "/assertion/properties/never": lambda it: {"assert": [{"never": it}]},
    "/assertion/properties/always": lambda it: {"assert": [{"always": it}]},
    "/rule/properties/when": lambda it: {"precedence": [{"use": "task", "when": it}]},
    "/rule/properties/order_by": lambda it: {"precedence": [{"use": "pool", "order_by": it}]},
}
"""The places of the schema where an expression stands, and a policy that has it there."""


def shapes(shape: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(shape, dict):
        yield path, shape
        for key, inner in shape.items():
            yield from shapes(inner, f"{path}/{key}")
    elif isinstance(shape, list):
        for number, inner in enumerate(shape):
            yield from shapes(inner, f"{path}/{number}")


SHAPES = dict(shapes(schema("policy")["definitions"]))


def test_each_condition_of_the_schema_has_examples() -> None:
    conditions = {path for path, shape in SHAPES.items() if shape.get("$ref") == CONDITION}
    more = {path for path in PLACES if path.endswith(("order_by", "additionalProperties"))}
    assert conditions | more == PLACES.keys()
    assert [path for path in PLACES if not SHAPES[path].get("examples")] == []


@each(
    ("path", "example"),
    [(path, example) for path in PLACES for example in SHAPES[path].get("examples", ())],
)
def test_each_example_of_a_condition_compiles(path: str, example: str) -> None:
    policy, found = check_text(json.dumps(BASE | PLACES[path](example)))
    assert policy is not None, found.to_text()
    assert not found.errors


def test_every_example_has_the_shape_that_it_is_an_example_of() -> None:
    for name in ("policy", "policy-test"):
        whole = dict(schema(name))
        for path, shape in shapes(whole):
            if path.endswith(("/properties", "/definitions")) or "examples" not in shape:
                continue
            part = {"definitions": whole["definitions"], **shape}
            if "$ref" in shape:  # draft 7 looks at nothing beside it
                part["allOf"] = [{"$ref": part.pop("$ref")}]
            for example in shape["examples"]:
                jsonschema.Draft7Validator(part).validate(example)
