"""The attempts of a child: one target after the other, by the plan of the decision.

It touches nothing itself. It says what to do next, a call or a pause, and is told what came of it;
whoever drives it makes the call, in a thread or on an event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Final

from msgspec import UNSET, Struct
from msgspec.structs import replace

from policy_router.calls.failures import UNSENT, Failure, goes_on, may_hold
from policy_router.calls.results import Attempt, Failing, Reply
from policy_router.decision.record import Target

FIRST_PAUSE: Final = 0.5
"""Seconds before a provider that could not serve is called again, where it names none."""
LONGEST_PAUSE: Final = 8.0
"""The longest of these pauses; they double from round to round."""


class Call(Struct, frozen=True):
    """Call this target now.

    Attributes:
        target: the target.
        number: the number of the attempt, from 1.
        total: how many there can be.
        after: the failure of the attempt before, or None.
    """

    target: Target
    number: int
    total: int
    after: Failure | None = None


class Pause(Struct, frozen=True):
    """Do nothing for a while.

    Attributes:
        seconds: for how long.
        provider: who asked for it, or could not serve.
    """

    seconds: float
    provider: str


class Rules(Struct, frozen=True):
    """How attempts go on after a failure.

    Attributes:
        retries: how often the whole plan is tried again after passing failures.
        longest_wait: seconds; a target that asks to be left alone for longer is passed over.
        also: for a target the statuses and codes after which one goes on too, or not.
        clock: tells seconds, from any beginning.
        chance: returns a number from 0 to 1, so that children do not come back all at once.
        window: for a target its context window, in tokens; None is unknown.
    """

    retries: int
    longest_wait: float
    also: Callable[[Target], Sequence[int | str]]
    clock: Callable[[], float]
    chance: Callable[[], float]
    window: Callable[[Target], int | None] = lambda _target: None


class Finished(Struct, frozen=True):
    """What came of the attempts.

    Attributes:
        last: the answer; else the last failure of a call that was made, if any was.
        attempts: every attempt, in order.
        target: what the answer or that failure came from.
    """

    last: Reply | Failure
    attempts: tuple[Attempt, ...]
    target: Target


AttemptPlan = Generator[Call | Pause, Reply | Failure | None, Finished]


def attempt_plan(plan: Sequence[Target], rules: Rules) -> AttemptPlan:
    """Go along a plan until a target answers, or none is left.

    Args:
        plan: the selected target, and what is planned after it.
        rules: how it goes on.

    Yields:
        What to do next.

    Returns:
        What came of it.
    """
    return (yield from _Walk(plan, rules).run())


def advance(steps: AttemptPlan, answer: Reply | Failure | None = None) -> Call | Pause | Finished:
    """Go on with the attempts.

    Args:
        steps: the plan of attempts.
        answer: what the call brought that it asked for; None at its beginning and after a pause.

    Returns:
        What to do next; or what came of it.
    """
    try:
        return steps.send(answer)
    except StopIteration as end:
        made: Finished = end.value
        return made


class _Walk:
    """One walk along a plan.

    Attributes:
        last: the failure before, made or not.
        decisive: the failure to end with, and its target.
        free_from: provider to the time from which it may be called again.
        hopeless: the places of targets that a further round does not call.
        overflowed: the largest context window for which the input was too long; None is unknown.
    """

    def __init__(self, plan: Sequence[Target], rules: Rules) -> None:
        self.plan, self.rules = plan, rules
        self.total = len(plan) * (rules.retries + 1)
        self.attempts: list[Attempt] = []
        self.last: Failure | None = None
        self.decisive: tuple[Failure, Target] | None = None
        self.free_from: dict[str, float] = {}
        self.hopeless: set[int] = set()
        self.overflowed: int | None = None

    def run(self) -> AttemptPlan:
        for round_ in range(self.rules.retries + 1):
            for place, target in enumerate(self.plan):
                if place in self.hopeless:
                    continue
                made = yield from self.attempt(target, place, round_)
                if made is not None:
                    return made
            if len(self.hopeless) == len(self.plan):
                break
        return self.ended()

    def attempt(
        self, target: Target, place: int, round_: int
    ) -> Generator[Call | Pause, Reply | Failure | None, Finished | None]:
        """Call one target; None where the next one has its turn."""
        if not may_hold(self.rules.window(target), self.overflowed):
            message = "its context window is no larger than one for which the input was too long"
            self.pass_over(target, place, Failure(Failing.CONTEXT_OVERFLOW, message))
            return None
        wait = self.free_from.get(target.provider, 0.0) - self.rules.clock()
        number = len(self.attempts) + 1
        if wait > self.rules.longest_wait:
            message = f"asks to be left alone for {wait:.0f} s, which is too long to wait"
            self.pass_over(target, place, Failure(Failing.RATE_LIMITED, message))
            return None
        if wait > 0:
            yield Pause(wait, target.provider)
        began = self.rules.clock()
        answer = yield Call(target, number, self.total, self.last)
        took = self.rules.clock() - began
        if isinstance(answer, Reply):
            self.attempts.append(_attempt(number, target, took))
            return Finished(answer, tuple(self.attempts), target)
        if answer is None:  # pragma: no cover - whoever drives answers a call
            raise TypeError("a call has an answer")
        self.note(target, answer, took, is_sent=answer.code not in UNSENT)
        if not goes_on(answer, self.rules.also(target), is_fallback=place > 0):
            return self.ended()
        if answer.code is Failing.CONTEXT_OVERFLOW:
            self.overflowed = max(self.overflowed or 0, self.rules.window(target) or 0) or None
        if not answer.passes:
            self.hopeless.add(place)
        self.leave_alone(target.provider, answer, round_)
        return None

    def leave_alone(self, provider: str, failure: Failure, round_: int) -> None:
        """Note until when a provider is not to be called again by this child."""
        if failure.retry_after is not None:
            pause = failure.retry_after
        elif failure.passes and (self.rules.retries or failure.code is Failing.RATE_LIMITED):
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**round_) * (0.5 + self.rules.chance() / 2)
        else:
            return
        self.free_from[provider] = self.rules.clock() + pause

    def pass_over(self, target: Target, place: int, failure: Failure) -> None:
        """Note why a target is not called, in this round or any other."""
        self.note(target, failure, 0.0, is_sent=False)
        self.hopeless.add(place)

    def note(self, target: Target, failure: Failure, took: float, *, is_sent: bool) -> None:
        """Keep a failure; the last one of a call that was made is what the attempts end with."""
        self.last = failure
        if is_sent or self.decisive is None:
            self.decisive = failure, target
        number = len(self.attempts) + 1
        attempt = _attempt(number, target, took, failure)
        self.attempts.append(replace(attempt, is_sent=is_sent))

    def ended(self) -> Finished:
        if self.decisive is None:  # pragma: no cover - a plan has a target
            raise ValueError("the plan is empty")
        return Finished(self.decisive[0], tuple(self.attempts), self.decisive[1])


def _attempt(number: int, target: Target, took: float, failure: Failure | None = None) -> Attempt:
    return Attempt(
        number=number,
        model=target.model,
        provider=target.provider,
        entry=None if target.entry is UNSET else target.entry,
        failure=failure.code if failure else None,
        status=failure.status if failure else 200,
        message=failure.message if failure else None,
        duration_seconds=round(took, 3),
    )
