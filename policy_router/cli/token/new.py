"""The command ``token new``: a credential for an agent, a host, an auditor or an admin."""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
from typing import Any

from policy_router.cli.terminal import err, out
from policy_router.decision.request import spelt
from policy_router.errors import RequestError
from policy_router.files.clock import system_clock
from policy_router.server.credentials import TokenLine, new_token
from policy_router.server.settings import seconds_of


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument(
        "--tokens", metavar="FILE", default="tokens.jsonl", help="default: %(default)s"
    )
    parser.add_argument("--id", required=True, help="who has it: `caller.id` of its requests")
    parser.add_argument("--team", help="`caller.team` of its requests")
    parser.add_argument(
        "--caller-role", metavar="NAME", action="append", help="one of `caller.roles`; repeatable"
    )
    parser.add_argument(
        "--role",
        choices=["agent", "host", "auditor", "admin"],
        default="agent",
        help="what it may do; default: agent",
    )
    parser.add_argument(
        "--fact", metavar="NAME=VALUE", action="append", default=[], help="a fact; repeatable"
    )
    parser.add_argument("--expires", metavar="TIME", help="after this time: 12h, 90d")
    parser.add_argument("--rate", metavar="N/UNIT", help="requests in a time: 50/s, 600/m")
    parser.add_argument("--concurrency", metavar="N", type=int, help="requests at a time")
    parser.add_argument(
        "--deadline", metavar="TIME", help="how long a delegation may take; default: 10m"
    )
    parser.add_argument(
        "--max-tasks", metavar="N", type=int, help="delegated tasks at a time; default: 32"
    )


def run(options: argparse.Namespace) -> None:
    """Make a token."""
    expires = None
    if options.expires is not None:
        lifetime = datetime.timedelta(seconds=seconds_of(options.expires, "--expires"))
        expires = spelt((system_clock() + lifetime).replace(microsecond=0))
    caller: dict[str, Any] = {"id": options.id}
    caller |= {"team": options.team} if options.team else {}
    caller |= {"roles": options.caller_role} if options.caller_role else {}
    rest = {
        "facts": dict(map(_fact, options.fact)),
        "expires": expires,
        "rate": options.rate,
        "concurrency": options.concurrency,
        "deadline": options.deadline,
        "max_tasks": options.max_tasks,
    }

    def line(digest: str) -> TokenLine:
        return TokenLine(sha256=digest, role=options.role, caller=caller, **rest)

    out(new_token(line, options.tokens))
    if not options.quiet:
        file = shlex.quote(options.tokens)
        err(f"policy-router: the token is shown this once; its SHA-256 sum is in {file}")
        err(f"next: policy-router serve POLICY --tokens {file}")


def _fact(text: str) -> tuple[str, Any]:
    """Return a fact that is written as ``NAME=VALUE``; a value that is no JSON is a string."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise RequestError("--fact", "expected NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
