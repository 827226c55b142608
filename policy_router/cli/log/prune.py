"""The command ``log prune``: removes old segments that a checkpoint covers."""

from __future__ import annotations

import argparse

import msgspec

from policy_router.cli.log.arguments import add_key, add_log, key_of, log_of, time_of
from policy_router.cli.options import add_format
from policy_router.cli.terminal import counted, out, out_bytes
from policy_router.log.integrity.prune import prune
from policy_router.log.sign.keys import read_signer


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_log(parser)
    parser.add_argument(
        "--before", metavar="TIME", required=True, help="a day, a time (RFC 3339), or an age (90d)"
    )
    add_key(parser, "the private key of the log", is_needed=True)
    parser.add_argument("--dry-run", action="store_true", help="only list what would be removed")
    add_format(parser)


def run(options: argparse.Namespace) -> None:
    """Remove what may go, and say what is kept back."""
    log = log_of(options)
    before = time_of(options.before, options.now, "--before")
    signer = key_of(options.key, read_signer)
    done = prune(log, before, signer, dry_run=options.dry_run)
    if options.format == "json":
        out_bytes(msgspec.json.encode({"dry_run": options.dry_run, **msgspec.to_builtins(done)}))
        return
    verb = "would remove" if options.dry_run else "removed"
    lines, size = counted(done.lines, "line"), counted(done.bytes, "byte")
    out(f"{verb} {counted(len(done.segments), 'segment')}, {lines}, {size}")
    for name, reason in done.kept_back if not options.quiet else ():
        out(f"  kept  {name}: {reason}")
