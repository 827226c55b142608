"""The command ``log verify-proof``: checks a proof."""

from __future__ import annotations

import argparse
import io
from typing import Any, Final

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
from policy_router.log.sign import checkpoints, standalone
from policy_router.log.sign.keys import SignatureError, Verifier
from policy_router.log.sign.notes import ConsistencyProof, InclusionProof

_ZIP: Final = b"PK\x03\x04"
_MOST_BYTES: Final = 1 << 30


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("proof", metavar="PROOF", help="a file, a bundle, or -")
    add_keys(parser, "the public key of the log", is_needed=True)
    text = "the older checkpoint, for a proof that the log only grew"
    parser.add_argument("--since", metavar="FILE", help=text)
    add_format(parser)


def run(options: argparse.Namespace) -> int:
    """Check a proof."""
    verifiers = verifiers_of(options.key)
    content = read_bytes(options.proof, most=_MOST_BYTES)
    try:
        if options.since is None:
            _verify_lines(content, verifiers, options)
        else:
            text = content.decode(errors="surrogateescape")
            old = read_bytes(options.since).decode(errors="surrogateescape")
            _verify_growth(text, old, verifiers, options)
    except (SignatureError, LogError, RecordError, standalone.NotProved) as problem:
        err(f"policy-router: not proved: {printable(str(problem))}")
        return NOT_WHOLE
    return GOOD


def _verify_lines(content: bytes, verifiers: list[Verifier], options: argparse.Namespace) -> None:
    """Check a proof of decisions, or a bundle of them."""
    text, files = content.decode(errors="surrogateescape"), None
    if content.startswith(_ZIP):
        files = standalone.unpacked(io.BytesIO(content))
        text = files.get(standalone.PROOF, b"").decode(errors="surrogateescape")
    else:
        _check_kind(text, "one decision", "give the older checkpoint: --since FILE")
    if files is None and not _has_writer(text):
        _verify_line(text, verifiers, options)
        return
    keys = [standalone.Key(it.name, it.key_id, it.key) for it in verifiers]
    result = standalone.verify(text, keys, files)
    if options.format == "json":
        out_bytes(msgspec.json.encode(_plain(result)))
    else:
        out("\n".join(standalone.in_words(result)))


def _has_writer(text: str) -> bool:
    """Tell whether a proof names the writer of its line; those of the first edition do not."""
    try:
        return bool(InclusionProof.from_text(text).writer)
    except SignatureError:
        return True  # it has several proofs, or is none


def _plain(result: standalone.Result) -> dict[str, Any]:
    decisions = [
        {
            "id": it.decision.plain["id"],
            "index": it.decision.leaf,
            "writer": it.decision.writer,
            "entry": msgspec.Raw(it.decision.content),
            "events": [msgspec.Raw(event.content) for event in it.events],
        }
        for it in result.made
    ]
    names = ("id", "index", "entry") if len({it["id"] for it in decisions}) == 1 else ()
    only = {name: decisions[0][name] for name in names}
    return {
        "proved": True,
        "origin": result.origin,
        "lines": result.size,
        "key": result.key,
        "complete": result.stated is not None,
        "stated": result.stated,
        "unread": result.unread,
        "rule_files": result.has_rules,
        "policies": [msgspec.Raw(it.content) for it in result.policies],
        "decisions": decisions,
        **only,
    }


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
    """Check a proof of the first edition."""
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
    out("completeness: not proved; there may be more lines of this decision")


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
