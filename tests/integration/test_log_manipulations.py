"""Whatever is done to a signed log, `verify` names it, or it takes nothing from what is there."""

from __future__ import annotations

import datetime
import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import pytest

from policy_router import DecisionLog, decide
from policy_router.log.entry import GENESIS, line_hash, microseconds
from policy_router.log.heads import Head, read_head
from policy_router.log.integrity.prune import prune
from policy_router.log.integrity.verify import VerifyReport, verify
from policy_router.log.read.reading import LogReader
from policy_router.log.sign.checkpoints import verify_proof
from policy_router.log.sign.proving import prove
from tests.support.log_auditing import (
    MOMENT,
    SECOND,
    SIGNER,
    STRANGER,
    Clock,
    Plain,
    id_of,
    lines_of,
    policy_of,
    put_lines,
    segments,
    sign_log,
)

pytestmark = [pytest.mark.stress]

Change = Callable[[Path], object]
VERIFIER: Final = SIGNER.verifier()
EACH: Final = 220
"""How many decisions each writer has at first: together they fill a tile, and more."""
PROVED: Final = id_of(1100)
"""A decision whose proof has to stay."""


class Manipulation(NamedTuple):
    """What is done to a log, and the damage that has to be among what is named; "" is none."""

    name: str
    change: Change
    named: str
    has_kept: bool = False


def logged(folder: Path, writer: str, first: int, count: int, start: datetime.datetime) -> None:
    policy, clock = policy_of(), Clock(start)
    with DecisionLog(folder, writer=writer, segment_bytes=40_000, clock=clock) as log:
        for number in range(first, first + count):
            kind = ("coding", "writing", "odd")[number % 3]
            record = decide(policy, {"task": {"kind": kind}}, now=clock())
            log.decision(policy, record, decision_id=id_of(number))


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a log of two writers that was signed twice, pruned between, and goes on unsigned."""
    folder = tmp_path_factory.mktemp("manipulations")
    log = folder / "log"
    logged(log, "a", 0, EACH, MOMENT)
    logged(log, "b", 1000, EACH, MOMENT + 3600 * SECOND)
    sign_log(log)
    shutil.copytree(log, folder / "earlier")
    assert prune(log, microseconds(MOMENT + 100 * SECOND), SIGNER).segments
    logged(log, "a", 500, 30, MOMENT + 7200 * SECOND)
    sign_log(log)
    shutil.copyfile(log / "tree/checkpoint", folder / "kept")
    assert verify(log, verifier=VERIFIER).is_whole
    return folder


# What is done to files.


def segment(log: Path, place: int, writer: str = "b") -> Path:
    return segments(log, writer)[place]


def on_lines(
    change: Callable[[list[bytes]], Sequence[bytes]], place: int = 1, writer: str = "b"
) -> Change:
    """Return what changes the lines of a segment."""

    def changed(log: Path) -> None:
        path = segment(log, place, writer)
        before = lines_of(path)
        after = change(list(before))
        assert after != before
        put_lines(path, after)

    return changed


def on_line(change: Callable[[bytes], bytes], line: int, place: int = 1) -> Change:
    """Return what changes one line."""

    def changed(lines: list[bytes]) -> list[bytes]:
        lines[line] = change(lines[line])
        return lines

    return on_lines(changed, place)


def without(line: int, lines: list[bytes]) -> list[bytes]:
    return [*lines[:line], *lines[line + 1 :]]


def twice(line: int, lines: list[bytes]) -> list[bytes]:
    return [*lines[: line + 1], *lines[line:]]


def on_file(name: str, change: Callable[[bytes], bytes]) -> Change:
    """Return what changes the content of a file."""

    def changed(log: Path) -> None:
        path = named_file(log, name)
        before = path.read_bytes()
        assert change(before) != before
        path.write_bytes(change(before))

    return changed


def named_file(log: Path, name: str) -> Path:
    """Return a file of a log; a star stands for the rest of the first such name."""
    return next(iter(sorted(log.glob(name))))


def put(name: str, content: bytes) -> Change:
    return lambda log: (log / name).write_bytes(content)


def remove(*names: str) -> Change:
    """Return what removes files and folders."""

    def removed(log: Path) -> None:
        for name in names:
            path = named_file(log, name)
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return removed


def several(*changes: Change) -> Change:
    return lambda log: [change(log) for change in changes]


def replaced(name: str, by: Callable[[Path], object]) -> Change:
    """Return what puts something else in the place of a file."""

    def changed(log: Path) -> None:
        path = named_file(log, name)
        path.rename(log.parent / "aside")
        by(path)

    return changed


def pipe(path: Path) -> None:
    os.mkfifo(path)


def link_to(target: str) -> Callable[[Path], object]:
    return lambda path: path.symlink_to(target)


def linked(name: str) -> Change:
    """Return what moves a file away, and puts a link to it in its place."""
    return replaced(name, lambda path: path.symlink_to(aside(path)))


def aside(path: Path) -> Path:
    return next(it for it in path.parents if (it / "aside").exists()) / "aside"


def moved(name: str, to: str) -> Change:
    return lambda log: named_file(log, name).rename(log / to)


def copied(name: str, to: str) -> Change:
    def changed(log: Path) -> None:
        (log / to).parent.mkdir(parents=True, exist_ok=True)
        path = named_file(log, name)
        (shutil.copytree if path.is_dir() else shutil.copyfile)(path, log / to)

    return changed


def exchanged(one: str, other: str) -> Change:
    def changed(log: Path) -> None:
        first, second = named_file(log, one), named_file(log, other)
        content = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(content)

    return changed


def from_earlier(*names: str) -> Change:
    """Return what puts back how files and folders were before the prune."""

    def changed(log: Path) -> None:
        for name in names:
            path, old = log / name, log.parent / "earlier" / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            (shutil.copytree if old.is_dir() else shutil.copyfile)(old, path)

    return changed


def whole_earlier(log: Path) -> None:
    shutil.rmtree(log)
    shutil.copytree(log.parent / "earlier", log)


def flipped(place: int) -> Callable[[bytes], bytes]:
    """Return what flips a bit of a letter."""

    def changed(content: bytes) -> bytes:
        at = place % len(content)
        return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]

    return changed


def in_text(old: bytes, new: bytes, count: int = 1) -> Callable[[bytes], bytes]:
    return lambda content: content.replace(old, new, count)


def appended(content: bytes) -> Callable[[bytes], bytes]:
    return lambda before: before + content


def cut(share: float) -> Callable[[bytes], bytes]:
    return lambda content: content[: int(len(content) * share)]


def as_json(change: Callable[[Plain], None]) -> Callable[[bytes], bytes]:
    """Return what changes a line as data, and writes it in canonical form."""

    def changed(line: bytes) -> bytes:
        plain = json.loads(line)
        change(plain)
        return msgspec.json.encode(plain, order="sorted")

    return changed


def chained(change: Callable[[Plain], None], writer: str = "b") -> Change:
    """Return what changes every line of a writer, and makes all its hashes and its head anew."""

    def changed(log: Path) -> None:
        prev, seq = GENESIS, 0
        for path in segments(log, writer):
            made: list[bytes] = []
            for line in lines_of(path):
                plain = json.loads(line)
                seq = plain["seq"]
                prev = plain["prev"] if seq == 1 or (not made and not int(path.stem)) else prev
                change(plain)
                made.append(msgspec.json.encode(plain | {"prev": prev}, order="sorted"))
                prev = line_hash(made[-1])
            put_lines(path, made)
        last = segments(log, writer)[-1]
        head = Head(int(last.stem), last.stat().st_size, seq, prev)
        (log / "heads" / writer).write_bytes(head.to_bytes())

    return changed


def with_head(**fields: Any) -> Change:
    def changed(log: Path) -> None:
        path = log / "heads/b"
        head = read_head(path.read_bytes())
        assert head is not None
        path.write_bytes(msgspec.structs.replace(head, **fields).to_bytes())

    return changed


def head_of_line(count: int) -> Change:
    """Return what lets a head say that the writer came less far: to the end of an earlier line."""

    def changed(log: Path) -> None:
        path = segment(log, -1)
        lines = lines_of(path)[:-count]
        length = sum(len(line) + 1 for line in lines)
        seq = json.loads(lines[-1])["seq"]
        head = Head(int(path.stem), length, seq, line_hash(lines[-1]))
        (log / "heads/b").write_bytes(head.to_bytes())

    return changed


def cut_with_head(log: Path) -> None:
    """Cut lines off, and let the head agree."""
    head_of_line(3)(log)
    on_lines(lambda lines: lines[:-3], -1)(log)


def stranger_signs(log: Path) -> None:
    memory = log.parent / "stranger.memory"
    shutil.rmtree(log / "tree")
    sign_log(log, STRANGER, memory=memory, first=True)


def stranger_prunes(log: Path) -> None:
    stranger_signs(log)
    prune(log, microseconds(MOMENT + 9000 * SECOND), STRANGER)


def invented_prune(log: Path) -> None:
    """Remove a segment, and let a line of the writer `prune` say that it was removed."""
    path = segment(log, 0)
    last = lines_of(segment(log, 0, "prune"))[-1]
    plain = json.loads(lines_of(segment(log, 0, "prune"))[0])
    head = read_head((log / "heads/prune").read_bytes())
    assert head is not None
    plain["prune"]["segments"] = [f"b/{int(path.stem)}"]
    plain |= {"prev": line_hash(last), "seq": head.seq + 1}
    line = msgspec.json.encode(plain, order="sorted")
    with segment(log, -1, "prune").open("ab") as stream:
        stream.write(line + b"\n")
    made = Head(head.segment, head.length + len(line) + 1, head.seq + 1, line_hash(line))
    (log / "heads/prune").write_bytes(made.to_bytes())
    path.unlink()


def old_files(log: Path) -> None:
    for path in log.rglob("*"):
        os.utime(path, (0, 0))


def new_writer(log: Path) -> None:
    logged(log, "stranger", 2000, 3, MOMENT + 10_000 * SECOND)


def goes_on(log: Path) -> None:
    logged(log, "b", 2000, 3, MOMENT + 10_000 * SECOND)


def entry_text(change: Callable[[bytes], bytes]) -> Change:
    """Return what changes the first entry of the tree, with its length."""

    def changed(content: bytes) -> bytes:
        size = int.from_bytes(content[:2])
        made = change(content[2 : 2 + size])
        return len(made).to_bytes(2) + made + content[2 + size :]

    return on_file(ENTRIES, changed)


def exchanged_entries(content: bytes) -> bytes:
    size = 2 + int.from_bytes(content[:2])
    return content[size : 2 * size] + content[:size] + content[2 * size :]


CHECKPOINT, KEPT_FILE, STATEMENT = "tree/checkpoint", "tree/checkpoints/*", "tree/statements/*"
TILE, PART, ENTRIES = "tree/tile/0/000", "tree/tile/0/001.p/2*", "tree/tile/entries/000"
POLICY, RULES = "policies/*.json", "policies/sha256*/*/*"

MEMORY: Final = "/proc/self/mem"
BITS = [
    Manipulation(
        f"a bit of line {line} of segment {place}",
        on_line(flipped(number), line, place),
        "edited rewritten",
    )
    for place in (0, 1, -1)
    for line in (0, 1, -1)
    for number in (25, 300)
]
BYTES = [
    Manipulation("a byte is gone", on_line(lambda it: it[:99] + it[100:], 2), "edited"),
    Manipulation("a byte more", on_line(lambda it: it[:99] + b"x" + it[99:], 2), "edited"),
    Manipulation("a blank before a line end", on_line(appended(b" "), 2), "edited"),
    Manipulation("a blank after a comma", on_line(in_text(b",", b", "), 2), "edited"),
    Manipulation(
        "a letter spelt otherwise", on_line(in_text(b'"rule"', b'"\\u0072ule"'), 2), "edited"
    ),
    Manipulation("a key that is there twice", on_line(in_text(b"{", b'{"seq":1,'), 2), "edited"),
    Manipulation("a number as a fraction", on_line(in_text(b"}", b".0}", -1), 2), "edited"),
    Manipulation("a letter that is no text", on_line(in_text(b"rule", b"r\xffle"), 2), "edited"),
    Manipulation(
        "keys in another order",
        on_line(
            lambda it: json.dumps(json.loads(it), separators=(",", ":")).encode()[:-1] + b',"x":1}',
            2,
        ),
        "edited",
    ),
    Manipulation("hashes in capitals", on_line(lambda it: it.upper(), 2), "edited"),
    Manipulation(
        "line ends of Windows", on_lines(lambda lines: [it + b"\r" for it in lines]), "edited"
    ),
    Manipulation(
        "a mark of UTF-8", on_file("b/00000002*", lambda it: b"\xef\xbb\xbf" + it), "edited"
    ),
]
LINES = [
    *(
        Manipulation(
            f"line {line} of segment {place} is gone",
            on_lines(partial(without, line), place),
            "removed",
        )
        for place in (0, 1, -1)
        for line in (0, 3)
    ),
    *(
        Manipulation(
            f"line {line} is there twice in segment {place}",
            on_lines(partial(twice, line), place),
            "swapped",
        )
        for place in (0, 1)
        for line in (0, 3)
    ),
    Manipulation("the last line is there twice", on_lines(lambda it: [*it, it[-1]], -1), "swapped"),
    Manipulation(
        "two lines in the other order",
        on_lines(lambda it: [it[0], it[2], it[1], *it[3:]]),
        "swapped",
    ),
    Manipulation("all lines in the other order", on_lines(lambda it: it[::-1]), "swapped"),
    Manipulation("two lines as one", on_lines(lambda it: [it[0] + it[1], *it[2:]]), "edited"),
    Manipulation(
        "one line as two", on_lines(lambda it: [it[0][:200], it[0][200:], *it[1:]]), "edited"
    ),
    Manipulation("an empty line first", on_lines(lambda it: [b"", *it]), "edited"),
    Manipulation("an empty line between", on_lines(lambda it: [*it[:2], b"", *it[2:]]), "edited"),
    Manipulation(
        "another line in its place",
        on_lines(
            lambda it: [*it[:2], as_json(lambda line: line["record"].clear())(it[2]), *it[3:]]
        ),
        "edited",
    ),
    Manipulation("the last lines are gone", on_lines(lambda it: it[:-2], -1), "cut_tail"),
    Manipulation("the last lines and the head", cut_with_head, "cut_tail"),
    Manipulation("half of the last line", on_file("b/00000006*", lambda it: it[:-50]), "cut_tail"),
    Manipulation(
        "a line of another writer",
        lambda log: put_lines(
            segment(log, 1), [*lines_of(segment(log, 1)), lines_of(segment(log, 0, "a"))[0]]
        ),
        "swapped",
    ),
    Manipulation("an unfinished line", on_file("b/00000006*", appended(b'{"kind":')), ""),
    Manipulation(
        "a line that nobody acknowledged",
        on_file(
            "b/00000006*",
            lambda it: (
                it + as_json(lambda line: line.update(seq=9**9))(it.split(b"\n")[-2]) + b"\n"
            ),
        ),
        "removed",
    ),
]
SEGMENTS = [
    *(
        Manipulation(f"segment {number} is {what}", change, named)
        for number in (1, 2, 6)
        for what, change, named in (
            ("gone", remove(f"b/0000000{number}*"), "missing_segment"),
            (
                "empty",
                put(f"b/0000000{number}.jsonl", b""),
                "cut_tail" if number == 6 else "removed",
            ),
            (
                "half",
                on_file(f"b/0000000{number}*", cut(0.5)),
                "cut_tail" if number == 6 else "removed",
            ),
        )
    ),
    Manipulation("two in each other's place", exchanged("b/00000002*", "b/00000003*"), "swapped"),
    Manipulation("one twice", copied("b/00000002*", "b/00000007.jsonl"), "swapped"),
    Manipulation(
        "one with the next number", moved("b/00000006*", "b/00000007.jsonl"), "missing_segment"
    ),
    Manipulation("one far away", moved("b/00000006*", "b/99999999.jsonl"), "missing_segment"),
    Manipulation("one with the number 0", copied("b/00000002*", "b/00000000.jsonl"), "swapped"),
    Manipulation("one with a longer name", copied("b/00000002*", "b/000000002.jsonl"), ""),
    Manipulation("one with another ending", copied("b/00000002*", "b/00000002.jsonl.bak"), ""),
    Manipulation("one of another writer", copied("a/00000007*", "b/00000007.jsonl"), "removed"),
    Manipulation("an empty one behind", put("b/00000007.jsonl", b""), ""),
    Manipulation("junk behind", put("b/00000007.jsonl", b"junk\n" * 9), "edited"),
    Manipulation(
        "all of a writer",
        remove("b/*1.jsonl", "b/*2.jsonl", "b/*3.jsonl", "b/*4.jsonl", "b/*5.jsonl", "b/*6.jsonl"),
        "missing_segment",
    ),
]
WRITERS = [
    Manipulation("a folder", remove("b"), "missing_writer"),
    Manipulation("a folder and its head", remove("b", "heads/b"), "missing_writer"),
    Manipulation("all folders and heads", remove("a", "b", "prune", "heads"), "missing_writer"),
    Manipulation(
        "another name", several(moved("b", "c"), moved("heads/b", "heads/c")), "missing_writer"
    ),
    Manipulation("another name without the head", moved("b", "c"), "missing_writer missing_head"),
    Manipulation(
        "a copy with another name", several(copied("b", "c"), copied("heads/b", "heads/c")), ""
    ),
    Manipulation("a copy without a head", copied("b", "c"), "missing_head"),
    Manipulation("an empty folder", lambda log: (log / "c").mkdir(), ""),
    Manipulation("a file", put("c", b"x"), ""),
    Manipulation("a folder with no writer's name", copied("b", "-b"), ""),
    Manipulation("a hidden folder", copied("b", ".b"), ""),
    Manipulation("a new one", new_writer, ""),
    Manipulation("one that goes on", goes_on, ""),
]
HEADS = [
    Manipulation("none", remove("heads/b"), "missing_head"),
    Manipulation("none of all", remove("heads"), "missing_head"),
    Manipulation("empty", put("heads/b", b""), "missing_head"),
    Manipulation("junk", put("heads/b", b"junk"), "missing_head"),
    Manipulation("NULs", put("heads/b", bytes(256)), "missing_head"),
    Manipulation("of an earlier line", head_of_line(2), ""),
    Manipulation("of a later line", with_head(seq=10**6), "cut_tail"),
    Manipulation("another hash", with_head(hash="0" * 64), "edited"),
    Manipulation("another length", with_head(length=10), "edited"),
    Manipulation("a length of more", with_head(length=10**9), "edited"),
    Manipulation("a later segment", with_head(segment=9), "edited"),
    Manipulation("an earlier segment", with_head(segment=1), "edited"),
    Manipulation("of another writer", copied("heads/a", "heads/b"), "missing_segment"),
    Manipulation("of nobody", copied("heads/a", "heads/c"), "missing_writer"),
    Manipulation("with more behind", on_file("heads/b", appended(b" \n")), ""),
]
POLICIES = [
    Manipulation("a byte", on_file(POLICY, flipped(40)), "changed_policy"),
    Manipulation("empty", on_file(POLICY, lambda _: b""), "changed_policy"),
    Manipulation("a line end behind", on_file(POLICY, appended(b"\n")), "changed_policy"),
    Manipulation("gone", remove(POLICY), "missing_policy"),
    Manipulation("all gone", remove("policies"), "missing_policy"),
    Manipulation(
        "another name",
        moved(POLICY, f"policies/sha256:{'0' * 64}.json"),
        "missing_policy changed_policy",
    ),
    Manipulation("one more", put("policies/readme.txt", b"x"), ""),
    Manipulation("a rule file", on_file(RULES, flipped(9)), "changed_policy"),
    Manipulation("a rule file less", remove(RULES), "changed_policy"),
    Manipulation(
        "a rule file more",
        lambda log: (named_file(log, RULES).parent / "z.yaml").write_text("x"),
        "changed_policy",
    ),
]
CHECKPOINTS = [
    Manipulation(
        "another size",
        on_file(CHECKPOINT, lambda it: re.sub(rb"\n\d+\n", b"\n9\n", it, count=1)),
        "bad_signature",
    ),
    Manipulation(
        "another root",
        on_file(CHECKPOINT, lambda it: re.sub(rb"\n[^\n]{9}", b"\nAAAAAAAAA", it, count=1)),
        "bad_signature",
    ),
    Manipulation("another origin", on_file(CHECKPOINT, lambda it: b"x" + it), "bad_signature"),
    Manipulation(
        "another time",
        on_file(
            CHECKPOINT,
            lambda it: (
                it.replace(b"AAAAAG", b"AAAAAH")
                if b"AAAAAG" in it
                else it[:-20] + b"AAAA" + it[-16:]
            ),
        ),
        "bad_signature",
    ),
    Manipulation(
        "no signature",
        on_file(CHECKPOINT, lambda it: it.partition(b"\n\n")[0] + b"\n\n"),
        "bad_checkpoint",
    ),
    Manipulation(
        "a stranger's signature too",
        on_file(CHECKPOINT, appended("— nobody AAAAAAAAAAAAAAAA\n".encode())),
        "",
    ),
    Manipulation(
        "a line more", on_file(CHECKPOINT, in_text(b"\n\n", b"\nwriter b 9\n\n")), "bad_signature"
    ),
    Manipulation("empty", put(CHECKPOINT, b""), "bad_checkpoint"),
    Manipulation("junk", put(CHECKPOINT, b"junk\n\n"), "bad_checkpoint"),
    Manipulation("NULs", put(CHECKPOINT, bytes(300)), "bad_checkpoint"),
    Manipulation("the newest is an older one", from_earlier(CHECKPOINT), ""),
    Manipulation(
        "an older one under the name of another", exchanged(CHECKPOINT, KEPT_FILE), "bad_checkpoint"
    ),
    Manipulation("the newest is gone", remove(CHECKPOINT), ""),
    Manipulation("an older one is gone", remove(KEPT_FILE), ""),
    Manipulation("all gone", remove(CHECKPOINT, "tree/checkpoints"), "unsigned"),
    Manipulation(
        "all gone, with what was kept",
        remove(CHECKPOINT, "tree/checkpoints"),
        "unsigned",
        has_kept=True,
    ),
    Manipulation("signed by a stranger", stranger_signs, "bad_signature"),
    Manipulation(
        "a huge one", put("tree/checkpoints/000000000099.txt", b"x" * 70_000), "bad_checkpoint"
    ),
]
TILES = [
    Manipulation("a bit", on_file(TILE, flipped(40)), "bad_tree"),
    Manipulation("short", on_file(TILE, cut(0.9)), "bad_tree"),
    Manipulation("longer", on_file(TILE, appended(b"x" * 32)), "bad_tree"),
    Manipulation("gone", remove(TILE), "bad_tree"),
    Manipulation("a part", on_file(PART, flipped(40)), "bad_tree"),
    Manipulation("a part of an older size is gone", remove("tree/tile/0/001.p/1*"), ""),
    Manipulation("a part is gone", remove(PART), "bad_tree"),
    Manipulation("one of above", on_file("tree/tile/1/000.p/*", flipped(5)), "bad_tree"),
    Manipulation("the tree is gone", remove("tree/tile"), "bad_tree"),
    Manipulation("a hash in an entry", on_file(ENTRIES, flipped(30)), "bad_tree"),
    Manipulation("a writer in an entry", entry_text(in_text(b"a ", b"b ")), "bad_tree"),
    Manipulation("a number in an entry", entry_text(in_text(b"a 1 ", b"a 2 ")), "bad_tree"),
    Manipulation("two entries exchanged", on_file(ENTRIES, exchanged_entries), "bad_tree"),
    Manipulation("a length in entries", on_file(ENTRIES, flipped(1)), "bad_tree"),
    Manipulation("entries are gone", remove(ENTRIES), "bad_tree"),
    Manipulation(
        "entries of a line that is not there",
        several(remove("b"), on_file(ENTRIES, flipped(30))),
        "missing_writer bad_tree",
    ),
    Manipulation("runs are junk", put("tree/runs", b"0 b 1 99999\nx"), ""),
    Manipulation("runs lie", on_file("tree/runs", in_text(b" b ", b" a ")), ""),
    Manipulation("runs are gone", remove("tree/runs"), ""),
    Manipulation("a tile more", put("tree/tile/0/999", b"x" * 8192), ""),
]
PRUNES = [
    Manipulation("no statement", remove(STATEMENT), "bad_prune"),
    Manipulation("a bit of it", on_file(STATEMENT, flipped(70)), "bad_prune"),
    Manipulation(
        "of another log", on_file(STATEMENT, in_text(b"auditor\n", b"auditors\n")), "bad_signature"
    ),
    Manipulation(
        "of more", on_file(STATEMENT, in_text(b"\n\n", b"\nprune b 1 1 9 1 2\n\n")), "bad_signature"
    ),
    Manipulation("empty", on_file(STATEMENT, lambda _: b""), "bad_statement"),
    Manipulation("its line is gone", remove("prune", "heads/prune"), "missing_writer"),
    Manipulation(
        "its line says another segment",
        on_lines(lambda it: [in_text(b"a/1", b"a/9")(it[0]), *it[1:]], 0, "prune"),
        "edited",
    ),
    Manipulation("one that nobody signed", invented_prune, "bad_prune"),
    Manipulation("one by a stranger", stranger_prunes, "bad_signature bad_prune"),
    Manipulation("what was pruned is back", from_earlier("a/00000001.jsonl"), ""),
    Manipulation("all checkpoints are gone", remove(CHECKPOINT, "tree/checkpoints"), "bad_prune"),
]
ROLLBACKS = [
    Manipulation("the whole log", whole_earlier, "bad_tree", has_kept=True),
    Manipulation("a writer", from_earlier("a", "heads/a"), "cut_tail"),
    Manipulation(
        "a writer and the tree", from_earlier("a", "heads/a", "tree"), "bad_tree", has_kept=True
    ),
    Manipulation("the tree", from_earlier("tree"), "bad_prune"),
    Manipulation("the heads", from_earlier("heads/a"), ""),
    Manipulation(
        "the writer of prunes",
        several(remove("prune", "heads/prune"), from_earlier("tree")),
        "missing_segment",
    ),
]
LINKS = [
    *(
        Manipulation(f"{what}: a link to what it was", linked(name), "")
        for what, name in (
            ("a segment", "b/00000002*"),
            ("a head", "heads/b"),
            ("a policy", POLICY),
            ("a tile", TILE),
            ("a statement", STATEMENT),
        )
    ),
    *(
        Manipulation(f"{what}: a link to nothing", replaced(name, link_to("nothing")), named)
        for what, name, named in (
            ("a segment", "b/00000002*", "missing_segment"),
            ("a head", "heads/b", "missing_head"),
            ("a policy", POLICY, "missing_policy"),
            ("a checkpoint", CHECKPOINT, "bad_checkpoint"),
            ("a tile", TILE, "bad_tree"),
            ("entries", ENTRIES, "bad_tree"),
            ("a statement", STATEMENT, "bad_statement"),
        )
    ),
    Manipulation(
        "a head: a link to another one", replaced("heads/b", link_to("a")), "missing_segment"
    ),
    Manipulation("entries: a link to a tile", replaced(ENTRIES, link_to("../0/000")), "bad_tree"),
    Manipulation("a folder that is a link to itself", lambda log: (log / "c").symlink_to("."), ""),
    Manipulation(
        "a second name of a segment", lambda log: os.link(segment(log, 1), log / "b/copy"), ""
    ),
]
DEVICES = [
    Manipulation(f"{what}: {kind}", replaced(name, by), named)
    for kind, by in (("a pipe", pipe), ("zeros", link_to("/dev/zero")), ("a folder", Path.mkdir))
    for what, name, named in (
        ("a segment", "b/00000002*", "missing_segment"),
        ("a head", "heads/b", "missing_head"),
        ("a policy", POLICY, "changed_policy"),
        ("a checkpoint", CHECKPOINT, "bad_checkpoint"),
        ("a tile", TILE, "bad_tree"),
        ("entries", ENTRIES, "bad_tree"),
        ("a statement", STATEMENT, "bad_statement"),
    )
]
SIZES = [
    Manipulation(
        "17 MB without a line end", on_file("b/00000006*", appended(b"x" * (17 << 20))), "edited"
    ),
    Manipulation(
        "17 MB in one line", on_lines(lambda it: [*it[:2], b"x" * (17 << 20), *it[2:]]), "edited"
    ),
    Manipulation(
        "a million empty lines", on_file("b/00000006*", appended(b"\n" * 1_000_000)), "edited"
    ),
    Manipulation(
        "a million empty lines between",
        on_lines(lambda it: [*it[:2], *[b""] * 1_000_000, *it[2:]]),
        "edited",
    ),
    Manipulation("an empty line behind", on_file("b/00000006*", appended(b"\n")), "edited"),
    Manipulation("NULs behind", on_file("b/00000006*", appended(bytes(5000))), ""),
    Manipulation("NULs between", on_lines(lambda it: [*it[:2], bytes(500), *it[2:]]), "edited"),
    Manipulation("NULs in place of a line", on_line(lambda it: bytes(len(it)), 2), "edited"),
    Manipulation(
        "NULs in place of the last line",
        on_line(lambda it: bytes(len(it)), -1, -1),
        "edited rewritten",
    ),
    Manipulation("NULs in a line", on_line(in_text(b"rule", bytes(4)), 2), "edited"),
    Manipulation("20,000 brackets", on_line(lambda _: b"[" * 20_000, 2), "edited"),
]
CLOCKS = [
    Manipulation(
        "a line later", on_line(as_json(lambda it: it.update(time=it["time"] + 1)), 2), "edited"
    ),
    Manipulation(
        "a line in 1900", on_line(as_json(lambda it: it.update(time=-(10**15))), 2), "edited"
    ),
    Manipulation("a line without a time", on_line(as_json(lambda it: it.pop("time")), 2), "edited"),
    Manipulation(
        "all lines an hour later, chained anew",
        chained(lambda it: it.update(time=it["time"] + 3600 * 10**6)),
        "rewritten",
    ),
    Manipulation(
        "the time of a decision, chained anew",
        chained(lambda it: it.get("record", {}).update(now="2020-01-01T00:00:00Z")),
        "rewritten",
    ),
    Manipulation("the times of files", old_files, ""),
]
TABLE: Final = {
    f"{group}: {it.name}": it
    for group, some in {
        "bits": BITS,
        "bytes": BYTES,
        "lines": LINES,
        "segments": SEGMENTS,
        "writers": WRITERS,
        "heads": HEADS,
        "policies": POLICIES,
        "checkpoints": CHECKPOINTS,
        "tiles": TILES,
        "prunes": PRUNES,
        "rollbacks": ROLLBACKS,
        "links": LINKS,
        "devices": DEVICES,
        "sizes": SIZES,
        "clocks": CLOCKS,
    }.items()
    for it in some
}


def named_in(report: VerifyReport) -> set[str]:
    parts = (report.integrity, report.completeness, report.authenticity)
    return {str(problem.damage) for part in parts for problem in part.problems}


def readable(log: Path) -> set[bytes]:
    return {bytes(it.content) for it in LogReader(log).lines()}


def test_there_are_more_manipulations_than_the_audit_had() -> None:
    assert len(TABLE) >= 121


@pytest.mark.parametrize("name", TABLE)
def test_a_manipulation_is_named_or_takes_nothing(logs: Path, tmp_path: Path, name: str) -> None:
    for it in ("log", "earlier"):
        shutil.copytree(logs / it, tmp_path / it, symlinks=True)
    log, wanted = tmp_path / "log", TABLE[name]
    wanted.change(log)
    kept = logs / "kept" if wanted.has_kept else None
    report = verify(log, verifier=VERIFIER, checkpoint=kept)
    found = named_in(report)
    assert set(wanted.named.split()) <= found
    assert report.is_whole == (not found)
    if not wanted.named:
        assert report.is_whole
        assert readable(log) >= readable(logs / "log")
        proof = prove(log, PROVED)
        verify_proof(proof, VERIFIER)
        assert proof.index == prove(logs / "log", PROVED).index
