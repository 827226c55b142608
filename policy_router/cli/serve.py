"""The command ``serve``: the decision service."""

from __future__ import annotations

import argparse
import logging

from policy_router.cli.inputs import existing, read_policy, read_value
from policy_router.cli.options import add_policy
from policy_router.cli.terminal import err
from policy_router.server.reloading import RuleFiles
from policy_router.server.settings import Settings, settings_of

_OPTIONS = ("listen", "workers", "log", "tokens", "drain")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_policy(parser)
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


def run(options: argparse.Namespace) -> None:
    """Serve until the process is told to end."""
    from policy_router.server import serve as serving

    settings = _settings(options)
    files = RuleFiles.now(existing(options.policy))
    policy = read_policy(options.policy, is_strict=settings.strict)
    serving.need_server()
    logging.basicConfig(level=logging.INFO, format="policy-router: %(message)s")

    def say(where: str) -> None:
        err(f"policy-router: {policy.name} ({policy.revision[:19]}) is served at {where}")
        if settings.log is None and not options.quiet:
            err("policy-router: decisions are not logged; --log DIR does that")
        if not settings.has_credentials and settings.socket_path is None and not options.quiet:
            err(
                "policy-router: everybody on this machine may ask; for other roles, make tokens:"
                " policy-router token new --id NAME --role admin"
            )

    serving.serve(files, policy, settings, say)


def _settings(options: argparse.Namespace) -> Settings:
    """Return the settings that the options name.

    Raises:
        RequestError: they have a mistake, or are not safe.
    """
    content = None if options.config is None else read_value(options.config)
    given = {name: getattr(options, name) for name in _OPTIONS}
    return settings_of(content, {**given, "strict": options.strict or None})
