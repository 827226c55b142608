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
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from msgspec import UNSET, Struct, UnsetType

from policy_router.decision import record as rec
from policy_router.decision.messages import message_for
from policy_router.decision.picks import is_place
from policy_router.decision.plan import PlannedRule
from policy_router.decision.record import DecisionRecord, ReasonCode, Result, Verdict
from policy_router.decision.request import Request, checked, moment, spelt, values_of
from policy_router.decision.situation import Candidate, Situation
from policy_router.domain import (
    ForbidRule,
    FrozenDict,
    Level,
    Limit,
    Policy,
    PoolEntry,
    PrecedenceRule,
)
from policy_router.expressions.engine import Truth


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
    plan = situation.plan
    return DecisionRecord(plan.name, plan.engine, spelt(now), request.given, decision, steps)


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


class Proposal(Struct, frozen=True):
    """What a rule's level proposes.

    Attributes:
        entries: the entries proposed, in order.
        other: the target proposed where it is no entry, or None.
        requested: the wish that they answer, or unset.
        code: why nothing is proposed for a wish, or None.
        warnings: what went wrong in finding them.
    """

    entries: Sequence[PoolEntry] = ()
    other: Candidate | None = None
    requested: rec.Requested | UnsetType = UNSET
    code: ReasonCode | None = None
    warnings: tuple[rec.DecisionWarning, ...] = ()

    def candidates(self, situation: Situation, level: Level) -> Iterator[Candidate]:
        """Yield what is proposed, in order."""
        for entry in self.entries:
            yield situation.candidate(entry, level)
        if self.other is not None:
            yield self.other


NOTHING = Proposal()


class Rejection(Struct, frozen=True):
    """Why a candidate is not admitted; ``forbid`` is the rule that forbids it."""

    code: ReasonCode
    forbid: ForbidRule | None = None


class Chosen(Struct, frozen=True):
    """The parameters of a target, with what became of the wishes for them."""

    parameters: FrozenDict
    warnings: tuple[rec.DecisionWarning, ...] = ()
    refused_by: PrecedenceRule | None = None


class _Walk:
    """One walk along the precedence rules."""

    def __init__(self, situation: Situation) -> None:
        self.situation = situation
        self.steps: list[rec.Step] = []
        self.warnings: list[rec.DecisionWarning] = []

    def run(self) -> tuple[rec.Decision, tuple[rec.Step, ...]]:
        """Take the eight steps."""
        plan = self.situation.plan
        for rule in plan.rules:
            decision = self.take(rule)
            if decision is not None:
                return decision, (*self.steps, *plan.not_reached[len(self.steps) :])
        # 7. No rule selected.
        return self.refuse(None, Rejection(ReasonCode.NO_TARGET), None), tuple(self.steps)

    def take(self, planned: PlannedRule) -> rec.Decision | None:
        """Follow one rule; None where the walk goes on."""
        situation, rule = self.situation, planned.rule
        # 1. The rule's condition.
        truth = Truth.TRUE if rule.when is None else situation.truth(rule.when)
        if truth is Truth.FALSE:
            self.steps.append(planned.skipped)
            return None
        if truth is Truth.ERROR:
            self.note(rule, Result.ERROR, ReasonCode.EVALUATION_ERROR)
            return self.refuse(rule, Rejection(ReasonCode.EVALUATION_ERROR), None)
        # 2. The candidates of its level.
        proposal = _PROPOSERS[rule.use](situation, rule)
        self.warnings += proposal.warnings
        # 3. Nothing proposed.
        if not proposal.entries and proposal.other is None and proposal.code is None:
            self.steps.append(planned.nothing)
            return None
        # 4. The guards.
        seen: list[rec.Candidate] = []
        first: tuple[Rejection, Candidate] | None = None
        for candidate in proposal.candidates(situation, rule.use):
            rejection = admission(situation, candidate, in_pool=rule.in_pool)
            if rejection is None:
                # 5. The first admitted candidate.
                return self.select(rule, candidate, seen, proposal.requested)
            seen.append(_rejected(candidate, rejection))
            first = first or (rejection, candidate)
        # 6. A violation.
        reason, rejected = first or (Rejection(proposal.code or ReasonCode.OUTSIDE_POOL), None)
        noted = tuple(seen) or UNSET
        self.note(rule, Result.VIOLATED, reason.code, proposal.requested, noted)
        if rule.reject:
            return self.refuse(rule, reason, rejected)
        self.warnings.append(rec.DecisionWarning(reason.code, rule.id, proposal.requested))
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
            verdicts = (*seen, _rejected(candidate, rejection))
            self.note(rule, Result.VIOLATED, rejection.code, requested, verdicts)
            return self.refuse(chosen.refused_by, rejection, candidate)
        verdicts = (*seen, _selected(self.situation, candidate))
        self.steps.append(rec.Step(rule.id, rule.use, Result.SELECTED, UNSET, requested, verdicts))
        return rec.Decision(
            "selected",
            (*self.warnings, *chosen.warnings),
            rule.use,
            rule.id,
            _target(self.situation, candidate, chosen),
            fallbacks(self.situation, candidate, rule),
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


def _wished(situation: Situation, rule: PrecedenceRule) -> Proposal:
    wish = situation.values[rule.use]
    model, provider = wish["model"], wish["provider"]
    if not model and not provider:
        return NOTHING
    requested = rec.Requested(model or UNSET, provider or UNSET)
    if situation.policy.pool is not None:
        entries = meant(situation, model, provider)
        if entries:
            return Proposal(entries, None, requested)
        if rule.in_pool:
            return Proposal((), None, requested, ReasonCode.OUTSIDE_POOL)
    return _as_asked(situation, rule.use, requested)


def meant(situation: Situation, model: str, provider: str) -> Sequence[PoolEntry]:
    """Return the pool entries that a wish means: by name, else by model or alias."""
    plan = situation.plan
    if model:
        found = plan.named.get(model) or plan.known_as.get(model, ())
    else:
        found = situation.policy.pool or ()
    if not provider:
        return found
    return [entry for entry in found if situation.provider_of(entry) == provider]


def _as_asked(situation: Situation, level: Level, requested: rec.Requested) -> Proposal:
    """Complete a wish that no pool restricts; the guards of an entry that it equals hold."""
    policy = situation.policy
    provider = requested.provider or policy.provider or situation.values["parent"]["provider"]
    model = requested.model
    if not model and policy.model and policy.provider == requested.provider:
        model = policy.model
    if not model:
        return Proposal((), None, requested, ReasonCode.INCOMPLETE)
    return _equal(situation, model, provider, level, requested)


def _picked(situation: Situation, rule: PrecedenceRule) -> Proposal:
    if rule.entry is not None:
        return Proposal(situation.plan.named.get(rule.entry, ()))
    picks = situation.plan.picks(rule)
    found, failed = situation.look_up(picks.lookup)
    if picks.numbers is not None:
        numbers = situation.outcomes(picks.numbers, found)
        failed.update(place for place in found if not is_place(numbers[place]))
        placed = [place for place in found if place not in failed]
        found = sorted(placed, key=cast("Sequence[float]", numbers).__getitem__)
    warnings = [
        rec.DecisionWarning(ReasonCode.PICK_ERROR, rule.id, entry=entry.name)
        for entry in sorted((picks.entries[place] for place in failed), key=_position)
    ]
    return Proposal([picks.entries[place] for place in found], warnings=tuple(warnings))


def _position(entry: PoolEntry) -> int:
    return entry.position


def _default(situation: Situation, rule: PrecedenceRule) -> Proposal:
    policy = situation.policy
    if policy.model is None:
        return NOTHING
    provider = policy.provider or situation.values["parent"]["provider"]
    return _equal(situation, policy.model, provider, rule.use)


def _own(situation: Situation, rule: PrecedenceRule) -> Proposal:
    parent = situation.values["parent"]
    if not parent["model"]:
        return NOTHING
    return _equal(situation, parent["model"], parent["provider"], rule.use)


def _equal(
    situation: Situation,
    model: str,
    provider: str,
    level: Level,
    requested: rec.Requested | UnsetType = UNSET,
) -> Proposal:
    """Propose the first pool entry that a target equals, if any, else the target itself."""
    for entry in situation.plan.models.get(model, ()):
        if situation.provider_of(entry) == provider:
            return Proposal((entry,), None, requested)
    return Proposal((), Candidate(model, provider, level), requested)


_PROPOSERS: Mapping[Level, Callable[[Situation, PrecedenceRule], Proposal]] = {
    Level.CALL: _wished,
    Level.TASK: _wished,
    Level.POOL: _picked,
    Level.CONFIG: _default,
    Level.PARENT: _own,
}


# Step 4: the guards.


def admission(
    situation: Situation, candidate: Candidate, *, in_pool: bool, passes: bool | None = None
) -> Rejection | None:
    """Return why a candidate is not admitted, or None where it is.

    Args:
        situation: what its guards are evaluated in.
        candidate: the candidate.
        in_pool: whether it has to be in the pool.
        passes: whether its conditions certainly hold, where that is known already.
    """
    policy, entry, task = situation.policy, candidate.entry, situation.values["task"]
    if passes is not True:
        rejection = _failed_guard(situation, candidate)
        if rejection is not None:
            return rejection
    if entry is not None:
        needs, tokens = task["needs"], task.get("input_tokens")
        if needs and entry.supports is not None and not set(needs) <= set(entry.supports):
            return Rejection(ReasonCode.LACKS_CAPABILITY)
        if tokens and entry.context_window and tokens > entry.context_window:
            return Rejection(ReasonCode.CONTEXT_TOO_SMALL)
    elif in_pool and policy.pool is not None:
        return Rejection(ReasonCode.OUTSIDE_POOL)
    return None


def _failed_guard(situation: Situation, candidate: Candidate) -> Rejection | None:
    """Return which condition is against a candidate: all at once, and one by one if any may be."""
    guards = situation.plan.guards(candidate.entry, candidate.level)
    together = situation.outcome(guards.together, candidate)
    if together is True and situation.is_spared(candidate, guards):
        return None
    if guards.allow is not None:
        is_known = guards.allow is guards.together
        allowed = together if is_known else situation.outcome(guards.allow, candidate)
        if allowed is not True:
            return Rejection(ReasonCode.NOT_ALLOWED)
    for forbid in situation.possible():
        if situation.holds(forbid, candidate, guards):
            return Rejection(ReasonCode.FORBIDDEN, forbid.rule)
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
    pool = situation.policy.pool
    if pool is None:
        return None
    if level in situation.plan.wish_matters:
        return tuple(
            entry
            for entry in pool
            if _rejection(asking_for(situation, entry, level), entry, level) is None
        )
    return tuple(_admitted(situation, None, level, in_pool=True))


def _rejection(situation: Situation, entry: PoolEntry, level: Level) -> Rejection | None:
    return admission(situation, situation.candidate(entry, level), in_pool=True)


def _admitted(
    situation: Situation, after: PoolEntry | None, level: Level, *, in_pool: bool
) -> Iterator[PoolEntry]:
    """Yield the entries to go on with after an entry, or of the whole pool, that are admitted."""
    for entry, passes in situation.pass_together(after, level):
        if passes is not False:
            candidate = situation.candidate(entry, level)
            if admission(situation, candidate, in_pool=in_pool, passes=passes) is None:
                yield entry


def asking_for(situation: Situation, entry: PoolEntry, level: Level) -> Situation:
    """Return the situation that there would be if an entry were asked for, by name alone."""
    if level not in situation.plan.wish_matters:
        return situation
    wish = {**situation.values[level], "model": entry.name, "provider": ""}
    return Situation(situation.policy, {**situation.values, level: wish}, situation.now)


# Step 8: parameters and fallbacks.

EFFORT = "reasoning_effort"


def parameters(situation: Situation, entry: PoolEntry | None) -> Chosen:
    """Return the parameters of a target, name by name: wish, entry, policy, parent."""
    plan = situation.plan
    found = plan.offer(entry).parameters if entry else plan.parameters
    inherited = situation.values["parent"][EFFORT]
    if inherited and EFFORT not in found:
        found = FrozenDict({**found, EFFORT: inherited})
    rule = _first_wish(situation)
    if rule is None:
        return Chosen(found)
    wish = situation.values[rule.use][EFFORT]
    limit = entry.limits.get(EFFORT) if entry else None
    value = within(wish, limit) if limit else wish
    if value is not None:
        found = FrozenDict({**found, EFFORT: value})
    if value == wish:
        return Chosen(found)
    warning = rec.DecisionWarning(
        ReasonCode.PARAMETER_LIMITED,
        rule.id,
        requested=rec.Requested(reasoning_effort=wish),
        parameter=EFFORT,
    )
    return Chosen(found, (warning,), rule if rule.reject else None)


def _first_wish(situation: Situation) -> PrecedenceRule | None:
    """Return the first precedence rule whose level wishes for a reasoning effort."""
    for rule in situation.plan.wishing:
        if situation.values[rule.use][EFFORT]:
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
    if not rule.fallback or selected.entry is None or not selected.entry.fallback:
        return ()
    planned: list[rec.Target] = []
    for entry in _admitted(situation, selected.entry, selected.level, in_pool=rule.in_pool):
        chosen = parameters(situation, entry)
        if chosen.refused_by is None:
            candidate = situation.candidate(entry, selected.level)
            planned.append(_target(situation, candidate, chosen))
    return tuple(planned)


# How the record says it.


def _target(situation: Situation, candidate: Candidate, chosen: Chosen) -> rec.Target:
    entry = candidate.entry
    if entry is None:
        return rec.Target(candidate.model, candidate.provider, chosen.parameters)
    known = situation.plan.offer(entry).target
    if known is not None and known.parameters is chosen.parameters:
        return known
    return rec.Target(candidate.model, candidate.provider, chosen.parameters, entry.name)


def _selected(situation: Situation, candidate: Candidate) -> rec.Candidate:
    known = situation.plan.offer(candidate.entry).selected if candidate.entry else None
    return known or _verdict(candidate, Verdict.SELECTED)


def _rejected(candidate: Candidate, rejection: Rejection) -> rec.Candidate:
    forbid = rejection.forbid.id if rejection.forbid else UNSET
    return _verdict(candidate, Verdict.REJECTED, rejection.code, forbid)


def _verdict(
    candidate: Candidate,
    verdict: Verdict,
    code: ReasonCode | UnsetType = UNSET,
    forbid: str | UnsetType = UNSET,
) -> rec.Candidate:
    entry = candidate.entry
    if entry is None:
        return rec.Candidate(verdict, UNSET, candidate.model, candidate.provider, code, forbid)
    provider = candidate.provider if entry.shares_name else UNSET
    return rec.Candidate(verdict, entry.name, UNSET, provider, code, forbid)
