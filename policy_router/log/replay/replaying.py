"""Replay of a whole log: every decision made again under its own policy, and compared."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import Executor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw, Struct, field

from policy_router.decision.record import DecisionRecord
from policy_router.decision.replay import Outcome, compared, replay
from policy_router.errors import RecordError
from policy_router.log.entry import Kind, LineView, known_record_view
from policy_router.log.folder import LogFolder, Progress, readable
from policy_router.log.replay.chunks import Chunk, Job, chunks, covered_views, over_all
from policy_router.log.replay.cluster import LOCAL, executor_at
from policy_router.log.replay.decisions import (
    MOST_POLICIES,
    Decider,
    is_spelt,
    is_time,
    kept_policy,
)
from policy_router.log.replay.what_if_report import ordered

_SHOWN = 20


class Deviation(Struct, frozen=True):
    """A decision that does not come out as it is recorded.

    Attributes:
        decision_id: its id.
        outcome: what became of it.
        reason: why.
    """

    decision_id: str
    outcome: Outcome
    reason: str


class ReplayReport(Struct):
    """The result of a replay.

    Attributes:
        counts: the number of decisions for each outcome.
        reasons: the number of decisions that are not identical, for each reason.
        deviations: the first decisions that are not identical, by id.
        decided: how many requests were decided; equal requests are decided once in each process.
        unreadable: how many lines of the log cannot be read.
    """

    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    deviations: list[Deviation] = field(default_factory=list)
    decided: int = 0
    unreadable: int = 0

    @property
    def total(self) -> int:
        """How many decisions there are."""
        return sum(self.counts.values())

    @property
    def is_identical(self) -> bool:
        """Whether every decision equals its record, and every line could be read."""
        return self.counts[Outcome.IDENTICAL] == self.total and not self.unreadable

    def add(self, other: ReplayReport) -> None:
        """Add the result of another part of the log."""
        self.counts += other.counts
        self.reasons += other.reasons
        self.deviations += other.deviations
        self.decided += other.decided
        self.unreadable += other.unreadable

    def note(self, decision_id: str, outcome: Outcome, reason: str) -> None:
        """Count a decision that is not identical."""
        self.counts[outcome] += 1
        self.reasons[f"{outcome}: {reason}"] += 1
        self.deviations.append(Deviation(decision_id, outcome, reason))
        if len(self.deviations) > 2 * _SHOWN:
            self.shorten()

    def shorten(self) -> None:
        """Keep the first deviations, by their ids."""
        self.deviations = sorted(self.deviations, key=lambda it: it.decision_id)[:_SHOWN]

    def to_json(self) -> bytes:
        """Return JSON."""
        counts = {outcome.value: self.counts[outcome] for outcome in Outcome}
        plain: dict[str, Any] = msgspec.to_builtins(self)
        del plain["decided"]  # says how the work was spread, not what is in the log
        plain["reasons"] = dict(ordered(self.reasons))
        plain |= {"counts": counts, "total": self.total, "identical": self.is_identical}
        return msgspec.json.encode(plain)


def replay_log(
    folder: str | Path,
    *,
    on: str = LOCAL,
    executor: Executor | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    since: int | None = None,
    until: int | None = None,
) -> ReplayReport:
    """Repeat every decision of a log under its own policy, and compare.

    Args:
        folder: the log.
        on: where the work is done: `local`, or `dask:` and the address of a scheduler.
        executor: runs the work, in place of `on`; default for a large log: processes on all cores.
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
    work, report = partial(replay_chunk, Job.of(log, since, until)), ReplayReport()
    with readable(log), executor_at(on, log) as elsewhere:
        runs = executor or elsewhere
        for part in over_all(work, chunks(log), executor=runs, workers=workers, progress=progress):
            report.add(part)
    report.shorten()
    return report


def replay_chunk(job: Job, chunk: Chunk) -> ReplayReport:
    """Make the decisions of a piece of a log again."""
    report = ReplayReport()
    for line in covered_views(job, chunk):
        if line is None:
            report.unreadable += 1
        elif line.kind == Kind.DECISION:
            try:
                outcome, reason = _replayed(job, line, report)
            except RecordError as problem:
                outcome, reason = Outcome.NOT_REPLAYABLE, str(problem)
            if outcome is Outcome.IDENTICAL:
                report.counts[outcome] += 1
            else:
                report.note(line.id, outcome, reason)
    return report


def _replayed(job: Job, line: LineView, report: ReplayReport) -> tuple[Outcome, str]:
    """Return what became of a decision, and why where it is not identical.

    Raises:
        RecordError: it cannot be made again.
    """
    view = known_record_view(line.record)
    if view is None:
        DecisionRecord.from_json(bytes(line.record))  # says why
        raise RecordError("not a decision record")  # pragma: no cover - it has said so
    decider = _decider(job, view.policy.revision)
    if isinstance(decider, str):
        raise RecordError(decider)
    again = decider.decided(view, report) if is_time(view.now) else None
    if not _has_its_caller(line.caller, view.request):
        return Outcome.CHANGED, "the line has another caller than the request"
    is_named = view.policy.name == decider.policy.name and is_spelt(view.now)
    if is_named and again == (view.decision, view.steps):
        return Outcome.IDENTICAL, ""
    record = DecisionRecord.from_json(bytes(line.record))
    made = replay(decider.policy, record)
    if made.outcome is not Outcome.IDENTICAL:
        return made.outcome, made.reason or ""
    if made.record is not None and made.record.engine != record.engine:
        # It says the same in the words of another version, which has other optional fields.
        return Outcome.IDENTICAL, ""
    return Outcome.CHANGED, "the record is not as any version writes it"


def _has_its_caller(caller: Raw, request: Raw) -> bool:
    """Tell whether a line has the caller of a request; both are JSON with sorted keys."""
    if caller:
        return b'"caller":' + bytes(caller) in bytes(request)
    return b'"caller":{' not in bytes(request)


@lru_cache(maxsize=MOST_POLICIES)
def _decider(job: Job, revision: str) -> Decider[tuple[Raw, ...]] | str:
    policy = kept_policy(job, revision)
    return policy if isinstance(policy, str) else Decider(policy, _kept)


def _kept(record: DecisionRecord) -> tuple[Raw, ...]:
    return tuple(map(Raw, compared(record)))
