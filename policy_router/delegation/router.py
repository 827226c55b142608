"""The router: a policy with a clock and a log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """Decides with one policy, at the time of its clock. Safe to share between threads."""

    def __init__(
        self, policy: Policy, *, clock: Clock = system_clock, log: DecisionLog | None = None
    ) -> None:
        """Keep a policy and a clock.

        Args:
            policy: the policy that decides.
            clock: the time of each decision; default: the system's clock.
            log: every decision is logged before it is returned. The router does not close the log.
        """
        self.policy = policy
        self._clock, self._log = clock, log

    def warm(self) -> None:
        """Prepare the policy, so that the first decisions are not slower than later ones.

        This takes about a tenth of the time of loading. Call it before the requests for a large
        policy.
        """
        self.policy.prepared(Prepared).warm()

    def decide(
        self,
        request: Request | Mapping[str, Any],
        *,
        decision_id: str | None = None,
        parent_id: str | None = None,
        session_id: str | None = None,
        tags: Sequence[str] = (),
    ) -> DecisionRecord:
        """Decide which target a delegated task runs on, at the time of the clock.

        Args:
            request: the wishes and facts.
            decision_id: the id of the decision in the log; default: a new id.
            parent_id: the id of the decision under which the delegating agent runs; not needed in
                a child of a delegator.
            session_id: for the log, the session that the decision belongs to.
            tags: for the log, up to eight words of the host's own.

        Raises:
            RequestError: the request does not fit the policy.
            LogError: the decision cannot be logged, so it is denied.
            RuntimeError: the log is closed.
            ValueError: an id or a tag is malformed.
        """
        record = decide(self.policy, request, now=self._clock())
        if (log := self._log) is not None:
            above = parent_of(parent_id)
            log.decision(
                self.policy,
                record,
                decision_id=decision_id,
                parent_id=above,
                session_id=session_id,
                tags=tags,
            )
        return record

    async def decide_async(
        self,
        request: Request | Mapping[str, Any],
        *,
        decision_id: str | None = None,
        parent_id: str | None = None,
        session_id: str | None = None,
        tags: Sequence[str] = (),
    ) -> DecisionRecord:
        """Decide like :meth:`decide`, without blocking the running event loop."""
        record = decide(self.policy, request, now=self._clock())
        if (log := self._log) is not None:
            above = parent_of(parent_id)
            await log.decision_async(
                self.policy,
                record,
                decision_id=decision_id,
                parent_id=above,
                session_id=session_id,
                tags=tags,
            )
        return record

    def target(
        self,
        request: Request | Mapping[str, Any],
        *,
        decision_id: str | None = None,
        parent_id: str | None = None,
        session_id: str | None = None,
        tags: Sequence[str] = (),
    ) -> Target:
        """Decide, and raise an exception for a refusal; arguments are those of :meth:`decide`.

        Returns:
            The target of the task; :meth:`decide` returns the whole record.

        Raises:
            NoTarget: the request is refused; the exception carries the record.
            RequestError: the request does not fit the policy.
            LogError: the decision cannot be logged, so it is denied.
            RuntimeError: the log is closed.
            ValueError: an id or a tag is malformed.
        """
        ids = {"decision_id": decision_id, "parent_id": parent_id, "session_id": session_id}
        return _target(self.decide(request, **ids, tags=tags))

    async def target_async(
        self,
        request: Request | Mapping[str, Any],
        *,
        decision_id: str | None = None,
        parent_id: str | None = None,
        session_id: str | None = None,
        tags: Sequence[str] = (),
    ) -> Target:
        """Decide like :meth:`target`, without blocking the running event loop."""
        ids = {"decision_id": decision_id, "parent_id": parent_id, "session_id": session_id}
        return _target(await self.decide_async(request, **ids, tags=tags))


def _target(record: DecisionRecord) -> Target:
    if isinstance(record.decision.target, UnsetType):
        raise NoTarget(record)
    return record.decision.target
