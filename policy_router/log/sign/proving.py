"""Proofs from the tiles of a log: that a decision is in it, and that it only grew."""

from __future__ import annotations

from pathlib import Path

from policy_router.errors import LogError
from policy_router.log.damage import NotWholeError
from policy_router.log.entry import Kind, line_hash
from policy_router.log.folder import LogFolder, readable
from policy_router.log.read.reading import LogReader
from policy_router.log.sign.checkpoints import SignedCheckpoint, newest
from policy_router.log.sign.merkle import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from policy_router.log.sign.notes import ConsistencyProof, InclusionProof
from policy_router.log.sign.signing import read_kept
from policy_router.log.sign.tiles import Entry, TileStore

_NO_COVER = "no checkpoint covers the decision yet: see log checkpoint"


def prove(folder: str | Path, decision_id: str) -> InclusionProof:
    """Return the proof that a decision is in a log.

    Args:
        folder: the log.
        decision_id: the id of the decision, or the beginning of it.

    Raises:
        LogError: there is no such decision, or no checkpoint covers it.
        NotWholeError: the line or the tree is not as it was signed.
    """
    reader = LogReader(folder)
    lines = [it for it in reader.about(decision_id) if it.entry.kind is Kind.DECISION]
    if not lines:
        raise LogError(str(folder), "there is no decision with this id")
    return prove_line(folder, lines[0].writer, lines[0].entry.seq, lines[0].content)


def prove_line(folder: str | Path, writer: str, seq: int, line: bytes) -> InclusionProof:
    """Return the proof that a line is in a log, from a few files of its tree.

    Args:
        folder: the log.
        writer: whose line it is.
        seq: its number.
        line: the line, without its end.

    Raises:
        LogError: no checkpoint covers it.
        NotWholeError: the line or the tree is not as it was signed.
    """
    log = LogFolder.existing(folder)
    with readable(log):
        found, store = _newest(log, _NO_COVER), TileStore(log.tree)
        size, root = found.checkpoint.size, found.checkpoint.root
        index = store.find(writer, seq, size)
        if index is None:
            raise LogError(str(log.path), _NO_COVER)
        entry = Entry(writer, seq, line_hash(line))
        if store.entry(index, size) != entry:
            raise NotWholeError(str(log.path), "the line is not as it was signed: see log verify")
        hashes = inclusion_proof(store.node(size), index, size)
    if not verify_inclusion(leaf_hash(entry.to_bytes()), index, size, hashes, root):
        raise NotWholeError(str(log.path), "its tree is not the one that was signed")
    return InclusionProof(index, hashes, found.note, f"{writer} ".encode() + line)


def prove_growth(folder: str | Path, since: Path) -> ConsistencyProof:
    """Return the proof that a log only grew since a checkpoint.

    Args:
        folder: the log.
        since: the file of the older checkpoint.

    Raises:
        LogError: the last checkpoint covers less.
        NotWholeError: the log did not only grow since.
        SignatureError: the file holds no checkpoint.
    """
    log, old = LogFolder.existing(folder), read_kept(since).checkpoint
    with readable(log):
        found = _newest(log, "there is no checkpoint: see log checkpoint")
        size, root = found.checkpoint.size, found.checkpoint.root
        if old.size > size:
            raise LogError(str(log.path), "no checkpoint covers as much")
        hashes = consistency_proof(TileStore(log.tree).node(size), old.size, size)
    if not verify_consistency(old.size, size, old.root, root, hashes):
        raise NotWholeError(str(log.path), "it did not only grow since that checkpoint")
    return ConsistencyProof(old.size, hashes, found.note)


def _newest(log: LogFolder, otherwise: str) -> SignedCheckpoint:
    found = newest(log)
    if found is None:
        raise LogError(str(log.path), otherwise)
    return found
