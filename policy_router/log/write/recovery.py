"""Where a writer goes on, whatever happened to the one before.

Theory of operation
===================

A writer appends in four steps, and a process or a machine can stop between any two of them:

1. write the lines behind the last one;
2. sync the segment;
3. write the head: segment, length, number and hash of the last line (not synced);
4. return: the lines are *acknowledged*.

So two things are always true. A line up to the head was synced before the head was written. And
every acknowledged line was synced, though after a power cut the head may be older than the line.
Three rules follow, and all of the recovery is made of them:

- Rule 1: nothing is cut off that can have been acknowledged. Behind the head, that is every whole
  line that continues the chain.
- Rule 2: what is missing or different before the head is never mended: the writer leaves that
  segment as it is, and goes on in a new one behind all others.
- Rule 3: what is not there is told in a gap line, before any other line is written. (A segment that
  is not there needs none: the numbers tell.)

What is found, from the head on, and what is done:

=============================================  =================================================
found                                          done
=============================================  =================================================
no head, and no segment                        the chain begins
no head, and segments                          the last whole line is the end; gap `head_lost`
the segment of the head is gone, or pruned     the next segment
the segment is shorter than the head says      a new segment; gap `cut`
its last line is not the one of the head       a new segment; gap `changed`
whole lines that continue the chain            they are kept, synced, and the end
then a segment that says that it is closed     the next segment
then bytes without any line of a log           they are cut off; gap `torn_tail`
then a line that does not continue the chain   a new segment; gap `changed`
then NUL bytes, as a power cut leaves them     they are cut off; gap `torn_tail`
=============================================  =================================================

Where there was no head, any whole line may have been acknowledged, so that only the bytes after the
last line end, or a hole of NUL bytes, count as torn. A torn tail is cut off in an order that leaves
no moment without trace: first the line ends in it go, then the gap line is written over it, and
only then the rest is cut off (in :meth:`Chain._recover`).
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from policy_router.errors import RecordError
from policy_router.log.entry import GENESIS, HOLE, Close, Gap, LogEntry, line_hash, view_of
from policy_router.log.files import opened
from policy_router.log.folder import LogFolder, Segment
from policy_router.log.heads import Head

_CLOSE_BYTES = 512
"""More than the line has that closes a segment."""


class Recovery:
    """Follows a writer's lines from its head to the last whole one.

    Attributes:
        head: how far it has come.
        file: the segment to go on with; None where that is a new one.
        began: the time of the first line of that segment.
    """

    def __init__(self, folder: LogFolder, writer: str, head: Head, *, is_lost: bool) -> None:
        """Begin at a head.

        Args:
            folder: the log.
            writer: whose lines they are.
            head: how far the writer is known to have come.
            is_lost: whether that was not written down, so that any line may have been acknowledged.
        """
        self._folder, self._writer, self._is_lost = folder, writer, is_lost
        self.head, self.began = head, 0
        self.file: io.FileIO | None = None

    def run(self, segments: Sequence[Segment]) -> list[Gap]:
        """Follow the lines after the head to the last whole one; return what is not there.

        Args:
            segments: that of the head, and those after it.
        """
        if self.head.length and all(it.number != self.head.segment for it in segments):
            self._leave()  # It was taken away, which `verify` will tell.
        for segment in segments:
            is_last, is_next = segment is segments[-1], segment.number == self.head.segment
            gap = self._walk(segment) if is_next else None
            if gap is not None and gap.reason == "torn_tail" and is_last:
                return [gap]
            if gap is not None or not is_next:
                self._leave(segments[-1].number)
                return [gap] if gap is not None else []
            if not is_last:
                self._leave()
        if self.file is not None and _ends(self.file, self.head.length):
            self._leave()
        return []

    def _walk(self, segment: Segment) -> Gap | None:
        """Go to the end of the last whole line of a segment; return what does not fit there."""
        path = Path(segment.path)
        known = self.head.length if segment.number == self.head.segment else 0
        self.file = opened(path)
        length = self.file.seek(0, os.SEEK_END)
        if length < known:
            return Gap("cut", bytes=known - length)
        if length and not self._folder.bears_out(self._writer, self.head):
            return Gap("changed")  # Nothing here may be cut: it may have been acknowledged.
        self.began = _first_time(path)
        self.head = Head(segment.number, known, self.head.seq, self.head.hash)
        self.file.seek(known)
        content, start = self.file.readall(), 0
        for end, line in _lines(content):
            if not self._follows(line):
                if HOLE not in line and (self._is_lost or _has_entry(content[start:])):
                    return Gap("changed")  # by whoever: the head may have been behind
                self.file.truncate(self.head.length + 1)  # no line end is left
                break
            start = end
            self.head = Head(segment.number, known + end, self.head.seq + 1, line_hash(line))
        if self.head.length > known:
            os.fsync(self.file.fileno())  # It is built upon, whoever wrote it.
        self.file.seek(self.head.length)
        torn = length - self.head.length
        return Gap("torn_tail", bytes=torn) if torn else None

    def _leave(self, number: int | None = None) -> None:
        """Go on in the segment after this one, or after another."""
        if self.file is not None:
            self.file.close()
            self.file = None
        self.head = Head((number or self.head.segment) + 1, 0, self.head.seq, self.head.hash)

    def _follows(self, line: bytes) -> bool:
        view = view_of(line)
        return bool(view and (view.seq, view.prev) == (self.head.seq + 1, self.head.hash))


def _lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield every whole line, with the offset after it."""
    start = 0
    while (end := content.find(b"\n", start)) >= 0:
        yield end + 1, content[start:end]
        start = end + 1


def _has_entry(content: bytes) -> bool:
    """Tell whether any of these lines is one of a log."""
    return any(view_of(line) for _, line in _lines(content))


def last_line(segments: Sequence[Segment]) -> Head:
    """Return a head where none says how far the writer had come: that of its last whole line."""
    for segment in reversed(segments):
        lines = _lines(Path(segment.path).read_bytes())
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
