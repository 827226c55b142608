"""The command ``log stats``: what is in a log, counted."""

from __future__ import annotations

import argparse

from policy_router.cli.log.arguments import add_log, log_of
from policy_router.cli.log.rows import UNREADABLE
from policy_router.cli.options import add_format
from policy_router.cli.terminal import counted, out, out_bytes, table
from policy_router.decision.request import spelt
from policy_router.diagnostics.model import printable
from policy_router.log.entry import moment_of
from policy_router.log.read.reading import LogReader
from policy_router.log.read.stats import Stats, stats


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_log(parser)
    add_format(parser)


def run(options: argparse.Namespace) -> None:
    """Count what is in a log."""
    reader = LogReader(log_of(options))
    found = stats(reader.lines())
    found.unreadable += reader.unreadable
    if options.format == "json":
        out_bytes(found.to_json())
        return
    _print(found)


def _print(found: Stats) -> None:
    if found.first is None or found.last is None:
        out("the log has no lines")
        return
    first, last = (spelt(moment_of(time)) for time in (found.first, found.last))
    out(f"from {first} to {last}")
    for title, counts in (
        ("lines", found.kinds),
        ("writers", found.writers),
        ("decisions", found.outcomes),
        ("levels", found.levels),
        ("targets", found.targets),
        ("codes", found.codes),
        ("policies", found.policies),
        ("children", found.statuses),
    ):
        rows = [
            (f"{count:,}", printable(name))
            for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        ]
        if rows:
            out(f"\n{title}")
            out(table(("count", "name"), rows))
    if found.statuses:
        out(f"\n{found.input_tokens:,} tokens in, {found.output_tokens:,} out")
        unknown = counted(found.unknown_costs, "child", "children")
        out(f"${found.cost_usd:,.6f}" + (f"; unknown for {unknown}" if found.unknown_costs else ""))
    if found.unlogged:
        out(f"made without being logged: {counted(found.unlogged, 'decision')}")
    if found.unreadable:
        out(f"{counted(found.unreadable, 'line')} cannot be read: {UNREADABLE}")
