"""A decision log takes lines from many threads and processes, and says only what is on disk."""

from __future__ import annotations

import asyncio
import datetime
import gc
import json
import os
import sys
import threading
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from policy_router import DecisionLog, Router, loads
from policy_router.errors import LogError, NoTarget, RequestError
from policy_router.files.ids import uuid7
from policy_router.log.entry import Execution, Gap, Kind, Prune, microseconds
from policy_router.log.write import flusher as flusher_module
from policy_router.log.write import group as group_module
from policy_router.log.write.drafts import Decided, Draft
from tests.support.log_chain import (
    POLICY,
    NewLog,
    closes,
    decided,
    gaps,
    ids,
    kinds,
    one_writer,
    policy_of,
    read,
    record_of,
    segments,
    whole,
    writers,
)
from tests.support.log_disk import (
    SCRIPT,
    Disk,
    Thread,
    ran,
    until,
)

RULES = policy_of()
RECORD = record_of(RULES, team="x")
MOMENT = datetime.datetime(2026, 1, 31, 9, tzinfo=datetime.UTC)
SECOND = datetime.timedelta(seconds=1)
ALL_DURABILITIES = pytest.mark.parametrize("durability", ["sync", "group", "async"])
WAITING_DURABILITIES = pytest.mark.parametrize("durability", ["sync", "group"])
FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = MOMENT

    def __call__(self) -> datetime.datetime:
        """Tell the time."""
        return self.now


def logging(log: DecisionLog) -> Callable[[], str]:
    """Return what logs a decision."""
    return lambda: log.decision(RULES, RECORD)


# Options.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"durability": "never"}, "durability is sync, group or async"),
        ({"on_log_failure": "ignore"}, "on_log_failure is deny or allow_unlogged"),
        ({"writer": ""}, "a writer's name is of letters"),
        ({"writer": "a/b"}, "a writer's name is of letters"),
        ({"writer": "policies"}, "a writer's name is of letters"),
        ({"segment_bytes": 0}, "at least 1 byte"),
        ({"segment_seconds": 0}, "more than 0 seconds"),
        ({"segment_seconds": -1.0}, "more than 0 seconds"),
        ({"folder": "a\0b"}, "has no NUL"),
    ],
    ids=range(9),
)
def test_an_option_without_such_a_value_is_refused(
    tmp_path: Path, options: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        DecisionLog(**{"folder": tmp_path / "log", **options})
    assert not (tmp_path / "log").exists()


def test_nothing_is_made_before_the_first_line(tmp_path: Path, new_log: NewLog) -> None:
    with new_log() as log:
        log.flush()
        assert (log.writer, log.unlogged) == (None, 0)
    assert not (tmp_path / "log").exists()


def test_a_log_may_be_named_by_a_text(tmp_path: Path) -> None:
    with DecisionLog(str(tmp_path / "a/b/log")) as log:
        log.decision(RULES, RECORD)
    assert writers(tmp_path / "a/b/log") == ["w1"]


@ALL_DURABILITIES
def test_a_decision_is_a_line_with_record_caller_time_and_id(
    tmp_path: Path, new_log: NewLog, durability: str
) -> None:
    clock = Clock()
    with new_log(durability=durability, clock=clock) as log:
        made = log.decision(RULES, RECORD)
        assert log.decision(RULES, record_of(RULES), decision_id=str(uuid7(MOMENT))) != made
        log.flush()
        assert len(one_writer(tmp_path / "log")) == 2
        assert log.writer == "w1"
    first, second, last = one_writer(tmp_path / "log")
    assert b'"record":' + RECORD.to_json() in first.content
    assert set(first.entry) == {"caller", "id", "kind", "prev", "record", "root", "seq", "time"}
    assert first.entry["caller"] == {"team": "x"}
    assert first.entry["root"] == made
    assert first.entry["id"] == made
    assert uuid.UUID(made).int >> 80 == microseconds(MOMENT) // 1000
    assert {line.entry["time"] for line in (first, second, last)} == {microseconds(MOMENT)}
    assert "caller" not in second.entry
    assert closes([last]) == ["end"]


def test_ids_and_times_come_from_whoever_the_host_says(tmp_path: Path, new_log: NewLog) -> None:
    clock = Clock()
    made = "00000000-0000-7000-8000-000000000000"
    with new_log(clock=clock, ids=lambda now: made if now == MOMENT else "") as log:
        assert log.decision(RULES, RECORD) == made
        clock.now += SECOND
        log.execution(made, Execution("started"))
    times = [line.entry["time"] - microseconds(MOMENT) for line in one_writer(tmp_path / "log")]
    assert times == [0, 1_000_000, 1_000_000]


def test_the_time_is_in_utc_whatever_the_zone_of_the_clock(tmp_path: Path, new_log: NewLog) -> None:
    there = MOMENT.astimezone(datetime.timezone(datetime.timedelta(hours=9)))
    with new_log(clock=lambda: there) as log:
        log.decision(RULES, RECORD)
    assert one_writer(tmp_path / "log")[0].entry["time"] == microseconds(MOMENT)


def test_decisions_that_were_made_together_are_written_together(
    tmp_path: Path, new_log: NewLog, disk: Disk
) -> None:
    made = [uuid7(MOMENT) for _ in range(5)]
    with new_log() as log:
        log.decisions(RULES, [Decided(RECORD, each, made[0]) for each in made])
        assert disk.syncs == 1
        log.decisions(RULES, [])
        assert disk.syncs == 1
    lines = one_writer(tmp_path / "log")
    assert ids(lines) == made
    assert {line.entry["parent"] for line in lines[:-1]} == {made[0]}


def test_a_record_of_another_policy_is_refused(tmp_path: Path, new_log: NewLog) -> None:
    with new_log() as log, pytest.raises(ValueError, match="the record is not of this policy"):
        log.decision(loads("{model: m, provider: p}"), RECORD)
    assert not (tmp_path / "log").exists()


def test_a_decision_is_logged_with_its_trace(tmp_path: Path, new_log: NewLog) -> None:
    trace = f"{'4b' * 16}-{'07' * 8}"
    with new_log() as log:
        log.decisions(RULES, [Decided(RECORD, uuid7(MOMENT), trace=trace)])
    line, _ = one_writer(tmp_path / "log")
    assert line.entry["trace"] == trace


@pytest.mark.parametrize("trace", ["", "x", "\ud800", f"{'4B' * 16}-{'07' * 8}", "4b" * 16])
def test_a_malformed_trace_is_refused(tmp_path: Path, new_log: NewLog, trace: str) -> None:
    with new_log() as log, pytest.raises(ValueError, match="the trace does not match"):
        log.decisions(RULES, [Decided(RECORD, uuid7(MOMENT), trace=trace)])
    assert not (tmp_path / "log").exists()


def test_what_is_logged_of_the_log_itself_is_a_line(tmp_path: Path, new_log: NewLog) -> None:
    with new_log(clock=Clock()) as log:
        log.act(Draft(Kind.PRUNE, microseconds(MOMENT), prune=Prune(7, 8, ("w1/1",))))
    line, _ = one_writer(tmp_path / "log")
    assert line.entry["prune"] == {"before": 7, "lines": 8, "segments": ["w1/1"]}


@pytest.mark.parametrize("caller", [None, "me", 7, ["a"]])
def test_a_caller_that_is_no_section_is_left_out(
    tmp_path: Path, new_log: NewLog, caller: object
) -> None:
    with new_log() as log:
        log.execution(uuid7(MOMENT), Execution("started"), caller)
    assert "caller" not in one_writer(tmp_path / "log")[0].entry


# A router.


def test_a_router_logs_what_it_decides(tmp_path: Path, new_log: NewLog) -> None:
    with new_log() as log:
        router = Router(RULES, clock=lambda: MOMENT, log=log)
        records = [router.decide({"task": {"kind": kind}}) for kind in ("", "coding")]
        target = router.target({"caller": {"team": "x"}})
    lines = one_writer(tmp_path / "log")
    assert target.model == "small"
    for line, record in zip(lines, records, strict=False):
        assert b'"record":' + record.to_json() in line.content
    assert [line.entry.get("caller") for line in lines] == [None, None, {"team": "x"}, None]


def test_a_refusal_is_a_decision_too(tmp_path: Path, new_log: NewLog) -> None:
    with new_log() as log, pytest.raises(NoTarget):
        Router(RULES, log=log).target({"call": {"model": "huge"}})
    line, _ = one_writer(tmp_path / "log")
    assert line.entry["record"]["decision"]["outcome"] == "refused"


def test_a_request_that_does_not_fit_is_no_decision(tmp_path: Path, new_log: NewLog) -> None:
    with new_log() as log, pytest.raises(RequestError):
        Router(RULES, log=log).decide({"caler": {}})
    assert not (tmp_path / "log").exists()


def test_without_a_log_a_router_decides_as_ever() -> None:
    assert Router(RULES).decide({}, decision_id="any", parent_id="any").decision.target


# When a line counts as written.


@WAITING_DURABILITIES
def test_a_decision_is_on_disk_before_it_is_returned(
    tmp_path: Path, new_log: NewLog, disk: Disk, durability: str
) -> None:
    log = new_log(durability=durability)
    with disk.stopped():
        thread = Thread(logging(log))
        disk.wait()
        thread.join(0.05)
        assert thread.is_alive()
    made = thread.end()
    assert ids(one_writer(tmp_path / "log")) == [made]


def test_sync_writes_each_call_by_itself(tmp_path: Path, new_log: NewLog, disk: Disk) -> None:
    log = new_log(durability="sync")
    threads = [Thread(logging(log)) for _ in range(8)]
    made = [thread.end() for thread in threads]
    assert disk.syncs == 8
    log.execution(made[0], Execution("started"))
    assert disk.syncs == 8
    log.flush()
    assert disk.syncs == 9
    assert sorted(ids(one_writer(tmp_path / "log"))) == sorted(made)


def test_group_writes_together_what_came_meanwhile(
    tmp_path: Path, new_log: NewLog, disk: Disk
) -> None:
    log = new_log()
    made = [log.decision(RULES, RECORD)]
    with disk.stopped():
        first = Thread(logging(log))
        disk.wait()
        threads = [Thread(logging(log)) for _ in range(7)]
        until(lambda: log.waiting == 7)
    made += [thread.end() for thread in (first, *threads)]
    assert disk.syncs == 3
    assert sorted(ids(one_writer(tmp_path / "log"))) == sorted(made)


def test_a_crowd_waits_a_moment_for_as_many_as_came_before(
    new_log: NewLog, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = new_log()
    log.decision(RULES, RECORD)
    pauses: list[float] = []
    monkeypatch.setattr(group_module, "time", SimpleNamespace(sleep=pauses.append))
    with disk.stopped():
        first = Thread(logging(log))
        disk.wait()
        threads = [Thread(logging(log)) for _ in range(7)]
        until(lambda: log.waiting == 7)
        assert pauses == []
    for thread in (first, *threads):
        thread.end()
    Thread(logging(log)).end()
    assert 0 < len(pauses) < 10
    pauses.clear()
    Thread(logging(log)).end()
    assert pauses == []


def test_async_returns_at_once_and_writes_soon(tmp_path: Path, new_log: NewLog, disk: Disk) -> None:
    log = new_log(durability="async")
    made = [log.decision(RULES, RECORD)]
    with disk.stopped():
        made += [log.decision(RULES, RECORD) for _ in range(10)]
        disk.wait()
    until(lambda: len(ids(one_writer(tmp_path / "log"))) == 11)
    assert ids(one_writer(tmp_path / "log")) == made
    more = log.decision(RULES, RECORD)
    until(lambda: ids(one_writer(tmp_path / "log")) == [*made, more])
    assert disk.syncs == 3


def test_async_waits_for_the_first_decision_of_each_policy(
    tmp_path: Path, new_log: NewLog, disk: Disk
) -> None:
    log = new_log(durability="async")
    disk.problems = [FULL]
    with pytest.raises(LogError):
        log.decision(RULES, RECORD)
    other = loads("{model: m, provider: p}")
    assert log.unlogged == 0  # it was denied
    made = [log.decision(policy, record_of(policy)) for policy in (RULES, other)]
    lines = one_writer(tmp_path / "log")
    assert (ids(lines), gaps(lines)) == (made, [])


def test_async_waits_where_too_many_wait_to_be_written(
    tmp_path: Path, new_log: NewLog, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_module, "_MOST_WAITING", 5)
    monkeypatch.setattr(flusher_module, "_LINGER_SECONDS", 3600.0)
    log = new_log(durability="async")
    for _ in range(6):
        log.decision(RULES, RECORD)
    assert disk.syncs == 1
    log.decision(RULES, RECORD)
    assert disk.syncs == 2
    assert len(ids(one_writer(tmp_path / "log"))) == 7


@ALL_DURABILITIES
def test_nobody_waits_for_an_event(new_log: NewLog, disk: Disk, durability: str) -> None:
    log = new_log(durability=durability)
    log.decision(RULES, RECORD)
    log.flush()
    before = disk.syncs
    with disk.stopped():
        log.execution(uuid7(MOMENT), Execution("started"))
    until(lambda: disk.syncs > before)


@ALL_DURABILITIES
def test_to_flush_waits_for_everything_so_far(
    tmp_path: Path, new_log: NewLog, durability: str
) -> None:
    log = new_log(durability=durability)
    for count in range(1, 4):
        log.decision(RULES, RECORD)
        log.execution(uuid7(MOMENT), Execution("started"))
        log.flush()
        assert len(one_writer(tmp_path / "log")) == 2 * count
    log.flush()
    asyncio.run(log.flush_async())
    assert len(one_writer(tmp_path / "log")) == 6


def test_to_flush_waits_for_what_is_being_written(
    tmp_path: Path, new_log: NewLog, disk: Disk
) -> None:
    log = new_log(durability="async")
    made = [log.decision(RULES, RECORD)]
    with disk.stopped():
        made.append(log.decision(RULES, RECORD))
        disk.wait()
        thread = Thread(log.flush)
        until(lambda: log.waiting == 1)
        assert thread.is_alive()
    assert thread.end() is None
    assert ids(one_writer(tmp_path / "log")) == made


def test_what_comes_while_others_are_written_is_written_after_them(
    tmp_path: Path, new_log: NewLog, disk: Disk
) -> None:
    log = new_log()
    with disk.stopped():
        thread = Thread(logging(log))
        disk.wait()
        log.execution(uuid7(MOMENT), Execution("started"))
    made = thread.end()
    until(lambda: len(one_writer(tmp_path / "log")) == 2)
    assert ids(one_writer(tmp_path / "log")) == [made]


# Threads.


@pytest.mark.slow
@ALL_DURABILITIES
@pytest.mark.parametrize("segment_bytes", [1_000_000_000, 20_000], ids=["one", "many"])
def test_threads_write_one_chain(
    tmp_path: Path, new_log: NewLog, durability: str, segment_bytes: int
) -> None:
    start = threading.Barrier(8)
    log = new_log(durability=durability, segment_bytes=segment_bytes)

    def work() -> list[str]:
        start.wait(20)
        made = []
        for number in range(200):
            made.append(log.decision(RULES, RECORD))
            if number % 10 == 0:
                log.execution(made[-1], Execution("started"))
        return made

    threads = [Thread(work) for _ in range(8)]
    made = [thread.end() for thread in threads]
    log.close()
    lines = one_writer(tmp_path / "log")
    assert Counter(ids(lines)) == Counter(each for of_one in made for each in of_one)
    assert len(ids(lines, "execution")) == 160
    places = {each: place for place, each in enumerate(ids(lines))}
    for of_one in made:
        assert [places[each] for each in of_one] == sorted(places[each] for each in of_one)
    assert (len(segments(tmp_path / "log")) > 1) == (segment_bytes == 20_000)


@ALL_DURABILITIES
def test_threads_that_are_switched_all_the_time_write_one_chain(
    tmp_path: Path, new_log: NewLog, durability: str
) -> None:
    log = new_log(durability=durability)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [
            Thread(lambda: [log.decision(RULES, RECORD) for _ in range(50)]) for _ in range(8)
        ]
        made = [each for thread in threads for each in thread.end()]
    finally:
        sys.setswitchinterval(interval)
    log.close()
    assert sorted(ids(one_writer(tmp_path / "log"))) == sorted(made)


# The end.


@ALL_DURABILITIES
def test_to_close_writes_what_waits_and_says_that_it_is_the_end(
    tmp_path: Path, new_log: NewLog, durability: str
) -> None:
    log = new_log(durability=durability)
    made = [log.decision(RULES, RECORD) for _ in range(3)]
    log.execution(made[0], Execution("started"))
    log.close()
    log.close()
    lines = one_writer(tmp_path / "log")
    assert (ids(lines), kinds(lines)[-2:]) == (made, ["execution", "close"])
    assert closes(lines) == ["end"]
    assert log.writer == "w1"


def test_a_log_is_closed_either_way(tmp_path: Path) -> None:
    async def main() -> None:
        async with DecisionLog(tmp_path / "log") as log:
            log.decision(RULES, RECORD)
        await log.aclose()

    asyncio.run(main())
    assert kinds(one_writer(tmp_path / "log")) == ["decision", "close"]


@ALL_DURABILITIES
def test_what_is_closed_logs_no_more(tmp_path: Path, new_log: NewLog, durability: str) -> None:
    log = new_log(durability=durability)
    log.decision(RULES, RECORD)
    log.close()
    before = one_writer(tmp_path / "log")
    for call in (
        logging(log),
        lambda: log.execution(uuid7(MOMENT), Execution("started")),
        lambda: log.act(Draft(Kind.GAP, 1, gap=Gap("cut"))),
        lambda: Router(RULES, log=log).decide({}),
    ):
        with pytest.raises(RuntimeError, match="the log is closed"):
            cast("Callable[[], Any]", call)()
    log.flush()
    asyncio.run(log.flush_async())
    assert one_writer(tmp_path / "log") == before


@pytest.mark.parametrize("mode", ["deny", "allow_unlogged"])
def test_what_was_closed_without_a_line_makes_nothing(
    tmp_path: Path, new_log: NewLog, mode: str
) -> None:
    log = new_log(on_log_failure=mode)
    log.close()
    with pytest.raises(RuntimeError, match="the log is closed"):
        log.decision(RULES, RECORD)
    assert not (tmp_path / "log").exists()


def test_a_closed_log_leaves_its_writer_to_others(tmp_path: Path, new_log: NewLog) -> None:
    for _ in range(3):
        with new_log() as log:
            log.decision(RULES, RECORD)
    assert kinds(one_writer(tmp_path / "log")) == ["decision", "close"] * 3


class Closeable(Clock):
    """A clock that closes a log when it is asked: after the first check that the log is open."""

    def __init__(self) -> None:
        super().__init__()
        self.log: DecisionLog | None = None
        self.closing: Thread | None = None

    def __call__(self) -> datetime.datetime:
        """Tell the time, and close."""
        if self.log is not None:
            log, self.log = self.log, None
            self.closing = Thread(log.close)
            self.closing.join(0.2)
        return super().__call__()


@ALL_DURABILITIES
def test_a_call_that_comes_while_the_log_is_closed_harms_nothing(
    tmp_path: Path, new_log: NewLog, durability: str
) -> None:
    clock = Closeable()
    log = new_log(durability=durability, clock=clock)
    made = [log.decision(RULES, RECORD) for _ in range(5)]
    clock.log = log
    outcome = Thread(lambda: log.decision(RULES, RECORD, decision_id=uuid7(MOMENT))).end()
    if isinstance(outcome, str):  # either it is logged, or it is said not to be
        made.append(outcome)
    else:
        assert isinstance(outcome, RuntimeError | LogError)
    assert clock.closing is not None
    clock.closing.end()
    lines = one_writer(tmp_path / "log")
    assert ids(lines) == made
    assert kinds(lines)[-1] == "close"


@pytest.mark.slow
@WAITING_DURABILITIES
def test_to_close_while_threads_log_loses_nothing(
    tmp_path: Path, new_log: NewLog, durability: str
) -> None:
    for number in range(20):
        folder = tmp_path / str(number)
        log = new_log(folder, durability=durability)
        made: list[str] = []

        def work(log: DecisionLog = log, made: list[str] = made) -> None:
            while True:
                made.append(log.decision(RULES, RECORD))

        threads = [Thread(work) for _ in range(8)]
        until(lambda made=made: len(made) >= 10)  # type: ignore[misc]
        log.close()
        problems = [repr(thread.end()) for thread in threads]
        assert set(problems) == {"RuntimeError('the log is closed')"}
        lines = one_writer(folder)
        assert sorted(ids(lines)) == sorted(made)
        assert kinds(lines)[-1] == "close"


@pytest.mark.slow
def test_a_log_that_nobody_keeps_ends_its_thread(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    log = DecisionLog(tmp_path / "log", durability="async")
    log.execution(uuid7(MOMENT), Execution("started"))
    (flusher,) = set(threading.enumerate()) - before
    del log
    until(lambda: list((tmp_path / "log").glob("w1/*")) and kinds(one_writer(tmp_path / "log")))
    with warnings.catch_warnings(action="ignore"):  # nobody has closed it
        until(lambda: gc.collect() < 0 or not flusher.is_alive())


# Segments.


def test_segments_end_after_so_many_bytes(tmp_path: Path, new_log: NewLog) -> None:
    with new_log(segment_bytes=2500) as log:
        made = [log.decision(RULES, RECORD) for _ in range(10)]
    lines = one_writer(tmp_path / "log")
    assert ids(lines) == made
    assert closes(lines) == ["size"] * 3 + ["end"]
    for path in segments(tmp_path / "log")[:-1]:
        last = path.read_bytes().splitlines()[-1]
        assert json.loads(last)["close"] == {"reason": "size"}


def test_the_last_line_says_that_it_is_the_end(tmp_path: Path, new_log: NewLog) -> None:
    with new_log(segment_bytes=1) as log:
        log.decision(RULES, RECORD)
    assert closes(one_writer(tmp_path / "log")) == ["size", "end"]


def test_segments_end_after_so_many_seconds(tmp_path: Path, new_log: NewLog) -> None:
    clock = Clock()
    with new_log(segment_seconds=60.0, clock=clock) as log:
        for _ in range(4):
            log.decision(RULES, RECORD)
            clock.now += 30 * SECOND
    lines = one_writer(tmp_path / "log")
    assert [line.segment for line in lines] == [1, 1, 1, 1, 2, 2]
    assert closes(lines) == ["time", "end"]


def test_a_clock_that_goes_back_changes_no_order(tmp_path: Path, new_log: NewLog) -> None:
    clock = Clock()
    with new_log(segment_seconds=60.0, clock=clock) as log:
        made = []
        for hours in (0, -1, -24 * 365 * 60, 0):
            clock.now = MOMENT + datetime.timedelta(hours=hours)
            made.append(log.decision(RULES, RECORD))
    lines = one_writer(tmp_path / "log")
    assert ids(lines) == made
    assert {line.segment for line in lines} == {1}
    assert min(line.entry["time"] for line in lines) < 0


def test_a_relative_folder_stays_where_it_was(
    tmp_path: Path, new_log: NewLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    log = new_log(Path("log"), segment_bytes=1)
    log.decision(RULES, RECORD)
    monkeypatch.chdir(tmp_path / "elsewhere")
    log.decision(RULES, RECORD)
    log.close()
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert len(ids(one_writer(tmp_path / "log"))) == 2


# Writers.


def test_two_logs_in_one_process_are_two_writers(tmp_path: Path, new_log: NewLog) -> None:
    one, two = new_log(), new_log()
    made = [log.decision(RULES, RECORD) for log in (one, two, one, two)]
    assert (one.writer, two.writer) == ("w1", "w2")
    one.close()
    three = new_log()
    made.append(three.decision(RULES, RECORD))
    assert three.writer == "w1"
    two.close()
    three.close()
    lines = whole(tmp_path / "log")
    assert ids(lines["w1"]) == [made[0], made[2], made[4]]
    assert ids(lines["w2"]) == [made[1], made[3]]


def test_a_writer_may_have_a_name(tmp_path: Path, new_log: NewLog) -> None:
    with new_log(writer="host-7.example") as log:
        log.decision(RULES, RECORD)
        assert log.writer == "host-7.example"
    assert writers(tmp_path / "log") == ["host-7.example"]


@pytest.mark.slow
def test_a_name_that_is_taken_is_an_error_until_it_is_free(tmp_path: Path, new_log: NewLog) -> None:
    one, two = new_log(writer="host"), new_log(writer="host")
    one.decision(RULES, RECORD)
    with pytest.raises(LogError) as caught:
        two.decision(RULES, RECORD)
    assert caught.value.reason == "another process is this writer of the log"
    one.close()
    two.decision(RULES, RECORD)
    two.close()
    assert kinds(one_writer(tmp_path / "log")) == ["decision", "close"] * 2


def test_a_log_of_a_later_version_is_left_alone(tmp_path: Path, new_log: NewLog) -> None:
    with new_log() as log:
        log.decision(RULES, RECORD)
    head = tmp_path / "log/heads/w1"
    head.write_bytes(b'{"schema":"policy-router/log/v2","more":1}')
    before = {path: path.read_bytes() for path in (tmp_path / "log").rglob("*") if path.is_file()}
    denying, allowing = new_log(), new_log(on_log_failure="allow_unlogged")
    with pytest.raises(LogError, match="a newer version may read it"):
        denying.decision(RULES, RECORD)
    allowing.decision(RULES, RECORD)
    assert allowing.unlogged == 1
    after = {path: path.read_bytes() for path in (tmp_path / "log").rglob("*") if path.is_file()}
    assert after == before


# A disk that fails.


FULL = OSError(28, "No space left on device")


@WAITING_DURABILITIES
def test_what_cannot_be_written_is_denied(
    tmp_path: Path, new_log: NewLog, disk: Disk, durability: str
) -> None:
    log = new_log(durability=durability)
    made = [log.decision(RULES, RECORD)]
    disk.problems = [FULL]
    with pytest.raises(LogError) as caught:
        log.decision(RULES, RECORD)
    assert (caught.value.folder, caught.value.reason) == (
        str(tmp_path / "log"),
        "no space left on device",
    )
    assert log.unlogged == 0
    made.append(log.decision(RULES, RECORD))
    log.close()
    lines = one_writer(tmp_path / "log")
    assert (ids(lines), gaps(lines)) == (made, [])


def test_an_error_without_words_has_a_reason(new_log: NewLog, disk: Disk) -> None:
    log = new_log()
    disk.problems = [OSError()]
    with pytest.raises(LogError, match="input/output error"):
        log.decision(RULES, RECORD)


def test_all_who_wait_for_a_batch_are_denied(tmp_path: Path, new_log: NewLog, disk: Disk) -> None:
    log = new_log()
    made = [log.decision(RULES, RECORD)]
    with disk.stopped():
        first = Thread(logging(log))
        disk.wait()
        threads = [Thread(logging(log)) for _ in range(7)]
        until(lambda: log.waiting == 7)
        disk.problems = [FULL, FULL]
    for thread in (first, *threads):
        assert isinstance(thread.end(), LogError)
    made.append(log.decision(RULES, RECORD))
    assert ids(one_writer(tmp_path / "log")) == made


@pytest.mark.parametrize("mode", ["deny", "allow_unlogged"])
def test_an_event_that_is_not_written_is_counted_and_told(
    tmp_path: Path, new_log: NewLog, disk: Disk, mode: str
) -> None:
    clock = Clock()
    log = new_log(on_log_failure=mode, clock=clock)
    made = log.decision(RULES, RECORD)
    clock.now += SECOND
    disk.problems = [FULL, OSError(5, "Input/output error")]
    for _ in range(2):
        for _ in range(3):
            log.execution(made, Execution("started"))
        log.flush()
        clock.now += SECOND
    assert log.unlogged == 0
    log.execution(made, Execution("finished"))
    log.close()
    lines = one_writer(tmp_path / "log")
    assert kinds(lines) == ["decision", "gap", "execution", "close"]
    assert gaps(lines) == [
        {
            "reason": "unlogged",
            "executions": 6,
            "since": microseconds(MOMENT + SECOND),
            "error": "input/output error",
        }
    ]


@ALL_DURABILITIES
def test_what_need_not_be_logged_is_counted_and_told(
    tmp_path: Path, new_log: NewLog, disk: Disk, durability: str
) -> None:
    clock = Clock()
    log = new_log(durability=durability, on_log_failure="allow_unlogged", clock=clock)
    disk.problems = [FULL, FULL, FULL]
    for number in range(3):
        log.decision(RULES, RECORD)
        log.flush()
        assert log.unlogged == number + 1
        clock.now += SECOND
    made = log.decision(RULES, RECORD)
    log.flush()
    assert log.unlogged == 0
    lines = one_writer(tmp_path / "log")
    assert (kinds(lines), ids(lines)) == (["gap", "decision"], [made])
    assert gaps(lines) == [
        {
            "reason": "unlogged",
            "decisions": 3,
            "since": microseconds(MOMENT),
            "error": "no space left on device",
        }
    ]


@pytest.mark.parametrize("now", [datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)])
def test_what_is_missing_since_1970_is_told_too(
    tmp_path: Path, new_log: NewLog, disk: Disk, now: datetime.datetime
) -> None:
    log = new_log(on_log_failure="allow_unlogged", clock=lambda: now)
    disk.problems = [FULL]
    log.decision(RULES, RECORD)
    assert log.unlogged == 1
    log.decision(RULES, RECORD)
    assert [gap["decisions"] for gap in gaps(one_writer(tmp_path / "log"))] == [1]


def test_async_denies_from_the_second_failure_on_and_tells_of_the_first(
    tmp_path: Path, new_log: NewLog, disk: Disk
) -> None:
    log = new_log(durability="async")
    made = [log.decision(RULES, RECORD)]
    disk.problems = [FULL, FULL]
    lost = log.decision(RULES, RECORD)
    log.flush()
    assert log.unlogged == 1
    with pytest.raises(LogError):
        log.decision(RULES, RECORD)
    assert log.unlogged == 1
    made.append(log.decision(RULES, RECORD))
    assert log.unlogged == 0
    with disk.stopped():
        made.append(log.decision(RULES, RECORD))
    log.close()
    lines = one_writer(tmp_path / "log")
    assert ids(lines) == made
    assert lost not in made
    assert [gap["decisions"] for gap in gaps(lines)] == [1]


def test_what_is_written_of_the_log_itself_is_never_let_through(
    new_log: NewLog, disk: Disk
) -> None:
    log = new_log(on_log_failure="allow_unlogged")
    disk.problems = [FULL]
    with pytest.raises(LogError, match="no space left on device"):
        log.act(Draft(Kind.PRUNE, 5, prune=Prune(7, 8, ("w1/1",))))
    assert log.unlogged == 0


def test_what_is_missing_is_told_at_the_end(tmp_path: Path, new_log: NewLog, disk: Disk) -> None:
    log = new_log(on_log_failure="allow_unlogged")
    log.decision(RULES, RECORD)
    disk.problems = [FULL]
    log.decision(RULES, RECORD)
    log.close()
    lines = one_writer(tmp_path / "log")
    assert kinds(lines) == ["decision", "gap", "close"]
    assert log.unlogged == 0


def test_a_policy_that_cannot_be_stored_denies_or_is_counted(
    tmp_path: Path, new_log: NewLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    denying, allowing = new_log(), new_log(on_log_failure="allow_unlogged")

    def fail(_policy: object) -> None:
        raise FULL

    for log in (denying, allowing):
        monkeypatch.setattr(log.policies, "keep", fail)
    with pytest.raises(LogError, match="no space left on device"):
        denying.decision(RULES, RECORD)
    allowing.decision(RULES, RECORD)
    assert (denying.unlogged, allowing.unlogged) == (0, 1)
    assert [lines for lines in read(tmp_path / "log").values() if lines] == []
    monkeypatch.undo()
    for log in (denying, allowing):
        log.decision(RULES, RECORD)
    told = [gap["decisions"] for lines in whole(tmp_path / "log").values() for gap in gaps(lines)]
    assert told == [1]


def test_a_policy_is_stored_once_and_before_its_first_decision(
    new_log: NewLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = new_log()
    kept: list[str] = []
    keep = log.policies.keep

    def remember(policy: Any) -> None:
        assert policy.revision not in kept
        kept.append(policy.revision)
        keep(policy)

    monkeypatch.setattr(log.policies, "keep", remember)
    other = loads("{model: m, provider: p}")
    for policy in (RULES, other, RULES, other):
        log.decision(policy, record_of(policy))
    assert kept == [RULES.revision, other.revision]
    for revision in kept:
        assert log.policies.load(revision).revision == revision


def test_a_line_that_cannot_be_spelt_denies_nobody_else(
    tmp_path: Path, new_log: NewLog, disk: Disk
) -> None:
    log = new_log()
    made = [log.decision(RULES, RECORD)]
    with disk.stopped():
        first = Thread(logging(log))
        disk.wait()
        poison = Thread(lambda: log.decision(RULES, RECORD, parent_id="\ud800"))
        until(lambda: log.waiting == 1 or not poison.is_alive())
        others = [Thread(logging(log)) for _ in range(3)]
        until(lambda: log.waiting == 3 + poison.is_alive())
    made += [thread.end() for thread in (first, *others)]
    assert isinstance(poison.end(), Exception)
    assert sorted(ids(one_writer(tmp_path / "log"))) == sorted(made)


def test_a_caller_that_cannot_be_spelt_harms_nobody_else(tmp_path: Path, new_log: NewLog) -> None:
    log = new_log()
    with pytest.raises(ValueError, match="surrogates"):
        log.execution(uuid7(MOMENT), Execution("started"), {"id": "\ud800"})
    caller = {"id": "ada"}
    log.execution(uuid7(MOMENT), Execution("started"), caller)
    caller["id"] = "\ud800"
    made = log.decision(RULES, RECORD)
    log.flush()
    assert ids(one_writer(tmp_path / "log")) == [made]
    assert kinds(one_writer(tmp_path / "log")).count("execution") == 1


def test_an_event_that_cannot_be_spelt_does_not_end_the_writing(
    tmp_path: Path, new_log: NewLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flusher_module, "_LINGER_SECONDS", 0.001)
    monkeypatch.setattr(threading, "excepthook", lambda _problem: None)
    log = new_log(durability="async")
    with suppress(UnicodeEncodeError):  # whoever logs it may be told
        log.execution(uuid7(MOMENT), Execution("\ud800"))
    time.sleep(0.05)
    made = log.decision(RULES, RECORD)
    end = time.monotonic() + 20
    while time.monotonic() < end and not (tmp_path / "log/w1/00000001.jsonl").exists():
        time.sleep(0.01)
    log_of = read(tmp_path / "log") if (tmp_path / "log/w1").exists() else {}
    assert ids(log_of.get("w1", [])) == [made]


# Interrupts.


@WAITING_DURABILITIES
def test_who_is_interrupted_while_writing_keeps_nobody_waiting(
    tmp_path: Path, new_log: NewLog, disk: Disk, durability: str
) -> None:
    log = new_log(durability=durability)
    made = [log.decision(RULES, RECORD)]
    with disk.stopped():
        first = Thread(logging(log))
        disk.wait()
        threads = [Thread(logging(log)) for _ in range(3)]
        if durability == "group":
            until(lambda: log.waiting == 3)
        disk.problems = [KeyboardInterrupt()]
    assert isinstance(first.end(), KeyboardInterrupt)
    made += [thread.end() for thread in threads]
    made.append(log.decision(RULES, RECORD))
    assert sorted(ids(one_writer(tmp_path / "log"))) == sorted(made)


def test_who_waits_for_somebody_who_is_interrupted_is_denied(
    tmp_path: Path, new_log: NewLog, disk: Disk
) -> None:
    log = new_log()
    made = [log.decision(RULES, RECORD)]
    with disk.stopped():
        first = Thread(logging(log))
        disk.wait()
        threads = [Thread(logging(log)) for _ in range(3)]
        until(lambda: log.waiting == 3)
        disk.problems = [FULL, KeyboardInterrupt()]
    assert isinstance(first.end(), LogError)
    ends = [thread.end() for thread in threads]
    denied = [end for end in ends if isinstance(end, LogError)]
    assert {end.reason for end in denied} == {"the writing was interrupted"}
    assert (len(denied), len(ends)) == (2, 3)
    made.append(log.decision(RULES, RECORD))
    assert ids(one_writer(tmp_path / "log")) == made


INTERRUPTED = """
import json, os, random, signal, sys, threading, time
from policy_router import DecisionLog, decide, loads
from policy_router.errors import LogError
from policy_router.log import Execution
folder, durability, rules = sys.argv[1:]
policy = loads(rules, name="logged")
record = decide(policy, {"caller": {"team": "x"}}, now="2026-01-31T09:00:00Z")
log = DecisionLog(folder, durability=durability)
made = [log.decision(policy, record)]
is_over = threading.Event()
def work():
    while not is_over.is_set():
        try:
            made.append(log.decision(policy, record))
        except LogError:  # whoever wrote was interrupted
            pass
threads = [threading.Thread(target=work, daemon=True) for _ in range(6)]
for thread in threads:
    thread.start()
interrupts = 0
chance = random.Random(7)
end = time.monotonic() + 1.5
while time.monotonic() < end:
    try:
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0001, 0.01))
        while time.monotonic() < end:
            made_here = log.decision(policy, record)
            made.append(made_here)
            log.execution(made_here, Execution("started"))
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        interrupts += 1
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
before = len(made)
end = time.monotonic() + 20
while len(made) == before and time.monotonic() < end:
    time.sleep(0.01)
goes_on = len(made) > before
is_over.set()
end = time.monotonic() + 30
for thread in threads:
    thread.join(max(0, end - time.monotonic()))
hanging = sum(thread.is_alive() for thread in threads)
print(json.dumps([interrupts, goes_on, hanging, made]), flush=True)
if not hanging:
    log.close()
os._exit(0)
"""


@pytest.mark.stress
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no such timer")
@ALL_DURABILITIES
def test_interrupts_at_any_moment_keep_nobody_waiting(tmp_path: Path, durability: str) -> None:
    words = (str(tmp_path / "log"), durability, POLICY)
    # Not measured: what measures cannot be interrupted at any moment.
    said = ran(INTERRUPTED, *words, cwd=tmp_path, measured=False)
    interrupts, goes_on, hanging, made = json.loads(said)
    assert (goes_on, hanging) == (True, 0)
    assert interrupts > 50
    # A decision whose caller was interrupted may be in the log, and nobody was told.
    logged = Counter(ids(one_writer(tmp_path / "log")))
    assert len(made) == len(set(made)) > 100
    assert [lost for lost in made if lost not in logged] == []
    assert set(logged.values()) == {1}


# Forks and processes.


FORGOTTEN = (
    SCRIPT
    + """
import gc, time
logs = [DecisionLog(f"{folder}/{number}", durability="async") for number in range(10)]
for log in logs:
    log.decision(policy, record)
del log, logs
gc.collect()
time.sleep(0.5)
os._exit(0)
"""
)


@pytest.mark.slow
def test_lines_that_nobody_waits_for_are_written_though_the_log_is_forgotten(
    tmp_path: Path,
) -> None:
    ran(FORGOTTEN, str(tmp_path), POLICY, cwd=tmp_path, measured=False)
    assert [len(decided(tmp_path / str(number))) for number in range(10)] == [1] * 10


FORKED = (
    SCRIPT
    + """
log = DecisionLog(folder, durability=more[0])
made = [log.decision(policy, record) for _ in range(3)]
log.flush()
out, into = os.pipe()
sys.stdout.flush()
number = os.fork()
if not number:
    os.close(out)
    assert log.writer is None
    mine = [log.decision(policy, record) for _ in range(3)]
    log.flush()
    os.write(into, json.dumps([log.writer, mine]).encode())
    os.close(into)
    sys.exit(0)
os.close(into)
made += [log.decision(policy, record) for _ in range(3)]
with os.fdopen(out) as stream:
    theirs = json.load(stream)
assert os.waitpid(number, 0)[1] == 0
made += [log.decision(policy, record) for _ in range(3)]
print(json.dumps([log.writer, made, *theirs]))
"""
)


@pytest.mark.slow
@FORKS
@ALL_DURABILITIES
def test_a_forked_process_is_another_writer_and_the_first_one_goes_on(
    tmp_path: Path, durability: str
) -> None:
    folder = tmp_path / "log"
    writer, made, other, theirs = json.loads(
        ran(FORKED, str(folder), POLICY, durability, cwd=tmp_path)
    )
    assert (writer, other) == ("w1", "w2")
    lines = whole(folder)
    assert (ids(lines["w1"]), ids(lines["w2"])) == (made, theirs)
    assert closes(lines["w1"]) == closes(lines["w2"]) == ["end"]


WAITS_FORKED = (
    SCRIPT
    + """
log = DecisionLog(folder, durability="async", on_log_failure="allow_unlogged")
log.decision(policy, record)
log.execution("00000000-0000-7000-8000-000000000000", __import__(
    "policy_router.log.entry", fromlist=["Execution"]).Execution("started"))
number = os.fork()
if not number:
    assert (log.writer, log.unlogged) == (None, 0)
    log.close()
    sys.exit(0)
assert os.waitpid(number, 0)[1] == 0
log.close()
"""
)


@pytest.mark.slow
@FORKS
def test_what_waits_to_be_written_is_written_by_one_process_only(tmp_path: Path) -> None:
    ran(WAITS_FORKED, str(tmp_path / "log"), POLICY, cwd=tmp_path)
    assert kinds(one_writer(tmp_path / "log")) == ["decision", "execution", "close"]


BUSY_FORKED = (
    SCRIPT
    + """
log = DecisionLog(folder)
made, is_over = [log.decision(policy, record)], threading.Event()
def work():
    while not is_over.is_set():
        made.append(log.decision(policy, record))
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
children = []
for _ in range(20):
    number = os.fork()
    if not number:
        log.decision(policy, record)
        log.close()
        os._exit(0)
    children.append(number)
codes = [os.waitpid(number, 0)[1] for number in children]
is_over.set()
for thread in threads:
    thread.join(20)
log.close()
print(json.dumps([codes, made]))
"""
)


@pytest.mark.slow
@FORKS
def test_a_process_may_fork_while_its_threads_log(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    # Coverage has locks of its own, which a fork may find held.
    said = ran(BUSY_FORKED, str(folder), POLICY, cwd=tmp_path, measured=False)
    codes, made = json.loads(said)
    assert set(codes) == {0}
    lines = whole(folder)
    assert sorted(ids(lines["w1"])) == sorted(made)
    assert len(decided(folder)) == len(made) + 20


CLOSED_FORKED = (
    SCRIPT
    + """
log = DecisionLog(folder)
log.decision(policy, record)
log.close()
number = os.fork()
if not number:
    try:
        log.decision(policy, record)
    except RuntimeError:
        os._exit(7)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]))
"""
)


NAMED_FORKED = (
    SCRIPT
    + """
log = DecisionLog(folder, writer="api")
log.decision(policy, record)
numbers = []
for _ in range(2):
    number = os.fork()
    if not number:
        log.decision(policy, record)
        os.kill(os.getpid(), 9)
    os.waitpid(number, 0)
    numbers.append(number)
log.decision(policy, record)
log.close()
"""
)


@pytest.mark.slow
@FORKS
def test_a_process_forked_from_a_writer_with_a_name_has_a_number_behind_it(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    ran(NAMED_FORKED, str(folder), POLICY, cwd=tmp_path)
    assert {writer: len(ids(lines)) for writer, lines in whole(folder).items()} == {
        "api": 2,
        "api-2": 2,
    }


POOLED = (
    SCRIPT
    + """
import multiprocessing
log = DecisionLog(folder, durability="async")
def work():
    for _ in range(5):
        log.decision(policy, record)
context = multiprocessing.get_context("fork")
children = [context.Process(target=work) for _ in range(3)]
for child in children:
    child.start()
for child in children:
    child.join()
log.close()
"""
)


@pytest.mark.slow
@FORKS
def test_what_a_child_of_multiprocessing_logs_is_written_at_its_end(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    ran(POOLED, str(folder), POLICY, cwd=tmp_path)
    assert len(decided(folder)) == 15


@pytest.mark.slow
@FORKS
def test_a_closed_log_is_closed_in_a_forked_process_too(tmp_path: Path) -> None:
    said = ran(CLOSED_FORKED, str(tmp_path / "log"), POLICY, cwd=tmp_path)
    assert said.strip() == "7"


AT_ONCE = (
    SCRIPT
    + """
for number in range(int(more[0])):
    out, into = os.pipe()
    children = []
    for _ in range(2):
        child = os.fork()
        if not child:
            os.close(into)
            os.read(out, 1)
            with DecisionLog(f"{folder}/{number}") as log:
                log.decision(policy, record)
                log.decision(policy, record)
            os._exit(0)
        children.append(child)
    os.close(out)
    os.close(into)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
"""
)


@pytest.mark.slow
@FORKS
def test_processes_that_start_at_once_are_different_writers(tmp_path: Path) -> None:
    rounds = 60
    ran(AT_ONCE, str(tmp_path), POLICY, str(rounds), cwd=tmp_path)
    together = 0
    for number in range(rounds):
        folder = tmp_path / str(number)
        lines = whole(folder)
        together += len(lines) == 2
        assert sorted(kinds([line for each in lines.values() for line in each])) == (
            ["close"] * 2 + ["decision"] * 4
        )
        assert len(list((folder / "policies").glob("*.json"))) == 1
        assert not [path for path in folder.rglob("*") if path.suffix == ".tmp"]
    assert together > 0


ENDS = (
    SCRIPT
    + """
log = DecisionLog(folder, durability=more[0])
other = DecisionLog(folder)
made = [log.decision(policy, record) for _ in range(3)]
print(json.dumps(made))
"""
)


@pytest.mark.slow
@ALL_DURABILITIES
def test_the_end_of_the_process_closes_what_is_open(tmp_path: Path, durability: str) -> None:
    made = json.loads(ran(ENDS, str(tmp_path / "log"), POLICY, durability, cwd=tmp_path))
    lines = one_writer(tmp_path / "log")
    assert (ids(lines), closes(lines)) == (made, ["end"])


ENDS_BUSY = (
    SCRIPT
    + """
log = DecisionLog(folder, durability=more[0])
said = os.open("said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
is_there = threading.Event()
def work():
    while True:
        os.write(said, log.decision(policy, record).encode() + b"\\n")
        is_there.set()
threading.excepthook = lambda problem: None
for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
is_there.wait()
"""
)


@pytest.mark.slow
@WAITING_DURABILITIES
def test_the_end_of_the_process_loses_nothing_of_threads_that_log_on(
    tmp_path: Path, durability: str
) -> None:
    for number in range(3):
        folder = tmp_path / str(number)
        ran(ENDS_BUSY, str(folder), POLICY, durability, cwd=tmp_path)
        made = (tmp_path / "said").read_text().split("\n")[:-1]
        (tmp_path / "said").unlink()
        lines = one_writer(folder)
        assert set(made) - set(ids(lines)) == set()
        assert kinds(lines)[-1] == "close"


# Tasks of an event loop.


@ALL_DURABILITIES
def test_tasks_are_answered_once_their_lines_are_written(
    tmp_path: Path, new_log: NewLog, durability: str
) -> None:
    log = new_log(durability=durability)
    one, two, top = (uuid7(MOMENT) for _ in range(3))

    async def main() -> list[str]:
        router = Router(RULES, log=log)
        calls = [log.decision_async(RULES, RECORD) for _ in range(50)]
        made = list(await asyncio.gather(*calls))
        await router.decide_async({}, decision_id=one, parent_id=top)
        assert (await router.target_async({}, decision_id=two)).model
        await log.decisions_async(RULES, [])
        await log.flush_async()
        return [*made, one, two]

    made = asyncio.run(main())
    lines = one_writer(tmp_path / "log")
    assert sorted(ids(lines)) == sorted(made)
    assert [line.entry.get("parent") for line in lines if line.entry.get("id") == one] == [top]


def test_tasks_that_wait_at_the_same_time_share_a_sync(
    tmp_path: Path, new_log: NewLog, disk: Disk
) -> None:
    log = new_log()
    first = log.decision(RULES, RECORD)
    before = disk.syncs

    async def main() -> list[str]:
        return await asyncio.gather(*(log.decision_async(RULES, RECORD) for _ in range(64)))

    made = asyncio.run(main())
    assert disk.syncs - before <= 3
    assert sorted(ids(one_writer(tmp_path / "log"))) == sorted([first, *made])


def test_an_event_loop_goes_on_while_the_log_is_written(new_log: NewLog, disk: Disk) -> None:
    log = new_log()
    log.decision(RULES, RECORD)

    async def main() -> None:
        with disk.stopped():
            waits = asyncio.create_task(log.decision_async(RULES, RECORD))
            flushes = [asyncio.create_task(log.flush_async()) for _ in range(2)]
            await asyncio.to_thread(disk.wait)
            assert not waits.done()
        await asyncio.gather(waits, *flushes)

    asyncio.run(main())


def test_a_task_waits_without_its_loop_where_too_many_lines_wait(
    tmp_path: Path, new_log: NewLog, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = new_log(durability="async")
    log.decision(RULES, RECORD)
    log.flush()
    monkeypatch.setattr(group_module, "_MOST_WAITING", 3)
    monkeypatch.setattr(flusher_module, "_LINGER_SECONDS", 3600.0)

    async def main() -> None:
        for _ in range(3):
            await log.decision_async(RULES, RECORD)
        assert disk.syncs == 1
        with disk.stopped():
            waits = asyncio.create_task(log.decision_async(RULES, RECORD))
            await asyncio.to_thread(disk.wait)
            assert not waits.done()
        await waits

    asyncio.run(main())
    assert len(ids(one_writer(tmp_path / "log"))) == 5


def test_tasks_are_denied_like_threads(tmp_path: Path, new_log: NewLog, disk: Disk) -> None:
    log = new_log()
    first = log.decision(RULES, RECORD)
    disk.problems = [FULL]

    async def main() -> list[Any]:
        calls = (log.decision_async(RULES, RECORD) for _ in range(8))
        return await asyncio.gather(*calls, return_exceptions=True)

    found = asyncio.run(main())
    assert {str(it) for it in found if not isinstance(it, str)} == {
        f"the log {tmp_path / 'log'}: no space left on device"
    }
    made = [it for it in found if isinstance(it, str)] + [log.decision(RULES, RECORD)]
    assert sorted(ids(one_writer(tmp_path / "log"))) == sorted([first, *made])


def test_what_tasks_need_not_log_is_counted(tmp_path: Path, new_log: NewLog, disk: Disk) -> None:
    log = new_log(on_log_failure="allow_unlogged")
    log.decision(RULES, RECORD)
    disk.problems = [FULL]
    asyncio.run(log.decision_async(RULES, RECORD))
    assert log.unlogged == 1
    log.decision(RULES, RECORD)
    assert [gap["decisions"] for gap in gaps(one_writer(tmp_path / "log"))] == [1]


def test_a_task_that_is_cancelled_keeps_nobody_waiting(
    tmp_path: Path, new_log: NewLog, disk: Disk
) -> None:
    log = new_log()
    log.decision(RULES, RECORD)

    async def main() -> str:
        with disk.stopped():
            gone = asyncio.create_task(log.decision_async(RULES, RECORD))
            stays = asyncio.create_task(log.decision_async(RULES, RECORD))
            await asyncio.to_thread(disk.wait)
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone
        return await stays

    made = asyncio.run(main())
    lines = ids(one_writer(tmp_path / "log"))
    assert (len(lines), made in lines) == (3, True)  # what was handed over is not taken back


def test_an_event_loop_that_is_closed_harms_no_other(
    tmp_path: Path, new_log: NewLog, disk: Disk
) -> None:
    log = new_log()
    log.decision(RULES, RECORD)
    loop = asyncio.new_event_loop()
    with disk.stopped():
        gone = loop.create_task(log.decision_async(RULES, RECORD))
        while not disk.is_reached:
            loop.run_until_complete(asyncio.sleep(0))
        gone.cancel()
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(gone)
        loop.close()
    made = [asyncio.run(log.decision_async(RULES, RECORD)), log.decision(RULES, RECORD)]
    assert ids(one_writer(tmp_path / "log"))[-2:] == made


def test_threads_and_tasks_of_several_loops_write_one_chain(
    tmp_path: Path, new_log: NewLog
) -> None:
    log = new_log()

    async def many() -> list[str]:
        async def some() -> list[str]:
            return [await log.decision_async(RULES, RECORD) for _ in range(20)]

        return [made for part in await asyncio.gather(*(some() for _ in range(8))) for made in part]

    loops = [Thread(lambda: asyncio.run(many())) for _ in range(3)]
    threads = [Thread(lambda: [log.decision(RULES, RECORD) for _ in range(50)]) for _ in range(4)]
    here = [log.decision(RULES, RECORD) for _ in range(50)]
    made = [each for thread in (*loops, *threads) for each in thread.end()]
    assert sorted(ids(one_writer(tmp_path / "log"))) == sorted([*here, *made])


def test_a_closed_log_takes_nothing_from_tasks(new_log: NewLog) -> None:
    clock = Closeable()
    log = new_log(clock=clock)
    log.decision(RULES, RECORD)
    clock.log = log
    for _ in range(2):  # it is closed meanwhile, and before
        with pytest.raises(RuntimeError, match="the log is closed"):
            asyncio.run(log.decision_async(RULES, RECORD, decision_id=uuid7(MOMENT)))
    asyncio.run(log.flush_async())


@pytest.mark.slow
def test_to_flush_in_the_main_thread_waits_for_what_is_being_written(
    tmp_path: Path, new_log: NewLog, disk: Disk
) -> None:
    log = new_log(durability="async")
    log.decision(RULES, RECORD)
    for _ in range(20):
        with disk.stopped():
            made = log.decision(RULES, RECORD)
            disk.wait()
            Thread(lambda: disk.go_on_once(lambda: log.waiting == 1))
            log.flush()
        assert ids(one_writer(tmp_path / "log"))[-1] == made


def test_where_no_thread_can_be_started_whoever_waits_writes(
    tmp_path: Path, new_log: NewLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    log = new_log()
    made = [log.decision(RULES, RECORD)]
    monkeypatch.setattr(threading.Thread, "start", refuse)
    made.append(asyncio.run(log.decision_async(RULES, RECORD)))
    log.execution(made[0], Execution("started"))
    log.flush()
    assert len(one_writer(tmp_path / "log")) == 3
    log.execution(made[0], Execution("started"))
    log.close()
    assert kinds(one_writer(tmp_path / "log"))[-2:] == ["execution", "close"]
