"""The command ``log show``: one decision, why it was made, and what came of it."""

from __future__ import annotations

import argparse
import sys

import msgspec
from msgspec import UnsetType

from policy_router.cli.log.arguments import add_log_and_id, log_and_id
from policy_router.cli.log.rows import HEADS, event_row, row, warn
from policy_router.cli.options import add_format
from policy_router.cli.terminal import out, out_bytes, paint_for, table
from policy_router.decision.explain.explanation import explain
from policy_router.decision.request import spelt
from policy_router.diagnostics.model import printable
from policy_router.errors import RecordError
from policy_router.log.entry import Execution, Kind, moment_of
from policy_router.log.policies import PolicyStore
from policy_router.log.read.reading import Line, LogReader


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_log_and_id(parser)
    add_format(parser)


def run(options: argparse.Namespace) -> None:
    """Show one decision, why it was made, and what came of it."""
    log, decision_id = log_and_id(options)
    reader = LogReader(log)
    lines = reader.about(decision_id)
    children = reader.children(str(lines[0].entry.id))
    if options.format == "json":
        content = {
            "lines": [msgspec.Raw(line.content) for line in lines],
            "children": [msgspec.Raw(line.content) for line in children],
        }
        out_bytes(msgspec.json.encode(content))
        warn(reader)
        return
    made = [line for line in lines if line.entry.kind is Kind.DECISION]
    for line in made:
        _print_decision(reader, line, options)
    if not made:
        out(f"decision {printable(str(lines[0].entry.id))} is not here: it may have been pruned")
    events = [line for line in lines if isinstance(line.entry.execution, Execution)]
    if events:
        out("\nexecution")
        out(table(("time", "event", "what"), [event_row(line) for line in events]))
    if children:
        out("\ndecisions of its child")
        out(table(HEADS, map(_child_row, children)))
    warn(reader)


def _child_row(line: Line) -> tuple[str, ...]:
    try:
        return row(line, line.entry.decision_record)
    except RecordError:
        time = spelt(moment_of(line.entry.time).replace(microsecond=0))
        return time, printable(str(line.entry.id)), "?", "-", "-", "-", "it cannot be read"


def _print_decision(reader: LogReader, line: Line, options: argparse.Namespace) -> None:
    """Print a decision and why it was made; the record alone where nothing can explain it."""
    entry = line.entry
    when = spelt(moment_of(entry.time))
    out(f"decision {printable(str(entry.id))}   {when}   {line.place}")
    if not isinstance(entry.parent, UnsetType):
        out(f"parent   {printable(entry.parent)}")
    if not isinstance(entry.trace, UnsetType):
        out(f"trace    {printable(entry.trace)}")
    out("")
    try:
        record = entry.decision_record
        policy = PolicyStore(reader.folder).load_as_written(record.policy.revision)
        page = explain(policy, record)
    except RecordError as problem:
        out(f"it cannot be explained: {printable(str(problem))}")
        if not isinstance(entry.record, UnsetType):
            out_bytes(bytes(entry.record))
        return
    out(page.to_text(paint_for(sys.stdout), full=options.verbose > 0))
