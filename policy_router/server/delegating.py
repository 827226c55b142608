"""Delegation for an agent: the service decides its tasks, runs them, and tells the results."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from policy_router.calls.executor import Executor
from policy_router.calls.health import Health
from policy_router.calls.results import Delegation
from policy_router.delegation.delegator import Delegator
from policy_router.delegation.tool import tool
from policy_router.domain import Policy
from policy_router.errors import BudgetError, LogError, RequestError
from policy_router.log.write.decision_log import DecisionLog
from policy_router.server.asking import Asked
from policy_router.server.budgets import CallerBudgets
from policy_router.server.deciding import Agents
from policy_router.server.problems import Problem, fitting, unfit, unlogged

USUAL_DEADLINE: Final = 600.0
"""How many seconds a delegation may take, where its credential says nothing."""
USUAL_TASKS: Final = 32
"""How many tasks of a caller may be under way, where its credential says nothing."""
_MOST: Final = 1000


class Delegations:
    """Runs calls of ``delegate_task``, each within what its credential may."""

    def __init__(
        self,
        policy: Callable[[], Policy],
        agents: Agents,
        *,
        log: DecisionLog | None,
        budgets: CallerBudgets | None,
        health: Health,
        workers: int,
    ) -> None:
        """Keep what a delegation needs.

        Args:
            policy: returns what decides now.
            agents: know who is believed.
            log: takes decisions and executions.
            budgets: know what a caller may spend; None: nobody does.
            health: what is known of targets.
            workers: how many processes call together.
        """
        self._policy, self._agents = policy, agents
        self._log, self._budgets = log, budgets
        self._health, self._workers = health, workers
        self._executor: Executor | None = None
        self._closing: asyncio.Task[None] | None = None
        self._delegators: dict[tuple[str, str], Delegator] = {}

    async def definition(self, asked: Asked) -> dict[str, Any]:
        """Return the definition of the tool for an agent of this caller."""
        policy = self._policy()
        facts, _ = await self._agents.facts(policy, asked)
        with fitting():
            return tool(policy, facts, format="mcp")

    async def run(self, asked: Asked, arguments: Mapping[str, Any]) -> Delegation:
        """Decide and run a call of the tool.

        Raises:
            Problem: it is not good, cannot be logged, or its budget cannot be read.
        """
        policy = self._policy()
        facts, parent_id = await self._agents.facts(policy, asked)
        marks = self._agents.trust.marks(asked)
        delegator = self._delegator(policy, asked, facts)
        if delegator.has_budget:
            facts = {name: it for name, it in facts.items() if name != "budget"}
        try:
            return await delegator.delegate_async(
                dict(arguments),
                facts,
                session_id=marks.session_id,
                parent_id=parent_id,
                tags=marks.tags,
            )
        except RequestError as problem:
            raise unfit(problem) from None
        except LogError as problem:
            raise unlogged(problem) from None
        except BudgetError as problem:
            detail = f"the budget cannot be used: {problem}"
            raise Problem(503, "budget_unavailable", detail) from None

    def _delegator(self, policy: Policy, asked: Asked, facts: Mapping[str, Any]) -> Delegator:
        """Return the delegator of a caller: all its calls share what it may."""
        caller = facts.get("caller", {})
        place = (policy.revision, f"{asked.credential.key} {caller.get('id', '')}")
        found = self._delegators.get(place)
        if found is None:
            if self._executor is None or self._executor.policy is not policy:
                old, self._delegators = self._executor, {}
                self._executor = Executor(policy, health=self._health, workers=self._workers)
                if old is not None:
                    self._closing = asyncio.create_task(old.release())
            if len(self._delegators) >= _MOST:
                self._delegators = {}
            credential = asked.credential
            found = self._delegators[place] = Delegator(
                policy,
                executor=self._executor,
                max_tasks=credential.max_tasks or USUAL_TASKS,
                deadline=credential.deadline or USUAL_DEADLINE,
                log=self._log,
                budget=None if self._budgets is None else self._budgets.of(caller),
            )
        return found
