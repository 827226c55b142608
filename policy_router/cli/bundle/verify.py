"""The command ``bundle verify``: whether a bundle is whole and signed."""

from __future__ import annotations

import argparse

from policy_router.cli.exit_codes import GOOD, NOT_WHOLE
from policy_router.cli.inputs import read_bytes
from policy_router.cli.log.arguments import add_key, key_of
from policy_router.cli.terminal import err, out
from policy_router.diagnostics.model import printable
from policy_router.log.sign.keys import SignatureError, read_verifier
from policy_router.server.bundles import read


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("bundle", metavar="FILE", help="the bundle")
    add_key(parser, "the public or private key that must have signed it", is_needed=True)


def run(options: argparse.Namespace) -> int:
    """Verify a bundle, and list what is in it."""
    verifier, content = key_of(options.key, read_verifier), read_bytes(options.bundle)
    try:
        bundle = read(content, verifier)
    except SignatureError as problem:
        err(f"policy-router: {printable(f'{options.bundle}: {problem}')}")
        return NOT_WHOLE
    origin = "" if bundle.commit is None else f", from commit {bundle.commit}"
    signed = f"signed with {verifier.title}"
    out(f"{printable(bundle.name)}, serial {bundle.serial}{origin}, {signed}")
    for name, held in bundle.files:
        out(f"{len(held):>12,}  {printable(name)}")
    return GOOD
