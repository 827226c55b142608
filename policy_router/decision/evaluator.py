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
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from policy_router.decision import record as rec
from policy_router.decision.messages import message_for
from policy_router.decision.prepared import Candidate, Evaluation, PreparedRule
from policy_router.decision.record import DecisionRecord, ReasonCode, Result, Verdict
from policy_router.decision.request import Request, checked, moment, spelt, values_of
from policy_router.domain import (
    ForbidRule,
    FrozenDict,
    Level,
    Limit,
    Policy,
    PoolEntry,
    PrecedenceRule,
)
from policy_router.expressions.condition import Condition
from policy_router.expressions.evaluate import Truth


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
    return decided(Evaluation(policy, values_of(policy, request), now), request)


def decided(evaluation: Evaluation, request: Request) -> DecisionRecord:
    """Decide a request that is met by its policy already."""
    decision, steps = _Walk(evaluation).run()
    name, engine = evaluation.prepared.name, evaluation.prepared.engine
    now = spelt(evaluation.now)
    return DecisionRecord(name, engine, now, request.given, decision, steps)


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
    return permitted_names(Evaluation(policy, values_of(policy, request), now), Level(level))


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

    def candidates(self, evaluation: Evaluation, level: Level) -> Iterator[Candidate]:
        """Yield what is proposed, in order."""
        for entry in self.entries:
            yield evaluation.candidate(entry, level)
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

    def __init__(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation
        self.steps: list[rec.Step] = []
        self.warnings: list[rec.DecisionWarning] = []

    def run(self) -> tuple[rec.Decision, tuple[rec.Step, ...]]:
        """Take the eight steps."""
        prepared = self.evaluation.prepared
        for rule in prepared.rules:
            decision = self.take(rule)
            if decision is not None:
                return decision, (*self.steps, *prepared.not_reached[len(self.steps) :])
        # 7. No rule selected.
        return self.refuse(None, Rejection(ReasonCode.NO_TARGET), None), tuple(self.steps)

    def take(self, planned: PreparedRule) -> rec.Decision | None:
        """Follow one rule; None where the walk goes on."""
        evaluation, rule = self.evaluation, planned.rule
        # 1. The rule's condition.
        truth = Truth.TRUE if rule.when is None else evaluation.truth(rule.when)
        if truth is Truth.FALSE:
            self.steps.append(planned.skipped)
            return None
        if truth is Truth.ERROR:
            self.note(rule, Result.ERROR, ReasonCode.EVALUATION_ERROR)
            return self.refuse(rule, Rejection(ReasonCode.EVALUATION_ERROR), None)
        # 2. The candidates of its level.
        proposal = _PROPOSERS[rule.use](evaluation, rule)
        self.warnings += proposal.warnings
        # 3. Nothing proposed.
        if not proposal.entries and proposal.other is None and proposal.code is None:
            self.steps.append(planned.nothing)
            return None
        # 4. The guards.
        seen: list[rec.Candidate] = []
        first: tuple[Rejection, Candidate] | None = None
        for candidate in proposal.candidates(evaluation, rule.use):
            rejection = admission(evaluation, candidate, in_pool=rule.in_pool)
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
        chosen = parameters(self.evaluation, candidate.entry)
        if chosen.refused_by is not None:
            rejection = Rejection(ReasonCode.PARAMETER_NOT_ALLOWED)
            verdicts = (*seen, _rejected(candidate, rejection))
            self.note(rule, Result.VIOLATED, rejection.code, requested, verdicts)
            return self.refuse(chosen.refused_by, rejection, candidate)
        verdicts = (*seen, _selected(self.evaluation, candidate))
        self.steps.append(rec.Step(rule.id, rule.use, Result.SELECTED, UNSET, requested, verdicts))
        return rec.Decision(
            "selected",
            (*self.warnings, *chosen.warnings),
            rule.use,
            rule.id,
            _target(self.evaluation, candidate, chosen),
            fallbacks(self.evaluation, candidate, rule),
        )

    def refuse(
        self, rule: PrecedenceRule | None, rejection: Rejection, candidate: Candidate | None
    ) -> rec.Decision:
        names = permitted_names(self.evaluation, rule.use if rule else Level.TASK)
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


def _wished(evaluation: Evaluation, rule: PrecedenceRule) -> Proposal:
    wish = evaluation.values[rule.use]
    model, provider = wish["model"], wish["provider"]
    if not model and not provider:
        return NOTHING
    requested = rec.Requested(model or UNSET, provider or UNSET)
    if evaluation.policy.pool is not None:
        entries = meant(evaluation, model, provider)
        if entries:
            return Proposal(entries, None, requested)
        if rule.in_pool:
            return Proposal((), None, requested, ReasonCode.OUTSIDE_POOL)
    return _as_asked(evaluation, rule.use, requested)


def meant(evaluation: Evaluation, model: str, provider: str) -> Sequence[PoolEntry]:
    """Return the pool entries that a wish means: by name, else by model or alias."""
    prepared = evaluation.prepared
    if model:
        found = prepared.named.get(model) or prepared.known_as.get(model, ())
    else:
        found = evaluation.policy.pool or ()
    if not provider:
        return found
    return [entry for entry in found if evaluation.provider_of(entry) == provider]


def _as_asked(evaluation: Evaluation, level: Level, requested: rec.Requested) -> Proposal:
    """Complete a wish that no pool restricts; the guards of an entry that it equals hold."""
    policy = evaluation.policy
    provider = requested.provider or policy.provider or evaluation.values["parent"]["provider"]
    model = requested.model
    if not model and policy.model and policy.provider == requested.provider:
        model = policy.model
    if not model:
        return Proposal((), None, requested, ReasonCode.INCOMPLETE)
    return _equal(evaluation, model, provider, level, requested)


def _picked(evaluation: Evaluation, rule: PrecedenceRule) -> Proposal:
    if rule.entry is not None:
        return Proposal(evaluation.prepared.named.get(rule.entry, ()))
    picks = evaluation.prepared.picks
    found, failed = evaluation.picked()
    if rule.order_by is not None:
        found = _ordered(evaluation, rule.order_by, found, failed)
    warnings = [
        rec.DecisionWarning(ReasonCode.PICK_ERROR, rule.id, entry=picks.entries[place].name)
        for place in sorted(failed)
    ]
    return Proposal([picks.entries[place] for place in found], warnings=tuple(warnings))


def _ordered(
    evaluation: Evaluation, order_by: Condition, found: Sequence[int], failed: set[int]
) -> Sequence[int]:
    """Sort places by a number, the smallest first; what has none fails, as a ``pick`` may."""
    numbers = evaluation.numbers(order_by, found)
    failed.update([place for place in found if numbers[place] is None])
    placed = [place for place in found if place not in failed] if failed else found
    return sorted(placed, key=numbers.__getitem__)  # type: ignore[arg-type]  # none is None


def _default(evaluation: Evaluation, rule: PrecedenceRule) -> Proposal:
    policy = evaluation.policy
    if policy.model is None:
        return NOTHING
    provider = policy.provider or evaluation.values["parent"]["provider"]
    return _equal(evaluation, policy.model, provider, rule.use)


def _own(evaluation: Evaluation, rule: PrecedenceRule) -> Proposal:
    parent = evaluation.values["parent"]
    if not parent["model"]:
        return NOTHING
    return _equal(evaluation, parent["model"], parent["provider"], rule.use)


def _equal(
    evaluation: Evaluation,
    model: str,
    provider: str,
    level: Level,
    requested: rec.Requested | UnsetType = UNSET,
) -> Proposal:
    """Propose the first pool entry that a target equals, if any, else the target itself."""
    for entry in evaluation.prepared.models.get(model, ()):
        if evaluation.provider_of(entry) == provider:
            return Proposal((entry,), None, requested)
    return Proposal((), Candidate(model, provider, level), requested)


_PROPOSERS: Mapping[Level, Callable[[Evaluation, PrecedenceRule], Proposal]] = {
    Level.CALL: _wished,
    Level.TASK: _wished,
    Level.POOL: _picked,
    Level.CONFIG: _default,
    Level.PARENT: _own,
}


# Step 4: the guards.


def admission(evaluation: Evaluation, candidate: Candidate, *, in_pool: bool) -> Rejection | None:
    """Return why a candidate is not admitted, or None where it is.

    Args:
        evaluation: what its guards are evaluated in.
        candidate: the candidate.
        in_pool: whether it has to be in the pool.
    """
    if not evaluation.allows(candidate):
        return Rejection(ReasonCode.NOT_ALLOWED)
    for forbid in evaluation.possible_forbids(candidate):
        if evaluation.matches(forbid, candidate):
            return Rejection(ReasonCode.FORBIDDEN, forbid.rule)
    if candidate.entry is not None:
        code = _unfit(candidate.entry, *_demands(evaluation))
        return None if code is None else Rejection(code)
    if in_pool and evaluation.policy.pool is not None:
        return Rejection(ReasonCode.OUTSIDE_POOL)
    return None


def _demands(evaluation: Evaluation) -> tuple[frozenset[str], int]:
    """Return the capabilities that the task needs, and the size of its input in tokens."""
    task = evaluation.values["task"]
    return frozenset(task["needs"]), task.get("input_tokens") or 0


def _unfit(entry: PoolEntry, needs: frozenset[str], tokens: int) -> ReasonCode | None:
    """Return why an entry does not fit the task, or None where it does."""
    if needs and entry.supports is not None and not needs.issubset(entry.supports):
        return ReasonCode.LACKS_CAPABILITY
    if tokens and entry.context_window and tokens > entry.context_window:
        return ReasonCode.CONTEXT_TOO_SMALL
    return None


def permitted_names(evaluation: Evaluation, level: Level) -> tuple[str, ...] | None:
    """Return the names of the entries that would be admitted if they were asked for."""
    entries = permitted_entries(evaluation, level)
    return None if entries is None else tuple(dict.fromkeys([entry.name for entry in entries]))


def permitted_entries(evaluation: Evaluation, level: Level) -> tuple[PoolEntry, ...] | None:
    """Return the entries that would be admitted if they were asked for; None without a pool.

    A condition may read the wish itself, so each entry is looked at in the evaluation that there
    would be: of the same request, asking for it by name.
    """
    pool = evaluation.policy.pool
    if pool is None:
        return None
    if level in evaluation.prepared.wish_matters:
        asking = ((entry, asking_for(evaluation, entry, level)) for entry in pool)
        return tuple(entry for entry, asked in asking if _is_admitted(asked, entry, level))
    # As `admission` has it, with the guards that are quicker for many entries at once first.
    allowed = evaluation.allowed(level)
    needs, tokens = _demands(evaluation)
    fit = [entry for entry in allowed if _unfit(entry, needs, tokens) is None]
    return tuple(evaluation.unforbidden(fit, level))


def _is_admitted(evaluation: Evaluation, entry: PoolEntry, level: Level) -> bool:
    return admission(evaluation, evaluation.candidate(entry, level), in_pool=True) is None


def asking_for(evaluation: Evaluation, entry: PoolEntry, level: Level) -> Evaluation:
    """Return the evaluation that there would be if an entry were asked for, by name alone."""
    if level not in evaluation.prepared.wish_matters:
        return evaluation
    return evaluation.asking(level, {"model": entry.name, "provider": ""})


# Step 8: parameters and fallbacks.

EFFORT = "reasoning_effort"


def parameters(evaluation: Evaluation, entry: PoolEntry | None) -> Chosen:
    """Return the parameters of a target, name by name: wish, entry, policy, parent."""
    prepared = evaluation.prepared
    found = prepared.offer(entry).parameters if entry else prepared.parameters
    inherited = evaluation.values["parent"][EFFORT]
    if inherited and EFFORT not in found:
        found = FrozenDict({**found, EFFORT: inherited})
    rule = _first_wish(evaluation)
    if rule is None:
        return Chosen(found)
    wish = evaluation.values[rule.use][EFFORT]
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


def _first_wish(evaluation: Evaluation) -> PrecedenceRule | None:
    """Return the first precedence rule whose level wishes for a reasoning effort."""
    for rule in evaluation.prepared.wishing:
        if evaluation.values[rule.use][EFFORT]:
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
    evaluation: Evaluation, selected: Candidate, rule: PrecedenceRule
) -> tuple[rec.Target, ...]:
    """Return what to go on with where the selected target fails, in order."""
    if not rule.fallback or selected.entry is None or not selected.entry.fallback:
        return ()
    planned: list[rec.Target] = []
    for entry in evaluation.prepared.offer(selected.entry).fallback:
        candidate = evaluation.candidate(entry, selected.level)
        if admission(evaluation, candidate, in_pool=rule.in_pool) is None:
            chosen = parameters(evaluation, entry)
            if chosen.refused_by is None:
                planned.append(_target(evaluation, candidate, chosen))
    return tuple(planned)


# How the record says it.


def _target(evaluation: Evaluation, candidate: Candidate, chosen: Chosen) -> rec.Target:
    entry = candidate.entry
    if entry is None:
        return rec.Target(candidate.model, candidate.provider, chosen.parameters)
    known = evaluation.prepared.offer(entry).target
    if known is not None and known.parameters is chosen.parameters:
        return known
    return rec.Target(candidate.model, candidate.provider, chosen.parameters, entry.name)


def _selected(evaluation: Evaluation, candidate: Candidate) -> rec.Candidate:
    known = evaluation.prepared.offer(candidate.entry).selected if candidate.entry else None
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
