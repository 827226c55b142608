"""Going through a writer's lines: is each one what the next one says it was?

The quick way compares number and hash of each line with the line before. Only where that fails is
a segment looked at closely, to tell what was done to it.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import BinaryIO

from msgspec import UNSET, Raw, Struct

from policy_router.runtime.log.entry import (
    GENESIS,
    HOLE,
    Gap,
    LineView,
    policy_name,
    record_view,
    view_of,
    views_of,
)
from policy_router.runtime.log.pruned import Pruned

_BLOCK = 256 * 1024
SHOWN = 20
"""How many places of a kind are listed."""


class Damage(StrEnum):
    """What was done to a log."""

    EDITED = "edited"
    """A line is not what the line after it, or the head, says it was."""
    REMOVED = "removed"
    """Lines are missing between others."""
    SWAPPED = "swapped"
    """Lines are not in their order, or there twice."""
    CUT_TAIL = "cut_tail"
    """The last lines of a writer are missing."""
    MISSING_SEGMENT = "missing_segment"
    """A segment is missing."""
    MISSING_WRITER = "missing_writer"
    """A writer is missing altogether."""
    MISSING_HEAD = "missing_head"
    """Nothing says how far a writer had come."""
    MISSING_POLICY = "missing_policy"
    """The policy of a decision is not kept."""
    CHANGED_POLICY = "changed_policy"
    """A policy's file does not hold what its name says."""
    BAD_PRUNE = "bad_prune"
    """A segment was removed, and the log does not say so."""
    BAD_CHECKPOINT = "bad_checkpoint"
    """A checkpoint cannot be read, or contradicts others."""
    BAD_SIGNATURE = "bad_signature"
    """A checkpoint is not signed with the key."""
    REWRITTEN = "rewritten"
    """The lines are not those that a checkpoint covers."""
    UNSIGNED = "unsigned"
    """There is a key, and no checkpoint."""


class Problem(Struct, frozen=True):
    """Something that is wrong with a log.

    Attributes:
        damage: what was done.
        where: the writer, or the segment as ``writer/number``, or a file.
        message: the same for a person, with its lines.
        lines: the numbers of the first and last line that it is about, in the writer's chain.
    """

    damage: Damage
    where: str
    message: str
    lines: tuple[int, int] | None = None


_CLOSED = b'"kind":"close"'
_LEAF = hashlib.sha256(b"\x00")
"""The beginning of every leaf hash (RFC 9162, section 2.1.1)."""


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

    def segment(self, name: str, stream: BinaryIO) -> None:
        """Go through a segment.

        Args:
            name: how it is called in messages.
            stream: its content.
        """
        last, size, self.torn = b"", _BLOCK, 0
        while block := stream.read(size):
            end = block.rfind(b"\n") + 1
            lines, self.torn = block[:end], len(block) - end
            if lines and not self._is_whole(lines):
                stream.seek(-len(block), io.SEEK_CUR)
                self._closely(name, stream.read())
                return
            self._name, last = name, lines or last
            if not end and len(block) < size:
                break
            # A line that has not ended may be written over meanwhile: it is read again as a whole.
            stream.seek(-self.torn, io.SEEK_CUR)
            size = _BLOCK if end else size * 2
        self._name = name
        self._is_open = _CLOSED not in last[last.rfind(b"\n", 0, -1) + 1 :]

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
        name = policy_name(view.policy) if view else None
        if view and name:
            self.revisions.add(name.revision)
            # A fact is no object: no request has this.
            self._marker = b'"policy":' + bytes(view.policy)

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
        found = list(_placed(lines, self.seq, self.prev))
        before = _Placed(self.seq, self.prev, None, is_edited=False)
        edited = {
            line.number
            for line in found
            if line.is_edited
            or (self._wanted and line.number == self._watched and line.hash != self._wanted)
        }
        names = (self._name or name, self._name if self._is_open else name, name)
        self.problems += _diagnosed(names, [before, *found], edited)
        self._name, self._is_open = name, False
        self.watched_hash = next(
            (line.hash for line in found if line.number == self._watched), self.watched_hash
        )
        self._note(b"", [line.read for line in found if line.read is not None])
        self._add_leaves(lines)
        near = found[-1].number + len(found)
        last = max((line for line in found if line.number <= near), key=_number)
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


class _Placed(Struct, frozen=True):
    """A line with the number that it has, whatever it says, and its hash."""

    number: int
    hash: str
    read: LineView | None
    is_edited: bool


def _number(line: _Placed) -> int:
    return line.number


def _split(block: bytes) -> list[memoryview]:
    """Return the lines of a block that ends with one, without copying them."""
    view, found, start = memoryview(block), [], 0
    while (end := block.find(b"\n", start)) >= 0:
        found.append(view[start:end])
        start = end + 1
    return found


def _placed(lines: Iterable[bytes], number: int, prev: str) -> Iterator[_Placed]:
    """Number lines: by the line before where they follow it, else as they say."""
    for content in lines:
        read = view_of(content)
        follows = read is None or read.prev == prev
        number = number + 1 if read is None or follows else read.seq
        prev = hashlib.sha256(content).hexdigest()
        yield _Placed(number, prev, read, is_edited=read is None or read.seq != number)


def _diagnosed(
    names: tuple[str, str, str], lines: list[_Placed], edited: set[int]
) -> Iterator[Problem]:
    """Tell what was done to lines; the first one is the last of the segment before, or block.

    Args:
        names: where the first one is, where those are missing that are missing after it, and where
            the others are.
        lines: the lines.
        edited: the numbers of those that are known to be changed.
    """
    earlier, after_it, name = names
    numbers = [line.number for line in lines]
    ordered = sorted(lines, key=_number)
    for line, following in pairwise(ordered):
        is_next = following.number == line.number + 1
        if is_next and following.read is not None and following.read.prev != line.hash:
            edited.add(max(line.number, 1))  # before the first there is none
    moved = {
        line.number for line, place in zip(ordered, numbers, strict=True) if line.number != place
    }
    repeated = {number for number, following in pairwise(sorted(numbers)) if number == following}
    gaps = [
        (number + 1, following - 1)
        for number, following in pairwise(sorted(numbers))
        if following > number + 1
    ]
    yield from _problems(Damage.SWAPPED, name, _ranges(moved | repeated))
    first = {number for number in edited if number <= numbers[0]} if earlier != name else set()
    yield from _problems(Damage.EDITED, earlier, _ranges(first))
    yield from _problems(Damage.EDITED, name, _ranges(edited - first))
    cut = [gap for gap in gaps if gap[0] == numbers[0] + 1]
    yield from _problems(Damage.REMOVED, after_it, cut)
    yield from _problems(Damage.REMOVED, name, [gap for gap in gaps if gap not in cut])


_WORDS: Mapping[Damage, str] = {
    Damage.SWAPPED: "out of order, or there twice",
    Damage.EDITED: "changed",
    Damage.REMOVED: "removed",
}


def _problems(damage: Damage, name: str, ranges: Sequence[tuple[int, int]]) -> Iterator[Problem]:
    for first, last in ranges[:SHOWN]:
        yield Problem(damage, name, f"{spelt_lines(first, last)}: {_WORDS[damage]}", (first, last))
    if more := ranges[SHOWN:]:
        span = (more[0][0], more[-1][1])
        words = f"{len(more)} more places up to line {span[1]:,}: {_WORDS[damage]}"
        yield Problem(damage, name, words, span)


def _ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Return numbers as ranges, from and up to."""
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def spelt_lines(first: int, last: int) -> str:
    """Return lines as a message names them."""
    return f"line {first:,}" if first == last else f"lines {first:,} to {last:,}"
