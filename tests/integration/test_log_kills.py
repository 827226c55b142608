"""What was acknowledged outlives a kill, once; what was not finished is cut, and told."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from policy_router import DecisionLog
from policy_router.log.folder import LogFolder
from policy_router.log.heads import Head
from policy_router.log.integrity.verify import verify
from policy_router.log.write import chain as chain_module
from policy_router.log.write.chain import Chain, Limits
from tests.support import log_worker
from tests.support.log_chain import (
    GENESIS,
    POLICY,
    canonical,
    decided,
    gaps,
    ids,
    kinds,
    one_writer,
    policy_of,
    problems,
    read,
    record_of,
    segments,
    torn,
    whole,
    wide_record,
    writers,
)

pytestmark = pytest.mark.usefixtures("counted_lines")

WORKER = Path(log_worker.__file__)
ROUNDS, PROCESSES, THREADS = 17, 3, 4
LONGEST_SECONDS = 0.15
PATIENCE_SECONDS = 30.0
RULES = policy_of()
RECORD = record_of(RULES, team="x")


# Killed at any moment.


class Killed:
    """Processes that log into one folder, and are killed."""

    def __init__(self, folder: Path, *, segment_bytes: int) -> None:
        self.folder = folder / "log"
        self.acknowledged: list[str] = []
        self.torn: dict[str, list[int]] = defaultdict(list)
        self.kills = 0
        self._rules, self._ids = folder / "rules.yaml", folder / "acknowledged"
        self._rules.write_text(POLICY)
        self._segment_bytes = segment_bytes
        self._chance = random.Random(7)  # noqa: S311 - moments, no secrets

    def round(self) -> None:
        """Start all processes, and kill each at some moment after it logged its first decision."""
        with self._started() as processes:
            self._wait(processes, 0)
            for process in processes:
                assert process.stdin is not None
                process.stdin.write(b"go\n")
                process.stdin.flush()
            self._wait(processes, 1)
            moments = [self._chance.uniform(0, LONGEST_SECONDS) for _ in processes]
            began = time.monotonic()
            for moment, process in sorted(
                zip(moments, processes, strict=True), key=lambda it: it[0]
            ):
                time.sleep(max(0.0, began + moment - time.monotonic()))
                process.kill()
                self.kills += 1
        for number in range(PROCESSES):
            said = self._said(number)
            self.acknowledged += said.read_text().split("\n")[:-1]
            said.unlink()
        for writer in writers(self.folder):
            if left := torn(segments(self.folder, writer)[-1]):
                self.torn[writer].append(left)

    @contextmanager
    def _started(self) -> Iterator[list[subprocess.Popen[bytes]]]:
        processes = []
        try:
            for number in range(PROCESSES):
                words = (self.folder, self._said(number), self._rules, THREADS, self._segment_bytes)
                command = [sys.executable, str(WORKER), *map(str, words)]
                worker = subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603 - see above
                processes.append(worker)
            yield processes
        finally:
            for process in processes:
                process.kill()
                process.wait(20)
                assert process.stdin is not None
                process.stdin.close()

    def _said(self, number: int) -> Path:
        return self._ids.with_suffix(f".{number}")

    def _wait(self, processes: list[subprocess.Popen[bytes]], size: int) -> None:
        """Wait until every process has written so many bytes."""
        end = time.monotonic() + PATIENCE_SECONDS
        waiting = [self._said(number) for number in range(PROCESSES)]
        while not all(said.exists() and said.stat().st_size >= size for said in waiting):
            assert time.monotonic() < end, "a process logs nothing"
            assert all(process.poll() is None for process in processes), "a process ended"
            time.sleep(0.002)


@pytest.mark.stress
@pytest.mark.timeout(600)
def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    killed = Killed(tmp_path, segment_bytes=2_000_000)
    for _ in range(ROUNDS):
        killed.round()
    assert killed.kills >= 50
    assert writers(killed.folder) == ["w1", "w2", "w3"]
    for writer in writers(killed.folder):
        with DecisionLog(killed.folder, writer=writer) as log:
            log.decision(RULES, RECORD)
    lines = whole(killed.folder)
    made = Counter(decided(killed.folder))
    assert len(killed.acknowledged) == len(set(killed.acknowledged)) >= killed.kills
    assert [lost for lost in killed.acknowledged if made[lost] != 1] == []
    assert set(made.values()) == {1}
    for writer, of_it in lines.items():
        assert gaps(of_it) == [
            {"reason": "torn_tail", "bytes": left} for left in killed.torn[writer]
        ]
        assert kinds(of_it)[-1] == "close"
    assert len(segments(killed.folder)) > 1
    shutil.rmtree(killed.folder)


# What a kill leaves behind, written by hand.


def logged(folder: Path, count: int = 3, **options: Any) -> list[str]:
    """Log some decisions, and end without a word, as a killed process does."""
    log = DecisionLog(folder, **options)
    made = [log.decision(RULES, RECORD) for _ in range(count)]
    kept = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    log.close()
    for path in folder.rglob("*.jsonl"):
        if path not in kept:
            path.unlink()
    for path, content in kept.items():
        path.write_bytes(content)
    return made


def opened(folder: Path) -> Chain:
    """Claim and mend the writer's chain, as a process does before its first line."""
    return Chain(LogFolder(folder), ["w1"], Limits(10**9, 1e6), 1)


def again(folder: Path) -> str:
    """Log one decision as the next process does, and end."""
    with DecisionLog(folder) as log:
        return log.decision(RULES, RECORD)


def next_line(folder: Path, number: int, **more: object) -> bytes:
    """Return the line that a writer would have added, without its end."""
    last = read(folder)["w1"][-1] if writers(folder) else None
    seq = last.entry["seq"] + 1 if last else 1
    prev = hashlib.sha256(last.content).hexdigest() if last else GENESIS
    made = f"00000000-0000-7000-8000-{number:012d}"
    entry = {"seq": seq, "prev": prev, "time": 1, "kind": "decision", "id": made, **more}
    return canonical(entry)


def append(folder: Path, content: bytes) -> None:
    """Add bytes to the last segment."""
    with segments(folder)[-1].open("ab") as stream:
        stream.write(content)


TAILS = {
    "half a line": b'{"caller":{"team":"x"},"id":"019',
    "one byte": b"{",
    "a line without its end": b'{"seq":4}',
    "what is no JSON": b"\xff\xfe\x00garbage",
    "what is no JSON, with a line end": b"\xff\xfe\x00garbage\n",
    "NUL bytes": b"\x00" * 4096,
    "NUL bytes and line ends": b"\x00\n" * 700,
    "empty lines": b"\n\n\n",
    "a line that is no line of a log": b'{"seq":4}\n',
    "deeply nested JSON": b'{"a":' + b"[" * 200_000 + b"\n",
}


@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS)
def test_a_torn_tail_is_cut_and_told(tmp_path: Path, tail: bytes) -> None:
    made = logged(tmp_path)
    append(tmp_path, tail)
    made.append(again(tmp_path))
    lines = one_writer(tmp_path)
    assert kinds(lines) == ["decision"] * 3 + ["gap", "decision", "close"]
    assert gaps(lines) == [{"reason": "torn_tail", "bytes": len(tail)}]
    assert ids(lines) == made


@pytest.mark.parametrize("length", [1, 4096, 1_500_000])
def test_a_torn_tail_may_be_of_any_length(tmp_path: Path, length: int) -> None:
    logged(tmp_path)
    append(tmp_path, wide_record(RULES, 50_000).to_json().ljust(length, b"x")[:length])
    again(tmp_path)
    assert gaps(one_writer(tmp_path)) == [{"reason": "torn_tail", "bytes": length}]


def test_each_torn_tail_is_told_once(tmp_path: Path) -> None:
    for length in (5, 7, 11):
        logged(tmp_path, 1)
        append(tmp_path, b"x" * length)
    again(tmp_path)
    again(tmp_path)
    assert [gap["bytes"] for gap in gaps(one_writer(tmp_path))] == [5, 7, 11]


def test_a_torn_first_line_is_cut(tmp_path: Path) -> None:
    opened(tmp_path).release()  # killed in its first line
    (tmp_path / "w1/00000001.jsonl").write_bytes(b'{"caller"')
    made = again(tmp_path)
    lines = one_writer(tmp_path)
    assert gaps(lines) == [{"reason": "torn_tail", "bytes": 9}]
    assert ids(lines) == [made]


def test_a_torn_tail_that_could_not_be_told_at_once_is_told_later(tmp_path: Path) -> None:
    logged(tmp_path)
    append(tmp_path, b'{"half')
    opened(tmp_path).release()  # killed before its first line
    again(tmp_path)
    assert gaps(one_writer(tmp_path)) == [{"reason": "torn_tail", "bytes": 6}]


@pytest.mark.parametrize("reason", ["cut", "head_lost"])
def test_what_is_missing_and_could_not_be_told_at_once_is_told_later(
    tmp_path: Path, reason: str
) -> None:
    logged(tmp_path)
    if reason == "cut":
        segments(tmp_path)[0].write_bytes(b"")
    else:
        (tmp_path / "heads/w1").unlink()
    opened(tmp_path).release()  # killed before its first line
    again(tmp_path)
    assert [gap["reason"] for gap in gaps(read(tmp_path)["w1"])] == [reason]


def test_whole_lines_that_nobody_was_told_of_are_kept(tmp_path: Path) -> None:
    made = logged(tmp_path)
    for number in range(3):
        append(tmp_path, next_line(tmp_path, number) + b"\n")
    again(tmp_path)
    lines = one_writer(tmp_path)
    assert kinds(lines) == ["decision"] * 7 + ["close"]
    assert ids(lines)[:3] == made
    assert ids(lines)[3:6] == [f"00000000-0000-7000-8000-{number:012d}" for number in range(3)]


def test_whole_lines_are_kept_and_the_half_line_after_them_is_cut(tmp_path: Path) -> None:
    logged(tmp_path)
    for number in range(2):
        append(tmp_path, next_line(tmp_path, number) + b"\n")
    half = next_line(tmp_path, 2)
    append(tmp_path, half)
    again(tmp_path)
    lines = one_writer(tmp_path)
    assert kinds(lines) == ["decision"] * 5 + ["gap", "decision", "close"]
    assert gaps(lines) == [{"reason": "torn_tail", "bytes": len(half)}]


def test_a_later_field_in_a_whole_line_does_not_make_it_a_torn_one(tmp_path: Path) -> None:
    logged(tmp_path)
    append(tmp_path, next_line(tmp_path, 0, later={"a": [1]}) + b"\n")
    again(tmp_path)
    lines = one_writer(tmp_path)
    assert gaps(lines) == []
    assert len(ids(lines)) == 5


@pytest.mark.parametrize(
    "oddity",
    [{"kind": "later"}, {"kind": "execution", "execution": {"event": 1}}, {"record": 1}],
    ids=["kind", "part", "record"],
)
def test_a_whole_line_in_its_place_is_kept_whatever_it_says(tmp_path: Path, oddity: Any) -> None:
    logged(tmp_path)
    append(tmp_path, next_line(tmp_path, 0, **oddity) + b"\n")
    again(tmp_path)
    assert gaps(read(tmp_path)["w1"]) == []
    assert verify(tmp_path).is_whole


# What a fallen machine leaves behind: the head may be older than the lines, or be no more.


@pytest.mark.parametrize("size", [1_000_000, 2500, 1], ids=["one", "some", "each"])
def test_a_head_that_is_behind_loses_no_line(tmp_path: Path, size: int) -> None:
    made = logged(tmp_path, 1)
    before = (tmp_path / "heads/w1").read_bytes()
    made += logged(tmp_path, 6, segment_bytes=size)
    (tmp_path / "heads/w1").write_bytes(before)
    made.append(again(tmp_path))
    lines = one_writer(tmp_path)
    assert ids(lines) == made
    assert gaps(lines) == []


@pytest.mark.parametrize("old", [b'"kind":"decision"', b'{"caller"'], ids=["a line", "no line"])
def test_lines_after_a_head_that_is_behind_are_not_cut_where_one_was_changed(
    tmp_path: Path, old: bytes
) -> None:
    made = logged(tmp_path, 1)
    before = (tmp_path / "heads/w1").read_bytes()
    made += logged(tmp_path, 5)
    (tmp_path / "heads/w1").write_bytes(before)
    path = segments(tmp_path)[0]
    lines = path.read_bytes().split(b"\n")
    lines[2] = lines[2].replace(old, old.swapcase())
    path.write_bytes(changed := b"\n".join(lines))
    made.append(again(tmp_path))
    assert path.read_bytes() == changed
    (after,) = segments(tmp_path)[1:]
    assert b'"gap":{"reason":"changed"}' in after.read_bytes()
    assert made[-1].encode() in after.read_bytes()
    assert not verify(tmp_path).is_whole


def test_a_line_of_another_chain_is_not_cut(tmp_path: Path) -> None:
    logged(tmp_path)
    line = {"seq": 4, "prev": GENESIS, "time": 1, "kind": "decision"}
    append(tmp_path, canonical(line) + b"\n")
    path = segments(tmp_path)[0]
    content = path.read_bytes()
    again(tmp_path)
    assert path.read_bytes() == content
    assert not verify(tmp_path).is_whole


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_hole_in_lines_that_nobody_was_told_of_is_a_torn_tail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    made = logged(tmp_path)
    head = (tmp_path / "heads/w1").read_bytes()
    path = segments(tmp_path)[0]
    length = path.stat().st_size
    logged(tmp_path, 3)
    (tmp_path / "heads/w1").write_bytes(head)
    kept, lines = path.read_bytes()[:length], path.read_bytes()[length:].splitlines(keepends=True)
    lines[place] = b"\x00" * (len(lines[place]) - 300) + lines[place][-300:]
    path.write_bytes(kept + b"".join(lines))
    torn = len(b"".join(lines[place:]))
    report = verify(tmp_path)
    assert report.is_whole
    assert (
        f"{torn:,} bytes after the last line were not acknowledged" in report.completeness.notes[0]
    )

    def killed(_file: object, _content: object) -> None:
        raise SystemExit

    shutil.copytree(tmp_path, copy := tmp_path / "copy", ignore=lambda *_: ["copy"])
    with monkeypatch.context() as patch:
        patch.setattr(chain_module, "write_all", killed)
        with pytest.raises(SystemExit):
            again(copy)
    again(copy)
    assert verify(copy).is_whole
    shutil.rmtree(copy)
    made.append(again(tmp_path))
    assert verify(tmp_path).is_whole
    assert gaps(one_writer(tmp_path)) == [{"reason": "torn_tail", "bytes": torn}]
    assert len(ids(one_writer(tmp_path))) == len(made) + place


HEADS = {
    "missing": None,
    "empty": b"",
    "NUL bytes": b"\x00" * 256,
    "half": b'{"segment":1,"length":98',
    "another schema": Head(1, 1, 1, GENESIS, "policy-router/log/w1").to_bytes(),
    "no JSON": b"\xff\xfe\xfd",
    "no object": b"[]",
    "no schema": b"{}",
    "a number for a schema": b'{"schema":1}',
    "only a schema": b'{"schema":"policy-router/log/v1"}',
    "deeply nested": b'{"a":' + b"[" * 200_000,
    "longer than a head": b"x" * 1000,
    "a head, and more": b'{"schema":"policy-router/log/v1"}'.ljust(256) + b"x",
}


@pytest.mark.parametrize("content", HEADS.values(), ids=HEADS)
def test_a_lost_head_is_told_and_the_chain_goes_on(tmp_path: Path, content: bytes | None) -> None:
    made = logged(tmp_path)
    head = tmp_path / "heads/w1"
    if content is None:
        head.unlink()
    else:
        head.write_bytes(content)
    made.append(again(tmp_path))
    made.append(again(tmp_path))
    lines = one_writer(tmp_path)
    assert gaps(lines) == [{"reason": "head_lost"}]
    assert ids(lines) == made


@pytest.mark.parametrize(
    ("field", "value"),
    [("segment", -1), ("length", -5), ("seq", -1), ("hash", "x"), ("hash", GENESIS)],
    ids=range(5),
)
def test_a_head_that_says_what_cannot_be_loses_no_line(
    tmp_path: Path, field: str, value: object
) -> None:
    made = logged(tmp_path)
    head = tmp_path / "heads/w1"
    head.write_bytes(canonical(json.loads(head.read_bytes()) | {field: value}))
    made.append(again(tmp_path))
    assert [lost for lost in made if lost not in ids(read(tmp_path)["w1"])] == []


def test_all_heads_are_lost(tmp_path: Path) -> None:
    made = logged(tmp_path, 6, segment_bytes=1500)
    (tmp_path / "heads/w1").unlink()
    (tmp_path / "heads").rmdir()
    made.append(again(tmp_path))
    lines = one_writer(tmp_path)
    assert gaps(lines) == [{"reason": "head_lost"}]
    assert ids(lines) == made


@pytest.mark.parametrize("tail", [b"", b"{half", b"\x00" * 10], ids=["none", "half", "NUL"])
def test_head_and_end_are_lost_together(tmp_path: Path, tail: bytes) -> None:
    made = logged(tmp_path)
    (tmp_path / "heads/w1").write_bytes(b"")
    append(tmp_path, tail)
    made.append(again(tmp_path))
    lines = one_writer(tmp_path)
    told = [{"reason": "torn_tail", "bytes": len(tail)}] if tail else []
    assert gaps(lines) == [{"reason": "head_lost"}, *told]
    assert ids(lines) == made


def test_no_line_is_cut_where_nothing_says_which_were_acknowledged(tmp_path: Path) -> None:
    made = logged(tmp_path)
    (tmp_path / "heads/w1").unlink()
    path = segments(tmp_path)[0]
    first, *others = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(changed := first + b"".join(it.replace(b"{", b"[", 1) for it in others))
    made.append(again(tmp_path))
    assert path.read_bytes() == changed
    told = [
        it["gap"] for it in map(json.loads, segments(tmp_path)[1].read_bytes().splitlines()[:2])
    ]
    assert told == [{"reason": "head_lost"}, {"reason": "changed"}]


def test_the_head_is_lost_where_the_last_segment_has_no_whole_line(tmp_path: Path) -> None:
    made = logged(tmp_path, 2, segment_bytes=1)
    (tmp_path / "w1/00000003.jsonl").write_bytes(b"{half")
    (tmp_path / "heads/w1").write_bytes(b"")
    made.append(again(tmp_path))
    lines = one_writer(tmp_path)
    assert gaps(lines) == [{"reason": "head_lost"}, {"reason": "torn_tail", "bytes": 5}]
    assert ids(lines) == made


def test_a_writer_without_a_line_begins_at_the_beginning(tmp_path: Path) -> None:
    (tmp_path / "heads").mkdir()
    (tmp_path / "heads/w1").write_bytes(b"\x00")
    (tmp_path / "w1").mkdir()
    made = again(tmp_path)
    lines = one_writer(tmp_path)
    assert gaps(lines) == [{"reason": "head_lost"}]
    assert ids(lines) == [made]


# What is missing that had been acknowledged.


@pytest.mark.parametrize("kept", [0, 1, 1000, -1])
def test_a_segment_that_lost_its_end_is_told_and_left_as_it_is(tmp_path: Path, kept: int) -> None:
    logged(tmp_path)
    path = segments(tmp_path)[0]
    content = path.read_bytes()
    left = content[:kept]
    path.write_bytes(left)
    made = again(tmp_path)
    assert path.read_bytes() == left
    rest = [line for line in read(tmp_path)["w1"] if line.segment == 2]
    last = hashlib.sha256(content.split(b"\n")[2]).hexdigest()
    assert [line.entry["seq"] for line in rest] == [4, 5, 6]
    assert rest[0].entry["prev"] == last
    assert gaps(rest) == [{"reason": "cut", "bytes": len(content) - len(left)}]
    assert (kinds(rest), ids(rest)) == (["gap", "decision", "close"], [made])
    assert again(tmp_path)
    assert gaps(read(tmp_path)["w1"]) == gaps(rest)


def test_a_segment_that_was_taken_away_leaves_a_hole_in_the_chain(tmp_path: Path) -> None:
    logged(tmp_path)
    segments(tmp_path)[0].unlink()
    made = again(tmp_path)
    lines = read(tmp_path)["w1"]
    assert [line.entry["seq"] for line in lines] == [4, 5]
    assert (ids(lines), lines[0].segment) == ([made], 2)
    assert problems(tmp_path) != []


def test_a_new_process_goes_on_as_the_writer_of_a_killed_one(tmp_path: Path) -> None:
    made = [*logged(tmp_path), *logged(tmp_path), again(tmp_path), again(tmp_path)]
    lines = one_writer(tmp_path)
    assert (writers(tmp_path), ids(lines)) == (["w1"], made)
    assert kinds(lines) == ["decision"] * 7 + ["close", "decision", "close"]


def test_a_segment_that_was_closed_is_not_gone_on_with(tmp_path: Path) -> None:
    logged(tmp_path, 1, segment_bytes=1)
    again(tmp_path)
    lines = one_writer(tmp_path)
    of_first = [line for line in lines if line.segment == 1]
    assert kinds(of_first) == ["decision", "close"]
    assert kinds(lines) == ["decision", "close", "decision", "close"]
