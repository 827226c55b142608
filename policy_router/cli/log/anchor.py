"""The command ``log anchor``: what is to be put where nobody can change it."""

from __future__ import annotations

import argparse
import hashlib

import msgspec

from policy_router.cli.log.arguments import add_log, log_of
from policy_router.cli.options import add_format
from policy_router.cli.terminal import err, out, out_bytes
from policy_router.diagnostics.model import printable
from policy_router.log.sign.keys import to_base64
from policy_router.log.sign.publishing import newest_checkpoint


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_log(parser)
    add_format(parser)


def run(options: argparse.Namespace) -> None:
    """Print the newest checkpoint as it is."""
    found = newest_checkpoint(log_of(options))
    digest = hashlib.sha256(found.note.encode(errors="surrogateescape")).hexdigest()
    if options.format == "json":
        plain = {
            "origin": printable(found.checkpoint.origin),
            "lines": found.checkpoint.size,
            "root": to_base64(found.checkpoint.root),
            "sha256": digest,
            "checkpoint": "\n".join(map(printable, found.note.split("\n"))),
        }
        out_bytes(msgspec.json.encode(plain))
        return
    out(found.note.removesuffix("\n"))
    if not options.quiet:
        err(f"SHA-256 {digest}")
        err("next: put this text, or its hash, where nobody can change it: a repository of")
        err("      others, a mailbox, a timestamping service; later: log verify --checkpoint")
