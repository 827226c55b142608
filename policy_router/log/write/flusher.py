"""The thread of a log that writes for those that must not: see the group commit in ``group``."""

from __future__ import annotations

import queue
import weakref
from contextlib import suppress
from typing import Final, Protocol, TypeVar

from policy_router.calls.notifications import LOGGER

_LINGER_SECONDS: Final = 0.02
"""How long lines that nobody waits for are gathered."""


class Flushed(Protocol):
    """What has lines to be written."""

    name: str
    has_ended: bool

    def flush(self) -> None:
        """Wait until everything so far is written, or known not to be."""


F = TypeVar("F", bound=Flushed)


class Calls:
    """How the thread that writes is called. An interrupt of the main one leaves nothing half done.

    So there is no lock here that is taken in Python, as an ``Event`` has one.
    """

    __slots__ = ("_is_hurried", "_is_waiting", "_queue")

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._is_waiting = self._is_hurried = False

    def call(self, *, hurry: bool) -> None:
        """Let the thread write: now, or a little later."""
        if self._is_hurried or (self._is_waiting and not hurry):
            return
        self._is_waiting, self._is_hurried = True, hurry  # no interrupt comes before the next call
        self._queue.put(hurry)

    def wait(self) -> None:
        """Wait until it is time to write."""
        if not self._queue.get():
            with suppress(queue.Empty):
                self._queue.get(timeout=_LINGER_SECONDS)
        self._is_waiting = self._is_hurried = False


def flush_now_and_then(group: weakref.ref[F], held: list[F], calls: Calls) -> None:
    """Write what nobody waits for, a little after it came; the end of the log is the end."""
    while True:
        calls.wait()
        found = group()  # held while there is something to write
        if found is None or found.has_ended:
            calls.call(hurry=True)  # An interrupt may have let two such threads be started.
            return
        held.clear()
        try:
            found.flush()
        except Exception:  # noqa: BLE001 - whoever comes next is not harmed
            LOGGER.exception("the log %s cannot be written", found.name)
        del found
