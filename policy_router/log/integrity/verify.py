"""Is a log whole? Three questions, answered apart.

*Integrity*: is every line that is there what it was? *Completeness*: is every line there?
*Authenticity*: did whoever has the key see the same lines? The first two find damage and careless
hands. Who can write to the folder can make hashes and heads anew: against that there are signed
checkpoints, best kept somewhere else as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from policy_router.diagnostics.model import printable
from policy_router.errors import LogError, reason_of
from policy_router.log.damage import Damage, Problem, spelt_lines
from policy_router.log.folder import LogFolder, Progress
from policy_router.log.integrity.completeness import Findings, examined, steadily
from policy_router.log.sign.checkpoints import LogTree, SignedCheckpoint, hashes, stored
from policy_router.log.sign.keys import SignatureError, Verifier
from policy_router.log.sign.notes import opened


class NotWholeError(LogError):
    """A damaged log, which cannot be signed, proved or pruned."""


class Answer(StrEnum):
    """The answer to one of the three questions."""

    WHOLE = "whole"
    BROKEN = "broken"
    VERIFIED = "verified"
    """Every checkpoint is signed with the key, and covers the lines that are there."""
    NOT_CHECKED = "not_checked"
    """There is no key, or no checkpoint."""


class Part(Struct, frozen=True):
    """The answer to one of the three questions, and what is wrong."""

    status: Answer
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


class Report(Struct, frozen=True):
    """What was found.

    Attributes:
        integrity: whether every present line is unchanged.
        completeness: whether every acknowledged line is present.
        authenticity: whether the lines are those that were signed.
        writers: the number of writers.
        segments: the number of segments, without pruned ones.
        lines: the number of lines, with pruned ones.
        checkpoints: the number of signed checkpoints.
        covered: the number of lines that the last checkpoint covers.
    """

    integrity: Part
    completeness: Part
    authenticity: Part
    writers: int
    segments: int
    lines: int
    checkpoints: int
    covered: int

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong."""
        return not any(
            part.problems for part in (self.integrity, self.completeness, self.authenticity)
        )

    def to_json(self) -> bytes:
        """Return JSON."""
        return msgspec.json.encode({"whole": self.is_whole, **msgspec.to_builtins(self)})


def verify(
    folder: str | Path,
    *,
    verifier: Verifier | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> Report:
    """Check a log.

    Args:
        folder: the log.
        verifier: the key with which checkpoints must be signed.
        checkpoint: a copy that was kept elsewhere; the log must agree with it.
        progress: is called with the progress.

    Raises:
        LogError: there is no log, it has a newer version, or it cannot be read.
        SignatureError: the kept checkpoint cannot be read.
    """
    log = LogFolder.existing(folder)
    return audited(log, verifier=verifier, checkpoint=checkpoint, progress=progress)[0]


def audited(
    log: LogFolder,
    *,
    verifier: Verifier | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> tuple[Report, Findings]:
    """Check a log as :func:`verify` does, and return what its lines came to, too."""
    return steadily(
        log,
        lambda: _audited(log, verifier, checkpoint, progress),
        lambda found: found[0].is_whole,
    )


def _audited(
    log: LogFolder,
    verifier: Verifier | None,
    checkpoint: Path | None,
    progress: Progress | None,
) -> tuple[Report, Findings]:
    own, unread = stored(log)
    checkpoints = own if checkpoint is None else _with_kept(own, checkpoint)
    found = examined(log, wants_leaves=bool(checkpoints), progress=progress)
    found.completeness += _uncovered(found, own)
    authenticity = _authenticity(found, checkpoints, unread, verifier)
    covered = own[-1].checkpoint.size if own else 0
    report = Report(
        _part(found.integrity),
        _part(found.completeness, found.notes),
        authenticity,
        len(found.seqs),
        len(found.segments),
        sum(found.seqs.values()),
        len(own),
        covered,
    )
    return report, found


def _part(problems: Sequence[Problem], notes: Sequence[str] = ()) -> Part:
    status = Answer.BROKEN if problems else Answer.WHOLE
    return Part(status, _printable(problems), tuple(map(printable, notes)))


def _printable(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Return problems in which no name of a file does anything to a terminal, or to JSON."""
    return tuple(
        replace(it, where=printable(it.where), message=printable(it.message)) for it in problems
    )


def _uncovered(found: Findings, checkpoints: Sequence[SignedCheckpoint]) -> Iterator[Problem]:
    """Yield the segments that nobody may have removed: no checkpoint covers them."""
    covered: dict[str, int] = {}
    for it in (cover for checkpoint in checkpoints for cover in checkpoint.covers):
        covered[it.writer] = max(it.lines, covered.get(it.writer, 0))
    for segment, last in found.pruned.items():
        if last > covered.get(segment.writer, 0):
            yield Problem(Damage.BAD_PRUNE, segment.name, "removed, and no checkpoint covers it")


# Checkpoints.


def read_kept(path: Path) -> SignedCheckpoint:
    """Read a checkpoint that was kept somewhere else.

    Raises:
        SignatureError: it cannot be read, or is none.
    """
    try:
        return SignedCheckpoint.read(path, str(path))
    except OSError as problem:
        raise SignatureError(f"{path}: {reason_of(problem)}") from None


def _with_kept(checkpoints: list[SignedCheckpoint], path: Path) -> list[SignedCheckpoint]:
    """Add a checkpoint that was kept somewhere else, if it is not among them."""
    kept = read_kept(path)
    if any(kept.checkpoint == it.checkpoint for it in checkpoints):
        return checkpoints
    return sorted([*checkpoints, kept], key=lambda it: it.checkpoint.size)


def _authenticity(
    found: Findings,
    checkpoints: Sequence[SignedCheckpoint],
    problems: list[Problem],
    verifier: Verifier | None,
) -> Part:
    """Compare every checkpoint with the lines, and with those before it."""
    log_tree = LogTree(found.leaves)
    for it in checkpoints:
        if verifier is not None:
            problems += _signature(it, verifier)
        problems += _agreement(it, log_tree, found)
    if verifier is not None and not checkpoints:
        problems.append(Problem(Damage.UNSIGNED, "checkpoints", "there is no checkpoint"))
    if problems:
        return Part(Answer.BROKEN, _printable(problems))
    is_checked = verifier is not None
    return Part(Answer.VERIFIED if is_checked else Answer.NOT_CHECKED)


def _signature(it: SignedCheckpoint, verifier: Verifier) -> list[Problem]:
    try:
        opened(it.note, verifier)
    except SignatureError as problem:
        return [Problem(Damage.BAD_SIGNATURE, it.name, str(problem))]
    return []


def _agreement(it: SignedCheckpoint, log_tree: LogTree, found: Findings) -> list[Problem]:
    """Tell where a checkpoint and the lines differ."""
    lost = [cover for cover in it.covers if found.seqs.get(cover.writer, 0) < cover.lines]
    for cover in lost:
        there = found.seqs.get(cover.writer, 0)
        damage = Damage.CUT_TAIL if cover.writer in found.seqs else Damage.MISSING_WRITER
        lines = (there + 1, cover.lines)
        words = f"{spelt_lines(*lines)}: missing, though {it.name} covers them"
        found.completeness.append(Problem(damage, cover.writer, words, lines))
    if not log_tree.add(it.covers):
        words = "it covers less than one before it"
        return [Problem(Damage.BAD_CHECKPOINT, it.name, words)]
    if lost or log_tree.tree.root() == it.checkpoint.root:
        return []
    changed = [
        cover.writer
        for cover in it.covers
        if hashes(found.leaves[cover.writer], cover.lines - 1, cover.lines) != [cover.leaf]
    ]
    where_to_look = f"look at {', '.join(changed)}" if changed else "or a checkpoint is missing"
    words = f"the lines are not those that were signed; {where_to_look}"
    return [Problem(Damage.REWRITTEN, it.name, words)]
