"""Going through a writer's lines: is each one what the next one says it was?

The quick way checks a block of lines at once: their numbers, and the hash of each with what the
line after it says. Only a block where that fails is looked at line by line. Memory is that of a
block, or of one line, whatever a file holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import IO, Protocol

import msgspec
from msgspec import UNSET, Raw, Struct

from policy_router.log.damage import Damage, Places
from policy_router.log.entry import (
    GENESIS,
    HOLE,
    MOST_LINE,
    Gap,
    Kind,
    LineView,
    Prune,
    ScanView,
    record_view,
    scan_views_of,
    split_lines,
    view_of,
)

_BLOCK = 256 * 1024
_CLOSE_BLOCK = 16 * 1024
_MOST_MISSING = 50
_MOST_UNREADABLE = 2_000
"""After so many lines of a segment that are none, the others are not looked at."""


class Signed(Protocol):
    """What was signed of a writer's lines."""

    def differing(self, first: int, hashes: Sequence[str]) -> Iterator[int]:
        """Yield the numbers of lines that are not as they were signed, given their hashes."""


class SegmentExtent(Struct, frozen=True):
    """What a segment holds.

    Attributes:
        first: the number of its first line.
        last: the number of its last line; one less than the first where it has none.
        oldest: the earliest time of a line, in microseconds since 1970.
        newest: the latest time of a line.
        size: how many bytes its lines have.
        is_closed: whether its last line closes it.
    """

    first: int
    last: int
    oldest: int
    newest: int
    size: int
    is_closed: bool


class Scan:
    """Goes through the lines of one writer, segment after segment.

    Attributes:
        seq: the number of the last line so far.
        prev: its hash.
        places: what is wrong.
        revisions: the policies that decisions are of.
        prunes: what lines say was removed, with the numbers of the lines.
        gaps: what lines say is not in the log, with the numbers of the lines.
        torn: how many bytes the last segment has after its last line end.
        watched_hash: the hash of the line that is watched for; None where it was not met.
        is_lost: whether the last segment does not say where the next one goes on.
    """

    def __init__(
        self,
        places: Places,
        *,
        seq: int = 0,
        prev: str = GENESIS,
        watched: int = -1,
        wanted: str | None = None,
        signed: Signed | None = None,
        met: Callable[[list[str]], None] | None = None,
    ) -> None:
        """Begin after a line.

        Args:
            places: is told what is wrong.
            seq: the number of that line.
            prev: its hash.
            watched: the number of the line whose hash is remembered.
            wanted: what that hash has to be, where it is known.
            signed: what was signed of the lines.
            met: is told the ids of decisions.
        """
        self.seq, self.prev, self.places = seq, prev, places
        self.revisions: set[str] = set()
        self.prunes: list[tuple[int, Prune]] = []
        self.gaps: list[tuple[int, Gap]] = []
        self.torn, self.is_lost = 0, False
        self.watched_hash = prev if watched == seq else None
        self._watched, self._wanted, self._signed, self._met = watched, wanted, signed, met
        self._marker = b""
        self._name = ""  # of the segment that the last line so far is in, or should be
        self._is_open = False  # whether that ends without saying so
        self._missing: list[tuple[int, int]] = []  # lines that may yet come, out of order
        self._oldest = self._newest = self._size = 0  # of the segment so far
        self._unreadable, self._last_kind = 0, ""

    def segment(self, name: str, stream: IO[bytes]) -> SegmentExtent:
        """Go through a segment, and return what it holds.

        Args:
            name: how it is called in messages.
            stream: its content.
        """
        first = self.seq + 1
        self._oldest = self._newest = self._size = 0
        self._last_kind, blocks, self._unreadable, self.is_lost = "", Blocks(stream), 0, False
        for block in blocks:
            if not (block.endswith(b"\n") and self._is_whole(name, block)):
                end = self._hole(name, block)
                if end is not None:
                    blocks.leave(len(block) - end)
                    self._size += end
                    break
                for part in _parts(block):
                    if not self._give_up():
                        self._closely(name, part)
            self._size += len(block)
            self._name, self._is_open = name, False
        self.torn = blocks.torn
        self._give_up()
        self._name, self._is_open = name, self._last_kind != Kind.CLOSE
        times = self._oldest, self._newest
        return SegmentExtent(first, self.seq, *times, self._size, not self._is_open)

    def _is_whole(self, name: str, block: bytes) -> bool:
        """Check lines at once, and go on to their end where they are whole."""
        read = None if self.is_lost else scan_views_of(block)
        lines = split_lines(block)
        if read is None or len(read) != len(lines):  # Empty lines are passed over.
            return False
        hashes = [sha256(line).hexdigest() for line in lines]
        last = self.seq + len(hashes)
        if [line.seq for line in read] != list(range(self.seq + 1, last + 1)):
            return False
        if [line.prev for line in read] != [self.prev, *hashes[:-1]]:
            return False
        if self.seq < self._watched <= last:
            self.watched_hash = hashes[self._watched - self.seq - 1]
        self._compare(name, self.seq + 1, hashes)
        self.seq, self.prev = last, hashes[-1]
        self._note(block, read)
        return True

    def _compare(self, name: str, first: int, hashes: Sequence[str]) -> None:
        """Compare lines with what was signed."""
        for number in self._signed.differing(first, hashes) if self._signed else ():
            self.places.add(Damage.REWRITTEN, name, number, number)

    def _note(self, block: bytes, read: Sequence[LineView | ScanView]) -> None:
        """Remember of which policies the decisions are, and what is not there."""
        times = [line.time for line in read]
        self._oldest = min(self._oldest or times[0], *times)
        self._newest, self._last_kind = max(self._newest, *times), read[-1].kind
        decided = [line for line in read if line.record]
        # Most lines are of the policy of the line before: to count it is quicker than to read it.
        if not self._marker or block.count(self._marker) != len(decided):
            for line in decided:
                self._note_policy(line.record)
        if self._met and decided:
            self._met([line.id for line in decided])
        # In most blocks there is none.
        for line in [it for it in read if not it.record] if len(decided) < len(read) else ():
            if line.prune is not UNSET:
                self.prunes.append((line.seq, line.prune))
            if line.gap is not UNSET:
                self.gaps.append((line.seq, line.gap))

    def _note_policy(self, record: Raw) -> None:
        view = record_view(record)
        if view is not None:
            self.revisions.add(view.policy.revision)
            # A fact is no object: no request has this.
            self._marker = b'"policy":' + msgspec.json.encode(view.policy, order="sorted")

    def go_on_at(self, seq: int, prev: str) -> None:
        """Go on after a line whose hash somebody else says."""
        self.seq, self.prev = seq, prev
        if seq == self._watched:
            self.watched_hash = prev

    # Where something is wrong.

    def _closely(self, name: str, block: bytes) -> None:
        """Tell what was done to the lines of a block, one by one."""
        lines = block.removesuffix(b"\n").split(b"\n")
        views = [view_of(line) for line in lines]
        self._unreadable += views.count(None)
        befores = {view.prev for view in views if view}
        for line, view, after in zip(lines, views, [*views[1:], None], strict=True):
            digest = sha256(line).hexdigest()
            goes_on = after is None or view is None or view.seq < after.seq
            self._line(name, view, digest, is_confirmed=goes_on or digest in befores)
            if view:
                self._note(b"", [view])
            self._name = name

    def _give_up(self) -> bool:
        """Tell whether a segment holds so much else that the rest of it is not looked at."""
        self.is_lost = self._unreadable > _MOST_UNREADABLE
        return self.is_lost

    def _line(self, name: str, view: LineView | None, digest: str, *, is_confirmed: bool) -> None:
        """Tell what was done to a line, and go on after it.

        Args:
            name: the segment.
            view: what the line says.
            digest: its hash.
            is_confirmed: whether another line may come after it.
        """
        number, earlier = self.seq + 1, self._name if self._is_open else name
        follows = view is None or view.prev == self.prev
        if view is not None and not follows:
            if number < view.seq and is_confirmed:
                self.places.add(Damage.REMOVED, earlier, number, view.seq - 1)
                self._missing = [*self._missing[-_MOST_MISSING:], (number, view.seq - 1)]
                number = view.seq
            elif view.seq == number:
                before = (self._name, self.seq) if self.seq else (name, 1)
                self.places.add(Damage.EDITED, before[0] or name, before[1], before[1])
            elif view.seq < number:
                self._late(name, view.seq)
                return
            else:
                follows = True
        if follows and (view is None or view.seq != number):
            self.places.add(Damage.EDITED, name, number, number)
        if number == self._watched:
            self.watched_hash = digest
            if self._wanted and digest != self._wanted:
                self.places.add(Damage.EDITED, name, number, number)
        self._compare(name, number, [digest])
        self.seq, self.prev, self._is_open = number, digest, False

    def _late(self, name: str, number: int) -> None:
        """Tell of a line that is behind a later one, or there twice."""
        found = next((it for it in self._missing if it[0] <= number <= it[1]), None)
        if found is not None:
            self._missing.remove(found)
            self._missing += [
                it for it in ((found[0], number - 1), (number + 1, found[1])) if it[0] <= it[1]
            ]
            self.places.take_back(Damage.REMOVED, number)
        self.places.add(Damage.SWAPPED, name, number, self.seq if found else number)

    def _hole(self, name: str, block: bytes) -> int | None:
        """Return where a block ends, if the rest is what a power cut left of unconfirmed lines."""
        hole = block.find(HOLE)
        end = block.rfind(b"\n", 0, max(hole, 0)) + 1
        if hole < 0 or self.seq + block.count(b"\n", 0, end) < self._watched:
            return None
        return end if not end or self._is_whole(name, block[:end]) else None


class Blocks:
    """A file in blocks of whole lines; what has no line end at the end of it is left out.

    A line that is longer than any that is written comes without its end, and shortened.

    Attributes:
        torn: how many bytes are after the last line end, when all were read.
    """

    def __init__(self, stream: IO[bytes], stop: int | None = None) -> None:
        """Take a file.

        Args:
            stream: the file, at the beginning of a line.
            stop: up to which offset it is read; to its end unless given.
        """
        self._stream, self._stop, self.torn = stream, stop, 0
        self._place = stream.tell()

    def __iter__(self) -> Iterator[bytes]:
        """Yield its blocks."""
        size = _BLOCK
        while block := self._read(size):
            end = block.rfind(b"\n") + 1
            if not end and len(block) >= MOST_LINE:
                yield block[:_CLOSE_BLOCK]
                if not self._pass_line():
                    return
                size = _BLOCK
                continue
            if not end and len(block) < size:
                self.torn = len(block)
                return
            self.torn = len(block) - end
            # A line that has not ended may be written over meanwhile: it is read again as a whole.
            self._place += end
            self._stream.seek(self._place)
            size = _BLOCK if end else size * 2
            if end:
                yield block[:end]

    def leave(self, rest: int) -> None:
        """Count all that comes as torn, with the end of the last block."""
        self.torn = self._stream.seek(0, 2) - self._place + rest

    def _read(self, size: int) -> bytes:
        if self._stop is not None:
            size = min(size, max(self._stop - self._place, 0))
        return self._stream.read(size)

    def _pass_line(self) -> bool:
        """Go behind the next line end; tell whether there is one."""
        self._stream.seek(self._place)
        while block := self._stream.read(_BLOCK):
            end = block.find(b"\n") + 1
            self._place += end or len(block)
            if end:
                self._stream.seek(self._place)
                return True
        return False


def _parts(block: bytes) -> Iterator[bytes]:
    """Yield a block in parts of whole lines, so small that a list of its lines is."""
    start = 0
    while start < len(block):
        end = block.rfind(b"\n", start, start + _CLOSE_BLOCK) + 1
        end = end or block.find(b"\n", start) + 1 or len(block)
        yield block[start:end]
        start = end
