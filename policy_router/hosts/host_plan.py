"""The plan of one decision, at work in a host: its calls, its events in the log, its result."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final

from msgspec.structs import replace

from policy_router.calls.child_task import ChildTask, Reply
from policy_router.calls.failing import Attempt
from policy_router.calls.legs import Leg
from policy_router.calls.plan import Plan
from policy_router.calls.results import Result, Status, TaskError
from policy_router.decision.record import Target
from policy_router.delegation.batch import Planned
from policy_router.delegation.child import tell_finished, tell_started
from policy_router.delegation.current_decision import decision_scope
from policy_router.delegation.outcomes import completed, failed
from policy_router.domain import Policy

Begin = Callable[[Policy, Target, ChildTask], Plan]
"""Begins the plan of a child."""

_CANCELLED: Final = (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit)


class HostPlan:
    """What a host runs for one decision: one plan for one run of a child.

    It begins with the first call that is asked for. For one thread, or one task of an event loop.

    Attributes:
        record: the decision.
        decision_id: its id.
        goal: what the child is to do; may be empty.
        context: what it has to know; may be empty.
        own: the host's own arguments of the tool, where the plan is of a batch.
        policy: what decided.
        result: what became of it; None until it has ended.
    """

    def __init__(
        self,
        planned: Planned,
        policy: Policy,
        task: ChildTask,
        *,
        begin: Begin,
        secrets: Callable[[], tuple[str, ...]],
        own: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep what is decided; nothing is begun.

        Args:
            planned: the task and its decision, which selects a target.
            policy: what decided.
            task: what the child is to do, and who is told.
            begin: begins the plan of the child.
            secrets: returns the keys that no text may repeat.
            own: the host's own arguments.
        """
        self.record, self.decision_id = planned.record, planned.decision_id
        self.goal, self.context = task.goal, task.context
        self.own, self.policy = dict(own or {}), policy
        self.result: Result | None = None
        self._planned, self._task = planned, task
        self._begin, self._secrets = begin, secrets
        self._plan: Plan | None = None
        self._began = 0.0

    @property
    def task(self) -> int:
        """The index of the task in its batch."""
        return self._planned.index

    # What is to be done now.

    def ready(self) -> Leg | None:
        """Wait until the next call may be made, and return it; None where there is none."""
        return self._looked(self._begun().ready()) if self.result is None else None

    async def ready_async(self) -> Leg | None:
        """Wait on the running event loop, like :meth:`ready`."""
        return self._looked(await self._begun().ready_async()) if self.result is None else None

    @property
    def leg(self) -> Leg | None:
        """The call to make now; None where there is none, and ``result`` says why.

        Nothing is waited for: a target that is to be left alone for a while is passed over, and
        the limit of a provider's calls is not kept. :meth:`ready` waits for both.
        """
        return self._looked(self._begun().leg) if self.result is None else None

    @property
    def remaining(self) -> tuple[Leg, ...]:
        """The legs after the one at hand that can be called, for a host that goes there itself."""
        return self._begun().remaining if self.result is None else ()

    @property
    def pause(self) -> float:
        """The seconds for which :meth:`ready` waits."""
        return self._begun().pause if self.result is None else 0.0

    # What came of it.

    def failed(
        self,
        error: BaseException | int,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        partial: str = "",
        has_begun: bool = False,
    ) -> bool:
        """Note that the call failed, and go to the next one if the policy's plan has one.

        Args:
            error: the exception of any SDK or HTTP client, or the HTTP status of the answer.
            body: the body of the answer, where the exception does not have it.
            headers: the headers of the answer, where the exception does not have them.
            partial: the text that was passed on already: nothing is tried after it.
            has_begun: whether anything else of the answer was passed on already.

        Returns:
            Whether there is another call to make.
        """
        if isinstance(error, _CANCELLED):
            self.cancelled()
        if self.result is not None:
            return False
        goes_on = self._begun().failed(
            error, body=body, headers=headers, partial=partial, has_begun=has_begun
        )
        self._looked(None)
        return goes_on

    def done(
        self,
        text: str | None = None,
        *,
        served_model: str | None = None,
        finish_reason: str | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cached_tokens: int | None = None,
    ) -> Result:
        """Note that the child has its answer, and log it.

        Args:
            text: the answer; it is not logged.
            served_model: the model that the provider reports; a warning follows if it is another.
            finish_reason: the provider's reason why the model stopped.
            input_tokens: the tokens of all calls' input.
            output_tokens: the tokens of all calls' answers.
            cached_tokens: how many of the input tokens came from the provider's cache.

        Returns:
            What became of the task, with its cost, every attempt and the warnings. After the end,
            what it had come to.
        """
        reply = Reply(
            _text(text),
            _text(served_model),
            _text(finish_reason),
            _count(input_tokens),
            _count(output_tokens),
            _count(cached_tokens),
        )
        if self.result is None:
            self._begun().answered(reply)
            self._looked(None)
        return self.result or self.cancelled()

    def cancelled(self) -> Result:
        """Note that the child was stopped before its end; nothing where it has ended already."""
        if self.result is None:
            result = self._planned.result(Status.CANCELLED, self.policy)
            called = self._begun().has_called
            self._finish(result if called else replace(result, effective=None))
        return self.result or self._planned.result(Status.CANCELLED, self.policy)

    def refused(self, code: str, message: str) -> Result:
        """Note that the host does not let the child start; nothing where it has begun already.

        Args:
            code: why, for programs, such as ``budget_exceeded``; it is logged.
            message: the same in words; it is not logged.
        """
        if self.result is None and self._plan is None:
            why = replace(self._planned, denied=TaskError(code, message, self.task))
            self._began = time.monotonic()
            self._finish(why.result(Status.REFUSED, self.policy))
        return self.result or self.cancelled()

    def scope(self) -> AbstractContextManager[None]:
        """Return a context in which what the child decides is linked to its own decision.

        Its deadline is that of what it delegates there, too.
        """
        return decision_scope(self._task)

    @property
    def error(self) -> TaskError | None:
        """Why there is no answer; None where there is one, or it has not ended."""
        return self.result.error if self.result else None

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every attempt, once it has ended."""
        return self.result.attempts if self.result else ()

    # Beginning and ending.

    def _begun(self) -> Plan:
        if self._plan is None:
            target = self._planned.target
            if target is None:  # pragma: no cover - only what is selected has a plan
                raise TypeError("a plan needs a target")
            self._began = time.monotonic()
            tell_started(self._task, target)
            self._plan = self._begin(self.policy, target, self._task)
        return self._plan

    def _looked(self, leg: Leg | None) -> Leg | None:
        """Note the end, if the plan has come to it."""
        plan = self._begun()
        if leg is None and self.result is None and plan.has_ended:
            if plan.error is not None:
                self._finish(failed(self.policy, self._planned, plan.error, self._secrets()))
            else:
                reply = plan.reply()
                self._finish(completed(self.policy, self._planned, reply, self._secrets()))
        return leg

    def _finish(self, result: Result) -> None:
        self.result = tell_finished(result, self._task, self._began)


def _count(number: Any) -> int | None:
    """Return a count of tokens as far as it is one: an answer that was paid is never an error."""
    is_count = isinstance(number, int) and not isinstance(number, bool) and number >= 0
    return min(number, _MOST) if is_count else None


def _text(text: Any) -> str | None:
    return None if text is None else str(text)


_MOST: Final = 2**53
"""The largest count of tokens that is believed."""
