"""The commands about the decision log: checking it, signing it, pruning it."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

import msgspec

from policy_router.cli import GOOD, NOT_WHOLE, log_proofs, log_reading
from policy_router.cli.log_arguments import key_of, log_of, time_of, verifier_of
from policy_router.cli.terminal import Bar, counted, err, out, out_bytes, paint_for
from policy_router.diagnostics.model import printable
from policy_router.errors import RequestError, reason_of
from policy_router.log.folder import write_whole
from policy_router.log.integrity.prune import prune
from policy_router.log.integrity.verify import Answer, Part, Report, verify
from policy_router.log.sign.keys import Signer, new_signer, read_signer
from policy_router.log.sign.signing import make_checkpoint


def run_log(options: argparse.Namespace) -> int:
    """Run a command about a log."""
    return _COMMANDS[options.log_command](options)


# Checking.


def _verify(options: argparse.Namespace) -> int:
    log, verifier = log_of(options), verifier_of(options.key)
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


def _checkpoint(options: argparse.Namespace) -> int:
    log = log_of(options)
    signer = key_of(options.key, read_signer)
    with Bar("read", is_quiet=options.quiet) as bar:
        made = make_checkpoint(log, signer, origin=options.origin, progress=bar)
    if made is None:
        err("policy-router: the last checkpoint covers every line already")
        if options.format == "json":
            out_bytes(b'{"path":null,"new_lines":0}')
    elif options.format == "json":
        out_bytes(
            msgspec.json.encode(
                {
                    "path": printable(str(made.path)),
                    "origin": made.checkpoint.origin,
                    "lines": made.checkpoint.size,
                    "new_lines": made.new_lines,
                }
            )
        )
    else:
        lines = counted(made.checkpoint.size, "line")
        out(f"signed {lines}, {made.new_lines:,} of them new: {made.path}")
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
        raise RequestError(str(private), reason_of(problem)) from None
    if not options.quiet:
        out(f"wrote {private}, which nobody else may read, and {public} for auditors")
        out(f"next: policy-router log checkpoint LOG --key {shlex.quote(options.file)}")
    return GOOD


def _write_private(path: Path, signer: Signer) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(number, "wb") as stream:
        stream.write(f"{signer.encoded()}\n".encode())


# Retention.


def _prune(options: argparse.Namespace) -> int:
    log = log_of(options)
    before = time_of(options.before, options.now, "--before")
    verifier = verifier_of(options.key)
    done = prune(log, before, verifier=verifier, dry_run=options.dry_run)
    if options.format == "json":
        out_bytes(msgspec.json.encode({"dry_run": options.dry_run, **msgspec.to_builtins(done)}))
        return GOOD
    verb = "would remove" if options.dry_run else "removed"
    lines, size = counted(done.lines, "line"), counted(done.bytes, "byte")
    out(f"{verb} {counted(len(done.segments), 'segment')}, {lines}, {size}")
    for name, reason in done.kept_back if not options.quiet else ():
        out(f"  kept  {name}: {reason}")
    return GOOD


_COMMANDS = {
    "verify": _verify,
    "checkpoint": _checkpoint,
    "keygen": _keygen,
    "prove": log_proofs.prove,
    "verify-proof": log_proofs.verify_proof,
    "ls": log_reading.ls,
    "show": log_reading.show,
    "tail": log_reading.tail,
    "stats": log_reading.stats,
    "prune": _prune,
}
