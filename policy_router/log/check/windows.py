"""A log in windows of time: the lines that all writers wrote at about the same time.

What comes of a decision mostly follows it soon, and may be written by another writer. So nearly all
that belongs together is in one window, whose size bounds the memory that it takes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from policy_router.log.entry import MOST_LINE, view_of
from policy_router.log.files import open_file
from policy_router.log.folder import LogFolder, Segment
from policy_router.log.replay.chunks import Chunk

WINDOW_BYTES: Final = 8 << 20
"""About how many bytes a window has."""
SAMPLES: Final = 8
"""How many places of a window are looked at to find where it begins and ends."""


class Window(Struct, frozen=True):
    """Pieces of segments, of about the same time."""

    chunks: tuple[Chunk, ...]

    @property
    def start(self) -> int:
        """The beginning of its bytes, as they are counted."""
        return 0

    @property
    def stop(self) -> int:
        """How many bytes it has."""
        return sum(it.stop - it.start for it in self.chunks)

    def blocks(self) -> Iterator[bytes]:
        """Yield its lines in blocks of whole lines, one writer after the other."""
        for chunk in self.chunks:
            yield from chunk.blocks()


class _Sample(Struct, frozen=True):
    """A small piece of a segment, and the time of its first line."""

    time: int
    chunk: Chunk


def windows(folder: LogFolder, size: int | None = None) -> list[Window]:
    """Return all lines of a log, in windows.

    Args:
        folder: the log.
        size: about how many bytes a window has.
    """
    size = size or WINDOW_BYTES
    step, made = max(1, size // SAMPLES), list[Window]()
    chunks, bytes_ = list[Chunk](), 0
    for sample in sorted(_samples(folder, step), key=lambda it: it.time):
        chunks.append(sample.chunk)
        bytes_ += sample.chunk.stop - sample.chunk.start
        if bytes_ >= size:
            made.append(Window(_joined(chunks)))
            chunks, bytes_ = [], 0
    return [*made, *([Window(_joined(chunks))] if chunks else [])]


def _samples(folder: LogFolder, step: int) -> Iterator[_Sample]:
    for writer in folder.writers():
        latest = 0  # a clock that was set back changes no order
        for segment in folder.segments(writer):
            for sample in _samples_of(segment, step):
                latest = max(latest, sample.time)
                yield _Sample(latest, sample.chunk)


def _samples_of(segment: Segment, step: int) -> Iterator[_Sample]:
    try:
        stream = io.BufferedReader(open_file(segment.path))
    except FileNotFoundError:  # it was pruned meanwhile
        return
    with stream:
        size = stream.seek(0, io.SEEK_END)
        for start in range(0, size, step):
            stream.seek(max(0, start - 1))
            if start:
                stream.readline(MOST_LINE)
            view = view_of(stream.readline(MOST_LINE))
            chunk = Chunk(segment.path, start, min(start + step, size))
            yield _Sample(view.time if view else 0, chunk)


def _joined(chunks: list[Chunk]) -> tuple[Chunk, ...]:
    """Return pieces with those that follow each other made one."""
    made = list[Chunk]()
    for chunk in sorted(chunks, key=lambda it: (it.path, it.start)):
        if made and made[-1].path == chunk.path and made[-1].stop == chunk.start:
            made[-1] = Chunk(chunk.path, made[-1].start, chunk.stop)
        else:
            made.append(chunk)
    return tuple(made)
