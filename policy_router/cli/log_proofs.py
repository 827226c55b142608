"""The commands ``log prove`` and ``log verify-proof``."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

import msgspec

from policy_router.cli import GOOD, NOT_WHOLE
from policy_router.cli.log_arguments import content_of, key_of, log_and_id, log_of
from policy_router.cli.terminal import counted, err, out, out_bytes
from policy_router.decision.compare import named
from policy_router.decision.request import spelt
from policy_router.diagnostics.model import printable
from policy_router.errors import LogError, RecordError, RequestError, reason_of
from policy_router.log.entry import LogEntry, moment_of
from policy_router.log.folder import write_whole
from policy_router.log.sign import checkpoints, signing
from policy_router.log.sign.keys import SignatureError, Verifier, read_verifier
from policy_router.log.sign.notes import ConsistencyProof, InclusionProof


def prove(options: argparse.Namespace) -> int:
    """Prove that a decision is in a log, or that a log only grew."""
    if options.since is None:
        log, decision_id = log_and_id(options)
        text = signing.prove(log, decision_id).to_text()
    else:
        text = signing.prove_growth(log_of(options), Path(options.since)).to_text()
    if options.output is None:
        out(text.removesuffix("\n"))
        return GOOD
    path = Path(options.output)
    try:
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")  # a pipe, or a device
        else:
            write_whole(path, text.encode())
    except OSError as problem:
        raise RequestError(options.output, reason_of(problem)) from None
    if not options.quiet:
        since = "" if options.since is None else f" --since {shlex.quote(options.since)}"
        out(f"wrote {options.output}")
        out(f"next: policy-router log verify-proof {shlex.quote(options.output)} --key FILE{since}")
    return GOOD


def verify_proof(options: argparse.Namespace) -> int:
    """Check a proof."""
    verifier = key_of(options.key, read_verifier)
    text = content_of(options.proof).decode(errors="surrogateescape")
    try:
        if options.since is None:
            _verify_line(text, verifier, options)
        else:
            old = content_of(options.since).decode(errors="surrogateescape")
            _verify_growth(text, old, verifier, options)
    except (SignatureError, LogError, RecordError) as problem:
        err(f"policy-router: not proved: {printable(str(problem))}")
        return NOT_WHOLE
    return GOOD


def _verify_line(text: str, verifier: Verifier, options: argparse.Namespace) -> None:
    proof = InclusionProof.from_text(text)
    checkpoint = checkpoints.verify_proof(proof, verifier)
    entry = LogEntry.from_json(proof.line)
    record = entry.decision_record
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
        return
    place = f"line {proof.index + 1:,} of {checkpoint.size:,}"
    out(f"proved  {printable(str(entry.id))} is {place} of {printable(checkpoint.origin)}")
    out(f"        {spelt(moment_of(entry.time))}  {printable(named(record.decision))}")


def _verify_growth(text: str, old: str, verifier: Verifier, options: argparse.Namespace) -> None:
    proof = ConsistencyProof.from_text(text)
    checkpoint = checkpoints.verify_growth(proof, old, verifier)
    if options.format == "json":
        lines = {"old_lines": proof.old_size, "lines": checkpoint.size}
        out_bytes(msgspec.json.encode({"proved": True, **lines, "origin": checkpoint.origin}))
        return
    first, since = (counted(n, "line") for n in (proof.old_size, checkpoint.size - proof.old_size))
    origin = printable(checkpoint.origin)
    out(f"proved  {origin} has the first {first} as they were, and {since} since")
