"""A log that something happens to while somebody reads it, or writes it, is no broken one."""

from __future__ import annotations

import errno
import io
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from policy_router import DecisionLog
from policy_router.errors import LogError
from policy_router.log.damage import Damage
from policy_router.log.entry import Gap, Kind
from policy_router.log.folder import LogFolder
from policy_router.log.heads import read_head
from policy_router.log.integrity import writer as writer_module
from policy_router.log.integrity.prune import prune
from policy_router.log.integrity.scan import Scan
from policy_router.log.integrity.verify import verify
from policy_router.log.lock import lock
from policy_router.log.write import chain as chain_module
from policy_router.log.write.chain import Chain, Limits
from policy_router.log.write.drafts import Draft
from tests.support.log_auditing import SIGNER, Clock, audited, segments, sign_log
from tests.support.log_chain import gaps, one_writer, problems

FAR = 10**18
SMALL = Limits(600, 1e6)
Patch = pytest.MonkeyPatch


def gap(time: int) -> Draft:
    return Draft(Kind.GAP, time, gap=Gap("unlogged", decisions=time))


def opened(folder: Path, limits: Limits = SMALL) -> Chain:
    return Chain(LogFolder(folder), ["w1"], limits, 1)


def times(folder: Path) -> list[int]:
    """Return the numbers of the lines that were written, in order."""
    return [it.entry["time"] for it in one_writer(folder) if it.entry["kind"] == "gap"]


def is_whole(folder: Path) -> bool:
    return verify(folder).is_whole


# The log is moved, or removed, under a process that writes it.


def test_a_log_that_was_moved_aside_is_left_alone_and_so_is_the_next_one(tmp_path: Path) -> None:
    log, aside = tmp_path / "log", tmp_path / "aside"
    first = opened(log)
    first.write([gap(1)])
    log.rename(aside)
    second = opened(log)
    for number in range(30):
        second.write([gap(number)])
        with pytest.raises(FileNotFoundError, match="the log was removed"):
            first.write([gap(2)])
    first.release()
    second.release()
    assert (times(log), times(aside)) == (list(range(30)), [1])
    assert len(segments(log, "w1")) > 5


def test_a_process_whose_log_was_moved_aside_goes_on_in_the_next_one(tmp_path: Path) -> None:
    log, aside = tmp_path / "log", tmp_path / "aside"
    with DecisionLog(log) as first, DecisionLog(log) as second:
        first.act(gap(1))
        log.rename(aside)
        second.act(gap(2))
        with pytest.raises(LogError, match="the log was removed"):
            first.act(gap(3))
        first.act(gap(4))
        assert (first.writer, second.writer) == ("w2", "w1")
    assert is_whole(log)
    assert problems(aside) == []


def test_what_could_not_be_written_is_taken_away_from_no_other_log(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    def full(_number: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    first = opened(tmp_path / "log")
    with monkeypatch.context() as patch:
        patch.setattr(chain_module, "sync", full)
        with pytest.raises(OSError, match="full"):
            first.write([gap(1)])
    shutil.rmtree(tmp_path / "log")
    second = opened(tmp_path / "log", Limits(10**9, 1e6))
    second.write([gap(number) for number in range(30)])
    with pytest.raises(FileNotFoundError, match="the log was removed"):
        first.write([gap(2)])
    first.release()
    second.release()
    assert times(tmp_path / "log") == list(range(30))


def test_a_segment_that_somebody_else_made_is_not_written_over(tmp_path: Path) -> None:
    chain = opened(tmp_path, Limits(1, 1e6))
    chain.write([gap(1)])
    other = tmp_path / "w1/00000002.jsonl"
    other.write_text("mine")
    with pytest.raises(FileExistsError):
        chain.write([gap(2)])
    chain.release()
    assert other.read_text() == "mine"


def test_an_interrupt_just_after_the_head_was_written_takes_no_line_back(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    def interrupted(file: io.FileIO, content: bytes) -> None:
        write_all(file, content)
        if read_head(content) is not None:
            raise KeyboardInterrupt

    write_all = chain_module.write_all
    chain = opened(tmp_path)
    chain.write([gap(1)])
    with monkeypatch.context() as patch:
        patch.setattr(chain_module, "write_all", interrupted)
        with pytest.raises(KeyboardInterrupt):
            chain.write([gap(2)])
    made = sign_log(tmp_path)
    assert made is not None
    assert made.checkpoint.size == 2
    chain.write([gap(3)])
    chain.release()
    assert times(tmp_path) == [1, 2, 3]
    assert verify(tmp_path, verifier=SIGNER.verifier()).is_whole


# Nothing is built upon what is not on disk.


@pytest.mark.parametrize("limits", [SMALL, Limits(1, 1e6)], ids=["within", "after a segment"])
def test_what_a_killed_process_left_is_synced_before_a_line_follows(
    tmp_path: Path, monkeypatch: Patch, limits: Limits
) -> None:
    def killed(_number: int) -> None:
        raise SystemExit

    chain = opened(tmp_path, limits)
    with monkeypatch.context() as patch:
        patch.setattr(chain_module, "sync", killed)
        with pytest.raises(SystemExit):
            chain.write([gap(1)])
    chain.release()
    synced: list[int] = []
    fsync = os.fsync

    def noted(number: int) -> None:
        synced.append(os.fstat(number).st_ino)
        fsync(number)

    monkeypatch.setattr(os, "fsync", noted)
    chain = opened(tmp_path, limits)
    chain.release()
    wanted = [segments(tmp_path, "w1")[0], tmp_path / "w1", tmp_path / "heads", tmp_path]
    assert {it.stat().st_ino for it in wanted} <= set(synced)
    assert times(tmp_path) == [1]


def test_a_new_folder_has_its_name_on_disk(tmp_path: Path, monkeypatch: Patch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("policy_router.log.files.sync_folder", synced.append)
    opened(tmp_path / "a/b").release()
    assert synced[:3] == [tmp_path / "a/b", tmp_path / "a", tmp_path]


# A named writer waits a moment for `prune`.


def test_a_named_writer_waits_a_moment_for_its_name(tmp_path: Path) -> None:
    with DecisionLog(tmp_path, writer="api") as log:
        log.act(gap(1))
    with (tmp_path / "heads/api").open("rb+") as file:
        assert lock(file)
        timer = threading.Timer(0.2, file.close)
        timer.start()
        with DecisionLog(tmp_path, writer="api") as log:
            log.act(gap(2))
        timer.join(20)
    assert is_whole(tmp_path)


# A log is verified while segments are pruned.


def once(monkeypatch: Patch, act: Callable[[], object], after: str = "") -> list[object]:
    """Let something happen once a segment, of a writer, was read; return what it came to."""
    done: list[object] = []
    real = Scan.segment

    def segment(self: Any, name: str, stream: Any) -> Any:
        extent = real(self, name, stream)
        if not done and name.startswith(after):
            done.append(None)  # it reads the log itself
            done.append(act())
        return extent

    monkeypatch.setattr(Scan, "segment", segment)
    return done


LOOKS: list[Callable[[Path], bool]] = [
    is_whole,
    lambda log: verify(log, verifier=SIGNER.verifier()).is_whole,
]


@pytest.mark.parametrize("look", LOOKS, ids=["verify", "verify --key"])
@pytest.mark.parametrize("is_first", [True, False], ids=["the first prune", "a later one"])
def test_what_is_pruned_meanwhile_is_not_missing(
    tmp_path: Path, monkeypatch: Patch, look: Callable[[Path], bool], *, is_first: bool
) -> None:
    audited(tmp_path)
    if not is_first:
        sign_log(tmp_path)
        assert prune(tmp_path, FAR, SIGNER).segments
        audited(tmp_path, writers=("prune-like", "z"))
    sign_log(tmp_path)
    with DecisionLog(tmp_path, writer="b") as log:
        log.act(gap(1))

    def sign_and_prune() -> tuple[str, ...]:
        sign_log(tmp_path)
        return prune(tmp_path, FAR, SIGNER).segments

    there = {it.name for it in LogFolder(tmp_path).all_segments()}
    done = once(monkeypatch, sign_and_prune, "" if is_first else "prune/")
    assert look(tmp_path)
    assert isinstance(done[1], tuple)
    assert done[1]
    assert set(done[1]) <= there


def test_what_is_removed_by_hand_meanwhile_is_missing(tmp_path: Path, monkeypatch: Patch) -> None:
    audited(tmp_path)
    done = once(monkeypatch, segments(tmp_path, "b")[1].unlink)
    report = verify(tmp_path)
    assert done
    assert [it.damage for it in report.completeness.problems] == [Damage.MISSING_SEGMENT]


def test_what_is_gone_on_with_after_it_was_read_is_not_pruned(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    with DecisionLog(tmp_path, writer="w1", clock=Clock()) as log:
        log.act(gap(1))
    sign_log(tmp_path)

    def go_on_in_the_next_segment() -> None:
        with DecisionLog(tmp_path, writer="w1", clock=Clock(), segment_bytes=1) as log:
            log.act(gap(2))
            log.act(gap(3))

    once(monkeypatch, go_on_in_the_next_segment)
    report = prune(tmp_path, FAR, SIGNER)
    assert (report.segments, report.kept_back) == ((), (("w1/1", "its writer is running"),))
    assert [path.stem for path in segments(tmp_path, "w1")] == ["00000001", "00000002", "00000003"]
    assert is_whole(tmp_path)


# A log is verified while a writer takes away what it could not write.


class Interrupted(io.FileIO):
    """A file to which something happens after it was read once."""

    act: Callable[[], object] | None = None

    def read(self, size: int | None = -1) -> bytes:
        """Read, and let it happen."""
        content = super().read(size)
        if (act := Interrupted.act) is not None:
            Interrupted.act = None
            act()
        return content


def between_reads(monkeypatch: Patch, act: Callable[[], object]) -> None:
    monkeypatch.setattr(Interrupted, "act", act)
    monkeypatch.setattr(writer_module, "open_file", Interrupted)


def test_a_torn_tail_may_be_mended_between_two_reads(tmp_path: Path, monkeypatch: Patch) -> None:
    chain = opened(tmp_path)
    chain.write([gap(1)])
    chain.release()
    with segments(tmp_path, "w1")[0].open("ab") as stream:
        stream.write(b'{"gap":{"reason"')
    between_reads(monkeypatch, lambda: opened(tmp_path).release())
    assert is_whole(tmp_path)
    assert Interrupted.act is None
    assert gaps(one_writer(tmp_path))[1:] == [{"reason": "torn_tail", "bytes": 16}]


@pytest.mark.parametrize("size", [40, 150, 300, 256 * 1024])
def test_a_line_may_be_taken_back_between_two_reads(
    tmp_path: Path, monkeypatch: Patch, size: int
) -> None:
    def half(file: io.FileIO, content: bytes) -> None:
        write_all(file, content[: len(content) - 20] if len(content) > 256 else content)
        if len(content) > 256:
            raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("policy_router.log.integrity.scan._BLOCK", size)
    write_all = chain_module.write_all
    chain = opened(tmp_path, Limits(10**9, 1e6))
    chain.write([gap(1)])
    with monkeypatch.context() as patch:
        patch.setattr(chain_module, "write_all", half)
        with pytest.raises(OSError, match="full"):
            chain.write([gap(2), gap(3), gap(4)])
    between_reads(monkeypatch, lambda: chain.write([gap(5), gap(6), gap(7)]))
    assert is_whole(tmp_path)
    assert Interrupted.act is None
    chain.release()
    assert times(tmp_path) == [1, 5, 6, 7]
