"""The checkpoints of the first edition: still evidence, for the lines that they cover.

They are in ``checkpoints/*.txt``. Their tree is over the lines themselves, writer by writer as each
checkpoint appends them; its extension lines say how far it goes::

    writer w1 1204 <leaf hash of line 1204, in base64>

Of a segment that was removed, ``w1/00000001.pruned`` has the leaf hashes.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from policy_router.log.damage import Damage, Problem, spelt_lines
from policy_router.log.entry import UNREADABLE
from policy_router.log.files import open_file, read_file
from policy_router.log.folder import LogFolder
from policy_router.log.integrity.scan import Blocks
from policy_router.log.sign.checkpoints import SignedCheckpoint
from policy_router.log.sign.keys import SignatureError
from policy_router.log.sign.merkle import HASH_SIZE, TreeEdge, leaf_hashes
from policy_router.log.sign.statements import Keyring

_COVER: Final = re.compile(r"writer ([A-Za-z0-9_][A-Za-z0-9_.-]{0,63}) ([1-9]\d{0,18}) \S{44}")
_FILE: Final = re.compile(r"[0-9]{1,20}\.txt")
_PRUNED: Final = re.compile(r"(\d{8}|[1-9]\d{8,17})\.(jsonl|pruned)", re.ASCII)
_MOST_BYTES: Final = 64 << 20
_BATCH: Final = 1024


class FirstCheckpoints:
    """The checkpoints of the first edition, compared with the lines.

    Attributes:
        covered: how many lines of each writer they cover.
        problems: what is wrong.
        notes: what cannot be compared any more.
        count: how many there are.
    """

    def __init__(self, log: LogFolder, keyring: Keyring) -> None:
        """Read them, and go through the lines that they cover."""
        self.covered: dict[str, int] = {}
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self._log, self._keyring = log, keyring
        self._leaves: dict[str, Iterator[bytes]] = {}
        folder = log.first_checkpoints
        names = [it.name for it in folder.iterdir()] if folder.is_dir() else []
        paths = [folder / it for it in sorted(filter(_FILE.fullmatch, names))]
        self.count, edge = len(paths), TreeEdge()
        for path in paths:
            if not self._check(path, edge):
                break

    def _check(self, path: Path, edge: TreeEdge) -> bool:
        """Check a checkpoint; tell whether later ones can be compared."""
        name = f"checkpoints/{path.name}"
        try:
            found = SignedCheckpoint.read(path, name)
            covers = [_cover(it) for it in found.checkpoint.extensions]
            if self._keyring:
                self._keyring.signer_of(found.note)
        except SignatureError as problem:
            self.problems.append(Problem(Damage.BAD_CHECKPOINT, name, f"it is not used: {problem}"))
            return True
        for writer, lines in covers:
            missing = self._extend(edge, writer, lines - self.covered.get(writer, 0))
            if missing and any(self._log.segments(writer)) and self._first_is_gone(writer):
                self.notes.append(f"{name}: lines that it covers were pruned since")
                return False
            if missing:
                there = max(lines - missing, 0)
                damage = Damage.CUT_TAIL if there else Damage.MISSING_WRITER
                words = f"{spelt_lines(there + 1, lines)}: missing, though {name} covers them"
                self.problems.append(Problem(damage, writer, words, (there + 1, lines)))
                return False
            self.covered[writer] = max(lines, self.covered.get(writer, 0))
        if (edge.size, edge.root()) != (found.checkpoint.size, found.checkpoint.root):
            words = "the lines are not those that were signed"
            self.problems.append(Problem(Damage.REWRITTEN, name, words))
        return True

    def _extend(self, edge: TreeEdge, writer: str, count: int) -> int:
        """Append lines of a writer; return how many are missing."""
        leaves = self._leaves.setdefault(writer, _leaves(self._log, writer))
        while count > 0 and (batch := list(islice(leaves, min(count, _BATCH)))):
            count -= len(batch)
            for _tile in edge.extend(batch):
                pass
        return count

    def _first_is_gone(self, writer: str) -> bool:
        """Tell whether the first segment of a writer was removed without its hashes being kept."""
        found = _files(self._log, writer)
        return not found or found[0][0] > 1


def _cover(line: str) -> tuple[str, int]:
    found = _COVER.fullmatch(line)
    if found is None:
        raise SignatureError("malformed checkpoint: an extension line is of no writer")
    return found[1], int(found[2])


def _files(log: LogFolder, writer: str) -> list[tuple[int, Path]]:
    """Return what there is of the segments of a writer, by their numbers."""
    folder = log.path / writer
    found: dict[int, Path] = {}
    names = sorted(it.name for it in folder.iterdir()) if folder.is_dir() else []
    for name in names:  # .jsonl comes before .pruned
        if match := _PRUNED.fullmatch(name):
            found.setdefault(int(match[1]), folder / name)
    return sorted(found.items())


def _leaves(log: LogFolder, writer: str) -> Iterator[bytes]:
    """Yield the leaf hashes of a writer's lines."""
    for number, path in _files(log, writer):
        if path.suffix == ".pruned":
            hashes = _pruned_leaves(path)
            yield from (hashes[it : it + HASH_SIZE] for it in range(0, len(hashes), HASH_SIZE))
        elif number:
            with open_file(path) as stream:
                for block in Blocks(stream):
                    yield from leaf_hashes(block.split(b"\n")[:-1])


class _Pruned(Struct):
    leaves: str


def _pruned_leaves(path: Path) -> bytes:
    try:
        kept = msgspec.json.decode(read_file(path, _MOST_BYTES), type=_Pruned)
        return base64.b64decode(kept.leaves, validate=True)
    except (*UNREADABLE, ValueError):
        return b""
