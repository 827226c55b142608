"""Retention: segments that are old enough are removed, and what proves the rest is kept.

Only what a signed checkpoint covers is removed, so that nobody can remove what nobody vouched for.
Of a segment its Merkle leaf hashes and the ends of its chain stay, in ``<number>.pruned``. The
removal is a line of the log, written before the first file goes.
"""

from __future__ import annotations

import base64
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from msgspec import Struct

from policy_router.errors import LogError
from policy_router.runtime.log.checkpoints import hashes, stored
from policy_router.runtime.log.decision_log import DecisionLog
from policy_router.runtime.log.entry import Draft, Kind, LogEntry, Prune, line_hash, microseconds
from policy_router.runtime.log.folder import LogFolder, Segment, write_whole
from policy_router.runtime.log.lock import lock
from policy_router.runtime.log.notes import Verifier
from policy_router.runtime.log.pruned import Pruned
from policy_router.runtime.log.verify import NotWholeError, examined, verify
from policy_router.runtime.router import Clock, system_clock

WRITER: Final = "prune"
"""The writer of the lines that say what was removed; those are kept."""


class Removal(Struct, frozen=True):
    """A segment that is removed, and what is kept of it."""

    segment: Segment
    kept: Pruned


class Removed(Struct, frozen=True):
    """What was removed, or would be.

    Attributes:
        segments: which segments, as ``writer/number``.
        lines: how many lines they have.
        bytes: how long they are.
        kept_back: segments that are old enough, and why they stay.
    """

    segments: tuple[str, ...]
    lines: int
    bytes: int
    kept_back: tuple[tuple[str, str], ...]


def prune(
    folder: str | Path,
    before: int,
    *,
    verifier: Verifier | None = None,
    is_trial: bool = False,
    clock: Clock = system_clock,
) -> Removed:
    """Remove closed segments that are old, and that a signed checkpoint covers.

    Args:
        folder: the log.
        before: a segment is old where every line is older than this, in microseconds since 1970.
        verifier: the key that checkpoints have to be signed with; without it nobody asks.
        is_trial: whether nothing is removed, only counted.
        clock: tells the time of the line that says so.

    Raises:
        NotWholeError: the log is not whole, so that nothing is removed.
        LogError: it cannot be written.
    """
    if not verify(folder, verifier=verifier).is_whole:
        raise NotWholeError(str(folder), "it is not whole: see log verify; nothing is removed")
    log = LogFolder(folder)
    with ExitStack() as locks:
        # Nobody may go on with a last segment while it is removed.
        idle = {it for it in log.writers() if it != WRITER and _locked(log, it, locks)}
        removals, kept_back = _removals(log, before, idle)
        removed = Removed(
            tuple(it.segment.name for it in removals),
            sum(it.kept.lines for it in removals),
            sum(Path(it.segment.path).stat().st_size for it in removals),
            tuple(kept_back),
        )
        if removals and not is_trial:
            _remove(folder, before, removals, removed, clock)
    return removed


def _locked(log: LogFolder, writer: str, locks: ExitStack) -> bool:
    """Be a writer for a while, if nobody else is."""
    try:
        return lock(locks.enter_context((log.heads / writer).open("rb+")))
    except OSError:
        return False


def _remove(
    folder: str | Path, before: int, removals: list[Removal], removed: Removed, clock: Clock
) -> None:
    """Keep the proofs, say it in the log, and remove the files: in this order."""
    try:
        for it in removals:
            write_whole(Path(it.segment.path).with_suffix(".pruned"), it.kept.to_bytes())
    except OSError as problem:
        reason = (problem.strerror or "input/output error").lower()
        raise LogError(str(folder), reason) from None
    act = Prune(before, removed.lines, removed.segments)
    with DecisionLog(folder, writer=WRITER, clock=clock) as log:
        log.act(Draft(Kind.PRUNE, microseconds(clock()), prune=act, is_waited_for=True))
    for it in removals:
        Path(it.segment.path).unlink()


def _removals(
    log: LogFolder, before: int, idle: AbstractSet[str]
) -> tuple[list[Removal], list[tuple[str, str]]]:
    """Return what can be removed, and what is old enough and cannot."""
    checkpoints, _ = stored(log)
    covered = {it.writer: it.lines for it in checkpoints[-1].covers} if checkpoints else {}
    leaves = examined(log, wants_leaves=True).leaves
    removals: list[Removal] = []
    kept_back: list[tuple[str, str]] = []
    lasts = {writer: log.segments(writer)[-1:] for writer in log.writers()}
    for segment in log.all_segments():
        if segment.writer == WRITER:
            continue
        entries = _entries(segment)
        if not entries or max(entry.time for entry, _ in entries) >= before:
            continue
        last, content = entries[-1]
        if last.kind is not Kind.CLOSE:
            kept_back.append((segment.name, "it is not closed"))
        elif segment in lasts[segment.writer] and segment.writer not in idle:
            kept_back.append((segment.name, "its writer is running"))
        elif last.seq > covered.get(segment.writer, 0):
            kept_back.append((segment.name, "no checkpoint covers it"))
        else:
            first = entries[0][0]
            its = hashes(leaves[segment.writer], first.seq - 1, last.seq)
            kept = Pruned(
                first.seq,
                len(entries),
                first.prev,
                line_hash(content),
                base64.b64encode(b"".join(its)).decode(),
                tuple(name for entry, _ in entries for name in _said(entry)),
            )
            removals.append(Removal(segment, kept))
    return removals, kept_back


def _said(entry: LogEntry) -> tuple[str, ...]:
    """Return the segments of which a line says that they were removed."""
    return entry.prune.segments if isinstance(entry.prune, Prune) else ()


def _entries(segment: Segment) -> list[tuple[LogEntry, bytes]]:
    content = Path(segment.path).read_bytes()
    lines = content[: content.rfind(b"\n") + 1].split(b"\n")[:-1]
    return [(LogEntry.from_json(line), line) for line in lines]
