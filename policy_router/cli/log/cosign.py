"""The command ``log cosign``: the signature of a witness under the newest checkpoint."""

from __future__ import annotations

import argparse

import msgspec

from policy_router.cli.log.arguments import (
    add_key,
    add_log,
    add_memory,
    key_of,
    log_of,
    memory_of,
    verifiers_of,
)
from policy_router.cli.options import add_format
from policy_router.cli.terminal import counted, out, out_bytes
from policy_router.diagnostics.model import printable
from policy_router.log.sign.keys import read_signer
from policy_router.log.sign.witness import cosign


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_log(parser)
    add_key(parser, "the private key of the witness (Ed25519)", is_needed=True)
    text = "the public key of the log; without it, only the growth of the log is checked"
    parser.add_argument("--log-key", metavar="FILE", action="append", help=text)
    add_memory(parser)
    add_format(parser)


def run(options: argparse.Namespace) -> None:
    """Sign the newest checkpoint, if the log only grew since the one before."""
    made = cosign(
        log_of(options),
        key_of(options.key, read_signer),
        memory=memory_of(options),
        verifiers=verifiers_of(options.log_key),
        first=options.first,
    )
    if options.format == "json":
        plain = {"path": str(made.path), "origin": made.checkpoint.origin}
        plain = {name: printable(text) for name, text in plain.items()}
        numbers = {"lines": made.checkpoint.size, "new_lines": made.new_lines}
        out_bytes(msgspec.json.encode(plain | numbers))
        return
    lines = counted(made.checkpoint.size, "line")
    out(f"cosigned {lines} of {printable(made.checkpoint.origin)}: {made.path}")
