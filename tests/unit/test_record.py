"""Decision records: canonical bytes, read back and held fast."""

from __future__ import annotations

import copy
import functools
import json
import pickle
import re
from typing import Any

import pytest

import policy_router
from policy_router import DecisionRecord, RecordError, loads
from policy_router.decision.record import Target
from policy_router.version import VERSION
from tests.support.rows import each

NOW = "2026-01-31T09:00:00Z"
TEXT = """
name: acme
model: small
provider: main
parameters: {max_tokens: 8192}
pool:
  - {model: large, name: coder, pick: task.kind == "coding", fallback: [small]}
  - {model: small}
precedence: {precedence}
"""

_policy = functools.cache(loads)


def record(request: dict[str, Any], precedence: str = "delegation") -> DecisionRecord:
    """Decide by a small policy."""
    policy = _policy(TEXT.replace("{precedence}", precedence))
    return policy_router.decide(policy, request, now=NOW)


def plain(of: DecisionRecord) -> dict[str, Any]:
    """Return a record as plain data."""
    decoded: dict[str, Any] = json.loads(of.to_json())
    return decoded


SELECTED = record({"task": {"kind": "coding", "model": "gpt-9"}, "parent": {"model": "small"}})
REFUSED = record({"task": {"model": "gpt-9"}}, "strict")

EVERYTHING = """
model: small
provider: main
teams: {values: [ops], unknown: drop}
pool:
  - {model: large, pick: 1 / parent.depth > 0, allow: "false"}
  - {model: small, limits: {top_k: {max: 5}}}
forbid:
  - {id: watched, when: target.name == "small", message: Soon., enforce: false}
  - {id: closed, when: target.name == "small" && parent.depth > 1, message: No.}
precedence: [{use: call}, {use: pool}, {use: config}, {use: parent}]
"""


def everything(**request: Any) -> DecisionRecord:
    """Decide by a policy that has something to warn of."""
    asked = {"model": "large", "parameters": {"top_k": 9, "temperature": 0.5}}
    given = {"call": asked, "task": {"parameters": {"seed": 1}}, "caller": {"team": "x"}}
    return policy_router.decide(_policy(EVERYTHING), {**given, **request}, now=NOW)


WARNED = everything()
REASONED = everything(parent={"depth": 2})


def test_a_record_says_what_the_page_about_it_says() -> None:
    policy = loads(TEXT.replace("{precedence}", "delegation"))
    parameters = {"max_tokens": 8192}
    wish = {"model": "gpt-9"}
    assert plain(SELECTED) == {
        "schema": "policy-router/record/v1",
        "policy": {"name": "acme", "revision": policy.revision},
        "engine": {"version": VERSION},
        "now": NOW,
        "request": {"task": {"kind": "coding", "model": "gpt-9"}, "parent": {"model": "small"}},
        "decision": {
            "outcome": "selected",
            "level": "pool",
            "rule": "pool",
            "target": {
                "entry": "coder",
                "model": "large",
                "provider": "main",
                "parameters": parameters,
            },
            "fallbacks": [
                {"entry": "small", "model": "small", "provider": "main", "parameters": parameters}
            ],
            "warnings": [{"code": "outside_pool", "rule": "task", "requested": wish}],
        },
        "steps": [
            {"rule": "call", "level": "call", "result": "no_proposal"},
            {
                "rule": "task",
                "level": "task",
                "result": "violated",
                "code": "outside_pool",
                "requested": wish,
            },
            {
                "rule": "pool",
                "level": "pool",
                "result": "selected",
                "candidates": [{"entry": "coder", "verdict": "selected"}],
            },
            {"rule": "config", "level": "config", "result": "not_reached"},
            {"rule": "parent", "level": "parent", "result": "not_reached"},
        ],
    }


def test_a_refusal_stands_in_place_of_a_target() -> None:
    assert plain(REFUSED)["decision"] == {
        "outcome": "refused",
        "warnings": [],
        "refusal": {
            "code": "outside_pool",
            "rule": "task",
            "message": "the task asks for a model outside the pool",
            "permitted": ["coder", "small"],
        },
    }


def test_warnings_have_what_they_are_about() -> None:
    decision = plain(WARNED)["decision"]
    assert decision["target"]["parameters"] == {"top_k": 5, "temperature": 0.5}
    assert decision["warnings"] == [
        {"code": "level_not_used", "level": "task", "requested": {"seed": 1}, "parameter": "seed"},
        {"code": "unknown_value", "path": "$.caller.team"},
        {
            "code": "not_allowed",
            "rule": "call",
            "requested": {"model": "large"},
            "entry": "large",
        },
        {"code": "pick_error", "rule": "pool", "entry": "large"},
        {
            "code": "parameter_limited",
            "rule": "call",
            "requested": {"top_k": 9},
            "parameter": "top_k",
        },
        {
            "code": "would_forbid",
            "rule": "config",
            "entry": "small",
            "forbid": "watched",
            "message": "Soon.",
        },
    ]


def test_a_refusal_without_a_rule_has_reasons() -> None:
    refusal = plain(REASONED)["decision"]["refusal"]
    assert refusal == {
        "code": "no_target",
        "rule": None,
        "message": "No.",
        "permitted": [],
        "reasons": [
            {"rule": "call", "code": "not_allowed", "entry": "large"},
            {"rule": "config", "code": "forbidden", "forbid": "closed", "message": "No."},
        ],
    }


def test_the_rule_of_a_refusal_without_one_is_null() -> None:
    policy = loads("precedence: [{use: call}]")
    found = plain(policy_router.decide(policy, {}, now=NOW))
    assert found["decision"]["refusal"]["rule"] is None
    assert "permitted" not in found["decision"]["refusal"]


@each("one", [SELECTED, REFUSED, WARNED, REASONED])
def test_a_record_is_canonical_json(one: DecisionRecord) -> None:
    content = one.to_json()
    decoded = json.loads(content)
    sorted_ = json.dumps(decoded, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert content == sorted_.encode()


def test_text_in_a_record_is_utf_8_not_escapes() -> None:
    content = record({"caller": {"id": "\u00e9\U0001f600"}}).to_json()
    assert '"\u00e9\U0001f600"'.encode() in content


@each("one", [SELECTED, REFUSED, WARNED, REASONED])
def test_a_record_read_back_is_the_same_record(one: DecisionRecord) -> None:
    content = one.to_json()
    for stored in (content, content.decode()):
        again = DecisionRecord.from_json(stored)
        assert again == one
        assert again.to_json() == content


def test_a_record_of_the_first_edition_can_be_read() -> None:
    content = plain(SELECTED)
    content["engine"]["cel"] = "cel-python 0.5.0"
    warnings = [
        {"code": "outside_pool", "rule": "task", "requested": {"model": "gpt-9"}},
        {"code": "parameter_limited", "rule": "task", "requested": {"reasoning_effort": "max"}},
    ]
    content["decision"]["warnings"] = warnings
    again = DecisionRecord.from_json(json.dumps(content))
    assert again.engine.cel == "cel-python 0.5.0"
    assert plain(again) == content


def test_the_request_of_a_record_can_be_decided_again() -> None:
    again = DecisionRecord.from_json(SELECTED.to_json())
    policy = loads(TEXT.replace("{precedence}", "delegation"))
    assert policy_router.decide(policy, again.request, now=again.now) == SELECTED


def test_a_record_can_be_copied_and_pickled() -> None:
    assert copy.deepcopy(SELECTED) == SELECTED
    assert pickle.loads(pickle.dumps(SELECTED)) == SELECTED  # noqa: S301 - its own bytes


def test_fields_of_a_later_minor_version_are_left_out() -> None:
    content = plain(SELECTED)
    content["later"] = 1
    content["decision"]["later"] = {"a": 1}
    content["steps"][2]["candidates"][0]["later"] = [1]
    assert DecisionRecord.from_json(json.dumps(content)) == SELECTED


def without(path: str) -> dict[str, Any]:
    """Return a record that lacks a field."""
    content = plain(SELECTED)
    *parents, last = path.split(".")
    inner = content
    for parent in parents:
        inner = inner[parent]
    del inner[last]
    return content


@each("path", ["policy", "now", "decision.outcome", "decision.target.model"])
def test_a_record_that_lacks_something_cannot_be_read(path: str) -> None:
    with pytest.raises(
        RecordError, match=f"not a decision record: .*`{path.rsplit('.', maxsplit=1)[-1]}`"
    ):
        DecisionRecord.from_json(json.dumps(without(path)))


@each(
    "content",
    ["", "{", "[]", "1", "null", '"x"', b"\xff", b'{"schema": "\xff"}', "\ud800", "{}"],
)
def test_what_is_no_record_cannot_be_read(content: str | bytes) -> None:
    with pytest.raises(RecordError, match=r"^not a decision record: "):
        DecisionRecord.from_json(content)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"schema": ' + "[" * 100_000])
def test_what_is_nested_without_end_cannot_be_read(content: str) -> None:
    with pytest.raises(RecordError):
        DecisionRecord.from_json(content)


def test_a_wrong_type_cannot_be_read() -> None:
    content = plain(SELECTED) | {"now": 1}
    with pytest.raises(RecordError, match=re.escape("$.now")):
        DecisionRecord.from_json(json.dumps(content))


def test_a_newer_schema_says_so() -> None:
    content = plain(SELECTED) | {"schema": "policy-router/record/v2", "steps": "other"}
    with pytest.raises(RecordError) as caught:
        DecisionRecord.from_json(json.dumps(content))
    assert str(caught.value) == (
        "this is not a record of the schema policy-router/record/v1; a newer version may read it"
    )


def test_a_record_needs_its_schema() -> None:
    content = plain(SELECTED)
    del content["schema"]
    with pytest.raises(RecordError, match="schema"):
        DecisionRecord.from_json(json.dumps(content))


def change_now(one: DecisionRecord) -> None:
    """Set an attribute."""
    one.now = ""  # type: ignore[misc]


def change_request(one: DecisionRecord) -> None:
    """Set an item of the request."""
    one.request["task"] = {}


def change_task(one: DecisionRecord) -> None:
    """Set an item inside the request."""
    one.request["task"]["kind"] = "x"


def change_parameters(one: DecisionRecord) -> None:
    """Set a parameter of the target."""
    target = one.decision.target
    assert isinstance(target, Target)
    target.parameters["max_tokens"] = 1


def change_step(one: DecisionRecord) -> None:
    """Set what was wished for at a step."""
    requested = one.steps[1].requested
    assert isinstance(requested, dict)
    requested["model"] = "x"


def change_warning(one: DecisionRecord) -> None:
    """Set the wish of a warning."""
    requested = one.decision.warnings[0].requested
    assert isinstance(requested, dict)
    requested["model"] = "x"


CHANGES = [
    change_now,
    change_request,
    change_task,
    change_parameters,
    change_step,
    change_warning,
]


@each("change", CHANGES)
@each("stored", [False, True], ids=["made", "stored"])
def test_a_record_cannot_be_changed(
    change: Any,
    stored: bool,  # noqa: FBT001
) -> None:
    one = record({"task": {"kind": "coding", "model": "gpt-9"}, "parent": {"model": "small"}})
    one = DecisionRecord.from_json(one.to_json()) if stored else one
    with pytest.raises((AttributeError, TypeError)):
        change(one)


def test_a_record_has_a_hash() -> None:
    for one in (SELECTED, REFUSED, WARNED, REASONED):
        assert len({one, DecisionRecord.from_json(one.to_json())}) == 1
