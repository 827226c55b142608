"""What the first edition has signed stays evidence: its checkpoints, and what it kept of prunes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from policy_router import DecisionLog, decide
from policy_router.log.damage import Damage
from policy_router.log.entry import Kind, Prune
from policy_router.log.folder import LogFolder
from policy_router.log.integrity.verify import Answer, VerifyReport, verify
from policy_router.log.sign.merkle import leaf_hash
from policy_router.log.sign.notes import Checkpoint, sign
from policy_router.log.write.chain import Chain, Limits
from policy_router.log.write.drafts import Draft
from tests.support.log_auditing import (
    NOW,
    SIGNER,
    STRANGER,
    audited,
    lines_of,
    policy_of,
    put_lines,
    root,
    segments,
    sign_log,
)

VERIFIER = SIGNER.verifier()


def leaves(log: Path, writer: str) -> list[bytes]:
    return [leaf_hash(line) for path in segments(log, writer) for line in lines_of(path)]


def sign_as_before(log: Path, tree: list[bytes], covered: dict[str, int]) -> None:
    """Sign a log as the first edition did: its tree is over the lines, writer by writer."""
    lines = []
    for writer in sorted({it.parent.name for it in log.glob("[a-z]*/*.jsonl")}):
        own = leaves(log, writer)
        tree += own[covered.get(writer, 0) :]
        covered[writer] = len(own)
        lines.append(f"writer {writer} {len(own)} {base64.b64encode(own[-1]).decode()}")
    checkpoint = Checkpoint("auditor", len(tree), root(tree), tuple(lines))
    (log / "checkpoints").mkdir(exist_ok=True)
    path = log / f"checkpoints/{len(tree):012d}.txt"
    path.write_text(sign(checkpoint.to_text(), SIGNER))


def prune_as_before(log: Path) -> None:
    """Remove the first segment of a writer as the first edition did."""
    path = segments(log)[0]
    hashes = b"".join(map(leaf_hash, lines_of(path)))
    count = len(lines_of(path))
    kept = {"first": 1, "lines": count, "leaves": base64.b64encode(hashes).decode()}
    path.with_suffix(".pruned").write_text(json.dumps(kept))
    chain = Chain(LogFolder(log), ["prune"], Limits(10**6, 10.0), 1)
    chain.write([Draft(Kind.PRUNE, 1, prune=Prune(1, count, ("a/1",)))])
    chain.release()
    path.unlink()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return a log of the first edition with two checkpoints."""
    tree: list[bytes] = []
    covered: dict[str, int] = {}
    audited(tmp_path / "log")
    sign_as_before(tmp_path / "log", tree, covered)
    audited(tmp_path / "log", each=3)
    sign_as_before(tmp_path / "log", tree, covered)
    (tmp_path / "log/heads").rename(tmp_path / "log/.heads")
    return tmp_path / "log"


def found(report: VerifyReport) -> list[tuple[Damage, str]]:
    parts = report.integrity, report.completeness, report.authenticity
    return [(it.damage, it.where) for part in parts for it in part.problems]


def test_a_log_is_verified_and_continued(log: Path) -> None:
    report = verify(log, verifier=VERIFIER)
    assert (found(report), report.checkpoints, report.uncovered) == ([], 2, 0)
    assert report.authenticity.status is Answer.VERIFIED
    audited(log, each=2)
    assert sign_log(log).left_out == ()
    report = verify(log, verifier=VERIFIER)
    assert (found(report), report.checkpoints, report.uncovered) == ([], 3, 0)


def edited(log: Path) -> None:
    path = segments(log)[0]
    put_lines(path, [line.replace(b"small", b"smell") for line in lines_of(path)])


def forged(log: Path) -> None:
    path = min((log / "checkpoints").iterdir())
    path.write_text(sign(path.read_text().rpartition("\n\n")[0] + "\n", STRANGER))


def cut(log: Path) -> None:
    for path in segments(log)[-2:]:
        path.unlink()


def gone(log: Path) -> None:
    for path in segments(log):
        path.unlink()


def garbled(log: Path) -> None:
    path = min((log / "checkpoints").iterdir())
    path.write_text(path.read_text().replace("writer a", "reader a"))


@pytest.mark.parametrize(
    ("change", "damage"),
    [
        (edited, Damage.REWRITTEN),
        (forged, Damage.BAD_CHECKPOINT),
        (garbled, Damage.BAD_CHECKPOINT),
        (cut, Damage.CUT_TAIL),
        (gone, Damage.MISSING_WRITER),
    ],
    ids=["edited", "forged", "garbled", "cut", "gone"],
)
def test_what_was_signed_before_is_still_evidence(
    log: Path, change: Callable[[Path], object], damage: Damage
) -> None:
    change(log)
    assert damage in {it for it, _ in found(verify(log, verifier=VERIFIER))}


def test_what_was_pruned_before_is_covered_and_not_signed(log: Path) -> None:
    prune_as_before(log)
    report = verify(log)
    assert (found(report), report.pruned[0].checkpoint) == ([], "checkpoints")
    assert found(verify(log, verifier=VERIFIER)) == [(Damage.BAD_PRUNE, "a/1")]
    (log / "a/00000001.pruned").write_text("?")
    assert Damage.CUT_TAIL in {it for it, _ in found(verify(log))}


def test_a_writer_that_goes_on_keeps_its_place(log: Path) -> None:
    with DecisionLog(log, writer="a") as writing:
        writing.decision(policy_of(), decide(policy_of(), {}, now=NOW))
    assert verify(log).is_whole
