"""The page of the log itself: how much it holds, who writes it, and whether it is whole."""

from __future__ import annotations

from msgspec import Struct

from policy_router.errors import LogError
from policy_router.log.folder import LogFolder, readable
from policy_router.log.heads import UnknownSchemaError
from policy_router.log.sign.checkpoints import newest
from policy_router.server.asking import Answer, Asked
from policy_router.server.index import Index
from policy_router.server.pages.background import Background
from policy_router.server.pages.reader import Frame, in_thread
from policy_router.server.pages.rendering import redirect
from policy_router.server.tasks import Task


class Writer(Struct, frozen=True):
    """Who writes.

    Attributes:
        name: its name in the log.
        lines: how many lines it has acknowledged.
        segments: how many files it has.
        size: how many bytes these have.
        last: when the last of them was changed, in microseconds since 1970.
    """

    name: str
    lines: int
    segments: int
    size: int
    last: int


class Held(Struct, frozen=True):
    """What a log holds.

    Attributes:
        writers: who writes.
        origin: the name of the log in its checkpoints.
        covered: how many lines the last checkpoint covers.
        signed: when that was written, in microseconds since 1970; 0 where there is none.
        indexed: how many decisions the index has.
        first: the time of the first of them.
        last: the time of the last of them.
    """

    writers: tuple[Writer, ...]
    origin: str
    covered: int | None
    signed: int
    indexed: int
    first: int
    last: int


class LogPage:
    """Shows the log."""

    def __init__(self, frame: Frame, background: Background, *, log: str, index: Index) -> None:
        """Keep what the page needs.

        Args:
            frame: is around it.
            background: verifies.
            log: the folder of the log.
            index: the index of the log.
        """
        self._frame, self._background, self._log, self._index = frame, background, log, index

    async def show(self, asked: Asked) -> Answer:
        """Show what the log holds, and how far its verification has come."""
        options = asked.options("work")
        work = options.get("work")
        return await self._frame.page(
            asked,
            "log",
            "log",
            held=await in_thread(_held, self._log, self._index),
            folder=self._log,
            work=None if not work else self._background.find(work),
            work_id=work,
            address="/pages/log",
        )

    async def verify(self, asked: Asked) -> Answer:
        """Begin to verify the log."""
        self._frame.form(asked)
        task = Task("verify", log=self._log)
        return redirect(f"/pages/log?work={self._background.start(task, {'title': 'Verify'})}")


def _held(path: str, index: Index) -> Held:
    rows = index.revisions()
    indexed = sum(row[4] for row in rows)
    first, last = min((row[2] for row in rows), default=0), max((row[3] for row in rows), default=0)
    try:
        folder = LogFolder.existing(path)
    except LogError:  # nothing was decided yet
        return Held((), "", None, 0, indexed, first, last)
    with readable(folder):
        writers = tuple(_writer(folder, name) for name in folder.writers())
        found = newest(folder)
        signed = 0 if found is None else (folder.path / found.name).stat().st_mtime_ns // 1000
    origin = "" if found is None else found.checkpoint.origin
    covered = None if found is None else found.checkpoint.size
    return Held(writers, origin, covered, signed, indexed, first, last)


def _writer(folder: LogFolder, name: str) -> Writer:
    try:
        head = folder.head(name)
    except UnknownSchemaError:
        head = None
    found = [folder.segment_path(name, it.number).stat() for it in folder.segments(name)]
    last = max((it.st_mtime_ns // 1000 for it in found), default=0)
    lines = 0 if head is None else head.seq
    return Writer(name, lines, len(found), sum(it.st_size for it in found), last)
