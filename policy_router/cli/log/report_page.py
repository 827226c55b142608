"""How a report on a log is shown: for a terminal of 80 columns, and for a letter."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

from policy_router.cli.fitting import COLUMNS, dollars, fitted, wrapped
from policy_router.cli.log.rows import UNREADABLE
from policy_router.cli.markdown import markdown_table
from policy_router.cli.terminal import counted, width
from policy_router.decision.request import spelt
from policy_router.diagnostics.model import Paint, printable
from policy_router.log.entry import moment_of
from policy_router.log.report.cost_status import UNKNOWN
from policy_router.log.report.log_report import LogReport, ReportRow

_MOST_COLUMNS: Final = 3
_TIE: Final = "\x00"
"""A space at which no line ends."""
_NEVER_SHOWN: Final = 20


def as_text(found: LogReport, paint: Paint | None = None) -> str:
    """Return a report for a terminal."""
    strong = paint or (lambda text, _role: text)
    texts, rows = _texts(found)
    heads, cells = _heads(found), [_cells(found, row) for row in found.rows]
    lines = [strong(_span(found), "dim"), ""]
    if rows:
        body = [(*row, *cell) for row, cell in zip(rows, cells, strict=True)]
        head, *body = [(*texts, *heads), *body]
        if len(texts) == 1:
            head, *body = _folded([head, *body])
        lines += [fitted(head, body, range(len(texts), len(head))), ""]
    lines += _never(found)
    return "\n".join([*lines, *total_lines(found)])


def _texts(found: LogReport) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return heads and texts of the rows; more columns than have room become one."""
    rows = [tuple(map(printable, row.key)) for row in found.rows]
    if len(found.columns) <= _MOST_COLUMNS:
        return found.columns, rows
    return (" / ".join(found.columns),), [(" / ".join(filter(None, row)),) for row in rows]


def _folded(rows: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Yield rows whose first cell goes on below, where it has no room."""
    numbers = zip(*(row[1:] for row in rows), strict=True)
    room = COLUMNS - sum(2 + max(map(width, column)) for column in numbers)
    for first, *more in rows:
        for place, text in enumerate(textwrap.wrap(first, room, subsequent_indent="  ") or [""]):
            yield (text, *([""] * len(more) if place else more))


def as_markdown(found: LogReport) -> str:
    """Return a report for a letter or a pull request."""
    heads = [*found.columns, *_heads(found)]
    rows = [(*row.key, *_cells(found, row)) for row in found.rows]
    texts = len(found.columns)
    lines = [f"### {found.kind}", "", _span(found), ""]
    if rows:
        lines += [*markdown_table(heads, rows, range(texts, len(heads))), ""]
    lines += _never(found)
    return "\n".join([*lines, "```text", *total_lines(found), "```"])


def _heads(found: LogReport) -> list[str]:
    heads = [name.replace("_", " ") for name in found.counts]
    return [*heads, "cost", "estimated", "unknown"] if found.has_costs else heads


def _cells(found: LogReport, row: ReportRow) -> list[str]:
    cells = [f"{row.counts.get(name, 0):,}" for name in found.counts]
    if found.has_costs:
        unknown = sum(row.counts.get(status, 0) for status in UNKNOWN)
        money = (row.counts.get(f"{it}_nano_usd", 0) for it in ("measured", "estimated"))
        cells += [*(dollars(it) if it else "-" for it in money), f"{unknown:,}"]
    return cells


def _span(found: LogReport) -> str:
    if found.first is None or found.last is None:
        return f"{found.kind}: no decisions found"
    first, last = (spelt(moment_of(it).replace(microsecond=0)) for it in (found.first, found.last))
    return f"{found.kind}, {first} to {last}"


def _never(found: LogReport) -> list[str]:
    if not found.never_fired:
        return []
    shown = [f"{part} {printable(name)}" for part, name in found.never_fired[:_NEVER_SHOWN]]
    if (more := len(found.never_fired) - len(shown)) > 0:
        shown.append(f"and {more:,} more (--format json)")
    return [*wrapped("never fired", [", ".join(shown)]), ""]


def total_lines(found: LogReport) -> list[str]:
    """Return the total, which every report on the same decisions has, and what is not in it."""
    lines = sum_lines(found.total)
    if found.unlogged:
        lines += wrapped("unlogged", [f"{counted(found.unlogged, 'decision')} not in the log"])
    if found.unreadable:
        lines += wrapped("unread", [f"{counted(found.unreadable, 'line')}: {UNREADABLE}"])
    return lines


def sum_lines(total: dict[str, int]) -> list[str]:
    """Return how many decisions there are, what they cost, and of how many that is unknown."""
    parts = [f"{total['selected']:,} selected", f"{total['refused']:,} refused"]
    if total["denied"]:
        parts.append(f"{total['denied']:,} selected and denied by a budget")
    lines = wrapped("total", [f"{counted(total['decisions'], 'decision')}: {', '.join(parts)}"])
    lines += [line.replace(_TIE, " ") for line in wrapped("cost", _cost(total))]
    if total["orphans"]:
        ends, whose = counted(total["orphan_runs"], "end"), counted(total["orphans"], "decision")
        text = f"{ends} of {whose} that the log does not have, {_exact(total['orphan_nano_usd'])}"
        lines += wrapped("apart", [text])
    return lines


def _cost(total: dict[str, int]) -> Iterator[str]:
    measured, bounds = total["measured"], total["upper_bound"]
    text = f"{_exact(total['measured_nano_usd'])} measured, of {measured + bounds:,}"
    yield f"{text}; {bounds:,} of them cost that at most" if bounds else text
    if total["estimated"]:
        most = _exact(total["estimated_nano_usd"])
        yield f"{most} at most, estimated, of {total['estimated']:,}"
    unknown = {status: total[status] for status in UNKNOWN if total[status]}
    if unknown:
        causes = ", ".join(f"{n:,}{_TIE}{it.replace('_', _TIE)}" for it, n in unknown.items())
        yield f"unknown of {sum(unknown.values()):,}: {causes}"
    if total["free"]:
        yield f"nothing of {total['free']:,}: refused, or answered with an error"


def _exact(nano: int) -> str:
    return dollars(nano, 9)
