"""The slot of a running child, which it gives back while it waits for its own children."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Final

from policy_router.calls.slots import Slot, Slots


class Held:
    """The slot of a child, which it gives back while it waits for children of its own.

    So children may delegate however deep: whoever waits for others is not at work.
    """

    def __init__(self, slots: Slots, slot: Slot) -> None:
        """Hold a slot.

        Args:
            slots: where it is from.
            slot: the slot.
        """
        self._slots, self._slot = slots, slot
        self._lent, self._is_over = 0, False
        self._lock = threading.Lock()

    @property
    def is_of_this_process(self) -> bool:
        """Whether this is not of the process that this one was forked from."""
        return self._slots.is_of_this_process(self._slot)

    def lend(self) -> None:
        """Give the slot back for a while."""
        with self._lock:
            self._lent += 1
            self._slot.give_back()

    def regain(self) -> None:
        """Wait for a slot again."""
        if self._is_last():
            self._keep(self._slots.take())

    async def regain_async(self) -> None:
        """Wait for a slot again, on the running event loop."""
        if self._is_last():
            self._keep(await self._slots.take_async())

    def forgo(self) -> None:
        """Go on without waiting for a slot: what it was given back for was interrupted."""
        self._is_last()

    def end(self) -> None:
        """Give the slot back for good."""
        with self._lock:
            self._is_over = True
            self._slot.give_back()

    def _is_last(self) -> bool:
        with self._lock:
            self._lent -= 1
            return self._lent == 0 and not self._is_over

    def _keep(self, slot: Slot | None) -> None:
        with self._lock:
            if slot is None:
                return
            self._slot.give_back()
            self._slot = slot
            if self._is_over or self._lent:
                slot.give_back()


_HELD: Final[ContextVar[Held | None]] = ContextVar("policy_router_slot", default=None)


def _held() -> Held | None:
    """Return the slot of the child whose code runs here, if it is one's."""
    has = _HELD.get()
    return has if has is not None and has.is_of_this_process else None


@contextmanager
def lent() -> Iterator[None]:
    """Give back the slot of the child whose code runs here, while it waits for others."""
    has = _held()
    if has is None:
        yield
        return
    has.lend()
    try:
        yield
    except BaseException:
        has.forgo()
        raise
    has.regain()


@asynccontextmanager
async def lent_async() -> AsyncIterator[None]:
    """Give back the slot on an event loop, like :func:`lent`."""
    has = _held()
    if has is None:
        yield
        return
    has.lend()
    try:
        yield
    except BaseException:
        has.forgo()
        raise
    await has.regain_async()


@contextmanager
def holding(slots: Slots, slot: Slot | None) -> Iterator[None]:
    """Let what runs here be known to hold a slot, and give it back at the end."""
    if slot is None:  # pragma: no cover - without a limit of time there is one
        raise TypeError("there is no slot")
    has = Held(slots, slot)
    token = _HELD.set(has)
    try:
        yield
    finally:
        _HELD.reset(token)
        if has.is_of_this_process:
            has.end()
