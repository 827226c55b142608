"""The command ``log copy``: a copy that verifies, of a log that may be written meanwhile."""

from __future__ import annotations

import argparse
import shlex

from policy_router.cli.options import LOG
from policy_router.cli.terminal import counted, out
from policy_router.log.sign.publishing import copy_log


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("log", metavar="LOG", help=LOG)
    parser.add_argument("destination", metavar="DEST", help="a folder that is not there yet")


def run(options: argparse.Namespace) -> None:
    """Copy all that is acknowledged."""
    copied = copy_log(options.log, options.destination)
    out(f"copied {counted(copied, 'byte')} of lines to {options.destination}")
    if not options.quiet:
        out(f"next: policy-router log verify {shlex.quote(options.destination)}")
