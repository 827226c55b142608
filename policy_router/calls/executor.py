"""The executor: makes the model calls that a decision asks for, and nothing else.

It follows the plan of the record: the target, and where that fails in a way that another could
mend, the fallbacks, in order. Which target wins was decided before; here nobody chooses.
"""

from __future__ import annotations

import asyncio
import random
import re
import threading
import time
from collections.abc import Mapping
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, UnsetType
from msgspec.structs import replace

from policy_router.calls.attempts import Call, Finished, Pause, Rules, advance, attempt_plan
from policy_router.calls.closeable import Closeable
from policy_router.calls.connections import Connections, borrowed
from policy_router.calls.dialects import Wire, conversation, wire
from policy_router.calls.endpoints import Endpoint, endpoint_of, entry_of, merged
from policy_router.calls.failures import Failure
from policy_router.calls.notifications import (
    notify_all,
    tell_attempt,
    tell_left_out,
    tell_pause,
    tell_text,
)
from policy_router.calls.results import ChildTask, Reply, Watcher
from policy_router.calls.served import concluded
from policy_router.decision.record import DecisionRecord, Target
from policy_router.domain import Policy
from policy_router.errors import NoTarget, ProviderError
from policy_router.files.clock import Clock, system_clock
from policy_router.files.ids import check_session, uuid7

if TYPE_CHECKING:
    import openai

    from policy_router.calls.sdk import Exchange

INSTRUCTIONS: Final = "You are a sub-agent. Do the task, and answer with its result alone."
"""The system message of a child, unless the host has its own."""

_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TAKEN: Final = frozenset({"authorization", "content-length", "content-type", "host"})
_SHORTEST_SECRET: Final = 8
"""Shorter keys are not starred out: they would be found in ordinary words."""
_MOST_SECRETS: Final = 100
"""So many keys that were read before are starred out too; keys that change would be ever more."""


class _Prepared(Struct, frozen=True):
    """A call that can be made."""

    endpoint: Endpoint
    exchange: Exchange
    left_out: tuple[str, ...]


class Executor(Closeable):
    """Runs decisions with the OpenAI SDK. Safe to share between threads and event loops.

    Close it, or use it in ``with``: it keeps connections open from call to call.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        environ: Mapping[str, str] | None = None,
        timeout: float = 600.0,
        retries: int = 0,
        longest_wait: float = 60.0,
        streams: bool = False,
        instructions: str = INSTRUCTIONS,
        session_header: str = "X-Session-Id",
        transport: Any = None,
        clock: Clock = system_clock,
    ) -> None:
        """Prepare to run the decisions of a policy; nothing is opened yet.

        Args:
            policy: the policy with the endpoints of providers and their dialects.
            environ: the mapping for ``env:NAME``; default: the process's environment.
            timeout: seconds without data from a provider after which an attempt fails.
            retries: how often the plan is repeated after temporary failures.
            longest_wait: seconds; a provider that asks for a longer pause is skipped.
            streams: whether answers are streamed, so that watchers get the text in pieces.
            instructions: the system message of each child; ``""`` for none.
            session_header: the header with the session's id for the provider.
            transport: an ``httpx2`` transport in place of the network, for tests; with version 2 of
                the SDK, an ``httpx`` transport.
            clock: the time, for a ``Retry-After`` that is a date.

        Raises:
            ValueError: an option has a wrong value.
        """
        if timeout <= 0 or retries < 0 or longest_wait < 0:
            raise ValueError("the timeout is above 0, retries and longest_wait are at least 0")
        if not _HEADER.fullmatch(session_header) or session_header.lower() in _TAKEN:
            raise ValueError("the session_header is no name for a header of one's own")
        self.policy = policy
        self._environ = environ
        self._streams, self._instructions = streams, instructions
        self._session_header, self._clock = session_header, clock
        self._rules = Rules(retries, longest_wait, self._also, time.monotonic, random.random)
        self._read: list[str] = []
        self._secrets: tuple[str, ...] = ()
        self._lock = threading.Lock()
        self._connections = Connections(timeout, transport)

    # Acting on one decision.

    def run(
        self,
        record: DecisionRecord,
        goal: str,
        *,
        context: str = "",
        decision_id: str | None = None,
        session_id: str | None = None,
        watcher: Watcher | None = None,
    ) -> Reply:
        """Make the model call of a decision, and try its fallbacks.

        Args:
            record: the decision.
            goal: the goal of the task.
            context: the information that the task needs.
            decision_id: the id of the decision; a new one unless given.
            session_id: the session to continue.
            watcher: is called with each event.

        Returns:
            The answer, with its target and every attempt.

        Raises:
            NoTarget: the record is a refusal.
            ProviderError: no target of the plan answered.
            RequestError: the session's id cannot be sent.
            ModuleNotFoundError: the extra ``run`` is not installed.
        """
        task = self._task(record, goal, context, decision_id, session_id=session_id, tell=watcher)
        return self.run_child(_target(record), task)

    async def run_async(
        self,
        record: DecisionRecord,
        goal: str,
        *,
        context: str = "",
        decision_id: str | None = None,
        session_id: str | None = None,
        watcher: Watcher | None = None,
    ) -> Reply:
        """Make the model call on an event loop, like :meth:`run`."""
        task = self._task(record, goal, context, decision_id, session_id=session_id, tell=watcher)
        return await self.run_child_async(_target(record), task)

    def _task(
        self,
        record: DecisionRecord,
        goal: str,
        context: str,
        decision_id: str | None,
        *,
        session_id: str | None,
        tell: Watcher | None,
    ) -> ChildTask:
        kind = str(record.request.get("task", {}).get("kind", ""))
        id_ = decision_id or uuid7(self._clock())
        return ChildTask(0, goal, context, kind, id_, session_id, record, notify_all(tell))

    def run_child(self, target: Target, task: ChildTask) -> Reply:
        """Run the default child: one completion, at the target or at one of its fallbacks.

        Raises:
            ProviderError: no target of the plan answered.
            RequestError: the session's id cannot be sent.
            ModuleNotFoundError: the extra ``run`` is not installed.
        """
        steps = attempt_plan((target, *task.fallbacks), self._rules)
        step = advance(steps)
        while not isinstance(step, Finished):
            if isinstance(step, Pause):
                tell_pause(task, step)
                time.sleep(step.seconds)
                step = advance(steps)
            else:
                step = advance(steps, self._attempt(step, task))
        return concluded(self.policy, step, task)

    async def run_child_async(self, target: Target, task: ChildTask) -> Reply:
        """Run the default child on an event loop, like :meth:`run_child`."""
        steps = attempt_plan((target, *task.fallbacks), self._rules)
        step = advance(steps)
        while not isinstance(step, Finished):
            if isinstance(step, Pause):
                tell_pause(task, step)
                await asyncio.sleep(step.seconds)
                step = advance(steps)
            else:
                step = advance(steps, await self._attempt_async(step, task))
        return concluded(self.policy, step, task)

    # One attempt.

    def _attempt(self, call: Call, task: ChildTask) -> Reply | Failure:
        prepared = self._prepared(call, task)
        if isinstance(prepared, Failure):
            return prepared
        clients = self._connections.clients
        try:
            with borrowed(clients, prepared.endpoint) as loan:
                if self._streams:
                    with closing(prepared.exchange.stream(loan.client)) as pieces:
                        for piece in pieces:
                            tell_text(task, piece)
                    loan.answer = prepared.exchange.reading.outcome()
                else:
                    loan.answer = prepared.exchange.call(loan.client)
        finally:
            for client in clients.dead():
                client.close()
        return _warned(loan.answer, prepared)

    async def _attempt_async(self, call: Call, task: ChildTask) -> Reply | Failure:
        prepared = self._prepared(call, task)
        if isinstance(prepared, Failure):
            return prepared
        clients = self._connections.of_this_loop()
        try:
            with borrowed(clients, prepared.endpoint) as loan:
                if self._streams:
                    async with aclosing(prepared.exchange.stream_async(loan.client)) as pieces:
                        async for piece in pieces:
                            tell_text(task, piece)
                    loan.answer = prepared.exchange.reading.outcome()
                else:
                    loan.answer = await prepared.exchange.call_async(loan.client)
        finally:
            for client in clients.dead():
                await client.close()
        return _warned(loan.answer, prepared)

    def _prepared(self, call: Call, task: ChildTask) -> _Prepared | Failure:
        """Put a call as its target wants it, and tell that it begins."""
        from policy_router.calls.sdk import Exchange

        target = call.target
        tell_attempt(call, task)
        endpoint = endpoint_of(self.policy, target.provider, self._environ)
        if isinstance(endpoint, Failure):
            return endpoint
        self._keep_secret(endpoint)
        sent = self._wire(target, task, endpoint, streams=self._streams)
        for name in sent.left_out:
            tell_left_out(call, task, name)
        exchange = Exchange(sent, self._secrets, self._clock)
        return _Prepared(endpoint, exchange, sent.left_out)

    def _wire(self, target: Target, task: ChildTask, endpoint: Endpoint, *, streams: bool) -> Wire:
        entry = entry_of(self.policy, target)
        dialect = merged(entry.dialect, endpoint.dialect) if entry else endpoint.dialect
        user = f"{task.goal}\n\n{task.context}" if task.context else task.goal
        sent = wire(target, entry, dialect, streams=streams)
        messages = conversation(target, dialect, self._instructions, user)
        return replace(sent, messages=messages, headers=self._session(task.session_id))

    def _session(self, session_id: str | None) -> dict[str, str]:
        if session_id is None:
            return {}
        check_session(session_id)
        return {self._session_header: session_id}

    def _also(self, target: Target) -> tuple[int, ...]:
        entry = entry_of(self.policy, target)
        return entry.fallback_on if entry else ()

    def _keep_secret(self, endpoint: Endpoint) -> None:
        """Remember an endpoint's secrets, so that no answer repeats them; longest first."""
        found = [secret for secret in endpoint.secrets if len(secret) >= _SHORTEST_SECRET]
        if not set(found).issubset(self._secrets):
            with self._lock:
                self._read = [it for it in self._read if it not in found][-_MOST_SECRETS:] + found
                self._secrets = tuple(sorted(self._read, key=len, reverse=True))

    @property
    def secrets(self) -> tuple[str, ...]:
        """The keys that were read so far, which are removed from texts of a host's own child."""
        return self._secrets

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
        return self._wire(target, task, self._endpoint(target.provider), streams=False)

    def client(self, provider: str) -> openai.OpenAI:
        """Return the SDK's client of a provider, for a host that makes its own calls.

        The policy gives its address, key and headers. It is closed with the executor.

        Args:
            provider: the provider's name, as in a target.

        Raises:
            ProviderError: it has no address, or its key is missing.
            ModuleNotFoundError: the extra ``run`` is not installed.
        """
        return self._connections.clients.lend(self._endpoint(provider))

    def async_client(self, provider: str) -> openai.AsyncOpenAI:
        """Return the SDK's client for the running event loop, like :meth:`client`."""
        return self._connections.of_this_loop().lend(self._endpoint(provider))

    def missing(self, provider: str) -> str | None:
        """Return why a provider cannot be called now: its address or its key is missing.

        Nothing is sent. None where nothing is known to be in the way.
        """
        endpoint = endpoint_of(self.policy, provider, self._environ)
        return endpoint.message if isinstance(endpoint, Failure) else None

    def _endpoint(self, provider: str) -> Endpoint:
        endpoint = endpoint_of(self.policy, provider, self._environ)
        if isinstance(endpoint, Failure):
            raise ProviderError(endpoint.code, endpoint.message)
        self._keep_secret(endpoint)
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


def _warned(answer: Reply | Failure | None, prepared: _Prepared) -> Reply | Failure:
    """Add to an answer what was left out of its call."""
    if isinstance(answer, Reply) and prepared.left_out:
        warnings = tuple(f"the model does not take `{name}`" for name in prepared.left_out)
        return replace(answer, warnings=warnings)
    if answer is None:  # pragma: no cover - every way out of a loan sets it, or raises
        raise TypeError("a call has an answer")
    return answer
