"""Whatever was logged is whole, is decided again alike, and cannot be changed unseen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from policy_router import DecisionLog, Policy, decide
from policy_router.log.integrity.verify import Answer, verify
from policy_router.log.replay import chunks
from policy_router.log.replay.replaying import replay_log
from policy_router.log.replay.what_if import what_if
from policy_router.log.sign.checkpoints import verify_proof
from policy_router.log.sign.keys import Signer
from policy_router.log.sign.proving import prove
from tests.property.reference_input import faults
from tests.property.rich_policies import rich_policies, rich_requests
from tests.property.strategies import NOW, compiled, policies, requests
from tests.support.log_auditing import sign_log

Plain = dict[str, Any]
SIGNER = Signer("auditor", b"k" * 32)


def histories_of(policy: Plain) -> st.SearchStrategy[tuple[Plain, list[Plain]]]:
    """Return a policy with requests that fit it."""
    fitting = requests.filter(lambda request_: not faults(policy, request_))
    return st.tuples(st.just(policy), st.lists(fitting, min_size=1, max_size=5))


plain_histories = policies().flatmap(histories_of)
rich_histories = st.tuples(rich_policies(), st.lists(rich_requests, min_size=1, max_size=5))
histories = st.lists(st.one_of(plain_histories, rich_histories), min_size=1, max_size=3)
segment_bytes = st.sampled_from([1, 3000, 64 * 1024])


@contextmanager
def logged(history: list[tuple[Plain, list[Plain]]], size: int) -> Iterator[Path]:
    """Log what policies decide, each as a writer of its own, and return the folder of the log."""
    with TemporaryDirectory() as folder:
        for number, (plain, asked) in enumerate(history):
            policy = compiled(plain)
            with DecisionLog(folder, writer=f"w{number}", segment_bytes=size) as log:
                for request_ in asked:
                    log.decision(policy, decide(policy, request_, now=NOW))
        yield Path(folder)


def count(history: list[tuple[Plain, list[Plain]]]) -> int:
    return sum(len(asked) for _, asked in history)


@given(histories, segment_bytes)
def test_what_was_logged_is_whole_and_decided_again_alike(
    history: list[tuple[Plain, list[Plain]]], size: int
) -> None:
    with logged(history, size) as folder:
        assert verify(folder).is_whole
        report = replay_log(folder)
        assert (dict(report.counts), report.unreadable) == ({"identical": count(history)}, 0)


@given(plain_histories, policies(), st.sampled_from([300, 2000, 8 * 1024 * 1024]))
def test_another_policy_decides_what_it_would_have_decided(
    history: tuple[Plain, list[Plain]], other: Plain, size: int
) -> None:
    own, asked = history
    assume(not any(faults(other, request_) for request_ in asked))
    with logged([history], 64 * 1024) as folder:
        same = what_if(folder, compiled(own))
        assert (same.total, same.flips, same.otherwise) == (len(asked), 0, 0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(chunks, "_CHUNK", size)  # how the work is divided
            report = what_if(folder, compiled(other))
    flips = [targets_of(policy, asked) for policy in (compiled(own), compiled(other))]
    pairs = list(zip(*flips, strict=True))
    assert report.total == len(asked)
    assert report.flips == sum(before != after for before, after in pairs)
    assert report.gained == sum(before != after == "refused" for before, after in pairs)
    assert report.lost == sum(after != before == "refused" for before, after in pairs)


def targets_of(policy: Policy, asked: list[Plain]) -> list[str]:
    """Return what tells targets apart: parameters do not."""
    found = []
    for request_ in asked:
        decision = json.loads(decide(policy, request_, now=NOW).to_json())["decision"]
        target = decision.get("target", {})
        target.pop("parameters", None)
        if target.get("entry") == target.get("model"):
            target.pop("entry", None)
        found.append(json.dumps(target, sort_keys=True) if target else "refused")
    return found


@given(histories, segment_bytes, st.data())
def test_no_byte_changes_unseen(
    history: list[tuple[Plain, list[Plain]]], size: int, data: st.DataObject
) -> None:
    with logged(history, size) as folder:
        path = data.draw(st.sampled_from(sorted(folder.glob("w*/*.jsonl"))))
        content = path.read_bytes()
        place = data.draw(st.integers(0, len(content) - 1))
        bit = data.draw(st.sampled_from([1, 2, 4, 8, 16, 32, 64, 128]))
        path.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
        report = verify(folder)
        assert Answer.BROKEN in {report.integrity.status, report.completeness.status}


@given(histories, segment_bytes, st.data())
def test_every_decision_that_a_checkpoint_covers_is_proved(
    history: list[tuple[Plain, list[Plain]]], size: int, data: st.DataObject
) -> None:
    with logged(history, size) as folder:
        sign_log(folder, SIGNER)
        report = verify(folder, verifier=SIGNER.verifier())
        assert (report.authenticity.status, report.covered) == (Answer.VERIFIED, report.lines)
        lines = [
            line
            for path in sorted(folder.glob("w*/*.jsonl"))
            for line in path.read_bytes().split(b"\n")
            if b'"kind":"decision"' in line
        ]
        line = data.draw(st.sampled_from(lines))
        proof = prove(folder, json.loads(line)["id"])
    assert proof.line == line
    assert verify_proof(proof, SIGNER.verifier()).size == report.lines
