"""The decision log, for whoever writes it: each line is on disk before it counts."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast
from weakref import WeakSet

from msgspec import Raw
from msgspec.structs import replace

from policy_router.calls.closeable import Closeable
from policy_router.calls.notifications import LOGGER
from policy_router.decision.record import DecisionRecord
from policy_router.domain import Policy
from policy_router.errors import LogError, reason_of
from policy_router.files.clock import Clock, system_clock
from policy_router.files.ids import Ids, uuid7
from policy_router.log.entry import (
    MOST_LINE,
    Close,
    Execution,
    Kind,
    are_tags,
    is_id,
    microseconds,
)
from policy_router.log.folder import PRUNE_WRITER, WRITER_RULE, LogFolder, is_writer
from policy_router.log.heads import UnknownSchemaError
from policy_router.log.policies import PolicyStore, used_policy
from policy_router.log.used_policy import UsedPolicy
from policy_router.log.write.chain import Chain, Limits
from policy_router.log.write.drafts import (
    Decided,
    Draft,
    TreeRoots,
    caller_of,
    checked,
    decision_draft,
    encoded,
)
from policy_router.log.write.group import GroupCommit
from policy_router.log.write.shutdown import OPEN
from policy_router.log.write.unlogged import UnloggedCounter

Durability: TypeAlias = Literal["sync", "group", "async"]
OnLogFailure: TypeAlias = Literal["deny", "allow_unlogged"]

SEGMENT_BYTES: Final = 64 * 1024 * 1024
"""How long a segment becomes, in bytes, unless said otherwise."""
SEGMENT_SECONDS: Final = 24 * 3600.0
"""How old a segment becomes, in seconds, unless said otherwise."""
LINE_BYTES: Final = 1 << 20
"""About how long a line may be, in bytes, unless said otherwise."""
_FRAME_BYTES: Final = 1024
"""More than a line has beside its record or its execution, and its caller."""
_LOOK_MICROSECONDS: Final = 1_000_000
"""How often a writer looks whether its policies are still there."""
TELLS_POLICIES = True
"""Whether a line says what is decided by. Tests that count lines write logs as they were before."""
_MOST_WRITERS: Final = 100_000
_PATIENCE_SECONDS: Final = 1.0
"""How long the first line waits where another process is this writer: `prune` is, for a moment."""
_LONGEST_NAME: Final = 56
"""How much of a name is in that of a forked process."""


class DecisionLog(Closeable):
    """A folder to which decisions and their executions are appended.

    Safe to share between threads; several processes may each have one on the same folder. Nothing
    is opened or created before the first line. A forked process is another writer.
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
        line_bytes: int = LINE_BYTES,
        origin_commit: str | None = None,
        loaded_by: str | None = None,
        clock: Clock = system_clock,
        ids: Ids = uuid7,
    ) -> None:
        """Prepare to log.

        Args:
            folder: the folder of the log; it is created with the first line.
            durability: when a call returns. ``sync``: the line is on disk, with a sync of its own.
                ``group``: the line is on disk; threads share a sync. ``async``: at once, and the
                line is on disk soon after; a crash may lose lines without a trace. The first
                decision of a policy is always on disk.
            on_log_failure: what happens if a decision cannot be logged. ``deny``: an error, so the
                decision has no effect. ``allow_unlogged``: the decision is counted, and the count
                is in the log when it can be written again.
            writer: the name of this process in the log; default: a free name of ``w1``, ``w2``, ...
                A forked process has a number at the end: ``api-2``.
            segment_bytes: the size in bytes at which the next file starts.
            segment_seconds: the age in seconds at which the next file starts.
            line_bytes: about how long a line may be, at most 16 MiB: a decision or an event with
                more cannot be logged.
            origin_commit: the commit that the rule files come from. It is in the line that says
                which policy is decided by, as 1 to 200 letters, digits, ``_``, ``-``, ``.``, ``:``.
                Set the attribute where other rule files are loaded.
            loaded_by: who loaded them, in the same line: up to 100 characters.
            clock: the time of each line.
            ids: the ids of decisions that have none.

        Raises:
            ValueError: an option has a wrong value.
        """
        if durability not in {"sync", "group", "async"}:
            raise ValueError("durability is sync, group or async")
        if on_log_failure not in {"deny", "allow_unlogged"}:
            raise ValueError("on_log_failure is deny or allow_unlogged")
        if writer is not None and (not is_writer(writer) or writer == PRUNE_WRITER):
            raise ValueError(WRITER_RULE)
        if b"\0" in os.fsencode(folder):
            raise ValueError("the name of a folder has no NUL character")
        if segment_bytes < 1 or segment_seconds <= 0:
            raise ValueError("a segment has at least 1 byte, and more than 0 seconds")
        if not _FRAME_BYTES < line_bytes <= MOST_LINE:
            raise ValueError("a line has more than 1 KiB, and at most 16 MiB")
        if origin_commit is not None and not is_id(origin_commit):
            raise ValueError("origin_commit is of 1 to 200 letters, digits, `_`, `-`, `.`, `:`")
        if loaded_by is not None and not are_tags([loaded_by]):
            raise ValueError("loaded_by is of 1 to 100 characters, without control characters")
        self.origin_commit, self._loaded_by = origin_commit, loaded_by
        self._line_bytes = line_bytes
        self.folder = LogFolder(folder)
        self.policies = PolicyStore(self.folder)
        self._durability, self._denies = durability, on_log_failure == "deny"
        self._name, self._limits = writer, Limits(segment_bytes, segment_seconds)
        self._clock, self._ids = clock, ids
        self._roots = TreeRoots()
        self._is_forked = False
        self._begin(is_closed=False)
        OPEN.add(self)

    def _begin(self, *, is_closed: bool) -> None:
        """Be as new: at the beginning, and in a process that was forked."""
        self._group = GroupCommit(str(self.folder.path), self._commit, is_closed=is_closed)
        self._unlogged = UnloggedCounter()
        self._chain: Chain | None = None
        self._is_failing = False
        self._kept: set[str] = set()
        self._written: set[UsedPolicy] = set()
        self._known: WeakSet[Policy] = WeakSet()
        self._looked = 0  # when the policies were last seen to be there
        self._told_in: int | None = None  # the oldest segment with a line about one of them

    @property
    def writer(self) -> str | None:
        """The name of this process in the log; None before the first line."""
        return self._chain.writer if self._chain else None

    @property
    def unlogged(self) -> int:
        """How many decisions are not in the log, and not yet in a ``gap`` line."""
        return self._unlogged.decisions

    @property
    def waiting(self) -> int:
        """How many threads and tasks have lines that are still queued."""
        return self._group.waiting

    # What is logged.

    def decision(
        self,
        policy: Policy,
        record: DecisionRecord,
        *,
        decision_id: str | None = None,
        parent_id: str | None = None,
        root_id: str | None = None,
        session_id: str | None = None,
        tags: Sequence[str] = (),
    ) -> str:
        """Log a decision.

        Args:
            policy: the policy that decided; it is stored beside the log.
            record: the decision.
            decision_id: its id; default: a new id.
            parent_id: the id of the decision under which the delegating agent runs.
            root_id: the id of the first decision of its tree; default: it is found, where this log
                has logged the decision above it.
            session_id: the session that it belongs to.
            tags: up to eight words of the host's own, such as a project.

        Returns:
            The id of the decision.

        Raises:
            LogError: the decision cannot be logged, so it is denied.
            RuntimeError: the log is closed.
            ValueError: the record is not of this policy, or an id or a tag is malformed.
        """
        decision_id = self._ids(self._clock()) if decision_id is None else decision_id
        decided = Decided(record, decision_id, parent_id)
        self.decisions(policy, [_known(decided, root_id, session_id, tags)])
        return decision_id

    def decisions(self, policy: Policy, batch: Sequence[Decided]) -> None:
        """Log decisions that were made together; errors are those of :meth:`decision`."""
        is_alone, waits = self._manner(policy)
        drafts = self._drafts(policy, batch, waits=waits)
        if not drafts:
            return
        group, problem = self._group, self._too_long(drafts)
        if problem is None:
            problem = group.alone(drafts) if is_alone else group.together(drafts, waits=waits)
        if problem is not None and self._denies:
            raise problem

    async def decision_async(
        self,
        policy: Policy,
        record: DecisionRecord,
        *,
        decision_id: str | None = None,
        parent_id: str | None = None,
        root_id: str | None = None,
        session_id: str | None = None,
        tags: Sequence[str] = (),
    ) -> str:
        """Do as :meth:`decision`, without holding up the running event loop."""
        decision_id = self._ids(self._clock()) if decision_id is None else decision_id
        decided = Decided(record, decision_id, parent_id)
        await self.decisions_async(policy, [_known(decided, root_id, session_id, tags)])
        return decision_id

    async def decisions_async(self, policy: Policy, batch: Sequence[Decided]) -> None:
        """Do as :meth:`decisions`, without holding up the running event loop."""
        is_alone, waits = self._manner(policy)
        if is_alone:
            import asyncio  # noqa: PLC0415 - a command of one decision has no loop

            await asyncio.to_thread(self.decisions, policy, batch)
            return
        drafts = self._drafts(policy, batch, waits=waits)
        problem = self._too_long(drafts)
        if problem is not None:
            pass
        elif drafts and (waits or self._group.is_full):
            problem = await self._group.together_async(drafts)
        elif drafts:
            self._group.together(drafts, waits=False)
        if problem is not None and self._denies:
            raise problem

    def _manner(self, policy: Policy) -> tuple[bool, bool]:
        """Return whether decisions are written by themselves, and whether they are waited for.

        The first ones of a policy are both: whether it can be stored is known then, and nobody else
        is denied where it cannot.
        """
        is_alone = self._durability == "sync" or policy.revision not in self._kept
        return is_alone, is_alone or self._is_failing or self._durability != "async"

    def _drafts(self, policy: Policy, batch: Sequence[Decided], *, waits: bool) -> list[Draft]:
        """Return the lines of decisions."""
        self._group.check_open()
        now = microseconds(self._clock())
        roots = self._roots
        return [
            decision_draft(policy, it, now, is_waited_for=waits, root=roots.of(it)) for it in batch
        ]

    def _too_long(self, drafts: Sequence[Draft]) -> LogError | None:
        """Return why lines cannot be logged, where one is too long; they are counted."""
        most = self._line_bytes - _FRAME_BYTES
        if all(len(cast("Raw", it.record or it.execution)) <= most for it in drafts):
            return None
        reason = f"a line would have more than {self._line_bytes:,} bytes"
        problem = LogError(str(self.folder.path), reason)
        self._unlogged.count(self._done(drafts), problem)
        return problem

    def execution(self, decision_id: str, execution: Execution, caller: object = None) -> None:
        """Log an event of the child of a decision, without waiting for the disk.

        :meth:`flush` waits for the disk. Events that cannot be written are counted; the count is in
        the log when it can be written again. If very many lines are queued, this call waits too.

        Args:
            decision_id: the id of the decision.
            execution: the event.
            caller: the section ``caller`` of the request.

        Raises:
            RuntimeError: the log is closed.
            ValueError: the id, the event or the caller is malformed; the last two are also counted.
        """
        draft = Draft(Kind.EXECUTION, microseconds(self._clock()), checked(decision_id))
        try:
            who, what = caller_of(caller), encoded(execution)
        except ValueError:
            self._unlogged.count([draft], LogError(str(self.folder.path), "an event is malformed"))
            raise
        made = replace(draft, caller=who, execution=what)
        if self._too_long([made]) is None:
            self._group.together([made], waits=False)

    def act(self, draft: Draft) -> None:
        """Log something about the log itself.

        Args:
            draft: what happened.

        Raises:
            LogError: it cannot be written.
            RuntimeError: the log is closed.
        """
        problem = self._group.alone([draft])
        if problem is not None:
            raise problem

    def flush(self) -> None:
        """Wait until all lines so far are on disk, or cannot be written."""
        self._group.flush()

    async def flush_async(self) -> None:
        """Wait as :meth:`flush` does, without holding up the running event loop."""
        await self._group.together_async([], even_closed=True)

    # Writing.

    def _commit(self, drafts: Sequence[Draft]) -> LogError | None:
        """Write lines, and first of all what was missed before them."""
        if not drafts:
            return None
        missing = self._unlogged.gap()
        try:
            self._chain = self._chain or self._opened()
            new, segment = self._keep_policies(drafts, self._chain), self._chain.segment
            told = [Draft(Kind.GAP, drafts[0].time, gap=missing)] if missing else []
            lines = dict.fromkeys(it for it in new.values() if it not in self._written)
            told += [Draft(Kind.POLICY, drafts[0].time, used=it) for it in lines]
            self._chain.write([*told, *drafts])
        except BaseException as problem:
            error = self._failed(problem, drafts)
            if not isinstance(problem, (OSError, UnknownSchemaError)):
                raise
            return error
        if missing:
            self._unlogged.forget(missing)
        if new:
            self._told_in = segment if self._told_in is None else min(self._told_in, segment)
        self._written.update(new.values())
        self._known.update(new)
        if self._is_failing:
            LOGGER.warning("the log %s can be written again", self.folder.path)
            self._is_failing = False
        return None

    def _keep_policies(self, drafts: Sequence[Draft], chain: Chain) -> dict[Policy, UsedPolicy]:
        """Store what decided, before its first decision, and again where it was removed.

        Returns:
            The policies that this process has not decided by before, or whose line was pruned, with
            what a line says of each.
        """
        if drafts[0].time - self._looked >= _LOOK_MICROSECONDS:
            self._looked = drafts[0].time
            self._kept = set(filter(self.policies.has, self._kept))
            oldest = self._told_in
            if oldest is not None and not self.folder.segment_path(chain.writer, oldest).exists():
                self._told_in, self._written, self._known = None, set(), WeakSet()
        policies = dict.fromkeys(it.policy for it in drafts if it.policy is not None)
        new = [it for it in policies if it not in self._known]
        for policy in policies:
            if policy not in self._known or policy.revision not in self._kept:
                self.policies.keep(policy)
                self._kept.add(policy.revision)
        told = partial(used_policy, origin_commit=self.origin_commit, loaded_by=self._loaded_by)
        return {it: told(it) for it in new if TELLS_POLICIES}

    def _opened(self) -> Chain:
        now = microseconds(self._clock())
        patience = 0.0 if self._is_failing else _PATIENCE_SECONDS
        return Chain(self.folder, self._names(), self._limits, now, patience=patience)

    def _names(self) -> Iterable[str]:
        """Return the writers that this process can be."""
        numbers = range(1, _MOST_WRITERS)
        if self._name is None:
            return (f"w{number}" for number in numbers)
        if not self._is_forked:
            return [self._name]
        return (f"{self._name[:_LONGEST_NAME]}-{number}" for number in numbers[1:])

    def _failed(self, problem: BaseException, drafts: Sequence[Draft]) -> LogError:
        """Count what is not in the log; return the error, and tell the program's logger of it.

        The logger is told of the first one only, until it is mended.
        """
        if isinstance(problem, FileNotFoundError) and self._chain is not None:
            self._chain.release()
            self._chain, self._kept, self._told_in = None, set(), None
            self._written, self._known = set(), WeakSet()
        error = LogError(str(self.folder.path), _reason(problem))
        self._unlogged.count(self._done(drafts), error)
        if not self._is_failing:
            LOGGER.error("%s", error)
        self._is_failing = True
        return error

    def _done(self, drafts: Sequence[Draft]) -> list[Draft]:
        """Return what is done without being logged: what is denied is not done, and not missing."""
        return [it for it in drafts if not (self._denies and it.is_waited_for)]

    # The end.

    def close(self) -> None:
        """Write the queued lines, and release the writer's name for another process.

        A signal handler that interrupts a thread while it logs does not wait for that thread: the
        log is closed as soon as the thread has finished. If this method is interrupted itself, the
        next call, or the end of the process, finishes it.
        """
        if self._group.is_within:
            with suppress(RuntimeError):  # the process is ending already, which closes the log
                threading.Thread(target=self.close, name="policy-router log").start()
        else:
            self._group.close(self._end)

    def _end(self) -> None:
        if self._chain is not None and self._chain.is_released:
            return  # This was interrupted when it was as good as done.
        if self._chain is not None or self._unlogged:
            now = microseconds(self._clock())
            self._commit([Draft(Kind.CLOSE, now, close=Close("end"))])
        if self._chain is not None:
            self._chain.release()
        if self._unlogged:
            lost = (self._unlogged.decisions, self._unlogged.executions)
            LOGGER.error("%d decisions and %d execution events are in no log", *lost)

    async def aclose(self) -> None:
        """Do as :meth:`close`, without holding up the running event loop."""
        import asyncio  # noqa: PLC0415 - as above

        await asyncio.to_thread(self.close)

    def _forked(self) -> None:
        """Be another writer than the process that this one was forked from."""
        chain = self._chain
        self._is_forked = True
        self._begin(is_closed=self._group.is_closed)
        if chain is not None:
            chain.release()


def _known(
    decided: Decided, root_id: str | None, session_id: str | None, tags: Sequence[str]
) -> Decided:
    """Return a decision with what a host knows of it."""
    if root_id is None and session_id is None and not tags:
        return decided
    return replace(decided, root_id=root_id, session_id=session_id, tags=tuple(tags))


def _reason(problem: BaseException) -> str:
    """Return why nothing can be written, without any path or value."""
    if isinstance(problem, UnknownSchemaError):
        return str(problem)
    if isinstance(problem, OSError):
        return reason_of(problem)
    return "the writing was interrupted"
