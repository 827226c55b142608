"""The rows that the lines of a log come to.

Lines are read in blocks, and each column of a block at once: what is done for each cell takes most
of the time. What many records have in common is read once.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw, Struct

from policy_router.log.entry import UNREADABLE, Execution, Kind
from policy_router.log.export.tables import CONTENT, TABLES, WRITER, Cells, Column, Table
from policy_router.log.used_policy import UsedPolicy

_MOST: Final = 2**63
_MOST_CHOICES: Final = 5_000
"""How many different decisions are remembered."""
_Small = Annotated[int, Meta(ge=-_MOST, le=_MOST - 1)]


class _Wish(Struct, frozen=True, gc=False):
    model: str | None = None
    provider: str | None = None


class _Task(Struct, frozen=True, gc=False):
    model: str | None = None
    provider: str | None = None
    kind: str | None = None
    labels: tuple[str, ...] = ()
    input_tokens: int | None = None


class _Caller(Struct, frozen=True, gc=False):
    id: str | None = None
    team: str | None = None


class _Request(Struct, frozen=True, gc=False):
    call: _Wish = _Wish()
    task: _Task = _Task()
    caller: _Caller = _Caller()


class _Target(Struct, frozen=True, gc=False):
    model: str | None
    provider: str | None = ""
    entry: str | None = None


class _Coded(Struct, frozen=True, gc=False):
    code: str | None
    rule: str | None = None


_NO_TARGET: Final = _Target(None, None)
_NO_REFUSAL: Final = _Coded(None)


class _Decision(Struct, frozen=True, gc=False):
    outcome: str
    level: str | None = None
    rule: str | None = None
    target: _Target = _NO_TARGET
    fallbacks: tuple[_Target, ...] = ()
    refusal: _Coded = _NO_REFUSAL
    warnings: tuple[_Coded, ...] = ()


class _Choice(Struct, frozen=True):
    """A decision as the columns have it."""

    outcome: str
    level: str | None
    rule: str | None
    code: str | None
    target: _Target
    plan: tuple[str, ...]
    warnings: tuple[str | None, ...]


@lru_cache(maxsize=_MOST_CHOICES)
def _choice(decision: bytes) -> _Choice:
    """Read a decision: many are equal."""
    it = _DECISIONS.decode(decision)
    plan = () if it.target is _NO_TARGET else (it.target, *it.fallbacks)
    return _Choice(
        outcome=it.outcome,
        level=it.level,
        rule=(it if it.refusal is _NO_REFUSAL else it.refusal).rule,
        code=it.refusal.code,
        target=it.target,
        plan=tuple(f"{each.model} at {each.provider}" for each in plan),
        warnings=tuple(each.code for each in it.warnings),
    )


class _Policy(Struct, frozen=True, gc=False):
    name: str
    revision: str


class _Engine(Struct, frozen=True, gc=False):
    version: str | None = None


class _Record(Struct, frozen=True, gc=False):
    decision: Raw
    policy: _Policy
    request: _Request = _Request()
    engine: _Engine = _Engine()


class _UsedPolicy(UsedPolicy, frozen=True):
    @property
    def owner(self) -> str | None:
        return next((it.owner for it in self.annotations if not it.part), None)

    @property
    def description(self) -> str | None:
        return next((it.description for it in self.annotations if not it.part), None)


class _Line(Struct, frozen=True, gc=False):
    kind: str
    seq: _Small | None
    time: _Small | None
    id: str | None = None
    execution: Execution | None = None
    parent: str | None = None
    policy: _UsedPolicy | None = None
    purpose: str | None = None
    record: _Record | None = None
    root: str | None = None
    session: str | None = None
    tags: tuple[str, ...] = ()
    trace: str | None = None


class Rows:
    """Rows of a table.

    Attributes:
        table: the table.
        writer: who wrote the lines.
        rows: the parts of each row.
        contents: the bytes of the line of each row, where the table has them.
    """

    def __init__(self, table: Table, writer: str) -> None:
        """Begin with none."""
        self.table, self.writer = table, writer
        self.rows: list[tuple[Any, ...]] = []
        self.contents: list[bytes] = []

    def columns(self) -> list[Cells]:
        """Return the cells of each column."""
        parts = list(zip(*self.rows, strict=True))
        return [self._cells(it, parts) for it in self.table.columns]

    def _cells(self, column: Column, parts: Sequence[Sequence[Any]]) -> Cells:
        if column is WRITER:
            return [self.writer] * len(self.rows)
        if column is CONTENT:
            return self.contents
        cells = column.read(parts[column.part])
        return _small(cells) if column.type == "int" else cells


def _small(cells: Cells) -> Cells:
    """Return numbers that a table can hold, and nothing in place of others."""
    try:
        array("q", [it or 0 for it in cells])
    except OverflowError:
        return [it if it is None or -_MOST <= it < _MOST else None for it in cells]
    return cells


def rows_of(writer: str, block: bytes) -> list[Rows]:
    """Return the rows that lines come to, of each table that has some.

    A line that cannot be read is of the kind ``unreadable``.

    Args:
        writer: whose lines they are.
        block: the lines, each with its end.
    """
    decisions, events, calls, policies, others = every = [Rows(it, writer) for it in TABLES]
    contents = block[:-1].split(b"\n")
    for line, content in zip(_read(block, contents), contents, strict=True):
        kind, mine = line.kind, others
        row: tuple[object, ...] = (line,)
        if kind == _EXECUTION and (execution := line.execution) is not None:
            mine, row = events, (line, execution)
            if execution.calls:
                calls.rows += [(line, it) for it in execution.calls]
        elif kind == _DECISION and (record := line.record) is not None:
            try:
                choice = _choice(bytes(record.decision))
            except UNREADABLE:
                row = (_NO_LINE,)
            else:
                mine, row = decisions, (line, record.request, choice, record)
        elif kind == _POLICY and (policy := line.policy) is not None:
            mine, row = policies, (line, policy)
        mine.rows.append(row)
        mine.contents.append(content)
    return [it for it in every if it.rows]


def _read(block: bytes, contents: Sequence[bytes]) -> Sequence[_Line]:
    """Read lines at once; where one of them cannot be read, one by one."""
    try:
        lines = _LINES.decode_lines(block)
    except UNREADABLE:
        lines = []
    return lines if len(lines) == len(contents) else [_read_one(it) for it in contents]


def _read_one(content: bytes) -> _Line:
    try:
        return _LINES.decode(content)
    except UNREADABLE:
        return _NO_LINE


_EXECUTION: Final = Kind.EXECUTION.value
_DECISION: Final = Kind.DECISION.value
_POLICY: Final = Kind.POLICY.value
_NO_LINE: Final = _Line("unreadable", None, None)
_LINES: Final = msgspec.json.Decoder(_Line)
_DECISIONS: Final = msgspec.json.Decoder(_Decision)
