"""Plans for hosts in other languages, and their reports of executions."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from policy_router.calls.costs import priced
from policy_router.calls.dialects import wire
from policy_router.calls.endpoints import entry_of, merged, with_entry
from policy_router.calls.results import CostStatus
from policy_router.calls.served import is_served
from policy_router.decision.record import DecisionRecord, Target
from policy_router.delegation.arguments import arguments_of
from policy_router.delegation.batch import Planned
from policy_router.domain import Dialect, Policy, Provider
from policy_router.errors import RecordError
from policy_router.log.entry import Execution, LogEntry
from policy_router.log.write.decision_log import DecisionLog
from policy_router.policy.known_providers import KNOWN_PROVIDERS
from policy_router.server.asking import Answer, Asked
from policy_router.server.deciding import Agents
from policy_router.server.earlier import Earlier, EarlierDecisions
from policy_router.server.problems import NOT_JSON, Problem, fitting, not_json

REPORTED: Final = "reported"
"""The event of what somebody reports; what the executor measures is `finished`."""
_MOST: Final = 10_000
_UNKNOWN: Final = Provider()
_Count = Annotated[int, Meta(ge=0, le=2**53)]
_Amount = Annotated[float, Meta(ge=0)]
_Word = Annotated[str, Meta(max_length=200)]


class ReportBody(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What came of an attempt to run a decision.

    Attributes:
        decision_id: the id of the decision.
        attempt: the number of the attempt, from 1.
        status: what became of it.
        model: the model that was called; the decided one unless given.
        provider: its provider; the decided one unless given.
        error: the code of the failure.
        served_model: the model that the provider reports.
        finish_reason: the provider's reason why the model stopped.
        input_tokens: the provider's count.
        output_tokens: the provider's count.
        cached_tokens: how many of the input came from the provider's cache.
        cost_usd: US dollars; that of the tokens by the prices of the policy unless given.
        duration_seconds: how long it took.
    """

    decision_id: _Word
    attempt: Annotated[int, Meta(ge=1, le=1000)] = 1
    status: Literal["completed", "failed", "cancelled"]
    model: _Word | None = None
    provider: _Word | None = None
    error: _Word | None = None
    served_model: _Word | None = None
    finish_reason: _Word | None = None
    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    cached_tokens: _Count | None = None
    cost_usd: _Amount | None = None
    duration_seconds: _Amount | None = None


class Plans:
    """Hands out plans, and takes reports."""

    def __init__(
        self,
        policy: Callable[[], Policy],
        agents: Agents,
        earlier: EarlierDecisions,
        log: DecisionLog | None,
        counted: Callable[[DecisionRecord], None],
    ) -> None:
        """Keep what the answers need.

        Args:
            policy: returns what decides now.
            agents: decide and log.
            earlier: knows decisions by their ids.
            log: takes the reports; None where nothing is logged.
            counted: counts decisions.
        """
        self._policy, self._agents, self._earlier = policy, agents, earlier
        self._log, self._counted = log, counted
        self._reported: dict[tuple[str, int], None] = {}
        self._last: Policy | None = None

    async def plan(self, asked: Asked) -> Answer:
        """Decide a call of ``delegate_task`` whole, and log it."""
        asked.options()
        policy = self._policy()
        with fitting():
            arguments = arguments_of(asked.body)
        plans = await self._agents.plans(policy, arguments, asked)
        for plan in plans:
            self._counted(plan.record)
        tasks = [_planned(policy, plan) for plan in plans]
        return Answer(msgspec.json.encode({"tasks": tasks}), revision=policy.revision)

    async def report(self, asked: Asked) -> Answer:
        """Log what came of a decision."""
        asked.options()
        report = _report_in(asked.body)
        if self._log is None:
            raise Problem(404, "no_log", "nothing is logged here")
        known = await self._earlier.find(report.decision_id)
        if known is None or not _may_report(known, asked):
            detail = "this credential got no such decision"
            raise Problem(404, "unknown_decision", detail, path="$.decision_id")
        if known.target is None:
            detail = "the decision is a refusal, so nothing ran by it"
            raise Problem(409, "was_refused", detail, path="$.decision_id")
        await self._once(report)
        caller = {"id": known.caller} if known.caller else None
        execution = _execution(report, known.target)
        if report.status == "completed" and report.cost_usd is None:
            policy = await self._policy_of(known.revision, self._log)
            execution = _priced(policy, execution, known.target)
        self._log.execution(report.decision_id, execution, caller)
        await self._log.flush_async()
        return Answer.of({"decision_id": report.decision_id, "attempt": report.attempt})

    async def _policy_of(self, revision: str, log: DecisionLog) -> Policy | None:
        """Return the policy that made a decision; None where it is not kept beside the log."""
        policy = self._policy()
        if policy.revision == revision:
            return policy
        if self._last is None or self._last.revision != revision:
            try:
                self._last = await asyncio.to_thread(log.policies.load, revision)
            except RecordError:
                return None
        return self._last

    async def _once(self, report: ReportBody) -> None:
        """Note that an attempt is reported.

        Raises:
            Problem: it was before.
        """
        place = (report.decision_id, report.attempt)
        is_known = place in self._reported
        if not is_known:
            self._reported[place] = None  # at once: others may report it meanwhile
            lines, _ = await self._earlier.lines(report.decision_id)
            is_known = any(_reports(line, report.attempt) for line in lines)
        if len(self._reported) > _MOST:
            del self._reported[next(iter(self._reported))]
        if is_known:
            detail = f"attempt {report.attempt} of this decision is reported already"
            raise Problem(409, "reported_twice", detail, path="$.attempt")


def tasks_size(body: bytes) -> int:
    """Return how many requests a call of ``delegate_task`` counts as."""
    with fitting():
        return len(arguments_of(body).assignments)


def _report_in(body: bytes) -> ReportBody:
    try:
        report = msgspec.json.decode(body, type=ReportBody)
    except msgspec.ValidationError as problem:
        reason, _, place = str(problem).partition(" - at ")
        path = place.strip("`") or "$"
        raise Problem(422, "bad_request", reason[:1].lower() + reason[1:], path=path) from None
    except NOT_JSON:
        raise not_json() from None
    if not all(math.isfinite(it or 0.0) for it in (report.cost_usd, report.duration_seconds)):
        raise Problem(422, "bad_request", "expected a finite number", path="$")
    return report


def _may_report(known: Earlier, asked: Asked) -> bool:
    """Tell whether a decision is one of the credential's own, or it is that of a host."""
    return asked.credential.is_host or known.caller == asked.credential.caller.get("id", "")


def _reports(line: bytes, attempt: int) -> bool:
    try:
        execution = LogEntry.from_json(line).execution
    except RecordError:
        return False
    if not isinstance(execution, Execution):
        return False
    return execution.event == REPORTED and execution.attempt == attempt


def _execution(report: ReportBody, target: Target) -> Execution:
    return Execution(
        REPORTED,
        provider=report.provider or target.provider,
        model=report.model or target.model,
        attempt=report.attempt,
        status=report.status,
        error=report.error,
        served_model=report.served_model,
        finish_reason=report.finish_reason,
        input_tokens=report.input_tokens,
        output_tokens=report.output_tokens,
        cached_tokens=report.cached_tokens,
        cost_usd=report.cost_usd,
        duration_seconds=report.duration_seconds,
    )


def _priced(policy: Policy | None, execution: Execution, decided: Target) -> Execution:
    """Return what was reported with its cost by the prices of a policy, or why there is none."""
    ran = Target(execution.model or "", execution.provider or "", {})
    same = (ran.model, ran.provider) == (decided.model, decided.provider)
    counts = execution.input_tokens, execution.output_tokens, execution.cached_tokens
    if policy is None or None in counts[:2]:
        return execution
    ran = decided if same else with_entry(policy, ran)
    served = execution.served_model
    if served is not None and not is_served(policy, ran, served):
        return replace(execution, cost_status=CostStatus.MISMATCH)
    found = priced(policy, ran, *counts)
    if found is None:
        return replace(execution, cost_status=CostStatus.NO_PRICE)
    known = CostStatus.UPPER_BOUND if found.is_upper_bound else CostStatus.MEASURED
    return replace(execution, cost_usd=found.usd, cost_status=known)


def _planned(policy: Policy, plan: Planned) -> dict[str, Any]:
    """Return what a host is told of a task."""
    answer: dict[str, Any] = {"task": plan.index, "decision_id": plan.decision_id}
    if plan.target is None:
        return {**answer, "error": msgspec.to_builtins(plan.error)}
    decision = plan.record.decision
    answer["target"] = leg_as_json(policy, plan.target)
    answer["fallbacks"] = [leg_as_json(policy, it) for it in decision.fallbacks or ()]
    answer["warnings"] = msgspec.to_builtins(decision.warnings)
    return answer


def leg_as_json(policy: Policy, target: Target) -> dict[str, Any]:
    """Return a target with the name of its endpoint, and its parameters in its dialect; no key."""
    own = policy.providers.get(target.provider, _UNKNOWN)
    known = KNOWN_PROVIDERS.get(target.provider, _UNKNOWN)
    entry = entry_of(policy, target)
    of_entry = entry.dialect if entry is not None else Dialect()
    sent = wire(target, entry, merged(of_entry, merged(own.dialect, known.dialect)))
    return {
        "model": target.model,
        "endpoint": target.provider,
        "entry": msgspec.to_builtins(target).get("entry"),
        "api": sent.api,
        "parameters": sent.parameters,
        "left_out": sent.left_out,
    }
