"""A log in pieces, so that several processes can go through it at once.

What goes through a piece is a plain function with arguments that can be sent anywhere; whoever has
an executor of :mod:`concurrent.futures`, of one machine or of a cluster that shares the folder, can
pass it in.
"""

from __future__ import annotations

import io
import os
import secrets
import signal
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from policy_router.errors import LogError
from policy_router.log.entry import MOST_LINE, Kind, LineView, split_lines, views_of_block
from policy_router.log.files import open_file
from policy_router.log.folder import LogFolder, Progress
from policy_router.version import VERSION

T = TypeVar("T")

_BLOCK = 64 * 1024
"""So much is read at once: larger blocks go back to the system each time, and come back empty."""
_MORE = 4096
_AFTER_ID = b'","kind":"'
_NO_LINE = b"\0"
"""What stands for a line that is too long: no JSON holds it."""
_CHUNK = 8 * 1024 * 1024
_SMALL = 24 * 1024 * 1024


class Job(Struct, frozen=True):
    """What is done with a log, for whoever does a part of it.

    Attributes:
        folder: the log, by a path that is the same everywhere.
        run: tells one call from the next: nothing that is kept outlives the call.
        since: the earliest decisions that it is about, in microseconds since 1970.
        until: the time before which they are.
    """

    folder: str
    run: str
    since: int | None = None
    until: int | None = None

    @classmethod
    def of(cls, folder: LogFolder, since: int | None = None, until: int | None = None) -> Job:
        """Return a new one."""
        return cls(str(folder.path), secrets.token_hex(8), since, until)

    def covers(self, time: int) -> bool:
        """Tell whether it is about decisions of a time."""
        is_late = self.since is None or time >= self.since
        return is_late and (self.until is None or time < self.until)


class Chunk(Struct, frozen=True):
    """A piece of a segment: the lines that begin between two offsets."""

    path: str
    start: int
    stop: int

    def lines(self) -> Iterator[bytes]:
        """Yield its lines that have their end, without it; none where it was pruned meanwhile."""
        for block in self.blocks():
            yield from split_lines(block)

    def views(self) -> Iterator[LineView | None]:
        """Yield its lines, read; None for each that cannot be read."""
        for block in self.blocks():
            yield from views_of_block(block)

    def blocks(self) -> Iterator[bytes]:
        """Yield its lines in blocks of whole lines; one that is too long is shortened."""
        for block in self._blocks():
            if len(block) <= MOST_LINE:
                yield block
            else:
                lines = split_lines(block)
                short = (line if len(line) < MOST_LINE else _NO_LINE for line in lines)
                yield b"".join(line + b"\n" for line in short)

    def _blocks(self) -> Iterator[bytes]:
        """Yield its lines in blocks of whole lines."""
        size = min(_BLOCK, self.stop - self.start + _MORE)
        try:
            stream = io.BufferedReader(open_file(self.path), size)
        except FileNotFoundError:
            return
        with stream:
            place = self.start
            if place:
                stream.seek(place - 1)
                while (line := stream.readline(MOST_LINE)) and not line.endswith(b"\n"):
                    place += len(line)
                place += len(line) - 1
            rest = b""
            while place < self.stop and (more := stream.read(max(size, len(rest)))):
                block, rest = self._cut(rest + more, place)
                if block:
                    place += len(block)
                    yield block
                elif len(rest) >= MOST_LINE:  # shortened, it is no line either way
                    place += len(rest) - len(_NO_LINE)
                    rest = _NO_LINE

    def _cut(self, content: bytes, place: int) -> tuple[bytes, bytes]:
        """Cut off what is no whole line yet, and lines that begin behind the piece."""
        last = self.stop - 1 - place
        end = content.find(b"\n", last) + 1 if last < len(content) else 0
        end = end or content.rfind(b"\n") + 1
        return content[:end], content[end:]


def covered_views(job: Job, chunk: Chunk) -> Iterator[LineView | None]:
    """Read the lines of a piece, without the decisions that are not meant."""
    views = chunk.views()
    if job.since is None and job.until is None:
        return views
    return (it for it in views if it is None or it.kind != Kind.DECISION or job.covers(it.time))


class LinesAbout:
    """Finds the lines of some ids, and maybe others, among lines.

    The keys of a line are sorted, so its id ends where its kind begins. Lines are searched and not
    read, which would take longer.
    """

    def __init__(self, ids: Collection[str]) -> None:
        """Take the ids."""
        self._wanted = {b'"id":%s' % msgspec.json.encode(it)[:-1] for it in ids}
        self._lengths = sorted({len(it) for it in self._wanted})  # mostly one

    def among(self, lines: Sequence[bytes]) -> Iterator[bytes]:
        """Yield those that are found."""
        wanted = self._wanted
        for length in self._lengths:
            yield from (
                it
                for it in lines
                if it[max((end := it.find(_AFTER_ID)) - length, 0) : end] in wanted
            )


def lines_about(blocks: Iterable[bytes], ids: Collection[str]) -> Iterator[bytes]:
    """Yield the lines of some ids, and maybe others, among blocks of lines."""
    found = LinesAbout(ids)
    for block in blocks:
        yield from found.among(split_lines(block))


def chunks(folder: LogFolder) -> list[Chunk]:
    """Return all lines of a log, in pieces."""
    found = []
    for segment in folder.all_segments():
        with suppress(FileNotFoundError):  # it may have been pruned meanwhile
            size = Path(segment.path).stat().st_size
            found += [
                Chunk(segment.path, start, min(start + _CHUNK, size))
                for start in range(0, size, _CHUNK)
            ]
    return found


def over_all(
    work: Callable[[Chunk], T],
    pieces: Sequence[Chunk],
    *,
    executor: Executor | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Iterator[T]:
    """Do something with every piece, and yield what it comes to, in the order of the pieces.

    The order is what makes a report the same wherever its pieces were gone through.

    Args:
        work: what to do; it is sent to where it is done.
        pieces: what to do it with.
        executor: does it; processes on all cores unless given, for a large log.
        workers: how many processes; as many as there are cores unless given.
        progress: is told how far it is.

    Raises:
        LogError: a worker of the executor has not the log, or another version of this package.
    """
    total = sum(piece.stop - piece.start for piece in pieces)
    workers = workers or os.cpu_count() or 1
    if executor is not None:
        elsewhere = partial(_done_elsewhere, VERSION, work)
        sent = _submitted(executor, elsewhere, pieces)
        with closing(_gathered(sent, total, progress)) as parts:
            for piece, part in zip(pieces, parts, strict=True):
                yield _here_too(work, piece, part) if isinstance(part, _Absent) else part
    elif workers == 1 or total < _SMALL:
        done = 0
        for piece in pieces:
            yield work(piece)
            done += piece.stop - piece.start
            if progress is not None:
                progress(done, total)
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            with _uninterrupted():
                futures = _submitted(pool, work, pieces)
            yield from _gathered(futures, total, progress)


class _Absent(Struct, frozen=True):
    """Says that a worker has not what it was to go through, and why."""

    reason: str


def _done_elsewhere(version: str, work: Callable[[Chunk], T], piece: Chunk) -> T | _Absent:
    """Do something with a piece, where another process may have another log or package."""
    if version != VERSION:
        return _Absent(f"has policy-router {VERSION}; {version} asks")
    try:
        has_it = Path(piece.path).stat().st_size >= piece.stop
    except OSError:
        has_it = False
    return work(piece) if has_it else _Absent(f"has not all of {piece.path}")


def _here_too(work: Callable[[Chunk], T], piece: Chunk, absent: _Absent) -> T:
    """Accept that a worker has not what was pruned meanwhile; nothing else may be left out."""
    if Path(piece.path).exists():
        raise LogError(str(Path(piece.path).parents[1]), f"a worker {absent.reason}")
    return work(piece)


def _submitted(
    executor: Executor, work: Callable[[Chunk], T], pieces: Sequence[Chunk]
) -> deque[tuple[Future[T], Chunk]]:
    return deque((executor.submit(work, piece), piece) for piece in pieces)


def _gathered(
    futures: deque[tuple[Future[T], Chunk]], total: int, progress: Progress | None
) -> Generator[T, None, None]:
    done = 0
    try:
        while futures:
            future, piece = futures[0]
            result = future.result()
            futures.popleft()  # a part is large: none is kept longer than it takes to merge it
            yield result
            done += piece.stop - piece.start
            if progress is not None:
                progress(done, total)
    finally:
        for future, _ in futures:
            future.cancel()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let processes that are started here not be interrupted: who started them is, and ends them.

    A process that is interrupted while it starts would say so at length.
    """
    if not hasattr(signal, "pthread_sigmask"):  # pragma: no cover - Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
