"""The report of ``replay --against``, for a terminal and for a pull request."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

from policy_router.cli.fitting import COLUMNS, dollars, fitted
from policy_router.cli.markdown import code, markdown_table
from policy_router.cli.terminal import counted
from policy_router.decision.request import spelt
from policy_router.diagnostics.model import printable, quote
from policy_router.errors import RequestError, reason_of
from policy_router.log.entry import moment_of
from policy_router.log.replay.what_if_money import BILLION, Money
from policy_router.log.replay.what_if_report import Asker, FlipRow, WhatIf, most_flips, ordered
from policy_router.log.report.log_report import csv_line, safe_cell

_SHOWN: Final = 12
_SHOWN_IN_MARKDOWN: Final = 50
"""A comment of a pull request has to be short: GitHub takes 65,536 characters."""
_BUDGETS: Final = (
    "budgets are not simulated: a request says what was spent when it was decided, so work that"
    " moves or is refused changes no later decision here"
)
_FLIPS: Final = (
    *("time", "id", "team", "caller", "before", "after", "due to", "work", "known"),
    *("before_nano_usd", "after_nano_usd"),
)


@contextmanager
def flips_in(path: Path) -> Iterator[Callable[[FlipRow], None]]:
    """Yield what writes decisions that would differ into a table, which begins with its heads.

    Raises:
        RequestError: the file cannot be written.
    """
    try:
        with path.open("w", encoding="utf-8") as file:
            yield flip_writer(file)
    except OSError as problem:
        raise _unwritten(path, problem) from None


def flip_writer(file: TextIO) -> Callable[[FlipRow], None]:
    """Return what writes decisions that would differ into an open table."""
    file.write(f"{csv_line(_FLIPS)}\n")

    def write(row: FlipRow) -> None:
        words = (row.decision_id, row.team, row.caller, row.before, row.after, row.rule)
        money = ("" if it is None else it for it in (row.before_nano_usd, row.after_nano_usd))
        cells = (spelt(moment_of(row.time)), *map(safe_cell, words), row.work, row.known, *money)
        try:
            file.write(f"{csv_line(cells)}\n")
        except OSError as problem:  # it is not the log that cannot be read
            raise _unwritten(Path(file.name), problem) from None

    return write


def _unwritten(path: Path, problem: OSError) -> RequestError:
    return RequestError("--list", f"{quote(str(path))} cannot be written: {reason_of(problem)}")


def what_if_as_text(report: WhatIf, *, is_quiet: bool) -> Iterator[str]:
    """Yield the lines for a terminal."""
    yield _filled(printable(_summary(report, report.policy)))
    if report.unreadable:
        yield _unreadable(report)
    if is_quiet or not report.total:
        return
    for title, heads, rows, _ in _tables(report):
        yield f"\n{title}"
        yield fitted(heads, rows[:_SHOWN])
        if len(rows) > _SHOWN:
            yield _more(len(rows) - _SHOWN)
    yield ""
    yield _filled(_money(report))
    if report.flips:
        yield _filled(_BUDGETS)


def _filled(text: str) -> str:
    return textwrap.fill(text, COLUMNS, break_long_words=False, break_on_hyphens=False)


def _unreadable(report: WhatIf) -> str:
    are = "is" if report.unreadable == 1 else "are"
    return f"{counted(report.unreadable, 'line')} cannot be read and {are} left out"


def _more(count: int) -> str:
    return f"and {count:,} more: --format json has all"


def _summary(report: WhatIf, policy: str) -> str:
    if not report.total:
        return f"policy {policy}: nothing to decide again: the log holds no decision that is meant"
    share = 100 * report.flips / report.total
    of_all = f"{report.flips:,} of {counted(report.total, 'decision')} ({share:.2f} %)"
    parts = [
        f"policy {policy}: {of_all} would differ",
        f"{counted(report.gained, 'refusal')} gained, {report.lost:,} lost",
    ]
    if report.unfit:
        fit = "does" if report.unfit == 1 else "do"
        parts.append(f"{counted(report.unfit, 'request')} {fit} not fit it")
    if report.otherwise:
        parts.append(
            f"{report.otherwise:,} end alike, and differ in rule, parameters, fallbacks or warnings"
        )
    return "; ".join(parts)


_Table = tuple[str, tuple[str, ...], Sequence[tuple[str, ...]], tuple[int, ...]]
"""Title, heads, rows, and which columns are numbers."""


def _tables(report: WhatIf) -> tuple[_Table, ...]:
    """Return what a report shows: title, heads and rows of each table."""
    if not report.flips:
        return (_work(report),) if _is_split(report) else ()
    flips = [
        (f"{count:,}", printable(before), printable(after))
        for (before, after), count in ordered(report.matrix)
        if before != after
    ]
    same = sum(count for (before, after), count in report.matrix.items() if before == after)
    if same:
        flips.append((f"{same:,}", "(all others)", "(as before)"))
    causes = [(f"{count:,}", printable(rule)) for rule, count in ordered(report.causes)]
    examples = [
        (
            f"{it.count:,}",
            printable(it.decision_id),
            printable(it.flip.before),
            printable(it.flip.after),
            printable(it.flip.rule),
        )
        for it in report.most_frequent()
    ]
    return (
        ("from target to target", ("decisions", "before", "after"), flips, (0,)),
        ("due to", ("decisions", "rule"), causes, (0,)),
        ("most frequent", ("decisions", "example", "before", "after", "due to"), examples, (0,)),
        ("by team", ("decisions", "refused", "team"), _asked(report.teams), (0, 1)),
        ("by caller", ("decisions", "refused", "caller"), _asked(report.callers), (0, 1)),
        _work(report),
    )


def _asked(askers: dict[str, Asker]) -> list[tuple[str, ...]]:
    return [
        (f"{it.flips:,}", f"{it.refusals:,}", printable(name) or "-")
        for name, it in most_flips(askers)
    ]


def _is_split(report: WhatIf) -> bool:
    return any(work != "as before" for work, _ in report.work)


def _work(report: WhatIf) -> _Table:
    """Return what becomes of work and money: refused, moved, priced otherwise, or as before."""
    rows = [
        (f"{money.decisions:,}", work, known, *_both(money, known))
        for (work, known), money in sorted(report.work.items())
        if money.decisions
    ]
    heads = ("decisions", "work", "known", "before", "after")
    return "work and its cost", heads, rows, (0, 3, 4)


def _both(money: Money, known: str) -> tuple[str, str]:
    if known == "unknown":
        return "-", "-"
    return dollars(money.before), dollars(money.after)


def _money(report: WhatIf) -> str:
    money = report.money
    known = money.measured + money.estimated
    if not known and not money.unknown:
        return "cost: no decision has one"
    if not known:
        return f"cost: unknown for all {counted(money.unknown, 'decision')}"
    before, after = money.before / BILLION, money.after / BILLION
    return (
        f"cost: ${before:,.6f} before, ${after:,.6f} after, {after - before:+,.6f};"
        f" {money.measured:,} measured, {money.estimated:,} estimated, {money.unknown:,} unknown"
    )


def what_if_as_markdown(report: WhatIf) -> list[str]:
    """Return the report for a pull request."""
    policy = code(printable(report.policy))
    lines = [f"### What if: policy {policy}", "", _summary(report, policy), ""]
    if report.unreadable:
        lines += [f"**{_unreadable(report)}**", ""]
    for title, heads, rows, numbers in _tables(report):
        shown = rows[:_SHOWN_IN_MARKDOWN]
        lines += [f"**{title}**", "", *markdown_table(heads, shown, numbers), ""]
        if len(rows) > len(shown):
            lines += [_more(len(rows) - len(shown)), ""]
    return [*lines, _money(report), *(["", _BUDGETS] if report.flips else [])]
