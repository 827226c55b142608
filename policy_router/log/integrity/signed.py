"""What was signed of a log: its checkpoints and statements, and the entries of its tree.

One pass over the entries works out the root for each checkpoint, so that what the entries say of a
line can be believed. Memory is that of a bundle, and of the runs of each writer.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from msgspec import Struct

from policy_router.log.damage import SHOWN, Damage, Problem
from policy_router.log.folder import LogFolder
from policy_router.log.sign.checkpoints import SignedCheckpoint, stored
from policy_router.log.sign.keys import SignatureError, Verifier
from policy_router.log.sign.merkle import WIDTH, Tile, TreeEdge, leaf_hashes
from policy_router.log.sign.notes import cosigned_at
from policy_router.log.sign.statements import (
    Accepted,
    Keyring,
    PrunedSegment,
    Statement,
    stated,
)
from policy_router.log.sign.tiles import (
    ENTRIES,
    HEX_SIZE,
    DamagedTreeError,
    TileStore,
    read_entry,
)


class Claim(Struct):
    """What a checkpoint says, and whether it holds.

    Attributes:
        name: its file, as a message calls it.
        origin: what the log is called.
        size: how many entries it covers.
        root: the root over them.
        key: the key that signed it, where keys are given.
        time: when it was signed, in seconds since 1970, where the key says so.
        witnessed: when each witness signed it.
        holds: whether the entries are those that it covers.
    """

    name: str
    origin: str
    size: int
    root: bytes
    key: str = ""
    time: int | None = None
    witnessed: dict[str, int] = {}
    holds: bool = False


class SignedLines:
    """What was signed of a writer's lines."""

    def __init__(self, store: TileStore) -> None:
        """Begin with nothing."""
        self._store, self.size = store, 0
        self._starts, self._firsts, self._counts = array("Q"), array("Q"), array("Q")

    @property
    def last(self) -> int:
        """The number of the last line; 0 where there is none."""
        return self._firsts[-1] + self._counts[-1] - 1 if self._firsts else 0

    def add(self, start: int, first: int, count: int) -> None:
        """Add entries that follow each other in the tree."""
        is_next = self._starts and start == self._starts[-1] + self._counts[-1]
        if is_next and first == self.last + 1:
            self._counts[-1] += count
        else:
            self._starts.append(start)
            self._firsts.append(first)
            self._counts.append(count)

    @property
    def covered(self) -> int:
        """The number of the last line that a checkpoint covers; 0 where there is none."""
        for run in range(len(self._starts) - 1, -1, -1):
            if self._starts[run] < self.size:
                count = min(self._counts[run], self.size - self._starts[run])
                return self._firsts[run] + count - 1
        return 0

    def place(self, seq: int) -> int | None:
        """Return the place of a line in the tree; None where it is not in it."""
        run = bisect_right(self._firsts, seq) - 1
        if run < 0 or seq >= self._firsts[run] + self._counts[run]:
            return None
        index = self._starts[run] + seq - self._firsts[run]
        return index if index < self.size else None

    def differing(self, first: int, hashes: Sequence[str]) -> Iterator[int]:
        """Yield the numbers of lines that are not as they were signed, given their hashes."""
        last = first + len(hashes) - 1
        run = max(bisect_right(self._firsts, first) - 1, 0)
        while run < len(self._firsts) and self._firsts[run] <= last:
            begin = max(first, self._firsts[run])
            index = self._starts[run] + begin - self._firsts[run]
            stop = min(last + 1, self._firsts[run] + self._counts[run], begin + self.size - index)
            if begin < stop:
                signed = self._signed(index, stop - begin)
                mine = "".join(hashes[begin - first : stop - first]).encode()
                if signed != mine:
                    for number, place in enumerate(range(0, len(mine), HEX_SIZE), begin):
                        part = slice(place, place + HEX_SIZE)
                        if signed[part] != mine[part]:
                            yield number
            run += 1

    def _signed(self, index: int, count: int) -> bytes:
        """Return the hashes that entries have, as one."""
        found, stop = list[bytes](), index + count
        while index < stop:
            number, place = divmod(index, WIDTH)
            kept = self._store.line_hashes(number, min(WIDTH, self.size - number * WIDTH))
            last = min(WIDTH, place + stop - index)
            found.append(kept[place * HEX_SIZE : last * HEX_SIZE])
            index += last - place
        return b"".join(found)


class SignedLog:
    """What was signed of a log.

    Attributes:
        keyring: the keys.
        claims: what the checkpoints say, by their sizes.
        count: how many checkpoints are beside the log.
        statements: what was stated by the keys; by anybody where none is given.
        lines: what was signed of the lines, by writer.
        size: how many entries are covered.
        problems: what is wrong with any of it.
    """

    def __init__(
        self,
        log: LogFolder,
        verifiers: Sequence[Verifier],
        witnesses: Sequence[Verifier],
        kept: SignedCheckpoint | None,
    ) -> None:
        """Read what was signed, and go through the entries of the tree.

        Args:
            log: the log.
            verifiers: the keys that must have signed.
            witnesses: the keys of witnesses.
            kept: a checkpoint that was kept elsewhere.
        """
        self.problems: list[Problem] = []
        self._store = TileStore(log.tree)
        found = list(stated(log))
        self.problems += [it for it in found if isinstance(it, Problem)]
        statements = [it for it in found if isinstance(it, Statement)]
        self.keyring = Keyring(verifiers, statements)
        self.problems += self.keyring.problems
        self.statements = [it for it in statements if self._is_vouched(it)]
        self.claims: list[Claim] = []
        mine = list(stored(log))
        # One that was signed again at the same size, for its time, is the same checkpoint.
        self.count = len({it.where if isinstance(it, Problem) else it.checkpoint for it in mine})
        for it in [*mine, *([kept] if kept else [])]:
            if isinstance(it, Problem):
                self.problems.append(it)
            elif (claim := self._claim(it, witnesses)) is not None:
                self.claims.append(claim)
        self.claims.sort(key=lambda it: it.size)
        self._check_origins()
        self.lines: dict[str, SignedLines] = {}
        self.size = 0
        self._pass()

    def _is_vouched(self, statement: Statement) -> bool:
        if not self.keyring or self.keyring.vouches(statement):
            return True
        words = "no key that is given has signed it"
        self.problems.append(Problem(Damage.BAD_SIGNATURE, statement.name, words))
        return False

    def _claim(self, found: SignedCheckpoint, witnesses: Sequence[Verifier]) -> Claim | None:
        """Return what a checkpoint says, if it is to be believed."""
        checkpoint = found.checkpoint
        claim = Claim(found.name, checkpoint.origin, checkpoint.size, checkpoint.root)
        try:
            if self.keyring:
                signer = self.keyring.signer_of(found.note, claim.size)
                claim.key, claim.time = signer.title, cosigned_at(found.note, signer)
            times = {it.title: cosigned_at(found.note, it) for it in witnesses}
        except SignatureError as problem:
            self.problems.append(Problem(Damage.BAD_SIGNATURE, found.name, str(problem)))
            return None
        claim.witnessed = {name: time for name, time in times.items() if time is not None}
        return claim

    def _check_origins(self) -> None:
        """Tell where something is signed for another log than the newest checkpoint."""
        if not self.claims:
            return
        origin = self.claims[-1].origin
        named: list[Claim | Statement] = [*self.claims, *self.statements]
        for it in [it for it in named if it.origin != origin][:SHOWN]:
            words = f"it is of the log `{it.origin}`, and others are of `{origin}`"
            self.problems.append(Problem(Damage.OTHER_ORIGIN, it.name, words))
        self.statements = [it for it in self.statements if it.origin == origin]

    @property
    def accepted(self) -> list[Accepted]:
        """The lines that are known to be damaged."""
        return [it for one in self.statements for it in one.acts if isinstance(it, Accepted)]

    @property
    def prunes(self) -> list[tuple[PrunedSegment, Statement]]:
        """The segments that were removed, each with its statement."""
        return [
            (it, one) for one in self.statements for it in one.acts if isinstance(it, PrunedSegment)
        ]

    # The tree.

    def _pass(self) -> None:
        """Go through the entries, and compare the root with each checkpoint."""
        edge, rest = TreeEdge(), list(self.claims)
        try:
            for number, entries, leaves in self._bundles(rest[-1].size if rest else 0):
                start = 0
                while rest and rest[0].size <= edge.size + len(leaves) - start:
                    stop = start + rest[0].size - edge.size
                    self._check_tiles(edge.extend(leaves[start:stop]))
                    self._compare(rest.pop(0), edge)
                    start = stop
                self._check_tiles(edge.extend(leaves[start:]))
                self._note(number * WIDTH, entries)
        except DamagedTreeError:
            words = "the entries that it covers are not all there"
            missing = (Problem(Damage.BAD_TREE, it.name, words) for it in rest[:SHOWN])
            self.problems += missing
        for claim in [it for it in rest if not it.size]:
            self._compare(claim, edge)
        if self.claims and self.size == edge.size:
            self._check_tiles(edge.partial_tiles())
        for lines in self.lines.values():
            lines.size = self.size

    def _bundles(self, size: int) -> Iterator[tuple[int, list[bytes], list[bytes]]]:
        """Yield the entries of the tree and their hashes; no entries where they are damaged."""
        for number in range(-(-size // WIDTH)):
            width = min(WIDTH, size - number * WIDTH)
            try:
                entries = self._store.bundle(number, width)
                leaves = leaf_hashes(entries)
                if leaves != self._store.tile(0, number, width):
                    self._damaged(ENTRIES, number, "not what the tile of its hashes says")
                    entries, leaves = [], self._store.tile(0, number, width)
            except DamagedTreeError as problem:
                self._damaged(ENTRIES, number, problem.reason)
                entries, leaves = [], self._store.tile(0, number, width)
            yield number, entries, leaves

    def _damaged(self, level: int | str, number: int, words: str) -> None:
        path = self._store.path(level, number).relative_to(self._store.folder.parent)
        if sum(it.damage is Damage.BAD_TREE for it in self.problems) < SHOWN:
            self.problems.append(Problem(Damage.BAD_TREE, path.as_posix(), words))

    def _check_tiles(self, tiles: Iterator[Tile]) -> None:
        """Compare tiles with those that are kept: proofs are made of them."""
        for level, number, nodes in tiles:
            try:
                is_same = self._store.tile(level, number, len(nodes)) == nodes
                words = "not what was signed"
            except DamagedTreeError as problem:
                is_same, words = False, problem.reason
            if not is_same:
                self._damaged(level, number, words)

    def _compare(self, claim: Claim, edge: TreeEdge) -> None:
        claim.holds = edge.root() == claim.root
        if claim.holds:
            self.size = claim.size
        else:
            words = "the entries of the tree are not those that were signed"
            self.problems.append(Problem(Damage.REWRITTEN, claim.name, words))

    def _note(self, start: int, entries: Sequence[bytes]) -> None:
        """Remember which lines entries are of."""
        first = read_entry(entries[0]) if entries else None
        if first is None and entries:
            self._damaged(ENTRIES, start // WIDTH, "an entry is malformed")
        if first is None:
            return
        name = first.writer.encode()
        expected = [b"%s %d" % (name, it) for it in range(first.seq, first.seq + len(entries))]
        if [it[:-66] for it in entries] == expected:
            self._add(start, first.writer, first.seq, len(entries))
            return
        for index, content in enumerate(entries, start):
            entry = read_entry(content)
            if entry is None:
                self._damaged(ENTRIES, start // WIDTH, "an entry is malformed")
            else:
                self._add(index, entry.writer, entry.seq, 1)

    def _add(self, start: int, writer: str, first: int, count: int) -> None:
        lines = self.lines.setdefault(writer, SignedLines(self._store))
        if first != lines.last + 1 and not self._is_accepted(writer, lines.last + 1, first - 1):
            words = f"line {first:,} of {writer} comes after line {lines.last:,}"
            self._damaged(ENTRIES, start // WIDTH, words)
            if first <= lines.last:
                return
        lines.add(start, first, count)

    def _is_accepted(self, writer: str, first: int, last: int) -> bool:
        return covers([it for it in self.accepted if it.writer == writer], first, last)


def covers(accepted: Sequence[Accepted], first: int, last: int) -> bool:
    """Tell whether ranges of lines cover all lines of another one, which is not empty."""
    place = first
    for it in sorted(accepted):
        if it.first <= place <= it.last:
            place = it.last + 1
    return first <= last < place
