"""The commands ``serve`` and ``token``: the decision service, and who may ask it."""

from __future__ import annotations

import argparse
import datetime
import json
import logging
import shlex
from typing import Any

from policy_router.cli import GOOD
from policy_router.cli.requests import read_value
from policy_router.cli.terminal import err, out
from policy_router.decision.request import spelt
from policy_router.domain import Policy
from policy_router.errors import RequestError
from policy_router.server.credentials import TokenLine, new_token
from policy_router.server.reloading import RuleFiles
from policy_router.server.settings import Settings, seconds_of, settings_of

_OPTIONS = ("listen", "workers", "log", "tokens", "drain")


def serve(files: RuleFiles, policy: Policy, settings: Settings, options: argparse.Namespace) -> int:
    """Serve until the process is told to end."""
    from policy_router.server import serve as serving

    serving.need_server()
    logging.basicConfig(level=logging.INFO, format="policy-router: %(message)s")

    def say(where: str) -> None:
        err(f"policy-router: {policy.name} ({policy.revision[:19]}) is served at {where}")
        if settings.log is None and not options.quiet:
            err("policy-router: decisions are not logged; --log DIR does that")
        if not settings.has_credentials and settings.socket_path is None and not options.quiet:
            err(
                "policy-router: whoever is on this machine may ask; for other roles, tokens:"
                " policy-router token new --id NAME --role admin"
            )

    serving.serve(files, policy, settings, say)
    return GOOD


def settings_from(options: argparse.Namespace) -> Settings:
    """Return the settings that the options name.

    Raises:
        RequestError: they have a mistake, or are not safe.
    """
    content = None if options.config is None else read_value(options.config)
    given = {name: getattr(options, name) for name in _OPTIONS}
    return settings_of(content, {**given, "strict": options.strict or None})


def token(options: argparse.Namespace) -> int:
    """Make a token."""
    expires = None
    if options.expires is not None:
        lifetime = datetime.timedelta(seconds=seconds_of(options.expires))
        expires = spelt((options.now + lifetime).replace(microsecond=0))
    caller: dict[str, Any] = {"id": options.id}
    caller |= {"team": options.team} if options.team else {}
    caller |= {"roles": options.caller_role} if options.caller_role else {}
    rest = {
        "facts": dict(map(_fact, options.fact)),
        "expires": expires,
        "rate": options.rate,
        "concurrency": options.concurrency,
    }

    def line(digest: str) -> TokenLine:
        return TokenLine(sha256=digest, role=options.role, caller=caller, **rest)

    out(new_token(line, options.tokens))
    if not options.quiet:
        file = shlex.quote(options.tokens)
        err(f"policy-router: it is shown this once; its SHA-256 sum is in {file}")
        err(f"next: policy-router serve POLICY --tokens {file}")
    return GOOD


def _fact(text: str) -> tuple[str, Any]:
    """Return a fact that is written as ``NAME=VALUE``; a value that is no JSON is a string."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise RequestError("--fact", "NAME=VALUE is wanted")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
