"""The command ``log checkpoint``: a signature under all that is in a log."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from policy_router.cli.exit_codes import GOOD, NOT_WHOLE
from policy_router.cli.log.arguments import (
    add_key,
    add_log,
    add_memory,
    key_of,
    log_of,
    memory_of,
)
from policy_router.cli.options import add_format
from policy_router.cli.terminal import Bar, counted, err, out, out_bytes
from policy_router.diagnostics.model import printable
from policy_router.log.sign.keys import read_signer
from policy_router.log.sign.signing import NewCheckpoint, make_checkpoint


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_log(parser)
    add_key(parser, "the private key (Ed25519)", is_needed=True)
    add_memory(parser)
    text = "the last checkpoint that you kept, where the key does not remember the log"
    parser.add_argument("--since", metavar="FILE", help=text)
    text = "the name of the log in its first checkpoint; default: the name of the key"
    parser.add_argument("--origin", metavar="NAME", help=text)
    add_format(parser)


def run(options: argparse.Namespace) -> int:
    """Sign what is not signed yet."""
    log = log_of(options)
    signer = key_of(options.key, read_signer)
    with Bar("writers", is_quiet=options.quiet) as bar:
        made = make_checkpoint(
            log,
            signer,
            memory=memory_of(options),
            since=None if options.since is None else Path(options.since),
            first=options.first,
            origin=options.origin,
            progress=bar,
        )
    _print(made, options)
    for writer, reason in made.left_out:
        err(f"policy-router: {printable(writer)} is not signed to its end: {reason}")
    return NOT_WHOLE if made.left_out else GOOD


def _print(made: NewCheckpoint, options: argparse.Namespace) -> None:
    if options.format == "json":
        out_bytes(
            msgspec.json.encode(
                {
                    "path": printable(str(made.path)),
                    "origin": made.checkpoint.origin,
                    "lines": made.checkpoint.size,
                    "new_lines": made.new_lines,
                    "left_out": dict(made.left_out),
                }
            )
        )
        return
    lines = counted(made.checkpoint.size, "line")
    out(f"signed {lines}, {made.new_lines:,} of them new: {made.path}")
    if not options.quiet:
        out("next: keep a copy of it where nobody who writes the log can change it")
