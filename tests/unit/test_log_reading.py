"""A log is read in the order of time, backwards, about one decision, or as it grows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from policy_router import DecisionLog, decide
from policy_router.errors import LogError, RecordError
from policy_router.log.entry import LogEntry, microseconds
from policy_router.log.integrity.verify import verify
from policy_router.log.read import reading
from policy_router.log.read.reading import Line, LogReader, decisions
from policy_router.log.replay.replaying import replay_log
from policy_router.log.write import chain
from tests.support.log_auditing import (
    MOMENT,
    NOW,
    SECOND,
    Clock,
    audited,
    finished,
    id_of,
    lines_of,
    policy_of,
    segments,
)

RULES = policy_of()
RECORD = decide(RULES, {}, now=NOW)
BLOCKS = pytest.mark.parametrize("size", [1, 13, 500, 4096, 1_000_000])


@pytest.fixture
def log(tmp_path: Path) -> Path:
    audited(tmp_path)
    return tmp_path


def opened(path: str) -> BinaryIO:
    return Path(path).open("rb")


def of_blocks(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(reading, "_BLOCK", size)
    if size == 1:  # a block is also a buffer, and there is no buffer of 1
        monkeypatch.setattr(reading, "_open", opened)


def everything(folder: Path) -> list[bytes]:
    paths = [path for writer in ("a", "b") for path in segments(folder, writer)]
    return [line for path in paths for line in lines_of(path)]


def contents(lines: list[Line]) -> list[bytes]:
    return [line.content for line in lines]


def test_what_is_no_log_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="there is no decision log here"):
        LogReader(tmp_path / "none")


def test_every_line_is_read_in_the_order_of_time(log: Path) -> None:
    assert contents(list(LogReader(log).lines())) == everything(log)


def test_writers_are_woven_by_time(tmp_path: Path) -> None:
    with (
        DecisionLog(tmp_path, writer="a", clock=Clock()) as first,
        DecisionLog(tmp_path, writer="b", clock=Clock(MOMENT + SECOND / 2)) as second,
    ):
        for number in range(3):
            first.decision(RULES, RECORD, decision_id=id_of(2 * number))
            second.decision(RULES, RECORD, decision_id=id_of(2 * number + 1))
    reader = LogReader(tmp_path)
    made = [line.entry.id for line in decisions(reader.lines())]
    assert made == [id_of(number) for number in range(6)]
    assert [line.entry.id for line in decisions(reader.newest_first())] == made[::-1]


@BLOCKS
def test_the_newest_line_comes_first_whatever_the_size_of_blocks(
    log: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    of_blocks(monkeypatch, size)
    assert contents(list(LogReader(log).newest_first())) == everything(log)[::-1]


@BLOCKS
@pytest.mark.parametrize("torn", [b"{", b"x" * 1500])
def test_a_line_that_is_not_finished_is_not_there_yet(
    log: Path, monkeypatch: pytest.MonkeyPatch, size: int, torn: bytes
) -> None:
    of_blocks(monkeypatch, size)
    wanted = everything(log)
    with segments(log)[-1].open("ab") as stream:
        stream.write(torn)
    reader = LogReader(log)
    assert contents(list(reader.newest_first())) == wanted[::-1]
    assert contents(list(reader.lines())) == wanted
    assert reader.unreadable == 0


@pytest.mark.parametrize("content", [b"", b"{", b"x" * 100])
def test_a_file_without_a_whole_line_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(reading, "_BLOCK", 30)
    (tmp_path / "w1").mkdir()
    (tmp_path / "w1/00000001.jsonl").write_bytes(content)
    reader = LogReader(tmp_path)
    assert list(reader.newest_first()) == list(reader.lines()) == []


def test_lines_that_cannot_be_read_are_counted(log: Path) -> None:
    path = segments(log)[0]
    path.write_bytes(b"nonsense\n" + path.read_bytes())
    reader = LogReader(log)
    assert contents(list(reader.lines())) == everything(log)[1:]
    assert reader.unreadable == 1
    assert contents(list(reader.newest_first())) == everything(log)[:0:-1]
    assert reader.unreadable == 2


def test_a_segment_that_was_pruned_is_passed_over(log: Path) -> None:
    first = segments(log)[0]
    count = len(lines_of(first))
    wanted = everything(log)[count:]
    first.rename(first.with_suffix(".pruned"))
    reader = LogReader(log)
    assert contents(list(reader.lines())) == wanted
    assert contents(list(reader.newest_first())) == wanted[::-1]


# About one decision.


def family(folder: Path) -> None:
    """Log a decision with two children and two events, among others."""
    with DecisionLog(folder, writer="w1", clock=Clock()) as log:
        for number in (1, 20, 21):
            log.decision(RULES, RECORD, decision_id=id_of(number))
        log.execution(id_of(20), finished(1, 2))
        log.flush()
        for number in (31, 32):
            log.decision(RULES, RECORD, decision_id=id_of(number), parent_id=id_of(20))
        log.execution(id_of(31), finished(1, 2))


@BLOCKS
def test_a_decision_is_found_with_what_came_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    family(tmp_path)
    of_blocks(monkeypatch, size)
    reader = LogReader(tmp_path)
    assert [line.entry.kind for line in reader.about(id_of(20))] == ["decision", "execution"]
    assert [line.entry.id for line in reader.children(id_of(20))] == [id_of(31), id_of(32)]
    assert reader.children(id_of(31)) == []
    assert reader.about(id_of(20))[0].place == "w1/1, line 3"


def test_the_beginning_of_an_id_is_enough_where_no_other_begins_so(tmp_path: Path) -> None:
    with DecisionLog(tmp_path) as log:
        for name in ("aaaa", "aabb", "bbbb"):
            log.decision(RULES, RECORD, decision_id=name)
    reader = LogReader(tmp_path)
    assert [line.entry.id for line in reader.about("b")] == ["bbbb"]
    assert [line.entry.id for line in reader.about("aab")] == ["aabb"]
    with pytest.raises(LogError, match="2 decisions have an id that begins so"):
        reader.about("aa")
    with pytest.raises(LogError, match="there is no decision with this id"):
        reader.about("c")


def test_the_id_of_a_caller_is_not_that_of_a_decision(tmp_path: Path) -> None:
    record = decide(RULES, {"caller": {"id": "ada"}}, now=NOW)
    with DecisionLog(tmp_path) as log:
        log.decision(RULES, record, decision_id=id_of(1))
    with pytest.raises(LogError, match="there is no decision with this id"):
        LogReader(tmp_path).about("ada")


# As it grows.


def until_quiet(times: int = 1, act: Callable[[], object] = lambda: None) -> Callable[[], bool]:
    """Return what does something when there is nothing new, and ends a little after."""
    left = iter(range(times, -1, -1))

    def goes_on() -> bool:
        number = next(left)
        if number == times:
            act()
        return number > 0

    return goes_on


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_POLL_SECONDS", 0)


def test_what_is_written_from_now_on_is_followed(log: Path) -> None:
    def write() -> None:
        with DecisionLog(log, writer="a") as again, DecisionLog(log, writer="c") as new:
            again.decision(RULES, RECORD, decision_id=id_of(900))
            new.decision(RULES, RECORD, decision_id=id_of(901))

    lines = list(LogReader(log).follow(goes_on=until_quiet(act=write)))
    assert [line.entry.id for line in decisions(iter(lines))] == [id_of(900), id_of(901)]
    assert {line.writer for line in lines} == {"a", "c"}
    assert [line.entry.time for line in lines] == sorted(line.entry.time for line in lines)


def test_what_is_written_before_the_first_line_is_asked_for_is_followed(log: Path) -> None:
    lines = LogReader(log).follow(goes_on=lambda: False)
    with DecisionLog(log, writer="a") as again:
        again.decision(RULES, RECORD, decision_id=id_of(900))
    assert [line.entry.id for line in decisions(lines)] == [id_of(900)]


def test_a_line_is_followed_once_it_is_finished(log: Path) -> None:
    path = segments(log)[-1]
    line = lines_of(path)[-1]
    (log / "heads/a").unlink()

    def half() -> None:
        with path.open("ab") as stream:
            stream.write(line[:20])

    def rest() -> None:
        with path.open("ab") as stream:
            stream.write(line[20:] + b"\n")

    acts: Iterator[Callable[[], None]] = iter([half, rest])

    def goes_on() -> bool:
        act = next(acts, None)
        if act is not None:
            act()
        return act is not None

    found = list(LogReader(log).follow(goes_on=goes_on))
    assert contents(found) == [line]


@BLOCKS
@pytest.mark.parametrize("torn", [b"", b"{", b"x" * 1500])
def test_following_begins_after_the_last_whole_line(
    log: Path, monkeypatch: pytest.MonkeyPatch, size: int, torn: bytes
) -> None:
    path = segments(log)[-1]
    line = lines_of(path)[-1]
    new = log / "c/00000001.jsonl"
    new.parent.mkdir()
    (log / "heads/a").unlink()
    for file in (path, new):
        with file.open("ab") as stream:
            stream.write(torn)

    def finish() -> None:
        for file in (path, new):
            content = file.read_bytes().removesuffix(torn)
            file.write_bytes(content + line + b"\n")

    of_blocks(monkeypatch, size)
    found = list(LogReader(log).follow(goes_on=until_quiet(act=finish)))
    assert contents(found) == [line, line]
    assert {it.writer for it in found} == {"a", "c"}


def test_what_is_taken_away_again_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = chain.sync
    with DecisionLog(tmp_path, durability="sync") as log:
        log.decision(RULES, decide(RULES, {}, now=NOW), decision_id=id_of(0))
        lines = LogReader(tmp_path).follow(goes_on=lambda: False)
        seen: list[str] = []

        def fails(_number: int) -> None:
            seen.extend(str(line.entry.id) for line in lines)
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(chain, "sync", fails)
        with pytest.raises(LogError):
            log.decision(RULES, decide(RULES, {"task": {"kind": "coding"}}, now=NOW))
        monkeypatch.setattr(chain, "sync", sync)
        following = LogReader(tmp_path).follow(goes_on=lambda: False)
        for number in (1, 2, 3):
            log.decision(RULES, RECORD, decision_id=id_of(number))
    assert seen == []
    assert [line.entry.id for line in decisions(following)] == [id_of(it) for it in (1, 2, 3)]


def test_what_is_pruned_while_it_is_followed_is_passed_over(log: Path) -> None:
    def prune() -> None:
        segments(log)[0].unlink()

    reader = LogReader(log)
    assert list(reader.follow(goes_on=until_quiet(act=prune))) == []


def test_a_log_that_is_begun_anew_is_followed_from_its_beginning(tmp_path: Path) -> None:
    def logged(first: int, count: int) -> None:
        with DecisionLog(tmp_path / "log") as log:
            for number in range(first, first + count):
                log.decision(RULES, RECORD, decision_id=id_of(number))

    logged(0, 2)
    steps: list[Callable[[], object]] = [
        lambda: logged(2, 1),
        lambda: shutil.rmtree(tmp_path / "log"),
        lambda: logged(3, 4),
        lambda: logged(7, 1),
    ]
    found = LogReader(tmp_path / "log").follow(goes_on=lambda: bool(steps) and not steps.pop(0)())
    assert [line.entry.id for line in decisions(found)] == [id_of(number) for number in range(2, 8)]


def test_what_was_not_acknowledged_is_left_out_where_that_is_wanted(tmp_path: Path) -> None:
    with DecisionLog(tmp_path) as log:
        for number in range(3):
            log.decision(RULES, RECORD, decision_id=id_of(number))
        head = (tmp_path / "heads/w1").read_bytes()
        log.decision(RULES, RECORD, decision_id=id_of(3))
        (tmp_path / "heads/w1").write_bytes(head)
        reader = LogReader(tmp_path)
        for acknowledged, count in ((True, 3), (False, 4)):
            found = decisions(reader.newest_first(acknowledged=acknowledged))
            assert [line.entry.id for line in found] == [id_of(it) for it in range(count)][::-1]


def test_a_line_of_a_decision_without_its_id_cannot_be_read() -> None:
    with pytest.raises(RecordError, match=r"it has no `id`$"):
        LogEntry.from_json(b'{"kind":"decision","prev":"","record":{},"seq":1,"time":1}')


def test_a_folder_that_cannot_be_read_is_an_error_of_the_log(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = LogReader(log)

    def refuse(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    for call in (
        lambda: LogReader(log),
        lambda: list(reader.lines()),
        lambda: list(reader.newest_first()),
        lambda: reader.about(id_of(1)),
        lambda: list(reader.follow(goes_on=lambda: False)),
        lambda: replay_log(log),
        lambda: verify(log),
    ):
        with pytest.raises(LogError, match="cannot be read: permission denied"):
            call()


def test_times_are_those_of_the_lines(log: Path) -> None:
    first = next(LogReader(log).lines())
    assert first.entry.time == microseconds(MOMENT + 2 * SECOND)
