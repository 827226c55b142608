"""The delegator: a ``delegate_task`` call to decisions, decisions to children, children to results.

A batch is decided whole before its first child begins. Results come in the order of the tasks,
and say what really ran.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from msgspec.structs import replace

from policy_router.calls.child_task import Watcher
from policy_router.calls.closeable import Closeable
from policy_router.calls.connections import require_http
from policy_router.calls.costs import estimate
from policy_router.calls.executor import Executor
from policy_router.calls.results import Delegation, Result, Status, hand_over
from policy_router.delegation.batch import CountTokens, Planned, count_tokens
from policy_router.delegation.budgets import Budget, MemoryBudget, Purse
from policy_router.delegation.children import Children, RunChild
from policy_router.delegation.current_decision import parent_of, until_of
from policy_router.delegation.decider import Decider, Facts
from policy_router.delegation.held import lent, lent_async
from policy_router.delegation.log_events import decided, log_denied
from policy_router.delegation.loop import BackgroundLoop
from policy_router.delegation.outcomes import overall, refused_whole, totals
from policy_router.delegation.tasks import Tasks
from policy_router.delegation.tool import Format, tool
from policy_router.domain import Policy
from policy_router.errors import ArgumentsError, BudgetError
from policy_router.files.clock import Clock, system_clock
from policy_router.files.ids import Ids, uuid7
from policy_router.log.write.decision_log import DecisionLog
from policy_router.log.write.drafts import Decided


class Delegator(Closeable):
    """Delegates tasks by a policy. Safe to share between threads and event loops.

    Close it, or use it in ``with``: it keeps connections open, and a thread for batches.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        executor: Executor | None = None,
        run_child: RunChild | None = None,
        concurrency: int = 8,
        max_tasks: int | None = None,
        deadline: float | None = None,
        on_refused: Literal["refuse", "skip"] = "refuse",
        watcher: Watcher | None = None,
        counts: CountTokens | None = count_tokens,
        clock: Clock = system_clock,
        ids: Ids = uuid7,
        log: DecisionLog | None = None,
        max_cost_usd: float | None = None,
        budget: Budget | None = None,
    ) -> None:
        """Prepare to delegate; nothing is opened yet.

        Args:
            policy: the policy that decides.
            executor: makes the model calls; default: an executor with default options.
            run_child: runs a child in place of the executor: the host's own agent loop.
            concurrency: how many children run at the same time, of all batches together. A child
                that waits for children of its own does not count.
            max_tasks: how many tasks may be under way at the same time, those that wait for their
                turn and those of nested delegations included; None: no limit.
            deadline: seconds that a delegation may take in all; None: no limit. Then the finished
                results are returned, and the other tasks have failed with ``timeout``.
            on_refused: after a refused task, ``refuse`` the whole batch, or ``skip`` this task and
                run the others.
            watcher: is called with each event, in the thread of the event.
            counts: estimates the input tokens of a task, as a lower bound for the task's own
                figure; None: no estimate.
            clock: the time of decisions.
            ids: the ids of decisions.
            log: every decision is logged before its child starts, and its execution before the
                results are returned. The delegator does not close the log.
            max_cost_usd: US dollars that all children of this delegator may cost together; short
                for a :class:`MemoryBudget`.
            budget: what the children may cost, shared with whoever else has it. Before a batch
                starts, the most that its tasks may cost is reserved.

        Raises:
            ValueError: the executor has another policy, or an option has a wrong value.
        """
        if concurrency < 1 or (max_tasks is not None and max_tasks < 1):
            raise ValueError("concurrency and max_tasks must be at least 1")
        if deadline is not None and deadline <= 0:
            raise ValueError("the deadline must be above 0")
        if on_refused not in {"refuse", "skip"}:
            raise ValueError("on_refused must be refuse or skip")
        if max_cost_usd is not None:
            if budget is not None:
                raise ValueError("a delegator has max_cost_usd or a budget, not both")
            budget = MemoryBudget(max_cost_usd)
        if executor is not None and executor.policy is not policy:
            raise ValueError("the executor is of another policy")
        self.policy = policy
        self.executor = executor or Executor(policy)
        self._run_child, self._log = run_child, log
        self._tasks, self._deadline = Tasks(max_tasks), deadline
        self._purse = Purse(budget)
        self._decider = Decider(policy, self._purse, counts, clock, ids, skips=on_refused == "skip")
        self._loop = BackgroundLoop()
        self._children = Children(
            self.executor,
            run_child,
            concurrency=concurrency,
            purse=self._purse,
            loop=self._loop,
            watcher=watcher,
            log=log,
        )
        self._owns_executor, self._is_closed = executor is None, False

    @property
    def has_budget(self) -> bool:
        """Whether it states the section ``budget`` of requests itself."""
        return self._purse.is_limited

    def tool(
        self,
        facts: Facts = None,
        *,
        format: Format = "openai",  # noqa: A002 - what users call it
        strict: bool = False,
    ) -> dict[str, Any]:
        """Return the definition of the tool ``delegate_task`` for an agent.

        Args:
            facts: as for :meth:`delegate`. They should not change from call to call, since the
                definition changes with them.
            format: the API that takes it: ``openai`` (Chat Completions), ``openai-responses``,
                ``anthropic``, ``gemini`` or ``mcp``.
            strict: whether the model has to give every argument; null asks for nothing.

        Raises:
            RequestError: they do not fit the policy.
            ValueError: there is no such format.
        """
        return tool(self.policy, facts, format=format, strict=strict)

    def plan(
        self,
        arguments: Mapping[str, Any] | str | bytes,
        facts: Facts = None,
        *,
        session_id: str | None = None,
    ) -> Delegation:
        """Decide a call of the tool, and estimate its cost; no model is called.

        Arguments and errors are those of :meth:`delegate`. Nothing is logged.
        """
        try:
            batch = self._open().decide(arguments, facts, session_id, is_run=False)
        except (ArgumentsError, BudgetError) as problem:
            return refused_whole(problem, session_id)
        results = [self._estimated(plan) for plan in batch]
        return self._delegation(batch, results, session_id)

    def delegate(
        self,
        arguments: Mapping[str, Any] | str | bytes,
        facts: Facts = None,
        *,
        session_id: str | None = None,
        parent_id: str | None = None,
        tags: Sequence[str] = (),
        deadline: float | None = None,
        watcher: Watcher | None = None,
    ) -> Delegation:
        """Decide and run a call of the tool, and wait for the results.

        Args:
            arguments: the arguments of the call, or their JSON.
            facts: the host's sections of the request: ``parent`` (the target of the delegating
                agent), ``caller`` (for whom the agent works), ``budget`` and ``facts``.
            session_id: the session to continue at the providers; it is also in the results.
            parent_id: for the log, the id of the decision under which the delegating agent runs;
                not needed in a child of ``run_child``.
            tags: for the log, up to eight words of the host's own.
            deadline: seconds that this delegation may take in all, if that is less than the
                delegator's.
            watcher: is called with each event, besides the delegator's own watcher.

        Returns:
            The results, in the order of the tasks. A task that is refused or fails is a result.
            Arguments that are not understood are a refusal with the code ``bad_request``, whose
            message says where and what to send.

        Raises:
            RequestError: the facts are malformed; the path is the place. No child ran.
            LogError: the decisions cannot be logged, so they are denied. No child ran.
            ModuleNotFoundError: a child needs the extra ``run``. Nothing was logged, no child ran.
            RuntimeError: the delegator is closed; or this is a coroutine of a child, which must
                await :meth:`delegate_async`.
        """
        try:
            batch = self._open().decide(arguments, facts, session_id)
        except (ArgumentsError, BudgetError) as problem:
            return refused_whole(problem, session_id)
        ran: dict[int, Result] = {}
        with self._purse.holding([plan.decision_id for plan in batch]):
            chosen = self._chosen(batch)
            try:
                counted = self._tasks.count(len(chosen))
            except ArgumentsError as problem:
                return refused_whole(problem, session_id)
            with counted:
                if self._log is not None:
                    self._log.decisions(self.policy, _decided_by(batch, parent_id, tags))
                    log_denied(self._log, batch, self.policy)
                with lent(), self._handing_over(batch, ran, session_id):
                    self._children.run(chosen, ran, until_of(self._deadline, deadline), watcher)
        if self._log is not None:
            self._log.flush()
        return self._delegation(batch, self._in_order(batch, ran), session_id)

    async def delegate_async(
        self,
        arguments: Mapping[str, Any] | str | bytes,
        facts: Facts = None,
        *,
        session_id: str | None = None,
        parent_id: str | None = None,
        tags: Sequence[str] = (),
        deadline: float | None = None,
        watcher: Watcher | None = None,
    ) -> Delegation:
        """Decide and run a call of the tool on the running event loop, like :meth:`delegate`.

        Cancelling it cancels its children; :meth:`Delegation.handed_over` has what was finished.
        """
        try:
            batch = await self._open().decide_async(arguments, facts, session_id)
        except (ArgumentsError, BudgetError) as problem:
            return refused_whole(problem, session_id)
        ran: dict[int, Result] = {}
        with self._purse.holding([plan.decision_id for plan in batch]):
            chosen = self._chosen(batch)
            try:
                counted = self._tasks.count(len(chosen))
            except ArgumentsError as problem:
                return refused_whole(problem, session_id)
            with counted:
                if (log := self._log) is not None:
                    decisions = _decided_by(batch, parent_id, tags)
                    await log.decisions_async(self.policy, decisions)
                    log_denied(log, batch, self.policy)
                until = until_of(self._deadline, deadline)
                async with lent_async():
                    with self._handing_over(batch, ran, session_id):
                        await self._children.run_all(chosen, ran, until, watcher)
        if log is not None:
            await log.flush_async()
        return self._delegation(batch, self._in_order(batch, ran), session_id)

    def _open(self) -> Decider:
        if self._is_closed:
            raise RuntimeError("the delegator is closed")
        return self._decider

    def _estimated(self, plan: Planned) -> Result:
        """Return a result that was only decided, with what it may take."""
        if plan.target is None:
            return plan.result(Status.REFUSED, self.policy)
        tokens = plan.record.request.get("task", {}).get("input_tokens")
        before = plan.result(Status.DECIDED, self.policy)
        hindrance = None if self._run_child else self.executor.missing(plan.target.provider)
        notes = () if hindrance is None else (f"cannot be called now: {hindrance}",)
        guess = estimate(self.policy, plan.target, tokens)
        return replace(before, estimate=guess, warnings=(*before.warnings, *notes))

    def _chosen(self, batch: Sequence[Planned]) -> list[Planned]:
        """Return the tasks that are run; where the executor runs them, it needs the SDK."""
        if self._decider.refusing(batch) is not None:
            return []
        chosen = [plan for plan in batch if plan.target is not None]
        if chosen and self._run_child is None:
            require_http()
        return chosen

    def _in_order(self, batch: Sequence[Planned], ran: Mapping[int, Result]) -> list[Result]:
        """Return a result for every task: those that ran, and what the others are instead."""
        return [
            ran.get(plan.index)
            or plan.result(
                Status.REFUSED if plan.target is None else Status.NOT_STARTED, self.policy
            )
            for plan in batch
        ]

    def _delegation(
        self, batch: Sequence[Planned], results: list[Result], session_id: str | None
    ) -> Delegation:
        refusal = self._decider.refusing(batch)
        error = refusal.error if refusal else None
        status = Status.REFUSED if refusal else overall(results)
        return Delegation(status, tuple(results), session_id, error, totals(results))

    # Interrupted.

    @contextmanager
    def _handing_over(
        self, batch: Sequence[Planned], ran: Mapping[int, Result], session_id: str | None
    ) -> Iterator[None]:
        """Give whoever interrupts a batch what is finished of it."""
        try:
            yield
        except BaseException as problem:
            left = {
                it.index: replace(it.result(Status.CANCELLED, self.policy), effective=None)
                for it in batch
                if it.target
            }
            results = self._in_order(batch, {**left, **ran})
            hand_over(problem, self._delegation(batch, results, session_id))
            raise

    # Closeable.

    def close(self) -> None:
        """Cancel running batches, and close connections; no more delegations are possible.

        The host's own executor stays open, except its connections for batches.
        """
        self._is_closed = True
        self._loop.stop(self.executor.release)
        if self._owns_executor:
            self.executor.close()

    async def aclose(self) -> None:
        """Close the delegator like :meth:`close`, and the connections of the running event loop."""
        await self.executor.release()
        await asyncio.to_thread(self.close)


def _decided_by(
    batch: Sequence[Planned], parent_id: str | None, tags: Sequence[str]
) -> list[Decided]:
    """Return the decisions of a batch, below the one that the child at hand runs by, if any."""
    above = parent_of(parent_id)
    return [decided(plan, above, tags) for plan in batch]
