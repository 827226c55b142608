"""Limits how many calls or children run at the same time, across threads and event loops.

A slot is handed from whoever gives it back to whoever has waited longest, so that nobody passes by.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from policy_router.files.forks import begins_again


class Slots:
    """So many slots, for all threads and event loops of this process."""

    def __init__(self, limit: int) -> None:
        """Begin with all of them free.

        Args:
            limit: how many there are.
        """
        self.limit = limit
        self.begin_again()
        begins_again(self)

    def begin_again(self) -> None:
        """Have all slots free, with a new lock: in a process that was forked."""
        self._lock = threading.Lock()
        self._dropped: deque[Slot] = deque()
        self._taken = 0
        self._waiting: deque[_Waiter] = deque()
        self._age = object()

    def is_of_this_process(self, slot: Slot) -> bool:
        """Tell whether a slot is not of the process that this one was forked from."""
        return slot.age is self._age

    def resize(self, limit: int) -> None:
        """Have so many slots from now on; those that are taken stay taken."""
        if limit == self.limit:
            return
        with self._locked():
            self.limit = limit
            self._hand_out()

    @property
    def taken(self) -> int:
        """How many are taken."""
        return self._taken

    @property
    def waiting(self) -> int:
        """How many threads and tasks wait for one."""
        return len(self._waiting)

    def take_now(self) -> Slot | None:
        """Take a slot, if one is free and nobody waits for it."""
        with self._locked():
            if self._taken >= self.limit or self._waiting:
                return None
            self._taken += 1
            return Slot(self, self._age)

    def take(self, seconds: float | None = None) -> Slot | None:
        """Wait for a slot.

        Args:
            seconds: how long; None is without a limit.

        Returns:
            The slot; None where there was none in time.
        """
        if seconds is not None and seconds <= 0:
            return None
        if (slot := self.take_now()) is not None:
            return slot
        woken = threading.Event()
        waiter = self._wait(woken.set)
        try:
            woken.wait(seconds)
        except BaseException:
            self._leave(waiter)
            raise
        return self._got(waiter)

    async def take_async(self, seconds: float | None = None) -> Slot | None:
        """Wait for a slot on the running event loop, like :meth:`take`."""
        if seconds is not None and seconds <= 0:
            return None
        if (slot := self.take_now()) is not None:
            return slot
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        waiter = self._wait(lambda: loop.call_soon_threadsafe(_settle, woken))
        try:
            await asyncio.wait_for(woken, seconds)
        except TimeoutError:
            return self._got(waiter)
        except BaseException:
            self._leave(waiter)
            raise
        return self._got(waiter)

    # Locking.

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock; at its end, take back what was dropped meanwhile."""
        with self._lock:
            yield
        self._collect()

    def drop(self, slot: Slot) -> None:
        """Take a slot back without waiting for the lock: a finalizer may run while it is held."""
        self._dropped.append(slot)
        self._collect()

    def _collect(self) -> None:
        """Take back what was dropped; whoever holds the lock now does it afterwards."""
        while self._dropped and self._lock.acquire(blocking=False):
            try:
                while self._dropped:
                    self._take_back(self._dropped.popleft())
            finally:
                self._lock.release()

    # Waiting.

    def _wait(self, wake: Callable[[], object]) -> _Waiter:
        waiter = _Waiter(wake)
        with self._locked():
            self._waiting.append(waiter)
            self._hand_out()
        return waiter

    def _hand_out(self) -> None:
        """Give free slots to those who wait; the lock is held."""
        while self._waiting and self._taken < self.limit:
            waiter = self._waiting.popleft()
            if waiter.wake(Slot(self, self._age)):
                self._taken += 1

    def _got(self, waiter: _Waiter) -> Slot | None:
        """Return what a waiter got, and let it wait no more."""
        with self._locked():
            if waiter.slot is None:
                self._forget(waiter)
            return waiter.slot

    def _leave(self, waiter: _Waiter) -> None:
        """Give back what a waiter got that was interrupted."""
        slot = self._got(waiter)
        if slot is not None:
            slot.give_back()

    def _forget(self, waiter: _Waiter) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)

    def give_back(self, slot: Slot) -> None:
        """Take a slot back; one of the process that this was forked from is nobody's."""
        with self._locked():
            self._take_back(slot)

    def _take_back(self, slot: Slot) -> None:
        if self.is_of_this_process(slot):
            self._taken -= 1
            self._hand_out()


class Slot:
    """A slot that somebody has. It is given back once."""

    __slots__ = ("_slots", "age")

    def __init__(self, slots: Slots, age: object) -> None:
        """Be one of some slots, of their time since a fork."""
        self._slots: Slots | None = slots
        self.age = age

    def give_back(self) -> None:
        """Give it back; nothing where it was given back before."""
        slots, self._slots = self._slots, None
        if slots is not None:
            slots.give_back(self)

    def drop(self) -> None:
        """Give it back from a finalizer, which may run anywhere."""
        slots, self._slots = self._slots, None
        if slots is not None:
            slots.drop(self)


class _Waiter:
    """Somebody who waits: a thread, or a task of an event loop."""

    __slots__ = ("_wake", "slot")

    def __init__(self, wake: Callable[[], object]) -> None:
        self._wake = wake
        self.slot: Slot | None = None

    def wake(self, slot: Slot) -> bool:
        """Give it a slot; false where its event loop is gone."""
        self.slot = slot
        try:
            self._wake()
        except RuntimeError:
            self.slot = None
            return False
        return True


def _settle(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


class Endpoints:
    """The slots of endpoints, which all policies and executors of this process share."""

    def __init__(self) -> None:
        """Know none."""
        self.begin_again()
        begins_again(self)

    def begin_again(self) -> None:
        """Know none, with a new lock: in a process that was forked."""
        self._lock = threading.Lock()
        self._slots: dict[tuple[str, str], Slots] = {}

    def slots(self, provider: str, base_url: str, limit: int) -> Slots:
        """Return the slots of an endpoint.

        Args:
            provider: the provider's name.
            base_url: its address.
            limit: how many there are; the last one that is said counts.
        """
        with self._lock:
            found = self._slots.get((provider, base_url))
            if found is None:
                found = self._slots[provider, base_url] = Slots(limit)
        found.resize(limit)
        return found


ENDPOINTS: Final = Endpoints()
"""The slots of all endpoints of this process."""
