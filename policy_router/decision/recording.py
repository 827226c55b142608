"""How the record says what was chosen. Nothing here chooses: it words what it is given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from msgspec import UNSET, UnsetType

from policy_router.cel.evaluate import Truth
from policy_router.decision import record as rec
from policy_router.decision.candidate import Candidate
from policy_router.decision.evaluation import Evaluation
from policy_router.decision.messages import message_for, warning_of
from policy_router.decision.record import ReasonCode, Verdict
from policy_router.domain import FrozenDict, Level, PrecedenceRule
from policy_router.parameters import same

if TYPE_CHECKING:
    from policy_router.decision.evaluator import Chosen, Ending, Rejection, Wish

WishRules: TypeAlias = Sequence[tuple[PrecedenceRule, bool]]
"""The rule that each level's wishes go by, in order, and whether it rejects."""
Violations: TypeAlias = "Sequence[tuple[PrecedenceRule, Rejection]]"


def selection(
    evaluation: Evaluation,
    rule: PrecedenceRule,
    targets: Sequence[tuple[Candidate, Chosen]],
    warnings: tuple[rec.DecisionWarning, ...],
) -> rec.Decision:
    """Return a selection.

    Args:
        evaluation: the request, met by its policy.
        rule: the rule that selects.
        targets: the selected target and its fallbacks.
        warnings: what it is warned of so far; what would be forbidden comes on top.
    """
    advice = (it for target, _ in targets for it in _would_forbid(evaluation, rule, target))
    target, *fallback = [_target(evaluation, *it) for it in targets]
    return rec.Decision(
        "selected", (*warnings, *advice), rule.use, rule.id, target, tuple(fallback)
    )


def refusal_of(
    evaluation: Evaluation,
    ending: Ending,
    violations: Violations,
    names: tuple[str, ...] | None,
) -> rec.Refusal:
    """Return a refusal.

    Args:
        evaluation: the request, met by its policy.
        ending: where the walk ended.
        violations: the rules that were violated on the way, and why.
        names: the names that may be asked for; None without a pool.
    """
    rule, rejection = ending.rule, ending.rejection
    assert rejection is not None  # noqa: S101 - a refusal has one
    reasons: tuple[rec.Reason, ...] | UnsetType = UNSET
    if rejection.code is ReasonCode.NO_TARGET:
        reasons = tuple(_reason(*violation) for violation in violations)
    return rec.Refusal(
        code=rejection.code,
        message=message_for(evaluation, rule, rejection, violations, names),
        rule=rule.id if rule else None,
        permitted=UNSET if names is None else names,
        reasons=reasons,
    )


def _reason(rule: PrecedenceRule, rejection: Rejection) -> rec.Reason:
    warning = warning_of(rule, rejection)
    return rec.Reason(rule.id, warning.code, warning.forbid, warning.message, warning.entry)


def unused(
    evaluation: Evaluation, asking: Sequence[Level], rules: WishRules
) -> Iterator[rec.DecisionWarning]:
    """Yield a warning for each wish at a level of which no rule is used."""
    code, used = ReasonCode.LEVEL_NOT_USED, [rule.use for rule, _ in rules]
    for level in asking:
        if level in used:
            continue
        if (requested := evaluation.requested(level)) is not None:
            yield rec.DecisionWarning(code, level=level, requested=requested)
        for name, value in evaluation.values[level]["parameters"].items():
            asked = FrozenDict({name: value})
            yield rec.DecisionWarning(code, level=level, requested=asked, parameter=name)


def outranked_parameters(
    evaluation: Evaluation, wishes: Sequence[Wish], rules: WishRules
) -> Iterator[rec.DecisionWarning]:
    """Yield a warning for each wish for a parameter that loses against another value."""
    if not wishes:
        return
    winners = {wish.name: wish for wish in wishes}
    for rule, _ in rules:
        for name, value in evaluation.values[rule.use]["parameters"].items():
            winner = winners[name]
            if winner.rule is not rule and not same(winner.value, value):
                yield rec.DecisionWarning(
                    ReasonCode.OUTRANKED,
                    rule.id,
                    FrozenDict({name: value}),
                    parameter=name,
                    by=winner.rule.id,
                )


def _would_forbid(
    evaluation: Evaluation, rule: PrecedenceRule, candidate: Candidate
) -> Iterator[rec.DecisionWarning]:
    """Yield a warning for each rule that would forbid a target if it were enforced."""
    for forbid in evaluation.prepared.advisory:
        outcome = evaluation.truth_for(forbid.when, candidate)
        if outcome is not Truth.FALSE:
            yield rec.DecisionWarning(
                ReasonCode.WOULD_FORBID,
                rule.id,
                entry=candidate.entry.name if candidate.entry else UNSET,
                forbid=forbid.id,
                message=UNSET if forbid.message is None else forbid.message,
                error=True if outcome is Truth.ERROR else UNSET,
            )


def _target(evaluation: Evaluation, candidate: Candidate, chosen: Chosen) -> rec.Target:
    entry = candidate.entry
    if entry is None:
        return rec.Target(candidate.model, candidate.provider, chosen.parameters)
    known = evaluation.prepared.offer(entry).target
    if known is not None and known.parameters is chosen.parameters:
        return known
    return rec.Target(candidate.model, candidate.provider, chosen.parameters, entry.name)


def verdict_selected(evaluation: Evaluation, candidate: Candidate) -> rec.Candidate:
    """Return the verdict on a candidate that is selected."""
    known = evaluation.prepared.offer(candidate.entry).selected if candidate.entry else None
    return known or _verdict(candidate, Verdict.SELECTED)


def verdict_rejected(rejection: Rejection) -> rec.Candidate:
    """Return the verdict on a candidate that is not admitted."""
    assert rejection.candidate is not None  # noqa: S101 - it is about one
    forbid = rejection.forbid.id if rejection.forbid else UNSET
    verdict = Verdict.ERROR if rejection.failed else Verdict.REJECTED
    return _verdict(rejection.candidate, verdict, rejection.code, forbid)


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
