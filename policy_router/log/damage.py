"""What is wrong with a log: the kinds of damage, and where it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum

from msgspec import Struct

from policy_router.errors import LogError


class NotWholeError(LogError):
    """A log that is damaged, or not the one that was signed before."""


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
    """Segments were removed, and nobody says so; with a key: nobody who has it."""
    BAD_CHECKPOINT = "bad_checkpoint"
    """A checkpoint cannot be read, or contradicts others."""
    BAD_STATEMENT = "bad_statement"
    """A statement that was signed cannot be read, or contradicts others."""
    BAD_SIGNATURE = "bad_signature"
    """A checkpoint is not signed with the key."""
    BAD_TREE = "bad_tree"
    """A file of the tree is missing, or is not what was signed."""
    OTHER_ORIGIN = "other_origin"
    """Something is signed for another log."""
    REWRITTEN = "rewritten"
    """The lines are not those that a checkpoint covers."""
    UNSIGNED = "unsigned"
    """There is a key, and no checkpoint."""
    UNWITNESSED = "unwitnessed"
    """There is the key of a witness, and no checkpoint has its signature."""
    TOO_OLD = "too_old"
    """The newest checkpoint is older than it may be."""


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


class Places:
    """What is wrong with lines, as ranges of their numbers: some are listed, the others counted."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._ranges: dict[tuple[Damage, str], list[tuple[int, int]]] = {}
        self._more: dict[tuple[Damage, str], int] = {}

    def add(self, damage: Damage, where: str, first: int, last: int) -> None:
        """Add lines.

        Args:
            damage: what was done to them.
            where: the segment.
            first: the number of the first one.
            last: that of the last one.
        """
        key = damage, where
        ranges = self._ranges.setdefault(key, [])
        if ranges and first <= ranges[-1][1] + 1 and last >= ranges[-1][0] - 1:
            ranges[-1] = min(first, ranges[-1][0]), max(last, ranges[-1][1])
        elif len(ranges) <= SHOWN:
            ranges.append((first, last))
        else:
            self._more[key] = self._more.get(key, 1) + 1
            ranges[-1] = ranges[-1][0], last

    def take_back(self, damage: Damage, number: int) -> None:
        """Take back that something was done to a line."""
        for key, ranges in self._ranges.items():
            for place, (first, last) in enumerate(ranges if key[0] is damage else ()):
                if first <= number <= last:
                    parts = (first, number - 1), (number + 1, last)
                    ranges[place : place + 1] = [it for it in parts if it[0] <= it[1]]
                    return

    def tells_of(self, number: int) -> bool:
        """Tell whether something is known to be wrong with a line, but that it was signed."""
        kinds = ((it, ranges) for (it, _), ranges in self._ranges.items())
        found = (one for it, ranges in kinds if it is not Damage.REWRITTEN for one in ranges)
        return any(first <= number <= last for first, last in found)

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong."""
        for (damage, where), ranges in self._ranges.items():
            for first, last in ranges[:SHOWN]:
                message = f"{spelt_lines(first, last)}: {_WORDS[damage]}"
                yield Problem(damage, where, message, (first, last))
            for first, last in ranges[SHOWN:]:
                places = self._more.get((damage, where), 1)
                words = f"{places} more places up to line {last:,}: {_WORDS[damage]}"
                yield Problem(damage, where, words, (first, last))


_WORDS: Mapping[Damage, str] = {
    Damage.SWAPPED: "out of order, or there twice",
    Damage.EDITED: "changed",
    Damage.REMOVED: "removed",
    Damage.REWRITTEN: "not what was signed",
}


def spelt_lines(first: int, last: int) -> str:
    """Return lines as a message names them."""
    return f"line {first:,}" if first == last else f"lines {first:,} to {last:,}"
