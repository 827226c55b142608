"""A control that is written holds, or says that it does not.

One test for each of these laws of ``tests/property/README.md``. Each is held against the product
and against the reference model: a model that breaks a law is no reference.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import policy_router
from tests.property import reference
from tests.property.reference_input import (
    ERROR,
    NO_PARAMETERS,
    WISHES,
    Candidate,
    Plain,
    Policy,
    Request,
    as_seen,
    faults,
    forbids_of,
    general_parameters,
    id_of,
    limits_of,
    name_of,
    own_parameters,
    parameter_wishes,
    rules_of,
    said,
    same,
    target_wish,
)
from tests.property.reference_parameters import room, within
from tests.property.strategies import (
    EFFORTS,
    Decide,
    compiled,
    decided,
    forbidding_conditions,
    is_selected,
    modelled,
    policies,
    requests,
    without_stray_default,
)
from tests.support.rows import each

by_model_and_product = pytest.mark.parametrize(
    "decide", [modelled, decided], ids=["the-model", "the-product"]
)
OF_ENTRIES = {"not_allowed", "lacks_capability", "context_too_small", "parameter_not_allowed"}
"""The codes of guards that belong to an entry."""


def targets_of(record: Plain) -> list[Plain]:
    """Return everything that the task may come to run on."""
    decision = record["decision"]
    return [decision["target"], *decision["fallbacks"]] if "target" in decision else []


def candidate_of(policy: Policy, request_: Request, target: Plain) -> Candidate:
    """Return a target of a record with its entry, which two entries must not both be."""
    known = target.get("entry"), target["model"], target["provider"]
    same = [
        it
        for it in reference.entries(policy, request_, "")
        if (it.name, it.model, it.provider) == known
    ]
    assume(len(same) <= 1)
    return same[0] if same else Candidate("", target["model"], target["provider"])


def outcome_of(record: Plain) -> Plain:
    return {key: it for key, it in record["decision"].items() if key != "warnings"}


# What is sent.


@by_model_and_product
@given(policies(), requests, st.sampled_from(EFFORTS))
def test_an_inherited_value_never_exceeds_a_limit(
    decide: Decide, policy: Plain, request_: Plain, effort: str
) -> None:
    """No value that is sent does, wherever it is from; the window alone goes before a limit."""
    parent = {**request_.get("parent", {}), "reasoning_effort": effort}
    request_ = {**request_, "parent": parent}
    for target in targets_of(decide(policy, request_)):
        it = candidate_of(policy, request_, target)
        for name, value in target["parameters"].items():
            limit = limits_of(it).get(name)
            is_lowered = name == "max_tokens" and value == room(request_, it)
            assert limit is None or within(limit, value) or is_lowered


@by_model_and_product
@given(policies(), requests)
def test_an_effort_is_inherited_by_the_parents_model_or_who_takes_efforts(
    decide: Decide, policy: Plain, request_: Plain
) -> None:
    parent = tuple(said(request_, "parent", key) for key in ("model", "provider"))
    assume(not any(parameter_wishes(request_, level) for level in WISHES))
    for target in targets_of(decide(policy, request_)):
        it = candidate_of(policy, request_, target)
        decided_by_the_policy = {**general_parameters(policy), **own_parameters(it)}
        if "reasoning_effort" in target["parameters"].keys() - decided_by_the_policy.keys():
            takes = "reasoning_effort" in limits_of(it) or "reasoning" in (
                it.says("supports") or ()
            )
            assert takes or (it.model, it.provider) == parent


@by_model_and_product
@given(policies(), requests)
def test_the_window_holds_the_answer(decide: Decide, policy: Plain, request_: Plain) -> None:
    """Input and answer together never exceed the window."""
    for target in targets_of(decide(policy, request_)):
        left = room(request_, candidate_of(policy, request_, target))
        assert left is None or target["parameters"].get("max_tokens", 1) <= left


@by_model_and_product
@given(policies(), requests, st.sampled_from(NO_PARAMETERS), st.sampled_from(WISHES))
def test_nothing_in_parameters_changes_model_endpoint_or_key(
    decide: Decide, policy: Plain, request_: Plain, name: str, level: str
) -> None:
    """What would change them is no parameter; what is one moves no target by itself."""
    record = decide(policy, request_)
    for target in targets_of(record):
        assert not target["parameters"].keys() & set(NO_PARAMETERS)
    wishes = {**request_.get(level, {}).get("parameters", {}), name: "x"}
    wrong = decide(policy, {**request_, level: {**request_.get(level, {}), "parameters": wishes}})
    assert wrong["decision"]["outcome"] == "request_error"


@each("name", NO_PARAMETERS)
@each(
    "policy",
    [
        '{"model": "a", "provider": "p", "parameters": {"NAME": "x"}}',
        '{"pool": [{"model": "a", "provider": "p", "parameters": {"NAME": "x"}}]}',
        '{"pool": [{"model": "a", "provider": "p", "limits": {"NAME": ["x"]}}]}',
    ],
    ids=["policy", "entry", "limits"],
)
def test_nothing_in_parameters_of_a_policy_changes_model_endpoint_or_key(
    policy: str, name: str
) -> None:
    with pytest.raises(policy_router.PolicyError):
        policy_router.loads(policy.replace("NAME", name))


@by_model_and_product
@given(policies(), requests)
def test_a_wish_for_a_parameter_that_no_rule_insists_on_moves_no_target(
    decide: Decide, policy: Plain, request_: Plain
) -> None:
    """Where no rule rejects, a wish for a parameter changes parameters alone.

    The effort is left out: conditions may read it.
    """
    rules = [
        {key: it for key, it in rule.items() if (key, it) != ("on_violation", "reject")}
        for rule in rules_of(policy)
        if ERROR not in rule.get("when", "")
    ]
    lenient = without_stray_default({**policy, "precedence": rules})
    assume(not faults(lenient, request_))
    silent = request_
    for level in WISHES:
        wishes = request_.get(level, {}).get("parameters", {})
        kept = {name: it for name, it in wishes.items() if name == "reasoning_effort"}
        silent = {**silent, level: {**silent.get(level, {}), "parameters": kept}}
    before, after = decide(lenient, silent), decide(lenient, request_)
    assert _without_parameters(before) == _without_parameters(after)


def _without_parameters(record: Plain) -> Plain:
    decision = outcome_of(record)
    if "target" in decision:
        targets = [{**target, "parameters": {}} for target in targets_of(record)]
        decision |= {"target": targets[0], "fallbacks": targets[1:]}
    return decision


# What may be used at all.


@by_model_and_product
@given(policies(), requests, st.sampled_from(["strict", "task-first"]))
def test_with_strict_nothing_outside_the_pool_ever_runs(
    decide: Decide, policy: Plain, request_: Plain, profile: str
) -> None:
    assume("pool" in policy)
    strict = without_stray_default({**policy, "precedence": profile})
    names = {name_of(entry) for entry in policy["pool"]}
    assert {it.get("entry") for it in targets_of(decide(strict, request_))} <= names


@by_model_and_product
@given(policies(), requests)
def test_every_target_is_whole(decide: Decide, policy: Plain, request_: Plain) -> None:
    """It has a model and a provider."""
    for target in targets_of(decide(policy, request_)):
        assert target["model"]
        assert target["provider"]


@by_model_and_product
@given(policies(), requests, forbidding_conditions)
def test_adding_a_forbid_never_adds_a_target(
    decide: Decide, policy: Plain, request_: Plain, condition: str
) -> None:
    """One more forbid rule turns no refusal into a target, and plans no fallback; no exception."""
    stricter = {**policy, "forbid": [*policy.get("forbid", []), {"when": condition}]}
    before, after = decide(policy, request_)["decision"], decide(stricter, request_)["decision"]
    if before["outcome"] != "selected":
        assert after["outcome"] == before["outcome"]
    if before.get("target") == after.get("target") and before.get("rule") == after.get("rule"):
        left = iter(before.get("fallbacks", []))
        assert all(plan in left for plan in after.get("fallbacks", []))


@by_model_and_product
@given(policies(), requests, forbidding_conditions)
def test_enforce_false_never_changes_who_wins(
    decide: Decide, policy: Plain, request_: Plain, condition: str
) -> None:
    """A forbid rule that is not enforced adds warnings of its own, and nothing else."""
    trial = {"id": "trial", "when": condition, "enforce": False}
    before = decide(policy, request_)
    after = decide({**policy, "forbid": [*policy.get("forbid", []), trial]}, request_)
    assert outcome_of(after) == outcome_of(before)
    assert after["steps"] == before["steps"]
    left = [it for it in after["decision"]["warnings"] if it.get("forbid") != "trial"]
    assert left == before["decision"]["warnings"]
    added = [it for it in after["decision"]["warnings"] if it.get("forbid") == "trial"]
    assert {it["code"] for it in added} <= {"would_forbid"}
    assert len(added) <= len(targets_of(after))


# What is said.


@by_model_and_product
@given(policies(), requests)
def test_every_permitted_name_is_selected_when_asked_for_or_only_a_wish_stands_in_the_way(
    decide: Decide, policy: Plain, request_: Plain
) -> None:
    """And every name that is, is permitted."""
    refusal = decide(policy, request_)["decision"].get("refusal")
    assume(refusal is not None and "pool" in policy)
    refusing = next((it for it in rules_of(policy) if id_of(it) == refusal["rule"]), None)
    level = reference.asked_level(policy, as_seen(policy, request_), refusing)
    names = dict.fromkeys(name_of(entry) for entry in policy["pool"])
    found = [name for name in names if level and is_selected(decide, policy, request_, level, name)]
    assert refusal["permitted"] == found


@by_model_and_product
@given(policies(), requests)
def test_a_warning_or_refusal_that_a_guard_caused_names_the_guard(
    decide: Decide, policy: Plain, request_: Plain
) -> None:
    record = decide(policy, request_)
    refusal = record["decision"].get("refusal", {})
    forbids = {rule["id"]: rule for rule in forbids_of(policy)}
    names = {name_of(entry) for entry in policy.get("pool", [])}
    of_guards = [*record["decision"]["warnings"], *refusal.get("reasons", [])]
    for it in of_guards:
        if it["code"] in {"forbidden", "would_forbid"}:
            rule = forbids[it["forbid"]]
            assert rule.get("enforce", True) == (it["code"] == "forbidden")
            assert "message" in it or "message" not in rule
        if it["code"] in OF_ENTRIES and not _is_about_no_entry(record, it):
            assert it["entry"] in names
    if refusal.get("code") == "forbidden":
        step = next(it for it in record["steps"] if it["rule"] == refusal["rule"])
        first = step["candidates"][0]
        own = forbids[first["forbid"]].get("message")
        assert first["verdict"] == "error" or own is None or refusal["message"] == own


def _is_about_no_entry(record: Plain, it: Plain) -> bool:
    """Tell whether a wish is not granted by a target that is in no pool, and has no name."""
    step = next(step for step in record["steps"] if step["rule"] == it["rule"])
    return bool(it["code"] == "parameter_not_allowed" and step["level"] != "pool")


@by_model_and_product
@given(policies(), requests)
def test_nobody_loses_without_being_told(decide: Decide, policy: Plain, request_: Plain) -> None:
    """Where something is selected, each wish comes true, or a warning has it."""
    seen, record = as_seen(policy, request_), decide(policy, request_)
    assume(record["decision"]["outcome"] == "selected")
    target, warnings = record["decision"]["target"], record["decision"]["warnings"]
    it = candidate_of(policy, seen, target)
    told = [warning.get("requested") for warning in warnings]
    unordered = {warning["rule"] for warning in warnings if warning["code"] == "pick_error"}
    for level in WISHES:
        wish = target_wish(seen, level)
        if wish and not reference.means(policy, seen, level, it):
            rules = {id_of(rule) for rule in rules_of(policy) if rule["use"] == level}
            assert wish in told or rules & unordered or _was_asked(record, wish)
        for name, value in parameter_wishes(seen, level).items():
            assert same(target["parameters"].get(name), value) or {name: value} in told


def _was_asked(record: Plain, wish: Plain) -> bool:
    """Tell whether what is selected is a wish outside the pool, as it was asked."""
    step = next(it for it in record["steps"] if it["result"] == "selected")
    return bool(step.get("requested") == wish)


# One policy, one revision.


@given(policies())
def test_two_spellings_of_one_policy_have_one_revision(policy: Plain) -> None:
    """Embedded and native, a folder and a file, the keys in another order."""
    revision = compiled(policy).revision
    for other in _spellings(policy):
        assert compiled(other).revision == revision
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "generated"
        folder.mkdir()
        for number, key in enumerate(policy.keys() - {"version"}):
            part = {"version": 1, key: policy[key]}
            (folder / f"{number}.yaml").write_text(json.dumps(part), encoding="utf-8")
        if any(folder.iterdir()):
            assert policy_router.load(folder).revision == revision


def _spellings(policy: Plain) -> Iterator[Plain]:
    yield {"delegation": policy}
    yield {"delegation": policy, "other": {"of": "the host"}}
    yield dict(reversed(policy.items()))
    parameters: Any = policy.get("parameters", {})
    if "reasoning_effort" in policy:
        long = {key: it for key, it in policy.items() if key != "reasoning_effort"}
        effort = {"reasoning_effort": policy["reasoning_effort"]}
        yield {**long, "parameters": {**parameters, **effort}}
    if "pool" in policy:
        yield {**policy, "pool": [dict(reversed(entry.items())) for entry in policy["pool"]]}
