"""A client that hangs up: what is waited for on its behalf is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from policy_router.server.asking import DisconnectedError, Receive


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
        self._waiting: asyncio.Task[object] | None = None
        watching = None if gone is None else self._watch(gone)
        self._watcher = None if watching is None else asyncio.create_task(watching)

    async def _watch(self, gone: Receive) -> None:
        while (await gone())["type"] != "http.disconnect":
            pass
        self.has_come = True
        if self._waiting is not None:
            self._waiting.cancel()

    @contextmanager
    def cancels(self) -> Iterator[None]:
        """Cancel what the running task waits for in the block, when the client hangs up.

        Raises:
            DisconnectedError: it has.
        """
        if self.has_come:
            raise DisconnectedError
        self._waiting = asyncio.current_task()
        try:
            yield
        except asyncio.CancelledError:
            if not self._has_cancelled():
                raise
            raise DisconnectedError from None
        finally:
            self._waiting = None

    def _has_cancelled(self) -> bool:
        """Tell whether the running task was cancelled because of the client, and nothing else."""
        return self.has_come and self._waiting is not None and self._waiting.uncancel() == 0

    def end(self) -> None:
        """Watch no more."""
        if self._watcher is not None:
            self._watcher.cancel()
