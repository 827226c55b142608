"""What the integration tests share: ways to run the command line, and a few policies."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from unittest import mock

from policy_router.cli import main

ROOT = Path(__file__).parents[2]
NOW = "2026-11-22T11:33:00Z"

STRICT = """\
version: 1
name: small
model: small-model
provider: main
pool:
  - {name: small, model: small-model, strengths: "quick tasks, writing"}
  - name: large
    model: large-model
    strengths: coding, analysis
    pick: task.kind == "coding"
    allow: parent.depth < 2
    price: {input: 3.0, output: 15.0}
precedence: strict
providers: {main: {base_url: "https://llm.example.com/v1"}}
"""
"""A policy that checks clean."""

WARNS = """\
version: 1
name: warns
model: m
provider: p
pool: []
providers: {p: {base_url: "https://p.example.com/v1"}}
"""
"""A policy with a warning, since its pool is empty."""

WRONG = "version: 1\nname: wrong\npool:\n  - {model: m, pick: tsk.kind == 'x'}\n"
"""A policy with an error: an unknown name."""


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str


class Run(Protocol):
    """Runs one command in this process."""

    def __call__(self, *words: str, stdin: str | bytes = b"") -> Ran: ...


def in_this_process(*words: str, cwd: Path, stdin: bytes = b"") -> Ran:
    """Run one command where it makes no difference that no process begins or ends."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2))
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8")),
    ):
        try:
            code = main(words)
        except SystemExit as end:  # how argparse ends
            code = end.code if isinstance(end.code, int) else 1
    return Ran(code, *(_content(it) for it in (out, err)))


def _content(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()


def in_process_of_its_own(
    *words: str,
    cwd: Path,
    stdin: bytes = b"",
    prefix: tuple[str, ...] = ("-m", "policy_router.cli"),
    environment: Mapping[str, str] | None = None,
    measured: bool = True,
) -> Ran:
    """Run one command as a user does; `measured` lets a coverage run follow it."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if measured or not name.startswith("COVERAGE_")
    }
    done = subprocess.run(  # noqa: S603 - the words are the test's own
        [sys.executable, *prefix, *words],
        input=stdin,
        capture_output=True,
        cwd=cwd,
        env={**inherited, **(environment or {})},
        timeout=60,
        check=False,
    )
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


def write(folder: Path, **files: str | bytes) -> None:
    """Write files; the first underscore of a name stands for the dot of its ending."""
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name.replace("_", ".", 1)).write_bytes(data)
