"""Writing lines of many callers together (group commit).

Theory of operation
===================

A sync of the disk takes as long for a hundred lines as for one. So lines that come while the disk
is busy gather in the open *batch*, and one thread, the *leader*, writes all of them with one sync.
There is no thread that always writes: a caller that is running anyway leads. (One thread that
writes for all was tried: it reached a third of the lines a second.)

A group is *idle* or *led*, and this is all that can happen to it, under ``_lock``:

=======  ==================================================  ==================================
state    event                                               next state, and who writes
=======  ==================================================  ==================================
idle     a thread joins, and waits                           led, by this thread
idle     the main thread waits for lines of its own          idle; it writes these lines alone
idle     a task waits, or nobody does, or ``flush`` is       idle; the flusher is called
         called in the main thread
led      anybody joins                                       led; the batch is for the next one
led      the batch is written; a thread waits in the next    led, by that thread
led      the batch is written; others are in the next        idle; the flusher is called
led      the batch is written; the next one is empty         idle
=======  ==================================================  ==================================

The *flusher* is a thread of the log's own, which flushes as any other thread does. It serves those
that must not lead: the main thread, which a signal handler can interrupt anywhere, and tasks of an
event loop, which may not wait for a disk; and lines that nobody waits for. Where no thread can be
started any more, as at the end of a program, whoever comes leads after all.

What always holds:

- Whatever is in the open batch has somebody who will write it: a leader, who passes the lead on, or
  the flusher, which was called.
- ``_lock`` is held for moments and never during a write; whoever writes holds ``_writing``. Lines
  of one batch are in the order in which they came, and batches follow each other.
- A waiter is woken once: to lead, or when its batch is written. Each thread that is woken wakes the
  next one, since many at once would crowd at the interpreter's lock.
- What goes wrong while lines are written is the problem of everybody in the batch and of nobody
  else. An interrupt is raised in the leader when the others have been served.
- A signal handler that interrupts a thread in here gets an error and does not wait for it: that
  would be for ever.
- Nothing is added once the group is closed; what there was before is written.
"""

from __future__ import annotations

import functools
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec, TypeVar

from policy_router.errors import LogError
from policy_router.log.write.batch import Batch, Waiter, pass_on
from policy_router.log.write.drafts import Draft
from policy_router.log.write.flusher import Calls, flush_now_and_then

if TYPE_CHECKING:
    import asyncio

_CROWD: Final = 4
"""How many lines at a time are so many that it pays to wait for more."""
_ENOUGH: Final = 0.9
"""Which part of the lines of the last time is waited for."""
_PAUSE_SECONDS: Final = 0.0001
_MOST_PAUSES: Final = 6
_MOST_WAITING: Final = 10_000
"""How many lines may wait to be written before whoever adds one has to wait too."""
_P = ParamSpec("_P")
_T = TypeVar("_T")


def _not_within_itself(
    method: Callable[Concatenate[GroupCommit, _P], _T],
) -> Callable[Concatenate[GroupCommit, _P], _T]:
    """Let a signal handler not wait for what it interrupted, which would be for ever."""

    @functools.wraps(method)
    def guarded(self: GroupCommit, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        if self.is_within:
            raise RuntimeError("the log is used by what was interrupted for this")
        thread = threading.get_ident()
        try:
            self._within.add(thread)
            return method(self, *args, **kwargs)
        finally:
            self._within.discard(thread)

    return guarded


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
        self.name, self._write, self.is_closed = name, write, is_closed
        self._writing, self._lock = threading.Lock(), threading.Lock()
        self._within: set[int] = set()
        self._open = Batch()
        self._is_led = self.has_ended = self._has_flusher = False
        self._last_size = 0
        self._calls = Calls()
        self._held: list[GroupCommit] = []
        """Itself while a thread is to write: lines that nobody waits for are not forgotten."""

    @property
    def is_full(self) -> bool:
        """Whether so many lines wait to be written that whoever adds one has to wait too."""
        return len(self._open.drafts) >= _MOST_WAITING

    @property
    def waiting(self) -> int:
        """How many threads and tasks wait for lines that are still gathered."""
        batch = self._open
        return len(batch.waiters) + sum(len(tasks) for tasks in list(batch.tasks.values()))

    @property
    def is_within(self) -> bool:
        """Whether this thread is in the middle of it: a signal handler may find it so."""
        return threading.get_ident() in self._within

    def check_open(self) -> None:
        """Raise a :class:`RuntimeError` where the log is closed."""
        if self.is_closed:
            raise RuntimeError("the log is closed")

    @_not_within_itself
    def alone(self, drafts: Sequence[Draft]) -> LogError | None:
        """Write lines by themselves; the rest is as for :meth:`together`."""
        with self._writing:
            self.check_open()
            return self._write(drafts)

    def together(self, drafts: Sequence[Draft], *, waits: bool) -> LogError | None:
        """Hand over lines, and wait for them where that is wanted.

        Returns:
            Why they could not be written; None where they could, or where nobody waited.

        Raises:
            RuntimeError: the log is closed, or this thread was interrupted in the middle of it.
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
        from asyncio import get_running_loop  # noqa: PLC0415 - a single command has no loop

        done = get_running_loop().create_future()
        batch = self._join_as_task(done, drafts, even_closed=even_closed)
        if batch is None:
            return None
        await done
        return batch.problem

    def flush(self) -> None:
        """Wait until everything so far is written, or known not to be."""
        self._join([], waits=True, even_closed=True)

    def close(self, end: Callable[[], None]) -> None:
        """Let nobody add a line, write those that there are, and end; what was interrupted goes on.

        Args:
            end: what remains to be done, once and while nobody writes.
        """
        self._shut()
        self.flush()
        self._end(end)

    @_not_within_itself
    def _shut(self) -> None:
        with self._lock:
            self.is_closed = True

    @_not_within_itself
    def _end(self, end: Callable[[], None]) -> None:
        with self._writing:
            if not self.has_ended:
                end()
            self.has_ended = True
        self._calls.call(hurry=True)

    @_not_within_itself
    def _join_as_task(
        self, done: asyncio.Future[None], drafts: Sequence[Draft], *, even_closed: bool
    ) -> Batch | None:
        """Add lines to the open batch, with who is told; return it, or None with nothing to do."""
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
        return batch

    @_not_within_itself
    def _join(
        self, drafts: Sequence[Draft], *, waits: bool, even_closed: bool = False
    ) -> LogError | None:
        """Add lines to the open batch; whoever comes while nobody writes is who writes.

        The main thread writes for nobody else, unless there is no other, and wakes nobody.
        """
        waiter = Waiter(can_lead=_may_lead())
        with self._lock:
            if not even_closed:
                self.check_open()
            waits = waits or self.is_full
            batch = self._open
            batch.drafts += drafts
            if not waits and (self._is_led or self._flush_soon()):
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
                pass_on(batch)
        if waiter.leads:
            self._lead(batch)
        return batch.problem

    def _lead(self, batch: Batch) -> None:
        """Write the lines of a batch, and let somebody of the next one write that."""
        following: Batch | None = batch
        failure: BaseException | None = None
        while following is not None:
            current = following
            for step in (self._gather, self._write_together):
                try:
                    step(current)
                except BaseException as problem:  # noqa: BLE001 - it is raised when others are served
                    failure = problem
            following = self._pass_lead()
            for loop, tasks in current.tasks.items():
                with suppress(RuntimeError):  # it is closed, and nobody waits any more
                    loop.call_soon_threadsafe(_settle, tasks)
            pass_on(current)
        if failure is not None:
            raise failure

    def _write_together(self, batch: Batch) -> None:
        batch.problem = LogError(self.name, "the writing was interrupted")
        with self._lock:
            self._open = Batch()
        with self._writing:
            batch.problem = self._write(batch.drafts)

    def _pass_lead(self) -> Batch | None:
        """Let somebody else write what has come meanwhile; return it where there is nobody."""
        with self._lock:
            following = self._open
            leader = next((it for it in following.waiters if it.can_lead), None)
            if leader is not None:
                following.waiters.remove(leader)
                leader.leads = True
                leader.gate.release()
                return None
            has_more = following.drafts or following.is_awaited
            self._is_led = bool(has_more and not self._flush_soon(hurry=following.is_awaited))
            return following if self._is_led else None

    def _gather(self, batch: Batch) -> None:
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
        if not self._has_flusher:
            calls = self._calls
            group = weakref.ref(self, lambda _group: calls.call(hurry=True))
            arguments = (group, self._held, calls)
            flusher = threading.Thread(
                target=flush_now_and_then, args=arguments, name="policy-router log", daemon=True
            )
            try:
                flusher.start()
            except RuntimeError:
                return False
            self._has_flusher = True
        self._held[:] = [self]
        self._calls.call(hurry=hurry)
        return True


def _may_lead() -> bool:
    """Tell whether others may wait for this thread: the main one can be interrupted anywhere."""
    return threading.current_thread() is not threading.main_thread()


def _settle(tasks: Sequence[asyncio.Future[None]]) -> None:
    for task in tasks:
        if not task.done():
            task.set_result(None)
