"""One test for each law of ``tests/property/README.md``, named by the law."""

from __future__ import annotations

import copy
import json
import random
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

import policy_router
from policy_router import DecisionRecord, Request
from tests.property import reference
from tests.property.conditions import telling_policies, telling_requests
from tests.property.reference_input import (
    ERROR,
    WISHES,
    Plain,
    faults,
    id_of,
    name_of,
    parameter_wishes,
    rules_of,
)
from tests.property.strategies import (
    NOW,
    PROVIDERS,
    compiled,
    decided,
    policies,
    requests,
    without_stray_default,
)
from tests.support.rows import each


def outcome_of(record: Mapping[str, Any]) -> Plain:
    """Return what was decided, without the warnings and the wording."""
    decision = {key: value for key, value in record["decision"].items() if key != "warnings"}
    if "refusal" in decision:
        refusal = _wordless(decision["refusal"])
        if "reasons" in refusal:
            refusal["reasons"] = [_wordless(reason) for reason in refusal["reasons"]]
        decision["refusal"] = refusal
    return decision


def _wordless(it: Plain) -> Plain:
    return {key: value for key, value in it.items() if key != "message"}


def targets_of(record: Mapping[str, Any]) -> list[Plain]:
    """Return everything that the task may come to run on."""
    decision = record["decision"]
    return [decision["target"], *decision["fallbacks"]] if "target" in decision else []


def assume_fits(policy: Plain, request_: Plain) -> None:
    """Leave out what ends as a ``RequestError``."""
    assume(not faults(policy, request_))


# The same arguments, the same bytes.


@given(policies(), requests)
def test_determinism(policy: Plain, request_: Plain) -> None:
    """Equal arguments give equal bytes: in another compilation, from JSON, and again."""
    assume_fits(policy, request_)
    first = compiled(policy)
    encoded = policy_router.decide(first, request_, now=NOW).to_json()
    again = policy_router.decide(first, request_, now=NOW)
    from_json = Request.from_json(json.dumps(request_))
    elsewhere = policy_router.decide(compiled(copy.deepcopy(policy)), from_json, now=NOW)
    assert again.to_json() == elsewhere.to_json() == encoded


@given(policies(), requests, st.randoms(use_true_random=False))
def test_the_order_of_keys_is_irrelevant(
    policy: Plain, request_: Plain, chance: random.Random
) -> None:
    """The keys of a mapping, in a policy or a request, may come in any order."""
    assume_fits(policy, request_)
    expected = policy_router.decide(compiled(policy), request_, now=NOW).to_json()
    mixed = compiled(_shuffled(policy, chance))
    assert policy_router.decide(mixed, _shuffled(request_, chance), now=NOW).to_json() == expected


def _shuffled(plain: Any, chance: random.Random) -> Any:
    if isinstance(plain, list):
        return [_shuffled(item, chance) for item in plain]
    if not isinstance(plain, dict):
        return plain
    keys = list(plain)
    chance.shuffle(keys)
    return {key: _shuffled(plain[key], chance) for key in keys}


@given(policies(), st.integers(1, 4), st.randoms(use_true_random=False))
def test_the_order_of_files_is_irrelevant(
    policy: Plain, number: int, chance: random.Random
) -> None:
    """How a policy is cut into files does not matter while its lists, read in path order, stay."""
    parts = _cut(policy, number, chance)
    names = chance.sample(["a", "b", "b/c", "b.x", "c", "d/a", "Z", "é"], len(parts))
    paths = sorted(f"{name}.{chance.choice(['yaml', 'yml'])}" for name in names)
    written = list(zip(paths, parts, strict=True))
    chance.shuffle(written)
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "generated"
        for path, part in written:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(json.dumps(part), encoding="utf-8")
        joined = policy_router.load(folder)
    assert joined.revision == compiled(policy).revision
    assert joined.canonical == compiled(policy).canonical


def _cut(policy: Plain, number: int, chance: random.Random) -> list[Plain]:
    """Cut a policy in parts: lists into runs that follow each other, the rest anyhow."""
    parts: list[Plain] = [{"version": 1} for _ in range(number)]
    for key, value in policy.items():
        if key in {"pool", "forbid"} and value:
            ends = sorted(chance.randint(0, len(value)) for _ in parts[1:])
            for part, start, end in zip(parts, [0, *ends], [*ends, len(value)], strict=True):
                if start < end:
                    part[key] = value[start:end]
        elif key in {"parameters", "providers"} and value:
            for name, inner in value.items():
                chance.choice(parts).setdefault(key, {})[name] = inner
        elif key != "version":
            chance.choice(parts)[key] = value
    return parts


# Guards.


@given(policies(), requests, st.sampled_from(PROVIDERS), st.sampled_from(["true", ERROR]))
def test_a_forbid_beats_every_level(
    policy: Plain, request_: Plain, provider: str, verdict: str
) -> None:
    """What a forbid rule is true for, or fails for, is no target and no fallback of any level."""
    rule = {"when": f'target.provider == "{provider}" && {verdict}'}
    record = decided({**policy, "forbid": [*policy.get("forbid", []), rule]}, request_)
    assert provider not in {it["provider"] for it in targets_of(record)}


@given(policies(), requests)
def test_an_error_never_allows_more_than_false(policy: Plain, request_: Plain) -> None:
    """A failing ``allow`` or ``pick`` decides as if false, a failing ``forbid`` as if true."""
    failing = copy.deepcopy(policy)
    for entry in failing.get("pool", []):
        for key in {"allow", "pick"} & entry.keys():
            entry[key] = f"({entry[key]}) || {ERROR}"  # true stays true, false fails
    for rule in failing.get("forbid", []):
        rule["when"] = f"({rule['when']}) && {ERROR}"  # false stays false, true fails
    assert outcome_of(decided(failing, request_)) == outcome_of(decided(policy, request_))


@given(policies(), requests)
def test_a_rule_bound_to_the_pool_never_leaves_it(policy: Plain, request_: Plain) -> None:
    """With a pool and ``in_pool: true`` on every rule, each target is an entry."""
    assume("pool" in policy)
    rules = [{**rule, "in_pool": True} for rule in rules_of(policy)]
    record = decided(without_stray_default({**policy, "precedence": rules}), request_)
    names = {name_of(entry) for entry in policy["pool"]}
    assert {it.get("entry") for it in targets_of(record)} <= names


# What did not decide does not matter.


@given(policies(), requests, st.data())
def test_removing_a_loser_changes_nothing(policy: Plain, request_: Plain, data: Any) -> None:
    """Without an entry that was neither selected nor planned, the same target is selected.

    The true form: a wish, the default and the parent's model must still mean the same among what
    is left, since an entry also lends its names, its guards and its limits to them.
    """
    record = decided(policy, request_)
    assume(record["decision"]["outcome"] == "selected" and policy.get("pool"))
    winners = {it.get("entry") for it in targets_of(record)}
    losers = [i for i, entry in enumerate(policy["pool"]) if name_of(entry) not in winners]
    assume(losers)
    place = data.draw(st.sampled_from(losers), label="place of the loser")
    smaller = _without(policy, place)
    assume(smaller is not None and _means_the_same(policy, smaller, request_, place))
    assert outcome_of(decided(smaller or {}, request_)) == outcome_of(record)


def _without(policy: Plain, place: int) -> Plain | None:
    """Return a policy without an entry; None where one of its rules names it."""
    smaller = copy.deepcopy(policy)
    name = name_of(smaller["pool"].pop(place))
    left = {name_of(entry) for entry in smaller["pool"]}
    if any(rule.get("entry") == name for rule in rules_of(policy)):
        return None
    for entry in smaller["pool"]:
        if "fallback" in entry:
            entry["fallback"] = [it for it in entry["fallback"] if it in left]
    return smaller


def _means_the_same(policy: Plain, smaller: Plain, request_: Plain, place: int) -> bool:
    loser = policy["pool"][place]
    for level in WISHES:
        if "limits" in loser and parameter_wishes(request_, level):
            return False
        if reference.asks(request_, level):
            meant = reference.meant(policy, request_, level)
            left = reference.meant(smaller, request_, level)
            others = [it.name for it in meant if it.place != place]
            if [it.name for it in left] != others or (meant and not left):
                return False
            asked = reference.as_asked(policy, request_, level).candidates
            if not meant and any(it.entry is loser for it in asked):
                return False
    return all(
        it.entry is not loser
        for level in ("config", "parent")
        for it in reference.default(policy, request_, level).candidates
    )


@given(policies(), requests, st.data())
def test_removing_a_rule_that_did_not_decide_changes_nothing(
    policy: Plain, request_: Plain, data: Any
) -> None:
    """Without a precedence rule that was skipped, empty, passed over or not reached, all stays.

    The true form: no wish for a parameter is made at its level, since the precedence orders
    these too. What a refusal says of the rule itself, and of what may be asked for at its level,
    is no longer said.
    """
    assume_fits(policy, request_)
    rules = rules_of(policy)
    assume(rules)
    record = decided(policy, request_)
    place = data.draw(st.integers(0, len(rules) - 1), label="place of the rule")
    result, last = record["steps"][place]["result"], record["decision"].get("refusal", {})
    ended = result == "error" or (result == "violated" and last.get("rule") == id_of(rules[place]))
    assume(result != "selected" and not ended)
    assume(not parameter_wishes(request_, rules[place]["use"]))
    shorter = {**policy, "precedence": rules[:place] + rules[place + 1 :]}
    assert _without_advice(decided(shorter, request_)) == _without_advice(record)


def _without_advice(record: Plain) -> Plain:
    decision = outcome_of(record)
    for key in ("permitted", "reasons"):
        decision.get("refusal", {}).pop(key, None)
    return decision


@given(policies(), requests)
def test_removing_a_forbid_that_is_false_changes_nothing(policy: Plain, request_: Plain) -> None:
    """A forbid rule that is false for every candidate might as well not be there."""
    named = [{**rule, "id": f"f{it}"} for it, rule in enumerate(policy.get("forbid", []))]
    rules = [rule for rule in named if rule["when"] != "false"]
    record = decided({**policy, "forbid": rules}, request_)
    assert outcome_of(record) == outcome_of(decided({**policy, "forbid": named}, request_))


# Forms.


@given(policies(), requests)
def test_parse_of_render_is_the_record(policy: Plain, request_: Plain) -> None:
    """A record that was written and read back is equal, and is written as the same bytes."""
    assume_fits(policy, request_)
    record = policy_router.decide(compiled(policy), request_, now=NOW)
    encoded = record.to_json()
    parsed = DecisionRecord.from_json(encoded)
    assert parsed == record
    assert parsed.to_json() == encoded
    indented = json.dumps(json.loads(encoded), indent=2)
    assert DecisionRecord.from_json(indented).to_json() == encoded


@given(policies(), requests)
def test_the_canonical_form_is_the_policy(policy: Plain, request_: Plain) -> None:
    """The canonical form loads again, has the same revision and decides the same bytes."""
    assume_fits(policy, request_)
    original = compiled(policy)
    again = policy_router.loads(original.canonical, name="another name")
    assert again.revision == original.revision
    assert again.canonical == original.canonical
    record = policy_router.decide(original, request_, now=NOW)
    assert policy_router.decide(again, request_, now=NOW).to_json() == record.to_json()


@each(
    "policy",
    [
        {"precedence": [{"use": "call"}, {"use": "call", "in_pool": False}]},
        {"precedence": [{"use": "call", "id": "task"}, {"use": "task"}]},
        {"forbid": [{"when": "false", "id": "forbid-2"}, {"when": "true"}]},
    ],
    ids=["two rules without ids", "an id that is a level", "an id that is a default"],
)
def test_the_canonical_form_is_the_policy_where_ids_meet(policy: Plain) -> None:
    """What may be called the same in a policy may be in its canonical form, which has all ids."""
    try:
        original = compiled({"version": 1, **policy})
    except policy_router.PolicyError:
        return  # to refuse such a policy is as good
    assert policy_router.loads(original.canonical).revision == original.revision


# Conditions.


@given(telling_policies(), telling_requests)
def test_a_checked_policy_has_no_name_or_type_error_at_run_time(
    policy: Plain, request_: Plain
) -> None:
    """Conditions without arithmetic that pass the checks never fail, whatever the request."""
    decision = decided(policy, request_)["decision"]
    assert decision["refusal"]["code"] == "no_target"
    assert "pick_error" not in {warning["code"] for warning in decision["warnings"]}
