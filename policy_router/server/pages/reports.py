"""The pages of money and of rules: what it cost, by whom, and whether what ran kept to the rules.

What is counted comes from the reports on a log, so that every total here is the total there.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from msgspec import Struct

from policy_router.files.clock import Clock
from policy_router.log.check.findings import FindingKind
from policy_router.log.report.cases import NOT_KNOWN
from policy_router.log.report.log_report import safe_cell
from policy_router.server.asking import Answer, Asked
from policy_router.server.auditing import time_of
from policy_router.server.counting import AFTER_A_CHANGE, SPENT_BY, Changed
from policy_router.server.index import Index
from policy_router.server.index_lines import LINES
from policy_router.server.pages.background import Background, Work
from policy_router.server.pages.decisions import Row, row_of
from policy_router.server.pages.policies import Policies, Revision
from policy_router.server.pages.reader import Frame, in_thread
from policy_router.server.pages.rendering import CSV, download, query_text
from policy_router.server.problems import Problem
from policy_router.server.tasks import Task

_BILLION: Final = 1_000_000_000
_CAUSES: Final = {
    "no_price": "no price",
    "no_usage": "no usage told",
    "mismatch": "price and usage do not agree",
    "failed": "failed",
    "never_ended": "never ended",
}
_LOW_USD: Final = 2.0
_MOST_CHANGES: Final = 5
_MOST_COLUMNS: Final = 12
_AT: Final = re.compile(r" at ([^()]+)\)?$")


class Dear(Struct, frozen=True):
    """A decision that cost much.

    Attributes:
        row: the decision; None where its line is not there any more.
        id: its id.
        cost: US dollars.
        count: how many decisions its tree has.
        left: how many US dollars were left.
    """

    id: str
    cost: float
    row: Row | None = None
    count: int = 1
    left: float | None = None


class Reports:
    """Shows what a log comes to."""

    def __init__(
        self,
        frame: Frame,
        background: Background,
        policies: Policies,
        *,
        log: str,
        index: Index,
        clock: Clock,
    ) -> None:
        """Keep what the pages need.

        Args:
            frame: is around them.
            background: counts.
            policies: know which decided when.
            log: the folder of the log.
            index: the index of the log.
            clock: tells the time.
        """
        self._frame, self._background, self._policies = frame, background, policies
        self._log, self._index, self._clock = log, index, clock

    async def spend(self, asked: Asked) -> Answer:
        """Show what was spent."""
        options = _options(asked, "rows", "columns")
        rows, columns = _chosen(options)
        work = self._counted("spend", options)
        report, dear = work.report, dict[str, Any]()
        if report is not None:
            dear = await in_thread(_dear, self._index, *self._window(options))
        return await self._frame.page(
            asked,
            "spend",
            "spend",
            work=work,
            address=f"/pages/spend{query_text(options)}",
            options=options,
            by=SPENT_BY,
            rows=rows,
            columns=columns,
            pivot=None if report is None else _pivot(report["rows"], rows, columns),
            months=None if report is None else _stacked(report["rows"]),
            total=None if report is None else _money_of(report["total"]),
            causes=None if report is None else _causes(report["total"]),
            **dear,
            low=_LOW_USD,
        )

    async def spend_csv(self, asked: Asked) -> Answer:
        """Hand out the table of the page."""
        options = _options(asked, "rows", "columns")
        rows, columns = _chosen(options)
        work = self._counted("spend", options, seconds=math.inf)  # what the page shows
        if work.report is None:
            raise Problem(503, "not_counted", "this is not counted yet: look at the page first")
        pivot = _pivot(work.report["rows"], rows, columns)
        out = io.StringIO()
        table = csv.writer(out)
        table.writerow([rows, *map(safe_cell, pivot["columns"]), "total_usd"])
        for name, cells, total in pivot["rows"]:
            table.writerow([safe_cell(name), *(f"{it:.6f}" for it in cells), f"{total:.6f}"])
        return download("spend.csv", CSV, out.getvalue().encode())

    async def compliance(self, asked: Asked) -> Answer:
        """Show whether what ran kept to the rules, and what changed them."""
        options = _options(asked)
        since, until = self._window(options)
        revisions = await self._policies.revisions()
        work = self._counted("compliance", options, _changes(revisions, since, until))
        counted = work.report
        if counted is not None:
            breaches = await in_thread(_breaches, self._index, counted["check"]["findings"])
            counted = {**counted, "labels": _by_label(counted["labels"], breaches)}
        return await self._frame.page(
            asked,
            "compliance",
            "compliance",
            work=work,
            address=f"/pages/compliance{query_text(options)}",
            options=options,
            revisions=revisions,
            day=AFTER_A_CHANGE,
            counted=counted,
        )

    def _window(self, options: Mapping[str, str]) -> tuple[int | None, int | None]:
        return (
            time_of(options.get("since"), "since", self._clock),
            time_of(options.get("until"), "until", self._clock),
        )

    def _counted(
        self, what: str, options: Mapping[str, str], changes: tuple[Changed, ...] = (), **named: Any
    ) -> Work:
        since, until = self._window(options)
        title = {name: options.get(name, "") for name in ("since", "until")}
        task = Task(
            what, log=self._log, since=since, until=until, index=self._index.path, changes=changes
        )
        return self._background.once(f"{what} {title}", task, title, **named)


def _options(asked: Asked, *more: str) -> dict[str, str]:
    return {name: it for name, it in asked.options("since", "until", *more).items() if it}


def _chosen(options: Mapping[str, str]) -> tuple[str, str]:
    """Return what the rows and the columns of a table are."""
    chosen = options.get("rows", "team"), options.get("columns", "month")
    for name, value in zip(("rows", "columns"), chosen, strict=True):
        if value not in SPENT_BY:
            reason = f"expected one of {', '.join(SPENT_BY)}"
            raise Problem(400, "bad_query", reason, path=name)
    return chosen


def _dollars(counts: Mapping[str, int]) -> float:
    nano = counts.get("measured_nano_usd", 0) + counts.get("estimated_nano_usd", 0)
    return nano / _BILLION


def _money_of(total: Mapping[str, int]) -> dict[str, float]:
    return {
        "measured": total.get("measured_nano_usd", 0) / _BILLION,
        "estimated": total.get("estimated_nano_usd", 0) / _BILLION,
        "decisions": total.get("decisions", 0),
        "orphans": total.get("orphans", 0),
        "orphan_cost": total.get("orphan_nano_usd", 0) / _BILLION,
    }


def _causes(total: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return why costs are unknown, with the number of decisions of each cause."""
    return [(words, total[name]) for name, words in _CAUSES.items() if total.get(name)]


def _pivot(cells: Iterable[Mapping[str, Any]], rows: str, columns: str) -> dict[str, Any]:
    """Return a table of US dollars: the dearest rows first, the columns by name."""
    sums: defaultdict[tuple[str, str], float] = defaultdict(float)
    for cell in cells:
        sums[cell["key"][rows], cell["key"][columns]] += _dollars(cell)
    by_column: defaultdict[str, float] = defaultdict(float)
    by_row: defaultdict[str, float] = defaultdict(float)
    for (row, column), dollars in sums.items():
        by_column[column] += dollars
        by_row[row] += dollars
    names = sorted(dearest for dearest, _ in _most(by_column)[:_MOST_COLUMNS])
    return {
        "columns": names,
        "left_out": len(by_column) - len(names),
        "rows": [
            (row, [sums[row, column] for column in names], total) for row, total in _most(by_row)
        ],
    }


def _most(sums: Mapping[str, float]) -> list[tuple[str, float]]:
    """Return names and sums, the greatest first, and equal ones by name."""
    return sorted(sums.items(), key=lambda item: (-item[1], item[0]))


def _stacked(cells: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return months as bars of models; heights are of 100."""
    table = _pivot([cell for cell in cells if _dollars(cell)], "month", "model")
    months = sorted(table["rows"])
    most = max((total for _, _, total in months), default=0) or 1
    bars = []
    for month, parts, total in months:
        top, pieces = 0.0, []
        for place, dollars in enumerate(parts):
            height = 100 * dollars / most
            top += height
            pieces.append((place, round(100 - top, 2), round(height, 2), dollars))
        bars.append((month, pieces, total))
    return {"models": table["columns"], "bars": bars}


def _dear(index: Index, since: int | None, until: int | None) -> dict[str, list[Dear]]:
    window: Any = {"since": since, "until": until}
    trees = index.dearest_trees(**window)
    single = index.dearest(**window)
    granted = index.granted(_LOW_USD, **window)
    ids = [*(it[0] for it in trees), *(it[0] for it in single), *(it[0] for it in granted)]
    rows = {row.id: row for line in index.lines(ids) if (row := row_of(line)) is not None}
    return {
        "trees": [Dear(id_, nano / _BILLION, rows.get(id_), count) for id_, count, nano in trees],
        "single": [Dear(id_, nano / _BILLION, rows.get(id_)) for id_, nano in single],
        "granted": [
            Dear(id_, nano / _BILLION, rows.get(id_), left=left) for id_, left, nano in granted
        ],
    }


def _changes(
    revisions: Sequence[Revision], since: int | None, until: int | None
) -> tuple[Changed, ...]:
    """Return the newest changes of rules in a time; the revisions are the last one first."""
    found = [
        Changed(older.revision, it.revision, it.first)
        for it, older in pairwise(revisions)
        if it.decisions and it.first >= (since or 0) and (until is None or it.first < until)
    ]
    return tuple(found[:_MOST_CHANGES])


def _breaches(index: Index, findings: Iterable[Mapping[str, Any]]) -> Counter[tuple[str, str]]:
    """Return how many decisions ran against a forbid rule, by label and provider."""
    ids = [id_ for it in findings if it["kind"] == FindingKind.FORBIDDEN for id_ in it["ids"]]
    providers = {
        it.id: it.execution.provider
        for it in map(LINES.decode, index.executions(ids))
        if it.execution.provider
    }
    found: Counter[tuple[str, str]] = Counter()
    for row in filter(None, map(row_of, index.lines(ids))):
        for label in row.record.request.task.labels or (NOT_KNOWN,):
            found[label, providers.get(row.id, NOT_KNOWN)] += 1
    return found


def _by_label(
    cells: Iterable[Mapping[str, Any]], breaches: Counter[tuple[str, str]]
) -> dict[str, Any]:
    """Return label by provider: how many decisions chose it, and how many were sent there.

    A label is counted for each decision that has it.

    Args:
        cells: the rows of a report on spending, by labels and targets.
        breaches: how many of the decisions ran against a forbid rule.
    """
    decided: Counter[tuple[str, str]] = Counter()
    sent: Counter[tuple[str, str]] = Counter()
    unknown: Counter[tuple[str, str]] = Counter()
    other: Counter[tuple[str, str]] = Counter()
    outside: Counter[tuple[str, str]] = Counter()
    for cell in cells:
        key, count = cell["key"], cell["decisions"]
        at, place = _AT.search(key["decided"]), _AT.search(key["sent"])
        if at is None:  # refused, so that nothing was sent
            continue
        for label in key["label"].split(", "):
            decided[label, at[1]] += count
            if place is None or cell.get("never_ended"):
                unknown[label, at[1]] += cell.get("never_ended", 0) or count
            if place is None:
                continue
            sent[label, place[1]] += count
            outside[label, place[1]] += count * (key["plan"] == "outside")
            is_other = key["served"] not in {"-", ""} and key["served"] not in key["sent"]
            other[label, place[1]] += count * is_other
    providers = sorted({name for _, name in (*decided, *sent)})
    labels = sorted({name for name, _ in (*decided, *sent)})
    counts = (decided, sent, unknown, other, outside, breaches)
    return {
        "providers": providers,
        "rows": [
            (label, [tuple(it[label, name] for it in counts) for name in providers])
            for label in labels
        ],
    }
