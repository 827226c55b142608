"""The command ``log rotate-key``: a log is handed over from a key to another one."""

from __future__ import annotations

import argparse

from policy_router.cli.log.arguments import key_of
from policy_router.cli.options import LOG
from policy_router.cli.terminal import out
from policy_router.diagnostics.model import printable
from policy_router.errors import RequestError
from policy_router.log.sign.keys import read_signer
from policy_router.log.sign.signing import rotate_key


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    text = "the log, the private key so far, and the one from now on"
    parser.add_argument("words", metavar="LOG OLD NEW", nargs="+", help=text)
    parser.add_argument("--log", metavar="DIR", help=LOG)
    text = "where the {} key remembers what it signed; default: its file, and .state"
    parser.add_argument("--old-state", metavar="FILE", help=text.format("old"))
    parser.add_argument("--new-state", metavar="FILE", help=text.format("new"))


def run(options: argparse.Namespace) -> None:
    """Let both keys sign the hand-over."""
    words = [*([options.log] if options.log is not None else []), *options.words]
    if len(words) != 3:  # noqa: PLR2004
        raise RequestError("LOG OLD NEW", "expected a log folder and two private keys")
    log, old, new = words
    made = rotate_key(
        log,
        key_of(old, read_signer),
        key_of(new, read_signer),
        old_memory=options.old_state or f"{old}.state",
        new_memory=options.new_state or f"{new}.state",
    )
    out(f"handed over {printable(made.origin)}: {made.name}")
    if not options.quiet:
        out("next: sign with the new key, and give auditors its public key")
