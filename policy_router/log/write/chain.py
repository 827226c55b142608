"""A writer's chain of lines: claimed by one process, mended where another was killed, and written.

What is acknowledged is on disk. What was not acknowledged may be there, if it is whole.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from policy_router.log.entry import Close, Gap, Kind, line_hash
from policy_router.log.files import make_folder, opened, sync_folder
from policy_router.log.folder import LogFolder
from policy_router.log.heads import Head, read_head
from policy_router.log.write.claims import claimed
from policy_router.log.write.drafts import Draft, chained
from policy_router.log.write.recovery import Recovery, last_line

_MICROSECONDS = 1_000_000
_REMOVED = "the log was removed while it was written"
_CUT = "lines were cut off while the log was written"
sync = getattr(os, "fdatasync", os.fsync)
"""Puts lines on disk. Tests let the disk fail here, in ``write_all`` and in ``opened``."""


class Limits(Struct, frozen=True):
    """When a segment ends.

    Attributes:
        size: the bytes after which no line is added.
        seconds: the age, since its first line, after which none is.
    """

    size: int
    seconds: float


class Chain:
    """The writing end of a writer's chain. Not safe to share: one call at a time."""

    def __init__(
        self,
        folder: LogFolder,
        names: Iterable[str],
        limits: Limits,
        now: int,
        *,
        patience: float = 0.0,
    ) -> None:
        """Claim a writer nobody else is, and go on where it ended.

        Args:
            folder: the log.
            names: the writers to be; the first one of them that is free is claimed.
            limits: when its segments end.
            now: the time, in microseconds since 1970.
            patience: how many seconds it waits for one of them, if they are few and none is free.

        Raises:
            OSError: the folder cannot be written, or another process is this writer.
            UnknownSchemaError: a later version of this package wrote here.
        """
        make_folder(folder.heads)
        _check_no_link(folder.heads)
        self.folder, self._limits = folder, limits
        self.writer, self._head_file = claimed(folder, names, patience)
        self._head_path = str(folder.heads / self.writer)
        self._file: io.FileIO | None = None
        self._began = 0
        self._is_broken = False
        try:
            self._recover(now)
        except BaseException:
            self.release()
            raise

    # Where it goes on.

    def _recover(self, now: int) -> None:
        """Find the end of the chain, cut off what was not finished, and say so in a line."""
        (self.folder.path / self.writer).mkdir(exist_ok=True)
        _check_no_link(self.folder.path / self.writer)
        segments = self.folder.segments(self.writer)
        self._head_file.seek(0)
        content = self._head_file.read()
        head = read_head(content)
        begin = head or last_line(segments)
        is_lost = head is None and bool(content or segments)
        gaps = [Gap("head_lost")] if is_lost else []
        recovery = Recovery(self.folder, self.writer, begin, is_lost=is_lost)
        try:
            gaps += recovery.run([it for it in segments if it.number >= begin.segment])
        finally:
            self._head, self._file, self._began = recovery.head, recovery.file, recovery.began
        # Who was here before may have been killed before these were on disk.
        for it in (self.folder.path / self.writer, self.folder.heads, self.folder.path):
            sync_folder(it)
        if gaps:
            # A line takes the place of what is torn: there is no moment without either.
            self._append([Draft(Kind.GAP, now, gap=gap) for gap in gaps])
            if self._file is not None:
                self._file.truncate(self._head.length)
                os.fsync(self._file.fileno())
        try:
            self._put_head(self._head)
        except OSError:
            if not content:  # Part of one would look like one that was lost.
                self._head_file.truncate(0)
            raise
        self._head_file.truncate()
        os.fsync(self._head_file.fileno())

    @property
    def segment(self) -> int:
        """The number of the segment that the next line stands in, or the one after it."""
        return self._head.segment

    def _leave(self) -> None:
        """Go on in the segment after this one."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._head = Head(self._head.segment + 1, 0, self._head.seq, self._head.hash)

    # Writing.

    def write(self, drafts: Sequence[Draft]) -> None:
        """Append lines, all or none; they are on disk when this returns.

        Args:
            drafts: what they say.

        Raises:
            FileNotFoundError: somebody removed the log; there is nothing to go on with.
            OSError: they cannot be written; what there was is as it was.
        """
        if self._is_broken:
            self._undo()
        self._append(drafts)
        if drafts[-1].kind is Kind.CLOSE:
            return
        with suppress(OSError):  # the lines are written; the next call mends and tries again
            self._roll(drafts[-1].time)

    def _append(self, drafts: Sequence[Draft]) -> None:
        seq, prev = self._head.seq, self._head.hash
        parts: list[bytes] = []
        for draft in drafts:
            seq += 1
            line = chained(draft, seq, prev)
            prev = line_hash(line)
            parts += (line, b"\n")
        content = b"".join(parts)
        self._check_claim()
        self._is_broken = True
        file = self._file or self._next_file()
        if os.fstat(file.fileno()).st_size < self._head.length:
            raise FileNotFoundError(errno.ENOENT, _CUT)
        if not self._head.length:
            self._began = drafts[0].time
        write_all(file, content)
        sync(file.fileno())
        if not os.fstat(file.fileno()).st_nlink:
            raise FileNotFoundError(errno.ENOENT, _REMOVED)
        head = Head(self._head.segment, self._head.length + len(content), seq, prev)
        self._put_head(head)
        self._head, self._is_broken = head, False

    def _next_file(self) -> io.FileIO:
        """Begin a segment."""
        path = self.folder.segment_path(self.writer, self._head.segment)
        if not path.parent.exists():
            raise FileNotFoundError(errno.ENOENT, _REMOVED)
        self._file = opened(path, os.O_EXCL)
        sync_folder(path.parent)
        sync_folder(self.folder.path)
        return self._file

    def _roll(self, now: int) -> None:
        """End the segment where it is long or old enough."""
        is_old = now - self._began >= self._limits.seconds * _MICROSECONDS
        if not is_old and self._head.length < self._limits.size:
            return
        reason = "time" if is_old else "size"
        self._append([Draft(Kind.CLOSE, now, close=Close(reason))])
        self._is_broken = True  # until the next segment is the one to go on with
        self._leave()
        self._is_broken = False

    def _check_claim(self) -> None:
        """Raise where the log was removed or moved: another process could be this writer there."""
        own = os.fstat(self._head_file.fileno())
        try:
            is_there = os.path.samestat(os.stat(self._head_path), own)  # noqa: PTH116 - quicker
        except FileNotFoundError:
            is_there = False
        if not is_there:
            raise FileNotFoundError(errno.ENOENT, _REMOVED)

    def _undo(self) -> None:
        """Take away what was written only in part."""
        self._check_claim()
        self._head_file.seek(0)
        said = read_head(self._head_file.read())
        if said is not None and said.seq > self._head.seq:
            self._head = said  # An interrupt came just after it was written: it may be signed.
        if self._file is not None:
            self._file.close()
            self._file = None
        path = self.folder.segment_path(self.writer, self._head.segment)
        if path.exists() or self._head.length:
            if not path.exists() or path.stat().st_size < self._head.length:
                raise FileNotFoundError(errno.ENOENT, _REMOVED)
            self._file = opened(path)
            self._file.truncate(self._head.length)
            self._file.seek(self._head.length)
            os.fsync(self._file.fileno())
        self._put_head(self._head)
        self._is_broken = False

    def _put_head(self, head: Head) -> None:
        """Write down how far the chain is on disk."""
        self._head_file.seek(0)
        write_all(self._head_file, head.to_bytes())

    # The end.

    @property
    def is_released(self) -> bool:
        """Whether another process can be this writer."""
        return self._head_file.closed

    def release(self) -> None:
        """Let another process be this writer."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._head_file.close()


def _check_no_link(path: Path) -> None:
    """Raise where a link is in the place of a folder that is written into."""
    if path.is_symlink():
        raise NotADirectoryError(errno.ENOTDIR, "a link is in the place of a folder")


def write_all(file: io.FileIO, content: bytes) -> None:
    """Write bytes where the file stands, however few of them it takes at a time."""
    view = memoryview(content)
    while view:
        view = view[file.write(view) or 0 :]
