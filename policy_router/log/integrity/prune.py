"""Retention: segments that are old enough are removed, and what proves the rest is kept.

Only what a signed checkpoint covers is removed, so that nobody can remove what nobody vouched for.
Of a segment its Merkle leaf hashes and the ends of its chain stay, in ``<number>.pruned``. The
removal is a line of the log, written before the first file goes.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Final, TypeAlias

from msgspec import Struct

from policy_router.files.clock import Clock, system_clock
from policy_router.log.entry import Kind, Prune, microseconds
from policy_router.log.folder import LogFolder, Segment, readable, write_whole
from policy_router.log.integrity.scan import SegmentExtent
from policy_router.log.integrity.verify import NotWholeError, audited
from policy_router.log.lock import lock
from policy_router.log.pruned import Pruned
from policy_router.log.sign.checkpoints import hashes, stored
from policy_router.log.sign.keys import Verifier
from policy_router.log.sign.signing import auditing
from policy_router.log.write.decision_log import DecisionLog
from policy_router.log.write.drafts import Draft

WRITER: Final = "prune"
"""The writer of the lines that say what was removed; those are kept."""


_Extents: TypeAlias = Mapping[Segment, SegmentExtent]


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
        before: a segment is old if every line is older than this, in microseconds since 1970.
        verifier: the key with which checkpoints must be signed; without it, their signatures are
            not verified.
        dry_run: only count, and remove nothing.
        clock: the time of the line that logs the removal.

    Raises:
        NotWholeError: the log is damaged; nothing is removed.
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
            old = {
                segment: extent
                for segment, extent in found.segments.items()
                if segment.writer != WRITER and extent.lines and extent.newest < before
            }
            kept_back = _kept_back(log, old, locks)
        going = {segment: it for segment, it in old.items() if segment not in kept_back}
        if going and not dry_run:
            _keep_proofs(going, found.leaves)
            _tell(log, before, going, clock)
            for segment in going:
                Path(segment.path).unlink()
    return PruneReport(
        tuple(segment.name for segment in going),
        sum(it.lines for it in going.values()),
        sum(it.size for it in going.values()),
        tuple((segment.name, reason) for segment, reason in kept_back.items()),
    )


def _kept_back(log: LogFolder, old: _Extents, locks: ExitStack) -> dict[Segment, str]:
    """Return why segments that are old enough stay; nobody goes on with the others any more."""
    checkpoints, _ = stored(log)
    covered = {it.writer: it.lines for it in checkpoints[-1].covers} if checkpoints else {}
    lasts = [log.segments(writer)[-1] for writer in {segment.writer for segment in old}]
    kept_back: dict[Segment, str] = {}
    for segment, it in old.items():
        if not it.is_closed:
            kept_back[segment] = "it is not closed"
        elif it.last > covered.get(segment.writer, 0):
            kept_back[segment] = "no checkpoint covers it"
        elif not _is_idle(log, segment, it.size, None if segment not in lasts else locks):
            kept_back[segment] = "its writer is running"
    return kept_back


def _is_idle(log: LogFolder, segment: Segment, size: int, locks: ExitStack | None) -> bool:
    """Tell whether nobody has gone on with a segment since it was read.

    Args:
        log: the log.
        segment: the segment.
        size: its size when it was read.
        locks: for a writer's last segment: what keeps the writer's lock, so that nobody goes on.
    """
    try:
        head = locks and locks.enter_context((log.heads / segment.writer).open("rb+"))
    except OSError:
        return False
    return (not head or lock(head)) and Path(segment.path).stat().st_size == size


def _keep_proofs(going: _Extents, leaves: Mapping[str, bytes | bytearray]) -> None:
    for segment, it in going.items():
        its = b"".join(hashes(leaves[segment.writer], it.first - 1, it.last))
        encoded = base64.b64encode(its).decode()
        kept = Pruned(it.first, it.lines, it.prev, it.hash, encoded)
        write_whole(Path(segment.path).with_suffix(".pruned"), kept.to_bytes())


def _tell(log: LogFolder, before: int, going: _Extents, clock: Clock) -> None:
    """Say in the log what goes."""
    names = tuple(segment.name for segment in going)
    act = Prune(before, sum(it.lines for it in going.values()), names)
    with DecisionLog(log.path, writer=WRITER, clock=clock) as writing:
        writing.act(Draft(Kind.PRUNE, microseconds(clock()), prune=act, is_waited_for=True))
