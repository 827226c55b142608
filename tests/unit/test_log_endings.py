"""A decision log is interrupted, forked, closed at any moment, and handed what is malformed."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from policy_router import DecisionLog, loads
from policy_router.errors import LogError
from policy_router.log import Call, Execution, replay_log, verify
from policy_router.log.write import chain as chain_module
from policy_router.log.write import group as group_module
from policy_router.log.write.chain import Chain
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
    record_of,
)
from tests.support.log_disk import SCRIPT, Disk, Thread, ran, until

RULES = policy_of()
RECORD = record_of(RULES, team="x")
FULL = OSError(28, "no space left on device")
NAN = float("nan")
Patch = pytest.MonkeyPatch
FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
STARTS = pytest.mark.parametrize("start", ["fork", "forkserver", "spawn"])


def logging(log: DecisionLog) -> Callable[[], str]:
    """Return what logs a decision."""
    return lambda: log.decision(RULES, RECORD)


def refuse(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


# Interrupts.


@pytest.mark.usefixtures("interrupts")
@pytest.mark.skipif(os.name == "nt", reason="its signals do not end a wait")
def test_to_close_goes_on_where_it_was_interrupted(
    tmp_path: Path, new_log: NewLog, disk: Disk
) -> None:
    log = new_log()
    made = [log.decision(RULES, RECORD)]
    with disk.stopped():
        threads = [Thread(logging(log)) for _ in range(3)]
        disk.wait()
        until(lambda: log.waiting == len(threads) - 1)

        def interrupt() -> None:
            until(lambda: log.waiting == len(threads))
            os.kill(os.getpid(), signal.SIGINT)

        Thread(interrupt)
        with pytest.raises(KeyboardInterrupt):
            log.close()
    made += [thread.end() for thread in threads]
    log.close()
    lines = one_writer(tmp_path / "log")
    assert sorted(ids(lines)) == sorted(made)
    assert closes(lines) == ["end"]
    other = new_log(writer="w1")
    other.decision(RULES, RECORD)
    assert other.writer == "w1"


def test_an_interrupt_between_two_segments_harms_neither(
    tmp_path: Path, new_log: NewLog, monkeypatch: Patch
) -> None:
    log = new_log(segment_bytes=1, durability="sync")
    made = [log.decision(RULES, RECORD)]

    class Interrupted(io.FileIO):
        """A file that is interrupted just after it is closed."""

        def close(self) -> None:
            if not self.closed:
                super().close()
                monkeypatch.undo()
                raise KeyboardInterrupt

    def opened(path: Path, flags: int = 0) -> Interrupted:
        return Interrupted(os.open(path, os.O_RDWR | os.O_CREAT | flags), "rb+")

    monkeypatch.setattr(chain_module, "opened", opened)
    with pytest.raises(KeyboardInterrupt):
        log.decision(RULES, RECORD)
    made.append(log.decision(RULES, RECORD))
    logged = ids(one_writer(tmp_path / "log"))
    assert (len(logged), [logged[0], logged[2]]) == (3, made)  # the second was told to nobody


# What a signal handler does in the middle of it.


def within(disk: Disk, monkeypatch: Patch, act: Callable[[], object]) -> None:
    """Do something in the middle of the next sync, in the thread that syncs."""
    monkeypatch.setattr(disk, "problems", _Within(act))


class _Within(list[BaseException | None]):
    """A list of problems that has none, and does something when it is asked."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__([None])
        self._act = act

    def pop(self, _index: Any = 0) -> BaseException | None:
        """Do it."""
        super().pop()
        self._act()
        return None


@pytest.mark.parametrize("durability", ["sync", "group", "async"])
def test_in_the_middle_of_logging_nothing_else_is_logged(
    tmp_path: Path, new_log: NewLog, disk: Disk, monkeypatch: Patch, durability: str
) -> None:
    log = new_log(durability=durability)

    def act() -> None:
        for call in (
            logging(log),
            log.flush,
            lambda: log.execution("id", Execution("started")),
        ):
            with pytest.raises(RuntimeError, match="used by what was interrupted"):
                call()

    within(disk, monkeypatch, act)
    made = [log.decision(RULES, RECORD), log.decision(RULES, RECORD)]
    log.close()
    lines = one_writer(tmp_path / "log")
    assert (ids(lines), gaps(lines)) == (made, [])


@pytest.mark.parametrize("durability", ["sync", "group"])
def test_what_is_closed_in_the_middle_of_logging_is_closed_after_it(
    tmp_path: Path, new_log: NewLog, disk: Disk, monkeypatch: Patch, durability: str
) -> None:
    log = new_log(durability=durability)
    within(disk, monkeypatch, log.close)
    made = log.decision(RULES, RECORD)
    until(lambda: closes(one_writer(tmp_path / "log")) == ["end"])
    with pytest.raises(RuntimeError, match="the log is closed"):
        log.decision(RULES, RECORD)
    assert ids(one_writer(tmp_path / "log")) == [made]


STOPPED = (
    SCRIPT
    + """
import signal, time
log = DecisionLog(folder)
said = os.open("said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def stop(*_):
    log.close()
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
def kill():
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=kill).start()
while True:
    os.write(said, log.decision(policy, record).encode() + b"\\n")
"""
)


@pytest.mark.slow
@FORKS
def test_a_handler_of_a_signal_may_close_the_log_and_end_the_process(tmp_path: Path) -> None:
    ran(STOPPED, str(tmp_path / "log"), POLICY, cwd=tmp_path, measured=False)
    lines = one_writer(tmp_path / "log")
    made = (tmp_path / "said").read_text().split()
    assert ids(lines)[: len(made)] == made
    assert len(ids(lines)) - len(made) in {0, 1}  # the last one may not have been told
    assert (kinds(lines)[-1], closes(lines)) == ("close", ["end"])


def test_to_close_what_was_as_good_as_closed_does_nothing_more(
    tmp_path: Path, new_log: NewLog, monkeypatch: Patch
) -> None:
    log = new_log()
    made = log.decision(RULES, RECORD)
    release = Chain.release

    def interrupted(self: Chain) -> None:
        release(self)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(Chain, "release", interrupted)
    with pytest.raises(KeyboardInterrupt):
        log.close()
    log.close()
    lines = one_writer(tmp_path / "log")
    assert (ids(lines), closes(lines)) == ([made], ["end"])


# Where no thread can be started.


def test_where_no_thread_can_be_started_nobody_waits_for_ever_behind_another(
    tmp_path: Path, new_log: NewLog, disk: Disk, monkeypatch: Patch
) -> None:
    log = new_log()
    made = [log.decision(RULES, RECORD)]
    for call in (logging(log), lambda: asyncio.run(log.decision_async(RULES, RECORD))):
        with disk.stopped():
            first = Thread(logging(log))
            disk.wait()
            Thread(lambda: disk.go_on_once(lambda: log.waiting))
            monkeypatch.setattr(threading.Thread, "start", refuse)
            made.append(call())
            monkeypatch.setattr(threading.Thread, "start", START)
            made.append(first.end())
    assert sorted(ids(one_writer(tmp_path / "log"))) == sorted(made)


START = threading.Thread.start


def test_where_no_thread_can_be_started_events_are_written_at_once(
    tmp_path: Path, new_log: NewLog, monkeypatch: Patch
) -> None:
    log = new_log()
    made = log.decision(RULES, RECORD)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    log.execution(made, Execution("started"))
    assert kinds(one_writer(tmp_path / "log")) == ["decision", "execution"]


# Processes.


LATE = """
def work(folder, rules, durability):
    from policy_router import DecisionLog, decide, loads
    from policy_router.log import Execution
    policy = loads(rules, name="logged")
    record = decide(policy, {}, now="2026-01-31T09:00:00Z")
    global log
    log = DecisionLog(folder, durability=durability)
    for _ in range(5):
        log.execution(log.decision(policy, record), Execution("finished"))
"""
LATE_STARTED = """
import multiprocessing, sys
from late import work
if __name__ == "__main__":
    folder, rules, start, durability = sys.argv[1:]
    context = multiprocessing.get_context(start)
    child = context.Process(target=work, args=(folder, rules, durability))
    child.start()
    child.join()
    assert child.exitcode == 0
"""


@pytest.mark.slow
@FORKS
@STARTS
@pytest.mark.parametrize("durability", ["group", "async"])
def test_a_child_of_multiprocessing_that_logs_first_loses_nothing_at_its_end(
    tmp_path: Path, start: str, durability: str
) -> None:
    (tmp_path / "late.py").write_text(LATE)
    words = (str(tmp_path / "log"), POLICY, start, durability)
    ran(LATE_STARTED, *words, cwd=tmp_path, measured=False)
    lines = one_writer(tmp_path / "log")
    assert sorted(kinds(lines)) == ["close"] + ["decision"] * 5 + ["execution"] * 5


THREADED = (
    SCRIPT
    + """
import multiprocessing, time
log = DecisionLog(folder)
def late():
    time.sleep(0.3)
    log.decision(policy, record)
def work():
    threading.Thread(target=late).start()
child = multiprocessing.get_context("fork").Process(target=work)
child.start()
child.join()
"""
)


@pytest.mark.slow
@FORKS
def test_a_child_of_multiprocessing_is_closed_after_its_last_thread(tmp_path: Path) -> None:
    ran(THREADED, str(tmp_path / "log"), POLICY, cwd=tmp_path, measured=False)
    assert kinds(one_writer(tmp_path / "log")) == ["decision", "close"]


IDLE = """
import multiprocessing.util, sys
from concurrent.futures import ThreadPoolExecutor
from policy_router import DecisionLog, decide, loads
folder, rules, depth = sys.argv[1:]
policy = loads(rules, name="logged")
record = decide(policy, {"caller": {"team": "x"}}, now="2026-01-31T09:00:00Z")
log = DecisionLog(folder)
def work(depth):
    global pool
    pool = ThreadPoolExecutor(1)  # it is idle, and nobody shuts it down
    pool.submit(log.decision, policy, record).result()
    if depth:
        start(depth - 1)
def start(depth):
    child = multiprocessing.get_context("fork").Process(target=work, args=(depth,))
    child.start()
    child.join(20)
    assert child.exitcode == 0, child.exitcode
start(int(depth))
"""


@pytest.mark.slow
@FORKS
@pytest.mark.parametrize("depth", [0, 2])
def test_a_child_of_multiprocessing_ends_though_it_has_idle_threads(
    tmp_path: Path, depth: int
) -> None:
    ran(IDLE, str(tmp_path / "log"), POLICY, str(depth), cwd=tmp_path, measured=False)
    assert len(decided(tmp_path / "log")) == depth + 1


FORKED_MEANWHILE = (
    SCRIPT
    + """
from policy_router.log.folder import LogFolder
segments, is_there, may_go = LogFolder.segments, threading.Event(), threading.Event()
def segments_slowly(self, writer):
    is_there.set()
    assert may_go.wait(20)
    return segments(self, writer)
LogFolder.segments = segments_slowly
log = DecisionLog(folder, writer="api")
thread = threading.Thread(target=lambda: log.decision(policy, record))
thread.start()
assert is_there.wait(20)
out, into = os.pipe()
number = os.fork()
if not number:
    os.close(into)
    os.read(out, 1)
    os._exit(0)
may_go.set()
thread.join(20)
log.close()
with DecisionLog(folder, writer="api") as again:
    again.decision(policy, record)
os.close(into)
os.waitpid(number, 0)
"""
)


@pytest.mark.slow
@FORKS
def test_a_process_that_is_forked_while_a_log_is_opened_keeps_no_writer(tmp_path: Path) -> None:
    ran(FORKED_MEANWHILE, str(tmp_path / "log"), POLICY, cwd=tmp_path, measured=False)
    assert len(decided(tmp_path / "log")) == 2


ENDS_WITH_PROBLEMS = (
    SCRIPT
    + """
import datetime
is_over = False
def clock():
    if is_over:
        raise ValueError("this clock has stopped")
    return datetime.datetime.now(datetime.UTC)
logs = []
for number in range(20):
    clocks = {"clock": clock} if number % 2 else {}
    logs.append(DecisionLog(f"{folder}/{number}", durability="async", **clocks))
    for _ in range(5):
        logs[-1].decision(policy, record)
is_over = True
"""
)


@pytest.mark.slow
def test_a_log_that_cannot_be_closed_keeps_no_other_one_from_it(tmp_path: Path) -> None:
    ran(ENDS_WITH_PROBLEMS, str(tmp_path), POLICY, cwd=tmp_path)
    assert [len(decided(tmp_path / str(number))) for number in range(20)] == [5] * 20
    assert [kinds(one_writer(tmp_path / str(number)))[-1] for number in range(0, 20, 2)] == (
        ["close"] * 10
    )


# A folder that is removed meanwhile, and a head that is cut short.


def test_who_waits_while_the_log_is_removed_is_in_the_next_one_with_the_policy(
    tmp_path: Path, new_log: NewLog, disk: Disk
) -> None:
    log = new_log()
    log.decision(RULES, RECORD)
    with disk.stopped():
        first = Thread(logging(log))
        disk.wait()
        second = Thread(logging(log))
        until(lambda: log.waiting == 1)
        shutil.rmtree(tmp_path / "log")
    assert isinstance(first.end(), LogError)
    made = second.end()
    log.close()
    assert ids(one_writer(tmp_path / "log")) == [made]
    assert verify(tmp_path / "log").is_whole
    assert replay_log(tmp_path / "log").is_identical


def test_a_first_head_that_is_cut_short_is_no_lost_one(
    tmp_path: Path, new_log: NewLog, monkeypatch: Patch
) -> None:
    def write_a_part(file: Any, content: bytes) -> None:
        file.write(content[:100])
        raise FULL

    monkeypatch.setattr(chain_module, "write_all", write_a_part)
    with pytest.raises(LogError):
        new_log().decision(RULES, RECORD)
    monkeypatch.undo()
    assert verify(tmp_path / "log").is_whole
    with new_log() as log:
        log.decision(RULES, RECORD)
    assert kinds(one_writer(tmp_path / "log")) == ["decision", "close"]


@pytest.mark.parametrize("mode", ["deny", "allow_unlogged"])
def test_a_policy_that_cannot_be_stored_harms_nobody_else(
    tmp_path: Path, new_log: NewLog, disk: Disk, mode: str
) -> None:
    log = new_log(on_log_failure=mode)
    made = [log.decision(RULES, RECORD)]
    other = loads("{model: m, provider: p}")
    (tmp_path / f"log/policies/{other.revision}.json").mkdir()
    with disk.stopped():
        first = Thread(logging(log))
        disk.wait()
        odd = Thread(lambda: log.decision(other, record_of(other)))
        others = [Thread(logging(log)) for _ in range(3)]
        until(lambda: log.waiting == len(others))
    made += [thread.end() for thread in (first, *others)]
    assert isinstance(odd.end(), LogError if mode == "deny" else str)
    made.append(log.decision(RULES, RECORD))
    lines = one_writer(tmp_path / "log")
    assert sorted(ids(lines)) == sorted(made)
    assert [gap["decisions"] for gap in gaps(lines)] == [1] * (mode != "deny")


# What is counted.


@pytest.mark.parametrize("durability", ["sync", "group", "async"])
def test_what_is_missing_is_missing_until_it_is_told(
    tmp_path: Path, new_log: NewLog, disk: Disk, durability: str
) -> None:
    log = new_log(durability=durability, on_log_failure="allow_unlogged")
    disk.problems = [FULL, FULL]
    log.decision(RULES, RECORD)
    log.decision(RULES, RECORD)
    with disk.stopped():
        thread = Thread(logging(log))
        disk.wait()
        assert log.unlogged == 2
    made = thread.end()
    assert log.unlogged == 0
    lines = one_writer(tmp_path / "log")
    assert (ids(lines), [gap["decisions"] for gap in gaps(lines)]) == ([made], [2])


DEEP: dict[str, Any] = {}
DEEP["deep"] = DEEP


@pytest.mark.parametrize(
    ("execution", "caller", "message"),
    [
        (Execution("finished", input_tokens="5"), None, r"got `str` - at `\$.input_tokens`"),  # type: ignore[arg-type]
        (Execution(None), None, r"at `\$.event`"),  # type: ignore[arg-type]
        (Execution("finished", calls=(Call("1", "p", "m"),)), None, r"calls\[0\].number"),  # type: ignore[arg-type]
        (Execution("finished", calls=(Call(1, "p", "m", duration_seconds=NAN),)), None, "float"),
        (Execution("finished", model="\ud800"), None, "surrogates"),
        (Execution("started"), {"id": "\ud800"}, "surrogates"),
        (Execution("started"), {"id": object()}, "unsupported"),
        (Execution("started"), DEEP, "recursion"),
    ],
    ids=range(8),
)
def test_an_event_that_could_not_be_read_back_is_refused_and_counted(
    tmp_path: Path, new_log: NewLog, execution: Execution, caller: Any, message: str
) -> None:
    with new_log() as log:
        made = log.decision(RULES, RECORD)
        with pytest.raises(ValueError, match=message):
            log.execution(made, execution, caller)
        log.execution(made, Execution("finished"))
    lines = one_writer(tmp_path / "log")
    assert [(gap["executions"], gap["error"]) for gap in gaps(lines)] == [
        (1, "an event is malformed")
    ]
    assert kinds(lines) == ["decision", "gap", "execution", "close"]


@pytest.mark.parametrize("name", ["decision_id", "parent_id"])
def test_an_empty_id_is_none(tmp_path: Path, new_log: NewLog, name: str) -> None:
    with pytest.raises(ValueError, match="the id of a decision"):
        new_log().decision(RULES, RECORD, **{name: ""})
    assert not (tmp_path / "log").exists()


def test_who_is_interrupted_while_others_gather_writes_for_them(
    tmp_path: Path, new_log: NewLog, disk: Disk, monkeypatch: Patch
) -> None:
    log = new_log()
    made = [log.decision(RULES, RECORD)]
    with disk.stopped():  # so many come together that the next one waits a moment for others
        crowd = [Thread(logging(log)) for _ in range(9)]
        until(lambda: log.waiting == len(crowd) - 1)
    made += [each.end() for each in crowd]
    others: list[Thread] = []

    def pause(_seconds: float) -> None:
        monkeypatch.undo()
        others.extend(Thread(logging(log)) for _ in range(3))
        until(lambda: log.waiting == len(others))
        raise KeyboardInterrupt

    monkeypatch.setattr(group_module, "time", SimpleNamespace(sleep=pause))
    assert isinstance(Thread(logging(log)).end(), KeyboardInterrupt)
    made += [other.end() for other in others]
    logged = ids(one_writer(tmp_path / "log"))
    assert set(made) <= set(logged)
    assert len(logged) == len(made) + 1  # that of the interrupted one, who was told nothing
