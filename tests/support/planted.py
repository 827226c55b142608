"""Policies with one planted mistake each, and which check finds which mistake."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Mapping
from typing import Any

from policy_router import Policy, PolicyError, loads
from policy_router.analysis import Answer, analyze, compare, prove
from tests.support.commands import NOW

Plain = dict[str, Any]
Plant = Callable[[Plain, random.Random], None]
"""Changes a correct policy into one with a mistake."""
Find = Callable[[Plain, Plain], bool]
"""Tells whether a check finds the mistake in a policy, given the correct one too."""

_KINDS = ("coding", "math", "chat", "review", "search", "writing")
_LABELS = ("pii", "health", "legal")


def base_policy(chance: random.Random) -> Plain:
    """Return a policy in which nothing is wrong.

    Entries at ``home`` are picked by kind. ``away`` is at the other provider, and only planned
    as a fallback or asked for; two forbid rules keep labelled tasks away from it.
    """
    kinds = chance.sample(_KINDS, chance.randint(2, 5))
    label, other = chance.sample(_LABELS, 2)
    deepest = chance.randint(3, 9)
    pool: list[Plain] = [
        {"name": kind, "model": f"model-{kind}", "provider": "home", "fallback": ["away"],
         "pick": f'task.kind == "{kind}"', "price": {"output": float(chance.randint(2, 9))},
         "limits": {"max_tokens": {"max": chance.randint(2_000, 9_000)}}}
        for kind in kinds
    ]  # fmt: skip
    pool += [
        {"name": "plain", "model": "model-plain", "provider": "home", "price": {"output": 1.0}},
        {"name": "away", "model": "model-away", "provider": "far", "price": {"output": 20.0}},
    ]
    far = 'target.provider == "far"'
    return {
        "version": 1,
        "model": "model-plain",
        "provider": "home",
        "providers": {it: {"base_url": f"https://{it}.example.com/v1"} for it in ("home", "far")},
        "labels": [*_LABELS],
        "teams": ["ops", "research"],
        "pool": pool,
        "forbid": [
            {"id": "stays", "when": f'"{label}" in task.labels && {far}'},
            {"id": "stays-too", "when": f'"{other}" in task.labels && {far}'},
            {"id": "deep", "when": f"parent.depth > {deepest} && {far}"},
        ],
        "precedence": [
            {"id": "asked", "use": "task", "on_violation": "reject"},
            {"id": "urgent", "use": "pool", "entry": kinds[0], "when": f"task.index > {deepest}"},
            {"id": "picked", "use": "pool"},
            {"id": "default", "use": "config"},
        ],
        "assume": ["parent.depth >= 0"],
        "assert": [{"id": "at-home", "never": f'"{label}" in task.labels && {far}'}],
    }


# What finds a mistake.


def policy_of(plain: Plain) -> Policy:
    return loads(json.dumps(plain))


def _found(kind: str, part: str, answer: Answer) -> Find:
    def find(plain: Plain, _base: Plain) -> bool:
        return any(
            (it.item.kind, it.answered.answer) == (kind, answer) and part in it.item.text
            for it in analyze(policy_of(plain), now=NOW).items
        )

    return find


def _alike(plain: Plain, _base: Plain) -> bool:
    return any("is the same as" in words for words, _ in analyze(policy_of(plain), now=NOW).alike)


def _violated(plain: Plain, _base: Plain) -> bool:
    proofs = prove(policy_of(plain), now=NOW).proofs
    return any(it.word == "violated" for it in proofs)


def _violated_by_a_fallback(plain: Plain, _base: Plain) -> bool:
    """Tell whether an assertion is violated, and no selected target violates it."""
    (proof,) = prove(policy_of(plain), now=NOW).proofs
    narrow = copy.deepcopy(plain)
    for entry in narrow["pool"]:
        entry.pop("fallback", None)
    (alone,) = prove(policy_of(narrow), now=NOW).proofs
    return (proof.word, alone.word) == ("violated", "holds")


def _differs(way: str) -> Find:
    def find(plain: Plain, base: Plain) -> bool:
        comparison = compare(policy_of(base), policy_of(plain), now=NOW)
        return comparison.found(way).answered.answer is Answer.CAN

    return find


def _does_not_load(plain: Plain, _base: Plain) -> bool:
    try:
        policy_of(plain)
    except PolicyError as problem:
        return "limit" in str(problem)
    return False


# The mistakes.


def _picked_place(policy: Plain) -> int:
    return next(at for at, it in enumerate(policy["precedence"]) if it["id"] == "picked")


def _default_first(policy: Plain, chance: random.Random) -> None:
    """The default stands before the picks."""
    rules = policy["precedence"]
    rules.insert(chance.randint(1, _picked_place(policy)), rules.pop())


def _contradicting_when(policy: Plain, chance: random.Random) -> None:
    low = chance.randint(1, 5)
    policy["precedence"][1]["when"] = f"task.index > {low} && task.index < {low}"


def _contradicting_allow(policy: Plain, chance: random.Random) -> None:
    low = chance.randint(1, 5)
    policy["pool"][0]["allow"] = f"parent.depth > {low} && parent.depth < {low}"


def _forbidden_by_name(policy: Plain, chance: random.Random) -> None:
    when = chance.choice(('target.name == "{0}"', 'target.model == "model-{0}"'))
    name = policy["pool"][0]["name"]
    policy["forbid"].append({"id": "old", "when": when.format(name)})


def _shadowed_pick(policy: Plain, chance: random.Random) -> None:
    """A later entry is picked only where an earlier one is."""
    first = policy["pool"][0]
    more = chance.choice(("parent.depth < 4", 'caller.team == "ops"', '"pii" in task.labels'))
    twin = {**first, "name": "twin", "model": "model-twin", "pick": f"{first['pick']} && {more}"}
    policy["pool"].insert(chance.randint(1, len(policy["pool"])), twin)


def _contradicting_pick(policy: Plain, chance: random.Random) -> None:
    one, other = chance.sample(_KINDS, 2)
    policy["pool"][0]["pick"] = f'task.kind == "{one}" && task.kind == "{other}"'


def _implied_forbid(policy: Plain, chance: random.Random) -> None:
    more = chance.choice(("parent.depth > 1", 'caller.team == "ops"', 'task.kind != "chat"'))
    when = f"{policy['forbid'][0]['when']} && {more}"
    policy["forbid"].append({"id": "implied", "when": when})


def _misspelt_forbid(policy: Plain, chance: random.Random) -> None:
    rule = policy["forbid"][1]
    rule["when"] = rule["when"].replace('"far"', f'"{chance.choice(("fat", "Far", "far-"))}"')


def _forbid_with_exception(policy: Plain, chance: random.Random) -> None:
    but = chance.choice(('caller.team != "ops"', "parent.depth < 3", 'task.kind != "chat"'))
    policy["forbid"][0]["when"] += f" && {but}"


def _watched_forbid(policy: Plain, _chance: random.Random) -> None:
    policy["forbid"][0]["enforce"] = False


def _same_entry(policy: Plain, chance: random.Random) -> None:
    entry = copy.deepcopy(chance.choice(policy["pool"][:-2]))
    policy["pool"].insert(chance.randint(0, len(policy["pool"])), {**entry, "name": "again"})


def _same_forbid(policy: Plain, chance: random.Random) -> None:
    policy["forbid"].append({**chance.choice(policy["forbid"]), "id": "again"})


def _only_selected(policy: Plain, _chance: random.Random) -> None:
    """Who asks for the far entry is refused, and nobody thought of it as a fallback."""
    policy["forbid"][0]["when"] += ' && (task.model != "" || task.provider != "")'


def _beyond_limit(policy: Plain, chance: random.Random) -> None:
    entry = policy["pool"][0]
    most = entry["limits"]["max_tokens"]["max"]
    entry["parameters"] = {"max_tokens": most + chance.randint(1, 5_000)}


def _may_fail(policy: Plain, chance: random.Random) -> None:
    bad = ('task.labels[0] == "pii"', "10 / parent.depth > 2", "int(task.kind) > 1")
    policy["pool"][0]["pick"] += f" && {chance.choice(bad)}"


def _default_outside(policy: Plain, chance: random.Random) -> None:
    policy["model"] = f"model-{chance.choice(('new', 'old', 'large'))}"


def _wish_outside(policy: Plain, _chance: random.Random) -> None:
    policy["precedence"][0]["in_pool"] = False


def _nothing_left(policy: Plain, _chance: random.Random) -> None:
    policy["precedence"].pop()


def _swapped(policy: Plain, _chance: random.Random) -> None:
    rules = policy["precedence"]
    rules[1], rules[2] = rules[2], rules[1]


def _falls_through(policy: Plain, _chance: random.Random) -> None:
    policy["precedence"][0]["on_violation"] = "next"


def _refused_team(policy: Plain, chance: random.Random) -> None:
    policy["pool"][0]["allow"] = f'caller.team != "{chance.choice(("ops", "research"))}"'


def _other_default(policy: Plain, _chance: random.Random) -> None:
    """The default is the dearest model."""
    policy["model"], policy["provider"] = "model-away", "far"


def _no_fallback(policy: Plain, chance: random.Random) -> None:
    del chance.choice(policy["pool"][:-2])["fallback"]


NEVER, CAN = Answer.NEVER, Answer.CAN
MISTAKES: Mapping[str, tuple[Plant, Find, str]] = {
    "the default stands before the picks": (
        _default_first, _found("rule", "`picked`", NEVER), "analyze"),
    "a `when` contradicts itself": (
        _contradicting_when, _found("rule", "`urgent`", NEVER), "analyze"),
    "an `allow` contradicts itself": (_contradicting_allow, _found("entry", "", NEVER), "analyze"),
    "a forbid rule hits an entry always": (
        _forbidden_by_name, _found("entry", "", NEVER), "analyze"),
    "an earlier pick takes all that a later one would": (
        _shadowed_pick, _found("pick", "`twin`", NEVER), "analyze"),
    "a `pick` contradicts itself": (_contradicting_pick, _found("pick", "", NEVER), "analyze"),
    "a forbid rule is implied by another": (
        _implied_forbid, _found("forbid", "", NEVER), "analyze"),
    "a forbid rule names no provider": (
        _misspelt_forbid, _found("forbid", "`stays-too`", NEVER), "analyze"),
    "an entry is there twice": (_same_entry, _alike, "analyze"),
    "a forbid rule is there twice": (_same_forbid, _alike, "analyze"),
    "a condition can fail": (_may_fail, _found("fails", "", CAN), "analyze"),
    "the default is outside the pool": (_default_outside, _found("outside", "", CAN), "analyze"),
    "a wish may leave the pool": (_wish_outside, _found("outside", "", CAN), "analyze"),
    "no rule is left for the rest": (_nothing_left, _found("no_target", "", CAN), "analyze"),
    "a forbid rule has an exception": (_forbid_with_exception, _violated, "prove"),
    "a forbid rule is only watched": (_watched_forbid, _violated, "prove"),
    "a fallback alone breaks an assertion": (_only_selected, _violated_by_a_fallback, "prove"),
    "two rules are swapped": (_swapped, _differs("moved"), "compare"),
    "a refusal falls through": (_falls_through, _differs("newly-allowed"), "compare"),
    "a team is refused": (_refused_team, _differs("newly-refused"), "compare"),
    "the default is the dearest": (_other_default, _differs("dearer"), "compare"),
    "a fallback is gone": (_no_fallback, _differs("fallbacks"), "compare"),
    "a parameter is beyond its limit": (_beyond_limit, _does_not_load, "check"),
}  # fmt: skip
"""Each mistake: what plants it, what finds it, and the command that does."""


def planted(name: str, seed: int) -> tuple[Plain, Plain]:
    """Return a correct policy, and the same with a mistake."""
    chance = random.Random(seed)  # noqa: S311 - for variety, not for secrets
    base = base_policy(chance)
    broken = copy.deepcopy(base)
    MISTAKES[name][0](broken, chance)
    return base, broken
