"""How quickly a log is read: verified, replayed, and asked what another policy had decided."""

from __future__ import annotations

import datetime
import os
import shutil
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from benchmarks.log_workload import Say, log_policy, many_requests, other_policy
from benchmarks.workload import NOW
from policy_router import DecisionLog, DecisionRecord, decide
from policy_router.decision.request import spelt
from policy_router.files.ids import uuid7
from policy_router.log.folder import Progress
from policy_router.log.integrity.verify import verify
from policy_router.log.read.reading import LogReader
from policy_router.log.replay.replaying import replay_log
from policy_router.log.replay.what_if import what_if
from policy_router.log.report.log_report import log_report
from policy_router.log.sign.checkpoints import verify_proof
from policy_router.log.sign.keys import Verifier, new_signer, read_signer
from policy_router.log.sign.proving import prove_line
from policy_router.log.sign.signing import make_checkpoint
from policy_router.log.write.drafts import Decided

CORES = 2
"""How many processes go through a log where several can."""
_DISTINCT = 5_000
_FEWER = 5
_TIMES = 3
_MORE = 10_000
_KEY = "benchmark.key"
_MORE = 10_000
_PIECE = 25_000
_BATCH = 1_000
_BEGIN = datetime.datetime.fromisoformat(NOW)
_STEP = datetime.timedelta(milliseconds=20)


@dataclass(frozen=True, slots=True)
class _Log:
    """A log that was written to be read.

    Attributes:
        path: its folder.
        records: how many decisions it has.
        distinct: how many of them are of different requests.
    """

    path: Path
    records: int
    distinct: int


def measure(folder: Path, records: int, say: Say, note: Callable[[str], None]) -> dict[str, Any]:
    """Measure reading logs, which are written first and removed again.

    Args:
        folder: where logs may be made.
        records: how many records the large one has; the one of different requests has fewer.
        say: is told what is being measured.
        note: is told what is skipped.
    """
    rows: list[dict[str, Any]] = []
    large = _Log(folder / "large", records, min(_DISTINCT, records))
    fewer = max(1, records // _FEWER)
    varied = _Log(folder / "varied", fewer, fewer)
    for log in (large, varied):
        rows.append(_timed("writing it, in large batches", log, CORES, lambda: _write(log, say)))  # noqa: B023 - done at once
        if log is large:
            rows += _verified(log, say, note)
        rows += _decided(log, say)
        rows += _reported(log, say)
        if log is large:
            rows += _grown(log)
        shutil.rmtree(log.path)
    return {"reading": rows}


def _timed(
    what: str, log: _Log, cores: int, work: Callable[[], bool], times: int = 1
) -> dict[str, Any]:
    """Do something with a log, several times, and return the median of what it took."""
    taken, used, right = [], [], True
    for _ in range(times):
        start, before = time.perf_counter(), os.times()
        right = work() and right
        taken.append(time.perf_counter() - start)
        used.append(sum(os.times()[:4]) - sum(before[:4]))
    seconds, cpu_seconds = statistics.median(taken), statistics.median(used)
    return {
        "what": what,
        "records": log.records,
        "distinct": log.distinct,
        "cores": cores,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "per_second": log.records / seconds,
        "per_cpu_second": log.records / cpu_seconds if cpu_seconds else None,
        "right": right,
    }


def _telling(say: Say, what: str) -> Progress:
    """Return what tells how far something is."""
    return lambda done, total: say(f"{what}, {done / max(total, 1):.0%}")


# Writing.


def _write(log: _Log, say: Say) -> bool:
    """Write a log, as two writers at the same time."""
    pieces = [(start, min(start + _PIECE, log.records)) for start in range(0, log.records, _PIECE)]
    done = 0
    with ProcessPoolExecutor(CORES, get_context("spawn")) as pool:
        futures = {
            pool.submit(_write_piece, log.path, start, stop, log.distinct): (stop - start)
            for start, stop in pieces
        }
        for future in as_completed(futures):
            future.result()
            done += futures[future]
            say(f"writing a log, {done:,} of {log.records:,} records")
    return True


def _write_piece(path: Path, start: int, stop: int, distinct: int) -> None:
    """Log decisions by number; those with the same number modulo the different ones are equal."""
    policy = log_policy()
    with DecisionLog(path, durability="sync") as log:
        for first in range(start, stop, _BATCH):
            numbers = range(first, min(first + _BATCH, stop))
            if distinct <= _PIECE:
                known = _records(0, distinct)
            else:
                known = _records(numbers.start, numbers.stop)
            log.decisions(policy, [_at_its_time(known[n % len(known)], n) for n in numbers])


@lru_cache(maxsize=1)
def _records(start: int, stop: int) -> list[DecisionRecord]:
    policy = log_policy()
    return [decide(policy, request, now=_BEGIN) for request in many_requests(start, stop)]


def _at_its_time(record: DecisionRecord, number: int) -> Decided:
    """Return a decision as if it had been made at a time of its own."""
    now = _BEGIN + number * _STEP
    return Decided(replace(record, now=spelt(now)), uuid7(now))


# Reading.


def _verified(log: _Log, say: Say, note: Callable[[str], None]) -> list[dict[str, Any]]:
    """Measure verifying, with a checkpoint and without."""

    def work(verifier: Verifier | None = None) -> bool:
        telling = _telling(say, "verifying")
        return verify(log.path, verifier=verifier, progress=telling).is_whole

    rows = [_timed("verify", log, 1, work, _TIMES)]
    try:
        signer = new_signer("benchmark")
    except ModuleNotFoundError as problem:
        note(f"checkpoints are skipped: {problem}")
        return rows
    telling = _telling(say, "making a checkpoint")
    memory = log.path.with_name("benchmark.state")

    def sign() -> bool:
        first = not memory.exists()
        made = make_checkpoint(log.path, signer, memory=memory, first=first, progress=telling)
        return not made.left_out

    made = _timed("making the first checkpoint", log, 1, sign)
    signed = _timed("verify, with it and its key", log, 1, lambda: work(signer.verifier()), _TIMES)
    log.path.with_name(_KEY).write_text(signer.encoded(), encoding="ascii")
    return [*rows, made, signed]


def _grown(log: _Log) -> list[dict[str, Any]]:
    """Measure signing what is new in a log that was signed, and proving one line of it."""
    key = log.path.with_name(_KEY)
    if not key.exists():  # signing is not installed
        return []
    signer, memory = read_signer(key.read_bytes()), log.path.with_name("benchmark.state")
    more, one = _Log(log.path, _MORE, 1), _Log(log.path, 1, 1)
    _write_piece(log.path, log.records, log.records + _MORE, 1)

    def sign() -> bool:
        return make_checkpoint(log.path, signer, memory=memory).new_lines >= _MORE

    made = _timed("signing what is new", more, 1, sign)
    line = next(LogReader(log.path).newest_first())

    def prove() -> bool:
        proof = prove_line(log.path, line.writer, line.entry.seq, line.content)
        return verify_proof(proof, signer.verifier()).size > log.records

    return [made, _timed("proving one line", one, 1, prove, _TIMES * _TIMES)]


def _decided(log: _Log, say: Say) -> list[dict[str, Any]]:
    """Measure what makes the decisions again."""
    other = other_policy()

    def ask() -> bool:
        telling = _telling(say, "asking what if")
        found = what_if(log.path, other, workers=CORES, progress=telling)
        return found.total == log.records and found.flips > 0 and not found.unreadable

    def again() -> bool:
        telling = _telling(say, "replaying")
        found = replay_log(log.path, workers=CORES, progress=telling)
        return found.total == log.records and found.is_identical

    return [_timed("what if", log, CORES, ask), _timed("replay", log, CORES, again)]


def _reported(log: _Log, say: Say) -> list[dict[str, Any]]:
    """Measure reports: those that look at least and most of each decision."""

    def count(kind: str) -> bool:
        telling = _telling(say, f"reporting {kind}")
        found = log_report(log.path, kind, workers=CORES, progress=telling)
        return found.total["decisions"] == log.records and not found.unreadable

    return [
        _timed(f"report {kind}", log, CORES, lambda: count(kind))  # noqa: B023 - done at once
        for kind in ("spend", "rules")
    ]
