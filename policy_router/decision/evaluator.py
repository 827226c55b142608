"""The choice. Nothing outside this module influences which target wins.

Eight steps, after the language page (``docs/language.md``, "The decision, in eight steps"):

1. Walk the precedence rules in order. A rule whose ``when`` is false is skipped; one whose ``when``
   cannot be evaluated refuses the request.
2. The rule's level proposes candidates, in order.
3. A level with nothing to propose is skipped.
4. Each candidate is admitted, or rejected with a code. An error never admits.
5. The first admitted candidate is selected.
6. A rule that proposed and had nothing admitted is violated: it refuses, or warns and goes on.
7. If no rule selects, the request is refused.
8. The selected target gets its parameters and its fallbacks.

``decide`` is pure and total: same arguments, same bytes; it does not raise for a compiled policy
and a request that fits it.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET, UnsetType

from policy_router.decision import record as rec
from policy_router.decision.messages import message_for
from policy_router.decision.record import DecisionRecord, ReasonCode, Result, Verdict
from policy_router.decision.request import Request, checked, moment, spelt, values_of
from policy_router.decision.situation import Candidate, Situation
from policy_router.domain import (
    WISHES,
    ForbidRule,
    FrozenDict,
    Level,
    Limit,
    Policy,
    PoolEntry,
    PrecedenceRule,
)
from policy_router.expressions.engine import Truth
from policy_router.version import VERSION


def decide(
    policy: Policy, request: Request | Mapping[str, Any], *, now: datetime.datetime | str
) -> DecisionRecord:
    """Decide which target a delegated task runs on.

    Args:
        policy: a compiled policy.
        request: the wishes and facts, as a request or as plain data.
        now: the time of the decision: an aware datetime, or RFC 3339 text.

    Returns:
        The record of the decision, whether a target is selected or the request is refused.

    Raises:
        RequestError: the request does not fit the policy, or the time is malformed.
    """
    request, now = checked(policy, request), moment(now)
    situation = Situation(policy, values_of(policy, request), now)
    decision, steps = _Walk(situation).run()
    return DecisionRecord(
        policy=rec.PolicyName(policy.name, policy.revision),
        engine=rec.EngineName(VERSION, policy.engine.name),
        now=spelt(now),
        request=request.given,
        decision=decision,
        steps=steps,
    )


def permitted(
    policy: Policy,
    request: Request | Mapping[str, Any],
    *,
    now: datetime.datetime | str,
    level: Level | str = Level.TASK,
) -> tuple[str, ...] | None:
    """Return the names that this request could ask for.

    Args:
        policy: a compiled policy.
        request: the wishes and facts.
        now: the time of the decision.
        level: the level they would be asked for at.

    Returns:
        Names of pool entries in file order; None where there is no pool, so that anything may be
        asked for.

    Raises:
        RequestError: as for :func:`decide`.
    """
    request, now = checked(policy, request), moment(now)
    return permitted_names(Situation(policy, values_of(policy, request), now), Level(level))


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a rule's level proposes.

    Attributes:
        candidates: in order.
        requested: the wish that they answer, or None.
        code: why there are no candidates for a wish, or None.
        warnings: what went wrong in finding them.
    """

    candidates: Sequence[Candidate] = ()
    requested: rec.Requested | None = None
    code: ReasonCode | None = None
    warnings: tuple[rec.DecisionWarning, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a candidate is not admitted; ``forbid`` is the rule that forbids it."""

    code: ReasonCode
    forbid: ForbidRule | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """The parameters of a target, with what became of the wishes for them."""

    parameters: FrozenDict
    warnings: tuple[rec.DecisionWarning, ...] = ()
    refused_by: PrecedenceRule | None = None


class _Walk:
    """One walk along the precedence rules."""

    def __init__(self, situation: Situation) -> None:
        self.situation = situation
        self.policy = situation.policy
        self.steps: list[rec.Step] = []
        self.warnings: list[rec.DecisionWarning] = []

    def run(self) -> tuple[rec.Decision, tuple[rec.Step, ...]]:
        """Take the eight steps."""
        decision: rec.Decision | None = None
        for rule in self.policy.precedence:
            if decision is None:
                decision = self.take(rule)
            else:
                self.note(rule, Result.NOT_REACHED)
        if decision is None:
            # 7. No rule selected.
            decision = self.refuse(None, Rejection(ReasonCode.NO_TARGET), None)
        return decision, tuple(self.steps)

    def take(self, rule: PrecedenceRule) -> rec.Decision | None:
        """Follow one rule; None where the walk goes on."""
        # 1. The rule's condition.
        truth = self.situation.truth(rule.when)
        if truth is Truth.FALSE:
            self.note(rule, Result.SKIPPED)
            return None
        if truth is Truth.ERROR:
            self.note(rule, Result.ERROR, ReasonCode.EVALUATION_ERROR)
            return self.refuse(rule, Rejection(ReasonCode.EVALUATION_ERROR), None)
        # 2. The candidates of its level.
        proposal = propose(self.situation, rule)
        self.warnings.extend(proposal.warnings)
        requested = proposal.requested or UNSET
        # 3. Nothing proposed.
        if not proposal.candidates and proposal.code is None:
            self.note(rule, Result.NO_PROPOSAL, requested=requested)
            return None
        # 4. The guards.
        seen: list[rec.Candidate] = []
        first: tuple[Rejection, Candidate] | None = None
        for candidate in proposal.candidates:
            rejection = admission(self.situation, candidate, in_pool=rule.in_pool)
            if rejection is None:
                # 5. The first admitted candidate.
                return self.select(rule, candidate, seen, requested)
            seen.append(_verdict(candidate, rejection))
            first = first or (rejection, candidate)
        # 6. A violation.
        reason, rejected = first or (Rejection(proposal.code or ReasonCode.OUTSIDE_POOL), None)
        noted = tuple(seen) or UNSET
        self.note(rule, Result.VIOLATED, reason.code, requested, noted)
        if rule.reject:
            return self.refuse(rule, reason, rejected)
        self.warnings.append(rec.DecisionWarning(reason.code, rule.id, requested))
        return None

    def select(
        self,
        rule: PrecedenceRule,
        candidate: Candidate,
        seen: list[rec.Candidate],
        requested: rec.Requested | UnsetType,
    ) -> rec.Decision:
        # 8. Parameters and fallbacks.
        chosen = parameters(self.situation, candidate.entry)
        if chosen.refused_by is not None:
            rejection = Rejection(ReasonCode.PARAMETER_NOT_ALLOWED)
            verdicts = (*seen, _verdict(candidate, rejection))
            self.note(rule, Result.VIOLATED, rejection.code, requested, verdicts)
            return self.refuse(chosen.refused_by, rejection, candidate)
        verdicts = (*seen, _verdict(candidate, None))
        self.note(rule, Result.SELECTED, requested=requested, candidates=verdicts)
        return rec.Decision(
            outcome="selected",
            level=rule.use,
            rule=rule.id,
            target=_target(candidate, chosen),
            fallbacks=fallbacks(self.situation, candidate, rule),
            warnings=(*self.warnings, *chosen.warnings),
        )

    def refuse(
        self, rule: PrecedenceRule | None, rejection: Rejection, candidate: Candidate | None
    ) -> rec.Decision:
        names = permitted_names(self.situation, rule.use if rule else Level.TASK)
        refusal = rec.Refusal(
            code=rejection.code,
            message=message_for(rule, rejection.code, rejection.forbid, candidate),
            rule=rule.id if rule else None,
            permitted=UNSET if names is None else names,
        )
        return rec.Decision("refused", tuple(self.warnings), refusal=refusal)

    def note(
        self,
        rule: PrecedenceRule,
        result: Result,
        code: ReasonCode | UnsetType = UNSET,
        requested: rec.Requested | UnsetType = UNSET,
        candidates: tuple[rec.Candidate, ...] | UnsetType = UNSET,
    ) -> None:
        self.steps.append(rec.Step(rule.id, rule.use, result, code, requested, candidates))


# Step 2: what each level proposes.


def propose(situation: Situation, rule: PrecedenceRule) -> Proposal:
    """Return what a rule's level proposes."""
    return _PROPOSERS[rule.use](situation, rule)


def _wished(situation: Situation, rule: PrecedenceRule) -> Proposal:
    wish = situation.values[rule.use]
    model, provider = wish["model"], wish["provider"]
    if not model and not provider:
        return Proposal()
    requested = rec.Requested(model or UNSET, provider or UNSET)
    if situation.policy.pool is not None:
        entries = meant(situation, model, provider)
        if entries:
            found = [_candidate(situation, entry, rule.use) for entry in entries]
            return Proposal(found, requested)
        if rule.in_pool:
            return Proposal((), requested, ReasonCode.OUTSIDE_POOL)
    return _as_asked(situation, rule.use, requested)


def meant(situation: Situation, model: str, provider: str) -> list[PoolEntry]:
    """Return the pool entries that a wish means: by name, else by model or alias."""
    pool = situation.policy.pool or ()
    found = [entry for entry in pool if entry.name == model] if model else list(pool)
    found = found or [entry for entry in pool if model in (entry.model, *entry.aliases)]
    if not provider:
        return found
    return [entry for entry in found if provider_of(situation, entry) == provider]


def _as_asked(situation: Situation, level: Level, requested: rec.Requested) -> Proposal:
    """Complete a wish that no pool restricts; the guards of an entry that it equals hold."""
    policy = situation.policy
    provider = requested.provider or policy.provider or situation.values["parent"]["provider"]
    model = requested.model
    if not model and policy.model and policy.provider == requested.provider:
        model = policy.model
    if not model:
        return Proposal((), requested, ReasonCode.INCOMPLETE)
    return Proposal((_equal(situation, model, provider, level),), requested)


def _picked(situation: Situation, rule: PrecedenceRule) -> Proposal:
    pool = situation.policy.pool or ()
    if rule.entry is not None:
        named = [entry for entry in pool if entry.name == rule.entry]
        return Proposal([_candidate(situation, entry, rule.use) for entry in named])
    picked: list[tuple[float, Candidate]] = []
    failed: list[PoolEntry] = []
    for entry in pool:
        if entry.pick is None:
            continue
        candidate = _candidate(situation, entry, rule.use)
        truth = situation.truth(entry.pick, candidate)
        place = _place(situation, rule, candidate) if truth is Truth.TRUE else 0.0
        if truth is Truth.ERROR or place is None:
            failed.append(entry)
        elif truth is Truth.TRUE:
            picked.append((place, candidate))
    picked.sort(key=lambda pair: pair[0])
    warnings = tuple(
        rec.DecisionWarning(ReasonCode.PICK_ERROR, rule.id, entry=entry.name) for entry in failed
    )
    return Proposal([candidate for _, candidate in picked], warnings=warnings)


def _place(situation: Situation, rule: PrecedenceRule, candidate: Candidate) -> float | None:
    """Return a candidate's number in the order, or None where it has none."""
    if rule.order_by is None:
        return 0
    number = situation.evaluate(rule.order_by, candidate)
    if not isinstance(number, int | float) or math.isnan(number):
        return None
    return number


def _default(situation: Situation, rule: PrecedenceRule) -> Proposal:
    policy = situation.policy
    if policy.model is None:
        return Proposal()
    provider = policy.provider or situation.values["parent"]["provider"]
    return Proposal((_equal(situation, policy.model, provider, rule.use),))


def _own(situation: Situation, rule: PrecedenceRule) -> Proposal:
    parent = situation.values["parent"]
    if not parent["model"]:
        return Proposal()
    return Proposal((_equal(situation, parent["model"], parent["provider"], rule.use),))


def _equal(situation: Situation, model: str, provider: str, level: Level) -> Candidate:
    """Return a candidate with the attributes of the first pool entry that it equals, if any."""
    for entry in situation.policy.pool or ():
        if entry.model == model and provider_of(situation, entry) == provider:
            return Candidate(model, provider, level, entry)
    return Candidate(model, provider, level)


def _candidate(situation: Situation, entry: PoolEntry, level: Level) -> Candidate:
    return Candidate(entry.model, provider_of(situation, entry), level, entry)


def provider_of(situation: Situation, entry: PoolEntry) -> str:
    """Return an entry's provider: its own or the policy's, else the parent's."""
    return entry.provider or situation.values["parent"]["provider"]


_PROPOSERS: Mapping[Level, Callable[[Situation, PrecedenceRule], Proposal]] = {
    Level.CALL: _wished,
    Level.TASK: _wished,
    Level.POOL: _picked,
    Level.CONFIG: _default,
    Level.PARENT: _own,
}


# Step 4: the guards.


def admission(situation: Situation, candidate: Candidate, *, in_pool: bool) -> Rejection | None:
    """Return why a candidate is not admitted, or None where it is."""
    policy, entry, task = situation.policy, candidate.entry, situation.values["task"]
    if entry and situation.truth(entry.allow, candidate) is not Truth.TRUE:
        return Rejection(ReasonCode.NOT_ALLOWED)
    for rule in policy.forbid:
        if situation.truth(rule.when, candidate) is not Truth.FALSE:
            return Rejection(ReasonCode.FORBIDDEN, rule)
    if entry and entry.supports is not None and not set(task["needs"]) <= set(entry.supports):
        return Rejection(ReasonCode.LACKS_CAPABILITY)
    tokens = task.get("input_tokens")
    if entry and entry.context_window and tokens and tokens > entry.context_window:
        return Rejection(ReasonCode.CONTEXT_TOO_SMALL)
    if in_pool and policy.pool is not None and entry is None:
        return Rejection(ReasonCode.OUTSIDE_POOL)
    return None


def permitted_names(situation: Situation, level: Level) -> tuple[str, ...] | None:
    """Return the names of the entries that would be admitted if they were asked for."""
    entries = permitted_entries(situation, level)
    return None if entries is None else tuple(dict.fromkeys(entry.name for entry in entries))


def permitted_entries(situation: Situation, level: Level) -> tuple[PoolEntry, ...] | None:
    """Return the entries that would be admitted if they were asked for; None without a pool.

    A condition may read the wish itself, so each entry is looked at in the situation that there
    would be: the same request, asking for it by name.
    """
    policy = situation.policy
    if policy.pool is None:
        return None
    wish_matters = _wish_matters(policy, level)
    found = []
    for entry in policy.pool:
        seen = _asking_for(situation, entry, level) if wish_matters else situation
        if admission(seen, _candidate(seen, entry, level), in_pool=True) is None:
            found.append(entry)
    return tuple(found)


def asking_for(situation: Situation, entry: PoolEntry, level: Level) -> Situation:
    """Return the situation that there would be if an entry were asked for, by name alone."""
    matters = _wish_matters(situation.policy, level)
    return _asking_for(situation, entry, level) if matters else situation


def _asking_for(situation: Situation, entry: PoolEntry, level: Level) -> Situation:
    wish = {**situation.values[level], "model": entry.name, "provider": ""}
    return Situation(situation.policy, {**situation.values, level: wish}, situation.now)


def _wish_matters(policy: Policy, level: Level) -> bool:
    """Tell whether a guard reads what is wished for at a level."""
    wish = {f"{level}.model", f"{level}.provider"}
    guards = [rule.when for rule in policy.forbid]
    guards += [entry.allow for entry in policy.pool or () if entry.allow]
    return level in WISHES and any(wish & guard.reads for guard in guards)


# Step 8: parameters and fallbacks.

EFFORT = "reasoning_effort"


def parameters(situation: Situation, entry: PoolEntry | None) -> Chosen:
    """Return the parameters of a target, name by name: wish, entry, policy, parent."""
    found = {**situation.policy.parameters, **(entry.parameters if entry else {})}
    inherited = situation.values["parent"][EFFORT]
    if inherited:
        found.setdefault(EFFORT, inherited)
    rule = _first_wish(situation)
    if rule is None:
        return Chosen(FrozenDict(found))
    wish = situation.values[rule.use][EFFORT]
    limit = entry.limits.get(EFFORT) if entry else None
    value = within(wish, limit) if limit else wish
    if value is not None:
        found[EFFORT] = value
    if value == wish:
        return Chosen(FrozenDict(found))
    warning = rec.DecisionWarning(
        ReasonCode.PARAMETER_LIMITED,
        rule.id,
        requested=rec.Requested(reasoning_effort=wish),
        parameter=EFFORT,
    )
    return Chosen(FrozenDict(found), (warning,), rule if rule.reject else None)


def _first_wish(situation: Situation) -> PrecedenceRule | None:
    """Return the first precedence rule whose level wishes for a reasoning effort."""
    for rule in situation.policy.precedence:
        if rule.use in WISHES and situation.values[rule.use][EFFORT]:
            return rule
    return None


def within(wish: Any, limit: Limit) -> Any:
    """Return a wish as far as a limit grants it: itself, a clamped number, or None."""
    if limit.allowed is not None:
        return wish if wish in limit.allowed else None
    if limit.greatest is not None and wish > limit.greatest:
        return limit.greatest
    if limit.least is not None and wish < limit.least:
        return limit.least
    return wish


def fallbacks(
    situation: Situation, selected: Candidate, rule: PrecedenceRule
) -> tuple[rec.Target, ...]:
    """Return what to go on with where the selected target fails, in order."""
    if not rule.fallback or selected.entry is None:
        return ()
    planned: list[rec.Target] = []
    for name in selected.entry.fallback:
        for entry in situation.policy.pool or ():
            if entry.name != name:
                continue
            candidate = _candidate(situation, entry, selected.level)
            if admission(situation, candidate, in_pool=rule.in_pool):
                continue
            chosen = parameters(situation, entry)
            if chosen.refused_by is None:
                planned.append(_target(candidate, chosen))
    return tuple(planned)


# How the record says it.


def _target(candidate: Candidate, chosen: Chosen) -> rec.Target:
    entry = candidate.entry.name if candidate.entry else UNSET
    return rec.Target(candidate.model, candidate.provider, chosen.parameters, entry)


def _verdict(candidate: Candidate, rejection: Rejection | None) -> rec.Candidate:
    entry = candidate.entry
    return rec.Candidate(
        Verdict.REJECTED if rejection else Verdict.SELECTED,
        entry=entry.name if entry else UNSET,
        model=UNSET if entry else candidate.model,
        provider=UNSET if entry and not entry.shares_name else candidate.provider,
        code=rejection.code if rejection else UNSET,
        forbid=rejection.forbid.id if rejection and rejection.forbid else UNSET,
    )
