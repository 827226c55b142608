"""A writer's chain: one line after the other, whole, by one process at a time."""

from __future__ import annotations

import datetime
import hashlib
import io
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import msgspec
import pytest
from msgspec import UNSET

from policy_router.errors import LogError, RecordError
from policy_router.log.entry import (
    Call,
    Close,
    Execution,
    Gap,
    Kind,
    LogEntry,
    Prune,
    line_hash,
    microseconds,
    moment_of,
)
from policy_router.log.files import sync_folder, write_whole
from policy_router.log.folder import LogFolder, is_writer
from policy_router.log.heads import SCHEMA, Head, UnknownSchemaError, read_head
from policy_router.log.lock import lock
from policy_router.log.policies import used_policy
from policy_router.log.read.reading import LogReader
from policy_router.log.write import chain as chain_module
from policy_router.log.write import claims as claims_module
from policy_router.log.write.chain import Chain, Limits
from policy_router.log.write.drafts import Draft, chained, encoded
from tests.support.log_chain import (
    GENESIS,
    canonical,
    closes,
    gaps,
    kinds,
    one_writer,
    policy_of,
    problems,
    read,
    record_of,
    segments,
    whole,
)
from tests.support.rows import each

LARGE = Limits(1_000_000, 1e6)
POLICY = policy_of()
ID = "01234567-89ab-7def-8123-456789abcdef"


def gap(time: int = 1, reason: str = "unlogged", **more: Any) -> Draft:
    return Draft(Kind.GAP, time, gap=Gap(reason, **more))


def opened(folder: Path, writer: str | None = None, limits: Limits = LARGE) -> Chain:
    names = [writer] if writer else [f"w{number}" for number in range(1, 10)]
    return Chain(LogFolder(folder), names, limits, 1)


def written(folder: Path, *batches: list[Draft], limits: Limits = LARGE) -> None:
    """Write batches in a process of their own, so to say."""
    chain = opened(folder, limits=limits)
    for batch in batches:
        chain.write(batch)
    chain.release()


# A line.


def test_a_line_is_canonical_json_with_its_place_in_the_chain() -> None:
    draft = Draft(Kind.EXECUTION, 5, ID, execution=encoded(Execution("started", model="m\u00e9")))
    line = chained(draft, 3, "ab")
    plain = {
        "execution": {"event": "started", "model": "m\u00e9"},
        "id": ID,
        "kind": "execution",
        "prev": "ab",
        "seq": 3,
        "time": 5,
    }
    assert line == canonical(plain)
    assert line_hash(line) == hashlib.sha256(line).hexdigest()


def test_every_kind_of_line_can_be_read_back() -> None:
    record = record_of(POLICY, team="x")
    calls = (Call(1, "p", "m", failure="timeout", is_sent=False),)
    ended = Execution("finished", seconds=0.5, calls=calls)
    drafts = [
        Draft(Kind.DECISION, 1, ID, ID, encoded({"team": "x"}), msgspec.Raw(record.to_json())),
        Draft(Kind.EXECUTION, 2, ID, execution=encoded(ended)),
        gap(3, "torn_tail", bytes=4),
        Draft(Kind.CLOSE, 4, close=Close("end")),
        Draft(Kind.PRUNE, 5, prune=Prune(7, 8, ("w1/1", "w1/2"))),
        Draft(Kind.POLICY, 6, used=used_policy(POLICY, origin_commit="4f2a", loaded_by="ada")),
    ]
    for number, draft in enumerate(drafts, 1):
        line = chained(draft, number, GENESIS)
        entry = LogEntry.from_json(line)
        assert (entry.seq, entry.prev, entry.time, entry.kind) == (
            number,
            GENESIS,
            number,
            draft.kind,
        )
        assert (entry.id, entry.parent) == (draft.id, draft.parent)
        assert entry.caller == ({"team": "x"} if draft.kind is Kind.DECISION else UNSET)
        assert entry.execution == (ended if draft.kind is Kind.EXECUTION else UNSET)
        assert entry.gap == draft.gap
        assert (entry.close, entry.prune) == (draft.close, draft.prune)
        assert entry.policy == draft.used
        assert b"purpose" not in line
        assert b"trace" not in line
    assert set(Kind) == {draft.kind for draft in drafts}


def test_the_record_of_a_decision_is_in_its_line_byte_for_byte() -> None:
    record = record_of(POLICY, "coding", team="caf\u00e9")
    draft = Draft(Kind.DECISION, 1, ID, record=msgspec.Raw(record.to_json()))
    line = chained(draft, 1, GENESIS)
    assert b'"record":' + record.to_json() in line
    entry = LogEntry.from_json(line)
    assert entry.decision_record == record
    assert entry.decision_record.to_json() == record.to_json()


def test_a_line_without_a_record_has_none() -> None:
    with pytest.raises(RecordError, match="the line has no decision record"):
        _ = LogEntry.from_json(chained(gap(), 1, GENESIS)).decision_record


def test_a_record_that_is_none_cannot_be_read() -> None:
    draft = Draft(Kind.DECISION, 1, ID, record=msgspec.Raw(b'{"schema":"other"}'))
    with pytest.raises(RecordError, match="not a record of the schema"):
        _ = LogEntry.from_json(chained(draft, 1, GENESIS)).decision_record


@each(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"\xff",
        b'{"seq":1,"prev":"a","time":1,"kind":"other"}',
        b'{"seq":"1","prev":"a","time":1,"kind":"gap"}',
        b'{"seq":1,"prev":"a","time":1.5,"kind":"gap"}',
        b'{"seq":1,"prev":"\xff","time":1,"kind":"gap"}',
        b'{"later":' + b"[" * 200_000,
    ],
    ids=range(10),
)
def test_what_is_no_line_is_an_error(line: bytes) -> None:
    with pytest.raises(RecordError, match="not a line of a decision log"):
        LogEntry.from_json(line)


def test_fields_of_later_versions_are_left_out() -> None:
    line = canonical({"seq": 1, "prev": "a", "time": 1, "kind": "gap", "later": {"a": [1]}})
    assert LogEntry.from_json(line).seq == 1


@each(
    ("moment", "expected"),
    [
        (datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC), 0),
        (datetime.datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=datetime.UTC), 1_000_005),
        (datetime.datetime(1969, 12, 31, 23, 59, 59, tzinfo=datetime.UTC), -1_000_000),
        (
            datetime.datetime(1970, 1, 1, 9, tzinfo=datetime.timezone(datetime.timedelta(hours=9))),
            0,
        ),
        (datetime.datetime.max.replace(tzinfo=datetime.UTC), 253_402_300_799_999_999),
    ],
    ids=range(5),
)
def test_a_time_is_whole_microseconds_in_utc(moment: datetime.datetime, expected: int) -> None:
    assert microseconds(moment) == expected
    assert moment_of(expected) == moment


@each("time", [1 << 62, -(1 << 62), 1 << 80])
def test_a_time_that_no_calendar_has_counts_as_1970(time: int) -> None:
    assert moment_of(time) == datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


# The folder.


@each(
    ("name", "can_be"),
    [
        ("w1", True),
        ("_", True),
        ("host-7.example", True),
        ("a" * 64, True),
        ("a" * 65, False),
        ("", False),
        ("heads", False),
        ("-a", False),
        ("a/b", False),
        ("a\n", False),
        ("\u00e9", False),
        ("..", False),
        ("policies", False),
        ("checkpoints", False),
    ],
)
def test_a_writer_has_a_name_that_any_system_can_have(name: str, *, can_be: bool) -> None:
    assert is_writer(name) is can_be


STRAYS = ("x.jsonl", "2.jsonl", "000000004.jsonl", "00000002.jsonl.bak", "٠٠٠٠٠٠٠٢.jsonl")


def test_writers_and_segments_are_found_in_order(tmp_path: Path) -> None:
    for name in ("w10", "w2", "b", "policies", "checkpoints", "heads", "-x", "src"):
        (tmp_path / name).mkdir()
    for name in ("w10/00000001.jsonl", "heads/b", "policies/1.jsonl"):
        (tmp_path / name).touch()
    (tmp_path / "w3").write_text("no folder")
    for name in ("00000010.jsonl", "00000009.jsonl", "00000003.pruned", "00000004.pruned", *STRAYS):
        (tmp_path / "w2" / name).write_bytes(b"")
    (tmp_path / "w2/00000004.jsonl").write_bytes(b"")
    (tmp_path / "w2/00000005.jsonl.bak").write_bytes(b"")
    folder = LogFolder(tmp_path)
    assert folder.writers() == ["b", "w2", "w10"]
    found = folder.segments("w2")
    assert [(it.number, it.name) for it in found] == [(4, "w2/4"), (9, "w2/9"), (10, "w2/10")]
    assert [it.name for it in folder.all_segments()] == ["w2/4", "w2/9", "w2/10", "w10/1"]
    assert folder.segments("w3") == folder.segments("nobody") == []
    assert folder.segment_path("w2", 7) == tmp_path / "w2/00000007.jsonl"


@pytest.mark.parametrize("name", ["w1/00000001.jsonl", "heads/w1", "checkpoints/000000000001.txt"])
def test_a_folder_is_a_log_when_there_is_anything_of_one(tmp_path: Path, name: str) -> None:
    file = tmp_path / "log" / name
    for folder in (tmp_path / "log", file.parent):
        with pytest.raises(LogError, match="there is no decision log here"):
            LogFolder.existing(tmp_path / "log")
        folder.mkdir()
    file.touch()
    assert LogFolder.existing(tmp_path / "log").path == tmp_path / "log"


@pytest.mark.parametrize("name", ["src/main.py", "policies/acme.yaml", "checkpoints/best.pt"])
def test_another_folder_is_no_log(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.parent.mkdir()
    file.touch()
    with pytest.raises(LogError, match="there is no decision log here"):
        LogFolder.existing(tmp_path)
    assert LogFolder(tmp_path).writers() == []


def test_a_plain_file_is_no_log(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("mine")
    folder = LogFolder(tmp_path / "plain")
    assert folder.known_writers() == folder.writers() == []
    with pytest.raises(LogError, match="there is no decision log here"):
        LogReader(tmp_path / "plain")


def test_heads_are_found_and_read(tmp_path: Path) -> None:
    folder = LogFolder(tmp_path)
    assert folder.known_writers() == []
    assert folder.head("w1") is None
    head = Head(3, 400, 50, "ab" * 32)
    for name in ("w10", "w2", "-x"):
        write_whole(folder.heads / name, head.to_bytes())
    assert folder.known_writers() == ["w2", "w10"]
    assert folder.head("w2") == head


def test_a_head_is_always_as_long() -> None:
    small = Head(1, 0, 0, GENESIS).to_bytes()
    large = Head(10**8, 10**12, 10**15, GENESIS).to_bytes()
    assert (len(small), small[-1:]) == (len(large), b"\n")
    assert read_head(large) == Head(10**8, 10**12, 10**15, GENESIS)


@each(
    "content",
    [
        b"",
        b"{",
        b"\x00" * 256,
        b"\xff",
        b"[]",
        b'{"schema":1}',
        b"{}",
        canonical({"schema": SCHEMA, "segment": "1"}),
        b'{"a":' + b"[" * 200_000,
    ],
    ids=range(9),
)
def test_what_is_no_head_says_nothing(content: bytes) -> None:
    assert read_head(content) is None


def test_a_head_of_a_later_version_is_an_error() -> None:
    with pytest.raises(UnknownSchemaError, match="a newer version may read it"):
        read_head(b'{"schema":"policy-router/log/v2","anything":1}')


# Writing files whole.


def test_a_file_is_written_whole_in_a_folder_that_is_made(tmp_path: Path) -> None:
    path = tmp_path / "a/b/c"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert [it.name for it in path.parent.iterdir()] == ["c"]


@pytest.mark.parametrize("problem", [OSError("disk"), KeyboardInterrupt()], ids=["error", "^C"])
def test_a_file_that_cannot_be_written_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: BaseException
) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")

    def fail(_number: int) -> None:
        raise problem

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(type(problem)):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [it.name for it in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_cannot_be_synced_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[int] = []
    close = os.close

    def fail(_number: int) -> None:
        raise OSError(5, "bad")

    def remember(number: int) -> None:
        closed.append(number)
        close(number)

    monkeypatch.setattr(os, "fsync", fail)
    monkeypatch.setattr(os, "close", remember)
    with pytest.raises(OSError, match="bad"):
        sync_folder(tmp_path)
    assert len(closed) == 1


# The lock.


def test_a_lock_is_for_one_file_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "head").write_bytes(b"")
    with (tmp_path / "head").open("rb+") as one, (tmp_path / "head").open("rb+") as other:
        assert lock(one)
        assert not lock(other)
        one.close()
        assert lock(other)


def test_a_file_whose_lock_cannot_be_asked_for_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[IO[bytes]] = []

    def fail(file: IO[bytes]) -> bool:
        asked.append(file)
        raise OSError(37, "No locks available")

    monkeypatch.setattr(claims_module, "lock", fail)
    with pytest.raises(OSError, match="No locks available"):
        opened(tmp_path)
    is_closed = [file.closed for file in asked]
    for file in asked:
        file.close()
    assert is_closed == [True]


# The chain.


def test_the_first_line_follows_on_nothing(tmp_path: Path) -> None:
    written(tmp_path, [gap()])
    (line,) = one_writer(tmp_path)
    assert (line.entry["seq"], line.entry["prev"]) == (1, GENESIS)
    assert LogFolder(tmp_path).head("w1") == Head(
        1, len(line.content) + 1, 1, hashlib.sha256(line.content).hexdigest()
    )


def test_lines_go_on_over_processes(tmp_path: Path) -> None:
    written(tmp_path, [gap(1), gap(2)], [gap(3)])
    written(tmp_path)
    written(tmp_path, [gap(4)])
    assert [line.entry["time"] for line in one_writer(tmp_path)] == [1, 2, 3, 4]


def test_the_files_of_a_log_are_no_programs(tmp_path: Path) -> None:
    written(tmp_path, [gap()])
    for path in (tmp_path / "heads/w1", segments(tmp_path)[0]):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o111


def test_the_first_free_writer_is_taken(tmp_path: Path) -> None:
    one, two = opened(tmp_path), opened(tmp_path)
    three = opened(tmp_path, "host")
    assert (one.writer, two.writer, three.writer) == ("w1", "w2", "host")
    one.release()
    four = opened(tmp_path)
    assert four.writer == "w1"
    for chain in (two, three, four):
        chain.release()
        chain.release()


def test_a_writer_is_one_process_at_a_time(tmp_path: Path) -> None:
    one = opened(tmp_path, "host")
    one.write([gap()])
    with pytest.raises(BlockingIOError, match="another process is this writer of the log"):
        opened(tmp_path, "host")
    one.write([gap()])
    one.release()
    opened(tmp_path, "host").release()
    assert kinds(one_writer(tmp_path)) == ["gap", "gap"]


def test_the_first_free_name_is_claimed(tmp_path: Path) -> None:
    def claimed() -> Chain:
        return Chain(LogFolder(tmp_path), ["a", "b"], LARGE, 1)

    one, two = claimed(), claimed()
    assert (one.writer, two.writer) == ("a", "b")
    with pytest.raises(BlockingIOError):
        claimed()
    one.release()
    again = claimed()
    assert again.writer == "a"
    for it in (again, two):
        it.release()


def test_a_head_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    written(tmp_path, [gap()])
    head, segment = tmp_path / "heads/w1", segments(tmp_path)[0]
    head.write_bytes(b'{"schema":"policy-router/log/v2"}')
    with segment.open("ab") as stream:
        stream.write(b"later\n")
    before = head.read_bytes(), segment.read_bytes()
    with pytest.raises(UnknownSchemaError):
        opened(tmp_path)
    assert (head.read_bytes(), segment.read_bytes()) == before
    with head.open("rb+") as file:
        assert lock(file)


# Rolling.


def test_a_segment_ends_after_so_many_bytes(tmp_path: Path) -> None:
    written(tmp_path, *[[gap(time)] for time in range(10)], limits=Limits(400, 1e6))
    lines = one_writer(tmp_path)
    assert kinds(lines) == ["gap", "gap", "gap", "close"] * 3 + ["gap"]
    assert closes(lines) == ["size"] * 3
    assert [path.name for path in segments(tmp_path)] == [
        f"{number:08d}.jsonl" for number in range(1, 5)
    ]


def test_a_segment_ends_after_so_many_seconds(tmp_path: Path) -> None:
    second = 1_000_000
    times = [5, second + 4, second + 5, second + 6, 2 * second + 5, 2 * second + 6]
    written(tmp_path, *[[gap(time)] for time in times], limits=Limits(1_000_000, 1.0))
    lines = one_writer(tmp_path)
    assert [(line.kind, line.segment) for line in lines] == [
        ("gap", 1),
        ("gap", 1),
        ("gap", 1),
        ("close", 1),
        ("gap", 2),
        ("gap", 2),
        ("gap", 2),
        ("close", 2),
    ]
    assert closes(lines) == ["time", "time"]


def test_a_segment_grows_old_over_processes(tmp_path: Path) -> None:
    limits = Limits(1_000_000, 1.0)
    written(tmp_path, [gap(5)], limits=limits)
    written(tmp_path, [gap(1_000_004)], limits=limits)
    assert len(segments(tmp_path)) == 1
    written(tmp_path, [gap(1_000_005)], [gap(1_000_006)], limits=limits)
    assert len(segments(tmp_path)) == 2
    assert closes(one_writer(tmp_path)) == ["time"]


def test_a_clock_that_goes_back_ends_no_segment(tmp_path: Path) -> None:
    times = [10**9, 10**9 - 1, 5, 0, -(10**9), 10**9]
    written(tmp_path, *[[gap(time)] for time in times], limits=Limits(1_000_000, 1.0))
    lines = one_writer(tmp_path)
    assert [line.entry["time"] for line in lines] == times
    assert kinds(lines) == ["gap"] * 6


def test_a_batch_is_in_one_segment(tmp_path: Path) -> None:
    written(tmp_path, [gap(time) for time in range(50)], [gap()], limits=Limits(1, 1e6))
    lines = one_writer(tmp_path)
    assert [len([line for line in lines if line.segment == it]) for it in (1, 2)] == [51, 2]


def test_a_segment_that_cannot_be_closed_is_closed_with_the_next_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = opened(tmp_path, limits=Limits(1, 1e6))
    failing = Failing(monkeypatch, at=2)
    chain.write([gap(1)])
    assert failing.calls == 2
    chain.write([gap(2)])
    chain.release()
    lines = one_writer(tmp_path)
    assert kinds(lines) == ["gap", "gap", "close"]
    assert [line.segment for line in lines] == [1, 1, 1]


# What cannot be written.


class Failing:
    """A disk that fails at one sync, counted from 1, and goes on as before."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        *,
        at: int = 1,
        problem: BaseException | None = None,
    ) -> None:
        self.calls = 0
        self._at, self._problem = at, problem or OSError(5, "Input/output error")
        monkeypatch.setattr(chain_module, "sync", self)

    def __call__(self, number: int) -> None:
        """Sync, or fail."""
        self.calls += 1
        if self.calls == self._at:
            raise self._problem
        os.fsync(number)


@pytest.mark.parametrize("problem", [OSError(5, "bad"), KeyboardInterrupt()], ids=["error", "^C"])
@pytest.mark.parametrize("at", [1, 2])
def test_what_could_not_be_synced_is_taken_back_with_the_next_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, problem: BaseException
) -> None:
    Failing(monkeypatch, at=at, problem=problem)
    chain = opened(tmp_path)
    for time in range(1, at):
        chain.write([gap(time)])
    with pytest.raises(type(problem)):
        chain.write([gap(70), gap(71)])
    assert len(read(tmp_path)["w1"]) == at + 1
    chain.write([gap(at)])
    chain.release()
    assert [line.entry["time"] for line in one_writer(tmp_path)] == list(range(1, at + 1))


def test_what_could_not_be_acknowledged_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = opened(tmp_path)
    chain.write([gap(1)])
    write_all = chain_module.write_all
    written: list[bytes] = []

    def fail_at_the_head(file: io.FileIO, content: bytes) -> None:
        if written:
            raise OSError(5, "bad")
        written.append(content)
        write_all(file, content)

    with monkeypatch.context() as patch:
        patch.setattr(chain_module, "write_all", fail_at_the_head)
        with pytest.raises(OSError, match="bad"):
            chain.write([gap(70)])
    chain.write([gap(2)])
    chain.release()
    assert [line.entry["time"] for line in one_writer(tmp_path)] == [1, 2]


class Short(io.FileIO):
    """A file that takes a few bytes at a time."""

    def write(self, content: Any) -> int:
        """Write some of it."""
        return super().write(memoryview(content)[:7])


def test_a_file_that_takes_a_little_at_a_time_gets_it_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened_short(path: Path, flags: int = 0) -> Short:
        return Short(os.open(path, os.O_RDWR | os.O_CREAT | flags), "rb+")

    monkeypatch.setattr(chain_module, "opened", opened_short)
    written(tmp_path, [gap(1), gap(2)])
    assert len(one_writer(tmp_path)) == 2


def test_a_new_segment_that_cannot_be_begun_is_begun_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = opened(tmp_path)

    def fail(_path: Path) -> None:
        monkeypatch.setattr(chain_module, "sync_folder", sync_folder)
        raise OSError(28, "full")

    monkeypatch.setattr(chain_module, "sync_folder", fail)
    with pytest.raises(OSError, match="full"):
        chain.write([gap(70)])
    chain.write([gap(1)])
    chain.release()
    assert [line.entry["time"] for line in one_writer(tmp_path)] == [1]


def test_a_new_segment_that_cannot_be_opened_is_begun_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = opened(tmp_path)

    def fail(_path: Path, _flags: int = 0) -> io.FileIO:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(chain_module, "opened", fail)
        for _ in range(2):
            with pytest.raises(OSError, match="Too many open files"):
                chain.write([gap(70)])
    chain.write([gap(1)])
    chain.release()
    assert [line.entry["time"] for line in one_writer(tmp_path)] == [1]


def test_a_line_that_cannot_be_spelt_harms_no_other(tmp_path: Path) -> None:
    chain = opened(tmp_path)
    chain.write([gap(1)])
    with pytest.raises(UnicodeEncodeError):
        chain.write([Draft(Kind.DECISION, 70, "\ud800")])
    chain.write([gap(2)])
    chain.release()
    assert [line.entry["time"] for line in one_writer(tmp_path)] == [1, 2]


def test_a_removed_log_is_not_written_to(tmp_path: Path) -> None:
    chain = opened(tmp_path / "log")
    chain.write([gap(1)])
    (tmp_path / "log").rename(tmp_path / "aside")
    for path in sorted((tmp_path / "aside").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    for _ in range(2):
        with pytest.raises(FileNotFoundError, match="the log was removed"):
            chain.write([gap(2)])
    chain.release()
    assert not (tmp_path / "log").exists()


# What is found at the beginning: the rest is in `tests/integration/test_log_kills.py`.


def test_a_gap_that_is_found_is_told_at_once(tmp_path: Path) -> None:
    written(tmp_path, [gap(1)])
    with segments(tmp_path)[0].open("ab") as stream:
        stream.write(b"{half")
    chain = opened(tmp_path)
    chain.release()
    assert gaps(one_writer(tmp_path))[1:] == [{"reason": "torn_tail", "bytes": 5}]


def test_the_chain_goes_on_after_segments_that_were_pruned(tmp_path: Path) -> None:
    written(tmp_path, [gap(1)], [gap(2)], limits=Limits(1, 1e6))
    for path in segments(tmp_path):
        path.unlink()
    before = LogFolder(tmp_path).head("w1")
    assert before is not None
    written(tmp_path, [gap(3)])
    (line,) = read(tmp_path)["w1"]
    assert (line.segment, line.entry["seq"]) == (3, before.seq + 1)
    assert line.entry["prev"] == before.hash
    written(tmp_path, [gap(4)])
    assert [it.entry["seq"] for it in read(tmp_path)["w1"]] == [before.seq + 1, before.seq + 2]


def test_a_lost_head_is_found_again_beside_what_was_pruned(tmp_path: Path) -> None:
    written(tmp_path, [gap(1)], [gap(2)], [gap(3)], limits=Limits(1, 1e6))
    lines = read(tmp_path)["w1"]
    for path in segments(tmp_path)[:2]:
        path.unlink()
    (tmp_path / "heads/w1").write_bytes(b"")
    chain = opened(tmp_path)
    chain.write([gap(4)])
    chain.release()
    found = read(tmp_path)["w1"]
    assert [line.entry["seq"] for line in found] == [5, 6, 7, 8]
    assert found[2].entry["prev"] == hashlib.sha256(lines[-1].content).hexdigest()
    assert gaps(found)[1] == {"reason": "head_lost"}


def test_a_segment_whose_first_line_cannot_be_read_has_no_age(tmp_path: Path) -> None:
    written(tmp_path, [gap(10**15)], [gap(10**15)])
    path = segments(tmp_path)[0]
    path.write_bytes(path.read_bytes().replace(b'{"gap"', b'["gap"', 1))
    written(tmp_path, [gap(10**15 + 1)], limits=Limits(1_000_000, 3600.0))
    content = path.read_bytes().split(b"\n")
    assert len(content) == 5
    assert b'"reason":"time"' in content[3]


def test_a_writer_whose_folder_cannot_be_made_lets_the_lock_go(tmp_path: Path) -> None:
    (tmp_path / "w1").write_text("mine")
    with pytest.raises(FileExistsError):
        opened(tmp_path)
    (tmp_path / "w1").unlink()
    chain = opened(tmp_path)
    assert chain.writer == "w1"
    chain.release()


# The slow reader that the tests hold the chains against.


def _cut(lines: list[bytes]) -> list[bytes]:
    return [*lines[:1], *lines[2:]]


def _swapped(lines: list[bytes]) -> list[bytes]:
    return [lines[1], lines[0], *lines[2:]]


def _edited(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[1].replace(b'"time":2', b'"time":9'), *lines[2:]]


def _spaced(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[2].replace(b'"time":', b'"time": ')]


def _floating(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[2].replace(b'"time":3', b'"time":3.0')]


def _torn(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[2][:-1]]


@pytest.mark.parametrize(
    "damage", [_cut, _swapped, _edited, _spaced, _floating, _torn], ids=lambda it: it.__name__
)
def test_the_slow_reader_finds_what_is_wrong(
    tmp_path: Path, damage: Callable[[list[bytes]], list[bytes]]
) -> None:
    written(tmp_path, [gap(1), gap(2), gap(3)])
    assert len(whole(tmp_path)["w1"]) == 3
    path = segments(tmp_path)[0]
    path.write_bytes(b"".join(damage(path.read_bytes().splitlines(keepends=True))))
    assert problems(tmp_path) != []
