"""Whatever is done to a log, `verify` says what it was and where; with a checkpoint, all of it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from policy_router import DecisionLog, decide
from policy_router.errors import LogError
from policy_router.log.damage import Damage, Problem
from policy_router.log.entry import Gap, Kind
from policy_router.log.folder import LogFolder, Segment
from policy_router.log.integrity.verify import Answer, VerifyReport, verify
from policy_router.log.policies import PolicyStore
from policy_router.log.sign.keys import SignatureError, Signer
from policy_router.log.write import chain
from policy_router.log.write.drafts import Decided, Draft
from tests.support import log_worker
from tests.support.commands import Run
from tests.support.log_auditing import (
    NOW,
    PRICED,
    SEGMENT_BYTES,
    SIGNER,
    STRANGER,
    UNREADABLE,
    audited,
    history,
    id_of,
    lines_of,
    otherwise,
    policy_of,
    put_lines,
    rewritten,
    segments,
    seq_of,
    sign_log,
    with_record,
)

pytestmark = pytest.mark.usefixtures("counted_lines")

VERIFIER = SIGNER.verifier()
Edit = Callable[[Path], None]


class Found(NamedTuple):
    """What `verify` has to find, wherever else it sees that something is wrong."""

    damage: Damage
    where: str
    lines: tuple[int, int] | None = None


def problems_of(report: VerifyReport) -> list[Problem]:
    parts = (report.integrity, report.completeness, report.authenticity)
    return [problem for part in parts for problem in part.problems]


def found_in(report: VerifyReport) -> list[Found]:
    return [Found(it.damage, it.where, it.lines) for it in problems_of(report)]


def damages(report: VerifyReport) -> set[Damage]:
    return {problem.damage for problem in problems_of(report)}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a log once, and a second one with a checkpoint."""
    folder = tmp_path_factory.mktemp("logs")
    audited(folder / "plain")
    shutil.copytree(folder / "plain", folder / "signed")
    sign_log(folder / "signed")
    return folder


@pytest.fixture(params=["plain", "signed"])
def log(request: pytest.FixtureRequest, original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original / request.param, tmp_path / "log")
    return tmp_path / "log"


@pytest.fixture
def signed(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original / "signed", tmp_path / "log")
    return tmp_path / "log"


def checkpoint_of(folder: Path) -> Path:
    (path,) = (folder / "tree/checkpoints").glob("*.txt")
    return path


# What the log is like, so that the places below are what they say.


def test_the_log_has_three_segments_and_more_of_each_writer(original: Path) -> None:
    for writer in ("a", "b"):
        assert len(segments(original / "plain", writer)) > 3
        assert all(len(lines_of(path)) >= 3 for path in segments(original / "plain", writer)[:-1])


def test_what_nobody_touched_is_whole(log: Path, run: Run) -> None:
    report = verify(log)
    assert report.is_whole
    assert (report.writers, report.authenticity.status) == (2, Answer.NOT_CHECKED)
    ran = run("log", "verify", str(log))
    assert (ran.code, ran.err) == (0, "")


def test_what_is_signed_and_untouched_is_verified(signed: Path) -> None:
    report = verify(signed, verifier=VERIFIER)
    assert report.is_whole
    assert (report.authenticity.status, report.checkpoints) == (Answer.VERIFIED, 1)
    assert report.covered == report.lines


# One byte.


def path_and_place(log: Path, which: str) -> tuple[Path, int]:
    """Return the segment and the place in it of a line: first, middle and last of a writer."""
    paths = segments(log)
    if which == "first":
        return paths[0], 0
    if which == "middle":
        return paths[1], 1
    return paths[-1], len(lines_of(paths[-1])) - 1


def with_line(path: Path, place: int, change: Callable[[bytes], bytes]) -> int:
    """Change one line, and return its number."""
    lines = lines_of(path)
    seq = seq_of(lines[place])
    changed = change(lines[place])
    assert changed != lines[place]
    lines[place] = changed
    put_lines(path, lines)
    return seq


def one_digit(line: bytes, key: bytes) -> bytes:
    """Change the last digit or letter of a value."""
    start = line.index(b'"' + key + b'":') + len(key) + 3
    end = min(found for mark in b",}" if (found := line.find(bytes([mark]), start)) > 0)
    place = end - 2 if line[end - 1 : end] == b'"' else end - 1
    other = b"1" if line[place : place + 1] != b"1" else b"2"
    return line[:place] + other + line[place + 1 :]


@pytest.mark.parametrize("which", ["first", "middle", "last"])
@pytest.mark.parametrize("key", ["seq", "prev", "time", "kind"])
def test_an_edited_byte_is_found_in_its_line(log: Path, run: Run, which: str, key: str) -> None:
    path, place = path_and_place(log, which)
    seq = with_line(path, place, lambda line: one_digit(line, key.encode()))
    report = verify(log)
    where = f"a/{int(path.stem)}"
    edited = [it for it in found_in(report) if it.damage is Damage.EDITED]
    assert {it.where for it in edited} == {where}
    spans = [it.lines for it in edited if it.lines is not None]
    # An edited `prev` looks as if the line before had been edited: that one is named as well.
    assert min(spans)[0] == (max(1, seq - 1) if key == "prev" else seq)
    assert max(spans)[1] == seq
    assert not report.is_whole
    assert run("log", "verify", str(log)).code == 1


@pytest.mark.parametrize("place", ["first", "middle", "end"])
def test_an_edited_record_is_found(log: Path, run: Run, place: str) -> None:
    path = {"first": segments(log)[0], "middle": segments(log)[1]}.get(place, segments(log)[-2])
    number = {"first": 0, "middle": 1}.get(place, len(lines_of(path)) - 2)
    seq = with_line(
        path, number, lambda line: line.replace(b'"provider":"main"', b'"provider":"?"')
    )
    assert found_in(verify(log))[0] == (Damage.EDITED, f"a/{int(path.stem)}", (seq, seq))
    ran = run("log", "verify", str(log))
    assert ran.code == 1
    assert f"edited           a/{int(path.stem)}: line {seq}: changed" in ran.out


def test_whatever_byte_is_changed_its_line_is_named(log: Path) -> None:
    path = segments(log)[1]
    content, first = path.read_bytes(), seq_of(lines_of(path)[0])
    for place in range(0, len(content), 41):
        seq = first + content.count(b"\n", 0, place)
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        found = [it for it in problems_of(verify(log)) if it.where == "a/2"]
        assert any(it.lines and it.lines[0] <= seq <= it.lines[1] for it in found), place


def test_damage_of_several_writers_is_told_of_each(log: Path, run: Run) -> None:
    for writer, place in (("a", 1), ("b", 2)):
        path = segments(log, writer)[1]
        lines = lines_of(path)
        del lines[place]
        put_lines(path, lines)
    removed = [it for it in found_in(verify(log)) if it.damage is Damage.REMOVED]
    assert removed == [(Damage.REMOVED, "a/2", (8, 8)), (Damage.REMOVED, "b/2", (9, 9))]
    ran = run("log", "verify", str(log))
    assert ran.code == 1
    assert "  removed          a/2: line 8: removed\n" in ran.out
    assert "  removed          b/2: line 9: removed\n" in ran.out


def test_what_is_no_json_any_more_is_edited(log: Path) -> None:
    path, place = path_and_place(log, "middle")
    seq = with_line(path, place, lambda line: b"\xff" + line[1:])
    assert found_in(verify(log))[0] == (Damage.EDITED, f"a/{int(path.stem)}", (seq, seq))


def test_a_line_end_within_a_segment_that_is_gone_is_found(log: Path) -> None:
    path = segments(log)[1]
    path.write_bytes(path.read_bytes()[:-1])
    report = verify(log)
    assert Damage.EDITED in damages(report)
    assert "a/2" in {it.where for it in problems_of(report)}


# Lines that are gone, or elsewhere.


@pytest.mark.parametrize("which", ["first", "middle"])
def test_a_removed_line_is_missed(log: Path, run: Run, which: str) -> None:
    path, place = path_and_place(log, which)
    lines = lines_of(path)
    seq = seq_of(lines.pop(place))
    put_lines(path, lines)
    report = verify(log)
    wanted = Found(Damage.REMOVED, f"a/{int(path.stem)}", (seq, seq))
    assert [it for it in found_in(report) if it.damage is not Damage.REWRITTEN] == [wanted]
    assert report.completeness.status is Answer.BROKEN
    assert run("log", "verify", str(log)).code == 1


@pytest.mark.parametrize("which", ["first", "middle"])
def test_swapped_lines_are_found(log: Path, run: Run, which: str) -> None:
    path, place = path_and_place(log, which)
    lines = lines_of(path)
    seq = seq_of(lines[place])
    lines[place : place + 2] = lines[place : place + 2][::-1]
    put_lines(path, lines)
    found = [it for it in found_in(verify(log)) if it.damage is not Damage.REWRITTEN]
    assert found == [(Damage.SWAPPED, f"a/{int(path.stem)}", (seq, seq + 1))]
    assert run("log", "verify", str(log)).code == 1


@pytest.mark.parametrize("which", ["first", "middle"])
def test_a_duplicated_line_is_found(log: Path, run: Run, which: str) -> None:
    path, place = path_and_place(log, which)
    lines = lines_of(path)
    seq = seq_of(lines[place])
    lines.insert(place, lines[place])
    put_lines(path, lines)
    first = found_in(verify(log))[0]
    assert (first.damage, first.where) == (Damage.SWAPPED, f"a/{int(path.stem)}")
    assert first.lines is not None
    assert first.lines[0] == seq
    assert run("log", "verify", str(log)).code == 1


def test_a_last_line_that_is_there_twice_is_found(log: Path) -> None:
    path, place = path_and_place(log, "last")
    lines = lines_of(path)
    put_lines(path, [*lines, lines[place]])
    assert Damage.SWAPPED in damages(verify(log))


def test_lines_that_changed_places_between_writers_are_found(log: Path, run: Run) -> None:
    first, second = segments(log, "a")[1], segments(log, "b")[1]
    ours, theirs = lines_of(first), lines_of(second)
    ours[1], theirs[1] = theirs[1], ours[1]
    put_lines(first, ours)
    put_lines(second, theirs)
    found = {it.where for it in problems_of(verify(log)) if it.damage is Damage.EDITED}
    assert found == {"a/2", "b/2"}
    assert run("log", "verify", str(log)).code == 1


def test_lines_that_changed_places_between_segments_are_found(log: Path, run: Run) -> None:
    first, second = segments(log)[:2]
    before, after = lines_of(first), lines_of(second)
    before[-1], after[0] = after[0], before[-1]
    put_lines(first, before)
    put_lines(second, after)
    assert (Damage.SWAPPED, "a/2", (6, 7)) in found_in(verify(log))
    assert run("log", "verify", str(log)).code == 1


def test_very_many_damaged_places_are_summed_up(tmp_path: Path) -> None:
    audited(tmp_path, each=120, writers=["a"])
    put_lines(segments(tmp_path)[0], lines_of(segments(tmp_path)[0]))
    everything = [line for path in segments(tmp_path) for line in lines_of(path)]
    for path in segments(tmp_path)[1:]:
        path.unlink()
    put_lines(segments(tmp_path)[0], everything[::2])
    removed = [it for it in problems_of(verify(tmp_path)) if it.damage is Damage.REMOVED]
    assert len(removed) == 21
    assert "more places up to line" in removed[-1].message


# A cut tail.


@pytest.mark.parametrize("count", [1, 2])
def test_a_tail_of_whole_lines_that_is_cut_off_is_missed(log: Path, run: Run, count: int) -> None:
    path = segments(log)[-1]
    lines = lines_of(path)
    last = seq_of(lines[-1])
    put_lines(path, lines[:-count])
    wanted = Found(Damage.CUT_TAIL, "a", (last - count + 1, last))
    assert found_in(verify(log))[0] == wanted
    assert run("log", "verify", str(log)).code == 1


def test_a_line_that_is_cut_in_half_is_missed(log: Path, run: Run) -> None:
    path = segments(log)[-1]
    last = seq_of(lines_of(path)[-1])
    path.write_bytes(path.read_bytes()[:-40])
    assert found_in(verify(log))[0] == (Damage.CUT_TAIL, "a", (last, last))
    assert run("log", "verify", str(log)).code == 1


def test_what_nobody_was_told_is_written_is_worth_a_note_only(log: Path, run: Run) -> None:
    with segments(log)[-1].open("ab") as stream:
        stream.write(b'{"half":')
    report = verify(log)
    assert report.is_whole
    assert "8 bytes after the last line were not acknowledged" in report.completeness.notes[0]
    assert "  note: a/" in run("log", "verify", str(log)).out
    assert "note" not in run("-q", "log", "verify", str(log)).out


def went_on(folder: Path, writer: str = "a") -> None:
    """Let a writer's next process write a line."""
    policy = policy_of()
    with DecisionLog(folder, writer=writer) as log:
        log.decision(policy, decide(policy, {}, now=NOW))


def test_what_was_cut_off_is_missed_after_the_writer_has_gone_on(log: Path, run: Run) -> None:
    path = segments(log)[-1]
    lines = lines_of(path)
    last = seq_of(lines[-1])
    put_lines(path, lines[:-1])
    went_on(log)
    found = found_in(verify(log))
    assert [it.lines for it in found if it.damage is Damage.REMOVED] == [(last, last)]
    assert run("log", "verify", str(log)).code == 1


def test_a_head_that_was_lost_is_told_after_the_writer_has_gone_on(log: Path, run: Run) -> None:
    last = seq_of(lines_of(segments(log)[-1])[-1])
    (log / "heads/a").unlink()
    went_on(log)
    assert found_in(verify(log)) == [(Damage.MISSING_HEAD, "a", (last + 1, last + 1))]
    ran = run("log", "verify", str(log))
    assert (ran.code, "lines before this may be missing" in ran.out) == (1, True)


@pytest.mark.parametrize(("times", "words"), [(1, "once"), (2, "2 times")])
def test_what_a_killed_process_left_is_worth_a_note(
    log: Path, run: Run, times: int, words: str
) -> None:
    for _ in range(times):
        with segments(log)[-1].open("ab") as stream:
            stream.write(b'{"half":')
        went_on(log)
    assert verify(log).is_whole
    told = f"  note: a: {words} a process was killed while it wrote; {8 * times} bytes that nobody"
    ran = run("log", "verify", str(log))
    assert (ran.code, told in ran.out) == (0, True)


def test_what_was_made_without_being_logged_is_worth_a_note(log: Path, run: Run) -> None:
    with DecisionLog(log, writer="a") as again:
        for gap in (Gap("unlogged", 1000, 2), Gap("unlogged", 1)):
            again.act(Draft(Kind.GAP, 1, gap=gap))
    ran = run("log", "verify", str(log))
    assert ran.code == 0
    assert "note: a: 1,001 decisions and 2 execution events could not be logged" in ran.out


# Whole files.


@pytest.mark.parametrize("which", [0, 1, -1], ids=["first", "middle", "last"])
def test_a_deleted_segment_is_missed(log: Path, run: Run, which: int) -> None:
    path = segments(log)[which]
    lines = lines_of(path)
    path.unlink()
    report = verify(log)
    span = (seq_of(lines[0]), seq_of(lines[-1]))
    wanted = Found(Damage.MISSING_SEGMENT, f"a/{int(path.stem)}", span)
    assert found_in(report)[0] == wanted
    assert run("log", "verify", str(log)).code == 1


def test_a_missing_segment_before_one_that_cannot_be_read_is_missed(log: Path) -> None:
    segments(log)[1].unlink()
    segments(log)[1].write_bytes(b"nonsense\n")
    assert found_in(verify(log))[:1] == [(Damage.EDITED, "a/3", found_in(verify(log))[0].lines)]
    assert (Damage.MISSING_SEGMENT, "a/2", None) in found_in(verify(log))


@pytest.mark.parametrize("which", [1, -1], ids=["middle", "last"])
def test_a_segment_that_was_emptied_is_missed(log: Path, run: Run, which: int) -> None:
    path = segments(log)[which]
    lines = lines_of(path)
    path.write_bytes(b"")
    first = found_in(verify(log))[0]
    assert first.lines == (seq_of(lines[0]), seq_of(lines[-1]))
    assert first.damage is (Damage.CUT_TAIL if which == -1 else Damage.REMOVED)
    assert run("log", "verify", str(log)).code == 1


def test_a_segment_from_far_away_is_told_in_a_few_words(log: Path, run: Run) -> None:
    last = segments(log)[-1]
    last.rename(last.with_name("00090000.jsonl"))
    ran = run("log", "verify", str(log))
    assert ran.code == 1
    assert Damage.MISSING_SEGMENT in damages(verify(log))
    assert ran.out.count("\n") < 100


def test_a_head_from_far_away_is_told_in_a_few_words(log: Path, run: Run) -> None:
    head = log / "heads/a"
    head.write_text(json.dumps({**json.loads(head.read_bytes()), "segment": 90000, "seq": 99}))
    ran = run("log", "verify", str(log))
    assert ran.code == 1
    assert ran.out.count("\n") < 100


def test_a_head_that_knows_of_more_lines_misses_them(log: Path, run: Run) -> None:
    head = log / "heads/a"
    plain = json.loads(head.read_bytes())
    head.write_text(json.dumps({**plain, "seq": plain["seq"] + 2}))
    wanted = Found(Damage.CUT_TAIL, "a", (plain["seq"] + 1, plain["seq"] + 2))
    assert found_in(verify(log)) == [wanted]
    assert run("log", "verify", str(log)).code == 1


def test_a_head_with_another_hash_is_found(log: Path, run: Run) -> None:
    head = log / "heads/a"
    plain = json.loads(head.read_bytes())
    head.write_text(json.dumps({**plain, "hash": "f" * 64}))
    wanted = Found(Damage.EDITED, f"a/{plain['segment']}", (plain["seq"],) * 2)
    assert found_in(verify(log)) == [wanted]
    assert run("log", "verify", str(log)).code == 1


def test_a_writer_that_somebody_added_is_found(log: Path, run: Run) -> None:
    shutil.copytree(log / "a", log / "c")
    assert found_in(verify(log)) == [(Damage.MISSING_HEAD, "c", None)]
    assert run("log", "verify", str(log)).code == 1


def test_a_renumbered_segment_is_found(log: Path, run: Run) -> None:
    last = segments(log)[-1]
    last.rename(last.with_name("00000099.jsonl"))
    assert Damage.MISSING_SEGMENT in damages(verify(log))
    assert run("log", "verify", str(log)).code == 1


def test_two_segments_that_changed_their_numbers_are_found(log: Path, run: Run) -> None:
    first, second = segments(log)[:2]
    first.rename(first.with_name("x"))
    second.rename(first)
    first.with_name("x").rename(second)
    report = verify(log)
    assert not report.is_whole
    assert {it.where for it in problems_of(report)} & {"a/1", "a/2"}
    assert run("log", "verify", str(log)).code == 1


def test_a_deleted_writer_is_missed(log: Path, run: Run) -> None:
    last = seq_of(lines_of(segments(log)[-1])[-1])
    shutil.rmtree(log / "a")
    assert found_in(verify(log))[0] == (Damage.MISSING_WRITER, "a", (1, last))
    assert run("log", "verify", str(log)).code == 1


@pytest.mark.parametrize("content", [None, b"", b"nonsense", b"\xff\xfe", b"{}"])
def test_a_head_that_is_gone_or_garbled_is_missed(
    log: Path, run: Run, content: bytes | None
) -> None:
    head = log / "heads/a"
    head.unlink() if content is None else head.write_bytes(content)
    assert found_in(verify(log)) == [(Damage.MISSING_HEAD, "a", None)]
    assert run("log", "verify", str(log)).code == 1


def test_a_head_of_a_newer_version_is_not_judged(log: Path, run: Run) -> None:
    (log / "heads/a").write_text('{"schema":"policy-router/log/v9"}')
    with pytest.raises(LogError, match="a newer version may read it"):
        verify(log)
    assert run("log", "verify", str(log)).code == 2


@pytest.mark.skipif(not UNREADABLE.exists(), reason="this system has no such file")
def test_a_segment_that_cannot_be_read_is_an_error(log: Path, run: Run) -> None:
    segments(log)[0].unlink()
    (log / "a/00000001.jsonl").symlink_to(UNREADABLE)
    with pytest.raises(LogError, match="cannot be read: input/output error"):
        verify(log)
    assert run("log", "verify", str(log)).code == 2


@pytest.mark.parametrize("what", ["folder", "nothing", "pipe"])
@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("a/00000001.jsonl", Damage.MISSING_SEGMENT),
        ("heads/a", Damage.MISSING_HEAD),
        ("tree/checkpoints/000000000044.txt", Damage.BAD_CHECKPOINT),
        ("tree/tile/entries/000.p/44", Damage.BAD_TREE),
        ("policies/*.json", Damage.CHANGED_POLICY),
    ],
)
def test_what_is_no_file_is_named(
    signed: Path, run: Run, name: str, damage: Damage, what: str
) -> None:
    (path,) = signed.glob(name)
    path.unlink()
    if what == "folder":
        path.mkdir()
    elif what == "nothing":
        path.symlink_to(signed / "none")
    else:
        os.mkfifo(path)
    report = verify(signed)
    assert damage in {it.damage for it in problems_of(report)}
    assert run("log", "verify", str(signed)).code == 1


def test_names_that_are_no_text_are_spelt(signed: Path, run: Run) -> None:
    Path(os.fsdecode(os.fsencode(signed) + b"/policies/\xff.json")).touch()
    for form in ("human", "json"):
        ran = run("log", "verify", str(signed), "--format", form)
        assert (ran.code, ran.err) == (1, "")
        assert "changed_policy" in ran.out


HEADS: dict[str, list[int | str]] = {
    "segment": [1, 2, 99],
    "length": [0, 5, 10**6, 10**30],
    "seq": [0, 1, 10**30],
    "hash": ["0" * 64, "x"],
}


@pytest.mark.parametrize(("key", "value"), [(key, it) for key in HEADS for it in HEADS[key]])
def test_a_head_that_was_changed_is_found_and_harms_no_line(
    log: Path, key: str, value: object
) -> None:
    path = log / "heads/a"
    head = json.loads(path.read_bytes())
    path.write_bytes(json.dumps({**head, key: value}).encode().ljust(255) + b"\n")
    assert not verify(log).is_whole
    before = [line for path in segments(log) for line in lines_of(path)]
    with DecisionLog(log, writer="a") as again:
        again.decision(policy_of(), decide(policy_of(), {}, now=NOW))
    after = [line for path in segments(log) for line in lines_of(path)]
    assert after[: len(before)] == before
    assert len(after) > len(before) + 1


def longer(content: bytes) -> bytes:
    return content.replace(b"\n", b"\r\n")


def spaced(content: bytes) -> bytes:
    return content.replace(b'{"', b'{ "', 1)


def repeated(content: bytes) -> bytes:
    first = content[: content.index(b"\n") + 1]
    return first + content


def marked(content: bytes) -> bytes:
    return b"\xef\xbb\xbf" + content


@pytest.mark.parametrize("change", [longer, spaced, repeated, marked])
def test_a_changed_segment_is_left_as_it_is_by_whoever_goes_on(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    log = tmp_path / "log"
    policy = policy_of()
    with DecisionLog(log, writer="a") as first:
        for _ in range(5):
            first.decision(policy, decide(policy, {}, now=NOW))
    (path,) = segments(log)
    changed = change(path.read_bytes())
    path.write_bytes(changed)
    assert not verify(log).is_whole
    with DecisionLog(log, writer="a") as again:
        again.decision(policy, decide(policy, {}, now=NOW))
    assert path.read_bytes() == changed
    assert len(segments(log)) == 2
    assert b'"gap":{"reason":"changed"}' in segments(log)[1].read_bytes()
    assert not verify(log).is_whole


def test_a_checkpoint_under_the_name_of_another_is_found(signed: Path) -> None:
    (there,) = (signed / "tree/checkpoints").glob("*.txt")
    shutil.copy(there, there.with_name("000000000099.txt"))
    report = verify(signed, verifier=VERIFIER)
    assert found_in(report) == [(Damage.BAD_CHECKPOINT, "tree/checkpoints/000000000099.txt", None)]


def test_a_writer_that_never_wrote_is_not_missed(log: Path) -> None:
    (log / "heads/c").write_bytes(b"")
    (log / "d").mkdir()
    assert verify(log).is_whole


# Policies.


def test_a_policy_that_was_changed_is_found(log: Path, run: Run) -> None:
    (path,) = (log / "policies").glob("*.json")
    path.write_bytes(path.read_bytes().replace(b"small", b"small2"))
    assert found_in(verify(log)) == [(Damage.CHANGED_POLICY, f"policies/{path.name}", None)]
    assert run("log", "verify", str(log)).code == 1


def test_a_policy_that_was_deleted_is_missed(log: Path, run: Run) -> None:
    (path,) = (log / "policies").glob("*.json")
    path.unlink()
    assert found_in(verify(log)) == [(Damage.MISSING_POLICY, f"policies/{path.name}", None)]
    assert run("log", "verify", str(log)).code == 1


def test_each_policy_of_many_is_missed(tmp_path: Path) -> None:
    policies = [policy_of(f"model: m{number}\nprovider: p\n") for number in range(3)]
    with DecisionLog(tmp_path) as log:
        for policy in [*policies, policies[0]]:
            log.decision(policy, decide(policy, {}, now=NOW))
    for policy in policies:
        path = PolicyStore(LogFolder(tmp_path)).path(policy.revision)
        content = path.read_bytes()
        path.unlink()
        assert damages(verify(tmp_path)) == {Damage.MISSING_POLICY}
        path.write_bytes(content)
    assert verify(tmp_path).is_whole


def test_no_fact_hides_that_a_policy_is_missing(tmp_path: Path) -> None:
    text = PRICED + 'facts: {revision: {type: string, default: ""}}\n'
    policy, other = policy_of(text), policy_of(text.replace("name: priced", "name: other"))
    with DecisionLog(tmp_path) as log:
        facts = {"facts": {"revision": policy.revision}}
        log.decisions(policy, [Decided(decide(policy, {}, now=NOW), id_of(0))])
        log.decisions(policy, [Decided(decide(policy, {}, now=NOW), id_of(1))] * 300)
        log.decisions(policy, [Decided(decide(policy, facts, now=NOW), id_of(2))])
        log.decisions(other, [Decided(decide(other, {}, now=NOW), id_of(3))])
    PolicyStore(LogFolder(tmp_path)).path(other.revision).unlink()
    assert damages(verify(tmp_path)) == {Damage.MISSING_POLICY}


def test_the_name_of_a_policy_that_no_file_can_have_is_no_way_out(tmp_path: Path) -> None:
    history(tmp_path, policy_of(), [{}] * 3)
    with_record(tmp_path, 1, lambda plain: plain["policy"].update(revision="x" * 300))
    assert damages(verify(tmp_path)) == {Damage.MISSING_POLICY}


# What only a checkpoint finds.


def test_history_that_is_rewritten_consistently_is_found_by_the_checkpoint_alone(
    log: Path, run: Run
) -> None:
    rewritten(log, "a", otherwise)
    report = verify(log)
    assert (report.integrity.status, report.completeness.status) == (Answer.WHOLE,) * 2
    if not report.checkpoints:
        assert report.is_whole
        return
    assert damages(report) == {Damage.REWRITTEN}
    assert found_in(report)[0] == (Damage.REWRITTEN, "a/1", (4, 6))
    assert run("log", "verify", str(log)).code == 1
    assert sign_log(log).left_out == (("a", "line 22 is not there any more as it was signed"),)


def test_a_writer_that_is_deleted_with_its_head_is_missed_by_the_checkpoint_alone(
    log: Path, run: Run
) -> None:
    shutil.rmtree(log / "a")
    (log / "heads/a").unlink()
    report = verify(log)
    if not report.checkpoints:
        assert report.is_whole
        return
    assert (damages(report), found_in(report)[0].where) == ({Damage.MISSING_WRITER}, "a")
    assert run("log", "verify", str(log)).code == 1


def test_a_tail_that_is_cut_with_its_head_is_missed_by_the_checkpoint_alone(log: Path) -> None:
    path = segments(log)[-1]
    put_lines(path, lines_of(path)[:-1])
    rewritten(log, "a", lambda _: None)
    report = verify(log)
    assert damages(report) == ({Damage.CUT_TAIL} if report.checkpoints else set())


def test_an_edited_line_says_so_of_the_checkpoint_too(signed: Path) -> None:
    path, place = path_and_place(signed, "middle")
    with_line(path, place, lambda line: line.replace(b"main", b"mean"))
    assert damages(verify(signed)) == {Damage.EDITED, Damage.REWRITTEN}


def test_the_key_of_somebody_else_does_not_verify(signed: Path) -> None:
    report = verify(signed, verifier=STRANGER.verifier())
    assert damages(report) == {Damage.BAD_SIGNATURE}
    assert report.authenticity.status is Answer.BROKEN


def test_a_checkpoint_by_somebody_else_is_found(log: Path) -> None:
    shutil.rmtree(log / "tree", ignore_errors=True)
    rewritten(log, "a", otherwise)
    sign_log(log, STRANGER)
    assert verify(log).is_whole
    assert damages(verify(log, verifier=VERIFIER)) == {Damage.BAD_SIGNATURE}


@pytest.mark.parametrize(
    ("change", "damage"),
    [
        (lambda text: text.replace("auditor\n", "editor\n", 1), Damage.BAD_SIGNATURE),
        (lambda text: text.replace("\n44\n", "\n43\n", 1), Damage.BAD_CHECKPOINT),
        (lambda text: text[:40], Damage.BAD_CHECKPOINT),
        (lambda _: "", Damage.BAD_CHECKPOINT),
        (lambda text: text.replace("=\n", "!\n"), Damage.BAD_CHECKPOINT),
        (lambda text: text + "x" * 70_000, Damage.BAD_CHECKPOINT),
        (lambda text: text.replace("\n\n", "\nwriter a 22\n\n"), Damage.BAD_SIGNATURE),
    ],
    ids=["origin", "size", "cut", "empty", "base64", "huge", "extension"],
)
def test_a_tampered_checkpoint_is_found(
    signed: Path, change: Callable[[str], str], damage: Damage
) -> None:
    path = checkpoint_of(signed)
    path.write_text(change(path.read_text()))
    report = verify(signed, verifier=VERIFIER)
    found = damages(report)
    assert found & {damage, Damage.BAD_SIGNATURE}
    assert report.authenticity.status is Answer.BROKEN


def test_a_checkpoint_that_cannot_be_read_is_found(signed: Path) -> None:
    (signed / "tree/checkpoints/000000000099.txt").mkdir()
    assert damages(verify(signed)) == {Damage.BAD_CHECKPOINT}
    assert sign_log(signed).new_lines == 0


def test_a_checkpoint_of_another_tree_is_found(original: Path, tmp_path: Path) -> None:
    shutil.copytree(original / "plain", tmp_path / "log")
    shutil.copytree(original / "plain", tmp_path / "other")
    audited(tmp_path / "other", each=1, writers=["c"])
    for name in ("log", "other"):
        sign_log(tmp_path / name)
    audited(tmp_path / "log", each=60, writers=["c"])
    sign_log(tmp_path / "log")
    kept = tmp_path / "other/tree/checkpoint"
    report = verify(tmp_path / "log", verifier=VERIFIER, checkpoint=kept)
    assert found_in(report) == [(Damage.REWRITTEN, str(kept), None)]


def test_a_kept_checkpoint_of_more_than_there_is_is_found(
    signed: Path, original: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(original / "signed", other)
    audited(other, each=2, writers=["c"])
    kept = sign_log(other).path
    report = verify(signed, verifier=VERIFIER, checkpoint=kept)
    assert damages(report) == {Damage.BAD_TREE}
    assert (Damage.BAD_TREE, str(kept), None) in found_in(report)


def test_a_checkpoint_kept_elsewhere_finds_what_was_cut_with_the_stored_ones(
    signed: Path, tmp_path: Path, run: Run
) -> None:
    kept = tmp_path / "kept.txt"
    shutil.copy(checkpoint_of(signed), kept)
    assert verify(signed, verifier=VERIFIER, checkpoint=kept).checkpoints == 1
    for path in signed.glob("tree/checkpoint*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    path = segments(signed)[-1]
    put_lines(path, lines_of(path)[:-1])
    rewritten(signed, "a", lambda _: None)
    assert verify(signed).is_whole
    report = verify(signed, verifier=VERIFIER, checkpoint=kept)
    assert damages(report) == {Damage.CUT_TAIL, Damage.UNSIGNED}
    assert run("log", "verify", str(signed), "--checkpoint", str(kept)).code == 1
    shutil.rmtree(signed / "tree")
    assert (Damage.BAD_TREE, str(kept), None) in found_in(verify(signed, checkpoint=kept))


def test_a_kept_checkpoint_that_cannot_be_read_is_an_error(signed: Path, run: Run) -> None:
    with pytest.raises(SignatureError, match=r"none\.txt: no such file or directory"):
        verify(signed, checkpoint=signed / "none.txt")
    assert run("log", "verify", str(signed), "--checkpoint", "none.txt").code == 2


def test_a_key_asks_for_a_checkpoint(original: Path, tmp_path: Path, run: Run) -> None:
    report = verify(original / "plain", verifier=VERIFIER)
    assert damages(report) == {Damage.UNSIGNED}
    key = tmp_path / "key.pub"
    key.write_text(VERIFIER.encoded())
    assert run("log", "verify", str(original / "plain"), "--key", str(key)).code == 1


def test_history_that_is_rewritten_and_signed_anew_is_found_by_a_kept_checkpoint(
    signed: Path, tmp_path: Path, run: Run
) -> None:
    kept = tmp_path / "kept.txt"
    checkpoint_of(signed).rename(kept)
    shutil.rmtree(signed / "tree")
    rewritten(signed, "a", otherwise)
    sign_log(signed)
    assert verify(signed, verifier=VERIFIER).is_whole
    report = verify(signed, verifier=VERIFIER, checkpoint=kept)
    assert found_in(report) == [(Damage.REWRITTEN, str(kept), None)]
    assert run("log", "verify", str(signed), "--checkpoint", str(kept)).code == 1


def test_a_checkpoint_that_is_missing_between_others_takes_nothing_from_them(
    signed: Path, run: Run
) -> None:
    first = checkpoint_of(signed)
    for _ in range(2):
        audited(signed, each=2)
        sign_log(signed)
    assert verify(signed, verifier=VERIFIER).checkpoints == 3
    kept = signed.parent / first.name
    first.rename(kept)
    assert verify(signed, verifier=VERIFIER).is_whole
    assert verify(signed, verifier=VERIFIER, checkpoint=kept).is_whole
    assert run("log", "verify", str(signed)).code == 0


def test_only_what_was_acknowledged_is_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = policy_of()
    record = decide(policy, {}, now=NOW)

    def full(_number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with DecisionLog(tmp_path, on_log_failure="allow_unlogged") as log:
        log.decision(policy, record)
        with monkeypatch.context() as patched:
            patched.setattr(chain, "sync", full)
            log.decision(policy, record)
        sign_log(tmp_path)
        log.decision(policy, record)  # what was written in part is taken away
    assert [it.message for it in problems_of(verify(tmp_path, verifier=VERIFIER))] == []


# Keys, in every form that there is.


def key_files(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Write one key in every form, and return the files of its halves."""
    key = Ed25519PrivateKey.from_private_bytes(SIGNER.key)
    public = key.public_key()
    named = Signer("policy-router", SIGNER.key)
    plain = NoEncryption()
    made = {
        "note": (named.encoded().encode(), named.verifier().encoded().encode()),
        "PEM": (
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, plain),
            public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        ),
        "OpenSSH": (
            key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, plain),
            public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        ),
    }
    paths = {}
    for form, (private, shared) in made.items():
        paths[form] = (folder / form, folder / f"{form}.pub")
        paths[form][0].write_bytes(private)
        paths[form][1].write_bytes(shared)
    return paths


@pytest.mark.parametrize("form", ["note", "PEM", "OpenSSH"])
def test_a_key_signs_and_verifies_in_every_form(
    original: Path, tmp_path: Path, run: Run, form: str
) -> None:
    shutil.copytree(original / "plain", tmp_path / "log")
    keys = key_files(tmp_path)
    assert run("log", "checkpoint", "log", "--first", "--key", str(keys[form][0])).code == 0
    for private, public in keys.values():
        for key in (private, public):
            ran = run("log", "verify", "log", "--key", str(key), "--format", "json")
            assert (ran.code, json.loads(ran.out)["authenticity"]["status"]) == (0, "verified")


def test_the_wrong_key_is_told_on_the_command_line(signed: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "stranger.pub").write_text(STRANGER.verifier().encoded())
    ran = run("log", "verify", str(signed), "--key", "stranger.pub")
    assert ran.code == 1
    assert "authenticity  broken       1 found\n  bad_signature    tree/checkpoints/" in ran.out


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "malformed key"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "malformed key"),
        ("auditor+00000000+AbCd", "Ed25519"),
    ],
)
def test_what_is_no_key_is_an_error(
    signed: Path, tmp_path: Path, run: Run, content: str, reason: str
) -> None:
    (tmp_path / "key.pub").write_text(content)
    ran = run("log", "verify", str(signed), "--key", "key.pub")
    assert (ran.code, ran.out) == (2, "")
    assert reason in ran.err
    assert run("log", "verify", str(signed), "--key", "none.pub").err == (
        "policy-router: none.pub: cannot be read: no such file or directory\n"
    )


def test_the_three_answers_are_told_apart(signed: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "key.pub").write_text(VERIFIER.encoded())
    whole = run("log", "verify", str(signed), "--key", "key.pub", "--format", "json")
    found = json.loads(whole.out)
    assert found.pop("checkpoint_time") + found.pop("checkpoint_age") > 0
    assert found == {
        "whole": True,
        "integrity": {"status": "whole", "problems": [], "notes": []},
        "completeness": {"status": "whole", "problems": [], "notes": []},
        "authenticity": {"status": "verified", "problems": [], "notes": []},
        "writers": 2,
        "segments": 8,
        "lines": 44,
        "checkpoints": 1,
        "covered": 44,
        "uncovered": 0,
        "origin": "auditor",
        "keys": [VERIFIER.title],
        "witnesses": {},
        "pruned": [],
        "accepted": [],
        "unlogged": 0,
        "gaps": 0,
        "duplicate_ids": [],
        "compared": None,
    }
    (policy,) = (signed / "policies").glob("*.json")
    policy.write_bytes(b"")
    ran = run("log", "verify", str(signed), "--key", "key.pub", "--format", "json")
    found = json.loads(ran.out)
    parts = ("integrity", "completeness", "authenticity")
    assert (ran.code, [found[part]["status"] for part in parts]) == (
        1,
        ["broken", "whole", "verified"],
    )
    (problem,) = found["integrity"]["problems"]
    assert (problem["damage"], problem["where"]) == ("changed_policy", f"policies/{policy.name}")


def test_a_person_is_told_what_to_do_next(log: Path, run: Run) -> None:
    ran = run("log", "verify", str(log))
    is_signed = (log / "tree").is_dir()
    words = f"verify {log} --key FILE" if is_signed else f"checkpoint {log} --key FILE --first"
    assert ran.out.splitlines()[-1] == f"next: policy-router log {words}"
    assert "next:" not in run("-q", "log", "verify", str(log)).out


def test_what_is_no_log_is_an_error(tmp_path: Path, run: Run) -> None:
    with pytest.raises(LogError, match="there is no decision log here"):
        verify(tmp_path / "none")
    assert run("log", "verify", "none").code == 2


# Pruned segments.


# A log that is being written.


@pytest.mark.stress
def test_a_log_that_is_being_written_is_whole(tmp_path: Path) -> None:
    policy = policy_of()
    record = decide(policy, {}, now=NOW)
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            with DecisionLog(tmp_path, segment_bytes=SEGMENT_BYTES) as log:
                for _ in range(20):
                    log.decision(policy, record)

    with DecisionLog(tmp_path) as log:
        log.decision(policy, record)
    threads = [threading.Thread(target=work, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        reports = [verify(tmp_path) for _ in range(20)]
    finally:
        ended.set()
        for thread in threads:
            thread.join(20)
    assert [it.message for report in reports for it in problems_of(report)] == []
    assert verify(tmp_path).is_whole


@pytest.mark.stress
def test_a_log_that_another_process_writes_is_whole(tmp_path: Path, run: Run) -> None:
    (tmp_path / "rules.yaml").write_text(PRICED)
    words = (tmp_path / "log", tmp_path / "acknowledged", tmp_path / "rules.yaml", 2, 500_000)
    worker = [sys.executable, str(log_worker.__file__), *map(str, words)]
    with subprocess.Popen(worker, stdin=subprocess.PIPE) as process:  # noqa: S603 - as above
        try:
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
            while not list(tmp_path.glob("log/w1/*.jsonl")):
                assert process.poll() is None
                time.sleep(0.005)
            codes = [run("-q", "log", "verify", "log").code for _ in range(4)]
            sign_log(tmp_path / "log")
            codes.append(run("-q", "log", "verify", "log").code)
        finally:
            process.kill()
    assert codes == [0] * 5
    assert verify(tmp_path / "log", verifier=VERIFIER).is_whole


def test_a_writer_that_writes_its_first_line_while_verify_looks_has_its_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = audited(tmp_path)
    # So far a writer comes before it says where it begins.
    (tmp_path / "late").mkdir()
    (tmp_path / "heads/late").write_bytes(b"")
    look = LogFolder.segments
    begun: list[str] = []

    def write_and_look(self: LogFolder, writer: str) -> list[Segment]:
        if writer == "late" and not begun:
            begun.append(writer)
            with DecisionLog(tmp_path, writer=writer) as log:
                log.decision(policy, decide(policy, {}, now=NOW))
        return look(self, writer)

    monkeypatch.setattr(LogFolder, "all_segments", lambda _: iter(()))
    monkeypatch.setattr(LogFolder, "segments", write_and_look)
    assert [it.message for it in problems_of(verify(tmp_path))] == []


def test_a_writer_that_begins_while_verify_looks_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = audited(tmp_path)
    look = LogFolder.known_writers

    def begin_and_look(self: LogFolder) -> list[str]:
        with DecisionLog(tmp_path, writer="late") as log:
            log.decision(policy, decide(policy, {}, now=NOW))
        return look(self)

    monkeypatch.setattr(LogFolder, "known_writers", begin_and_look)
    assert [it.message for it in problems_of(verify(tmp_path))] == []
