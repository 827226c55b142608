"""The command ``log publish``: the tree of a log, for everybody."""

from __future__ import annotations

import argparse

from policy_router.cli.options import LOG
from policy_router.cli.terminal import counted, out
from policy_router.diagnostics.model import printable
from policy_router.log.sign.publishing import publish


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("log", metavar="LOG", help=LOG)
    parser.add_argument("destination", metavar="DEST", help="a folder; it may have earlier copies")


def run(options: argparse.Namespace) -> None:
    """Copy tiles, entries and checkpoints."""
    checkpoint = publish(options.log, options.destination)
    lines = counted(checkpoint.size, "entry", "entries")
    out(f"published {lines} of {printable(checkpoint.origin)} in {options.destination}")
