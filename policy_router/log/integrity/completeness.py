"""Going through every line of a log: what is wrong with those there are, and which are missing.

This is the only walk over the segments of a log that checks them. ``verify``, ``checkpoint``,
``prove`` and ``prune`` all take what they need from its :class:`Findings`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from msgspec import Struct, field

from policy_router.errors import LogError
from policy_router.log.damage import LOSSES, SHOWN, Damage, Problem, spelt_lines
from policy_router.log.entry import view_of
from policy_router.log.folder import LogFolder, Progress, Segment, readable
from policy_router.log.heads import Head
from policy_router.log.integrity.scan import Scan, SegmentExtent
from policy_router.log.policies import PolicyStore
from policy_router.log.pruned import read_pruned

T = TypeVar("T")

_ATTEMPTS = 3


class Findings(Struct):
    """What the lines of a log come to.

    Attributes:
        leaves: the leaf hashes of each writer's lines.
        seqs: the number of the last line of each writer.
        acknowledged: how many of them are known to have been acknowledged.
        integrity: what is wrong with lines that are there.
        completeness: what is missing.
        notes: what is worth saying, and not wrong.
        segments: the segments that are there, and what each holds.
        pruned: the segments that were removed, with the number of the last line of each.
        prunes: the names of the segments that lines say were removed.
        revisions: the policies that decisions are of.
    """

    leaves: dict[str, bytearray] = field(default_factory=dict)
    seqs: dict[str, int] = field(default_factory=dict)
    acknowledged: dict[str, int] = field(default_factory=dict)
    integrity: list[Problem] = field(default_factory=list)
    completeness: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    segments: dict[Segment, SegmentExtent] = field(default_factory=dict)
    pruned: dict[Segment, int] = field(default_factory=dict)
    prunes: set[str] = field(default_factory=set)
    revisions: set[str] = field(default_factory=set)

    @property
    def problems(self) -> list[Problem]:
        """All that is wrong."""
        return [*self.integrity, *self.completeness]

    def add(self, other: Findings) -> None:
        """Add what the lines of another writer come to."""
        for name in self.__struct_fields__:
            mine, its = getattr(self, name), getattr(other, name)
            setattr(self, name, mine + its if isinstance(mine, list) else mine | its)

    def tell(self, *problems: Problem) -> None:
        """Add problems, each where it belongs."""
        for it in problems:
            (self.completeness if it.damage in LOSSES else self.integrity).append(it)


def examined(log: LogFolder, *, wants_leaves: bool, progress: Progress | None = None) -> Findings:
    """Go through every line of a log.

    Args:
        log: the log.
        wants_leaves: whether the leaf hashes are worked out.
        progress: is told how far it is.

    Raises:
        LogError: it is of a newer version, or cannot be read.
    """
    with readable(log):
        return _Walk(log, wants_leaves=wants_leaves, progress=progress).run()


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


class _Walk:
    """Goes through a log, writer by writer."""

    def __init__(self, log: LogFolder, *, wants_leaves: bool, progress: Progress | None) -> None:
        self._log, self._wants_leaves = log, wants_leaves
        self._progress = progress or (lambda _done, _all: None)
        self._sizes = {it.path: Path(it.path).stat().st_size for it in log.all_segments()}
        self._done, self._all = 0, sum(self._sizes.values())

    def run(self) -> Findings:
        there = self._log.writers()
        # A head is read before the lines: while somebody writes, there are more lines than it says.
        heads = {name: self._log.head(name) for name in {*there, *self._log.known_writers()}}
        found = Findings()
        for name in there:
            found.add(self._writer(name, heads[name]))
        for name in sorted(heads.keys() - set(there)):
            head, is_new = heads[name], bool(self._log.segments(name))  # it began after we looked
            if head is not None and head.seq and not is_new:
                words = f"{spelt_lines(1, head.seq)}: the whole writer is missing"
                found.tell(Problem(Damage.MISSING_WRITER, name, words, (1, head.seq)))
        for name in sorted({it.name for it in found.pruned} - found.prunes):
            words = "removed, and no line of the log says so"
            found.tell(Problem(Damage.BAD_PRUNE, name, words))
        self._check_policies(found)
        return found

    def _check_policies(self, found: Findings) -> None:
        store = PolicyStore(self._log)
        for name in store.altered():
            found.tell(Problem(Damage.CHANGED_POLICY, f"policies/{name}", "changed"))
        for revision in sorted(found.revisions):
            if not store.has(revision):
                words = "missing, though decisions are of it"
                where = f"policies/{revision[:80]}.json"
                found.tell(Problem(Damage.MISSING_POLICY, where, words))

    def _writer(self, name: str, head: Head | None) -> Findings:
        """Go through a writer: again where what nobody was told of was taken away meanwhile."""
        done = self._done
        for _ in range(_ATTEMPTS):
            self._done = done
            walk = _WriterWalk(self._log, name, head, wants_leaves=self._wants_leaves)
            found = walk.run(self._pass)
            if not any(head and it.lines and it.lines[1] > head.seq for it in found.problems):
                break
            head = self._log.head(name)
        return found

    def _pass(self, segment: Segment) -> None:
        self._done += self._sizes.get(segment.path, 0)
        self._progress(self._done, self._all)


class _WriterWalk:
    """Goes through the segments of a writer, and compares their end with the writer's head."""

    def __init__(self, log: LogFolder, name: str, head: Head | None, *, wants_leaves: bool) -> None:
        self._log, self._name, self._head = log, name, head
        self._found = Findings()
        self._scan = Scan(
            watched=head.seq if head else -1,
            wanted=head.hash if head else None,
            wants_leaves=wants_leaves,
        )

    def run(self, passed: Callable[[Segment], None]) -> Findings:
        """Go through them, and tell of each one that is passed."""
        found, scan, expected = self._found, self._scan, 1
        segments = self._log.segments(self._name)
        for segment in segments:
            if segment.number > expected:
                self._missing(expected, segment)
            if segment.is_pruned:
                self._pruned(segment)
            else:
                self._segment(segment, is_last=segment is segments[-1])
                passed(segment)
            expected = segment.number + 1
        self._end(expected)
        found.tell(*scan.problems)
        self._gaps()
        found.leaves[self._name], found.seqs[self._name] = scan.leaves, scan.seq
        found.prunes, found.revisions = scan.prunes, scan.revisions
        return found

    def _add(
        self, damage: Damage, where: str, words: str, lines: tuple[int, int] | None = None
    ) -> None:
        message = f"{spelt_lines(*lines)}: {words}" if lines else words
        self._found.tell(Problem(damage, where, message, lines))

    def _pruned(self, segment: Segment) -> None:
        kept = read_pruned(segment.path)
        self._found.pruned[segment] = 0 if kept is None else kept.first + kept.lines - 1
        if kept is None or not self._scan.follow(kept):
            self._add(Damage.BAD_PRUNE, segment.name, "what is kept of it does not fit")

    def _segment(self, segment: Segment, *, is_last: bool) -> None:
        with open(segment.path, "rb", buffering=0) as stream:  # noqa: PTH123 - the name is a string
            self._found.segments[segment] = self._scan.segment(segment.name, stream)
        torn = self._scan.torn
        if torn and not is_last:
            self._add(Damage.EDITED, segment.name, "changed: it ends within a line")
        elif torn:
            self._found.notes.append(
                f"{segment.name}: {torn:,} bytes after the last line were not acknowledged:"
                " the writer is writing, or was killed"
            )

    def _gaps(self) -> None:
        """Repeat what the lines themselves say is not there."""
        name, notes = self._name, self._found.notes
        for seq, gap in self._scan.gaps:
            if gap.reason == "head_lost":
                words = "nothing said how far it had come: lines before this may be missing"
                self._add(Damage.MISSING_HEAD, name, words, (seq, seq))
            if gap.reason == "changed":
                words = "what it had written was no longer there as it was, and it went on behind"
                notes.append(f"{name}: line {seq}: {words}")
        unlogged = [gap for _, gap in self._scan.gaps if gap.reason == "unlogged"]
        decisions = sum(gap.decisions for gap in unlogged)
        executions = sum(gap.executions for gap in unlogged)
        if unlogged:
            counts = f"{decisions:,} decisions and {executions:,} execution events"
            notes.append(f"{name}: {counts} could not be logged; its gap lines say why")
        if torn := [gap.bytes for _, gap in self._scan.gaps if gap.reason == "torn_tail"]:
            times = f"{len(torn):,} times" if len(torn) > 1 else "once"
            notes.append(
                f"{name}: {times} a process was killed while it wrote; {sum(torn):,} bytes that"
                " nobody had been told of were cut off"
            )

    def _missing(self, expected: int, following: Segment) -> None:
        """Say which segments are missing, and go on with what the next one says."""
        scan = self._scan
        first, prev = _first(following) or (scan.seq + 1, scan.prev)
        lines = (scan.seq + 1, first - 1) if first > scan.seq + 1 else None
        self._missing_segments(expected, following.number - 1, lines)
        scan.go_on_at(first - 1, prev)

    def _missing_segments(self, first: int, last: int, lines: tuple[int, int] | None) -> None:
        for number in range(first, min(last, first + SHOWN) + 1):
            words = "the segment is missing"
            if number == first + SHOWN:
                words = f"this segment is missing, and {last - number:,} after it"
            self._add(Damage.MISSING_SEGMENT, f"{self._name}/{number}", words, lines)

    def _end(self, expected: int) -> None:
        """Compare the end of the writer with its head."""
        name, head, scan = self._name, self._head, self._scan
        self._found.acknowledged[name] = min(head.seq, scan.seq) if head else 0
        if head is None:
            is_new = self._log.head(name) is not None  # it began after we looked
            if expected > 1 and not is_new:
                self._add(Damage.MISSING_HEAD, name, "nothing says how far it had come")
            return
        lines = (scan.seq + 1, head.seq)
        if head.seq > scan.seq:
            if head.length and head.segment >= expected:
                self._missing_segments(expected, head.segment, lines)
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
