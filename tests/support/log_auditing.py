"""Logs to look at: made of whatever a test wants, and damaged or rewritten by hand."""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from policy_router import DecisionLog, Policy, decide, loads
from policy_router.log.entry import (
    GENESIS,
    Execution,
    line_hash,
)
from policy_router.log.heads import Head
from policy_router.log.sign.keys import Signer
from policy_router.log.sign.merkle import Node, TreeEdge
from policy_router.log.sign.signing import NewCheckpoint, make_checkpoint

MOMENT = datetime.datetime(2026, 1, 31, 9, tzinfo=datetime.UTC)
SECOND = datetime.timedelta(seconds=1)
NOW = "2026-01-31T09:00:00Z"
SIGNER = Signer("auditor", b"k" * 32)
STRANGER = Signer("auditor", b"s" * 32)
SEGMENT_BYTES = 4000
UNREADABLE = Path("/proc/self/mem")
"""A file that nobody can read from its beginning, not even root."""

PRICED = """\
name: priced
model: small
provider: main
pool:
  - {model: small, price: {input: 1, output: 2}}
  - {model: large, name: coder, pick: task.kind == "coding", price: {input: 10, output: 20}}
  - {model: odd, pick: task.kind == "odd"}
precedence: strict
providers: {main: {base_url: "https://llm.example.com/v1"}}
"""
"""The price of `odd` is unknown."""
CHEAP = PRICED.replace("name: priced", "name: cheap").replace('"coding"', '"writing"')
"""Picks the large model for another kind."""

Plain = dict[str, Any]


class Clock:
    """A clock that goes on by a second whenever somebody looks."""

    def __init__(self, start: datetime.datetime = MOMENT) -> None:
        self.now = start

    def __call__(self) -> datetime.datetime:
        """Tell the time."""
        self.now += SECOND
        return self.now


def id_of(number: int) -> str:
    """Return the id of a decision."""
    return f"00000000-0000-7000-8000-{number:012d}"


@functools.cache
def policy_of(text: str = PRICED) -> Policy:
    """Return a policy."""
    return loads(text)


def audited(folder: Path, *, each: int = 18, writers: Sequence[str] = ("a", "b")) -> Policy:
    """Make a log of several writers and segments, and return its policy."""
    policy, clock = policy_of(), Clock()
    for place, writer in enumerate(writers):
        with DecisionLog(folder, writer=writer, segment_bytes=SEGMENT_BYTES, clock=clock) as log:
            for number in range(each):
                kind = ("coding", "writing", "odd")[number % 3]
                record = decide(policy, {"task": {"kind": kind}}, now=clock())
                log.decision(policy, record, decision_id=id_of(100 * place + number))
    return policy


def history(
    folder: Path,
    policy: Policy,
    requests: Sequence[Mapping[str, Any]],
    used: Mapping[int, Execution] | None = None,
    *,
    writer: str = "w1",
    first: int = 0,
    now: str = NOW,
) -> None:
    """Log decisions, and at the end what came of some."""
    with DecisionLog(folder, writer=writer, clock=Clock()) as log:
        for number, request in enumerate(requests, first):
            record = decide(policy, request, now=now)
            log.decision(policy, record, decision_id=id_of(number))
        for number, execution in (used or {}).items():
            log.execution(id_of(number), execution)
        log.flush()


def finished(
    tokens_in: int | None = None, tokens_out: int | None = None, cost: float | None = None
) -> Execution:
    """Return the end of a child."""
    return Execution(
        "finished",
        status="completed",
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        cost_usd=cost,
    )


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the root of the tree over leaves, given their hashes."""
    edge = TreeEdge()
    list(edge.extend(leaves))
    return edge.root()


def nodes_of(leaves: Sequence[bytes]) -> Node:
    """Return the nodes of a tree, given the hashes of its leaves."""
    return lambda height, index: root(leaves[index << height : (index + 1) << height])


def sign_log(
    folder: Path, signer: Signer = SIGNER, *, memory: Path | None = None, **options: Any
) -> NewCheckpoint:
    """Sign a log, with a memory beside it; the first time, that is said."""
    memory = memory or memory_of(folder, signer)
    if not memory.exists() and "first" not in options:
        kept = folder / "tree/checkpoint"
        options |= {"since": kept} if kept.exists() and "since" not in options else {"first": True}
    return make_checkpoint(folder, signer, memory=memory, **options)


def memory_of(folder: Path, signer: Signer = SIGNER) -> Path:
    """Return the file in which a key remembers what it signed of a log."""
    return folder.parent / f"{folder.name}.{signer.verifier().key_id.hex()}.memory"


# By hand.


def segments(folder: Path, writer: str = "a") -> list[Path]:
    """Return the segments of a writer, in order."""
    return sorted((folder / writer).glob("*.jsonl"))


def lines_of(path: Path) -> list[bytes]:
    """Return the lines of a segment."""
    return path.read_bytes().split(b"\n")[:-1]


def put_lines(path: Path, lines: Sequence[bytes]) -> None:
    """Write a segment."""
    path.write_bytes(b"".join(line + b"\n" for line in lines))


def seq_of(line: bytes) -> int:
    """Return the number of a line."""
    return int(json.loads(line)["seq"])


def otherwise(plain: Plain) -> None:
    """Let a decision have been another."""
    if plain["seq"] == 4:
        plain["record"]["decision"]["target"]["model"] = "other"


def rewritten(folder: Path, writer: str, change: Callable[[Plain], None]) -> None:
    """Change the lines of a writer, and make all hashes and the head again."""
    seq, prev = 0, GENESIS
    for path in segments(folder, writer):
        made = []
        for line in lines_of(path):
            plain = json.loads(line)
            change(plain)
            seq += 1
            made.append(msgspec.json.encode(plain | {"seq": seq, "prev": prev}, order="sorted"))
            prev = line_hash(made[-1])
        put_lines(path, made)
    last = segments(folder, writer)[-1]
    head = Head(int(last.stem), last.stat().st_size, seq, prev)
    (folder / "heads" / writer).write_bytes(head.to_bytes())


def on_decision(number: int, change: Callable[[Plain], None], plain: Plain) -> None:
    """Change the record of one decision."""
    if plain.get("id") == id_of(number) and "record" in plain:
        change(plain["record"])


def with_record(folder: Path, number: int, change: Callable[[Plain], None]) -> None:
    """Change the record of one decision of the writer `w1`; the log is whole after it."""
    rewritten(folder, "w1", functools.partial(on_decision, number, change))
