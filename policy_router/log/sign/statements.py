"""What the key of a log states beside its checkpoints: prunes, damage that is known, new keys.

A statement is a signed note of its own, ``tree/statements/*.txt``::

    policy-router/statement/v1
    example.com/decisions
    time 1795407720
    accept w1 4711 4720
    prune w1 3 2001 3000 1790000000000000 1790086400000000
    handover 4720 <root> <old key> <new key>

It has lines of one kind. A statement that somebody removes is missed: then what it says is a
problem again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct

from policy_router.errors import reason_of
from policy_router.log.damage import Damage, Problem
from policy_router.log.files import read_file, write_whole
from policy_router.log.folder import LogFolder
from policy_router.log.sign.checkpoints import opened_by
from policy_router.log.sign.keys import SignatureError, Signer, Verifier, from_base64, to_base64
from policy_router.log.sign.keys import read_verifier as read_key
from policy_router.log.sign.notes import opened, sign, text_of

SCHEMA: Final = "policy-router/statement/v1"
_FOLDER: Final = "statements"
_MOST_LINES: Final = 10_000
_MOST_BYTES: Final = 4 << 20
_NUMBER: Final = r"(0|[1-9]\d{0,18})"
_WRITER: Final = r"([A-Za-z0-9_][A-Za-z0-9_.-]{0,63})"
_TEXT: Final = re.compile(rf"{re.escape(SCHEMA)}\n([^\n]+)\ntime {_NUMBER}\n((?:[^\n]+\n)+)")
_ACCEPT: Final = re.compile(rf"accept {_WRITER} {_NUMBER} {_NUMBER}")
_PRUNE: Final = re.compile(rf"prune {_WRITER} {' '.join([_NUMBER] * 5)}")
_HANDOVER: Final = re.compile(rf"handover {_NUMBER} (\S{{44}}) (\S+) (\S+)")
_MALFORMED: Final = "malformed statement: expected its schema, the log, the time and what it states"


class Accepted(Struct, frozen=True, order=True):
    """Lines that are known to be missing or changed: nothing is shown by them any more.

    Attributes:
        writer: whose lines they are.
        first: the number of the first one.
        last: that of the last one.
    """

    writer: str
    first: int
    last: int

    def to_text(self) -> str:
        """Return the line of a statement."""
        return f"accept {self.writer} {self.first} {self.last}"


class PrunedSegment(Struct, frozen=True, order=True):
    """A segment that was removed by who has the key.

    Attributes:
        writer: whose it was.
        number: its number.
        first: the number of its first line.
        last: that of its last line.
        oldest: the earliest time of a line, in microseconds since 1970.
        newest: the latest.
    """

    writer: str
    number: int
    first: int
    last: int
    oldest: int
    newest: int

    @property
    def name(self) -> str:
        """Its name in messages: ``writer/number``."""
        return f"{self.writer}/{self.number}"

    def to_text(self) -> str:
        """Return the line of a statement."""
        lines, times = f"{self.first} {self.last}", f"{self.oldest} {self.newest}"
        return f"prune {self.writer} {self.number} {lines} {times}"


class Handover(Struct, frozen=True):
    """A key that another one follows; both sign it.

    Attributes:
        size: how many entries the old key may sign, and no more.
        root: the root over them.
        old: the key so far.
        new: the key from now on.
    """

    size: int
    root: bytes
    old: Verifier
    new: Verifier

    def to_text(self) -> str:
        """Return the line of a statement."""
        keys = f"{self.old.encoded()} {self.new.encoded()}"
        return f"handover {self.size} {to_base64(self.root)} {keys}"


class Statement(Struct, frozen=True):
    """A signed statement.

    Attributes:
        name: its file, as a message calls it.
        note: the signed note.
        origin: which log it is about.
        time: when it was made, in seconds since 1970.
        acts: what it states.
    """

    name: str
    note: str
    origin: str
    time: int
    acts: tuple[Accepted | PrunedSegment | Handover, ...]

    @classmethod
    def read(cls, note: str, name: str) -> Statement:
        """Read a statement; who signed it is not looked at.

        Raises:
            SignatureError: it is none.
        """
        parts = _TEXT.fullmatch(text_of(note))
        lines = parts[3].splitlines() if parts else []
        if parts is None or len(lines) > _MOST_LINES:
            raise SignatureError(_MALFORMED)
        acts = tuple(map(_act, lines))
        if len({type(it) for it in acts}) > 1 or (isinstance(acts[0], Handover) and acts[1:]):
            raise SignatureError(_MALFORMED)
        return cls(name, note, parts[1], int(parts[2]), acts)


def _act(line: str) -> Accepted | PrunedSegment | Handover:
    if parts := _ACCEPT.fullmatch(line):
        return Accepted(parts[1], int(parts[2]), int(parts[3]))
    if parts := _PRUNE.fullmatch(line):
        return PrunedSegment(parts[1], *(int(it) for it in parts.groups()[1:]))
    if parts := _HANDOVER.fullmatch(line):
        old, new = (read_key(parts[it].encode(errors="surrogateescape")) for it in (3, 4))
        return Handover(int(parts[1]), from_base64(parts[2], "statement"), old, new)
    raise SignatureError(_MALFORMED)


def state(
    log: LogFolder,
    origin: str,
    time: int,
    acts: Sequence[Accepted | PrunedSegment | Handover],
    *signers: Signer,
) -> list[Statement]:
    """Sign statements, and store them.

    Args:
        log: the log.
        origin: what it is called.
        time: the time, in seconds since 1970.
        acts: what is stated, all of one kind.
        signers: who states it.

    Raises:
        OSError: one cannot be written.
    """
    made = []
    for start in range(0, len(acts), _MOST_LINES):
        lines = "".join(f"{it.to_text()}\n" for it in acts[start : start + _MOST_LINES])
        text = f"{SCHEMA}\n{origin}\ntime {time}\n{lines}"
        notes = [sign(text, signer) for signer in signers]
        note = notes[0] + "".join(it[len(text) + 1 :] for it in notes[1:])
        digest = hashlib.sha256(note.encode()).hexdigest()[:16]
        path = log.tree / _FOLDER / f"{time}-{digest}.txt"
        write_whole(path, note.encode())
        made.append(Statement.read(note, path.relative_to(log.path).as_posix()))
    return made


def stated(log: LogFolder) -> Iterator[Statement | Problem]:
    """Yield the statements beside a log, and what is wrong with a file of one."""
    folder = log.tree / _FOLDER
    for path in sorted(folder.glob("*.txt")) if folder.is_dir() else ():
        name = path.relative_to(log.path).as_posix()
        try:
            note = read_file(path, _MOST_BYTES).decode(errors="surrogateescape")
            yield Statement.read(note, name)
        except (SignatureError, OSError) as problem:
            reason = reason_of(problem) if isinstance(problem, OSError) else str(problem)
            yield Problem(Damage.BAD_STATEMENT, name, f"it cannot be used: {reason}")


class Keyring:
    """The keys of a log: those that are given, and those that hand-overs tie to them.

    Attributes:
        verifiers: the keys, each with the size up to which it may sign; None where it is any.
        problems: what is wrong with hand-overs.
    """

    def __init__(self, given: Sequence[Verifier], statements: Sequence[Statement]) -> None:
        """Follow the hand-overs among statements, in both directions.

        Args:
            given: the keys that are trusted.
            statements: the statements beside the log.
        """
        self.verifiers: dict[Verifier, int | None] = dict.fromkeys(given)
        self.problems: list[Problem] = []
        acts = [(it, act) for it in statements for act in it.acts if isinstance(act, Handover)]
        handovers = [(it, act) for it, act in acts if _is_signed(it, act)] if given else []
        for it, act in handovers:
            if any(act.old == other.old and act.new != other.new for _, other in handovers):
                words = f"`{act.old.name}` hands over to two keys: neither is believed"
                self.problems.append(Problem(Damage.BAD_STATEMENT, it.name, words))
        told = {it.where for it in self.problems}
        rest = [act for it, act in handovers if it.name not in told]
        while new := [act for act in rest if {act.old, act.new} & self.verifiers.keys()]:
            for act in new:
                self.verifiers.setdefault(act.new, None)
                before = self.verifiers.get(act.old)
                self.verifiers[act.old] = act.size if before is None else min(before, act.size)
                rest.remove(act)

    def __bool__(self) -> bool:
        """Whether any key is given."""
        return bool(self.verifiers)

    def signer_of(self, note: str, size: int | None = None) -> Verifier:
        """Return who of these has signed a note.

        Args:
            note: the note.
            size: how many entries it is about, where it is a checkpoint.

        Raises:
            SignatureError: nobody, or a key that may not sign so much any more.
        """
        able = [
            verifier
            for verifier, most in self.verifiers.items()
            if size is None or most is None or size <= most
        ]
        try:
            return opened_by(note, able)
        except SignatureError:
            late = opened_by(note, self.verifiers)
            if late in able:  # pragma: no cover - it had signed it
                raise
            reason = f"`{late.name}` handed over to another key before"
            raise SignatureError(reason) from None

    def vouches(self, statement: Statement) -> bool:
        """Tell whether one of these has signed a statement."""
        try:
            self.signer_of(statement.note)
        except SignatureError:
            return False
        return True


def _is_signed(statement: Statement, act: Handover) -> bool:
    """Tell whether both keys of a hand-over have signed it."""
    try:
        return bool(opened(statement.note, act.old) and opened(statement.note, act.new))
    except SignatureError:
        return False
