"""The eight steps of a decision, one sentence of the language page at a time."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest

import policy_router
from policy_router import Policy, Request, RequestError, loads, permitted
from policy_router.domain import Level, Limit

NOW = "2026-01-31T09:00:00Z"
FAILS = "1 / parent.depth == 1"  # for a root agent, a division by zero

POOL = """
provider: p
pool:
  - {model: a, name: one, aliases: [uno]}
  - {model: b, name: two, provider: q, aliases: [a]}
  - {model: c}
  - {model: c, provider: q}
"""
PRICED = """
provider: p
pool:
  - {model: first, price: {output: 0}}
  - {model: dear, pick: "true", price: {output: 9}}
  - {model: cheap, pick: "true", price: {output: 1}}
  - {model: fair, pick: task.kind == "x", price: {output: 5}}
  - {model: twin, pick: "true", price: {output: 1}}
  - {model: unasked}
"""


def decided(text: str | Policy, /, **request: Any) -> dict[str, Any]:
    """Decide by a tiny policy, and return the record as plain data."""
    policy = loads(text) if isinstance(text, str) else text
    record = policy_router.decide(policy, request, now=NOW)
    plain: dict[str, Any] = json.loads(record.to_json())
    return plain


def outcome(text: str, /, **request: Any) -> str:
    """Return what is selected, as ``model at provider``, or the code of the refusal."""
    decision = decided(text, **request)["decision"]
    if "refusal" in decision:
        return str(decision["refusal"]["code"])
    return f"{decision['target']['model']} at {decision['target']['provider']}"


def steps(record: dict[str, Any]) -> list[tuple[str, str]]:
    """Return rule and result of each step."""
    return [(step["rule"], step["result"]) for step in record["steps"]]


def step(record: dict[str, Any], rule: str) -> dict[str, Any]:
    """Return the step of one rule."""
    found: dict[str, Any] = next(step for step in record["steps"] if step["rule"] == rule)
    return found


def warnings(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the warnings of a decision."""
    found: list[dict[str, Any]] = record["decision"]["warnings"]
    return found


def refusal(text: str, /, **request: Any) -> dict[str, Any]:
    """Return the refusal of a decision."""
    found: dict[str, Any] = decided(text, **request)["decision"]["refusal"]
    return found


# Step 1: the rules in order, and their conditions.


def test_the_rules_are_walked_in_their_order() -> None:
    first = "model: m\nprovider: p\nprecedence: [{use: config}, {use: parent}]"
    second = "model: m\nprovider: p\nprecedence: [{use: parent}, {use: config}]"
    parent = {"model": "n", "provider": "p"}
    assert outcome(first, parent=parent) == "m at p"
    assert outcome(second, parent=parent) == "n at p"
    assert steps(decided(second, parent=parent)) == [
        ("parent", "selected"),
        ("config", "not_reached"),
    ]


def test_a_rule_whose_condition_is_false_is_skipped() -> None:
    text = "model: m\nprecedence: [{use: config, when: task.index > 0}, {use: parent}]"
    record = decided(text, parent={"model": "n"})
    assert steps(record) == [("config", "skipped"), ("parent", "selected")]
    assert record["steps"][0] == {"rule": "config", "level": "config", "result": "skipped"}
    assert warnings(record) == []
    assert outcome(text, task={"index": 1}, parent={"model": "n"}) == "m at "


def test_a_rule_whose_condition_cannot_be_evaluated_refuses_the_request() -> None:
    text = f"model: m\nprecedence: [{{id: risky, use: config, when: {FAILS}}}, {{use: parent}}]"
    record = decided(text, parent={"model": "n"})
    assert steps(record) == [("risky", "error"), ("parent", "not_reached")]
    assert record["steps"][0]["code"] == "evaluation_error"
    assert record["decision"] == {
        "outcome": "refused",
        "warnings": [],
        "refusal": {
            "code": "evaluation_error",
            "rule": "risky",
            "message": "the condition of the rule `risky` cannot be evaluated",
        },
    }


def test_a_condition_reads_facts_variables_and_the_time() -> None:
    text = """
model: m
facts: {region: {type: string, default: eu}}
variables: {eu: facts.region == "eu", early: now < timestamp("2026-06-01T00:00:00Z")}
precedence: [{use: config, when: variables.eu && variables.early}]
"""
    assert outcome(text) == "m at "
    assert outcome(text, facts={"region": "us"}) == "no_target"
    late = policy_router.decide(loads(text), {}, now="2026-07-01T00:00:00Z")
    assert late.decision.outcome == "refused"


def test_a_variable_that_cannot_be_evaluated_fails_what_uses_it_and_nothing_else() -> None:
    text = (
        f"model: m\nvariables: {{bad: {FAILS}, good: 'true'}}\nprecedence: [{{use: config, when: "
    )
    assert outcome(f"{text}variables.bad}}]") == "evaluation_error"
    assert outcome(f"{text}variables.good}}]") == "m at "
    # What CEL can answer without the failed part, it answers.
    assert outcome(f"{text}variables.bad || variables.good}}]") == "m at "


# Step 2: what is asked for.

ASKED = "{use: call}, {use: task}"


@pytest.mark.parametrize(
    ("wish", "proposed"),
    [
        ({"model": "one"}, [("one", None)]),
        # The name goes before models and aliases of others.
        ({"model": "two"}, [("two", None)]),
        # A model or an alias: all entries that have it, in file order.
        ({"model": "a"}, [("one", None), ("two", None)]),
        ({"model": "uno"}, [("one", None)]),
        ({"model": "b"}, [("two", None)]),
        ({"model": "c"}, [("c", "p"), ("c", "q")]),
        ({"model": "c", "provider": "q"}, [("c", "q")]),
        ({"model": "a", "provider": "q"}, [("two", None)]),
        ({"model": "one", "provider": "p"}, [("one", None)]),
        # A provider alone: all its entries.
        ({"provider": "p"}, [("one", None), ("c", "p")]),
        ({"provider": "q"}, [("two", None), ("c", "q")]),
    ],
)
@pytest.mark.parametrize("level", ["call", "task"])
def test_a_wish_means_entries_by_name_else_by_model_or_alias(
    level: str, wish: dict[str, str], proposed: list[tuple[str, str | None]]
) -> None:
    # A rule that forbids everything shows all that was proposed.
    text = f"{POOL}forbid: [{{when: true}}]\nprecedence: [{{use: {level}}}]"
    found = step(decided(text, **{level: wish}), level)
    assert [(it["entry"], it.get("provider")) for it in found["candidates"]] == proposed
    assert found["requested"] == wish


@pytest.mark.parametrize(
    "wish",
    [
        {"model": "gpt-9"},
        {"model": "One"},
        {"model": "vendor/a"},
        {"model": "one", "provider": "q"},
        # A name that is there at another provider hides the model that is at this one.
        {"provider": "r"},
        {"model": "a", "provider": "r"},
    ],
)
def test_a_wish_that_means_no_entry_is_outside_the_pool(wish: dict[str, str]) -> None:
    text = f"{POOL}precedence: [{{use: task, on_violation: reject}}]"
    record = decided(text, task=wish)
    assert record["decision"]["refusal"]["code"] == "outside_pool"
    expected = {"rule": "task", "level": "task", "result": "violated", "code": "outside_pool"}
    assert step(record, "task") == {**expected, "requested": wish}


def test_nothing_asked_nothing_proposed() -> None:
    text = f"{POOL}precedence: [{ASKED}]"
    record = decided(text, task={"reasoning_effort": "low"})
    assert steps(record) == [("call", "no_proposal"), ("task", "no_proposal")]
    assert "requested" not in record["steps"][1]
    assert record["decision"]["refusal"]["code"] == "no_target"


def test_a_level_has_its_own_wish() -> None:
    text = f"{POOL}precedence: [{ASKED}]"
    wishes = {"call": {"model": "one"}, "task": {"model": "two"}}
    assert outcome(text, **wishes) == "a at p"
    assert outcome(f"{POOL}precedence: task-first", **wishes) == "b at q"


@pytest.mark.parametrize(
    ("policy", "wish", "expected"),
    [
        ("", {"model": "x", "provider": "y"}, "x at y"),
        ("", {"model": "x"}, "x at parents"),
        ("provider: p", {"model": "x"}, "x at p"),
        ("{provider: p, model: m}", {"model": "x"}, "x at p"),
        ("{provider: p, model: m}", {"model": "x", "provider": "y"}, "x at y"),
        ("{provider: p, model: m}", {"model": "x", "provider": "p"}, "x at p"),
        # A missing model is the policy's, where the policy's provider is the one asked.
        ("{provider: p, model: m}", {"provider": "p"}, "m at p"),
        ("{provider: p, model: m}", {"provider": "y"}, "incomplete"),
        ("model: m", {"provider": "p"}, "incomplete"),
        ("model: m", {"provider": "parents"}, "incomplete"),
        ("provider: p", {"provider": "p"}, "incomplete"),
        ("", {"provider": "y"}, "incomplete"),
    ],
)
def test_without_a_pool_a_wish_is_completed(
    policy: str, wish: dict[str, str], expected: str
) -> None:
    text = json.dumps(
        {
            **_mapping(policy),
            "precedence": [{"use": "task", "on_violation": "reject"}],
        }
    )
    parent = {"model": "pm", "provider": "parents"}
    assert outcome(text, task=wish, parent=parent) == expected


def _mapping(text: str) -> dict[str, str]:
    return dict(pair.split(": ") for pair in text.strip("{}").split(", ") if pair)


def test_an_incomplete_wish_is_a_violation_like_another() -> None:
    text = "model: m\nprecedence: [{use: task}, {use: config}]"
    record = decided(text, task={"provider": "y"})
    assert steps(record) == [("task", "violated"), ("config", "selected")]
    assert step(record, "task")["code"] == "incomplete"
    assert "candidates" not in step(record, "task")
    wish = {"provider": "y"}
    assert warnings(record) == [{"code": "incomplete", "rule": "task", "requested": wish}]


# Step 2: what the pool picks.


def test_the_pool_proposes_the_entries_that_are_picked_in_file_order() -> None:
    text = f"{PRICED}forbid: [{{when: true}}]\nprecedence: [{{use: pool}}]"
    names = [it["entry"] for it in step(decided(text), "pool")["candidates"]]
    assert names == ["dear", "cheap", "twin"]
    names = [it["entry"] for it in step(decided(text, task={"kind": "x"}), "pool")["candidates"]]
    assert names == ["dear", "cheap", "fair", "twin"]


@pytest.mark.parametrize(
    ("order_by", "names"),
    [
        ("has(target.price.output) ? target.price.output : 0.0", ["cheap", "twin", "fair", "dear"]),
        (
            "has(target.price.output) ? -target.price.output : 0.0",
            ["dear", "fair", "cheap", "twin"],
        ),
        ("size(target.name)", ["dear", "fair", "twin", "cheap"]),
        ("1", ["dear", "cheap", "fair", "twin"]),
        (
            'target.level == "pool" && target.name == "twin" ? 0 : 1',
            ["twin", "dear", "cheap", "fair"],
        ),
        # What has no number comes in nowhere, and what is infinite comes last.
        ('1 / (target.name == "fair" ? 0 : 1)', ["dear", "cheap", "twin"]),
        ('0.0 / (target.name == "fair" ? 0.0 : 1.0)', ["dear", "cheap", "twin"]),
        ('1.0 / (target.name == "dear" ? 0.0 : 1.0)', ["cheap", "fair", "twin", "dear"]),
    ],
)
def test_what_is_picked_is_sorted_by_order_by_then_by_file_order(
    order_by: str, names: list[str]
) -> None:
    rule = json.dumps({"use": "pool", "order_by": order_by})
    text = f"{PRICED}forbid: [{{when: true}}]\nprecedence: [{rule}]"
    found = step(decided(text, task={"kind": "x"}), "pool")
    assert [it["entry"] for it in found["candidates"]] == names


def test_a_rule_with_an_entry_proposes_that_one_alone_whatever_its_pick_says() -> None:
    text = f"{PRICED}precedence: [{{id: fixed, use: pool, entry: unasked}}]"
    record = decided(text)
    assert record["decision"]["target"]["entry"] == "unasked"
    assert step(record, "fixed")["candidates"] == [{"entry": "unasked", "verdict": "selected"}]


@pytest.mark.parametrize("key", ["pick", "order_by"])
def test_an_entry_that_cannot_be_picked_is_left_out_with_a_warning(key: str) -> None:
    bad = '1 / (target.name == "x" ? parent.depth : 1) == 1'
    pick, order = (bad, "0") if key == "pick" else ("true", bad.removesuffix(" == 1"))
    text = json.dumps(
        {
            "pool": [{"model": "x", "pick": pick}, {"model": "y", "pick": pick}],
            "precedence": [{"id": "pool-1", "use": "pool", "order_by": order}],
        }
    )
    record = decided(text)
    assert record["decision"]["target"]["entry"] == "y"
    assert warnings(record) == [{"code": "pick_error", "rule": "pool-1", "entry": "x"}]
    assert step(record, "pool-1")["candidates"] == [{"entry": "y", "verdict": "selected"}]


def test_an_entry_that_is_not_picked_needs_no_place_in_the_order() -> None:
    text = json.dumps(
        {
            "pool": [{"model": "x", "pick": "false"}],
            "precedence": [{"use": "pool", "order_by": "1 / parent.depth"}],
        }
    )
    assert warnings(decided(text)) == []


def test_the_warnings_of_a_pick_stand_in_a_refusal_too() -> None:
    text = f"pool: [{{model: x, pick: {FAILS}}}]\nprecedence: [{{use: pool}}]"
    record = decided(text)
    assert steps(record) == [("pool", "no_proposal")]
    assert warnings(record) == [{"code": "pick_error", "rule": "pool", "entry": "x"}]


# Step 2: defaults.

GUARDED = "pool: [{model: m, provider: p, name: e, allow: task.index > 0, parameters: {x: 1}}]\n"


@pytest.mark.parametrize(
    ("policy", "parent", "expected"),
    [
        ("model: m\nprovider: p", {}, "m at p"),
        ("model: m", {"provider": "pp"}, "m at pp"),
        ("model: m\nprovider: p", {"provider": "pp"}, "m at p"),
        ("model: m", {}, "m at "),
        ("provider: p", {"provider": "pp"}, "no_target"),
    ],
)
def test_the_default_is_the_policys_model_at_its_provider_else_the_parents(
    policy: str, parent: dict[str, str], expected: str
) -> None:
    assert outcome(f"{policy}\nprecedence: [{{use: config}}]", parent=parent) == expected


@pytest.mark.parametrize(
    ("parent", "expected"),
    [
        ({"model": "m", "provider": "p"}, "m at p"),
        ({"model": "m"}, "m at "),
        ({"provider": "p"}, "no_target"),
        ({}, "no_target"),
    ],
)
def test_the_parents_model_is_at_the_parents_provider(
    parent: dict[str, str], expected: str
) -> None:
    assert outcome("provider: q\nprecedence: [{use: parent}]", parent=parent) == expected


@pytest.mark.parametrize("level", ["config", "parent"])
def test_a_default_takes_the_attributes_of_the_entry_it_equals_its_allow_included(
    level: str,
) -> None:
    text = f"model: m\nprovider: p\n{GUARDED}precedence: [{{use: {level}}}]"
    parent = {"model": "m", "provider": "p"}
    record = decided(text, parent=parent)
    assert step(record, level)["candidates"] == [
        {"entry": "e", "verdict": "rejected", "code": "not_allowed"}
    ]
    target = decided(text, parent=parent, task={"index": 1})["decision"]["target"]
    assert target == {"entry": "e", "model": "m", "provider": "p", "parameters": {"x": 1}}


@pytest.mark.parametrize(
    "parent", [{"model": "m", "provider": "q"}, {"model": "n", "provider": "p"}]
)
def test_another_model_or_another_provider_is_not_the_entry(parent: dict[str, str]) -> None:
    record = decided(f"provider: p\n{GUARDED}precedence: [{{use: parent}}]", parent=parent)
    assert record["decision"]["target"] == {**parent, "parameters": {}}
    assert step(record, "parent")["candidates"] == [{**parent, "verdict": "selected"}]


def test_a_default_takes_the_attributes_of_the_first_entry_that_it_equals() -> None:
    text = """
model: m
provider: p
pool: [{model: n, name: m}, {model: m, name: one}, {model: m, name: two, strengths: x}]
precedence: [{use: config}]
"""
    assert decided(text)["decision"]["target"]["entry"] == "one"


def test_an_entry_without_a_provider_is_at_the_parents() -> None:
    text = "pool: [{model: m, name: e}]\nprecedence: [{use: task}, {use: parent}]"
    assert outcome(text, task={"model": "e"}, parent={"provider": "pp"}) == "m at pp"
    record = decided(text, parent={"model": "m", "provider": "pp"})
    assert record["decision"]["target"]["entry"] == "e"
    outside = decided(f"{text}\n", task={"model": "e", "provider": "other"})
    assert step(outside, "task")["code"] == "outside_pool"


# Step 3.


def test_a_level_with_nothing_to_propose_is_skipped_without_a_warning() -> None:
    record = decided("model: m\nprecedence: strict")
    assert steps(record) == [
        ("call", "no_proposal"),
        ("task", "no_proposal"),
        ("pool", "no_proposal"),
        ("config", "selected"),
        ("parent", "not_reached"),
    ]
    assert warnings(record) == []


# Step 4: the guards.


def guarded(entry: str, forbid: str = "[]", rule: str = "{use: task, on_violation: reject}") -> str:
    """Return a policy with one entry under guards."""
    return f"pool: [{{model: m, provider: p{entry}}}]\nforbid: {forbid}\nprecedence: [{rule}]"


M = {"model": "m"}


@pytest.mark.parametrize(
    ("entry", "forbid", "task", "expected"),
    [
        ("", "[]", {}, "m at p"),
        (", allow: 'true'", "[]", {}, "m at p"),
        (", allow: 'false'", "[]", {}, "not_allowed"),
        (f", allow: {FAILS}", "[]", {}, "not_allowed"),
        (', allow: target.level == "task"', "[]", {}, "m at p"),
        (', allow: target.level == "call"', "[]", {}, "not_allowed"),
        ("", "[{when: false}]", {}, "m at p"),
        ("", "[{when: true}]", {}, "forbidden"),
        ("", f"[{{when: {FAILS}}}]", {}, "forbidden"),
        ("", "[{when: false}, {when: true}]", {}, "forbidden"),
        ("", '[{when: target.name == "m" && target.provider == "p"}]', {}, "forbidden"),
        ("", "[{when: '\"pii\" in task.labels'}]", {"labels": ["pii"]}, "forbidden"),
        (", supports: [tools]", "[]", {"needs": ["tools"]}, "m at p"),
        (", supports: [tools, vision]", "[]", {"needs": ["vision"]}, "m at p"),
        (", supports: [tools]", "[]", {"needs": ["tools", "vision"]}, "lacks_capability"),
        (", supports: []", "[]", {"needs": ["tools"]}, "lacks_capability"),
        (", supports: []", "[]", {}, "m at p"),
        # Undeclared is not checked.
        ("", "[]", {"needs": ["tools"]}, "m at p"),
        (", context_window: 100", "[]", {"input_tokens": 99}, "m at p"),
        (", context_window: 100", "[]", {"input_tokens": 100}, "m at p"),
        (", context_window: 100", "[]", {"input_tokens": 101}, "context_too_small"),
        (", context_window: 100", "[]", {"input_tokens": 0}, "m at p"),
        (", context_window: 100", "[]", {}, "m at p"),
        ("", "[]", {"input_tokens": 10**9}, "m at p"),
    ],
)
def test_a_candidate_is_admitted_unless_a_guard_is_against_it(
    entry: str, forbid: str, task: dict[str, Any], expected: str
) -> None:
    assert outcome(guarded(entry, forbid), task={**M, **task}) == expected


ALL_AGAINST = {"needs": ["tools"], "input_tokens": 101}


@pytest.mark.parametrize(
    ("entry", "forbid", "expected"),
    [
        (", allow: 'false', supports: [], context_window: 100", "[{when: true}]", "not_allowed"),
        (", supports: [], context_window: 100", "[{when: true}]", "forbidden"),
        (", supports: [], context_window: 100", "[]", "lacks_capability"),
        (", context_window: 100", "[]", "context_too_small"),
    ],
)
def test_the_guards_are_asked_in_their_order(entry: str, forbid: str, expected: str) -> None:
    assert outcome(guarded(entry, forbid), task={**M, **ALL_AGAINST}) == expected


def test_the_first_rule_that_forbids_is_named() -> None:
    forbid = "[{id: a, when: false}, {id: b, when: true}, {id: c, when: true}]"
    record = decided(guarded("", forbid), task=M)
    candidate = {"entry": "m", "verdict": "rejected", "code": "forbidden", "forbid": "b"}
    assert step(record, "task")["candidates"] == [candidate]


@pytest.mark.parametrize("level", ["call", "task", "pool", "config", "parent"])
def test_a_forbid_rule_is_above_every_level(level: str) -> None:
    text = f"""
model: m
provider: p
pool: [{{model: m, pick: "true"}}]
forbid: [{{when: target.model == "m"}}]
precedence: [{{use: {level}}}]
"""
    wish = {"model": "m", "provider": "p"}
    assert outcome(text, call=wish, task=wish, parent=wish) == "no_target"


def test_a_candidate_that_is_no_entry_is_forbidden_too() -> None:
    text = "model: m\nforbid: [{when: 'target.name == \"m\" && size(target.strengths) == 0'}]"
    assert outcome(text) == "no_target"


@pytest.mark.parametrize("level", ["config", "parent"])
def test_a_default_must_be_in_the_pool_where_its_rule_says_so(level: str) -> None:
    text = "model: m\nprovider: p\npool: [{model: n}]\nprecedence: [{use: %s%s}]"
    parent = {"model": "m", "provider": "p"}
    assert outcome(text % (level, ""), parent=parent) == "m at p"
    assert outcome(text % (level, ", in_pool: false"), parent=parent) == "m at p"
    record = decided(text % (level, ", in_pool: true"), parent=parent)
    assert record["decision"]["refusal"]["code"] == "no_target"
    assert step(record, level)["code"] == "outside_pool"
    assert step(record, level)["candidates"] == [
        {"model": "m", "provider": "p", "verdict": "rejected", "code": "outside_pool"}
    ]


@pytest.mark.parametrize("level", ["call", "task", "config", "parent"])
def test_without_a_pool_in_pool_means_nothing(level: str) -> None:
    text = f"model: m\nprovider: p\nprecedence: [{{use: {level}, in_pool: true}}]"
    wish = {"model": "m", "provider": "p"}
    assert outcome(text, call=wish, task=wish, parent=wish) == "m at p"


def test_an_empty_pool_lets_nothing_be_asked_for() -> None:
    text = "pool: []\nprovider: p\nprecedence: [{use: task, on_violation: reject}]"
    assert refusal(text, task=M)["code"] == "outside_pool"
    assert refusal(text, task=M)["permitted"] == []


def test_a_wish_outside_the_pool_goes_through_where_its_rule_lets_it() -> None:
    text = f"{POOL}precedence: [{{use: task, in_pool: false}}]"
    assert outcome(text, task={"model": "gpt-9"}) == "gpt-9 at p"
    assert outcome(text, task={"model": "gpt-9", "provider": "x"}) == "gpt-9 at x"
    assert outcome(text, task={"model": "one"}) == "a at p"
    assert step(decided(text, task={"provider": "x"}), "task")["code"] == "incomplete"


# Steps 5 to 7.


def test_the_first_admitted_candidate_is_selected_and_the_rest_is_not_looked_at() -> None:
    text = """
provider: p
pool:
  - {model: a, pick: "true", allow: "false"}
  - {model: b, pick: "true"}
  - {model: c, pick: "true"}
precedence: [{id: mine, use: pool}, {use: parent}]
"""
    record = decided(text)
    decision = record["decision"]
    assert (decision["outcome"], decision["level"], decision["rule"]) == (
        "selected",
        "pool",
        "mine",
    )
    assert decision["target"]["entry"] == "b"
    assert step(record, "mine")["candidates"] == [
        {"entry": "a", "verdict": "rejected", "code": "not_allowed"},
        {"entry": "b", "verdict": "selected"},
    ]


def test_a_violated_rule_goes_on_with_a_warning_that_has_the_code_of_the_first_candidate() -> None:
    text = """
model: m
pool:
  - {model: a, name: one, aliases: [x], allow: "false"}
  - {model: b, name: two, aliases: [x]}
forbid: [{when: target.name == "two"}]
precedence: [{id: asked, use: task, on_violation: %s}, {use: config}]
"""
    record = decided(text % "next", task={"model": "x"})
    assert steps(record) == [("asked", "violated"), ("config", "selected")]
    wish = {"model": "x"}
    assert warnings(record) == [{"code": "not_allowed", "rule": "asked", "requested": wish}]
    assert step(record, "asked")["code"] == "not_allowed"
    assert [it["code"] for it in step(record, "asked")["candidates"]] == [
        "not_allowed",
        "forbidden",
    ]
    refused = decided(text % "reject", task={"model": "x"})
    assert steps(refused) == [("asked", "violated"), ("config", "not_reached")]
    assert refused["decision"]["refusal"]["code"] == "not_allowed"
    assert refused["decision"]["refusal"]["rule"] == "asked"
    assert warnings(refused) == []


def test_a_violation_without_a_wish_has_none_in_its_warning() -> None:
    text = "model: m\nforbid: [{when: true}]\nprecedence: [{use: config}]"
    assert warnings(decided(text)) == [{"code": "forbidden", "rule": "config"}]


def test_a_rule_that_proposes_nothing_refuses_nothing() -> None:
    text = "model: m\nprecedence: [{use: pool, on_violation: reject}, {use: config}]"
    assert outcome(text) == "m at "


def test_where_no_rule_selects_the_request_is_refused() -> None:
    text = "precedence: [{use: config}, {use: parent}]"
    assert refusal(text) == {
        "code": "no_target",
        "rule": None,
        "message": "no rule selects a target",
    }


# Step 8: parameters.

PARAMETERS = """
provider: p
parameters: {a: 1, b: 1, reasoning_effort: policy}
pool:
  - {model: m, parameters: {b: 2, c: 2}}
  - {model: n, parameters: {reasoning_effort: entry}, limits: {reasoning_effort: [low, high]}}
precedence: [{use: call}, {use: task, on_violation: %s}, {use: parent}]
"""


def parameters(text: str, /, **request: Any) -> Any:
    """Return the parameters of what is selected."""
    return decided(text, **request)["decision"]["target"]["parameters"]


def test_parameters_are_the_entrys_else_the_policys_name_by_name() -> None:
    found = parameters(PARAMETERS % "next", task=M)
    assert found == {"a": 1, "b": 2, "c": 2, "reasoning_effort": "policy"}


def test_a_target_in_no_pool_has_the_policys_parameters() -> None:
    found = parameters(PARAMETERS % "next", parent={"model": "x", "provider": "p"})
    assert found == {"a": 1, "b": 1, "reasoning_effort": "policy"}


EFFORT = "reasoning_effort"


@pytest.mark.parametrize(
    ("call", "task", "parent", "expected"),
    [
        ("high", "low", "parents", "high"),
        ("", "low", "parents", "low"),
        ("", "", "parents", "entry"),
        ("", "", "", "entry"),
    ],
)
def test_the_reasoning_effort_is_the_first_wish_else_the_entrys(
    call: str, task: str, parent: str, expected: str
) -> None:
    found = parameters(
        PARAMETERS % "next",
        call={EFFORT: call},
        task={"model": "n", EFFORT: task},
        parent={EFFORT: parent},
    )
    assert found[EFFORT] == expected


def test_the_parents_reasoning_effort_comes_last() -> None:
    parent = {"model": "m", EFFORT: "parents"}
    assert parameters("precedence: [{use: parent}]", parent=parent) == {EFFORT: "parents"}
    text = "reasoning_effort: policy\nprecedence: [{use: parent}]"
    assert parameters(text, parent=parent) == {EFFORT: "policy"}
    assert parameters("precedence: [{use: parent}]", parent={"model": "m"}) == {}


def test_the_order_of_wishes_is_that_of_the_precedence() -> None:
    text = "model: m\nprecedence: [{use: config}, {use: task}, {use: call}]"
    # Whether or not the walk reaches their rules.
    assert parameters(text, call={EFFORT: "low"}, task={EFFORT: "high"}) == {EFFORT: "high"}
    assert parameters(text, call={EFFORT: "low"}) == {EFFORT: "low"}


def test_a_level_that_the_precedence_does_not_have_wishes_nothing() -> None:
    text = "model: m\nprecedence: [{use: config}]"
    assert parameters(text, call={EFFORT: "low"}, task={EFFORT: "high"}) == {}


def test_a_wish_outside_the_limits_is_dropped_with_a_warning() -> None:
    record = decided(PARAMETERS % "next", task={"model": "n", EFFORT: "max"})
    assert record["decision"]["target"]["parameters"][EFFORT] == "entry"
    assert warnings(record) == [
        {
            "code": "parameter_limited",
            "rule": "task",
            "requested": {EFFORT: "max"},
            "parameter": EFFORT,
        }
    ]
    assert step(record, "task")["result"] == "selected"


def test_a_wish_within_the_limits_is_granted_without_a_warning() -> None:
    record = decided(PARAMETERS % "reject", task={"model": "n", EFFORT: "low"})
    assert record["decision"]["target"]["parameters"][EFFORT] == "low"
    assert warnings(record) == []


def test_a_limit_for_another_parameter_limits_nothing_here() -> None:
    text = "pool: [{model: m, limits: {max_tokens: {max: 1}}}]\nprecedence: [{use: task}]"
    assert parameters(text, task={**M, EFFORT: "max"}) == {EFFORT: "max"}


def test_a_wish_outside_the_limits_refuses_where_the_rule_of_its_level_rejects() -> None:
    record = decided(PARAMETERS % "reject", task={"model": "n", EFFORT: "max"})
    assert steps(record) == [
        ("call", "no_proposal"),
        ("task", "violated"),
        ("parent", "not_reached"),
    ]
    assert step(record, "task")["code"] == "parameter_not_allowed"
    assert step(record, "task")["candidates"] == [
        {"entry": "n", "verdict": "rejected", "code": "parameter_not_allowed"}
    ]
    found = record["decision"]["refusal"]
    asks = "the task asks for a reasoning_effort that `n` does not allow"
    assert found.pop("message").startswith(asks)
    assert found == {"code": "parameter_not_allowed", "rule": "task", "permitted": ["m", "n"]}


def test_the_refusal_names_the_rule_of_the_wish_and_the_step_the_rule_that_would_select() -> None:
    text = """
model: n
provider: p
pool:
  - {model: k, pick: "true", allow: "false"}
  - {model: n, pick: "true", limits: {reasoning_effort: [low]}}
precedence: [{use: task, on_violation: reject}, {use: pool}, {use: config}]
"""
    record = decided(text, task={EFFORT: "max"})
    assert steps(record) == [
        ("task", "no_proposal"),
        ("pool", "violated"),
        ("config", "not_reached"),
    ]
    assert [it["code"] for it in step(record, "pool")["candidates"]] == [
        "not_allowed",
        "parameter_not_allowed",
    ]
    assert record["decision"]["refusal"]["rule"] == "task"


def test_limits_bound_wishes_and_not_what_policy_or_parent_say() -> None:
    text = """
reasoning_effort: max
pool: [{model: n, limits: {reasoning_effort: [low]}}]
precedence: [{use: parent}]
"""
    record = decided(text, parent={"model": "n", EFFORT: "high"})
    assert record["decision"]["target"]["parameters"] == {EFFORT: "max"}
    assert warnings(record) == []


@pytest.mark.parametrize(
    ("wish", "limit", "granted"),
    [
        ("low", Limit(("low", "high")), "low"),
        ("max", Limit(("low", "high")), None),
        ("max", Limit(()), None),
        (5, Limit(None, 1, 10), 5),
        (1, Limit(None, 1, 10), 1),
        (10, Limit(None, 1, 10), 10),
        (0, Limit(None, 1, 10), 1),
        (11, Limit(None, 1, 10), 10),
        (11, Limit(None, 1, None), 11),
        (0, Limit(None, 1, None), 1),
        (0, Limit(None, None, 10), 0),
        (11, Limit(None, None, 10), 10),
        (7, Limit(), 7),
    ],
)
def test_a_wish_is_granted_as_far_as_its_limit_goes(wish: Any, limit: Limit, granted: Any) -> None:
    assert limit.within(wish) == granted


# Step 8: fallbacks.

FALLBACKS = """
provider: p
pool:
  - {model: a, pick: "true", fallback: [d, b, c, b2]}
  - {model: b, allow: task.index > 0, parameters: {x: 1}}
  - {model: c}
  - {model: d, provider: q, limits: {reasoning_effort: [low]}}
  - {model: k, name: b2, fallback: [c]}
forbid: [{when: target.level == "task" && target.name == "c"}]
precedence: [{use: call, on_violation: reject}, {use: task, %s}, {use: pool, fallback: %s}]
"""


def fallbacks(text: str, /, **request: Any) -> list[str]:
    """Return the names of the fallbacks."""
    return [target["entry"] for target in decided(text, **request)["decision"]["fallbacks"]]


def test_fallbacks_are_what_the_entry_names_in_order_where_admitted() -> None:
    text = FALLBACKS % ("fallback: false", "true")
    assert fallbacks(text) == ["d", "c", "b2"]
    assert fallbacks(text, task={"index": 1}) == ["d", "b", "c", "b2"]
    found = decided(text, task={"index": 1})["decision"]["fallbacks"]
    assert found[1] == {"entry": "b", "model": "b", "provider": "p", "parameters": {"x": 1}}
    assert found[0]["provider"] == "q"


def test_fallbacks_are_admitted_at_the_level_of_the_one_selected() -> None:
    # The rule against `c` looks at the level.
    assert fallbacks(FALLBACKS % ("fallback: true", "true"), task={"model": "a"}) == ["d", "b2"]


def test_a_rule_may_plan_no_fallbacks() -> None:
    text = FALLBACKS % ("fallback: false", "false")
    assert fallbacks(text) == []
    assert fallbacks(text, task={"model": "a"}) == []


def test_a_fallback_gets_the_wish_as_far_as_its_limits_go() -> None:
    text = FALLBACKS % ("fallback: false", "true")
    found = decided(text, task={EFFORT: "max"})["decision"]["fallbacks"]
    assert [target["parameters"] for target in found] == [{}, {EFFORT: "max"}, {EFFORT: "max"}]


def test_a_fallback_whose_limits_would_refuse_the_wish_is_left_out() -> None:
    text = FALLBACKS % ("fallback: false", "true")
    assert fallbacks(text, call={EFFORT: "max"}) == ["c", "b2"]
    assert fallbacks(text, call={EFFORT: "low"}) == ["d", "c", "b2"]


def test_a_target_in_no_pool_has_no_fallbacks() -> None:
    text = "pool: [{model: a}]\nprecedence: [{use: parent}]"
    assert fallbacks(text, parent={"model": "x"}) == []


@pytest.mark.parametrize(
    ("level", "planned"),
    [("call", False), ("task", False), ("pool", True), ("config", True), ("parent", True)],
)
def test_a_pinned_child_does_not_silently_become_another(
    level: str,
    planned: bool,  # noqa: FBT001
) -> None:
    text = f"""
model: a
provider: p
pool: [{{model: a, pick: "true", fallback: [b]}}, {{model: b}}]
precedence: [{{use: {level}}}]
"""
    wish = {"model": "a", "provider": "p"}
    assert fallbacks(text, call=wish, task=wish, parent=wish) == (["b"] if planned else [])


def test_a_fallback_name_that_two_entries_share_means_both() -> None:
    text = """
provider: p
pool: [{model: a, pick: "true", fallback: [b]}, {model: b}, {model: b, provider: q}]
precedence: [{use: pool}]
"""
    found = decided(text)["decision"]["fallbacks"]
    assert [target["provider"] for target in found] == ["p", "q"]


# Refusals.

SOME = """
provider: p
pool:
  - {model: a, allow: "false"}
  - {model: b}
  - {model: c, supports: []}
  - {model: d, context_window: 10}
  - {model: e}
  - {model: e, provider: q}
  - {model: f}
forbid:
  - {id: no-f, when: target.name == "f", message: "F is closed, ask for b."}
  - {id: no-b, when: target.name == "b" && target.level == "task"}
precedence: %s
"""


def test_permitted_are_the_names_that_would_be_admitted_in_file_order() -> None:
    found = refusal(SOME % "strict", call={"model": "f"})
    assert found["permitted"] == ["b", "c", "d", "e"]


def test_permitted_is_as_seen_from_the_level_that_refuses() -> None:
    found = refusal(SOME % "strict", task={"model": "f", "needs": ["x"], "input_tokens": 11})
    assert found["permitted"] == ["e"]
    # Where no rule refused, it is the level `task`.
    found = refusal(SOME % "delegation", task={"model": "f"})
    assert (found["code"], found["permitted"]) == ("no_target", ["c", "d", "e"])


def test_permitted_means_the_pool_whatever_the_rule_says() -> None:
    text = "pool: [{model: a}]\nforbid: [{when: target.name == 'x'}]\nprecedence: [%s]"
    rule = "{use: task, in_pool: false, on_violation: reject}"
    assert refusal(text % rule, task={"model": "x"})["permitted"] == ["a"]


def test_conditions_that_read_the_wish_see_each_name() -> None:
    text = """
provider: p
pool:
  - {model: a, allow: task.model == "a" && task.provider == ""}
  - {model: b, name: bee, allow: task.model == "bee"}
  - {model: c, allow: task.model == "x"}
  - {model: d}
forbid: [{when: task.provider == "p" || call.model == "d"}]
precedence: strict
"""
    wish = {"model": "x", "provider": "p"}
    assert refusal(text, task=wish)["permitted"] == ["a", "bee", "d"]
    # At another level the wish of the task is what it is.
    assert permitted(loads(text), {"task": {"model": "x"}}, now=NOW, level="call") == ("c",)


@pytest.mark.parametrize(
    ("guard", "names"),
    [
        ('allow: task.model == "a"', ["a"]),
        ('allow: task.provider == ""', ["a"]),
        ("allow: variables.same", ["a"]),
        ('allow: task.kind == ""', ["a"]),
        ('allow: call.model == "a"', []),
    ],
)
def test_the_wish_may_be_read_in_any_way(guard: str, names: list[str]) -> None:
    text = f"""
variables: {{same: task.model == "a"}}
pool: [{{model: a, {guard}}}]
precedence: [{{use: task, on_violation: reject}}]
"""
    assert refusal(text, task={"model": "x", "provider": "y"})["permitted"] == names


def test_a_forbid_rule_may_read_the_wish() -> None:
    text = """
pool: [{model: a}, {model: b}]
forbid: [{when: call.model == "b" || call.provider == "y"}]
precedence: [{use: call, on_violation: reject}]
"""
    wish = {"model": "x", "provider": "y"}
    assert refusal(text, call=wish)["permitted"] == ["a"]


def test_a_name_that_two_entries_share_is_permitted_once_where_either_is() -> None:
    text = """
pool: [{model: e, provider: p, allow: "false"}, {model: e, provider: q}]
precedence: strict
"""
    assert refusal(text, task={"model": "x"})["permitted"] == ["e"]


def test_the_names_that_may_be_asked_for_can_be_asked_for() -> None:
    policy = loads(SOME % "strict")
    assert permitted(policy, {}, now=NOW) == ("c", "d", "e")
    assert permitted(policy, Request(), now=NOW, level=Level.CALL) == ("b", "c", "d", "e")
    assert permitted(policy, {"task": {"needs": ["x"]}}, now=NOW, level="pool") == ("b", "d", "e")


def test_without_a_pool_anything_may_be_asked_for() -> None:
    assert permitted(loads("model: m"), {}, now=NOW) is None
    assert permitted(loads("pool: []"), {}, now=NOW) == ()


def test_what_may_be_asked_for_is_asked_of_a_request_that_fits() -> None:
    with pytest.raises(RequestError):
        permitted(loads("model: m"), {"tsk": {}}, now=NOW)
    with pytest.raises(RequestError):
        permitted(loads("model: m"), {}, now="today")


# Messages.

ONE = "pool: [{model: m, name: e%s}]\nmodel: x\nprovider: p\nforbid: [%s]\nprecedence: [%s]"
REJECT = "{use: %s, on_violation: reject}"
WISH = {"model": "e"}


@pytest.mark.parametrize(
    ("entry", "forbid", "level", "task", "message"),
    [
        (", allow: 'false'", "", "task", WISH, "`e` is not allowed for this request"),
        ("", "{id: no, when: true}", "task", WISH, "`e` is forbidden by the rule `no`"),
        ("", "{when: true}", "task", WISH, "`e` is forbidden by the rule `forbid-1`"),
        ("", "{id: a, when: false}, {id: b, when: true, message: Ask.}", "task", WISH, "Ask."),
        ("", "{id: no, when: true}", "config", {}, "the model is forbidden by the rule `no`"),
        (
            ", supports: []",
            "",
            "task",
            {**WISH, "needs": ["x"]},
            "`e` lacks a capability that the task needs",
        ),
        (
            ", context_window: 1",
            "",
            "task",
            {**WISH, "input_tokens": 2},
            "the input is larger than the context window of `e`",
        ),
        ("", "", "task", {"model": "y"}, "the task asks for a model outside the pool"),
    ],
)
def test_a_refusal_says_why(
    entry: str, forbid: str, level: str, task: dict[str, Any], message: str
) -> None:
    assert refusal(ONE % (entry, forbid, REJECT % level), task=task)["message"] == message


OUTSIDE = "{use: %s, on_violation: reject, in_pool: true}"


@pytest.mark.parametrize(
    ("level", "message"),
    [
        ("call", "the call asks for a model outside the pool"),
        ("config", "the policy's default is a model outside the pool"),
        ("parent", "the parent runs on a model outside the pool"),
    ],
)
def test_a_refusal_says_whose_model_it_is(level: str, message: str) -> None:
    found = refusal(ONE % ("", "", OUTSIDE % level), call={"model": "y"}, parent={"model": "y"})
    assert found["message"] == message


def test_a_refusal_of_an_incomplete_wish_says_what_is_missing() -> None:
    text = "precedence: [{use: %s, on_violation: reject}]"
    wish = {"provider": "y"}
    rest = "asks for a provider without a model, and the policy has no model for it"
    assert refusal(text % "call", call=wish)["message"] == f"the call {rest}"
    assert refusal(text % "task", task=wish)["message"] == f"the task {rest}"


def test_no_message_and_no_warning_holds_the_value_of_a_fact() -> None:
    text = """
facts: {secret: {type: string}}
pool: [{model: m, allow: has(facts.secret) && facts.secret == "x"}]
precedence: strict
"""
    record = decided(text, task=M, facts={"secret": "hunter2"}, caller={"id": "hunter2"})
    assert "hunter2" not in json.dumps([record["decision"], record["steps"]])


# The whole.


def test_equal_arguments_give_equal_bytes() -> None:
    policy = loads(SOME % "strict")
    request: dict[str, Any] = {
        "task": {"model": "e", "labels": ["b", "a"]},
        "parent": {"depth": 1},
    }
    moved = {"parent": {"depth": 1}, "task": {"labels": ["b", "a"], "model": "e"}}
    first = policy_router.decide(policy, request, now=NOW).to_json()
    assert policy_router.decide(policy, moved, now="2026-01-31T10:00:00+01:00").to_json() == first
    assert (
        policy_router.decide(loads(SOME % "strict"), Request(**request), now=NOW).to_json() == first
    )


def test_the_time_may_be_a_datetime() -> None:
    now = datetime.datetime(2026, 1, 31, 9, tzinfo=datetime.UTC)
    record = policy_router.decide(loads("model: m"), {}, now=now)
    assert record.now == NOW


def test_a_request_that_does_not_fit_is_the_agents_error() -> None:
    with pytest.raises(RequestError):
        policy_router.decide(loads("kinds: [a]"), {"task": {"kind": "b"}}, now=NOW)


def test_a_candidate_is_recorded_with_its_provider_where_the_name_does_not_tell() -> None:
    record = decided(f"{POOL}precedence: [{{use: task}}]", task={"model": "c"})
    found = step(record, "task")["candidates"]
    assert found == [{"entry": "c", "provider": "p", "verdict": "selected"}]


GIVEN_ATTRIBUTES = """
target.name == "e" && target.model == "m" && target.provider == "p" && target.level == "task"
&& target.strengths == ["x", "y"] && target.supports == ["tools"]
&& has(target.price.input) && target.price.input == 1.0
&& has(target.price.output) && target.price.output == 2.5
&& has(target.context_window) && target.context_window == 10
"""
ABSENT_ATTRIBUTES = """
!has(target.price.input) && !has(target.price.output) && !has(target.context_window)
&& target.supports == [] && target.strengths == [] && target.name == "n"
"""


def test_every_attribute_of_a_candidate_can_be_read() -> None:
    text = json.dumps(
        {
            "pool": [
                {
                    "model": "m",
                    "name": "e",
                    "provider": "p",
                    "strengths": "x, y",
                    "supports": ["tools"],
                    "price": {"input": 1, "output": 2.5},
                    "context_window": 10,
                    "allow": GIVEN_ATTRIBUTES,
                },
                {
                    "model": "n",
                    "allow": ABSENT_ATTRIBUTES,
                },
            ],
            "precedence": "strict",
        }
    )
    assert outcome(text, task={"model": "e"}) == "m at p"
    assert outcome(text, task={"model": "n"}) == "n at "
