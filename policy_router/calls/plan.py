"""A running plan: the next call, the results of earlier calls, and the end.

Three runners act on a decision: the executor, a gateway that passes a request through, and a host
that runs the child itself. All of them go along a plan in this way::

    while (leg := plan.ready()) is not None:
        try:
            answer = call(leg)
        except Exception as error:
            plan.failed(error)
        else:
            return plan.done(text=answer)
    raise plan.error
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
from collections.abc import Mapping
from math import inf
from typing import Any, Final

from msgspec.structs import replace

from policy_router.calls.attempts import Call, Finished, Pause, Rules, advance, attempt_plan
from policy_router.calls.child_task import ChildTask, Reply
from policy_router.calls.endpoints import entry_of
from policy_router.calls.exceptions import Reading, failure_from
from policy_router.calls.failing import Attempt
from policy_router.calls.failures import Failure
from policy_router.calls.health import HealthStore
from policy_router.calls.legs import Leg, Legs
from policy_router.calls.notifications import (
    log_answer,
    tell_attempt,
    tell_left_out,
    tell_pause,
)
from policy_router.calls.served import concluded
from policy_router.calls.slots import Slot, Slots
from policy_router.decision.record import Target
from policy_router.domain import Policy
from policy_router.errors import ProviderError
from policy_router.files.clock import Clock, system_clock

_SHORTEST: Final = 0.001
"""The least time that a call gets, in seconds: a limit of nothing would be none."""


def rules_of(
    policy: Policy,
    retries: int,
    longest_wait: float,
    health: HealthStore,
    deadline: float | None = None,
) -> Rules:
    """Return how a plan goes on after a failure, with what the policy's entries say of it.

    Args:
        policy: has the entries.
        retries: how often the plan is tried again after passing failures.
        longest_wait: seconds; a target that asks to be left alone for longer is passed over.
        health: what is known of targets.
        deadline: the moment of the steady clock after which nothing is called; None is never.
    """

    def also(target: Target) -> tuple[int | str, ...]:
        entry = entry_of(policy, target)
        return entry.fallback_on if entry else ()

    def window(target: Target) -> int | None:
        entry = entry_of(policy, target)
        return entry.context_window if entry else None

    clocks = time.monotonic, random.random
    return Rules(retries, longest_wait, also, *clocks, health, deadline, window)


class Plan:
    """The calls of one child, one after the other. For one thread, or one task of an event loop.

    Attributes:
        policy: has the endpoints, and what fallbacks follow on.
        task: what the child is to do, and who is told.
        has_called: whether a call was handed out, which may have been made.
    """

    def __init__(
        self,
        policy: Policy,
        target: Target,
        task: ChildTask,
        *,
        legs: Legs,
        rules: Rules,
        clock: Clock = system_clock,
    ) -> None:
        """Go to the first call.

        Args:
            policy: has the endpoints, and what fallbacks follow on.
            target: what was decided; the task has its fallbacks.
            task: what the child is to do, and who is told.
            legs: makes the legs.
            rules: how it goes on after a failure.
            clock: the time, for a ``Retry-After`` that is a date.

        Raises:
            RequestError: the session's id cannot be sent.
        """
        self.policy, self.task = policy, task
        self._legs, self._rules, self._clock = legs, rules, clock
        self._targets = (target, *task.fallbacks)
        self._steps = attempt_plan(self._targets, rules)
        self._leg: Leg | None = None
        self._call: Call | None = None
        self._slot: Slot | None = None
        self._pause: Pause | None = None
        self._end: Finished | None = None
        self._reply: Reply | None = None
        self._error: ProviderError | None = None
        self.has_called = False
        self._go_on(advance(self._steps))

    # What is to be done now.

    def ready(self) -> Leg | None:
        """Wait until the next call may be made, and return it; None where there is none.

        It waits for a pause, and for a slot where the provider has a limit of calls.
        """
        while (slots := self._awaited_slots()) is not None or self._pause is not None:
            if self._pause is not None:
                time.sleep(self._pause.seconds)
                self._resume()
            elif slots is not None:
                self._look_again(slots, slots.take(self._patience()))
        return self._handed_out()

    async def ready_async(self) -> Leg | None:
        """Wait on the running event loop, like :meth:`ready`."""
        while (slots := self._awaited_slots()) is not None or self._pause is not None:
            if self._pause is not None:
                await asyncio.sleep(self._pause.seconds)
                self._resume()
            elif slots is not None:
                self._look_again(slots, await slots.take_async(self._patience()))
        return self._handed_out()

    @property
    def leg(self) -> Leg | None:
        """The call to make now; None where there is none.

        Nothing is waited for: a target that is to be left alone for a while is passed over, and
        the limit of a provider's calls is not kept. :meth:`ready` waits for both.
        """
        while self._pause is not None:
            self._resume()
        return self._handed_out()

    @property
    def remaining(self) -> tuple[Leg, ...]:
        """The legs after the call at hand that can be called, for a host that goes there itself."""
        leg = self.leg
        if leg is None:
            return ()
        others = self._targets[self._targets.index(leg.target) + 1 :]
        made = [self._legs.leg(self.policy, it, self.task.session_id) for it in others]
        return tuple(it for it in made if isinstance(it, Leg))

    @property
    def pause(self) -> float:
        """The seconds for which :meth:`ready` waits."""
        return 0.0 if self._pause is None else self._pause.seconds

    # What came of it.

    def failed(
        self,
        error: BaseException | Failure | int,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        partial: str = "",
        has_begun: bool = False,
    ) -> bool:
        """Note that the call failed.

        Args:
            error: the exception of any SDK or HTTP client, or the HTTP status of the answer.
            body: the body of the answer, where the exception does not have it.
            headers: the headers of the answer, where the exception does not have them.
            partial: the text that was passed on already: nothing is tried after it.
            has_begun: whether anything else of the answer was passed on already.

        Returns:
            Whether there is another call to make.
        """
        leg = self.leg
        if leg is None:
            return False
        known = Reading(self._clock(), leg.model, self._legs.secrets, body, headers)
        self.answered(failure_from(error, known, partial=partial, has_begun=has_begun))
        return self._end is None

    def done(
        self,
        text: str | None = None,
        *,
        served_model: str | None = None,
        finish_reason: str | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cached_tokens: int | None = None,
    ) -> Reply:
        """Note that the child has its answer.

        Args:
            text: the answer.
            served_model: the model that the provider reports; a warning follows if it is another.
            finish_reason: the provider's reason why the model stopped.
            input_tokens: the tokens of all calls' input.
            output_tokens: the tokens of all calls' answers.
            cached_tokens: how many of the input tokens came from the provider's cache.

        Returns:
            The reply of the child, with its target, every attempt and the warnings.

        Raises:
            ProviderError: the plan has ended without an answer before.
        """
        usage = (input_tokens, output_tokens, cached_tokens)
        self.answered(Reply(text, served_model, finish_reason, *usage))
        return self.reply()

    def answered(self, answer: Reply | Failure) -> None:
        """Note what came of the call; nothing where there is none."""
        leg, self._leg = self.leg, None
        if leg is None:
            return
        self.close()
        log_answer(answer, leg, self.task)
        if isinstance(answer, Reply) and leg.left_out:
            left_out = [f"the model does not take `{name}`" for name in leg.left_out]
            answer = replace(answer, warnings=(*left_out, *answer.warnings))
        self._go_on(advance(self._steps, answer))

    def close(self) -> None:
        """Give back the slot of the call at hand, where the child ends before the call does."""
        slot, self._slot = self._slot, None
        if slot is not None:
            slot.give_back()

    def __del__(self) -> None:
        """Give back the slot of a plan that nobody goes on with."""
        slot = getattr(self, "_slot", None)  # none where the plan was never made
        if slot is not None:
            slot.drop()

    # What it ended with.

    def reply(self) -> Reply:
        """Return the answer of the child.

        Raises:
            ProviderError: no target of the plan answered.
            RuntimeError: it has not ended.
        """
        if self._error is not None:
            raise self._error
        if self._reply is None:
            raise RuntimeError("the plan has not ended")
        return self._reply

    @property
    def has_ended(self) -> bool:
        """Whether there is an answer, or no target left to call."""
        return self._end is not None

    @property
    def error(self) -> ProviderError | None:
        """Why no target of the plan answered; None where one did, or it has not ended."""
        return self._error

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every attempt, once it has ended."""
        return self._end.attempts if self._end else ()

    # Going on.

    def _go_on(self, step: Call | Pause | Finished) -> None:
        """Go on to a call that can be made, to a pause, or to the end."""
        self._leg = self._pause = None
        while isinstance(step, Call):
            leg = self._legs.leg(self.policy, step.target, self.task.session_id)
            if isinstance(leg, Leg):
                self._leg, self._call = leg, step
                return
            tell_attempt(step, self.task)
            step = advance(self._steps, leg)
        if isinstance(step, Pause):
            self._pause = step
            tell_pause(self.task, step)
        else:
            self._finish(step)

    def _resume(self) -> None:
        """Go on after a pause."""
        self._go_on(advance(self._steps))

    def _awaited_slots(self) -> Slots | None:
        """Return the slots that one has to wait for; a slot that is free is taken."""
        if self._leg is None or self._leg.slots is None or self._slot is not None:
            return None
        self._slot = self._leg.slots.take_now()
        return self._leg.slots if self._slot is None else None

    def _look_again(self, slots: Slots, slot: Slot | None) -> None:
        """Go on after one has waited for a slot: the target may have to be left alone by now."""
        self._go_on(advance(self._steps))
        if slot is not None and self._leg is not None and self._leg.slots is slots:
            self._slot = slot
        elif slot is not None:
            slot.give_back()

    def _patience(self) -> float | None:
        """Return how long one may wait for a slot."""
        return None if self._rules.deadline is None else max(0.0, self._rules.remaining)

    def _handed_out(self) -> Leg | None:
        """Return the call to be made, with the time that is left; say once that it begins."""
        leg, call = self._leg, self._call
        if leg is None or call is None:
            return leg
        self._call, self.has_called = None, True
        tell_attempt(call, self.task)
        for name in leg.left_out:
            tell_left_out(call, self.task, name)
        remaining = self._rules.remaining
        if remaining < (inf if leg.limits.total is None else leg.limits.total):
            limits = replace(leg.limits, total=max(remaining, _SHORTEST))
            self._leg = dataclasses.replace(leg, limits=limits)
        return self._leg

    def _finish(self, end: Finished) -> None:
        self._end = end
        try:
            self._reply = concluded(self.policy, end, self.task)
        except ProviderError as error:
            self._error = error
