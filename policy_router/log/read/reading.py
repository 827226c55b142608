"""Reading a log: in order of time, newest first, one decision with what came of it, or as it grows.

A reader only opens files to read. A line that is not finished yet is not there yet; a line that
cannot be read is left out and counted: ``verify`` says what is wrong with it.
"""

from __future__ import annotations

import heapq
import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeAlias

from msgspec import Struct, UnsetType

from policy_router.errors import LogError, RecordError
from policy_router.log.entry import MOST_LINE, Kind, LogEntry, Prune
from policy_router.log.files import open_file
from policy_router.log.folder import PRUNE_WRITER, LogFolder, Segment, readable
from policy_router.log.heads import Head, after_newline

Heads: TypeAlias = Mapping[str, Head | None]
"""How far each writer has come."""
_BLOCK = 1024 * 1024
_BEGINNING = 1024
_POLL_SECONDS = 0.2
_SEVERAL = 2
"""How many of several ids an error names."""
_NO_LINE = b"\0"
"""What stands for a line that is too long: no JSON holds it."""


class Line(Struct, frozen=True):
    """A line and its place.

    Attributes:
        writer: the name of its writer.
        segment: the number of its segment.
        entry: the decoded line.
        content: its bytes, without a line end.
    """

    writer: str
    segment: int
    entry: LogEntry
    content: bytes

    @property
    def place(self) -> str:
        """Its place, for a message: ``writer/segment, line seq``."""
        return f"{self.writer}/{self.segment}, line {self.entry.seq}"


class _Mark(Struct, frozen=True):
    """How far a segment was read, and which it was."""

    file: tuple[int, int]
    beginning: bytes
    end: int


class NoDecisionError(LogError):
    """The log has no line about a decision."""


class LogReader:
    """Reads a log. It keeps no file open between calls, and does not disturb writers."""

    def __init__(self, folder: str | Path) -> None:
        """Take a log.

        Raises:
            LogError: there is no log.
        """
        self.folder = LogFolder.existing(folder)
        self.unreadable = 0
        """How many lines could not be read so far."""

    def lines(self) -> Iterator[Line]:
        """Yield every line: of each writer in its order, the writers merged by their times."""
        each = [self._of_writer(writer) for writer in self._writers()]
        return heapq.merge(*each, key=_time)

    def newest_first(self, *, acknowledged: bool = False) -> Iterator[Line]:
        """Yield every line, the newest first.

        Args:
            acknowledged: leave out lines that are not acknowledged yet: they may be removed again.
        """
        heads = self._heads() if acknowledged else {}
        each = [self._of_writer_backwards(writer, heads) for writer in self._writers()]
        return heapq.merge(*each, key=_time, reverse=True)

    def about(self, decision_id: str) -> list[Line]:
        """Return every line about a decision, in the order of time.

        Args:
            decision_id: its id, or a unique beginning of it.

        Raises:
            LogError: there is no such decision, or several.
        """
        found = self._with(f'"id":"{decision_id}', lambda entry: _starts(entry.id, decision_id))
        ids = {line.entry.id for line in found}
        if decision_id in ids:
            ids, found = {decision_id}, [line for line in found if line.entry.id == decision_id]
        if len(ids) > 1:
            some = ", ".join(sorted(map(str, ids))[:_SEVERAL])
            reason = f"{len(ids)} decisions have an id that begins so, such as {some}"
            raise LogError(str(self.folder.path), reason)
        if not ids:
            raise NoDecisionError(str(self.folder.path), "there is no decision with this id")
        return found

    def children(self, decision_id: str) -> list[Line]:
        """Return the decisions of a decision's child, in the order of time."""
        return self._with(f'"parent":"{decision_id}"', lambda entry: entry.parent == decision_id)

    def pruned_before(self) -> int | None:
        """Return before which time lines were pruned, in microseconds; None where none were."""
        lines = self._of_writer(PRUNE_WRITER)
        found = (it.entry.prune for it in lines)
        return max((it.before for it in found if isinstance(it, Prune)), default=None)

    def follow(self, *, goes_on: Callable[[], bool] = lambda: True) -> Iterator[Line]:
        """Yield every line that is written from now on, until ``goes_on`` returns false.

        Args:
            goes_on: is called whenever there is no new line.
        """
        heads = self._heads()
        with readable(self.folder):
            marks = {it.path: _marked(it.path, _stop(it, heads)) for it in self._segments()}
        return self._follow(marks, goes_on)

    def _heads(self) -> Heads:
        with readable(self.folder):
            return {writer: self.folder.head(writer) for writer in self.folder.writers()}

    def _follow(self, marks: dict[str, _Mark], goes_on: Callable[[], bool]) -> Iterator[Line]:
        while True:
            heads = self._heads()
            segments = [it for it in self._segments() if it.writer in heads]
            new = [line for segment in segments for line in self._new(segment, marks, heads)]
            yield from sorted(new, key=_time)
            if not new:
                if not goes_on():
                    return
                time.sleep(_POLL_SECONDS)

    def _new(self, segment: Segment, marks: dict[str, _Mark], heads: Heads) -> Iterator[Line]:
        """Yield what was acknowledged of a segment since, and remember its end."""
        known, stop = marks.get(segment.path), _stop(segment, heads)
        with readable(self.folder), suppress(FileNotFoundError):  # it may be pruned now
            found = os.stat(segment.path)  # noqa: PTH116 - it is asked for very often
            if known and (known.file, known.end) == (_file_of(found), found.st_size):
                return
            with _open(segment.path) as stream:
                yield from self._since(segment, stream, stop, marks)

    def _since(
        self, segment: Segment, stream: BinaryIO, stop: int, marks: dict[str, _Mark]
    ) -> Iterator[Line]:
        known, file = marks.get(segment.path), _file_of(os.fstat(stream.fileno()))
        beginning = stream.read(_BEGINNING)
        # A log that was removed and started again has the same names for other files.
        is_same = known and known.file[0] == file[0] and beginning.startswith(known.beginning)
        place = known.end if known and is_same else 0
        stream.seek(place)
        for content in whole_lines(stream):
            if place + len(content) >= stop:
                break
            place += len(content) + 1
            yield from self._read(segment, content)
        marks[segment.path] = _Mark(file, beginning[:place], place)

    @contextmanager
    def _opened(self, path: str) -> Iterator[BinaryIO]:
        """Open a segment; one that was pruned meanwhile is empty."""
        with readable(self.folder):
            try:
                stream = _open(path)
            except FileNotFoundError:
                stream = io.BytesIO()
            with stream:
                yield stream

    def _writers(self) -> list[str]:
        with readable(self.folder):
            return self.folder.writers()

    def _segments(self, writer: str | None = None) -> list[Segment]:
        """Return the segments that are still there: of one writer, or of all."""
        with readable(self.folder):
            if writer is None:
                return list(self.folder.all_segments())
            return self.folder.segments(writer)

    def _of_writer(self, writer: str) -> Iterator[Line]:
        for segment in self._segments(writer):
            with self._opened(segment.path) as stream:
                for content in whole_lines(stream):
                    yield from self._read(segment, content)

    def _of_writer_backwards(self, writer: str, heads: Heads) -> Iterator[Line]:
        for segment in reversed(self._segments(writer)):
            with self._opened(segment.path) as stream:
                for content in _lines_backwards(stream, _stop(segment, heads)):
                    yield from self._read(segment, content)

    def _with(self, marker: str, fits: Callable[[LogEntry], bool]) -> list[Line]:
        """Return the lines that hold some bytes, and fit: to search bytes is quick."""
        wanted, found = marker.encode(errors="replace"), []
        for segment in self._segments():
            with self._opened(segment.path) as stream:
                for content in _lines_with(stream, wanted):
                    found += [line for line in self._read(segment, content) if fits(line.entry)]
        return sorted(found, key=_time)

    def _read(self, segment: Segment, content: bytes) -> Iterator[Line]:
        try:
            # To raise takes long, and there may be very many.
            entry = LogEntry.from_json(content) if content[:1] == b"{" else None
        except RecordError:
            entry = None
        if entry is None:
            self.unreadable += 1
            return
        yield Line(segment.writer, segment.number, entry, content)


def decisions(lines: Iterator[Line]) -> Iterator[Line]:
    """Yield the decisions among lines."""
    return (line for line in lines if line.entry.kind is Kind.DECISION)


def _open(path: str) -> BinaryIO:
    return io.BufferedReader(open_file(path), _BLOCK)


def _marked(path: str, stop: int) -> _Mark:
    """Return a mark at the end of the last whole line of a file, or before."""
    with suppress(FileNotFoundError), _open(path) as stream:
        end = min(after_newline(stream, stream.seek(0, io.SEEK_END)), stop)
        stream.seek(0)
        file = _file_of(os.fstat(stream.fileno()))
        return _Mark(file, stream.read(_BEGINNING)[:end], end)
    return _Mark((0, 0), b"", 0)


def _file_of(found: os.stat_result) -> tuple[int, int]:
    """Return the number of a file, which another one may have later, and when it was changed."""
    return found.st_ino, found.st_mtime_ns


def _stop(segment: Segment, heads: Heads) -> int:
    """Return up to which byte a segment is acknowledged: what is behind may be taken away."""
    head = heads.get(segment.writer)
    if head is None or segment.number < head.segment:
        return sys.maxsize
    return head.length if segment.number == head.segment else 0


def _time(line: Line) -> int:
    return line.entry.time


def _starts(value: str | UnsetType, beginning: str) -> bool:
    return not isinstance(value, UnsetType) and value.startswith(beginning)


def whole_lines(stream: BinaryIO) -> Iterator[bytes]:
    """Yield every line that has its end; one that is too long is shortened, and no line."""
    while line := stream.readline(MOST_LINE):
        if line.endswith(b"\n"):
            yield line[:-1]
        elif len(line) == MOST_LINE:
            while len(rest := stream.readline(MOST_LINE)) == MOST_LINE and rest[-1:] != b"\n":
                pass
            yield line[:_BEGINNING]


def _lines_with(stream: BinaryIO, wanted: bytes) -> Iterator[bytes]:
    """Yield the whole lines that hold some bytes."""
    rest = b""
    while block := stream.read(max(_BLOCK, len(rest))):
        block = rest + block
        end = block.rfind(b"\n") + 1
        rest, whole = block[end:], block[:end]
        if len(rest) >= MOST_LINE:
            rest = _NO_LINE
        place = whole.find(wanted)
        while place >= 0:
            start, stop = whole.rfind(b"\n", 0, place) + 1, whole.find(b"\n", place)
            yield whole[start:stop]
            place = whole.find(wanted, stop)


def _lines_backwards(stream: BinaryIO, stop: int) -> Iterator[bytes]:
    """Yield the whole lines of a file up to an offset, the last one first."""
    place, rest = after_newline(stream, min(stop, stream.seek(0, io.SEEK_END))) - 1, b""
    if place < 0:
        return
    while place > 0:
        size = min(max(_BLOCK, len(rest)), place)
        place -= size
        stream.seek(place)
        rest, *whole = (stream.read(size) + rest).split(b"\n")
        if len(rest) >= MOST_LINE:
            rest = _NO_LINE
        yield from reversed(whole)
    yield rest
