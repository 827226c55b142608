"""The decisions of a batch, with what its tasks may cost reserved before any of them starts."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from policy_router.delegation.arguments import arguments_of
from policy_router.delegation.batch import CountTokens, Planned, planned
from policy_router.delegation.budgets import Funds, Purse
from policy_router.domain import Policy
from policy_router.files.clock import Clock
from policy_router.files.ids import Ids, check_session

Facts = Mapping[str, Any] | None
"""What a host knows: sections of a request, but for ``call`` and ``task``."""


class Decider:
    """Decides the calls of ``delegate_task``."""

    def __init__(
        self,
        policy: Policy,
        purse: Purse,
        counts: CountTokens | None,
        clock: Clock,
        ids: Ids,
        *,
        skips: bool,
    ) -> None:
        """Keep what decisions need.

        Args:
            policy: the policy that decides.
            purse: reserves what a batch may cost.
            counts: estimates the input tokens of a task; None: no estimate.
            clock: the time of decisions.
            ids: the ids of decisions.
            skips: whether a refused task leaves the others of its batch alone.
        """
        self._policy, self._purse, self._skips = policy, purse, skips
        self._counts, self._clock, self._ids = counts, clock, ids

    def decide(
        self,
        arguments: Mapping[str, Any] | str | bytes,
        facts: Facts,
        session_id: str | None,
        *,
        is_run: bool = True,
    ) -> list[Planned]:
        """Decide a batch; where it is run, with what it may cost reserved."""
        if session_id is not None:
            check_session(session_id)
        decide_all = functools.partial(
            planned,
            self._policy,
            arguments_of(arguments),
            {} if facts is None else facts,
            now=self._clock(),
            ids=self._ids,
            session_id=session_id,
            counts=self._counts,
        )
        if not self._purse.is_limited:
            return decide_all()
        batch: list[Planned] = []

        def choose(funds: Funds) -> dict[str, int]:
            batch.extend(decide_all(funds=funds))
            is_started = is_run and self.refusing(batch) is None
            chosen = [plan for plan in batch if is_started and plan.target is not None]
            return {plan.decision_id: plan.reserved for plan in chosen}

        self._purse.reserve(choose)
        return batch

    async def decide_async(
        self, arguments: Mapping[str, Any] | str | bytes, facts: Facts, session_id: str | None
    ) -> list[Planned]:
        """Decide a batch; a budget may let it wait, so it is asked in a thread.

        A thread goes on when its waiter is cancelled: what it reserves then is released again.
        """
        if not self._purse.is_limited:
            return self.decide(arguments, facts, session_id)
        made: list[Planned] = []
        handing_over, is_wanted = threading.Lock(), [True]

        def decide_it() -> None:
            batch = self.decide(arguments, facts, session_id)
            with handing_over:
                if is_wanted:
                    made.extend(batch)
                else:
                    self._purse.release(plan.decision_id for plan in batch)

        try:
            await asyncio.to_thread(decide_it)
        except asyncio.CancelledError:
            with handing_over:
                is_wanted.clear()
                self._purse.release(plan.decision_id for plan in made)
            raise
        return made

    def refusing(self, batch: Sequence[Planned]) -> Planned | None:
        """Return the task that refuses the batch, if one does."""
        if self._skips:
            return None
        return next((plan for plan in batch if plan.target is None), None)
