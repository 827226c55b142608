"""What another policy would have decided, of all that a log holds.

Equal requests are decided once, in each process that takes part, and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias

import msgspec
from msgspec import Raw, Struct, UnsetType

from policy_router.decision.compare import REFUSED, UNFIT, Flip, cause, named
from policy_router.decision.record import Decision, DecisionRecord, Target
from policy_router.domain import Policy
from policy_router.errors import RecordError
from policy_router.files.loader import loads
from policy_router.log.entry import (
    ACCESS,
    Kind,
    LineView,
    RecordView,
    known_record_view,
    read_execution,
)
from policy_router.log.folder import LogFolder, Progress, readable
from policy_router.log.replay.chunks import Chunk, Job, chunks, covered_views, over_all
from policy_router.log.replay.cluster import LOCAL, executor_at
from policy_router.log.replay.decisions import (
    MOST_KEPT,
    Decider,
    is_time,
    kept_policy,
)
from policy_router.log.replay.what_if_money import Money, Pricing, Runs, Used, used
from policy_router.log.replay.what_if_report import Example, WhatIf


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

    Raises:
        LogError: there is no log, or the cluster fails.
        RequestError: there is no such place.
        ModuleNotFoundError: the extra for clusters is not installed.
    """
    log = LogFolder.existing(folder)
    job = Job.of(log, since, until)
    report = WhatIf(policy.name, policy.revision)
    work = partial(what_if_chunk, job, policy.canonical)
    with readable(log), executor_at(on, log) as elsewhere:
        spread = partial(over_all, executor=executor or elsewhere, workers=workers)
        pieces = chunks(log)
        for part in spread(work, pieces, progress=progress):
            report.add(part)
        if report.pending:
            # Children that ended in another piece of the log than they were decided in.
            rest = partial(_late_chunk, job, policy.canonical, report.pending)
            report.pending = {}
            for money in spread(rest, pieces):
                report.money.add(money)
    return report


# One piece of the log.


class _Group(Struct, frozen=True):
    """Equal requests that were decided alike.

    Attributes:
        flip: from what to what.
        pricing: what prices them.
        estimated: what one of them costs by the task's estimate.
        key: tells groups apart.
        is_otherwise: whether something but the target differs.
    """

    flip: Flip
    pricing: Pricing
    estimated: Money
    key: bytes
    is_otherwise: bool = False


class _Tally(Struct):
    """How many of a group there are in a piece, and the id of the first of them."""

    group: _Group
    first: str
    count: int = 0


@lru_cache(maxsize=4)
def _other(canonical: bytes) -> Policy:
    return loads(canonical, name="policy.json")


_Key: TypeAlias = tuple[str, str, bytes, bytes, bytes, str]
"""Policy, request, decision and steps as they are stored, and the time where it matters."""


class _Pass:
    """Goes through pieces of a log with another policy; one is kept in each process."""

    def __init__(self, job: Job, canonical: bytes) -> None:
        self.job = job
        self.other = Decider(_other(canonical), lambda record: record)
        self.groups: dict[_Key, _Group] = {}

    def group(self, content: Raw, report: WhatIf) -> _Group | None:
        """Return the group of a record; None where it cannot be read."""
        view = known_record_view(content)
        if view is None or not is_time(view.now):
            return None
        parts = bytes(view.request), bytes(view.decision), bytes(view.steps)
        key = (view.policy.name, view.policy.revision, *parts, self.other.time_of(view))
        found = self.groups.get(key)
        if found is None:
            if len(self.groups) >= MOST_KEPT:
                self.groups = {}
            try:
                found = self.groups[key] = self.new_group(content, view, key, report)
            except RecordError:
                return None
        return found

    def new_group(self, content: Raw, view: RecordView, key: _Key, report: WhatIf) -> _Group:
        """Return the group of a record.

        Raises:
            RecordError: it cannot be read.
        """
        record = DecisionRecord.from_json(bytes(content))
        made = self.other.decided(view, report)
        kept = kept_policy(self.job, view.policy.revision)
        before, after = None if isinstance(kept, str) else kept, self.other.policy
        was = _target(record.decision)
        if made is None:
            flip = Flip(named(record.decision), UNFIT, "the request does not fit the policy")
            pricing = Pricing(before, after, was, None, is_fit=False)
            return _Group(flip, pricing, Money(unknown=1), _name(key, b""))
        pricing = Pricing(before, after, was, _target(made.decision), is_fit=True)
        flip = _flip(record, made)
        is_otherwise = flip.before == flip.after and made.decision != record.decision
        tokens = record.request.get("task", {}).get("input_tokens")
        name = _name(key, msgspec.json.encode((flip.rule, made.decision)))
        return _Group(flip, pricing, pricing.estimated(tokens), name, is_otherwise)


@lru_cache(maxsize=4)
def _pass(job: Job, canonical: bytes) -> _Pass:
    return _Pass(job, canonical)


def _views(job: Job, chunk: Chunk) -> Iterator[LineView | None]:
    """Yield the lines of a piece, but for decisions that nothing runs by."""
    views = covered_views(job, chunk)
    return (it for it in views if it is None or it.purpose != ACCESS)


def what_if_chunk(job: Job, canonical: bytes, chunk: Chunk) -> WhatIf:
    """Count what a piece of a log comes to."""
    going, report = _pass(job, canonical), WhatIf()
    groups: dict[str, _Group] = {}
    uses: dict[str, Runs] = {}
    met: dict[bytes, _Tally] = {}
    for line in _views(job, chunk):
        if line is None:
            report.unreadable += 1
        elif line.kind == Kind.DECISION:
            group = going.group(line.record, report)
            if group is None:
                report.unreadable += 1
                continue
            groups[line.id] = group
            tally = met.get(group.key)
            if tally is None:
                tally = met[group.key] = _Tally(group, line.id)
            tally.count += 1
        elif (run := _run(line, report)) is not None:
            uses[line.id] = (*uses.get(line.id, ()), run)
    for decision_id, runs in uses.items():
        ran = groups.get(decision_id)
        if ran is None:
            report.pending[decision_id.encode()] = runs
        else:
            _replace_estimate(report.money, ran, ran.pricing.measured(runs))
    for tally in met.values():
        _count(report, tally)
    return report


def _late_chunk(job: Job, canonical: bytes, pending: dict[bytes, Runs], chunk: Chunk) -> Money:
    """Count the tokens of children that were decided in a piece, and ended in another."""
    going, money, aside = _pass(job, canonical), Money(), WhatIf()
    groups: dict[bytes, _Group] = {}
    here: dict[bytes, Runs] = {}
    for line in _views(job, chunk):
        if line is None or (decision_id := line.id.encode()) not in pending:
            continue
        if line.kind == Kind.DECISION:
            group = going.group(line.record, aside)
            if group is not None:
                groups[decision_id] = group
        elif (run := _run(line, aside)) is not None:
            here[decision_id] = (*here.get(decision_id, ()), run)
    for decision_id, group in groups.items():
        before, late = here.get(decision_id), pending[decision_id]
        if before is None:
            _replace_estimate(money, group, group.pricing.measured(late))
        else:  # a child that ended here, and again in another piece
            money.add(group.pricing.measured(before), -1)
            money.add(group.pricing.measured(before + late))
    return money


def _run(line: LineView, report: WhatIf) -> Used | None:
    """Return what a line says that a child used."""
    if not line.execution:
        return None
    execution = read_execution(line.execution)
    if execution is None:
        report.unreadable += 1
        return None
    return used(execution)


def _replace_estimate(money: Money, group: _Group, measured: Money) -> None:
    """Count what was measured in place of what was estimated."""
    money.add(group.estimated, -1)
    money.add(measured)


def _count(report: WhatIf, tally: _Tally) -> None:
    group, count = tally.group, tally.count
    flip = group.flip
    report.matrix[flip.before, flip.after] += count
    report.money.add(group.estimated, count)
    report.otherwise += group.is_otherwise * count
    if flip.before == flip.after:
        return
    report.causes[flip.rule] += count
    report.unfit += (flip.after == UNFIT) * count
    report.gained += (flip.after == REFUSED) * count
    report.lost += (flip.before == REFUSED and flip.after != UNFIT) * count
    report.note(group.key, Example(count, tally.first, flip))


def _name(key: _Key, made: bytes) -> bytes:
    """Return what tells a group apart: equal requests with equal ends, whenever that was."""
    policy = msgspec.json.encode(key[:2])
    return sha256(b"\n".join((policy, *key[2:5], made))).digest()[:16]


def _flip(record: DecisionRecord, made: DecisionRecord) -> Flip:
    before, after = named(record.decision), named(made.decision)
    return Flip(before, after, "" if before == after else cause(record, made))


def _target(decision: Decision) -> Target | None:
    return None if isinstance(decision.target, UnsetType) else decision.target
