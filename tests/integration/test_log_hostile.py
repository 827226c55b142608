"""Whatever is in the folder of a log, every command ends, and in bounded memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from policy_router import DecisionLog, decide
from policy_router.log.damage import Damage
from policy_router.log.integrity.verify import verify
from tests.support.log_auditing import (
    NOW,
    SIGNER,
    audited,
    id_of,
    lines_of,
    memory_of,
    policy_of,
    put_lines,
    segments,
    sign_log,
)

pytestmark = pytest.mark.usefixtures("counted_lines")
MEGABYTE = 1 << 20
MOST_MEGABYTES = 150
PROGRAM = """
import re, sys
from policy_router.cli import main
code = main(sys.argv[1:])
found = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())
print(f"\\npeak {int(found[1]) // 1024} {code}", file=sys.stderr)
"""
COMMANDS = {
    "verify": ("verify", "log", "--key", "auditor"),
    "checkpoint": ("checkpoint", "log", "--key", "auditor", "--state", "state"),
    "prune": ("prune", "log", "--before", "1d", "--key", "auditor", "--dry-run"),
    "prove": ("prove", "log", id_of(7)),
    "ls": ("ls", "log"),
    "tail": ("tail", "log"),
    "copy": ("copy", "log", "copied"),
    "publish": ("publish", "log", "public"),
}


def fill(path: Path, content: bytes, megabytes: int) -> None:
    """Write a content again and again."""
    path.parent.mkdir(exist_ok=True)
    block = content * (MEGABYTE // len(content))
    with path.open("wb") as stream:
        for _ in range(megabytes):
            stream.write(block)


def line_ends(log: Path) -> None:
    fill(segments(log)[1], b"\n", 8)


def one_line(log: Path) -> None:
    fill(segments(log)[1], b"x", 64)
    with segments(log)[1].open("ab") as stream:
        stream.write(b"\n")


def no_line(log: Path) -> None:
    fill(segments(log)[-1], b"x", 64)


def zeros(log: Path) -> None:
    fill(segments(log)[1], b"\0", 64)


def brackets(log: Path) -> None:
    fill(segments(log)[1], b"[" * 1000 + b"\n", 8)


def one_line_of_many(log: Path) -> None:
    line = lines_of(segments(log)[1])[0]
    fill(segments(log)[1], line + b"\n?\n", 16)


def checkpoint(log: Path) -> None:
    fill(log / "tree/checkpoint", b"a\n", 64)


def many_checkpoints(log: Path) -> None:
    for number in range(2000):
        fill(log / f"tree/checkpoints/{number + 100:012d}.txt", b"x", 0)


def statement(log: Path) -> None:
    fill(log / "tree/statements/1-a.txt", b"x\n", 64)


def entries(log: Path) -> None:
    fill(log / "tree/tile/entries/000.p/44", b"\0\0", 64)


def runs(log: Path) -> None:
    fill(log / "tree/runs", b"0 a 1 1\n", 8)


def policy(log: Path) -> None:
    fill(next((log / "policies").glob("*.json")), b"x", 128)


def head(log: Path) -> None:
    fill(log / "heads/a", b" ", 128)


FOLDERS = [
    line_ends,
    one_line,
    no_line,
    zeros,
    brackets,
    one_line_of_many,
    checkpoint,
    many_checkpoints,
    statement,
    entries,
    runs,
    policy,
    head,
]


@pytest.mark.stress
@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="it reads /proc")
@pytest.mark.parametrize("change", FOLDERS, ids=lambda it: it.__name__)
def test_memory_is_bounded_whatever_is_there(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    log = tmp_path / "log"
    audited(log)
    sign_log(log)
    memory_of(log).rename(tmp_path / "state")
    (tmp_path / "auditor").write_text(SIGNER.encoded())
    change(log)
    peaks = {}
    for name, words in COMMANDS.items():
        ran = subprocess.run(  # noqa: S603 - the words are the test's own
            [sys.executable, "-c", PROGRAM, "log", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=300,
            check=False,
        )
        _, peak, code = ran.stderr.splitlines()[-1].split()
        assert "Traceback" not in ran.stderr
        assert code in {"0", "1", "2"}
        peaks[name] = int(peak)
        if name == "verify":
            assert code == ("0" if change is runs else "1")
    assert max(peaks.values()) < MOST_MEGABYTES, peaks


def test_what_comes_after_very_much_junk_is_not_believed(tmp_path: Path) -> None:
    audited(tmp_path / "log")
    path = segments(tmp_path / "log")[1]
    lines = lines_of(path)
    put_lines(path, [b"?"] * 5000 + [*lines[:-1], lines[-1].replace(b'"time":1', b'"time":2')])
    report = verify(tmp_path / "log")
    (problem, *_) = report.integrity.problems
    assert (problem.damage, problem.where) == (Damage.EDITED, "a/2")
    assert {it.where for it in report.integrity.problems} == {"a/2"}
    assert problem.lines is not None
    assert problem.lines[0] == 7


@pytest.mark.parametrize("size", [16 * MEGABYTE + 1, 3 * 16 * MEGABYTE])
@pytest.mark.slow
def test_a_line_that_is_too_long_is_no_line(tmp_path: Path, size: int) -> None:
    log, rules = tmp_path / "log", policy_of()
    with DecisionLog(log, writer="a") as writing:
        for _ in range(3):
            writing.decision(rules, decide(rules, {}, now=NOW))
    (path,) = segments(log)
    lines = lines_of(path)
    put_lines(path, [lines[0], b"{" + b" " * size, *lines[1:]])
    report = verify(log)
    assert not report.is_whole
    assert report.integrity.problems[0].lines == (2, 2)
    assert path.stat().st_size > size
