"""What one decision may cost, and what is evaluated in it: each condition of the request once."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from policy_router import Policy, Router, decide, explain, loads, permitted
from policy_router.cel import evaluate, frame, planner
from policy_router.cel.frame import MAX_ELEMENTS
from tests.support.counting import Work

NOW = "2026-01-31T09:00:00Z"
Plain = dict[str, Any]

LABELS = [f"l{number}" for number in range(19)]
MANY: Plain = {"task": {"labels": LABELS}, "caller": {"roles": LABELS}}
"""A macro over both lists, in each other, visits 380 elements."""
COST = len(LABELS) * (len(LABELS) + 1)
ROOM = 4
SIZE = 7


@pytest.fixture
def small_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a decision room for four such macros, so that the tests are quick."""
    monkeypatch.setattr(frame, "MAX_ELEMENTS_OF_DECISION", ROOM * COST + 10)


def loaded(**policy: Any) -> Policy:
    """Compile a policy."""
    return loads(json.dumps(policy))


def walking(name: str, verdict: str = "true") -> str:
    """Return a condition that is its own for each name, and visits both lists."""
    return f"task.labels.all(x, caller.roles.all(y, x + '{name}' != y)) && {verdict}"


def pool_of(size: int, **conditions: str) -> list[Plain]:
    """Return entries, each with conditions in which {n} stands for its name."""
    return [
        {
            "model": f"m{number}",
            "provider": "p",
            **{key: text.replace("{n}", f"m{number}") for key, text in conditions.items()},
        }
        for number in range(size)
    ]


def decided(policy: Policy, request: Plain) -> Plain:
    """Return a decision as plain data."""
    found: Plain = json.loads(decide(policy, request, now=NOW).to_json())["decision"]
    return found


# The budget of a decision.


@pytest.mark.usefixtures("small_budget")
def test_guards_beyond_the_budget_refuse() -> None:
    policy = loaded(pool=pool_of(SIZE, allow=walking("{n}")), precedence="strict")
    refusal = decided(policy, {**MANY, "call": {"model": "outside"}})["refusal"]
    assert refusal["permitted"] == [f"m{number}" for number in range(ROOM)]
    found = decided(policy, {**MANY, "call": {"model": f"m{SIZE - 1}"}})
    assert found["target"]["entry"] == f"m{SIZE - 1}"


@pytest.mark.usefixtures("small_budget")
def test_forbid_rules_beyond_the_budget_forbid() -> None:
    aimed = walking("{n}", "target.name == 'none'")
    forbid = [{"when": aimed.replace("{n}", f"f{number}")} for number in range(SIZE)]
    policy = loaded(pool=pool_of(2, pick="true"), forbid=forbid, precedence="delegation")
    record = decide(policy, MANY, now=NOW)
    assert record.decision.outcome == "refused"
    found = [candidate.code for step in record.steps for candidate in step.candidates or ()]
    assert found == ["forbidden", "forbidden"]
    assert decided(policy, {**MANY, "caller": {}})["target"]["entry"] == "m0"


@pytest.mark.usefixtures("small_budget")
def test_picks_beyond_the_budget_are_pick_errors() -> None:
    policy = loaded(pool=pool_of(SIZE, pick=walking("{n}")), precedence=[{"use": "pool"}])
    found = decided(policy, MANY)
    assert found["target"]["entry"] == "m0"
    assert [it["entry"] for it in found["warnings"]] == [f"m{it}" for it in range(ROOM, SIZE)]
    assert {it["code"] for it in found["warnings"]} == {"pick_error"}


@pytest.mark.usefixtures("small_budget")
def test_an_order_beyond_the_budget_is_a_pick_error() -> None:
    order = "size(task.labels.filter(x, caller.roles.all(y, x + target.name != y)))"
    rules = [{"use": "pool", "order_by": order}]
    policy = loaded(pool=pool_of(SIZE, pick="true"), precedence=rules)
    warnings = decided(policy, MANY)["warnings"]
    assert [it["entry"] for it in warnings] == [f"m{it}" for it in range(ROOM, SIZE)]


@pytest.mark.usefixtures("small_budget")
def test_a_precedence_rule_beyond_the_budget_refuses() -> None:
    pick = walking("{n}", "false")
    rules: list[Plain] = [{"use": "pool"}, {"use": "parent", "when": "task.labels.all(x, true)"}]
    policy = loaded(pool=pool_of(SIZE, pick=pick), precedence=rules)
    request = {**MANY, "parent": {"model": "m", "provider": "p"}}
    refusal = decided(policy, request)["refusal"]
    assert (refusal["code"], refusal["rule"]) == ("evaluation_error", "parent")


@pytest.mark.usefixtures("small_budget")
def test_a_variable_beyond_the_budget_fails() -> None:
    policy = loaded(
        variables={"last": "task.labels.all(x, true)"},
        pool=pool_of(SIZE, pick=walking("{n}", "false")),
        precedence=[{"use": "pool"}, {"use": "config", "when": "variables.last || true"}],
        model="m0",
        provider="p",
    )
    # What fails in one operand is made up for by another one, as ever.
    assert decided(policy, MANY)["target"]["entry"] == "m0"
    policy = loaded(
        variables={"last": "task.labels.all(x, true)"},
        pool=pool_of(SIZE, pick=walking("{n}", "false")),
        precedence=[{"use": "pool"}, {"use": "config", "when": "variables.last"}],
        model="m0",
        provider="p",
    )
    assert decided(policy, MANY)["refusal"]["code"] == "evaluation_error"


@pytest.mark.usefixtures("small_budget")
@pytest.mark.slow
def test_what_a_policy_has_decided_before_changes_nothing() -> None:
    aimed = walking("{n}", "target.name == 'none'")
    policy: Plain = {
        "variables": {"quiet": "caller.roles.all(x, x != 'loud')"},
        "pool": pool_of(6, pick=walking("{n}"), allow=walking("{n}", "variables.quiet")),
        "forbid": [{"when": aimed.replace("{n}", f"f{number}")} for number in range(3)],
    }
    requests: list[Plain] = [
        MANY,
        {**MANY, "call": {"model": "m5"}},
        {**MANY, "task": {"labels": LABELS, "model": "outside"}},
        {"task": {"labels": LABELS[:9]}, "caller": {"roles": LABELS}},
        {},
    ]
    for profile in ("strict", "delegation"):
        fresh = [
            decide(loaded(**policy, precedence=profile), request, now=NOW) for request in requests
        ]
        used = loaded(**policy, precedence=profile)
        for request, record in [*zip(requests, fresh, strict=True)] * 2:
            assert decide(used, request, now=NOW) == record
        for request, record in zip(reversed(requests), reversed(fresh), strict=True):
            assert decide(used, request, now=NOW) == record


@pytest.mark.usefixtures("small_budget")
def test_asking_what_is_permitted_has_one_budget_however_often_a_guard_reads_the_wish() -> None:
    allow = walking("{n}", "call.model != 'x'")
    policy = loaded(pool=pool_of(SIZE, allow=allow), precedence="strict")
    assert len(permitted(policy, MANY, now=NOW, level="call") or ()) == ROOM
    refusal = decided(policy, {**MANY, "call": {"model": "outside"}})["refusal"]
    assert len(refusal["permitted"]) == ROOM


@pytest.mark.usefixtures("small_budget")
def test_an_explanation_has_a_budget_for_each_condition() -> None:
    policy = loaded(pool=pool_of(6, allow=walking("{n}")), precedence="strict")
    record = decide(policy, {**MANY, "call": {"model": "m1"}}, now=NOW)
    page = explain(policy, record)
    assert page.to_text(full=True) == page.to_text(full=True)
    assert "cannot be evaluated" not in page.to_text(full=True)


# Conditions about the request alone.

FAR = "task.labels.exists(l, caller.roles.exists(r, r == l))"


@pytest.mark.parametrize(
    ("roles", "permits"), [(["none"], 100), ([f"r{number}" for number in range(20)], 0)]
)
def test_a_forbid_rule_about_the_request_is_evaluated_once_whatever_comes_of_it(
    work: Work, roles: list[str], permits: int
) -> None:
    policy = loaded(pool=pool_of(100), forbid=[{"when": FAR}], precedence="strict")
    request: Plain = {
        "task": {"labels": [f"l{number}" for number in range(1000)], "model": "outside"},
        "caller": {"roles": roles},
    }
    work.clear()
    assert len(decided(policy, request)["refusal"]["permitted"]) == permits
    assert len(work.evaluated) == 1
    assert work.visited < 2 * MAX_ELEMENTS


ABOUT_THE_REQUEST = {
    "true": "task.kind != 'x'",
    "false": "task.kind == 'x'",
    "failing": "1 / task.index == 1",
    "too far": FAR,
}


@pytest.mark.parametrize("condition", ABOUT_THE_REQUEST.values(), ids=ABOUT_THE_REQUEST.keys())
@pytest.mark.parametrize("key", ["allow", "pick", "forbid", "variable"])
@pytest.mark.slow
def test_no_condition_about_the_request_is_evaluated_twice(
    work: Work, key: str, condition: str
) -> None:
    policy: Plain = {"pool": pool_of(30, pick="true"), "precedence": "delegation"}
    if key == "forbid":
        policy["forbid"] = [{"when": condition}, {"when": f"({condition}) && target.name == 'm3'"}]
    elif key == "variable":
        policy["variables"] = {"it": condition}
        policy["forbid"] = [{"when": "variables.it && target.name == 'none'"}]
        policy["pool"] = pool_of(30, pick="variables.it", allow="variables.it || true")
    else:
        policy["pool"] = pool_of(30, **{"pick": "true", key: condition})
    compiled = loaded(**policy)
    long = [f"l{number}" for number in range(200)]
    request: Plain = {
        "task": {"labels": long, "model": "outside"},
        "caller": {"roles": [f"r{number}" for number in range(200)]},
        "parent": {"model": "m", "provider": "p"},
    }
    decide(compiled, request, now=NOW)
    work.clear()
    decide(compiled, request, now=NOW)
    twice = {text for text, count in Counter(work.evaluated).items() if count > 1}
    assert not {text for text in twice if "target." not in text}


# Memory.


@pytest.mark.parametrize("key", ["allow", "pick", "forbid", "when", "variables"])
def test_running_out_of_memory_never_decides(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    condition = "task.kind.contains('a') || task.index == 0"
    policy: Plain = {"pool": pool_of(1, pick="true"), "precedence": [{"use": "pool"}]}
    if key in {"allow", "pick"}:
        policy["pool"][0][key] = condition
    elif key == "forbid":
        policy["forbid"] = [{"when": condition}]
    elif key == "when":
        policy["precedence"][0]["when"] = condition
    else:
        policy |= {"variables": {"it": condition}, "forbid": [{"when": "variables.it"}]}
    compiled = loaded(**policy)

    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(planner, "operation", lambda *_: exhausted)
    with pytest.raises(MemoryError):
        decide(compiled, {}, now=NOW)


# What is prepared before the first decision.


@pytest.mark.parametrize("order", [{}, {"order_by": "bucket(target.name, caller.id)"}])
def test_after_warming_no_decision_plans_anything(
    monkeypatch: pytest.MonkeyPatch, order: Plain
) -> None:
    pool = pool_of(
        6,
        pick="task.kind != '{n}' && variables.late",
        allow="target.level != 'call' || caller.team != '{n}'",
    )
    pool[0]["fallback"] = ["m1", "m2"]
    policy = loaded(
        variables={"late": "now > timestamp('2026-01-01T00:00:00Z')"},
        pool=pool,
        forbid=[
            {"when": "target.model.startsWith('x')"},
            {"when": "target.name == 'm5' && task.index >= 0"},
            {"when": "task.kind == 'forbidden'"},
            {"when": "caller.roles.exists(r, r == target.name)"},
        ],
        precedence=[
            {"use": "call", "on_violation": "reject"},
            {"use": "task", "when": "task.index == 0"},
            {"use": "pool", "fallback": True, **order},
            {"use": "config"},
            {"use": "parent"},
        ],
        model="m3",
        provider="p",
    )
    requests: list[Plain] = [
        {},
        {"call": {"model": "m1"}},
        {"call": {"model": "outside"}},
        {"task": {"model": "m2"}},
        {"task": {"model": "outside", "index": 1}},
        {"task": {"kind": "forbidden"}, "caller": {"roles": ["m4"]}},
        {"parent": {"model": "m5", "provider": "p"}},
    ]
    expected = [decide(policy, request, now=NOW) for request in requests]
    fresh = loads(policy.canonical)
    Router(fresh).warm()

    def too_late(_: object) -> None:
        pytest.fail("an expression is planned by a decision")

    monkeypatch.setattr(evaluate.Program, "plan", too_late)
    assert [decide(fresh, request, now=NOW) for request in requests] == expected
    for level in ("call", "task"):
        permitted(fresh, {}, now=NOW, level=level)
