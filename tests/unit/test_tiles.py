"""The files of a tree: what they hold is read alike, whatever the lengths of their entries."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from policy_router.log.integrity.signed import SignedLines
from policy_router.log.sign.merkle import WIDTH
from policy_router.log.sign.tiles import ENTRIES, HEX_SIZE, DamagedTreeError, TileStore

HASH = "0123456789abcdef" * 4


def entries(first: int, count: int, writer: str = "w1") -> list[bytes]:
    """Return entries of a writer that follow each other, each with a hash of its own."""
    return [f"{writer} {it} {it:064x}\n".encode() for it in range(first, first + count)]


def stored(folder: Path, kept: Sequence[bytes], extra: bytes = b"") -> TileStore:
    """Return a tree with a bundle of entries."""
    store = TileStore(folder)
    path = store.path(ENTRIES, 0, len(kept) or 1)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"".join(struct.pack(">H", len(it)) + it for it in kept) + extra)
    return store


BUNDLES = {
    "equally long": entries(100, WIDTH),
    "one": entries(1, 1),
    "longer numbers": entries(90, 20),
    "two writers": entries(1, 5) + entries(7, 5, "other"),
    "as long, of two writers": entries(1, 5) + entries(1, 4, "w2"),
    "as long as a line end is": [b"x" * 9 + b"\n"] * 3,
    "with line ends": [b"a\nb\n", b"\n\n\n\n\n"],
    "long": [b"x" * 300, b"y" * 300, b"z" * 40_000],
    "empty ones": [b"", b"", b""],
}


@pytest.mark.parametrize("kept", BUNDLES.values(), ids=BUNDLES)
def test_a_bundle_holds_what_was_put_into_it(tmp_path: Path, kept: list[bytes]) -> None:
    store = stored(tmp_path, kept)
    assert store.bundle(0, len(kept)) == kept


@pytest.mark.parametrize(
    "extra", [b"\0", b"\0\x05abc", b"\xff\xff", struct.pack(">H", 72) + b"x" * 71]
)
@pytest.mark.parametrize("count", [1, 3])
def test_a_bundle_with_half_an_entry_is_none(tmp_path: Path, count: int, extra: bytes) -> None:
    store = stored(tmp_path, entries(1, count), extra)
    with pytest.raises(DamagedTreeError, match="it is damaged"):
        store.bundle(0, count)


def test_a_bundle_of_too_many_entries_is_none(tmp_path: Path) -> None:
    store = stored(
        tmp_path, entries(100, WIDTH), b"".join(b"\0\x48" + it for it in entries(500, 1))
    )
    with pytest.raises(DamagedTreeError, match="it is damaged"):
        store.bundle(0, WIDTH)


def differing(store: TileStore, size: int, first: int, hashes: Sequence[str]) -> list[int]:
    """Return which lines are not as the entries of a bundle say."""
    lines = SignedLines(store)
    lines.add(0, 1, size)
    lines.size = size
    return list(lines.differing(first, hashes))


def test_lines_are_compared_with_their_entries_one_by_one(tmp_path: Path) -> None:
    store, mine = stored(tmp_path, entries(1, 20)), [f"{it:064x}" for it in range(1, 31)]
    assert differing(store, 20, 1, mine) == []
    assert differing(store, 20, 5, mine[4:9]) == []
    assert differing(store, 20, 6, mine[4:9]) == [6, 7, 8, 9, 10]
    for changed in (1, 9, 20):
        others = [HASH if it == changed else of for it, of in enumerate(mine, 1)]
        assert differing(store, 20, 1, others) == [changed]
    assert differing(store, 20, 1, [*mine[:20], HASH]) == []


@pytest.mark.parametrize(
    "odd", [b"", b"\n", b"w1 7\n", b"w1 7 abc\n", b"w1 7 " + b"\xe9" * 64 + b"\n"]
)
def test_what_is_no_entry_differs_and_moves_no_other(tmp_path: Path, odd: bytes) -> None:
    kept = [odd if it == 7 else entry for it, entry in enumerate(entries(1, 12), 1)]
    store = stored(tmp_path, kept)
    assert len(store.line_hashes(0, 12)) == 12 * HEX_SIZE
    assert differing(store, 12, 1, [f"{it:064x}" for it in range(1, 13)]) == [7]
