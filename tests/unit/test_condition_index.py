"""Conditions that are looked up by a fact: the same outcomes, of fewer conditions evaluated."""

from __future__ import annotations

import importlib.util
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from policy_router.decision.lookup import Lookup
from policy_router.decision.plan import Plan
from policy_router.decision.situation import Situation
from policy_router.expressions.cel_python import CelPython
from policy_router.expressions.engine import FAILURE, Activation, Outcome, Program, Truth
from policy_router.expressions.render import render

from policy_router import Policy, decide, loads
from policy_router.decision.request import checked, moment, values_of
from policy_router.domain import Level
from policy_router.expressions.tree import Node
from policy_router.policy.compiler import Sources, examine
from policy_router.runtime.loader import ENGINES, profiles, schema

NOW = "2026-01-31T09:00:00Z"
GENERAL: dict[str, Any] = {
    "version": 1,
    "facts": {
        "flag": {"type": "bool", "default": False},
        "region": {"type": "string", "default": "eu"},
        "zones": {"type": "list", "default": ["z"]},
        "risk": {"type": "int"},
        "tags": {"type": "list"},
    },
    "variables": {"deep": "1 / parent.depth < 1"},
    "precedence": [{"use": "pool"}],
}
# A guard that fails: what it guards may be absent, and the whole fails.
FAILING_GUARD = "(1 / parent.depth == 1 ? has({0}) : has({0})) && {0} == 1"
CONDITIONS = [
    FAILING_GUARD.format("facts.risk"),
    FAILING_GUARD.format("task.input_tokens"),
    "task.kind == 'a'",
    "task.kind in ['a', 'b']",
    "task.kind in []",
    "'b' == task.kind || task.kind == 'c'",
    "task.kind == ''",
    "task.kind == 'a' && 1 / parent.depth == 1",
    "task.kind == 'a' && variables.deep",
    "variables.deep && task.kind in ['b', 'c']",
    "(task.kind == 'a' && parent.depth > 0) || task.kind == 'b'",
    "'x' in task.labels",
    "'x' in task.labels || 'y' in task.labels",
    "'y' in task.labels && parent.depth > 1",
    "'x' in task.labels && 1 / parent.depth == 1",
    "'x' in task.labels && 'y' in task.labels",
    "parent.depth < 1",
    "parent.depth <= 1",
    "parent.depth <= 0",
    "parent.depth >= 0 && size(task.kind) == 1",
    "parent.depth > 1",
    "parent.depth >= 1 && parent.depth < 2",
    "2 <= parent.depth && 'x' in task.labels",
    "3 > parent.depth",
    "facts.flag == true",
    "facts.region == 'eu'",
    "'z' in facts.zones",
    "has(facts.risk) && facts.risk == 1",
    "has(facts.risk) && facts.risk > 0",
    "has(facts.tags) && 'x' in facts.tags",
    "has(facts.risk) ? facts.risk == 1 : task.kind == 'a'",
    "task.kind != 'a'",
    "task.kind.startsWith('a')",
    "task.labels.exists(x, x > 'x')",
    "1 / parent.depth == 1",
    "variables.deep",
    "true",
    "false",
    "1 / 0 == 1",
]
OF_CANDIDATES = [
    "target.name == 'e0' && task.kind == 'a'",
    "target.name == 'e35' || task.kind == 'a'",
    "target.name != 'e0' && task.kind == 'a'",
    "target.name != 'e0' && 'x' in task.labels",
    "target.level == 'pool'",
    "target.level == 'task' || task.kind == 'b'",
    "has(target.price.input) || task.kind == 'b'",
    "has(target.context_window) && parent.depth < target.context_window",
    "task.kind in target.supports",
    "target.provider == 'p' && task.kind == 'a'",
]
REQUESTS: list[dict[str, Any]] = [
    {"task": {"kind": kind, "labels": labels}, "parent": {"depth": depth}, "facts": facts}
    for kind, labels, depth, facts in itertools.product(
        ["", "a", "b", "other"],
        [[], ["x"], ["y", "x", "y"]],
        [0, 1, 2],
        [
            {},
            {"risk": 1, "flag": True},
            {"risk": 0, "region": "us", "zones": [], "tags": ["x", "x"]},
        ],
    )
]
each_engine = pytest.mark.parametrize(
    "engine",
    [
        ENGINES[1],
        pytest.param(
            ENGINES[2],
            marks=pytest.mark.skipif(
                not importlib.util.find_spec("cel_expr_python"), reason="it is not installed"
            ),
        ),
    ],
)


def situation_of(policy: Policy, request: Mapping[str, Any]) -> Situation:
    """Let a policy meet a request."""
    return Situation(policy, values_of(policy, checked(policy, request)), moment(NOW))


def picking(conditions: Sequence[str], **more: Any) -> dict[str, Any]:
    """Return a policy with an entry for each condition."""
    pool = [
        {"model": "m", "name": f"e{number}", "pick": condition, "supports": ["a"]}
        for number, condition in enumerate(conditions)
    ]
    return {**GENERAL, "pool": pool, **more}


def picks_of(policy: Policy) -> Lookup:
    """Return the picks of a policy, looked up."""
    return policy.prepared(Plan).picks(policy.precedence[0]).lookup


def places(truths: Sequence[Truth], wanted: Truth) -> list[int]:
    """Return where a truth stands."""
    return [place for place, truth in enumerate(truths) if truth is wanted]


@each_engine
@pytest.mark.parametrize("folds", [True, False], ids=["folded", "as written"])
def test_picks_are_true_and_fail_where_each_does_by_itself(engine: str, folds: bool) -> None:  # noqa: FBT001 - it is a parameter
    policy = loads(json.dumps(picking([*CONDITIONS, *OF_CANDIDATES])), engine=engine)
    policy._prepared[Plan] = Plan(policy, folds=folds)  # noqa: SLF001 - there is no other way
    assert policy.pool is not None
    for request in REQUESTS:
        situation = situation_of(policy, request)
        found, failed = situation.look_up(picks_of(policy))
        truths = [
            situation.truth(entry.pick, situation.candidate(entry, Level.POOL))
            for entry in policy.pool
            if entry.pick
        ]
        assert list(found) == places(truths, Truth.TRUE), request
        assert sorted(failed) == places(truths, Truth.ERROR), request


OF_OUTCOME: Mapping[object, Truth] = {
    True: Truth.TRUE,
    False: Truth.FALSE,
    FAILURE: Truth.ERROR,
}


@each_engine
def test_forbid_rules_stand_where_each_does_by_itself(engine: str) -> None:
    forbid = [{"when": condition} for condition in [*CONDITIONS, *OF_CANDIDATES]]
    policy = loads(json.dumps({**GENERAL, "forbid": forbid}), engine=engine)
    plan = policy.prepared(Plan)
    assert len(plan.screened) > len(CONDITIONS)
    for request in REQUESTS:
        situation = situation_of(policy, request)
        found, failed = situation.look_up(plan.screens)
        screens = [plan.folder.quick(forbid.screen) for forbid in plan.screened if forbid.screen]
        truths = [OF_OUTCOME[situation.outcome(screen)] for screen in screens]
        assert list(found) == places(truths, Truth.TRUE), request
        assert sorted(failed) == places(truths, Truth.ERROR), request


# What is evaluated.


class Counting:
    """The portable engine, which notes what it compiles and evaluates."""

    name = "counting"

    def __init__(self) -> None:
        self.portable = CelPython()
        self.compiled: list[str] = []
        self.evaluated: list[str] = []

    def compile(self, expression: Node) -> Program:
        self.compiled.append(render(expression))
        return _Counted(self, expression)

    def bind(self, values: Mapping[str, Any]) -> Activation:
        return self.portable.bind(values)


class _Counted:
    def __init__(self, engine: Counting, expression: Node) -> None:
        self.text, self.evaluated = render(expression), engine.evaluated
        self.program = engine.portable.compile(expression)

    def evaluate(self, activation: Activation) -> Outcome:
        self.evaluated.append(self.text)
        return self.program.evaluate(activation)


def counted(policy: dict[str, Any]) -> tuple[Policy, Counting]:
    """Compile a policy with an engine that counts."""
    engine = Counting()
    files: list[tuple[str, str | bytes]] = [("a.yaml", json.dumps(policy))]
    found, problems = examine(Sources("counted", files, profiles(), schema("policy"), engine))
    assert found is not None, problems.to_text()
    return found, engine


def evaluated(policy: dict[str, Any], **request: Any) -> list[str]:
    """Return what is evaluated when picks are looked up."""
    compiled, engine = counted(policy)
    situation_of(compiled, request).look_up(picks_of(compiled))
    return engine.evaluated


def test_a_bucket_tells_what_is_true_from_what_has_to_be_evaluated() -> None:
    conditions = ["false", "true", "task.kind == 'a'", "task.kind in ['a', 'b'] && 'x' < caller.id"]
    policy = loads(json.dumps(picking(conditions)))
    for kind, expected in {"a": [((1,), ()), ((2,), (3,))], "b": [((1,), ()), ((), (3,))]}.items():
        buckets = picks_of(policy).buckets({"task": {"kind": kind}})
        assert [(it.sure, it.several) for it in buckets] == expected
        assert all(it.single == () for it in buckets)


def test_a_condition_with_many_values_is_compiled_once() -> None:
    kinds = [f"k{number}" for number in range(50)]
    policy, engine = counted(picking([f"task.kind in {kinds} && size(caller.id) > 3"] * 2))
    for kind in kinds:
        situation_of(policy, {"task": {"kind": kind}}).look_up(picks_of(policy))
    assert len(engine.compiled) == 2


def test_equal_buckets_are_evaluated_once() -> None:
    labels = ["a", "b", "c"]
    condition = (
        f"({' || '.join(f'{label!r} in task.labels' for label in labels)}) && 'x' < caller.id"
    )
    policy, engine = counted(picking([condition] * 3))
    situation_of(policy, {"task": {"labels": labels}}).look_up(picks_of(policy))
    assert len(engine.evaluated) == 1
    assert picks_of(loads(json.dumps(picking(["false", "1 == 2"])))).buckets({}) == []


BY_KIND = [f"task.kind == 'k{number}'" for number in range(5)]
BY_LABEL = [f"'k{number}' in task.labels" for number in range(5)]


def test_where_a_fact_decides_nothing_is_evaluated() -> None:
    assert evaluated(picking(BY_KIND), task={"kind": "k3"}) == []
    assert evaluated(picking(BY_LABEL), task={"labels": ["k3", "k1", "other"]}) == []
    assert evaluated(picking(["true", "false"])) == []


def test_where_a_fact_does_not_fit_nothing_is_evaluated() -> None:
    slow = [f"{test} && size(caller.id) > 3" for test in (*BY_KIND, *BY_LABEL)]
    assert evaluated(picking(slow), task={"kind": "other", "labels": ["other"]}) == []
    absent = ["has(facts.risk) && facts.risk == 1", "has(facts.risk) && facts.risk > 1"]
    assert evaluated(picking(absent)) == []
    assert evaluated(picking(["facts.region == 'us' && size(caller.id) > 3"])) == []


def test_where_a_fact_fits_only_its_conditions_are_evaluated() -> None:
    slow = [f"{test} && size(caller.id) > 3" for test in (*BY_KIND, *BY_LABEL)]
    only = 'task.kind == "k3" && size(caller.id) > 3'
    assert evaluated(picking(slow), task={"kind": "k3"}) == [only]
    both = [f'"k{number}" in task.labels && size(caller.id) > 3' for number in (4, 2)]
    assert sorted(evaluated(picking(slow), task={"labels": ["k4", "k2", "k4"]})) == sorted(both)


def test_what_has_no_key_is_always_evaluated_and_all_at_once() -> None:
    loose = ["task.kind != 'a'", "size(caller.id) > 3", "task.kind == 'a'"]
    both = '[task.kind != "a", size(caller.id) > 3]'
    assert evaluated(picking(loose), task={"kind": "b"}) == [both]


@pytest.mark.parametrize(("depth", "count"), [(0, 0), (2, 0), (3, 1), (4, 1), (9, 1)])
def test_nothing_is_evaluated_below_every_bound(depth: int, count: int) -> None:
    bounds = ["parent.depth > 5", "parent.depth >= 3", "4 < parent.depth"]
    assert len(evaluated(picking(bounds), parent={"depth": depth})) == count


@pytest.mark.parametrize(("depth", "count"), [(0, 1), (4, 1), (5, 1), (6, 0), (9, 0)])
def test_nothing_is_evaluated_above_every_bound(depth: int, count: int) -> None:
    bounds = ["parent.depth < 3", "parent.depth <= 5", "4 > parent.depth"]
    assert len(evaluated(picking(bounds), parent={"depth": depth})) == count


def test_a_forbid_rule_is_not_evaluated_where_a_fact_does_not_fit() -> None:
    forbid = [{"when": f"{test} && target.model != 'm'"} for test in BY_KIND]
    policy, engine = counted({**picking(["true"]), "forbid": forbid})
    assert decide(policy, {"task": {"kind": "other"}}, now=NOW).decision.outcome == "selected"
    assert engine.evaluated == []


# How the work grows.


def large(size: int) -> dict[str, Any]:
    """Return a policy with so many entries, each with conditions of its own."""
    pool = [
        {
            "model": f"m{number}",
            "provider": "p",
            "price": {"input": number + 0.5},
            "pick": f"task.kind == 'k{number}' && size(caller.id) < {number + 100}",
            "allow": f"caller.team != 't{number}'",
        }
        for number in range(size)
    ]
    forbid = [
        {"when": "has(target.price.input) && target.price.input > 400.0 && size(caller.id) > 3"},
        {"when": "'eu' in task.labels && !('eu' in target.strengths)"},
        *({"when": f"caller.team == 'x{number}'"} for number in range(size)),
        *({"when": f"target.model == 'm{number}' && task.kind == ''"} for number in range(size)),
    ]
    return {**GENERAL, "pool": pool, "forbid": forbid, "precedence": "delegation"}


def work(size: int, request: dict[str, Any]) -> tuple[str, int, int, int]:
    """Return what is selected, and how much is compiled and evaluated for it, also again."""
    policy, engine = counted(large(size))
    before = len(engine.compiled)
    record = decide(policy, request, now=NOW)
    compiled, first = len(engine.compiled), len(engine.evaluated)
    assert decide(policy, request, now=NOW) == record
    assert len(engine.compiled) == compiled
    assert record.decision.target
    return record.decision.target.model, compiled - before, first, len(engine.evaluated) - first


@pytest.mark.parametrize(
    "request_",
    [{"task": {"model": "m3", "kind": "other"}}, {"task": {"kind": "k3"}}],
    ids=["by name", "by a fact"],
)
def test_a_hundred_times_the_pool_is_no_more_work(request_: dict[str, Any]) -> None:
    small = work(5, request_)
    assert small == work(500, request_)
    model, compiled, first, again = small
    assert model == "m3"
    assert 0 < compiled <= 3
    assert first == again <= 3
