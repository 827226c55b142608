"""Where the log cannot be written, a decision is denied or counted, and nothing else is harmed."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from policy_router import DecisionLog, Delegator, Policy, Router
from policy_router.calls.child_task import ChildTask
from policy_router.calls.results import Delegation, Status
from policy_router.decision.record import Target
from policy_router.errors import LogError
from policy_router.log.write import chain as chain_module
from tests.support.commands import in_process_of_its_own
from tests.support.log_chain import (
    POLICY,
    decided,
    everything,
    gaps,
    ids,
    kinds,
    one_writer,
    policy_of,
    record_of,
    segments,
    torn,
    whole,
    writers,
)

pytestmark = pytest.mark.usefixtures("counted_lines")

RULES = policy_of()
RECORD = record_of(RULES, team="x")
ALL_DURABILITIES = pytest.mark.parametrize("durability", ["sync", "group", "async"])
THREE = {"tasks": [{"goal": "a"}, {"goal": "b"}, {"goal": "c"}]}


class Disk:
    """A small file system."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path / "log"
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Leave no space, nor in the last page of any file."""
        with self._ballast.open("ab", buffering=0) as stream, suppress(OSError):
            while True:
                stream.write(b"x" * 4096)

    def free(self) -> None:
        """Give the space back."""
        self._ballast.unlink()

    def be(self, mode: str) -> None:
        """Be read-only (``ro``) or not (``rw``)."""
        self._run("mount", "-o", f"remount,{mode}", str(self.path))

    def mount(self) -> None:
        """Be there, or skip the test."""
        if os.geteuid() != 0 or shutil.which("mount") is None:
            pytest.skip("only root can mount a small file system")
        self.path.mkdir()
        options = ("-t", "tmpfs", "-o", "size=1m", "tmpfs")
        try:
            self._run("mount", *options, str(self.path))
        except subprocess.CalledProcessError as problem:
            pytest.skip(f"no file system can be mounted here: {problem.stderr.decode().strip()}")

    def unmount(self) -> None:
        """Be gone."""
        self._run("umount", "-l", str(self.path))

    @staticmethod
    def _run(*words: str) -> None:
        subprocess.run(words, check=True, capture_output=True, timeout=20)  # noqa: S603 - the words are above


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Mount a file system of 1 MiB."""
    made = Disk(tmp_path / "disk")
    made.mount()
    yield made
    made.unmount()


def until_denied(log: DecisionLog, policy: Policy = RULES) -> tuple[list[str], LogError]:
    """Log decisions until one is denied; return those before it, and why."""
    made: list[str] = []
    while len(made) < 1000:
        try:
            made.append(log.decision(policy, RECORD))
        except LogError as problem:
            return made, problem
        log.flush()
    raise AssertionError("the disk has no end")


def logged_of(log: DecisionLog, count: int) -> tuple[list[str], int]:
    """Log decisions that need not be in the log; return all, and how many are missing."""
    made = [log.decision(RULES, RECORD) for _ in range(count)]
    return made, log.unlogged


# A full disk.


@ALL_DURABILITIES
def test_on_a_full_disk_a_decision_is_denied(disk: Disk, durability: Any) -> None:
    with DecisionLog(disk.log, durability=durability) as log:
        made = [log.decision(RULES, RECORD)]
        log.flush()
        disk.fill()
        before, problem = until_denied(log)
        assert str(problem) == f"the log {disk.log}: no space left on device"
        for _ in range(3):
            with pytest.raises(LogError):
                Router(RULES, log=log).decide({})
        disk.free()
        log.flush()
        made += [*before, log.decision(RULES, RECORD)]
    lines = one_writer(disk.log)
    # With `async` nobody waited for some, and these are told of.
    told = sum(gap["decisions"] for gap in gaps(lines))
    assert len(set(made) - set(ids(lines))) == told
    assert set(ids(lines)) <= set(made)
    assert told == 0 or durability == "async"
    assert kinds(lines)[-1] == "close"


def test_what_was_denied_is_not_in_the_log(disk: Disk) -> None:
    with DecisionLog(disk.log) as log:
        made = [log.decision(RULES, RECORD)]
        disk.fill()
        more, _problem = until_denied(log)
        denied = "00000000-0000-7000-8000-000000000001"
        with pytest.raises(LogError):
            log.decision(RULES, RECORD, decision_id=denied)
        disk.free()
        made += [*more, log.decision(RULES, RECORD)]
    assert ids(one_writer(disk.log)) == made
    assert denied.encode() not in everything(disk.log)


@ALL_DURABILITIES
def test_what_need_not_be_logged_is_counted_and_told_when_there_is_space(
    disk: Disk, durability: Any
) -> None:
    with DecisionLog(disk.log, durability=durability, on_log_failure="allow_unlogged") as log:
        made = [log.decision(RULES, RECORD)]
        log.flush()
        disk.fill()
        more, _ = logged_of(log, 20)
        log.flush()
        missing = log.unlogged
        assert 10 <= missing <= 20
        disk.free()
        last = log.decision(RULES, RECORD)
        log.flush()
        assert log.unlogged == 0
    lines = one_writer(disk.log)
    (gap,) = gaps(lines)
    assert gap["reason"] == "unlogged"
    assert gap["decisions"] == missing == len(set(more) - set(ids(lines)))
    assert gap["error"] == "no space left on device"
    assert "executions" not in gap
    assert ids(lines) == [*made, *more[: 20 - missing], last]
    (place,) = [number for number, line in enumerate(lines) if line.kind == "gap"]
    assert lines[place - 1].entry["time"] <= gap["since"] <= lines[place].entry["time"]
    assert kinds(lines[place:]) == ["gap", "decision", "close"]


def test_the_first_line_may_find_the_disk_full(disk: Disk) -> None:
    disk.fill()
    denying, allowing = (
        DecisionLog(disk.log),
        DecisionLog(disk.log, on_log_failure="allow_unlogged"),
    )
    with denying, allowing:
        with pytest.raises(LogError, match="no space left on device"):
            denying.decision(RULES, RECORD)
        assert logged_of(allowing, 3)[1] == 3
        disk.free()
        made = [denying.decision(RULES, RECORD), allowing.decision(RULES, RECORD)]
    lines = whole(disk.log)
    assert sorted(decided(disk.log)) == sorted(made)
    assert [gap["decisions"] for of_it in lines.values() for gap in gaps(of_it)] == [3]


def test_where_the_space_for_the_end_is_missing_the_next_process_mends_it(disk: Disk) -> None:
    with DecisionLog(disk.log) as log:
        made = [log.decision(RULES, RECORD)]
        disk.fill()
        more, _ = until_denied(log)
    left = torn(segments(disk.log)[0])
    disk.free()
    with DecisionLog(disk.log) as log:
        made += [*more, log.decision(RULES, RECORD)]
    lines = one_writer(disk.log)
    assert ids(lines) == made
    assert gaps(lines) == ([{"reason": "torn_tail", "bytes": left}] if left else [])


def test_a_torn_tail_that_cannot_be_told_on_a_full_disk_is_told_later(disk: Disk) -> None:
    with DecisionLog(disk.log) as log:
        log.decision(RULES, RECORD)
    with segments(disk.log)[0].open("ab") as stream:
        stream.write(b"{" * 5000)
    disk.fill()
    with DecisionLog(disk.log) as log, suppress(LogError):
        log.decision(RULES, record_of(RULES, team="t" * 20_000))
    disk.free()
    with DecisionLog(disk.log) as log:
        log.decision(RULES, RECORD)
    assert sum(gap["bytes"] for gap in gaps(one_writer(disk.log))) >= 5000


def test_threads_are_denied_together_and_go_on_together(disk: Disk) -> None:
    made: list[str] = []
    denied: list[str] = []
    numbers = iter(range(10_000))
    log = DecisionLog(disk.log)
    log.decision(RULES, RECORD, decision_id="00000000-0000-7000-8000-999999999999")

    def work() -> None:
        for _ in range(30):
            made_here = f"00000000-0000-7000-8000-{next(numbers):012d}"
            try:
                log.decision(RULES, RECORD, decision_id=made_here)
            except LogError:
                denied.append(made_here)
            else:
                made.append(made_here)

    for step in (disk.fill, disk.free):
        step()
        threads = [threading.Thread(target=work, daemon=True) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
    log.close()
    lines = one_writer(disk.log)
    assert len(denied) >= 200
    assert len(made) >= 240
    assert sorted(ids(lines)[1:]) == sorted(made)


# A file that may not grow.


LIMITED = """
import json, resource, sys
from policy_router import DecisionLog, decide, loads
from policy_router.errors import LogError
folder, durability, mode, rules = sys.argv[1:]
policy = loads(rules)
record = decide(policy, {"caller": {"team": "x"}}, now="2026-01-31T09:00:00Z")
log = DecisionLog(folder, durability=durability, on_log_failure=mode)
made, denied = [], []
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
for number in range(40):
    made_here = f"00000000-0000-7000-8000-{number:012d}"
    try:
        log.decision(policy, record, decision_id=made_here)
        made.append(made_here)
    except LogError as problem:
        denied.append(made_here)
        assert problem.reason == "file too large", problem.reason
log.flush()
unlogged = log.unlogged
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
made.append(log.decision(policy, record))
log.close()
print(json.dumps([made, denied, unlogged]))
"""


def limited(folder: Path, durability: str, mode: str) -> tuple[list[str], list[str], int]:
    """Log 40 decisions where about 20 have a place, and one more when there is place again."""
    words = (str(folder / "log"), durability, mode, POLICY)
    ran = in_process_of_its_own(*words, cwd=folder, prefix=("-c", LIMITED))
    assert ran.code == 0, ran.err
    made, denied, unlogged = json.loads(ran.out)
    return made, denied, unlogged


@pytest.mark.parametrize("durability", ["sync", "group"])
def test_in_a_file_that_may_not_grow_a_decision_is_denied(tmp_path: Path, durability: str) -> None:
    made, denied, unlogged = limited(tmp_path, durability, "deny")
    assert (len(made) + len(denied), unlogged) == (41, 0)
    assert len(denied) > 10
    lines = one_writer(tmp_path / "log")
    assert (ids(lines), gaps(lines)) == (made, [])


@pytest.mark.parametrize("durability", ["sync", "group"])
def test_in_a_file_that_may_not_grow_what_need_not_be_logged_is_counted(
    tmp_path: Path, durability: str
) -> None:
    made, denied, unlogged = limited(tmp_path, durability, "allow_unlogged")
    lines = one_writer(tmp_path / "log")
    assert (len(made), denied) == (41, [])
    assert len(made) - unlogged == len(ids(lines))
    assert [gap["decisions"] for gap in gaps(lines)] == [unlogged]


def test_a_batch_is_in_the_log_whole_or_not_at_all(disk: Disk) -> None:
    with DecisionLog(disk.log) as log, Delegator(RULES, run_child=lambda _, __: "x", log=log) as it:
        log.decision(RULES, RECORD)
        disk.fill()
        content = {"tasks": [{"goal": "a"}] * 50}
        with pytest.raises(LogError):
            it.delegate(content)
        disk.free()
        log.decision(RULES, RECORD)
    assert len(ids(one_writer(disk.log))) == 2


# A file system that may not be written.


def test_on_a_read_only_disk_a_decision_is_denied(disk: Disk) -> None:
    with DecisionLog(disk.log) as log:
        made = log.decision(RULES, RECORD)
    disk.be("ro")
    before = everything(disk.log)
    with DecisionLog(disk.log) as log:
        router = Router(RULES, log=log)
        with pytest.raises(LogError, match="read-only file system"):
            router.decide({})
        with pytest.raises(LogError, match="read-only file system"):
            router.target({})
        assert (everything(disk.log), log.writer, log.unlogged) == (before, None, 0)
        disk.be("rw")
        router.decide({})
    lines = one_writer(disk.log)
    assert kinds(lines) == ["decision", "close", "decision", "close"]
    assert ids(lines)[0] == made


def test_on_a_read_only_disk_what_need_not_be_logged_is_counted(disk: Disk) -> None:
    disk.be("ro")
    with DecisionLog(disk.log, on_log_failure="allow_unlogged") as log:
        router = Router(RULES, log=log)
        for number in range(5):
            assert router.decide({}).decision.outcome == "selected"
            assert log.unlogged == number + 1
        disk.be("rw")
        router.decide({})
        assert log.unlogged == 0
    (gap,) = gaps(one_writer(disk.log))
    assert (gap["decisions"], gap["error"]) == (5, "read-only file system")


# A folder that cannot be.


def test_below_a_plain_file_a_decision_is_denied(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("mine")
    folder = tmp_path / "plain/log"
    with DecisionLog(folder) as log:
        with pytest.raises(LogError) as caught:
            Router(RULES, log=log).decide({})
        assert caught.value.folder == str(folder)
        assert caught.value.reason == "not a directory"
    assert (tmp_path / "plain").read_text() == "mine"


@ALL_DURABILITIES
def test_below_a_plain_file_what_need_not_be_logged_is_counted(
    tmp_path: Path, durability: Any
) -> None:
    plain = tmp_path / "plain"
    plain.write_text("mine")
    with DecisionLog(plain / "log", durability=durability, on_log_failure="allow_unlogged") as log:
        assert logged_of(log, 4)[1] == 4
        plain.unlink()
        log.decision(RULES, RECORD)
        log.flush()
        assert log.unlogged == 0
    lines = one_writer(plain / "log")
    (gap,) = gaps(lines)
    assert (gap["decisions"], gap["error"], len(ids(lines))) == (4, "not a directory", 1)


@pytest.mark.parametrize("name", ["w1", "heads", "policies"])
def test_a_file_in_the_place_of_a_folder_denies(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with DecisionLog(tmp_path) as log:
        with pytest.raises(LogError):
            log.decision(RULES, RECORD)
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()
        log.decision(RULES, RECORD)
    assert len(decided(tmp_path)) == 1


def test_what_is_missing_at_the_end_is_told_if_it_can_be(tmp_path: Path) -> None:
    plain = tmp_path / "log"
    plain.write_text("mine")
    with DecisionLog(plain, on_log_failure="allow_unlogged") as log:
        assert logged_of(log, 3)[1] == 3
        plain.unlink()
    assert [gap["decisions"] for gap in gaps(one_writer(plain))] == [3]
    assert log.unlogged == 0


def test_what_is_missing_at_the_end_and_cannot_be_told_is_said_on_the_log_of_the_host(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "log").write_text("mine")
    with DecisionLog(tmp_path / "log", on_log_failure="allow_unlogged") as log:
        assert logged_of(log, 3)[1] == 3
    assert caplog.messages[-1] == "3 decisions and 0 execution events are in no log"
    assert log.unlogged == 3


@pytest.mark.parametrize("mode", ["deny", "allow_unlogged"])
@pytest.mark.parametrize("what", ["w1", "policies"])
def test_the_log_of_the_host_has_a_line_for_the_beginning_of_a_failure_and_one_for_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: Any, what: str
) -> None:
    (tmp_path / what).write_text("mine")
    with DecisionLog(tmp_path, on_log_failure=mode) as log:
        for _ in range(20):
            with suppress(LogError):
                log.decision(RULES, RECORD)
        assert len(caplog.messages) == 1
        (tmp_path / what).unlink()
        log.decision(RULES, RECORD)
    assert caplog.messages[1:] == [f"the log {tmp_path} can be written again"]


# A folder that is removed.


def test_a_head_that_is_removed_under_a_writer_lets_nobody_write_over_its_lines(
    tmp_path: Path,
) -> None:
    with DecisionLog(tmp_path) as first, DecisionLog(tmp_path) as second:
        made = [first.decision(RULES, RECORD)]
        (tmp_path / "heads/w1").unlink()
        made.append(second.decision(RULES, RECORD))
        with pytest.raises(LogError, match="the log was removed while it was written"):
            first.decision(RULES, RECORD)
        made += [log.decision(RULES, RECORD) for log in (first, second, first)]
    assert sorted(decided(tmp_path)) == sorted(made)


@pytest.mark.parametrize("size", [1_000_000, 1], ids=["within a segment", "between segments"])
def test_a_removed_log_denies_and_begins_anew(tmp_path: Path, size: int) -> None:
    folder = tmp_path / "log"
    with DecisionLog(folder, segment_bytes=size) as log:
        log.decision(RULES, RECORD)
        shutil.rmtree(folder)
        with pytest.raises(LogError, match="the log was removed while it was written"):
            log.decision(RULES, RECORD)
        made = log.decision(RULES, RECORD)
        assert (folder / "heads/w1").exists()
        with DecisionLog(folder) as other:
            other.decision(RULES, RECORD)
            assert other.writer == "w2"
    lines = whole(folder)
    assert ids(lines["w1"]) == [made]
    assert lines["w1"][0].entry["seq"] == 1


def test_a_removed_log_has_the_policies_of_its_decisions_again(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    with DecisionLog(folder, on_log_failure="allow_unlogged") as log:
        log.decision(RULES, RECORD)
        shutil.rmtree(folder)
        log.decision(RULES, RECORD)
        assert log.unlogged == 1
        log.decision(RULES, RECORD)
        assert log.policies.load(RULES.revision).revision == RULES.revision
    assert [gap["decisions"] for gap in gaps(one_writer(folder))] == [1]


def test_a_segment_that_is_removed_denies_and_the_next_one_begins(tmp_path: Path) -> None:
    with DecisionLog(tmp_path) as log:
        log.decision(RULES, RECORD)
        segments(tmp_path)[0].unlink()
        with pytest.raises(LogError, match="the log was removed while it was written"):
            log.decision(RULES, RECORD)
        log.decision(RULES, RECORD)
    assert [path.name for path in segments(tmp_path)] == ["00000002.jsonl"]


def full(_number: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_segment_that_is_cut_under_its_writer_denies_or_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DecisionLog(tmp_path) as log:
        log.decision(RULES, RECORD)
        path = segments(tmp_path)[0]
        with monkeypatch.context() as patch:
            patch.setattr(chain_module, "sync", full)
            with pytest.raises(LogError, match="no space left"):
                log.decision(RULES, RECORD)
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(LogError, match="the log was removed while it was written"):
            log.decision(RULES, RECORD)
        log.decision(RULES, RECORD)
    rest = segments(tmp_path)[1].read_bytes()
    assert b'"reason":"cut"' in rest.split(b"\n")[0]


# Delegating.


class Child:
    """A child that does something while it runs, and is counted."""

    def __init__(self, act: Callable[[], object] = lambda: None) -> None:
        self.ran = 0
        self._act = act

    def __call__(self, _target: Target, task: ChildTask) -> str:
        """Run."""
        self.ran += 1
        self._act()
        return f"did {task.goal}"


def delegated(it: Delegator, content: Any, way: str) -> Delegation:
    """Delegate in a thread, or on an event loop."""
    if way == "delegate":
        return it.delegate(content)
    return asyncio.run(it.delegate_async(content))


@pytest.mark.parametrize("content", [{"goal": "a"}, THREE], ids=["one", "some"])
@pytest.mark.parametrize("way", ["delegate", "delegate_async"])
def test_what_cannot_be_logged_is_not_run(tmp_path: Path, content: Any, way: str) -> None:
    (tmp_path / "plain").write_text("")
    child = Child()
    with (
        DecisionLog(tmp_path / "plain/log") as log,
        Delegator(RULES, run_child=child, log=log) as it,
        pytest.raises(LogError, match="not a directory"),
    ):
        delegated(it, content, way)
    assert child.ran == 0


@pytest.mark.parametrize("content", [{"goal": "a"}, THREE], ids=["one", "some"])
def test_what_need_not_be_logged_is_run(tmp_path: Path, content: Any) -> None:
    (tmp_path / "plain").write_text("")
    child = Child()
    with (
        DecisionLog(tmp_path / "plain/log", on_log_failure="allow_unlogged") as log,
        Delegator(RULES, run_child=child, log=log) as it,
    ):
        made = it.delegate(content)
        assert (made.status, child.ran) == (Status.COMPLETED, len(made.results))
        assert log.unlogged == len(made.results)


def test_a_plan_needs_no_log(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    with DecisionLog(tmp_path / "plain/log") as log, Delegator(RULES, log=log) as it:
        assert it.plan(THREE).status is Status.DECIDED


@ALL_DURABILITIES
@pytest.mark.parametrize("mode", ["deny", "allow_unlogged"])
@pytest.mark.parametrize("way", ["delegate", "delegate_async"])
def test_an_event_that_cannot_be_written_loses_no_result(
    disk: Disk, durability: Any, mode: Any, way: str
) -> None:
    log = DecisionLog(disk.log, durability=durability, on_log_failure=mode)
    child = Child(disk.fill)
    with log, Delegator(RULES, run_child=child, log=log) as it:
        log.decision(RULES, record_of(RULES, team="t" * 20_000))
        content = {"tasks": [{"goal": "a"} for _ in range(40)]}
        made = delegated(it, content, way)
        assert [result.text for result in made.results] == ["did a"] * 40
        disk.free()
        log.decision(RULES, RECORD)
    lines = one_writer(disk.log)
    written = kinds(lines).count("execution")
    lost = sum(gap.get("executions", 0) for gap in gaps(lines))
    # With `async` the decisions are not waited for either.
    missing = sum(gap.get("decisions", 0) for gap in gaps(lines))
    assert (written + lost, len(ids(lines)) + missing) == (80, 42)
    assert lost > 40
    assert missing == 0 or durability == "async"


def test_a_log_that_is_closed_meanwhile_loses_no_result(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path)
    with Delegator(RULES, run_child=Child(log.close), log=log) as it:
        made = it.delegate({"goal": "a"})
    assert [result.text for result in made.results] == ["did a"]
    assert writers(tmp_path) == ["w1"]
