"""The one layer of whoever runs decisions: decides, logs, and hands out plans."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Any

from policy_router.calls.child_task import ChildTask, Watcher
from policy_router.calls.closeable import Closeable
from policy_router.calls.health import Health, HealthStore
from policy_router.calls.legs import SESSION_HEADER, Legs
from policy_router.calls.limits import limits_of
from policy_router.calls.plan import Plan, rules_of
from policy_router.decision.evaluator import permitted
from policy_router.decision.record import DecisionRecord, Target
from policy_router.decision.request import Request
from policy_router.delegation.arguments import Assignment
from policy_router.delegation.batch import CountTokens, Planned, count_tokens
from policy_router.delegation.child import task_of
from policy_router.delegation.tool import Format, tool
from policy_router.domain import Policy
from policy_router.files.clock import Clock, system_clock
from policy_router.files.ids import Ids, uuid7
from policy_router.hosts.deciding import Deciding, check_given_session
from policy_router.hosts.deciding_policy import DecidingPolicy, PolicySource
from policy_router.hosts.host_log import HostLog
from policy_router.hosts.host_plan import HostPlan
from policy_router.hosts.refused import (
    POLICY_UNAVAILABLE,
    Refused,
    RefusedError,
    refusal_of,
    refused_by,
)
from policy_router.log.write.decision_log import DecisionLog

_Facts = Mapping[str, Any]


class PolicyHost(Closeable):
    """Decides with a policy, logs each decision, and gives a plan for each child.

    Safe to share between threads and event loops. No method raises for a fault of the policy, the
    log or the request: each returns :class:`Refused`.
    """

    def __init__(
        self,
        policy: PolicySource,
        *,
        log: DecisionLog | str | os.PathLike[str] | None = None,
        facts: _Facts | None = None,
        environ: Mapping[str, str] | None = None,
        timeout: float = 600.0,
        deadline: float | None = None,
        retries: int = 0,
        longest_wait: float = 60.0,
        session_header: str = SESSION_HEADER,
        workers: int = 1,
        health: HealthStore | None = None,
        watcher: Watcher | None = None,
        counts: CountTokens | None = count_tokens,
        clock: Clock = system_clock,
        ids: Ids = uuid7,
    ) -> None:
        """Prepare to decide.

        Args:
            policy: a compiled policy; the path of a rule file or a folder, which is read now, and
                again when its files change; or a function that returns the policy of the moment.
            log: every decision is logged before its plan is returned: a log, or the folder of one.
            facts: sections of every request that the host states: ``caller``, ``parent``,
                ``budget`` and ``facts``. No request states them again.
            environ: the mapping for ``env:NAME``; default: the process's environment.
            timeout: seconds without data from a provider after which a call should fail.
            deadline: seconds that a child may take in all; None: no limit.
            retries: how often the plan is repeated after temporary failures.
            longest_wait: seconds; a provider that asks for a longer pause is skipped.
            session_header: the header with the session's id for the provider.
            workers: how many processes serve together; each takes its share of the number of calls
                that a provider may get at the same time, at least one.
            health: what is known of targets, shared by all plans; default: a store of this host.
            watcher: is called with each event, in the thread of the event.
            counts: estimates the input tokens of goal and context; None: no estimate.
            clock: the time of decisions.
            ids: the ids of decisions.

        Raises:
            ValueError: an option has a wrong value.
        """
        limits = limits_of(
            timeout, deadline=deadline, retries=retries, longest_wait=longest_wait, workers=workers
        )
        self._log, self._watcher, self._clock = HostLog(log), watcher, clock
        self._deciding = Deciding(dict(facts or {}), counts, clock, ids)
        self._deadline, self._retries, self._longest_wait = deadline, retries, longest_wait
        self._health = Health() if health is None else health
        self._legs = Legs(environ, session_header=session_header, limits=limits, workers=workers)
        self._source = DecidingPolicy(policy)

    # The policy.

    def use(self, policy: PolicySource) -> Refused | None:
        """Let another policy decide from now on; plans that were made keep theirs.

        Args:
            policy: as for the constructor.

        Returns:
            Why it cannot be used; then the last good one goes on deciding, if there is one.
        """
        return self._source.use(policy)

    def reload(self) -> Refused | None:
        """Read the policy again, where it was given as a path; returns what :meth:`use` does."""
        return self._source.reload()

    @property
    def facts(self) -> _Facts:
        """The sections that it states of every request."""
        return self._deciding.facts

    @property
    def policy(self) -> Policy | None:
        """The policy that decides now; None where there is none that can be used."""
        try:
            return self._source.policy()
        except RefusedError:
            return None

    async def _current(self) -> Policy:
        """Return the policy that decides now; its files are looked at in a thread."""
        if self._source.may_have_changed:
            await asyncio.to_thread(self._source.look)
        return self._source.policy()

    # One child.

    def plan(
        self,
        request: Request | _Facts | None = None,
        *,
        goal: str = "",
        context: str = "",
        session_id: str | None = None,
        parent_id: str | None = None,
        trace: str | None = None,
        watcher: Watcher | None = None,
    ) -> HostPlan | Refused:
        """Decide what one run of a child runs on, and log it.

        Args:
            request: the wishes and facts. The host itself sees to what it says of ``caller``,
                ``parent``, ``budget`` and ``facts``: nothing of that may come from an agent.
            goal: what the child is to do; it is estimated, and not logged.
            context: what the child has to know; the same.
            session_id: the session that the child belongs to.
            parent_id: for the log, the id of the decision under which the delegating agent runs.
            trace: for the log, the trace that the request belongs to.
            watcher: is called with each event, besides the host's own watcher.

        Returns:
            The plan; or why the child does not run.
        """
        try:
            self._source.look()
            policy = self._source.policy()
            made = self._deciding.single(policy, request, goal, context, session_id)
            self._log.keep(policy, [made], parent_id, trace)
            return self._handed_out(policy, made, watcher)
        except Exception as problem:  # noqa: BLE001 - a fault of ours restricts
            return refusal_of(problem)

    async def plan_async(
        self,
        request: Request | _Facts | None = None,
        *,
        goal: str = "",
        context: str = "",
        session_id: str | None = None,
        parent_id: str | None = None,
        trace: str | None = None,
        watcher: Watcher | None = None,
    ) -> HostPlan | Refused:
        """Decide like :meth:`plan`, without blocking the running event loop."""
        try:
            policy = await self._current()
            made = self._deciding.single(policy, request, goal, context, session_id)
            await self._log.keep_async(policy, [made], parent_id, trace)
            return self._handed_out(policy, made, watcher)
        except Exception as problem:  # noqa: BLE001 - a fault of ours restricts
            return refusal_of(problem)

    def plan_of(
        self,
        policy: Policy,
        record: DecisionRecord,
        decision_id: str,
        *,
        goal: str = "",
        context: str = "",
        session_id: str | None = None,
        watcher: Watcher | None = None,
    ) -> HostPlan | Refused:
        """Return the plan of a decision that was made and logged elsewhere.

        Args:
            policy: what decided.
            record: the decision.
            decision_id: its id.
            goal: what the child is to do.
            context: what the child has to know.
            session_id: the session that the child belongs to.
            watcher: is called with each event, besides the host's own watcher.
        """
        try:
            if record.policy.revision != policy.revision:
                message = "the decision was made by another policy"
                return Refused(POLICY_UNAVAILABLE, message, decision_id=decision_id)
            check_given_session(session_id)
            given = Assignment(goal, context, dict(record.request.get("task", {})))
            made = Planned(0, given, record, decision_id, session_id)
            return self._handed_out(policy, made, watcher)
        except Exception as problem:  # noqa: BLE001 - a fault of ours restricts
            return refusal_of(problem)

    # A call of the tool.

    def batch(
        self,
        arguments: _Facts | str | bytes,
        facts: _Facts | None = None,
        *,
        own: Sequence[str] = (),
        session_id: str | None = None,
        parent_id: str | None = None,
        watcher: Watcher | None = None,
    ) -> tuple[HostPlan, ...] | Refused:
        """Decide a call of ``delegate_task`` whole, and log it.

        Args:
            arguments: the arguments of the call, or their JSON.
            facts: the sections ``caller``, ``parent``, ``budget`` and ``facts`` of its requests.
            own: the names of arguments that the host's own tool has besides; they are no wishes,
                and each plan has its own in ``own``.
            session_id: the session that the children belong to.
            parent_id: for the log, the id of the decision under which the delegating agent runs.
            watcher: is called with each event, besides the host's own watcher.

        Returns:
            A plan for each task, in order; or the first refusal, and then no child runs.
        """
        try:
            self._source.look()
            policy = self._source.policy()
            made, kept = self._deciding.batch(policy, arguments, facts, own, session_id)
            self._log.keep(policy, made, parent_id)
            return self._handed_out_batch(policy, made, kept, watcher)
        except Exception as problem:  # noqa: BLE001 - a fault of ours restricts
            return refusal_of(problem)

    async def batch_async(
        self,
        arguments: _Facts | str | bytes,
        facts: _Facts | None = None,
        *,
        own: Sequence[str] = (),
        session_id: str | None = None,
        parent_id: str | None = None,
        watcher: Watcher | None = None,
    ) -> tuple[HostPlan, ...] | Refused:
        """Decide like :meth:`batch`, without blocking the running event loop."""
        try:
            policy = await self._current()
            made, kept = self._deciding.batch(policy, arguments, facts, own, session_id)
            await self._log.keep_async(policy, made, parent_id)
            return self._handed_out_batch(policy, made, kept, watcher)
        except Exception as problem:  # noqa: BLE001 - a fault of ours restricts
            return refusal_of(problem)

    # What an agent may ask for.

    def tool(
        self,
        facts: _Facts | None = None,
        *,
        format: Format = "openai",  # noqa: A002 - what users call it
        strict: bool = False,
    ) -> dict[str, Any] | Refused:
        """Return the definition of the tool ``delegate_task`` for an agent; or why there is none.

        Args:
            facts: as for :meth:`batch`; what does not change from call to call is best.
            format: the API that takes it, as for ``Delegator.tool``.
            strict: whether the model has to give every argument; null asks for nothing.
        """
        try:
            self._source.look()
            policy = self._source.policy()
            return tool(policy, self._deciding.stated(facts), format=format, strict=strict)
        except Exception as problem:  # noqa: BLE001 - a fault of ours restricts
            return refusal_of(problem)

    def permitted(self, facts: _Facts | None = None) -> tuple[str, ...] | Refused | None:
        """Return the names that a task of this caller may ask for; None where any may.

        Args:
            facts: as for :meth:`batch`, or a whole request.
        """
        try:
            self._source.look()
            policy = self._source.policy()
            return permitted(policy, self._deciding.stated(facts), now=self._clock())
        except Exception as problem:  # noqa: BLE001 - a fault of ours restricts
            return refusal_of(problem)

    # Handing out.

    def _handed_out(
        self,
        policy: Policy,
        made: Planned,
        watcher: Watcher | None,
        own: _Facts | None = None,
    ) -> HostPlan | Refused:
        refused = refused_by(made)
        if refused is not None:
            return refused
        task = task_of(made, self._log.decisions, self._watcher, watcher)
        secrets = self._secrets
        return HostPlan(made, policy, task, begin=self._begin, secrets=secrets, own=own)

    def _handed_out_batch(
        self,
        policy: Policy,
        made: Sequence[Planned],
        kept: Sequence[_Facts],
        watcher: Watcher | None,
    ) -> tuple[HostPlan, ...] | Refused:
        found = [
            self._handed_out(policy, it, watcher, own) for it, own in zip(made, kept, strict=True)
        ]
        refused = next((it for it in found if isinstance(it, Refused)), None)
        return refused or tuple(it for it in found if isinstance(it, HostPlan))

    def _begin(self, policy: Policy, target: Target, task: ChildTask) -> Plan:
        until = task.by(self._deadline)
        rules = rules_of(policy, self._retries, self._longest_wait, self._health, until)
        return Plan(policy, target, task, legs=self._legs, rules=rules, clock=self._clock)

    def _secrets(self) -> tuple[str, ...]:
        return self._legs.secrets

    # Ending.

    def flush(self) -> None:
        """Wait until the events so far are on disk, or cannot be written."""
        self._log.flush()

    async def flush_async(self) -> None:
        """Wait as :meth:`flush` does, without blocking the running event loop."""
        await self._log.flush_async()

    def close(self) -> None:
        """Close the log, where it was given as a folder; the host closes its own."""
        self._log.close()

    async def aclose(self) -> None:
        """Close it like :meth:`close`, without blocking the running event loop."""
        await asyncio.to_thread(self.close)
