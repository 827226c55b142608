"""The commands about logs of docs/log.md and README run, and print what the pages say.

Only ids, hashes and times differ.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.test_documents import LOG, README, blocks
from tests.support.commands import ROOT

pytestmark = pytest.mark.slow

KILLED = """
import os
from policy_router import DecisionLog, Router, load
Router(load("rules/examples/hermes.yaml"), log=DecisionLog("killed")).decide({})
with open("killed/w1/00000001.jsonl", "ab") as file:
    file.write(b'{"caller":{"id":"ad')
os._exit(9)
"""
MASKS = {
    r"\b[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b": "ID",
    r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]*…": "ID…",
    r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{3}\b": "SHORT",
    r"\b[0-9a-f]{64}\b": "HASH",
    r"\b\d{4}-\d\d-\d\dT[\d:.]+Z": "TIME",
    r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\b": "TIME",
    r"\b\d+ seconds? ago": "AGE",
    r"\+[0-9a-f]{8}\b": "+KEY",
    r"[A-Za-z0-9+/]{40,}={0,2}$": "BASE64",
}


def masked(text: str) -> str:
    """Replace what is new in each run."""
    for pattern, word in MASKS.items():
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    return text


class Shell:
    """Runs the commands of the page in a folder of their own."""

    def __init__(self, folder: Path, path: str) -> None:
        self.folder = folder
        self.environ = {**os.environ, "PATH": path}

    def __call__(self, command: str) -> str:
        """Run a command, and return all that it prints."""
        done = subprocess.run(  # noqa: S603 - our own page
            ["/bin/sh", "-euc", command],
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=True,
            text=True,
            timeout=60,
        )
        return done.stdout

    def line(self, number: int) -> str:
        """Return a line of the log."""
        return self(f"sed -n {number}p decisions/w1/00000001.jsonl")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Stand beside the logs that the page is about."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "rules").symlink_to(ROOT / "rules")
    made = Shell(folder, f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    killed = subprocess.run([sys.executable, "-c", KILLED], cwd=folder, check=False, timeout=60)  # noqa: S603 - our own
    assert killed.returncode == 9
    made("echo '{}' | policy-router decide rules/examples/hermes.yaml - --log killed")
    (setting_up,) = (
        block for block in blocks(LOG, "sh") if "keygen auditor.key" in block and "decide" in block
    )
    made(setting_up)
    return made


@pytest.mark.stress
def test_the_commands_print_what_the_page_says(shell: Shell) -> None:
    signed = json.loads(shell.line(5))["id"]
    shown = blocks(LOG, "console")
    for block in shown:
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, printed = part.partition("\n")
            made = shell(re.sub(r"(log prove decisions) \S+", rf"\1 {signed}", command))
            assert masked(made) == masked(printed), command
    assert len(shown) == 7


def test_the_hash_of_a_line_is_in_the_next_one(shell: Shell) -> None:
    (command,) = (block.splitlines()[0] for block in blocks(LOG, "console") if "sha256sum" in block)
    assert shell(command[2:]).split()[0] == json.loads(shell.line(2))["prev"]


def test_readme_s_log_is_replayed_compared_and_signed(shell: Shell) -> None:
    (block,) = (block for block in blocks(README, "sh") if "mktemp" in block)
    printed = shell(block)
    for line in (
        "all 4 decisions are identical",
        "policy changed: 1 of 4 decisions (25.00 %) would differ; 0 refusals gained, 0",
        "completeness  whole        every line that was acknowledged",
        "authenticity  verified     1 checkpoint, the last one over 6 of 6 lines",
    ):
        assert line in printed.splitlines()
