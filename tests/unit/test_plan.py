"""A plan at work: legs with the time that is left, slots of providers, and what is told when."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from policy_router import Executor, Policy, ProviderError, decide, loads
from policy_router.calls.child_task import ChildTask, Event, EventKind, Reply
from policy_router.calls.failing import Failing
from policy_router.calls.failures import Failure
from policy_router.calls.health import Health
from policy_router.calls.limits import Limits
from policy_router.calls.plan import Plan
from policy_router.calls.slots import ENDPOINTS
from policy_router.decision.record import Target

TEXT = """
model: a
provider: p
providers:
  p: {base_url: 'http://NAME.example'}
  q: {base_url: 'http://q.NAME.example', concurrency: 1}
pool:
  - {name: a, model: a, pick: task.kind == "", fallback: [b], timeouts: {first_byte: 5, total: 60}}
  - {name: b, model: b}
  - {name: c, model: c, provider: q, pick: task.kind == "c", fallback: [d]}
  - {name: d, model: d, provider: q}
"""
LATE = Failure(Failing.TIMEOUT, "late")
LIMITED = Failure(Failing.RATE_LIMITED, "slow down", 429, 3600)


class Seen:
    """What was told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    @property
    def kinds(self) -> list[EventKind]:
        return [event.kind for event in self.events]


@pytest.fixture
def policy(request: pytest.FixtureRequest) -> Policy:
    """Return a policy whose endpoints no other test has."""
    name = "".join(letter for letter in request.node.name.lower() if letter.isalnum())
    return loads(TEXT.replace("NAME", name[:60]))


def planned(
    executor: Executor, kind: str = "", tell: Callable[[Event], None] | None = None, **more: Any
) -> Plan:
    given = {"task": {"kind": kind}} if kind else {}
    record = decide(executor.policy, given, now="2026-01-31T09:00:00Z")
    target = record.decision.target
    assert isinstance(target, Target)
    task = ChildTask(0, "goal", "", kind, "id-1", None, record, tell or Seen(), **more)
    return executor.plan(target, task)


# Time.


def test_a_leg_has_the_limits_of_its_entry_and_else_the_usual_ones(policy: Policy) -> None:
    plan = planned(Executor(policy, timeout=30))
    assert plan.leg is not None
    assert plan.leg.limits == Limits(first_byte=5, idle=30, total=60)
    plan.failed(LATE)
    assert plan.leg is not None
    assert plan.leg.limits == Limits(first_byte=30, idle=30)


def test_a_leg_gets_no_more_than_the_time_that_is_left(policy: Policy) -> None:
    leg = planned(Executor(policy, deadline=20)).leg
    assert leg is not None
    assert leg.limits.total is not None
    assert 19 < leg.limits.total <= 20
    leg = planned(Executor(policy, deadline=100)).leg
    assert leg is not None
    assert leg.limits.total == 60


def test_the_sooner_deadline_counts(policy: Policy) -> None:
    leg = planned(Executor(policy, deadline=20), deadline=time.monotonic() + 10).leg
    assert leg is not None
    assert leg.limits.total is not None
    assert leg.limits.total <= 10


def test_after_the_deadline_there_is_no_leg(policy: Policy) -> None:
    plan = planned(Executor(policy), deadline=time.monotonic() - 1)
    assert plan.ready() is None
    assert plan.error is not None
    assert plan.error.code == "timeout"


@pytest.mark.parametrize("deadline", [0, -1])
def test_a_deadline_of_nothing_is_refused(policy: Policy, deadline: float) -> None:
    with pytest.raises(ValueError, match="the deadline must be above 0"):
        Executor(policy, deadline=deadline)


# For a host's own child.


def test_a_child_of_the_host_goes_along_a_plan(policy: Policy) -> None:
    seen = Seen()
    plan = planned(Executor(policy), tell=seen)
    assert plan.attempts == ()
    with pytest.raises(RuntimeError, match="has not ended"):
        plan.reply()
    assert plan.failed(TimeoutError())
    reply = plan.done("text", served_model="b", input_tokens=1, output_tokens=2)
    assert (reply.text, reply.ran.model if reply.ran else None) == ("text", "b")
    assert [it.failure for it in reply.attempts] == ["timeout", None]
    assert plan.reply() is reply
    assert plan.has_ended
    assert plan.error is None
    assert plan.attempts == reply.attempts
    assert seen.kinds == [EventKind.ATTEMPT, EventKind.ATTEMPT]


def test_a_plan_that_ended_badly_has_no_answer(policy: Policy) -> None:
    plan = planned(Executor(policy))
    assert plan.failed(TimeoutError())
    assert not plan.failed(TimeoutError())
    assert not plan.failed(TimeoutError())
    with pytest.raises(ProviderError, match="timeout"):
        plan.done("text")


def test_an_attempt_is_told_when_it_begins_and_a_pause_before_it(policy: Policy) -> None:
    seen = Seen()
    plan = planned(Executor(policy, retries=1), tell=seen)
    for _ in range(2):
        plan.failed(Failure(Failing.SERVER_ERROR, "busy", 503, 0.02))
    assert plan.pause > 0
    assert seen.kinds == [EventKind.ATTEMPT, EventKind.ATTEMPT, EventKind.WAITING]
    assert plan.ready() is not None
    assert plan.pause == 0
    assert seen.kinds[3:] == [EventKind.ATTEMPT]


def test_whoever_does_not_wait_passes_over_what_is_to_be_left_alone(policy: Policy) -> None:
    plan = planned(Executor(policy, retries=1))
    plan.failed(LATE)
    plan.failed(LATE)
    assert plan.leg is None
    assert [it.is_sent for it in plan.attempts] == [True, True, False, False]


@pytest.mark.parametrize("on_loop", [False, True])
def test_a_pause_is_waited_for(policy: Policy, *, on_loop: bool) -> None:
    plan = planned(Executor(policy, retries=1))
    for _ in range(2):
        plan.failed(Failure(Failing.SERVER_ERROR, "busy", 503, 0.02))
    began = time.monotonic()
    leg = asyncio.run(plan.ready_async()) if on_loop else plan.ready()
    assert leg is not None
    assert leg.model == "a"
    assert time.monotonic() - began < 5


# The slots of a provider.


def slots(plan: Plan) -> Any:
    assert plan.leg is not None
    assert plan.leg.slots is not None
    return plan.leg.slots


def test_a_call_has_a_slot_from_its_beginning_to_its_end(policy: Policy) -> None:
    plan = planned(Executor(policy), "c")
    assert slots(plan).taken == 0
    assert plan.ready() is not None
    assert plan.ready() is not None
    assert slots(plan).taken == 1
    held = slots(plan)
    plan.done("text")
    assert held.taken == 0


def test_between_two_calls_at_a_provider_others_have_their_turn(policy: Policy) -> None:
    plan = planned(Executor(policy), "c")
    plan.ready()
    held = slots(plan)
    plan.failed(LATE)
    assert held.taken == 0
    leg = asyncio.run(plan.ready_async())
    assert leg is not None
    assert (leg.model, held.taken) == ("d", 1)
    plan.close()
    assert held.taken == 0


def test_a_plan_that_is_let_go_gives_its_slot_back(policy: Policy) -> None:
    plan = planned(Executor(policy), "c")
    plan.ready()
    held = slots(plan)
    del plan
    gc.collect()
    assert held.taken == 0


@pytest.mark.parametrize("on_loop", [False, True])
def test_whoever_waited_for_a_slot_looks_whether_the_target_rests(
    policy: Policy, *, on_loop: bool
) -> None:
    executor = Executor(policy, health=Health())
    first, seen = planned(executor, "c"), Seen()
    first.ready()
    held = slots(first)
    second = planned(executor, "c", tell=seen)
    got: list[str | None] = []

    def wait() -> None:
        leg = asyncio.run(second.ready_async()) if on_loop else second.ready()
        got.append(leg.model if leg else None)

    thread = threading.Thread(target=wait)
    thread.start()
    until = time.monotonic() + 10
    while not held.waiting:
        assert time.monotonic() < until
        time.sleep(0.001)
    first.failed(LIMITED)
    first.close()
    thread.join(10)
    assert got == ["d"]
    assert held.taken == 1
    reply = second.done("text")
    assert [(it.model, it.is_sent) for it in reply.attempts] == [("c", False), ("d", True)]
    assert seen.kinds == [EventKind.ATTEMPT]


@pytest.mark.parametrize("on_loop", [False, True])
def test_a_slot_is_waited_for_while_there_is_time(policy: Policy, *, on_loop: bool) -> None:
    executor = Executor(policy)
    first = planned(executor, "c")
    first.ready()
    second = planned(executor, "c", deadline=time.monotonic() + 0.05)
    leg = asyncio.run(second.ready_async()) if on_loop else second.ready()
    assert leg is None
    assert second.error is not None
    assert second.error.code == "timeout"
    assert slots(first).taken == 1


def test_the_slots_are_those_of_the_process(policy: Policy) -> None:
    one, two = planned(Executor(policy), "c"), planned(Executor(policy), "c")
    assert slots(one) is slots(two)
    assert slots(one) is ENDPOINTS.slots("q", one.leg.base_url if one.leg else "", 1)


def test_an_answer_of_the_executor_is_noted_once(policy: Policy) -> None:
    plan = planned(Executor(policy))
    plan.answered(Reply("text"))
    plan.answered(Reply("another"))
    assert plan.reply().text == "text"
