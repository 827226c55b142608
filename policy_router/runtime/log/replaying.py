"""Replay of a whole log: every decision made again under its own policy, and compared."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import Executor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from policy_router.decision.evaluator import decide
from policy_router.decision.record import DecisionRecord
from policy_router.decision.replay import Outcome, compared, replay
from policy_router.decision.request import Request
from policy_router.decision.what_if import reads_now
from policy_router.domain import Policy
from policy_router.errors import RecordError, RequestError
from policy_router.runtime.log.chunks import Chunk, Job, chunks, over_all
from policy_router.runtime.log.entry import (
    Kind,
    LineView,
    is_time,
    policy_name,
    record_view,
    view_of,
)
from policy_router.runtime.log.folder import LogFolder, Progress, readable
from policy_router.runtime.log.policies import PolicyStore
from policy_router.runtime.log.what_if_report import ordered

_SHOWN = 20
_MOST_KEPT = 100_000
_MOST_POLICIES = 1_000


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
    """What a replay came to.

    Attributes:
        counts: how many decisions came to what.
        reasons: how many of those that are not identical are so for a reason.
        deviations: the first of them, by id.
        decided: how many were decided; equal ones are decided once in each process.
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
        """Whether every decision came out as it is recorded, and every line could be read."""
        return self.counts[Outcome.IDENTICAL] == self.total and not self.unreadable

    def add(self, other: ReplayReport) -> None:
        """Add what another piece of the log came to."""
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
        plain["reasons"] = dict(ordered(self.reasons))
        plain |= {"counts": counts, "total": self.total, "identical": self.is_identical}
        return msgspec.json.encode(plain)


def replay_log(
    folder: str | Path,
    *,
    executor: Executor | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> ReplayReport:
    """Make every decision of a log again under its own policy.

    Args:
        folder: the log.
        executor: does it; processes on all cores unless given, for a large log.
        workers: how many processes; as many as there are cores unless given.
        progress: is told how far it is.

    Raises:
        LogError: there is no log.
    """
    log = LogFolder.existing(folder)
    work = partial(replay_chunk, Job.of(log))
    report = ReplayReport()
    spread = partial(over_all, executor=executor, workers=workers, progress=progress)
    with readable(log):
        for part in spread(work, chunks(log)):
            report.add(part)
    report.shorten()
    return report


def replay_chunk(job: Job, chunk: Chunk) -> ReplayReport:
    """Make the decisions of a piece of a log again."""
    report = ReplayReport()
    for content in chunk.lines():
        line = view_of(content)
        if line is None or not line.can_be_read:
            report.unreadable += 1
        elif line.kind == Kind.DECISION:
            _replay_line(report, job, line)
    return report


def _replay_line(report: ReplayReport, job: Job, line: LineView) -> None:
    record = record_view(line.record)
    name = policy_name(record.policy) if record else None
    if record is None or name is None or not record.is_known:
        report.note(line.id, Outcome.NOT_REPLAYABLE, _unread(line))
        return
    kept = kept_policy(job, name.revision)
    if isinstance(kept, str):
        report.note(line.id, Outcome.NOT_REPLAYABLE, kept)
        return
    key = (bytes(record.request), record.now if kept.reads_now else "")
    again = kept.again.get(key) if is_time(record.now) else None
    if again is None:
        report.decided += 1
        again = _again(kept.policy, key[0], record.now)
        if again is not None:  # what is wrong may be this record's time, not the request
            kept.remember(key, again)
    if again == (bytes(record.decision), bytes(record.steps)):
        report.counts[Outcome.IDENTICAL] += 1
        return
    _deviation(report, kept.policy, line)


def _unread(line: LineView) -> str:
    """Return why a record cannot be read."""
    try:
        DecisionRecord.from_json(bytes(line.record))
    except RecordError as problem:
        return str(problem)
    return "not a decision record"  # pragma: no cover - what cannot be read in part cannot at all


def _again(policy: Policy, request: bytes, now: str) -> tuple[bytes, bytes] | None:
    try:
        return compared(decide(policy, Request.from_json(request), now=now))
    except RequestError:
        return None


def _deviation(report: ReplayReport, policy: Policy, line: LineView) -> None:
    """Tell what a decision came to that is not byte for byte the same."""
    try:
        record = DecisionRecord.from_json(bytes(line.record))
    except RecordError as problem:
        report.note(line.id, Outcome.NOT_REPLAYABLE, str(problem))
        return
    made = replay(policy, record)
    if made.outcome is not Outcome.IDENTICAL:
        report.note(line.id, made.outcome, made.reason or "")
    elif made.record is not None and made.record.engine != record.engine:
        # It says the same in the words of another version, which has other optional fields.
        report.counts[Outcome.IDENTICAL] += 1
    else:
        report.note(line.id, Outcome.CHANGED, "the record is not as any version writes it")


class Kept:
    """A policy of a log, with what it decided. Safe to share between threads."""

    def __init__(self, policy: Policy) -> None:
        """Begin with nothing decided."""
        self.policy = policy
        self.reads_now = reads_now(policy)
        self.again: dict[tuple[bytes, str], tuple[bytes, bytes]] = {}

    def remember(self, key: tuple[bytes, str], again: tuple[bytes, bytes]) -> None:
        """Remember a decision; not more of them than fit into memory."""
        if len(self.again) >= _MOST_KEPT:
            self.again = {}
        self.again[key] = again


@lru_cache(maxsize=_MOST_POLICIES)
def kept_policy(job: Job, revision: str) -> Kept | str:
    """Return the policy of a revision, or why there is none."""
    try:
        return Kept(PolicyStore(LogFolder(job.folder)).load(revision))
    except RecordError as problem:
        return str(problem)
