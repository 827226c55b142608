"""What a writer has written since it was signed: is it the continuation, and what is its hash?

Each new line has to continue the chain from the last line that was signed, and the last one has to
be the one of the head: a line that nobody was told of may be taken away again. Lines that are known
to be damaged are passed over. Where the chain breaks, the writer is signed up to there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

from policy_router.log.damage import spelt_lines
from policy_router.log.entry import GENESIS, LineView, view_of, views_of
from policy_router.log.files import open_file
from policy_router.log.folder import LogFolder, Segment
from policy_router.log.heads import Head, last_hash
from policy_router.log.integrity.scan import Blocks
from policy_router.log.sign.memory import Extent
from policy_router.log.sign.statements import Accepted

NOTHING = Extent(0, GENESIS)
"""How much of a writer is signed before its first line is."""
Append = Callable[[int, Sequence[str]], None]


class Growth:
    """Follows the lines of a writer from the last one that was signed.

    Attributes:
        extent: how far it has come.
        problem: why it has not come to the end; empty where it has.
    """

    def __init__(
        self,
        log: LogFolder,
        writer: str,
        extent: Extent,
        accepted: Sequence[Accepted],
        append: Append,
    ) -> None:
        """Begin after a line.

        Args:
            log: the log.
            writer: whose lines they are.
            extent: the last line that was signed.
            accepted: the lines that are known to be damaged.
            append: takes the number of a line, and its hash and those of lines after it.
        """
        self._log, self._writer, self._append = log, writer, append
        self._accepted = sorted(accepted)
        self.extent, self.problem = extent, ""
        self._begin = self._seq = extent.seq
        self._prev = extent.hash
        self._held: tuple[int, str] | None = None  # a line that no other line vouches for yet
        self._is_passing = False  # whether lines come that are known to be damaged

    def run(self) -> None:
        """Follow the lines up to the head."""
        head = self._log.head(self._writer)
        segments = self._log.segments(self._writer)
        if head is None:
            self.problem = "nothing says how far it had come" if segments else ""
            return
        if (head.seq, head.hash) == (self._seq, self._prev):
            return
        if head.seq <= self._seq:
            # After a power cut the head may be behind; a writer mends that when it goes on.
            is_other = head.seq == self._seq and not self._known(head.seq)
            if is_other or (self.extent.offset and not any(map(self._has_last, segments))):
                self.problem = f"line {self._seq:,} is not there any more as it was signed"
            return
        for segment, start in self._to_read(segments, head):
            stop = head.length if segment.number == head.segment else None
            with open_file(segment.path) as stream:
                stream.seek(start)
                for block in Blocks(stream, stop):
                    if not self._take(block):
                        return
        self._end(head)

    def _to_read(self, segments: Sequence[Segment], head: Head) -> Iterator[tuple[Segment, int]]:
        """Yield the segments with new lines, and where they begin there."""
        there = [it for it in segments if it.number <= head.segment]
        extent = self.extent
        for place, it in enumerate(there):
            if self._has_last(it):
                yield it, extent.offset
                yield from ((later, 0) for later in there[place + 1 :])
                return
        while len(there) > 1 and (view := first_line(there[1])) and view.seq <= extent.seq + 1:
            there = there[1:]
        yield from ((it, 0) for it in there)

    def _known(self, seq: int) -> Accepted | None:
        """Return the damage that a line is known to belong to."""
        return next((it for it in self._accepted if it.first <= seq <= it.last), None)

    def _has_last(self, segment: Segment) -> bool:
        """Tell whether the last line that was signed is where it was, in a segment."""
        is_it = segment.number == self.extent.segment
        return is_it and last_hash(segment.path, self.extent.offset) == self.extent.hash

    def _take(self, block: bytes) -> bool:
        """Take the lines of a block; tell whether the chain goes on behind it."""
        views, lines = views_of(block), block.split(b"\n")[:-1]
        hashes = [hashlib.sha256(line).hexdigest() for line in lines]
        if views is not None and self._continues(views, hashes):
            self._confirm(self._seq + 1, hashes)
            return True
        for line, digest in zip(lines, hashes, strict=True):
            if not self._take_one(view_of(line), digest):
                return False
        return True

    def _continues(self, views: Sequence[LineView], hashes: Sequence[str]) -> bool:
        """Tell whether lines are those that come next."""
        numbers = range(self._seq + 1, self._seq + 1 + len(views))
        return (
            [it.seq for it in views] == list(numbers)
            and [it.prev for it in views] == [self._prev, *hashes[:-1]]
            and not self._is_passing
            and not any(it.last >= numbers[0] and it.first <= numbers[-1] for it in self._accepted)
        )

    def _take_one(self, view: LineView | None, digest: str) -> bool:
        """Take a line; tell whether the chain goes on behind it."""
        if view is not None and view.seq <= self._seq == self._begin:
            return True  # It was signed, as this is not read from where that ended.
        known = self._known(self._seq + 1)
        if known is not None:
            self._is_passing = True
            if view is None or view.seq <= known.last:
                return True
            self._pass_over(known, view.prev)
            return self._take_one(view, digest)
        if view is not None and (view.seq, view.prev) == (self._seq + 1, self._prev):
            self._is_passing = False
            self._confirm(view.seq, [digest])
            return True
        self._held = None  # It may be the one that was changed.
        self.problem = f"line {self._seq + 1:,} does not continue what comes before it"
        return False

    def _pass_over(self, known: Accepted, prev: str) -> None:
        """Go on behind lines that are known to be damaged."""
        self._release()
        self._seq, self._prev = known.last, prev

    def _confirm(self, first: int, hashes: Sequence[str]) -> None:
        """Append what a line was held back of, and lines but for the last one."""
        self._release()
        if len(hashes) > 1:
            self._append(first, hashes[:-1])
        self._seq, self._prev = first + len(hashes) - 1, hashes[-1]
        self._held = self._seq, self._prev
        if len(hashes) > 1:
            self.extent = Extent(self._seq - 1, hashes[-2])

    def _release(self) -> None:
        """Append the line that was held back."""
        if self._held is not None:
            self._append(self._held[0], [self._held[1]])
            self.extent = Extent(*self._held)
            self._held = None

    def _end(self, head: Head) -> None:
        """Compare the last line with the head."""
        known = self._known(head.seq)
        if known is not None and self._seq + 1 >= known.first:
            self._release()
            self.extent = Extent(head.seq, head.hash)
        elif (self._seq, self._prev) == (head.seq, head.hash):
            self._release()
            self.extent = Extent(head.seq, head.hash, head.segment, head.length)
        elif self._seq < head.seq:
            self.problem = f"{spelt_lines(self._seq + 1, head.seq)}: missing"
        else:
            self.problem = f"line {self._seq:,} is not the one that its head has"


def first_line(segment: Segment) -> LineView | None:
    """Return the first line of a segment; None where it has none that can be read."""
    with open_file(segment.path) as stream:
        for block in Blocks(stream):
            return view_of(block.partition(b"\n")[0])
    return None
