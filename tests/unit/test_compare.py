"""What another policy would have decided is due to one of its rules, or of those before."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from policy_router import Policy, decide, loads
from policy_router.decision.compare import REFUSED, cause, named, reads_now, target_name
from policy_router.decision.record import Decision, Target
from tests.support.log_auditing import NOW
from tests.support.rows import each

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
    return cause(first, second)


BEFORE = policy_of()


def test_a_new_forbid_rule_is_a_cause() -> None:
    after = policy_of(
        rest='precedence: strict\nforbid: [{id: no-large, when: target.model == "large"}]'
    )
    assert cause_of(BEFORE, after) == "forbid rule `no-large`"
    assert cause_of(after, BEFORE) == "no longer forbid rule `no-large`"


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
    inside = "precedence: [{use: parent, in_pool: true}]"
    before, after = policy_of(rest=inside), policy_of("pool: [{model: other}]", inside)
    request = {"parent": {"model": "small", "provider": "main"}}
    assert cause_of(before, after, request) == "outside_pool of `small`"
    assert cause_of(after, before, request) == "no longer outside_pool of `small`"


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
    assert cause_of(second, first, wish) == "no longer rule `task`"


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


# What differs besides is no cause.

LARGE_BARRED = "\nforbid: [{id: no-large, when: 'target.model == \"large\"'}]"
NEVER = "{id: never, use: config, when: 'task.kind == \"x\"'}"
CANARY = "{id: canary, use: config}"


def ruled(*rules: str, pool: str = POOL, forbid: str = "") -> Policy:
    return policy_of(pool, f"precedence: [{', '.join(rules)}]{forbid}")


@each(
    ("before", "after", "there", "back"),
    [
        pytest.param(
            ruled("{use: pool}", "{use: config}"),
            ruled(NEVER, "{use: pool}", "{use: config}", forbid=LARGE_BARRED),
            "forbid rule `no-large`",
            "no longer forbid rule `no-large`",
            id="a rule in front that does nothing",
        ),
        pytest.param(
            ruled("{use: pool}", "{use: parent}"),
            ruled(CANARY, "{use: pool}", "{use: parent}"),
            "rule `canary`",
            "no longer rule `canary`",
            id="a rule in front that decides",
        ),
        pytest.param(
            ruled("{use: task}", "{use: pool}", "{use: config}"),
            ruled(
                "{use: task, when: 'task.kind == \"x\"'}",
                "{use: pool}",
                "{use: config}",
                forbid=LARGE_BARRED,
            ),
            "forbid rule `no-large`",
            "no longer forbid rule `no-large`",
            id="a rule that goes on in both",
        ),
        pytest.param(
            ruled("{use: pool}", "{use: config}"),
            ruled(
                "{use: pool}",
                "{use: config}",
                pool=POOL.replace(
                    "  - {model: large",
                    "  - {model: z, pick: 'true', allow: 'false'}\n  - {model: large",
                ),
                forbid=LARGE_BARRED,
            ),
            "forbid rule `no-large`",
            "no longer forbid rule `no-large`",
            id="an entry besides that is rejected",
        ),
        pytest.param(
            ruled(
                "{use: pool}",
                "{use: config}",
                pool=POOL + "  - {model: z, pick: 'true', allow: 'false'}\n",
            ),
            ruled("{use: pool}", "{use: config}", pool=POOL.replace("coding", "x")),
            "rule `pool`",
            "rule `pool`",
            id="an entry besides that is no longer rejected",
        ),
        pytest.param(
            ruled("{use: pool}"),
            ruled("{use: pool}", pool=POOL.replace("coding", "x")),
            "rule `pool`",
            "rule `pool`",
            id="nothing is left",
        ),
    ],
)
def test_a_cause_is_where_the_walk_ended(
    before: Policy, after: Policy, there: str, back: str
) -> None:
    assert (cause_of(before, after), cause_of(after, before)) == (there, back)


def test_a_violation_that_refuses_now_is_a_cause() -> None:
    wish = {"task": {"kind": "coding", "model": "gpt-9"}}
    strict, lenient = policy_of(), policy_of(rest="precedence: delegation")
    assert cause_of(lenient, strict, wish) == "`on_violation` of rule `task`"
    assert cause_of(strict, lenient, wish) == "`on_violation` of rule `task`"


def test_entries_of_one_model_are_told_apart_by_provider() -> None:
    two = """
pool:
  - {model: small}
  - {model: large, pick: 'true'}
  - {model: large, provider: other, pick: 'true'%s}
"""
    before = policy_of(two % "", "precedence: [{use: pool}]")
    barred = (
        "precedence: [{use: pool}]\nforbid: [{id: no-main, when: 'target.provider == \"main\"'}]"
    )
    after = policy_of(two % ", allow: 'false'", barred)
    assert cause_of(before, after) == "forbid rule `no-main`"
    assert cause_of(after, before) == "no longer forbid rule `no-main`"


def test_a_record_that_fits_no_walk_has_a_cause_too() -> None:
    first = decide(BEFORE, CODING, now=NOW)
    second = decide(policy_of(POOL.replace("coding", "x")), CODING, now=NOW)
    stripped = [replace(record, steps=()) for record in (first, second)]
    assert cause(*stripped) == "the precedence"


@each(
    ("target", "name"),
    [
        (Target("m", "p", {}), "m at p"),
        (Target("m", "", {}), "m"),
        (Target("m", "p", {}, "m"), "m at p"),
        (Target("m", "p", {}, "e"), "e (m at p)"),
        (Target("(refused)", "", {}), '"(refused)"'),
        (Target("m at p", "", {}), '"m at p"'),
        (Target('"m"', "ä", {}, "e f"), '"e f" ("\\"m\\"" at ä)'),
    ],
)
def test_a_target_is_named_by_its_entry_and_model(target: Target, name: str) -> None:
    assert target_name(target) == name
    assert named(Decision("selected", (), target=target)) == name


def test_a_refusal_has_a_name_too() -> None:
    assert named(Decision("refused", ())) == REFUSED


AT_NIGHT = "now.getHours() < 6"
WHEN_NIGHT = "precedence: [{use: pool, when: variables.night}]"


@each(
    ("pool", "rest"),
    [
        (f"pool: [{{model: small, pick: '{AT_NIGHT}'}}]", "precedence: strict"),
        (f"pool: [{{model: small, allow: '{AT_NIGHT}'}}]", "precedence: strict"),
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
