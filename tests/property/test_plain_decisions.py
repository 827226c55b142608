"""Short cuts change no record: what is simplified, shared and looked up decides as the plain way.

The plain way evaluates each condition by itself, as it was written, with the product's evaluator
and with each of the oracles.
"""

from __future__ import annotations

import json
from itertools import cycle
from typing import Any

import pytest
from hypothesis import assume, given, reject
from hypothesis import strategies as st

import policy_router
from policy_router import Policy
from policy_router.domain import WISHES
from tests.property.reference_input import name_of
from tests.property.rich_policies import reading_wishes, rich_policies, rich_requests
from tests.property.strategies import NOW, decided, is_selected
from tests.support.evaluating import PRODUCT
from tests.support.oracles import ORACLES
from tests.support.plain_evaluation import plain_decision, plain_permitted

Plain = dict[str, Any]
ENGINES = (PRODUCT, *ORACLES)


def loaded(policy: Plain) -> Policy:
    try:
        return policy_router.loads(json.dumps(policy), name="generated")
    except policy_router.PolicyError:
        return reject()  # chance made one with errors, such as a default outside its pool


def agreed(policy: Policy, request_: Plain) -> Plain:
    """Return the record that all ways agree on, as plain data."""
    content = policy_router.decide(policy, request_, now=NOW).to_json()
    for engine in ENGINES:
        assert plain_decision(policy, request_, NOW, engine).to_json() == content, engine.name
    record: Plain = json.loads(content)
    return record


def pool_of(*conditions: str, key: str = "allow") -> list[Plain]:
    """Return entries that are picked, each with a condition."""
    return [
        {"model": f"entry-{number}", "pick": "true", key: condition}
        for number, condition in enumerate(conditions)
    ]


some_requests = st.lists(rich_requests, min_size=2, max_size=2)


@given(rich_policies(), some_requests)
def test_short_cuts_change_no_record(policy: Plain, requests: list[Plain]) -> None:
    compiled = loaded(policy)
    for request_ in requests:
        agreed(compiled, request_)
        for level in WISHES:
            names = policy_router.permitted(compiled, request_, now=NOW, level=level)
            for engine in ENGINES:
                assert plain_permitted(compiled, request_, NOW, engine, level) == names


@given(
    rich_policies(),
    rich_requests,
    st.lists(reading_wishes, min_size=1, max_size=3),
    st.sampled_from(["call", "task"]),
)
def test_what_is_permitted_is_selected_where_conditions_read_the_wish(
    policy: Plain, request_: Plain, conditions: list[str], level: str
) -> None:
    """As the law of ``test_laws_of_control.py``, where conditions read what is asked for."""
    assume("pool" in policy)
    for entry, condition in zip(policy["pool"], cycle(conditions), strict=False):
        entry["allow"] = condition
    compiled = loaded({**policy, "precedence": [{"use": level}]})
    refusal = decided(compiled, request_)["decision"].get("refusal")
    assume(refusal)
    names = {name_of(entry) for entry in policy["pool"]}
    assert set(refusal["permitted"]) == {
        name for name in names if is_selected(decided, compiled, request_, level, name)
    }


# Looking up: what a fact is compared with, in all ways and directions.

FACTS = {
    "share": {"type": "double", "default": 0.5},
    "rate": {"type": "double"},
    "urgent": {"type": "bool", "default": False},
    "rank": {"type": "int", "default": 0},
}
NUMBERS = ["0.0 / 0.0", "0.5", "-1.0", "2.0", "-0.0", '-double("inf")', "1.0 / 0.0"]
SIGNS = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
PAIRS = [(sign, number) for sign in SIGNS for number in NUMBERS]
COMPARISONS = [
    *(f"facts.share {sign} {number}" for sign, number in PAIRS),
    *(f"{number} {SIGNS[sign]} facts.share" for sign, number in PAIRS),
    *(f"has(facts.rate) && facts.rate {sign} {number}" for sign, number in PAIRS[::-1]),
]
KEYED = [
    'task.kind == "a"',
    '"a" == task.kind',
    'task.kind != "a"',
    'task.kind in ["a", "c"]',
    'task.kind in ["a", "c", "d", "e", "f"] && facts.rank < 1',
    'task.kind in ["a", "b"] && facts.rank < 1',
    "task.kind in []",
    'task.kind < "b"',
    '"b" <= task.kind',
    'task.kind == "a" || task.kind == "b"',
    'task.kind == "a" || "b" in task.labels',
    'task.kind == "a" || 1 / facts.rank > 0',
    'task.kind == "a" && 1 / facts.rank > 0',
    '1 / facts.rank > 0 && task.kind == "a"',
    'task.kind == "a" && facts.rank < 1 || task.kind == "b"',
    'task.kind == "a" && facts.rank < 1 || task.kind == "b" && facts.rank > 0',
    '"a" in task.labels',
    '"a" in task.labels || "b" in task.labels',
    '"a" in task.labels && "b" in task.labels',
    '("a" in task.labels || "b" in task.labels) && 1 / facts.rank > 0',
    "task.kind in task.labels",
    "facts.urgent",
    "facts.urgent == false",
    "facts.urgent in [true]",
    "facts.rank in [0, 1] && facts.rank > 0 && facts.rank < 2",
    "facts.rank > 0 && facts.rank > -1 && 2 > facts.rank",
]
ASKED: list[Plain] = [
    {},
    {"task": {"kind": "a", "labels": ["a"]}, "facts": {"rate": 2.0, "share": 0}},
    {"task": {"kind": "a", "labels": ["b"]}, "facts": {"rate": 0.5, "share": 2, "rank": 1}},
    {"task": {"kind": "b", "labels": ["b", "a"]}, "facts": {"rate": 1e300, "share": -1.0}},
    {"task": {"kind": "b", "labels": ["c", "b", "b"]}, "facts": {"rank": 1, "urgent": True}},
    {"task": {"kind": "c"}, "facts": {"rate": -1.0, "share": 1e300, "rank": 2}},
]


def test_a_condition_is_looked_up_by_any_fact() -> None:
    for condition in (*COMPARISONS, *KEYED):
        picks = {"model": "a", "pick": condition, "allow": "false"}
        forbid = [{"when": f'{condition} && target.name == "b"'}]
        pool = [picks, {"model": "b", "pick": "true"}]
        ways = loaded({"facts": FACTS, "pool": pool, "forbid": forbid})
        for request_ in ASKED:
            agreed(ways, request_)


def test_conditions_are_looked_up_together() -> None:
    pool = [{**it, "allow": "false"} for it in pool_of(*COMPARISONS, *KEYED, key="pick")]
    ways = loaded({"facts": FACTS, "pool": pool})
    for request_ in ASKED:
        names = {it["entry"] for it in agreed(ways, request_)["steps"][2]["candidates"]}
        twins = [(f"entry-{place}", f"entry-{place + len(PAIRS)}") for place in range(len(PAIRS))]
        assert all((one in names) == (other in names) for one, other in twins)


def test_a_fact_that_may_be_absent_is_not_looked_up() -> None:
    types = {"risk": "int", "kind": "string", "tags": "list"}
    failing = "1 / parent.depth == 1 ? has(facts.NAME) : has(facts.NAME)"
    tests = {
        "facts.risk > 2": "risk",
        "facts.risk <= 2": "risk",
        "facts.risk == 2 || facts.risk in [3]": "risk",
        '"a" == facts.kind': "kind",
        'facts.kind in ["a"]': "kind",
        '"a" in facts.tags': "tags",
    }
    conditions = [f"({failing.replace('NAME', name)}) && ({it})" for it, name in tests.items()]
    facts = {name: {"type": type_} for name, type_ in types.items()}
    ways = loaded({"facts": facts, "pool": pool_of(*conditions, key="pick")})
    warnings = agreed(ways, {})["decision"]["warnings"]
    assert [it["code"] for it in warnings] == ["pick_error"] * len(tests)
    assert not agreed(ways, {"parent": {"depth": 1}})["decision"]["warnings"]


# Folding: what is known of a candidate.

KNOWN: Plain = {
    "model": "m",
    "provider": "p",
    "strengths": ["b", "a", "b"],
    "supports": [],
    "price": {"input": 0, "output": 2},
    "context_window": 10,
}
TRUE_OF_IT = (
    'target.model == "m" && target.name.startsWith("entry-") && target.provider == "p"',
    'target.strengths == ["b", "a", "b"] && target.strengths[1] == "a"',
    'target.strengths.exists_one(x, x == "a") && !target.strengths.exists_one(x, x == "b")',
    'size(target.supports) == 0 && !("a" in target.supports)',
    "has(target.price.input) && target.price.input == 0.0 && target.price.input <= 0.0",
    "has(target.price.output) && target.price.output >= 2.0 && !(target.price.output < 2.0)",
    "has(target.price.output) && !(target.price.output > 2.0) && target.price.output != 2.5",
    "has(target.context_window) && target.context_window / 4 == 2",
    'target.level != "call" && target.level in ["pool"]',
)
TRUE_OF_ANOTHER = (
    'target.provider == "q" && target.provider == parent.provider',
    "!has(target.price.input) && !has(target.price.output) && !has(target.context_window)",
    "target.strengths == [] && target.supports == task.labels",
    "!has(target.price.output) || target.price.output > 0.0",
    "(has(target.price.output) ? target.price.output : 7.0) == 7.0",
)


def test_what_is_known_of_a_candidate_is_written_into_a_condition() -> None:
    known = [{**KNOWN, "name": f"entry-{place}", "pick": it} for place, it in enumerate(TRUE_OF_IT)]
    pool = [*known, *pool_of(*TRUE_OF_ANOTHER, key="pick")]
    for place, entry in enumerate(pool):
        entry |= {"name": f"entry-{place}", "allow": "false"}
    step = agreed(loaded({"pool": pool}), {"parent": {"provider": "q"}})["steps"][2]
    assert len(step["candidates"]) == len(pool)


# The macros of one evaluation walk fewer than 10,000 elements; beyond that the whole fails.

MANY = [f"label-{number}" for number in range(1000)]
LONG: Plain = {"task": {"kind": "x", "labels": MANY}, "caller": {"roles": MANY}}
NESTED = "task.labels.all(x, caller.roles.all(y, true))"
JOINED = f"({' + '.join(['task.labels'] * 10)}).all(x, true)"
YES, NO = 'target.level in ["pool", "task"]', 'target.level == "call"'


def walks(times: int, first: int = 0) -> str:
    """Return a condition that is true, and walks so many thousands of elements."""
    return " && ".join(f"task.labels.all(x{first + number}, true)" for number in range(times))


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


@pytest.mark.parametrize(("condition", "truth"), BUDGETS.items(), ids=map(str, range(len(BUDGETS))))
def test_the_budget_of_a_condition_is_that_of_what_was_written(
    condition: str, *, truth: bool | None
) -> None:
    variables = {"far": NESTED, "near": walks(9, 20)}
    general: Plain = {"provider": "p", "variables": variables, "precedence": "strict"}
    picking = {**general, "pool": pool_of(condition, key="pick")}
    allowing = {**general, "pool": pool_of(condition)}
    forbidding = {**general, "pool": pool_of("true"), "forbid": [{"when": condition}]}
    records = [agreed(loaded(it), LONG) for it in (picking, allowing, forbidding)]
    codes = [[it["code"] for it in record["decision"]["warnings"]] for record in records]
    assert codes == [
        ["pick_error"] * (truth is None),
        ["not_allowed"] * (truth is not True),
        ["forbidden"] * (truth is not False),
    ]


def test_conditions_that_are_fused_have_each_its_own_budget() -> None:
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
    policy = {"provider": "p", "pool": pool, "forbid": forbid, "precedence": rules}
    decision = agreed(loaded(policy), LONG)["decision"]
    assert decision["target"]["entry"] == "entry-0"
    assert [target["entry"] for target in decision["fallbacks"]] == fallback
    assert not decision["warnings"]


def test_a_list_of_a_policy_may_be_longer_than_one_of_a_request() -> None:
    long = [f"strength-{number}" for number in range(1200)]
    walking = " && ".join(["target.strengths.all(x, true)"] * 9)
    pool = [{**pool_of(f"{walking} && {NO}", key="pick")[0], "strengths": long}]
    warnings = agreed(loaded({"pool": pool}), {})["decision"]["warnings"]
    assert [it["code"] for it in warnings] == ["pick_error"]


# What is too long for one expression.


def test_long_conditions_are_cut_into_several_expressions() -> None:
    long = " || ".join(f'task.kind.startsWith("{letter * 900}")' for letter in "abcd")
    conditions = [f'{long} || task.kind.endsWith("-{number}")' for number in range(70)]
    allows = [f'!({long}) && task.kind != "{number}"' for number in range(70)]
    pool = pool_of(*allows)
    for entry, condition in zip(pool, conditions, strict=True):
        entry["pick"] = condition
    pool[69]["pick"] = "1 / task.index == 1"
    ways = loaded({"provider": "p", "pool": pool})
    decision = agreed(ways, {"task": {"kind": "kind-7"}})["decision"]
    assert decision["target"]["entry"] == "entry-7"
    assert [it["entry"] for it in decision["warnings"]] == ["entry-69"]
    refusal = agreed(ways, {"task": {"kind": "7"}})["decision"]["refusal"]
    assert len(refusal["permitted"]) == 69


def test_a_list_may_be_too_long_to_be_written_into_a_condition() -> None:
    strengths = [f"{'strength-' * 7}{number}" for number in range(2000)]
    pool = pool_of("target.strengths.exists(x, x == task.kind)", "true")
    pool[0]["strengths"] = pool[1]["strengths"] = strengths
    pool[1]["pick"] = f"target.strengths.all(x, x != task.kind) && {walks(5)}"
    rules = [{"use": "pool", "order_by": "size(target.strengths.filter(x, x == task.kind))"}]
    ways = loaded({"provider": "p", "pool": pool, "precedence": rules})
    for kind, entry in ((strengths[77], "entry-0"), ("none", "entry-1")):
        request_ = {"task": {"kind": kind, "labels": MANY}}
        assert agreed(ways, request_)["decision"]["target"]["entry"] == entry


# Where much is to be decided, other ways are quicker.


@pytest.mark.parametrize("standing", [1, 2, 3, 30, 40])
def test_few_or_many_forbid_rules_stand_for_many_entries(standing: int) -> None:
    last = ("1 / size(target.strengths) == 1", "size(target.strengths) == 0")
    forbid = [
        {"when": f'task.kind != "{it}" && target.name == "entry-{it}" && {last[it % 2]}'}
        for it in range(standing)
    ]
    pool = pool_of(*["true"] * 39, '"x" in task.labels')
    pool[39]["fallback"] = [f"entry-{number}" for number in range(40)]
    ways = loaded({"provider": "p", "pool": pool, "forbid": forbid, "precedence": "strict"})
    spared = ["entry-1", *(f"entry-{number}" for number in range(max(standing, 2), 39))]
    refused = agreed(ways, {"task": {"kind": "1", "model": "unknown"}})["decision"]["refusal"]
    assert refused["permitted"] == spared
    looked_at = agreed(ways, {"task": {"kind": "1"}})["steps"][2]["candidates"]
    assert [it["verdict"] for it in looked_at] == ["error", "selected"]


@pytest.mark.parametrize("picked", [1, 2, 3, 15, 30])
def test_few_or_many_of_the_entries_are_put_in_order(picked: int) -> None:
    conditions = [f"facts.rank > {number} && task.index >= 0" for number in range(30)]
    pool = [
        {**entry, "allow": "false", "price": {"output": number * 7 % 4}}
        for number, entry in enumerate(pool_of(*conditions, key="pick"))
    ]
    rules = [
        {"use": "pool", "order_by": 'bucket(target.name, "salt" + task.kind) / task.index'},
        {"id": "constant", "use": "pool", "order_by": "has(target.price.output) ? 1.0 : 2.0"},
        {
            "id": "price",
            "use": "pool",
            "order_by": "has(target.price.output) ? target.price.output : 1.0",
        },
    ]
    facts = {"rank": {"type": "int", "default": picked}}
    ways = loaded({"facts": facts, "pool": pool, "precedence": rules})
    steps = agreed(ways, {"task": {"index": 1}})["steps"]
    names = [[it["entry"] for it in step["candidates"]] for step in steps]
    entries = [f"entry-{number}" for number in range(picked)]
    assert sorted(names[0]) == sorted(entries)
    assert names[1] == entries
    assert names[2] == sorted(entries, key=lambda name: int(name.removeprefix("entry-")) * 7 % 4)
    failing = agreed(ways, {"task": {"index": 0}})["decision"]["warnings"]
    assert [it["entry"] for it in failing if "entry" in it] == entries


OF_NO_ENTRY = {
    'target.name == target.model && target.model == "m"': True,
    'target.provider == "p" && target.level != "pool"': True,
    "target.strengths == [] && size(target.supports) == 0": True,
    "has(target.price.input) || has(target.price.output) || has(target.context_window)": False,
    "!has(target.price.output) || target.price.output > 0.0": True,
    "1 / size(target.strengths) == 1": True,
}


def test_a_candidate_need_not_be_an_entry() -> None:
    for condition, forbidden in OF_NO_ENTRY.items():
        policy: Plain = {"forbid": [{"when": condition}], "model": "m", "provider": "p"}
        for pool in ({}, {"pool": [{"model": "other"}]}):
            for fact in ("", " && task.index >= 0"):
                forbid = [{"when": f"({condition}){fact}"}]
                ways = loaded({**policy, **pool, "forbid": forbid})
                outcome = agreed(ways, {})["decision"]["outcome"]
                assert outcome == ("refused" if forbidden else "selected")
