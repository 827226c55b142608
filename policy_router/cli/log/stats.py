"""The command ``log stats``: what is in a log, counted."""

from __future__ import annotations

import argparse

from policy_router.cli.log.arguments import add_log, log_of
from policy_router.cli.log.report_page import sum_lines
from policy_router.cli.log.rows import UNREADABLE
from policy_router.cli.options import add_format
from policy_router.cli.terminal import counted, out, out_bytes, table
from policy_router.decision.request import spelt
from policy_router.diagnostics.model import printable
from policy_router.log.entry import moment_of
from policy_router.log.read.reading import LogReader
from policy_router.log.read.stats import Stats, stats
from policy_router.log.report.log_report import log_report


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_log(parser)
    add_format(parser)


def run(options: argparse.Namespace) -> None:
    """Count what is in a log."""
    log = log_of(options)
    reader = LogReader(log)
    found = stats(reader.lines())
    found.unreadable += reader.unreadable
    total = log_report(log, "spend", by=()).total
    if options.format == "json":
        out_bytes(found.to_json(total))
        return
    _print(found, total)


def _print(found: Stats, total: dict[str, int]) -> None:
    if found.access:
        words = counted(found.access, "decision")
        out(f"left out: {words} that only answer whether something is allowed")
    if found.first is None or found.last is None:
        if not found.access:
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
    if total["decisions"]:
        out("\n".join(["", *sum_lines(total)]))
    if found.unlogged:
        out(f"made without being logged: {counted(found.unlogged, 'decision')}")
    if found.unreadable:
        out(f"{counted(found.unreadable, 'line')} cannot be read: {UNREADABLE}")
