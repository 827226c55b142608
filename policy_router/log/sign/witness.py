"""A second party: it signs the checkpoints of a log that only grew, with a memory of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from policy_router.errors import LogError
from policy_router.files.clock import Clock, system_clock
from policy_router.log.damage import NotWholeError
from policy_router.log.files import write_whole
from policy_router.log.folder import LogFolder
from policy_router.log.sign.checkpoints import SignedCheckpoint, keep, newest
from policy_router.log.sign.keys import SignatureError, Signer, Verifier
from policy_router.log.sign.memory import Remembered, SignerMemory
from policy_router.log.sign.merkle import EMPTY, consistency_proof, verify_consistency
from policy_router.log.sign.notes import Checkpoint, cosigned
from policy_router.log.sign.signing import NewCheckpoint, auditing
from policy_router.log.sign.statements import Keyring, Statement, stated
from policy_router.log.sign.tiles import TileStore


def cosign(
    folder: str | Path,
    signer: Signer,
    *,
    memory: str | Path,
    verifiers: Sequence[Verifier] = (),
    first: bool = False,
    clock: Clock = system_clock,
) -> NewCheckpoint:
    """Sign the newest checkpoint of a log as a witness that it only grew.

    Args:
        folder: the log.
        signer: the key of the witness.
        memory: the file in which that remembers what it signed.
        verifiers: the keys of the log; who signed the checkpoint is not checked without them.
        first: whether the witness sees the log for the first time.
        clock: the time of the signature.

    Raises:
        NotWholeError: the log is not a growth of what the witness signed, or the witness is who
            signed the log.
        SignatureError: the checkpoint is not signed with a key of the log.
        LogError: there is no checkpoint, or something cannot be written.
    """
    log, remembering = LogFolder.existing(folder), SignerMemory(Path(memory))
    with auditing(log), remembering.held():
        found = newest(log)
        if found is None:
            raise LogError(str(log.path), "there is no checkpoint: see log checkpoint")
        _check_signers(log, found, signer.verifier(), verifiers)
        checkpoint = found.checkpoint
        before = remembering.of(checkpoint.origin)
        if (before is None) != first:
            wrong = (
                "the witness remembers it" if first else "the witness sees it for the first time"
            )
            raise NotWholeError(
                str(log.path), f"{wrong}: --first is {'wrong' if first else 'missing'}"
            )
        old = before or Remembered(0, EMPTY)
        _check_witnessed(log, old, checkpoint)
        remembering.put(checkpoint.origin, Remembered(checkpoint.size, checkpoint.root))
        note = cosigned(found.note, signer, int(clock().timestamp()))
        path = keep(log, checkpoint, note)
        write_whole(path, note.encode())
    return NewCheckpoint(path, checkpoint, checkpoint.size - old.size)


def _check_signers(
    log: LogFolder, found: SignedCheckpoint, witness: Verifier, verifiers: Sequence[Verifier]
) -> None:
    """Refuse a checkpoint that no key of the log signed, and a witness that is one of them."""
    statements = [it for it in stated(log) if isinstance(it, Statement)]
    if verifiers:
        Keyring(verifiers, statements).signer_of(found.note, found.checkpoint.size)
    try:
        own = Keyring([*verifiers, witness], statements).signer_of(found.note)
    except SignatureError:
        return
    if witness in Keyring([own], statements).verifiers:
        reason = f"`{witness.title}` is a key of the log itself: a witness has a key of its own"
        raise NotWholeError(str(log.path), reason)


def _check_witnessed(log: LogFolder, old: Remembered, checkpoint: Checkpoint) -> None:
    reason = f"it is not a growth of the {old.size:,} lines that the witness signed"
    sizes = old.size, checkpoint.size
    if sizes[0] > sizes[1]:
        raise NotWholeError(str(log.path), reason)
    proof = consistency_proof(TileStore(log.tree).node(checkpoint.size), *sizes)
    if not verify_consistency(*sizes, old.root, checkpoint.root, proof):
        raise NotWholeError(str(log.path), reason)
