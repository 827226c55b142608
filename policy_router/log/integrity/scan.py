"""Going through a writer's lines: is each one what the next one says it was?

The quick way compares number and hash of each line with the line before. Only where that fails is
a segment looked at closely, to tell what was done to it.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from typing import BinaryIO

import msgspec
from msgspec import UNSET, Raw, Struct

from policy_router.log.damage import Placed, Problem, diagnosed, number_of, placed
from policy_router.log.entry import (
    GENESIS,
    HOLE,
    Gap,
    Kind,
    LineView,
    record_view,
    views_of,
)
from policy_router.log.pruned import Pruned

_BLOCK = 256 * 1024
_LEAF = hashlib.sha256(b"\x00")
"""The beginning of every leaf hash (RFC 9162, section 2.1.1)."""


class SegmentExtent(Struct, frozen=True):
    """What a segment holds, as far as its lines are whole.

    Attributes:
        first: the number of its first line.
        last: the number of its last line; one less than the first where it has none.
        prev: the hash of the line before it.
        hash: the hash of its last line.
        newest: the latest time of a line, in microseconds since 1970.
        size: how many bytes its lines have.
        is_closed: whether its last line closes it.
    """

    first: int
    last: int
    prev: str
    hash: str
    newest: int
    size: int
    is_closed: bool

    @property
    def lines(self) -> int:
        """How many lines it has."""
        return self.last - self.first + 1


class Scan:
    """Goes through the lines of one writer, segment after segment.

    Attributes:
        seq: the number of the last line so far.
        prev: its hash.
        leaves: the Merkle leaf hashes so far, 32 bytes each, where they are wanted.
        revisions: the policies that decisions are of.
        prunes: the segments that lines say were removed.
        gaps: what lines say is not in the log, with the numbers of the lines.
        problems: what is wrong.
        torn: how many bytes the last segment has after its last line end.
        watched_hash: the hash of the line that is watched for; None where it was not met.
    """

    def __init__(self, *, watched: int, wants_leaves: bool, wanted: str | None = None) -> None:
        """Begin before the first line.

        Args:
            watched: the number of the line whose hash is remembered.
            wanted: what that hash has to be, where it is known.
            wants_leaves: whether leaf hashes are worked out.
        """
        self.seq, self.prev = 0, GENESIS
        self.leaves = bytearray()
        self.revisions: set[str] = set()
        self.prunes: set[str] = set()
        self.gaps: list[tuple[int, Gap]] = []
        self.problems: list[Problem] = []
        self.torn = 0
        self.watched_hash = GENESIS if watched == 0 else None
        self._watched, self._wanted, self._wants_leaves = watched, wanted, wants_leaves
        self._marker = b""
        self._name = ""  # of the segment that the last line so far is in, or should be
        self._is_open = False  # whether that ends without saying so
        self._size, self._newest, self._last_kind = 0, 0, ""  # of the segment so far

    def segment(self, name: str, stream: BinaryIO) -> SegmentExtent:
        """Go through a segment, and return what it holds.

        Args:
            name: how it is called in messages.
            stream: its content.
        """
        seq, prev = self.seq, self.prev
        self._size, self._newest, self._last_kind = 0, 0, ""
        self._segment(name, stream)
        end = self._newest, self._size, self._last_kind == Kind.CLOSE
        return SegmentExtent(seq + 1, self.seq, prev, self.prev, *end)

    def _segment(self, name: str, stream: BinaryIO) -> None:
        size, self.torn = _BLOCK, 0
        while block := stream.read(size):
            end = block.rfind(b"\n") + 1
            lines, self.torn = block[:end], len(block) - end
            if lines and not self._is_whole(lines):
                stream.seek(-len(block), io.SEEK_CUR)
                self._closely(name, stream.read())
                return
            self._name = name
            if not end and len(block) < size:
                break
            # A line that has not ended may be written over meanwhile: it is read again as a whole.
            stream.seek(-self.torn, io.SEEK_CUR)
            size = _BLOCK if end else size * 2
        self._name, self._is_open = name, self._last_kind != Kind.CLOSE

    def _is_whole(self, block: bytes) -> bool:
        """Check lines at once, and go on to their end where they are whole."""
        read = views_of(block)
        if read is None:
            return False
        lines = _split(block)
        hashes = [hashlib.sha256(line).hexdigest() for line in lines]
        numbers = list(range(self.seq + 1, self.seq + 1 + len(lines)))
        if [line.seq for line in read] != numbers:
            return False
        if [line.prev for line in read] != [self.prev, *hashes[:-1]]:
            return False
        if self.seq < self._watched <= numbers[-1]:
            self.watched_hash = hashes[self._watched - self.seq - 1]
        self.seq, self.prev = numbers[-1], hashes[-1]
        self._size, self._last_kind = self._size + len(block), read[-1].kind
        self._newest = max(self._newest, *[line.time for line in read])
        self._note(block, read)
        self._add_leaves(lines)
        return True

    def _add_leaves(self, lines: Iterable[bytes | memoryview]) -> None:
        if not self._wants_leaves:
            return
        for line in lines:
            leaf = _LEAF.copy()
            leaf.update(line)
            self.leaves += leaf.digest()

    def _note(self, block: bytes, read: Sequence[LineView]) -> None:
        """Remember of which policies the decisions are, and what is not there."""
        records = [line.record for line in read if line.record]
        # Most lines are of the policy of the line before: to count it is quicker than to read it.
        if not self._marker or block.count(self._marker) != len(records):
            for record in records:
                self._note_policy(record)
        for line in read:
            if line.prune is not UNSET:
                self.prunes.update(line.prune.segments)
            if line.gap is not UNSET:
                self.gaps.append((line.seq, line.gap))

    def _note_policy(self, record: Raw) -> None:
        view = record_view(record)
        if view is not None:
            self.revisions.add(view.policy.revision)
            # A fact is no object: no request has this.
            self._marker = b'"policy":' + msgspec.json.encode(view.policy, order="sorted")

    def follow(self, kept: Pruned) -> bool:
        """Go past a segment that was removed; tell whether it was the next one."""
        is_next = (kept.first, kept.prev) == (self.seq + 1, self.prev)
        self.go_on_at(kept.first + kept.lines - 1, kept.hash)
        self.leaves += kept.leaf_hashes()
        return is_next

    def go_on_at(self, seq: int, prev: str) -> None:
        """Go on after a line whose hash somebody else says."""
        self.seq, self.prev = seq, prev
        if seq == self._watched:
            self.watched_hash = prev

    def tells_of(self, number: int) -> bool:
        """Tell whether something is known to be wrong with a line."""
        return any(it.lines and it.lines[0] <= number <= it.lines[1] for it in self.problems)

    # Where something is wrong.

    def _closely(self, name: str, content: bytes) -> None:
        """Tell what was done to the rest of a segment, and go on after it."""
        if self._ends_with_a_hole(content):
            self._name, self._is_open = name, True
            return
        lines = content.split(b"\n")
        self.torn = len(lines.pop())
        found = list(placed(lines, self.seq, self.prev))
        before = Placed(self.seq, self.prev, None, is_edited=False)
        edited = {
            line.number
            for line in found
            if line.is_edited
            or (self._wanted and line.number == self._watched and line.hash != self._wanted)
        }
        names = (self._name or name, self._name if self._is_open else name, name)
        self.problems += diagnosed(names, [before, *found], edited)
        self._name, self._is_open = name, False
        self.watched_hash = next(
            (line.hash for line in found if line.number == self._watched), self.watched_hash
        )
        self._note(b"", [line.read for line in found if line.read is not None])
        self._add_leaves(lines)
        near = found[-1].number + len(found)
        last = max((line for line in found if line.number <= near), key=number_of)
        self.seq, self.prev = last.number, last.hash

    def _ends_with_a_hole(self, content: bytes) -> bool:
        """Tell whether nothing is wrong but what a power cut left of lines nobody was told of."""
        hole = content.find(HOLE)
        end = content.rfind(b"\n", 0, max(hole, 0)) + 1
        if hole < 0 or self.seq + content.count(b"\n", 0, end) < self._watched:
            return False
        is_whole = not end or self._is_whole(content[:end])
        self.torn = len(content) - end
        return is_whole


def _split(block: bytes) -> list[memoryview]:
    """Return the lines of a block that ends with one, without copying them."""
    view, found, start = memoryview(block), [], 0
    while (end := block.find(b"\n", start)) >= 0:
        found.append(view[start:end])
        start = end + 1
    return found
