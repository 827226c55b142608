"""The options of the commands about the decision log."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal

NewCommand = Callable[[str, str], argparse.ArgumentParser]
"""Adds a command of a name and a text."""

_LOG = "the folder of a decision log"
_MOST = 10**12
_DIGITS = 10
"""More are too many for any number here, and for Python some thousand are."""


def add_logging(parser: argparse.ArgumentParser) -> None:
    """Add the options of a command that writes a log."""
    parser.add_argument("--log", metavar="DIR", help="write a decision log to this folder")
    parser.add_argument(
        "--on-log-failure",
        choices=["deny", "allow_unlogged"],
        default="deny",
        help="if a decision cannot be logged: deny it, or allow it; default: deny",
    )
    parser.add_argument(
        "--parent-id", metavar="ID", help="the decision under which the delegating agent runs"
    )


def add_strict(parser: argparse.ArgumentParser) -> None:
    """Add the option that refuses a policy with warnings."""
    parser.add_argument("--strict", action="store_true", help="count warnings as errors")


def add_replay(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``replay``."""
    parser.add_argument("log", metavar="LOG", help=_LOG)
    parser.add_argument(
        "--against", metavar="POLICY", help="compare with the decisions of this policy"
    )
    add_strict(parser)
    parser.add_argument(
        "--fail-over",
        metavar="N",
        type=_limit,
        help="with --against: exit with 4 if more than N decisions (or N%%) differ",
    )
    parser.add_argument(
        "--workers", metavar="N", type=_number, help="processes; default: one per core"
    )
    parser.add_argument(
        "--format",
        choices=["human", "json", "markdown"],
        default="human",
        help="markdown, for a pull request, needs --against; default: human",
    )


def add_log_commands(command: NewCommand) -> None:
    """Add the commands under ``log``."""
    verify = _of_log(command("verify", "check whether a log is whole"))
    _add_key(verify, "the public or private key that must have signed every checkpoint")
    verify.add_argument(
        "--checkpoint", metavar="FILE", help="a checkpoint kept elsewhere, which the log must match"
    )
    _add_format(verify)

    checkpoint = _of_log(command("checkpoint", "sign all lines of a log"))
    _add_key(checkpoint, "the private key (Ed25519)", required=True)
    checkpoint.add_argument(
        "--origin",
        metavar="NAME",
        help="the name of the log; default: as in the last checkpoint, else the name of the key",
    )
    _add_format(checkpoint)

    keygen = command("keygen", "make a key for signing checkpoints")
    keygen.add_argument("file", metavar="FILE", help="the private key; FILE.pub is the public one")
    keygen.add_argument(
        "--name", metavar="NAME", help="the name of the key; default: policy-router"
    )

    prove = _of_one(command("prove", "prove that a decision is in a log, or that it only grew"))
    _add_since(prove, "without an ID: prove that the log only grew since this checkpoint")
    prove.add_argument("--output", metavar="FILE", help="default: standard output")

    proof = command("verify-proof", "verify a proof")
    proof.add_argument("proof", metavar="PROOF", help="a file, or - for standard input")
    _add_key(proof, "the public key", required=True)
    _add_since(proof, "the older checkpoint, for a proof that the log only grew")
    _add_format(proof)

    listing = _of_log(command("ls", "list decisions, the newest first"))
    _add_filters(listing)
    _add_format(listing)

    show = _of_one(command("show", "show one decision, its reasons and its execution"))
    _add_format(show)

    tail = _of_log(command("tail", "show the last lines"))
    tail.add_argument("-f", "--follow", action="store_true", help="also show new lines")
    tail.add_argument("-n", "--lines", metavar="N", type=_number, default=10, help="default: 10")
    _add_format(tail)

    stats = _of_log(command("stats", "count decisions, tokens and costs"))
    _add_format(stats)

    prune = _of_log(command("prune", "remove old segments that a checkpoint covers"))
    prune.add_argument(
        "--before", metavar="TIME", required=True, help="a day, a time (RFC 3339), or an age (90d)"
    )
    _add_key(prune, "the key with which checkpoints must be signed")
    prune.add_argument("--dry-run", action="store_true", help="only list what would be removed")
    _add_format(prune)


def _add_filters(parser: argparse.ArgumentParser) -> None:
    for name, metavar, text in (
        ("--since", "TIME", "from this time on: a day, RFC 3339, or an age (2h, 7d)"),
        ("--until", "TIME", "before this time"),
        ("--entry", "NAME", "the entry of the target"),
        ("--model", "NAME", "the model of the target"),
        ("--provider", "NAME", "the provider of the target"),
        ("--caller", "NAME", "the id or the team of the caller"),
        ("--code", "CODE", "the code of a refusal or a warning"),
        ("--policy", "NAME", "the name of the policy, or the beginning of its revision"),
    ):
        parser.add_argument(name, metavar=metavar, help=text)
    parser.add_argument("--outcome", choices=["selected", "refused"])
    parser.add_argument("--level", choices=["call", "task", "pool", "config", "parent"])
    parser.add_argument(
        "-n", "--limit", metavar="N", type=_number, default=50, help="at most; default: 50"
    )


def _of_log(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("words", metavar="LOG", nargs="?", help=_LOG)
    parser.add_argument("--log", metavar="DIR", help="the same")
    return parser


def _of_one(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("words", metavar="LOG ID", nargs="*", help="a log, and a decision's id")
    parser.add_argument("--log", metavar="DIR", help="the log")
    return parser


def _add_key(parser: argparse.ArgumentParser, text: str, *, required: bool = False) -> None:
    parser.add_argument("--key", metavar="FILE", required=required, help=text)


def _add_since(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--since", metavar="FILE", help=text)


def _add_format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format", choices=["human", "json"], default="human", help="default: human"
    )


def _number(text: str) -> int:
    is_number = text.isdecimal() and len(text) <= _DIGITS
    if not is_number or not 1 <= int(text) <= 1_000_000_000:  # noqa: PLR2004
        raise argparse.ArgumentTypeError("a whole number from 1 on is wanted")
    return int(text)


def _limit(text: str) -> tuple[Decimal, bool]:
    """Return a number of decisions, and whether it is a part of a hundred."""
    from decimal import Decimal, InvalidOperation

    number = text.removesuffix("%")
    try:
        value = Decimal(number)
    except InvalidOperation:
        value = Decimal(-1)
    is_part = number != text
    is_limit = value.is_finite() and 0 <= value <= _MOST
    if not is_limit or (not is_part and value % 1):
        raise argparse.ArgumentTypeError("a number of decisions is wanted, or a percentage")
    return value, is_part
