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
def test_fused_is_plain_and_folded_is_unfolded(
    engine: str, policy: Plain, requests: list[Plain]
) -> None:
    fused = loaded(policy, engine)
    plain = answers(planned(fused, folds=False), requests)
    assert answers(fused, requests) == plain
    assert answers(planned(fused, fuses=False), requests) == plain


@given(rich_policies(), some_requests)
def test_both_engines_decide_the_same(policy: Plain, requests: list[Plain]) -> None:
    pytest.importorskip("cel_expr_python")
    google, portable = loaded(policy, GOOGLE), loaded(policy, PORTABLE)
    assert answers(google, requests) == answers(portable, requests)
    assert pages(google, requests) == pages(planned(portable, folds=False), requests)


# The macros of one evaluation walk fewer than 10,000 elements; beyond that the whole fails.

MANY = [f"label-{number}" for number in range(1000)]
LONG: Plain = {"task": {"kind": "x", "labels": MANY}, "caller": {"roles": MANY}}
NESTED = "task.labels.all(x, caller.roles.all(y, true))"
JOINED = f"({' + '.join(['task.labels'] * 10)}).all(x, true)"
YES, NO = 'target.level in ["pool", "task"]', 'target.level == "call"'


def walks(times: int, first: int = 0) -> str:
    """Return a condition that is true, and walks so many thousands of elements."""
    return " && ".join(f"task.labels.all(x{first + number}, true)" for number in range(times))


def agreed(policy: Plain, engine: str, request_: Plain) -> Plain:
    """Return the record that all ways agree on, as plain data."""
    fast = loaded(policy, engine)
    ways = [fast, planned(fast, fuses=False), planned(fast, folds=False)]
    first, *others = [record_of(way, request_).to_json() for way in ways]
    assert others == [first, first]
    record: Plain = json.loads(first)
    return record


def pool_of(*conditions: str, key: str = "allow") -> list[Plain]:
    """Return entries that are picked, each with a condition."""
    return [
        {"model": f"entry-{number}", "pick": "true", key: condition}
        for number, condition in enumerate(conditions)
    ]


BUDGETS: dict[str, bool | None] = {
    f"{NESTED} && {NO}": None,
    f"{NO} && {NESTED}": False,
    f"{NESTED} || {YES}": None,
    f"{YES} || {NESTED}": True,
    f"{JOINED} && {NO}": None,
    f"{JOINED} || {YES}": None,
    f'{NESTED} && task.kind == "y"': None,
    f'task.kind == "y" && {NESTED}': False,
    f'task.kind == "y" && {NESTED} && {NO}': False,
    f'task.kind == "x" && {NESTED} && {NO}': None,
    f'({NESTED} && task.kind == "y") || task.kind == "z"': None,
    f"{walks(9)} && {YES}": True,
    f"{walks(9)} && {NO}": False,
    f"{walks(12)} && {YES}": None,
    f"{walks(12)} && {NO}": None,
    f'{walks(12)} && task.kind == "y"': None,
    f"!({walks(12)}) || {YES}": None,
    f"({walks(6)} && {NO}) || ({walks(6, 6)})": None,
    f"({walks(6)} && {NO}) ? false : ({walks(6, 6)})": None,
    f'({walks(9)} && task.kind == "y") || ({walks(9)} && task.kind == "z")': None,
    f"task.labels.exists(x, caller.roles.all(y, true) && {NO})": None,
    f"task.labels.all(x, caller.roles.all(y, true) || {YES})": None,
    f"task.labels.all(x, {YES} || caller.roles.all(y, true))": True,
    f'target.strengths.all(x, {walks(9)}) || task.kind == "y"': True,
    f"(variables.far && {NO}) || (variables.near && {walks(9)})": True,
}


@engines
@pytest.mark.parametrize(("condition", "truth"), BUDGETS.items(), ids=map(str, range(len(BUDGETS))))
def test_the_budget_of_a_condition_is_that_of_what_was_written(
    engine: str, condition: str, *, truth: bool | None
) -> None:
    variables = {"far": NESTED, "near": walks(9, 20)}
    general: Plain = {"variables": variables, "precedence": "strict"}
    picking = {**general, "pool": pool_of(condition, key="pick")}
    allowing = {**general, "pool": pool_of(condition)}
    forbidding = {**general, "pool": pool_of("true"), "forbid": [{"when": condition}]}
    records = [agreed(it, engine, LONG) for it in (picking, allowing, forbidding)]
    codes = [[it["code"] for it in record["decision"]["warnings"]] for record in records]
    assert codes == [
        ["pick_error"] * (truth is None),
        ["not_allowed"] * (truth is not True),
        ["forbidden"] * (truth is not False),
    ]


@engines
def test_conditions_that_are_fused_have_each_its_own_budget(engine: str) -> None:
    several = [walks(5, first) for first in range(0, 40, 5)]
    fallback = [f"entry-{number}" for number in range(8)]
    pool = [{**entry, "fallback": fallback} for entry in pool_of(*several)]
    for entry, condition in zip(pool, several, strict=True):
        entry["pick"] = condition.replace("task.labels", "caller.roles")
    forbid = [
        {"when": f'{walks(4, first)} && target.name == "none-{first}"'}
        for first in range(50, 90, 4)
    ]
    rules = [{"use": "pool", "order_by": "task.labels.filter(x, x != target.name).size()"}]
    policy = {"pool": pool, "forbid": forbid, "precedence": rules}
    decision = agreed(policy, engine, LONG)["decision"]
    assert decision["target"]["entry"] == "entry-0"
    assert [target["entry"] for target in decision["fallbacks"]] == fallback
    assert not decision["warnings"]


# What is too long for one expression.


@engines
def test_long_conditions_are_cut_into_several_expressions(engine: str) -> None:
    long = " || ".join(f'task.kind.startsWith("{letter * 900}")' for letter in "abcd")
    conditions = [f'{long} || task.kind.endsWith("-{number}")' for number in range(70)]
    allows = [f'!({long}) && task.kind != "{number}"' for number in range(70)]
    pool = pool_of(*allows)
    for entry, condition in zip(pool, conditions, strict=True):
        entry["pick"] = condition
    decision = agreed({"pool": pool}, engine, {"task": {"kind": "kind-7"}})["decision"]
    assert decision["target"]["entry"] == "entry-7"
    refusal = agreed({"pool": pool}, engine, {"task": {"kind": "7"}})["decision"]["refusal"]
    assert len(refusal["permitted"]) == 69


@engines
def test_a_list_may_be_too_long_to_be_written_into_a_condition(engine: str) -> None:
    strengths = [f"{'strength-' * 5}{number}" for number in range(3000)]
    pool = pool_of("target.strengths.exists(x, x == task.kind)", "true")
    pool[0]["strengths"] = pool[1]["strengths"] = strengths
    pool[1]["pick"] = f"target.strengths.all(x, x != task.kind) && {walks(5)}"
    rules = [{"use": "pool", "order_by": "size(target.strengths.filter(x, x == task.kind))"}]
    policy = {"pool": pool, "precedence": rules}
    for kind, entry in ((strengths[77], "entry-0"), ("none", "entry-1")):
        request_ = {"task": {"kind": kind, "labels": MANY}}
        assert agreed(policy, engine, request_)["decision"]["target"]["entry"] == entry


# Where much is to be decided, other ways are quicker.


@engines
def test_many_forbid_rules_stand_for_many_entries(engine: str) -> None:
    pool = pool_of(*["true"] * 30)
    forbid = [
        {"when": f'task.kind != "{number}" && target.name == "entry-{number}"'}
        for number in range(29)
    ]
    forbid += [{"when": f'facts.rank < {number} && target.name == "b"'} for number in range(1, 9)]
    policy = {"facts": {"rank": {"type": "int", "default": 0}}, "pool": pool, "forbid": forbid}
    asking = {"task": {"kind": "7", "model": "unknown"}}
    record = agreed({**policy, "precedence": "strict"}, engine, asking)
    assert record["decision"]["refusal"]["permitted"] == ["entry-7", "entry-29"]
    looked_at = agreed(policy, engine, {"task": {"kind": "7"}})["steps"][2]["candidates"]
    assert [it["verdict"] for it in looked_at] == ["rejected"] * 7 + ["selected"]


@engines
@pytest.mark.parametrize("picked", [1, 2, 3, 15, 30])
def test_few_or_many_of_the_entries_are_put_in_order(engine: str, picked: int) -> None:
    conditions = [f"facts.rank > {number} && task.index >= 0" for number in range(30)]
    pool = pool_of(*conditions, key="pick")
    facts = {"rank": {"type": "int", "default": picked}}
    rules = [{"use": "pool", "order_by": 'bucket(target.name, "salt" + task.kind) / task.index'}]
    policy = {"facts": facts, "pool": pool, "precedence": rules}
    assert agreed(policy, engine, {"task": {"index": 1}})["decision"]["outcome"] == "selected"
    failing = agreed(policy, engine, {"task": {"index": 0}})["decision"]["warnings"]
    assert [it["entry"] for it in failing] == [f"entry-{number}" for number in range(picked)]
