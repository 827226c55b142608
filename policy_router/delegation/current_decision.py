"""The decision under which the running code works: whose child it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from policy_router.calls.child_task import ChildTask, moment_after

_RUNS_BY: Final[ContextVar[str | None]] = ContextVar("policy_router_runs_by", default=None)
_UNTIL: Final[ContextVar[float | None]] = ContextVar("policy_router_until", default=None)


def parent_of(parent_id: str | None) -> str | None:
    """Return the decision that what is decided now is below.

    Args:
        parent_id: what the host says; without it, the decision that the child at hand runs by.
    """
    return _RUNS_BY.get() if parent_id is None else parent_id


def until_of(*seconds: float | None) -> float | None:
    """Return the moment by which what is delegated now has to be done; None is never.

    Args:
        seconds: how long it may take; the child at hand may have a deadline of its own.
    """
    moments = [_UNTIL.get(), *map(moment_after, seconds)]
    return min((it for it in moments if it is not None), default=None)


@contextmanager
def decision_scope(task: ChildTask) -> Iterator[None]:
    """Let what a child decides and delegates be known as below its own decision and deadline."""
    runs_by, until = _RUNS_BY.set(task.decision_id), _UNTIL.set(task.deadline)
    try:
        yield
    finally:
        _RUNS_BY.reset(runs_by)
        _UNTIL.reset(until)
