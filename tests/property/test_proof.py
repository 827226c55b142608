"""Proofs beside the evaluator: nothing that is proved happens, and what happens is a model."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given

from policy_router import PolicyError
from policy_router.analysis.proof.asking import Answer
from tests.property.rich_policies import rich_policies, rich_requests
from tests.property.strategies import compiled, policies, requests
from tests.support.proofs import Found, check_decisions, check_never, check_random
from tests.support.questions import check_all_questions

TIMES = int(os.environ.get("POLICY_ROUTER_STRESS", "1"))


@pytest.mark.slow
@given(policies(), requests, requests)
def test_each_decision_is_a_model_and_no_other_outcome_is(
    policy: dict[str, Any], one: dict[str, Any], other: dict[str, Any]
) -> None:
    found = Found()
    check_decisions(compiled(policy), [one, other], found)
    check_never(compiled(policy), [one, other], found)
    assert found.wrong == []


@pytest.mark.slow
@given(rich_policies(), rich_requests, rich_requests)
def test_each_decision_by_rich_conditions_is_a_model(
    policy: dict[str, Any], one: dict[str, Any], other: dict[str, Any]
) -> None:
    found = Found()
    try:
        check_decisions(compiled(policy), [one, other], found)
    except PolicyError:  # it is random
        return
    assert found.wrong == []


@pytest.mark.slow
def test_random_policies_pass_all_three_checks() -> None:
    found = Found()
    for seed in range(4):
        check_random(seed, 10, found)
    assert found.wrong == []
    assert found.conditions > 1_000


@pytest.mark.stress
@pytest.mark.timeout(600)
def test_many_random_policies_pass_all_three_checks() -> None:
    found = Found()
    for seed in range(1_000, 1_000 + 40 * TIMES):
        check_random(seed, 10, found)
    assert found.wrong == []
    assert found.exact > 0
    asked = sum(found.questions.values())
    assert found.questions[Answer.UNDECIDED] < asked / 10


def happened(first: int, last: int) -> int:
    wrong: list[str] = []
    found = sum(check_all_questions(seed, 10, wrong) for seed in range(first, last))
    assert wrong == []
    return found


@pytest.mark.slow
def test_what_happens_is_a_model_of_each_question_about_it() -> None:
    assert happened(0, 4) > 100


@pytest.mark.stress
@pytest.mark.timeout(600)
def test_what_happens_in_many_policies_is_a_model_of_each_question_about_it() -> None:
    assert happened(1_000, 1_000 + 20 * TIMES) > 1_000
