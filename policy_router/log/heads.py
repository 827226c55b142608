"""How far a writer has come: the head beside its folder, and whether its lines bear that out."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import IO, Final

import msgspec
from msgspec import Struct

from policy_router.log.entry import MOST_LINE, UNREADABLE, line_hash
from policy_router.log.files import open_file

SCHEMA: Final = "policy-router/log/v1"
_ANY_SCHEMA = re.compile(r"policy-router/log/v\d+", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}")
_HEAD_BYTES: Final = 256
_BLOCK: Final = 64 * 1024
_MOST: Final = 2**62
_ENCODE = msgspec.json.encode


class Head(Struct, frozen=True):
    """How far a writer has come: everything up to here is on disk and was acknowledged.

    The head itself is written without a sync: after a power cut it may be behind.

    Attributes:
        segment: the number of its last segment.
        length: how many bytes that has.
        seq: the number of its last line.
        hash: the SHA-256 of that line.
        schema: which version of the log this is.
    """

    segment: int
    length: int
    seq: int
    hash: str
    schema: str = SCHEMA

    def to_bytes(self) -> bytes:
        """Return JSON, always as long."""
        return _ENCODE(self).ljust(_HEAD_BYTES - 1) + b"\n"


class UnknownSchemaError(ValueError):
    """A log of a later version of this package."""


class _SchemaOnly(Struct, frozen=True):
    schema: str


def read_head(content: bytes) -> Head | None:
    """Return the head that a file holds; None where it holds none.

    Raises:
        UnknownSchemaError: a later version of this package wrote it.
    """
    try:
        schema = msgspec.json.decode(content, type=_SchemaOnly).schema
        if schema != SCHEMA and _ANY_SCHEMA.fullmatch(schema):
            raise UnknownSchemaError(
                f"it is not of the schema {SCHEMA}; a newer version may read it"
            )
        head = msgspec.json.decode(content, type=Head)
    except UNREADABLE:
        return None
    if head.schema != SCHEMA:
        return None
    can_be = 0 < head.segment < _MOST and 0 <= head.length < _MOST and 0 <= head.seq < _MOST
    return head if can_be and _HASH.fullmatch(head.hash) else None


def last_hash(path: str | Path, length: int | None = None) -> str | None:
    """Return the hash of the last line of a file, or of its first bytes.

    Args:
        path: the file.
        length: how many bytes of it; those up to its last line end unless given.

    Returns:
        The hash; None where no line ends there.
    """
    with open_file(path) as stream:
        size = stream.seek(0, io.SEEK_END)
        if length is None:
            length = after_newline(stream, size)
        stream.seek(max(length - 1, 0))
        if not 0 < length <= size or stream.read(1) != b"\n":
            return None
        start = after_newline(stream, length - 1)
        stream.seek(start)
        size = length - 1 - start
        return line_hash(stream.read(size)) if size <= MOST_LINE else None


def after_newline(stream: IO[bytes], stop: int) -> int:
    """Return the offset after the last line end before another offset; 0 where there is none."""
    while stop > 0:
        start = max(0, stop - _BLOCK)
        stream.seek(start)
        found = stream.read(stop - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        stop = start
    return 0
