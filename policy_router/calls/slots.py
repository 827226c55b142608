"""How many may be at work at the same time, whichever threads and event loops they are in.

A slot is handed from whoever gives it back to whoever has waited longest, so that nobody passes by.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Final


class Slots:
    """So many slots, for all threads and event loops of this process."""

    def __init__(self, limit: int) -> None:
        """Begin with all of them free.

        Args:
            limit: how many there are.
        """
        self.limit = limit
        self.begin_again()

    def begin_again(self) -> None:
        """Have all slots free, with a new lock: in a process that was forked."""
        self._lock = threading.Lock()
        self._taken = 0
        self._waiting: deque[_Waiter] = deque()
        self._age = object()

    def resize(self, limit: int) -> None:
        """Have so many slots from now on; those that are taken stay taken."""
        if limit == self.limit:
            return
        with self._lock:
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
        with self._lock:
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

    # Waiting.

    def _wait(self, wake: Callable[[], object]) -> _Waiter:
        waiter = _Waiter(wake)
        with self._lock:
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
        with self._lock:
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
        with self._lock:
            if slot.age is self._age:
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


@contextmanager
def lent() -> Iterator[None]:
    """Give back the slot of the child whose code runs here, while it waits for others."""
    has = _HELD.get()
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
    has = _HELD.get()
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
        has.end()


_OF_ENDPOINTS: Final[dict[tuple[str, str], Slots]] = {}
_ENDPOINTS_LOCK: Final = threading.Lock()


def slots_at(provider: str, base_url: str, limit: int) -> Slots:
    """Return the slots of an endpoint, which all policies and executors of this process share.

    Args:
        provider: the provider's name.
        base_url: its address.
        limit: how many there are; the last one that is said counts.
    """
    with _ENDPOINTS_LOCK:
        found = _OF_ENDPOINTS.get((provider, base_url))
        if found is None:
            found = _OF_ENDPOINTS[provider, base_url] = Slots(limit)
    found.resize(limit)
    return found
