"""The gateway: reads a model call, lets the policy decide, and forwards it along the plan.

The decision is in the log before anything is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from msgspec import UnsetType
from msgspec.structs import replace

from policy_router.calls.child_task import Event, Watcher
from policy_router.calls.dialects import CHAT, MESSAGES, RESPONSES
from policy_router.decision.record import DecisionRecord
from policy_router.diagnostics.model import printable
from policy_router.domain import Policy
from policy_router.hosts import HostPlan, PolicyHost, Refused
from policy_router.server.asking import Answer, Asked
from policy_router.server.budgets import CallerBudgets, reserve
from policy_router.server.deciding import Agents
from policy_router.server.gateway.forwarding import Forwarding
from policy_router.server.gateway.headers import decision_header, refusal, retries
from policy_router.server.gateway.model_request import ModelRequest, model_request
from policy_router.server.gateway.origins import Origin, Origins
from policy_router.server.gateway.said import CallProblem
from policy_router.server.gateway.upstream import (
    Upstream,
)
from policy_router.server.problems import Problem


class Gateway:
    """Forwards model calls to the targets that the policy decides."""

    def __init__(
        self,
        policy: Callable[[], Policy],
        agents: Agents,
        host: PolicyHost,
        upstream: Upstream,
        *,
        origins: Origins,
        passes: Collection[str],
        counted: Callable[[DecisionRecord], None],
        budgets: CallerBudgets | None = None,
    ) -> None:
        """Keep what a call needs.

        Args:
            policy: returns what decides now.
            agents: decide and log.
            host: hands out the plans of decisions.
            upstream: calls providers.
            origins: know which target gave which answer.
            passes: the fields that the configuration lets through.
            counted: counts decisions.
            budgets: know what a caller may spend; None: nobody does.
        """
        self._policy, self._agents, self._host = policy, agents, host
        self._upstream, self._passes = upstream, frozenset(passes)
        self._origins, self._counted, self._budgets = origins, counted, budgets
        self._settling: set[asyncio.Task[object]] = set()

    async def chat(self, asked: Asked) -> Answer:
        """Answer a call of Chat Completions."""
        return await self._call(CHAT, asked)

    async def responses(self, asked: Asked) -> Answer:
        """Answer a call of the Responses API."""
        return await self._call(RESPONSES, asked)

    async def messages(self, asked: Asked) -> Answer:
        """Answer a call of Anthropic's Messages API."""
        return await self._call(MESSAGES, asked)

    async def _call(self, api: str, asked: Asked) -> Answer:
        asked.options()
        request = model_request(api, asked, self._passes)
        origin = await self._origin(request, asked)
        sections = request.sections if origin is None else _asking_for(origin, request.sections)
        policy = self._policy()
        decided = await self._agents.decide_sections(policy, sections, asked)
        record, decision_id = decided.record, decided.decision_id
        self._counted(record)
        if origin is not None:
            record = _only(origin, record, decision_id)
        watcher = await self._paying(policy, record, decision_id)
        plan = self._host.plan_of(policy, record, decision_id, watcher=watcher)
        if isinstance(plan, Refused):
            raise refusal(plan, decision_id)
        keep = partial(self._origins.keep, record=record, decision_id=decision_id)
        forwarding = Forwarding(api, request, plan, upstream=self._upstream, asked=asked, keep=keep)
        return await forwarding.answer()

    async def _paying(
        self, policy: Policy, record: DecisionRecord, decision_id: str
    ) -> Watcher | None:
        """Reserve what a call may cost, where its caller has a budget.

        Returns:
            What settles it at the end of the call.

        Raises:
            Problem: the budget does not let it.
        """
        caller = record.request.get("caller")
        accounts = None if self._budgets is None else self._budgets.of(caller)
        if accounts is None:
            return None
        try:
            purse = await asyncio.to_thread(reserve, accounts, policy, record, decision_id)
        except Problem as problem:
            plan = self._host.plan_of(policy, record, decision_id)
            if isinstance(plan, HostPlan):
                plan.refused(problem.code, problem.detail)
            raise _denied(problem, decision_id) from None

        def watch(event: Event) -> None:
            if event.result is not None:
                settling = asyncio.create_task(asyncio.to_thread(purse.settled, event.result))
                self._settling.add(settling)
                settling.add_done_callback(self._settling.discard)

        return watch

    async def _origin(self, request: ModelRequest, asked: Asked) -> Origin | None:
        """Return what gave the answer that a request goes on from.

        Raises:
            Problem: nobody gave it to this caller.
        """
        if request.previous is None:
            return None
        id_ = self._agents.trust.caller_id(request.sections, asked)
        origin = await self._origins.find(request.previous, id_)
        if origin is None:
            detail = "this caller was given no such answer here"
            path = "$.previous_response_id"
            raise Problem(404, "unknown_response", detail, path=path, help="send the whole input")
        return origin


def _asking_for(origin: Origin, sections: Mapping[str, Any]) -> dict[str, Any]:
    """Return sections that ask for the target of an earlier answer, unless a model is asked for."""
    task = sections["task"]
    wish = {"model": origin.entry or origin.model, "provider": origin.provider}
    return {**sections, "task": task if "model" in task else {**task, **wish}}


def _only(origin: Origin, record: DecisionRecord, decision_id: str) -> DecisionRecord:
    """Return a decision without fallbacks, since only its target knows the earlier answer.

    Raises:
        Problem: it selects another target.
    """
    target = record.decision.target
    if isinstance(target, UnsetType):
        return record
    if (target.model, target.provider) != (origin.model, origin.provider):
        detail = (
            f"{printable(target.model)} at {printable(target.provider)} is selected, and the answer"
            " to go on from is of another target"
        )
        headers = (decision_header(decision_id), retries(passes=False))
        raise CallProblem(409, "other_target", detail, decision_id=decision_id, headers=headers)
    return replace(record, decision=replace(record.decision, fallbacks=()))


def _denied(problem: Problem, decision_id: str) -> CallProblem:
    """Return why a call that was decided is not paid."""
    passes = problem.status == 503  # noqa: PLR2004 - the budget cannot be used just now
    return CallProblem(
        problem.status,
        problem.code,
        f"{problem.detail}; {problem.help}" if problem.help else problem.detail,
        decision_id=decision_id,
        headers=(*problem.headers, decision_header(decision_id), retries(passes=passes)),
    )
