"""The command ``menu``: the entries that agents may ask for."""

from __future__ import annotations

import argparse
import json

from policy_router.cli.inputs import UsageError, read_policy, read_requests
from policy_router.cli.options import add_format, add_now, add_policy
from policy_router.cli.terminal import out, out_bytes, table
from policy_router.decision.menu import menu_as_json, permitted_entries
from policy_router.diagnostics.model import printable
from policy_router.domain import Policy, PoolEntry


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_policy(parser)
    parser.add_argument("request", metavar="REQUEST", nargs="?", help="only for this request")
    add_now(parser)
    add_format(parser)


def run(options: argparse.Namespace) -> None:
    """List what may be asked for."""
    policy = read_policy(options.policy, is_strict=options.strict)
    entries = policy.pool or ()
    if options.request is not None:
        requests, _ = read_requests(options.request)
        if len(requests) != 1:
            raise UsageError("menu takes one request, not a batch")
        entries = permitted_entries(policy, requests[0], options.now)
    if options.format == "json":
        menu = menu_as_json(policy, entries)
        out_bytes(json.dumps(menu, indent=2, ensure_ascii=False).encode())
    else:
        _print(options, policy, entries)


def _print(options: argparse.Namespace, policy: Policy, entries: tuple[PoolEntry, ...]) -> None:
    if policy.pool is None:
        out("there is no pool: any model may be asked for")
        return
    if not entries:
        out("nothing may be asked for")
        return
    heads = ("name", "model", "provider", "$ in", "$ out", "strengths")
    out(table(heads, map(_row, entries)))
    if not options.quiet:
        out("prices: US dollars per million tokens")


def _row(entry: PoolEntry) -> tuple[str, ...]:
    prices = (entry.price.input, entry.price.output)
    return (
        printable(entry.name),
        printable(entry.model),
        printable(entry.provider) or "(parent's)",
        *("-" if price is None else f"{price:g}" for price in prices),
        printable(", ".join(entry.strengths)),
    )
