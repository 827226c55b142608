"""Short cuts change no record: folding, fusing and looking up decide as the plain path does.

The plain path evaluates each condition by itself, as it was written. It can be had by a plan of a
policy that neither folds nor fuses.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import policy_router
from policy_router import DecisionRecord, Policy
from policy_router.decision.plan import Plan
from policy_router.decision.record import EngineName
from policy_router.domain import Level
from tests.property.rich_policies import rich_policies, rich_requests
from tests.property.strategies import NOW

Plain = dict[str, Any]

GOOGLE, PORTABLE = "cel-expr-python", "cel-python"
engines = pytest.mark.parametrize(
    "engine",
    [
        pytest.param(
            GOOGLE,
            marks=pytest.mark.skipif(
                importlib.util.find_spec("cel_expr_python") is None, reason="it is not installed"
            ),
        ),
        PORTABLE,
    ],
)


def loaded(policy: Plain, engine: str) -> Policy:
    return policy_router.loads(json.dumps(policy), name="generated", engine=engine)


def planned(policy: Policy, *, folds: bool = True, fuses: bool = True) -> Policy:
    """Return a copy of a policy that decides in one way."""
    copy = dataclasses.replace(policy)
    copy._prepared[Plan] = Plan(copy, folds=folds, fuses=fuses)  # noqa: SLF001 - the only way in
    return copy


def answers(policy: Policy, requests: list[Plain]) -> list[Any]:
    """Return all that a policy says to some requests, but for the name of its engine."""
    return [
        (
            record_of(policy, request_).to_json(),
            [policy_router.permitted(policy, request_, now=NOW, level=level) for level in Level],
        )
        for request_ in requests
    ]


def record_of(policy: Policy, request_: Plain) -> DecisionRecord:
    record = policy_router.decide(policy, request_, now=NOW)
    return msgspec.structs.replace(record, engine=EngineName("any", "any"))


def pages(policy: Policy, requests: list[Plain]) -> list[str]:
    """Return what is explained of some decisions."""
    return [
        policy_router.explain(policy, record_of(policy, request_), why_not="a").to_text(full=True)
        for request_ in requests
    ]


some_requests = st.lists(rich_requests, min_size=2, max_size=3)


@engines
@given(rich_policies(), some_requests)
def test_fused_is_plain(engine: str, policy: Plain, requests: list[Plain]) -> None:
    fused = loaded(policy, engine)
    plain = planned(fused, folds=False)
    assert answers(fused, requests) == answers(plain, requests)


@engines
@given(rich_policies(), some_requests)
def test_folded_is_unfolded(engine: str, policy: Plain, requests: list[Plain]) -> None:
    folded = planned(loaded(policy, engine), fuses=False)
    unfolded = planned(folded, folds=False)
    assert answers(folded, requests) == answers(unfolded, requests)


@given(rich_policies(), some_requests)
def test_both_engines_decide_the_same(policy: Plain, requests: list[Plain]) -> None:
    pytest.importorskip("cel_expr_python")
    google, portable = loaded(policy, GOOGLE), loaded(policy, PORTABLE)
    assert answers(google, requests) == answers(portable, requests)
    assert pages(google, requests) == pages(planned(portable, folds=False), requests)
