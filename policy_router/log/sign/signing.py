"""What an auditor does with a log and a key: checkpoints, and proofs of single decisions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from msgspec import Struct

from policy_router.errors import LogError, reason_of
from policy_router.log.entry import Kind
from policy_router.log.folder import LogFolder, Progress
from policy_router.log.integrity.completeness import Findings, examined, steadily
from policy_router.log.integrity.verify import NotWholeError, read_kept
from policy_router.log.lock import lock
from policy_router.log.read.reading import LogReader
from policy_router.log.sign.checkpoints import (
    LogTree,
    SignedCheckpoint,
    keep,
    proved,
    signed,
    stored,
)
from policy_router.log.sign.keys import Signer
from policy_router.log.sign.merkle import HASH_SIZE, consistency_proof
from policy_router.log.sign.notes import Checkpoint, ConsistencyProof, InclusionProof

_SignedTree: TypeAlias = tuple[Findings, list[SignedCheckpoint], LogTree]


class NewCheckpoint(Struct, frozen=True):
    """A checkpoint that was made.

    Attributes:
        path: its file.
        checkpoint: what it says.
        new_lines: how many lines it covers that none before it does.
    """

    path: Path
    checkpoint: Checkpoint
    new_lines: int


def make_checkpoint(
    folder: str | Path,
    signer: Signer,
    *,
    origin: str | None = None,
    progress: Progress | None = None,
) -> NewCheckpoint | None:
    """Sign all acknowledged lines of a log.

    Args:
        folder: the log.
        signer: the key.
        origin: the name of the log in the checkpoint; default: the name in the last checkpoint,
            else the name of the key.
        progress: is called with the progress.

    Returns:
        The checkpoint; None if the last one covers everything.

    Raises:
        NotWholeError: the log is damaged, or does not agree with its checkpoints.
        LogError: another process signs or prunes the log, or it cannot be written.
    """
    log = LogFolder.existing(folder)
    with auditing(log):
        return _made(log, signer, origin, progress)


@contextmanager
def auditing(log: LogFolder) -> Iterator[None]:
    """Be the only process that signs or prunes a log.

    Raises:
        LogError: another one is at it, or what it takes cannot be written.
    """
    try:
        log.checkpoints.mkdir(exist_ok=True)
        with (log.checkpoints / ".lock").open("ab") as file:
            if not lock(file):
                raise LogError(str(log.path), "another process signs or prunes it")
            yield
    except OSError as problem:
        raise LogError(str(log.path), reason_of(problem)) from None


def _made(
    log: LogFolder, signer: Signer, origin: str | None, progress: Progress | None
) -> NewCheckpoint | None:
    found, before, log_tree = _signed_tree(log, progress)
    size = log_tree.tree.size
    # A line that is not acknowledged may yet be taken away; one that was signed may not.
    upto = {
        writer: max(lines, log_tree.covered.get(writer, 0))
        for writer, lines in found.acknowledged.items()
    }
    if all(lines == log_tree.covered.get(writer, 0) for writer, lines in upto.items()):
        return None
    origin = origin or (before[-1].checkpoint.origin if before else signer.name)
    leaves = {writer: its[: upto[writer] * HASH_SIZE] for writer, its in found.leaves.items()}
    checkpoint, note = signed(log_tree, leaves, origin, signer)
    return NewCheckpoint(keep(log, checkpoint, note), checkpoint, checkpoint.size - size)


def _signed_tree(log: LogFolder, progress: Progress | None = None) -> _SignedTree:
    """Return what a log that is whole comes to, its checkpoints, and their tree.

    Raises:
        NotWholeError: the log is not whole, or does not agree with them.
    """
    return steadily(log, lambda: _signed_tree_now(log, progress), lambda _: True)


def _signed_tree_now(log: LogFolder, progress: Progress | None) -> _SignedTree:
    checkpoints, problems = stored(log)  # before the lines, which those of later ones may not be
    found = examined(log, wants_leaves=True, progress=progress)
    log_tree = LogTree(found.leaves)
    agrees = all(
        log_tree.add(it.covers) and log_tree.tree.root() == it.checkpoint.root for it in checkpoints
    )
    if found.problems or problems or not agrees:
        raise NotWholeError(str(log.path), "it is not whole: see log verify")
    return found, checkpoints, log_tree


def prove(folder: str | Path, decision_id: str) -> InclusionProof:
    """Return the proof that a decision is in a log.

    Args:
        folder: the log.
        decision_id: the id of the decision, or the beginning of it.

    Raises:
        LogError: there is no such decision, or no checkpoint covers it.
        NotWholeError: the log is not whole.
    """
    reader = LogReader(folder)
    lines = [it for it in reader.about(decision_id) if it.entry.kind is Kind.DECISION]
    if not lines:
        raise LogError(str(folder), "there is no decision with this id")
    line = lines[0]
    _, checkpoints, log_tree = _signed_tree(reader.folder)
    index = log_tree.index(line.writer, line.entry.seq)
    if index is None:
        raise LogError(str(folder), "no checkpoint covers the decision yet: see log checkpoint")
    return proved(log_tree, index, line.content, checkpoints[-1].note)


def prove_growth(folder: str | Path, since: Path) -> ConsistencyProof:
    """Return the proof that a log only grew since a checkpoint.

    Args:
        folder: the log.
        since: the file of the older checkpoint.

    Raises:
        LogError: the last checkpoint covers less.
        NotWholeError: the log is not whole.
        SignatureError: the file holds no checkpoint.
    """
    log = LogFolder.existing(folder)
    size = read_kept(since).checkpoint.size
    _, checkpoints, log_tree = _signed_tree(log)
    if size > log_tree.tree.size:
        raise LogError(str(folder), "no checkpoint covers as much")
    return ConsistencyProof(size, consistency_proof(log_tree.leaves(), size), checkpoints[-1].note)
