"""The command ``log checkpoint``: a signature under all that is in a log."""

from __future__ import annotations

import argparse

import msgspec

from policy_router.cli.log.arguments import add_key, add_log, key_of, log_of
from policy_router.cli.options import add_format
from policy_router.cli.terminal import Bar, counted, err, out, out_bytes
from policy_router.diagnostics.model import printable
from policy_router.log.sign.keys import read_signer
from policy_router.log.sign.signing import make_checkpoint


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_log(parser)
    add_key(parser, "the private key (Ed25519)", is_needed=True)
    parser.add_argument(
        "--origin",
        metavar="NAME",
        help="the name of the log; default: as in the last checkpoint, else the name of the key",
    )
    add_format(parser)


def run(options: argparse.Namespace) -> None:
    """Sign what is not signed yet."""
    log = log_of(options)
    signer = key_of(options.key, read_signer)
    with Bar("read", is_quiet=options.quiet) as bar:
        made = make_checkpoint(log, signer, origin=options.origin, progress=bar)
    if made is None:
        err("policy-router: the last checkpoint covers every line already")
        if options.format == "json":
            out_bytes(b'{"path":null,"new_lines":0}')
    elif options.format == "json":
        out_bytes(
            msgspec.json.encode(
                {
                    "path": printable(str(made.path)),
                    "origin": made.checkpoint.origin,
                    "lines": made.checkpoint.size,
                    "new_lines": made.new_lines,
                }
            )
        )
    else:
        lines = counted(made.checkpoint.size, "line")
        out(f"signed {lines}, {made.new_lines:,} of them new: {made.path}")
        if not options.quiet:
            out("next: keep a copy of it where nobody who writes the log can change it")
