"""A whole call of ``delegate_task`` in a host: every task is decided, then each child runs."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from policy_router.calls.results import Result
from policy_router.hosts.child_run import decision_at_hand, given
from policy_router.hosts.host_plan import HostPlan
from policy_router.hosts.policy_host import PolicyHost
from policy_router.hosts.refused import Refused, RefusedError

_UNPOLICED = "not_policed", "the child has run without its plan"


async def delegated_async(
    host: PolicyHost,
    arguments: Mapping[str, Any] | str,
    facts: Mapping[str, Any],
    child: Callable[[HostPlan], Awaitable[object]],
) -> dict[str, Any]:
    """Decide a call of the tool, and run its children at the same time.

    Args:
        host: decides.
        arguments: the arguments of the call, or their JSON.
        facts: what the host states of it.
        child: runs a child by the plan that is given to it, in a run with its decision.

    Returns:
        For the agent: what became of each task; or the refusal, and then no child has run.
    """
    plans = await host.batch_async(arguments, facts, parent_id=decision_at_hand())
    if isinstance(plans, Refused):
        return plans.to_dict()
    return _answer(await asyncio.gather(*(_run_async(plan, child) for plan in plans)))


def delegated(
    host: PolicyHost,
    arguments: Mapping[str, Any] | str,
    facts: Mapping[str, Any],
    child: Callable[[HostPlan], object],
) -> dict[str, Any]:
    """Do the same as :func:`delegated_async`, with a thread for each child."""
    plans = host.batch(arguments, facts, parent_id=decision_at_hand())
    if isinstance(plans, Refused):
        return plans.to_dict()
    with ThreadPoolExecutor(len(plans)) as threads:
        running = [
            threads.submit(contextvars.copy_context().run, _run, plan, child) for plan in plans
        ]
        return _answer([it.result() for it in running])


async def _run_async(plan: HostPlan, child: Callable[[HostPlan], Awaitable[object]]) -> Result:
    with given(plan):
        try:
            await child(plan)
        except asyncio.CancelledError:
            plan.cancelled()
            raise
        except Exception as error:  # noqa: BLE001 - of any host; it is the child's, and logged
            _failed(plan, error)
    return plan.refused(*_UNPOLICED)


def _run(plan: HostPlan, child: Callable[[HostPlan], object]) -> Result:
    with given(plan):
        try:
            child(plan)
        except Exception as error:  # noqa: BLE001 - of any host; it is the child's, and logged
            _failed(plan, error)
    return plan.refused(*_UNPOLICED)


def prompt_of(plan: HostPlan) -> str:
    """Return what a child is told: its goal, and what it has to know."""
    return f"{plan.goal}\n\n{plan.context}".strip()


def _failed(plan: HostPlan, error: Exception) -> None:
    """Note why a child has failed; one that was refused has not begun."""
    if isinstance(error, RefusedError):
        plan.refused(error.refused.code, error.refused.message)
    else:
        plan.failed(error, has_begun=True)


def _answer(results: list[Result]) -> dict[str, Any]:
    return {"results": [result.to_dict() for result in results]}
