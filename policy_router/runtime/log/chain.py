"""A writer's chain of lines: claimed by one process, mended where another was killed, and written.

What is acknowledged is on disk. What was not acknowledged may be there, if it is whole.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from policy_router.errors import RecordError
from policy_router.runtime.log.entry import (
    GENESIS,
    Close,
    Draft,
    Gap,
    Kind,
    LogEntry,
    chained,
    line_hash,
)
from policy_router.runtime.log.folder import Head, LogFolder, read_head, sync_folder
from policy_router.runtime.log.lock import lock

_MOST_WRITERS = 100_000
_MICROSECONDS = 1_000_000
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

    def __init__(self, folder: LogFolder, writer: str | None, limits: Limits, now: int) -> None:
        """Claim a writer nobody else is, and go on where it ended.

        Args:
            folder: the log.
            writer: its name; the first free one of ``w1``, ``w2``, ... unless given.
            limits: when its segments end.
            now: the time, in microseconds since 1970.

        Raises:
            OSError: the folder cannot be written, or another process is this writer.
            UnknownSchemaError: a later version of this package wrote here.
        """
        folder.heads.mkdir(parents=True, exist_ok=True)
        self.folder, self._limits = folder, limits
        self.writer, self._head_file = _claimed(folder, writer)
        self._file: io.FileIO | None = None
        self._began = 0
        self._is_broken = False
        self.gaps: list[Draft] = []
        try:
            self._recover(now)
        except BaseException:
            self.release()
            raise

    # Where it goes on.

    def _recover(self, now: int) -> None:
        """Find the end of the chain, and cut off what was not finished."""
        (self.folder.path / self.writer).mkdir(exist_ok=True)
        self._head_file.seek(0)
        content = self._head_file.read()
        head = read_head(content)
        segments = self.folder.segments(self.writer)
        if head is None:
            head = self._found_again(now, is_new=not content and not segments)
        last = segments[-1] if segments else None
        if last is not None and not last.is_pruned and last.number >= head.segment:
            known = head.length if last.number == head.segment else 0
            self._head = Head(last.number, known, head.seq, head.hash)
            self._mend(Path(last.path), now)
        else:
            # Nothing to go on with: it was pruned, or taken away, which `verify` will tell.
            self._head = Head(head.segment + (head.seq > 0), 0, head.seq, head.hash)
        self._put_head(self._head)

    def _found_again(self, now: int, *, is_new: bool) -> Head:
        """Return a head where there is none: before the first line, or of the last segment."""
        if is_new:
            return Head(1, 0, 0, GENESIS)
        self.gaps.append(_gap(now, Gap("head_lost")))
        for segment in reversed(self.folder.segments(self.writer)):
            lines = [] if segment.is_pruned else _lines(Path(segment.path).read_bytes())
            for end, line in reversed(list(lines)):
                with suppress(RecordError):
                    seq = LogEntry.from_json(line).seq
                    return Head(segment.number, end, seq, line_hash(line))
        return Head(1, 0, 0, GENESIS)

    def _mend(self, path: Path, now: int) -> None:
        """Go on after the last whole line of a segment."""
        self._file = _opened(path)
        length = self._file.seek(0, os.SEEK_END)
        if length < self._head.length:
            self.gaps.append(_gap(now, Gap("cut", bytes=self._head.length - length)))
            self._file.close()
            self._file = None
            self._head = Head(self._head.segment + 1, 0, self._head.seq, self._head.hash)
            return
        self._began = _first_time(path)
        self._file.seek(self._head.length)
        tail = self._file.readall()
        start = self._head.length
        for end, line in _lines(tail):
            if not self._follows(line):
                break
            self._head = Head(self._head.segment, start + end, self._head.seq + 1, line_hash(line))
        torn = length - self._head.length
        if torn:
            self.gaps.append(_gap(now, Gap("torn_tail", bytes=torn)))
            self._file.truncate(self._head.length)
            os.fsync(self._file.fileno())
        self._file.seek(self._head.length)

    def _follows(self, line: bytes) -> bool:
        try:
            entry = LogEntry.from_json(line)
        except RecordError:
            return False
        return (entry.seq, entry.prev) == (self._head.seq + 1, self._head.hash)

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
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = _opened(path)
        self._file.truncate(0)
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
        if self._file is not None:
            self._file.close()
        self._file = None
        self._head = Head(self._head.segment + 1, 0, self._head.seq, self._head.hash)

    def _undo(self) -> None:
        """Take away what was written only in part."""
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

    def release(self) -> None:
        """Let another process be this writer."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._head_file.close()


def _claimed(folder: LogFolder, writer: str | None) -> tuple[str, io.FileIO]:
    """Return a writer nobody else is, with its head's file, which keeps the lock."""
    names = (writer,) if writer else (f"w{number}" for number in range(1, _MOST_WRITERS))
    for name in names:
        file = _opened(folder.heads / name)
        try:
            is_free = lock(file)
        except BaseException:
            file.close()
            raise
        if is_free:
            return name, file
        file.close()
    raise BlockingIOError(errno.EAGAIN, "another process is this writer of the log")


def _opened(path: Path) -> io.FileIO:
    """Open a file to read and write; it is made where it is not there."""
    return io.FileIO(os.open(path, os.O_RDWR | os.O_CREAT | _BINARY, 0o644), "rb+")


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


def _first_time(path: Path) -> int:
    """Return the time of the first line of a segment; 0 where there is none."""
    with path.open("rb") as stream, suppress(RecordError):
        return LogEntry.from_json(stream.readline().rstrip(b"\n")).time
    return 0


def _gap(now: int, gap: Gap) -> Draft:
    return Draft(Kind.GAP, now, gap=gap)
