"""The decision log, for whoever writes it: from many threads, each line on disk before it counts.

Lines of threads that wait at the same time are written and synced together: whoever comes first
writes for all that have come meanwhile (group commit).
"""

from __future__ import annotations

import asyncio
import atexit
import os
import re
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias

from msgspec import UNSET, Raw, Struct

from policy_router.decision.record import DecisionRecord
from policy_router.domain import Policy
from policy_router.errors import LogError
from policy_router.runtime.closing import Closing
from policy_router.runtime.ids import Ids, uuid7
from policy_router.runtime.log.chain import Chain, Limits
from policy_router.runtime.log.entry import (
    Close,
    Draft,
    Execution,
    Gap,
    Kind,
    encoded,
    microseconds,
)
from policy_router.runtime.log.folder import LogFolder, UnknownSchemaError, is_writer
from policy_router.runtime.log.policies import PolicyStore
from policy_router.runtime.router import Clock, system_clock
from policy_router.runtime.telling import LOGGER

Durability: TypeAlias = Literal["sync", "group", "async"]
OnLogFailure: TypeAlias = Literal["deny", "allow_unlogged"]

SEGMENT_BYTES: Final = 64 * 1024 * 1024
"""How long a segment becomes, unless said otherwise."""
SEGMENT_SECONDS: Final = 24 * 3600.0
"""How old a segment becomes, unless said otherwise."""
_ID: Final = re.compile(r"[\w.:-]{1,200}", re.ASCII)
_LINGER_SECONDS: Final = 0.02
"""How long lines that nobody waits for are gathered."""
_CROWD: Final = 4
"""How many lines at a time are so many that it pays to wait for more."""
_ENOUGH: Final = 0.9
"""Which part of the lines of the last time is waited for."""
_PAUSE_SECONDS: Final = 0.0001
_MOST_PAUSES: Final = 6
_MOST_WAITING: Final = 10_000
"""How many lines may wait to be written before whoever adds one has to wait too."""


class Decided(Struct, frozen=True):
    """A decision to be logged.

    Attributes:
        record: the decision.
        decision_id: its id, a UUID of version 7.
        parent_id: the id of the decision that the delegating agent itself runs by, or None.
    """

    record: DecisionRecord
    decision_id: str
    parent_id: str | None = None


class _Batch:
    """Lines that are written together, and who waits for them."""

    __slots__ = ("drafts", "problem", "waiters")

    def __init__(self) -> None:
        self.drafts: list[Draft] = []
        self.waiters: list[_Waiter] = []
        self.problem: LogError | None = None


class _Waiter:
    """A thread that waits until its lines are written, or until it is to write."""

    __slots__ = ("can_lead", "gate", "leads")

    def __init__(self, *, can_lead: bool) -> None:
        self.gate = threading.Lock()
        self.gate.acquire()
        self.can_lead, self.leads = can_lead, False


class DecisionLog(Closing):
    """A folder that decisions, and what came of them, are appended to.

    Safe to share between threads; several processes may each have one on the same folder. Nothing
    is opened or made before the first line. A process that is forked writes as another writer.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        durability: Durability = "group",
        on_log_failure: OnLogFailure = "deny",
        writer: str | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        segment_seconds: float = SEGMENT_SECONDS,
        clock: Clock = system_clock,
        ids: Ids = uuid7,
    ) -> None:
        """Prepare to log.

        Args:
            folder: where; it is made with the first line.
            durability: when a line counts as written: ``sync``, on disk, each by itself; ``group``,
                on disk, together with those of other threads; ``async``, at once, and on disk soon
                after: what a crash may lose is not told.
            on_log_failure: what a decision that cannot be logged is: ``deny``, an error, so that
                nothing is done about it; ``allow_unlogged``, made nevertheless, counted, and told
                in the log once it can be written again.
            writer: the name of this process in the log; a free one of ``w1``, ``w2``, ... unless
                given.
            segment_bytes: how long a file becomes before the next one is begun.
            segment_seconds: how old a file becomes before the next one is begun.
            clock: tells the time of each line.
            ids: gives a decision its id, where nobody else did.

        Raises:
            ValueError: an option has no such value.
        """
        if durability not in {"sync", "group", "async"}:
            raise ValueError("durability is sync, group or async")
        if on_log_failure not in {"deny", "allow_unlogged"}:
            raise ValueError("on_log_failure is deny or allow_unlogged")
        if writer is not None and not is_writer(writer):
            raise ValueError("a writer's name is of letters, digits, `_`, `-` and `.`")
        if segment_bytes < 1 or segment_seconds <= 0:
            raise ValueError("a segment has at least 1 byte, and more than 0 seconds")
        self.folder = LogFolder(folder)
        self.policies = PolicyStore(self.folder)
        self._durability, self._denies = durability, on_log_failure == "deny"
        self._name, self._limits = writer, Limits(segment_bytes, segment_seconds)
        self._clock, self._ids = clock, ids
        self._is_closed = self._has_ended = False
        self._begin()
        _LOGS.add(self)

    def _begin(self) -> None:
        """Be as new: at the beginning, and in a process that was forked."""
        self._lock, self._alone, self._counting = (threading.Lock() for _ in range(3))
        self._missing = _NOTHING_MISSING
        self._chain: Chain | None = None
        self._open = _Batch()
        self._is_led = False
        self._last_size = 0
        self._is_failing = False
        self._kept: set[str] = set()
        self._flusher: threading.Thread | None = None
        self._wake, self._hurry = threading.Event(), threading.Event()

    @property
    def writer(self) -> str | None:
        """The name of this process in the log; None before the first line."""
        return self._chain.writer if self._chain else None

    @property
    def unlogged(self) -> int:
        """How many decisions are not in the log, nor told in it yet."""
        return self._missing.decisions

    # What is logged.

    def decision(
        self,
        policy: Policy,
        record: DecisionRecord,
        *,
        decision_id: str | None = None,
        parent_id: str | None = None,
    ) -> str:
        """Log a decision.

        Args:
            policy: the policy that decided; it is stored beside the log.
            record: the decision.
            decision_id: its id; a new one unless given.
            parent_id: the id of the decision that the delegating agent itself runs by.

        Returns:
            The id of the decision.

        Raises:
            LogError: it cannot be logged, and decisions without that are denied.
            RuntimeError: the log is closed.
            ValueError: the record is not of this policy, or an id is none.
        """
        decision_id = decision_id or self._ids(self._clock())
        self.decisions(policy, [Decided(record, decision_id, parent_id)])
        return decision_id

    def decisions(self, policy: Policy, batch: Sequence[Decided]) -> None:
        """Log decisions that were made together; errors are those of :meth:`decision`."""
        self._check_open()
        now, waits = microseconds(self._clock()), self._is_failing or self._durability != "async"
        drafts = [_decision(policy, decided, now, is_waited_for=waits) for decided in batch]
        if not drafts:
            return
        if policy.revision not in self._kept and not self._keeps(policy, drafts):
            return
        problem = self._put(drafts, waits=waits)
        if problem is not None and self._denies:
            raise problem

    def execution(self, decision_id: str, execution: Execution, caller: object = None) -> None:
        """Log what happened to the child of a decision; nobody waits for that.

        :meth:`flush` does. What cannot be written is counted, and told in the log once it can.

        Args:
            decision_id: the id of the decision.
            execution: what happened.
            caller: the section ``caller`` of the request.

        Raises:
            RuntimeError: the log is closed.
            ValueError: a text is not valid Unicode, or the id is none.
        """
        now = microseconds(self._clock())
        who = caller if isinstance(caller, dict) else UNSET
        what = encoded(execution)
        draft = Draft(Kind.EXECUTION, now, _checked(decision_id), caller=who, execution=what)
        self._put([draft], waits=False)

    def act(self, draft: Draft) -> None:
        """Log something about the log itself.

        Raises:
            LogError: it cannot be written.
        """
        problem = self._put([draft], waits=True)
        if problem is not None:
            raise problem

    def flush(self) -> None:
        """Wait until everything so far is on disk, or known not to get there."""
        self._join([], waits=True, even_closed=True)

    async def flush_async(self) -> None:
        """Wait as :meth:`flush` does, without holding up the running event loop."""
        await asyncio.to_thread(self.flush)

    def _keeps(self, policy: Policy, drafts: Sequence[Draft]) -> bool:
        """Store a policy before its first decision; tell whether that is done."""
        try:
            self.policies.keep(policy)
        except OSError as problem:
            error = self._error(problem)
            if self._denies:
                raise error from None
            self._count(drafts, error)
            return False
        self._kept.add(policy.revision)
        return True

    # Writing together.

    def _put(self, drafts: Sequence[Draft], *, waits: bool) -> LogError | None:
        """Hand over lines, and wait for them where that is wanted.

        Returns:
            Why they could not be written; None where they could, or where nobody waited.
        """
        is_alone = waits and drafts and not self._is_led and not _may_lead()
        if is_alone or self._durability == "sync":
            with self._alone:
                self._check_open()
                return self._commit(drafts)
        return self._join(drafts, waits=waits)

    def _check_open(self) -> None:
        if self._is_closed:
            raise RuntimeError("the log is closed")

    def _join(
        self, drafts: Sequence[Draft], *, waits: bool, even_closed: bool = False
    ) -> LogError | None:
        """Add lines to the open batch; whoever comes while nobody writes is who writes.

        The main thread writes for nobody else, unless there is no other, and wakes nobody.
        """
        waiter = _Waiter(can_lead=self._is_closed or _may_lead())
        with self._lock:
            if not even_closed:
                self._check_open()
            batch = self._open
            batch.drafts += drafts
            if not waits and len(batch.drafts) < _MOST_WAITING:
                self._flush_soon()
                return None
            if not self._is_led and not batch.drafts:
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
        batch.problem = self._error(None)
        try:
            with self._alone:
                batch.problem = self._commit(batch.drafts)
        finally:
            with self._lock:
                following = self._open
                leader = next((it for it in following.waiters if it.can_lead), None)
                self._is_led = leader is not None
                if leader is not None:
                    following.waiters.remove(leader)
                    leader.leads = True
                    leader.gate.release()
                elif following.drafts or following.waiters:
                    self._flush_soon(hurry=bool(following.waiters))
            _pass_on(batch)

    def _gather(self, batch: _Batch) -> None:
        """Wait a moment for as many lines as came together before: one sync for all is less."""
        wanted = self._last_size * _ENOUGH
        for _ in range(_MOST_PAUSES if self._last_size > _CROWD else 0):
            if len(batch.drafts) >= wanted:
                break
            time.sleep(_PAUSE_SECONDS)
        self._last_size = len(batch.drafts)

    def _commit(self, drafts: Sequence[Draft]) -> LogError | None:
        """Write lines, and first of all what was missed before them."""
        if not drafts:
            return None
        with self._counting:
            missing, self._missing = self._missing, _NOTHING_MISSING
        try:
            self._chain = self._chain or self._opened()
            told = [Draft(Kind.GAP, drafts[0].time, gap=missing)] if _is_any(missing) else []
            self._chain.write([*told, *drafts])
        except BaseException as problem:
            error = self._failed(problem, missing, drafts)
            if not isinstance(problem, (OSError, UnknownSchemaError)):
                raise
            return error
        self._is_failing = False
        return None

    def _opened(self) -> Chain:
        return Chain(self.folder, self._name, self._limits, microseconds(self._clock()))

    def _failed(self, problem: BaseException, missing: Gap, drafts: Sequence[Draft]) -> LogError:
        """Remember what is not in the log, and return the error."""
        self._is_failing = True
        if isinstance(problem, FileNotFoundError) and self._chain is not None:
            self._chain.release()
            self._chain, self._kept = None, set()
        error = self._error(problem)
        LOGGER.error("%s", error)
        with self._counting:
            self._missing = _sum(missing, self._missing)
        self._count(drafts, error)
        return error

    def _error(self, problem: BaseException | None) -> LogError:
        return LogError(str(self.folder.path), _reason(problem))

    def _count(self, drafts: Sequence[Draft], error: LogError) -> None:
        """Count what is done without being logged: not what is denied."""
        counted = [it.kind for it in drafts if not (self._denies and it.is_waited_for)]
        decisions = counted.count(Kind.DECISION)
        executions = counted.count(Kind.EXECUTION)
        if decisions or executions:
            more = Gap("unlogged", decisions, executions, 0, drafts[0].time, error.reason)
            with self._counting:
                self._missing = _sum(self._missing, more)

    # What nobody waits for.

    def _flush_soon(self, *, hurry: bool = False) -> bool:
        """Let a thread of the log's own write; the lock is held.

        Returns:
            Whether there is one: a program that is ending can start no more.
        """
        if self._flusher is None or not self._flusher.is_alive():
            arguments = (weakref.ref(self), self._wake, self._hurry)
            flusher = threading.Thread(
                target=_flush_now_and_then, args=arguments, name="policy-router log", daemon=True
            )
            try:
                flusher.start()
            except RuntimeError:
                return False
            self._flusher = flusher
        if hurry:
            self._hurry.set()
        self._wake.set()
        return True

    # The end.

    def close(self) -> None:
        """Write what waits to be written, and let another process be this writer."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        self._join([], waits=True, even_closed=True)
        self._has_ended = True
        self._hurry.set()
        self._wake.set()
        with self._alone:
            if self._chain is not None or _is_any(self._missing):
                now = microseconds(self._clock())
                self._commit([Draft(Kind.CLOSE, now, close=Close("end"))])
            if self._chain is not None:
                self._chain.release()
        if _is_any(self._missing):
            lost = (self._missing.decisions, self._missing.executions)
            LOGGER.error("%d decisions and %d execution events are in no log", *lost)

    async def aclose(self) -> None:
        """Do as :meth:`close`, without holding up the running event loop."""
        await asyncio.to_thread(self.close)

    def _forked(self) -> None:
        """Be another writer than the process that this one was forked from."""
        chain = self._chain
        self._begin()
        if chain is not None:
            chain.release()


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


def _flush_now_and_then(
    log: weakref.ref[DecisionLog], wake: threading.Event, hurry: threading.Event
) -> None:
    """Write what nobody waits for, a little after it came; the end of the log is the end."""
    while True:
        wake.wait()
        hurry.wait(_LINGER_SECONDS)
        wake.clear()
        hurry.clear()
        found = log()
        if found is None:
            return
        try:
            found._join([], waits=True, even_closed=True)  # noqa: SLF001 - it is a part of the log
        except Exception:  # noqa: BLE001 - whoever comes next is not harmed
            LOGGER.exception("the log %s cannot be written", found.folder.path)
        if found._has_ended:  # noqa: SLF001
            return
        del found


def _decision(policy: Policy, decided: Decided, now: int, *, is_waited_for: bool) -> Draft:
    record = decided.record
    if record.policy.revision != policy.revision:
        raise ValueError("the record is not of this policy")
    return Draft(
        Kind.DECISION,
        now,
        _checked(decided.decision_id),
        _checked(decided.parent_id) if decided.parent_id else UNSET,
        record.request.get("caller", UNSET),
        Raw(record.to_json()),
        is_waited_for=is_waited_for,
    )


def _checked(decision_id: str) -> str:
    """Return the id of a decision, which has to be one that a log can hold and find again."""
    if not _ID.fullmatch(decision_id):
        raise ValueError("the id of a decision is of 1 to 200 letters, digits, `_`, `-`, `.`, `:`")
    return decision_id


def _is_any(missing: Gap) -> bool:
    return bool(missing.decisions or missing.executions)


def _sum(first: Gap, second: Gap) -> Gap:
    """Return what is missing together, since the earlier one."""
    return Gap(
        "unlogged",
        first.decisions + second.decisions,
        first.executions + second.executions,
        0,
        first.since if _is_any(first) else second.since,
        second.error or first.error,
    )


def _reason(problem: BaseException | None) -> str:
    """Return why nothing can be written, without any path or value."""
    if isinstance(problem, UnknownSchemaError):
        return str(problem)
    if isinstance(problem, OSError):
        return (problem.strerror or "input/output error").lower()
    return "the writing was interrupted"


_NOTHING_MISSING: Final = Gap("unlogged")
_LOGS: Final[weakref.WeakSet[DecisionLog]] = weakref.WeakSet()


def _close_all() -> None:
    for log in list(_LOGS):
        log.close()


def _after_fork() -> None:
    for log in list(_LOGS):
        log._forked()  # noqa: SLF001 - it is a part of the log


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
