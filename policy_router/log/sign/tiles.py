"""The tree of a log on disk, in the manner of C2SP's ``tlog-tiles`` (https://c2sp.org/tlog-tiles).

An entry is a line of text, ``WRITER SEQ HEX``: HEX is the SHA-256 of the line of the log that it
stands for. So the tree needs no line, and what was pruned is still proved. Entries and tiles only
grow; a file of them is written whole, and never changed where a checkpoint covers it::

    tree/tile/0/000             the hashes of 256 leaves
    tree/tile/0/001.p/17        those of the last 17, where there are no more
    tree/tile/1/000             the roots over 256 tiles of level 0
    tree/tile/entries/000       the entries, each after its length in two bytes
    tree/runs                   which entries are of which writer: only to find them quickly
"""

from __future__ import annotations

import re
import struct
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import Final

from msgspec import Struct

from policy_router.errors import reason_of
from policy_router.log.damage import NotWholeError
from policy_router.log.files import open_file, read_file, sync_folder, write_whole
from policy_router.log.sign.merkle import HASH_SIZE, WIDTH, TreeEdge, folded, leaf_hashes

ENTRIES: Final = "entries"
_MOST_TILES: Final = 64
HEX_SIZE: Final = 2 * HASH_SIZE
"""The characters of a hash in hexadecimal."""
_HASH: Final = slice(-HEX_SIZE - 1, -1)
"""Where an entry has it."""
_MOST_BYTES: Final = WIDTH * 1024
_LENGTHS: Final = [b"\0\0", *(b"\0%c" % it for it in range(WIDTH - 1))]
"""What an entry begins with, by its length without its line end and with these two bytes."""
_ENTRY: Final = re.compile(rb"([A-Za-z0-9_][A-Za-z0-9_.-]{0,63}) ([1-9]\d{0,18}) ([0-9a-f]{64})\n")


class Entry(Struct, frozen=True, gc=False):
    """What stands for a line of the log.

    Attributes:
        writer: whose line it is.
        seq: its number.
        hash: its SHA-256, in hexadecimal.
    """

    writer: str
    seq: int
    hash: str

    def to_bytes(self) -> bytes:
        """Return the entry as the tree has it."""
        return b"%s %d %s\n" % (self.writer.encode(), self.seq, self.hash.encode())


def read_entry(content: bytes) -> Entry | None:
    """Read an entry; None where it is none."""
    parts = _ENTRY.fullmatch(content)
    return Entry(parts[1].decode(), int(parts[2]), parts[3].decode()) if parts else None


class Run(Struct, frozen=True):
    """Entries of one writer that follow each other, with numbers that do.

    Attributes:
        start: the place of the first one in the tree, from 0.
        writer: whose they are.
        first: the number of the first line.
        count: how many they are.
    """

    start: int
    writer: str
    first: int
    count: int

    def to_text(self) -> str:
        """Return a line of the file of runs."""
        return f"{self.start} {self.writer} {self.first} {self.count}\n"


class DamagedTreeError(NotWholeError):
    """A file of the tree that is missing, or is not what it has to be."""


class TileStore:
    """The tiles and entries of a tree in a folder."""

    def __init__(self, folder: Path) -> None:
        """Take the folder of the tree; nothing is read or made."""
        self.folder = folder
        self._known: OrderedDict[tuple[int | str, int, int], list[bytes]] = OrderedDict()
        self._hashes: OrderedDict[tuple[int, int], bytes] = OrderedDict()

    def path(self, level: int | str, number: int, width: int = WIDTH) -> Path:
        """Return where a tile is, or, for the level ``entries``, a bundle of entries."""
        groups = [f"{number % 1000:03d}"]
        while number := number // 1000:
            groups.insert(0, f"x{number % 1000:03d}")
        path = self.folder.joinpath("tile", str(level), *groups)
        return path if width == WIDTH else path.with_name(f"{path.name}.p") / str(width)

    def tile(self, level: int, number: int, width: int) -> list[bytes]:
        """Return the hashes of a tile, or the first ones of it.

        Raises:
            DamagedTreeError: it is not there, or has fewer.
        """
        return self._kept(level, number, width)

    def bundle(self, number: int, width: int) -> list[bytes]:
        """Return the entries that a tile of level 0 has the hashes of, or the first ones."""
        return self._kept(ENTRIES, number, width)

    def line_hashes(self, number: int, width: int) -> bytes:
        """Return the hashes of lines that the entries of a bundle have, in hexadecimal, as one."""
        key = number, width
        if key not in self._hashes:
            if len(self._hashes) >= _MOST_TILES:
                self._hashes.popitem(last=False)
            parts = [it[_HASH] for it in self._read(ENTRIES, number, width)]
            joined = b"".join(parts)
            if len(joined) != width * HEX_SIZE:  # what is no entry is like no hash
                joined = b"".join(it.rjust(HEX_SIZE) for it in parts)
            self._hashes[key] = joined
        return self._hashes[key]

    def _kept(self, level: int | str, number: int, width: int) -> list[bytes]:
        """Return what a file holds, and remember it for a while."""
        key = level, number, width
        if key not in self._known:
            if len(self._known) >= _MOST_TILES:
                self._known.popitem(last=False)
            self._known[key] = self._read(level, number, width)
        return self._known[key]

    def _read(self, level: int | str, number: int, width: int) -> list[bytes]:
        reason = "it is damaged"
        for whole in dict.fromkeys((WIDTH, width)):
            try:
                content = read_file(self.path(level, number, whole), _MOST_BYTES)
            except OSError as problem:
                reason = reason_of(problem)
                continue
            parts = _entries(content) if level == ENTRIES else _hashes(content)
            if parts is not None and len(parts) >= width:
                return parts[:width]
            reason = "it is damaged"
        name = self.path(level, number, width).relative_to(self.folder)
        raise DamagedTreeError(str(self.folder), f"{name.as_posix()}: {reason}")

    def node(self, size: int) -> _Nodes:
        """Return the nodes of the tree of the first leaves, for its proofs."""
        return _Nodes(self, size)

    def edge(self, size: int) -> TreeEdge:
        """Return the right edge of the tree of the first leaves.

        Raises:
            DamagedTreeError: a tile is missing or damaged.
        """
        levels: list[list[bytes]] = []
        while rest := size >> 8 * len(levels):
            level, (number, width) = len(levels), divmod(rest, WIDTH)
            levels.append(list(self.tile(level, number, width)) if width else [])
        return TreeEdge(size, levels)

    def entries(self, size: int) -> Iterator[tuple[int, list[bytes]]]:
        """Yield the first entries of the tree, bundle by bundle, with the number of each bundle.

        Raises:
            DamagedTreeError: a bundle is missing or damaged.
        """
        for number in range(-(-size // WIDTH)):
            yield number, self._read(ENTRIES, number, min(WIDTH, size - number * WIDTH))

    def entry(self, index: int, size: int) -> Entry | None:
        """Return the entry at a place; None where what is there is none."""
        number, place = divmod(index, WIDTH)
        return read_entry(self.bundle(number, min(WIDTH, size - number * WIDTH))[place])

    # Runs.

    def runs(self) -> Iterator[Run]:
        """Yield the runs as the file of them says, as far as it can be read: nobody vouches."""
        with suppress(OSError), BufferedReader(open_file(self.folder / "runs")) as lines:
            while parts := lines.readline(256).split():
                if len(parts) != 4 or not all(parts[it].isdigit() for it in (0, 2, 3)):  # noqa: PLR2004
                    return
                writer = parts[1].decode(errors="replace")
                yield Run(int(parts[0]), writer, int(parts[2]), int(parts[3]))

    def find(self, writer: str, seq: int, size: int) -> int | None:
        """Return the place of a line in the tree, from 0; None where it is not in it.

        Raises:
            DamagedTreeError: a bundle is missing or damaged.
        """
        for run in self.runs():
            if run.writer == writer and run.first <= seq < run.first + run.count:
                index = run.start + seq - run.first
                found = self.entry(index, size) if index < size else None
                if found and (found.writer, found.seq) == (writer, seq):
                    return index
        beginning = b"%s %d " % (writer.encode(), seq)
        for number, entries in self.entries(size):
            for place, content in enumerate(entries):
                if content.startswith(beginning):
                    return number * WIDTH + place
        return None


class _Nodes:
    """The nodes of a tree, from its tiles."""

    def __init__(self, store: TileStore, size: int) -> None:
        self._store, self._size = store, size

    def __call__(self, height: int, index: int) -> bytes:
        """Return the root over ``2 ** height`` leaves, the ``index``-th of them."""
        level, rest = divmod(height, 8)
        number, place = divmod(index << rest, WIDTH)
        width = min(WIDTH, (self._size >> 8 * level) - number * WIDTH)
        return folded(self._store.tile(level, number, width)[place : place + (1 << rest)])


class TreeWriter:
    """Appends entries to a tree on disk.

    Attributes:
        edge: the right edge of the tree so far.
        runs: what was appended.
    """

    def __init__(self, store: TileStore, edge: TreeEdge) -> None:
        """Go on where the tree ended.

        Args:
            store: where it is.
            edge: its right edge there.

        Raises:
            DamagedTreeError: the last bundle is not what the edge says.
        """
        self._store, self.edge, self.runs = store, edge, list[Run]()
        self._folders: set[Path] = set()  # whose names are not on disk yet
        width = edge.size % WIDTH
        self._bundle = list(store.bundle(edge.size // WIDTH, width)) if width else []
        if width and leaf_hashes(self._bundle) != edge.levels[0]:
            raise DamagedTreeError(str(store.folder), "the last entries are not those of the tree")

    def append(self, writer: str, first: int, hashes: Sequence[str]) -> None:
        """Append lines of a writer that follow each other, by their hashes in hexadecimal."""
        if not hashes:
            return
        self._note(Run(self.edge.size, writer, first, len(hashes)))
        name = writer.encode()
        entries = [b"%s %d %s\n" % (name, it, of.encode()) for it, of in enumerate(hashes, first)]
        self._bundle += entries
        for tile in self.edge.extend(leaf_hashes(entries)):
            self._put(*tile)

    def _note(self, run: Run) -> None:
        last = self.runs[-1] if self.runs else None
        if last and (last.writer, last.first + last.count) == (run.writer, run.first):
            self.runs[-1] = Run(last.start, last.writer, last.first, last.count + run.count)
        else:
            self.runs.append(run)

    def _put(self, level: int, number: int, nodes: Sequence[bytes]) -> None:
        """Write a tile, and the entries that it has the hashes of."""
        self._write(self._store.path(level, number, len(nodes)), b"".join(nodes))
        if level == 0:
            entries, self._bundle = self._bundle[: len(nodes)], self._bundle[len(nodes) :]
            path = self._store.path(ENTRIES, number, len(nodes))
            self._write(path, b"".join(struct.pack(">H", len(it)) + it for it in entries))

    def _write(self, path: Path, content: bytes) -> None:
        write_whole(path, content, has_name=False)
        self._folders.update(islice(path.parents, len(path.relative_to(self._store.folder).parts)))

    def finish(self, before: int) -> None:
        """Write the tiles that are not full, and which entries are whose.

        Args:
            before: how many leaves the tree had.
        """
        for tile in self.edge.partial_tiles():
            self._put(*tile)
        for folder in self._folders:
            sync_folder(folder)
        kept = (run.to_text() for run in self._store.runs() if run.start < before)
        new = (run.to_text() for run in self.runs)
        write_whole(self._store.folder / "runs", "".join([*kept, *new]).encode())


def _hashes(content: bytes) -> list[bytes] | None:
    """Return what a tile holds; None where that is no tile."""
    count, rest = divmod(len(content), HASH_SIZE)
    is_tile = not rest and 0 < count <= WIDTH
    return list(struct.unpack("32s" * count, content)) if is_tile else None


def _entries(content: bytes) -> list[bytes] | None:
    """Return what a bundle holds; None where that is no bundle."""
    # Mostly all entries are equally long.
    step = 2 + int.from_bytes(content[:2])
    count, rest = divmod(len(content), step)
    if not rest and count <= WIDTH:
        high, low = content[::step], content[1::step]
        if high == content[:1] * count and low == content[1:2] * count:
            return [content[it + 2 : it + step] for it in range(0, len(content), step)]
    # No entry has a line end but its last byte, and none is so long that its length has one.
    parts = content.split(b"\n")
    if not parts.pop() and len(parts) <= WIDTH:
        lengths = list(map(len, parts))
        is_short = max(lengths, default=0) < WIDTH
        if is_short and [it[:2] for it in parts] == [_LENGTHS[it] for it in lengths]:
            return [it[2:] + b"\n" for it in parts]
    found: list[bytes] = []
    place = 0
    while place < len(content):
        stop = place + 2 + int.from_bytes(content[place : place + 2])
        if stop > len(content) or len(found) == WIDTH:
            return None
        found.append(content[place + 2 : stop])
        place = stop
    return found
