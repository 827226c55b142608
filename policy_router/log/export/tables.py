"""The tables of an export, and the rows that lines come to.

A column never changes its meaning or its type; new ones come at the end. What a line does not say
is NULL, never zero. Money is in whole billionths of a US dollar.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Struct

from policy_router.log.entry import UNREADABLE, Call, Execution, Kind
from policy_router.log.used_policy import UsedPolicy

Type: TypeAlias = Literal["text", "texts", "int", "float", "bool", "time", "bytes"]
Row: TypeAlias = tuple[Any, ...]
_BILLION: Final = 1_000_000_000
_MOST: Final = 2**63


class Table(Struct, frozen=True):
    """A table.

    Attributes:
        name: its name.
        columns: the name and the type of each column, in order.
    """

    name: str
    columns: tuple[tuple[str, Type], ...]


_PLACE: Final[tuple[tuple[str, Type], ...]] = (
    ("time", "time"),
    ("writer", "text"),
    ("seq", "int"),
)
DECISIONS: Final = Table(
    "decisions",
    (
        ("id", "text"),
        *_PLACE,
        ("parent", "text"),
        ("root", "text"),
        ("session", "text"),
        ("tags", "texts"),
        ("purpose", "text"),
        ("trace", "text"),
        ("caller_id", "text"),
        ("caller_team", "text"),
        ("kind", "text"),
        ("labels", "texts"),
        ("estimated_input_tokens", "int"),
        ("wished_model", "text"),
        ("wished_provider", "text"),
        ("outcome", "text"),
        ("level", "text"),
        ("rule", "text"),
        ("code", "text"),
        ("decided_entry", "text"),
        ("decided_model", "text"),
        ("decided_provider", "text"),
        ("plan", "texts"),
        ("warnings", "texts"),
        ("policy", "text"),
        ("revision", "text"),
        ("engine", "text"),
        ("line", "bytes"),
    ),
)
EVENTS: Final = Table(
    "events",
    (
        ("id", "text"),
        *_PLACE,
        ("event", "text"),
        ("attempt", "int"),
        ("status", "text"),
        ("error", "text"),
        ("sent_entry", "text"),
        ("sent_model", "text"),
        ("sent_provider", "text"),
        ("served_model", "text"),
        ("finish_reason", "text"),
        ("input_tokens", "int"),
        ("output_tokens", "int"),
        ("cached_tokens", "int"),
        ("cost_nano_usd", "int"),
        ("cost_status", "text"),
        ("duration_seconds", "float"),
        ("line", "bytes"),
    ),
)
CALLS: Final = Table(
    "calls",
    (
        ("id", "text"),
        *_PLACE,
        ("number", "int"),
        ("sent_entry", "text"),
        ("sent_model", "text"),
        ("sent_provider", "text"),
        ("failure", "text"),
        ("status", "int"),
        ("is_sent", "bool"),
        ("duration_seconds", "float"),
        ("input_tokens", "int"),
        ("output_tokens", "int"),
    ),
)
POLICIES: Final = Table(
    "policies",
    (
        *_PLACE,
        ("policy", "text"),
        ("revision", "text"),
        ("digest", "text"),
        ("origin_commit", "text"),
        ("loaded_by", "text"),
        ("owner", "text"),
        ("description", "text"),
        ("line", "bytes"),
    ),
)
OTHERS: Final = Table("others", (*_PLACE, ("kind", "text"), ("line", "bytes")))
TABLES: Final = (DECISIONS, EVENTS, CALLS, POLICIES, OTHERS)


class _Wish(Struct, frozen=True, gc=False):
    model: str | None = None
    provider: str | None = None


class _Task(Struct, frozen=True, gc=False):
    model: str | None = None
    provider: str | None = None
    kind: str | None = None
    labels: tuple[str, ...] | None = None
    input_tokens: int | None = None


class _Caller(Struct, frozen=True, gc=False):
    id: str | None = None
    team: str | None = None


class _Request(Struct, frozen=True, gc=False):
    call: _Wish = _Wish()
    task: _Task = _Task()
    caller: _Caller = _Caller()


class _Target(Struct, frozen=True, gc=False):
    model: str
    provider: str = ""
    entry: str | None = None


class _Coded(Struct, frozen=True, gc=False):
    code: str
    rule: str | None = None


class _Decision(Struct, frozen=True, gc=False):
    outcome: str
    level: str | None = None
    rule: str | None = None
    target: _Target | None = None
    fallbacks: tuple[_Target, ...] = ()
    refusal: _Coded | None = None
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
    seq: int
    time: int
    id: str | None = None
    execution: Execution | None = None
    parent: str | None = None
    policy: UsedPolicy | None = None
    purpose: str | None = None
    record: _Record | None = None
    root: str | None = None
    session: str | None = None
    tags: tuple[str, ...] | None = None
    trace: str | None = None


def rows_of(writer: str, contents: Sequence[bytes]) -> dict[str, list[Row]]:
    """Return the rows that lines come to, by the names of their tables.

    A line that cannot be read is of the kind ``unreadable``.

    Args:
        writer: whose lines they are.
        contents: the lines, without their ends.
    """
    rows: dict[str, list[Row]] = {it.name: [] for it in TABLES}
    events, calls, decisions = rows[EVENTS.name], rows[CALLS.name], rows[DECISIONS.name]
    for content, line in zip(contents, _read(contents), strict=True):
        if line is None or not (-_MOST <= line.seq < _MOST and -_MOST <= line.time < _MOST):
            rows[OTHERS.name].append((None, writer, None, "unreadable", content))
        elif line.kind == _EXECUTION and (execution := line.execution) is not None:
            events.append(_event(writer, line, execution, content))
            if execution.calls:
                calls += [_call(writer, line, it) for it in execution.calls]
        elif line.kind == _DECISION and line.record is not None:
            decisions.append(_decision(writer, line, line.record, content))
        elif line.kind == Kind.POLICY and line.policy is not None:
            rows[POLICIES.name].append(_policy(writer, line, line.policy, content))
        else:
            rows[OTHERS.name].append((line.time, writer, line.seq, line.kind, content))
    return rows


def _read(contents: Sequence[bytes]) -> Sequence[_Line | None]:
    """Read lines at once; where one of them cannot be read, one by one."""
    try:
        lines = _LINES.decode_lines(b"\n".join(contents))
    except UNREADABLE:
        lines = []
    return lines if len(lines) == len(contents) else [_read_one(it) for it in contents]


def _read_one(content: bytes) -> _Line | None:
    try:
        return _LINES.decode(content)
    except UNREADABLE:
        return None


def _decision(writer: str, line: _Line, record: _Record, content: bytes) -> Row:
    request = record.request
    task, call = request.task, request.call
    return (
        line.id,
        line.time,
        writer,
        line.seq,
        line.parent,
        line.root,
        line.session,
        line.tags or (),
        line.purpose,
        line.trace,
        request.caller.id,
        request.caller.team,
        task.kind,
        task.labels or (),
        _small(task.input_tokens),
        task.model or call.model,
        task.provider or call.provider,
        *_outcome(record.decision),
        record.policy.name,
        record.policy.revision,
        record.engine.version,
        content,
    )


def _outcome(decision: _Decision) -> Row:
    target, refusal = decision.target, decision.refusal
    plan = () if target is None else (target, *decision.fallbacks)
    return (
        decision.outcome,
        decision.level,
        decision.rule if refusal is None else refusal.rule,
        None if refusal is None else refusal.code,
        None if target is None else target.entry,
        None if target is None else target.model,
        None if target is None else target.provider,
        tuple([f"{it.model} at {it.provider}" for it in plan]),
        tuple([it.code for it in decision.warnings]),
    )


def _event(writer: str, line: _Line, event: Execution, content: bytes) -> Row:
    return (
        line.id,
        line.time,
        writer,
        line.seq,
        event.event,
        _small(event.attempt),
        event.status,
        event.error,
        event.entry,
        event.model,
        event.provider,
        event.served_model,
        event.finish_reason,
        _small(event.input_tokens),
        _small(event.output_tokens),
        _small(event.cached_tokens),
        None if event.cost_usd is None else nano_of(event.cost_usd),
        event.cost_status,
        event.duration_seconds,
        content,
    )


def _call(writer: str, line: _Line, call: Call) -> Row:
    return (
        line.id,
        line.time,
        writer,
        line.seq,
        _small(call.number),
        call.entry,
        call.model,
        call.provider,
        call.failure,
        _small(call.status),
        call.is_sent,
        call.duration_seconds,
        _small(call.input_tokens),
        _small(call.output_tokens),
    )


def _policy(writer: str, line: _Line, used: UsedPolicy, content: bytes) -> Row:
    own = next((it for it in used.annotations if not it.part), None)
    return (
        line.time,
        writer,
        line.seq,
        used.name,
        used.revision,
        used.digest,
        used.origin_commit,
        used.loaded_by,
        None if own is None else own.owner,
        None if own is None else own.description,
        content,
    )


def nano_of(usd: float) -> int | None:
    """Return an amount in billionths of a US dollar; None where no table can hold it."""
    amount = usd * _BILLION
    return round(amount) if isfinite(amount) and abs(amount) < _MOST else None


def _small(number: int | None) -> int | None:
    """Return a number that a table can hold, or nothing."""
    return number if number is None or -_MOST <= number < _MOST else None


_EXECUTION: Final = Kind.EXECUTION.value
_DECISION: Final = Kind.DECISION.value
_LINES: Final = msgspec.json.Decoder(_Line)
