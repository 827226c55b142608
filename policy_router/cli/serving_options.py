"""The options of the commands ``serve``, ``mcp`` and ``token``."""

from __future__ import annotations

import argparse

from policy_router.cli.log_options import NewCommand, add_strict


def add_serve(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``serve``."""
    parser.add_argument("policy", metavar="POLICY", help="a rule file, or a folder of them")
    add_strict(parser)
    parser.add_argument("--config", metavar="FILE", help="serve.yaml; options go before it")
    parser.add_argument(
        "--listen", metavar="ADDRESS", help="HOST:PORT or unix:PATH; default: 127.0.0.1:8080"
    )
    parser.add_argument("--log", metavar="DIR", help="write a decision log to this folder")
    parser.add_argument(
        "--tokens", metavar="FILE", help="the tokens; without it: only this machine"
    )
    parser.add_argument(
        "--workers", metavar="N", type=int, help="processes that decide; default: 1"
    )
    parser.add_argument(
        "--drain", metavar="TIME", help="how long requests may take at the end; default: 30s"
    )


def add_mcp(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``mcp``."""
    parser.add_argument("policy", metavar="POLICY", help="a rule file, or a folder of them")
    add_strict(parser)
    parser.add_argument(
        "--facts", metavar="FILE", help="caller, parent, budget and facts of every request"
    )
    parser.add_argument("--log", metavar="DIR", help="write a decision log to this folder")


def add_token(command: NewCommand) -> None:
    """Add the commands under ``token``."""
    new = command("new", "make a token, and print it once")
    new.add_argument(
        "--tokens", metavar="FILE", default="tokens.jsonl", help="default: %(default)s"
    )
    new.add_argument("--id", required=True, help="who has it: `caller.id` of its requests")
    new.add_argument("--team", help="`caller.team` of its requests")
    new.add_argument(
        "--caller-role", metavar="NAME", action="append", help="one of `caller.roles`; repeatable"
    )
    new.add_argument(
        "--role",
        choices=["agent", "host", "auditor", "admin"],
        default="agent",
        help="what it may do; default: agent",
    )
    new.add_argument(
        "--fact", metavar="NAME=VALUE", action="append", default=[], help="a fact; repeatable"
    )
    new.add_argument("--expires", metavar="TIME", help="after this time: 12h, 90d")
    new.add_argument("--rate", metavar="N/UNIT", help="requests in a time: 50/s, 600/m")
    new.add_argument("--concurrency", metavar="N", type=int, help="requests at a time")
