"""Deadlines of delegations, their finished results, and how much may be under way at once."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec import UnsetType

from policy_router import DecisionLog, Delegator, loads
from policy_router.calls.child_task import ChildTask, Event
from policy_router.calls.results import Delegation, Status
from policy_router.decision.record import Target
from policy_router.delegation.budgets import MemoryBudget, nano
from policy_router.log import LogReader
from tests.support.rows import each

POLICY = loads("{model: m, provider: p}")
LONG = 30.0
"""Seconds that nothing here takes."""


def batch(*goals: str) -> dict[str, Any]:
    return {"tasks": [{"goal": goal} for goal in goals]}


def codes(made: Delegation) -> list[str]:
    return [str(result.error.code if result.error else result.status) for result in made.results]


class Children:
    """Children that wait until they may end, or for ever."""

    def __init__(self) -> None:
        self.may_end = threading.Event()

    def run(self, target: Target, task: ChildTask) -> str:  # noqa: ARG002 - its interface
        if task.goal == "wait":
            self.may_end.wait(LONG)
        return task.goal

    async def run_async(self, target: Target, task: ChildTask) -> str:  # noqa: ARG002 - its interface
        if task.goal == "wait":
            await asyncio.sleep(LONG)
        return task.goal


@pytest.fixture
def children() -> Any:
    made = Children()
    yield made
    made.may_end.set()


@pytest.fixture(params=["function", "coroutine"])
def child(request: pytest.FixtureRequest, children: Children) -> Any:
    return children.run if request.param == "function" else children.run_async


# A deadline.


@pytest.mark.slow
def test_at_its_deadline_a_batch_returns_what_is_finished(child: Any) -> None:
    began = time.monotonic()
    with Delegator(POLICY, run_child=child, deadline=0.2) as it:
        made = it.delegate(batch("a", "wait", "b"))
        assert time.monotonic() - began < LONG / 2
    assert made.status is Status.PARTIAL
    assert codes(made) == ["completed", "timeout", "completed"]
    assert made.results[1].status is Status.FAILED
    assert made.results[1].error is not None
    assert "the deadline passed" in made.results[1].error.message


@pytest.mark.slow
def test_on_an_event_loop_it_is_the_same_and_each_call_may_have_less(child: Any) -> None:
    async def run() -> Delegation:
        async with Delegator(POLICY, run_child=child, deadline=LONG) as it:
            return await it.delegate_async(batch("wait", "a"), deadline=0.1)

    assert codes(asyncio.run(run())) == ["timeout", "completed"]


@pytest.mark.slow
def test_a_single_child_has_the_same_deadline(child: Any) -> None:
    with Delegator(POLICY, run_child=child) as it:
        assert codes(it.delegate({"goal": "wait"}, deadline=0.1)) == ["timeout"]
        assert codes(it.delegate({"goal": "a"}, deadline=LONG)) == ["completed"]


@pytest.mark.slow
def test_what_had_no_turn_before_the_deadline_is_late_too(child: Any, tmp_path: Path) -> None:
    with (
        DecisionLog(tmp_path / "log") as log,
        Delegator(POLICY, run_child=child, concurrency=1, deadline=0.1, log=log) as it,
    ):
        made = it.delegate(batch("a", "wait", "b", "c"))
    assert codes(made) == ["completed", "timeout", "timeout", "timeout"]
    assert made.results[3].error is not None
    assert made.results[3].error.message == "the deadline passed before it began"
    assert [it.is_free for it in made.results] == [False, False, True, True]
    assert [it.effective is None for it in made.results] == [False, False, True, True]
    entries = [line.entry for line in LogReader(tmp_path / "log").lines()]
    ends = [it.execution for it in entries if not isinstance(it.execution, UnsetType)]
    assert [it.error for it in ends if it.event == "finished"].count("timeout") == 3


@pytest.mark.slow
def test_what_had_no_turn_costs_nothing(child: Any) -> None:
    policy = loads(
        "{model: m, provider: p, pool: [{model: m, price: {input: 1, output: 1},"
        " parameters: {max_tokens: 1000}}]}"
    )
    budget = MemoryBudget(1.0)
    options: dict[str, Any] = {"concurrency": 1, "deadline": 0.1, "budget": budget}
    with Delegator(policy, run_child=child, **options) as it:
        made = it.delegate(batch("wait", "a", "b"))
    assert codes(made) == ["timeout"] * 3
    reserved = made.results[0].reserved_usd  # it may have been paid, and nobody says how much
    assert reserved is not None
    assert budget.remaining() == nano(1.0) - nano(reserved)


def test_a_child_knows_how_long_it_has_and_so_do_its_own() -> None:
    seen: list[float | None] = []

    def run(_target: Target, task: ChildTask) -> str:
        seen.append(task.remaining)
        if task.goal == "outer":
            it.delegate({"goal": "inner"}, deadline=1000)
        return ""

    with Delegator(POLICY, run_child=run, deadline=100) as it:
        it.delegate({"goal": "outer"})
    with Delegator(POLICY, run_child=run) as it:
        it.delegate({"goal": "alone"})
    outer, inner, alone = seen
    assert outer is not None
    assert inner is not None
    assert 99 < inner <= outer <= 100
    assert alone is None


def test_a_time_out_of_its_own_is_the_childs_error() -> None:
    async def run(_target: Target, _task: ChildTask) -> str:
        raise TimeoutError("its own")

    with Delegator(POLICY, run_child=run, deadline=LONG) as it:
        assert codes(it.delegate({"goal": "a"})) == ["child_error"]


# Interrupted.


def finished(problem: BaseException) -> list[str]:
    made = Delegation.handed_over(problem)
    assert made is not None
    return codes(made)


async def ended_so_many(events: list[Event], count: int) -> None:
    while sum(event.result is not None for event in events) < count:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.001)


def test_to_cancel_a_delegation_hands_over_what_is_finished(child: Any) -> None:
    events: list[Event] = []

    async def run() -> list[str]:
        async with Delegator(POLICY, run_child=child, watcher=events.append) as it:
            task = asyncio.create_task(it.delegate_async(batch("a", "wait", "b", "wait")))
            await ended_so_many(events, 2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            return finished(caught.value)

    assert asyncio.run(run()) == ["completed", "cancelled", "completed", "cancelled"]


@pytest.mark.slow
def test_a_timeout_around_a_delegation_hands_over_what_is_finished(child: Any) -> None:
    async def run() -> list[str]:
        async with Delegator(POLICY, run_child=child, concurrency=2) as it:
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(0.1):
                    await it.delegate_async(batch("a", "wait", "wait", "wait"))
            return finished(caught.value)

    assert asyncio.run(run()) == ["completed", "cancelled", "cancelled", "cancelled"]


def test_an_exception_of_something_else_hands_over_nothing() -> None:
    assert Delegation.handed_over(ValueError()) is None


@each("seed", range(20))
def test_whenever_it_is_cancelled_finished_siblings_are_kept(seed: int) -> None:
    async def run_child(_target: Target, task: ChildTask) -> str:
        for _ in range(task.index):
            await asyncio.sleep(0)
        return task.goal

    async def run() -> None:
        ended: list[int] = []

        def watch(event: Event) -> None:
            if event.status is Status.COMPLETED:
                ended.append(event.task)

        async with Delegator(POLICY, run_child=run_child, concurrency=3, watcher=watch) as it:
            task = asyncio.create_task(it.delegate_async(batch(*"abcdefgh")))
            for _ in range(3 + seed):
                await asyncio.sleep(0)
            if not task.done():
                task.cancel()
            try:
                made: Delegation | None = await task
            except asyncio.CancelledError as problem:
                made = Delegation.handed_over(problem)
        assert made is not None
        assert [it.task for it in made.results] == [*range(8)]
        kept = [it.task for it in made.results if it.status is Status.COMPLETED]
        assert kept == sorted(ended)

    asyncio.run(run())


# At the same time.


class AtOnce:
    """Children that count themselves."""

    def __init__(self) -> None:
        self.now, self.most = 0, 0
        self.lock = threading.Lock()

    def count(self, step: int) -> None:
        with self.lock:
            self.now += step
            self.most = max(self.most, self.now)

    def run(self, _target: Target, _task: ChildTask) -> str:
        self.count(1)
        time.sleep(0.005)
        self.count(-1)
        return ""

    async def run_async(self, _target: Target, _task: ChildTask) -> str:
        self.count(1)
        await asyncio.sleep(0.005)
        self.count(-1)
        return ""


@pytest.mark.parametrize("way", ["run", "run_async"])
def test_all_batches_together_run_no_more_children_than_may(way: str) -> None:
    at_once = AtOnce()
    with Delegator(POLICY, run_child=getattr(at_once, way), concurrency=3) as it:

        def work() -> None:
            it.delegate(batch(*"abcd"))
            it.delegate({"goal": "alone"})
            asyncio.run(work_async())

        async def work_async() -> None:
            await it.delegate_async(batch(*"ab"))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
    assert (at_once.now, at_once.most) == (0, 3)


def test_children_that_delegate_in_their_turn_do_not_stand_in_their_own_way() -> None:
    at_once = AtOnce()

    def run(target: Target, task: ChildTask) -> str:
        if task.goal == "leaf":
            return at_once.run(target, task)
        it.delegate(batch(*["leaf" if task.goal == "inner" else "inner"] * 3))
        return ""

    with Delegator(POLICY, run_child=run, concurrency=2) as it:
        made = it.delegate(batch(*["outer"] * 4))
    assert made.status is Status.COMPLETED
    assert 1 <= at_once.most <= 2


def test_coroutines_that_delegate_in_their_turn_do_not_either() -> None:
    at_once = AtOnce()

    async def run(target: Target, task: ChildTask) -> str:
        if task.goal == "leaf":
            return await at_once.run_async(target, task)
        await it.delegate_async(batch(*["leaf" if task.goal == "inner" else "inner"] * 3))
        return ""

    with Delegator(POLICY, run_child=run, concurrency=2) as it:
        made = it.delegate(batch(*["outer"] * 4))
    assert made.status is Status.COMPLETED
    assert 1 <= at_once.most <= 2


def test_so_many_tasks_may_be_under_way_nested_ones_included() -> None:
    refused: list[Delegation] = []

    def run(_target: Target, task: ChildTask) -> str:
        if task.goal == "outer":
            refused.append(it.delegate(batch("inner", "inner")))
            it.delegate({"goal": "inner"})
        return ""

    with Delegator(POLICY, run_child=run, max_tasks=2) as it:
        assert it.delegate({"goal": "outer"}).status is Status.COMPLETED
        assert it.delegate(batch("a", "b")).status is Status.COMPLETED
        refused.append(asyncio.run(it.delegate_async(batch("a", "b", "c"))))
    inner, whole = refused
    assert (inner.status, whole.status) == (Status.REFUSED, Status.REFUSED)
    assert inner.error is not None
    assert inner.error.code == "bad_request"
    assert inner.error.message == (
        "$.tasks: at most 2 tasks may be under way at the same time; "
        "1 are; send fewer tasks, or send them later"
    )


@each("options", [{"max_tasks": 0}, {"deadline": 0}, {"deadline": -1}])
def test_a_limit_of_nothing_is_none(options: Any) -> None:
    with pytest.raises(ValueError, match=r"at least 1|above 0"):
        Delegator(POLICY, **options)


def test_a_child_may_delegate_from_a_thread_of_its_own_in_its_context() -> None:
    def run(_target: Target, task: ChildTask) -> str:
        if task.goal == "inner":
            return task.goal
        made: list[Delegation] = []
        inner = contextvars.copy_context().run
        work = threading.Thread(target=lambda: made.append(inner(it.delegate, {"goal": "inner"})))
        work.start()
        work.join(LONG)
        return str(made[0].status)

    with Delegator(POLICY, run_child=run, concurrency=1) as it:
        assert it.delegate({"goal": "outer"}).results[0].text == "completed"


@pytest.mark.slow
def test_one_that_delegates_outside_of_its_context_ends_at_its_deadline() -> None:
    def run(_target: Target, task: ChildTask) -> str:
        if task.goal == "inner":
            return task.goal
        made: list[Delegation] = []

        def work() -> None:
            made.append(it.delegate({"goal": "inner"}, deadline=0.2))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join(LONG)
        return codes(made[0])[0]

    with Delegator(POLICY, run_child=run, concurrency=1) as it:
        assert it.delegate({"goal": "outer"}).results[0].text == "timeout"
