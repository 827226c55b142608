"""The command ``log check``: whether what ran is what was decided."""

from __future__ import annotations

import argparse
import shlex
import sys

from policy_router.cli.exit_codes import GOOD, NOT_WHOLE
from policy_router.cli.log.arguments import add_log, log_of, seconds_of
from policy_router.cli.log.choosing import add_times, window_of
from policy_router.cli.options import add_format, number
from policy_router.cli.terminal import Bar, counted, out, out_bytes, paint_for
from policy_router.diagnostics.model import printable
from policy_router.log.check.checking import GRACE_SECONDS, check_log
from policy_router.log.check.findings import WORDS, CheckReport, Finding

_SHOWN = 2


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_log(parser)
    add_times(parser)
    text = "how long a child may take before it counts as never ended; default: 1h"
    parser.add_argument("--grace", metavar="AGE", help=text)
    text = "processes; default: one per core"
    parser.add_argument("--workers", metavar="N", type=number, help=text)
    add_format(parser)


def run(options: argparse.Namespace) -> int:
    """Check what the lines of a log mean, and say what is wrong."""
    log = log_of(options)
    grace = GRACE_SECONDS if options.grace is None else seconds_of(options.grace, "--grace")
    since, until = window_of(options)
    with Bar("checked", is_quiet=options.quiet) as bar:
        report = check_log(
            log,
            since=since,
            until=until,
            grace=grace,
            workers=options.workers,
            progress=bar,
            clock=lambda: options.now,
        )
    if options.format == "json":
        out_bytes(report.to_json())
    else:
        _print(report, log, is_quiet=options.quiet)
    return GOOD if report.is_clean else NOT_WHOLE


def _print(report: CheckReport, log: str, *, is_quiet: bool) -> None:
    paint = paint_for(sys.stdout) or (lambda text, _role: text)
    events = counted(report.executions, "event")
    out(f"checked  {counted(report.decisions, 'decision')}, {events} of their children")
    if report.silent and report.decisions:
        out("note: no event of any child is in the log, so what ran is not known")
    if report.pruned:
        out(f"note: {counted(report.pruned, 'decision')} cannot be checked, since it was pruned")
    if report.is_clean:
        out(paint("all that ran is as decided, as far as the log tells", "good"))
        return
    last = None
    for found in report.findings:
        if found.kind is not last:
            out(f"\n{paint(found.kind.value, 'error')}: {WORDS[found.kind]}")
        last = found.kind
        _print_finding(found)
    first = next((it.ids[0] for it in report.findings if it.ids), None)
    if first is not None and not is_quiet:
        out(f"\nnext: policy-router log show {shlex.quote(log)} {printable(first)}")


def _print_finding(found: Finding) -> None:
    out(f"{found.count:>7,}  {printable(found.detail)}")
    for id_ in found.ids[:_SHOWN]:
        out(f"         {printable(id_)}")
