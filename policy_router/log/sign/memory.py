"""What a key remembers of the logs that it signed, so that it never signs two histories of one.

The memory is a file beside the key, out of reach of who writes the log. It is locked while
somebody signs, and on disk before a checkpoint is shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from policy_router.errors import LogError, reason_of
from policy_router.log.entry import UNREADABLE
from policy_router.log.files import opened, read_file, write_whole
from policy_router.log.lock import lock

SCHEMA: Final = "policy-router/signer/v1"
_MOST_BYTES: Final = 64 << 20


class Extent(Struct, frozen=True, array_like=True):
    """How much of a writer is in the tree.

    Attributes:
        seq: the number of the last line.
        hash: its SHA-256, in hexadecimal.
        segment: the segment that it is in; 0 where that is not known.
        offset: the offset after it there: where to go on, if the line is still there.
    """

    seq: int
    hash: str
    segment: int = 0
    offset: int = 0


class Remembered(Struct, frozen=True):
    """What a key remembers of a log.

    Attributes:
        size: how many entries the largest tree had that it signed.
        root: the root of that.
        extents: how much of each writer is in it.
        successor: the key that the log was handed over to; empty where it was not.
    """

    size: int
    root: bytes
    extents: dict[str, Extent] = field(default_factory=dict)
    successor: str = ""


class _File(Struct, frozen=True):
    logs: dict[str, Remembered]
    schema: str = SCHEMA


class StateError(LogError):
    """The file in which a key remembers what it signed, which cannot be read or written."""

    def __str__(self) -> str:
        """Name the file, and say what is wrong with it."""
        return f"the state {self.folder}: {self.reason}"


class SignerMemory:
    """The memory of a key, while it is locked."""

    def __init__(self, path: Path) -> None:
        """Take its file; nothing is read or made."""
        self.path = path

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep others from signing with the same memory.

        Raises:
            StateError: another process has it, or it cannot be written.
        """
        with ExitStack() as stack:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                name = self.path.with_name(f"{self.path.name}.lock")
                file = stack.enter_context(opened(name))
                if not lock(file):
                    raise StateError(str(self.path), "another process signs with this key")
            except OSError as problem:
                raise StateError(str(self.path), reason_of(problem)) from None
            yield

    def of(self, origin: str) -> Remembered | None:
        """Return what is remembered of a log; None where it was never signed.

        Raises:
            StateError: the memory cannot be read: nobody knows what was signed.
        """
        return self._read().logs.get(origin)

    def put(self, origin: str, what: Remembered) -> None:
        """Remember what is about to be signed.

        Raises:
            StateError: it cannot be written, so that nothing may be signed.
        """
        kept = self._read()
        logs = kept.logs | {origin: what}
        try:
            write_whole(self.path, msgspec.json.encode(replace(kept, logs=logs)) + b"\n")
        except OSError as problem:
            raise StateError(str(self.path), reason_of(problem)) from None

    def _read(self) -> _File:
        try:
            found = msgspec.json.decode(read_file(self.path, _MOST_BYTES), type=_File)
        except FileNotFoundError:
            return _File({})
        except OSError as problem:
            raise StateError(str(self.path), reason_of(problem)) from None
        except UNREADABLE:
            raise StateError(str(self.path), "it is not what a key remembers") from None
        if found.schema != SCHEMA:
            raise StateError(str(self.path), f"it is not of the schema {SCHEMA}")
        return found
