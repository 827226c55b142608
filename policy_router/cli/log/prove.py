"""The command ``log prove``: decisions and what came of them are in a log; or it only grew."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from policy_router.cli.inputs import read_bytes
from policy_router.cli.log.arguments import add_key, key_of, log_and_id, log_of, time_of
from policy_router.cli.log.choosing import filter_of
from policy_router.cli.terminal import counted, out
from policy_router.errors import LogError, RequestError, reason_of
from policy_router.log.entry import Kind, is_id
from policy_router.log.files import write_whole
from policy_router.log.read.reading import LogReader
from policy_router.log.report.finding import CaseFinder
from policy_router.log.sign import proving
from policy_router.log.sign.keys import read_signer
from policy_router.log.sign.lines_proof import LinesProof, proof_bundle, prove_decisions

_ZIP = ".zip"
_BEGINNING = 36
"""A shorter id may be the beginning of one."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("words", metavar="LOG ID", nargs="*", help="a log, and decisions' ids")
    parser.add_argument("--log", metavar="DIR", help="the log")
    parser.add_argument("--ids", metavar="FILE", help="more ids, one a line; - is standard input")
    text = "all decisions with this, such as team=research; may be given several times"
    parser.add_argument("--where", metavar="NAME=VALUE", action="append", help=text)
    text = "all decisions from this time on: a day, RFC 3339, or an age (2h, 7d)"
    parser.add_argument("--after", metavar="TIME", help=text)
    parser.add_argument("--before", metavar="TIME", help="all decisions before this time")
    text = "the private key of the log: state that there are no more lines of these decisions"
    add_key(parser, text)
    text = "without an ID: prove that the log only grew since this checkpoint"
    parser.add_argument("--since", metavar="FILE", help=text)
    text = "the index that a service keeps of the log; default: LOG.index, where that is there"
    parser.add_argument("--index", metavar="FILE", help=text)
    text = "where to; NAME.zip gives a bundle. Default for one decision: standard output"
    parser.add_argument("-o", "--output", metavar="FILE", help=text)


def run(options: argparse.Namespace) -> None:
    """Make a proof."""
    if options.since is not None:
        _prove_growth(options)
        return
    log, ids, is_one = _chosen(options)
    is_bundle = not is_one or str(options.output).endswith(_ZIP)
    if is_bundle and options.output is None:
        raise RequestError("--output", "several decisions give a ZIP file: expected NAME.zip")
    signer = None if options.key is None else key_of(options.key, read_signer)
    by_index = is_one and not is_bundle and signer is None
    known = _by_index(log, ids[0], options.index) if by_index else None
    proof = prove_decisions(log, ids, signer=signer, known=known, clock=lambda: options.now)
    content = proof_bundle(log, proof) if is_bundle else proof.to_text().encode()
    if options.output is None:
        out(proof.to_text().removesuffix("\n"))
        return
    _write(options.output, content)
    if not options.quiet:
        _say(options, proof, len(ids) if is_bundle else None)


def _by_index(log: str, decision_id: str, index: str | None) -> Sequence[tuple[str, bytes]] | None:
    """Return the lines of a decision without reading the whole log; None where no index has them.

    Nobody vouches for an index: the tree does, for the lines that are found by it.

    Raises:
        RequestError: the index that was named is not there.
    """
    path = Path(index or f"{log.rstrip('/')}.index")
    if not path.is_file():
        if index is not None:
            raise RequestError("--index", f"there is no index at {index}")
        return None
    from policy_router.server.index import Index

    try:
        return Index(log, str(path)).lines_of(decision_id)
    except (LogError, OSError):  # it may be behind, or of another log
        return None


def _say(options: argparse.Namespace, proof: LinesProof, decisions: int | None) -> None:
    words = ""
    if decisions is not None:
        words = f": {counted(decisions, 'decision')}, {counted(len(proof.proofs), 'line')}"
    out(f"wrote {options.output}{words}")
    if proof.statement is None:
        out("completeness: not proved; --key KEY states that there are no more lines")
    out(f"next: policy-router log verify-proof {shlex.quote(options.output)} --key FILE")


def _prove_growth(options: argparse.Namespace) -> None:
    text = proving.prove_growth(log_of(options), Path(options.since)).to_text()
    if options.output is None:
        out(text.removesuffix("\n"))
        return
    _write(options.output, text.encode())
    if not options.quiet:
        since = f" --since {shlex.quote(options.since)}"
        out(f"wrote {options.output}")
        out(f"next: policy-router log verify-proof {shlex.quote(options.output)} --key FILE{since}")


def _write(name: str, content: bytes) -> None:
    path = Path(name)
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(content)  # a pipe, or a device
        else:
            write_whole(path, content)
    except OSError as problem:
        raise RequestError(name, reason_of(problem)) from None


# Which decisions.


def _chosen(options: argparse.Namespace) -> tuple[str, Sequence[str], bool]:
    """Return the log, the ids of the decisions, and whether one was named and nothing else."""
    is_filter = bool(options.where or options.after or options.before)
    words = list(options.words)
    if options.ids is None and not is_filter and len(words) + (options.log is not None) <= 2:  # noqa: PLR2004 - a log and an id
        log, id_ = log_and_id(options)
        return log, [_whole(LogReader(log), id_)], True
    if options.log is None and not words:
        raise RequestError("LOG ID", "expected a log folder")
    log = options.log
    if log is None:
        place = next((it for it, word in enumerate(words) if Path(word).is_dir()), 0)
        log = words.pop(place)
    reader = LogReader(log)
    ids = [_whole(reader, it) for it in words]
    ids += [] if options.ids is None else _listed(options.ids)
    ids += _filtered(options, reader) if is_filter else []
    if not ids:
        raise LogError(str(log), "there are no such decisions")
    return str(log), ids, False


def _listed(name: str) -> list[str]:
    """Return the ids that a file holds."""
    ids = read_bytes(name).decode("utf-8-sig", errors="replace").split()
    for number, id_ in enumerate(ids, 1):
        if not is_id(id_):
            raise RequestError(f"{name}: id {number}", "expected the id of a decision")
    return ids


def _whole(reader: LogReader, beginning: str) -> str:
    """Return the id of a decision, which may be given by its beginning."""
    if len(beginning) >= _BEGINNING:
        return beginning
    made = [it for it in reader.about(beginning) if it.entry.kind is Kind.DECISION]
    if not made:
        raise LogError(str(reader.folder.path), "there is no decision with this id")
    return str(made[0].entry.id)


def _filtered(options: argparse.Namespace, reader: LogReader) -> list[str]:
    """Return the ids of the decisions that a filter lets through, the oldest first."""
    chosen, finder = filter_of(options, {}), CaseFinder(reader)
    after, before = (
        None if text is None else time_of(text, options.now, option)
        for text, option in ((options.after, "--after"), (options.before, "--before"))
    )
    found = [
        str(line.entry.id)
        for line, case in finder.newest_first()
        if (after is None or line.entry.time >= after)
        and (before is None or line.entry.time < before)
        and chosen.fits(case)
    ]
    return found[::-1]
