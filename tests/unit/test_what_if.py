"""What another policy would have decided is due to one of its rules, or of those before."""

from __future__ import annotations

from typing import Any

import pytest

from policy_router import Policy, decide, loads
from policy_router.decision.record import Decision, Target
from policy_router.decision.what_if import REFUSED, cause, named, reads_now, target_name
from tests.integration.log_auditing import NOW

BASE = """
name: it
model: small
provider: main
{pool}
{rest}
"""
POOL = """
pool:
  - {model: small}
  - {model: large, pick: task.kind == "coding"}
"""
CODING: dict[str, Any] = {"task": {"kind": "coding"}}


def policy_of(pool: str = POOL, rest: str = "precedence: strict") -> Policy:
    return loads(BASE.format(pool=pool, rest=rest))


def cause_of(before: Policy, after: Policy, request: dict[str, Any] = CODING) -> str:
    """Return what the difference between two policies is due to; in both directions."""
    first, second = (decide(policy, request, now=NOW) for policy in (before, after))
    assert first.decision != second.decision
    return cause(first.steps, second.steps)


BEFORE = policy_of()


def test_a_new_forbid_rule_is_a_cause() -> None:
    after = policy_of(
        rest='precedence: strict\nforbid: [{id: no-large, when: target.model == "large"}]'
    )
    assert cause_of(BEFORE, after) == "forbid rule `no-large`"
    assert cause_of(after, BEFORE) == "no longer forbid rule `no-large`"


def test_another_forbid_rule_is_a_cause() -> None:
    large = 'target.model == "large"'
    first, second = (
        decide(
            policy_of(rest=f"precedence: strict\nforbid: [{{id: {name}, when: '{large}'}}]"),
            CODING,
            now=NOW,
        )
        for name in ("one", "two")
    )
    assert cause(first.steps, second.steps) == "forbid rule `two`"


def test_an_allow_that_admits_no_more_is_a_cause() -> None:
    after = policy_of(POOL.replace('"coding"}', '"coding", allow: "false"}'))
    assert cause_of(BEFORE, after) == "`allow` of `large`"
    assert cause_of(after, BEFORE) == "no longer `allow` of `large`"


def test_what_is_rejected_by_both_is_no_cause() -> None:
    barred = '  - {model: barred, pick: "true", allow: "false"}\n'
    pool = POOL.replace("  - {model: large", f"{barred}  - {{model: large")
    after = policy_of(pool.replace('"coding"}', '"coding", allow: "false"}'))
    assert cause_of(policy_of(pool), after) == "`allow` of `large`"
    assert cause_of(after, policy_of(pool)) == "no longer `allow` of `large`"


def test_what_an_entry_lacks_is_a_cause() -> None:
    after = policy_of(POOL.replace('"coding"}', '"coding", supports: []}'))
    request = {"task": {"kind": "coding", "needs": ["tools"]}}
    assert cause_of(BEFORE, after, request) == "lacks_capability of `large`"


def test_a_candidate_outside_the_pool_is_named_by_its_model() -> None:
    inside = "precedence: [{use: config, in_pool: true}]"
    before, after = policy_of(rest=inside), policy_of("pool: [{model: other}]", inside)
    assert cause_of(before, after, {}) == "outside_pool of `small`"
    assert cause_of(after, before, {}) == "no longer outside_pool of `small`"


def test_a_pick_is_a_cause_by_its_rule() -> None:
    after = policy_of(POOL.replace("coding", "writing"))
    assert cause_of(BEFORE, after) == "rule `pool`"


def test_another_when_is_a_cause() -> None:
    rules = "precedence: [{use: pool, when: '%s'}, {use: config}]"
    always, never = (policy_of(rest=rules % word) for word in ("true", 'task.kind == "x"'))
    assert cause_of(always, never) == "`when` of rule `pool`"
    assert cause_of(never, always) == "`when` of rule `pool`"


def test_another_order_of_rules_is_a_cause() -> None:
    first = policy_of(rest="precedence: [{use: pool}, {use: config}]")
    second = policy_of(rest="precedence: [{use: config}, {use: pool}]")
    assert cause_of(first, second) == "the order of rules, at `config`"


def test_a_rule_more_is_a_cause() -> None:
    wish = {"task": {"model": "large"}}
    first = policy_of(rest="precedence: [{use: pool}]")
    second = policy_of(rest="precedence: [{use: pool}, {use: task}]")
    assert cause_of(first, second, wish) == "rule `task`"
    assert cause_of(second, first, wish) == "rule `task`"


def test_what_is_rejected_on_the_way_is_no_cause_where_another_rule_turns_out_otherwise() -> None:
    rules = "precedence: [{use: task}, {use: pool, when: '%s'}, {use: config}]"
    pool = POOL + "  - {model: other, allow: 'false'}\n"
    before = policy_of(pool.replace("'false'", "'parent.depth < 0'"), rules % "true")
    forbids = "\nforbid: [{id: no-other, when: 'target.model == \"other\"'}]"
    after = policy_of(pool, rules % 'task.kind == "x"' + forbids)
    request = {"task": {"kind": "coding", "model": "other"}}
    assert cause_of(before, after, request) == "`when` of rule `pool`"


def test_where_the_steps_are_the_same_the_entry_itself_is_a_cause() -> None:
    after = policy_of(POOL.replace("{model: large", "{model: larger, name: large"))
    assert cause_of(BEFORE, after) == "the entry itself"


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (Target("m", "p", {}), "m at p"),
        (Target("m", "", {}), "m"),
        (Target("m", "p", {}, "m"), "m at p"),
        (Target("m", "p", {}, "e"), "e (m at p)"),
    ],
)
def test_a_target_is_named_by_its_entry_and_model(target: Target, name: str) -> None:
    assert target_name(target) == name
    assert named(Decision("selected", (), target=target)) == name


def test_a_refusal_has_a_name_too() -> None:
    assert named(Decision("refused", ())) == REFUSED


AT_NIGHT = "now.getHours() < 6"
WHEN_NIGHT = "precedence: [{use: pool, when: variables.night}]"


@pytest.mark.parametrize(
    ("pool", "rest"),
    [
        (f"pool: [{{model: m, pick: '{AT_NIGHT}'}}]", "precedence: strict"),
        (f"pool: [{{model: m, allow: '{AT_NIGHT}'}}]", "precedence: strict"),
        (POOL, f"forbid: [{{when: '{AT_NIGHT}'}}]\nprecedence: strict"),
        (POOL, f"precedence: [{{use: pool, when: '{AT_NIGHT}'}}]"),
        (POOL, "precedence: [{use: pool, order_by: now.getHours()}]"),
        (POOL, f"variables: {{night: '{AT_NIGHT}'}}\n{WHEN_NIGHT}"),
    ],
    ids=["pick", "allow", "forbid", "when", "order_by", "variable"],
)
def test_a_policy_that_looks_at_the_time_is_known(pool: str, rest: str) -> None:
    assert reads_now(policy_of(pool, rest))


def test_a_policy_that_does_not_look_at_the_time_is_known() -> None:
    assert not reads_now(BEFORE)
    assert not reads_now(policy_of("", "precedence: [{use: config}]"))
