"""Checkpoints of a log: signed, so that nobody can rewrite what they cover.

A checkpoint is a C2SP signed note (https://c2sp.org/tlog-checkpoint) over the tree of the log,
whose entries are those of :mod:`policy_router.log.sign.tiles`. Each is kept by its size; the newest
is ``tree/checkpoint``, too, where readers of tiles look for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from msgspec import Struct

from policy_router.errors import LogError, reason_of
from policy_router.log.damage import Damage, Problem
from policy_router.log.entry import line_hash, view_of
from policy_router.log.files import read_file, write_whole
from policy_router.log.folder import LogFolder
from policy_router.log.sign.keys import SignatureError, Verifier
from policy_router.log.sign.merkle import leaf_hash, verify_consistency, verify_inclusion
from policy_router.log.sign.notes import (
    Checkpoint,
    ConsistencyProof,
    InclusionProof,
    opened,
    text_of,
)
from policy_router.log.sign.tiles import Entry

NEWEST: Final = "checkpoint"
_FOLDER: Final = "checkpoints"
_FILE: Final = re.compile(r"[0-9]{1,20}\.txt")
_MOST_BYTES: Final = 1 << 16


class SignedCheckpoint(Struct, frozen=True):
    """A checkpoint as it is kept.

    Attributes:
        name: its file, as a message calls it.
        note: the signed note.
        checkpoint: what the note says.
    """

    name: str
    note: str
    checkpoint: Checkpoint

    @classmethod
    def read(cls, path: Path, name: str) -> SignedCheckpoint:
        """Read a checkpoint; who signed it is not looked at.

        Args:
            path: its file.
            name: how messages call that.

        Raises:
            SignatureError: it cannot be read, or is none.
        """
        try:
            note = read_file(path, _MOST_BYTES).decode(errors="surrogateescape")
        except OSError as problem:
            raise SignatureError(f"{name}: {reason_of(problem)}") from None
        return cls(name, note, Checkpoint.from_text(text_of(note)))


def stored(log: LogFolder, *, newest_first: bool = False) -> Iterator[SignedCheckpoint | Problem]:
    """Yield the checkpoints of a log by their size, and what is wrong with a file of one."""
    folder = log.tree / _FOLDER
    names = [it.name for it in folder.iterdir()] if folder.is_dir() else []
    paths = [folder / it for it in sorted(filter(_FILE.fullmatch, names), key=_size)]
    newest = log.tree / NEWEST
    paths += [newest] if newest.exists() or newest.is_symlink() else []
    last = None
    for path in reversed(paths) if newest_first else paths:
        name = path.relative_to(log.path).as_posix()
        try:
            found = SignedCheckpoint.read(path, name)
            if path != newest and _size(path.name) != found.checkpoint.size:
                raise SignatureError(f"it is that of {found.checkpoint.size:,} lines")  # noqa: TRY301
        except SignatureError as problem:
            yield Problem(Damage.BAD_CHECKPOINT, name, f"it cannot be used: {problem}")
        else:
            if last is None or found.note != last.note:
                yield found
            last = found


def newest(log: LogFolder) -> SignedCheckpoint | None:
    """Return the newest checkpoint of a log, whoever signed it."""
    each = (it for it in stored(log, newest_first=True) if isinstance(it, SignedCheckpoint))
    # The first two are the one that is called the newest, and the largest.
    return max(islice(each, 2), key=lambda it: it.checkpoint.size, default=None)


def keep(log: LogFolder, checkpoint: Checkpoint, note: str) -> Path:
    """Store a checkpoint by its size, unless there is one, and as the newest; return its path.

    Raises:
        OSError: it cannot be written.
    """
    path = log.tree / _FOLDER / f"{checkpoint.size:012d}.txt"
    if not path.exists():
        write_whole(path, note.encode())
    write_whole(log.tree / NEWEST, note.encode())
    return path


def _size(name: str) -> int:
    return int(name.partition(".")[0])


def opened_by(note: str, verifiers: Iterable[Verifier]) -> Verifier:
    """Return which of some keys has signed a note.

    Raises:
        SignatureError: it is no note, or none of them has.
    """
    reason = "there is no key"
    for verifier in verifiers:
        try:
            opened(note, verifier)
        except SignatureError as problem:
            reason = str(problem)
        else:
            return verifier
    raise SignatureError(reason)


def verify_growth(proof: ConsistencyProof, old: str, *verifiers: Verifier) -> Checkpoint:
    """Check that a log has all that an older checkpoint covers, as it was.

    Args:
        proof: the newer checkpoint, with its proof.
        old: the note of the older one.
        verifiers: the keys of the log: one, or several after a hand-over.

    Returns:
        The newer checkpoint.

    Raises:
        SignatureError: one of them is not signed with a key of these.
        LogError: they are of different logs, or the newer one does not have the older lines.
    """
    for note in (old, proof.checkpoint):
        opened_by(note, verifiers)
    before, after = (Checkpoint.from_text(text_of(it)) for it in (old, proof.checkpoint))
    if before.origin != after.origin:
        raise LogError(after.origin, "the older checkpoint is of another log")
    sizes, roots = (before.size, after.size), (before.root, after.root)
    if proof.old_size != before.size or not verify_consistency(*sizes, *roots, proof.hashes):
        raise LogError(after.origin, "it does not have all that the older checkpoint covers")
    return after


def verify_proof(proof: InclusionProof, *verifiers: Verifier) -> Checkpoint:
    """Check that a line is in a log.

    Args:
        proof: the line, its place, and the signed checkpoint.
        verifiers: the keys of the log: one, or several after a hand-over.

    Returns:
        The checkpoint that covers it.

    Raises:
        SignatureError: it is not signed with a key of these.
        LogError: the line is not what was signed.
    """
    opened_by(proof.checkpoint, verifiers)
    checkpoint = Checkpoint.from_text(text_of(proof.checkpoint))
    size, root = checkpoint.size, checkpoint.root
    view = view_of(proof.line)
    content = proof.line  # the first edition signed the line itself
    if proof.writer and view:
        content = Entry(proof.writer, view.seq, line_hash(proof.line)).to_bytes()
    if not verify_inclusion(leaf_hash(content), proof.index, size, proof.hashes, root):
        raise LogError(checkpoint.origin, "the line is not in the tree that was signed")
    return checkpoint
