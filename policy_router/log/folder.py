"""What is where in a log's folder. Reading it never disturbs who writes it.

::

    LOG/
      w1/00000001.jsonl       a writer's segments, one JSON object a line
      heads/w1                how far the writer has come; its lock
      policies/               policies by content, and the rule files they were made of
      tree/                   the Merkle tree over the lines, its checkpoints, what was signed

A log of the first edition has its heads in ``.heads/``, and goes on there. Its signed checkpoints
are in ``checkpoints/``; what it kept of segments that were removed is in ``w1/00000001.pruned``.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias

from msgspec import Struct

from policy_router.diagnostics.model import printable
from policy_router.errors import LogError, reason_of
from policy_router.log.files import read_file
from policy_router.log.heads import Head, UnknownSchemaError, last_hash, read_head

Progress: TypeAlias = Callable[[int, int], None]
"""Is told how many bytes of how many are done."""

_WRITER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_SEGMENT = re.compile(r"(\d{8}|[1-9]\d{8,17})\.jsonl", re.ASCII)
_NOTE = re.compile(r"\d{1,20}\.txt", re.ASCII)
_CHECKPOINT = re.compile("checkpoint")
PRUNE_WRITER: Final = "prune"
"""The writer of the lines that say what was removed: no other can have its name."""
_RESERVED: Final = frozenset({"policies", "checkpoints", "heads", "tree"})
WRITER_RULE: Final = (
    "a writer's name is of letters, digits, `_`, `-` and `.`, and no name that a log needs itself"
)


class Segment(Struct, frozen=True, order=True):
    """A file of a writer."""

    writer: str
    number: int
    path: str

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
        self.tree = self.path / "tree"
        self.first_checkpoints = self.path / "checkpoints"

    @classmethod
    def existing(cls, path: str | Path) -> LogFolder:
        """Return the folder of a log that is there.

        Raises:
            LogError: there is nothing of a log, or it cannot be read.
        """
        folder = cls(path)
        with readable(folder):
            signed = (folder.tree, _CHECKPOINT), (folder.first_checkpoints, _NOTE)
            is_there = bool(folder.writers()) or folder.heads.is_dir()
            is_there = is_there or any(_has(*it) for it in signed)
        if not is_there:
            raise LogError(str(path), "there is no decision log here")
        return folder

    @property
    def heads(self) -> Path:
        """The folder of the heads."""
        first, own = self.path / ".heads", self.path / "heads"
        return first if first.is_dir() and not own.is_dir() else own

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
        """Return the segments of a writer that are there, in order."""
        try:
            with os.scandir(self.path / writer) as files:
                names = [it.name for it in files if _SEGMENT.fullmatch(it.name) and it.is_file()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        found = ((int(name.partition(".")[0]), name) for name in names)
        return [
            Segment(writer, number, str(self.path / writer / name))
            for number, name in sorted(found)
        ]

    def all_segments(self) -> Iterator[Segment]:
        """Yield every segment of every writer."""
        for writer in self.writers():
            yield from self.segments(writer)

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
            while content != (again := read_file(path)):
                content = again
        except FileNotFoundError:
            return None
        except OSError as problem:
            if problem.errno != errno.EFBIG:  # What is so long is no head.
                raise
        return read_head(content or b"")

    def bears_out(self, writer: str, head: Head) -> bool:
        """Tell whether the last line is where a head says, as far as it is still there."""
        if not head.seq:
            return not head.length
        segments = [it for it in self.segments(writer) if it.number <= head.segment]
        if head.length:
            segments = [it for it in segments if it.number == head.segment]
        else:
            segments = [it for it in segments if it.number == head.segment - 1]
        return all(last_hash(it.path, head.length or None) == head.hash for it in segments)


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


def _has(folder: Path, pattern: re.Pattern[str]) -> bool:
    """Tell whether a folder has a file with a name of a kind."""
    return folder.is_dir() and any(pattern.fullmatch(it.name) for it in folder.iterdir())


def _natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort w2 before w10."""
    parts = re.findall(r"\d+|\D+", name)
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)
