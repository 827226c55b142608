"""The command ``tool``: the definition of the tool, for an agent's model."""

from __future__ import annotations

import argparse

import msgspec

from policy_router.cli.inputs import read_facts, read_policy
from policy_router.cli.options import add_policy
from policy_router.cli.terminal import out_bytes
from policy_router.delegation.tool import FORMATS, tool


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_policy(parser)
    parser.add_argument("request", metavar="REQUEST", nargs="?", help="for this caller and parent")
    parser.add_argument(
        "--format",
        metavar="NAME",
        choices=FORMATS,
        default="openai",
        help=f"the API that takes it: {', '.join(FORMATS)}; default: openai",
    )
    parser.add_argument(
        "--strict-arguments",
        action="store_true",
        help="let the model give every argument; null asks for nothing",
    )


def run(options: argparse.Namespace) -> None:
    """Print the definition, on one line of JSON."""
    policy = read_policy(options.policy, is_strict=options.strict)
    facts = read_facts(options.request)
    made = tool(policy, facts, format=options.format, strict=options.strict_arguments)
    out_bytes(msgspec.json.encode(made))
