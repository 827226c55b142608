"""A client that hangs up: cancels what is awaited on its behalf."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from policy_router.server.asking import DisconnectedError, Receive

T = TypeVar("T")


class HangUp:
    """Watches a client while its request is answered by the running task.

    Attributes:
        has_come: whether the client has hung up.
    """

    def __init__(self, gone: Receive | None) -> None:
        """Begin to watch.

        Args:
            gone: returns what the client sends, until it has hung up.
        """
        self.has_come: bool = False
        self._task: asyncio.Task[object] | None = asyncio.current_task()
        self._waiting: asyncio.Task[object] | None = None
        self._ends: Callable[[], None] | None = None
        watching = None if gone is None else self._watch(gone)
        self._watcher = None if watching is None else asyncio.create_task(watching)

    async def _watch(self, gone: Receive) -> None:
        while (await gone())["type"] != "http.disconnect":
            pass
        self.has_come = True
        if self._waiting is not None:
            self._waiting.cancel()
        elif self._ends is not None:
            self._ends()

    async def wait(self, awaited: Awaitable[T]) -> T:
        """Wait for something until the client hangs up.

        Raises:
            DisconnectedError: it has.
        """
        self._waiting = self._task
        try:
            if self.has_come:
                raise DisconnectedError
            return await awaited
        except asyncio.CancelledError:
            if not self._has_cancelled():
                raise
            raise DisconnectedError from None
        finally:
            self._waiting = None

    def calls(self, ends: Callable[[], None]) -> None:
        """Call something when the client hangs up, which ends what is waited for.

        Raises:
            DisconnectedError: it has.
        """
        self._ends = ends
        self.check()

    def check(self) -> None:
        """Look whether the client has hung up.

        Raises:
            DisconnectedError: it has.
        """
        if self.has_come:
            raise DisconnectedError

    def _has_cancelled(self) -> bool:
        """Tell whether the running task was cancelled because of the client, and nothing else."""
        return self.has_come and self._task is not None and self._task.uncancel() == 0

    def end(self) -> None:
        """Watch no more."""
        if self._watcher is not None:
            self._watcher.cancel()
