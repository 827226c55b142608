"""Retention: segments that are old enough are removed, and what proves the rest is kept.

Only what a signed checkpoint covers is removed, so that nobody can remove what nobody vouched for.
Of a segment its Merkle leaf hashes and the ends of its chain stay, in ``<number>.pruned``. The
removal is a line of the log, written before the first file goes.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Final

from msgspec import Struct

from policy_router.runtime.log.checkpoints import hashes, stored
from policy_router.runtime.log.decision_log import DecisionLog
from policy_router.runtime.log.entry import Draft, Kind, Prune, line_hash, microseconds, view_of
from policy_router.runtime.log.folder import LogFolder, Segment, readable, write_whole
from policy_router.runtime.log.keys import Verifier
from policy_router.runtime.log.lock import lock
from policy_router.runtime.log.pruned import Pruned
from policy_router.runtime.log.reading import whole_lines
from policy_router.runtime.log.signing import auditing
from policy_router.runtime.log.verify import NotWholeError, audited
from policy_router.runtime.router import Clock, system_clock

WRITER: Final = "prune"
"""The writer of the lines that say what was removed; those are kept."""


class PruneReport(Struct, frozen=True):
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
    dry_run: bool = False,
    clock: Clock = system_clock,
) -> PruneReport:
    """Remove closed segments that are old, and that a signed checkpoint covers.

    Args:
        folder: the log.
        before: a segment is old where every line is older than this, in microseconds since 1970.
        verifier: the key that checkpoints have to be signed with; without it, their signatures are
            not checked.
        dry_run: whether nothing is removed, only counted.
        clock: tells the time of the line that says so.

    Raises:
        NotWholeError: the log is not whole, so that nothing is removed.
        LogError: there is no log, another process prunes or signs it, or it cannot be written.
        SignatureError: the key cannot be used.
    """
    log = LogFolder.existing(folder)
    with nullcontext() if dry_run else auditing(log), ExitStack() as locks:
        with readable(log):
            report, found = audited(log, verifier=verifier)
            if not report.is_whole:
                reason = "it is not whole: see log verify; nothing is removed"
                raise NotWholeError(str(folder), reason)
            read = [_read(it) for it in log.all_segments() if it.writer != WRITER]
            old = [it for it in read if it.lines and it.newest < before]
            kept_back = _kept_back(log, old, locks)
        going = [it for it in old if it.segment not in kept_back]
        if going and not dry_run:
            _keep_proofs(going, found.leaves)
            _tell(log, before, going, clock)
            for it in going:
                Path(it.segment.path).unlink()
    return PruneReport(
        tuple(it.segment.name for it in going),
        sum(it.lines for it in going),
        sum(it.size for it in going),
        tuple((segment.name, reason) for segment, reason in kept_back.items()),
    )


class _Read(Struct):
    """What a segment holds, as far as it matters here."""

    segment: Segment
    size: int = 0
    lines: int = 0
    newest: int = 0
    first: int = 0
    last: int = 0
    prev: str = ""
    hash: str = ""
    is_closed: bool = False


def _read(segment: Segment) -> _Read:
    """Go through the lines of a segment of a log that is whole."""
    found = _Read(segment)
    content = b""
    with open(segment.path, "rb") as stream:  # noqa: PTH123 - the name is a string
        for content in whole_lines(stream):
            line = view_of(content)
            if line is None:
                raise NotWholeError(segment.path, f"a line after line {found.last} was changed")
            if not found.lines:
                found.first, found.prev = line.seq, line.prev
            found.size += len(content) + 1
            found.lines += 1
            found.newest = max(found.newest, line.time)
            found.is_closed = line.kind == Kind.CLOSE
    found.last = found.first + found.lines - 1
    found.hash = line_hash(content)
    return found


def _kept_back(log: LogFolder, old: Sequence[_Read], locks: ExitStack) -> dict[Segment, str]:
    """Return why segments that are old enough stay; nobody goes on with the others any more."""
    checkpoints, _ = stored(log)
    covered = {it.writer: it.lines for it in checkpoints[-1].covers} if checkpoints else {}
    lasts = [log.segments(writer)[-1] for writer in {it.segment.writer for it in old}]
    kept_back: dict[Segment, str] = {}
    for it in old:
        segment = it.segment
        if not it.is_closed:
            kept_back[segment] = "it is not closed"
        elif it.last > covered.get(segment.writer, 0):
            kept_back[segment] = "no checkpoint covers it"
        elif segment in lasts and not _is_idle(log, it, locks):
            kept_back[segment] = "its writer is running"
    return kept_back


def _is_idle(log: LogFolder, it: _Read, locks: ExitStack) -> bool:
    """Be a writer for a while, if nobody else is, nor was since its last segment was read."""
    try:
        is_free = lock(locks.enter_context((log.heads / it.segment.writer).open("rb+")))
    except OSError:
        return False
    return is_free and Path(it.segment.path).stat().st_size == it.size


def _keep_proofs(going: Sequence[_Read], leaves: Mapping[str, bytes | bytearray]) -> None:
    for it in going:
        its = b"".join(hashes(leaves[it.segment.writer], it.first - 1, it.last))
        encoded = base64.b64encode(its).decode()
        kept = Pruned(it.first, it.lines, it.prev, it.hash, encoded)
        write_whole(Path(it.segment.path).with_suffix(".pruned"), kept.to_bytes())


def _tell(log: LogFolder, before: int, going: Sequence[_Read], clock: Clock) -> None:
    """Say in the log what goes."""
    names = tuple(it.segment.name for it in going)
    act = Prune(before, sum(it.lines for it in going), names)
    with DecisionLog(log.path, writer=WRITER, clock=clock) as writing:
        writing.act(Draft(Kind.PRUNE, microseconds(clock()), prune=act, is_waited_for=True))
