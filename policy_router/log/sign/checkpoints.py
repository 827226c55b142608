"""Checkpoints of a log: signed, so that nobody can rewrite what they cover.

A checkpoint is a C2SP signed note (https://c2sp.org/tlog-checkpoint) over the RFC 6962 Merkle tree
of all lines. Each writer's lines have their order; how the writers are woven into one tree, the
checkpoints say: each appends, writer by writer, what has come since the one before. Extension lines
say it, one for each writer::

    writer w1 1204 <leaf hash of line 1204, in base64>
"""

from __future__ import annotations

import base64
import errno
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from policy_router.errors import LogError, reason_of
from policy_router.log.damage import Damage, Problem
from policy_router.log.folder import LogFolder, sync_folder, write_whole
from policy_router.log.sign.keys import SignatureError, Signer, Verifier, from_base64
from policy_router.log.sign.merkle import (
    HASH_SIZE,
    Tree,
    inclusion_proof,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from policy_router.log.sign.notes import (
    Checkpoint,
    ConsistencyProof,
    InclusionProof,
    opened,
    sign,
    text_of,
)

_COVER: Final = re.compile(r"writer ([A-Za-z0-9_][A-Za-z0-9_.-]{0,63}) ([1-9]\d{0,18}) (\S{44})")
_FILE: Final = re.compile(r"[0-9]{1,20}\.txt")


class WriterExtent(Struct, frozen=True):
    """How much of a writer a checkpoint covers.

    Attributes:
        writer: its name.
        lines: how many lines, from the first.
        leaf: the leaf hash of the last of them.
    """

    writer: str
    lines: int
    leaf: bytes

    def to_text(self) -> str:
        """Return the extension line of a checkpoint."""
        return f"writer {self.writer} {self.lines} {base64.b64encode(self.leaf).decode()}"


class Span(Struct, frozen=True):
    """Lines of a writer that follow each other in the tree: after ``start``, up to ``stop``."""

    writer: str
    start: int
    stop: int


class SignedCheckpoint(Struct, frozen=True):
    """A checkpoint as it is kept.

    Attributes:
        name: its file, as a message calls it.
        note: the signed note.
        checkpoint: what the note says.
        covers: how much of each writer it covers.
    """

    name: str
    note: str
    checkpoint: Checkpoint
    covers: tuple[WriterExtent, ...]

    @classmethod
    def read(cls, path: Path, name: str) -> SignedCheckpoint:
        """Read a checkpoint; who signed it is not looked at.

        Args:
            path: its file.
            name: how messages call that.

        Raises:
            SignatureError: it is not a checkpoint of a decision log.
            OSError: it cannot be read.
        """
        note = path.read_bytes().decode(errors="surrogateescape")
        checkpoint = Checkpoint.from_text(text_of(note))
        covers = tuple(_cover(line) for line in checkpoint.extensions)
        if sum(cover.lines for cover in covers) != checkpoint.size:
            raise SignatureError("malformed checkpoint: its writers have not as many lines as it")
        return cls(name, note, checkpoint, covers)


def _cover(line: str) -> WriterExtent:
    found = _COVER.fullmatch(line)
    leaf = from_base64(found[3], "checkpoint") if found else b""
    if found is None or len(leaf) != HASH_SIZE:
        raise SignatureError("malformed checkpoint: an extension line is of no writer")
    return WriterExtent(found[1], int(found[2]), leaf)


def stored(folder: LogFolder) -> tuple[list[SignedCheckpoint], list[Problem]]:
    """Return the checkpoints of a log in their order, and what is wrong with their files."""
    found, problems = [], []
    files = folder.checkpoints.iterdir() if folder.checkpoints.is_dir() else ()
    for path in sorted(file for file in files if _FILE.fullmatch(file.name)):
        name = f"checkpoints/{path.name}"
        try:
            found.append(_own(path, name))
        except (SignatureError, OSError) as problem:
            reason = reason_of(problem) if isinstance(problem, OSError) else str(problem)
            message = f"it cannot be used: {reason}"
            problems.append(Problem(Damage.BAD_CHECKPOINT, name, message))
    return sorted(found, key=lambda it: it.checkpoint.size), problems


def _own(path: Path, name: str) -> SignedCheckpoint:
    """Read a checkpoint that a log itself keeps.

    Raises:
        SignatureError: it is not one, or not the one that its name says.
        OSError: it cannot be read.
    """
    if not path.is_file():
        raise SignatureError("it is no file")
    found = SignedCheckpoint.read(path, name)
    if path.name != _file_name(found.checkpoint):
        raise SignatureError(f"it is that of {found.checkpoint.size:,} lines")
    return found


def spans(before: Mapping[str, int], covers: Sequence[WriterExtent]) -> Iterator[Span]:
    """Yield what a checkpoint adds to the tree, in its order.

    Args:
        before: how many lines of each writer are in the tree.
        covers: how many will be.
    """
    for cover in covers:
        start = before.get(cover.writer, 0)
        if cover.lines > start:
            yield Span(cover.writer, start, cover.lines)


def hashes(leaves: bytes | bytearray, start: int, stop: int) -> list[bytes]:
    """Return leaf hashes of lines, after ``start`` up to ``stop``, one by one."""
    part = bytes(leaves[start * HASH_SIZE : stop * HASH_SIZE])
    return [part[place : place + HASH_SIZE] for place in range(0, len(part), HASH_SIZE)]


class LogTree:
    """The tree of all lines, in the order that the checkpoints give it.

    Attributes:
        tree: the tree so far.
        covered: how many lines of each writer are in it.
        spans: which lines they are, in order.
    """

    def __init__(self, leaves: Mapping[str, bytes | bytearray]) -> None:
        """Begin with nothing.

        Args:
            leaves: the leaf hashes of each writer's lines.
        """
        self._leaves = leaves
        self.tree = Tree()
        self.covered: dict[str, int] = {}
        self.spans: list[Span] = []

    def add(self, covers: Sequence[WriterExtent]) -> bool:
        """Add what a checkpoint covers; tell whether it covers all that is there already."""
        covered = {cover.writer: cover.lines for cover in covers}
        if any(covered.get(writer, 0) < lines for writer, lines in self.covered.items()):
            return False
        for span in spans(self.covered, covers):
            self.tree.extend(hashes(self._leaves.get(span.writer, b""), span.start, span.stop))
            self.spans.append(span)
        self.covered = covered
        return True

    def leaves(self) -> list[bytes]:
        """Return all leaf hashes in the order of the tree."""
        return [
            leaf
            for span in self.spans
            for leaf in hashes(self._leaves.get(span.writer, b""), span.start, span.stop)
        ]

    def index(self, writer: str, seq: int) -> int | None:
        """Return the place of a line in the tree, from 0; None where it is not in it."""
        place = 0
        for span in self.spans:
            if span.writer == writer and span.start < seq <= span.stop:
                return place + seq - span.start - 1
            place += span.stop - span.start
        return None


def signed(
    log_tree: LogTree, leaves: Mapping[str, bytes | bytearray], origin: str, signer: Signer
) -> tuple[Checkpoint, str]:
    """Return a checkpoint over all lines there are, and its note.

    Args:
        log_tree: the tree of the checkpoints so far; what is new is added.
        leaves: the leaf hashes of each writer's lines.
        origin: what the log is called.
        signer: the key.
    """
    covers = [
        WriterExtent(writer, len(its) // HASH_SIZE, bytes(its[-HASH_SIZE:]))
        for writer, its in leaves.items()
        if its
    ]
    log_tree.add(covers)
    extensions = tuple(cover.to_text() for cover in covers)
    checkpoint = Checkpoint(origin, log_tree.tree.size, log_tree.tree.root(), extensions)
    return checkpoint, sign(checkpoint.to_text(), signer)


def keep(folder: LogFolder, checkpoint: Checkpoint, note: str) -> Path:
    """Store a checkpoint, and return its path.

    Raises:
        OSError: it cannot be written, or there is one of this size, which is left as it is.
    """
    path = folder.checkpoints / _file_name(checkpoint)
    if path.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    write_whole(path, note.encode())
    sync_folder(folder.path)
    return path


def _file_name(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.size:012d}.txt"


def proved(log_tree: LogTree, index: int, line: bytes, note: str) -> InclusionProof:
    """Return the proof that a line is in the tree that a note signs."""
    return InclusionProof(index, inclusion_proof(log_tree.leaves(), index), note, line)


def verify_growth(proof: ConsistencyProof, old: str, verifier: Verifier) -> Checkpoint:
    """Check that a log has all that an older checkpoint covers, as it was.

    Args:
        proof: the newer checkpoint, with its proof.
        old: the note of the older one.
        verifier: the key that signed both.

    Returns:
        The newer checkpoint.

    Raises:
        SignatureError: one of them is not signed with the key.
        LogError: they are of different logs, or the newer one does not have the older lines.
    """
    before, after = (Checkpoint.from_text(opened(it, verifier)) for it in (old, proof.checkpoint))
    if before.origin != after.origin:
        raise LogError(after.origin, "the older checkpoint is of another log")
    sizes, roots = (before.size, after.size), (before.root, after.root)
    if proof.old_size != before.size or not verify_consistency(*sizes, *roots, proof.hashes):
        raise LogError(after.origin, "it does not have all that the older checkpoint covers")
    return after


def verify_proof(proof: InclusionProof, verifier: Verifier) -> Checkpoint:
    """Check that a line is in a log.

    Args:
        proof: the line, its place, and the signed checkpoint.
        verifier: the key that signed the checkpoint.

    Returns:
        The checkpoint that covers it.

    Raises:
        SignatureError: it is not signed with the key.
        LogError: the line is not what was signed.
    """
    checkpoint = Checkpoint.from_text(opened(proof.checkpoint, verifier))
    size, root = checkpoint.size, checkpoint.root
    if not verify_inclusion(leaf_hash(proof.line), proof.index, size, proof.hashes, root):
        raise LogError(checkpoint.origin, "the line is not in the tree that was signed")
    return checkpoint
