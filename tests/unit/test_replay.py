"""A decision that is made again under its own policy comes out the same, or somebody says why."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from policy_router import DecisionRecord, decide
from policy_router.decision.record import EngineName, PolicyName
from policy_router.decision.replay import Outcome, compared, difference, replay
from policy_router.errors import RecordError
from tests.support.log_auditing import CHEAP, NOW, policy_of

RULES = policy_of()
RECORD = decide(RULES, {"task": {"kind": "coding"}}, now=NOW)
OTHER_ENGINE = EngineName("0.0.1")
OLDER_ENGINE = EngineName(RECORD.engine.version, "cel-python 0.5.0")
Plain = dict[str, Any]


def edited(change: Callable[[Plain], None], record: DecisionRecord = RECORD) -> DecisionRecord:
    plain = json.loads(record.to_json())
    change(plain)
    return DecisionRecord.from_json(json.dumps(plain))


def skipped(plain: Plain) -> None:
    plain["steps"][1]["result"] = "skipped"


def test_a_decision_comes_out_the_same() -> None:
    made = replay(RULES, RECORD)
    assert (made.outcome, made.reason) == (Outcome.IDENTICAL, None)
    assert made.record == RECORD
    assert replay(RULES, DecisionRecord.from_json(RECORD.to_json())).outcome is Outcome.IDENTICAL


def test_the_engine_is_no_part_of_a_decision() -> None:
    assert replay(RULES, replace(RECORD, engine=OTHER_ENGINE)).outcome is Outcome.IDENTICAL


def test_a_record_that_names_its_cel_engine_is_read_and_replayed_and_no_longer_made() -> None:
    older = edited(lambda plain: plain["engine"].update(cel="cel-python 0.5.0"))
    assert older == replace(RECORD, engine=OLDER_ENGINE)
    assert DecisionRecord.from_json(older.to_json()) == older
    made = replay(RULES, older)
    assert (made.outcome, made.record) == (Outcome.IDENTICAL, RECORD)
    assert b'"cel"' not in RECORD.to_json()
    drifted = replay(RULES, edited(skipped, older))
    assert drifted.outcome is Outcome.CHANGED
    assert drifted.reason is not None
    assert drifted.reason.startswith("the policy language has changed since: first difference: ")


def test_a_record_that_was_changed_is_told_with_the_first_difference() -> None:
    made = replay(RULES, edited(skipped))
    assert made.outcome is Outcome.CHANGED
    assert made.reason == "first difference: rule `task`: skipped became no_proposal"
    assert made.record == RECORD


def test_a_record_of_another_engine_that_differs_has_drifted() -> None:
    made = replay(RULES, replace(edited(skipped), engine=OTHER_ENGINE))
    assert made.outcome is Outcome.ENGINE_DRIFT


def test_a_code_is_spelt_with_the_result() -> None:
    record = decide(RULES, {"task": {"model": "gpt-9"}}, now=NOW)

    def forbidden(plain: Plain) -> None:
        plain["steps"][1]["code"] = "forbidden"

    made = replay(RULES, edited(forbidden, record))
    words = "rule `task`: violated (forbidden) became violated (outside_pool)"
    assert made.reason == f"first difference: {words}"


def test_steps_that_are_missing_are_told() -> None:
    made = replay(RULES, edited(lambda plain: plain["steps"].pop()))
    assert made.reason == "first difference: 4 steps became 5"


def test_a_decision_that_does_not_follow_from_its_steps_is_told() -> None:
    made = replay(RULES, edited(lambda plain: plain["decision"]["target"].update(model="x")))
    assert made.reason == "first difference: the same steps, and another decision of them"
    assert difference(RECORD, RECORD) == "the same steps, and another decision of them"


def test_a_record_of_another_policy_cannot_be_replayed() -> None:
    made = replay(policy_of(CHEAP), RECORD)
    assert (made.outcome, made.record) == (Outcome.NOT_REPLAYABLE, None)
    start = RECORD.policy.revision[:19]
    assert made.reason == f"the record is of another policy, in revision {start}"


def test_a_request_that_does_not_fit_cannot_be_replayed() -> None:
    strict = policy_of("model: m\nprovider: p\nfacts: {risk: {type: int}}\n")
    request = {"facts": {"risk": "high"}}
    record = replace(RECORD, policy=PolicyName("x", strict.revision), request=request)
    made = replay(strict, record)
    assert made.outcome is Outcome.NOT_REPLAYABLE
    words = "the request does not fit its policy: $.facts.risk: expected an int, found a string"
    assert made.reason == words


def test_a_newer_record_says_who_may_read_it() -> None:
    plain = {**json.loads(RECORD.to_json()), "schema": "policy-router/record/v2"}
    with pytest.raises(RecordError, match="a newer version may read it"):
        DecisionRecord.from_json(json.dumps(plain))


def test_what_is_compared_is_decision_and_steps() -> None:
    decision, steps = compared(RECORD)
    plain = json.loads(RECORD.to_json())
    assert (json.loads(decision), json.loads(steps)) == (plain["decision"], plain["steps"])
