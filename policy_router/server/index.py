"""An index beside a log: what answers by id, time, caller, outcome and model.

It is made of the log, by a process of its own that follows the log, and made again whenever it does
not fit: nothing else is in it, and nothing that verifies a log looks at it. What is answered is
always read from the log's own lines.

Texts are stored once, and so is each shape: all that a decision is found by but its time. A row
holds the number of its shape, in the order of time, and decisions are counted by day and shape:
even a question that no row answers reads little, and so does one that counts all of them.
"""

from __future__ import annotations

import re
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from policy_router.errors import LogError
from policy_router.log.folder import LogFolder, Segment
from policy_router.log.heads import UnknownSchemaError
from policy_router.server import index_questions as questions
from policy_router.server.index_questions import Counts

_CURSOR: Final = re.compile(r"[0-9]{1,18}\.[0-9]{1,18}")
"""Two numbers that SQLite can hold."""


class Place(Struct, frozen=True):
    """Where a line is.

    Attributes:
        writer: the name of its writer.
        segment: the number of its segment.
        place: its first byte.
        size: how many bytes it has.
    """

    writer: str
    segment: int
    place: int
    size: int


class Found(Struct, frozen=True):
    """Decisions that were found.

    Attributes:
        lines: their lines in the log, the newest first.
        cursor: where to go on; None at the end.
    """

    lines: tuple[bytes, ...]
    cursor: str | None


class Index:
    """Answers from an index and the log that it is of."""

    def __init__(self, folder: str, path: str) -> None:
        """Take a log and its index; nothing is opened.

        Args:
            folder: the log.
            path: the file of the index.
        """
        self.folder, self.path = LogFolder(folder), path

    def find(
        self,
        wanted: Mapping[str, str],
        *,
        since: int | None,
        until: int | None,
        limit: int,
        cursor: str | None,
    ) -> Found:
        """Return decisions, the newest first.

        Args:
            wanted: values by the names of :data:`FILTERS`.
            since: the earliest time, in microseconds since 1970.
            until: the time before which they are.
            limit: how many at most.
            cursor: that of the answer before.

        Raises:
            LogError: there is no index yet, or it cannot be read.
            ValueError: the cursor is none.
        """
        before = [] if cursor is None else _read_cursor(cursor)
        with self._opened() as base:
            rows = questions.find(base, wanted, since, until, before=before, limit=limit)
        lines = self._read([Place(*row[2:]) for row in rows])
        last = f"{rows[-1][0]}.{rows[-1][1]}" if len(rows) == limit else None
        return Found(tuple(lines), last)

    def count(self, wanted: Mapping[str, str], *, since: int | None, until: int | None) -> Counts:
        """Count decisions by what they can be filtered by; the arguments are those of :meth:`find`.

        Raises:
            LogError: there is no index yet, or it cannot be read.
        """
        with self._opened() as base:
            return questions.count(base, wanted, since, until)

    def about(self, decision_id: str) -> tuple[list[bytes], list[bytes]]:
        """Return the lines about a decision, and the decisions of the child that ran by it.

        Raises:
            LogError: there is no index yet, or it cannot be read.
        """
        with self._opened() as base:
            lines = _places(base, "decisions WHERE id = ?", decision_id)
            lines += _places(base, "executions WHERE id = ?", decision_id)
            children = _places(base, "decisions WHERE parent = ?", decision_id)
        return self._read(lines), self._read(children)

    def lines_of(self, decision_id: str) -> list[tuple[str, bytes]] | None:
        """Return the lines of a decision and of what came of it, each with its writer.

        Returns:
            The lines; None where one of them is not there any more, or there are none.

        Raises:
            LogError: there is no index yet, or it cannot be read.
        """
        with self._opened() as base:
            places = _places(base, "decisions WHERE id = ?", decision_id)
            places += _places(base, "executions WHERE id = ?", decision_id)
        lines = self._read(places)
        if not lines or len(lines) != len(places):
            return None
        return [(it.writer, line) for it, line in zip(places, lines, strict=True)]

    def line(self, decision_id: str) -> tuple[Place, bytes]:
        """Return the line of a decision, and where it is.

        Raises:
            LogError: there is no index yet, it cannot be read, or the line is not there any more.
        """
        with self._opened() as base:
            places = _places(base, "decisions WHERE id = ?", decision_id)
        lines = self._read(places)
        if not lines:
            raise LogError(str(self.folder.path), "the line of the decision is not there any more")
        return places[0], lines[0]

    def executions(self, ids: Sequence[str]) -> list[bytes]:
        """Return the lines about what came of decisions, in the order of time.

        Raises:
            LogError: there is no index yet, or it cannot be read.
        """
        marks = ", ".join("?" * len(ids))
        with self._opened() as base:
            places = _places(base, f"executions WHERE id IN ({marks})", *ids)
        return self._read(places)

    def revisions(self) -> list[tuple[str, str, int, int, int, int]]:
        """Return the policies that decided, the last one first.

        Returns:
            Of each: revision, name, the times of the first and the last decision, how many
            decisions there are, and how many of them are refused.

        Raises:
            LogError: there is no index yet, or it cannot be read.
        """
        with self._opened() as base:
            return questions.revisions(base)

    def dearest(self, *, since: int | None, until: int | None) -> list[tuple[str, int]]:
        """Return the decisions that cost the most, and their nano-dollars.

        Raises:
            LogError: there is no index yet, or it cannot be read.
        """
        with self._opened() as base:
            return questions.dearest(base, since, until)

    def dearest_trees(self, *, since: int | None, until: int | None) -> list[tuple[str, int, int]]:
        """Return the first decisions of the trees that cost the most, with decisions and cost.

        Raises:
            LogError: there is no index yet, or it cannot be read.
        """
        with self._opened() as base:
            return questions.dearest_trees(base, since, until)

    def granted(
        self, below: float, *, since: int | None, until: int | None
    ) -> list[tuple[str, float, int]]:
        """Return the dearest wishes that were granted while a budget was low.

        Args:
            below: how many US dollars were left at most.
            since: the earliest time, in microseconds since 1970.
            until: the time before which they are.

        Returns:
            Of each decision: its id, the US dollars that were left, and its nano-dollars.

        Raises:
            LogError: there is no index yet, or it cannot be read.
        """
        with self._opened() as base:
            return questions.granted(base, below, since, until)

    def lines(self, ids: Sequence[str]) -> list[bytes]:
        """Return the lines of decisions.

        Raises:
            LogError: there is no index yet, or it cannot be read.
        """
        marks = ", ".join("?" * len(ids))
        with self._opened() as base:
            places = _places(base, f"decisions WHERE id IN ({marks})", *ids)
        return self._read(places)

    def unread(self) -> tuple[int, int]:
        """Return how many bytes of the log are not in the index yet, and how many there are.

        Raises:
            LogError: there is no index yet, or it cannot be read.
        """
        with self._opened() as base:
            rows = base.execute("SELECT writer, segment, done FROM files").fetchall()
        done = {(writer, segment): read for writer, segment, read in rows}
        unread = total = 0
        for it in self.folder.all_segments():
            with suppress(FileNotFoundError):  # it may have been pruned meanwhile
                size, read = Path(it.path).stat().st_size, done.get((it.writer, it.number), 0)
                if size > read:
                    size = max(read, min(size, acknowledged(self.folder, it)))
                unread, total = unread + max(0, size - read), total + size
        return unread, total

    def answered(self, answer_id: str) -> list[bytes]:
        """Return the lines about an answer that can be gone on from.

        Raises:
            LogError: there is no index yet, or it cannot be read.
        """
        with self._opened() as base:
            lines = _places(base, "executions WHERE answer = ?", answer_id)
        return self._read(lines)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            address = f"{Path(self.path).absolute().as_uri()}?mode=ro"
            with closing(sqlite3.connect(address, uri=True, timeout=5)) as base:
                yield base
        except sqlite3.Error as problem:
            reason = f"its index cannot be read ({problem})"
            raise LogError(str(self.folder.path), reason) from None

    def _read(self, places: Sequence[Place]) -> list[bytes]:
        """Return lines from the log; what is not there any more was pruned."""
        found = []
        for it in places:
            with suppress(FileNotFoundError), _open(self.folder, it) as stream:
                stream.seek(it.place)
                content = stream.read(it.size)
                if len(content) == it.size:
                    found.append(content)
        return found


def acknowledged(folder: LogFolder, segment: Segment) -> int:
    """Return up to which byte a segment is acknowledged: what is behind may be taken away."""
    try:
        head = folder.head(segment.writer)
    except UnknownSchemaError:
        return 0
    if head is None or segment.number < head.segment:
        return sys.maxsize
    return head.length if segment.number == head.segment else 0


def _open(folder: LogFolder, place: Place) -> Any:
    return folder.segment_path(place.writer, place.segment).open("rb", buffering=0)


def _places(base: sqlite3.Connection, which: str, *values: str) -> list[Place]:
    rows = base.execute(
        "SELECT writer, segment, place, size FROM"  # noqa: S608 - no values
        f" (SELECT * FROM {which}) AS found JOIN files ON files.number = file ORDER BY time",
        values,
    )
    return [Place(*row) for row in rows]


def _read_cursor(cursor: str) -> list[int]:
    if not _CURSOR.fullmatch(cursor):
        raise ValueError("the cursor is not from an earlier answer")
    return [int(number) for number in cursor.split(".")]
