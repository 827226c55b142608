"""What the check reads of a log: the decisions, and the events of their children."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, TypeAlias

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from policy_router.log.entry import (
    PARTS,
    UNREADABLE,
    Execution,
    LineView,
    Prune,
    count_lines,
    split_lines,
)

REPORTED: Final = "reported"
"""An end that a host reports: there is one for each attempt."""
MOST_ALIKE: Final = 10_000
"""How many decisions that are equal to others, and what came of them, a process remembers."""

Ran: TypeAlias = tuple[str, str, str | None]
"""A model, its provider and its entry, as a line names them."""
End: TypeAlias = tuple[str, int | None]
"""What tells an end from another one: its event, and of a report its attempt."""


class _RanTarget(Struct, frozen=True, gc=False):
    model: str
    provider: str = ""
    entry: str | None = None


class _Decision(Struct, frozen=True, gc=False):
    outcome: str
    level: str = ""
    target: _RanTarget | UnsetType = UNSET
    fallbacks: tuple[_RanTarget, ...] = ()


class _Revision(Struct, frozen=True, gc=False):
    revision: str


class _Record(Struct, frozen=True, gc=False):
    decision: Raw
    now: str
    policy: _Revision
    request: Raw


class CheckedLine(Struct, frozen=True, gc=False, kw_only=True):
    """What is read of a line at once: the fields are those of :class:`LogEntry`.

    They are in the order that lines have: to read them so is quicker.
    """

    execution: Execution | None = None
    id: str = ""
    kind: str
    parent: str = ""
    prune: Prune | None = None
    purpose: str = ""
    record: _Record | None = None
    time: int


class Decided(Struct, frozen=True, eq=False, gc=False):
    """What equal decisions have in common; one of them is like itself only.

    Attributes:
        revision: the policy.
        level: the level that decided; the configuration's where it was refused.
        plan: what may run.
        request: what was decided.
    """

    revision: str
    level: str
    plan: tuple[Ran, ...]
    request: bytes


class Made(Struct, frozen=True, gc=False):
    """A decision, as far as what came of it is judged by it.

    Attributes:
        time: the time of its line, in microseconds since 1970.
        now: the time that it was decided at.
        decided: what it has in common with others.
    """

    time: int
    now: str
    decided: Decided


class Happened(Struct, frozen=True, gc=False):
    """An event of a child.

    Attributes:
        time: the time of its line, in microseconds since 1970.
        execution: the event.
    """

    time: int
    execution: Execution

    @property
    def is_end(self) -> bool:
        """Whether it tells of the end of its child."""
        return self.execution.status is not None

    @property
    def end(self) -> End:
        """What tells it from another end, where it is one."""
        is_report = self.execution.event == REPORTED
        return self.execution.event, self.execution.attempt if is_report else None


def checked_lines(block: bytes) -> Sequence[CheckedLine | None]:
    """Read lines at once, each with its line end; None where a part of one cannot be read."""
    try:
        lines = _LINES.decode_lines(block)
    except UNREADABLE:
        lines = []
    if len(lines) == count_lines(block):
        return lines
    return [_checked_line(it) for it in split_lines(block)]


def _checked_line(content: bytes) -> CheckedLine | None:
    try:
        return _LINES.decode(content)
    except UNREADABLE:
        return None


def made_of(line: LineView) -> Made | None:
    """Return a decision; None where its record cannot be read."""
    try:
        return made_by(line.time, _RECORDS.decode(line.record))
    except UNREADABLE:
        return None


def made_by(time: int, record: _Record) -> Made | None:
    """Return a decision, as it was recorded; None where that cannot be read."""
    try:
        decided = _decided(bytes(record.decision), bytes(record.request), record.policy.revision)
    except UNREADABLE:
        return None
    return Made(time, record.now, decided)


@lru_cache(maxsize=MOST_ALIKE)
def _decided(decision: bytes, request: bytes, revision: str) -> Decided:
    found, plan = _DECISIONS.decode(decision), tuple[Ran, ...]()
    if not isinstance(found.target, UnsetType):
        each = (found.target, *found.fallbacks)
        plan = tuple((it.model, it.provider, it.entry) for it in each)
    return Decided(revision, found.level, plan, request)


_RECORDS: Final = msgspec.json.Decoder(_Record)
_DECISIONS: Final = msgspec.json.Decoder(_Decision)
_LINES: Final = msgspec.json.Decoder(CheckedLine)
KINDS_WITHOUT_ID: Final = frozenset(kind for kind, parts in PARTS.items() if "id" not in parts)
"""The kinds of lines that are about no decision."""
