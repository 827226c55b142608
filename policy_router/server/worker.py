"""A worker process of the service."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from policy_router.decision.prepared import Prepared
from policy_router.domain import Policy
from policy_router.errors import reason_of
from policy_router.files.clock import system_clock
from policy_router.hosts import Health, PolicyHost
from policy_router.log.files import make_folder
from policy_router.log.folder import LogFolder
from policy_router.log.policies import are_same_files
from policy_router.log.write.decision_log import DecisionLog
from policy_router.server.active import Active, BundleVersion
from policy_router.server.administering import Administrators
from policy_router.server.app import Service
from policy_router.server.asking import Edges
from policy_router.server.auditing import Auditors
from policy_router.server.authzen import Access
from policy_router.server.budgets import CallerBudgets
from policy_router.server.credentials import Limits
from policy_router.server.deciding import Agents
from policy_router.server.earlier import EarlierDecisions
from policy_router.server.gate import Gate
from policy_router.server.helpers import Helpers, StayingHelper
from policy_router.server.index import Index
from policy_router.server.metrics import Metrics
from policy_router.server.plans import Plans
from policy_router.server.reloading import Reloads, RuleFiles, for_ever
from policy_router.server.routes import (
    Routes,
    access_routes,
    administrator_routes,
    agent_routes,
    auditor_routes,
    gateway_routes,
    mcp_routes,
    plan_routes,
    state_routes,
)
from policy_router.server.settings import Settings, index_of, seconds_of
from policy_router.server.tracing import Spans
from policy_router.server.trust import Trust
from policy_router.server.wire import Server, cut, new_loop, write_whole

if TYPE_CHECKING:
    from policy_router.server.delegating import Delegations
    from policy_router.server.gateway.gateway import Gateway
    from policy_router.server.gateway.upstream import Upstream

Reload: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
"""Loads a policy again, and returns what became of it."""
POLL_SECONDS: Final = 1.0
"""How often files are looked at for changes."""
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
        self.active = Active(policy, system_clock, files.bundle)
        self._gate, self._metrics = Gate(settings), Metrics(shared, number)
        self._log = _log_of(settings, files.bundle)
        self._upstream: Upstream | None = None
        self._health = Health()
        helpers, self._staying = Helpers(settings, shared), StayingHelper(settings)
        self._reloads = None if reload is not None else self._own_reloads(files, helpers)
        self.service = Service(
            self.active,
            self._gate,
            Limits(time.monotonic, settings.workers),
            Edges(settings.hosts, settings.origins),
            self._metrics,
            routes=self._routes(files, helpers, reload or self._reload, shared),
            queue=settings.queue,
            may_spend=settings.may_spend,
            spans=self._spans,
            write_whole=write_whole,
            cut=cut,
        )
        self._server: Server | None = None

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

    def _routes(self, files: RuleFiles, helpers: Helpers, reload: Reload, shared: Path) -> Routes:
        log, limits = self._settings.log, self._settings.budgets
        pseudonyms = self._gate.pseudonyms
        budgets = None if limits is None else CallerBudgets(limits, pseudonyms)
        index = None if log is None else Index(log, index_of(self._settings))
        earlier = EarlierDecisions(index)
        may_state = self._settings.agent_may_state
        agents = Agents(
            lambda: self.active.policy,
            Trust(earlier, may_state=may_state, budgets=budgets, pseudonyms=pseudonyms),
            log=self._log,
            clock=system_clock,
            earlier=earlier,
            unlogged=self._metrics.unlogged,
            spans=self._spans,
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
        counted = self._metrics.decided
        plans = Plans(lambda: self.active.policy, agents, earlier, self._log, counted)
        gateway, delegations, pages = None, None, {}
        if self._settings.pages:
            pages = self._pages(auditors, earlier, files, helpers, shared=shared, index=index)
        if self._settings.run:
            gateway = self._gateway(agents, index, budgets)
        if self._settings.run and self._settings.may_spend:
            delegations = self._delegations(agents, budgets)
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
                delegations=delegations,
            ),
            **gateway_routes(agents, gateway),
            **plan_routes(plans),
            **state_routes(self.active, self._metrics, readiness(log)),
            **pages,
        }

    def _pages(
        self,
        auditors: Auditors,
        earlier: EarlierDecisions,
        files: RuleFiles,
        helpers: Helpers,
        *,
        shared: Path,
        index: Index | None,
    ) -> Routes:
        """Return the pages; what they are made of is imported only where they are offered."""
        from policy_router.server.pages.routes import page_routes

        return page_routes(
            self.active,
            self._gate,
            auditors,
            earlier,
            staying=self._staying,
            helpers=helpers,
            place=None if self._settings.policy_key is not None else files.path,
            shared=shared,
            log=self._settings.log,
            index=index,
            clock=system_clock,
            has_tls=self._settings.tls is not None,
        )

    def _delegations(self, agents: Agents, budgets: CallerBudgets | None) -> Delegations:
        """Return what runs delegated tasks; it is imported only where models are called."""
        from policy_router.server.delegating import Delegations

        return Delegations(
            lambda: self.active.policy,
            agents,
            log=self._log,
            budgets=budgets,
            health=self._health,
            workers=self._settings.workers,
        )

    def _gateway(
        self, agents: Agents, index: Index | None, budgets: CallerBudgets | None
    ) -> Gateway:
        """Return what forwards model calls; what it is made of is imported only where it is."""
        from policy_router.server.gateway.gateway import Gateway
        from policy_router.server.gateway.origins import Origins
        from policy_router.server.gateway.upstream import Upstream

        self._upstream = Upstream()
        host = PolicyHost(
            lambda: self.active.policy,
            log=self._log,
            health=self._health,
            workers=self._settings.workers,
        )
        return Gateway(
            lambda: self.active.policy,
            agents,
            host,
            self._upstream,
            origins=Origins(self._log, index),
            passes=self._settings.gateway.passes,
            counted=self._metrics.decided,
            budgets=budgets,
        )

    async def _reload(self) -> dict[str, Any]:
        if self._reloads is None:  # pragma: no cover - then it is the supervisor's
            raise RuntimeError("the policy is loaded by the supervisor")
        return await self._reloads.reload()

    async def _adopt(self, policy: Policy, bundle: BundleVersion | None) -> None:
        """Let a policy decide that is made ready beside what decides now."""
        await asyncio.to_thread(policy.prepared(Prepared).warm)
        if self._log is not None and not are_same_files(policy, self.active.policy):
            self._log.origin_commit = None if bundle is None else bundle.commit
        self.active.use(policy, bundle)

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
        with asyncio.Runner(loop_factory=new_loop) as runner:
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
        self._server = server = Server(self.service, self._settings, started)
        works = [self._refresh, *watching]
        if self._reloads is not None:
            hurry = self._reloads.hurry
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hurry.set)
            works.append(self._reloads.watch)
        tasks = [asyncio.create_task(for_ever(work)) for work in works]
        await server.serve(sockets=[listener])
        for task in tasks:
            task.cancel()
        await self._staying.aclose()
        if self._upstream is not None:
            await self._upstream.aclose()
        if self._log is not None:
            await self._log.aclose()

    async def _refresh(self) -> None:
        await asyncio.sleep(POLL_SECONDS)
        await self._gate.refresh()


def _log_of(settings: Settings, bundle: BundleVersion | None) -> DecisionLog | None:
    if settings.log is None:
        return None
    signed = None if bundle is None else bundle.commit
    commit, who = signed or settings.origin_commit, settings.loaded_by
    return DecisionLog(settings.log, origin_commit=commit, loaded_by=who)


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
    """Return why a log cannot be written, by writing a little beside its lines.

    A log that has no line yet is there from then on, so that its readers find an empty one.
    """
    probe = Path(folder) / f".probe-{time.monotonic_ns()}"
    try:
        make_folder(LogFolder(folder).heads)
        try:
            probe.write_bytes(_PROBE)
        finally:
            probe.unlink(missing_ok=True)
    except OSError as problem:
        return f"the decision log cannot be written: {reason_of(problem)}"
    return None
