"""The reference model of a decision: slow, sorted, obviously right.

It is written from the words of the language pages alone. ``reference_input.py`` says what a policy
and a request say, ``reference_parameters.py`` what becomes of parameters; here stands the rest, in
the eight steps of the page. Where the pages leave a choice, a comment that begins with "Reading:"
says which one is taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from tests.property.reference_input import (
    ORDERS,
    WISHES,
    Candidate,
    Plain,
    Policy,
    Request,
    Rule,
    as_seen,
    enforced,
    faults,
    forbids_of,
    id_of,
    must_be_in_pool,
    name_of,
    parameter_wishes,
    plan_of,
    rejects,
    rules_of,
    said,
    same,
    target_wish,
    truth,
    unknown_values,
)
from tests.property.reference_parameters import (
    administered,
    competing,
    grants,
    parameters,
    room,
    rule_of_wish,
    winning,
)

FAILED: Final = "It could not be evaluated."
"""Stands for whatever a message says of a guard that failed."""


def asks(request: Request, level: str) -> bool:
    """Tell whether a target was asked for at a level; a parameter alone asks for none."""
    return bool(target_wish(request, level))


def entries(policy: Policy, request: Request, level: str) -> list[Candidate]:
    """Return every pool entry as a candidate of a level, in file order."""
    general = policy.get("provider") or said(request, "parent", "provider")
    return [
        Candidate(level, entry["model"], entry.get("provider") or general, entry, place)
        for place, entry in enumerate(policy.get("pool") or ())
    ]


def as_entry(policy: Policy, request: Request, candidate: Candidate) -> Candidate:
    """Return a candidate with the attributes of the pool entry it equals, if any."""
    target = (candidate.model, candidate.provider)
    alike = [
        it for it in entries(policy, request, candidate.level) if (it.model, it.provider) == target
    ]
    return alike[0] if alike else candidate


# Step 2: what the levels propose.


@dataclass(frozen=True)
class Proposal:
    """What a level proposes: candidates, or a wish that none stands for and the reason.

    Attributes:
        candidates: what is proposed, in order.
        failed: why a wish comes to no candidate.
        unordered: the entries whose place in the order could not be told.
    """

    candidates: tuple[Candidate, ...] = ()
    failed: str | None = None
    unordered: tuple[Candidate, ...] = ()

    @property
    def nothing(self) -> bool:
        return not self.candidates and self.failed is None


def meant(policy: Policy, request: Request, level: str) -> list[Candidate]:
    """Return the entries that a wish means."""
    wish, pool = target_wish(request, level), entries(policy, request, level)
    model, provider = wish.get("model"), wish.get("provider")
    if model:
        named = [it for it in pool if it.name == model]
        others = [it for it in pool if model in (it.model, *(it.says("aliases") or ()))]
        pool = named or others
    return [it for it in pool if not provider or it.provider == provider]


def as_asked(policy: Policy, request: Request, level: str) -> Proposal:
    """Return the one candidate that a wish is, with what is missing filled in."""
    wish = target_wish(request, level)
    parents = said(request, "parent", "provider")
    provider = wish.get("provider") or policy.get("provider") or parents
    model = wish.get("model")
    if not model and policy.get("provider") == wish.get("provider"):
        model = policy.get("model")
    if not model:
        return Proposal(failed="incomplete")
    return Proposal((as_entry(policy, request, Candidate(level, model, provider)),))


def asked_for(policy: Policy, request: Request, rule: Rule) -> Proposal:
    """Return what a rule of level ``call`` or ``task`` proposes."""
    level = rule["use"]
    if not asks(request, level):
        return Proposal()
    if "pool" not in policy:
        return as_asked(policy, request, level)
    found = meant(policy, request, level)
    if found:
        # Reading: as at level `pool`, an entry whose order cannot be told is not proposed. A wish
        # for nothing else was still made, so that the rule is violated.
        in_order = ordered(rule, found)
        failed = None if in_order.candidates else "evaluation_error"
        return replace(in_order, failed=failed)
    if must_be_in_pool(rule):
        return Proposal(failed="outside_pool")
    return as_asked(policy, request, level)  # Reading: one candidate needs no order


def ordered(rule: Rule, found: Iterable[Candidate]) -> Proposal:
    """Return entries sorted by ``order_by``, then file order."""
    order = ORDERS[rule.get("order_by", "1.0")]
    keys = [(order(it), it) for it in found]
    known = [(key, it) for key, it in keys if key is not None and not math.isnan(key)]
    failed = [it for key, it in keys if key is None or math.isnan(key)]
    in_order = sorted(known, key=lambda row: (row[0], row[1].place))
    return Proposal(tuple(it for _, it in in_order), unordered=tuple(failed))


def picked(policy: Policy, request: Request, rule: Rule) -> Proposal:
    """Return what a rule of level ``pool`` proposes."""
    pool = entries(policy, request, "pool")
    if "entry" in rule:
        return Proposal(tuple(it for it in pool if it.name == rule["entry"]))
    picks = [(truth(it.says("pick"), request, it), it) for it in pool if it.says("pick")]
    chosen = ordered(rule, [it for picks_it, it in picks if picks_it])
    failed = tuple(it for picks_it, it in picks if picks_it is None)
    return Proposal(chosen.candidates, unordered=(*chosen.unordered, *failed))


def default(policy: Policy, request: Request, level: str) -> Proposal:
    """Return what a rule of level ``config`` or ``parent`` proposes."""
    parents = said(request, "parent", "provider")
    if level == "config":
        model, provider = policy.get("model"), policy.get("provider") or parents
    else:
        model, provider = said(request, "parent", "model"), parents
    if not model:
        return Proposal()
    return Proposal((as_entry(policy, request, Candidate(level, model, provider)),))


def propose(policy: Policy, request: Request, rule: Rule) -> Proposal:
    if rule["use"] in WISHES:
        return asked_for(policy, request, rule)
    if rule["use"] == "pool":
        return picked(policy, request, rule)
    return default(policy, request, rule["use"])


# Step 4: guards.


@dataclass(frozen=True)
class Objection:
    """Why a candidate is not admitted.

    Attributes:
        code: the code.
        forbid: the forbid rule that is against it.
        it: the candidate, where there is one.
        parameter: the parameter that it does not grant.
        failed: whether the guard could not be evaluated.
    """

    code: str
    forbid: Rule | None = None
    it: Candidate | None = None
    parameter: str | None = None
    failed: bool = False

    @property
    def message(self) -> str | None:
        """Return what is known of the message: the forbid rule's own, or that it failed."""
        if self.failed:
            return FAILED
        return None if self.forbid is None else self.forbid.get("message")

    def about(self) -> Plain:
        """Return what a warning or a reason says of the guard.

        Reading: a forbid rule is named by its id and message, and by nothing else; any other
        guard of an entry by the entry, since a warning that a guard caused names the guard.
        """
        if self.forbid is not None:
            message = {} if self.message is None else {"message": self.message}
            return {"forbid": self.forbid["id"], **message}
        if self.it is None or self.code in {"incomplete", "outside_pool"}:
            return {}
        return self.it.named()


def objection(policy: Policy, request: Request, rule: Rule, it: Candidate) -> Objection | None:
    """Return the first reason not to admit a candidate, in the order of the page."""
    if not it.provider:
        return Objection("incomplete", it=it)
    if "pool" in policy and rule["use"] != "pool" and must_be_in_pool(rule) and it.entry is None:
        return Objection("outside_pool", it=it)
    allowed = truth(it.says("allow"), request, it)
    if allowed is not True:
        return Objection("not_allowed", it=it, failed=allowed is None)
    for forbid in filter(enforced, forbids_of(policy)):
        against = truth(forbid["when"], request, it)
        if against is not False:
            return Objection("forbidden", forbid, it, failed=against is None)
    supports = it.says("supports")
    if supports is not None and not set(request.get("task", {}).get("needs", ())) <= set(supports):
        return Objection("lacks_capability", it=it)
    if is_too_small(policy, request, it):
        return Objection("context_too_small", it=it)
    # Reading: of several wishes that are not granted, the first by name is told.
    for wish in winning(policy, request):
        if wish.is_guard and not grants(policy, it, wish):
            return Objection("parameter_not_allowed", it=it, parameter=wish.name)
    return None


def is_too_small(policy: Policy, request: Request, it: Candidate) -> bool:
    """Tell whether the window cannot hold input and answer."""
    left = room(request, it)
    own = administered(policy, it).get("max_tokens", 1)
    return left is not None and own > left


# Step 8: targets and fallbacks.


def target_of(policy: Policy, request: Request, rule: Rule, it: Candidate) -> Plain:
    values, _ = parameters(policy, request, rule, it)
    return {**it.named(), "model": it.model, "provider": it.provider, "parameters": values}


def fallbacks(
    policy: Policy, request: Request, rule: Rule, selected: Candidate, proposed: Iterable[Candidate]
) -> list[Candidate]:
    """Return the plan: what a selected target falls back to.

    Reading: "never planned twice" is about every plan, and the target is not in the plan: an
    entry that names itself stands in it once.
    """
    if plan_of(rule) is False:
        return []
    pool = entries(policy, request, rule["use"])
    listed = [it for name in selected.says("fallback") or () for it in pool if it.name == name]
    if plan_of(rule) == "candidates":
        listed += [it for it in proposed if it.entry is not None and it.place != selected.place]
    plan: list[Candidate] = []
    for it in listed:
        is_new = it.place not in {planned.place for planned in plan}
        if is_new and objection(policy, request, rule, it) is None:
            plan.append(it)
    return plan


# Warnings of those who lose (C).


def level_not_used(policy: Policy, request: Request) -> list[Plain]:
    """Return the warnings of wishes at a level that no rule uses.

    Reading: one for the target and one for each parameter, as for other wishes.
    """
    warnings = []
    for level in WISHES:
        if rule_of_wish(policy, request, level) is not None:
            continue
        about = {"code": "level_not_used", "level": level}
        if asks(request, level):
            warnings.append({**about, "requested": target_wish(request, level)})
        for name, value in parameter_wishes(request, level).items():
            warnings.append({**about, "parameter": name, "requested": {name: value}})
    return warnings


def means(policy: Policy, request: Request, level: str, it: Candidate) -> bool:
    """Tell whether a wish means a target; one outside the pool means none."""
    if "pool" in policy:
        return it.place in {other.place for other in meant(policy, request, level)}
    asked = as_asked(policy, request, level).candidates
    return (it.model, it.provider) in {(other.model, other.provider) for other in asked}


def outranked(policy: Policy, request: Request, rule: Rule, it: Candidate) -> list[Plain]:
    """Return the warnings of wishes that another one, or another rule, went before."""
    place = [id_of(other) for other in rules_of(policy)].index(id_of(rule))
    warnings = []
    for level in WISHES:
        found = rule_of_wish(policy, request, level)
        if found is None or found[0] <= place or not asks(request, level):
            continue
        if not means(policy, request, level, it):
            about = {"rule": id_of(found[1]), "by": id_of(rule)}
            asked = {"requested": target_wish(request, level)}
            warnings.append({"code": "outranked", **about, **asked})
    for winner, *losers in competing(policy, request).values():
        for loser in losers:
            if not same(loser.value, winner.value):
                about = {**loser.about(), "by": id_of(winner.rule)}
                warnings.append({"code": "outranked", **about})
    return warnings


def would_forbid(policy: Policy, request: Request, rule: Rule, it: Candidate) -> list[Plain]:
    """Return the warnings of forbid rules that are not enforced."""
    warnings: list[Plain] = []
    for forbid in forbids_of(policy):
        against = truth(forbid["when"], request, it)
        if enforced(forbid) or against is False:
            continue
        # Reading: its message is its own even where it failed, since `error` tells that.
        message = {"message": forbid["message"]} if "message" in forbid else {}
        failed = {"error": True} if against is None else {}
        about = {"rule": id_of(rule), "forbid": forbid["id"], **it.named()}
        warnings.append({"code": "would_forbid", **about, **message, **failed})
    return warnings


# The walk.


@dataclass
class Walk:
    """What has been found out so far.

    Attributes:
        policy: the policy.
        request: the request, as conditions see it.
        warnings: what went otherwise than wished.
        steps: what became of each rule.
        reasons: the rules that were violated, each with what is against its first candidate.
        refusing: the rule that refused, if any.
        answer: the outcome, once there is one.
    """

    policy: Policy
    request: Request
    warnings: list[Plain] = field(default_factory=list)
    steps: list[Plain] = field(default_factory=list)
    reasons: list[Plain] = field(default_factory=list)
    refusing: Rule | None = None
    answer: Plain = field(default_factory=dict)

    def step(self, rule: Rule, result: str, **about: Any) -> None:
        step = {"rule": id_of(rule), "level": rule["use"], "result": result, **about}
        self.steps.append(step)

    def requested(self, rule: Rule) -> Plain:
        """Return the wish that a rule stood for, where one asked for a target."""
        if rule["use"] not in WISHES or not asks(self.request, rule["use"]):
            return {}
        return {"requested": target_wish(self.request, rule["use"])}

    def refused(self, code: str, rule: Rule | None, message: str | None, **more: Any) -> None:
        self.refusing = rule
        said_so = {} if message is None else {"message": message}
        refusal = {"code": code, "rule": None if rule is None else id_of(rule), **said_so, **more}
        self.answer = {"outcome": "refused", "refusal": refusal}


def walked(policy: Policy, request: Request) -> Walk:
    """Walk the rules to the end: all of a decision but ``permitted``."""
    walk = Walk(policy, request, level_not_used(policy, request))
    for rule in rules_of(policy):
        if walk.answer:
            walk.step(rule, "not_reached")
        else:
            visit(walk, rule)
    if not walk.answer:  # step 7
        messages = [reason["message"] for reason in walk.reasons if "message" in reason]
        message = messages[0] if messages else None
        walk.refused("no_target", None, message, reasons=walk.reasons)
    return walk


def visit(walk: Walk, rule: Rule) -> None:
    """Walk one rule."""
    when = truth(rule.get("when"), walk.request)
    if when is None:  # step 1
        walk.step(rule, "error", code="evaluation_error")
        return walk.refused("evaluation_error", rule, None)
    if not when:
        return walk.step(rule, "skipped")
    proposal = propose(walk.policy, walk.request, rule)  # step 2
    for it in proposal.unordered:
        walk.warnings.append({"code": "pick_error", "rule": id_of(rule), **it.named()})
    if proposal.nothing:  # step 3
        return walk.step(rule, "no_proposal")
    rejected: list[Objection] = []
    for it in proposal.candidates:
        against = objection(walk.policy, walk.request, rule, it)  # step 4
        if against is None:
            return select(walk, rule, it, proposal, rejected)  # step 5
        rejected.append(against)
    return violate(walk, rule, rejected or [Objection(str(proposal.failed))])


def looked_at(rejected: list[Objection], selected: Candidate | None = None) -> Plain:
    """Return the candidates that were looked at, and what became of them."""
    looked = [
        {
            "name": against.it.name,
            "verdict": "error" if against.failed else "rejected",
            "code": against.code,
            **({} if against.forbid is None else {"forbid": against.forbid["id"]}),
        }
        for against in rejected
        if against.it is not None
    ]
    if selected is not None:
        looked.append({"name": selected.name, "verdict": "selected"})
    return {"candidates": looked} if looked else {}


def violate(walk: Walk, rule: Rule, rejected: list[Objection]) -> None:
    """Step 6: nothing that the rule proposed is admitted."""
    first, requested = rejected[0], walk.requested(rule)
    walk.step(rule, "violated", code=first.code, **requested, **looked_at(rejected))
    if rejects(rule):
        return walk.refused(first.code, rule, first.message)
    walk.reasons.append({"rule": id_of(rule), "code": first.code, **first.about()})
    about = {**requested, **first.about()}
    if first.parameter is not None:
        about["parameter"] = first.parameter
    walk.warnings.append({"code": first.code, "rule": id_of(rule), **about})
    return None


def select(
    walk: Walk, rule: Rule, it: Candidate, proposal: Proposal, rejected: list[Objection]
) -> None:
    """Step 8: parameters and fallbacks of the selected candidate."""
    policy, request = walk.policy, walk.request
    walk.step(rule, "selected", **walk.requested(rule), **looked_at(rejected, it))
    plan = fallbacks(policy, request, rule, it, proposal.candidates)
    _, limited = parameters(policy, request, rule, it)  # Reading: of the target, not of the plan
    walk.warnings += limited + outranked(policy, request, rule, it)
    for target in (it, *plan):
        walk.warnings += would_forbid(policy, request, rule, target)
    walk.answer = {
        "outcome": "selected",
        "level": rule["use"],
        "rule": id_of(rule),
        "target": target_of(policy, request, rule, it),
        "fallbacks": [target_of(policy, request, rule, planned) for planned in plan],
    }


# What is permitted.


def asked_level(policy: Policy, request: Request, refusing: Rule | None) -> str | None:
    """Return the level at which a refusal says what may be asked for."""
    if refusing is not None and refusing["use"] in WISHES:
        return str(refusing["use"])
    used = {rule["use"] for rule in rules_of(policy) if truth(rule.get("when"), request) is True}
    return next((level for level in ("task", "call") if level in used), None)


def without_target(request: Request, level: str) -> Plain:
    part = {**request.get(level, {}), "model": "", "provider": ""}
    return {**request, level: part}


def permitted(policy: Policy, request: Request, level: str | None) -> list[str]:
    """Return the names that are selected when they are asked for at a level, by trying each."""
    if level is None:
        return []
    other = "task" if level == "call" else "call"
    names = list(dict.fromkeys(name_of(entry) for entry in policy["pool"]))
    found = []
    for name in names:
        asking = without_target(request, level)
        asking[level]["model"] = name
        tries = (walked(policy, asking), walked(policy, without_target(asking, other)))
        if name in {it.answer.get("target", {}).get("entry") for it in tries}:
            found.append(name)
    return found


def decide(policy: Policy, request: Request) -> Plain:
    """Decide, in the eight steps of the language page.

    Returns:
        ``outcome``, ``warnings`` and ``steps``; with ``level``, ``rule``, ``target`` and
        ``fallbacks`` where something is selected, with ``refusal`` where nothing is. A refusal
        has a ``message`` where the pages say what it is. For a request that does not fit the
        policy, ``outcome`` is ``request_error``, with its ``path``.
    """
    wrong = faults(policy, request)
    if wrong:
        return {"outcome": "request_error", "path": wrong[0]}
    seen = as_seen(policy, request)
    walk = walked(policy, seen)
    if walk.answer["outcome"] == "refused" and "pool" in policy:
        level = asked_level(policy, seen, walk.refusing)
        walk.answer["refusal"]["permitted"] = permitted(policy, seen, level)
    # Reading: one warning for each value, with the path of the value.
    for path in unknown_values(policy, request, dropped=True):
        walk.warnings.append({"code": "unknown_value", "path": path})
    return {**walk.answer, "warnings": walk.warnings, "steps": walk.steps}
