"""The command ``decide``: decides the targets of tasks."""

from __future__ import annotations

import argparse

from msgspec import UnsetType

from policy_router.cli.decision_log import add_logging, log_for
from policy_router.cli.exit_codes import GOOD, REFUSED
from policy_router.cli.explain import print_pages
from policy_router.cli.fitting import noted
from policy_router.cli.inputs import of_batch, read_policy, read_requests
from policy_router.cli.options import REQUEST, add_format, add_now, add_policy
from policy_router.cli.terminal import as_typed, out, out_bytes
from policy_router.decision.evaluator import decide
from policy_router.decision.explain.explanation import explain
from policy_router.decision.explain.wording import spelt_target, spelt_warning
from policy_router.decision.record import DecisionRecord
from policy_router.decision.request import moment
from policy_router.diagnostics.model import printable, quote
from policy_router.domain import WISHES, Policy


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_policy(parser)
    parser.add_argument("request", metavar="REQUEST", help=REQUEST)
    add_logging(parser)
    add_now(parser)
    add_format(parser)


def run(options: argparse.Namespace) -> int:
    """Decide one request or a batch, all of it before anything is printed."""
    policy = read_policy(options.policy, is_strict=options.strict)
    requests, is_batch = read_requests(options.request)
    records = []
    for position, request in enumerate(requests):
        with of_batch(position if is_batch else None):
            records.append(decide(policy, request, now=options.now))
    if options.log is not None:
        _log(options, policy, records)
    if options.format == "json":
        for record in records:
            out_bytes(record.to_json())
    else:
        _print(options, policy, records)
    refused = any(record.decision.outcome == "refused" for record in records)
    return REFUSED if refused else GOOD


def _log(options: argparse.Namespace, policy: Policy, records: list[DecisionRecord]) -> None:
    """Log decisions before anything is said of them."""
    from policy_router.files.ids import uuid7
    from policy_router.log.write.drafts import Decided

    with log_for(options) as log:
        now = moment(options.now)
        above, tags = options.parent_id, tuple(options.tag)
        log.decisions(policy, [Decided(record, uuid7(now), above, tags=tags) for record in records])


def _print(options: argparse.Namespace, policy: Policy, records: list[DecisionRecord]) -> None:
    if options.verbose:
        pages = {number: explain(policy, record) for number, record in enumerate(records)}
        print_pages(pages, is_full=options.verbose > 1, is_batch=len(pages) > 1)
        return
    rows = [(str(number), _wishes(record), *_row(record)) for number, record in enumerate(records)]
    if options.quiet:
        for row in rows:
            out(row[3])
        return
    if not rows:
        return
    out(noted(("task", "asked for", "outcome", "target", "rule", "note"), rows))
    if options.request != "-":
        paths = as_typed(options.policy, options.request)
        out(f"next: policy-router explain {paths}")


def _wishes(record: DecisionRecord) -> str:
    wishes = []
    for level in WISHES:
        wish = record.request.get(level, {})
        name = " at ".join(part for part in (wish.get("model"), wish.get("provider")) if part)
        if name:
            wishes.append(f"{quote(name).strip('`')} ({level})")
    return ", ".join(wishes) or "-"


def _row(record: DecisionRecord) -> tuple[str, str, str, str]:
    decision = record.decision
    notes = [spelt_warning(warning) for warning in decision.warnings]
    if not isinstance(decision.target, UnsetType):
        note = "; ".join(notes)
        return "selected", spelt_target(decision.target), str(decision.rule), note
    refusal = decision.refusal
    if isinstance(refusal, UnsetType):  # pragma: no cover - a record has one or the other
        return "refused", "-", "-", ""
    notes.append(f"{refusal.code}: {printable(refusal.message).rstrip('.')}")
    if not isinstance(refusal.permitted, UnsetType):
        notes.append(f"permitted: {', '.join(refusal.permitted) or 'nothing'}")
    return "refused", "-", refusal.rule or "-", "; ".join(notes)
