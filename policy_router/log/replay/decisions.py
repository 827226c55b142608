"""The pass over the decisions of a log that replay and the question what if have in common.

Each process goes through its pieces of the log, reads a line by :class:`LineView`, and decides
equal requests once. What is kept for that outlives no call: it belongs to a :class:`Job`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Generic, Protocol, TypeVar

from msgspec import UNSET

from policy_router.decision.compare import reads_now
from policy_router.decision.evaluator import decide
from policy_router.decision.record import DecisionRecord
from policy_router.decision.request import Request, moment, spelt
from policy_router.domain import Policy
from policy_router.errors import RecordError, RequestError
from policy_router.log.entry import RecordView
from policy_router.log.folder import LogFolder
from policy_router.log.policies import PolicyStore
from policy_router.log.replay.chunks import Job

V = TypeVar("V")

MOST_KEPT = 50_000
"""How much of a kind a process remembers; not more than fits into memory."""
MOST_POLICIES = 1_000
"""How many policies a process keeps compiled."""


class Counts(Protocol):
    """A report on decisions that are made again."""

    decided: int


class Decider(Generic[V]):
    """Decides requests by a policy, equal ones once.

    Safe to share between threads: what two of them decide at once is the same.
    """

    def __init__(self, policy: Policy, keep: Callable[[DecisionRecord], V]) -> None:
        """Decide nothing yet.

        Args:
            policy: the policy.
            keep: returns what is to be remembered of a decision.
        """
        self.policy, self._keep, self._reads_now = policy, keep, reads_now(policy)
        self._decided: dict[tuple[bytes, str], V | None] = {}

    def time_of(self, record: RecordView) -> str:
        """Return the time of a record, if the policy looks at the time."""
        return record.now if self._reads_now else ""

    def decided(self, record: RecordView, counts: Counts) -> V | None:
        """Decide the request of a record, whose time is one; None where it does not fit."""
        key = bytes(record.request), record.now if self._reads_now else ""
        found = self._decided.get(key, UNSET)
        if found is UNSET:
            counts.decided += 1
            try:
                found = self._keep(decide(self.policy, Request.from_json(key[0]), now=record.now))
            except RequestError:
                found = None
            if len(self._decided) >= MOST_KEPT:
                self._decided = {}
            self._decided[key] = found
        return found


def is_time(text: str) -> bool:
    """Tell whether a record can have this time."""
    try:
        moment(text)
    except RequestError:
        return False
    return True


def is_spelt(text: str) -> bool:
    """Tell whether a time is as records have it."""
    return is_time(text) and spelt(moment(text)) == text


@lru_cache(maxsize=MOST_POLICIES)
def kept_policy(job: Job, revision: str) -> Policy | str:
    """Return the policy of a revision, or why there is none."""
    try:
        return PolicyStore(LogFolder(job.folder)).load(revision)
    except RecordError as problem:
        return str(problem)
