"""Writing lines of many callers together (group commit).

The thread that comes first writes for all that have come meanwhile: while it waits for the disk,
the next lines gather. A thread that then waits writes these. For the main thread, which can be
interrupted anywhere, and for tasks of an event loop, which may not wait, a thread of the log's own
writes.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from policy_router.errors import LogError
from policy_router.runtime.log.entry import Draft
from policy_router.runtime.telling import LOGGER

_LINGER_SECONDS: Final = 0.02
"""How long lines that nobody waits for are gathered."""
_IDLE_SECONDS: Final = 10.0
"""How often a thread with nothing to do looks whether the log is still there."""
_CROWD: Final = 4
"""How many lines at a time are so many that it pays to wait for more."""
_ENOUGH: Final = 0.9
"""Which part of the lines of the last time is waited for."""
_PAUSE_SECONDS: Final = 0.0001
_MOST_PAUSES: Final = 6
_MOST_WAITING: Final = 10_000
"""How many lines may wait to be written before whoever adds one has to wait too."""


class _Batch:
    """Lines that are written together, and who waits for them."""

    __slots__ = ("drafts", "problem", "tasks", "waiters")

    def __init__(self) -> None:
        self.drafts: list[Draft] = []
        self.waiters: list[_Waiter] = []
        self.tasks: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        self.problem: LogError | None = None

    @property
    def is_awaited(self) -> bool:
        """Whether anybody waits for it."""
        return bool(self.waiters or self.tasks)


class _Waiter:
    """A thread that waits until its lines are written, or until it is to write."""

    __slots__ = ("can_lead", "gate", "leads")

    def __init__(self, *, can_lead: bool) -> None:
        self.gate = threading.Lock()
        self.gate.acquire()
        self.can_lead, self.leads = can_lead, False


class GroupCommit:
    """Where threads hand over lines. Safe to share between threads."""

    def __init__(
        self,
        name: str,
        write: Callable[[Sequence[Draft]], LogError | None],
        *,
        is_closed: bool = False,
    ) -> None:
        """Begin with nothing.

        Args:
            name: how the log is called in errors.
            write: writes lines, from one thread at a time, and returns why it cannot; None where it
                could.
            is_closed: whether it is closed from the beginning.
        """
        self._name, self._write, self.is_closed = name, write, is_closed
        self.writing = threading.Lock()
        self._lock = threading.Lock()
        self._open = _Batch()
        self._is_led = self._has_ended = False
        self._last_size = 0
        self._flusher: threading.Thread | None = None
        self._wake, self._hurry = threading.Event(), threading.Event()
        self._held: list[GroupCommit] = []
        """Itself while a thread is to write: lines that nobody waits for are not forgotten."""

    @property
    def is_full(self) -> bool:
        """Whether so many lines wait to be written that whoever adds one has to wait too."""
        return len(self._open.drafts) >= _MOST_WAITING

    def check_open(self) -> None:
        """Raise a :class:`RuntimeError` where the log is closed."""
        if self.is_closed:
            raise RuntimeError("the log is closed")

    def alone(self, drafts: Sequence[Draft]) -> LogError | None:
        """Write lines by themselves; the rest is as for :meth:`together`."""
        with self.writing:
            self.check_open()
            return self._write(drafts)

    def together(self, drafts: Sequence[Draft], *, waits: bool) -> LogError | None:
        """Hand over lines, and wait for them where that is wanted.

        Returns:
            Why they could not be written; None where they could, or where nobody waited.

        Raises:
            RuntimeError: the log is closed.
        """
        if waits and not self._is_led and not _may_lead():
            return self.alone(drafts)
        return self._join(drafts, waits=waits)

    async def together_async(
        self, drafts: Sequence[Draft], *, even_closed: bool = False
    ) -> LogError | None:
        """Hand over lines and wait for them as a task of the running event loop.

        Returns and raises what :meth:`together` does. To cancel it takes no line back.
        """
        done = asyncio.get_running_loop().create_future()
        with self._lock:
            if not even_closed:
                self.check_open()
            batch = self._open
            if not self._is_led and not drafts and not batch.drafts:
                return None
            batch.drafts += drafts
            batch.tasks.setdefault(done.get_loop(), []).append(done)
            leads = not self._is_led and not self._flush_soon(hurry=True)
            self._is_led = self._is_led or leads
        if leads:
            self._lead(batch)
        await done
        return batch.problem

    def flush(self) -> None:
        """Wait until everything so far is written, or known not to be."""
        self._join([], waits=True, even_closed=True)

    def close(self) -> bool:
        """Let nobody add a line, and write those that there are; tell whether it was open."""
        with self._lock:
            if self.is_closed:
                return False
            self.is_closed = True
        self.flush()
        self._has_ended = True
        self._hurry.set()
        self._wake.set()
        return True

    def _join(
        self, drafts: Sequence[Draft], *, waits: bool, even_closed: bool = False
    ) -> LogError | None:
        """Add lines to the open batch; whoever comes while nobody writes is who writes.

        The main thread writes for nobody else, unless there is no other, and wakes nobody.
        """
        waiter = _Waiter(can_lead=self.is_closed or _may_lead())
        with self._lock:
            if not even_closed:
                self.check_open()
            waits = waits or self.is_full
            batch = self._open
            batch.drafts += drafts
            if not waits:
                self._flush_soon()
                return None
            if not self._is_led and not batch.drafts and not batch.is_awaited:
                return None
            if self._is_led or (not waiter.can_lead and self._flush_soon(hurry=True)):
                batch.waiters.append(waiter)
            else:
                self._is_led = waiter.leads = True
        if not waiter.leads:
            waiter.gate.acquire()
            if waiter.can_lead and not waiter.leads:
                _pass_on(batch)
        if waiter.leads:
            self._lead(batch)
        return batch.problem

    def _lead(self, batch: _Batch) -> None:
        """Write the lines of a batch, and let somebody of the next one write that."""
        self._gather(batch)
        with self._lock:
            self._open = _Batch()
        batch.problem = LogError(self._name, "the writing was interrupted")
        try:
            with self.writing:
                batch.problem = self._write(batch.drafts)
        finally:
            with self._lock:
                following = self._open
                leader = next((it for it in following.waiters if it.can_lead), None)
                self._is_led = leader is not None
                if leader is not None:
                    following.waiters.remove(leader)
                    leader.leads = True
                    leader.gate.release()
                elif following.drafts or following.is_awaited:
                    self._flush_soon(hurry=following.is_awaited)
            for loop, tasks in batch.tasks.items():
                with suppress(RuntimeError):  # it is closed, and nobody waits any more
                    loop.call_soon_threadsafe(_settle, tasks)
            _pass_on(batch)

    def _gather(self, batch: _Batch) -> None:
        """Wait a moment for as many lines as came together before: one sync for all is less."""
        wanted = self._last_size * _ENOUGH
        for _ in range(_MOST_PAUSES if self._last_size > _CROWD else 0):
            if len(batch.drafts) >= wanted:
                break
            time.sleep(_PAUSE_SECONDS)
        self._last_size = len(batch.drafts)

    def _flush_soon(self, *, hurry: bool = False) -> bool:
        """Let a thread of the log's own write; the lock is held.

        Returns:
            Whether there is one: a program that is ending can start no more.
        """
        if self._flusher is None or not self._flusher.is_alive():
            arguments = (weakref.ref(self), self._held, self._wake, self._hurry)
            flusher = threading.Thread(
                target=_flush_now_and_then, args=arguments, name="policy-router log", daemon=True
            )
            try:
                flusher.start()
            except RuntimeError:
                return False
            self._flusher = flusher
        self._held[:] = [self]
        if hurry:
            self._hurry.set()
        self._wake.set()
        return True


def _may_lead() -> bool:
    """Tell whether others may wait for this thread: the main one can be interrupted anywhere."""
    return threading.current_thread() is not threading.main_thread()


def _pass_on(batch: _Batch) -> None:
    """Wake one who waits for a batch that is written, who wakes the next.

    To wake all of them at once would let them crowd at the interpreter's lock.
    """
    while batch.waiters:
        waiter = batch.waiters.pop()
        waiter.gate.release()
        if waiter.can_lead:  # it wakes the next; an interrupted main thread might not
            return


def _settle(tasks: Sequence[asyncio.Future[None]]) -> None:
    for task in tasks:
        if not task.done():
            task.set_result(None)


def _flush_now_and_then(
    group: weakref.ref[GroupCommit],
    held: list[GroupCommit],
    wake: threading.Event,
    hurry: threading.Event,
) -> None:
    """Write what nobody waits for, a little after it came; the end of the log is the end."""
    while True:
        is_woken = wake.wait(_IDLE_SECONDS)
        found = group()  # held while there is something to write
        if found is None:
            return
        if not is_woken:
            del found
            continue
        hurry.wait(_LINGER_SECONDS)
        wake.clear()
        hurry.clear()
        held.clear()
        try:
            found.flush()
        except Exception:  # noqa: BLE001 - whoever comes next is not harmed
            LOGGER.exception("the log %s cannot be written", found._name)  # noqa: SLF001 - its own
        if found._has_ended:  # noqa: SLF001 - its own
            return
        del found
