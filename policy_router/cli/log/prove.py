"""The command ``log prove``: that a decision is in a log, or that a log only grew."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from policy_router.cli.log.arguments import add_log_and_id, log_and_id, log_of
from policy_router.cli.terminal import out
from policy_router.errors import LogError, RecordError, RequestError, reason_of
from policy_router.log.entry import Kind, LogEntry
from policy_router.log.files import write_whole
from policy_router.log.sign import proving
from policy_router.log.sign.notes import InclusionProof


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_log_and_id(parser)
    text = "without an ID: prove that the log only grew since this checkpoint"
    parser.add_argument("--since", metavar="FILE", help=text)
    text = "the index that a service keeps of the log; default: LOG.index, where that is there"
    parser.add_argument("--index", metavar="FILE", help=text)
    parser.add_argument("--output", metavar="FILE", help="default: standard output")


def _by_index(log: str, decision_id: str, index: str | None) -> InclusionProof | None:
    """Return a proof without reading the whole log; None where no index says where the line is.

    Nobody vouches for an index: the tree does, for the line that is found by it.

    Raises:
        RequestError: the index that was named is not there.
        LogError: no checkpoint covers the decision.
        NotWholeError: the line or the tree is not as it was signed.
    """
    path = Path(index or f"{log.rstrip('/')}.index")
    if not path.is_file():
        if index is not None:
            raise RequestError("--index", f"there is no index at {index}")
        return None
    from policy_router.server.index import Index

    try:
        place, line = Index(log, str(path)).line(decision_id)
        entry = LogEntry.from_json(line)
    except (LogError, RecordError, OSError):  # it may be behind, or of another log
        return None
    if (entry.kind, entry.id) != (Kind.DECISION, decision_id):
        return None
    return proving.prove_line(log, place.writer, entry.seq, line)


def run(options: argparse.Namespace) -> None:
    """Make a proof."""
    if options.since is None:
        log, decision_id = log_and_id(options)
        proof = _by_index(log, decision_id, options.index) or proving.prove(log, decision_id)
        text = proof.to_text()
    else:
        text = proving.prove_growth(log_of(options), Path(options.since)).to_text()
    if options.output is None:
        out(text.removesuffix("\n"))
        return
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
