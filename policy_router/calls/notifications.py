"""Notifies watchers and the log of events of a child. No text is a secret."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Final

from policy_router.calls.child_task import ChildTask, Event, EventKind, Reply, Watcher
from policy_router.decision.record import Target
from policy_router.diagnostics.model import printable

if TYPE_CHECKING:
    from policy_router.calls.attempts import Call, Pause
    from policy_router.calls.failures import Failure
    from policy_router.calls.legs import Leg

LOGGER: Final = logging.getLogger("policy_router")
"""The log of this package; a host says where it goes, and without that it goes nowhere."""
LOGGER.addHandler(logging.NullHandler())


def notify_all(*watchers: Watcher | None) -> Watcher:
    """Return what tells all who watch; one that fails is none of the child's business."""
    watching = [watcher for watcher in watchers if watcher is not None]

    def tell_all(event: Event) -> None:
        for watcher in watching:
            try:
                watcher(event)
            except BaseException as problem:
                # Only the main thread is interrupted; elsewhere nothing may end an event loop.
                is_interrupted = isinstance(problem, KeyboardInterrupt)
                if is_interrupted and threading.current_thread() is threading.main_thread():
                    raise
                what = type(problem).__name__  # its words may hold what no log may
                LOGGER.error("a watcher of %s failed: %s", event.kind, what)  # noqa: TRY400

    return tell_all


def tell(
    task: ChildTask, kind: EventKind, message: str, target: Target | None = None, **more: Any
) -> None:
    """Tell something of a child, about one target or none."""
    provider, model = (target.provider, target.model) if target else (None, None)
    event = Event(kind, task.index, task.decision_id, message, provider, model, **more)
    task.tell(event)


def tell_attempt(call: Call, task: ChildTask) -> None:
    """Tell that a call begins; where it is not the first one, why."""
    where = printable(call.target.provider or "no provider")
    message = f"attempt {call.number} of {call.total} at {where}"
    if call.after is not None:
        message = f"{message} after {call.after.reason}"
        LOGGER.warning("decision %s task %d: %s", task.decision_id, task.index, message)
    numbers = {"attempt": call.number, "attempts": call.total}
    tell(task, EventKind.ATTEMPT, message, call.target, **numbers)


def tell_pause(task: ChildTask, pause: Pause) -> None:
    """Tell that a provider is left alone for a while."""
    message = f"waiting {pause.seconds:.1f} s for {printable(pause.provider)}"
    LOGGER.warning("decision %s task %d: %s", task.decision_id, task.index, message)
    tell(task, EventKind.WAITING, message, seconds=pause.seconds)


def tell_text(task: ChildTask, text: str) -> None:
    """Tell a piece of the answer."""
    task.tell(Event(EventKind.TEXT, task.index, task.decision_id, text))


def tell_left_out(call: Call, task: ChildTask, name: str) -> None:
    """Tell that a parameter is not sent."""
    message = f"{printable(call.target.model)} does not take `{printable(name)}`, which is left out"
    LOGGER.warning("decision %s task %d: %s", task.decision_id, task.index, message)
    tell(task, EventKind.PARAMETER_LEFT_OUT, message, call.target, parameter=name)


def log_answer(answer: Reply | Failure, leg: Leg, task: ChildTask) -> None:
    """Log what came of a call, for whoever looks closely: no text of it, and no key."""
    if not LOGGER.isEnabledFor(logging.DEBUG):
        return
    if isinstance(answer, Reply):
        what = f"answered: {answer.finish_reason or 'done'}"
        what += f", {answer.input_tokens} + {answer.output_tokens} tokens"
    else:
        what = f"failed: {answer.code}, {answer.message}"
    where = f"{leg.model} at {leg.provider}"
    ids = task.decision_id, task.index
    LOGGER.debug("decision %s task %d %s %s", *ids, printable(where), printable(what))
