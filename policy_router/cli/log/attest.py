"""The command ``log attest``: a signed statement that lines are damaged."""

from __future__ import annotations

import argparse
import re

from policy_router.cli.exit_codes import GOOD, NOT_WHOLE
from policy_router.cli.log.arguments import add_key, add_log, key_of, log_of
from policy_router.cli.options import add_format
from policy_router.cli.terminal import counted, err, out, out_bytes
from policy_router.log.integrity.attest import attest
from policy_router.log.sign.keys import read_signer
from policy_router.log.sign.statements import Accepted

_RANGE = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]{0,63}):([1-9]\d{0,17})(?:-([1-9]\d{0,17}))?")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_log(parser)
    add_key(parser, "the private key of the log", is_needed=True)
    text = "lines that are missing or changed: writer, first and last; may be given several times"
    parser.add_argument(
        "--accept", metavar="W1:1-9", action="append", required=True, type=_range, help=text
    )
    add_format(parser)


def _range(text: str) -> Accepted:
    found = _RANGE.fullmatch(text)
    first = int(found[2]) if found else 0
    last = int(found[3] or first) if found else -1
    if found is None or last < first:
        raise argparse.ArgumentTypeError("lines are written as w1:4711-4720")
    return Accepted(found[1], first, last)


def run(options: argparse.Namespace) -> int:
    """State what is damaged, and say what else is wrong."""
    report = attest(log_of(options), options.accept, key_of(options.key, read_signer))
    if options.format == "json":
        out_bytes(report.to_json())
    else:
        ranges = counted(len(options.accept), "range")
        out(f"stated that {ranges} of lines are damaged; log verify reports it from now on")
    if not report.is_whole:
        err("policy-router: something else is wrong: see log verify")
    return GOOD if report.is_whole else NOT_WHOLE
