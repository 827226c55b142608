"""A policy with a clock: what a host keeps and asks."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import UnsetType

from policy_router.decision.evaluator import decide
from policy_router.decision.record import DecisionRecord, Target
from policy_router.decision.request import Request
from policy_router.domain import Policy
from policy_router.errors import NoTarget

Clock = Callable[[], datetime.datetime]
"""Returns the current time, with its time zone."""


def system_clock() -> datetime.datetime:
    """Return the system's time in UTC."""
    return datetime.datetime.now(datetime.UTC)  # noqa: TID251 - the one clock there is


class Router:
    """Decides with one policy, at the time that its clock tells. Safe to share between threads."""

    def __init__(self, policy: Policy, *, clock: Clock = system_clock) -> None:
        """Keep a policy and a clock.

        Args:
            policy: what decides.
            clock: tells the time of each decision; the system's clock unless given.
        """
        self.policy = policy
        self._clock = clock

    def decide(self, request: Request | Mapping[str, Any]) -> DecisionRecord:
        """Decide which target a delegated task runs on, now.

        Raises:
            RequestError: the request does not fit the policy.
        """
        return decide(self.policy, request, now=self._clock())

    def target(self, request: Request | Mapping[str, Any]) -> Target:
        """Decide, where a refusal cannot be gone on with.

        Returns:
            What the task runs on; :meth:`decide` gives the whole record.

        Raises:
            NoTarget: the request is refused; the exception carries the record.
            RequestError: the request does not fit the policy.
        """
        record = self.decide(request)
        if isinstance(record.decision.target, UnsetType):
            raise NoTarget(record)
        return record.decision.target
