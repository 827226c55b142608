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
from operator import attrgetter
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from policy_router.cel.evaluate import Truth
from policy_router.cel.frame import FAILURE
from policy_router.decision import record as rec
from policy_router.decision.candidate import Candidate
from policy_router.decision.evaluation import Evaluation
from policy_router.decision.fitting import checked, dropped, values_of
from policy_router.decision.messages import warning_of
from policy_router.decision.prepared import PreparedRule
from policy_router.decision.record import DecisionRecord, ReasonCode, Result
from policy_router.decision.recording import (
    WishRules,
    outranked_parameters,
    refusal_of,
    selection,
    unused,
    verdict_rejected,
    verdict_selected,
)
from policy_router.decision.request import Request, moment, spelt
from policy_router.domain import (
    WISHES,
    ForbidRule,
    FrozenDict,
    Level,
    Policy,
    PoolEntry,
    PrecedenceRule,
)
from policy_router.parameters import EFFORT, KNOWN, MAX_TOKENS, same


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
    walk = _Walk(evaluation)
    walk.warnings += [
        rec.DecisionWarning(ReasonCode.UNKNOWN_VALUE, path=path)
        for path in dropped(evaluation.policy, request)
    ]
    ending = walk.run()
    prepared = evaluation.prepared
    steps = (*walk.steps, *prepared.not_reached[len(walk.steps) :])
    decision = _selected(walk, ending) if ending.selected else _refused(walk, ending)
    now = spelt(evaluation.now)
    return DecisionRecord(prepared.name, prepared.engine, now, request.given, decision, steps)


def ended(evaluation: Evaluation) -> tuple[Ending, Sequence[rec.Step]]:
    """Return where the walk ends, and its steps: a decision without what its record says of it."""
    walk = _Walk(evaluation)
    return walk.run(), walk.steps


def permitted(
    policy: Policy,
    request: Request | Mapping[str, Any],
    *,
    now: datetime.datetime | str,
    level: Level | str = Level.TASK,
) -> tuple[str, ...] | None:
    """Return the names that this request may ask for.

    Args:
        policy: a compiled policy.
        request: the wishes and facts.
        now: the time of the decision.
        level: the level of the wish: ``call`` or ``task``.

    Returns:
        Names of pool entries in file order; None without a pool, since any name is then permitted.

    Raises:
        RequestError: as for :func:`decide`.
        ValueError: the level has no wishes.
    """
    level = Level(level)
    if level not in WISHES:
        raise ValueError("nothing is asked for but at level call or task")
    request, now = checked(policy, request), moment(now)
    return permitted_names(Evaluation(policy, values_of(policy, request), now), level)


def forbidding(
    policy: Policy,
    request: Request | Mapping[str, Any],
    target: rec.Target,
    *,
    now: datetime.datetime | str,
    level: Level,
) -> tuple[str, ...]:
    """Return the enforced forbid rules that are against a target, whoever proposed it.

    Args:
        policy: a compiled policy.
        request: the wishes and facts.
        target: what something runs on; its parameters do not matter.
        now: the time of the decision.
        level: the level that conditions are told of.

    Returns:
        Their ids, in file order; with those that cannot be evaluated, which never admit.

    Raises:
        RequestError: as for :func:`decide`.
    """
    request, now = checked(policy, request), moment(now)
    evaluation = Evaluation(policy, values_of(policy, request), now)
    entry = next((it for it in policy.pool or () if it.name == target.entry), None)
    candidate = Candidate(target.model, target.provider, level, entry)
    against = evaluation.possible_forbids(candidate)
    return tuple(it.rule.id for it in against if evaluation.matches(it, candidate) is not False)


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


class Wish(Struct, frozen=True):
    """A wish for a parameter that is held against limits.

    Attributes:
        name: the parameter.
        value: what was wished for.
        rule: the rule of its level that it goes by.
        rejects: whether a target that does not grant it is rejected.
    """

    name: str
    value: Any
    rule: PrecedenceRule
    rejects: bool


class Rejection(Struct, frozen=True):
    """Why a candidate is not admitted.

    Attributes:
        code: the reason.
        candidate: the candidate; None for a wish that nothing is proposed for.
        forbid: the rule that forbids it.
        failed: whether the guard could not be evaluated.
        wish: the wish for a parameter that it does not grant.
    """

    code: ReasonCode
    candidate: Candidate | None = None
    forbid: ForbidRule | None = None
    failed: bool = False
    wish: Wish | None = None


class Ending(Struct, frozen=True):
    """Where a walk ended.

    Attributes:
        rule: the rule that ended it; None where none did.
        selected: the selected candidate; None where the request is refused.
        rejection: why it is refused.
        others: the candidates of the rule that come after the selected one.
    """

    rule: PrecedenceRule | None
    selected: Candidate | None = None
    rejection: Rejection | None = None
    others: Sequence[PoolEntry] = ()


class _Walk:
    """One walk along the precedence rules."""

    def __init__(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation
        self.wishes = wishes_of(evaluation)
        self.steps: list[rec.Step] = []
        self.warnings: list[rec.DecisionWarning] = []
        self.violations: list[tuple[PrecedenceRule, Rejection]] = []

    def run(self) -> Ending:
        """Take steps 1 to 7."""
        for rule in self.evaluation.prepared.rules:
            ending = self.take(rule)
            if ending is not None:
                return ending
        # 7. No rule selected.
        return Ending(None, rejection=Rejection(ReasonCode.NO_TARGET))

    def take(self, planned: PreparedRule) -> Ending | None:
        """Follow one rule; None where the walk goes on."""
        evaluation, rule = self.evaluation, planned.rule
        # 1. The rule's condition.
        truth = evaluation.truth(rule.when)
        if truth is Truth.FALSE:
            self.steps.append(planned.skipped)
            return None
        if truth is Truth.ERROR:
            self.note(rule, Result.ERROR, ReasonCode.EVALUATION_ERROR)
            return Ending(rule, rejection=Rejection(ReasonCode.EVALUATION_ERROR))
        # 2. The candidates of its level.
        proposal = _PROPOSERS[rule.use](evaluation, rule)
        self.warnings += proposal.warnings
        # 3. Nothing proposed.
        if not proposal.entries and proposal.other is None and proposal.code is None:
            self.steps.append(planned.nothing)
            return None
        # 4. The guards.
        seen: list[rec.Candidate] = []
        first: Rejection | None = None
        for candidate in proposal.candidates(evaluation, rule.use):
            rejection = admission(evaluation, candidate, self.wishes, in_pool=rule.in_pool)
            if rejection is None:
                # 5. The first admitted candidate.
                verdicts = (*seen, verdict_selected(evaluation, candidate))
                self.note(rule, Result.SELECTED, UNSET, proposal.requested, verdicts)
                return Ending(rule, candidate, others=proposal.entries[len(verdicts) :])
            seen.append(verdict_rejected(rejection))
            first = first or rejection
        return self.violate(rule, proposal, first, tuple(seen))

    def violate(
        self,
        rule: PrecedenceRule,
        proposal: Proposal,
        first: Rejection | None,
        verdicts: tuple[rec.Candidate, ...],
    ) -> Ending | None:
        # 6. A violation.
        rejection = first or Rejection(proposal.code or ReasonCode.OUTSIDE_POOL)
        self.note(rule, Result.VIOLATED, rejection.code, proposal.requested, verdicts or UNSET)
        if rule.reject:
            return Ending(rule, rejection=rejection)
        self.violations.append((rule, rejection))
        self.warnings.append(warning_of(rule, rejection, proposal.requested))
        return None

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
    requested = evaluation.requested(rule.use)
    if requested is None:
        return NOTHING
    model, provider = requested.get("model", ""), requested.get("provider", "")
    if evaluation.policy.pool is not None:
        entries = meant(evaluation, model, provider)
        if entries:
            return _ordered(evaluation, rule, entries, requested=requested)
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
    asked, parent = requested.get("provider"), evaluation.values["parent"]
    provider, model = asked or policy.provider or parent["provider"], requested.get("model")
    if not model and policy.model and policy.provider == asked:
        model = policy.model
    if not model:
        return Proposal((), None, requested, ReasonCode.INCOMPLETE)
    return _equal(evaluation, model, provider, level, requested)


def _picked(evaluation: Evaluation, rule: PrecedenceRule) -> Proposal:
    if rule.entry is not None:
        return Proposal(evaluation.prepared.named.get(rule.entry, ()))
    found, failed = evaluation.picked()
    return _ordered(evaluation, rule, found, failed)


def _ordered(
    evaluation: Evaluation,
    rule: PrecedenceRule,
    entries: Sequence[PoolEntry],
    failed: Sequence[PoolEntry] = (),
    requested: rec.Requested | UnsetType = UNSET,
) -> Proposal:
    """Propose entries by the rule's number for each, the smallest first.

    One without a number is not proposed, as one whose ``pick`` fails is not.
    """
    if rule.order_by is not None:
        numbers = evaluation.numbers(rule.order_by, entries, rule.use)
        rows = sorted((number, place) for place, number in enumerate(numbers) if number is not None)
        if len(rows) < len(entries):
            failed = [*failed, *(it for it, n in zip(entries, numbers, strict=True) if n is None)]
        entries = [entries[place] for _, place in rows]
    warnings = tuple(
        rec.DecisionWarning(ReasonCode.PICK_ERROR, rule.id, entry=entry.name)
        for entry in sorted(failed, key=attrgetter("position"))
    )
    code = ReasonCode.EVALUATION_ERROR if requested is not UNSET and not entries else None
    return Proposal(entries, None, requested, code, warnings)


def proposed(evaluation: Evaluation, rule: PrecedenceRule) -> Proposal:
    """Return what a rule's level proposes."""
    return _PROPOSERS[rule.use](evaluation, rule)


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


def admission(
    evaluation: Evaluation, candidate: Candidate, wishes: Sequence[Wish], *, in_pool: bool
) -> Rejection | None:
    """Return why a candidate is not admitted, or None where it is.

    Args:
        evaluation: what its guards are evaluated in.
        candidate: the candidate.
        wishes: the wishes for parameters.
        in_pool: whether it has to be in the pool.
    """
    entry = candidate.entry
    if not candidate.provider:
        return Rejection(ReasonCode.INCOMPLETE, candidate)
    if entry is None and in_pool and evaluation.policy.pool is not None:
        return Rejection(ReasonCode.OUTSIDE_POOL, candidate)
    rejection = _guarded(evaluation, candidate)
    if rejection is not None:
        return rejection
    code = entry and _unfit(evaluation, entry, *_demands(evaluation))
    if code:
        return Rejection(code, candidate)
    for wish in wishes:
        if wish.rejects and not _grants(evaluation, entry, wish):
            return Rejection(ReasonCode.PARAMETER_NOT_ALLOWED, candidate, wish=wish)
    return None


def _guarded(evaluation: Evaluation, candidate: Candidate) -> Rejection | None:
    """Return which condition is against a candidate, or None: its ``allow``, or a forbid rule."""
    allowed = evaluation.allows(candidate)
    if allowed is not True:
        return Rejection(ReasonCode.NOT_ALLOWED, candidate, failed=allowed is FAILURE)
    for forbid in evaluation.possible_forbids(candidate):
        matches = evaluation.matches(forbid, candidate)
        if matches is not False:
            failed = matches is FAILURE
            return Rejection(ReasonCode.FORBIDDEN, candidate, forbid.rule, failed)
    return None


def _demands(evaluation: Evaluation) -> tuple[frozenset[str], int]:
    """Return the capabilities that the task needs, and the least size of its input in tokens."""
    task = evaluation.values["task"]
    return frozenset(task["needs"]), task.get("input_tokens", 0)


def _unfit(
    evaluation: Evaluation, entry: PoolEntry, needs: frozenset[str], tokens: int
) -> ReasonCode | None:
    """Return why an entry does not fit the task, or None where it does."""
    if needs and entry.supports is not None and not needs.issubset(entry.supports):
        return ReasonCode.LACKS_CAPABILITY
    window = entry.context_window
    if window is not None:
        answer = evaluation.prepared.offer(entry).own_tokens
        if tokens + (1 if answer is None else answer) > window:
            return ReasonCode.CONTEXT_TOO_SMALL
    return None


def _grants(evaluation: Evaluation, entry: PoolEntry | None, wish: Wish) -> bool:
    """Tell whether a target takes a parameter just as it is wished for."""
    if entry is None:
        return wish.name not in evaluation.prepared.limited
    granted = _granted(entry, wish)
    return granted is not None and same(granted, wish.value)


def _granted(entry: PoolEntry | None, wish: Wish) -> Any:
    """Return a wish as far as an entry grants it: itself, a clamped number, or None."""
    limit = entry.limits.get(wish.name) if entry else None
    if limit is not None:
        return limit.within(wish.value)
    return wish.value if wish.name in KNOWN else None


def wishes_of(evaluation: Evaluation) -> Sequence[Wish]:
    """Return the wishes for parameters that count, by name, each with the rule it goes by.

    Of two wishes for one parameter, the one whose rule stands first counts. A wish at a level that
    no rule uses does not.
    """
    if not any(evaluation.values[level]["parameters"] for level in WISHES):
        return ()
    found: dict[str, Wish] = {}
    for rule, rejects in _rules_of_wishes(evaluation):
        for name, value in evaluation.values[rule.use]["parameters"].items():
            found.setdefault(name, Wish(name, value, rule, rejects))
    return tuple(found[name] for name in sorted(found))


def _rules_of_wishes(evaluation: Evaluation) -> WishRules:
    """Return the rule that each level's wishes go by, in order, and whether it rejects.

    It is the first rule of the level whose condition is true. One that cannot be evaluated rejects.
    """
    found: dict[Level, tuple[PrecedenceRule, bool]] = {}
    for rule in evaluation.prepared.wishing:
        if rule.use not in found:
            truth = evaluation.truth(rule.when)
            if truth is not Truth.FALSE:
                found[rule.use] = rule, rule.reject or truth is Truth.ERROR
    return list(found.values())


# What may be asked for.


def permitted_names(evaluation: Evaluation, level: Level) -> tuple[str, ...] | None:
    """Return the names that would be selected if they were asked for at a level.

    A name counts where this request, asking for it, selects an entry of that name; or would if
    nothing were asked for at the other level. None where there is no pool.
    """
    pool = evaluation.policy.pool
    if pool is None:
        return None
    names = tuple(dict.fromkeys([entry.name for entry in pool]))
    found = _selected_names(evaluation, level, names)
    other = Level.CALL if level is Level.TASK else Level.TASK
    if len(found) < len(names) and evaluation.requested(other):
        alone = evaluation.asking(other, {"model": "", "provider": ""})
        found |= _selected_names(alone, level, names)
    return names if len(found) == len(names) else tuple(name for name in names if name in found)


def _selected_names(evaluation: Evaluation, level: Level, names: tuple[str, ...]) -> set[str]:
    """Return which names select an entry of that name where they are asked for."""
    if level in evaluation.prepared.wish_matters:
        return {name for name in names if _selects(evaluation, level, name)}
    # No condition reads the wish: one walk tells it of all names.
    walk, found = _Walk(evaluation), set[str]()
    for planned in evaluation.prepared.rules:
        if planned.rule.use is not level:
            ending = walk.take(planned)
            if ending is None:
                continue
            entry = ending.selected.entry if ending.selected else None
            return found | {entry.name} if entry else found
        truth = evaluation.truth(planned.rule.when)
        if truth is Truth.ERROR:
            return found
        if truth is Truth.TRUE:
            entries = _admitted(evaluation, planned.rule, walk.wishes)
            found.update([entry.name for entry in entries])
            if planned.rule.reject or len(found) == len(names):
                return found
    return found


def _selects(evaluation: Evaluation, level: Level, name: str) -> bool:
    asking = evaluation.asking(level, {"model": name, "provider": ""})
    selected = _Walk(asking).run().selected
    return selected is not None and selected.entry is not None and selected.entry.name == name


def _admitted(
    evaluation: Evaluation, rule: PrecedenceRule, wishes: Sequence[Wish]
) -> Sequence[PoolEntry]:
    """Return what a rule admits of what it is asked for: as :func:`admission` has it."""
    entries: Sequence[PoolEntry] = evaluation.allowed(rule.use)
    if rule.order_by is not None:
        numbers = evaluation.numbers(rule.order_by, entries, rule.use)
        entries = [it for it, n in zip(entries, numbers, strict=True) if n is not None]
    needs, tokens = _demands(evaluation)
    entries = [it for it in entries if _unfit(evaluation, it, needs, tokens) is None]
    if not evaluation.values["parent"]["provider"]:
        entries = [it for it in entries if it.provider]
    for wish in wishes:
        if wish.rejects:
            entries = [it for it in entries if _grants(evaluation, it, wish)]
    return evaluation.unforbidden(entries, rule.use)


# Step 8: parameters and fallbacks.


class Chosen(Struct, frozen=True):
    """The parameters of a target, with what became of the wishes for them."""

    parameters: FrozenDict
    warnings: tuple[rec.DecisionWarning, ...] = ()


def parameters(
    evaluation: Evaluation, candidate: Candidate, rule: PrecedenceRule, wishes: Sequence[Wish]
) -> Chosen:
    """Return the parameters of a target, name by name: wish, entry, policy, parent.

    Args:
        evaluation: the request, met by its policy.
        candidate: the target.
        rule: the rule that selects it.
        wishes: the wishes for parameters.
    """
    entry, offer = candidate.entry, evaluation.prepared.offer_of(candidate.entry)
    found, warnings = {**offer.parameters}, list[rec.DecisionWarning]()
    room = _room(evaluation, entry)
    if offer.cap is not None and room is not None:
        found[MAX_TOKENS] = min(offer.cap, room)
    for wish in wishes:
        value = _granted(entry, wish)
        if wish.name == MAX_TOKENS and value is not None and room is not None:
            value = min(value, room)
        if value is not None:
            found[wish.name] = value
        if value is None or not same(value, wish.value):
            warnings.append(_limited(wish))
    if offer.inherits and EFFORT not in found:
        warnings += _inherit(evaluation, candidate, rule, found)
    is_known = found == offer.parameters and not warnings
    return Chosen(offer.parameters if is_known else FrozenDict(found), tuple(warnings))


def _inherit(
    evaluation: Evaluation, candidate: Candidate, rule: PrecedenceRule, found: dict[str, Any]
) -> list[rec.DecisionWarning]:
    """Let a target take the parent's reasoning effort over, within its limits."""
    entry, parent = candidate.entry, evaluation.values["parent"]
    own = (candidate.model, candidate.provider) == (parent["model"], parent["provider"])
    takes = entry is not None and (EFFORT in entry.limits or "reasoning" in (entry.supports or ()))
    if not parent[EFFORT] or not (own or takes):
        return []
    limit = entry.limits.get(EFFORT) if entry else None
    if limit is not None and limit.within(parent[EFFORT]) is None:
        return [rec.DecisionWarning(ReasonCode.PARAMETER_LIMITED, rule.id, parameter=EFFORT)]
    found[EFFORT] = parent[EFFORT]
    return []


def _room(evaluation: Evaluation, entry: PoolEntry | None) -> int | None:
    """Return how many tokens the context window leaves for the answer; None where unknown."""
    if entry is None or entry.context_window is None:
        return None
    return entry.context_window - int(evaluation.values["task"].get("input_tokens", 0))


def _limited(wish: Wish) -> rec.DecisionWarning:
    return rec.DecisionWarning(
        ReasonCode.PARAMETER_LIMITED,
        wish.rule.id,
        requested=FrozenDict({wish.name: wish.value}),
        parameter=wish.name,
    )


def fallbacks(
    evaluation: Evaluation, ending: Ending, wishes: Sequence[Wish]
) -> list[tuple[Candidate, Chosen]]:
    """Return what to go on with where the selected target fails, in order."""
    selected, rule = ending.selected, ending.rule
    if selected is None or rule is None or selected.entry is None or not rule.fallback:
        return []
    named = evaluation.prepared.offer(selected.entry).fallback
    entries = (*named, *(ending.others if rule.falls_to_candidates else ()))
    planned: list[tuple[Candidate, Chosen]] = []
    for entry in {it.position: it for it in entries}.values():
        candidate = evaluation.candidate(entry, selected.level)
        if admission(evaluation, candidate, wishes, in_pool=rule.in_pool) is None:
            planned.append((candidate, parameters(evaluation, candidate, rule, wishes)))
    return planned


# What the record says of the choice: see ``recording``.


def _selected(walk: _Walk, ending: Ending) -> rec.Decision:
    evaluation, rule, selected = walk.evaluation, ending.rule, ending.selected
    assert rule is not None  # noqa: S101 - a selection has both
    assert selected is not None  # noqa: S101
    chosen = parameters(evaluation, selected, rule, walk.wishes)
    planned = fallbacks(evaluation, ending, walk.wishes)
    asking = _asking(evaluation)
    rules = _rules_of_wishes(evaluation) if asking else []
    warnings = (
        *unused(evaluation, asking, rules),
        *walk.warnings,
        *chosen.warnings,
        *_outranked(evaluation, rule, selected, rules),
        *outranked_parameters(evaluation, walk.wishes, rules),
    )
    return selection(evaluation, rule, [(selected, chosen), *planned], warnings)


def _refused(walk: _Walk, ending: Ending) -> rec.Decision:
    evaluation, rule = walk.evaluation, ending.rule
    names: tuple[str, ...] | None = () if evaluation.policy.pool is not None else None
    level = _asking_level(evaluation, rule)
    if level is not None:
        names = permitted_names(evaluation, level)
    refusal = refusal_of(evaluation, ending, walk.violations, names)
    asking = _asking(evaluation)
    rules = _rules_of_wishes(evaluation) if asking else []
    warnings = (*unused(evaluation, asking, rules), *walk.warnings)
    return rec.Decision("refused", warnings, refusal=refusal)


def _asking_level(evaluation: Evaluation, rule: PrecedenceRule | None) -> Level | None:
    """Return the level at which another name may be asked for; None where there is none."""
    if rule is not None and rule.use in WISHES:
        return rule.use
    true = {it.use for it in evaluation.prepared.wishing if evaluation.truth(it.when) is Truth.TRUE}
    return next((level for level in (Level.TASK, Level.CALL) if level in true), None)


def _asking(evaluation: Evaluation) -> list[Level]:
    """Return the levels at which anything is asked for."""
    values = evaluation.values
    return [level for level in WISHES if any(values[level][key] for key in _WISHED)]


_WISHED = ("model", "provider", "parameters")


def _outranked(
    evaluation: Evaluation, winner: PrecedenceRule, selected: Candidate, rules: WishRules
) -> Iterator[rec.DecisionWarning]:
    """Yield a warning for each wish for another target that a rule went before."""
    if not rules:
        return
    order = [id(rule) for rule in evaluation.policy.precedence]
    reached = order.index(id(winner))
    for rule, _ in rules:
        requested = evaluation.requested(rule.use)
        is_passed = order.index(id(rule)) > reached
        if requested and is_passed and not _means(evaluation, rule.use, requested, selected):
            yield rec.DecisionWarning(ReasonCode.OUTRANKED, rule.id, requested, by=winner.id)


def _means(
    evaluation: Evaluation, level: Level, requested: rec.Requested, selected: Candidate
) -> bool:
    """Tell whether a wish means the selected target; one outside the pool means none."""
    if evaluation.policy.pool is not None:
        entries = meant(evaluation, requested.get("model", ""), requested.get("provider", ""))
        return any(entry is selected.entry for entry in entries)
    asked = _as_asked(evaluation, level, requested).candidates(evaluation, level)
    target = selected.model, selected.provider
    return any((it.model, it.provider) == target for it in asked)
