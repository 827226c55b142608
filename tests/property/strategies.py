"""Policies and requests for the laws: small alphabets, so that things meet.

A model may have another entry's name, an alias too, one model may be at two providers, and what
is asked for may be any of these or unknown. Every policy made here is valid; whether a request is,
depends on the policy that it meets.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

import policy_router
from tests.property import reference
from tests.property.reference_input import (
    ABOUT_REQUESTS,
    CONDITIONS,
    CONSTANTS,
    LITERALS,
    ORDERS,
    PLACES,
    Candidate,
    limits_of,
    name_of,
    own_parameters,
    rules_of,
)
from tests.property.reference_parameters import within

Decide = Callable[[Any, Any], dict[str, Any]]

NOW = "2026-01-31T09:00:00Z"
MODELS = ("a", "b", "c")
NAMES = ("a", "b", "c", "d")
ALIASES = ("b", "d", "e", "vendor/a")
PROVIDERS = ("p", "q")
EFFORTS = ("low", "high", "none")
CAPABILITIES = ("tools", "vision")


def compiled(policy: dict[str, Any], name: str = "generated") -> policy_router.Policy:
    """Compile a policy that is plain data. JSON is YAML."""
    return policy_router.loads(json.dumps(policy), name=name)


def decided(
    policy: dict[str, Any] | policy_router.Policy, request: dict[str, Any]
) -> dict[str, Any]:
    """Decide, and return the record as plain data; a request that does not fit has no steps."""
    if isinstance(policy, dict):
        policy = compiled(policy)
    try:
        record = policy_router.decide(policy, request, now=NOW)
    except policy_router.RequestError as error:
        wrong = {"outcome": "request_error", "path": error.path, "warnings": []}
        return {"decision": wrong, "steps": []}
    plain: dict[str, Any] = json.loads(record.to_json())
    return plain


def modelled(policy: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    """Decide as the reference model does, and return what is in a record."""
    answer = {"warnings": [], "steps": [], **reference.decide(policy, request)}
    steps = answer.pop("steps")
    return {"decision": answer, "steps": steps}


def is_selected(decide: Decide, policy: Any, request: Any, level: str, name: str) -> bool:
    """Tell whether a name is selected when asked for, or would be without the other wish."""
    asking = {**request, level: {**request.get(level, {}), "model": name, "provider": ""}}
    other = "task" if level == "call" else "call"
    alone = {**asking, other: {**asking.get(other, {}), "model": "", "provider": ""}}
    targets = [decide(policy, it)["decision"].get("target", {}) for it in (asking, alone)]
    return name in {target.get("entry") for target in targets}


def some(*items: Any, most: int = 2) -> st.SearchStrategy[list[Any]]:
    """Return lists of different items."""
    return st.lists(st.sampled_from(items), max_size=most, unique=True)


def mostly(likely: str, others: tuple[str, ...]) -> st.SearchStrategy[str]:
    """Return one text half of the time, else another."""
    return st.booleans().flatmap(lambda yes: st.just(likely) if yes else st.sampled_from(others))


def optional(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=keys)


candidate_conditions = mostly("true", CONDITIONS)
pick_conditions = mostly("true", (*CONSTANTS, *CONDITIONS))
forbidding_conditions = mostly(
    "false", tuple(text for text in CONDITIONS if text not in CONSTANTS) * 2 + CONSTANTS
)
spellings = st.sampled_from(
    ["max_tokens"] * 3 + ["max_completion_tokens"] + ["max_output_tokens"] * 2
)


@st.composite
def _spelt(draw: st.DrawFn, parts: st.SearchStrategy[dict[str, Any]]) -> dict[str, Any]:
    """Spell ``max_tokens`` in one of its ways."""
    spelling = draw(spellings)
    return {spelling if name == "max_tokens" else name: it for name, it in draw(parts).items()}


parameters = _spelt(
    optional(
        reasoning_effort=st.sampled_from([*EFFORTS, False]),
        temperature=st.sampled_from([0, 0.5, 1]),
        max_tokens=st.sampled_from([1, 5, 60]),
        top_k=st.sampled_from([1, 5]),
        style=st.sampled_from(["terse", 3, True]),
    )
)
limits = _spelt(
    optional(
        reasoning_effort=some(*EFFORTS),
        temperature=st.sampled_from([{"max": 0.5}, {"min": 0.5, "max": 1}, [0, 0.5]]),
        max_tokens=st.sampled_from([{"max": 5}, {"max": 50}, {"min": 5, "max": 60}, [1, 60]]),
        top_k=st.sampled_from([[1, 5], {"min": 2}]),
        style=st.sampled_from([["terse", "rich"], {"max": 3}, [True]]),
    ).filter(bool)
)
prices = optional(input=st.just(1), output=st.sampled_from([0.5, 2, 3.5]))
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
        "supports": some(*CAPABILITIES, "reasoning", most=3),
        "parameters": parameters,
    },
).flatmap(
    lambda entry: st.one_of(st.just(entry), *[limits.map(lambda it: {**entry, "limits": it})] * 2)
)


def within_limits(entry: dict[str, Any]) -> dict[str, Any]:
    """Leave out what an entry may not say itself: a value outside its own limits."""
    it = Candidate("pool", entry["model"], "", entry)
    own, bounds = own_parameters(it), limits_of(it)
    kept = {
        name: value
        for name, value in own.items()
        if name not in bounds
        or within(bounds[name], value)
        or (name == "reasoning_effort" and value is False)
    }
    return {**entry, "parameters": kept} if kept != own else entry


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
            kept.append(within_limits(entry))
    return kept


def without_stray_default(policy: dict[str, Any]) -> dict[str, Any]:
    """Leave out a default that is outside the pool, where its rule binds it to the pool."""
    bound = any(rule["use"] == "config" and rule.get("in_pool") for rule in rules_of(policy))
    default = (policy.get("model"), policy.get("provider"))
    pool = [(it["model"], it.get("provider", default[1])) for it in policy.get("pool", [])]
    if bound and "model" in policy and "pool" in policy and default not in pool:
        return {key: it for key, it in policy.items() if key != "model"}
    return policy


messages = st.sampled_from(["Not here.", "Not today."])
forbids = st.fixed_dictionaries(
    {"when": forbidding_conditions},
    optional={"message": messages, "enforce": st.sampled_from([False, False, True])},
)
rule_conditions = mostly("true", ("false", "false", *ABOUT_REQUESTS))
fallback_words = st.sampled_from([True, False, "candidates", "candidates"])
rule_details = optional(
    id=st.sampled_from(["r1", "r2", "r3"]),
    when=rule_conditions,
    on_violation=st.sampled_from(["next", "reject"]),
    in_pool=st.booleans(),
    fallback=fallback_words,
)
general: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"version": st.just(1)},
    optional={
        "name": st.just("acme"),
        "providers": st.just({"p": {"base_url": "https://p.example"}, "q": {}}),
        "parameters": parameters,
        "forbid": st.lists(forbids, max_size=3),
    },
)
pools = st.one_of(*(st.lists(bare_entries, min_size=fewest, max_size=4) for fewest in (3, 2, 0)))
LEVELS = ("task", "call", "pool", "config", "parent")
levels = st.one_of(
    st.permutations(LEVELS),
    st.permutations(LEVELS).map(lambda it: ["call", *it[:2], "task", *it[2:]]),
    st.lists(st.sampled_from(LEVELS), max_size=6),
)
orders = st.sampled_from(list(ORDERS))
efforts = st.sampled_from([*EFFORTS, False])
shipped = st.sampled_from(["delegation", "strict", "strict", "task-first"])
how_often = st.integers(0, 3)
often = st.sampled_from([True] * 7 + [False])
rarely = often.map(lambda yes: not yes)
required = st.sampled_from(["budget.remaining_usd", "caller.team", "task.kind"])


def _pool(draw: st.DrawFn, provider: str | None) -> list[dict[str, Any]]:
    """Draw a pool; fallbacks lead to entries of the same pool."""
    pool = without_repeats(draw(pools), provider)
    names = st.sampled_from(sorted({name_of(entry) for entry in pool}) or [""])
    for entry in pool:
        if draw(how_often):
            entry["fallback"] = draw(st.lists(names, min_size=1, max_size=3))
    return pool


def _rule(draw: st.DrawFn, level: str, pool: list[dict[str, Any]]) -> dict[str, Any]:
    """Draw a precedence rule of a level for a policy with this pool."""
    rule: dict[str, Any] = {"use": level, **draw(rule_details)}
    if rule["use"] in {"pool", "call", "task"} and draw(st.booleans()):
        rule["order_by"] = draw(orders)
    elif rule["use"] == "pool":
        names = [name_of(entry) for entry in pool]
        alone = [name for name in names if names.count(name) == 1]
        if draw(st.booleans()) and alone:
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


def closed_set(draw: st.DrawFn, key: str) -> Any:
    """Draw one of the ways to close a set; all words that conditions use are in it."""
    values = list(LITERALS[key])
    kinds = ["refuse"] if key in {"labels", "needs"} else ["refuse", "drop", "drop"]
    written = draw(st.sampled_from([None, {}, *({"unknown": it} for it in kinds)]))
    return values if written is None else {"values": values, **written}


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    """Return whole policies in the native form."""
    policy: dict[str, Any] = draw(general)
    if draw(often):
        policy["model"] = draw(st.sampled_from(MODELS))
    if draw(often):
        policy["provider"] = draw(st.sampled_from(PROVIDERS))
    if "reasoning_effort" not in policy.get("parameters", {}) and draw(st.booleans()):
        policy["reasoning_effort"] = draw(efforts)
    if draw(often):
        policy["pool"] = _pool(draw, policy.get("provider"))
    how = draw(how_often)
    if how == 1:
        policy["precedence"] = draw(shipped)
    elif how:
        rules = [_rule(draw, level, policy.get("pool", [])) for level in draw(levels)]
        policy["precedence"] = _told_apart(rules)
    for key in draw(some(*PLACES)):
        policy[key] = closed_set(draw, key)
    if draw(rarely):
        policy["require"] = [draw(required)]
    if draw(rarely):
        policy["facts"] = {"region": {"type": "string", "required": True}}
    return without_stray_default(policy)


def wishes() -> dict[str, st.SearchStrategy[str]]:
    """Return the keys of a wish: known, unknown and empty words."""
    return {
        "model": st.sampled_from([*NAMES, *NAMES, "e", "vendor/a", "unknown", ""]),
        "provider": st.sampled_from([*PROVIDERS, *PROVIDERS, "unknown", ""]),
        "reasoning_effort": st.sampled_from([*EFFORTS, ""]),
    }


_wished = {
    "reasoning_effort": st.sampled_from(EFFORTS),
    "temperature": st.sampled_from([0, 0.5, 0.7, 2]),
    "max_tokens": st.sampled_from([1, 5, 50, 1000]),
    "top_k": st.sampled_from([1, 3]),
    "verbosity": st.sampled_from(["low", "high"]),
}
_styles = st.sampled_from(["terse", "plain", 2, 5, True, False])
parameter_wishes = _spelt(optional(**_wished))
_any_wishes = st.one_of(
    st.just({}),
    *[parameter_wishes] * 2,
    _spelt(optional(**_wished, style=_styles)),
)


def effort_in_one_place(wish: dict[str, Any]) -> dict[str, Any]:
    """Leave an effort in one of its two places."""
    if "reasoning_effort" in wish and "reasoning_effort" in wish.get("parameters", {}):
        return {key: it for key, it in wish.items() if key != "reasoning_effort"}
    return wish


calls = optional(**wishes(), parameters=_any_wishes).map(effort_in_one_place)
contested = st.fixed_dictionaries(
    {"parameters": optional(**_wished)}, optional={"model": wishes()["model"]}
)
"""What both a call and a task ask for, so that their wishes compete."""
tasks = optional(
    **wishes(),
    parameters=_any_wishes,
    kind=st.sampled_from(["k1", "k1", "k2", ""]),
    labels=some("l1"),
    needs=some(*CAPABILITIES),
    input_tokens=st.sampled_from([0, 6, 9, 10, 11, 60, 101]),
).map(effort_in_one_place)
parents = st.fixed_dictionaries(
    {"model": st.sampled_from([*MODELS, *MODELS, ""])},
    optional={
        "provider": st.sampled_from([*PROVIDERS, *PROVIDERS, ""]),
        "reasoning_effort": st.sampled_from([*EFFORTS, ""]),
    },
)
callers = st.fixed_dictionaries(
    {"team": st.sampled_from(["t1", "t1", "t9"])}, optional={"roles": some("r1", "r9")}
)
budgets = st.just({"remaining_usd": 1.5})
requests = st.one_of(
    st.fixed_dictionaries({"call": contested, "task": contested, "parent": parents}),
    st.fixed_dictionaries({"call": calls, "task": tasks, "parent": parents}),
    st.fixed_dictionaries(
        {"task": tasks, "parent": parents, "caller": callers, "budget": budgets},
        optional={"call": calls},
    ),
    optional(call=calls, task=tasks, parent=parents, caller=callers),
)

# Requests that do not fit, whatever the policy or only some.

_odd_wishes = st.sampled_from(
    [
        {"max_tokens": 1.5},
        {"top_k": "3"},
        {"seed": True},
        {"temperature": "hot"},
        {"temperature": True},
        {"reasoning_effort": 3},
        {"verbosity": False},
        {"style": ["terse"]},
        {"style": "x" * 65},
        {"unheard_of": 1},
        {"model": "b"},
        {"extra_body": "b"},
        {"max_tokens": 5, "max_completion_tokens": 5},
        {"max_output_tokens": 5, "max_completion_tokens": 7, "style": 1},
        {"reasoning_effort": "high"},
    ]
)
_odd_parts = optional(
    call=optional(parameters=_odd_wishes, reasoning_effort=st.sampled_from(["low", "high"])),
    task=optional(
        parameters=_odd_wishes,
        reasoning_effort=st.sampled_from(["low", "high"]),
        kind=st.sampled_from(["k9", "k1"]),
        labels=some("l1", "l9"),
        needs=some(*CAPABILITIES, "wings"),
    ),
    caller=optional(team=st.sampled_from(["t9", ""]), roles=some("r1", "r9", "r8", most=3)),
    facts=optional(region=st.just("eu")),
)


def _merged(
    pair: tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]],
) -> dict[str, dict[str, Any]]:
    request, odd = pair
    return {key: {**request.get(key, {}), **odd.get(key, {})} for key in {**request, **odd}}


odd_requests = st.tuples(requests, _odd_parts).map(_merged)
