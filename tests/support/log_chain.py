"""A slow and plain reader of a log's folder, to hold the package against, and things to log.

The reader knows the format from its description only: it uses json and hashlib, and nothing of
the package.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from policy_router import DecisionLog, Policy, decide, loads
from policy_router.decision.record import DecisionRecord

GENESIS = "0" * 64
KINDS = {"decision", "execution", "gap", "close", "prune", "policy"}
UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
NOW = "2026-01-31T09:00:00Z"
POLICY = """\
model: small
provider: main
pool:
  - {model: small, price: {input: 1, output: 2}}
  - {model: large, name: coder, pick: task.kind == "coding"}
precedence: strict
"""


# Reading.


@dataclass(frozen=True)
class Line:
    """A line, and where it stands."""

    writer: str
    segment: int
    content: bytes
    entry: dict[str, Any]

    @property
    def kind(self) -> str:
        """What it is about."""
        return str(self.entry["kind"])


def writers(folder: Path) -> list[str]:
    """Return the names of the writers that have a folder."""
    others = {"policies", "checkpoints", "heads", "tree"}
    return sorted(it.name for it in folder.iterdir() if it.is_dir() and it.name not in others)


def segments(folder: Path, writer: str = "w1") -> list[Path]:
    """Return the segments of a writer, in order."""
    return sorted((folder / writer).glob("*.jsonl"))


def torn(path: Path) -> int:
    """Return how many bytes a segment has after its last line end."""
    content = path.read_bytes()
    return len(content) - (content.rfind(b"\n") + 1)


def read(folder: Path) -> dict[str, list[Line]]:
    """Return the whole lines of each writer, in order; nothing is checked.

    The lines that say which policy is decided by are left out: see :func:`used_policies`.
    """
    return {
        writer: [it for it in _lines(folder, writer) if it.kind != "policy"]
        for writer in writers(folder)
    }


def used_policies(folder: Path, writer: str = "w1") -> list[dict[str, Any]]:
    """Return what the lines of a writer say of the policies that it decides by."""
    return [it.entry["policy"] for it in _lines(folder, writer) if it.kind == "policy"]


def _lines(folder: Path, writer: str) -> Iterator[Line]:
    for path in segments(folder, writer):
        for content in path.read_bytes().split(b"\n")[:-1]:
            yield Line(writer, int(path.stem), content, json.loads(content))


def problems(folder: Path) -> list[str]:
    """Return what is wrong with the chains of a log."""
    return [problem for writer in writers(folder) for problem in _problems(folder, writer)]


def _problems(folder: Path, writer: str) -> Iterator[str]:
    numbers = [path.name for path in segments(folder, writer)]
    if numbers != [f"{number + 1:08d}.jsonl" for number in range(len(numbers))]:
        yield f"{writer}: its segments are {numbers}"
    for path in segments(folder, writer):
        if torn(path):
            yield f"{writer}: {path.name} ends in the middle of a line"
    seq, prev = 0, GENESIS
    for line in _lines(folder, writer):
        where = f"{writer}, line {seq + 1}"
        if line.entry["seq"] != seq + 1:
            yield f"{where}: seq is {line.entry['seq']}"
        if line.entry["prev"] != prev:
            yield f"{where}: prev is not the hash of the line before"
        yield from (f"{where}: {problem}" for problem in _oddities(line))
        seq, prev = seq + 1, hashlib.sha256(line.content).hexdigest()


def _oddities(line: Line) -> Iterator[str]:
    """Yield what is wrong with a line by itself."""
    if type(line.entry["time"]) is not int:
        yield f"the time is {line.entry['time']!r}"
    if line.kind not in KINDS:
        yield f"the kind is {line.kind}"
    if "id" in line.entry and not UUID7.fullmatch(line.entry["id"]):
        yield f"the id is {line.entry['id']}"
    if not _has_floats(line.entry) and canonical(line.entry) != line.content:
        yield "it is not in canonical form"


def canonical(value: Any) -> bytes:
    """Return the canonical JSON of a value without floats, which have more than one spelling."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def _has_floats(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_floats, value.values()))
    if isinstance(value, list):
        return any(map(_has_floats, value))
    return isinstance(value, float)


def whole(folder: Path) -> dict[str, list[Line]]:
    """Return the lines of each writer, after checking that every chain is whole."""
    assert problems(folder) == []
    return read(folder)


def one_writer(folder: Path) -> list[Line]:
    """Return the lines of the only writer of a log whose chain is whole."""
    (lines,) = whole(folder).values()
    return lines


def kinds(lines: list[Line]) -> list[str]:
    """Return what lines are about."""
    return [line.kind for line in lines]


def gaps(lines: list[Line]) -> list[dict[str, Any]]:
    """Return the gaps that lines tell of."""
    return [line.entry["gap"] for line in lines if line.kind == "gap"]


def closes(lines: list[Line]) -> list[str]:
    """Return why segments were closed."""
    return [line.entry["close"]["reason"] for line in lines if line.kind == "close"]


def ids(lines: list[Line], kind: str = "decision") -> list[str]:
    """Return the ids of the lines of one kind."""
    return [line.entry["id"] for line in lines if line.kind == kind]


def decided(folder: Path) -> list[str]:
    """Return the ids of the decisions of all writers of a log whose chains are whole."""
    return [made for lines in whole(folder).values() for made in ids(lines)]


def everything(folder: Path) -> bytes:
    """Return all that a log holds, with the names of its files."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = "\n".join(str(path.relative_to(folder)) for path in files)
    return b"\n".join([names.encode(), *(path.read_bytes() for path in files)])


# Things to log, and with what.


class NewLog(Protocol):
    """Makes a log that is closed after the test, in a folder of the test unless given."""

    def __call__(self, folder: Path | None = None, **options: Any) -> DecisionLog: ...


def policy_of(text: str = POLICY, *, name: str = "logged") -> Policy:
    """Return a policy."""
    return loads(text, name=name)


def record_of(policy: Policy, kind: str = "", **caller: Any) -> DecisionRecord:
    """Return a decision of a policy."""
    request: dict[str, Any] = {"task": {"kind": kind}} if kind else {}
    return decide(policy, request | ({"caller": caller} if caller else {}), now=NOW)


def wide_record(policy: Policy, length: int) -> DecisionRecord:
    """Return a decision whose record is at least so many bytes long."""
    return record_of(policy, team="t" * length)
