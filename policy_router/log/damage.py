"""What is wrong with a log: the kinds of damage, and what was done to lines that do not fit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import pairwise

from msgspec import Struct

from policy_router.log.entry import LineView, view_of

SHOWN = 20
"""How many places of a kind are listed."""


class Damage(StrEnum):
    """What was done to a log."""

    EDITED = "edited"
    """A line is not what the line after it, or the head, says it was."""
    REMOVED = "removed"
    """Lines are missing between others."""
    SWAPPED = "swapped"
    """Lines are not in their order, or there twice."""
    CUT_TAIL = "cut_tail"
    """The last lines of a writer are missing."""
    MISSING_SEGMENT = "missing_segment"
    """A segment is missing."""
    MISSING_WRITER = "missing_writer"
    """A writer is missing altogether."""
    MISSING_HEAD = "missing_head"
    """Nothing says how far a writer had come."""
    MISSING_POLICY = "missing_policy"
    """The policy of a decision is not kept."""
    CHANGED_POLICY = "changed_policy"
    """A policy's file does not hold what its name says."""
    BAD_PRUNE = "bad_prune"
    """A segment was removed, and the log does not say so."""
    BAD_CHECKPOINT = "bad_checkpoint"
    """A checkpoint cannot be read, or contradicts others."""
    BAD_SIGNATURE = "bad_signature"
    """A checkpoint is not signed with the key."""
    REWRITTEN = "rewritten"
    """The lines are not those that a checkpoint covers."""
    UNSIGNED = "unsigned"
    """There is a key, and no checkpoint."""


LOSSES = frozenset(
    {
        Damage.REMOVED,
        Damage.CUT_TAIL,
        Damage.MISSING_SEGMENT,
        Damage.MISSING_WRITER,
        Damage.MISSING_HEAD,
        Damage.MISSING_POLICY,
        Damage.BAD_PRUNE,
    }
)
"""The damage by which something is missing; by the rest, what is there is not what it was."""


class Problem(Struct, frozen=True):
    """Something that is wrong with a log.

    Attributes:
        damage: what was done.
        where: the writer, or the segment as ``writer/number``, or a file.
        message: the same for a person, with its lines.
        lines: the numbers of the first and last line that it is about, in the writer's chain.
    """

    damage: Damage
    where: str
    message: str
    lines: tuple[int, int] | None = None


class Placed(Struct, frozen=True):
    """A line with the number that it has, whatever it says, and its hash."""

    number: int
    hash: str
    read: LineView | None
    is_edited: bool


def number_of(line: Placed) -> int:
    """Return the number of a line."""
    return line.number


def placed(lines: Iterable[bytes], number: int, prev: str) -> Iterator[Placed]:
    """Number lines: by the line before where they follow it, else as they say."""
    for content in lines:
        read = view_of(content)
        follows = read is None or read.prev == prev
        number = number + 1 if read is None or follows else read.seq
        prev = hashlib.sha256(content).hexdigest()
        yield Placed(number, prev, read, is_edited=read is None or read.seq != number)


def diagnosed(
    names: tuple[str, str, str], lines: list[Placed], edited: set[int]
) -> Iterator[Problem]:
    """Tell what was done to lines; the first one is the last of the segment before, or block.

    Args:
        names: where the first one is, where those are missing that are missing after it, and where
            the others are.
        lines: the lines.
        edited: the numbers of those that are known to be changed.
    """
    earlier, after_it, name = names
    numbers = [line.number for line in lines]
    ordered = sorted(lines, key=number_of)
    for line, following in pairwise(ordered):
        is_next = following.number == line.number + 1
        if is_next and following.read is not None and following.read.prev != line.hash:
            edited.add(max(line.number, 1))  # before the first there is none
    moved = {
        line.number for line, place in zip(ordered, numbers, strict=True) if line.number != place
    }
    repeated = {number for number, following in pairwise(sorted(numbers)) if number == following}
    gaps = [
        (number + 1, following - 1)
        for number, following in pairwise(sorted(numbers))
        if following > number + 1
    ]
    yield from _problems(Damage.SWAPPED, name, _ranges(moved | repeated))
    first = {number for number in edited if number <= numbers[0]} if earlier != name else set()
    yield from _problems(Damage.EDITED, earlier, _ranges(first))
    yield from _problems(Damage.EDITED, name, _ranges(edited - first))
    cut = [gap for gap in gaps if gap[0] == numbers[0] + 1]
    yield from _problems(Damage.REMOVED, after_it, cut)
    yield from _problems(Damage.REMOVED, name, [gap for gap in gaps if gap not in cut])


_WORDS: Mapping[Damage, str] = {
    Damage.SWAPPED: "out of order, or there twice",
    Damage.EDITED: "changed",
    Damage.REMOVED: "removed",
}


def _problems(damage: Damage, name: str, ranges: Sequence[tuple[int, int]]) -> Iterator[Problem]:
    for first, last in ranges[:SHOWN]:
        yield Problem(damage, name, f"{spelt_lines(first, last)}: {_WORDS[damage]}", (first, last))
    if more := ranges[SHOWN:]:
        span = (more[0][0], more[-1][1])
        words = f"{len(more)} more places up to line {span[1]:,}: {_WORDS[damage]}"
        yield Problem(damage, name, words, span)


def _ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Return numbers as ranges, from and up to."""
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def spelt_lines(first: int, last: int) -> str:
    """Return lines as a message names them."""
    return f"line {first:,}" if first == last else f"lines {first:,} to {last:,}"
