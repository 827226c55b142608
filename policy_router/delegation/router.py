"""A policy with a clock: what a host keeps and asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import UnsetType

from policy_router.decision.evaluator import decide
from policy_router.decision.prepared import Prepared
from policy_router.decision.record import DecisionRecord, Target
from policy_router.decision.request import Request
from policy_router.delegation.current_decision import parent_of
from policy_router.domain import Policy
from policy_router.errors import NoTarget
from policy_router.files.clock import Clock, system_clock

if TYPE_CHECKING:
    from policy_router.log.write.decision_log import DecisionLog


class Router:
    """Decides with one policy, at the time that its clock tells. Safe to share between threads."""

    def __init__(
        self, policy: Policy, *, clock: Clock = system_clock, log: DecisionLog | None = None
    ) -> None:
        """Keep a policy and a clock.

        Args:
            policy: what decides.
            clock: tells the time of each decision; the system's clock unless given.
            log: every decision is in it before it is returned. It stays the host's to close.
        """
        self.policy = policy
        self._clock, self._log = clock, log

    def warm(self) -> None:
        """Prepare all that the first decisions would prepare, so that none of them is slower.

        It is worth its time, about that of a tenth of loading, before a large policy gets requests.
        """
        self.policy.prepared(Prepared).warm()

    def decide(
        self,
        request: Request | Mapping[str, Any],
        *,
        decision_id: str | None = None,
        parent_id: str | None = None,
    ) -> DecisionRecord:
        """Decide which target a delegated task runs on, now.

        Args:
            request: the wishes and facts.
            decision_id: the id of the decision in the log; a new one unless given.
            parent_id: the id of the decision that the delegating agent itself runs by; known
                without it where this is called by a child that a delegator runs.

        Raises:
            RequestError: the request does not fit the policy.
            LogError: the decision cannot be logged, so that it is denied.
            RuntimeError: the log is closed.
            ValueError: an id is malformed.
        """
        record = decide(self.policy, request, now=self._clock())
        if (log := self._log) is not None:
            ids = {"decision_id": decision_id, "parent_id": parent_of(parent_id)}
            log.decision(self.policy, record, **ids)
        return record

    async def decide_async(
        self,
        request: Request | Mapping[str, Any],
        *,
        decision_id: str | None = None,
        parent_id: str | None = None,
    ) -> DecisionRecord:
        """Decide as :meth:`decide`; the running event loop goes on while the log is written."""
        record = decide(self.policy, request, now=self._clock())
        if (log := self._log) is not None:
            ids = {"decision_id": decision_id, "parent_id": parent_of(parent_id)}
            await log.decision_async(self.policy, record, **ids)
        return record

    def target(
        self,
        request: Request | Mapping[str, Any],
        *,
        decision_id: str | None = None,
        parent_id: str | None = None,
    ) -> Target:
        """Decide, where a refusal cannot be gone on with; arguments are those of :meth:`decide`.

        Returns:
            What the task runs on; :meth:`decide` gives the whole record.

        Raises:
            NoTarget: the request is refused; the exception carries the record.
            RequestError: the request does not fit the policy.
            LogError: the decision cannot be logged, so that it is denied.
            RuntimeError: the log is closed.
            ValueError: an id is malformed.
        """
        return _target(self.decide(request, decision_id=decision_id, parent_id=parent_id))

    async def target_async(
        self,
        request: Request | Mapping[str, Any],
        *,
        decision_id: str | None = None,
        parent_id: str | None = None,
    ) -> Target:
        """Decide as :meth:`target`; the running event loop goes on while the log is written."""
        ids = {"decision_id": decision_id, "parent_id": parent_id}
        return _target(await self.decide_async(request, **ids))


def _target(record: DecisionRecord) -> Target:
    if isinstance(record.decision.target, UnsetType):
        raise NoTarget(record)
    return record.decision.target
