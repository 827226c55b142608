"""The command ``log prove``: that a decision is in a log, or that a log only grew."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from policy_router.cli.log.arguments import add_log_and_id, log_and_id, log_of
from policy_router.cli.terminal import out
from policy_router.errors import RequestError, reason_of
from policy_router.log.files import write_whole
from policy_router.log.sign import proving


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_log_and_id(parser)
    text = "without an ID: prove that the log only grew since this checkpoint"
    parser.add_argument("--since", metavar="FILE", help=text)
    parser.add_argument("--output", metavar="FILE", help="default: standard output")


def run(options: argparse.Namespace) -> None:
    """Make a proof."""
    if options.since is None:
        log, decision_id = log_and_id(options)
        text = proving.prove(log, decision_id).to_text()
    else:
        text = proving.prove_growth(log_of(options), Path(options.since)).to_text()
    if options.output is None:
        out(text.removesuffix("\n"))
        return
    path = Path(options.output)
    try:
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")  # a pipe, or a device
        else:
            write_whole(path, text.encode())
    except OSError as problem:
        raise RequestError(options.output, reason_of(problem)) from None
    if not options.quiet:
        since = "" if options.since is None else f" --since {shlex.quote(options.since)}"
        out(f"wrote {options.output}")
        out(f"next: policy-router log verify-proof {shlex.quote(options.output)} --key FILE{since}")
