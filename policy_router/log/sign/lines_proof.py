"""Proofs of decisions with all that came of them, as one text or one ZIP file.

Each line is proved by a ``tlog-proof`` of its own. That there are no more lines can only be stated:
by who has the key, after reading every line up to the checkpoint and comparing it with its entry.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from policy_router.diagnostics.model import printable
from policy_router.errors import LogError
from policy_router.files.clock import Clock, system_clock
from policy_router.log.damage import NotWholeError
from policy_router.log.entry import Kind, LineView, line_hash, record_view, view_of
from policy_router.log.files import read_file
from policy_router.log.folder import LogFolder, readable
from policy_router.log.policies import PolicyStore
from policy_router.log.sign import standalone
from policy_router.log.sign.checkpoints import SignedCheckpoint, newest, opened_by
from policy_router.log.sign.full_reading import FoundLine, SignedHashes, lines_of
from policy_router.log.sign.keys import Signer, to_base64
from policy_router.log.sign.merkle import inclusion_proof, leaf_hash, verify_inclusion
from policy_router.log.sign.notes import Checkpoint, InclusionProof, sign, signers, text_of
from policy_router.log.sign.tiles import Entry, Run, TileStore
from policy_router.log.used_policy import UsedPolicy
from policy_router.version import VERSION

MOST_DECISIONS: Final = 100_000
"""How many decisions a proof may be of."""
_NODES: Final = 200_000
_MOST_BYTES: Final = 64 << 20
_WHEN: Final = (1980, 1, 1, 0, 0, 0)
"""The time of each file of a ZIP: the same proof gives the same bytes."""
_NO_DECISION: Final = "there is no decision with this id"
_NO_COVER: Final = "no checkpoint covers the decision yet: see log checkpoint"
_README: Final = """\
Proofs of decisions of the log {origin}

This bundle shows, without the log, what was decided here, and what ran there. It was made by
policy-router {version}. What is proved is signed with this key:

    {keys}

1. Get the public key from whom you trust, not from who gave you this bundle.
2. Unpack the bundle, and run its program: python verify.py KEY
   It is one file, and needs Python 3.9 or later and the package `cryptography`
   (pip install cryptography). `policy-router log verify-proof BUNDLE --key KEY` does the same.

proof.txt     a tlog-proof (https://c2sp.org/tlog-proof) of each line, and, where the key has
              signed it, the statement that there are no more lines
lines.jsonl   the same lines, to be read
policies/     the policies that decided, named by their SHA-256, and their rule files, in which
              secrets are blank

{completeness}
"""
_STATED: Final = """\
Complete: the key states that these are all lines of these decisions, up to line {size} of the log.
Lines that were written later are not here."""
_NOT_STATED: Final = """\
Completeness: not proved. Each line is in the log as it is here, but there may be more lines of
these decisions. `policy-router log prove --key` states that there are none."""


class LinesProof(Struct, frozen=True):
    """Proves decisions, and what came of them.

    Attributes:
        proofs: that of each line.
        statement: the note that says that there are no more lines; None where nobody says so.
    """

    proofs: tuple[InclusionProof, ...]
    statement: str | None = None

    def to_text(self) -> str:
        """Return the proofs, one behind the other, and the statement."""
        return "".join(it.to_text() for it in self.proofs) + (self.statement or "")


def prove_decisions(
    folder: str | Path,
    decision_ids: Iterable[str],
    *,
    signer: Signer | None = None,
    known: Sequence[tuple[str, bytes]] | None = None,
    clock: Clock = system_clock,
) -> LinesProof:
    """Return the proof of decisions, and of every line of what came of them.

    Args:
        folder: the log.
        decision_ids: the ids of the decisions.
        signer: the key of the log: it states that there are no more lines, after every line up to
            the checkpoint was read.
        known: the lines with their writers, where an index has them: the log is not read then. They
            are used if they are the lines of these decisions.
        clock: the time of the statement.

    Raises:
        LogError: a decision is not there, or no checkpoint covers it.
        NotWholeError: a line or the tree is not as it was signed.
        SignatureError: the checkpoint is not signed with the key.
    """
    log, ids = LogFolder.existing(folder), tuple(dict.fromkeys(decision_ids))
    if not 0 < len(ids) <= MOST_DECISIONS:
        raise LogError(str(log.path), f"1 to {MOST_DECISIONS:,} decisions are proved at once")
    with readable(log):
        signed = newest(log)
        if signed is None:
            _check_decisions(log, ids, lines_of(log, ids)[0], _NO_DECISION)
            raise LogError(str(log.path), _NO_COVER)
        hashes = None
        if signer is not None:
            opened_by(signed.note, [signer.verifier()])
            hashes = SignedHashes(log, signed)
        about, policies = (_known(ids, known or ()), list[FoundLine]())
        if hashes is not None or not about:
            about, policies = lines_of(log, ids, hashes)
        places = _Places(log, signed)
        _check_decisions(log, ids, about, _NO_DECISION)
        about = [it for it in about if places.of(it) is not None]
        _check_decisions(log, ids, about, _NO_COVER)
        order = {id_: number for number, id_ in enumerate(ids)}
        about.sort(key=lambda it: (order[it.view.id], it.view.kind != Kind.DECISION, it.view.time))
        proofs = tuple(map(places.proof, [*_policies_of(about, policies, places), *about]))
        if signer is None or hashes is None:
            return LinesProof(proofs)
        unread, now = hashes.unread(signer.verifier()), int(clock().timestamp())
        return LinesProof(proofs, sign(_statement(signed, now, unread, ids, about), signer))


def _known(ids: Sequence[str], known: Sequence[tuple[str, bytes]]) -> list[FoundLine]:
    """Return lines that are known; none of them where one is of another decision, or none."""
    found = []
    for writer, content in known:
        view = view_of(content)
        if view is None or view.id not in ids:
            return []
        found.append(FoundLine(writer, content, view))
    made = {it.view.id for it in found if it.view.kind == Kind.DECISION}
    return found if made == set(ids) else []


def _check_decisions(
    log: LogFolder, ids: Sequence[str], about: Sequence[FoundLine], otherwise: str
) -> None:
    """Refuse ids of which no decision is among some lines."""
    made = {it.view.id for it in about if it.view.kind == Kind.DECISION}
    missing = next((it for it in ids if it not in made), None)
    if missing is not None:
        which = f"{missing}: " if len(ids) > 1 else ""
        raise LogError(str(log.path), f"{which}{otherwise}")


def _policies_of(
    about: Sequence[FoundLine], policies: Sequence[FoundLine], places: _Places
) -> Iterator[FoundLine]:
    """Yield the lines that tell of the policies that decided, of the same writers."""
    wanted = {
        (it.writer, view.policy.revision)
        for it in about
        if it.view.kind == Kind.DECISION and (view := record_view(it.view.record)) is not None
    }
    for it in policies:
        used = _used(it.view)
        if used is not None and (it.writer, used.revision) in wanted and places.of(it) is not None:
            yield it


def _used(line: LineView) -> UsedPolicy | None:
    """Return what a line says of a policy; None where it says nothing."""
    try:
        return msgspec.json.decode(line.policy, type=UsedPolicy) if line.policy else None
    except msgspec.DecodeError:
        return None


class _Places:
    """Knows where lines are in the tree of a checkpoint."""

    def __init__(self, log: LogFolder, signed: SignedCheckpoint) -> None:
        self._log, self._signed, self._store = log, signed, TileStore(log.tree)
        self._size = signed.checkpoint.size
        self._runs: dict[str, list[Run]] = {}
        for run in self._store.runs():
            self._runs.setdefault(run.writer, []).append(run)
        self._node = lru_cache(maxsize=_NODES)(self._store.node(self._size))

    def of(self, line: FoundLine) -> int | None:
        """Return the place of a line in the tree; None where the checkpoint does not cover it."""
        seq = line.view.seq
        for run in self._runs.get(line.writer, ()):
            if run.first <= seq < run.first + run.count:
                index = run.start + seq - run.first
                return index if index < self._size else None
        runs = self._runs.get(line.writer)
        if runs and seq >= runs[-1].first + runs[-1].count:
            return None
        return self._store.find(line.writer, seq, self._size)

    def proof(self, line: FoundLine) -> InclusionProof:
        """Return the proof that a line is in the log.

        Raises:
            NotWholeError: the line or the tree is not as it was signed.
        """
        index, signed = self.of(line), self._signed.checkpoint
        entry = Entry(line.writer, line.view.seq, line_hash(line.content))
        if index is None or self._store.entry(index, self._size) != entry:
            message = f"{line.writer}, line {line.view.seq:,}: it is not as it was signed"
            raise NotWholeError(str(self._log.path), f"{message}: see log verify")
        hashes = inclusion_proof(self._node, index, self._size)
        leaf = leaf_hash(entry.to_bytes())
        if not verify_inclusion(leaf, index, self._size, hashes, signed.root):
            raise NotWholeError(str(self._log.path), "its tree is not the one that was signed")
        extra = f"{line.writer} ".encode() + line.content
        return InclusionProof(index, hashes, self._signed.note, extra)


def _statement(
    signed: SignedCheckpoint, now: int, unread: int, ids: Sequence[str], about: Sequence[FoundLine]
) -> str:
    """Return the text that the key signs: which lines there are of each decision."""
    checkpoint, of = signed.checkpoint, dict[str, list[str]]()
    for it in about:
        entry = f"{it.writer} {it.view.seq} {line_hash(it.content)}"
        of.setdefault(it.view.id, []).append(f"line {entry}\n")
    lines = "".join(f"decision {id_}\n{''.join(of[id_])}" for id_ in ids)
    head = f"{standalone.STATEMENT_HEAD}\n{checkpoint.origin}\ntime {now}\n"
    tree = f"tree {checkpoint.size} {to_base64(checkpoint.root)}\nunread {unread}\n"
    return f"{head}{tree}{lines}"


# The ZIP file.


def proof_bundle(folder: str | Path, proof: LinesProof) -> bytes:
    """Return a ZIP file of a proof, with its policies and all that it takes to verify it.

    Args:
        folder: the log, which has the policies.
        proof: the proof.

    Raises:
        LogError: a policy is not kept, or cannot be read.
    """
    log, content = LogFolder.existing(folder), io.BytesIO()
    with readable(log), zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, part in _files(log, proof):
            info = zipfile.ZipInfo(name, _WHEN)
            info.external_attr = 0o644 << 16
            bundle.writestr(info, part, zipfile.ZIP_DEFLATED, 1)
    return content.getvalue()


def _files(log: LogFolder, proof: LinesProof) -> Iterator[tuple[str, bytes]]:
    yield "README.txt", _readme(proof).encode()
    yield "verify.py", Path(standalone.__file__).read_bytes()
    yield standalone.PROOF, proof.to_text().encode(errors="surrogateescape")
    yield standalone.LINES, b"".join(it.line + b"\n" for it in proof.proofs)
    store, views = PolicyStore(log), [_view(it) for it in proof.proofs]
    for revision in sorted({it for it, _ in views if it}):
        path = store.path(revision)
        if not path.is_file():
            raise LogError(str(log.path), f"the policy {revision[:19]} is not kept: see log verify")
        yield f"policies/{revision.replace(':', '-')}.json", read_file(path, _MOST_BYTES)
    for used in dict.fromkeys(it for _, it in views if it is not None):
        written = store.path(used.revision).with_suffix("") / used.digest
        for file in used.files:
            name = f"policies/{used.revision.replace(':', '-')}/{used.digest}/{file.name}"
            yield name, read_file(written / file.name, _MOST_BYTES)


def _view(proof: InclusionProof) -> tuple[str, UsedPolicy | None]:
    """Return the policy of a decision, and what a line says of one; neither for other lines."""
    line = view_of(proof.line)
    if line is None:  # pragma: no cover - it was read before
        return "", None
    record = record_view(line.record) if line.kind == Kind.DECISION else None
    return "" if record is None else record.policy.revision, _used(line)


def _readme(proof: LinesProof) -> str:
    note = proof.proofs[0].checkpoint
    checkpoint = Checkpoint.from_text(text_of(note))
    says = _NOT_STATED if proof.statement is None else _STATED.format(size=f"{checkpoint.size:,}")
    keys = "\n    ".join(signers(note))
    origin = printable(checkpoint.origin)
    return _README.format(origin=origin, version=VERSION, keys=keys, completeness=says)
