"""Runs helper processes: one piece of work each, with limits on time and memory.

They are less important to the system than those who decide, and few run at a time.
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import pickle
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from policy_router.domain import Policy
from policy_router.server.problems import TITLES, Problem, retry_after
from policy_router.server.settings import Settings
from policy_router.server.tasks import Task

_LONGEST_LINE: Final = 256 * 1024 * 1024
_AUDITS: Final = 2
_CHECKS: Final = 2
_TOO_MUCH: Final = "too_much"
_MOST_WAITING: Final = 8
_TYPING_SECONDS: Final = 10
"""How long it may compute; a busy machine may take longer for that."""
_PATIENCE_SECONDS: Final = 60.0
_RETRY: Final = (retry_after(5),)


class Helpers:
    """Starts helpers, for all workers of a service together."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        """Start nothing yet.

        Args:
            settings: say what a helper may take.
            folder: what the workers of a service share for as long as it runs.
        """
        self._seconds, self._megabytes = settings.helper_seconds, settings.helper_megabytes
        self._folder = folder

    @contextmanager
    def audit(self) -> Iterator[None]:
        """Have a turn for work over a log.

        Raises:
            Problem: as many as may have one already.
        """
        with _turn(self._folder, "audit", _AUDITS):
            yield

    @contextmanager
    def check(self) -> Iterator[None]:
        """Have a turn for work on one policy or decision; errors are those of :meth:`audit`."""
        with _turn(self._folder, "check", _CHECKS):
            yield

    async def report(self, task: Task) -> Any:
        """Let a helper do something, and return its report.

        Raises:
            Problem: it cannot be done.
        """
        async with aclosing(self.said(task)) as saying:
            async for said in saying:
                if "report" in said:
                    return said["report"]
        raise _too_much()

    async def said(
        self, task: Task, gone: Callable[[], Awaitable[object]] | None = None
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Let a helper do something, and yield what it says: progress, and at last a report.

        Args:
            task: what to do.
            gone: returns when nobody waits for it any more; then the helper is ended.

        Raises:
            Problem: it cannot be done.
        """
        task = replace(task, seconds=self._seconds, megabytes=self._megabytes)
        process = await _started()
        leaving = None if gone is None else asyncio.ensure_future(_end_when(gone, process))
        try:
            async with asyncio.timeout(self._seconds):
                async for said in _lines(process, task):
                    yield said
        except TimeoutError:
            raise _too_much() from None
        finally:
            if leaving is not None:
                leaving.cancel()
            with suppress(ProcessLookupError):
                process.kill()
            await process.communicate()  # to its end, so that nothing of it is left open


class StayingHelper:
    """A helper that stays, for what a person waits for as they type: one thing at a time."""

    def __init__(self, settings: Settings) -> None:
        """Start nothing yet.

        Args:
            settings: say what a helper may take.
        """
        self._seconds = min(settings.helper_seconds, _TYPING_SECONDS)
        self._megabytes = settings.helper_megabytes
        self._process: Process | None = None
        self._turn, self._waiting = asyncio.Lock(), 0

    async def report(self, task: Task) -> Any:
        """Let the helper do something, and return its report.

        Raises:
            Problem: it cannot be done, or many wait already.
        """
        if self._waiting >= _MOST_WAITING:
            raise Problem(429, "too_many_helpers", "many wait for this", headers=_RETRY)
        self._waiting += 1
        try:
            async with self._turn:
                return await self._done(task)
        finally:
            self._waiting -= 1

    async def _done(self, task: Task) -> Any:
        if self._process is None:
            self._process = await _started("--stays")
        task = replace(task, seconds=self._seconds, megabytes=self._megabytes)
        lines = _lines(self._process, task)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS), aclosing(lines):
                async for said in lines:
                    if "report" in said:
                        return said["report"]
            raise _too_much()  # pragma: no cover - the lines end with a report or a problem
        except TimeoutError:
            await self.aclose()
            raise _too_much() from None
        except Problem as problem:
            if problem.code == _TOO_MUCH:  # it has ended, or will soon
                await self.aclose()
            raise
        except asyncio.CancelledError:  # what it says next would be about this
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """End the helper; the next piece of work starts another."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.communicate()


async def _started(*words: str) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "policy_router.server.helper", *words),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        limit=_LONGEST_LINE,
    )


async def _lines(process: Process, task: Task) -> AsyncGenerator[dict[str, Any]]:
    if process.stdin is None or process.stdout is None:  # pragma: no cover - both are pipes
        return
    with suppress(ConnectionError):  # it has ended already, and says why or does not
        process.stdin.write(msgspec.json.encode(task) + b"\n")
        await process.stdin.drain()
    while line := await process.stdout.readline():
        said: dict[str, Any] = msgspec.json.decode(line)
        if "problem" in said:
            raise _problem(said["problem"])
        yield said
        if "report" in said:
            return
    raise _too_much()


async def _end_when(gone: Callable[[], Awaitable[object]], process: Process) -> None:
    await gone()
    with suppress(ProcessLookupError):
        process.kill()


def policy_in(report: dict[str, Any]) -> Policy | None:
    """Return the policy that a report of ``compile`` holds; None where there are errors."""
    content = report.pop("policy", None)
    if content is None:
        return None
    policy: Policy = pickle.loads(base64.b64decode(content))  # noqa: S301 - of our own process
    return policy


@contextmanager
def _turn(folder: Path, name: str, most: int) -> Iterator[None]:
    """Hold one of the locks of a name: they are let go even by a worker that is killed."""
    for number in range(most):
        with (folder / f"{name}-{number}").open("a") as held, suppress(BlockingIOError):
            fcntl.flock(held.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
            return
    detail = f"at most {most} of these run at a time"
    raise Problem(429, "too_many_helpers", detail, headers=_RETRY)


def _problem(said: dict[str, Any]) -> Problem:
    status = said["status"] if said["status"] in TITLES else 500
    path, help_ = said.get("path"), said.get("help")
    return Problem(status, said["code"], said["detail"], path=path, help=help_)


def _too_much() -> Problem:
    return Problem(503, _TOO_MUCH, "it takes more time or memory than it may")
