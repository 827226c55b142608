"""A request in JSON is the same request, however it is read."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from policy_router import Request, RequestError
from policy_router.cel.vocabulary import SECTIONS
from policy_router.decision.typed import typed_sections

TEXTS = st.text(st.characters(codec="utf-8"), max_size=5)
NUMBERS = st.integers() | st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1])
VALUES: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | NUMBERS
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
    | st.lists(TEXTS | NUMBERS, max_size=3)
    | st.dictionaries(TEXTS, NUMBERS, max_size=2)
)
GOOD: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXTS,
    "int": st.integers(-5, 2**63 - 1),
    "double": st.floats(allow_nan=False, allow_infinity=False) | st.integers(0, 9),
    "list": st.lists(TEXTS, max_size=3),
}


def sections() -> st.SearchStrategy[dict[str, Any]]:
    """Return requests: most of them are good, or nearly."""
    shapes = {}
    for section, names in SECTIONS.items():
        keys = {key: st.one_of(*(GOOD.values()), VALUES) for key in names} | {
            "parameters": st.just({"temperature": 0.5}),
            "unknown": VALUES,
        }
        shapes[section] = st.fixed_dictionaries({}, optional=keys)
    facts = st.dictionaries(TEXTS, VALUES, max_size=3)
    return st.fixed_dictionaries({}, optional={**shapes, "facts": facts, "other": VALUES})


@given(sections())
def test_a_request_is_the_same_however_it_is_read(content: dict[str, Any]) -> None:
    body = json.dumps(content).encode()
    try:
        slow = Request.from_mapping(json.loads(body))
    except RequestError:
        assert typed_sections(body) is None
        return
    quick = Request.from_json(body)
    assert quick == slow
    assert repr(sorted(quick.values.items())) == repr(sorted(slow.values.items()))
    assert hash(quick) == hash(slow)


def test_what_is_plainly_good_is_read_quickly() -> None:
    body = b'{"task": {"kind": "m\xc3\xa4th", "labels": ["a"]}, "facts": {"risk": 1, "eu": true}}'
    assert typed_sections(body) == {
        "task": {"kind": "m\u00e4th", "labels": ("a",)},
        "facts": {"risk": 1, "eu": True},
    }
