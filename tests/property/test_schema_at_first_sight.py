"""The quick look at texts and numbers, against the validator that it spares."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from policy_router.policy.schema import OF_SCALARS, at_first_sight

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "policy.schema.json").read_text())
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, 1, -1, 2**63, 2**63 - 1]),
    st.floats(allow_nan=False),
    st.text(max_size=80),
    st.text(st.sampled_from("ab\x00\x7f\n -_:/"), max_size=5),
    st.lists(st.integers(), max_size=1),
)


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield all schemas that are about one text or number."""
    if isinstance(schema, dict):
        if isinstance(schema.get("type"), str) and schema.keys() <= OF_SCALARS:
            yield schema
        for value in schema.values():
            yield from parts(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from parts(item)


PARTS = list({json.dumps(part, sort_keys=True): part for part in parts(SCHEMA)}.values())


@pytest.mark.parametrize("part", PARTS, ids=range(len(PARTS)))
@given(value=VALUES)
def test_what_is_goodat_first_sight_is_valid(part: dict[str, Any], value: Any) -> None:
    if at_first_sight(part)(value):
        assert Draft7Validator(part).is_valid(value)


def test_most_values_are_goodat_first_sight() -> None:
    word = at_first_sight(SCHEMA["definitions"]["word"])
    assert word("glm-5")
    assert not word("")
    assert not word(5)
