"""A loop in a thread of its own, for those who wait: it begins late, and ends whole."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from policy_router.delegation.loop import BackgroundLoop, in_a_thread
from tests.support.rows import each


async def nothing() -> None:
    """Do nothing at the end."""


@pytest.fixture
def loop() -> Iterator[BackgroundLoop]:
    loop = BackgroundLoop()
    yield loop
    loop.stop(nothing)


async def name_of_thread() -> str:
    return threading.current_thread().name


def interrupt() -> None:
    """Do what ^C does: the main thread is told."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def threads() -> set[threading.Thread]:
    return {it for it in threading.enumerate() if it.name == "policy-router"}


def test_it_begins_with_the_first_coroutine(loop: BackgroundLoop) -> None:
    before = threads()
    assert loop.run(name_of_thread) == "policy-router"
    assert [it.daemon for it in threads() - before] == [True]


def test_all_coroutines_run_on_one_loop(loop: BackgroundLoop) -> None:
    async def where() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    before = threads()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: loop.run(where), range(32)))
    assert len(found) == 1
    assert len(threads() - before) == 1


def test_several_run_at_the_same_time(loop: BackgroundLoop) -> None:
    async def meet(barrier: asyncio.Barrier) -> int:
        return await barrier.wait()

    async def made() -> asyncio.Barrier:
        return asyncio.Barrier(3)

    barrier = loop.run(made)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(lambda _: loop.run(lambda: meet(barrier)), range(3))) == [0, 1, 2]


def test_what_a_coroutine_raises_is_raised(loop: BackgroundLoop) -> None:
    async def fail() -> None:
        raise LookupError("nowhere")

    with pytest.raises(LookupError, match="nowhere"):
        loop.run(fail)
    assert loop.run(name_of_thread) == "policy-router"


def test_what_keeps_a_coroutine_from_being_made_is_raised(loop: BackgroundLoop) -> None:
    def make() -> Coroutine[None, None, str]:
        raise LookupError("nowhere")

    with pytest.raises(LookupError, match="nowhere"):
        loop.run(make)
    assert loop.run(name_of_thread) == "policy-router"


def test_it_runs_for_one_who_has_a_loop_of_its_own(loop: BackgroundLoop) -> None:
    async def outer() -> str:
        return loop.run(name_of_thread)

    assert asyncio.run(outer()) == "policy-router"


# To interrupt.


@pytest.mark.usefixtures("interrupts")
def test_an_interrupted_wait_has_cancelled_what_it_waited_for_before_it_raises(
    loop: BackgroundLoop,
) -> None:
    seen: list[str] = []

    async def slow() -> None:
        await asyncio.sleep(0.05)
        interrupt()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)
            seen.append("tidied")
            raise

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        loop.run(slow)
    assert seen == ["tidied"]
    assert time.monotonic() - began < 20
    assert loop.run(name_of_thread) == "policy-router"


@pytest.mark.usefixtures("interrupts")
def test_an_interrupt_leaves_what_others_wait_for(loop: BackgroundLoop) -> None:
    async def brief() -> str:
        await asyncio.sleep(0.2)
        return "done"

    async def interrupted() -> None:
        await asyncio.sleep(0.05)
        interrupt()
        await asyncio.sleep(30)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        other = pool.submit(loop.run, brief)
        with pytest.raises(KeyboardInterrupt):
            loop.run(interrupted)
        assert other.result() == "done"


def slowly(begun: threading.Event, seen: list[str]) -> Callable[[], Coroutine[Any, Any, None]]:
    """Return what says that it begins, takes half a minute, and says that it has ended."""

    async def slow() -> None:
        begun.set()
        try:
            await asyncio.sleep(30)
        finally:
            seen.append("ended")

    return slow


# To stop.


def test_to_stop_ends_the_thread_and_what_runs() -> None:
    loop, before = BackgroundLoop(), threads()
    seen: list[str] = []
    begun = threading.Event()
    slow = slowly(begun, seen)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(loop.run, slow)
        begun.wait(10)
        loop.stop(nothing)
        with pytest.raises(RuntimeError, match="closed before the call"):
            waiting.result(10)
    assert seen == ["ended"]
    assert threads() == before


def test_to_stop_what_has_not_begun_or_has_stopped_is_nothing() -> None:
    BackgroundLoop().stop(nothing)
    loop, before = BackgroundLoop(), threads()
    loop.run(name_of_thread)
    loop.stop(nothing)
    loop.stop(nothing)
    assert threads() == before


@pytest.mark.parametrize("begun", [True, False])
def test_after_a_stop_nothing_is_run(*, begun: bool) -> None:
    loop, made = BackgroundLoop(), list[str]()

    async def work() -> None:
        made.append("it ran")

    if begun:
        loop.run(work)
        made.clear()
    loop.stop(nothing)
    with pytest.raises(RuntimeError, match="the delegator is closed"):
        loop.run(work)
    assert made == []


def test_a_run_at_the_time_of_a_stop_ends_one_way_or_the_other() -> None:
    for _ in range(30):
        loop = BackgroundLoop()
        loop.run(name_of_thread)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            waiting = [pool.submit(loop.run, name_of_thread) for _ in range(4)]
            loop.stop(nothing)
            for it in waiting:
                assert isinstance(it.exception(10), RuntimeError | None)


def test_its_own_thread_cannot_wait_for_it(loop: BackgroundLoop) -> None:
    async def nested() -> str:
        return loop.run(name_of_thread)

    with pytest.raises(RuntimeError, match="await delegate_async"):
        loop.run(nested)
    assert loop.run(name_of_thread) == "policy-router"


def test_something_may_be_done_after_all_else_on_the_same_loop() -> None:
    loop = BackgroundLoop()
    seen: list[str] = []
    begun = threading.Event()
    slow = slowly(begun, seen)

    async def last() -> None:
        seen.append(f"last, in {threading.current_thread().name}")

    BackgroundLoop().stop(last)
    assert seen == []  # nothing had begun there
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(loop.run, slow)
        begun.wait(10)
        loop.stop(last)
        waiting.exception(10)
    assert seen == ["ended", "last, in policy-router"]


# Threads for those who block.


@pytest.mark.parametrize("loops", [1, 2])
def test_a_function_runs_in_a_thread_of_its_own_with_the_context_of_the_caller(loops: int) -> None:
    word: contextvars.ContextVar[str] = contextvars.ContextVar("word")

    def call() -> tuple[str, str, bool]:
        thread = threading.current_thread()
        return word.get(), thread.name, thread.daemon

    async def main() -> list[tuple[str, str, bool]]:
        word.set("mine")
        return [await in_a_thread(call) for _ in range(loops)]

    assert asyncio.run(main()) == [("mine", "policy-router-child", True)] * loops


@each(
    ("problem", "raised"),
    [
        (LookupError("a"), LookupError),
        (SystemExit(3), SystemExit),
        (asyncio.CancelledError(), asyncio.CancelledError),
        (concurrent.futures.CancelledError(), concurrent.futures.CancelledError),
        (StopIteration(), RuntimeError),
        (GeneratorExit(), RuntimeError),
    ],
    ids=range(6),
)
def test_whatever_a_thread_raises_is_raised_and_ends_nothing_else(
    problem: BaseException, raised: type[BaseException]
) -> None:
    def call() -> None:
        raise problem

    async def main() -> str:
        try:
            await in_a_thread(call)
        except BaseException as caught:  # noqa: BLE001 - that is the question
            return type(caught).__name__
        return "nothing"

    assert asyncio.run(main()) == raised.__name__


def test_a_wait_for_a_thread_can_be_cancelled_and_the_thread_goes_on() -> None:
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def call() -> None:
        begun.set()
        may_end.wait(10)
        ended.set()

    async def main() -> None:
        waiting = asyncio.create_task(in_a_thread(call))
        await asyncio.to_thread(begun.wait, 10)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())
    assert not ended.is_set()
    may_end.set()  # nobody waits, and the loop is gone
    assert ended.wait(10)
