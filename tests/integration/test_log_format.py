"""A verifier that was written from the page about the format sees what `verify` sees."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from policy_router import DecisionLog, decide
from policy_router.log import Accepted, attest, prune, rotate_key, verify
from policy_router.log.sign.keys import Signer
from policy_router.log.sign.notes import sign, text_of
from tests.support import independent_verifier
from tests.support.independent_verifier import verified
from tests.support.log_auditing import (
    NOW,
    SIGNER,
    STRANGER,
    audited,
    lines_of,
    memory_of,
    policy_of,
    put_lines,
    rewritten,
    segments,
    seq_of,
    sign_log,
)

KEY = SIGNER.verifier().encoded()
NEXT = Signer("next", b"n" * 32)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a log with all that there can be: prunes, known damage, a new key, several tiles."""
    folder = tmp_path_factory.mktemp("logs")
    log, policy = folder / "log", policy_of()
    audited(log)
    sign_log(log)
    prune(log, 1769850020000000, SIGNER)
    path = segments(log)[-1]
    lines = lines_of(path)
    put_lines(path, lines[:-2])
    audited(log, each=5)
    attest(log, [Accepted("a", seq_of(lines[-2]), seq_of(lines[-1]))], SIGNER)
    sign_log(log)
    new_memory = folder / "next.state"
    rotate_key(log, SIGNER, NEXT, old_memory=memory_of(log), new_memory=new_memory)
    with DecisionLog(log, writer="w10") as writing:
        for _ in range(600):
            writing.decision(policy, decide(policy, {}, now=NOW))
    sign_log(log, NEXT, memory=new_memory)
    return folder


@pytest.fixture
def log(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original / "log", tmp_path / "log")
    return tmp_path / "log"


def test_it_knows_nothing_but_the_page() -> None:
    tree = ast.parse(Path(independent_verifier.__file__).read_text())
    names = [it.module or "" for it in ast.walk(tree) if isinstance(it, ast.ImportFrom)]
    names += [it.name for one in ast.walk(tree) if isinstance(one, ast.Import) for it in one.names]
    assert not [name for name in names if "policy_router" in name or name.startswith("tests")]


@pytest.mark.parametrize("key", [SIGNER, NEXT], ids=["the old key", "the new key"])
def test_both_find_nothing_in_what_nobody_touched(log: Path, key: Signer) -> None:
    assert verified(log, [key.verifier().encoded()]) == []
    report = verify(log, verifier=key.verifier())
    assert (report.is_whole, len(report.accepted) > 0, len(report.pruned)) == (True, True, 1)


def test_neither_believes_a_stranger(log: Path) -> None:
    assert verified(log, [STRANGER.verifier().encoded()])
    assert not verify(log, verifier=STRANGER.verifier()).is_whole


def edit_line(log: Path) -> None:
    path = segments(log, "b")[1]
    lines = lines_of(path)
    put_lines(path, [lines[0].replace(b'"time":1', b'"time":2'), *lines[1:]])


def drop_line(log: Path) -> None:
    path = segments(log, "b")[1]
    put_lines(path, lines_of(path)[1:])


def swap_lines(log: Path) -> None:
    path = segments(log, "b")[1]
    lines = lines_of(path)
    put_lines(path, [lines[1], lines[0], *lines[2:]])


def rewrite(log: Path) -> None:
    rewritten(log, "b", lambda plain: plain.update(time=plain["time"] + 1))


def drop_segment(log: Path) -> None:
    segments(log, "b")[1].unlink()


def drop_writer(log: Path) -> None:
    shutil.rmtree(log / "b")


def cut_tail(log: Path) -> None:
    path = segments(log, "w10")[-1]
    put_lines(path, lines_of(path)[:-1])


def cut_tail_and_head(log: Path) -> None:
    cut_tail(log)
    rewritten(log, "w10", lambda _: None)


def change_head(log: Path) -> None:
    path = log / "heads/b"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "hash": "f" * 64}))


def change_policy(log: Path) -> None:
    (path,) = (log / "policies").glob("*.json")
    path.write_bytes(path.read_bytes() + b" ")


def drop_policy(log: Path) -> None:
    (path,) = (log / "policies").glob("*.json")
    path.unlink()


def change_entry(log: Path) -> None:
    path = log / "tree/tile/entries/001"
    path.write_bytes(path.read_bytes().replace(b" 1", b" 2", 1))


def change_tile(log: Path) -> None:
    path = log / "tree/tile/0/001"
    path.write_bytes(path.read_bytes()[::-1])


def change_upper_tile(log: Path) -> None:
    (path,) = (log / "tree/tile/1/000.p").glob("2")
    path.write_bytes(path.read_bytes()[::-1])


def forge_checkpoint(log: Path) -> None:
    path = log / "tree/checkpoint"
    path.write_text(sign(text_of(path.read_text()), STRANGER))


def rename_checkpoint(log: Path) -> None:
    path = log / "tree/checkpoint"
    text = text_of(path.read_text())
    path.write_text(sign(text.replace("auditor", "other", 1), NEXT))


def late_checkpoint(log: Path) -> None:
    path = log / "tree/checkpoint"
    path.write_text(sign(text_of(path.read_text()), SIGNER))


def drop_statement(kind: str, log: Path) -> None:
    for path in (log / "tree/statements").iterdir():
        if f"\n{kind} " in path.read_text():
            path.unlink()


CHANGES: list[Callable[[Path], None]] = [
    edit_line,
    drop_line,
    swap_lines,
    rewrite,
    drop_segment,
    drop_writer,
    cut_tail,
    cut_tail_and_head,
    change_head,
    change_policy,
    drop_policy,
    change_entry,
    change_tile,
    change_upper_tile,
    forge_checkpoint,
    rename_checkpoint,
    late_checkpoint,
]


@pytest.mark.parametrize("kind", ["prune", "accept", "handover"])
def test_both_miss_a_statement(log: Path, kind: str) -> None:
    drop_statement(kind, log)
    assert verified(log, [KEY])
    assert not verify(log, verifier=SIGNER.verifier()).is_whole


@pytest.mark.parametrize("change", CHANGES, ids=lambda it: it.__name__)
def test_both_see_what_was_done(log: Path, change: Callable[[Path], None]) -> None:
    change(log)
    assert verified(log, [KEY])
    assert not verify(log, verifier=SIGNER.verifier()).is_whole
