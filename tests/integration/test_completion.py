"""What the shells make of the scripts of `policy-router completion`."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.commands import Run

SHOW = 'policy-router() { echo "<$*>"; }'
"""In place of the program: it prints what the shell made of the line."""


def script_of(shell: str, run: Run, folder: Path) -> Path:
    ran = run("completion", shell)
    assert (ran.code, ran.err) == (0, "")
    file = folder / f"completion.{shell}"
    file.write_text(ran.out)
    return file


def program(shell: str) -> str:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not here")
    return found


@contextmanager
def terminal(*words: str, folder: Path) -> Iterator[int]:
    """Start a shell as a person sees it, and yield its terminal."""
    child, screen = pty.fork()
    if child == 0:  # pragma: no cover - another program
        os.chdir(folder)
        plain = {"TERM": "dumb", "HOME": str(folder), "PATH": os.defpath}
        os.execve(words[0], words, plain)  # noqa: S606 - the shell is the program
    try:
        yield screen
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(screen)


def shown(screen: int, typed: str, awaited: str) -> str:
    """Type a text, and return what comes until the awaited text does."""
    os.write(screen, typed.encode())
    found, end = "", time.monotonic() + 20
    while awaited not in found:
        ready, _, _ = select.select([screen], [], [], max(end - time.monotonic(), 0))
        assert ready, f"{awaited!r} never came: {found!r}"
        found += os.read(screen, 65536).decode(errors="replace")
    return found


def bash(script: Path, *words: str) -> list[str]:
    """Return what bash offers for the last word."""
    asked = f"COMP_WORDS=({' '.join(map(repr, words))}); COMP_CWORD={len(words) - 1}"
    text = f"source {script}; {asked}; _policy_router 2>&1; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(  # noqa: S603 - a shell, and our own words
        [program("bash"), "--norc", "-c", text], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_bash_offers_commands_options_and_values(tmp_path: Path, run: Run) -> None:
    script = script_of("bash", run, tmp_path)
    assert bash(script, "policy-router", "dele") == ["delegate"]
    assert bash(script, "policy-router", "log", "ver") == ["verify", "verify-proof"]
    assert bash(script, "policy-router", "-v", "log", "verify-p") == ["verify-proof"]
    assert bash(script, "policy-router", "check", "--st") == ["--strict"]
    assert bash(script, "policy-router", "check", "x.yaml", "--format", "s") == ["sarif"]
    assert bash(script, "policy-router", "schema", "po") == ["policy", "policy-test"]
    assert bash(script, "policy-router", "check", "") == []  # the shell offers files
    assert bash(script, "policy-router", "completion", "f") == ["fish"]
    every = bash(script, "policy-router", "")
    assert {"check", "fmt", "log", "completion"} < set(every)


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_completes_what_a_person_types(shell: str, tmp_path: Path, run: Run) -> None:
    script = script_of(shell, run, tmp_path)
    (tmp_path / "some-rules.yaml").write_text("")
    (tmp_path / "logs").mkdir()
    flags = ["--norc", "--noprofile"] if shell == "bash" else ["-f"]
    begin = "" if shell == "bash" else "autoload -U compinit; compinit -u -D; "
    with terminal(program(shell), *flags, "-i", folder=tmp_path) as screen:
        shown(screen, f"{begin}source {script}; {SHOW}; echo rea''dy\n", "ready\r\n")
        assert "<schema record >" not in shown(
            screen, "policy-router sch\trec\t\n", "<schema record>"
        )
        shown(
            screen, "policy-router log verify-p\t some-r\t\n", "<log verify-proof some-rules.yaml>"
        )
        shown(screen, "policy-router check --form\tsa\t\n", "<check --format sarif>")
        shown(
            screen, "policy-router decide --log lo\t\n", "<decide --log logs"
        )  # zsh takes the stroke back


@pytest.mark.slow
def test_fish_offers_commands_options_values_and_files(tmp_path: Path, run: Run) -> None:
    script = script_of("fish", run, tmp_path)
    (tmp_path / "some-rules.yaml").write_text("")
    (tmp_path / "logs").mkdir()

    def offered(line: str) -> list[str]:
        done = subprocess.run(  # noqa: S603 - a shell, and our own words
            [program("fish"), "--no-config", "-c", f"source {script}; complete -C '{line}'"],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
            env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        )
        assert done.stderr == ""
        return [it.partition("\t")[0] for it in done.stdout.splitlines()]

    assert offered("policy-router dele") == ["delegate"]
    assert offered("policy-router log ver") == ["verify", "verify-proof"]
    assert offered("policy-router check --st") == ["--strict"]
    assert offered("policy-router check --format s") == ["sarif"]
    assert offered("policy-router schema po") == ["policy", "policy-test"]
    assert offered("policy-router check some") == ["some-rules.yaml"]
    assert offered("policy-router decide x --log l") == ["logs/"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_can_read_its_script(shell: str, tmp_path: Path, run: Run) -> None:
    script = script_of(shell, run, tmp_path)
    done = subprocess.run(  # noqa: S603 - a shell, and our own script
        [program(shell), "-n", str(script)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


# Misspelt words


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("chek",), "did you mean `check`?"),
        (("log", "verfy"), "did you mean `verify`?"),
        (("check", "x", "--strct"), "did you mean `--strict`?"),
        (("check", "x", "--fromat=json"), "did you mean `--format`?"),
        (("check", "x", "--format", "jsn"), "did you mean `json`?"),
        (("log", "verify", "x", "--chekpoint", "y"), "did you mean `--checkpoint`?"),
        (("schema", "polcy"), "did you mean `policy`?"),
        (("--verson", "schema", "policy"), "did you mean `--version`?"),
    ],
)
def test_a_misspelt_word_gets_a_suggestion(words: tuple[str, ...], expected: str, run: Run) -> None:
    ran = run(*words)
    assert ran.code == 2
    assert ran.err.rstrip().endswith(expected)


def test_a_word_that_is_like_nothing_gets_none(run: Run) -> None:
    ran = run("check", "x", "--zzzzzz")
    assert ran.code == 2
    assert ran.err.endswith("error: unrecognized arguments: --zzzzzz\n")
