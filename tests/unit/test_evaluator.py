"""The eight steps of a decision, one sentence of the language page at a time."""

from __future__ import annotations

import datetime
import functools
import json
from typing import Any

import pytest

import policy_router
from policy_router import Policy, PolicyError, Request, RequestError, loads, permitted
from policy_router.domain import Level, Limit
from tests.support.rows import each

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

_policy = functools.cache(loads)


def decided(text: str | Policy, /, **request: Any) -> dict[str, Any]:
    """Decide by a tiny policy, and return the record as plain data."""
    policy = _policy(text) if isinstance(text, str) else text
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
    text = "model: m\nprovider: p\nprecedence: [{use: config, when: task.index > 0}, {use: parent}]"
    parent = {"model": "n", "provider": "q"}
    record = decided(text, parent=parent)
    assert steps(record) == [("config", "skipped"), ("parent", "selected")]
    assert record["steps"][0] == {"rule": "config", "level": "config", "result": "skipped"}
    assert warnings(record) == []
    assert outcome(text, task={"index": 1}, parent=parent) == "m at p"


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
            "message": "the condition of the rule `risky` could not be evaluated",
        },
    }


def test_a_condition_reads_facts_variables_and_the_time() -> None:
    text = """
model: m
provider: p
facts: {region: {type: string, default: eu}}
variables: {eu: facts.region == "eu", early: now < timestamp("2026-06-01T00:00:00Z")}
precedence: [{use: config, when: variables.eu && variables.early}]
"""
    assert outcome(text) == "m at p"
    assert outcome(text, facts={"region": "us"}) == "no_target"
    late = policy_router.decide(loads(text), {}, now="2026-07-01T00:00:00Z")
    assert late.decision.outcome == "refused"


def test_a_variable_that_cannot_be_evaluated_fails_what_uses_it_and_nothing_else() -> None:
    text = (
        f"model: m\nprovider: p\nvariables: {{bad: {FAILS}, good: 'true'}}\n"
        "precedence: [{use: config, when: "
    )
    assert outcome(f"{text}variables.bad}}]") == "evaluation_error"
    assert outcome(f"{text}variables.good}}]") == "m at p"
    # What CEL can answer without the failed part, it answers.
    assert outcome(f"{text}variables.bad || variables.good}}]") == "m at p"


# Step 2: what is asked for.

ASKED = "{use: call}, {use: task}"


@each(
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
@each("level", ["call", "task"])
def test_a_wish_means_entries_by_name_else_by_model_or_alias(
    level: str, wish: dict[str, str], proposed: list[tuple[str, str | None]]
) -> None:
    # A rule that forbids everything shows all that was proposed.
    text = f"{POOL}forbid: [{{when: true}}]\nprecedence: [{{use: {level}}}]"
    found = step(decided(text, **{level: wish}), level)
    assert [(it["entry"], it.get("provider")) for it in found["candidates"]] == proposed
    assert found["requested"] == wish


@each(
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


@each(
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
    record = decided(text, task={"provider": "y"}, parent={"provider": "p"})
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


@each(
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
            "provider": "p",
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


@each(
    ("policy", "parent", "expected"),
    [
        ("model: m\nprovider: p", {}, "m at p"),
        ("model: m", {"provider": "pp"}, "m at pp"),
        ("model: m\nprovider: p", {"provider": "pp"}, "m at p"),
        # A target is whole, or it is not selected.
        ("model: m", {}, "no_target"),
        ("provider: p", {"provider": "pp"}, "no_target"),
    ],
)
def test_the_default_is_the_policys_model_at_its_provider_else_the_parents(
    policy: str, parent: dict[str, str], expected: str
) -> None:
    assert outcome(f"{policy}\nprecedence: [{{use: config}}]", parent=parent) == expected


@each(
    ("parent", "expected"),
    [
        ({"model": "m", "provider": "p"}, "m at p"),
        ({"model": "m"}, "no_target"),
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
    record = decided("model: m\nprovider: p\nprecedence: strict")
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


@each(
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
        # The answer needs one token at least.
        (", context_window: 100", "[]", {"input_tokens": 100}, "context_too_small"),
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


ALL_AGAINST = {"needs": ["tools"], "input_tokens": 101, "parameters": {"top_k": 9}}
LIMITED = ", limits: {top_k: {max: 5}}"


@each(
    ("entry", "forbid", "expected"),
    [
        (
            f", allow: 'false', supports: [], context_window: 100{LIMITED}",
            "[{when: true}]",
            "not_allowed",
        ),
        (f", supports: [], context_window: 100{LIMITED}", "[{when: true}]", "forbidden"),
        (f", supports: [], context_window: 100{LIMITED}", "[]", "lacks_capability"),
        (f", context_window: 100{LIMITED}", "[]", "context_too_small"),
        (LIMITED, "[]", "parameter_not_allowed"),
        ("", "[]", "m at p"),
    ],
)
def test_the_guards_are_asked_in_their_order(entry: str, forbid: str, expected: str) -> None:
    assert outcome(guarded(entry, forbid), task={**M, **ALL_AGAINST}) == expected


@each(
    ("parent", "pool", "expected"),
    [
        ({"model": "m"}, "[]", "incomplete"),
        ({"model": "m", "provider": "p"}, "[]", "outside_pool"),
        ({"model": "m"}, "[{model: m, allow: 'false'}]", "incomplete"),
        ({"model": "m", "provider": "p"}, "[{model: m, allow: 'false'}]", "not_allowed"),
    ],
)
def test_a_provider_and_the_pool_are_asked_for_before_any_other_guard(
    parent: dict[str, str], pool: str, expected: str
) -> None:
    rule = "{use: parent, in_pool: true, on_violation: reject}"
    text = f"pool: {pool}\nforbid: [{{when: true}}]\nprecedence: [{rule}]"
    assert refusal(text, parent=parent)["code"] == expected


@each("level", ["call", "task", "pool", "config", "parent"])
def test_a_target_without_a_provider_is_incomplete_whoever_proposes_it(level: str) -> None:
    text = f"""
model: m
pool: [{{model: m, pick: "true"}}]
precedence: [{{use: {level}, on_violation: reject}}]
"""
    record = decided(text, call=M, task=M, parent=M)
    candidate = {"entry": "m", "verdict": "rejected", "code": "incomplete"}
    assert step(record, level)["candidates"] == [candidate]
    assert record["decision"]["refusal"]["message"] == "no provider is known for `m`"
    assert outcome(text, call=M, task=M, parent={**M, "provider": "pp"}) == "m at pp"


def test_a_candidate_that_is_no_entry_and_has_no_provider_is_recorded_by_its_model() -> None:
    record = decided("model: m\nprecedence: [{use: config}]")
    candidate = {"model": "m", "provider": "", "verdict": "rejected", "code": "incomplete"}
    assert step(record, "config")["candidates"] == [candidate]
    assert warnings(record) == [{"code": "incomplete", "rule": "config"}]


def test_a_guard_that_fails_is_told_from_one_that_is_against_a_candidate() -> None:
    record = decided(guarded(f", allow: {FAILS}", "[]"), task=M)
    candidate = {"entry": "m", "verdict": "error", "code": "not_allowed"}
    assert step(record, "task")["candidates"] == [candidate]
    record = decided(guarded("", f"[{{id: no, when: {FAILS}, message: Ask.}}]"), task=M)
    failed = {"entry": "m", "verdict": "error", "code": "forbidden", "forbid": "no"}
    assert step(record, "task")["candidates"] == [failed]
    # Nothing of what the rule would tell is known to be so.
    message = "the rule `no` could not be evaluated, so `m` is forbidden"
    assert record["decision"]["refusal"]["message"] == message


def test_the_first_rule_that_forbids_is_named() -> None:
    forbid = "[{id: a, when: false}, {id: b, when: true}, {id: c, when: true}]"
    record = decided(guarded("", forbid), task=M)
    candidate = {"entry": "m", "verdict": "rejected", "code": "forbidden", "forbid": "b"}
    assert step(record, "task")["candidates"] == [candidate]


@each("level", ["call", "task", "pool", "config", "parent"])
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
    when = "target.name == '%s' && size(target.strengths) == 0"
    text = f'model: m\nprovider: p\nforbid: [{{when: "{when}"}}]'
    assert outcome(text % "m") == "no_target"
    assert outcome(text % "n") == "m at p"


@pytest.mark.parametrize("level", ["config", "parent"])
def test_a_default_must_be_in_the_pool_where_its_rule_says_so(level: str) -> None:
    # The default is at the parent's provider, so only a request tells whether it is in the pool.
    text = "model: m\npool: [{model: m, provider: q}]\nprecedence: [{use: %s%s}]"
    parent = {"model": "m", "provider": "p"}
    assert outcome(text % (level, ""), parent=parent) == "m at p"
    assert outcome(text % (level, ", in_pool: false"), parent=parent) == "m at p"
    record = decided(text % (level, ", in_pool: true"), parent=parent)
    assert record["decision"]["refusal"]["code"] == "no_target"
    assert step(record, level)["code"] == "outside_pool"
    assert step(record, level)["candidates"] == [
        {"model": "m", "provider": "p", "verdict": "rejected", "code": "outside_pool"}
    ]
    inside = {"model": "m", "provider": "q"}
    assert outcome(text % (level, ", in_pool: true"), parent=inside) == "m at q"


@pytest.mark.parametrize("profile", ["strict", "task-first"])
def test_with_a_pool_nothing_outside_it_runs_under_a_strict_profile(profile: str) -> None:
    parent = {"model": "other", "provider": "p"}
    text = "provider: p\npool: [{model: m}]\nprecedence: %s"
    record = decided(text % profile, parent=parent)
    assert record["decision"]["refusal"]["code"] == "no_target"
    assert step(record, "parent")["code"] == "outside_pool"
    assert outcome(text % "delegation", parent=parent) == "other at p"
    with pytest.raises(PolicyError, match="PR408"):
        loads(f"model: other\n{text % profile}")


@each("level", ["call", "task", "config", "parent"])
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
provider: p
pool:
  - {model: a, name: one, aliases: [x], allow: "false"}
  - {model: b, name: two, aliases: [x]}
forbid: [{when: target.name == "two"}]
precedence: [{id: asked, use: task, on_violation: %s}, {use: config}]
"""
    record = decided(text % "next", task={"model": "x"})
    assert steps(record) == [("asked", "violated"), ("config", "selected")]
    wish = {"model": "x"}
    warning = {"code": "not_allowed", "rule": "asked", "requested": wish, "entry": "one"}
    assert warnings(record) == [warning]
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
    text = "model: m\nprovider: p\nforbid: [{when: true}]\nprecedence: [{use: config}]"
    warning = {"code": "forbidden", "rule": "config", "forbid": "forbid-1"}
    assert warnings(decided(text)) == [warning]


def test_a_rule_that_proposes_nothing_refuses_nothing() -> None:
    text = "model: m\nprovider: p\nprecedence: [{use: pool, on_violation: reject}, {use: config}]"
    assert outcome(text) == "m at p"


def test_where_no_rule_selects_the_request_is_refused() -> None:
    text = "precedence: [{use: config}, {use: parent}]"
    assert refusal(text) == {
        "code": "no_target",
        "rule": None,
        "message": "no rule selects a target",
        "reasons": [],
    }


REASONS = """
provider: p
model: x
pool:
  - {model: m, allow: "false"}
  - {model: n}
forbid:
  - {id: silent, when: target.name == "n" && target.level == "call"}
  - {id: loud, when: 'target.name == "x"', message: Ask for nothing.}
  - {id: shaky, when: 'target.name == "n" && 1 / parent.depth == 1', message: Ask later.}
precedence: [{use: call}, {use: task}, {id: fixed, use: pool, entry: n}, {use: config}]
"""


def test_a_request_that_no_rule_decides_is_told_why_rule_by_rule() -> None:
    found = refusal(REASONS, call={"model": "n"}, task={"model": "m"}, parent={"depth": 1})
    assert found["reasons"] == [
        {"rule": "call", "code": "forbidden", "forbid": "silent"},
        {"rule": "task", "code": "not_allowed", "entry": "m"},
        {"rule": "fixed", "code": "forbidden", "forbid": "shaky", "message": "Ask later."},
        {"rule": "config", "code": "forbidden", "forbid": "loud", "message": "Ask for nothing."},
    ]
    # The first of these that a rule has words for.
    assert found["message"] == "Ask later."


def test_a_rule_that_failed_is_a_reason_in_words_of_its_own() -> None:
    failed = "the rule `shaky` could not be evaluated, so `n` is forbidden"
    found = refusal(REASONS)
    assert found["reasons"] == [
        {"rule": "fixed", "code": "forbidden", "forbid": "shaky", "message": failed},
        {"rule": "config", "code": "forbidden", "forbid": "loud", "message": "Ask for nothing."},
    ]
    assert found["message"] == failed


def test_where_no_rule_has_words_the_first_reason_is_told() -> None:
    text = "provider: p\npool: [{model: m, allow: 'false'}]\nprecedence: [{use: call}, {use: task}]"
    found = refusal(text, task=M)
    assert found["message"] == "no rule selects a target: `m` is not allowed for this request"
    assert found["reasons"] == [{"rule": "task", "code": "not_allowed", "entry": "m"}]


def test_a_refusal_by_a_rule_has_no_list_of_reasons() -> None:
    assert "reasons" not in refusal(guarded(", allow: 'false'"), task=M)


# Step 8: parameters.

EFFORT = "reasoning_effort"
PARAMETERS = """
provider: p
parameters: {a: 1, b: 1, reasoning_effort: minimal}
pool:
  - {model: m, parameters: {b: 2, c: 2}}
  - {model: n, parameters: {reasoning_effort: low}, limits: {reasoning_effort: [low, high]}}
precedence: [{use: call}, {use: task, on_violation: %s}, {use: parent}]
"""


def parameters(text: str, /, **request: Any) -> Any:
    """Return the parameters of what is selected."""
    return decided(text, **request)["decision"]["target"]["parameters"]


def test_parameters_are_the_entrys_else_the_policys_name_by_name() -> None:
    found = parameters(PARAMETERS % "next", task=M)
    assert found == {"a": 1, "b": 2, "c": 2, EFFORT: "minimal"}


def test_a_target_in_no_pool_has_the_policys_parameters() -> None:
    found = parameters(PARAMETERS % "next", parent={"model": "x", "provider": "p"})
    assert found == {"a": 1, "b": 1, EFFORT: "minimal"}


@each(
    ("call", "task", "parent", "expected"),
    [
        ("high", "low", "high", "high"),
        ("", "high", "low", "high"),
        ("", "", "high", "low"),
        ("", "", "", "low"),
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


# What may be wished for.

WISHED = """
provider: p
parameters: {temperature: 1.0}
pool:
  - {model: m, parameters: {temperature: 0.5}}
  - {model: n, limits: {style: [terse, plain], top_p: {min: 0.1, max: 0.9}, verbosity: [low]}}
precedence: [{use: task, on_violation: %s}]
"""


@each(
    "wish",
    [
        {"temperature": 0.2},
        {"temperature": 1},
        {"top_p": 0.5, "top_k": 3, "max_tokens": 9, "verbosity": "low", "seed": -1},
        {"frequency_penalty": 0.5, "presence_penalty": -0.5, EFFORT: "none"},
    ],
)
def test_what_no_limit_bounds_is_granted_as_it_is_wished(wish: dict[str, Any]) -> None:
    record = decided(WISHED % "reject", task={**M, "parameters": wish})
    assert record["decision"]["target"]["parameters"] == {"temperature": 0.5, **wish}
    assert warnings(record) == []


@each("name", ["max_completion_tokens", "max_output_tokens", "max_tokens"])
def test_the_spellings_of_max_tokens_are_one_parameter(name: str) -> None:
    text = (
        f"provider: p\npool: [{{model: m, parameters: {{{name}: 7}}}}]\nprecedence: [{{use: task}}]"
    )
    assert parameters(text, task=M) == {"max_tokens": 7}
    assert parameters(text, task={**M, "parameters": {name: 5}}) == {"max_tokens": 5}
    text = text.replace(f"parameters: {{{name}: 7}}", f"limits: {{{name}: {{max: 7}}}}")
    assert parameters(text, task={**M, "parameters": {"max_output_tokens": 8}}) == {"max_tokens": 7}


@pytest.mark.parametrize("key", ["parameters", "at its old place"])
def test_a_reasoning_effort_may_be_wished_for_at_either_place(key: str) -> None:
    wish = {"parameters": {EFFORT: "high"}} if key == "parameters" else {EFFORT: "high"}
    record = decided(
        "model: m\nprovider: p\nprecedence: "
        "[{use: call, on_violation: reject}, {use: config, when: task.reasoning_effort == 'high'}]",
        task=wish,
        call=wish,
    )
    assert record["decision"]["target"]["parameters"] == {EFFORT: "high"}


def limited(name: str, value: Any, rule: str = "task") -> dict[str, Any]:
    """Return the warning of a wish that is not granted as it is."""
    about = {"requested": {name: value}, "parameter": name}
    return {"code": "parameter_limited", "rule": rule, **about}


@each(
    ("model", "name", "wish", "granted"),
    [
        ("n", "top_p", 0.95, 0.9),
        ("n", "top_p", 0.05, 0.1),
        ("n", "verbosity", "high", None),
        ("n", "style", "florid", None),
        # Another type than that of the limit is not granted.
        ("n", "style", 1, None),
        ("n", "style", True, None),
        # What another entry's limits know by name, this one does not grant.
        ("m", "style", "terse", None),
    ],
)
def test_a_wish_beyond_the_limits_is_clamped_or_left_out_with_a_warning(
    model: str, name: str, wish: Any, granted: Any
) -> None:
    request = {"model": model, "parameters": {name: wish}}
    record = decided(WISHED % "next", task=request)
    assert record["decision"]["target"]["parameters"].get(name) == granted
    assert warnings(record) == [limited(name, wish)]
    assert step(record, "task")["result"] == "selected"
    # Where the rule of the wish rejects, it is a guard.
    assert outcome(WISHED % "reject", task=request) == "parameter_not_allowed"


def test_a_wish_that_is_left_out_leaves_what_the_policy_says() -> None:
    record = decided(PARAMETERS % "next", task={"model": "n", EFFORT: "max"})
    assert record["decision"]["target"]["parameters"][EFFORT] == "low"
    assert warnings(record) == [limited(EFFORT, "max")]


@pytest.mark.parametrize("value", ["terse", "plain"])
def test_a_wish_within_the_limits_is_granted_without_a_warning(value: str) -> None:
    record = decided(WISHED % "reject", task={"model": "n", "parameters": {"style": value}})
    assert record["decision"]["target"]["parameters"]["style"] == value
    assert warnings(record) == []


def test_a_limit_for_another_parameter_limits_nothing_here() -> None:
    text = (
        "provider: p\npool: [{model: m, limits: {max_tokens: {max: 9}}}]\nprecedence: [{use: task}]"
    )
    assert parameters(text, task={**M, EFFORT: "max"}) == {EFFORT: "max", "max_tokens": 9}


def test_a_wish_for_what_is_true_is_not_a_wish_for_1() -> None:
    text = "provider: p\npool: [{model: m, limits: {cache: [true, 2]}}]\nprecedence: [{use: task}]"
    assert parameters(text, task={**M, "parameters": {"cache": True}}) == {"cache": True}
    assert parameters(text, task={**M, "parameters": {"cache": 1}}) == {}
    assert parameters(text, task={**M, "parameters": {"cache": 2.0}}) == {"cache": 2.0}


# The rule of a wish.


def test_the_order_of_wishes_is_that_of_the_precedence() -> None:
    text = "model: m\nprovider: p\nprecedence: [{use: config}, {use: task}, {use: call}]"
    # Whether or not the walk reaches their rules.
    wishes = {"call": {EFFORT: "low"}, "task": {EFFORT: "high"}}
    record = decided(text, **wishes)
    assert record["decision"]["target"]["parameters"] == {EFFORT: "high"}
    lost = {"rule": "call", "by": "task", "requested": {EFFORT: "low"}, "parameter": EFFORT}
    assert warnings(record) == [{"code": "outranked", **lost}]
    assert parameters(text, call={EFFORT: "low"}) == {EFFORT: "low"}


def test_each_parameter_has_a_winner_of_its_own() -> None:
    text = "model: m\nprovider: p\nprecedence: task-first"
    call = {"parameters": {"top_k": 1, "seed": 5, "top_p": 1}}
    task = {"parameters": {"top_k": 2, "temperature": 0.5, "top_p": 1.0}}
    record = decided(text, call=call, task=task)
    expected = {"top_k": 2, "temperature": 0.5, "seed": 5, "top_p": 1.0}
    assert record["decision"]["target"]["parameters"] == expected
    # A value that is the same loses nothing.
    lost = {"rule": "call", "by": "task", "requested": {"top_k": 1}, "parameter": "top_k"}
    assert warnings(record) == [{"code": "outranked", **lost}]


def test_only_the_wish_that_wins_is_held_against_the_limits() -> None:
    text = """
provider: p
pool: [{model: m, limits: {top_k: {max: 5}}}]
precedence: [{use: call}, {use: task, on_violation: reject}]
"""
    record = decided(
        text, call={"parameters": {"top_k": 9}}, task={**M, "parameters": {"top_k": 8}}
    )
    assert record["decision"]["target"]["parameters"] == {"top_k": 5}
    lost = {"rule": "task", "by": "call", "requested": {"top_k": 8}, "parameter": "top_k"}
    assert warnings(record) == [limited("top_k", 9, "call"), {"code": "outranked", **lost}]


@pytest.mark.parametrize("level", ["call", "task"])
def test_a_wish_at_a_level_that_no_rule_uses_is_not_sent_and_competes_with_none(level: str) -> None:
    other = "task" if level == "call" else "call"
    text = f"model: m\nprovider: p\nprecedence: [{{use: {other}}}, {{use: config}}]"
    wish = {"model": "x", "provider": "y", EFFORT: "low", "parameters": {"seed": 1}}
    record = decided(text, **{level: wish, other: {"parameters": {"seed": 2}}})
    assert record["decision"]["target"]["parameters"] == {"seed": 2}
    unused = {"code": "level_not_used", "level": level}
    assert warnings(record) == [
        {**unused, "requested": {"model": "x", "provider": "y"}},
        {**unused, "requested": {EFFORT: "low"}, "parameter": EFFORT},
        {**unused, "requested": {"seed": 1}, "parameter": "seed"},
    ]


def test_a_level_whose_rules_are_all_false_is_not_used() -> None:
    text = "model: m\nprovider: p\nprecedence: [{use: task, when: task.index > 0}, {use: config}]"
    record = decided(text, task={EFFORT: "low"})
    assert record["decision"]["target"]["parameters"] == {}
    assert [it["code"] for it in warnings(record)] == ["level_not_used"]
    assert parameters(text, task={EFFORT: "low", "index": 1}) == {EFFORT: "low"}


def test_an_unused_wish_is_told_in_a_refusal_too() -> None:
    record = decided("precedence: [{use: call}]", task={"model": "x"})
    unused = {"code": "level_not_used", "level": "task", "requested": {"model": "x"}}
    assert warnings(record) == [unused]
    assert record["decision"]["refusal"]["code"] == "no_target"


TWO_RULES = """
provider: p
model: m
pool: [{model: m, limits: {top_k: {max: 5}}}]
precedence:
  - {id: first, use: task, when: %s, on_violation: %s}
  - {id: second, use: task, on_violation: %s}
  - {use: config}
"""
TOP_9 = {"parameters": {"top_k": 9}}


@each(
    ("when", "first", "second", "rule"),
    [
        ("true", "next", "reject", "first"),
        ("true", "reject", "next", None),
        ("task.index > 0", "reject", "next", "second"),
        ("task.index > 0", "next", "reject", None),
    ],
)
def test_the_rule_of_a_wish_is_the_first_of_its_level_whose_condition_is_true(
    when: str, first: str, second: str, rule: str | None
) -> None:
    record = decided(TWO_RULES % (when, first, second), task=TOP_9)
    if rule is None:
        assert step(record, "config")["code"] == "parameter_not_allowed"
        assert record["decision"]["refusal"]["code"] == "no_target"
    else:
        assert record["decision"]["target"]["parameters"] == {"top_k": 5}
        assert warnings(record) == [limited("top_k", 9, rule)]


def test_a_rule_of_a_wish_that_cannot_be_evaluated_rejects() -> None:
    text = f"""
provider: p
model: m
pool: [{{model: m, limits: {{top_k: {{max: 5}}}}}}]
precedence: [{{use: config}}, {{use: task, when: {FAILS}}}]
"""
    record = decided(text, task=TOP_9)
    assert step(record, "config")["code"] == "parameter_not_allowed"
    assert record["decision"]["refusal"]["code"] == "evaluation_error"
    assert outcome(text, task={"parameters": {"top_k": 5}}) == "m at p"


# Limits as guards.


def test_a_wish_that_is_not_granted_refuses_where_the_rule_of_its_level_rejects() -> None:
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
    assert record["decision"]["refusal"] == {
        "code": "parameter_not_allowed",
        "rule": "task",
        "message": "`n` does not allow reasoning_effort as asked; it allows low, high",
        # Only what would be selected with the same wish.
        "permitted": ["m"],
    }


GUARDING = """
provider: p
model: x
pool:
  - {model: a, pick: "true", limits: {top_k: {max: 5}}, fallback: [c, d]}
  - {model: b, pick: "true", limits: {top_k: {max: 9}}, fallback: [a, c, d]}
  - {model: c, limits: {top_k: {max: 3}}}
  - {model: d}
precedence: [{use: task, on_violation: reject}, {use: pool}, {use: config}]
"""


def test_a_candidate_that_does_not_grant_a_wish_is_passed_over_whichever_rule_proposes_it() -> None:
    record = decided(GUARDING, task=TOP_9)
    assert steps(record) == [
        ("task", "no_proposal"),
        ("pool", "selected"),
        ("config", "not_reached"),
    ]
    assert step(record, "pool")["candidates"] == [
        {"entry": "a", "verdict": "rejected", "code": "parameter_not_allowed"},
        {"entry": "b", "verdict": "selected"},
    ]
    assert record["decision"]["target"]["parameters"] == {"top_k": 9}
    # `d` has no limits for it; `a` and `c` are no fallbacks for this request.
    assert fallbacks(GUARDING, task=TOP_9) == ["d"]
    assert fallbacks(GUARDING, task={"parameters": {"top_k": 2}}) == ["c", "d"]


def test_a_target_that_is_no_entry_does_not_grant_what_the_limits_of_any_entry_bound() -> None:
    record = decided(GUARDING, task={"parameters": {"top_k": 10}})
    assert step(record, "config")["candidates"] == [
        {"model": "x", "provider": "p", "verdict": "rejected", "code": "parameter_not_allowed"}
    ]
    assert warnings(record) == [
        {
            "code": "parameter_not_allowed",
            "rule": rule,
            "parameter": "top_k",
            **({"entry": "a"} if rule == "pool" else {}),
        }
        for rule in ("pool", "config")
    ]
    reasons = record["decision"]["refusal"]["reasons"]
    assert [it["code"] for it in reasons] == ["parameter_not_allowed"] * 2
    # A wish for what no limit is about is granted.
    text = GUARDING.replace('pick: "true", ', "")
    assert parameters(text, task={"parameters": {"seed": 10}}) == {"seed": 10}


def test_where_its_rule_goes_on_a_target_that_is_no_entry_takes_a_wish_as_it_is() -> None:
    text = GUARDING.replace('pick: "true", ', "").replace("reject", "next")
    assert parameters(text, task=TOP_9) == {"top_k": 9}


# The parent's reasoning effort.

INHERITING = """
provider: p
pool:
  - {model: own}
  - {model: plain, name: other}
  - {model: limits, limits: {reasoning_effort: [low, high]}}
  - {model: supports, supports: [reasoning]}
  - {model: lacks, supports: [tools]}
  - {model: set, parameters: {reasoning_effort: medium}, supports: [reasoning]}
  - {model: "off", parameters: {reasoning_effort: false}, supports: [reasoning]}
precedence: [{use: task, on_violation: reject}, {use: parent}]
"""
PARENT = {"model": "own", "provider": "p", EFFORT: "high"}


@each(
    ("model", "effort", "expected"),
    [
        ("own", "high", "high"),
        ("own", "none", "none"),
        ("other", "high", None),
        ("limits", "high", "high"),
        ("supports", "high", "high"),
        ("lacks", "high", None),
        ("set", "high", "medium"),
        ("off", "high", None),
    ],
)
def test_the_parents_effort_goes_to_its_own_model_or_to_one_that_takes_efforts(
    model: str, effort: str, expected: str | None
) -> None:
    record = decided(INHERITING, task={"model": model}, parent={**PARENT, EFFORT: effort})
    assert record["decision"]["target"]["parameters"].get(EFFORT) == expected
    assert warnings(record) == []


@pytest.mark.parametrize("parent", [{"model": "own", "provider": "q"}, {"model": "other"}])
def test_another_provider_or_another_model_is_not_the_parents_own(parent: dict[str, str]) -> None:
    assert parameters(INHERITING, task={"model": "own"}, parent={**parent, EFFORT: "low"}) == {}


def test_the_parents_effort_never_exceeds_a_limit_and_never_refuses() -> None:
    record = decided(INHERITING, task={"model": "limits"}, parent={**PARENT, EFFORT: "max"})
    assert record["decision"]["target"]["parameters"] == {}
    warning = {"code": "parameter_limited", "rule": "task", "parameter": EFFORT}
    assert warnings(record) == [warning]


def test_the_parents_effort_comes_last() -> None:
    parent = {"model": "m", "provider": "q", EFFORT: "high"}
    assert parameters("precedence: [{use: parent}]", parent=parent) == {EFFORT: "high"}
    text = "reasoning_effort: low\nprecedence: [{use: parent}]"
    assert parameters(text, parent=parent) == {EFFORT: "low"}
    bare = {"model": "m", "provider": "q"}
    assert parameters("precedence: [{use: parent}]", parent=bare) == {}


def test_an_effort_that_is_false_sends_and_takes_over_nothing_though_a_wish_may_set_one() -> None:
    text = "reasoning_effort: false\nprecedence: [{use: task}, {use: parent}]"
    parent = {"model": "m", "provider": "q", EFFORT: "high"}
    assert parameters(text, parent=parent) == {}
    assert parameters(text, parent=parent, task={EFFORT: "low"}) == {EFFORT: "low"}


# What the policy says, within limits.


def test_a_value_of_the_policy_beyond_an_entrys_limits_is_clamped_or_left_out() -> None:
    text = """
provider: p
parameters: {reasoning_effort: max, top_k: 9, temperature: 2}
pool: [{model: m, limits: {reasoning_effort: [low], top_k: {max: 5}, temperature: {min: 0}}}]
precedence: [{use: task}]
"""
    record = decided(text, task=M, parent={**M, "provider": "p", EFFORT: "low"})
    # The policy's own effort goes before the parent's, even where the limits leave it out.
    assert record["decision"]["target"]["parameters"] == {"top_k": 5, "temperature": 2}
    assert warnings(record) == []


CAPPED = """
provider: p
%s
pool: [{model: m, limits: {max_tokens: {min: 10, max: 100}}%s}]
precedence: [{use: task, on_violation: %s}]
"""


@each(
    ("policy", "entry", "task", "expected"),
    [
        ("", "", {}, 100),
        ("", ", parameters: {max_tokens: 50}", {}, 50),
        ("parameters: {max_tokens: 500}", "", {}, 100),
        ("parameters: {max_tokens: 5}", "", {}, 10),
        ("", "", {"parameters": {"max_tokens": 30}}, 30),
        ("", "", {"parameters": {"max_tokens": 300}}, 100),
        ("", "", {"parameters": {"max_tokens": 3}}, 10),
    ],
)
def test_a_cap_is_sent_where_nothing_else_says_how_many_tokens(
    policy: str, entry: str, task: dict[str, Any], expected: int
) -> None:
    text = CAPPED % (policy, entry, "next")
    assert parameters(text, task={**M, **task}) == {"max_tokens": expected}


def test_a_bound_from_below_or_a_list_sends_nothing_by_itself() -> None:
    for limit in ("{min: 10}", "[10, 20]"):
        text = f"provider: p\npool: [{{model: m, limits: {{max_tokens: {limit}}}}}]"
        assert parameters(text, task=M) == {}


# The context window holds the answer, too.

WINDOW = """
provider: p
pool: [{model: m, context_window: 100%s}]
precedence: [{use: task, on_violation: %s}]
"""


@each(
    ("entry", "tokens", "expected"),
    [
        ("", 99, {}),
        ("", 100, None),
        (", parameters: {max_tokens: 40}", 60, {"max_tokens": 40}),
        (", parameters: {max_tokens: 40}", 61, None),
        # A bare cap is lowered, and makes nothing too small.
        (", limits: {max_tokens: {max: 40}}", 60, {"max_tokens": 40}),
        (", limits: {max_tokens: {max: 40}}", 61, {"max_tokens": 39}),
        (", limits: {max_tokens: {max: 40}}", 99, {"max_tokens": 1}),
        (", limits: {max_tokens: {max: 40}}", 100, None),
    ],
)
def test_input_and_answer_have_to_fit_in_the_window(
    entry: str, tokens: int, expected: dict[str, int] | None
) -> None:
    task = {**M, "input_tokens": tokens}
    if expected is None:
        assert outcome(WINDOW % (entry, "reject"), task=task) == "context_too_small"
    else:
        assert parameters(WINDOW % (entry, "reject"), task=task) == expected


def test_the_policys_own_max_tokens_counts_as_far_as_the_limits_let_it() -> None:
    text = "parameters: {max_tokens: 80}\n" + WINDOW
    task = {**M, "input_tokens": 60}
    assert outcome(text % ("", "reject"), task=task) == "context_too_small"
    assert parameters(text % (", limits: {max_tokens: {max: 40}}", "reject"), task=task) == {
        "max_tokens": 40
    }


@pytest.mark.parametrize("on_violation", ["next", "reject"])
def test_a_wished_max_tokens_is_lowered_to_what_the_window_leaves(on_violation: str) -> None:
    wish = {"parameters": {"max_tokens": 60}}
    record = decided(WINDOW % ("", on_violation), task={**M, "input_tokens": 70, **wish})
    assert record["decision"]["target"]["parameters"] == {"max_tokens": 30}
    assert warnings(record) == [limited("max_tokens", 60)]
    record = decided(WINDOW % ("", on_violation), task={**M, "input_tokens": 40, **wish})
    assert record["decision"]["target"]["parameters"] == {"max_tokens": 60}
    assert warnings(record) == []


def test_a_wish_does_not_make_room_for_what_the_entry_itself_asks_for() -> None:
    task = {**M, "input_tokens": 70, "parameters": {"max_tokens": 1}}
    assert outcome(WINDOW % (", parameters: {max_tokens: 40}", "reject"), task=task) == (
        "context_too_small"
    )


@each(
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
        # Another type than that of the limit.
        ("5", Limit(None, 1, 10), None),
        (True, Limit(None, 1, 10), None),
        (True, Limit((1,)), None),
        (1.0, Limit((1,)), 1.0),
    ],
)
def test_a_wish_is_granted_as_far_as_its_limit_goes(wish: Any, limit: Limit, granted: Any) -> None:
    found = limit.within(wish)
    assert (found, type(found)) == (granted, type(granted))


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
    assert fallbacks(text, parent={"model": "x", "provider": "p"}) == []


@each(
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


CANDIDATES = """
provider: p
pool:
  - {model: a, pick: "true", allow: "false", fallback: [d]}
  - {model: b, pick: "true", fallback: [e, c, e]}
  - {model: c, pick: "true", fallback: [a]}
  - {model: d, pick: "true"}
  - {model: e}
  - {model: f, pick: "true", allow: task.index > 0}
precedence:
  - {use: task, on_violation: reject, fallback: %s}
  - {use: pool, fallback: %s}
"""


def test_the_other_candidates_of_a_rule_follow_the_entrys_own_list_where_it_says_so() -> None:
    text = CANDIDATES % ("false", "candidates")
    assert fallbacks(text) == ["e", "c", "d"]
    assert fallbacks(text, task={"index": 1}) == ["e", "c", "d", "f"]
    assert fallbacks(CANDIDATES % ("false", "true")) == ["e", "c"]


def test_a_wish_that_means_several_entries_may_fall_back_to_the_others() -> None:
    wish = {"provider": "p"}
    assert fallbacks(CANDIDATES % ("candidates", "true"), task=wish) == ["e", "c", "d"]
    # A wish for one model has no other candidates.
    assert fallbacks(CANDIDATES % ("candidates", "true"), task={"model": "d"}) == []


def test_a_target_in_no_pool_has_no_other_candidates() -> None:
    text = "pool: [{model: a}]\nprecedence: [{use: parent, fallback: candidates}]"
    assert fallbacks(text, parent={"model": "x", "provider": "p"}) == []


def test_a_fallback_without_a_provider_is_not_planned() -> None:
    text = """
pool: [{model: a, provider: p, pick: "true", fallback: [b, c]}, {model: b}, {model: c, provider: q}]
precedence: [{use: pool}]
"""
    assert fallbacks(text) == ["c"]
    assert fallbacks(text, parent={"provider": "pp"}) == ["b", "c"]


# The order of wishes.

ORDERED = """
provider: p
pool:
  - {model: a, price: {output: 9}}
  - {model: b, provider: q, price: {output: 1}}
  - {model: c, price: {output: 1}}
  - {model: d}
precedence: [{use: call, order_by: "%s"}, {use: task, order_by: "%s"}]
"""
CHEAPEST = "has(target.price.output) ? target.price.output : 1 / parent.depth > 0 ? 0.0 : 1.0"


@pytest.mark.parametrize("level", ["call", "task"])
def test_a_wish_for_a_provider_may_be_ordered(level: str) -> None:
    record = decided(ORDERED % (CHEAPEST, CHEAPEST), **{level: {"provider": "p"}})
    assert record["decision"]["target"]["entry"] == "c"
    # One without a number is not proposed.
    assert warnings(record) == [{"code": "pick_error", "rule": level, "entry": "d"}]


def test_a_wish_for_what_has_no_place_in_the_order_is_a_violation() -> None:
    record = decided(ORDERED % (CHEAPEST, CHEAPEST), task={"model": "d"})
    expected = {"rule": "task", "level": "task", "result": "violated", "requested": {"model": "d"}}
    assert step(record, "task") == {**expected, "code": "evaluation_error"}
    assert [it["code"] for it in warnings(record)] == ["pick_error", "evaluation_error"]


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


@each(
    ("precedence", "names"),
    [
        ("[{use: call}, {use: task}]", ["c", "d", "e"]),
        # At level `call`, where no rule of the task is used; `b` is forbidden to a task alone.
        ("[{use: call}, {use: task, when: false}]", ["b", "c", "d", "e"]),
        ("[{use: call}]", ["b", "c", "d", "e"]),
        ("[{use: call, when: false}, {use: task, when: 1 / parent.depth > 0}]", []),
        ("[{use: config}]", []),
    ],
)
def test_permitted_is_about_a_level_that_a_rule_uses(precedence: str, names: list[str]) -> None:
    assert refusal(SOME % precedence)["permitted"] == names


def test_a_name_is_permitted_where_only_a_wish_before_it_stands_in_the_way() -> None:
    found = refusal(SOME % "strict", call={"model": "c"}, task={"model": "x", "needs": ["y"]})
    # The call's wish refuses first; without it the task may ask for what `call` may.
    assert found["permitted"] == ["b", "d", "e"]
    policy = loads(SOME % "strict")
    assert permitted(policy, {"call": {"model": "f"}}, now=NOW) == ("c", "d", "e")
    assert permitted(policy, {"call": {"model": "c"}}, now=NOW) == ("c", "d", "e")


def test_a_name_that_a_rule_before_decides_otherwise_is_not_permitted() -> None:
    text = """
provider: p
model: a
pool: [{model: a}, {model: b}]
precedence: [{id: always, use: pool, entry: a, when: parent.depth > 0}, {use: task}]
"""
    assert permitted(loads(text), {}, now=NOW) == ("a", "b")
    assert permitted(loads(text), {"parent": {"depth": 1}}, now=NOW) == ("a",)


def test_permitted_keeps_the_wishes_for_parameters() -> None:
    text = """
provider: p
pool: [{model: a, limits: {top_k: {max: 5}}}, {model: b}, {model: c, limits: {top_k: {max: 9}}}]
precedence: strict
"""
    wish = {"model": "x", "parameters": {"top_k": 8}}
    assert refusal(text, task=wish)["permitted"] == ["b", "c"]
    assert permitted(loads(text), {"call": {"parameters": {"top_k": 10}}}, now=NOW) == ("b",)


def test_an_entry_that_has_no_provider_is_not_permitted() -> None:
    text = "pool: [{model: a}, {model: b, provider: q}]\nprecedence: strict"
    assert refusal(text, task={"model": "x"})["permitted"] == ["b"]
    parent = {"provider": "pp"}
    assert refusal(text, task={"model": "x"}, parent=parent)["permitted"] == ["a", "b"]


def test_permitted_means_the_pool_whatever_the_rule_says() -> None:
    text = "provider: p\npool: [{model: a}]\nforbid: [{when: target.name == 'x'}]\nprecedence: [%s]"
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


@each(
    ("guard", "names"),
    [
        ('allow: task.model == "a"', ["a"]),
        ('allow: task.provider == ""', ["a"]),
        ("allow: variables.same", ["a"]),
        ('allow: task.kind == ""', ["a"]),
        ('allow: call.model == "a"', []),
        ("allow: task.reasoning_effort == 'low'", ["a"]),
    ],
)
def test_the_wish_may_be_read_in_any_way(guard: str, names: list[str]) -> None:
    text = f"""
provider: p
variables: {{same: task.model == "a"}}
pool: [{{model: a, {guard}}}]
precedence: [{{use: task, on_violation: reject}}]
"""
    wish = {"model": "x", "provider": "y", EFFORT: "low"}
    assert refusal(text, task=wish)["permitted"] == names


def test_a_forbid_rule_may_read_the_wish() -> None:
    text = """
provider: p
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
    needs = {"task": {"needs": ["x"]}}
    assert permitted(policy, needs, now=NOW, level="call") == ("b", "d", "e")


@each("level", ["pool", "config", "parent", "nobody"])
def test_nothing_is_asked_for_at_another_level(level: str) -> None:
    with pytest.raises(ValueError, match=level if level == "nobody" else "nothing is asked for"):
        permitted(loads(SOME % "strict"), {}, now=NOW, level=level)


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


@each(
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
            "input and answer are larger than the context window of `e`",
        ),
        ("", "", "task", {"model": "y"}, "the task asks for a model outside the pool"),
    ],
)
def test_a_refusal_says_why(
    entry: str, forbid: str, level: str, task: dict[str, Any], message: str
) -> None:
    assert refusal(ONE % (entry, forbid, REJECT % level), task=task)["message"] == message


OUTSIDE = "pool: [{model: m, provider: p}]\nmodel: m\nprecedence: [%s]"


@each(
    ("level", "message"),
    [
        ("call", "the call asks for a model outside the pool"),
        ("config", "the policy's default is a model outside the pool"),
        ("parent", "the parent runs on a model outside the pool"),
    ],
)
def test_a_refusal_says_whose_model_it_is(level: str, message: str) -> None:
    rule = f"{{use: {level}, on_violation: reject, in_pool: true}}"
    elsewhere = {"model": "m", "provider": "q"}
    found = refusal(OUTSIDE % rule, call={"model": "y"}, parent=elsewhere)
    assert found["message"] == message


NEAR = """
provider: p
pool:
  - {model: alpha, name: coder, aliases: [alfa]}
  - {model: beta, provider: q}
  - {model: gamma, allow: "false"}
  - {model: twin}
  - {model: twin, provider: q}
precedence: strict
"""


@each(
    ("wish", "rest"),
    [
        ({"model": "codr"}, "did you mean `coder`?"),
        # Only a name that may be asked for is offered.
        ({"model": "gama"}, None),
        ({"model": "zzz"}, None),
        ({"provider": "zzz"}, None),
        # Only the provider is wrong.
        ({"model": "coder", "provider": "q"}, "`coder` is not at `q` but at `p`"),
        ({"model": "alpha", "provider": "q"}, "`alpha` is not at `q` but at `p`"),
        ({"model": "alfa", "provider": "q"}, "`alfa` is not at `q` but at `p`"),
        ({"model": "twin", "provider": "r"}, "`twin` is not at `r` but at `p`, `q`"),
    ],
)
def test_a_wish_outside_the_pool_is_told_what_was_probably_meant(
    wish: dict[str, str], rest: str | None
) -> None:
    start = "the task asks for a model outside the pool"
    assert refusal(NEAR, task=wish)["message"] == (f"{start}; {rest}" if rest else start)


@each(
    ("limit", "allowed"),
    [
        ("{min: 1, max: 5}", "at least 1, at most 5"),
        ("{min: 10}", "at least 10"),
        ("{max: 5}", "at most 5"),
        ("[1, 2]", "1, 2"),
        ("[]", "none"),
    ],
)
def test_a_refusal_of_a_parameter_says_what_is_allowed(limit: str, allowed: str) -> None:
    text = f"provider: p\npool: [{{model: m, limits: {{top_k: {limit}}}}}]\nprecedence: strict"
    found = refusal(text, task={**M, "parameters": {"top_k": 9}})
    assert found["message"] == f"`m` does not allow top_k as asked; it allows {allowed}"


def test_a_target_that_is_no_entry_allows_nothing_that_limits_are_about() -> None:
    text = "model: x\n" + (PARAMETERS % "reject").replace(
        "{use: parent}", "{use: config, on_violation: reject}"
    )
    found = refusal(text, task={EFFORT: "max"})
    assert found["message"] == "the model does not allow reasoning_effort as asked; it allows none"


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


# Warnings.


def test_a_wish_that_a_rule_went_before_is_outranked() -> None:
    text = "provider: p\npool: [{model: a}, {model: b, aliases: [bee]}]\nprecedence: delegation"
    record = decided(text, call={"model": "a"}, task={"model": "b"})
    lost = {"rule": "task", "by": "call", "requested": {"model": "b"}}
    assert warnings(record) == [{"code": "outranked", **lost}]


@each(
    ("pool", "task", "loses"),
    [
        # Another way to ask for what is selected loses nothing.
        ("pool: [{model: a, name: one, aliases: [uno]}]", {"model": "a"}, False),
        ("pool: [{model: a, name: one, aliases: [uno]}]", {"model": "uno"}, False),
        ("pool: [{model: a, name: one, aliases: [uno]}]", {"provider": "p"}, False),
        ("pool: [{model: a, name: one, aliases: [uno]}]", {"provider": "q"}, True),
        # One outside the pool means nothing.
        ("pool: [{model: a, name: one, aliases: [uno]}]", {"model": "zzz"}, True),
        ("model: a", {"model": "one", "provider": "p"}, False),
        ("model: a", {"model": "one", "provider": "q"}, True),
        ("model: one", {"provider": "p"}, False),
        ("model: b", {"provider": "p"}, True),
        ("model: a", {"provider": "q"}, True),
    ],
)
def test_a_wish_that_means_the_selected_target_is_not_outranked(
    pool: str,
    task: dict[str, str],
    loses: bool,  # noqa: FBT001
) -> None:
    record = decided(f"provider: p\n{pool}", call={"model": "one"}, task=task)
    found = [it["code"] for it in warnings(record)]
    assert found == (["outranked"] if loses else [])


def test_a_wish_that_was_violated_is_not_outranked_too() -> None:
    text = "provider: p\nmodel: a\npool: [{model: a}, {model: b, allow: 'false'}]"
    record = decided(text, task={"model": "b"})
    assert [it["code"] for it in warnings(record)] == ["not_allowed"]


def test_a_refusal_outranks_nobody() -> None:
    text = "provider: p\npool: [{model: a, allow: 'false'}, {model: b}]\nprecedence: strict"
    assert warnings(decided(text, call={"model": "a"}, task={"model": "b"})) == []


ADVISORY = """
provider: p
pool:
  - {model: a, pick: "true", fallback: [b, c]}
  - {model: b}
  - {model: c, allow: task.index > 0}
  - {model: d, allow: "false", pick: "true"}
forbid:
  - {id: watch, when: target.name != "b", message: Soon closed., enforce: false}
  - {id: doubt, when: 'target.name == "b" && 1 / parent.depth > 0', enforce: false}
precedence: [{use: parent}, {id: mine, use: pool}]
"""


def test_a_rule_that_is_not_enforced_forbids_nothing_and_warns() -> None:
    record = decided(ADVISORY, task={"index": 1})
    assert record["decision"]["target"]["entry"] == "a"
    would = {"code": "would_forbid", "rule": "mine"}
    watch = {**would, "forbid": "watch", "message": "Soon closed."}
    assert warnings(record) == [
        {**watch, "entry": "a"},
        # One that fails says so.
        {**would, "forbid": "doubt", "entry": "b", "error": True},
        {**watch, "entry": "c"},
    ]
    # Only for what is selected or planned.
    assert [it["entry"] for it in warnings(decided(ADVISORY))] == ["a", "b"]


def test_a_rule_that_is_not_enforced_warns_of_a_target_that_is_no_entry() -> None:
    record = decided(ADVISORY, parent={"model": "x", "provider": "y"})
    warning = {"code": "would_forbid", "rule": "parent", "forbid": "watch"}
    assert warnings(record) == [{**warning, "message": "Soon closed."}]


def test_a_value_that_a_closed_set_drops_leaves_a_warning_and_stays_in_the_record() -> None:
    text = """
model: m
provider: p
teams: {values: [ops], unknown: drop}
roles: {values: [admin, dev], unknown: drop}
kinds: {values: [a], unknown: drop}
precedence:
  - {use: config, when: 'caller.team == "" && caller.roles == ["dev"] && task.kind == ""'}
"""
    given = {"team": "x", "roles": ["root", "dev", "boss"]}
    record = decided(text, caller=given, task={"kind": "b"})
    assert record["decision"]["target"]["model"] == "m"
    assert record["request"] == {"caller": given, "task": {"kind": "b"}}
    paths = ["$.task.kind", "$.caller.team", "$.caller.roles[0]", "$.caller.roles[2]"]
    assert warnings(record) == [{"code": "unknown_value", "path": path} for path in paths]


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
&& has(target.price.cache_read) && target.price.cache_read == 0.5
&& has(target.price.cache_write) && target.price.cache_write == 3.0
&& has(target.context_window) && target.context_window == 10
"""
ABSENT_ATTRIBUTES = """
!has(target.price.input) && !has(target.price.output) && !has(target.context_window)
&& !has(target.price.cache_read) && !has(target.price.cache_write)
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
                    "price": {"input": 1, "output": 2.5, "cache_read": 0.5, "cache_write": 3},
                    "context_window": 10,
                    "allow": GIVEN_ATTRIBUTES,
                },
                {
                    "model": "n",
                    "provider": "q",
                    "allow": ABSENT_ATTRIBUTES,
                },
            ],
            "precedence": "strict",
        }
    )
    assert outcome(text, task={"model": "e"}) == "m at p"
    assert outcome(text, task={"model": "n"}) == "n at q"
