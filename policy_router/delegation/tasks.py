"""How many tasks are under way, and how long they may take."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from policy_router.errors import ArgumentsError
from policy_router.files.forks import begins_again

GRACE: Final = 0.4
"""Seconds after its deadline in which a child may end by itself, and say what it tried."""


class Tasks:
    """Counts the tasks that are under way in this process."""

    def __init__(self, most: int | None) -> None:
        """Begin with none.

        Args:
            most: how many there may be; None is no limit.
        """
        self._most = most
        self.begin_again()
        begins_again(self)

    def begin_again(self) -> None:
        """Count none, with a new lock: in a process that was forked."""
        self._lock = threading.Lock()
        self._count = 0
        self._age = object()

    def count(self, count: int) -> AbstractContextManager[None]:
        """Count tasks that begin now, until the end of what is returned.

        Raises:
            ArgumentsError: there would be too many.
        """
        with self._lock:
            if self._most is not None and self._count + count > self._most:
                reason = f"at most {self._most} tasks may be under way at the same time"
                help_ = f"{self._count} are; send fewer tasks, or send them later"
                raise ArgumentsError("$.tasks", reason, help_)
            self._count += count
        return self._counted(count, self._age)

    @contextmanager
    def _counted(self, count: int, age: object) -> Iterator[None]:
        try:
            yield
        finally:
            with self._lock:
                if age is self._age:  # else this is a fork, which began with none
                    self._count -= count


def seconds_to(until: float | None, *, more: float = 0.0) -> float | None:
    """Return the seconds until a moment of ``time.monotonic``; None is never.

    Args:
        until: the moment.
        more: seconds that are added.
    """
    return None if until is None else max(0.0, until - time.monotonic()) + more
