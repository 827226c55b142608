"""Finds a place in an unfinished YAML file.

A mark is put at the place, and the file is read up to the value or the key that holds it. Where the
file is not YAML, what stands behind the place is left out, and what is open there is closed: a key
gets its colon, a text its quote.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from policy_router.diagnostics.model import SourceFile
from policy_router.policy.yaml.parser import (
    ENDS,
    STARTS,
    Neutral,
    SecondDocumentError,
    StopReadingError,
    events,
    readable,
)

_CLOSINGS: Final = ("", ":", '"', "'", '":', "':")
_MARKS: Final = range(0x10FFFD, 0x100000, -1)


@dataclass(frozen=True, slots=True)
class Cursor:
    """What holds a place in a file.

    Attributes:
        path: the keys and indexes to the value that holds it; to the mapping, if a key does.
        is_key: whether a key holds it.
        before: the text of the value or key before the place.
        after: the text behind it; empty where the file is not read so far.
        keys: the other keys of the mapping, if a key holds it.
    """

    path: tuple[str | int, ...]
    is_key: bool
    before: str
    after: str
    keys: tuple[str, ...] = ()


def cursor(text: str, offset: int) -> Cursor | None:
    """Return what holds a place of a file; None in a comment, and where it cannot be told.

    Args:
        text: the file.
        offset: how many characters are before the place.
    """
    text = readable(text)
    mark = next(chr(point) for point in _MARKS if chr(point) not in text)
    before = text[:offset] + mark
    for candidate in (before + text[offset:], *(before + closing for closing in _CLOSINGS)):
        if (found := _Reading(candidate, mark).cursor()) is not None:
            return found
    return None


@dataclass(slots=True)
class _Frame:
    is_mapping: bool
    keys: list[str] = field(default_factory=list)
    items: int = 0
    awaits_key: bool = False

    def part(self) -> tuple[str | int, ...]:
        """Return the step to the value that comes next."""
        if not self.is_mapping:
            return (self.items,)
        return () if self.awaits_key else (self.keys[-1],)

    def take(self, key: str | None = None) -> None:
        """Take a value, or a key."""
        if not self.is_mapping:
            self.items += 1
            return
        if self.awaits_key:
            self.keys.append(key or "")
        self.awaits_key = not self.awaits_key


class _Reading:
    """Reads a file until the mark, and the mapping that it is a key of to its end."""

    def __init__(self, text: str, mark: str) -> None:
        self.source = SourceFile("", text)
        self.mark = mark
        self.frames: list[_Frame] = []

    def cursor(self) -> Cursor | None:
        """Return what holds the mark, or None."""
        found: Cursor | None = None
        own: _Frame | None = None
        for event in self._events():
            if found is None:
                found = self._found(event)
                own = self.frames[-1] if found and found.is_key else None
            if found is not None and not any(it is own for it in self.frames):
                break
            self._follow(event)
        if found is None or own is None:
            return found
        keys = tuple(key for key in own.keys if self.mark not in key)
        return Cursor(found.path, found.is_key, found.before, found.after, keys)

    def _events(self) -> Iterator[Any]:
        """Yield the events of the file, until it is no YAML any more."""
        neutral = Neutral.of(self.source.text)
        try:
            for event in events(self.source, neutral.text):
                if neutral.back and type(event).__name__ == yaml.ScalarEvent.__name__:
                    start, end = event.start_mark.index, event.end_mark.index
                    event.value = neutral.restored(event.value, event.style, start, end)
                yield event
        except (StopReadingError, SecondDocumentError):
            return

    def _found(self, event: Any) -> Cursor | None:
        if type(event) is not yaml.ScalarEvent or self.mark not in event.value:
            return None
        before, _, after = event.value.partition(self.mark)
        is_key = bool(self.frames) and self.frames[-1].awaits_key
        path = tuple(part for frame in self.frames for part in frame.part())
        return Cursor(path, is_key, before, after)

    def _follow(self, event: Any) -> None:
        kind = type(event)
        if kind in ENDS:
            self.frames.pop()
            if self.frames:
                self.frames[-1].take()
        elif kind in STARTS:
            is_mapping = kind is yaml.MappingStartEvent
            self.frames.append(_Frame(is_mapping, awaits_key=is_mapping))
        elif self.frames:
            self.frames[-1].take(event.value if kind is yaml.ScalarEvent else None)
