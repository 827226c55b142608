"""The page of decisions: found by what stands in its address, counted, and handed out."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from policy_router.files.clock import Clock
from policy_router.log.entry import Execution
from policy_router.log.report.log_report import safe_cell
from policy_router.server.asking import Answer, Asked, BrokenOffError
from policy_router.server.auditing import time_of
from policy_router.server.index import Found, Index
from policy_router.server.index_lines import ListedRecord
from policy_router.server.index_questions import FILTERS, Counts
from policy_router.server.pages.reader import Frame, in_thread
from policy_router.server.pages.rendering import CSV, download, exact_time, query_text, redirect
from policy_router.server.problems import Problem

_TIMES: Final = ("since", "until")
_ON_A_PAGE: Final = 50
_AT_ONCE: Final = 500
_TITLES: Final = {
    "outcome": "Outcome",
    "entry": "Entry",
    "rule": "Rule",
    "level": "Level",
    "model": "Model",
    "provider": "Provider",
    "caller": "Caller or team",
    "code": "Code",
    "policy": "Policy",
}
_SHOWN: Final = 8
COLUMNS: Final = (
    *("time", "id", "outcome", "entry", "model", "provider", "level", "rule", "code"),
    *("caller", "team", "kind", "parent", "policy", "revision"),
)
"""The columns of a table that is handed out."""


class Row(Struct, frozen=True):
    """What a table shows of a decision; the fields are those of its line."""

    id: str
    time: int
    record: ListedRecord
    parent: str | None = None
    purpose: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """What is handed out of it, in the order of :data:`COLUMNS`."""
        record, decision = self.record, self.record.decision
        target, caller = decision.target, record.request.caller
        code = decision.refusal.code or ", ".join(it.code for it in decision.warnings)
        return (
            *(exact_time(self.time), self.id, decision.outcome, target.entry, target.model),
            *(target.provider, decision.level, decision.rule or decision.refusal.rule or "", code),
            *(caller.id, caller.team, record.request.task.kind, self.parent or ""),
            *(record.policy.name, record.policy.revision),
        )


class Came(Struct, frozen=True):
    """What came of a decision, in short.

    Attributes:
        status: the status of the task.
        served: the model that the provider reported.
        cost: US dollars; None where it is not known.
    """

    status: str
    served: str | None
    cost: float | None


class _Line(Struct, frozen=True):
    id: str
    execution: Execution | UnsetType = UNSET


_ROWS: Final = msgspec.json.Decoder(Row)
_LINES: Final = msgspec.json.Decoder(_Line)


class Decisions:
    """Shows decisions."""

    def __init__(self, frame: Frame, index: Index, clock: Clock) -> None:
        """Keep what the pages need.

        Args:
            frame: is around them.
            index: the index of the log.
            clock: tells what an age is counted from.
        """
        self._frame, self._index, self._clock = frame, index, clock

    async def show(self, asked: Asked) -> Answer:
        """Show decisions, the newest first, with what they can be filtered by."""
        given = {name: it for name, it in asked.options(*_OPTIONS).items() if it}
        if "filter" in given:
            return redirect(f"/pages/decisions{query_text(_typed(given))}")
        options = {**dict.fromkeys(_OPTIONS), **given}
        wanted = _wanted(given)
        found, counts = await self._found(wanted, given)
        rows = [_ROWS.decode(line) for line in found.lines]
        came = await self._came(rows)
        is_part = b"hx-request" in asked.headers and options["live"] == "true"
        name = "decisions_list" if is_part else "decisions"
        return await self._frame.page(
            asked,
            name,
            "decisions",
            rows=rows,
            came=came,
            counts=counts,
            cursor=found.cursor,
            options=options,
            filters={key: given[key] for key in (*FILTERS, *_TIMES) if key in given},
            facets=_facets(counts, wanted),
            titles=_TITLES,
            bars=_bars(counts),
        )

    async def as_csv(self, asked: Asked) -> Answer:
        """Hand out what is shown, as a table."""
        return await self._handed_out(asked, "decisions.csv", CSV, _as_csv)

    async def as_lines(self, asked: Asked) -> Answer:
        """Hand out what is shown, as the lines of the log."""
        kind = b"application/x-ndjson"
        return await self._handed_out(asked, "decisions.jsonl", kind, b"\n".join)

    async def _handed_out(self, asked: Asked, name: str, kind: bytes, spelt: Any) -> Answer:
        options = {key: it for key, it in asked.options(*FILTERS, *_TIMES).items() if it}
        since, until = self._times(options)

        async def page(cursor: str | None) -> Found:
            return await self._page(_wanted(options), since, until, _AT_ONCE, cursor)

        async def pieces(found: Found) -> AsyncGenerator[bytes, None]:
            yield _as_csv_row(COLUMNS) if spelt is _as_csv else b""
            while True:
                end = b"\n" if found.lines and spelt is not _as_csv else b""
                yield spelt(found.lines) + end
                if found.cursor is None:
                    return
                try:
                    found = await page(found.cursor)
                except Problem:  # the status is said already
                    raise BrokenOffError from None

        first = await page(None)
        return download(name, kind, pieces=pieces(first))

    async def _found(
        self, wanted: Mapping[str, str], options: Mapping[str, str]
    ) -> tuple[Found, Counts]:
        since, until = self._times(options)
        found = self._page(wanted, since, until, _ON_A_PAGE, options.get("cursor"))
        counts = in_thread(self._index.count, wanted, since=since, until=until)
        both: tuple[Found, Counts] = await asyncio.gather(found, counts)
        return both

    async def _page(
        self,
        wanted: Mapping[str, str],
        since: int | None,
        until: int | None,
        limit: int,
        cursor: str | None,
    ) -> Found:
        found: Found = await in_thread(
            self._index.find, wanted, since=since, until=until, limit=limit, cursor=cursor
        )
        return found

    async def _came(self, rows: list[Row]) -> dict[str, Came]:
        lines = await in_thread(self._index.executions, [row.id for row in rows])
        return {it.id: came for line in lines if (came := _came_of(it := _LINES.decode(line)))}

    def _times(self, options: Mapping[str, str]) -> tuple[int | None, int | None]:
        return (
            time_of(options.get("since"), "since", self._clock),
            time_of(options.get("until"), "until", self._clock),
        )


_OPTIONS: Final = (*FILTERS, *_TIMES, "cursor", "live", "filter", "value")


def row_of(line: bytes) -> Row | None:
    """Return what a table shows of a line; None where it is no decision."""
    try:
        return _ROWS.decode(line)
    except msgspec.ValidationError:
        return None


def came_of(line: bytes) -> Came | None:
    """Return what came of a decision by a line; None where it does not say it."""
    return _came_of(_LINES.decode(line))


def _came_of(line: _Line) -> Came | None:
    end = line.execution
    if isinstance(end, UnsetType) or end.status is None:
        return None
    return Came(end.status, end.served_model, end.cost_usd)


def _wanted(options: Mapping[str, str]) -> dict[str, str]:
    return {name: options[name] for name in FILTERS if name in options}


def _typed(given: Mapping[str, str]) -> dict[str, str]:
    """Return what the form above the table asks for: a filter's name and its value become one.

    Raises:
        Problem: there is no such filter.
    """
    asked = dict(given)
    name, value = asked.pop("filter"), asked.pop("value", "").strip()
    if name not in FILTERS:
        raise Problem(400, "bad_query", f"expected one of {', '.join(FILTERS)}", path="filter")
    return {**asked, name: value} if value else asked


class _Facet(Struct, frozen=True):
    """A filter, its values, and how many of them are not shown."""

    name: str
    title: str
    values: tuple[tuple[str, int], ...]
    chosen: str | None
    more: int


def _facets(counts: Counts, wanted: Mapping[str, str]) -> Iterator[_Facet]:
    for name, title in _TITLES.items():
        values = counts.facets[name]
        if values or name in wanted:
            more = max(0, len(values) - _SHOWN)
            yield _Facet(name, title, values[:_SHOWN], wanted.get(name), more)


class _Bar(Struct, frozen=True):
    """A day in the drawing above the table; heights are of 40."""

    day: int
    count: int
    refused: int
    height: float
    refused_height: float


_HEIGHT: Final = 40
_MOST_BARS: Final = 400


def _bars(counts: Counts) -> tuple[_Bar, ...]:
    """Return the last days, those without decisions among them."""
    if not counts.days:
        return ()
    by_day = {day: (count, refused) for day, count, refused in counts.days}
    last = counts.days[-1][0]
    days = range(max(counts.days[0][0], last - _MOST_BARS + 1), last + 1)
    most = max(by_day.get(day, (0, 0))[0] for day in days) or 1
    made = []
    for day in days:
        count, refused = by_day.get(day, (0, 0))
        heights = (_HEIGHT * it / most for it in (count, refused))
        made.append(_Bar(day, count, refused, *(round(it, 2) for it in heights)))
    return tuple(made)


def _as_csv(lines: tuple[bytes, ...]) -> bytes:
    return b"".join(_as_csv_row(_ROWS.decode(line).cells) for line in lines)


def _as_csv_row(cells: tuple[str, ...]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerow(map(safe_cell, cells))
    return out.getvalue().encode()
