"""The commands that read a decision log: ``ls``, ``show``, ``tail`` and ``stats``."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from itertools import islice

import msgspec
from msgspec import UnsetType

from policy_router.cli import GOOD
from policy_router.cli.log_arguments import log_and_id, log_of, time_of
from policy_router.cli.terminal import (
    counted,
    err,
    flush,
    is_read,
    out,
    out_bytes,
    paint_for,
    table,
)
from policy_router.decision.compare import named
from policy_router.decision.explain.explanation import explain
from policy_router.decision.record import DecisionRecord
from policy_router.decision.request import spelt
from policy_router.diagnostics.model import printable
from policy_router.errors import RecordError
from policy_router.log.entry import Execution, Kind, moment_of
from policy_router.log.policies import PolicyStore
from policy_router.log.read.reading import Line, LogReader, decisions
from policy_router.log.read.stats import Stats
from policy_router.log.read.stats import stats as stats_of

_HEADS = ("time", "id", "outcome", "target", "rule", "caller", "note")
_WHY = "of a newer version, or damaged: see log verify"


def ls(options: argparse.Namespace) -> int:
    """List decisions, the newest first."""
    reader = LogReader(log_of(options))
    found = islice(_chosen(reader, options), options.limit)
    if options.format == "json":
        for line, _ in found:
            out_bytes(line.content)
        _warn(reader)
        return GOOD
    rows = [_row(line, record) for line, record in found]
    if rows:
        out(table(_HEADS, rows))
    _warn(reader)
    if not options.quiet:
        where = shlex.quote(str(reader.folder.path))
        out(f"next: policy-router log show {where} {rows[0][1]}" if rows else "no decisions found")
    return GOOD


def _warn(reader: LogReader) -> None:
    """Say that there were lines that could not be read."""
    if reader.unreadable:
        err(f"policy-router: {counted(reader.unreadable, 'line')} cannot be read: {_WHY}")


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
    caller = _caller(record)
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


def _caller(record: DecisionRecord) -> dict[str, str | None]:
    """Return who asked, whatever the request of a record looks like."""
    caller = record.request.get("caller")
    words = {key: caller.get(key) if isinstance(caller, dict) else None for key in ("id", "team")}
    return {key: word if isinstance(word, str) else None for key, word in words.items()}


def _row(line: Line, record: DecisionRecord) -> tuple[str, ...]:
    decision = record.decision
    refusal = None if isinstance(decision.refusal, UnsetType) else decision.refusal
    notes = [refusal.code.value] if refusal else []
    notes += [warning.code.value for warning in decision.warnings]
    rule = refusal.rule if refusal else decision.rule
    return (
        spelt(moment_of(line.entry.time).replace(microsecond=0)),
        printable(str(line.entry.id)),
        decision.outcome,
        printable(named(decision)) if refusal is None else "-",
        printable(str(rule or "-")),
        printable(_caller(record)["id"] or "-"),
        ", ".join(notes),
    )


def show(options: argparse.Namespace) -> int:
    """Show one decision, why it was made, and what came of it."""
    log, decision_id = log_and_id(options)
    reader = LogReader(log)
    lines = reader.about(decision_id)
    children = reader.children(str(lines[0].entry.id))
    if options.format == "json":
        content = {
            "lines": [msgspec.Raw(line.content) for line in lines],
            "children": [msgspec.Raw(line.content) for line in children],
        }
        out_bytes(msgspec.json.encode(content))
        _warn(reader)
        return GOOD
    made = [line for line in lines if line.entry.kind is Kind.DECISION]
    for line in made:
        _print_decision(reader, line, options)
    if not made:
        out(f"decision {printable(str(lines[0].entry.id))} is not here: it may have been pruned")
    events = [line for line in lines if isinstance(line.entry.execution, Execution)]
    if events:
        out("\nexecution")
        out(table(("time", "event", "what"), [_event_row(line) for line in events]))
    if children:
        out("\ndecisions of its child")
        out(table(_HEADS, map(_child_row, children)))
    _warn(reader)
    return GOOD


def _child_row(line: Line) -> tuple[str, ...]:
    try:
        return _row(line, line.entry.decision_record)
    except RecordError:
        time = spelt(moment_of(line.entry.time).replace(microsecond=0))
        return time, printable(str(line.entry.id)), "?", "-", "-", "-", "it cannot be read"


def _print_decision(reader: LogReader, line: Line, options: argparse.Namespace) -> None:
    """Print a decision and why it was made; the record alone where nothing can explain it."""
    entry = line.entry
    when = spelt(moment_of(entry.time))
    out(f"decision {printable(str(entry.id))}   {when}   {line.place}")
    if not isinstance(entry.parent, UnsetType):
        out(f"parent   {printable(entry.parent)}")
    out("")
    try:
        record = entry.decision_record
        policy = PolicyStore(reader.folder).load_as_written(record.policy.revision)
        page = explain(policy, record)
    except RecordError as problem:
        out(f"it cannot be explained: {printable(str(problem))}")
        if not isinstance(entry.record, UnsetType):
            out_bytes(bytes(entry.record))
        return
    out(page.to_text(paint_for(sys.stdout), full=options.verbose > 0))


def _event_row(line: Line) -> tuple[str, str, str]:
    found = line.entry.execution
    if isinstance(found, UnsetType):  # pragma: no cover - only executions come here
        return "", "", ""
    where = " at ".join(part for part in (found.model, found.provider) if part)
    tokens = [
        f"{number:,} tokens {way}"
        for number, way in ((found.input_tokens, "in"), (found.output_tokens, "out"))
        if number is not None
    ]
    words = [
        found.status,
        where,
        f"attempt {found.attempt}" if found.attempt else None,
        f"{found.seconds:.1f} s" if found.seconds else None,
        found.error,
        *tokens,
        None if found.cost_usd is None else f"${found.cost_usd:.6f}",
        None if found.duration_seconds is None else f"{found.duration_seconds:.1f} s",
    ]
    what = ", ".join(word for word in words if word)
    return _spelt_time(line.entry.time), printable(found.event), printable(what)


def tail(options: argparse.Namespace) -> int:
    """Show the last lines, and those that come."""
    reader = LogReader(log_of(options))
    following = reader.follow(goes_on=is_read) if options.follow else iter(())
    newest = reader.newest_first(acknowledged=options.follow)
    last = list(islice(newest, options.lines))[::-1]
    for line in last:
        _print_line(line, options)
    flush()
    _warn(reader)
    shown = {(line.writer, line.content) for line in last}
    for line in following:
        if (line.writer, line.content) not in shown:
            _print_line(line, options)
            flush()
    return GOOD


def _spelt_time(time: int) -> str:
    """Return a time that is always as long."""
    return f"{moment_of(time):%Y-%m-%dT%H:%M:%S.%fZ}"


def _print_line(line: Line, options: argparse.Namespace) -> None:
    if options.format == "json":
        out_bytes(line.content)
        return
    entry = line.entry
    shown = "" if isinstance(entry.id, UnsetType) else entry.id
    out(
        f"{_spelt_time(entry.time)}  {entry.kind:<9}  {printable(shown):<36}"
        f"  {_said(line)}".rstrip()
    )


def _said(line: Line) -> str:
    """Return what a line says, in a few words."""
    entry = line.entry
    if entry.kind is Kind.DECISION:
        try:
            row = _row(line, entry.decision_record)
        except RecordError as problem:
            return printable(str(problem))
        return "  ".join(part for part in (*row[2:5], row[6]) if part)
    if isinstance(entry.execution, Execution):
        return "  ".join(_event_row(line)[1:])
    about = next((it for it in (entry.gap, entry.close, entry.prune) if it), None)
    plain = {} if about is None else msgspec.to_builtins(about)
    words = {key: " ".join(it) if isinstance(it, tuple) else it for key, it in plain.items()}
    return printable(", ".join(f"{key} {word}" for key, word in words.items()))


def stats(options: argparse.Namespace) -> int:
    """Count what is in a log."""
    reader = LogReader(log_of(options))
    found = stats_of(reader.lines())
    found.unreadable += reader.unreadable
    if options.format == "json":
        out_bytes(found.to_json())
        return GOOD
    _print_stats(found)
    return GOOD


def _print_stats(found: Stats) -> None:
    if found.first is None or found.last is None:
        out("the log has no lines")
        return
    first, last = (spelt(moment_of(time)) for time in (found.first, found.last))
    out(f"from {first} to {last}")
    for title, counts in (
        ("lines", found.kinds),
        ("writers", found.writers),
        ("decisions", found.outcomes),
        ("levels", found.levels),
        ("targets", found.targets),
        ("codes", found.codes),
        ("policies", found.policies),
        ("children", found.statuses),
    ):
        rows = [
            (f"{count:,}", printable(name))
            for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        ]
        if rows:
            out(f"\n{title}")
            out(table(("count", "name"), rows))
    if found.statuses:
        out(f"\n{found.input_tokens:,} tokens in, {found.output_tokens:,} out")
        unknown = counted(found.unknown_costs, "child", "children")
        out(f"${found.cost_usd:,.6f}" + (f"; unknown for {unknown}" if found.unknown_costs else ""))
    if found.unlogged:
        out(f"made without being logged: {counted(found.unlogged, 'decision')}")
    if found.unreadable:
        out(f"{counted(found.unreadable, 'line')} cannot be read: {_WHY}")
