"""A process that answers: the only door to uvicorn."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from policy_router.decision.prepared import Prepared
from policy_router.domain import Policy
from policy_router.errors import reason_of
from policy_router.files.clock import system_clock
from policy_router.log.write.decision_log import DecisionLog
from policy_router.server.active import Active
from policy_router.server.administering import Administrators
from policy_router.server.app import (
    Routes,
    Service,
    access_routes,
    administrator_routes,
    agent_routes,
    auditor_routes,
    later_routes,
    mcp_routes,
    state_routes,
)
from policy_router.server.asking import Edges, Send
from policy_router.server.auditing import Auditors
from policy_router.server.authzen import Access
from policy_router.server.budgets import CallerBudgets
from policy_router.server.credentials import Limits
from policy_router.server.deciding import Agents
from policy_router.server.earlier import EarlierDecisions
from policy_router.server.gate import Gate
from policy_router.server.helpers import Helpers
from policy_router.server.index import Index
from policy_router.server.metrics import Metrics
from policy_router.server.problems import Header
from policy_router.server.reloading import Reloads, RuleFiles, for_ever
from policy_router.server.serve import let_nobody_in
from policy_router.server.settings import Settings, index_of, seconds_of
from policy_router.server.tracing import Spans

Reload: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
"""Loads a policy again, and returns what became of it."""
POLL_SECONDS: Final = 1.0
"""How often files are looked at for changes."""
_KEEP_ALIVE_SECONDS: Final = 75
_REQUEST_SECONDS: Final = 15.0
_READING_SECONDS: Final = 60.0
_LONGEST_HEAD: Final = 64 * 1024
_LEAVE_SECONDS: Final = 1.0
_LEAVE_POLL_SECONDS: Final = 0.02
_PROBE_SECONDS: Final = 5.0
_PROBE: Final = b"\0" * 4096


class Worker:
    """Answers at a socket until it is told to end."""

    def __init__(
        self,
        files: RuleFiles,
        policy: Policy,
        settings: Settings,
        shared: Path,
        *,
        number: int = 1,
        reload: Reload | None = None,
    ) -> None:
        """Get ready.

        Args:
            files: the rule files, as they were before they were read.
            policy: what was compiled of it.
            settings: the configuration.
            shared: a folder that the workers of a service share for as long as it runs.
            number: which worker this is.
            reload: lets who is above this worker load the policy again; None where nobody is.

        Raises:
            RequestError: the configuration names a file that cannot be used, or OpenTelemetry's
                cannot be used.
        """
        self._settings, self._spans = settings, Spans.installed()
        self.active = Active(policy, system_clock)
        self._gate, self._metrics = Gate(settings), Metrics(shared, number)
        self._log = DecisionLog(settings.log) if settings.log is not None else None
        helpers = Helpers(settings, shared)
        self._reloads = None if reload is not None else self._own_reloads(files, helpers)
        self.service = Service(
            self.active,
            self._gate,
            Limits(time.monotonic, settings.workers),
            Edges(settings.hosts, settings.origins),
            self._metrics,
            routes=self._routes(helpers, reload or self._reload),
            queue=settings.queue,
            spans=self._spans,
            write_whole=write_whole,
        )
        self._server: _Server | None = None

    def _own_reloads(self, files: RuleFiles, helpers: Helpers) -> Reloads:
        return Reloads(
            files,
            self.active.revision,
            helpers,
            strict=self._settings.strict,
            adopt=self._adopt,
            tell=self.active.reject,
            count=self._metrics.reloaded,
        )

    def _routes(self, helpers: Helpers, reload: Reload) -> Routes:
        log, budgets = self._settings.log, self._settings.budgets
        index = None if log is None else Index(log, index_of(self._settings))
        earlier = EarlierDecisions(index)
        agents = Agents(
            lambda: self.active.policy,
            log=self._log,
            clock=system_clock,
            may_state=self._settings.agent_may_state,
            earlier=earlier,
            unlogged=self._metrics.unlogged,
            spans=self._spans,
            budgets=CallerBudgets(budgets) if budgets is not None else None,
        )
        auditors = Auditors(
            lambda: self.active.policy,
            log=log,
            index=index,
            earlier=earlier,
            helpers=helpers,
            clock=system_clock,
        )
        access = Access(
            agents,
            lambda: self.active.policy,
            system_clock,
            has_tls=self._settings.tls is not None,
        )
        administrators = Administrators(self.active, helpers, reload)
        return {
            **agent_routes(agents, auditors, self._metrics),
            **access_routes(access),
            **auditor_routes(auditors),
            **administrator_routes(administrators),
            **mcp_routes(
                lambda: self.active.policy,
                agents,
                auditors,
                self._settings.agent_may_state,
                self._metrics,
            ),
            **state_routes(self.active, self._metrics, readiness(log)),
            **later_routes(),
        }

    async def _reload(self) -> dict[str, Any]:
        if self._reloads is None:  # pragma: no cover - then it is the supervisor's
            raise RuntimeError("the policy is loaded by the supervisor")
        return await self._reloads.reload()

    async def _adopt(self, policy: Policy) -> None:
        """Let a policy decide that is made ready beside what decides now."""
        await asyncio.to_thread(policy.prepared(Prepared).warm)
        self.active.use(policy)

    def run(
        self,
        listener: socket.socket,
        started: Callable[[], None],
        *watching: Callable[[], Awaitable[None]],
    ) -> None:
        """Answer until SIGTERM or SIGINT comes.

        Args:
            listener: is closed at the end.
            started: is called when the first request can come.
            watching: what goes on meanwhile, again and again.
        """
        # uvicorn raises again what it was ended by: that is an end like any other.
        signal.signal(signal.SIGTERM, lambda *_: None)
        gc.collect()
        gc.freeze()  # what was loaded stays, and is no garbage to look for
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve(listener, started, watching))

    def end(self) -> None:
        """End as soon as the clients have left, as a worker that is replaced does."""
        if self._server is not None:
            self._server.leave_seconds = seconds_of(self._settings.drain)
            self._server.is_replaced = True
            self._server.should_exit = True

    async def _serve(
        self,
        listener: socket.socket,
        started: Callable[[], None],
        watching: Sequence[Callable[[], Awaitable[None]]],
    ) -> None:
        self._server = server = _Server(self.service, self._settings, started)
        works = [self._refresh, *watching]
        if self._reloads is not None:
            hurry = self._reloads.hurry
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hurry.set)
            works.append(self._reloads.watch)
        tasks = [asyncio.create_task(for_ever(work)) for work in works]
        await server.serve(sockets=[listener])
        for task in tasks:
            task.cancel()
        if self._log is not None:
            await self._log.aclose()

    async def _refresh(self) -> None:
        await asyncio.sleep(POLL_SECONDS)
        await self._gate.refresh()


def readiness(folder: str | None) -> Callable[[], Awaitable[str | None]]:
    """Return what tells why a service cannot decide: a log that cannot be written.

    Args:
        folder: the log.
    """
    known: tuple[float, str | None] = (-_PROBE_SECONDS, None)

    async def reason() -> str | None:
        nonlocal known
        if folder is not None and time.monotonic() - known[0] >= _PROBE_SECONDS:
            known = (time.monotonic(), await asyncio.to_thread(why_not_writable, folder))
        return known[1]

    return reason


def why_not_writable(folder: str) -> str | None:
    """Return why a log cannot be written, by writing a little beside its lines."""
    probe = Path(folder) / f".probe-{time.monotonic_ns()}"
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(_PROBE)
        finally:
            probe.unlink(missing_ok=True)
    except OSError as problem:
        return f"the decision log cannot be written: {reason_of(problem)}"
    return None


class _Connection(HttpToolsProtocol):
    """A connection whose requests are bounded: their heads in length, and each in time.

    What is too slow is closed: a first request, the rest of a head or of a body, and a client that
    does not read what it asked for.
    """

    _head_bytes = 0
    _began = 0.0
    _writing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a first request only so long."""
        super().connection_made(transport)
        self._close_after(_KEEP_ALIVE_SECONDS)

    def data_received(self, data: bytes) -> None:
        """Take in what has come, and wait for what is still to come only so long."""
        super().data_received(data)
        # uvicorn makes a scope when a request begins, and a cycle of it at the end of its head.
        has_head = getattr(self.cycle, "scope", None) is self.scope
        if has_head and not self.cycle.more_body:
            self._head_bytes, self._began = 0, 0.0
        elif not self.transport.is_closing():
            self._wait_for_rest(len(data), has_head=has_head)

    def _wait_for_rest(self, size: int, *, has_head: bool) -> None:
        now = self.loop.time()
        self._began = self._began or now
        self._head_bytes = 0 if has_head else self._head_bytes + size
        left = self._began + _REQUEST_SECONDS - now
        if self._head_bytes > _LONGEST_HEAD or left <= 0:
            self.send_400_response("The request is too slow, or its head is too long.")
        else:
            self._close_after(left)

    def pause_writing(self) -> None:
        """Wait for a client that does not read only so long."""
        super().pause_writing()
        self._writing = self.loop.call_later(_READING_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Wait no more."""
        super().resume_writing()
        if self._writing is not None:
            self._writing.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        if self._writing is not None:
            self._writing.cancel()

    def _close_after(self, seconds: float) -> None:
        """Close it where nothing more comes."""
        self._unset_keepalive_if_required()
        closing = self.loop.call_later(seconds, self.timeout_keep_alive_handler)
        self.timeout_keep_alive_task = closing


def write_whole(send: Send, status: int, headers: list[Header], body: bytes) -> bool:
    """Write a whole answer at once, as uvicorn would in two messages, each header checked.

    The headers are the service's own: nothing in them was asked for by a client. Whatever is out of
    the ordinary is left to uvicorn.

    Returns:
        Whether it is written.
    """
    cycle = getattr(send, "__self__", None)
    if (
        type(cycle) is not RequestResponseCycle
        or not cycle.keep_alive
        or cycle.response_started
        or cycle.disconnected
        or cycle.flow.write_paused
        or cycle.scope["method"] == "HEAD"
    ):
        return False
    parts = [STATUS_LINE[status]]
    for name, value in (*cycle.default_headers, *headers):
        parts += (name, b": ", value, b"\r\n")
    parts += (b"\r\n", body)
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.transport.write(b"".join(parts))
    cycle.message_event.set()
    cycle.on_response()
    return True


class _Server(uvicorn.Server):
    """A server that tells when it has started, and lets busy clients leave before it ends."""

    def __init__(self, service: Service, settings: Settings, started: Callable[[], None]) -> None:
        tls = settings.tls
        config = uvicorn.Config(
            service,
            loop="uvloop",
            http=_Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=max(1, round(seconds_of(settings.drain))),
            ssl_certfile=None if tls is None else tls.certificate,
            ssl_keyfile=None if tls is None else tls.key,
        )
        super().__init__(config)
        self._service, self._started = service, started
        self.leave_seconds, self.is_replaced = _LEAVE_SECONDS, False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self._started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End: a connection that is in use is told to go with its next answer.

        To close one at once would lose the request that may be on its way.
        """
        self._service.is_draining = True
        if not self.is_replaced:
            await let_nobody_in(sockets or [])
        for server in self.servers:
            server.close()
        end = time.monotonic() + self.leave_seconds
        while (  # noqa: ASYNC110 - nothing tells of it
            self.server_state.connections and time.monotonic() < end and not self.force_exit
        ):
            await asyncio.sleep(_LEAVE_POLL_SECONDS)
        await super().shutdown(sockets)
