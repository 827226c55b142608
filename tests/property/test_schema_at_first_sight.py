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

from policy_router.policy.schema import PLAIN_KEYWORDS, at_first_sight

SCHEMAS = Path(__file__).parents[2] / "schemas"
SCHEMA, OF_SUITES = (
    json.loads((SCHEMAS / f"{name}.schema.json").read_text()) for name in ("policy", "policy-test")
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, 1, -1, 2**63, 2**63 - 1]),
    st.floats(allow_nan=False),
    st.text(max_size=80),
    st.text(st.sampled_from("ab\x00\x7f\n -_:/"), max_size=5),
    st.lists(st.integers(), max_size=1),
    st.lists(st.text(max_size=3), max_size=3),
    st.sampled_from(["reject", "next", "outside_pool", "call", "pool", ["tools"], [""], []]),
)


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield all schemas that are about one text or number, or a list of them."""
    if isinstance(schema, dict):
        if isinstance(schema.get("type"), str | list) and schema.keys() <= PLAIN_KEYWORDS:
            yield schema
        for value in schema.values():
            yield from parts(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from parts(item)


PARTS = list(
    {json.dumps(part, sort_keys=True): part for part in parts([SCHEMA, OF_SUITES])}.values()
)


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
    words = at_first_sight(OF_SUITES["definitions"]["expect"]["properties"]["fallbacks"])
    assert words(["glm-5", "glm-5-turbo"])
    assert not words(["glm-5", ""])
