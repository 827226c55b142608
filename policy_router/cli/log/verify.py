"""The command ``log verify``: whether a log is whole, who says so, and what was removed."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from policy_router.cli.exit_codes import GOOD, NOT_WHOLE
from policy_router.cli.log.arguments import add_keys, add_log, log_of, seconds_of, verifiers_of
from policy_router.cli.options import add_format
from policy_router.cli.terminal import Bar, counted, out, out_bytes, paint_for
from policy_router.decision.request import spelt
from policy_router.diagnostics.model import printable
from policy_router.log.damage import Problem, spelt_lines
from policy_router.log.entry import moment_of
from policy_router.log.integrity.verify import Answer, Part, VerifyReport, verify
from policy_router.log.integrity.writer import Removal

_SECOND = 1_000_000
_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"))
"""The units of an age, in seconds."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_log(parser)
    add_keys(parser, "the public or private key that must have signed; or a file of several")
    text = "the public key of a witness that must have signed a checkpoint"
    parser.add_argument("--witness", metavar="FILE", action="append", help=text)
    text = "a checkpoint kept elsewhere, which the log must match"
    parser.add_argument("--checkpoint", metavar="FILE", help=text)
    text = "what the log must be signed as: the first line of its checkpoints"
    parser.add_argument("--origin", metavar="NAME", help=text)
    text = "how old the newest checkpoint may be, such as 2h; needs --key"
    parser.add_argument("--max-age", metavar="AGE", help=text)
    text = "fail also for damage that a signed statement names"
    parser.add_argument("--strict", action="store_true", help=text)
    add_format(parser)


def run(options: argparse.Namespace) -> int:
    """Verify a log, and say what is found."""
    log = log_of(options)
    max_age = None if options.max_age is None else seconds_of(options.max_age, "--max-age")
    with Bar("verified", is_quiet=options.quiet) as bar:
        report = verify(
            log,
            verifier=verifiers_of(options.key),
            witness=verifiers_of(options.witness),
            checkpoint=None if options.checkpoint is None else Path(options.checkpoint),
            max_age=max_age,
            origin=options.origin,
            clock=lambda: options.now,
            progress=bar,
        )
    if options.format == "json":
        out_bytes(report.to_json())
    else:
        _print(report, log, options)
    is_good = report.is_whole and not (options.strict and report.accepted)
    return GOOD if is_good else NOT_WHOLE


def _print(report: VerifyReport, log: str, options: argparse.Namespace) -> None:
    paint = paint_for(sys.stdout) or (lambda text, _role: text)
    roles = {Answer.BROKEN: "error", Answer.NOT_CHECKED: "dim"}
    words = {
        "integrity": f"{counted(report.lines, 'line')} in {counted(report.segments, 'segment')}"
        f" of {counted(report.writers, 'writer')}",
        "completeness": "every line that was acknowledged",
        "authenticity": _said_of_checkpoints(report),
    }
    parts: dict[str, Part] = {name: getattr(report, name) for name in words}
    for name, part in parts.items():
        status = paint(f"{part.status.replace('_', ' '):<11}", roles.get(part.status, "good"))
        count = f"{len(part.problems):,} found" if part.problems else words[name]
        out(f"{name:<13} {status}  {count}")
        for problem in part.problems:
            _print_problem(problem)
        for note in part.notes if not options.quiet else ():
            out(f"  note: {printable(note)}")
    if not options.quiet:
        out(f"{'meaning':<13} {paint('not checked', 'dim')}  what the lines say: see log check")
    for line in _more(report):
        out(line)
    for problem in report.accepted:
        _print_problem(problem)
    if options.quiet or not report.is_whole:
        return
    if not report.checkpoints:
        out(f"next: policy-router log checkpoint {shlex.quote(log)} --key FILE --first")
    elif report.authenticity.status is Answer.NOT_CHECKED:
        out(f"next: policy-router log verify {shlex.quote(log)} --key FILE")


def _print_problem(problem: Problem) -> None:
    out(f"  {problem.damage:<16} {printable(problem.where)}: {printable(problem.message)}")


def _said_of_checkpoints(report: VerifyReport) -> str:
    if not report.checkpoints:
        return "there is no checkpoint"
    last = f"{report.covered:,} of {counted(report.lines, 'line')}"
    return f"{counted(report.checkpoints, 'checkpoint')}, the last one over {last}"


def _more(report: VerifyReport) -> Iterator[str]:
    """Yield what else is to be known: who signed, what is not covered, what was removed."""
    yield from _of_signing(report)
    if report.uncovered and report.checkpoints:
        yield f"not signed    {counted(report.uncovered, 'line')} since the last checkpoint"
    if report.gaps:
        unlogged = counted(report.unlogged, "decision")
        yield f"gaps          {counted(report.gaps, 'gap line')}; {unlogged} not logged"
    if report.duplicate_ids:
        shown = f"such as {report.duplicate_ids[0]}"
        yield f"duplicates    several decisions have one id, {shown}"
    for removal in report.pruned:
        yield from _said_of(removal)
    if report.accepted:
        yield f"accepted      {len(report.accepted):,} that a signed statement names"


def _of_signing(report: VerifyReport) -> Iterator[str]:
    """Yield who signed and when, and with which checkpoint the log was compared."""
    if report.origin:
        yield f"signed        log {report.origin}"
        yield from (f"              key {key}" for key in report.keys)
    if report.checkpoint_time is not None:
        yield f"              at {_since(report.checkpoint_time, report.checkpoint_age or 0)}"
    for name, lines in report.witnesses.items():
        yield f"              witness {name}: {counted(lines, 'line')}"
    if (kept := report.compared) is not None:
        yield f"compared      {kept.name}: {counted(kept.lines, 'line')}"
        if kept.time is not None:
            yield f"              at {_since(kept.time, kept.age or 0)}"


def _since(time: int, age: int) -> str:
    """Return when something was signed, in seconds since 1970, and how long ago that is."""
    number, unit = next(
        ((age // it, name) for it, name in _UNITS if age >= 2 * it), (age, "second")
    )
    return f"{spelt(moment_of(time * _SECOND))}, {counted(number, unit)} ago"


def _said_of(removal: Removal) -> Iterator[str]:
    """Yield what was pruned, and who says so."""
    first, last = removal.segments
    segments = f"segment {first}" if first == last else f"segments {first} to {last}"
    lines = f", {spelt_lines(*removal.lines)}" if removal.lines else ""
    yield f"pruned        {removal.writer}: {segments}{lines}"
    if removal.oldest:
        times = (spelt(moment_of(it)) for it in (removal.oldest, removal.newest))
        yield f"              from {' to '.join(times)}"
    yield f"              said by {removal.said_by or 'no line of the log'}"
    yield f"              signed in {removal.statement or 'no statement'}"
    yield f"              covered by {removal.checkpoint or 'no checkpoint'}"
