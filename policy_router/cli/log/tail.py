"""The command ``log tail``: the last lines, and those that come."""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Iterable
from itertools import islice

import msgspec
from msgspec import UnsetType

from policy_router.cli.fitting import folded
from policy_router.cli.log.arguments import add_log, log_of
from policy_router.cli.log.rows import SHORTEST, beginnings, event_row, row, short_time, warn
from policy_router.cli.options import add_format, number
from policy_router.cli.terminal import flush, is_read, out, out_bytes
from policy_router.diagnostics.model import printable
from policy_router.errors import RecordError
from policy_router.log.entry import Execution, Kind
from policy_router.log.read.reading import Line, LogReader

_RECENT = 100
"""From how many ids before it the beginning of an id tells it."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_log(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="also show new lines")
    parser.add_argument("-n", "--lines", metavar="N", type=number, default=10, help="default: 10")
    add_format(parser)


def run(options: argparse.Namespace) -> None:
    """Show the last lines, and those that come."""
    reader = LogReader(log_of(options))
    following = reader.follow(goes_on=is_read) if options.follow else iter(())
    newest = reader.newest_first(acknowledged=options.follow)
    last = list(islice(newest, options.lines))[::-1]
    ids = deque((_id_of(line) for line in last), max(_RECENT, len(last)))
    for line in last:
        _print(line, ids, options)
    flush()
    warn(reader)
    shown = {(line.writer, line.content) for line in last}
    for line in following:
        if (line.writer, line.content) not in shown:
            ids.append(_id_of(line))
            _print(line, ids, options)
            flush()


def _id_of(line: Line) -> str:
    return "" if isinstance(line.entry.id, UnsetType) else printable(line.entry.id)


def _print(line: Line, ids: Iterable[str], options: argparse.Namespace) -> None:
    if options.format == "json":
        out_bytes(line.content)
        return
    short = beginnings(list(set(ids)), SHORTEST)[_id_of(line)]
    time, kind = short_time(line.entry.time), line.entry.kind
    out(folded(f"{time}  {kind:<9}  {short:<{SHORTEST}}  {_said(line)}".rstrip()))


def _said(line: Line) -> str:
    """Return what a line says, in a few words."""
    entry = line.entry
    if entry.kind is Kind.DECISION:
        try:
            shown = row(line, entry.decision_record)
        except RecordError as problem:
            return printable(str(problem))
        return "  ".join(part for part in (*shown[2:4], shown[5]) if part)
    if isinstance(entry.execution, Execution):
        return "  ".join(event_row(line)[1:])
    about = next((it for it in (entry.gap, entry.close, entry.prune) if it), None)
    plain = {} if about is None else msgspec.to_builtins(about)
    words = {key: " ".join(it) if isinstance(it, tuple) else it for key, it in plain.items()}
    return printable(", ".join(f"{key} {word}" for key, word in words.items()))
