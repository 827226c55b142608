"""Runs children: a limited number at a time, each with its deadline, slot and end."""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections.abc import Awaitable, Callable, Sequence

from msgspec.structs import replace

from policy_router.calls.child_task import ChildTask, Reply, Watcher
from policy_router.calls.executor import Executor
from policy_router.calls.failing import Failing
from policy_router.calls.results import Result, Status
from policy_router.calls.slots import Slots
from policy_router.decision.record import Target
from policy_router.delegation.batch import Planned
from policy_router.delegation.budgets import Purse
from policy_router.delegation.child import task_of, tell_finished, tell_started
from policy_router.delegation.current_decision import decision_scope
from policy_router.delegation.held import holding
from policy_router.delegation.loop import BackgroundLoop, in_a_thread
from policy_router.delegation.outcomes import completed, failed
from policy_router.delegation.tasks import GRACE, seconds_to
from policy_router.errors import ProviderError
from policy_router.log.write.decision_log import DecisionLog

Answer = Reply | str
"""What a child has to say, or only its text."""
RunChild = Callable[[Target, ChildTask], Answer | Awaitable[Answer]]
"""Runs one child at a target, in a thread or as a coroutine; what it raises is the task's error."""


class Children:
    """Runs the children of a delegator, of all its batches."""

    def __init__(
        self,
        executor: Executor,
        run_child: RunChild | None,
        *,
        concurrency: int,
        purse: Purse,
        loop: BackgroundLoop,
        watcher: Watcher | None,
        log: DecisionLog | None,
    ) -> None:
        """Prepare to run children.

        Args:
            executor: makes the model calls; its keys are removed from texts.
            run_child: runs a child in place of the executor.
            concurrency: how many run at the same time.
            purse: settles what each cost.
            loop: the event loop for callers that have none.
            watcher: is told the events of all.
            log: keeps the events.
        """
        self._executor, self._policy = executor, executor.policy
        self._run_child, self._concurrency = run_child, concurrency
        self._slots, self._purse, self._loop = Slots(concurrency), purse, loop
        self._watcher, self._log = watcher, log

    def run(
        self,
        chosen: Sequence[Planned],
        ran: dict[int, Result],
        until: float | None,
        watcher: Watcher | None,
    ) -> None:
        """Run children, and wait for them; one that has no deadline, in this thread.

        Args:
            chosen: what they are to do.
            ran: takes the results, as they come.
            until: the moment by which all have to be done, by the monotonic clock; None is never.
            watcher: is told the events, too.
        """
        if len(chosen) == 1 and until is None and not _is_coroutine(self._run_child):
            with holding(self._slots, self._slots.take()):
                self._one(chosen[0], ran, watcher)
        elif chosen:
            self._loop.run(lambda: self.run_all(chosen, ran, until, watcher))

    async def run_all(
        self,
        batch: Sequence[Planned],
        ran: dict[int, Result],
        until: float | None,
        watcher: Watcher | None,
    ) -> None:
        """Run children on the running event loop, like :meth:`run`."""
        waiting = iter(batch)

        async def work() -> None:
            for plan in waiting:
                slot = await self._slots.take_async(seconds_to(until))
                if slot is None:
                    ran[plan.index] = self._late(plan, watcher)
                    continue
                with holding(self._slots, slot):
                    await self._one_async(plan, ran, until, watcher)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._concurrency, len(batch))):
                group.create_task(work())

    def _one(self, plan: Planned, ran: dict[int, Result], watcher: Watcher | None) -> None:
        """Run a child in this thread."""
        target, task = self._started(plan, None, watcher)
        began = time.monotonic()
        try:
            with decision_scope(task):
                answer = (self._run_child or self._executor.run_child)(target, task)
                if inspect.isawaitable(answer):
                    waiting = answer
                    answer = self._loop.run(lambda: _awaited(waiting))
            result = completed(self._policy, plan, answer, self._executor.secrets)
        except (KeyboardInterrupt, GeneratorExit):
            cancelled = plan.result(Status.CANCELLED, self._policy)
            ran[plan.index] = self._finished(cancelled, task, began)
            raise
        except BaseException as problem:  # noqa: BLE001 - what a child raises is its error
            result = failed(self._policy, plan, problem, self._executor.secrets)
        ran[plan.index] = self._finished(result, task, began)

    async def _one_async(
        self,
        plan: Planned,
        ran: dict[int, Result],
        until: float | None,
        watcher: Watcher | None,
    ) -> None:
        """Run a child on the event loop."""
        target, task = self._started(plan, until, watcher)
        began = time.monotonic()
        limit = asyncio.timeout(seconds_to(until, more=GRACE))
        try:
            with decision_scope(task):
                async with limit:
                    answer = await self._answer(target, task)
            result = completed(self._policy, plan, answer, self._executor.secrets)
        except BaseException as problem:
            if isinstance(problem, asyncio.CancelledError) and _is_being_cancelled():
                cancelled = plan.result(Status.CANCELLED, self._policy)
                ran[plan.index] = self._finished(cancelled, task, began)
                raise
            late = ProviderError(Failing.TIMEOUT, "the deadline passed")
            is_late = limit.expired() and isinstance(problem, TimeoutError)
            why = late if is_late else problem
            result = failed(self._policy, plan, why, self._executor.secrets)
        ran[plan.index] = self._finished(result, task, began)

    def _late(self, plan: Planned, watcher: Watcher | None) -> Result:
        """Return the result of a task that had no turn before the deadline; it cost nothing."""
        task = task_of(plan, self._log, self._watcher, watcher)
        late = ProviderError(Failing.TIMEOUT, "the deadline passed before it began")
        result = failed(self._policy, plan, late, self._executor.secrets)
        return tell_finished(replace(result, effective=None), task, time.monotonic())

    async def _answer(self, target: Target, task: ChildTask) -> Answer:
        if self._run_child is None:
            return await self._executor.run_child_async(target, task)
        if _is_coroutine(self._run_child):
            answer = self._run_child(target, task)
        else:
            answer = await in_a_thread(functools.partial(self._run_child, target, task))
        return await answer if inspect.isawaitable(answer) else answer

    def _started(
        self, plan: Planned, until: float | None, watcher: Watcher | None
    ) -> tuple[Target, ChildTask]:
        """Say that a child begins."""
        target = plan.target
        if target is None:  # pragma: no cover - only what is selected is run
            raise TypeError("a child needs a target")
        task = replace(task_of(plan, self._log, self._watcher, watcher), deadline=until)
        tell_started(task, target)
        return target, task

    def _finished(self, result: Result, task: ChildTask, began: float) -> Result:
        """Settle what a child cost, and say that it has ended."""
        return tell_finished(self._purse.settled(result), task, began)


def _is_coroutine(run_child: RunChild | None) -> bool:
    """Tell whether a host's child is a coroutine function, or an object that is called as one."""
    return inspect.iscoroutinefunction(run_child) or inspect.iscoroutinefunction(
        getattr(run_child, "__call__", None)  # noqa: B004 - it is asked of what kind it is
    )


def _is_being_cancelled() -> bool:
    """Tell whether somebody cancels the running task, or only something in it was cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _awaited(answer: Awaitable[Answer]) -> Answer:
    return await answer
