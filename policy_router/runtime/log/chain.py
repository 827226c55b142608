"""A writer's chain of lines: claimed by one process, mended where another was killed, and written.

What is acknowledged is on disk. What was not acknowledged may be there, if it is whole.
"""

from __future__ import annotations

import errno
import io
import os
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec import Struct

from policy_router.errors import RecordError
from policy_router.runtime.log.entry import (
    GENESIS,
    HOLE,
    Close,
    Draft,
    Gap,
    Kind,
    LogEntry,
    chained,
    line_hash,
    view_of,
)
from policy_router.runtime.log.folder import LogFolder, Segment, make_folder, sync_folder
from policy_router.runtime.log.heads import Head, read_head
from policy_router.runtime.log.lock import lock
from policy_router.runtime.log.pruned import read_pruned

_MICROSECONDS = 1_000_000
_CLOSE_BYTES = 512
"""More than the line has that closes a segment."""
_POLL_SECONDS = 0.05
_REMOVED = "the log was removed while it was written"
_sync = getattr(os, "fdatasync", os.fsync)


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
        self.folder, self._limits = folder, limits
        self.writer, self._head_file = _claimed(folder, names, patience)
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
        segments = self.folder.segments(self.writer)
        self._head_file.seek(0)
        content = self._head_file.read()
        head = read_head(content)
        self._head = head or _last_line(segments)
        is_lost = head is None and bool(content or segments)
        gaps = [Gap("head_lost")] if is_lost else []
        following = [it for it in segments if it.number >= self._head.segment]
        gaps += self._go_on(following, is_lost=is_lost)
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

    def _go_on(self, segments: Sequence[Segment], *, is_lost: bool) -> list[Gap]:
        """Follow the lines after the head to the last whole one; return what is not there.

        Args:
            segments: that of the head, and those after it.
            is_lost: whether there was no head, so that any line may have been acknowledged.
        """
        if self._head.length and all(it.number != self._head.segment for it in segments):
            self._leave()  # It was taken away, which `verify` will tell.
        for segment in segments:
            is_last, is_next = segment is segments[-1], segment.number == self._head.segment
            gap = (
                self._walk(segment, is_lost=is_lost) if is_next and not segment.is_pruned else None
            )
            if gap is not None and gap.reason == "torn_tail" and is_last:
                return [gap]
            if gap is not None or not is_next or (segment.is_pruned and is_last):
                self._leave(segments[-1].number)
                return [gap] if gap is not None else []
            if not is_last:
                self._leave()
        if self._file is not None and _ends(self._file, self._head.length):
            self._leave()
        return []

    def _walk(self, segment: Segment, *, is_lost: bool) -> Gap | None:
        """Go to the end of the last whole line of a segment; return what does not fit there."""
        path = Path(segment.path)
        known = self._head.length if segment.number == self._head.segment else 0
        self._file = _opened(path)
        length = self._file.seek(0, os.SEEK_END)
        if length < known:
            return Gap("cut", bytes=known - length)
        if length and not self.folder.bears_out(self.writer, self._head):
            return Gap("changed")  # Nothing here may be cut: it may have been acknowledged.
        self._began = _first_time(path)
        self._head = Head(segment.number, known, self._head.seq, self._head.hash)
        self._file.seek(known)
        content, start = self._file.readall(), 0
        for end, line in _lines(content):
            if not self._follows(line):
                if HOLE not in line and (is_lost or _has_entry(content[start:])):
                    return Gap("changed")  # by whoever: the head may have been behind
                self._file.truncate(self._head.length + 1)  # no line end is left
                break
            start = end
            self._head = Head(segment.number, known + end, self._head.seq + 1, line_hash(line))
        if self._head.length > known:
            os.fsync(self._file.fileno())  # It is built upon, whoever wrote it.
        self._file.seek(self._head.length)
        torn = length - self._head.length
        return Gap("torn_tail", bytes=torn) if torn else None

    def _leave(self, number: int | None = None) -> None:
        """Go on in the segment after this one, or after another."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._head = Head((number or self._head.segment) + 1, 0, self._head.seq, self._head.hash)

    def _follows(self, line: bytes) -> bool:
        view = view_of(line)
        return bool(view and (view.seq, view.prev) == (self._head.seq + 1, self._head.hash))

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
        if not self._head.length:
            self._began = drafts[0].time
        _write(file, content)
        _sync(file.fileno())
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
        self._file = _opened(path, os.O_EXCL)
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
            self._file = _opened(path)
            self._file.truncate(self._head.length)
            self._file.seek(self._head.length)
            os.fsync(self._file.fileno())
        self._put_head(self._head)
        self._is_broken = False

    def _put_head(self, head: Head) -> None:
        """Write down how far the chain is on disk."""
        self._head_file.seek(0)
        _write(self._head_file, head.to_bytes())

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


def _claimed(folder: LogFolder, names: Iterable[str], patience: float) -> tuple[str, io.FileIO]:
    """Return a writer nobody else is, with its head's file, which keeps the lock."""
    until = time.monotonic() + patience
    while True:
        for name in names:
            file = _claim(folder.heads / name)
            try:
                is_free = lock(file)
            except BaseException:
                file.close()
                raise
            if is_free:
                return name, file
            file.close()
        if time.monotonic() >= until:
            raise BlockingIOError(errno.EAGAIN, "another process is this writer of the log")
        time.sleep(_POLL_SECONDS)


_CLAIMS: Final[list[weakref.ref[io.FileIO]]] = []
_CLAIMING: Final = threading.RLock()
"""Held while one is added, and during a fork."""


def _claim(path: Path) -> io.FileIO:
    """Open a file that is to be locked, which a process that is forked does not keep open."""
    with _CLAIMING:
        file = _opened(path)
        _CLAIMS[:] = [it for it in _CLAIMS if it() is not None]
        _CLAIMS.append(weakref.ref(file))
    return file


def _forget_claims() -> None:
    """Leave the writers to the process that this one was forked from, whatever it was about."""
    try:
        for claim in _CLAIMS:
            if (file := claim()) is not None:
                file.close()
    finally:
        _CLAIMING.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_CLAIMING.acquire,
        after_in_parent=_CLAIMING.release,
        after_in_child=_forget_claims,
    )


def _opened(path: Path, flags: int = 0) -> io.FileIO:
    """Open a file to read and write; it is made where it is not there."""
    return io.FileIO(os.open(path, os.O_RDWR | os.O_CREAT | _BINARY | flags, 0o644), "rb+")


_BINARY = getattr(os, "O_BINARY", 0)


def _write(file: io.FileIO, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[file.write(view) or 0 :]


def _lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield every whole line, with the offset after it."""
    start = 0
    while (end := content.find(b"\n", start)) >= 0:
        yield end + 1, content[start:end]
        start = end + 1


def _has_entry(content: bytes) -> bool:
    """Tell whether any of these lines is one of a log."""
    return any(view_of(line) for _, line in _lines(content))


def _last_line(segments: Sequence[Segment]) -> Head:
    """Return a head where none says how far the writer had come: that of its last whole line."""
    for segment in reversed(segments):
        kept = read_pruned(segment.path) if segment.is_pruned else None
        if kept is not None:
            return Head(segment.number, 0, kept.first + kept.lines - 1, kept.hash)
        lines = [] if segment.is_pruned else _lines(Path(segment.path).read_bytes())
        for end, line in reversed(list(lines)):
            if (view := view_of(line)) is not None:
                return Head(segment.number, end, view.seq, line_hash(line))
    return Head(1, 0, 0, GENESIS)


def _ends(file: io.FileIO, length: int) -> bool:
    """Tell whether a segment was closed, and not only by the end of a process."""
    start = max(length - _CLOSE_BYTES, 0)
    file.seek(start)
    content = file.read(length - start)
    try:
        close = LogEntry.from_json(content.rstrip(b"\n").rpartition(b"\n")[2]).close
    except RecordError:
        return False
    return isinstance(close, Close) and close.reason != "end"


def _first_time(path: Path) -> int:
    """Return the time of the first line of a segment; 0 where there is none."""
    with path.open("rb") as stream:
        view = view_of(stream.readline().rstrip(b"\n"))
    return view.time if view else 0
