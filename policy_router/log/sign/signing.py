"""Signing a log with a key that remembers: checkpoints, cosignatures, hand-overs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from policy_router.errors import LogError, reason_of
from policy_router.files.clock import Clock, system_clock
from policy_router.log.damage import NotWholeError, Problem
from policy_router.log.files import opened
from policy_router.log.folder import LogFolder, Progress
from policy_router.log.heads import UnknownSchemaError
from policy_router.log.lock import lock
from policy_router.log.sign.checkpoints import NEWEST, SignedCheckpoint, keep, stored
from policy_router.log.sign.growing import NOTHING, Growth
from policy_router.log.sign.keys import SignatureError, Signer, Verifier
from policy_router.log.sign.memory import Extent, Remembered, SignerMemory
from policy_router.log.sign.merkle import (
    EMPTY,
    WIDTH,
    TreeEdge,
    consistency_proof,
    leaf_hashes,
    verify_consistency,
)
from policy_router.log.sign.notes import Checkpoint, cosigned, sign
from policy_router.log.sign.statements import Accepted, Handover, Keyring, Statement, state, stated
from policy_router.log.sign.tiles import (
    ENTRIES,
    DamagedTreeError,
    TileStore,
    TreeWriter,
    read_entry,
)

_NEW = "the key does not remember this log: sign it with --first if nobody has ever signed it, else"
_OTHER = "; a log that is another one gets a name of its own, with --origin"
_RESTORE = "restore the log, or start a new one"
_SINCE = " give the last checkpoint that you kept, with --since"


class NewCheckpoint(Struct, frozen=True):
    """A checkpoint that was made.

    Attributes:
        path: its file.
        checkpoint: what it says.
        new_lines: how many lines it covers that none before it does.
        left_out: the writers that are not signed to their end, each with the reason.
    """

    path: Path
    checkpoint: Checkpoint
    new_lines: int
    left_out: tuple[tuple[str, str], ...] = ()


@contextmanager
def auditing(log: LogFolder) -> Iterator[None]:
    """Be the only process that signs or prunes a log.

    Raises:
        LogError: another one is at it, or what it takes cannot be written.
    """
    try:
        log.tree.mkdir(exist_ok=True)
        with opened(log.tree / ".lock") as file:
            if not lock(file):
                raise LogError(str(log.path), "another process signs or prunes it")
            yield
    except UnknownSchemaError as problem:
        raise LogError(str(log.path), str(problem)) from None
    except OSError as problem:
        raise LogError(str(log.path), reason_of(problem)) from None


def make_checkpoint(
    folder: str | Path,
    signer: Signer,
    *,
    memory: str | Path,
    since: Path | None = None,
    first: bool = False,
    origin: str | None = None,
    clock: Clock = system_clock,
    progress: Progress | None = None,
) -> NewCheckpoint:
    """Sign the acknowledged lines of a log, as a growth of what the key signed before.

    Args:
        folder: the log.
        signer: the key.
        memory: the file in which the key remembers what it signed.
        since: a checkpoint that was kept, if the memory is lost.
        first: whether nobody has ever signed the log.
        origin: the name of the log in its first checkpoint; default: the name of the key. Later
            ones have the same.
        clock: the time that the checkpoint has.
        progress: is called with how many writers of how many are done.

    Returns:
        The checkpoint. If there are no new lines, it has a new time.

    Raises:
        NotWholeError: the log is not a growth of what the key signed, so nothing is signed.
        LogError: another process signs or prunes the log, or something cannot be written.
        SignatureError: `since` is not signed with the key.
    """
    log, remembering = LogFolder.existing(folder), SignerMemory(Path(memory))
    with auditing(log), remembering.held():
        verifier = signer.verifier()
        base = _Base(log, verifier, remembering, origin=origin, since=since, is_first=first)
        writing = TreeWriter(base.store, base.edge)
        extents, left_out = _grown(log, base, writing, progress)
        writing.finish(base.size)
        edge, time = writing.edge, int(clock().timestamp())
        remembering.put(base.origin, Remembered(edge.size, edge.root(), extents))
        checkpoint = Checkpoint(base.origin, edge.size, edge.root())
        note = cosigned(sign(checkpoint.to_text(), signer), signer, time)
        path = keep(log, checkpoint, note)
        _drop_partial_tiles(base.store, base.size, edge.size)
    return NewCheckpoint(path, checkpoint, edge.size - base.covered, left_out)


def _grown(
    log: LogFolder, base: _Base, writing: TreeWriter, progress: Progress | None
) -> tuple[dict[str, Extent], tuple[tuple[str, str], ...]]:
    """Append what is new; return how much of each writer there is, and what is left out."""
    extents, left_out = dict(base.extents()), []
    writers = sorted({*log.writers(), *extents})
    for place, writer in enumerate(writers, 1):
        accepted = [it for it in base.accepted if it.writer == writer]
        begin = extents.get(writer, NOTHING)

        def append(first: int, hashes: Sequence[str], name: str = writer) -> None:
            writing.append(name, first, hashes)

        growth = Growth(log, writer, begin, accepted, append)
        growth.run()
        if growth.extent.seq:
            extents[writer] = growth.extent
        if growth.problem:
            left_out.append((writer, growth.problem))
        if progress is not None:
            progress(place, len(writers))
    return extents, tuple(left_out)


class _Base:
    """What a checkpoint builds on: the largest tree that the key is known to have signed.

    Attributes:
        origin: what the log is called.
        size: how many entries the tree has.
        covered: how many the newest checkpoint of the log covers.
        store: its tiles.
        edge: its right edge.
        accepted: the lines that are known to be damaged.
    """

    def __init__(
        self,
        log: LogFolder,
        verifier: Verifier,
        memory: SignerMemory,
        *,
        origin: str | None = None,
        since: Path | None = None,
        is_first: bool = False,
    ) -> None:
        self._path, self.store = str(log.path), TileStore(log.tree)
        statements = [it for it in stated(log) if isinstance(it, Statement)]
        keyring = Keyring([verifier], statements)
        own, foreign = _own_and_foreign(log, keyring)
        kept = None if since is None else read_kept(since)
        if kept is not None:
            keyring.signer_of(kept.note, kept.checkpoint.size)
        signed = [it.checkpoint for it in (kept, own) if it is not None]
        self.origin = self._origin(origin, signed, verifier)
        remembered = memory.of(self.origin)
        self._check_memory(remembered, kept, own, foreign, is_first=is_first)
        bases = [(it.size, it.root) for it in (*signed, remembered) if it is not None]
        self.size, root = max(bases, default=(0, EMPTY))
        self.covered = own.checkpoint.size if own else 0
        try:
            for size, older in bases:
                self._check_growth(size, older, root)
            self.edge = self.store.edge(self.size)
        except DamagedTreeError as problem:
            reason = (
                f"the tree of the {self.size:,} lines that were signed is not there, or damaged"
            )
            raise NotWholeError(self._path, f"{reason} ({problem.reason}): {_RESTORE}") from None
        if self.edge.root() != root:
            raise NotWholeError(self._path, f"its tree is not the one that was signed: {_RESTORE}")
        is_own = [it for it in statements if it.origin == self.origin and keyring.vouches(it)]
        acts = [act for it in is_own for act in it.acts]
        self.accepted = [act for act in acts if isinstance(act, Accepted)]
        self._remembered, self._root = remembered, root

    def _origin(self, wanted: str | None, signed: Sequence[Checkpoint], verifier: Verifier) -> str:
        """Return what the log is called, which only the key says, or what it has signed."""
        names = {it.origin for it in signed} | ({wanted} if wanted is not None else set())
        if len(names) > 1:
            raise NotWholeError(self._path, f"it is signed as `{signed[0].origin}`")
        return names.pop() if names else verifier.name

    def _check_memory(
        self,
        remembered: Remembered | None,
        kept: SignedCheckpoint | None,
        own: SignedCheckpoint | None,
        foreign: SignedCheckpoint | None,
        *,
        is_first: bool,
    ) -> None:
        """Refuse to sign without knowing what was signed before."""
        if remembered is not None and remembered.successor:
            raise NotWholeError(self._path, f"it was handed over to `{remembered.successor}`")
        if remembered is not None and is_first:
            reason = f"the key has signed a log `{self.origin}` before: --first is wrong{_OTHER}"
            raise NotWholeError(self._path, reason)
        if remembered is not None or kept is not None:
            return
        if not is_first:
            raise NotWholeError(self._path, f"{_NEW}{_SINCE}")
        if own is not None:
            raise NotWholeError(self._path, f"{own.name} is by this key:{_SINCE}")
        if foreign is not None:
            reason = f"{foreign.name} is by another key, which did not hand over to this one"
            raise NotWholeError(self._path, reason)

    def _check_growth(self, size: int, root: bytes, newest_root: bytes) -> None:
        """Refuse a tree that is no growth of one that was signed."""
        proof = consistency_proof(self.store.node(self.size), size, self.size)
        if not verify_consistency(size, self.size, root, newest_root, proof):
            reason = f"it is not a growth of the {size:,} lines that were signed"
            raise NotWholeError(self._path, f"{reason}: {_RESTORE}")

    def extents(self) -> dict[str, Extent]:
        """Return how much of each writer is in the tree: as remembered, or as its entries say."""
        if self._remembered is not None and self._remembered.size == self.size:
            return self._remembered.extents
        edge, found = TreeEdge(), dict[str, Extent]()
        for _, entries in self.store.entries(self.size):
            for _tile in edge.extend(leaf_hashes(entries)):
                pass
            for entry in filter(None, map(read_entry, entries)):
                found[entry.writer] = Extent(entry.seq, entry.hash)
        if edge.root() != self._root:
            raise NotWholeError(self._path, "its entries are not those that were signed")
        return found


def _own_and_foreign(
    log: LogFolder, keyring: Keyring
) -> tuple[SignedCheckpoint | None, SignedCheckpoint | None]:
    """Return the newest checkpoint by the keys of a log, and the newest by others."""
    own: list[SignedCheckpoint] = []
    foreign: SignedCheckpoint | None = None
    for it in stored(log, newest_first=True):
        if isinstance(it, Problem):
            continue
        try:
            keyring.signer_of(it.note, it.checkpoint.size)
        except SignatureError:
            foreign = foreign or it
            continue
        own.append(it)
        if it.name != f"{log.tree.name}/{NEWEST}":
            break  # Those before it are smaller.
    return max(own, key=lambda it: it.checkpoint.size, default=None), foreign


def read_kept(path: Path) -> SignedCheckpoint:
    """Read a checkpoint that was kept somewhere else.

    Raises:
        SignatureError: it cannot be read, or is none.
    """
    try:
        return SignedCheckpoint.read(path, str(path))
    except SignatureError as problem:
        reason = str(problem).removeprefix(f"{path}: ")
        raise SignatureError(f"{path}: {reason}") from None


def _drop_partial_tiles(store: TileStore, before: int, size: int) -> None:
    """Remove parts of tiles that are full now."""
    level = 0
    while rest := before >> 8 * level:
        number, width = divmod(rest, WIDTH)
        if width and number < size >> 8 * (level + 1):
            for kind in (level, *(() if level else (ENTRIES,))):
                shutil.rmtree(store.path(kind, number, 1).parent, ignore_errors=True)
        level += 1


def rotate_key(
    folder: str | Path,
    old: Signer,
    new: Signer,
    *,
    old_memory: str | Path,
    new_memory: str | Path,
    clock: Clock = system_clock,
) -> Statement:
    """Hand a log over from a key to another one: both sign it, and the old one stops.

    Args:
        folder: the log.
        old: the key so far.
        new: the key from now on.
        old_memory: the file in which the old key remembers what it signed.
        new_memory: that of the new key.
        clock: the time of the statement.

    Raises:
        NotWholeError: the log is not what the old key signed.
        LogError: the keys are the same, or something cannot be written.
    """
    log = LogFolder.existing(folder)
    before, after = SignerMemory(Path(old_memory)), SignerMemory(Path(new_memory))
    if old.verifier() == new.verifier() or before.path.absolute() == after.path.absolute():
        raise LogError(str(log.path), "a key cannot hand over to itself")
    with auditing(log), before.held(), after.held():
        base = _Base(log, old.verifier(), before)
        root = base.edge.root()
        act = Handover(base.size, root, old.verifier(), new.verifier())
        after.put(base.origin, Remembered(base.size, root, base.extents()))
        (made,) = state(log, base.origin, int(clock().timestamp()), [act], old, new)
        successor = new.verifier().title
        before.put(base.origin, Remembered(base.size, root, successor=successor))
    return made
