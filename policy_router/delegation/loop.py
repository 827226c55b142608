"""An event loop in a thread of its own, for callers that have none."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import copy_context
from typing import Any, TypeVar

from policy_router.files.forks import begins_again, keep

T = TypeVar("T")


class BackgroundLoop:
    """Runs coroutines for threads that wait. It begins with the first one."""

    def __init__(self) -> None:
        """Begin nothing yet."""
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._is_stopped = False
        begins_again(self)

    def begin_again(self) -> None:
        """Have no loop, no thread, and a new lock: in a process that was forked."""
        keep(self._loop, self._thread)
        self._loop = self._thread = None
        self._lock = threading.Lock()

    def run(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine, and wait for it.

        Where the wait is interrupted, the coroutine is cancelled, and has ended before this
        raises: nothing goes on behind the back of whoever interrupted.

        Args:
            make: makes the coroutine.

        Raises:
            RuntimeError: the loop was stopped; or this is its own thread, which cannot wait.
        """
        outcome: concurrent.futures.Future[T] = concurrent.futures.Future()
        tasks: list[asyncio.Task[T]] = []

        def begin() -> None:
            try:
                tasks.append(loop.create_task(make()))
            except BaseException as problem:  # noqa: BLE001 - whoever waits has to know
                outcome.set_exception(problem)
            else:
                tasks[0].add_done_callback(lambda task: _pass_on(task, outcome))

        def cancel() -> None:
            tasks[0].cancel()

        with self._lock:
            loop = self._begun()
            loop.call_soon_threadsafe(begin)
        try:
            return outcome.result()
        except BaseException:
            if not outcome.done():
                loop.call_soon_threadsafe(cancel)
                concurrent.futures.wait([outcome])
            raise

    def _begun(self) -> asyncio.AbstractEventLoop:
        if self._is_stopped:
            raise RuntimeError("the delegator is closed")
        if threading.current_thread() is self._thread:
            raise RuntimeError("a coroutine cannot wait for delegate(); await delegate_async()")
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._loop.run_forever, name="policy-router", daemon=True
            )
            self._thread.start()
        return self._loop

    def stop(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Cancel what runs, and end the thread. Nothing can be run any more.

        Args:
            last: makes what is run after everything else.
        """
        with self._lock:
            self._is_stopped = True
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(_wind_up(last), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _pass_on(task: asyncio.Task[T], outcome: concurrent.futures.Future[T]) -> None:
    """Give what became of a task to the thread that waits for it."""
    if task.cancelled():
        outcome.set_exception(RuntimeError("the delegator was closed before the call ended"))
        return
    problem = task.exception()
    if problem is not None:
        outcome.set_exception(problem)
    else:
        outcome.set_result(task.result())


async def in_a_thread(call: Callable[[], T]) -> T:
    """Run a function in a thread of its own, and wait for it.

    Nothing can stop a thread: where the wait is cancelled, it goes on, and does not keep the
    process from ending.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()
    context = copy_context()

    def work() -> None:
        answer: T | None = None
        problem: BaseException | None = None
        try:
            answer = context.run(call)
        except BaseException as caught:  # noqa: BLE001 - it is the caller's
            problem = caught
        with suppress(RuntimeError):  # the loop is gone, and with it whoever waited
            loop.call_soon_threadsafe(_settle, outcome, answer, problem)

    threading.Thread(target=work, name="policy-router-child", daemon=True).start()
    return await outcome


def _settle(outcome: asyncio.Future[Any], answer: Any, problem: BaseException | None) -> None:
    if outcome.cancelled():
        return
    if isinstance(problem, StopIteration | GeneratorExit):  # these would end who waits
        problem = RuntimeError(type(problem).__name__)
    if problem is not None:
        outcome.set_exception(problem)
    else:
        outcome.set_result(answer)


async def _wind_up(last: Callable[[], Coroutine[Any, Any, None]]) -> None:
    here = asyncio.current_task()
    tasks = [task for task in asyncio.all_tasks() if task is not here]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await last()
    await asyncio.get_running_loop().shutdown_asyncgens()
