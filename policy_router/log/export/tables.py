"""The tables of an export.

A column never changes its meaning or its type; new ones come at the end. What a line does not say
is NULL, never zero. Money is in whole billionths of a US dollar.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct

from policy_router.log.report.cost_status import nano_of

Type: TypeAlias = Literal["text", "texts", "int", "float", "bool", "time", "bytes"]
Cells: TypeAlias = Sequence[Any]
"""What a column has, row by row."""


class Column(Struct, frozen=True):
    """A column of a table.

    Attributes:
        name: its name.
        type: the type of what is in it.
        part: the part of each row that it is read from: the line is the first.
        read: reads it of these parts of all rows.
    """

    name: str
    type: Type
    part: int
    read: Callable[[Sequence[Any]], list[Any]]


class Table(Struct, frozen=True):
    """A table.

    Attributes:
        name: its name.
        columns: its columns, in order.
    """

    name: str
    columns: tuple[Column, ...]


def _columns(part: int, *columns: tuple[str, Type] | tuple[str, Type, str]) -> tuple[Column, ...]:
    """Return columns that are read by their name, or by the path that is given."""
    return tuple(
        Column(name, type_, part, _reader(*(path or [name]))) for name, type_, *path in columns
    )


def _reader(path: str) -> Callable[[Sequence[Any]], list[Any]]:
    """Return what reads attributes; with ``attrgetter`` it would take twice as long."""
    made: Callable[[Sequence[Any]], list[Any]]
    made = eval(f"lambda parts: [it.{path} for it in parts]")  # noqa: S307 - the paths are below
    return made


def _wished_models(requests: Sequence[Any]) -> list[Any]:
    return [it.task.model or it.call.model for it in requests]


def _wished_providers(requests: Sequence[Any]) -> list[Any]:
    return [it.task.provider or it.call.provider for it in requests]


def _costs(executions: Sequence[Any]) -> list[Any]:
    return [None if it.cost_usd is None else nano_of(it.cost_usd) for it in executions]


(WRITER,) = _columns(0, ("writer", "text"))
"""The column with who wrote the line, which the line does not say."""
(CONTENT,) = _columns(0, ("line", "bytes"))
"""The column with the bytes of the line, without its end."""
_PLACE: Final = (*_columns(0, ("time", "time")), WRITER, *_columns(0, ("seq", "int")))
_LINE: Final = (*_columns(0, ("id", "text")), *_PLACE)
DECISIONS: Final = Table(
    "decisions",
    (
        *_LINE,
        *_columns(
            0,
            ("parent", "text"),
            ("root", "text"),
            ("session", "text"),
            ("tags", "texts"),
            ("purpose", "text"),
            ("trace", "text"),
        ),
        *_columns(
            1,
            ("caller_id", "text", "caller.id"),
            ("caller_team", "text", "caller.team"),
            ("kind", "text", "task.kind"),
            ("labels", "texts", "task.labels"),
            ("estimated_input_tokens", "int", "task.input_tokens"),
        ),
        Column("wished_model", "text", 1, _wished_models),
        Column("wished_provider", "text", 1, _wished_providers),
        *_columns(
            2,
            ("outcome", "text"),
            ("level", "text"),
            ("rule", "text"),
            ("code", "text"),
            ("decided_entry", "text", "target.entry"),
            ("decided_model", "text", "target.model"),
            ("decided_provider", "text", "target.provider"),
            ("plan", "texts"),
            ("warnings", "texts"),
        ),
        *_columns(
            3,
            ("policy", "text", "policy.name"),
            ("revision", "text", "policy.revision"),
            ("engine", "text", "engine.version"),
        ),
        CONTENT,
    ),
)
EVENTS: Final = Table(
    "events",
    (
        *_LINE,
        *_columns(
            1,
            ("event", "text"),
            ("attempt", "int"),
            ("status", "text"),
            ("error", "text"),
            ("sent_entry", "text", "entry"),
            ("sent_model", "text", "model"),
            ("sent_provider", "text", "provider"),
            ("served_model", "text"),
            ("finish_reason", "text"),
            ("input_tokens", "int"),
            ("output_tokens", "int"),
            ("cached_tokens", "int"),
        ),
        Column("cost_nano_usd", "int", 1, _costs),
        *_columns(1, ("cost_status", "text"), ("duration_seconds", "float")),
        CONTENT,
    ),
)
CALLS: Final = Table(
    "calls",
    (
        *_LINE,
        *_columns(
            1,
            ("number", "int"),
            ("sent_entry", "text", "entry"),
            ("sent_model", "text", "model"),
            ("sent_provider", "text", "provider"),
            ("failure", "text"),
            ("status", "int"),
            ("is_sent", "bool"),
            ("duration_seconds", "float"),
            ("input_tokens", "int"),
            ("output_tokens", "int"),
        ),
    ),
)
POLICIES: Final = Table(
    "policies",
    (
        *_PLACE,
        *_columns(
            1,
            ("policy", "text", "name"),
            ("revision", "text"),
            ("digest", "text"),
            ("origin_commit", "text"),
            ("loaded_by", "text"),
            ("owner", "text"),
            ("description", "text"),
        ),
        CONTENT,
    ),
)
OTHERS: Final = Table("others", (*_PLACE, *_columns(0, ("kind", "text")), CONTENT))
TABLES: Final = (DECISIONS, EVENTS, CALLS, POLICIES, OTHERS)
