"""The start and the end of a child, as all watchers see them."""

from __future__ import annotations

import time

from msgspec.structs import replace

from policy_router.calls.child_task import ChildTask, Event, EventKind, Watcher
from policy_router.calls.notifications import LOGGER, notify_all
from policy_router.calls.results import Result
from policy_router.decision.record import Target
from policy_router.delegation.batch import Planned
from policy_router.delegation.log_events import logging_watcher
from policy_router.diagnostics.model import printable
from policy_router.log.write.decision_log import DecisionLog


def task_of(plan: Planned, log: DecisionLog | None, *watchers: Watcher | None) -> ChildTask:
    """Return what a child is to do.

    Args:
        plan: the task and its decision.
        log: keeps its events, or None.
        watchers: are told its events.
    """
    given, logs = plan.assignment, logging_watcher(log, plan) if log is not None else None
    return ChildTask(
        plan.index,
        given.goal,
        given.context,
        str(given.task.get("kind", "")),
        plan.decision_id,
        plan.session_id,
        plan.record,
        notify_all(logs, *watchers),
    )


def tell_started(task: ChildTask, target: Target) -> None:
    """Say that a child begins: one line in the log, with what it runs on."""
    level, provider, model = task.record.decision.level, target.provider, target.model
    line = "decision %s task %d level %s provider %s model %s"
    words = (task.decision_id, task.index, level, printable(provider), printable(model))
    LOGGER.info(line, *words)
    message = f"runs on {printable(model)} at {printable(provider)}"
    task.tell(Event(EventKind.STARTED, task.index, task.decision_id, message, provider, model))


def tell_finished(result: Result, task: ChildTask, began: float) -> Result:
    """Say that a child has ended.

    Args:
        result: what became of it.
        task: what it was to do.
        began: when it began, by the monotonic clock.

    Returns:
        The result, with the time that it took.
    """
    result = replace(result, duration_seconds=round(time.monotonic() - began, 3))
    message = result.error.message if result.error else result.status.value
    ran = result.effective
    provider, model = (ran.provider, ran.model) if ran else (None, None)
    kind, id_ = EventKind.FINISHED, task.decision_id
    task.tell(Event(kind, task.index, id_, message, provider, model, result=result))
    return result
