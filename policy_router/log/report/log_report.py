"""What a report says: rows, and one total that every report on the same decisions has."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from policy_router.diagnostics.model import printable, quote
from policy_router.domain import Policy
from policy_router.errors import RecordError, RequestError
from policy_router.log.folder import LogFolder, Progress
from policy_router.log.policies import PolicyStore
from policy_router.log.replay.chunks import Job
from policy_router.log.report.cases import NOT_KNOWN
from policy_router.log.report.cost_status import CaseCost
from policy_router.log.report.dimensions import Filter, checked_names
from policy_router.log.report.kinds import KINDS, Key
from policy_router.log.report.reporting import Question, Tally, tally_log

OTHERS: Final = "(others)"
"""The row of everything that ``top`` leaves out."""
TOTAL: Final = "(total)"
"""The last row of a table that is read by a program."""
_FORMULA: Final = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
"""What a formula begins with; the wide signs too, in the spreadsheets of some languages."""
SUMS: Final = (
    *("decisions", "selected", "refused", "denied", "ended", "runs"),
    *(status.value for status in CaseCost),
    *("measured_nano_usd", "estimated_nano_usd", "input_tokens", "output_tokens"),
    *("orphans", "orphan_runs", "orphan_nano_usd"),
)
"""What a total has; ``docs/audit.md`` says what each is."""
COSTS: Final = ("measured_nano_usd", "estimated_nano_usd")
_FIRING: Final = ("selected", "fallback", "rejected", "warned")


class ReportRow(Struct, frozen=True):
    """A row of a report.

    Attributes:
        key: the values of its columns.
        counts: what is counted in it; what is missing is zero.
    """

    key: Key
    counts: dict[str, int]


class LogReport(Struct, frozen=True):
    """What a report says.

    Attributes:
        kind: the kind of report.
        columns: the names of the values of each row.
        counts: the names of what a row counts, that of the order first.
        rows: the rows, the most first.
        total: what is counted of all decisions that are meant.
        never_fired: rules, forbid rules and entries that did nothing, as ``(part, name)``.
        revisions: the policies that decided, by revision, and their names.
        first: the time of the first decision, in microseconds since 1970; None without any.
        last: the time of the last one.
        unreadable: lines and records that cannot be read.
        unlogged: decisions that are not in the log, as its gaps say.
    """

    kind: str
    columns: Key
    counts: Key
    rows: tuple[ReportRow, ...]
    total: dict[str, int]
    never_fired: tuple[Key, ...]
    revisions: dict[str, str]
    first: int | None
    last: int | None
    unreadable: int
    unlogged: int

    @property
    def has_costs(self) -> bool:
        """Whether rows have costs."""
        return KINDS[self.kind].has_costs

    def top(self, number: int) -> LogReport:
        """Return the same with its first rows, and one for all others."""
        others: Counter[str] = Counter()
        for row in self.rows[number:]:
            others.update(row.counts)
        rows = self.rows[:number]
        if others:
            key = (OTHERS, *("" for _ in self.columns[1:]))
            rows = (*rows, ReportRow(key, dict(others)))
        return msgspec.structs.replace(self, rows=rows)

    def to_json(self) -> bytes:
        """Return JSON; money is in whole billionths of a US dollar."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        plain["rows"] = [self._plain(row) for row in self.rows]
        plain["never_fired"] = [{"part": part, "name": name} for part, name in self.never_fired]
        return msgspec.json.encode(plain)

    def _plain(self, row: ReportRow) -> dict[str, Any]:
        key = dict(zip(self.columns, row.key, strict=True))
        return {"key": key, **{name: row.counts.get(name, 0) for name in self._names}}

    @property
    def _names(self) -> Key:
        if not self.has_costs:
            return self.counts
        return tuple(dict.fromkeys((*self.counts, *SUMS[:-3])))

    def to_csv(self) -> str:
        """Return a table for a spreadsheet, with a last row of everything."""
        names = self._names
        is_whole = {"decisions", *(names if self.has_costs else ())}
        sums = (self.total[name] if name in is_whole else "" for name in names)
        lines = [csv_line((*self.columns, *names))]
        for row in self.rows:
            counts = (row.counts.get(name, 0) for name in names)
            lines.append(csv_line((*map(safe_cell, row.key), *counts)))
        lines.append(csv_line((TOTAL, *("" for _ in self.columns[1:]), *sums)))
        return "\n".join(lines)


def csv_line(cells: Iterable[str | int]) -> str:
    """Return cells as a line of a table, as RFC 4180 has it, without its end."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="").writerow(cells)
    return stream.getvalue()


def safe_cell(text: str) -> str:
    """Return a text that a spreadsheet takes for no formula, and a terminal for no command."""
    shown = printable(text)
    return f"'{shown}" if shown[:1] in _FORMULA and shown != NOT_KNOWN else shown


def log_report(
    folder: str | Path,
    kind: str,
    *,
    by: Sequence[str] | None = None,
    since: int | None = None,
    until: int | None = None,
    where: Filter | None = None,
    executor: Executor | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> LogReport:
    """Count what a log holds.

    Args:
        folder: the log.
        kind: ``spend``, ``refusals``, ``wishes``, ``rules``, ``models`` or ``callers``.
        by: what rows are grouped by; each kind has its default.
        since: the time of the earliest decisions that count, in microseconds since 1970; default:
            all.
        until: the time before which decisions count, likewise.
        where: which decisions count; default: all.
        executor: runs the work; default for a large log: processes on all cores.
        workers: the number of processes; default: the number of cores.
        progress: is called with the progress.

    Raises:
        LogError: there is no log, or the report has too many rows.
        RequestError: there is no such kind, or nothing of a name in ``by``.
    """
    found = KINDS.get(kind)
    if found is None:
        raise RequestError("kind", f"{quote(kind)} is not one of {', '.join(KINDS)}")
    names = checked_names(found.by if by is None else by, "--by")
    log = LogFolder.existing(folder)
    tally = tally_log(
        log,
        Job.of(log, since, until),
        Question(kind, names, where or Filter()),
        executor=executor,
        workers=workers,
        progress=progress,
    )
    return _reported(log, kind, names, tally)


def _reported(log: LogFolder, kind: str, by: Key, tally: Tally) -> LogReport:
    wanted = KINDS[kind]
    rows = {key: counts for key, counts in tally.rows.items() if any(counts.values())}
    fired = {key[:2] for key, counts in rows.items() if any(counts[it] for it in _FIRING)}
    parts = _parts(log, tally) if kind == "rules" else ()
    if not by:
        for part in parts:
            rows.setdefault(part, Counter())
    return LogReport(
        kind,
        (*wanted.names, *by),
        wanted.counts,
        tuple(_ordered(kind, by, rows)),
        {name: tally.total[name] for name in SUMS},
        tuple(part for part in parts if part not in fired),
        dict(sorted(tally.revisions.items())),
        tally.first,
        tally.last,
        tally.unreadable,
        tally.unlogged,
    )


def _ordered(kind: str, by: Key, rows: dict[Key, Counter[str]]) -> Iterator[ReportRow]:
    """Yield the rows, the most first, and of equal ones by name; times are in their order."""
    wanted = KINDS[kind]
    is_timed = not wanted.names and by[:1] in {("month",), ("day",)}

    def place(item: tuple[Key, Counter[str]]) -> tuple[Any, ...]:
        key, counts = item
        if kind == "rules":
            return key[0], -sum(counts[name] for name in _FIRING), key
        money = sum(counts[name] for name in COSTS) if wanted.has_costs else 0
        return key[: int(is_timed)], -money, -counts[wanted.counts[0]], key

    for key, counts in sorted(rows.items(), key=place):
        yield ReportRow(key, {name: number for name, number in counts.items() if number})


def _parts(log: LogFolder, tally: Tally) -> tuple[Key, ...]:
    """Return all rules, forbid rules and entries of the policies that decided."""
    store = PolicyStore(log)
    found: dict[Key, None] = {}
    for revision in sorted(tally.revisions):
        try:
            policy = store.load(revision)
        except RecordError:
            continue
        found |= dict.fromkeys(_parts_of(policy))
    return tuple(found)


def _parts_of(policy: Policy) -> Iterator[Key]:
    yield from (("rule", rule.id) for rule in policy.precedence)
    yield from (("forbid", rule.id) for rule in policy.forbid)
    yield from (("entry", entry.name) for entry in policy.pool or ())
