"""The steps of a decision as rungs, for a page: what each proposed, and what stood in its way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from msgspec import UNSET, UnsetType

from policy_router.decision.evaluation import Evaluation
from policy_router.decision.explain.trace import ConditionTrace, trace, trace_as_json
from policy_router.decision.explain.why_not import traces_of
from policy_router.decision.explain.wording import asked, reason
from policy_router.decision.record import Candidate, DecisionRecord, Step
from policy_router.diagnostics.model import Span
from policy_router.domain import Policy, PoolEntry, PrecedenceRule

_MOST_LINES: Final = 12


def ladder(evaluation: Evaluation, record: DecisionRecord) -> list[dict[str, Any]]:
    """Return a rung for each precedence rule, in their order, as plain data.

    Args:
        evaluation: evaluates the conditions of the policy again.
        record: the decision.
    """
    pairs = zip(record.steps, evaluation.policy.precedence, strict=True)
    return [_rung(evaluation, step, rule) for step, rule in pairs]


def _rung(evaluation: Evaluation, step: Step, rule: PrecedenceRule) -> dict[str, Any]:
    conditions = [] if rule.when is None else [trace(evaluation, "when", rule.when)]
    return {
        "rule": step.rule,
        "level": step.level.value,
        "result": step.result.value,
        "rejects": rule.reject,
        "asked": asked(step.requested),
        "code": step.code or None,
        "source": excerpt(rule.span),
        "conditions": [trace_as_json(it) for it in conditions],
        "candidates": [_candidate(evaluation, step, it) for it in step.candidates or ()],
    }


def _candidate(evaluation: Evaluation, step: Step, candidate: Candidate) -> dict[str, Any]:
    entry = _entry_of(evaluation.policy, candidate)
    traces = [] if entry is None else list(traces_of(evaluation, entry, step.level))
    forbid = next((it for it in evaluation.policy.forbid if it.id == candidate.forbid), None)
    return {
        "name": candidate.entry or candidate.model or "",
        "model": candidate.model or (entry.model if entry else ""),
        "provider": candidate.provider or (evaluation.provider_of(entry) if entry else ""),
        "verdict": candidate.verdict.value,
        "reason": reason(candidate),
        "source": None if entry is None else excerpt(entry.span),
        "forbid": None if forbid is None else excerpt(forbid.span),
        "conditions": [trace_as_json(it) for it in _in_the_way(traces, candidate)],
    }


def _in_the_way(traces: list[ConditionTrace], candidate: Candidate) -> Iterator[ConditionTrace]:
    """Yield the conditions of a candidate, the rule that forbids it alone where one does."""
    for item in traces:
        if candidate.forbid is UNSET or item.title == f"forbid {candidate.forbid}":
            yield item


def _entry_of(policy: Policy, candidate: Candidate) -> PoolEntry | None:
    if isinstance(candidate.entry, UnsetType):
        return None
    named = [it for it in policy.pool or () if it.name == candidate.entry]
    exact = [
        it for it in named if candidate.provider is UNSET or it.provider in {"", candidate.provider}
    ]
    return next(iter(exact or named), None)


def excerpt(span: Span | None) -> dict[str, Any] | None:
    """Return the lines of a rule file in which something stands, without any secret."""
    if span is None:
        return None
    (first, _), (last, column) = span.position, span.end_position
    last = min(last - (column == 1 and last > first), first + _MOST_LINES - 1)
    bounds = [span.source.line_bounds(number) for number in range(first, last + 1)]
    return {
        "file": span.source.name,
        "line": first,
        "lines": [span.source.masked(start, end) for start, end in bounds],
    }
