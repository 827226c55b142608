"""The attempts of a child: one target after the other, by the plan of the decision.

It touches nothing itself. It says what to do next, a call or a pause, and is told what came of it;
whoever drives it makes the call, in a thread or on an event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from math import inf
from typing import Final

from msgspec import UNSET, Struct
from msgspec.structs import replace

from policy_router.calls.child_task import Reply
from policy_router.calls.failing import Attempt, Failing
from policy_router.calls.failures import UNSENT, Failure, goes_on, may_hold
from policy_router.calls.health import Guarded, Health, HealthStore, Rest
from policy_router.decision.record import Target

FIRST_PAUSE: Final = 0.5
"""Seconds before a provider that could not serve is called again, where it names none."""
_NEVER: Final = 2**62
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
        health: what is known of targets; None is what this child itself sees of them.
        deadline: the moment by the clock after which nothing is called; None is never.
        window: for a target its context window, in tokens; None is unknown.
    """

    retries: int
    longest_wait: float
    also: Callable[[Target], Sequence[int | str]]
    clock: Callable[[], float]
    chance: Callable[[], float]
    health: HealthStore | None = None
    deadline: float | None = None
    window: Callable[[Target], int | None] = lambda _target: None

    @property
    def remaining(self) -> float:
        """The seconds until the deadline; infinite without one."""
        return inf if self.deadline is None else self.deadline - self.clock()


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
        free_from: the time from which this child may call a model of a provider again.
        hopeless: the places of targets that a further round does not call.
        overflowed: the largest context window for which the input was too long; None is unknown.
    """

    def __init__(self, plan: Sequence[Target], rules: Rules) -> None:
        self.plan, self.rules = plan, rules
        self.health = Guarded(rules.health or Health(rules.clock, failures=_NEVER))
        self.total = len(plan) * (rules.retries + 1)
        self.attempts: list[Attempt] = []
        self.last: Failure | None = None
        self.decisive: tuple[Failure, Target] | None = None
        self.free_from: dict[tuple[str, str], float] = {}
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
            why = "its context window is no larger than one for which the input was too long"
            self.note(target, Failure(Failing.CONTEXT_OVERFLOW, why), 0.0, is_sent=False)
            self.hopeless.add(place)
            return None
        number, has_waited = len(self.attempts) + 1, False
        while True:
            if self.rules.remaining <= 0:
                return self.too_late(target)
            rest = self.rest(target)
            if rest is not None and self.passes_over(target, place, rest, has_waited=has_waited):
                return None
            if rest is not None:
                has_waited = True
                yield Pause(rest.seconds, target.provider)
                continue
            began = self.rules.clock()
            answer = yield Call(target, number, self.total, self.last)
            if answer is not None:
                break
        took = self.rules.clock() - began
        if isinstance(answer, Reply):
            self.health.answered(target.provider, target.model)
            self.attempts.append(_attempt(number, target, took))
            return Finished(answer, tuple(self.attempts), target)
        return self.failed(target, place, round_, answer, took)

    def failed(
        self, target: Target, place: int, round_: int, failure: Failure, took: float
    ) -> Finished | None:
        """Note a failure; None where the next target has its turn."""
        is_sent = failure.code not in UNSENT
        self.note(target, failure, took, is_sent=is_sent)
        if is_sent and not (failure.code is Failing.TIMEOUT and self.rules.remaining <= 0):
            self.health.failed(target.provider, target.model, failure)
        if not goes_on(failure, self.rules.also(target), is_fallback=place > 0):
            return self.ended()
        if failure.code is Failing.CONTEXT_OVERFLOW:
            self.overflowed = max(self.overflowed or 0, self.rules.window(target) or 0) or None
        if not failure.passes:
            self.hopeless.add(place)
        self.leave_alone(target, failure, round_)
        return None

    # Who is left alone.

    def rest(self, target: Target) -> Rest | None:
        """Return for how long a target is left alone, by everybody or by this child."""
        shared = self.health.rest(target.provider, target.model)
        own = self.free_from.get((target.provider, target.model), 0.0) - self.rules.clock()
        if own > 0 and (shared is None or own > shared.seconds):
            return Rest(own, Failing.RATE_LIMITED)
        return shared

    def passes_over(self, target: Target, place: int, rest: Rest, *, has_waited: bool) -> bool:
        """Pass over a target that is left alone, unless to wait for it is all that can be done."""
        too_long = rest.seconds > min(self.rules.longest_wait, self.rules.remaining)
        if not (too_long or has_waited or self.another_is_free(place)):
            return False
        asks = rest.code is Failing.RATE_LIMITED
        why = "asks to be left alone" if asks else "failed several times, and is left alone"
        then = ", which is too long to wait" if too_long else ""
        failure = Failure(rest.code, f"{why} for {rest.seconds:.0f} s{then}")
        self.note(target, failure, 0.0, is_sent=False)
        if too_long:
            self.hopeless.add(place)
        return True

    def another_is_free(self, place: int) -> bool:
        """Tell whether a later target of this round may be called at once."""
        later = [it for it in range(place + 1, len(self.plan)) if it not in self.hopeless]
        return any(self.rest(self.plan[it]) is None for it in later)

    def leave_alone(self, target: Target, failure: Failure, round_: int) -> None:
        """Note until when a target is not to be called again by this child."""
        if failure.retry_after is not None:
            pause = failure.retry_after
        elif failure.passes and (self.rules.retries or failure.code is Failing.RATE_LIMITED):
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**round_) * (0.5 + self.rules.chance() / 2)
        else:
            return
        self.free_from[target.provider, target.model] = self.rules.clock() + pause

    # Noting and ending.

    def note(self, target: Target, failure: Failure, took: float, *, is_sent: bool) -> None:
        """Keep a failure; the last one of a call that was made is what the attempts end with."""
        self.last = failure
        if is_sent or self.decisive is None:
            self.decisive = failure, target
        number = len(self.attempts) + 1
        attempt = _attempt(number, target, took, failure)
        self.attempts.append(replace(attempt, is_sent=is_sent))

    def too_late(self, target: Target) -> Finished:
        """End since the deadline has passed; what failed before it is said besides."""
        if self.decisive is None or self.decisive[0].code is not Failing.TIMEOUT:
            before = f"; before that: {self.decisive[0].message}" if self.decisive else ""
            last = self.decisive[1] if self.decisive else target
            late = Failure(Failing.TIMEOUT, f"the deadline passed{before}")
            self.note(target, late, 0.0, is_sent=False)
            self.decisive = late, last
        return self.ended()

    def ended(self) -> Finished:
        if self.decisive is None:  # pragma: no cover - a plan has a target
            raise ValueError("the plan is empty")
        return Finished(self.decisive[0], tuple(self.attempts), self.decisive[1])


def _attempt(number: int, target: Target, took: float, failure: Failure | None = None) -> Attempt:
    paid = failure.answer if failure else None
    return Attempt(
        number=number,
        model=target.model,
        provider=target.provider,
        entry=None if target.entry is UNSET else target.entry,
        failure=failure.code if failure else None,
        status=failure.status if failure else 200,
        message=failure.message if failure else None,
        duration_seconds=round(took, 3),
        input_tokens=paid.input_tokens if paid else None,
        output_tokens=paid.output_tokens if paid else None,
    )
