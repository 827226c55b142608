"""What is where in a log's folder. Reading it never disturbs who writes it.

::

    LOG/
      w1/00000001.jsonl       a writer's segments, one JSON object a line
      w1/00000001.pruned      what is kept of a segment that was removed
      policies/               policies by content, and the rule files they were made of
      checkpoints/            signed checkpoints, by the number of lines that they cover
      .heads/w1               how far the writer has come; its lock
"""

from __future__ import annotations

import io
import os
import re
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import Final, TypeAlias

from msgspec import Struct

from policy_router.diagnostics.model import printable
from policy_router.errors import LogError, reason_of
from policy_router.log.heads import Head, UnknownSchemaError, last_hash, read_head
from policy_router.log.pruned import read_pruned

Progress: TypeAlias = Callable[[int, int], None]
"""Is told how many bytes of how many are done."""

_WRITER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_SEGMENT = re.compile(r"(\d{8}|[1-9]\d{8,17})\.(jsonl|pruned)", re.ASCII)
_NOTE = re.compile(r"\d{1,20}\.txt", re.ASCII)
_BINARY: Final = getattr(os, "O_BINARY", 0)
_RESERVED: Final = frozenset({"policies", "checkpoints"})


class Segment(Struct, frozen=True, order=True):
    """A file of a writer; ``is_pruned`` where only its proof material is left."""

    writer: str
    number: int
    path: str
    is_pruned: bool = False

    @property
    def name(self) -> str:
        """Its name in messages: ``writer/number``."""
        return f"{self.writer}/{self.number}"


class LogFolder:
    """The folder of a log: names of what is in it."""

    def __init__(self, path: str | Path) -> None:
        """Take a path; nothing is read or made."""
        self.path = Path(path).absolute()
        self.policies = self.path / "policies"
        self.checkpoints = self.path / "checkpoints"
        self.heads = self.path / ".heads"

    @classmethod
    def existing(cls, path: str | Path) -> LogFolder:
        """Return the folder of a log that is there.

        Raises:
            LogError: there is nothing of a log, or it cannot be read.
        """
        folder = cls(path)
        with readable(folder):
            is_there = folder.writers() or folder.heads.is_dir() or _has(folder.checkpoints, _NOTE)
        if not is_there:
            raise LogError(str(path), "there is no decision log here")
        return folder

    def writers(self) -> list[str]:
        """Return the names of the writers that have a folder of lines, sorted."""
        try:
            with os.scandir(self.path) as found:
                names = [it.name for it in found if is_writer(it.name) and it.is_dir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        known = self.known_writers()
        there = (it for it in names if it in known or _has(self.path / it, _SEGMENT))
        return sorted(there, key=_natural)

    def known_writers(self) -> list[str]:
        """Return the names of the writers that have a head, sorted."""
        try:
            names = [it.name for it in self.heads.iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(filter(is_writer, names), key=_natural)

    def segments(self, writer: str) -> list[Segment]:
        """Return the segments of a writer, in order; one that is there and pruned is there."""
        found: dict[int, Segment] = {}
        try:
            with os.scandir(self.path / writer) as files:
                names = sorted(it.name for it in files if it.is_file())
        except (FileNotFoundError, NotADirectoryError):
            return []
        for name in names:  # .jsonl comes before .pruned
            match = _SEGMENT.fullmatch(name)
            if match and int(match[1]) not in found:
                path = str(self.path / writer / name)
                number = int(match[1])
                found[number] = Segment(writer, number, path, match[2] == "pruned")
        return [found[number] for number in sorted(found)]

    def all_segments(self) -> Iterator[Segment]:
        """Yield every segment of every writer that is still there."""
        for writer in self.writers():
            yield from (it for it in self.segments(writer) if not it.is_pruned)

    def segment_path(self, writer: str, number: int) -> Path:
        """Return the path of a segment."""
        return self.path / writer / f"{number:08d}.jsonl"

    def head(self, writer: str) -> Head | None:
        """Return how far a writer has come; None where nothing says so.

        Raises:
            UnknownSchemaError: a later version of this package wrote it.
        """
        path, content = self.heads / writer, None
        if not path.is_file():
            return None
        try:
            # It is written over in place: what is read twice alike was not being written.
            while content != (again := path.read_bytes()):
                content = again
        except FileNotFoundError:
            return None
        return read_head(content or b"")

    def bears_out(self, writer: str, head: Head) -> bool:
        """Tell whether the last line is where a head says, as far as it is still there."""
        if not head.seq:
            return not head.length
        segments = [it for it in self.segments(writer) if it.number <= head.segment]
        if head.length:
            segments = [it for it in segments if it.number == head.segment]
        else:
            segments = [it for it in segments if it.number < head.segment][-1:]
        for it in segments:
            kept = read_pruned(it.path) if it.is_pruned else None
            if kept is not None:
                return (kept.first + kept.lines - 1, kept.hash) == (head.seq, head.hash)
            return last_hash(it.path, head.length or None) == head.hash
        return True


_BROKEN: Final = (
    "a process that was to read a part of it was killed or could not start; one worker needs no"
    ' other process (a program may miss `if __name__ == "__main__":`)'
)


@contextmanager
def readable(folder: LogFolder) -> Iterator[None]:
    """Let what of a log cannot be read be a :class:`LogError`."""
    try:
        yield
    except UnknownSchemaError as problem:
        raise LogError(str(folder.path), str(problem)) from None
    except BrokenExecutor:
        raise LogError(str(folder.path), _BROKEN) from None
    except OSError as problem:
        name = os.path.relpath(problem.filename, folder.path) if problem.filename else "it"
        what = "it" if name == "." else printable(name)
        raise LogError(str(folder.path), f"{what} cannot be read: {reason_of(problem)}") from None


def is_writer(name: str) -> bool:
    """Tell whether a writer can have this name."""
    return bool(_WRITER.fullmatch(name)) and name not in _RESERVED


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, and on disk when this returns.

    Raises:
        OSError: it cannot be written; what was there is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        with half.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        half.replace(path)
    except BaseException:
        with suppress(OSError):
            half.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def opened(path: Path, flags: int = 0) -> io.FileIO:
    """Open a file to read and write; it is made where it is not there."""
    return io.FileIO(os.open(path, os.O_RDWR | os.O_CREAT | _BINARY | flags, 0o644), "rb+")


def make_folder(path: Path) -> None:
    """Make a folder and those it is in, with their names on disk when this returns.

    Raises:
        OSError: one cannot be made.
    """
    new = list(takewhile(lambda it: not it.exists(), (path, *path.parents)))
    path.mkdir(parents=True, exist_ok=True)
    for it in new:
        with suppress(PermissionError):  # what it is in may be written and not read
            sync_folder(it.parent)


def sync_folder(path: Path) -> None:
    """Let the names in a folder be on disk; a system that cannot open folders does so itself."""
    if os.name == "nt":  # pragma: no cover - other systems
        return
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _has(folder: Path, pattern: re.Pattern[str]) -> bool:
    """Tell whether a folder has a file with a name of a kind."""
    return folder.is_dir() and any(pattern.fullmatch(it.name) for it in folder.iterdir())


def _natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort w2 before w10."""
    parts = re.findall(r"\d+|\D+", name)
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)
