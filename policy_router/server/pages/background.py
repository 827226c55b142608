"""Work that takes long: it goes on while its page is looked at, by whichever worker answers."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
import time
from collections.abc import Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from policy_router.server.helpers import Helpers
from policy_router.server.problems import Problem
from policy_router.server.tasks import Task

FRESH_SECONDS: Final = 300.0
"""How long a report is shown again; work that says nothing for longer has ended with its worker."""
_MOST_KEPT: Final = 50
_BUSY: Final = 429
_AGAIN_SECONDS: Final = 5.0
_ID: Final = re.compile(r"[0-9a-f]{32}")


class Work(Struct, frozen=True):
    """How far a piece of work has come.

    Attributes:
        title: what it is, for its page.
        done: how many bytes of the log it has read.
        total: how many there are; 0 where that is not known yet.
        report: what came out of it; None before its end.
        problem: why nothing came out of it.
    """

    title: Mapping[str, str]
    done: int = 0
    total: int = 0
    report: Any = None
    problem: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether it has ended."""
        return self.report is not None or self.problem is not None

    @property
    def percent(self) -> int:
        """How much of it is done."""
        return min(100, 100 * self.done // self.total) if self.total else 0


class Background:
    """Lets helpers work, and keeps what they say where every worker can read it."""

    def __init__(self, helpers: Helpers, shared: Path) -> None:
        """Begin with nothing.

        Args:
            helpers: do the work.
            shared: a folder that the workers of a service share.
        """
        self._helpers, self._folder = helpers, shared / "work"
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._running: set[asyncio.Task[None]] = set()

    def start(self, task: Task, title: Mapping[str, str]) -> str:
        """Begin a piece of work, and return its id.

        Args:
            task: what to do.
            title: what it is, for its page.
        """
        name = secrets.token_hex(16)
        self._begin(name, task, title)
        return name

    def once(
        self, key: str, task: Task, title: Mapping[str, str], *, seconds: float = FRESH_SECONDS
    ) -> Work:
        """Return how far a piece of work has come; it is begun where nobody has lately.

        Args:
            key: tells it apart from others.
            task: what to do.
            title: what it is, for its page.
            seconds: how long ago it may have said something at last.
        """
        name = hashlib.sha256(key.encode()).hexdigest()[:32]
        with suppress(FileNotFoundError):
            if time.time() - self._path(name).stat().st_mtime < seconds:
                return self.find(name)
        self._begin(name, task, title)
        return Work(title)

    def _begin(self, name: str, task: Task, title: Mapping[str, str]) -> None:
        self._keep(name, Work(title))
        running = asyncio.create_task(self._run(name, task, title))
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    def find(self, name: str) -> Work:
        """Return how far a piece of work has come.

        Raises:
            Problem: there is none with this id, or it was long ago.
        """
        try:
            content = self._path(name).read_bytes() if _ID.fullmatch(name) else b""
        except FileNotFoundError:
            content = b""
        if not content:
            detail = "this is not known any more: begin it again"
            raise Problem(404, "unknown_work", detail)
        return msgspec.json.decode(content, type=Work)

    async def _run(self, name: str, task: Task, title: Mapping[str, str]) -> None:
        report = None
        try:
            with self._helpers.audit():
                async with aclosing(self._helpers.said(task)) as saying:
                    async for said in saying:
                        report = said.get("report")
                        if report is None:
                            it = said["progress"]
                            self._keep(name, Work(title, it["done_bytes"], it["total_bytes"]))
            self._keep(name, Work(title, report=report))
        except Problem as problem:
            self._keep(name, Work(title, problem=problem.detail))
            if problem.status == _BUSY:  # whoever asks again begins it again
                await asyncio.sleep(_AGAIN_SECONDS)
                self._path(name).unlink(missing_ok=True)

    def _keep(self, name: str, work: Work) -> None:
        own = self._path(f"{name}-{secrets.token_hex(4)}")
        own.write_bytes(msgspec.json.encode(work))
        os.replace(own, self._path(name))  # noqa: PTH105 - whole, or as it was
        kept = sorted(self._folder.glob("*.json"), key=lambda it: it.stat().st_mtime)
        for path in kept[:-_MOST_KEPT]:
            path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"
