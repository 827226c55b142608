"""The command ``log verify``: whether a log is whole."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from policy_router.cli.exit_codes import GOOD, NOT_WHOLE
from policy_router.cli.log.arguments import add_key, add_log, log_of, verifier_of
from policy_router.cli.options import add_format
from policy_router.cli.terminal import Bar, counted, out, out_bytes, paint_for
from policy_router.diagnostics.model import printable
from policy_router.log.integrity.verify import Answer, Part, Report, verify


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_log(parser)
    add_key(parser, "the public or private key that must have signed every checkpoint")
    parser.add_argument(
        "--checkpoint", metavar="FILE", help="a checkpoint kept elsewhere, which the log must match"
    )
    add_format(parser)


def run(options: argparse.Namespace) -> int:
    """Verify a log, and say what is found."""
    log, verifier = log_of(options), verifier_of(options.key)
    kept = None if options.checkpoint is None else Path(options.checkpoint)
    with Bar("verified", is_quiet=options.quiet) as bar:
        report = verify(log, verifier=verifier, checkpoint=kept, progress=bar)
    if options.format == "json":
        out_bytes(report.to_json())
    else:
        _print(report, log, options)
    return GOOD if report.is_whole else NOT_WHOLE


def _print(report: Report, log: str, options: argparse.Namespace) -> None:
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
            out(f"  {problem.damage:<16} {printable(problem.where)}: {printable(problem.message)}")
        for note in part.notes if not options.quiet else ():
            out(f"  note: {printable(note)}")
    if options.quiet or not report.is_whole:
        return
    if not report.checkpoints:
        out(f"next: policy-router log checkpoint {shlex.quote(log)} --key FILE")
    elif report.authenticity.status is Answer.NOT_CHECKED:
        out(f"next: policy-router log verify {shlex.quote(log)} --key FILE")


def _said_of_checkpoints(report: Report) -> str:
    if not report.checkpoints:
        return "there is no checkpoint"
    last = f"{report.covered:,} of {counted(report.lines, 'line')}"
    return f"{counted(report.checkpoints, 'checkpoint')}, the last one over {last}"
