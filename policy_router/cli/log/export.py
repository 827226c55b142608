"""The command ``log export``: a log as tables, for SQL."""

from __future__ import annotations

import argparse
import shlex

import msgspec

from policy_router.cli.log.arguments import add_log, log_of
from policy_router.cli.options import add_format
from policy_router.cli.terminal import Bar, counted, out, out_bytes
from policy_router.diagnostics.model import printable
from policy_router.errors import RequestError
from policy_router.log.export.exporting import FORMATS, Exported, export_log

_NEXT = {
    "duckdb": "duckdb {} -c 'FROM spend'",
    "parquet": "cd {} && duckdb -init views.sql -c 'FROM spend'",
    "csv": "cd {} && duckdb -init views.sql -c 'FROM spend'",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_log(parser)
    parser.add_argument(
        "destination", metavar="DEST", nargs="?", help="a new folder; of duckdb, a new file"
    )
    text = "default: parquet; parquet and duckdb need the extra export"
    parser.add_argument("--to", choices=FORMATS, default="parquet", help=text)
    add_format(parser)


def run(options: argparse.Namespace) -> None:
    """Export a log."""
    if options.log is not None and options.destination is None:
        options.words, options.destination = None, options.words
    log = log_of(options)
    if options.destination is None:
        raise RequestError("DEST", "expected a new folder or file")
    with Bar("exported", is_quiet=options.quiet) as bar:
        exported = export_log(log, options.destination, options.to, progress=bar)
    if options.format == "json":
        out_bytes(msgspec.json.encode(exported))
    elif not options.quiet:
        _print(exported, options)


def _print(exported: Exported, options: argparse.Namespace) -> None:
    out(f"exported  {counted(exported.lines, 'line')} to {printable(options.destination)}")
    for name, rows in exported.rows.items():
        out(f"  {name:<10}{rows:>12,}")
    out(f"next: {_NEXT[options.to].format(shlex.quote(options.destination))}")
