"""What another policy would have decided, of all that a log holds.

Equal requests are decided once, in each process that takes part, and counted. Budgets are not
simulated: each request says what was spent when it was decided.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

from msgspec import Struct, field

from policy_router.decision.compare import REFUSED, UNFIT
from policy_router.domain import Policy
from policy_router.log.entry import ACCESS, Kind, LineView, read_execution
from policy_router.log.folder import LogFolder, Progress, readable
from policy_router.log.replay.chunks import Chunk, Job, chunks, over_all
from policy_router.log.replay.cluster import LOCAL, executor_at
from policy_router.log.replay.what_if_groups import Group, group_reader
from policy_router.log.replay.what_if_money import Money, Runs, Used, used
from policy_router.log.replay.what_if_report import Example, FlipRow, WhatIf
from policy_router.log.report.cases import case_reader, read_caller
from policy_router.log.report.dimensions import Filter


class _Question(Struct, frozen=True):
    """What is asked of each piece.

    Attributes:
        job: which log, and which times.
        canonical: the other policy.
        chosen: which decisions.
    """

    job: Job
    canonical: bytes
    chosen: Filter


def what_if(
    folder: str | Path,
    policy: Policy,
    *,
    on: str = LOCAL,
    executor: Executor | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    since: int | None = None,
    until: int | None = None,
    where: Filter | None = None,
    on_flip: Callable[[FlipRow], None] | None = None,
) -> WhatIf:
    """Decide every request of a log by another policy, and compare.

    Args:
        folder: the log.
        policy: the other policy.
        on: where the work is done: `local`, or `dask:` and the address of a scheduler.
        executor: runs the work, in place of `on`, in this process, in others or on other machines;
            default for a large log: processes on all cores.
        workers: the number of processes; default: the number of cores.
        progress: is called with the progress.
        since: the time of the earliest decisions that count, in microseconds since 1970; default:
            all.
        until: the time before which decisions count, likewise.
        where: which decisions count, by what was decided; default: all.
        on_flip: is called with each decision that would differ, writer by writer.

    Raises:
        LogError: there is no log, or the cluster fails.
        RequestError: there is no such place, or `where` asks for what came of decisions.
        ModuleNotFoundError: the extra for clusters is not installed.
    """
    log = LogFolder.existing(folder)
    chosen = (where or Filter()).of_decisions("where")
    question = _Question(Job.of(log, since, until), policy.canonical, chosen)
    report = WhatIf(policy.name, policy.revision)
    with readable(log), executor_at(on, log) as elsewhere:
        spread = partial(over_all, executor=executor or elsewhere, workers=workers)
        pieces = chunks(log)
        for part in spread(partial(what_if_chunk, question), pieces, progress=progress):
            report.add(part)
        # Children that ended in another piece of the log than they were decided in.
        late, report.pending = report.pending, {}
        if late:
            for part in spread(partial(_late_chunk, question, late), pieces):
                report.add(part)
        if on_flip is not None:
            for rows in spread(partial(_flips, question, late), pieces):
                for row in rows:
                    on_flip(row)
    return report


# One piece of the log.


class _Tally(Struct):
    """How many of a group there are in a piece, and the id of the first of them."""

    group: Group
    first: str
    count: int = 0


class _Piece(Struct):
    """What is in a piece of a log.

    Attributes:
        decided: the decisions that are meant, with their groups.
        groups: by id, the group of a decision; None for one that is not meant.
        runs: by id, the runs of children.
    """

    decided: list[tuple[LineView, Group]] = field(default_factory=list)
    groups: dict[str, Group | None] = field(default_factory=dict)
    runs: dict[str, Runs] = field(default_factory=dict)


def what_if_chunk(question: _Question, chunk: Chunk) -> WhatIf:
    """Count what a piece of a log comes to."""
    report = WhatIf()
    piece, met = _read(question, chunk, report), dict[int, _Tally]()
    for line, group in piece.decided:
        tally = met.get(id(group))
        if tally is None:
            tally = met[id(group)] = _Tally(group, line.id)
        tally.count += 1
        if group.is_flip:
            caller = read_caller(line.caller)
            is_refusal = group.flip.after == REFUSED
            report.ask(caller.team, caller.id, is_refusal=is_refusal)
    for decision_id, runs in piece.runs.items():
        if decision_id not in piece.groups:
            report.pending[decision_id.encode()] = runs
        elif (ran := piece.groups[decision_id]) is not None:
            _replace(report, ran, ran.estimated, ran.pricing.measured(runs))
    for tally in met.values():
        _count(report, tally)
    return report


def _read(
    question: _Question, chunk: Chunk, report: WhatIf, only: dict[bytes, Runs] | None = None
) -> _Piece:
    """Read a piece: all of it, or what is about some decisions only."""
    piece = _Piece()
    reader = group_reader(question.job, question.canonical)
    for line in chunk.views():
        if line is None:
            report.unreadable += 1
        elif only is not None and line.id.encode() not in only:
            continue
        elif line.kind == Kind.DECISION:
            group = None
            if _is_meant(question, line, chunk):
                group = reader.group(line.record, report)
                report.unreadable += group is None
            if group is not None:
                piece.decided.append((line, group))
            piece.groups.setdefault(line.id, group)
        elif (run := _run(line, report)) is not None:
            piece.runs[line.id] = (*piece.runs.get(line.id, ()), run)
    return piece


def _is_meant(question: _Question, line: LineView, chunk: Chunk) -> bool:
    """Tell whether a decision counts; what nothing runs by does not."""
    if line.purpose == ACCESS or not question.job.covers(line.time):
        return False
    if not question.chosen.wanted:
        return True
    case = case_reader(question.job).case(line, Path(chunk.path).parent.name)
    return case is None or question.chosen.fits(case)


def _late_chunk(question: _Question, late: dict[bytes, Runs], chunk: Chunk) -> WhatIf:
    """Count the tokens of children that were decided in a piece, and ended in another."""
    report = WhatIf()
    piece = _read(question, chunk, WhatIf(), late)
    for decision_id, group in piece.groups.items():
        if group is not None:
            here, more = piece.runs.get(decision_id), late[decision_id.encode()]
            before = group.estimated if here is None else group.pricing.measured(here)
            _replace(report, group, before, group.pricing.measured((*(here or ()), *more)))
    return report


def _flips(question: _Question, late: dict[bytes, Runs], chunk: Chunk) -> list[FlipRow]:
    """Return the decisions of a piece that would differ, each with its money."""
    piece, rows = _read(question, chunk, WhatIf()), []
    for line, group in piece.decided:
        if group.is_flip:
            runs = (*piece.runs.get(line.id, ()), *late.get(line.id.encode(), ()))
            money = group.pricing.measured(runs) if runs else group.estimated
            rows.append(_flip_row(line, group, money))
    return rows


def _flip_row(line: LineView, group: Group, money: Money) -> FlipRow:
    caller, flip = read_caller(line.caller), group.flip
    return FlipRow(
        line.time,
        line.id,
        caller.team,
        caller.id,
        flip.before,
        flip.after,
        flip.rule,
        group.work(money).value,
        money.known,
        None if money.unknown else money.before,
        None if money.unknown else money.after,
    )


def _run(line: LineView, report: WhatIf) -> Used | None:
    """Return what a line says that a child used."""
    if not line.execution:
        return None
    execution = read_execution(line.execution)
    if execution is None:
        report.unreadable += 1
        return None
    return used(execution)


def _replace(report: WhatIf, group: Group, before: Money, after: Money) -> None:
    """Count what is known now in place of what was known of a decision."""
    report.pay(group.work(before).value, before, -1)
    report.pay(group.work(after).value, after)


def _count(report: WhatIf, tally: _Tally) -> None:
    group, count = tally.group, tally.count
    flip = group.flip
    report.matrix[flip.before, flip.after] += count
    report.pay(group.work(group.estimated).value, group.estimated, count)
    report.otherwise += group.is_otherwise * count
    if not group.is_flip:
        return
    report.causes[flip.rule] += count
    report.unfit += (flip.after == UNFIT) * count
    report.gained += (flip.after == REFUSED) * count
    report.lost += (flip.before == REFUSED and flip.after != UNFIT) * count
    report.note(group.key, Example(count, tally.first, flip))
