"""The executor: makes the model calls that a decision asks for, and nothing else.

It follows the plan of the record: the target, and where that fails in a way that another could
mend, the fallbacks, in order. Which target wins was decided before; here nobody chooses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, Final

from msgspec import UnsetType
from msgspec.structs import replace

from policy_router.calls.child_task import ChildTask, Reply, Watcher, moment_after
from policy_router.calls.closeable import Closeable
from policy_router.calls.connections import Connections, borrowed, prepare_http
from policy_router.calls.dialects import Wire, conversation
from policy_router.calls.endpoints import Endpoint
from policy_router.calls.failures import Failure
from policy_router.calls.health import Health, HealthStore
from policy_router.calls.legs import SESSION_HEADER, Leg, Legs
from policy_router.calls.limits import limits_of
from policy_router.calls.notifications import notify_all, tell_text
from policy_router.calls.plan import Plan, rules_of
from policy_router.decision.record import DecisionRecord, Target
from policy_router.domain import Policy
from policy_router.errors import NoTarget, ProviderError
from policy_router.files.clock import Clock, system_clock
from policy_router.files.ids import uuid7

if TYPE_CHECKING:
    import openai

    from policy_router.calls.exchange import Exchange

INSTRUCTIONS: Final = "You are a sub-agent. Do the task, and answer with its result alone."
"""The system message of a child, unless the host has its own."""


class Executor(Closeable):
    """Runs decisions with the HTTP client of the OpenAI SDK.

    Threads and event loops may share it. Close it, or use it in ``with``: it keeps connections open
    from call to call.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        environ: Mapping[str, str] | None = None,
        timeout: float = 600.0,
        deadline: float | None = None,
        retries: int = 0,
        longest_wait: float = 60.0,
        streams: bool = False,
        instructions: str = INSTRUCTIONS,
        session_header: str = SESSION_HEADER,
        workers: int = 1,
        transport: Any = None,
        health: HealthStore | None = None,
        clock: Clock = system_clock,
    ) -> None:
        """Prepare to run the decisions of a policy; nothing is opened yet.

        Args:
            policy: the policy with the endpoints of providers and their dialects.
            environ: the mapping for ``env:NAME``; default: the process's environment.
            timeout: seconds without data from a provider after which an attempt fails.
            deadline: seconds that a child may take in all; None: no limit. Within it, an attempt
                that takes too long fails with ``timeout``, and the plan goes on.
            retries: how often the plan is repeated after temporary failures.
            longest_wait: seconds; a provider that asks for a longer pause is skipped.
            streams: whether answers are streamed, so that watchers get the text in pieces.
            instructions: the system message of each child; ``""`` for none.
            session_header: the header with the session's id for the provider.
            workers: how many processes call together; each takes its share of the number of calls
                that a provider may get at the same time, at least one.
            transport: an ``httpx2`` transport in place of the network, for tests; with version 2 of
                the SDK, an ``httpx`` transport.
            health: what is known of targets, shared by all children; default: a store of this
                executor. A host may give several executors one, or have its own.
            clock: the time, for a ``Retry-After`` that is a date.

        Raises:
            ValueError: an option has a wrong value.
        """
        limits = limits_of(
            timeout, deadline=deadline, retries=retries, longest_wait=longest_wait, workers=workers
        )
        self.policy = policy
        self._streams, self._instructions, self._clock = streams, instructions, clock
        self._legs = Legs(
            environ,
            session_header=session_header,
            limits=limits,
            streams=streams,
            workers=workers,
        )
        self._deadline, self._is_warm = deadline, False
        health = Health() if health is None else health
        self._rules = rules_of(policy, retries, longest_wait, health)
        self._connections = Connections(timeout, transport)

    async def warm(self) -> None:
        """Import what model calls need, in a thread, so that the first call is no slower.

        The first call on an event loop does it too: it takes about a tenth of a second, in which
        the loop would stand still. The SDK itself is imported by :meth:`client` alone.

        Raises:
            ModuleNotFoundError: the extra ``run`` is not installed.
        """
        if not self._is_warm:
            await asyncio.to_thread(prepare_http)
            self._is_warm = True

    # Acting on one decision.

    def run(
        self,
        record: DecisionRecord,
        goal: str,
        *,
        context: str = "",
        decision_id: str | None = None,
        session_id: str | None = None,
        deadline: float | None = None,
        watcher: Watcher | None = None,
    ) -> Reply:
        """Make the model call of a decision, and try its fallbacks.

        Args:
            record: the decision.
            goal: the goal of the task.
            context: the information that the task needs.
            decision_id: the id of the decision; a new one unless given.
            session_id: the session to continue.
            deadline: seconds that it may take in all, if that is less than the executor's.
            watcher: is called with each event.

        Returns:
            The answer, with its target and every attempt.

        Raises:
            NoTarget: the record is a refusal.
            ProviderError: no target of the plan answered.
            RequestError: the session's id cannot be sent.
            ModuleNotFoundError: the extra ``run`` is not installed.
        """
        ids = decision_id, session_id
        task = self._task(record, goal, context, ids, deadline=deadline, watcher=watcher)
        return self.run_child(_target(record), task)

    async def run_async(
        self,
        record: DecisionRecord,
        goal: str,
        *,
        context: str = "",
        decision_id: str | None = None,
        session_id: str | None = None,
        deadline: float | None = None,
        watcher: Watcher | None = None,
    ) -> Reply:
        """Make the model call on an event loop, like :meth:`run`."""
        ids = decision_id, session_id
        task = self._task(record, goal, context, ids, deadline=deadline, watcher=watcher)
        return await self.run_child_async(_target(record), task)

    def _task(
        self,
        record: DecisionRecord,
        goal: str,
        context: str,
        ids: tuple[str | None, str | None],
        *,
        deadline: float | None,
        watcher: Watcher | None,
    ) -> ChildTask:
        kind = str(record.request.get("task", {}).get("kind", ""))
        decision_id, session_id = ids
        id_ = decision_id or uuid7(self._clock())
        told, until = notify_all(watcher), moment_after(deadline)
        return ChildTask(0, goal, context, kind, id_, session_id, record, told, until)

    def run_child(self, target: Target, task: ChildTask) -> Reply:
        """Run the default child: one completion, at the target or at one of its fallbacks.

        Raises:
            ProviderError: no target of the plan answered.
            RequestError: the session's id cannot be sent.
            ModuleNotFoundError: the extra ``run`` is not installed.
        """
        with closing(self.plan(target, task)) as plan:
            while (leg := plan.ready()) is not None:
                plan.answered(self._attempt(leg, task))
            return plan.reply()

    async def run_child_async(self, target: Target, task: ChildTask) -> Reply:
        """Run the default child on an event loop, like :meth:`run_child`."""
        with closing(self.plan(target, task)) as plan:
            while (leg := await plan.ready_async()) is not None:
                plan.answered(await self._attempt_async(leg, task))
            return plan.reply()

    def plan(self, target: Target, task: ChildTask) -> Plan:
        """Return the plan of a child, for a host that makes the calls itself.

        Args:
            target: the target of the child.
            task: the child's task.

        Raises:
            RequestError: the session's id cannot be sent.
        """
        rules = replace(self._rules, deadline=task.by(self._deadline))
        return Plan(self.policy, target, task, legs=self._legs, rules=rules, clock=self._clock)

    # One attempt.

    def _attempt(self, leg: Leg, task: ChildTask) -> Reply | Failure:
        exchange = self._exchange(leg, task)
        clients = self._connections.clients
        try:
            with borrowed(clients, leg.endpoint) as loan:
                if self._streams:
                    with closing(exchange.stream(loan.client, leg.limits)) as pieces:
                        for piece in pieces:
                            tell_text(task, piece)
                    loan.answer = exchange.reading.outcome()
                else:
                    loan.answer = exchange.call(loan.client, leg.limits)
        finally:
            for client in clients.dead():
                client.close()
        return loan.answer

    async def _attempt_async(self, leg: Leg, task: ChildTask) -> Reply | Failure:
        await self.warm()
        exchange = self._exchange(leg, task)
        clients = self._connections.of_this_loop()
        try:
            with borrowed(clients, leg.endpoint) as loan:
                if self._streams:
                    stream = exchange.stream_async(loan.client, leg.limits)
                    async with aclosing(stream) as pieces:
                        async for piece in pieces:
                            tell_text(task, piece)
                    loan.answer = exchange.reading.outcome()
                else:
                    loan.answer = await exchange.call_async(loan.client, leg.limits)
        finally:
            for client in clients.dead():
                await client.close()
        return loan.answer

    def _exchange(self, leg: Leg, task: ChildTask) -> Exchange:
        from policy_router.calls.exchange import Exchange

        return Exchange(self._with_messages(leg, task), self._legs.secrets, self._clock)

    def _with_messages(self, leg: Leg, task: ChildTask) -> Wire:
        user = f"{task.goal}\n\n{task.context}" if task.context else task.goal
        messages = conversation(leg.target, leg.dialect, self._instructions, user)
        return replace(leg.wire, messages=messages)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The keys that were read so far, which are removed from texts of a host's own child."""
        return self._legs.secrets

    # Connections.

    def wire(self, target: Target, task: ChildTask) -> Wire:
        """Return a child's call in its endpoint's dialect, for a host that makes the call itself.

        Args:
            target: the target of the call.
            task: the child's task.

        Returns:
            The first messages, the parameters and the session's header.

        Raises:
            ProviderError: the provider has no address, or its key is missing.
        """
        leg = self._legs.leg(self.policy, target, task.session_id, streams=False)
        if isinstance(leg, Failure):
            raise ProviderError(leg.code, leg.message)
        return self._with_messages(leg, task)

    def client(self, provider: str) -> openai.OpenAI:
        """Return the SDK's client of a provider, for a host that makes its own calls.

        The policy gives its address, key and headers. It is closed with the executor. The first
        one imports the SDK, which takes half a second.

        Args:
            provider: the provider's name, as in a target.

        Raises:
            ProviderError: it has no address, or its key is missing.
            ModuleNotFoundError: the extra ``run`` is not installed.
        """
        connection = self._connections.clients.lend(self._endpoint(provider))
        from policy_router.calls.sdk import client_over

        return client_over(connection)

    def async_client(self, provider: str) -> openai.AsyncOpenAI:
        """Return the SDK's client for the running event loop, like :meth:`client`."""
        connection = self._connections.of_this_loop().lend(self._endpoint(provider))
        from policy_router.calls.sdk import async_client_over

        return async_client_over(connection)

    def missing(self, provider: str) -> str | None:
        """Return why a provider cannot be called now: its address or its key is missing.

        Nothing is sent. None where nothing is known to be in the way.
        """
        endpoint = self._legs.endpoint(self.policy, provider)
        return endpoint.message if isinstance(endpoint, Failure) else None

    def _endpoint(self, provider: str) -> Endpoint:
        endpoint = self._legs.endpoint(self.policy, provider)
        if isinstance(endpoint, Failure):
            raise ProviderError(endpoint.code, endpoint.message)
        return endpoint

    def close(self) -> None:
        """Close the connections of threads; no more calls are possible.

        Only an event loop itself can close its connections: see :meth:`aclose`.
        """
        self._connections.close()

    async def release(self) -> None:
        """Close the connections of the running event loop, and stay open for other loops."""
        await self._connections.release()

    async def aclose(self) -> None:
        """Close the connections of the running event loop and of threads."""
        await self.release()
        self.close()


def _target(record: DecisionRecord) -> Target:
    target = record.decision.target
    if isinstance(target, UnsetType):
        raise NoTarget(record)
    return target
