"""Several workers, and the process above them: it starts, replaces and ends them.

A worker is told what to do by lines of JSON on its standard input, and says what it has to say on
its standard output. The end of its input, as when this process is killed, is the end of its work.
All of them listen at one socket.
"""

from __future__ import annotations

import asyncio
import itertools
import pickle
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from policy_router.domain import Policy
from policy_router.errors import RequestError
from policy_router.server.active import BundleVersion
from policy_router.server.credentials import LOGGER
from policy_router.server.gate import Gate
from policy_router.server.helpers import Helpers
from policy_router.server.metrics import Metrics, fold
from policy_router.server.reloading import NotAdoptedError, Reloads, RuleFiles, for_ever
from policy_router.server.serve import let_nobody_in
from policy_router.server.settings import Settings, seconds_of

_START_SECONDS: Final = 60.0
_SHORT_SECONDS: Final = 5.0
_LONGEST_PAUSE_SECONDS: Final = 30.0


class _Worker:
    """A process that answers, as its supervisor sees it."""

    def __init__(self, process: Process, number: int, revision: str) -> None:
        self.process, self.number, self.revision = process, number, revision
        self.began, self.is_awaited = time.monotonic(), False
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()

    def tell(self, what: Mapping[str, Any]) -> None:
        """Send a line."""
        if self.process.stdin is not None and not self.process.stdin.is_closing():
            self.process.stdin.write(msgspec.json.encode(what) + b"\n")

    def leave(self) -> None:
        """Let it finish what it has, and end; it can still hear."""
        self.tell({"leave": True})


class Supervisor:
    """Keeps so many workers as are wanted, all with the newest good policy."""

    def __init__(self, files: RuleFiles, policy: Policy, settings: Settings, shared: Path) -> None:
        """Start nothing yet; the arguments and errors are those of a worker."""
        Gate(settings)  # what is wrong with it is said once, and at once
        self._files, self._settings, self._shared = files, settings, shared
        self._numbers = itertools.count(1)
        self._workers: set[_Worker] = set()
        self._leaving: set[_Worker] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._policies = itertools.count(1)
        self._policy_file, self._revision = self._kept(policy, files.bundle), policy.revision
        self._rejected: Mapping[str, Any] | None = None
        self._listener: socket.socket | None = None
        self._is_ending = False
        self._pause = 0.0

    def run(
        self,
        listener: socket.socket,
        started: Callable[[], None],
        watching: Callable[[], Awaitable[None]],
    ) -> None:
        """Serve until SIGTERM or SIGINT comes; the arguments are those of a worker."""
        self._listener = listener
        asyncio.run(self._run(started, watching))

    async def _run(
        self, started: Callable[[], None], watching: Callable[[], Awaitable[None]]
    ) -> None:
        loop, end = asyncio.get_running_loop(), asyncio.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, end.set)
        self._reloads = Reloads(
            self._files,
            self._revision,
            Helpers(self._settings, self._shared),
            strict=self._settings.strict,
            adopt=self._adopt,
            tell=self._tell,
            count=Metrics(self._shared).reloaded,
        )
        loop.add_signal_handler(signal.SIGHUP, self._reloads.hurry.set)
        first = [await self._start() for _ in range(self._settings.workers)]
        for worker in first:
            if not await self._is_up(worker):
                await self._end()
                raise RequestError("workers", "they did not come up, for the reason above")
        started()
        works = (self._reloads.watch, watching)
        tasks = [asyncio.create_task(for_ever(work)) for work in works]
        await end.wait()
        for task in tasks:
            task.cancel()
        await self._end()

    async def _end(self) -> None:
        """Let all workers finish, and end those that do not."""
        self._is_ending = True
        if self._listener is not None:
            await let_nobody_in([self._listener])
            self._listener.close()  # or clients would wait for workers that have left
        everybody = [*self._workers, *self._leaving]
        for worker in everybody:
            worker.leave()
        await self._ended(everybody)

    async def _ended(self, workers: list[_Worker]) -> None:
        patience = seconds_of(self._settings.drain) + _SHORT_SECONDS
        waits = [asyncio.ensure_future(it.ended.wait()) for it in workers]
        if waits:
            await asyncio.wait(waits, timeout=patience)
        for worker in workers:
            if not worker.ended.is_set():
                LOGGER.error("worker %d is killed: it did not end", worker.number)
                with suppress(ProcessLookupError):
                    worker.process.kill()
                await worker.ended.wait()

    # Workers.

    async def _start(self) -> _Worker:
        if self._listener is None:  # pragma: no cover - it runs
            raise RuntimeError("nobody listens")
        number, place = next(self._numbers), self._listener.fileno()
        settings = msgspec.json.encode(self._settings).decode()
        words = (
            str(place),
            str(number),
            str(self._shared),
            str(self._policy_file),
            self._files.path,
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "policy_router.server.process", *words, settings),
            stdin=PIPE,
            stdout=PIPE,
            pass_fds=(place,),
        )
        worker = _Worker(process, number, self._revision)
        self._workers.add(worker)
        worker.tell({"rejected": self._rejected})
        self._spawn(self._listen(worker))
        return worker

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _is_up(self, worker: _Worker) -> bool:
        worker.is_awaited = True
        waits = [asyncio.ensure_future(it.wait()) for it in (worker.ready, worker.ended)]
        await asyncio.wait(waits, timeout=_START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for it in waits:
            it.cancel()
        worker.is_awaited = False
        return worker.ready.is_set() and not worker.ended.is_set()

    async def _listen(self, worker: _Worker) -> None:
        """Hear what a worker says, until it ends; one that ended by itself is replaced."""
        stream = worker.process.stdout
        while stream is not None and (line := await stream.readline()):
            try:
                said = msgspec.json.decode(line, type=dict[str, Any])
            except (msgspec.DecodeError, UnicodeError):  # something printed what is none of ours
                LOGGER.error("worker %d wrote something that is not JSON", worker.number)
                continue
            if "ready" in said:
                worker.ready.set()
            elif "reload" in said:
                self._spawn(self._reload_for(worker, said["reload"]))
        await worker.process.wait()
        worker.ended.set()
        fold(self._shared, worker.number)
        self._leaving.discard(worker)
        if worker in self._workers:
            self._workers.discard(worker)
            if not self._is_ending:
                await self._replace_dead(worker)

    async def _replace_dead(self, worker: _Worker) -> None:
        LOGGER.error("worker %d ended (%s)", worker.number, worker.process.returncode)
        if worker.is_awaited:
            return  # whoever waits for it to come up sees that it does not
        is_short = time.monotonic() - worker.began < _SHORT_SECONDS
        self._pause = min(_LONGEST_PAUSE_SECONDS, max(0.5, 2 * self._pause)) if is_short else 0.0
        await asyncio.sleep(self._pause)
        if not self._is_ending and len(self._workers) < self._settings.workers:
            await self._start()

    # Policies.

    def _kept(self, policy: Policy, bundle: BundleVersion | None) -> Path:
        """Write a compiled policy where workers that are started read it, and its bundle."""
        path = self._shared / f"policy-{next(self._policies)}"
        path.write_bytes(pickle.dumps((policy, bundle)))
        return path

    async def _adopt(self, policy: Policy, bundle: BundleVersion | None) -> None:
        """Replace the workers one by one; where one does not come up, bring the old policy back.

        Raises:
            NotAdoptedError: a worker did not come up.
        """
        before, before_revision, settings = self._policy_file, self._revision, self._settings
        if policy.revision == self._revision:
            self._policy_file = self._kept(policy, bundle)
            before.unlink()
            for worker in self._workers:
                worker.tell({"bundle": bundle})
            return
        self._policy_file, self._revision = self._kept(policy, bundle), policy.revision
        self._settings = replace(settings, origin_commit=None)  # it is that of other rule files
        for old in list(self._workers):
            if not await self._replaced(old):
                failed, self._policy_file = self._policy_file, before
                self._revision, self._settings = before_revision, settings
                await self._bring_back()
                failed.unlink()
                raise NotAdoptedError("a worker did not come up with it")
        before.unlink()

    async def _replaced(self, old: _Worker) -> bool:
        new = await self._start()
        new_is_up = await self._is_up(new)
        if not new_is_up:
            await self._dismiss(new)
            return False
        self._workers.discard(old)
        self._leaving.add(old)
        old.leave()
        return True

    async def _bring_back(self) -> None:
        """Replace those workers that came up with a policy that not all came up with."""
        for worker in [it for it in self._workers if it.revision != self._revision]:
            await self._replaced(worker)

    async def _dismiss(self, worker: _Worker) -> None:
        self._workers.discard(worker)
        self._leaving.add(worker)
        with suppress(ProcessLookupError):
            worker.process.kill()
        await worker.ended.wait()

    async def _reload_for(self, worker: _Worker, number: int) -> None:
        outcome = await self._reloads.reload()
        worker.tell({"outcome": outcome, "reload": number})

    def _tell(self, rejected: Mapping[str, Any] | None) -> None:
        self._rejected = rejected
        for worker in self._workers:
            worker.tell({"rejected": rejected})
