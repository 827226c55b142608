"""The command ``log keygen``: a key to sign checkpoints with."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path

from policy_router.cli.terminal import out
from policy_router.errors import RequestError, reason_of
from policy_router.log.files import write_whole
from policy_router.log.sign.keys import Signer, new_signer


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("file", metavar="FILE", help="the private key; FILE.pub is the public one")
    parser.add_argument(
        "--name", metavar="NAME", help="the name of the key; default: policy-router"
    )


def run(options: argparse.Namespace) -> None:
    """Make a key, in two new files."""
    signer = new_signer(options.name or "policy-router")
    private, public = Path(options.file), Path(f"{options.file}.pub")
    for path in (private, public):
        if path.exists():
            raise RequestError(str(path), "it is there already and is left as it is")
    try:
        _write_private(private, signer)
        write_whole(public, f"{signer.verifier().encoded()}\n".encode())
    except OSError as problem:
        raise RequestError(str(private), reason_of(problem)) from None
    if not options.quiet:
        out(f"wrote {private}, which nobody else may read, and {public} for auditors")
        out(f"next: policy-router log checkpoint LOG --key {shlex.quote(options.file)} --first")


def _write_private(path: Path, signer: Signer) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(number, "wb") as stream:
        stream.write(f"{signer.encoded()}\n".encode())
