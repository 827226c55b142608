"""The tables of an export, and the rows that lines come to.

A column never changes its meaning or its type; new ones come at the end. What a line does not say
is NULL, never zero. Money is in whole billionths of a US dollar.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from operator import attrgetter
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from policy_router.log.entry import UNREADABLE, Call, Execution, Kind
from policy_router.log.used_policy import UsedPolicy

Type: TypeAlias = Literal["text", "texts", "int", "float", "bool", "time", "bytes"]
Cells: TypeAlias = list[Any]
"""What a column has, row by row."""
_BILLION: Final = 1_000_000_000
_MOST: Final = 2**63
_Small = Annotated[int, Meta(ge=-_MOST, le=_MOST - 1)]


class Column(Struct, frozen=True):
    """A column of a table.

    Attributes:
        name: its name.
        type: the type of what is in it.
        path: where it is read: a list of :class:`Rows`, and attributes of what that has.
        read: works it out of what is there; None where it is what is there.
    """

    name: str
    type: Type
    path: str
    read: Callable[[Any], Any] | None = None


class Table(Struct, frozen=True):
    """A table.

    Attributes:
        name: its name.
        columns: its columns, in order.
    """

    name: str
    columns: tuple[Column, ...]


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


class _Policy(Struct, frozen=True, gc=False):
    name: str
    revision: str


class _Engine(Struct, frozen=True, gc=False):
    version: str | None = None


class _Record(Struct, frozen=True, gc=False):
    decision: _Decision
    policy: _Policy
    request: _Request = _Request()
    engine: _Engine = _Engine()


class _Line(Struct, frozen=True, gc=False):
    kind: str
    seq: _Small | None
    time: _Small | None
    id: str | None = None
    execution: Execution | None = None
    parent: str | None = None
    policy: UsedPolicy | None = None
    purpose: str | None = None
    record: _Record | None = None
    root: str | None = None
    session: str | None = None
    tags: tuple[str, ...] = ()
    trace: str | None = None


def _wished_model(line: _Line) -> str | None:
    request = line.record.request  # type: ignore[union-attr]
    return request.task.model or request.call.model


def _wished_provider(line: _Line) -> str | None:
    request = line.record.request  # type: ignore[union-attr]
    return request.task.provider or request.call.provider


def _rule(line: _Line) -> str | None:
    decision = line.record.decision  # type: ignore[union-attr]
    return (decision if decision.refusal is _NO_REFUSAL else decision.refusal).rule


def _plan(line: _Line) -> tuple[str, ...]:
    decision = line.record.decision  # type: ignore[union-attr]
    plan = () if decision.target is _NO_TARGET else (decision.target, *decision.fallbacks)
    return tuple([f"{it.model} at {it.provider}" for it in plan])


def _warnings(line: _Line) -> tuple[str | None, ...]:
    warnings = line.record.decision.warnings  # type: ignore[union-attr]
    return tuple([it.code for it in warnings]) if warnings else ()


def _cost(line: _Line) -> int | None:
    usd = line.execution.cost_usd  # type: ignore[union-attr]
    return None if usd is None else nano_of(usd)


def nano_of(usd: float) -> int | None:
    """Return an amount in billionths of a US dollar; None where no table can hold it."""
    amount = usd * _BILLION
    return round(amount) if isfinite(amount) and abs(amount) < _MOST else None


def _note(name: str) -> Callable[[_Line], str | None]:
    """Return what reads a note on a policy as a whole."""

    def read(line: _Line) -> str | None:
        notes = line.policy.annotations  # type: ignore[union-attr]
        return next((getattr(it, name) for it in notes if not it.part), None)

    return read


def _of_line(name: str, type_: Type, read: str | Callable[[_Line], Any] = "") -> Column:
    """Return a column of the lines: what has its name there, or another one, or is worked out."""
    if isinstance(read, str):
        return Column(name, type_, f"lines.{read or name}")
    return Column(name, type_, "lines", read)


def _of_call(name: str, type_: Type, read: str = "") -> Column:
    return Column(name, type_, f"calls.{read or name}")


_ID: Final = _of_line("id", "text")
_PLACE: Final = (
    _of_line("time", "time"),
    Column("writer", "text", "writers"),
    _of_line("seq", "int"),
)
_CONTENT: Final = Column("line", "bytes", "contents")
DECISIONS: Final = Table(
    "decisions",
    (
        _ID,
        *_PLACE,
        *(_of_line(it, "text") for it in ("parent", "root", "session")),
        _of_line("tags", "texts"),
        *(_of_line(it, "text") for it in ("purpose", "trace")),
        _of_line("caller_id", "text", "record.request.caller.id"),
        _of_line("caller_team", "text", "record.request.caller.team"),
        _of_line("kind", "text", "record.request.task.kind"),
        _of_line("labels", "texts", "record.request.task.labels"),
        _of_line("estimated_input_tokens", "int", "record.request.task.input_tokens"),
        _of_line("wished_model", "text", _wished_model),
        _of_line("wished_provider", "text", _wished_provider),
        _of_line("outcome", "text", "record.decision.outcome"),
        _of_line("level", "text", "record.decision.level"),
        _of_line("rule", "text", _rule),
        _of_line("code", "text", "record.decision.refusal.code"),
        _of_line("decided_entry", "text", "record.decision.target.entry"),
        _of_line("decided_model", "text", "record.decision.target.model"),
        _of_line("decided_provider", "text", "record.decision.target.provider"),
        _of_line("plan", "texts", _plan),
        _of_line("warnings", "texts", _warnings),
        _of_line("policy", "text", "record.policy.name"),
        _of_line("revision", "text", "record.policy.revision"),
        _of_line("engine", "text", "record.engine.version"),
        _CONTENT,
    ),
)
EVENTS: Final = Table(
    "events",
    (
        _ID,
        *_PLACE,
        _of_line("event", "text", "execution.event"),
        _of_line("attempt", "int", "execution.attempt"),
        _of_line("status", "text", "execution.status"),
        _of_line("error", "text", "execution.error"),
        _of_line("sent_entry", "text", "execution.entry"),
        _of_line("sent_model", "text", "execution.model"),
        _of_line("sent_provider", "text", "execution.provider"),
        _of_line("served_model", "text", "execution.served_model"),
        _of_line("finish_reason", "text", "execution.finish_reason"),
        _of_line("input_tokens", "int", "execution.input_tokens"),
        _of_line("output_tokens", "int", "execution.output_tokens"),
        _of_line("cached_tokens", "int", "execution.cached_tokens"),
        _of_line("cost_nano_usd", "int", _cost),
        _of_line("cost_status", "text", "execution.cost_status"),
        _of_line("duration_seconds", "float", "execution.duration_seconds"),
        _CONTENT,
    ),
)
CALLS: Final = Table(
    "calls",
    (
        _ID,
        *_PLACE,
        _of_call("number", "int"),
        _of_call("sent_entry", "text", "entry"),
        _of_call("sent_model", "text", "model"),
        _of_call("sent_provider", "text", "provider"),
        _of_call("failure", "text"),
        _of_call("status", "int"),
        _of_call("is_sent", "bool"),
        _of_call("duration_seconds", "float"),
        _of_call("input_tokens", "int"),
        _of_call("output_tokens", "int"),
    ),
)
POLICIES: Final = Table(
    "policies",
    (
        *_PLACE,
        _of_line("policy", "text", "policy.name"),
        _of_line("revision", "text", "policy.revision"),
        _of_line("digest", "text", "policy.digest"),
        _of_line("origin_commit", "text", "policy.origin_commit"),
        _of_line("loaded_by", "text", "policy.loaded_by"),
        _of_line("owner", "text", _note("owner")),
        _of_line("description", "text", _note("description")),
        _CONTENT,
    ),
)
OTHERS: Final = Table("others", (*_PLACE, _of_line("kind", "text"), _CONTENT))
TABLES: Final = (DECISIONS, EVENTS, CALLS, POLICIES, OTHERS)


class Rows:
    """Rows of a table: what their columns are read from.

    Attributes:
        lines: the line of each row.
        calls: the call of each row, in the table of calls.
        writers: who wrote it.
        contents: the bytes of the line, without its end.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.lines: list[_Line] = []
        self.calls: list[Call] = []
        self.writers: list[str] = []
        self.contents: list[bytes] = []
        self._known: dict[str, Cells] = {}

    def columns(self, table: Table) -> list[Cells]:
        """Return the cells of each column."""
        return [self._cells(it) for it in table.columns]

    def _cells(self, column: Column) -> Cells:
        cells = self._there(column.path)
        if column.read is not None:
            cells = list(map(column.read, cells))
        return _small(cells) if column.type == "int" else cells

    def _there(self, path: str) -> Cells:
        """Return what is at a path, in each row: columns share most of theirs."""
        if path not in self._known:
            above, _, name = path.rpartition(".")
            known = (
                list(map(attrgetter(name), self._there(above))) if above else getattr(self, name)
            )
            self._known[path] = known
        return self._known[path]


def _small(cells: Cells) -> Cells:
    """Return numbers that a table can hold, and nothing in place of others."""
    given = [it for it in cells if it]
    if not given or (min(given) >= -_MOST and max(given) < _MOST):
        return cells
    return [it if it is None or -_MOST <= it < _MOST else None for it in cells]


def rows_of(writer: str, block: bytes) -> list[tuple[Table, Rows]]:
    """Return the rows that lines come to, of each table that has some.

    A line that cannot be read is of the kind ``unreadable``.

    Args:
        writer: whose lines they are.
        block: the lines, each with its end.
    """
    decisions, events, calls, policies, others = every = tuple(Rows() for _ in TABLES)
    contents = block[:-1].split(b"\n")
    for line, content in zip(_read(block, contents), contents, strict=True):
        kind = line.kind
        if kind == _EXECUTION and (execution := line.execution) is not None:
            mine = events
            if execution.calls:
                calls.lines += [line] * len(execution.calls)
                calls.calls += execution.calls
        elif kind == _DECISION and line.record is not None:
            mine = decisions
        else:
            mine = policies if kind == Kind.POLICY and line.policy is not None else others
        mine.lines.append(line)
        mine.contents.append(content)
    for it in every:
        it.writers = [writer] * len(it.lines)
    return [(table, it) for table, it in zip(TABLES, every, strict=True) if it.lines]


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
_NO_LINE: Final = _Line("unreadable", None, None)
_LINES: Final = msgspec.json.Decoder(_Line)
