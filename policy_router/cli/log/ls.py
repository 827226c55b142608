"""The command ``log ls``: decisions, the newest first."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from itertools import islice

from msgspec import UnsetType

from policy_router.cli.log.arguments import add_log, log_of, time_of
from policy_router.cli.log.rows import HEADS, caller_of, row, warn
from policy_router.cli.options import add_format, number
from policy_router.cli.terminal import out, out_bytes, table
from policy_router.decision.record import DecisionRecord
from policy_router.errors import RecordError
from policy_router.log.read.reading import Line, LogReader, decisions


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_log(parser)
    for name, metavar, text in (
        ("--since", "TIME", "from this time on: a day, RFC 3339, or an age (2h, 7d)"),
        ("--until", "TIME", "before this time"),
        ("--entry", "NAME", "the entry of the target"),
        ("--model", "NAME", "the model of the target"),
        ("--provider", "NAME", "the provider of the target"),
        ("--caller", "NAME", "the id or the team of the caller"),
        ("--code", "CODE", "the code of a refusal or a warning"),
        ("--policy", "NAME", "the name of the policy, or the beginning of its revision"),
    ):
        parser.add_argument(name, metavar=metavar, help=text)
    parser.add_argument("--outcome", choices=["selected", "refused"])
    parser.add_argument("--level", choices=["call", "task", "pool", "config", "parent"])
    parser.add_argument(
        "-n", "--limit", metavar="N", type=number, default=50, help="at most; default: 50"
    )
    add_format(parser)


def run(options: argparse.Namespace) -> None:
    """List decisions, the newest first."""
    reader = LogReader(log_of(options))
    found = islice(_chosen(reader, options), options.limit)
    if options.format == "json":
        for line, _ in found:
            out_bytes(line.content)
        warn(reader)
        return
    rows = [row(line, record) for line, record in found]
    if rows:
        out(table(HEADS, rows))
    warn(reader)
    if not options.quiet:
        where = shlex.quote(str(reader.folder.path))
        out(f"next: policy-router log show {where} {rows[0][1]}" if rows else "no decisions found")


def _chosen(
    reader: LogReader, options: argparse.Namespace
) -> Iterator[tuple[Line, DecisionRecord]]:
    """Yield the decisions that the filters let through, the newest first."""
    since = time_of(options.since, options.now, "--since") if options.since is not None else None
    until = time_of(options.until, options.now, "--until") if options.until is not None else None
    for line in decisions(reader.newest_first()):
        if until is not None and line.entry.time >= until:
            continue
        if since is not None and line.entry.time < since:
            continue  # a clock may go back, so that later lines can be older
        try:
            record = line.entry.decision_record
        except RecordError:
            reader.unreadable += 1
            continue
        if _fits(record, options):
            yield line, record


def _fits(record: DecisionRecord, options: argparse.Namespace) -> bool:
    decision = record.decision
    target = None if isinstance(decision.target, UnsetType) else decision.target
    caller = caller_of(record)
    codes = {warning.code.value for warning in decision.warnings}
    if not isinstance(decision.refusal, UnsetType):
        codes.add(decision.refusal.code.value)
    having: dict[str, set[object]] = {
        "outcome": {decision.outcome},
        "level": {decision.level},
        "entry": {target.entry} if target else set(),
        "model": {target.model} if target else set(),
        "provider": {target.provider} if target else set(),
        "caller": {caller["id"], caller["team"]},
        "code": {*codes},
    }
    wanted = {name: getattr(options, name) for name in having}
    if any(value is not None and value not in having[name] for name, value in wanted.items()):
        return False
    policy = options.policy
    return policy is None or record.policy.name == policy or _begins(record, policy)


def _begins(record: DecisionRecord, policy: str) -> bool:
    digest = record.policy.revision.removeprefix("sha256:")
    return digest.startswith(policy.removeprefix("sha256:") or "none")
