"""Going through every line of a log: what is wrong with those there are, and which are missing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from msgspec import Struct, field

from policy_router.errors import LogError
from policy_router.runtime.log.entry import view_of
from policy_router.runtime.log.folder import LogFolder, Progress, Segment, readable
from policy_router.runtime.log.heads import Head
from policy_router.runtime.log.policies import PolicyStore
from policy_router.runtime.log.pruned import read_pruned
from policy_router.runtime.log.scan import SHOWN, Damage, Problem, Scan, spelt_lines

T = TypeVar("T")

_ATTEMPTS = 3


class Examined(Struct):
    """What the lines of a log come to.

    Attributes:
        leaves: the leaf hashes of each writer's lines.
        seqs: the number of the last line of each writer.
        acknowledged: how many of them are known to have been acknowledged.
        integrity: what is wrong with lines that are there.
        completeness: what is missing.
        notes: what is worth saying, and not wrong.
        segments: how many segments there are.
        pruned: the segments that were removed, with the number of the last line of each.
    """

    leaves: dict[str, bytearray] = field(default_factory=dict)
    seqs: dict[str, int] = field(default_factory=dict)
    acknowledged: dict[str, int] = field(default_factory=dict)
    integrity: list[Problem] = field(default_factory=list)
    completeness: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    segments: int = 0
    pruned: dict[Segment, int] = field(default_factory=dict)

    @property
    def problems(self) -> list[Problem]:
        """All that is wrong."""
        return [*self.integrity, *self.completeness]

    def add(self, other: Examined) -> None:
        """Add what the lines of another writer come to."""
        self.leaves |= other.leaves
        self.seqs |= other.seqs
        self.acknowledged |= other.acknowledged
        self.integrity += other.integrity
        self.completeness += other.completeness
        self.notes += other.notes
        self.segments += other.segments
        self.pruned |= other.pruned


_LOSSES = frozenset(
    {
        Damage.REMOVED,
        Damage.CUT_TAIL,
        Damage.MISSING_SEGMENT,
        Damage.MISSING_WRITER,
        Damage.MISSING_HEAD,
        Damage.MISSING_POLICY,
        Damage.BAD_PRUNE,
    }
)


def examined(log: LogFolder, *, wants_leaves: bool, progress: Progress | None = None) -> Examined:
    """Go through every line of a log.

    Args:
        log: the log.
        wants_leaves: whether the leaf hashes are worked out.
        progress: is told how far it is.

    Raises:
        LogError: it is of a newer version, or cannot be read.
    """
    with readable(log):
        return _Examination(log, wants_leaves=wants_leaves, progress=progress).run()


def steadily(log: LogFolder, look: Callable[[], T], is_whole: Callable[[T], bool]) -> T:
    """Look at a log, and once more where segments of it were pruned meanwhile.

    Args:
        log: the log.
        look: looks at it, and returns what it sees.
        is_whole: tells whether that is a log that is whole.

    Raises:
        LogError: what `look` raised, and nothing was pruned meanwhile.
    """
    while True:
        with readable(log):
            there = [segment.path for segment in log.all_segments()]
        try:
            seen = look()
        except LogError:
            if all(map(os.path.exists, there)):
                raise
        else:
            if is_whole(seen) or all(map(os.path.exists, there)):
                return seen


class _Examination:
    """Goes through a log, writer by writer."""

    def __init__(self, log: LogFolder, *, wants_leaves: bool, progress: Progress | None) -> None:
        self._log, self._found = log, Examined()
        self._wants_leaves = wants_leaves
        self._progress = progress or (lambda _done, _all: None)
        self._sizes = {it.path: Path(it.path).stat().st_size for it in log.all_segments()}
        self._done = 0
        self._said_pruned: set[str] = set()
        self._revisions: set[str] = set()

    def run(self) -> Examined:
        there = self._log.writers()
        # A head is read before the lines: while somebody writes, there are more lines than it says.
        heads = {name: self._log.head(name) for name in {*there, *self._log.known_writers()}}
        found = self._found
        for name in there:
            found.add(self._writer(name, heads[name]))
        self._found = found
        for name in sorted(heads.keys() - set(there)):
            self._absent_writer(name, heads[name])
        for name in sorted({it.name for it in self._found.pruned} - self._said_pruned):
            self._add(Damage.BAD_PRUNE, name, "removed, and no line of the log says so")
        store = PolicyStore(self._log)
        for name in store.altered():
            self._add(Damage.CHANGED_POLICY, f"policies/{name}", "changed")
        for revision in sorted(self._revisions):
            if not store.has(revision):
                words = "missing, though decisions are of it"
                self._add(Damage.MISSING_POLICY, f"policies/{revision[:80]}.json", words)
        return found

    def _add(
        self, damage: Damage, where: str, words: str, lines: tuple[int, int] | None = None
    ) -> None:
        kept = self._found.completeness if damage in _LOSSES else self._found.integrity
        message = f"{spelt_lines(*lines)}: {words}" if lines else words
        kept.append(Problem(damage, where, message, lines))

    def _absent_writer(self, name: str, head: Head | None) -> None:
        is_new = bool(self._log.segments(name))  # it began after we looked
        if head is not None and head.seq and not is_new:
            self._add(Damage.MISSING_WRITER, name, "the whole writer is missing", (1, head.seq))

    def _writer(self, name: str, head: Head | None) -> Examined:
        """Go through a writer: again where what nobody was told of was taken away meanwhile."""
        done = self._done
        for _ in range(_ATTEMPTS):
            self._done, self._found = done, Examined()
            scan = self._scanned(name, head)
            if not any(head and it.lines and it.lines[1] > head.seq for it in self._found.problems):
                break
            head = self._log.head(name)
        self._revisions |= scan.revisions
        self._said_pruned |= scan.prunes
        return self._found

    def _scanned(self, name: str, head: Head | None) -> Scan:
        segments = self._log.segments(name)
        scan = Scan(
            watched=head.seq if head else -1,
            wanted=head.hash if head else None,
            wants_leaves=self._wants_leaves,
        )
        expected = 1
        for segment in segments:
            if segment.number > expected:
                self._missing(name, expected, segment, scan)
            self._segment(segment, scan, is_last=segment is segments[-1])
            expected = segment.number + 1
        self._end(name, head, scan, expected)
        for problem in scan.problems:
            kept = self._found.completeness if problem.damage in _LOSSES else self._found.integrity
            kept.append(problem)
        self._gaps(name, scan)
        self._found.leaves[name], self._found.seqs[name] = scan.leaves, scan.seq
        return scan

    def _segment(self, segment: Segment, scan: Scan, *, is_last: bool) -> None:
        if segment.is_pruned:
            kept = read_pruned(segment.path)
            self._found.pruned[segment] = 0 if kept is None else kept.first + kept.lines - 1
            if kept is None or not scan.follow(kept):
                self._add(Damage.BAD_PRUNE, segment.name, "what is kept of it does not fit")
            return
        self._found.segments += 1
        with open(segment.path, "rb", buffering=0) as stream:  # noqa: PTH123 - the name is a string
            scan.segment(segment.name, stream)
        self._done += self._sizes.get(segment.path, 0)
        self._progress(self._done, sum(self._sizes.values()))
        if scan.torn and not is_last:
            self._add(Damage.EDITED, segment.name, "changed: it ends within a line")
        elif scan.torn:
            self._found.notes.append(
                f"{segment.name}: {scan.torn:,} bytes after the last line were not acknowledged:"
                " the writer is writing, or was killed"
            )

    def _gaps(self, name: str, scan: Scan) -> None:
        """Repeat what the lines themselves say is not there."""
        for seq, gap in scan.gaps:
            if gap.reason == "head_lost":
                words = "nothing said how far it had come: lines before this may be missing"
                self._add(Damage.MISSING_HEAD, name, words, (seq, seq))
            if gap.reason == "changed":
                words = "what it had written was no longer there as it was, and it went on behind"
                self._found.notes.append(f"{name}: line {seq}: {words}")
        unlogged = [gap for _, gap in scan.gaps if gap.reason == "unlogged"]
        decisions = sum(gap.decisions for gap in unlogged)
        executions = sum(gap.executions for gap in unlogged)
        if unlogged:
            counts = f"{decisions:,} decisions and {executions:,} execution events"
            self._found.notes.append(f"{name}: {counts} could not be logged; its gap lines say why")
        if torn := [gap.bytes for _, gap in scan.gaps if gap.reason == "torn_tail"]:
            times = f"{len(torn):,} times" if len(torn) > 1 else "once"
            self._found.notes.append(
                f"{name}: {times} a process was killed while it wrote; {sum(torn):,} bytes that"
                " nobody had been told of were cut off"
            )

    def _missing(self, name: str, expected: int, following: Segment, scan: Scan) -> None:
        """Say which segments are missing, and go on with what the next one says."""
        first, prev = _first(following) or (scan.seq + 1, scan.prev)
        lines = (scan.seq + 1, first - 1) if first > scan.seq + 1 else None
        self._missing_segments(name, expected, following.number - 1, lines)
        scan.go_on_at(first - 1, prev)

    def _missing_segments(
        self, name: str, first: int, last: int, lines: tuple[int, int] | None
    ) -> None:
        for number in range(first, min(last, first + SHOWN) + 1):
            words = "the segment is missing"
            if number == first + SHOWN:
                words = f"this segment is missing, and {last - number:,} after it"
            self._add(Damage.MISSING_SEGMENT, f"{name}/{number}", words, lines)

    def _end(self, name: str, head: Head | None, scan: Scan, expected: int) -> None:
        """Compare the end of a writer with its head."""
        self._found.acknowledged[name] = min(head.seq, scan.seq) if head else 0
        if head is None:
            is_new = self._log.head(name) is not None  # it began after we looked
            if expected > 1 and not is_new:
                self._add(Damage.MISSING_HEAD, name, "nothing says how far it had come")
            return
        lines = (scan.seq + 1, head.seq)
        if head.seq > scan.seq:
            if head.length and head.segment >= expected:
                self._missing_segments(name, expected, head.segment, lines)
            else:
                self._add(Damage.CUT_TAIL, name, "cut off: they had been acknowledged", lines)
        elif scan.watched_hash != head.hash:
            if not scan.tells_of(head.seq):
                last = (head.seq, head.seq)
                self._add(Damage.EDITED, f"{name}/{head.segment}", "changed", last)
        elif head.segment > expected or not self._log.bears_out(name, head):
            self._add(Damage.EDITED, f".heads/{name}", "its last line is not where this says")


def _first(segment: Segment) -> tuple[int, str] | None:
    """Return number and ``prev`` of the first line of a segment; None where it has none."""
    if segment.is_pruned:
        kept = read_pruned(segment.path)
        return (kept.first, kept.prev) if kept else None
    with open(segment.path, "rb") as stream:  # noqa: PTH123 - the name is a string
        view = view_of(stream.readline().removesuffix(b"\n"))
    return (view.seq, view.prev) if view else None
