"""What is kept of a segment that was removed: enough to go on with chain and Merkle tree."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

SCHEMA: Final = "policy-router/pruned/v1"
HASH_BYTES: Final = 32


class Pruned(Struct, frozen=True):
    """A segment that was removed.

    Attributes:
        first: the number of its first line.
        lines: how many lines it had.
        prev: the hash that its first line has for the line before it.
        hash: the hash of its last line.
        leaves: the Merkle leaf hashes of its lines, one after the other, in base64.
        schema: which version of the log this is.
    """

    first: int
    lines: int
    prev: str
    hash: str
    leaves: str
    schema: str = SCHEMA

    def to_bytes(self) -> bytes:
        """Return JSON."""
        return msgspec.json.encode(self, order="sorted") + b"\n"

    def leaf_hashes(self) -> bytes:
        """Return the leaf hashes, 32 bytes each."""
        return base64.b64decode(self.leaves)


def read_pruned(path: str | Path) -> Pruned | None:
    """Read what is kept of a segment; None where that cannot be read, or is not whole."""
    try:
        kept = msgspec.json.decode(Path(path).read_bytes(), type=Pruned)
        hashes = base64.b64decode(kept.leaves, validate=True)
    except (OSError, ValueError, RecursionError):
        return None
    is_whole = kept.schema == SCHEMA and len(hashes) == kept.lines * HASH_BYTES
    return kept if is_whole else None
