"""The command ``log report``: spend, refusals, wishes, rules, models or callers, and one total."""

from __future__ import annotations

import argparse
import sys

from policy_router.cli.log.arguments import add_log, log_of
from policy_router.cli.log.choosing import add_window, filter_of, window_of
from policy_router.cli.log.report_page import as_markdown, as_text
from policy_router.cli.options import add_format, number
from policy_router.cli.terminal import Bar, out, out_bytes, paint_for
from policy_router.log.report.dimensions import DIMENSIONS
from policy_router.log.report.kinds import KINDS
from policy_router.log.report.log_report import log_report


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("kind", choices=tuple(KINDS), help="what is reported")
    add_log(parser)
    text = f"what rows are grouped by, with commas: {', '.join(DIMENSIONS)}"
    parser.add_argument("--by", metavar="NAMES", help=text)
    add_window(parser)
    text = "the name of the policy, or the beginning of its revision"
    parser.add_argument("--policy", metavar="NAME", help=text)
    parser.add_argument("--top", metavar="N", type=number, help="the first N rows, and the others")
    parser.add_argument(
        "--workers", metavar="N", type=number, help="processes; default: one per core"
    )
    add_format(parser, "csv", "markdown")


def run(options: argparse.Namespace) -> None:
    """Report on a log."""
    since, until = window_of(options)
    with Bar("read", is_quiet=options.quiet) as bar:
        found = log_report(
            log_of(options),
            options.kind,
            by=None if options.by is None else options.by.split(","),
            since=since,
            until=until,
            where=filter_of(options, {"policy": options.policy}),
            workers=options.workers,
            progress=bar,
        )
    if options.top is not None:
        found = found.top(options.top)
    if options.format == "json":
        out_bytes(found.to_json())
    elif options.format == "csv":
        out(found.to_csv())
    elif options.format == "markdown":
        out(as_markdown(found))
    else:
        out(as_text(found, paint_for(sys.stdout)))
