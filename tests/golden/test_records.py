"""Whole decision records, byte for byte: a policy and its requests against `expected.jsonl`."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft7Validator

from policy_router import DecisionRecord, Policy, check, decide, loads
from policy_router.decision.record import EngineName, ReasonCode
from policy_router.diagnostics.codes import Code
from tests.support.rows import each

RECORDS = Path(__file__).parent / "records"
CASES = sorted(folder.name for folder in RECORDS.iterdir() if folder.is_dir())
NOW = "2026-11-22T11:33:00Z"  # a Sunday
SCHEMAS = Path(__file__).parents[2] / "schemas"


def policy_of(case: str) -> Policy:
    return loads((RECORDS / case / "policy.yaml").read_bytes(), name="policy.yaml")


def requests_of(case: str) -> list[dict[str, Any]]:
    decoded: list[dict[str, Any]] = json.loads((RECORDS / case / "requests.json").read_bytes())
    return decoded


@functools.cache
def records_of(case: str) -> tuple[DecisionRecord, ...]:
    policy = policy_of(case)
    return tuple(decide(policy, request, now=NOW) for request in requests_of(case))


def shape_of(name: str) -> Draft7Validator:
    return Draft7Validator(json.loads((SCHEMAS / f"{name}.schema.json").read_bytes()))


def without_engine(record: DecisionRecord) -> bytes:
    """Return the bytes of a record; which version made it does not matter here."""
    return msgspec.structs.replace(record, engine=EngineName("-")).to_json()


def decision_of(record: DecisionRecord) -> Any:
    return json.loads(record.to_json())["decision"]


def chosen(case: str) -> list[tuple[str, str, list[str]]]:
    """Say of each request which level and model it got, and the codes of its warnings."""
    found = []
    for decision in map(decision_of, records_of(case)):
        codes = [warning["code"] for warning in decision["warnings"]]
        found.append((decision["level"], decision["target"]["model"], codes))
    return found


@pytest.mark.parametrize("case", CASES)
def test_records_are_as_they_were(case: str, *, update_golden: bool) -> None:
    lines = b"".join(without_engine(record) + b"\n" for record in records_of(case))
    expected = RECORDS / case / "expected.jsonl"
    if update_golden:
        expected.write_bytes(lines)
    assert lines.splitlines() == expected.read_bytes().splitlines()


@each("case", CASES)
def test_records_have_the_published_shape_and_can_be_read_back(case: str) -> None:
    shape = shape_of("record")
    assert records_of(case)
    for record in records_of(case):
        assert DecisionRecord.from_json(record.to_json()) == record
        shape.validate(json.loads(record.to_json()))


def test_requests_have_the_published_shape() -> None:
    shape = shape_of("request")
    for case in CASES:
        for request in requests_of(case):
            shape.validate(request)


def test_every_reason_code_is_in_some_record() -> None:
    text = "".join((RECORDS / case / "expected.jsonl").read_text("utf-8") for case in CASES)
    assert [code for code in ReasonCode if f'"code":"{code}"' not in text] == []


def test_every_way_of_not_deciding_is_in_some_record() -> None:
    text = "".join((RECORDS / case / "expected.jsonl").read_text("utf-8") for case in CASES)
    results = ("skipped", "error", "no_proposal", "violated", "selected", "not_reached")
    assert [word for word in results if f'"result":"{word}"' not in text] == []


ABOUT = {
    "bounds-of-the-pool": ["PR423"],
    "candidates-as-fallbacks": ["PR423"],
    "empty-pool": ["PR410"],
    "errors-of-conditions": ["PR314", "PR314"],
    "guards": ["PR314", "PR314"],
    "nothing-selects": ["PR418"],
    "one-model-at-two-providers": ["PR423"],
    "watched-rules": ["PR318", "PR419", "PR314", "PR315"],
}


@pytest.mark.parametrize("case", CASES)
def test_the_policies_check_clean_but_for_what_they_are_about(case: str) -> None:
    policy, found = check(RECORDS / case / "policy.yaml")
    assert policy is not None
    # No model is called, so that most providers have no address.
    assert [it.code for it in found if it.code != Code.NO_ADDRESS] == ABOUT.get(case, [])


def test_the_contract_s_example_record_is_what_is_decided() -> None:
    record = json.loads(records_of("acme-under-delegation")[0].to_json())
    assert record.pop("policy")["name"] == "acme"
    assert record.pop("engine").keys() == {"version"}
    coder = {"entry": "coder", "model": "glm-5.1", "provider": "zai"}
    turbo = {"entry": "glm-5-turbo", "model": "glm-5-turbo", "provider": "zai"}
    limited = {"parameters": {"max_tokens": 8192}}
    gone = {"requested": {"model": "gpt-9"}}
    outside = {"code": "outside_pool", "rule": "task", **gone}
    assert record == {
        "schema": "policy-router/record/v1",
        "now": NOW,
        "request": {
            "task": {"kind": "coding", "model": "gpt-9"},
            "parent": {"model": "glm-5", "provider": "zai"},
        },
        "decision": {
            "outcome": "selected",
            "level": "pool",
            "rule": "pool",
            "target": {**coder, **limited},
            "fallbacks": [{**turbo, **limited}],
            "warnings": [outside],
        },
        "steps": [
            {"rule": "call", "level": "call", "result": "no_proposal"},
            {"level": "task", "result": "violated", **outside},
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


def test_the_origin_s_configuration_decides_as_its_proposal_says() -> None:
    assert chosen("embedded-delegation") == [
        ("call", "glm-5", ["outranked"]),  # the call comes before the task
        ("task", "glm-5.1", []),
        ("config", "glm-5-turbo", ["outside_pool"]),  # falls back with a warning
        ("task", "glm-5", ["outside_pool"]),
        ("call", "glm-5", ["outranked"]),
        ("config", "glm-5-turbo", []),  # nothing asked
    ]


def test_the_origin_s_configuration_is_character_for_character_the_one_in_the_docs() -> None:
    text = (RECORDS / "embedded-delegation" / "policy.yaml").read_text(encoding="utf-8")
    page = Path(__file__).parents[2] / "docs" / "language.md"
    assert f"```yaml\n{text}```" in page.read_text(encoding="utf-8")


@each("profile", ["delegation", "strict", "task-first"])
def test_both_forms_decide_alike(profile: str) -> None:
    native, embedded = records_of(f"native-{profile}"), records_of(f"embedded-{profile}")
    assert [(r.decision, r.steps) for r in native] == [(r.decision, r.steps) for r in embedded]
