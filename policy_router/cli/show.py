"""The command ``show``: prints a policy of any number of files as one."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterator
from typing import Any

from policy_router.analysis.matrix import permitted_by_value
from policy_router.cli.inputs import UsageError, existing, read_requests
from policy_router.cli.options import add_format, add_now, add_policy
from policy_router.cli.terminal import out, out_bytes
from policy_router.decision.request import Request
from policy_router.diagnostics.model import Diagnostics, printable
from policy_router.diagnostics.redaction import redact
from policy_router.domain import Policy
from policy_router.errors import PolicyError
from policy_router.files.loader import check
from policy_router.policy.yaml import block

_COLUMNS = 80


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_policy(parser)
    parser.add_argument(
        "request", metavar="REQUEST", nargs="?", help="for --matrix: what all requests have"
    )
    parser.add_argument(
        "--matrix", action="store_true", help="show who may use what, by team, role, kind and label"
    )
    add_now(parser)
    add_format(parser)


def run(options: argparse.Namespace) -> None:
    """Show a policy: its files, its rules in one, and its warnings."""
    policy, found = check(existing(options.policy))
    if policy is None or (options.strict and found.warnings):
        raise PolicyError(found)
    if options.request is not None and not options.matrix:
        raise UsageError("a request is for --matrix")
    matrix = _matrix(policy, options) if options.matrix else None
    if options.format == "json":
        out_bytes(json.dumps(_plain(policy, found, matrix), ensure_ascii=False, indent=2).encode())
    elif matrix is not None:
        for line in _permitted(matrix):
            out(line)
    else:
        for line in _lines(policy, found, is_quiet=options.quiet):
            out(printable(line))


_Matrix = list[tuple[str, tuple[str, ...] | None]]


def _matrix(policy: Policy, options: argparse.Namespace) -> _Matrix:
    requests = [Request()] if options.request is None else read_requests(options.request)[0]
    if len(requests) != 1:
        raise UsageError("show takes one request, not a batch")
    return permitted_by_value(policy, requests[0], options.now)


def _lines(policy: Policy, found: Diagnostics, *, is_quiet: bool) -> Iterator[str]:
    if not is_quiet:
        yield f"# policy {printable(policy.name)}"
        yield f"# revision {policy.revision}"
        yield from (f"# read {source.name}" for source in policy.sources)
        for item in found.without_hints():
            yield f"# {item.span}: {item.severity}[{item.code}]: {item.message}"
    yield from block(shown_form(policy))


def shown_form(policy: Policy) -> dict[str, Any]:
    """Return the canonical form of a policy, without the values of headers, or any secret."""
    form: dict[str, Any] = json.loads(policy.canonical)
    for provider in form.get("providers", {}).values():
        if "base_url" in provider:
            provider["base_url"] = redact(provider["base_url"])
        if "headers" in provider:
            provider["headers"] = dict.fromkeys(provider["headers"], "***")
    return form


def _permitted(matrix: _Matrix) -> Iterator[str]:
    width = max(len(name) for name, _ in matrix)
    for name, names in matrix:
        shown = "any model" if names is None else ", ".join(map(printable, names)) or "nothing"
        line = f"{printable(name):<{width}}  {shown}"
        yield from textwrap.wrap(line, _COLUMNS, subsequent_indent=" " * (width + 2))


def _plain(policy: Policy, found: Diagnostics, matrix: _Matrix | None) -> dict[str, Any]:
    content: dict[str, Any] = {
        "name": policy.name,
        "revision": policy.revision,
        "files": [source.name for source in policy.sources],
        "policy": shown_form(policy),
        **found.without_hints().to_dict(),
    }
    if matrix is not None:
        content["matrix"] = [{"value": name, "permitted": names} for name, names in matrix]
    return content
