"""A report on a log, made on one pass over its lines and, for ends that came late, a second one."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection, Iterable
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

from msgspec import UNSET, Struct, field

from policy_router.errors import LogError
from policy_router.log.entry import ACCESS, Kind, LineView, known_views
from policy_router.log.folder import LogFolder, Progress, readable
from policy_router.log.replay.chunks import Chunk, Job, chunks, lines_about, over_all
from policy_router.log.report.cases import Case, Choice, case_reader, in_order
from policy_router.log.report.cost_status import Run, read_run
from policy_router.log.report.dimensions import DIMENSIONS, Dimensions, Filter
from policy_router.log.report.kinds import KINDS, Key, is_denied
from policy_router.log.report.pending import Pending, is_of_part

MOST_ROWS = 50_000
"""How many rows a report may have: they are kept in memory."""
_DECISION: Final = Kind.DECISION.value
_STATUS: Final = b'"status":"'
"""What the end of a child has; a call has a number there."""
Counts: TypeAlias = Counter[str]
"""Decisions by what is counted of them, and sums of tokens and nano-dollars."""


class Question(Struct, frozen=True):
    """What a report is about: the kind, the columns of its rows, and which decisions."""

    kind: str
    by: Dimensions
    chosen: Filter = Filter()


class Tally(Struct):
    """What pieces of a log come to.

    Attributes:
        rows: what is counted in each row.
        total: what is counted of all decisions.
        revisions: the policies that decided, and their names.
        first: the time of the first decision; None without any.
        last: the time of the last one.
        unreadable: lines and records that cannot be read.
        unlogged: decisions that are not in the log, as its gaps say.
        pending: ends whose decision is in another piece of the log, by its id.
    """

    rows: dict[Key, Counts] = field(default_factory=dict)
    total: Counts = field(default_factory=Counter)
    revisions: dict[str, str] = field(default_factory=dict)
    first: int | None = None
    last: int | None = None
    unreadable: int = 0
    unlogged: int = 0
    pending: dict[str, list[Run]] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        """Add what another part of the log comes to, but for what is pending."""
        for key, counts in other.rows.items():
            _add(self.row(key), counts)
        _add(self.total, other.total)
        self.revisions |= other.revisions
        for time in (other.first, other.last):
            self.see(time)
        self.unreadable += other.unreadable
        self.unlogged += other.unlogged

    def row(self, key: Key) -> Counts:
        """Return the row of a key."""
        found = self.rows.get(key)
        if found is None:
            found = self.rows[key] = Counter()
        return found

    def see(self, time: int | None) -> None:
        """Notice the time of a decision."""
        if time is not None:
            self.first = time if self.first is None else min(self.first, time)
            self.last = time if self.last is None else max(self.last, time)


def tally_log(
    folder: LogFolder,
    job: Job,
    question: Question,
    *,
    executor: Executor | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Tally:
    """Count what a report asks for.

    Raises:
        LogError: it has too many rows.
    """
    spread = partial(over_all, executor=executor, workers=workers)
    found, pending = Tally(), Pending()
    with readable(folder):
        pieces = chunks(folder)
        for part in spread(partial(tally_chunk, job, question), pieces, progress=progress):
            pending.take(part.pending)
            found.add(part)
            _check_rows(folder, found)
        for number in range(pending.parts):
            if number:
                gather = partial(pending_chunk, job, question, pending.parts, number)
                pending.ends = {}
                for ends in spread(gather, pieces):
                    for decision_id, runs in ends.items():
                        pending.ends.setdefault(decision_id, []).extend(runs)
            if pending.ends:
                late = partial(late_chunk, job, question, pending.ends)
                left = _add_late(found, pending.ends, spread(late, pieces))
                if question.chosen.is_everything:
                    _add_orphans(found, job, left)
                _check_rows(folder, found)
    return found


def _check_rows(folder: LogFolder, found: Tally) -> None:
    if len(found.rows) > MOST_ROWS:
        reason = f"the report has more than {MOST_ROWS:,} rows: group it by less"
        raise LogError(str(folder.path), reason)


def _add_late(
    found: Tally, ends: dict[str, list[Run]], parts: Iterable[dict[str, Tally]]
) -> dict[str, list[Run]]:
    """Count ends with their decisions, and return those that have none in the log."""
    left = dict(ends)
    for part in parts:
        for decision_id, tally in part.items():
            if decision_id in left:  # an id that several decisions have counts once
                del left[decision_id]
                found.add(tally)
    return left


def _add_orphans(found: Tally, job: Job, left: dict[str, list[Run]]) -> None:
    """Count ends whose decisions are not in the log, by their own times."""
    meant = {key: [it for it in runs if job.covers(it.time)] for key, runs in left.items()}
    meant = {key: runs for key, runs in meant.items() if runs}
    runs = [run for each in meant.values() for run in each]
    nano = sum(run.nano or 0 for run in runs)
    found.total.update(orphans=len(meant), orphan_runs=len(runs), orphan_nano_usd=nano)


# --- One piece of the log -------------------------------------------------------------------------


class _Piece(Struct):
    """What is in a piece of a log.

    Attributes:
        cases: the decisions.
        here: by id, the first decision of each; None for one that is not meant.
        ends: what came of decisions, by their ids.
    """

    cases: list[Case] = field(default_factory=list)
    here: dict[str, Case | None] = field(default_factory=dict)
    ends: dict[str, list[Run]] = field(default_factory=dict)


def tally_chunk(job: Job, question: Question, chunk: Chunk) -> Tally:
    """Count what a piece of a log comes to."""
    found = Tally()
    piece = _read(job, chunk, found)
    for decision_id, runs in piece.ends.items():
        if (case := piece.here.get(decision_id)) is not None:
            case.runs = in_order(runs)
        elif decision_id not in piece.here:
            found.pending[decision_id] = runs
    counter = _Counter(question)
    for case in piece.cases:
        counter.add(case)
    counter.put_into(found)
    return found


def pending_chunk(
    job: Job, question: Question, parts: int, part: int, chunk: Chunk
) -> dict[str, list[Run]]:
    """Return the ends whose decisions are elsewhere, of one part of all ids."""
    ends = tally_chunk(job, question, chunk).pending
    return {key: runs for key, runs in ends.items() if is_of_part(key, parts, part)}


def late_chunk(
    job: Job, question: Question, pending: dict[str, list[Run]], chunk: Chunk
) -> dict[str, Tally]:
    """Return, for decisions of a piece whose ends are elsewhere, what these add."""
    piece = _read(job, chunk, Tally(), only=pending)
    changed = {}
    for decision_id, case in piece.here.items():
        changed[decision_id] = tally = Tally()
        if case is not None:
            here = piece.ends.get(decision_id, [])
            counter = _Counter(question)
            case.runs = in_order(here)
            counter.add(case, -1)
            case.runs = in_order(here + pending[decision_id])
            counter.add(case)
            counter.put_into(tally)
    return changed


def _read(job: Job, chunk: Chunk, found: Tally, only: Collection[str] | None = None) -> _Piece:
    """Read a piece of a log: all of it, or what is about some decisions only."""
    piece, reader, writer = _Piece(), case_reader(job), Path(chunk.path).parent.name
    lines = chunk.views() if only is None else known_views(lines_about(chunk.blocks(), only))
    for line in lines:
        if line is None:
            found.unreadable += 1
        elif only is not None and line.id not in only:
            continue
        elif line.kind == _DECISION:
            is_meant = line.purpose != ACCESS and job.covers(line.time)
            case = reader.case(line, writer) if is_meant else None
            if case is not None:
                piece.cases.append(case)
            elif is_meant:
                found.unreadable += 1
            piece.here.setdefault(line.id, case)
        elif line.execution:
            _read_end(line, piece, found)
        elif line.gap is not UNSET:
            found.unlogged += line.gap.decisions
    return piece


def _read_end(line: LineView, piece: _Piece, found: Tally) -> None:
    content = bytes(line.execution)
    if _STATUS not in content:
        return
    try:
        run = read_run(line.time, content)
    except ValueError:
        found.unreadable += 1
    else:
        if run is not None:
            piece.ends.setdefault(line.id, []).append(run)


_NUMBERS: Final = (
    *("decisions", "runs", "measured_nano_usd", "estimated_nano_usd"),
    *("input_tokens", "output_tokens"),
)
"""What is summed of the decisions that count alike."""


class _Counter:
    """Counts decisions: those first that are alike in all that a report looks at."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._kind = KINDS[question.kind]
        self._by = [DIMENSIONS[name] for name in question.by]
        self._alike: dict[tuple[Any, ...], list[int]] = {}
        self._rows: dict[Any, tuple[tuple[Key, str], ...]] = {}
        self._is_everything = question.chosen.is_everything
        self._seen: set[Choice] = set()
        self._first, self._last = sys.maxsize, -sys.maxsize

    def add(self, case: Case, times: int = 1) -> None:
        """Count a decision, if it is meant; or take it away again."""
        if not (self._is_everything or self._question.chosen.fits(case)):
            return
        if times > 0:
            self._seen.add(case.choice)
            self._first, self._last = min(self._first, case.time), max(self._last, case.time)
        status, measured, estimated = case.cost()
        alike = self._kind.alike_by(case)
        if alike not in self._rows:
            self._rows[alike] = tuple(self._kind.rows(case))
        outcome, runs = case.choice.decision.outcome, case.runs
        by = [part(case) for part in self._by]
        key = (alike, *by, outcome, status, is_denied(case), not runs)
        sums = self._alike.get(key)
        if sums is None:
            sums = self._alike[key] = [0] * len(_NUMBERS)
        sums[0] += times
        if runs:
            sums[1] += times * len(runs)
            sums[2] += times * measured
            sums[3] += times * estimated
            for run in runs:
                sums[4] += times * (run.input_tokens or 0)
                sums[5] += times * (run.output_tokens or 0)

    def put_into(self, found: Tally) -> None:
        """Put what was counted into rows, and into the total."""
        if self._seen:
            found.revisions |= {it.revision: it.policy for it in self._seen}
            found.see(self._first)
            found.see(self._last)
        for (alike, *by, outcome, status, is_late, never_ended), sums in self._alike.items():
            counts = dict(zip(_NUMBERS, sums, strict=True))
            words = [outcome, status.value, *["denied"] * is_late, *["ended"] * (not never_ended)]
            counts |= dict.fromkeys(words, sums[0])
            _add(found.total, counts)
            for names, became in self._rows[alike]:
                row = found.row((*names, *by))
                if self._kind.has_costs:
                    _add(row, counts)
                else:
                    row["decisions"] += sums[0]
                    if became:
                        row[became] += sums[0]


def _add(counts: Counts, other: dict[str, int]) -> None:
    """Add numbers, most of which are often zero: a counter's own way takes longer."""
    for name, number in other.items():
        if number:
            counts[name] = counts.get(name, 0) + number
