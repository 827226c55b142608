"""Going through the lines of one writer, and comparing their end with its head.

What is missing is told here, too: which segments nobody removed, and which were pruned, by whom.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct, field

from policy_router.log.damage import LOSSES, SHOWN, Damage, Places, Problem, spelt_lines
from policy_router.log.files import open_file
from policy_router.log.folder import PRUNE_WRITER, LogFolder, Segment
from policy_router.log.heads import Head
from policy_router.log.integrity.scan import Scan
from policy_router.log.integrity.signed import SignedLog
from policy_router.log.sign.growing import first_line
from policy_router.log.sign.statements import PrunedSegment, Statement


class Removal(Struct, frozen=True):
    """Segments that were pruned, which followed each other.

    Attributes:
        writer: whose they were.
        segments: the numbers of the first and the last one.
        lines: the numbers of their first and last line; None where nobody says.
        oldest: the earliest time of a line, in microseconds since 1970; 0 where nobody says.
        newest: the latest.
        said_by: the line of the log that says so, as ``prune, line 4``; empty where there is none.
        statement: the signed statement that says so; empty where there is none.
        checkpoint: the checkpoint that covers the lines; empty where none does.
    """

    writer: str
    segments: tuple[int, int]
    lines: tuple[int, int] | None
    oldest: int = 0
    newest: int = 0
    said_by: str = ""
    statement: str = ""
    checkpoint: str = ""


class Findings(Struct):
    """What the lines of a log come to.

    Attributes:
        seqs: the number of the last line of each writer.
        integrity: what is wrong with lines that are there.
        completeness: what is missing.
        authenticity: what is not as it was signed.
        notes: what is worth saying, and not wrong.
        segments: how many segments there are.
        removals: what was pruned.
        revisions: the policies that decisions are of.
        unlogged: how many decisions are not in the log, as its gaps say.
        gaps: how many gap lines there are.
        repeated: hashes of ids that several decisions may have.
    """

    seqs: dict[str, int] = field(default_factory=dict)
    integrity: list[Problem] = field(default_factory=list)
    completeness: list[Problem] = field(default_factory=list)
    authenticity: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    segments: int = 0
    removals: list[Removal] = field(default_factory=list)
    revisions: set[str] = field(default_factory=set)
    unlogged: int = 0
    gaps: int = 0
    repeated: set[int] = field(default_factory=set)

    def add(self, other: Findings) -> None:
        """Add what the lines of another writer come to."""
        for name in self.__struct_fields__:
            mine, its = getattr(self, name), getattr(other, name)
            is_union = isinstance(mine, (dict, set))
            setattr(self, name, mine | its if is_union else mine + its)

    def tell(self, *problems: Problem) -> None:
        """Add problems, each where it belongs."""
        for it in problems:
            present = self.authenticity if it.damage is Damage.REWRITTEN else self.integrity
            (self.completeness if it.damage in LOSSES else present).append(it)


class Known(Struct, frozen=True):
    """What is known before a log is gone through.

    Attributes:
        signed: what was signed.
        covered: how many lines of each writer the checkpoints of the first edition cover.
    """

    signed: SignedLog
    covered: dict[str, int] = {}


class Prunes:
    """Which segments were removed, as signed statements and lines of the log say."""

    def __init__(self, signed: Sequence[tuple[PrunedSegment, Statement]]) -> None:
        self.signed = {it.name: (it, statement.name) for it, statement in signed}
        self.said: dict[str, str] = {}

    def between(self, writer: str, first: int, last: int) -> list[int]:
        """Return the numbers of segments that are known to be removed, among some."""
        names = {*self.signed, *self.said}
        numbers = (name.rpartition("/")[2] for name in names if name.startswith(f"{writer}/"))
        return sorted(it for it in map(int, filter(str.isdigit, numbers)) if first <= it <= last)


class WriterWalk:
    """Goes through the segments of a writer, and compares their end with the writer's head."""

    def __init__(
        self,
        log: LogFolder,
        name: str,
        head: Head | None,
        known: Known,
        prunes: Prunes,
        *,
        met: Callable[[list[str]], None] | None = None,
    ) -> None:
        self._log, self._name, self._head = log, name, head
        self._known, self._prunes = known, prunes
        self._found, self._places = Findings(), Places()
        self._lines = known.signed.lines.get(name)
        self._scan = Scan(
            self._places,
            watched=head.seq if head else -1,
            wanted=head.hash if head else None,
            signed=self._lines,
            met=met,
        )

    def run(self, passed: Callable[[Segment], None]) -> Findings:
        """Go through them, and tell of each one that is passed."""
        found, scan, expected = self._found, self._scan, 1
        segments = self._log.segments(self._name)
        for segment in segments:
            if segment.number > expected:
                self._missing(expected, segment)
            with open_file(segment.path) as stream:
                scan.segment(segment.name, stream)
            self._tell_torn(segment, is_last=segment is segments[-1])
            if scan.is_lost:
                self._lost(
                    segment, next((it for it in segments if it.number > segment.number), None)
                )
            passed(segment)
            expected = segment.number + 1
        found.tell(*self._places.problems())
        self._end(expected)
        self._compare_with_signed()
        self._gaps()
        self._note_prunes()
        found.seqs[self._name] = max(scan.seq, self._head.seq if self._head else 0)
        found.revisions, found.segments = scan.revisions, len(segments)
        return found

    def missing(self) -> Findings:
        """Tell of a writer that has a head and no lines."""
        head = self._head
        last = head.segment - (0 if head.length else 1) if head else 0
        lines = (1, head.seq) if head else (1, 1)
        if self._prunes.between(self._name, 1, last):
            self._absent(1, last, lines)
            self._found.seqs[self._name] = lines[1]
        else:
            self._add(Damage.MISSING_WRITER, self._name, "the whole writer is missing", lines)
        return self._found

    def _add(
        self, damage: Damage, where: str, words: str, lines: tuple[int, int] | None = None
    ) -> None:
        message = f"{spelt_lines(*lines)}: {words}" if lines else words
        self._found.tell(Problem(damage, where, message, lines))

    def _lost(self, segment: Segment, following: Segment | None) -> None:
        """Tell that the rest of a segment was not looked at, and go on behind it."""
        scan, view = self._scan, first_line(following) if following else None
        end = self._head.seq if self._head else 0
        last = max(view.seq - 1 if view else end, scan.seq)
        self._places.add(
            Damage.EDITED, segment.name, scan.seq + 1, last + 1 if view is None else last
        )
        scan.go_on_at(view.seq - 1 if view else last, view.prev if view else "")

    def _tell_torn(self, segment: Segment, *, is_last: bool) -> None:
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
        name, found = self._name, self._found
        for seq, gap in self._scan.gaps:
            if gap.reason == "head_lost":
                words = "nothing said how far it had come: lines before this may be missing"
                self._add(Damage.MISSING_HEAD, name, words, (seq, seq))
            if gap.reason == "changed":
                words = "what it had written was no longer there as it was, and it went on behind"
                found.notes.append(f"{name}: line {seq}: {words}")
        unlogged = [gap for _, gap in self._scan.gaps if gap.reason == "unlogged"]
        found.gaps, found.unlogged = len(self._scan.gaps), sum(gap.decisions for gap in unlogged)
        executions = sum(gap.executions for gap in unlogged)
        if unlogged:
            counts = f"{found.unlogged:,} decisions and {executions:,} execution events"
            found.notes.append(f"{name}: {counts} could not be logged; its gap lines say why")
        if torn := [gap.bytes for _, gap in self._scan.gaps if gap.reason == "torn_tail"]:
            times = f"{len(torn):,} times" if len(torn) > 1 else "once"
            found.notes.append(
                f"{name}: {times} a process was killed while it wrote; {sum(torn):,} bytes that"
                " nobody had been told of were cut off"
            )

    def _note_prunes(self) -> None:
        """Remember what lines say was removed: only the lines of the writer that does it count."""
        for seq, prune in self._scan.prunes if self._name == PRUNE_WRITER else ():
            for name in prune.segments:
                self._prunes.said.setdefault(name, f"{PRUNE_WRITER}, line {seq}")

    # What is not there.

    def _missing(self, expected: int, following: Segment) -> None:
        """Say which segments are missing, and go on with what the next one says."""
        scan, view = self._scan, first_line(following)
        first, prev = (view.seq, view.prev) if view else (scan.seq + 1, scan.prev)
        lines = (scan.seq + 1, first - 1) if first > scan.seq + 1 else None
        self._absent(expected, following.number - 1, lines)
        scan.go_on_at(first - 1, prev)

    def _absent(self, first: int, last: int, lines: tuple[int, int] | None) -> int:
        """Tell of segments that are not there; return how many of them nobody removed."""
        pruned = self._prunes.between(self._name, first, last)
        for group in _groups(pruned, self._prunes, self._name):
            is_all = len(group) == last - first + 1
            self._removed(group, lines if is_all else None)
        rest = [it for it in range(first, min(last, first + SHOWN) + 1) if it not in pruned]
        for number in rest:
            words = "the segment is missing"
            if number == first + SHOWN:
                words = f"this segment is missing, and {last - number:,} after it"
            self._add(Damage.MISSING_SEGMENT, f"{self._name}/{number}", words, lines)
        return last - first + 1 - len(pruned)

    def _removed(self, numbers: Sequence[int], lines: tuple[int, int] | None) -> None:
        """Tell of segments that were pruned, and check that they were allowed to be."""
        names = [f"{self._name}/{it}" for it in numbers]
        acts = [self._prunes.signed[it] for it in names if it in self._prunes.signed]
        statement = acts[0][1] if acts else ""
        if acts and lines not in (None, (acts[0][0].first, acts[-1][0].last)):
            words = f"{statement} is about other lines"
            self._add(Damage.BAD_PRUNE, names[0], words, lines)
        lines = (acts[0][0].first, acts[-1][0].last) if acts else lines
        covered = self._covering(lines[1]) if lines else ""
        self._found.removals.append(
            Removal(
                self._name,
                (numbers[0], numbers[-1]),
                lines,
                min((it.oldest for it, _ in acts), default=0),
                max((it.newest for it, _ in acts), default=0),
                self._prunes.said.get(names[0], ""),
                statement,
                covered,
            )
        )
        if not covered:
            self._add(Damage.BAD_PRUNE, names[0], "removed, and no checkpoint covers it", lines)
        elif self._known.signed.keyring and not statement:
            words = "removed, and nobody who has the key says so"
            self._add(Damage.BAD_PRUNE, names[0], words, lines)

    def _covering(self, last: int) -> str:
        """Return the name of the first checkpoint that covers a line; empty where none does."""
        index = self._lines.place(last) if self._lines else None
        claims = self._known.signed.claims if index is not None else ()
        found = next((it.name for it in claims if it.holds and index < it.size), "")  # type: ignore[operator]
        if not found and last <= self._known.covered.get(self._name, 0):
            return "checkpoints"
        return found

    def _end(self, expected: int) -> None:
        """Compare the end of the writer with its head."""
        name, head, scan = self._name, self._head, self._scan
        if head is None:
            is_new = self._log.head(name) is not None  # it began after we looked
            if expected > 1 and not is_new:
                self._add(Damage.MISSING_HEAD, name, "nothing says how far it had come")
            return
        lines = (scan.seq + 1, head.seq)
        last = head.segment - (0 if head.length else 1)
        if head.seq > scan.seq:
            if last >= expected:
                self._absent(expected, last, lines)
            else:
                self._add(Damage.CUT_TAIL, name, "cut off: they had been acknowledged", lines)
        elif scan.watched_hash != head.hash:
            if not self._places.tells_of(head.seq):
                last_line = (head.seq, head.seq)
                self._add(Damage.EDITED, f"{name}/{head.segment}", "changed", last_line)
        elif head.segment > expected or not self._log.bears_out(name, head):
            where = f"{self._log.heads.name}/{name}"
            self._add(Damage.EDITED, where, "its last line is not where this says")

    def _compare_with_signed(self) -> None:
        """Tell where fewer lines are there than were signed, and nothing else says so."""
        seq = max(self._scan.seq, self._head.seq if self._head else 0)
        last = self._lines.covered if self._lines else 0
        if last > seq:
            words = "missing, though they were signed"
            self._add(Damage.CUT_TAIL, self._name, words, (seq + 1, last))


def _groups(numbers: Sequence[int], prunes: Prunes, writer: str) -> list[list[int]]:
    """Return numbers in groups that follow each other and were removed by the same act."""
    found: list[list[int]] = []
    for number in numbers:
        names = f"{writer}/{number - 1}", f"{writer}/{number}"
        acts = [(prunes.signed.get(it, (None, ""))[1], prunes.said.get(it)) for it in names]
        if found and found[-1][-1] == number - 1 and acts[0] == acts[1]:
            found[-1].append(number)
        else:
            found.append([number])
    return found
