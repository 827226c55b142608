"""Is a log whole, who says so, and what was removed?

Four questions, each answered for itself: is every line that is there what it was (integrity); is
every line that was acknowledged there (completeness); are they the lines that were signed
(authenticity); and is that recent enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from policy_router.diagnostics.model import printable
from policy_router.files.clock import Clock, system_clock
from policy_router.log.damage import SHOWN, Damage, Problem
from policy_router.log.folder import LogFolder, Progress
from policy_router.log.integrity.completeness import examined, steadily
from policy_router.log.integrity.duplicates import those_repeated
from policy_router.log.integrity.first_edition import FirstCheckpoints
from policy_router.log.integrity.signed import Claim, SignedLog, covers
from policy_router.log.integrity.writer import Known, Removal
from policy_router.log.read.reading import LogReader, decisions
from policy_router.log.sign.keys import Verifier
from policy_router.log.sign.signing import read_kept

Verifiers: TypeAlias = Verifier | Sequence[Verifier] | None
"""No key, one, or several."""


class Answer(StrEnum):
    """The answer to one of the questions."""

    WHOLE = "whole"
    BROKEN = "broken"
    VERIFIED = "verified"
    """Every checkpoint is signed with a key, and covers the lines that are there."""
    NOT_CHECKED = "not_checked"
    """There is no key, or no checkpoint."""


class Part(Struct, frozen=True):
    """The answer to one of the questions, and what is wrong."""

    status: Answer
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


class Compared(Struct, frozen=True):
    """A checkpoint that was kept elsewhere, with which a log was compared.

    Attributes:
        name: its file.
        lines: how many lines it covers.
        time: when it was signed, in seconds since 1970, as a given key says.
        age: how old it is, in seconds.
    """

    name: str
    lines: int
    time: int | None = None
    age: int | None = None


class VerifyReport(Struct, frozen=True):
    """What was found.

    Attributes:
        integrity: whether every present line is unchanged.
        completeness: whether every acknowledged line is present.
        authenticity: whether the lines are those that were signed.
        writers: the number of writers.
        segments: the number of segments, without pruned ones.
        lines: the number of lines, with pruned ones.
        checkpoints: the number of signed checkpoints, with those of the first edition.
        covered: the number of lines that the last checkpoint covers.
        uncovered: the number of lines that it does not cover.
        origin: the name of the log in the checkpoints; empty without any.
        keys: the keys that signed them, where keys are given.
        checkpoint_time: when the newest was signed, in seconds since 1970, as a given key says; of
            the newest that is witnessed, where a witness is given.
        checkpoint_age: how old it is, in seconds.
        witnesses: how many lines each witness has seen.
        pruned: what was removed.
        accepted: damage that a signed statement names.
        unlogged: decisions that are not in the log, as it says itself.
        gaps: how many lines say that something is not in the log.
        duplicate_ids: ids that several decisions have; the first ones.
        compared: the checkpoint that was kept elsewhere, if one is given and believed.
    """

    integrity: Part
    completeness: Part
    authenticity: Part
    writers: int
    segments: int
    lines: int
    checkpoints: int
    covered: int
    uncovered: int = 0
    origin: str = ""
    keys: tuple[str, ...] = ()
    checkpoint_time: int | None = None
    checkpoint_age: int | None = None
    witnesses: dict[str, int] = {}
    pruned: tuple[Removal, ...] = ()
    accepted: tuple[Problem, ...] = ()
    unlogged: int = 0
    gaps: int = 0
    duplicate_ids: tuple[str, ...] = ()
    compared: Compared | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong but what a signed statement names."""
        return not any(
            part.problems for part in (self.integrity, self.completeness, self.authenticity)
        )

    def to_json(self) -> bytes:
        """Return JSON."""
        return msgspec.json.encode({"whole": self.is_whole, **msgspec.to_builtins(self)})


class _Wanted(Struct, frozen=True):
    """What a log is checked against."""

    verifiers: tuple[Verifier, ...]
    witnesses: tuple[Verifier, ...]
    checkpoint: Path | None
    max_age: int | None
    origin: str | None
    now: int


def verify(
    folder: str | Path,
    *,
    verifier: Verifiers = None,
    witness: Verifiers = None,
    checkpoint: Path | None = None,
    max_age: int | None = None,
    origin: str | None = None,
    clock: Clock = system_clock,
    progress: Progress | None = None,
) -> VerifyReport:
    """Check a log.

    Args:
        folder: the log.
        verifier: the keys with which checkpoints must be signed; hand-overs are followed.
        witness: the keys of witnesses, each of which must have signed a checkpoint.
        checkpoint: a copy that was kept elsewhere; the log must agree with it.
        max_age: how old the newest checkpoint may be, in seconds.
        origin: what the log must be signed as.
        clock: the time.
        progress: is called with the progress.

    Raises:
        LogError: there is no log, it has a newer version, or it cannot be read.
        SignatureError: the kept checkpoint cannot be read.
    """
    log = LogFolder.existing(folder)
    keys, witnesses = _several(verifier), _several(witness)
    wanted = _Wanted(keys, witnesses, checkpoint, max_age, origin, int(clock().timestamp()))
    return steadily(log, lambda: _audited(log, wanted, progress), lambda found: found.is_whole)


def _several(verifiers: Verifiers) -> tuple[Verifier, ...]:
    if verifiers is None:
        return ()
    return (verifiers,) if isinstance(verifiers, Verifier) else tuple(verifiers)


def _audited(log: LogFolder, wanted: _Wanted, progress: Progress | None) -> VerifyReport:
    # What was signed comes before the lines, which those of later checkpoints may not be.
    kept = None if wanted.checkpoint is None else read_kept(wanted.checkpoint)
    signed = SignedLog(log, wanted.verifiers, wanted.witnesses, kept)
    first = FirstCheckpoints(log, signed.keyring)
    found = examined(log, Known(signed, first.covered), progress)
    authenticity = [*found.authenticity, *signed.problems, *first.problems]
    authenticity += _of_checkpoints(signed, wanted, first)
    sorts = [_sorted_out(it, signed) for it in (found.integrity, found.completeness, authenticity)]
    newest = _newest(signed.claims, wanted)
    covered, lines = signed.size or sum(first.covered.values()), sum(found.seqs.values())
    is_checked = bool(wanted.verifiers) and not sorts[2][0]
    return VerifyReport(
        _part(sorts[0][0], Answer.WHOLE),
        _part(sorts[1][0], Answer.WHOLE, [*found.notes, *first.notes]),
        _part(sorts[2][0], Answer.VERIFIED if is_checked else Answer.NOT_CHECKED),
        len(found.seqs),
        found.segments,
        lines,
        signed.count + first.count,
        covered,
        max(lines - covered, 0),
        printable(signed.claims[-1].origin) if signed.claims else "",
        tuple(dict.fromkeys(printable(it.key) for it in signed.claims if it.key)),
        newest.time if newest else None,
        _age(newest, wanted),
        _witnessed(signed.claims),
        tuple(found.removals),
        tuple(problem for _, accepted in sorts for problem in accepted),
        found.unlogged,
        found.gaps,
        _duplicates(log, found.repeated),
        None if kept is None else _compared(kept.name, signed.claims, wanted),
    )


def _part(problems: Sequence[Problem], good: Answer, notes: Sequence[str] = ()) -> Part:
    status = Answer.BROKEN if problems else good
    return Part(status, tuple(problems), tuple(map(printable, notes)))


def _sorted_out(
    problems: Iterable[Problem], signed: SignedLog
) -> tuple[list[Problem], list[Problem]]:
    """Return what is wrong, and what of it a signed statement names.

    No name of a file in it does anything to a terminal, or to JSON.
    """
    wrong: list[Problem] = []
    accepted: list[Problem] = []
    for it in problems:
        ranges = [one for one in signed.accepted if one.writer == it.where.partition("/")[0]]
        is_known = it.lines is not None and covers(ranges, *it.lines)
        plain = replace(it, where=printable(it.where), message=printable(it.message))
        (accepted if is_known else wrong).append(plain)
    return wrong, accepted


# Checkpoints.


def _of_checkpoints(
    signed: SignedLog, wanted: _Wanted, first: FirstCheckpoints
) -> Iterable[Problem]:
    """Yield what is wrong with the checkpoints as a whole."""
    where = "tree/checkpoint"
    if wanted.verifiers and not signed.count and not first.count:
        yield Problem(Damage.UNSIGNED, where, "there is no checkpoint")
    if wanted.origin is not None:
        yield from _of_origin(signed, wanted.origin)
    for witness in wanted.witnesses:
        if not any(witness.title in it.witnessed and it.holds for it in signed.claims):
            words = f"no checkpoint is signed by `{witness.title}`"
            yield Problem(Damage.UNWITNESSED, where, words)
        if witness.key in {it.key for it in signed.keyring.verifiers}:
            words = f"`{witness.title}` is a key of the log itself, and no witness of it"
            yield Problem(Damage.UNWITNESSED, where, words)
    if wanted.max_age is None:
        return
    newest = _newest(signed.claims, wanted)
    if newest is None or newest.time is None:
        words = "no key that is given says how old a checkpoint is"
        yield Problem(Damage.TOO_OLD, where, words)
    elif wanted.now - newest.time > wanted.max_age:
        words = f"it is {wanted.now - newest.time:,} seconds old, and may be {wanted.max_age:,}"
        yield Problem(Damage.TOO_OLD, newest.name, words)


def _of_origin(signed: SignedLog, origin: str) -> Iterator[Problem]:
    """Yield where a log is not signed as it must be."""
    if not signed.claims:
        words = f"no checkpoint says that the log is `{origin}`"
        yield Problem(Damage.OTHER_ORIGIN, "tree/checkpoint", words)
    elif (newest := signed.claims[-1]).origin != origin:
        words = f"it is of the log `{newest.origin}`, and not of `{origin}`"
        yield Problem(Damage.OTHER_ORIGIN, newest.name, words)


def _newest(claims: Sequence[Claim], wanted: _Wanted) -> Claim | None:
    """Return the newest checkpoint that holds, and that every witness has signed."""
    names = {it.title for it in wanted.witnesses}
    able = [it for it in claims if it.holds and names <= it.witnessed.keys()]
    return max(able, key=lambda it: (it.time or 0, it.size), default=None)


def _age(claim: Claim | None, wanted: _Wanted) -> int | None:
    return None if claim is None or claim.time is None else wanted.now - claim.time


def _compared(name: str, claims: Sequence[Claim], wanted: _Wanted) -> Compared | None:
    """Return the checkpoint that was kept elsewhere, if it is believed."""
    for it in claims:
        if it.name == name:
            return Compared(printable(name), it.size, it.time, _age(it, wanted))
    return None


def _witnessed(claims: Sequence[Claim]) -> dict[str, int]:
    """Return how many lines each witness has seen."""
    sizes: dict[str, int] = {}
    for it in claims:
        for name in it.witnessed if it.holds else ():
            sizes[printable(name)] = max(it.size, sizes.get(printable(name), 0))
    return sizes


def _duplicates(log: LogFolder, hashes: set[int]) -> tuple[str, ...]:
    """Return the first ids that several decisions have."""
    if not hashes:
        return ()
    ids = (str(it.entry.id) for it in decisions(LogReader(log.path).lines()))
    return tuple(sorted(map(printable, those_repeated(ids, hashes)))[:SHOWN])
