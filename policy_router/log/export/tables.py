"""The tables of an export.

A column never changes its meaning or its type; new ones come at the end. What a line does not say
is NULL, never zero. Money is in whole billionths of a US dollar.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct

Type: TypeAlias = Literal["text", "texts", "int", "float", "bool", "time", "bytes"]
Cells: TypeAlias = Sequence[Any]
"""What a column has, row by row."""


class Column(Struct, frozen=True):
    """A column of a table.

    Attributes:
        name: its name.
        type: the type of what is in it.
        path: the attributes that lead to it.
    """

    name: str
    type: Type
    path: str


class Table(Struct, frozen=True):
    """A table.

    Attributes:
        name: its name.
        columns: its columns, in order.
        readers: read the columns of a row, each of them from another part of it.
    """

    name: str
    columns: tuple[Column, ...]
    readers: tuple[Callable[[Any], tuple[Any, ...]], ...]

    @classmethod
    def of(cls, name: str, *parts: Sequence[Column], ends: Sequence[Column] = ()) -> Table:
        """Return a table whose rows have parts: first of all the line, which ends the row, too."""
        readers = [attrgetter(*(it.path for it in part if it is not WRITER)) for part in parts]
        return cls(name, (*chain(*parts), *ends), tuple(readers))


def _columns(*columns: tuple[str, Type] | tuple[str, Type, str]) -> tuple[Column, ...]:
    """Return columns that are read by their name, or by the path that is given."""
    return tuple(Column(name, type_, *(there or [name])) for name, type_, *there in columns)


WRITER: Final = Column("writer", "text", "")
"""The column with who wrote the line, which the line does not say."""
CONTENT: Final = Column("line", "bytes", "")
"""The column with the bytes of the line, without its end."""
_PLACE: Final = (Column("time", "time", "time"), WRITER, Column("seq", "int", "seq"))
_LINE: Final = (Column("id", "text", "id"), *_PLACE)
DECISIONS: Final = Table.of(
    "decisions",
    (
        *_LINE,
        *_columns(
            ("parent", "text"),
            ("root", "text"),
            ("session", "text"),
            ("tags", "texts"),
            ("purpose", "text"),
            ("trace", "text"),
        ),
    ),
    _columns(
        ("caller_id", "text", "caller.id"),
        ("caller_team", "text", "caller.team"),
        ("kind", "text", "task.kind"),
        ("labels", "texts", "task.labels"),
        ("estimated_input_tokens", "int", "task.input_tokens"),
        ("wished_model", "text"),
        ("wished_provider", "text"),
    ),
    _columns(
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
    _columns(
        ("policy", "text", "policy.name"),
        ("revision", "text", "policy.revision"),
        ("engine", "text", "engine.version"),
    ),
    ends=[CONTENT],
)
EVENTS: Final = Table.of(
    "events",
    _LINE,
    _columns(
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
        ("cost_nano_usd", "int"),
        ("cost_status", "text"),
        ("duration_seconds", "float"),
    ),
    ends=[CONTENT],
)
CALLS: Final = Table.of(
    "calls",
    _LINE,
    _columns(
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
)
POLICIES: Final = Table.of(
    "policies",
    _PLACE,
    _columns(
        ("policy", "text", "name"),
        ("revision", "text"),
        ("digest", "text"),
        ("origin_commit", "text"),
        ("loaded_by", "text"),
        ("owner", "text"),
        ("description", "text"),
    ),
    ends=[CONTENT],
)
OTHERS: Final = Table.of("others", (*_PLACE, *_columns(("kind", "text"))), ends=[CONTENT])
TABLES: Final = (DECISIONS, EVENTS, CALLS, POLICIES, OTHERS)
