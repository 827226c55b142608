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


# The macros of one evaluation walk fewer than 10,000 elements; beyond that the whole fails.

MANY = [f"label-{number}" for number in range(1000)]
LONG: Plain = {
    "task": {"kind": "x", "labels": MANY},
    "caller": {"roles": MANY},
    "parent": {"model": "m", "provider": "p"},
}
WALK = 'task.labels.all(x, x != "")'
NESTED = 'task.labels.all(x, caller.roles.all(y, x + y != ""))'
JOINED = f'({" + ".join(["task.labels"] * 10)}).all(x, x != "")'


def walks(number: int, *, first: int = 0) -> str:
    """Return a condition that walks so many thousands of elements, and is true."""
    numbers = range(first, first + number)
    return " && ".join(f'task.labels.all(x, x != "{number}")' for number in numbers)


def said_by(engine: str, policy: Plain, request_: Plain = LONG) -> Plain:
    """Return a record that all plans agree on, as plain data."""
    fast = loaded(policy, engine)
    plain = planned(fast, folds=False)
    expected = answers(plain, [request_])
    assert answers(fast, [request_]) == expected
    assert answers(planned(fast, fuses=False), [request_]) == expected
    record: Plain = json.loads(expected[0][0])
    return record


def entries(*conditions: str, key: str = "pick") -> list[Plain]:
    """Return the entries ``a``, ``b`` and so on, with a condition each."""
    names = [f"{chr(ord('a') + number)}" for number in range(len(conditions))]
    return [
        {"model": name, "pick": "true", key: condition}
        for name, condition in zip(names, conditions, strict=True)
    ]


def picked(record: Plain) -> str:
    """Return what becomes of the entry ``a``."""
    decision = record["decision"]
    codes = [warning["code"] for warning in decision["warnings"]]
    return str(codes[0] if codes else decision["target"]["model"])


TRUE, FALSE, FAILS = "a", "m", "pick_error"
FOR_A, FOR_NONE = 'target.name == "a"', 'target.name == "z"'
BUDGETS = {
    f"{NESTED} && {FOR_NONE}": FAILS,
    f"{JOINED} && {FOR_NONE}": FAILS,
    f"{FOR_NONE} && {NESTED}": FALSE,
    f"{NESTED} || {FOR_A}": FAILS,
    f"{JOINED} || {FOR_A}": FAILS,
    f"{FOR_A} || {NESTED}": TRUE,
    f'task.kind == "y" && {NESTED}': FALSE,
    f'{NESTED} && task.kind == "y"': FAILS,
    f'({NESTED} && task.kind == "y") || task.kind == "z"': FAILS,
    f"{walks(9)} && {FOR_A}": TRUE,
    f"{walks(9)} && {FOR_NONE}": FALSE,
    f"{walks(12)} && {FOR_A}": FAILS,
    f"{walks(12)} && {FOR_NONE}": FAILS,
    f'{walks(12)} && task.kind == "y"': FAILS,
    f"!({walks(12)}) || {FOR_A}": FAILS,
    f"({walks(6)} && {FOR_NONE}) || ({walks(6, first=6)})": FAILS,
    f"({walks(6)} && {FOR_NONE}) ? false : ({walks(6, first=6)})": FAILS,
    f'({walks(9)} && task.kind == "y") || ({walks(9)} && task.kind == "z")': FAILS,
    f"task.labels.exists(x, caller.roles.all(y, y != x) && {FOR_NONE})": FAILS,
    f"task.labels.all(x, caller.roles.all(y, y != x) || {FOR_A})": FAILS,
    f"task.labels.all(x, {FOR_A} || caller.roles.all(y, y != x))": TRUE,
    f"target.strengths.all(s, {NESTED}) || {FOR_A}": TRUE,
    f"variables.far && {FOR_NONE}": FALSE,
    f"variables.far || {FOR_A}": TRUE,
    "variables.far": FAILS,
    f"variables.near && {walks(9)}": TRUE,
}


@engines
@pytest.mark.parametrize(("condition", "expected"), BUDGETS.items())
def test_the_budget_of_a_condition_is_that_of_what_was_written(
    engine: str, condition: str, expected: str
) -> None:
    variables = {"far": NESTED, "near": walks(9, first=20)}
    record = said_by(engine, {"variables": variables, "pool": entries(condition)})
    assert picked(record) == expected
    guards = {"allow": condition, "forbid": f"!({condition})"}
