"""Whose child is at hand: the decision that the code which runs now runs by."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_RUNS_BY: Final[ContextVar[str | None]] = ContextVar("policy_router_runs_by", default=None)


def parent_of(parent_id: str | None) -> str | None:
    """Return the decision that what is decided now is below.

    Args:
        parent_id: what the host says; without it, the decision that the child at hand runs by.
    """
    return _RUNS_BY.get() if parent_id is None else parent_id


@contextmanager
def decision_scope(decision_id: str) -> Iterator[None]:
    """Let what a child decides and delegates be known as below its own decision."""
    token = _RUNS_BY.set(decision_id)
    try:
        yield
    finally:
        _RUNS_BY.reset(token)
