"""The command ``check``: what is wrong with policies, and what this machine lacks for them."""

from __future__ import annotations

import argparse
import json
import shlex
import sys

from policy_router.cli import GOOD, POLICY_ERRORS
from policy_router.cli.environment import Target, shown, targets
from policy_router.cli.terminal import counted, out, out_bytes, paint_for
from policy_router.diagnostics.model import Diagnostics, printable
from policy_router.domain import Policy
from policy_router.files.loader import check


def check_policies(paths: list[str], options: argparse.Namespace) -> int:
    """Find what is wrong with policies; ``--strict`` and ``--pedantic`` count more as errors."""
    found: list[Diagnostics] = []
    good: list[tuple[str, Policy]] = []
    for path in paths:
        policy, diagnostics = check(path, now=options.now)
        found.append(diagnostics)
        if policy is not None:
            good.append((path, policy))
    total = Diagnostics(
        Diagnostics.of(item for each in found for item in each).items,
        *(sum(getattr(each, word) for each in found) for word in ("errors", "warnings", "hints")),
    )
    places = [place for _, policy in good for place in targets(policy)] if options.env else None
    if options.format == "json":
        out_bytes(_as_json(total, places))
    else:
        _report(options, good, total)
        if places:
            out(shown(places))
    is_strict = options.strict or options.pedantic
    missing = any(place.problem for place in places or ())
    bad = total.errors or (is_strict and (total.warnings or missing))
    return POLICY_ERRORS if bad or (options.pedantic and total.hints) else GOOD


def _as_json(total: Diagnostics, places: list[Target] | None) -> bytes:
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
        out(f"{path}: policy {policy.name}, {_size(policy)}")
        if options.verbose:
            out(f"  revision {policy.revision}")
            for source in policy.sources:
                out(f"  read {printable(source.name)}")
    if total.errors or total.warnings or total.hints:
        hints = [counted(total.hints, "hint")] if total.hints else []
        counts = [counted(total.errors, "error"), counted(total.warnings, "warning"), *hints]
        out(", ".join(counts))
    elif good:
        out(f"no problems found; next: policy-router menu {shlex.quote(good[0][0])}")


def _size(policy: Policy) -> str:
    entries = "no pool" if policy.pool is None else counted(len(policy.pool), "entry", "entries")
    forbids = counted(len(policy.forbid), "forbid rule")
    return f"{entries}, {forbids}, {counted(len(policy.precedence), 'precedence rule')}"
