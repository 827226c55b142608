"""The check of a log's meaning: was what ran what was decided?

Two passes. The first goes through windows of time, several at once, and judges each decision whose
events are in its window. What is left over, such as the end of a child in the next window, is
looked for in a second pass, which reads only the lines of the ids that are asked for.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from msgspec import UNSET, Struct, field

from policy_router.files.clock import Clock, system_clock
from policy_router.log.check.findings import UUID7, CheckReport, FindingKind, Ids, Tally
from policy_router.log.check.judging import Wrong, has_end, wrong
from policy_router.log.check.lines import (
    KINDS_WITHOUT_ID,
    CheckedLine,
    Happened,
    Made,
    checked_lines,
    made_by,
    made_of,
)
from policy_router.log.check.windows import Window, windows
from policy_router.log.entry import (
    ACCESS,
    Kind,
    LineView,
    known_views,
    microseconds,
    read_execution,
)
from policy_router.log.folder import LogFolder, Progress, readable
from policy_router.log.replay.chunks import Job, lines_about, over_all

GRACE_SECONDS: Final = 3600.0
"""How long a child may take before its decision counts as never ended."""
NO_EVENT: Final = "no event"
NO_END: Final = "no end"
_EVER: Final = -(2**63)


class _Asked(Struct, frozen=True):
    """What a check is about.

    Attributes:
        job: the log.
        since: the time of the earliest decisions that are told of, in microseconds since 1970.
        until: the time before which they are.
        ended_by: decisions until this time should have ended.
    """

    job: Job
    since: int
    until: int
    ended_by: int

    def covers(self, time: int) -> bool:
        """Tell whether what was decided, or happened, at a time is told of."""
        return self.since <= time < self.until


class _Part(Struct):
    """What a window comes to.

    Attributes:
        tally: what is wrong.
        decisions: how many decisions it has that are told of.
        executions: how many events of these.
        silent: whether it has no event at all.
        open: the decisions without an end, by whether there is any event of them.
        strays: the events whose decision is elsewhere.
        above: the decisions whose parent is elsewhere, by that.
        pruned_before: everything older may have been removed, in microseconds since 1970.
    """

    tally: Tally = field(default_factory=Tally)
    decisions: int = 0
    executions: int = 0
    silent: bool = True
    open: dict[str, Ids] = field(default_factory=lambda: {NO_EVENT: Ids(), NO_END: Ids()})
    strays: dict[str, list[Happened]] = field(default_factory=dict)
    above: dict[str, list[str]] = field(default_factory=dict)
    pruned_before: int = 0

    def add(self, other: _Part) -> None:
        """Add another window."""
        self.tally.add(other.tally)
        self.decisions += other.decisions
        self.executions += other.executions
        self.silent = self.silent and other.silent
        self.pruned_before = max(self.pruned_before, other.pruned_before)
        for name, ids in other.open.items():
            self.open[name].extend(ids)
        for id_, events in other.strays.items():
            self.strays.setdefault(id_, []).extend(events)
        for id_, children in other.above.items():
            self.above.setdefault(id_, []).extend(children)


def check_log(
    folder: str | Path,
    *,
    since: int | None = None,
    until: int | None = None,
    grace: float = GRACE_SECONDS,
    workers: int | None = None,
    progress: Progress | None = None,
    clock: Clock = system_clock,
) -> CheckReport:
    """Check whether what happened is what was decided.

    Args:
        folder: the log.
        since: the time of the earliest decisions that are told of, in microseconds since 1970;
            default: all. Their parents may be older.
        until: the time before which they are, likewise. Their children may have ended later.
        grace: seconds that a child may take before its decision counts as never ended.
        workers: the number of processes; default: the number of cores.
        progress: is called with the progress.
        clock: the time now.

    Raises:
        LogError: there is no log, or it cannot be read.
        ValueError: the grace is negative.
    """
    if not grace >= 0:
        raise ValueError("the grace is at least 0 seconds")
    log = LogFolder.existing(folder)
    now = microseconds(clock() - datetime.timedelta(seconds=grace))
    first, end = _EVER if since is None else since, -_EVER if until is None else until
    asked = _Asked(Job.of(log), first, end, now)
    spread: Any = partial(over_all, workers=workers)
    whole, found = _Part(), _Found()
    with readable(log):
        every = windows(log)
        for part in spread(partial(_first_pass, asked), every, progress=progress):
            whole.add(part)
        wanted = frozenset({*whole.strays, *whole.above})
        for lines in spread(partial(_second_pass, wanted), every) if wanted else ():
            found.add(lines)
        return _concluded(asked, whole, found)


def wrong_with(job: Job, lines: Iterable[bytes]) -> tuple[Wrong, ...]:
    """Return what is wrong with what came of one decision, as far as its own lines tell.

    Args:
        job: the log.
        lines: those about the decision.
    """
    made, events = None, list[Happened]()
    for line in known_views(lines):
        if line is None:
            continue
        if line.kind == Kind.DECISION:
            made = made or made_of(line)
        elif (execution := read_execution(line.execution)) is not None:
            events.append(Happened(line.time, execution))
    return () if made is None else tuple(sorted(wrong(job, made, events)))


# The first pass.


def _first_pass(asked: _Asked, window: Window) -> _Part:
    """Judge the decisions of a window."""
    going = _Pass(asked)
    for block in window.blocks():
        going.take(block)
    return going.judged()


class _Pass:
    """Goes through the lines of a window, and judges its decisions by their events."""

    def __init__(self, asked: _Asked) -> None:
        self._asked, self._part = asked, _Part()
        self._made: dict[str, Made] = {}
        self._events: dict[str, list[Happened]] = {}
        self._parents: list[tuple[str, str]] = []
        self._only_asked: set[str] = set()

    def take(self, block: bytes) -> None:
        """Keep each of some lines with those of its decision."""
        for place, line in enumerate(checked_lines(block)):
            if line is None or not self._takes(line):
                content = block.split(b"\n", place + 1)[place]
                self._take_in_parts(next(known_views((content,))))

    def _takes(self, line: CheckedLine) -> bool:
        """Keep a line of which all can be read; return False for another one."""
        if line.execution is not None and line.id:
            happened = Happened(line.time, line.execution)
            events = self._events.get(line.id)
            if events is None:
                self._events[line.id] = [happened]
            else:
                events.append(happened)
            return True
        if line.record is not None and line.id:
            made = made_by(line.time, line.record)
            if made is None:
                return False
            self._keep(line.id, made, line.parent, is_asked=line.purpose == ACCESS)
            return True
        if line.prune is not None:
            self._part.pruned_before = max(self._part.pruned_before, line.prune.before)
        return line.kind in KINDS_WITHOUT_ID

    def _take_in_parts(self, line: LineView | None) -> None:
        """Keep a line of which some may not be read, and say what that is."""
        part = self._part
        if line is None:
            part.tally.note(FindingKind.UNREADABLE, "line", "")
        elif line.kind == Kind.DECISION:
            self._take_decision(line)
        elif line.kind == Kind.EXECUTION:
            execution = read_execution(line.execution)
            if execution is None:
                part.executions += 1
                part.silent = False
                part.tally.note(FindingKind.UNREADABLE, "execution", line.id)
            else:
                self._events.setdefault(line.id, []).append(Happened(line.time, execution))
        elif line.prune is not UNSET:
            part.pruned_before = max(part.pruned_before, line.prune.before)

    def _take_decision(self, line: LineView) -> None:
        made = made_of(line)
        if made is None:
            self._part.decisions += 1
            self._part.tally.note(FindingKind.UNREADABLE, "record", line.id)
        else:
            self._keep(line.id, made, line.parent, is_asked=line.purpose == ACCESS)

    def _keep(self, id_: str, made: Made, parent: str, *, is_asked: bool) -> None:
        self._made[id_] = made
        if is_asked:
            self._only_asked.add(id_)
        if self._asked.covers(made.time):
            self._part.decisions += 1
            if parent:
                self._parents.append((id_, parent))

    def judged(self) -> _Part:
        """Judge the decisions, and return what the window comes to."""
        self._part.silent &= not self._events
        for id_, made in self._made.items():
            events = self._events.pop(id_, [])
            if self._asked.covers(made.time):
                self._part.executions += len(events)
                self._judge(id_, made, events)
        for id_, parent in self._parents:
            if parent not in self._made:
                self._part.above.setdefault(parent, []).append(id_)
        self._part.strays = self._events
        return self._part

    def _judge(self, id_: str, made: Made, events: list[Happened]) -> None:
        for kind, detail in wrong(self._asked.job, made, events):
            self._part.tally.note(kind, detail, id_)
        is_due = made.decided.plan and made.time <= self._asked.ended_by
        if is_due and not has_end(events) and id_ not in self._only_asked:
            self._part.open[NO_END if events else NO_EVENT].add(id_)


# The second pass.


class _Found(Struct):
    """The lines of ids that were asked for."""

    made: dict[str, Made] = field(default_factory=dict)
    events: dict[str, list[Happened]] = field(default_factory=dict)

    def add(self, other: _Found) -> None:
        """Add those of another window."""
        self.made |= other.made
        for id_, events in other.events.items():
            self.events.setdefault(id_, []).extend(events)


def _second_pass(wanted: frozenset[str], window: Window) -> _Found:
    """Return the decisions of some ids, and all of their events."""
    found = _Found()
    for line in known_views(lines_about(window.blocks(), wanted)):
        if line is None or line.id not in wanted:
            continue
        if line.kind == Kind.DECISION and (made := made_of(line)) is not None:
            found.made[line.id] = made
        elif (execution := read_execution(line.execution)) is not None:
            found.events.setdefault(line.id, []).append(Happened(line.time, execution))
    return found


# The end.


def _concluded(asked: _Asked, whole: _Part, found: _Found) -> CheckReport:
    """Return the report, with what was left over."""
    tally, pruned = whole.tally, 0
    for id_, events in whole.strays.items():
        made = found.made.get(id_)
        is_told = asked.covers(events[0].time if made is None else made.time)
        whole.executions += len(events) * is_told
        if made is not None and is_told:
            for kind, detail in _by_strays(asked.job, made, events, found.events.get(id_, [])):
                tally.note(kind, detail, id_)
        elif made is None and _was_pruned(id_, whole.pruned_before):
            pruned += is_told
        elif made is None and is_told:
            tally.note(FindingKind.NO_DECISION, "id", id_)
    for parent, children in whole.above.items():
        if parent not in found.made and not _was_pruned(parent, whole.pruned_before):
            for id_ in children:
                tally.note(FindingKind.NO_PARENT, "parent", id_)
    if not whole.silent:
        _note_open(whole, tally)
    return CheckReport(whole.decisions, whole.executions, tally.findings(), pruned, whole.silent)


def _by_strays(
    job: Job, made: Made, strays: Sequence[Happened], events: Sequence[Happened]
) -> frozenset[Wrong]:
    """Return what is wrong with a decision by events of other windows, and was not before."""
    before = list(events)
    for it in strays:
        if it in before:
            before.remove(it)
    return wrong(job, made, events) - wrong(job, made, before)


def _note_open(whole: _Part, tally: Tally) -> None:
    """Note the decisions that never ended: in no window."""
    for name, ids in whole.open.items():
        for id_ in ids:
            events = whole.strays.get(id_, ())
            if not has_end(events):
                detail = NO_END if events else name
                tally.note(FindingKind.NEVER_ENDED, detail, id_)


def _was_pruned(id_: str, before: int) -> bool:
    """Tell whether the lines of an id are so old that they were removed; its time is in it."""
    if not before or not UUID7.fullmatch(id_):
        return False
    return int(id_.replace("-", "")[:12], 16) * 1000 < before
