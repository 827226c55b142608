"""A process that answers: the only door to uvicorn."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import uvicorn
import uvloop

from policy_router.domain import Policy
from policy_router.errors import reason_of
from policy_router.runtime.log.write.decision_log import DecisionLog
from policy_router.runtime.router import system_clock
from policy_router.server.active import Active
from policy_router.server.app import (
    Service,
    agent_routes,
    auditor_routes,
    later_routes,
    mcp_routes,
    state_routes,
)
from policy_router.server.asking import Edges
from policy_router.server.auditing import Auditors
from policy_router.server.credentials import Limits
from policy_router.server.deciding import Agents
from policy_router.server.earlier import EarlierDecisions
from policy_router.server.gate import Gate
from policy_router.server.helpers import Helpers
from policy_router.server.index import Index
from policy_router.server.settings import Settings, index_of, seconds_of

POLL_SECONDS: Final = 1.0
"""How often files are looked at for changes."""
_KEEP_ALIVE_SECONDS: Final = 75
_LEAVE_SECONDS: Final = 1.0
_LEAVE_POLL_SECONDS: Final = 0.02
_PROBE_SECONDS: Final = 5.0
_PROBE: Final = b"\0" * 4096


class Worker:
    """Answers at a socket until it is told to end."""

    def __init__(
        self, path: str, policy: Policy, settings: Settings, shared: Path, *, share: int = 1
    ) -> None:
        """Get ready.

        Args:
            path: the rule file, or the folder of them.
            policy: what was compiled of it.
            settings: the configuration.
            shared: a folder that the workers of a service share for as long as it runs.
            share: by how many workers a limit is divided.

        Raises:
            RequestError: the configuration names a file that cannot be used.
        """
        self._settings = settings
        self.active = Active(path, policy, system_clock)
        self._gate = Gate(settings)
        self._log = DecisionLog(settings.log) if settings.log is not None else None
        index = Index(settings.log, index_of(settings)) if settings.log is not None else None
        earlier, helpers = EarlierDecisions(index), Helpers(settings, shared)
        edges = Edges(settings.hosts, settings.origins)
        limits = Limits(time.monotonic, share)
        self.service = Service(self.active, self._gate, limits, edges, queue=settings.queue)
        agents = Agents(
            lambda: self.active.policy,
            log=self._log,
            clock=system_clock,
            may_state=settings.agent_may_state,
            earlier=earlier,
        )
        auditors = Auditors(
            lambda: self.active.policy,
            log=settings.log,
            index=index,
            earlier=earlier,
            helpers=helpers,
            clock=system_clock,
        )
        self.service.routes = {
            **agent_routes(agents, auditors),
            **auditor_routes(auditors),
            **mcp_routes(lambda: self.active.policy, agents, auditors, settings.agent_may_state),
            **state_routes(self.active, readiness(settings.log)),
            **later_routes(),
        }

    def run(self, listener: socket.socket, started: Callable[[], None]) -> None:
        """Answer until SIGTERM or SIGINT comes.

        Args:
            listener: is closed at the end.
            started: is called when the first request can come.
        """
        # uvicorn raises again what it was ended by: that is an end like any other.
        signal.signal(signal.SIGTERM, lambda *_: None)
        gc.collect()
        gc.freeze()  # what was loaded stays, and is no garbage to look for
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve(listener, started))

    async def _serve(self, listener: socket.socket, started: Callable[[], None]) -> None:
        server = _Server(self.service, self._settings, started)
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._watch())
            try:
                await server.serve(sockets=[listener])
            finally:
                watching.cancel()
        if self._log is not None:
            await self._log.aclose()

    async def _watch(self) -> None:
        while True:
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


class _Server(uvicorn.Server):
    """A server that tells when it has started, and lets busy clients leave before it ends."""

    def __init__(self, service: Service, settings: Settings, started: Callable[[], None]) -> None:
        tls = settings.tls
        config = uvicorn.Config(
            service,
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
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

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self._started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End: a connection that is in use is told to go with its next answer.

        To close one at once would lose the request that may be on its way.
        """
        self._service.is_draining = True
        for server in self.servers:
            server.close()
        end = time.monotonic() + _LEAVE_SECONDS
        while (  # noqa: ASYNC110 - nothing tells of it
            self.server_state.connections and time.monotonic() < end and not self.force_exit
        ):
            await asyncio.sleep(_LEAVE_POLL_SECONDS)
        await super().shutdown(sockets)
