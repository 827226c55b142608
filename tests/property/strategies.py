"""Policies and requests for the laws: small alphabets, so that things meet.

A model may have another entry's name, an alias too, one model may be at two providers, and what
is asked for may be any of these or unknown. Every policy made here is valid.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

import policy_router
from tests.property.reference import CONDITIONS, CONSTANTS, ERROR, ORDERS, name_of

NOW = "2026-01-31T09:00:00Z"
MODELS = ("a", "b", "c")
NAMES = ("a", "b", "c", "d")
ALIASES = ("b", "d", "e", "vendor/a")
PROVIDERS = ("p", "q")
EFFORTS = ("low", "high", "max")
CAPABILITIES = ("tools", "vision")


def compiled(policy: dict[str, Any], name: str = "generated") -> policy_router.Policy:
    """Compile a policy that is plain data. JSON is YAML."""
    return policy_router.loads(json.dumps(policy), name=name)


def decided(
    policy: dict[str, Any] | policy_router.Policy, request: dict[str, Any]
) -> dict[str, Any]:
    """Decide, and return the record as plain data."""
    if isinstance(policy, dict):
        policy = compiled(policy)
    record = policy_router.decide(policy, request, now=NOW)
    plain: dict[str, Any] = json.loads(record.to_json())
    return plain


def some(*items: Any, most: int = 2) -> st.SearchStrategy[list[Any]]:
    """Return lists of different items."""
    return st.lists(st.sampled_from(items), max_size=most, unique=True)


def mostly(likely: str, others: tuple[str, ...]) -> st.SearchStrategy[str]:
    """Return one text half of the time, else another."""
    return st.booleans().flatmap(lambda yes: st.just(likely) if yes else st.sampled_from(others))


candidate_conditions = mostly("true", tuple(CONDITIONS))
pick_conditions = mostly("true", (*CONSTANTS, *CONDITIONS))
forbidding_conditions = mostly(
    "false", tuple(text for text in CONDITIONS if text not in CONSTANTS) * 2 + CONSTANTS
)
parameters = st.fixed_dictionaries(
    {},
    optional={
        "reasoning_effort": st.sampled_from(EFFORTS),
        "temperature": st.sampled_from([0, 0.5]),
        "max_tokens": st.sampled_from([1, 8192]),
    },
)
limits = st.fixed_dictionaries(
    {"reasoning_effort": some(*EFFORTS)}, optional={"max_tokens": st.just({"max": 100})}
)
prices = st.fixed_dictionaries(
    {}, optional={"input": st.just(1), "output": st.sampled_from([0.5, 2, 3.5])}
)
bare_entries = st.fixed_dictionaries(
    {"model": st.sampled_from(MODELS)},
    optional={
        "name": st.sampled_from(NAMES),
        "provider": st.sampled_from(PROVIDERS),
        "aliases": some(*ALIASES),
        "allow": candidate_conditions,
        "pick": pick_conditions,
        "price": prices,
        "context_window": st.sampled_from([10, 100]),
        "supports": some(*CAPABILITIES),
        "parameters": parameters,
        "limits": limits,
    },
)


def without_repeats(pool: list[dict[str, Any]], provider: str | None) -> list[dict[str, Any]]:
    """Leave out every entry that may not stand beside an earlier one.

    Two entries share a name only where both have it from their model and differ in provider.
    """
    kept: list[dict[str, Any]] = []
    for entry in pool:
        twins = [other for other in kept if name_of(other) == name_of(entry)]
        places = [other.get("provider", provider) for other in twins]
        named = any("name" in other for other in [entry, *twins])
        if not twins or not (named or entry.get("provider", provider) in places):
            kept.append(entry)
    return kept


forbids = st.fixed_dictionaries(
    {"when": forbidding_conditions},
    optional={"message": st.sampled_from(["Not here.", "Not today."])},
)
rule_details = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["r1", "r2", "r3"]),
        "when": mostly("true", ("true", "false", "false", ERROR)),
        "on_violation": st.sampled_from(["next", "reject"]),
        "in_pool": st.booleans(),
        "fallback": st.booleans(),
    },
)
general: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"version": st.just(1)},
    optional={
        "name": st.just("acme"),
        "model": st.sampled_from(MODELS),
        "provider": st.sampled_from(PROVIDERS),
        "providers": st.just({"p": {"base_url": "https://p.example"}, "q": {}}),
        "parameters": parameters,
        "forbid": st.lists(forbids, max_size=3),
    },
)
pools = st.one_of(*(st.lists(bare_entries, min_size=fewest, max_size=4) for fewest in (0, 2, 3)))
lengths = st.sampled_from([5, 4, 3, 6, 2, 1, 0])
levels = st.sampled_from(["call", "task", "pool", "config", "parent"])
orders = st.sampled_from(list(ORDERS))
efforts = st.sampled_from(EFFORTS)
shipped = st.sampled_from(["delegation", "strict", "strict", "task-first"])
how_often = st.integers(0, 3)


def _pool(draw: st.DrawFn, provider: str | None) -> list[dict[str, Any]]:
    """Draw a pool; fallbacks lead to entries of the same pool."""
    pool = without_repeats(draw(pools), provider)
    names = st.sampled_from(sorted({name_of(entry) for entry in pool}) or [""])
    for entry in pool:
        if draw(how_often):
            entry["fallback"] = draw(st.lists(names, min_size=1, max_size=3))
    return pool


def _rule(draw: st.DrawFn, pool: list[dict[str, Any]]) -> dict[str, Any]:
    """Draw a precedence rule for a policy with this pool."""
    rule: dict[str, Any] = {"use": draw(levels), **draw(rule_details)}
    if rule["use"] == "pool":
        names = [name_of(entry) for entry in pool]
        alone = [name for name in names if names.count(name) == 1]
        how = draw(st.sampled_from(["entry", "order_by", "file"]))
        if how == "order_by":
            rule["order_by"] = draw(orders)
        elif how == "entry" and alone:
            rule["entry"] = draw(st.sampled_from(alone))
    return rule


def _told_apart(precedence: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give a rule an id of its own where an earlier one is called the same."""
    seen: set[str] = set()
    for number, rule in enumerate(precedence):
        if rule.get("id", rule["use"]) in seen:
            rule["id"] = f"again-{number}"
        seen.add(rule.get("id", rule["use"]))
    return precedence


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    """Return whole policies in the native form."""
    policy: dict[str, Any] = draw(general)
    if "reasoning_effort" not in policy.get("parameters", {}) and draw(st.booleans()):
        policy["reasoning_effort"] = draw(efforts)
    if draw(how_often):
        policy["pool"] = _pool(draw, policy.get("provider"))
    how = draw(how_often)
    if how == 1:
        policy["precedence"] = draw(shipped)
    elif how:
        rules = [_rule(draw, policy.get("pool", [])) for _ in range(draw(lengths))]
        policy["precedence"] = _told_apart(rules)
    return policy


def wishes() -> dict[str, st.SearchStrategy[str]]:
    """Return the keys of a wish: known, unknown and empty words."""
    return {
        "model": st.sampled_from([*NAMES, "e", "vendor/a", "unknown", ""]),
        "provider": st.sampled_from([*PROVIDERS, "unknown", ""]),
        "reasoning_effort": st.sampled_from([*EFFORTS, ""]),
    }


calls = st.fixed_dictionaries({}, optional=wishes())
tasks = st.fixed_dictionaries(
    {},
    optional={
        **wishes(),
        "needs": some(*CAPABILITIES),
        "input_tokens": st.sampled_from([0, 10, 11, 101]),
    },
)
parents = st.fixed_dictionaries(
    {"model": st.sampled_from([*MODELS, *MODELS, ""])},
    optional={
        "provider": st.sampled_from([*PROVIDERS, ""]),
        "reasoning_effort": st.sampled_from([*EFFORTS, ""]),
    },
)
requests = st.one_of(
    st.fixed_dictionaries({"call": calls, "task": tasks, "parent": parents}),
    st.fixed_dictionaries({}, optional={"call": calls, "task": tasks, "parent": parents}),
)
