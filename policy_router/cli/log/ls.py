"""The command ``log ls``: decisions, the newest first."""

from __future__ import annotations

import argparse
import shlex
from collections import deque
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from itertools import islice

from msgspec import UnsetType

from policy_router.cli.fitting import fitted
from policy_router.cli.log.arguments import add_log, log_of
from policy_router.cli.log.choosing import add_window, filter_of, window_of
from policy_router.cli.log.rows import HEADS, SHORTEST, beginnings, caller_of, row, warn
from policy_router.cli.options import add_format, number
from policy_router.cli.terminal import out, out_bytes
from policy_router.decision.record import DecisionRecord
from policy_router.decision.request import spelt
from policy_router.errors import RecordError
from policy_router.log.entry import moment_of
from policy_router.log.read.reading import Line, LogReader
from policy_router.log.replay.what_if_money import BILLION
from policy_router.log.report.cases import Case
from policy_router.log.report.dimensions import DIMENSIONS, OF_DECISIONS, Filter, is_policy
from policy_router.log.report.finding import CaseFinder
from policy_router.log.report.log_report import COSTS, csv_line, safe_cell

_OF_CASES = {
    **{name: name for name in ("label", "kind", "rule", "session", "root", "tag", "served")},
    "sent": "ran_on",
}
"""The option that asks for a dimension."""
_CSV = (
    *("kind", "label", "caller", "team", "outcome", "rule", "code"),
    *("decided", "sent", "served", "status"),
)
_MOST_DOLLARS = 10**9


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_log(parser)
    add_window(parser)
    for name, metavar, text in (
        ("--entry", "NAME", "the entry of the target"),
        ("--model", "NAME", "the model of the target"),
        ("--provider", "NAME", "the provider of the target"),
        ("--caller", "NAME", "the id or the team of the caller"),
        ("--code", "CODE", "the code of a refusal or a warning"),
        ("--policy", "NAME", "the name of the policy, or the beginning of its revision"),
        ("--label", "LABEL", "a label of the task"),
        ("--kind", "KIND", "the kind of the task"),
        ("--session", "ID", "the session"),
        ("--root", "ID", "the first decision of the tree"),
        ("--tag", "TAG", "a tag that the host gave"),
        ("--rule", "ID", "the precedence rule that decided"),
        ("--ran-on", "NAME", "the entry or the model that was called at last"),
        ("--served", "MODEL", "the model that the provider says it served"),
    ):
        parser.add_argument(name, metavar=metavar, help=text)
    text = "cost more than this, in US dollars"
    parser.add_argument("--cost-over", metavar="USD", type=_dollars, help=text)
    parser.add_argument("--outcome", choices=["selected", "refused"])
    parser.add_argument("--level", choices=["call", "task", "pool", "config", "parent"])
    parser.add_argument(
        "-n", "--limit", metavar="N", type=number, default=50, help="at most; default: 50"
    )
    parser.add_argument(
        "--order", choices=["newest", "oldest"], default="newest", help="default: newest first"
    )
    add_format(parser, "csv")


def _dollars(text: str) -> int:
    """Return an amount in nano-dollars."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(-1)
    if not (amount.is_finite() and 0 <= amount <= _MOST_DOLLARS):
        raise argparse.ArgumentTypeError("an amount in US dollars is wanted")
    return int(amount * BILLION)


def run(options: argparse.Namespace) -> None:
    """List decisions, the newest first or the oldest."""
    reader = LogReader(log_of(options))
    found = _wanted(reader, options)
    if options.format == "json":
        for line, _, _ in found:
            out_bytes(line.content)
        warn(reader)
        return
    if options.format == "csv":
        out("\n".join(_csv(found)))
        warn(reader)
        return
    rows = [row(line, record) for line, record, _ in found]
    if rows:
        short = beginnings([ident for _, ident, *_ in rows], SHORTEST)
        shown = [(time, short[ident], *more) for time, ident, *more in rows]
        out(fitted(HEADS, shown, whole=(0, 1, 5)))
    warn(reader)
    if not options.quiet:
        where = shlex.quote(str(reader.folder.path))
        out(f"next: policy-router log show {where} {rows[0][1]}" if rows else "no decisions found")


_Found = tuple[Line, DecisionRecord, Case]


def _wanted(reader: LogReader, options: argparse.Namespace) -> Iterator[_Found]:
    """Yield as many decisions as are wanted, in the order that is wanted."""
    finder = CaseFinder(reader)
    asked = {name: getattr(options, option) for name, option in _OF_CASES.items()}
    chosen = filter_of(options, asked).costing_over(options.cost_over)
    if options.order == "newest":
        return islice(_chosen(finder.newest_first(), chosen, reader, options), options.limit)
    looks_at_ends = options.format == "csv" or options.cost_over is not None
    if not looks_at_ends and {name for name, _ in chosen.wanted} <= OF_DECISIONS:
        return islice(_chosen(finder.oldest_first(), chosen, reader, options), options.limit)
    # What came of a decision stands behind it: only who comes from the end knows it.
    newest = _chosen(finder.newest_first(), chosen, reader, options)
    return reversed(deque(newest, maxlen=options.limit))


def _chosen(
    cases: Iterator[tuple[Line, Case]],
    chosen: Filter,
    reader: LogReader,
    options: argparse.Namespace,
) -> Iterator[_Found]:
    """Yield the decisions that the filters let through."""
    since, until = window_of(options)
    for line, case in cases:
        if until is not None and line.entry.time >= until:
            continue
        if since is not None and line.entry.time < since:
            continue  # a clock may go back, so that later lines can be older
        if not chosen.fits(case):
            continue
        try:
            record = line.entry.decision_record
        except RecordError:
            reader.unreadable += 1
            continue
        if _fits(record, options):
            yield line, record, case


def _fits(record: DecisionRecord, options: argparse.Namespace) -> bool:
    decision = record.decision
    target = None if isinstance(decision.target, UnsetType) else decision.target
    caller = caller_of(record)
    codes = {warning.code.value for warning in decision.warnings}
    if not isinstance(decision.refusal, UnsetType):
        codes.add(decision.refusal.code.value)
    having: dict[str, set[object]] = {
        "outcome": {decision.outcome},
        "level": {decision.level},
        "entry": {target.entry} if target else set(),
        "model": {target.model} if target else set(),
        "provider": {target.provider} if target else set(),
        "caller": {caller["id"], caller["team"]},
        "code": {*codes},
    }
    wanted = {name: getattr(options, name) for name in having}
    if any(value is not None and value not in having[name] for name, value in wanted.items()):
        return False
    policy = options.policy
    return policy is None or is_policy(record.policy.name, record.policy.revision, policy)


def _csv(found: Iterator[_Found]) -> Iterator[str]:
    """Yield a table for a spreadsheet: money in whole billionths of a US dollar."""
    yield csv_line(("time", "id", "parent", "purpose", *_CSV, *COSTS, "cost"))
    for line, _, case in found:
        cost_status, *money = case.cost()
        parent = "" if isinstance(line.entry.parent, UnsetType) else line.entry.parent
        words = (spelt(moment_of(case.time)), case.id, parent, case.line.purpose)
        values = (DIMENSIONS[name](case) for name in _CSV)
        cells = (safe_cell(it) for it in (*words, *values))
        yield csv_line((*cells, *map(str, money), cost_status.value))
