"""The command ``serve``: the decision service."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from zipfile import is_zipfile

from msgspec.structs import replace

from policy_router.cli.decision_log import add_origin, whose
from policy_router.cli.inputs import UsageError, existing, read_policy, read_value
from policy_router.cli.log.arguments import key_of
from policy_router.cli.options import POLICY, add_strict
from policy_router.cli.terminal import err
from policy_router.diagnostics.model import printable
from policy_router.domain import Policy
from policy_router.log.sign.keys import read_verifier
from policy_router.server.bundles import Bundles
from policy_router.server.fetching import is_address
from policy_router.server.reloading import RuleFiles
from policy_router.server.settings import Settings, seconds_of, settings_of, state_of

_OPTIONS = (
    *("listen", "workers", "log", "origin_commit", "tokens", "drain"),
    *("policy_key", "policy_state"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    place = f"{POLICY}; with --policy-key: a bundle, or its address"
    parser.add_argument("policy", metavar="POLICY", help=place)
    add_strict(parser)
    parser.add_argument("--config", metavar="FILE", help="serve.yaml; options go before it")
    parser.add_argument(
        "--listen", metavar="ADDRESS", help="HOST:PORT or unix:PATH; default: 127.0.0.1:8080"
    )
    parser.add_argument("--log", metavar="DIR", help="write a decision log to this folder")
    add_origin(parser)
    parser.add_argument(
        "--tokens", metavar="FILE", help="the tokens; without it: only this machine"
    )
    parser.add_argument(
        "--workers", metavar="N", type=int, help="processes that decide; default: 1"
    )
    parser.add_argument(
        "--run",
        dest="runs",  # `run` is the command's own function
        action="store_true",
        help="call models too: the gateway; needs --tokens or unix:",
    )
    parser.add_argument(
        "--no-pages",
        dest="has_no_pages",
        action="store_true",
        help="leave out the pages for a browser",
    )
    parser.add_argument(
        "--drain", metavar="TIME", help="how long requests may take at the end; default: 30s"
    )
    parser.add_argument(
        "--policy-key", metavar="FILE", help="the public key that must have signed the bundle"
    )
    parser.add_argument(
        "--policy-state", metavar="DIR", help="keeps the last good bundle; default: LOG.policy"
    )


def run(options: argparse.Namespace) -> None:
    """Serve until the process is told to end."""
    from policy_router.server import serve as serving

    settings = _settings(options)
    files, policy = _policy(options.policy, settings)
    serving.need_server(runs=settings.run)
    logging.basicConfig(level=logging.INFO, format="policy-router: %(message)s")

    def say(where: str) -> None:
        err(f"policy-router: {policy.name} ({policy.revision[:19]}) is served at {where}")
        if settings.log is None and not options.quiet:
            err("policy-router: decisions are not logged; --log DIR does that")
        if settings.run and not settings.may_spend:
            err(
                "policy-router: model calls need a token: policy-router token new --tokens FILE"
                " --id NAME, and serve with --tokens FILE"
            )
        if not settings.has_credentials and settings.socket_path is None and not options.quiet:
            err(
                "policy-router: everybody on this machine may ask; for other roles, make tokens:"
                " policy-router token new --id NAME --role admin"
            )

    serving.serve(files, policy, settings, say)


def _policy(place: str, settings: Settings) -> tuple[RuleFiles, Policy]:
    """Return where the policy comes from, and what decides first."""
    if settings.policy_key is not None:
        return _bundle(place, settings, settings.policy_key)
    if is_address(place) or is_zipfile(place):
        raise UsageError("a bundle is a policy only with --policy-key FILE")
    files = RuleFiles.now(existing(place))
    return files, read_policy(place, is_strict=settings.strict)


def _bundle(place: str, settings: Settings, key: str) -> tuple[RuleFiles, Policy]:
    verifier, folder = key_of(key, read_verifier), Path(state_of(settings))
    bundles = Bundles(place, verifier, folder, seconds_of(settings.policy_poll))
    files = RuleFiles.now(place)
    policy, bundle, problem = bundles.first(strict=settings.strict)
    if problem is not None:
        err(f"policy-router: {printable(str(problem))}")
        err("policy-router: the last good bundle decides")
        files = RuleFiles(place)  # so that it is looked at again at once, and what is wrong told
    return replace(files, bundles=bundles, bundle=bundle), policy


def _settings(options: argparse.Namespace) -> Settings:
    """Return the settings that the options name.

    Raises:
        RequestError: they have a mistake, or are not safe.
    """
    content = None if options.config is None else read_value(options.config)
    given = {name: getattr(options, name) for name in _OPTIONS}
    flags = {
        "strict": options.strict or None,
        "run": options.runs or None,
        "pages": False if options.has_no_pages else None,
    }
    settings = settings_of(content, {**given, **flags})
    return settings if settings.loaded_by else replace(settings, loaded_by=whose())
