"""The command ``log verify-proof``: checks a proof."""

from __future__ import annotations

import argparse

import msgspec

from policy_router.cli.exit_codes import GOOD, NOT_WHOLE
from policy_router.cli.inputs import read_bytes
from policy_router.cli.log.arguments import add_keys, verifiers_of
from policy_router.cli.options import add_format
from policy_router.cli.terminal import counted, err, out, out_bytes
from policy_router.decision.compare import named
from policy_router.decision.request import spelt
from policy_router.diagnostics.model import printable
from policy_router.errors import LogError, RecordError, RequestError
from policy_router.log.entry import LogEntry, moment_of
from policy_router.log.sign import checkpoints
from policy_router.log.sign.keys import SignatureError, Verifier
from policy_router.log.sign.notes import ConsistencyProof, InclusionProof


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("proof", metavar="PROOF", help="a file, or - for standard input")
    add_keys(parser, "the public key of the log", is_needed=True)
    text = "the older checkpoint, for a proof that the log only grew"
    parser.add_argument("--since", metavar="FILE", help=text)
    add_format(parser)


def run(options: argparse.Namespace) -> int:
    """Check a proof."""
    verifiers = verifiers_of(options.key)
    text = read_bytes(options.proof).decode(errors="surrogateescape")
    try:
        if options.since is None:
            _verify_line(text, verifiers, options)
        else:
            old = read_bytes(options.since).decode(errors="surrogateescape")
            _verify_growth(text, old, verifiers, options)
    except (SignatureError, LogError, RecordError) as problem:
        err(f"policy-router: not proved: {printable(str(problem))}")
        return NOT_WHOLE
    return GOOD


def _kind_of(text: str) -> str:
    """Return which kind of proof a text is by its beginning: of a line, of growth, or neither."""
    if text.startswith("c2sp.org/tlog-proof@"):
        return "one decision"
    return "growth" if text.startswith("old ") else ""


def _check_kind(text: str, wanted: str, remedy: str) -> None:
    """Refuse a proof of the other kind.

    Raises:
        RequestError: it is one.
    """
    kind = _kind_of(text)
    if kind and kind != wanted:
        raise RequestError("PROOF", f"it is a proof of {kind}, and not of {wanted}", remedy)


def _verify_line(text: str, verifiers: list[Verifier], options: argparse.Namespace) -> None:
    _check_kind(text, "one decision", "give the older checkpoint: --since FILE")
    proof = InclusionProof.from_text(text)
    checkpoint = checkpoints.verify_proof(proof, *verifiers)
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


def _verify_growth(
    text: str, old: str, verifiers: list[Verifier], options: argparse.Namespace
) -> None:
    _check_kind(text, "growth", "leave --since out")
    proof = ConsistencyProof.from_text(text)
    checkpoint = checkpoints.verify_growth(proof, old, *verifiers)
    if options.format == "json":
        lines = {"old_lines": proof.old_size, "lines": checkpoint.size}
        out_bytes(msgspec.json.encode({"proved": True, **lines, "origin": checkpoint.origin}))
        return
    first, since = (counted(n, "line") for n in (proof.old_size, checkpoint.size - proof.old_size))
    origin = printable(checkpoint.origin)
    out(f"proved  {origin} has the first {first} as they were, and {since} since")
