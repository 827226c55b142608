"""What is wrong with a decision and what came of it, where both are at hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from math import isfinite
from typing import Final, TypeAlias

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from policy_router.calls.costs import price_of, priced_at
from policy_router.calls.endpoints import entry_of
from policy_router.calls.served import is_same_model, is_served
from policy_router.decision.compare import reads_now, target_name
from policy_router.decision.evaluator import forbidding
from policy_router.decision.record import Target
from policy_router.decision.request import Request
from policy_router.domain import Level, Policy, Price
from policy_router.errors import RequestError
from policy_router.log.check.findings import FindingKind
from policy_router.log.entry import PARTS, UNREADABLE, Execution, LineView, Prune
from policy_router.log.replay.chunks import Job
from policy_router.log.replay.decisions import MOST_KEPT, MOST_POLICIES, kept_policy

REPORTED: Final = "reported"
"""An end that a host reports: there is one for each attempt."""
_BILLION: Final = 1_000_000_000
_NO_TARGET: Final = "where it ran is not said"

Wrong: TypeAlias = tuple[FindingKind, str]
"""A kind of finding, and what it is about."""
Ran: TypeAlias = tuple[str, str, str | None]
"""A model, its provider and its entry, as a line names them."""
End: TypeAlias = tuple[str, int | None]
"""What tells an end from another one: its event, and of a report its attempt."""


class _RanTarget(Struct, frozen=True, gc=False):
    model: str
    provider: str = ""
    entry: str | None = None


class _Decided(Struct, frozen=True, gc=False):
    outcome: str
    level: str = ""
    target: _RanTarget | UnsetType = UNSET
    fallbacks: tuple[_RanTarget, ...] = ()


class _Revision(Struct, frozen=True, gc=False):
    revision: str


class _Record(Struct, frozen=True, gc=False):
    decision: _Decided
    now: str
    policy: _Revision
    request: Raw


class CheckedLine(Struct, frozen=True, gc=False):
    """What is read of a line at once: the fields are those of :class:`LogEntry`."""

    kind: str
    time: int
    id: str = ""
    execution: Execution | None = None
    parent: str = ""
    prune: Prune | None = None
    purpose: str = ""
    record: _Record | None = None


class Made(Struct, frozen=True, gc=False):
    """A decision, as far as what came of it is judged by it.

    Attributes:
        time: the time of its line, in microseconds since 1970.
        revision: its policy.
        now: the time that it was decided at.
        level: the level that decided; the configuration's where it was refused.
        plan: what it may run on.
        request: what was decided.
    """

    time: int
    revision: str
    now: str
    level: str
    plan: tuple[Ran, ...]
    request: bytes


class Happened(Struct, frozen=True, gc=False):
    """An event of a child.

    Attributes:
        time: the time of its line, in microseconds since 1970.
        execution: the event.
    """

    time: int
    execution: Execution

    @property
    def is_end(self) -> bool:
        """Whether it tells of the end of its child."""
        return self.execution.status is not None

    @property
    def end(self) -> End:
        """What tells it from another end, where it is one."""
        is_report = self.execution.event == REPORTED
        return self.execution.event, self.execution.attempt if is_report else None


def checked_line(content: bytes) -> CheckedLine | None:
    """Read a line at once; None where a part of it, or all of it, cannot be read."""
    try:
        line = _LINES.decode(content)
    except UNREADABLE:
        return None
    is_whole = line.kind in KINDS and (line.id or line.kind not in _WITH_ID)
    return line if is_whole else None


def made_of(line: LineView) -> Made | None:
    """Return a decision; None where its record cannot be read."""
    try:
        return made_by(line.time, _RECORDS.decode(line.record))
    except UNREADABLE:
        return None


def made_by(time: int, record: _Record) -> Made:
    """Return a decision, as it was recorded."""
    decided, plan = record.decision, tuple[Ran, ...]()
    if not isinstance(decided.target, UnsetType):
        each = (decided.target, *decided.fallbacks)
        plan = tuple((it.model, it.provider, it.entry) for it in each)
    return Made(
        time, record.policy.revision, record.now, decided.level, plan, bytes(record.request)
    )


def wrong(job: Job, made: Made, events: Sequence[Happened]) -> frozenset[Wrong]:
    """Return what is wrong with the events of a decision; nothing where all is as decided."""
    if not events:
        return _NOTHING
    judge, found = _judge(job, made.revision), list[Wrong]()
    for ran in _called(events):
        found += judge.called(made, ran)
    ends = [it.end for it in events if it.is_end]
    if len(ends) > 1:
        found += ((FindingKind.ENDED_TWICE, it[0]) for it in ends if ends.count(it) > 1)
    for it in events:
        if it.time < made.time:
            found.append((FindingKind.BEFORE_DECISION, "time"))
        execution = it.execution
        if execution.served_model is not None or execution.cost_usd:
            found += judge.answered(execution)
    if judge.policy is None:
        found.append((FindingKind.NO_POLICY, made.revision))
    return frozenset(found) if found else _NOTHING


def _called(events: Sequence[Happened]) -> Iterable[Ran]:
    """Return what events say that was called; an event that names no entry is of one that does."""
    found: dict[tuple[str, str], Ran] = {}
    more = set[Ran]()
    for it in events:
        execution = it.execution
        if execution.model is not None:
            ran = execution.model, execution.provider or "", execution.entry
            if found.setdefault(ran[:2], ran) != ran and ran[2] is not None:
                more.add(ran)
        for call in execution.calls:
            if call.is_sent:
                more.add((call.model, call.provider, call.entry))
    named = {it[:2] for it in more if it[2] is not None}
    more.update(ran for key, ran in found.items() if ran[2] is not None or key not in named)
    return more


class _Judge:
    """Knows a policy, or that it is not kept. Equal requests and targets are looked at once."""

    def __init__(self, policy: Policy | None) -> None:
        self.policy = policy
        self._reads_now = policy is not None and reads_now(policy)
        self._against: dict[tuple[bytes, str, str, Ran], tuple[str, ...]] = {}
        self._entries: dict[Ran, Target] = {}
        self._prices: dict[Ran, Price | None] = {}
        self._known_serves: dict[tuple[Ran, str], bool] = {}

    # What was called.

    def called(self, made: Made, ran: Ran) -> Iterator[Wrong]:
        """Yield what is against something that was called for a decision."""
        if not _is_planned(made, ran):
            yield FindingKind.OUTSIDE_PLAN, target_name(_target(ran))
        for id_ in self._forbidding(made, ran):
            yield FindingKind.FORBIDDEN, id_

    def _forbidding(self, made: Made, ran: Ran) -> tuple[str, ...]:
        policy = self.policy
        if policy is None or not policy.forbid:
            return ()
        key = made.request, made.now if self._reads_now else "", made.level, ran
        found = self._against.get(key)
        if found is None:
            if len(self._against) >= MOST_KEPT:
                self._against = {}
            found = self._against[key] = self._evaluated(policy, made, ran)
        return found

    def _evaluated(self, policy: Policy, made: Made, ran: Ran) -> tuple[str, ...]:
        level = Level(made.level) if made.level in _LEVELS else Level.CONFIG
        try:
            request = Request.from_json(made.request)
            return forbidding(policy, request, self._named(ran), now=made.now, level=level)
        except RequestError:
            return ()  # replay says that it does not fit its policy

    def _named(self, ran: Ran) -> Target:
        """Return a target with its entry, where a line does not name it and the pool has one."""
        found = self._entries.get(ran)
        if found is None:
            found = self._entries[ran] = _with_entry(self.policy, _target(ran))
        return found

    # What came back.

    def answered(self, execution: Execution) -> Iterator[Wrong]:
        """Yield what is wrong with the answer that an event tells of."""
        if execution.model is None:
            if execution.cost_usd and self.policy is not None:
                yield FindingKind.UNEXPLAINED_COST, _NO_TARGET
            return
        ran = execution.model, execution.provider or "", execution.entry
        served = execution.served_model
        if served is not None and not self._serves(ran, served):
            yield FindingKind.OTHER_MODEL, f"{served} for {ran[0]}"
        if execution.cost_usd and self.policy is not None:
            price = self._price(self.policy, ran)
            if not _explains(price, execution, execution.cost_usd):
                yield FindingKind.UNEXPLAINED_COST, target_name(_target(ran))

    def _serves(self, ran: Ran, served: str) -> bool:
        """Tell whether a provider served what was called, as far as names can tell."""
        found = self._known_serves.get((ran, served))
        if found is None:
            policy = self.policy
            if policy is None:
                found = is_same_model(ran[0], served)
            else:
                found = is_served(policy, self._named(ran), served)
            self._known_serves[ran, served] = found
        return found

    def _price(self, policy: Policy, ran: Ran) -> Price | None:
        if ran not in self._prices:
            self._prices[ran] = price_of(policy, self._named(ran))
        return self._prices[ran]


def _is_planned(made: Made, ran: Ran) -> bool:
    """Tell whether something is in a plan; a line may not name the entry."""
    if ran in made.plan:
        return True
    return ran[2] is None and any(ran[:2] == it[:2] for it in made.plan)


def _target(ran: Ran) -> Target:
    model, provider, entry = ran
    return Target(model, provider, {}, UNSET if entry is None else entry)


def _with_entry(policy: Policy | None, target: Target) -> Target:
    if policy is None or target.entry is not UNSET:
        return target
    each = (Target(target.model, target.provider, {}, it.name) for it in policy.pool or ())
    return next((it for it in each if entry_of(policy, it) is not None), target)


def _explains(price: Price | None, execution: Execution, usd: float) -> bool:
    """Tell whether a price explains a cost, to the billionth of a dollar.

    Where a line of an earlier version does not say how many tokens came from a cache, anything
    between none and all of them explains it.
    """
    tokens = execution.input_tokens, execution.output_tokens
    full = priced_at(price, *tokens, execution.cached_tokens)
    if full is None or not isfinite(usd * _BILLION):
        return False
    if full.usd == usd:
        return True
    paid, most = round(usd * _BILLION), round(full.usd * _BILLION)
    if execution.cached_tokens is not None or paid == most:
        return paid == most
    least = priced_at(price, *tokens, execution.input_tokens)
    return least is not None and round(least.usd * _BILLION) <= paid <= most


@lru_cache(maxsize=MOST_POLICIES)
def _judge(job: Job, revision: str) -> _Judge:
    policy = kept_policy(job, revision)
    return _Judge(policy if isinstance(policy, Policy) else None)


_LEVELS: Final = frozenset(Level)
_NOTHING: Final = frozenset[Wrong]()
_RECORDS: Final = msgspec.json.Decoder(_Record)
_LINES: Final = msgspec.json.Decoder(CheckedLine)
KINDS: Final = frozenset(PARTS)
_WITH_ID: Final = frozenset(kind for kind, parts in PARTS.items() if "id" in parts)
