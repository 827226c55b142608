"""Reading the lines of decisions; and, for who states that there are no more, every line."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from policy_router.log.damage import NotWholeError
from policy_router.log.entry import LineView, split_lines, view_of
from policy_router.log.folder import LogFolder, Segment
from policy_router.log.replay.chunks import Chunk, LinesAbout
from policy_router.log.sign.checkpoints import SignedCheckpoint
from policy_router.log.sign.keys import Verifier
from policy_router.log.sign.merkle import HASH_SIZE, TreeEdge, leaf_hashes
from policy_router.log.sign.statements import Keyring, PrunedSegment, Statement, stated
from policy_router.log.sign.tiles import TileStore, read_entry

_POLICY_LINE: Final = b'{"kind":"policy"'
_BEFORE_END: Final = -2 * HASH_SIZE - 1
"""Where the hash of an entry begins, from its end."""
_VERIFY: Final = ": see log verify"


class FoundLine(Struct, frozen=True):
    """A line that belongs to a decision, or that tells of a policy."""

    writer: str
    content: bytes
    view: LineView


class SignedHashes:
    """The hashes of all lines that a checkpoint covers, and which of the lines were met."""

    def __init__(self, log: LogFolder, signed: SignedCheckpoint) -> None:
        """Read every entry.

        Args:
            log: the log.
            signed: the checkpoint.

        Raises:
            NotWholeError: they are not those of the checkpoint.
        """
        self._log, self._hashes, self._met = log, dict[str, bytearray](), dict[str, bytearray]()
        edge, size = TreeEdge(), signed.checkpoint.size
        for _, entries in TileStore(log.tree).entries(size):
            list(edge.extend(leaf_hashes(entries)))
            if not self._take_run(entries):
                for content in entries:
                    self._take(content)
        if edge.root() != signed.checkpoint.root:
            raise NotWholeError(str(log.path), f"its tree is not the one that was signed{_VERIFY}")

    def _take_run(self, entries: Sequence[bytes]) -> bool:
        """Take entries of one writer that follow each other at once; tell whether they are such."""
        entry = read_entry(entries[0])
        if entry is None:
            return False
        hashes = self._hashes.setdefault(entry.writer, bytearray())
        if len(hashes) != (entry.seq - 1) * HASH_SIZE:
            return False
        name, seq = entry.writer.encode(), entry.seq
        places = [b"%s %d " % (name, it) for it in range(seq, seq + len(entries))]
        if [it[:_BEFORE_END] for it in entries] != places:
            return False
        try:
            hashes += bytes.fromhex(b"".join(it[_BEFORE_END:] for it in entries).decode())
        except ValueError:
            return False
        self._met.setdefault(entry.writer, bytearray()).extend(bytes(len(entries)))
        return True

    def _take(self, content: bytes) -> None:
        entry = read_entry(content)
        if entry is None:
            raise NotWholeError(str(self._log.path), f"an entry of its tree is damaged{_VERIFY}")
        hashes = self._hashes.setdefault(entry.writer, bytearray())
        left_out = entry.seq - 1 - len(hashes) // HASH_SIZE  # as damage that is accepted
        hashes += bytes(HASH_SIZE * left_out) + bytes.fromhex(entry.hash)
        met = self._met.setdefault(entry.writer, bytearray())
        met += b"\1" * left_out + b"\0"

    def covers(self, writer: str, seq: int) -> bool:
        """Tell whether the checkpoint covers a line."""
        return 0 < seq <= len(self._met.get(writer, b""))

    def meet_all(self, segment: Segment, seq: int, contents: Sequence[bytes]) -> None:
        """Hold lines that follow each other to their entries, the first one with its number."""
        met = self._met.get(segment.writer, bytearray())
        stop = min(seq - 1 + len(contents), len(met))
        if stop < seq:
            return
        of = [hashlib.sha256(it).digest() for it in contents[: stop - seq + 1]]
        own = self._hashes[segment.writer][(seq - 1) * HASH_SIZE : stop * HASH_SIZE]
        if b"".join(of) == own:
            met[seq - 1 : stop] = b"\1" * (stop - seq + 1)
        else:
            for number, content in enumerate(contents, seq):
                self.meet(segment, number, content)

    def meet(self, segment: Segment, seq: int, content: bytes) -> None:
        """Hold a line to its entry, if it has one.

        Raises:
            NotWholeError: it is not as it was signed.
        """
        if not self.covers(segment.writer, seq):
            return
        own = self._hashes[segment.writer][(seq - 1) * HASH_SIZE : seq * HASH_SIZE]
        if any(own) and hashlib.sha256(content).digest() != own:
            message = f"{segment.name}, line {seq:,}: it is not as it was signed{_VERIFY}"
            raise NotWholeError(str(self._log.path), message)
        self._met[segment.writer][seq - 1] = 1

    def unread(self, verifier: Verifier) -> int:
        """Return how many lines were removed by who has the key; no others may be missing.

        Raises:
            NotWholeError: a line is missing, and nobody says that it was removed.
        """
        found = sum(met.count(0) for met in self._met.values())
        if found:
            for act in _pruned(self._log, verifier):
                met = self._met.get(act.writer, bytearray())
                met[act.first - 1 : act.last] = b"\1" * len(met[act.first - 1 : act.last])
        for writer, met in self._met.items():
            place = met.find(0)
            if place >= 0:
                message = f"{writer}, line {place + 1:,} is missing{_VERIFY}"
                raise NotWholeError(str(self._log.path), message)
        return found


def _pruned(log: LogFolder, verifier: Verifier) -> Iterator[PrunedSegment]:
    """Yield what was removed, as who has the key says."""
    statements = [it for it in stated(log) if isinstance(it, Statement)]
    keyring = Keyring([verifier], statements)
    for statement in statements:
        if keyring.vouches(statement):
            yield from (it for it in statement.acts if isinstance(it, PrunedSegment))


def lines_of(
    log: LogFolder, ids: Sequence[str], hashes: SignedHashes | None = None
) -> tuple[list[FoundLine], list[FoundLine]]:
    """Return the lines of decisions, and those that tell of policies.

    Args:
        log: the log.
        ids: the ids of the decisions.
        hashes: what every line is held to; None where nothing is stated.

    Raises:
        NotWholeError: a line is not as it was signed.
    """
    about, policies, wanted = list[FoundLine](), list[FoundLine](), frozenset(ids)
    search = LinesAbout(wanted)
    for segment in log.all_segments():
        for contents in _contents(segment, hashes):
            for content in search.among(contents):
                view = view_of(content)
                if view is not None and view.id in wanted:
                    about.append(FoundLine(segment.writer, content, view))
            read = ((it, view_of(it)) for it in contents if it.startswith(_POLICY_LINE))
            policies += (FoundLine(segment.writer, it, view) for it, view in read if view)
    return about, policies


def _contents(segment: Segment, hashes: SignedHashes | None) -> Iterator[list[bytes]]:
    """Yield the lines of a segment, many at once, held to what was signed of them."""
    seq = 0
    for block in Chunk(segment.path, 0, Path(segment.path).stat().st_size).blocks():
        contents = split_lines(block)
        if hashes is not None:
            view = None if seq else view_of(contents[0])
            seq = seq or (view.seq if view is not None else 0)
            if not seq:
                message = f"{segment.name}: its first line cannot be read{_VERIFY}"
                raise NotWholeError(segment.path, message)
            hashes.meet_all(segment, seq, contents)
            seq += len(contents)
        yield contents
