"""The commands about the decision log: reading it, checking it, signing it, pruning it."""

from __future__ import annotations

import argparse
import datetime
import os
import re
import shlex
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec
from msgspec import UnsetType

from policy_router.cli import GOOD, NOT_WHOLE
from policy_router.cli.requests import name_of
from policy_router.cli.terminal import Bar, err, flush, out, out_bytes, paint_for, table
from policy_router.decision.explain import explain
from policy_router.decision.record import DecisionRecord
from policy_router.decision.request import moment, spelt
from policy_router.decision.what_if import named
from policy_router.diagnostics import printable
from policy_router.errors import LogError, RecordError, RequestError
from policy_router.runtime.log.checkpoints import verify_proof
from policy_router.runtime.log.entry import Execution, Kind, LogEntry, microseconds, moment_of
from policy_router.runtime.log.folder import write_whole
from policy_router.runtime.log.notes import (
    Proof,
    SignatureError,
    Signer,
    Verifier,
    new_signer,
    read_signer,
    read_verifier,
)
from policy_router.runtime.log.policies import PolicyStore
from policy_router.runtime.log.prune import prune
from policy_router.runtime.log.reading import Line, LogReader, decisions
from policy_router.runtime.log.signing import make_checkpoint, prove
from policy_router.runtime.log.stats import Stats, stats
from policy_router.runtime.log.verify import Part, Report, Verdict, verify

_AGE = re.compile(r"(\d{1,9})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_BIG = 64 * 1024 * 1024


def run_log(options: argparse.Namespace) -> int:
    """Run a command about a log."""
    return _COMMANDS[options.log_command](options)


# Which log, which decision, which key, which time.


def _log(options: argparse.Namespace) -> str:
    """Return the log that is meant."""
    words = options.words if isinstance(options.words, list) else [options.words]
    given = [word for word in (*words, options.log) if word is not None]
    if len(given) != 1:
        raise RequestError("LOG", "one log is wanted")
    return str(given[0])


def _log_and_id(options: argparse.Namespace) -> tuple[str, str]:
    """Return the log and the decision that are meant, in whichever order they come."""
    words = [*options.words, *([options.log] if options.log is not None else [])]
    if len(words) != 2:  # noqa: PLR2004
        raise RequestError("LOG ID", "a log and the id of a decision are wanted")
    if options.log is not None or Path(words[1]).is_dir():
        return words[1], words[0]
    return words[0], words[1]


def _content(path: str) -> bytes:
    try:
        if path == "-":
            return sys.stdin.buffer.read(_BIG)
        return Path(path).read_bytes()
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or "no file can have this name"
        raise RequestError(name_of(path), f"cannot be read: {reason.lower()}") from None


def _verifier(path: str | None) -> Verifier | None:
    return None if path is None else read_verifier(_content(path), None)


def _time(text: str | None, now: datetime.datetime, option: str) -> int | None:
    """Return a time that is written as a day, in RFC 3339, or as an age."""
    if text is None:
        return None
    age = _AGE.fullmatch(text)
    try:
        if age:
            return microseconds(now - datetime.timedelta(**{_UNITS[age[2]]: int(age[1])}))
        return microseconds(moment(f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text))
    except (RequestError, OverflowError):
        reason = "a day (2026-01-31), a time (2026-01-31T09:00:00Z) or an age (90d) is wanted"
        raise RequestError(option, reason) from None


# Checking.


def _verify(options: argparse.Namespace) -> int:
    log, verifier = _log(options), _verifier(options.key)
    kept = None if options.checkpoint is None else Path(options.checkpoint)
    with Bar("verified", is_quiet=options.quiet) as bar:
        report = verify(log, verifier=verifier, checkpoint=kept, progress=bar)
    if options.format == "json":
        out_bytes(report.to_json())
    else:
        _print_report(report, log, options)
    return GOOD if report.is_whole else NOT_WHOLE


def _print_report(report: Report, log: str, options: argparse.Namespace) -> None:
    paint = paint_for(sys.stdout) or (lambda text, _role: text)
    roles = {Verdict.BROKEN: "error", Verdict.NOT_CHECKED: "dim"}
    covered = f"{report.covered:,} of {report.lines:,} lines"
    words = {
        "integrity": f"{report.lines:,} lines in {report.segments:,} segments"
        f" of {report.writers:,} writers",
        "completeness": "every line that was acknowledged",
        "authenticity": f"{report.checkpoints:,} checkpoints, the last one over {covered}",
    }
    parts: dict[str, Part] = {name: getattr(report, name) for name in words}
    for name, part in parts.items():
        status = paint(f"{part.status.replace('_', ' '):<11}", roles.get(part.status, "good"))
        count = f"{len(part.problems):,} found" if part.problems else words[name]
        out(f"{name:<13} {status}  {count}")
        for problem in part.problems:
            out(f"  {problem.damage:<16} {printable(problem.where)}: {printable(problem.message)}")
        for note in part.notes if not options.quiet else ():
            out(f"  note: {printable(note)}")
    if options.quiet or not report.is_whole:
        return
    if not report.checkpoints:
        out(f"next: policy-router log checkpoint {shlex.quote(log)} --key FILE")
    elif report.authenticity.status is Verdict.NOT_CHECKED:
        out(f"next: policy-router log verify {shlex.quote(log)} --key FILE")


def _checkpoint(options: argparse.Namespace) -> int:
    log = _log(options)
    signer = read_signer(_content(options.key), None)
    with Bar("read", is_quiet=options.quiet) as bar:
        made = make_checkpoint(log, signer, origin=options.origin, progress=bar)
    if made is None:
        err("policy-router: the last checkpoint covers every line already")
    elif options.format == "json":
        out_bytes(
            msgspec.json.encode(
                {
                    "path": str(made.path),
                    "origin": made.checkpoint.origin,
                    "lines": made.checkpoint.size,
                    "new_lines": made.new_lines,
                }
            )
        )
    else:
        out(f"signed {made.checkpoint.size:,} lines, {made.new_lines:,} of them new: {made.path}")
        if not options.quiet:
            out("next: keep a copy of it where nobody who writes the log can change it")
    return GOOD


def _keygen(options: argparse.Namespace) -> int:
    signer = new_signer(options.name or "policy-router")
    private, public = Path(options.file), Path(f"{options.file}.pub")
    for path in (private, public):
        if path.exists():
            raise RequestError(str(path), "it is there already and is left as it is")
    try:
        _write_private(private, signer)
        write_whole(public, f"{signer.verifier().encoded()}\n".encode())
    except OSError as problem:
        reason = (problem.strerror or "it cannot be written").lower()
        raise RequestError(str(private), reason) from None
    if not options.quiet:
        out(f"wrote {private}, which nobody else may read, and {public} for auditors")
        out(f"next: policy-router log checkpoint LOG --key {shlex.quote(options.file)}")
    return GOOD


def _write_private(path: Path, signer: Signer) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(number, "wb") as stream:
        stream.write(f"{signer.encoded()}\n".encode())


def _prove(options: argparse.Namespace) -> int:
    log, decision_id = _log_and_id(options)
    text = prove(log, decision_id).to_text()
    if options.output is None:
        out(text.removesuffix("\n"))
        return GOOD
    try:
        write_whole(Path(options.output), text.encode())
    except OSError as problem:
        reason = (problem.strerror or "it cannot be written").lower()
        raise RequestError(options.output, reason) from None
    if not options.quiet:
        out(f"wrote {options.output}")
        out(f"next: policy-router log verify-proof {shlex.quote(options.output)} --key FILE")
    return GOOD


def _verify_proof(options: argparse.Namespace) -> int:
    verifier = read_verifier(_content(options.key), None)
    try:
        proof = Proof.from_text(_content(options.proof).decode(errors="surrogateescape"))
        checkpoint = verify_proof(proof, verifier)
        entry = LogEntry.from_json(proof.line)
        record = entry.decision_record
    except (SignatureError, LogError, RecordError) as problem:
        err(f"policy-router: not proved: {printable(str(problem))}")
        return NOT_WHOLE
    if options.format == "json":
        plain = {
            "proved": True,
            "id": str(entry.id),
            "index": proof.index,
            "lines": checkpoint.size,
            "origin": checkpoint.origin,
            "entry": msgspec.Raw(proof.line),
        }
        out_bytes(msgspec.json.encode(plain))
        return GOOD
    place = f"line {proof.index + 1:,} of {checkpoint.size:,}"
    out(f"proved  {entry.id} is {place} of {printable(checkpoint.origin)}")
    out(f"        {spelt(moment_of(entry.time))}  {printable(named(record.decision))}")
    return GOOD


# Reading.


def _ls(options: argparse.Namespace) -> int:
    reader = LogReader(_log(options))
    found = islice(_chosen(reader, options), options.limit)
    if options.format == "json":
        for line, _ in found:
            out_bytes(line.content)
        return GOOD
    rows = [_row(line, record) for line, record in found]
    if rows:
        out(table(("time", "id", "outcome", "target", "rule", "caller", "note"), rows))
    if reader.unreadable:
        err(f"policy-router: {reader.unreadable:,} lines cannot be read: see log verify")
    if not options.quiet:
        where = shlex.quote(str(reader.folder.path))
        out(f"next: policy-router log show {where} {rows[0][1]}" if rows else "no decisions found")
    return GOOD


def _chosen(
    reader: LogReader, options: argparse.Namespace
) -> Iterator[tuple[Line, DecisionRecord]]:
    """Yield the decisions that the filters let through, the newest first."""
    since = _time(options.since, options.now, "--since")
    until = _time(options.until, options.now, "--until")
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
    caller = record.request.get("caller", {})
    codes = {warning.code.value for warning in decision.warnings}
    if not isinstance(decision.refusal, UnsetType):
        codes.add(decision.refusal.code.value)
    having: dict[str, set[object]] = {
        "outcome": {decision.outcome},
        "level": {decision.level},
        "entry": {target.entry} if target else set(),
        "model": {target.model} if target else set(),
        "provider": {target.provider} if target else set(),
        "caller": {caller.get("id"), caller.get("team")},
        "code": {*codes},
    }
    wanted = {name: getattr(options, name) for name in having}
    if any(value is not None and value not in having[name] for name, value in wanted.items()):
        return False
    policy = options.policy
    return policy is None or record.policy.name == policy or _begins(record, policy)


def _begins(record: DecisionRecord, policy: str) -> bool:
    revision = record.policy.revision
    return revision.startswith(policy) or revision.removeprefix("sha256:").startswith(policy)


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
        printable(str(record.request.get("caller", {}).get("id") or "-")),
        ", ".join(notes),
    )


def _show(options: argparse.Namespace) -> int:
    log, decision_id = _log_and_id(options)
    reader = LogReader(log)
    lines = reader.about(decision_id)
    children = reader.children(str(lines[0].entry.id))
    if options.format == "json":
        content = {
            "lines": [msgspec.Raw(line.content) for line in lines],
            "children": [msgspec.Raw(line.content) for line in children],
        }
        out_bytes(msgspec.json.encode(content))
        return GOOD
    for line in lines:
        if line.entry.kind is Kind.DECISION:
            _print_decision(reader, line, options)
    events = [line for line in lines if isinstance(line.entry.execution, Execution)]
    if events:
        out("\nwhat came of it")
        out(table(("time", "event", "what"), [_event_row(line) for line in events]))
    if children:
        out("\nwhat its child decided")
        rows = [_row(line, line.entry.decision_record) for line in children]
        out(table(("time", "id", "outcome", "target", "rule", "caller", "note"), rows))
    return GOOD


def _print_decision(reader: LogReader, line: Line, options: argparse.Namespace) -> None:
    """Print a decision and why it was made; the record alone where nothing can explain it."""
    entry = line.entry
    out(f"decision {entry.id}   {spelt(moment_of(entry.time))}   {line.place}")
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
    return spelt(moment_of(line.entry.time)), printable(found.event), printable(what)


def _tail(options: argparse.Namespace) -> int:
    reader = LogReader(_log(options))
    following = reader.follow() if options.follow else iter(())
    last = list(islice(reader.newest_first(), options.lines))[::-1]
    for line in last:
        _print_line(line, options)
    flush()
    for line in following:
        _print_line(line, options)
        flush()
    return GOOD


def _print_line(line: Line, options: argparse.Namespace) -> None:
    if options.format == "json":
        out_bytes(line.content)
        return
    entry = line.entry
    shown = "" if isinstance(entry.id, UnsetType) else entry.id
    out(
        f"{spelt(moment_of(entry.time)):<27}  {entry.kind:<9}  {printable(shown):<36}"
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
    return printable(", ".join(f"{key} {value}" for key, value in plain.items()))


def _stats(options: argparse.Namespace) -> int:
    reader = LogReader(_log(options))
    found = stats(reader.lines())
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
    out(f"\n{found.input_tokens:,} tokens in, {found.output_tokens:,} out")
    out(f"${found.cost_usd:,.6f}; the cost of {found.unknown_costs:,} children is unknown")
    if found.unlogged:
        out(f"{found.unlogged:,} decisions were made without being logged")
    if found.unreadable:
        out(f"{found.unreadable:,} lines cannot be read: see log verify")


# Retention.


def _prune(options: argparse.Namespace) -> int:
    log = _log(options)
    before = _time(options.before, options.now, "--before") or 0
    verifier = _verifier(options.key)
    done = prune(log, before, verifier=verifier, is_trial=options.dry_run)
    if options.format == "json":
        out_bytes(msgspec.json.encode({"dry_run": options.dry_run, **msgspec.to_builtins(done)}))
        return GOOD
    verb = "would remove" if options.dry_run else "removed"
    out(f"{verb} {len(done.segments):,} segments, {done.lines:,} lines, {done.bytes:,} bytes")
    for name, reason in done.kept_back if not options.quiet else ():
        out(f"  kept  {name}: {reason}")
    return GOOD


_COMMANDS = {
    "verify": _verify,
    "checkpoint": _checkpoint,
    "keygen": _keygen,
    "prove": _prove,
    "verify-proof": _verify_proof,
    "ls": _ls,
    "show": _show,
    "tail": _tail,
    "stats": _stats,
    "prune": _prune,
}
