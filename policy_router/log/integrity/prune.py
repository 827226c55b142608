"""Retention: segments that are old enough are removed, and what proves the rest is kept.

Only what a checkpoint covers is removed, and only by who has its key: the removal is a signed
statement, and a line of the log, both written before the first file goes. The hashes of the lines
stay in the entries of the tree.
"""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from pathlib import Path

from msgspec import Struct

from policy_router.files.clock import Clock, system_clock
from policy_router.log.damage import NotWholeError, Places
from policy_router.log.entry import Close, Kind, Prune, microseconds
from policy_router.log.files import open_file, opened
from policy_router.log.folder import PRUNE_WRITER, LogFolder, Segment, readable
from policy_router.log.integrity.scan import Scan
from policy_router.log.integrity.signed import SignedLines, SignedLog
from policy_router.log.lock import lock
from policy_router.log.sign.growing import first_line
from policy_router.log.sign.keys import Signer
from policy_router.log.sign.signing import auditing
from policy_router.log.sign.statements import PrunedSegment, state
from policy_router.log.write.chain import Chain, Limits
from policy_router.log.write.drafts import Draft

_PATIENCE_SECONDS = 1.0
_LIMITS = Limits(64 << 20, 24 * 3600.0)


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
    signer: Signer,
    *,
    dry_run: bool = False,
    clock: Clock = system_clock,
) -> PruneReport:
    """Remove closed segments that are old, and that a checkpoint covers.

    Args:
        folder: the log.
        before: a segment is old if every line is older than this, in microseconds since 1970.
        signer: the key of the log.
        dry_run: only count, and remove nothing.
        clock: the time of the line that logs the removal.

    Raises:
        NotWholeError: the checkpoints are not by this key, or the tree is not what it signed.
        LogError: there is no log, another process prunes or signs it, or it cannot be written.
    """
    log = LogFolder.existing(folder)
    with nullcontext() if dry_run else auditing(log), readable(log), ExitStack() as locks:
        signed = SignedLog(log, [signer.verifier()], (), None)
        if signed.problems:
            it = signed.problems[0]
            reason = f"nothing is removed: {it.where}: {it.message}"
            raise NotWholeError(str(folder), reason)
        pruning = _Pruning(log, signed, before, locks)
        for writer in log.writers():
            if writer != PRUNE_WRITER:
                pruning.look(writer)
        if pruning.going and not dry_run:
            now = microseconds(clock())
            acts = [it for it, _, _ in pruning.going]
            state(log, signed.claims[-1].origin, now // 1_000_000, acts, signer)
            _tell(log, before, pruning, now)
            for _, segment, _ in pruning.going:
                Path(segment.path).unlink()
    return PruneReport(
        tuple(it.name for it, _, _ in pruning.going),
        pruning.lines,
        sum(size for _, _, size in pruning.going),
        tuple(pruning.kept_back),
    )


class _Pruning:
    """Which segments may go.

    Attributes:
        going: what goes, with the length of each.
        kept_back: what stays, and why.
    """

    def __init__(self, log: LogFolder, signed: SignedLog, before: int, locks: ExitStack) -> None:
        self._log, self._signed, self._before, self._locks = log, signed, before, locks
        self.going: list[tuple[PrunedSegment, Segment, int]] = []
        self.kept_back: list[tuple[str, str]] = []

    @property
    def lines(self) -> int:
        """How many lines go."""
        return sum(it.last - it.first + 1 for it, _, _ in self.going)

    def look(self, writer: str) -> None:
        """Look at the segments of a writer."""
        segments = self._log.segments(writer)
        signed = self._signed.lines.get(writer)
        for segment in segments:
            view = first_line(segment)
            if view is None or view.time >= self._before:
                continue
            places = Places()
            scan = Scan(places, seq=view.seq - 1, prev=view.prev, signed=signed)
            with open_file(segment.path) as stream:
                found = scan.segment(segment.name, stream)
            if found.newest >= self._before:
                continue
            act = PrunedSegment(
                writer, segment.number, found.first, found.last, found.oldest, found.newest
            )
            is_last = segment is segments[-1]
            reason = self._reason(act, signed, is_closed=found.is_closed)
            if any(places.problems()):
                reason = "its lines are not those that were signed: see log verify"
            if not reason and not self._is_idle(segment, found.size, is_last=is_last):
                reason = "its writer is running"
            if reason:
                self.kept_back.append((segment.name, reason))
            else:
                self.going.append((act, segment, found.size))

    def _reason(self, act: PrunedSegment, signed: SignedLines | None, *, is_closed: bool) -> str:
        """Return why a segment that is old enough stays; empty where it may go."""
        if not is_closed:
            return "it is not closed"
        is_covered = signed and all(signed.place(it) is not None for it in (act.first, act.last))
        return "" if is_covered else "no checkpoint covers it"

    def _is_idle(self, segment: Segment, size: int, *, is_last: bool) -> bool:
        """Tell whether nobody has gone on with a segment since it was read.

        The lock of the writer of a last segment is kept, so that nobody goes on.
        """
        if is_last:
            try:
                head = self._locks.enter_context(opened(self._log.heads / segment.writer))
            except OSError:
                return False
            if not lock(head):
                return False
        return Path(segment.path).stat().st_size == size


def _tell(log: LogFolder, before: int, pruning: _Pruning, now: int) -> None:
    """Say in the log what goes."""
    names = tuple(it.name for it, _, _ in pruning.going)
    act = Prune(before, pruning.lines, names)
    chain = Chain(log, [PRUNE_WRITER], _LIMITS, now, patience=_PATIENCE_SECONDS)
    try:
        chain.write([Draft(Kind.PRUNE, now, prune=act), Draft(Kind.CLOSE, now, close=Close("end"))])
    finally:
        chain.release()
