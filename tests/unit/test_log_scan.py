"""The lines of a writer are gone through at once, and looked at closely where they do not fit."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import msgspec
import pytest
from msgspec import Raw

from policy_router import decide
from policy_router.log.damage import Damage, Places, spelt_lines
from policy_router.log.entry import (
    GENESIS,
    Close,
    Kind,
    LineView,
    Prune,
    count_lines,
    line_hash,
    scan_views_of,
    split_lines,
    views_of,
)
from policy_router.log.integrity import scan as scan_module
from policy_router.log.integrity.scan import Scan
from policy_router.log.write.drafts import Draft, chained
from tests.support.log_auditing import NOW, policy_of
from tests.support.rows import each

RULES = policy_of()
RECORD = decide(RULES, {}, now=NOW)


def chain(count: int, *, after: tuple[int, str] = (0, GENESIS)) -> list[bytes]:
    """Return lines that follow each other."""
    (seq, prev), made = after, []
    for number in range(seq + 1, seq + 1 + count):
        made.append(chained(Draft(Kind.CLOSE, number, close=Close("time")), number, prev))
        prev = line_hash(made[-1])
    return made


def content(lines: Sequence[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


class Lines:
    """What was signed of lines: here, it only remembers them."""

    def __init__(self) -> None:
        self.hashes: dict[int, str] = {}

    def differing(self, first: int, hashes: Sequence[str]) -> Iterator[int]:
        """Yield the numbers of lines that were met before, with another hash."""
        for number, digest in enumerate(hashes, first):
            if self.hashes.setdefault(number, digest) != digest:
                yield number


def scanned(*segments: bytes, watched: int = -1, signed: Lines | None = None) -> Scan:
    made = Scan(Places(), watched=watched, signed=signed)
    for number, segment in enumerate(segments, 1):
        made.segment(f"w/{number}", io.BytesIO(segment))
    return made


def found(scan: Scan) -> list[tuple[Damage, str, tuple[int, int] | None]]:
    return [(it.damage, it.where, it.lines) for it in scan.places.problems()]


def test_before_the_first_line_there_is_nothing() -> None:
    made = scanned(b"")
    assert (made.seq, made.prev, found(made), made.torn) == (0, GENESIS, [], 0)
    assert scanned(b"", watched=0).watched_hash == GENESIS


@pytest.mark.parametrize("size", [1, 7, 100, 300, 4096])
def test_the_size_of_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(scan_module, "_BLOCK", size)
    lines, met = chain(9), Lines()
    made = scanned(content(lines[:4]), content(lines[4:]) + b"{", watched=3, signed=met)
    assert (made.seq, made.prev, found(made), made.torn) == (9, line_hash(lines[-1]), [], 1)
    assert made.watched_hash == line_hash(lines[2])
    assert met.hashes == {number: line_hash(line) for number, line in enumerate(lines, 1)}


@pytest.mark.parametrize("size", [1, 7, 100, 300, 4096])
def test_damage_is_found_whatever_the_size_of_blocks(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(scan_module, "_BLOCK", size)
    lines, met = chain(9), Lines()
    changed = [*lines[:3], lines[3].replace(b"time", b"size", 1), *lines[4:]]
    made = scanned(content(changed) + b"{}", watched=6, signed=met)
    assert found(made) == [(Damage.EDITED, "w/1", (4, 4))]
    assert (made.seq, made.prev, made.torn) == (9, line_hash(lines[-1]), 2)
    assert made.watched_hash == line_hash(lines[5])
    assert list(met.hashes) == list(range(1, 10))
    assert [it.lines for it in scanned(content(lines), signed=met).places.problems()] == [(4, 4)]


def test_one_scan_goes_on_after_damage() -> None:
    lines = chain(9)
    made = scanned(content([*lines[:2], *lines[3:5]]), content(lines[5:]))
    assert found(made) == [(Damage.REMOVED, "w/1", (3, 3))]
    assert made.seq == 9


def test_each_damage_of_a_segment_is_told_with_its_lines() -> None:
    lines = chain(20)
    lines[2:4] = lines[2:4][::-1]
    lines[6] = lines[6].replace(b"time", b"size", 1)
    del lines[10:13]
    assert sorted(found(scanned(content(lines)))) == [
        (Damage.EDITED, "w/1", (7, 7)),
        (Damage.REMOVED, "w/1", (11, 13)),
        (Damage.SWAPPED, "w/1", (3, 4)),
    ]


def test_a_line_that_is_removed_with_the_line_after_it_edited_is_told_as_both() -> None:
    lines = chain(8)
    lines[4] = lines[4].replace(b"time", b"size", 1)
    del lines[2]
    assert found(scanned(content(lines))) == [
        (Damage.REMOVED, "w/1", (3, 3)),
        (Damage.EDITED, "w/1", (5, 5)),
    ]


def test_lines_that_are_no_json_keep_their_places() -> None:
    lines = chain(8)
    lines[3] = lines[4] = b"?"
    assert found(scanned(content(lines))) == [(Damage.EDITED, "w/1", (4, 5))]


def test_a_number_from_far_away_does_not_lead_the_scan_astray() -> None:
    lines = chain(6)
    lines[2] = chained(Draft(Kind.CLOSE, 1, close=Close("end")), 10**9, "f" * 64)
    made = scanned(content(lines))
    assert found(made)
    assert made.seq == 6


def test_a_line_end_alone_is_an_edited_line() -> None:
    lines = chain(3)
    made = scanned(content([*lines, b""]))
    assert found(made) == [(Damage.EDITED, "w/1", (4, 4))]
    assert found(scanned(b"\n"))


def test_what_is_damaged_in_no_line_is_no_problem_of_a_line() -> None:
    made = scanned(b"\xff\xff", b"")
    assert (found(made), made.seq) == ([], 0)


def test_the_policies_of_decisions_are_noted_in_damaged_segments_too() -> None:
    other = decide(policy_of("model: other\nprovider: p\n"), {}, now=NOW)
    lines, prev = [], GENESIS
    for number, record in enumerate([RECORD, RECORD, other, RECORD], 1):
        draft = Draft(Kind.DECISION, number, "x", record=Raw(record.to_json()))
        lines.append(chained(draft, number, prev))
        prev = line_hash(lines[-1])
    revisions = {RECORD.policy.revision, other.policy.revision}
    assert scanned(content(lines)).revisions == revisions
    assert scanned(content(lines[1:])).revisions == revisions
    broken = chained(Draft(Kind.DECISION, 5, "x", record=Raw(b'{"policy":1}')), 5, prev)
    assert scanned(content([*lines, broken])).revisions == revisions


def test_what_was_pruned_is_noted() -> None:
    act = Prune(1, 2, ("a/1", "b/2"))
    line = chained(Draft(Kind.PRUNE, 1, prune=act), 1, GENESIS)
    assert scanned(content([line])).prunes == [(1, act)]
    assert scanned(content([line, b"?"])).prunes == [(1, act)]


def test_a_removed_segment_is_gone_past() -> None:
    lines = chain(6)
    made = Scan(Places(), watched=3)
    made.go_on_at(3, line_hash(lines[2]))
    extent = made.segment("w/2", io.BytesIO(content(lines[3:])))
    assert (made.seq, found(made), made.prunes) == (6, [], [])
    assert made.watched_hash == line_hash(lines[2])
    assert (extent.first, extent.last, extent.oldest, extent.newest) == (4, 6, 4, 6)


def test_lines_are_spelt_as_people_do() -> None:
    assert spelt_lines(1000, 1000) == "line 1,000"
    assert spelt_lines(1, 1000) == "lines 1 to 1,000"


def test_the_first_line_is_the_first_that_can_be_edited() -> None:
    lines = chain(4)
    lines[0] = lines[0].replace(GENESIS.encode(), b"1" * 64)
    assert found(scanned(content(lines))) == [(Damage.EDITED, "w/1", (1, 1))]


@each("part", ["seq", "prev", "time", "kind"])
def test_what_lacks_a_part_that_every_line_has_is_no_line(part: str) -> None:
    plain = {"seq": 1, "prev": GENESIS, "time": 1, "kind": "of-a-later-version"}
    assert found(scanned(content([msgspec.json.encode(plain)]))) == []
    del plain[part]
    assert found(scanned(content([msgspec.json.encode(plain)]))) == [(Damage.EDITED, "w/1", (1, 1))]


BLOCKS = [
    b"\n",
    b"\n\n",
    b"a\n",
    b"\na\n\n b\r\n",
    b"a\rb\x0bc\x0cd\x1ce\x85f\n",
    b"\xe2\x80\xa8\n\0\n",
]


@pytest.mark.parametrize("block", BLOCKS)
def test_lines_end_at_line_ends_alone(block: bytes) -> None:
    assert split_lines(block) == block.split(b"\n")[:-1]
    assert count_lines(block) == block.count(b"\n")


def test_a_line_is_verified_as_strictly_as_it_is_read() -> None:
    """Each field is left out, or has a value of each kind: both ways agree which are lines."""
    good = {"kind": "decision", "prev": GENESIS, "seq": 1, "time": 1}
    values = ["text", 1, 1.5, True, None, [], ["text"], [1], {}, {"reason": "cut"}, {"before": 1}]
    lines = [{key: it for key, it in good.items() if key != left_out} for left_out in good]
    lines += [{**good, name: value} for name in LineView.__struct_fields__ for value in values]
    encoded = [msgspec.json.encode(it, order="sorted") + b"\n" for it in lines]
    encoded += [
        b'{"caller":\xff,"kind":"a","prev":"","seq":1,"time":1}\n',
        b'{"kind":"a"\n',
        b"[]\n",
    ]
    both = [(views_of(it), scan_views_of(it)) for it in encoded]
    assert [bool(read) for read, _ in both] == [bool(scanned) for _, scanned in both]
    assert {bool(read) for read, _ in both} == {True, False}
    for read, scanned in both:
        for one, other in zip(read or (), scanned or (), strict=True):
            for name in other.__struct_fields__:
                assert getattr(one, name) == getattr(other, name)
