"""What is good at first sight, against the validator that it spares."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from policy_router.policy.first_sight import FirstSight
from policy_router.policy.yaml import plain, read_mapping
from tests.support.rows import each

ROOT = Path(__file__).parents[2]
SCHEMA, OF_SUITES = (
    json.loads((ROOT / f"schemas/{name}.schema.json").read_text())
    for name in ("policy", "policy-test")
)
NATIVE = SCHEMA["definitions"]["native"]
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, 1, -1, 1.0, 2**63, 2**63 - 1]),
    st.floats(allow_nan=False),
    st.text(max_size=80),
    st.text(st.sampled_from("ab\x00\x7f\n -_:/"), max_size=5),
    st.sampled_from(["reject", "next", "outside_pool", "call", "pool", "candidates"]),
)
KEYS = st.text(st.sampled_from("ab-_"), max_size=3) | st.sampled_from(["min", "values", "model"])
VALUES = PLAIN | st.lists(PLAIN, max_size=3) | st.dictionaries(KEYS, PLAIN, max_size=2)
"""Values of every type, as a policy may have them anywhere."""


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield the parts of a schema that are about a value."""
    if isinstance(schema, dict):
        if isinstance(schema.get("type"), str | list) or "enum" in schema or "oneOf" in schema:
            yield schema
        for value in schema.values():
            yield from parts(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from parts(item)


CASES = [
    pytest.param(root, part, id=f"{root['title'].split()[1]} {number}")
    for root in (SCHEMA, OF_SUITES)
    for number, part in enumerate({json.dumps(it): it for it in parts(root)}.values())
]


@pytest.mark.parametrize(("root", "part"), CASES)
@given(value=VALUES)
def test_what_is_good_at_first_sight_is_valid(
    root: dict[str, Any], part: dict[str, Any], value: Any
) -> None:
    if FirstSight(root).of(part)(value):
        assert Draft7Validator(root).evolve(schema=part).is_valid(value)


def documents() -> Iterator[Any]:
    """Yield what ships: policies and suites, each with the schema that it is of."""
    for path in sorted(ROOT.glob("rules/**/*.yaml")):
        read_as, _ = read_mapping(path.name, path.read_bytes(), "a file")
        content = plain(read_as.root) if read_as else {}
        is_suite = path.stem.endswith("_test")
        if is_suite or "delegation" not in content:
            of = (OF_SUITES, OF_SUITES) if is_suite else (SCHEMA, NATIVE)
            yield pytest.param(*of, content, id=str(path.relative_to(ROOT)))


SHIPPED = list(documents())


@each(("root", "part", "content"), SHIPPED)
def test_what_ships_is_good_at_first_sight(
    root: dict[str, Any], part: dict[str, Any], content: Any
) -> None:
    assert FirstSight(root).of(part)(content)


@pytest.mark.parametrize(("root", "part", "content"), SHIPPED)
@given(data=st.data())
def test_what_ships_with_a_change_is_valid_where_it_is_good_at_first_sight(
    root: dict[str, Any], part: dict[str, Any], content: Any, data: st.DataObject
) -> None:
    changed = inner = deepcopy(content)
    while True:
        places = list(inner) if isinstance(inner, dict) else range(len(inner))
        place = data.draw(st.sampled_from(places))
        below = inner[place]
        if not isinstance(below, dict | list) or not below or data.draw(st.booleans()):
            break
        inner = below
    if isinstance(inner, dict) and data.draw(st.booleans()):
        del inner[place]
        place = data.draw(KEYS)
    inner[place] = data.draw(VALUES)
    if FirstSight(root).of(part)(changed):
        assert Draft7Validator(root).evolve(schema=part).is_valid(changed)


@each(
    "part",
    [
        {"oneOf": [{"type": "string", "maxLength": 3}, {"type": "string", "minLength": 1}]},
        {"oneOf": [{"type": "integer"}, {"type": "number"}]},
        {"oneOf": [{"type": "string"}, {"enum": ["a", 1]}]},
        {"type": "string", "format": "date"},
        {"type": ["string", "integer"], "not": {"type": "integer"}},
    ],
)
def test_of_a_part_that_needs_a_closer_look_nothing_is_known(part: dict[str, Any]) -> None:
    fits = FirstSight(part).of(part)
    assert not any(map(fits, ("a", "long", 1, 1.0)))
