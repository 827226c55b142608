"""The commands of docs/audit.md run, and print what the page says that they print.

``pytest --update-golden`` writes what they print into the page; then read its diff.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from benchmarks.audit_log import write_audit_log
from policy_router.log import FindingKind
from tests.support.commands import ROOT, Run

PAGE = ROOT / "docs" / "audit.md"
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
pytestmark = pytest.mark.stress


@pytest.fixture(scope="module")
def decisions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the log that the page is about."""
    folder = tmp_path_factory.mktemp("page") / "decisions"
    write_audit_log(folder, 3000)
    return folder


@pytest.fixture
def beside(decisions: Path, run: Run, tmp_path: Path) -> Run:
    """Stand in a folder with the log of the page."""
    (tmp_path / "decisions").symlink_to(decisions)
    return run


def printed(command: str, run: Run, folder: Path) -> str:
    """Run a command, and return what it prints."""
    words = shlex.split(command)
    if words[0] == "policy-router":
        ran = run(*words[1:])
        assert (ran.err, ran.code) == ("", 0), command
        return ran.out
    return subprocess.run(  # noqa: S603 - our own page
        ["/bin/sh", "-eu", "-c", command], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


def test_the_commands_print_what_the_page_says(
    beside: Run, tmp_path: Path, *, update_golden: bool
) -> None:
    text = PAGE.read_text(encoding="utf-8")
    blocks = _BLOCK.findall(text)
    for block in blocks:
        commands = [line[2:] for line in block.splitlines() if line.startswith("$ ")]
        made = "".join(f"$ {it}\n{printed(it, beside, tmp_path)}" for it in commands)
        if update_golden:
            text = text.replace(block, made)
        else:
            assert made == block
    assert len(blocks) > 8
    if update_golden:
        PAGE.write_text(text, encoding="utf-8")


def test_the_check_finds_what_the_page_says(beside: Run) -> None:
    ran = beside("log", "check", "decisions")
    assert ran.code == 1
    (shown,) = re.findall(r"(?ms)^```text\n(checked .*?)^```$", PAGE.read_text(encoding="utf-8"))
    for part in shown.split("\n\n"):
        assert part.strip() in ran.out
    words = PAGE.read_text(encoding="utf-8")
    assert all(f"| `{kind}` |" in words for kind in FindingKind)


def test_what_is_printed_on_the_page_fits_80_columns() -> None:
    for block in _BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        commands = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
        for shown in commands:
            command, *lines = shown.splitlines()
            if command.startswith("policy-router "):
                assert max(map(len, lines)) <= 80


def test_the_python_of_the_page_runs(
    beside: Run,
) -> None:
    assert beside("log", "report", "spend", "decisions").code == 0
    text = PAGE.read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    with redirect_stdout(StringIO()) as out:
        exec(compile(code, "page", "exec"), {"__name__": "__main__"})  # noqa: S102 - our own page
    *rows, total, changes = out.getvalue().splitlines()
    assert {row.split()[0] for row in rows} == {"legal", "research", "sales", "support"}
    assert int(total.split()[0]) == sum(int(row.split()[2]) for row in rows) > 0
    assert sorted(changes.strip("[]").split(", ")) == ["'w1'", "'w2'", "'w3'"]
