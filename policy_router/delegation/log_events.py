"""Events of a child as log entries: numbers and codes, never text of the conversation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from policy_router.calls.child_task import Event, EventKind, Watcher
from policy_router.calls.failing import Attempt
from policy_router.calls.results import CostStatus, Result, Status
from policy_router.delegation.batch import Planned
from policy_router.domain import Policy
from policy_router.log.entry import Call, Execution
from policy_router.log.write.decision_log import DecisionLog
from policy_router.log.write.drafts import Decided


def decided(plan: Planned, parent_id: str | None, tags: Sequence[str] = ()) -> Decided:
    """Return a planned task as a decision to be logged."""
    session_id = plan.session_id
    return Decided(
        plan.record, plan.decision_id, parent_id, session_id=session_id, tags=tuple(tags)
    )


def logging_watcher(log: DecisionLog, plan: Planned) -> Watcher:
    """Return what logs the events of a child."""
    caller: Any = plan.record.request.get("caller")

    def watch(event: Event) -> None:
        if event.kind is not EventKind.TEXT:
            log.execution(plan.decision_id, execution_of(event), caller)

    return watch


def log_denied(log: DecisionLog, batch: Iterable[Planned], policy: Policy) -> None:
    """Log which tasks their budget does not let start: their decisions alone select a target."""
    for plan in batch:
        if plan.denied is not None:
            end = _end(EventKind.FINISHED, plan.result(Status.REFUSED, policy))
            log.execution(plan.decision_id, end, plan.record.request.get("caller"))


def execution_of(event: Event) -> Execution:
    """Return what the log keeps of an event."""
    if event.result is not None:
        return _end(event.kind, event.result)
    return Execution(
        event.kind,
        provider=event.provider,
        model=event.model,
        attempt=event.attempt,
        seconds=event.seconds,
        parameter=event.parameter,
        served_model=event.served_model,
    )


def _end(kind: EventKind, result: Result) -> Execution:
    ran = result.effective
    return Execution(
        kind,
        provider=ran.provider if ran else None,
        model=ran.model if ran else None,
        entry=ran.entry if ran else None,
        status=result.status,
        error=result.error.code if result.error else None,
        served_model=result.served_model,
        finish_reason=result.finish_reason,
        input_tokens=result.tokens.input,
        output_tokens=result.tokens.output,
        cached_tokens=result.tokens.cached,
        cost_usd=result.cost_usd,
        duration_seconds=result.duration_seconds,
        session_id=result.session_id,
        calls=tuple(_call(attempt) for attempt in result.attempts),
        cost_status=_cost_status(result),
    )


def _cost_status(result: Result) -> CostStatus:
    """Return how a cost is known, or why it is not."""
    if result.cost_status is not None:
        return result.cost_status
    if result.cost_usd is not None:
        return CostStatus.MEASURED
    return CostStatus.FREE if result.is_free else CostStatus.FAILED


def _call(attempt: Attempt) -> Call:
    return Call(
        attempt.number,
        attempt.provider,
        attempt.model,
        attempt.entry,
        attempt.failure,
        attempt.status,
        attempt.duration_seconds,
        attempt.is_sent,
        attempt.input_tokens,
        attempt.output_tokens,
    )
