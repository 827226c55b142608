"""A decision with what came of it: what every report counts.

The lines of a piece of a log are read by :class:`LineView`, and what is equal in many records is
read once: the decision and the steps.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from policy_router.decision.compare import named, target_name
from policy_router.decision.record import SCHEMA, Decision, Step, Target
from policy_router.domain import Policy
from policy_router.log.entry import (
    ACCESS,
    UNREADABLE,
    LineView,
)
from policy_router.log.replay.chunks import Job
from policy_router.log.replay.decisions import kept_policy
from policy_router.log.report.cost_status import CaseCost, Run, cost_of, worst

MOST_CHOICES = 5_000
"""How many different decisions, each with its steps, a process remembers."""
NOT_KNOWN: Final = "-"
"""What stands where a line does not say something."""


class CallerView(Struct, frozen=True, gc=False):
    """Who asked."""

    id: str = ""
    team: str = ""


class Wish(Struct, frozen=True, gc=False):
    """What an agent asked for at a level."""

    model: str = ""
    provider: str = ""

    @property
    def name(self) -> str:
        """How the wish is called; empty where nothing was asked for."""
        return f"{self.model} at {self.provider}" if self.model and self.provider else self._one

    @property
    def _one(self) -> str:
        return self.model or (f"any at {self.provider}" if self.provider else "")


class _Task(Wish, frozen=True, gc=False):
    kind: str = ""
    labels: tuple[str, ...] = ()
    input_tokens: int | None = None


class RequestView(Struct, frozen=True, gc=False):
    """What is read of a request for a report."""

    caller: CallerView = CallerView()
    call: Wish = Wish()
    task: _Task = _Task()


class _Policy(Struct, frozen=True, gc=False):
    name: str
    revision: str


class _Record(Struct, frozen=True, gc=False):
    """What is read of a record, in the order that it has; it has all of this."""

    decision: Raw
    engine: Raw
    policy: _Policy
    request: RequestView
    schema: str
    steps: Raw


class Choice(Struct, frozen=True, eq=False):
    """What equal decisions have in common.

    Attributes:
        policy: the name of the policy.
        revision: its revision.
        decision: the outcome.
        steps: the steps.
        name: how the outcome is called: its target, or ``(refused)``.
        targets: its target and its fallbacks, by model and provider.
    """

    policy: str
    revision: str
    decision: Decision
    steps: tuple[Step, ...]
    name: str
    targets: dict[tuple[str, str], Target]

    @property
    def target(self) -> Target | None:
        """What was selected; None where refused."""
        target = self.decision.target
        return None if isinstance(target, UnsetType) else target

    @property
    def entries(self) -> set[str]:
        """The entries of its target and of its fallbacks."""
        return {it.entry for it in self.targets.values() if isinstance(it.entry, str)}


class Case(Struct, eq=False, gc=False):
    """A decision and the ends of its child.

    Attributes:
        id: the id of the decision.
        time: when it was logged, in microseconds since 1970.
        writer: who logged it.
        choice: what was decided.
        request: what was asked.
        line: its line.
        job: what the policies of the log are kept for.
        runs: the ends of its child, in the order of time.
    """

    id: str
    time: int
    writer: str
    choice: Choice
    request: RequestView
    line: LineView
    job: Job
    runs: tuple[Run, ...] = ()

    @property
    def last(self) -> Run | None:
        """The last end of its child."""
        return self.runs[-1] if self.runs else None

    @property
    def is_to_run(self) -> bool:
        """Whether something was to run by it."""
        return self.choice.target is not None and self.line.purpose != ACCESS

    @property
    def called(self) -> Target | None:
        """The target that was called at last; None where nothing says so."""
        run = self.last
        if run is None or not run.model:
            return None
        known = self.choice.targets.get((run.model, run.provider))
        if known is not None and run.entry in {"", known.entry}:
            return known
        return Target(run.model, run.provider, {}, run.entry or UNSET)

    @property
    def sent(self) -> str:
        """How the target is called that was called at last."""
        called = self.called
        return NOT_KNOWN if called is None else target_name(called)

    def cost(self) -> tuple[CaseCost, int, int]:
        """Return how its cost is known, and what was measured and estimated, in nano-dollars."""
        runs = self.runs
        if len(runs) == 1 and runs[0].nano is not None and not runs[0].is_bound:
            return CaseCost.MEASURED, runs[0].nano, 0
        target = self.choice.target
        if not runs:
            return (CaseCost.NEVER_ENDED if self.is_to_run else CaseCost.FREE), 0, 0
        each = [self._cost_of(run, target) for run in runs]
        estimated = sum(nano for status, nano in each if status is CaseCost.ESTIMATED)
        measured = sum(nano for _, nano in each) - estimated
        return worst([status for status, _ in each]), measured, estimated

    def _cost_of(self, run: Run, target: Target | None) -> tuple[CaseCost, int]:
        def policy() -> Policy | None:
            kept = kept_policy(self.job, self.choice.revision)
            return None if isinstance(kept, str) else kept

        return cost_of(run, target, self.request.task.input_tokens, policy)


class CaseReader:
    """Reads lines as cases and runs; it remembers what many lines have in common."""

    def __init__(self, job: Job) -> None:
        """Remember nothing yet.

        Args:
            job: what the policies of the log are kept for.
        """
        self._job = job
        self._choices: dict[tuple[bytes, bytes, str, str], Choice] = {}

    def case(self, line: LineView, writer: str) -> Case | None:
        """Return the decision of a line; None where its record cannot be read."""
        try:
            record = _RECORDS.decode(line.record)
            if record.schema != SCHEMA:
                return None
            choice = self._choice(record)
        except UNREADABLE:
            return None
        return Case(line.id, line.time, writer, choice, record.request, line, self._job)

    def _choice(self, record: _Record) -> Choice:
        policy = record.policy
        key = bytes(record.decision), bytes(record.steps), policy.name, policy.revision
        found = self._choices.get(key)
        if found is None:
            if len(self._choices) >= MOST_CHOICES:
                self._choices = {}
            decision, steps = _DECISIONS.decode(key[0]), _STEPS.decode(key[1])
            name, targets = named(decision), _targets(decision)
            found = Choice(policy.name, policy.revision, decision, steps, name, targets)
            self._choices[key] = found
        return found


def read_caller(caller: Raw) -> CallerView:
    """Return who asked, as a line says; nobody where it does not say, or cannot be read."""
    try:
        return _CALLERS.decode(caller) if caller else CallerView()
    except UNREADABLE:
        return CallerView()


def in_order(runs: list[Run]) -> tuple[Run, ...]:
    """Return the ends of a child in the order of time."""
    return tuple(runs if len(runs) < 2 else sorted(runs, key=in_time))  # noqa: PLR2004 - one has no order


def in_time(run: Run) -> tuple[int, str, int]:
    """Return what orders the ends of a child, however a log is gone through."""
    return run.time, run.status, run.nano or 0


def _targets(decision: Decision) -> dict[tuple[str, str], Target]:
    first = () if isinstance(decision.target, UnsetType) else (decision.target,)
    more = () if isinstance(decision.fallbacks, UnsetType) else decision.fallbacks
    return {(it.model, it.provider): it for it in reversed((*first, *more))}


@lru_cache(maxsize=2)
def case_reader(job: Job) -> CaseReader:
    """Return the reader of a process: it outlives no call."""
    return CaseReader(job)


_RECORDS = msgspec.json.Decoder(_Record)
_CALLERS = msgspec.json.Decoder(CallerView)
_DECISIONS = msgspec.json.Decoder(Decision)
_STEPS = msgspec.json.Decoder(tuple[Step, ...])
