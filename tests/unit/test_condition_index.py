"""Conditions that are looked up by a fact: the same outcomes, of fewer conditions evaluated."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from policy_router import Policy, decide, loads
from policy_router.cel.evaluate import Truth
from policy_router.decision.condition_index import ConditionIndex
from policy_router.decision.evaluation import Evaluation
from policy_router.decision.fitting import checked, values_of
from policy_router.decision.prepared import Prepared
from policy_router.decision.request import moment
from policy_router.domain import Level
from tests.support.counting import Work

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


def evaluation_of(policy: Policy, request: Mapping[str, Any]) -> Evaluation:
    """Let a policy meet a request."""
    return Evaluation(policy, values_of(policy, checked(policy, request)), moment(NOW))


def picking(conditions: Sequence[str], **more: Any) -> dict[str, Any]:
    """Return a policy with an entry for each condition."""
    pool = [
        {"model": "m", "provider": "p", "name": f"e{number}", "pick": condition, "supports": ["a"]}
        for number, condition in enumerate(conditions)
    ]
    return {**GENERAL, "pool": pool, **more}


def index_of(policy: Policy) -> ConditionIndex:
    """Return the picks of a policy, to be looked up."""
    return policy.prepared(Prepared).picks.index


def places(truths: Sequence[Truth], wanted: Truth) -> list[int]:
    """Return where a truth stands."""
    return [place for place, truth in enumerate(truths) if truth is wanted]


def test_picks_are_true_and_fail_where_each_does_by_itself() -> None:
    policy = loads(json.dumps(picking([*CONDITIONS, *OF_CANDIDATES])))
    assert policy.pool is not None
    for request in REQUESTS:
        evaluation = evaluation_of(policy, request)
        found, failed = evaluation.picked()
        truths = [
            evaluation.truth_for(entry.pick, evaluation.candidate(entry, Level.POOL))
            for entry in policy.pool
            if entry.pick
        ]
        assert [entry.position for entry in found] == places(truths, Truth.TRUE), request
        assert sorted(entry.position for entry in failed) == places(truths, Truth.ERROR), request


def test_forbid_rules_are_active_where_their_part_about_the_request_is_not_false() -> None:
    policy = loads(json.dumps({**GENERAL, "forbid": [{"when": it} for it in CONDITIONS]}))
    for request in REQUESTS:
        evaluation = evaluation_of(policy, request)
        truths = [evaluation.truth(rule.when) for rule in policy.forbid]
        active = [forbid.number for forbid in evaluation.active_forbids]
        wanted = [place for place, truth in enumerate(truths) if truth is not Truth.FALSE]
        assert active == wanted, request


# What is evaluated.


def evaluated(noted: Work, policy: dict[str, Any], **request: Any) -> list[str]:
    """Return what is evaluated when picks are looked up."""
    evaluation = evaluation_of(loads(json.dumps(policy)), request)
    evaluation.prepared.picks  # noqa: B018 - it is worked out when it is first asked for
    noted.clear()
    evaluation.picked()
    return noted.evaluated


def test_a_bucket_tells_what_is_true_from_what_has_to_be_evaluated() -> None:
    conditions = ["false", "true", "task.kind == 'a'", "task.kind in ['a', 'b'] && 'x' < caller.id"]
    index = index_of(loads(json.dumps(picking(conditions))))
    for kind, expected in {"a": [((1,), ()), ((2,), (3,))], "b": [((1,), ()), ((), (3,))]}.items():
        buckets = index.find({"task": {"kind": kind}})
        assert [(it.sure, it.unsure) for it in buckets] == expected


def test_equal_conditions_are_evaluated_once(work: Work) -> None:
    labels = ["a", "b", "c"]
    condition = (
        f"({' || '.join(f'{label!r} in task.labels' for label in labels)}) && 'x' < caller.id"
    )
    assert len(evaluated(work, picking([condition] * 3), task={"labels": labels})) == 1
    assert index_of(loads(json.dumps(picking(["false", "1 == 2"])))).find({}) == []


BY_KIND = [f"task.kind == 'k{number}'" for number in range(5)]
BY_LABEL = [f"'k{number}' in task.labels" for number in range(5)]


def test_where_a_fact_decides_nothing_is_evaluated(work: Work) -> None:
    assert evaluated(work, picking(BY_KIND), task={"kind": "k3"}) == []
    assert evaluated(work, picking(BY_LABEL), task={"labels": ["k3", "k1", "other"]}) == []
    assert evaluated(work, picking(["true", "false"])) == []


def test_where_a_fact_does_not_fit_nothing_is_evaluated(work: Work) -> None:
    slow = [f"{test} && size(caller.id) > 3" for test in (*BY_KIND, *BY_LABEL)]
    assert evaluated(work, picking(slow), task={"kind": "other", "labels": ["other"]}) == []
    absent = ["has(facts.risk) && facts.risk == 1", "has(facts.risk) && facts.risk > 1"]
    assert evaluated(work, picking(absent)) == []
    assert evaluated(work, picking(["facts.region == 'us' && size(caller.id) > 3"])) == []


def test_where_a_fact_fits_only_its_conditions_are_evaluated(work: Work) -> None:
    slow = [f"{test} && size(caller.id) > 3" for test in (*BY_KIND, *BY_LABEL)]
    only = 'task.kind == "k3" && size(caller.id) > 3'
    assert evaluated(work, picking(slow), task={"kind": "k3"}) == [only]
    both = [f'"k{number}" in task.labels && size(caller.id) > 3' for number in (4, 2)]
    assert sorted(evaluated(work, picking(slow), task={"labels": ["k4", "k2", "k4"]})) == sorted(
        both
    )


def test_what_has_no_key_is_always_evaluated(work: Work) -> None:
    loose = ["task.kind != 'a'", "size(caller.id) > 3", "task.kind == 'a'"]
    both = ['task.kind != "a"', "size(caller.id) > 3"]
    assert evaluated(work, picking(loose), task={"kind": "b"}) == both


@pytest.mark.parametrize(("depth", "count"), [(0, 0), (2, 0), (3, 3), (4, 3), (9, 3)])
def test_nothing_is_evaluated_below_every_bound(work: Work, depth: int, count: int) -> None:
    bounds = ["parent.depth > 5", "parent.depth >= 3", "4 < parent.depth"]
    assert len(evaluated(work, picking(bounds), parent={"depth": depth})) == count


@pytest.mark.parametrize(("depth", "count"), [(0, 3), (4, 3), (5, 3), (6, 0), (9, 0)])
def test_nothing_is_evaluated_above_every_bound(work: Work, depth: int, count: int) -> None:
    bounds = ["parent.depth < 3", "parent.depth <= 5", "4 > parent.depth"]
    assert len(evaluated(work, picking(bounds), parent={"depth": depth})) == count


def test_a_forbid_rule_is_not_evaluated_where_a_fact_does_not_fit(work: Work) -> None:
    forbid = [{"when": f"{test} && target.model != 'm'"} for test in BY_KIND]
    policy = loads(json.dumps({**picking(["true"]), "forbid": forbid}))
    assert decide(policy, {"task": {"kind": "other"}}, now=NOW).decision.outcome == "selected"
    assert work.evaluated == []


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


def work_of(noted: Work, size: int, request: dict[str, Any]) -> tuple[str, int]:
    """Return what is selected, and how many expressions are evaluated for it, each time."""
    policy = loads(json.dumps(large(size)))
    counts = []
    for _ in range(3):
        noted.clear()
        record = decide(policy, request, now=NOW)
        counts.append(len(noted.evaluated))
    # The first decision also works out which rules about the target alone may forbid it.
    assert counts[1] == counts[2]
    assert record.decision.target
    return record.decision.target.model, counts[2]


@pytest.mark.parametrize(
    "request_",
    [{"task": {"model": "m3", "kind": "other"}}, {"task": {"kind": "k3"}}],
    ids=["by name", "by a fact"],
)
@pytest.mark.slow
def test_a_hundred_times_the_pool_is_no_more_work(work: Work, request_: dict[str, Any]) -> None:
    small = work_of(work, 5, request_)
    assert small == work_of(work, 500, request_)
    model, evaluations = small
    assert model == "m3"
    assert 0 < evaluations <= 3
