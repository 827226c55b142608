"""What is wrong with a decision and what came of it, where both are at hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from math import isfinite
from typing import Final, TypeAlias

from msgspec import UNSET, Struct

from policy_router.calls.costs import price_of, priced_at
from policy_router.calls.endpoints import with_entry
from policy_router.calls.served import is_same_model, is_served
from policy_router.decision.compare import reads_now, target_name
from policy_router.decision.evaluator import forbidding
from policy_router.decision.record import Target
from policy_router.decision.request import Request
from policy_router.domain import Level, Policy, Price
from policy_router.errors import RequestError
from policy_router.log.check.findings import FindingKind
from policy_router.log.check.lines import MOST_ALIKE, Decided, Happened, Made, Ran
from policy_router.log.entry import Execution
from policy_router.log.replay.chunks import Job
from policy_router.log.replay.decisions import MOST_KEPT, MOST_POLICIES, kept_policy

_BILLION: Final = 1_000_000_000
_NO_TARGET: Final = "where it ran is not said"

Wrong: TypeAlias = tuple[FindingKind, str]
"""A kind of finding, and what it is about."""
_Said: TypeAlias = tuple[str | None, str, str | None, tuple[Ran, ...]]
"""What an event says that was called, and the calls that were sent."""


def wrong(job: Job, made: Made, events: Sequence[Happened]) -> frozenset[Wrong]:
    """Return what is wrong with the events of a decision; nothing where all is as decided."""
    if not events:
        return _NOTHING
    judge, found, ends = _judge(job, made.decided.revision), list[Wrong](), 0
    for it in events:
        execution = it.execution
        if it.time < made.time:
            found.append((FindingKind.BEFORE_DECISION, "time"))
        if execution.status is not None:
            ends += 1
        if execution.served_model is not None or execution.cost_usd:
            found += judge.answered(execution)
    if ends > 1:
        same = [it.end for it in events if it.is_end]
        found += ((FindingKind.ENDED_TWICE, it[0]) for it in same if same.count(it) > 1)
    if judge.policy is None:
        found.append((FindingKind.NO_POLICY, made.decided.revision))
    called = judge.called(made, tuple([_said(it.execution) for it in events]))
    return called.union(found) if found else called


def has_end(events: Iterable[Happened]) -> bool:
    """Tell whether one of some events is an end."""
    return any(it.execution.status is not None for it in events)


def _said(execution: Execution) -> _Said:
    """Return what an event says that was called."""
    sent: tuple[Ran, ...] = ()
    if execution.calls:
        each = execution.calls
        sent = tuple([(it.model, it.provider, it.entry) for it in each if it.is_sent])
    return execution.model, execution.provider or "", execution.entry, sent


def _called(events: Iterable[_Said]) -> Iterable[Ran]:
    """Return what events say that was called; an event that names no entry is of one that does."""
    found: dict[tuple[str, str], Ran] = {}
    more = set[Ran]()
    for model, provider, entry, sent in events:
        if model is not None:
            ran = model, provider, entry
            if found.setdefault(ran[:2], ran) != ran and entry is not None:
                more.add(ran)
        more.update(sent)
    named = {it[:2] for it in more if it[2] is not None}
    more.update(ran for key, ran in found.items() if ran[2] is not None or key not in named)
    return more


class _Answer(Struct, frozen=True):
    """What all answers of a model have in common: its price, and what is wrong with its name."""

    price: Price | None
    wrong: tuple[Wrong, ...]


class _Judge:
    """Knows a policy, or that it is not kept. Equal requests and targets are looked at once."""

    def __init__(self, policy: Policy | None) -> None:
        self.policy = policy
        self._reads_now = policy is not None and reads_now(policy)
        self._called: dict[tuple[Decided, str, tuple[_Said, ...]], frozenset[Wrong]] = {}
        self._against: dict[tuple[bytes, str, str, Ran], tuple[str, ...]] = {}
        self._entries: dict[Ran, Target] = {}
        self._answers: dict[tuple[str, str, str | None, str | None], _Answer] = {}

    # What was called.

    def called(self, made: Made, said: tuple[_Said, ...]) -> frozenset[Wrong]:
        """Return what is against what was called for a decision, as its events say."""
        key = made.decided, made.now if self._reads_now else "", said
        found = self._called.get(key)
        if found is None:
            if len(self._called) >= MOST_ALIKE:
                self._called = {}
            each = (it for ran in _called(said) for it in self._wrong(made, ran))
            found = self._called[key] = frozenset(each)
        return found

    def _wrong(self, made: Made, ran: Ran) -> Iterator[Wrong]:
        if not _is_planned(made.decided.plan, ran):
            yield FindingKind.OUTSIDE_PLAN, target_name(_target(ran))
        for id_ in self._forbidding(made, ran):
            yield FindingKind.FORBIDDEN, id_

    def _forbidding(self, made: Made, ran: Ran) -> tuple[str, ...]:
        policy = self.policy
        if policy is None or not policy.forbid:
            return ()
        now = made.now if self._reads_now else ""
        key = made.decided.request, now, made.decided.level, ran
        found = self._against.get(key)
        if found is None:
            if len(self._against) >= MOST_KEPT:
                self._against = {}
            found = self._against[key] = self._evaluated(policy, made, ran)
        return found

    def _evaluated(self, policy: Policy, made: Made, ran: Ran) -> tuple[str, ...]:
        decided = made.decided
        level = Level(decided.level) if decided.level in _LEVELS else Level.CONFIG
        try:
            request = Request.from_json(decided.request)
            return forbidding(policy, request, self._named(ran), now=made.now, level=level)
        except RequestError:
            return ()  # replay says that it does not fit its policy

    def _named(self, ran: Ran) -> Target:
        """Return a target with its entry, where a line does not name it and the pool has one."""
        found = self._entries.get(ran)
        if found is None:
            found = self._entries[ran] = with_entry(self.policy, _target(ran))
        return found

    # What came back.

    def answered(self, execution: Execution) -> tuple[Wrong, ...]:
        """Return what is wrong with the answer that an event tells of."""
        usd = execution.cost_usd if self.policy is not None else None
        if execution.model is None:
            return ((FindingKind.UNEXPLAINED_COST, _NO_TARGET),) if usd else ()
        key = execution.model, execution.provider or "", execution.entry, execution.served_model
        answer = self._answers.get(key)
        if answer is None:
            answer = self._answers[key] = self._answer(*key)
        if not usd or _explains(answer.price, execution, usd):
            return answer.wrong
        return *answer.wrong, (FindingKind.UNEXPLAINED_COST, target_name(_target(key[:3])))

    def _answer(self, model: str, provider: str, entry: str | None, served: str | None) -> _Answer:
        """Return what is the same of all answers of a model, as far as names can tell."""
        ran, policy = (model, provider, entry), self.policy
        if served is None:
            is_it = True
        elif policy is None:
            is_it = is_same_model(model, served)
        else:
            is_it = is_served(policy, self._named(ran), served)
        price = None if policy is None else price_of(policy, self._named(ran))
        return _Answer(
            price, () if is_it else ((FindingKind.OTHER_MODEL, f"{served} for {model}"),)
        )


def _is_planned(plan: Sequence[Ran], ran: Ran) -> bool:
    """Tell whether something is in a plan; a line may not name the entry."""
    return ran in plan or (ran[2] is None and any(ran[:2] == it[:2] for it in plan))


def _target(ran: Ran) -> Target:
    model, provider, entry = ran
    return Target(model, provider, {}, UNSET if entry is None else entry)


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
