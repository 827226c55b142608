"""The command ``check``: finds problems of policies, and keys that are missing here."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from policy_router.calls.endpoints import Endpoint, endpoint_of
from policy_router.calls.failing import Failing
from policy_router.cli.exit_codes import GOOD, POLICY_ERRORS, USAGE
from policy_router.cli.formats import Case, annotation_of, junit, sarif
from policy_router.cli.inputs import exists, name_of, no_file, read_bytes
from policy_router.cli.options import POLICY, add_format, add_now, add_strict
from policy_router.cli.terminal import as_typed, counted, err, out, out_bytes, paint_for, table
from policy_router.diagnostics.model import Diagnostics, printable
from policy_router.diagnostics.redaction import redact
from policy_router.domain import Level, Policy
from policy_router.files.loader import check, check_text
from policy_router.policy.known_providers import KNOWN_PROVIDERS


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    help_ = f"{POLICY}; - is standard input"
    parser.add_argument("paths", metavar="PATH", nargs="+", help=help_)
    add_strict(parser)
    parser.add_argument("--pedantic", action="store_true", help="count hints as errors too")
    parser.add_argument("--env", action="store_true", help="test whether the keys exist here")
    add_now(parser, "time with which conditions are compared")
    add_format(parser, "github", "junit", "sarif")


def run(options: argparse.Namespace) -> int:
    """Find what is wrong with policies; ``--strict`` and ``--pedantic`` count more as errors."""
    missing = [path for path in dict.fromkeys(options.paths) if path != "-" and not exists(path)]
    paths = [path for path in dict.fromkeys(options.paths) if path not in missing]
    checked = {path: _checked(path, options.now) for path in paths}
    total = _united([diagnostics for _, diagnostics in checked.values()])
    good = [(path, policy) for path, (policy, _) in checked.items() if policy is not None]
    places = [place for _, policy in good for place in _targets(policy)] if options.env else None
    match options.format:
        case "json":
            out_bytes(_as_json(total, places))
        case "sarif":
            out(sarif(total))
        case "junit":
            out(junit((path, [_case(options, found)]) for path, (_, found) in checked.items()))
        case "github":
            for item in total:
                out(annotation_of(item))
        case _:
            _report(options, good, total)
            if places:
                out(_shown(places))
    for path in missing:
        err(f"policy-router: {printable(no_file(path))}")
    if missing:
        return USAGE
    lacks = (options.strict or options.pedantic) and any(place.problem for place in places or ())
    return POLICY_ERRORS if lacks or _is_bad(options, total) else GOOD


def _checked(path: str, now: datetime.datetime) -> tuple[Policy | None, Diagnostics]:
    if path == "-":
        return check_text(read_bytes(path), name=name_of(path), now=now)
    return check(path, now=now)


def _united(found: Sequence[Diagnostics]) -> Diagnostics:
    return Diagnostics(
        Diagnostics.of(item for each in found for item in each).items,
        *(sum(getattr(each, word) for each in found) for word in ("errors", "warnings", "hints")),
    )


def _is_bad(options: argparse.Namespace, found: Diagnostics) -> bool:
    """Tell whether findings are counted as errors."""
    is_strict = options.strict or options.pedantic
    is_bad = found.errors or (is_strict and found.warnings)
    return bool(is_bad or (options.pedantic and found.hints))


def _case(options: argparse.Namespace, found: Diagnostics) -> Case:
    return Case("check", found.to_text() if _is_bad(options, found) else None)


def _as_json(total: Diagnostics, places: list[_Target] | None) -> bytes:
    found = total.to_dict()
    if places is not None:
        found["targets"] = [place._asdict() for place in places]
    return json.dumps(found, ensure_ascii=False, indent=2).encode()


def _report(
    options: argparse.Namespace, good: list[tuple[str, Policy]], total: Diagnostics
) -> None:
    if len(total):
        out(total.to_text(paint_for(sys.stdout)))
    if options.quiet:
        return
    for path, policy in good:
        out(printable(f"{path}: policy {policy.name}, {_size(policy)}"))
        if options.verbose:
            out(f"  revision {policy.revision}")
            for source in policy.sources:
                out(f"  read {printable(source.name)}")
    if total.errors or total.warnings or total.hints:
        hints = [counted(total.hints, "hint")] if total.hints else []
        counts = [counted(total.errors, "error"), counted(total.warnings, "warning"), *hints]
        out(", ".join(counts))
    elif good:
        path, policy = good[0]
        command = "prove" if policy.assertions else "menu"
        out(f"no problems found; next: policy-router {command} {as_typed(path)}")


def _size(policy: Policy) -> str:
    entries = "no pool" if policy.pool is None else counted(len(policy.pool), "entry", "entries")
    forbids = counted(len(policy.forbid), "forbid rule")
    if advisory := sum(not rule.enforce for rule in policy.forbid):
        forbids = f"{forbids} ({advisory} not enforced)"
    size = f"{entries}, {forbids}, {counted(len(policy.precedence), 'precedence rule')}"
    if policy.assertions:  # they are no guards
        size = f"{size}, {counted(len(policy.assertions), 'assertion')} (not proved here)"
    return size


class _Target(NamedTuple):
    """A target of a policy, and what there is to call it.

    Attributes:
        name: the name of the entry; the model's id where there is none.
        model: the model's id.
        provider: the provider's name; ``""`` is the parent's.
        address: where it is; None where that is not known.
        key: ``there``, ``missing``, ``none`` where none is sent, or ``unknown``.
        problem: what is missing, or None.
    """

    name: str
    model: str
    provider: str
    address: str | None
    key: str
    problem: str | None


def _targets(policy: Policy) -> list[_Target]:
    """Return the default and all entries, with what there is to call them."""
    named = [(entry.name, entry.model, entry.provider) for entry in policy.pool or ()]
    uses_default = any(rule.use is Level.CONFIG for rule in policy.precedence)
    default = (policy.model or "", policy.provider or "")
    if policy.model and uses_default and default not in [(model, at) for _, model, at in named]:
        named.insert(0, (policy.model, *default))
    found = {provider: _found(policy, provider) for _, _, provider in named}
    return [_Target(name, model, provider, *found[provider]) for name, model, provider in named]


def _found(policy: Policy, provider: str) -> tuple[str | None, str, str | None]:
    """Return the address of a provider, what there is of its key, and what is missing."""
    if not provider:
        return None, "unknown", None
    endpoint = endpoint_of(policy, provider, None)
    if isinstance(endpoint, Endpoint):
        has_secret = endpoint.api_key or endpoint.secrets
        return printable(redact(endpoint.base_url)), "there" if has_secret else "none", None
    known = policy.providers.get(provider), KNOWN_PROVIDERS.get(provider)
    address = next((it.base_url for it in known if it and it.base_url), None)
    where = None if address is None else printable(redact(address))
    key = "missing" if endpoint.code is Failing.NO_CREDENTIAL else "unknown"
    return where, key, printable(endpoint.message)


def _shown(found: Iterable[_Target]) -> str:
    """Return the targets as a table."""
    rows = [
        (
            printable(each.name),
            printable(each.provider) or "(parent's)",
            each.address or "-",
            each.key,
            each.problem or "",
        )
        for each in found
    ]
    return table(("target", "provider", "address", "key", "missing"), rows)
