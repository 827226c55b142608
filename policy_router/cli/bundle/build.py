"""The command ``bundle build``: rule files to one signed file."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from policy_router.analysis.about import suites_about
from policy_router.analysis.running import first_failure
from policy_router.cli.decision_log import add_origin, check_origin
from policy_router.cli.exit_codes import GOOD, POLICY_ERRORS
from policy_router.cli.inputs import read_policy
from policy_router.cli.log.arguments import add_key, key_of
from policy_router.cli.options import add_strict
from policy_router.cli.terminal import counted, err, out
from policy_router.diagnostics.model import printable
from policy_router.errors import RequestError, reason_of
from policy_router.log.files import write_whole
from policy_router.log.sign.keys import SignatureError, read_signer
from policy_router.server.bundles import MAX_SERIAL, build


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("folder", metavar="DIR", help="a folder of rule files")
    add_strict(parser)
    add_key(parser, "the private key (Ed25519)", is_needed=True)
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the bundle")
    add_origin(parser, "the commit that the files come from, for the logs of services")
    parser.add_argument(
        "--serial",
        metavar="N",
        type=_serial,
        help="greater than that of each earlier bundle; default: seconds since 1970",
    )


def run(options: argparse.Namespace) -> int:
    """Make a bundle of a policy that has no errors, and whose tests pass."""
    check_origin(options)
    signer, folder = key_of(options.key, read_signer), Path(options.folder)
    if folder.exists() and not folder.is_dir():
        raise RequestError(options.folder, "expected a folder of rule files")
    policy = read_policy(options.folder, is_strict=options.strict)
    failure = first_failure(suites_about(folder, policy))
    if failure is not None:
        err(f"policy-router: {printable(failure)}")
        return POLICY_ERRORS
    serial = int(options.now.timestamp()) if options.serial is None else options.serial
    try:
        bundle = build(folder, signer, serial, options.origin_commit)
    except SignatureError as problem:
        raise RequestError(options.folder, str(problem)) from None
    try:
        write_whole(Path(options.output), bundle)
    except OSError as problem:
        raise RequestError(options.output, reason_of(problem)) from None
    if not options.quiet:
        files = counted(len(policy.sources), "file")
        out(f"wrote {options.output}: {files} of {policy.name}, serial {serial}")
        out(f"next: policy-router serve {shlex.quote(options.output)} --policy-key FILE --log DIR")
    return GOOD


def _serial(text: str) -> int:
    """Return the number of a bundle; it is the type of an option."""
    if not (text.isascii() and text.isdecimal()) or int(text[:20]) > MAX_SERIAL:
        raise argparse.ArgumentTypeError(f"expected a whole number up to {MAX_SERIAL}")
    return int(text)
