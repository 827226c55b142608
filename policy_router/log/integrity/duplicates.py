"""Ids of decisions that are in a log twice, found in little memory however many there are.

Of each id a hash of 64 bits is kept. The hashes go into as many files as the ranges that they
fall into, so that each file fits into memory; equal ones are looked up in the log.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Final, Self

_PARTS: Final = 64
_MOST: Final = 1 << 18
_SHIFT: Final = 58
"""Of a hash of 64 bits, this leaves as many as number the parts."""


class IdCounter:
    """Counts ids."""

    def __init__(self) -> None:
        """Begin with none."""
        self._open: list[int] = []
        self._files: list[IO[bytes]] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Return itself: what it keeps on disk is removed in the end."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove what is kept on disk."""
        self._stack.close()

    def add(self, ids: list[str]) -> None:
        """Add ids."""
        self._open += map(hash, ids)
        if len(self._open) >= _MOST:
            self._spill()

    def _spill(self) -> None:
        """Put hashes on disk, by their ranges."""
        if not self._files:
            enter = self._stack.enter_context
            self._files = [enter(TemporaryFile()) for _ in range(_PARTS)]  # noqa: SIM115 - entered
        parts: list[list[int]] = [[] for _ in range(_PARTS)]
        for it in self._open:
            parts[it >> _SHIFT].append(it)  # a negative one counts from the end
        for file, part in zip(self._files, parts, strict=True):
            array("q", part).tofile(file)
        self._open = []

    def repeated(self) -> set[int]:
        """Return the hashes of ids that were added more than once."""
        if not self._files:
            return _repeated(self._open)
        self._spill()
        return {it for file in self._files for it in _repeated(_read(file))}


def those_repeated(ids: Iterable[str], hashes: set[int]) -> Iterator[str]:
    """Yield each id that is there more than once, given the hashes of those that may be."""
    counts = Counter(it for it in ids if hash(it) in hashes)
    return (it for it, count in counts.items() if count > 1)


def _read(file: IO[bytes]) -> array[int]:
    found = array("q")
    file.seek(0)
    found.frombytes(file.read())
    return found


def _repeated(hashes: Sequence[int]) -> set[int]:
    if len(set(hashes)) == len(hashes):
        return set()
    found = sorted(hashes)
    return {a for a, b in pairwise(found) if a == b}
