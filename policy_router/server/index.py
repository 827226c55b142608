"""An index beside a log: what answers by id, time, caller, outcome and model.

It is made of the log, by a process of its own that follows the log, and made anew whenever it does
not fit: nothing else is in it, and nothing that verifies a log looks at it. What is answered is
always read from the log's own lines.

Texts are stored once, and so is each shape: all that a decision is found by but its time. A row
holds the number of its shape, in the order of time, and decisions are counted by day and shape:
even a question that no row answers reads little, and so does one that counts all of them.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from policy_router.decision.record import ReasonCode
from policy_router.errors import LogError
from policy_router.log.folder import LogFolder

FILTERS: Final = (
    *("outcome", "level", "rule", "entry", "model", "provider", "caller", "code", "policy"),
)
"""What decisions are found by, besides their times."""
DAY: Final = 86_400_000_000
"""A day in microseconds."""
_NOWHERE: Final = -1
_NEVER: Final = 1 << 62
"""A time and a day that never come."""
MOST_SHOWN: Final = 20
"""How many of the dearest decisions are told."""
MOST_VALUES: Final = 200
"""How many values of a filter are counted."""
_CURSOR: Final = re.compile(r"[0-9]{1,18}\.[0-9]{1,18}")
"""Two numbers that SQLite can hold."""
BITS: Final = {code.value: 1 << place for place, code in enumerate(ReasonCode)}
"""The bits of codes: a decision may have several."""


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


class Counts(Struct, frozen=True):
    """How many decisions there are of each kind.

    Attributes:
        total: how many in all.
        facets: by the names of :data:`FILTERS`: values with their counts, the most first.
        days: the days since 1970 that have any: decisions, and how many of them are refused.
    """

    total: int
    facets: Mapping[str, tuple[tuple[str, int], ...]]
    days: tuple[tuple[int, int, int], ...]


class Index:
    """Answers from an index and the log that it is of."""

    def __init__(self, folder: str, path: str) -> None:
        """Take a log and its index; nothing is opened.

        Args:
            folder: the log.
            path: the file of the index.
        """
        self._folder, self._path = LogFolder(folder), path

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
            shapes, values = _shapes(base, wanted)
            clauses = [] if not wanted else [f"shape IN ({shapes})"]
            for clause, value in (("time >= ?", since), ("time < ?", until)):
                if value is not None:
                    clauses.append(clause)
                    values.append(value)
            if before:
                clauses.append("(time, nth) < (?, ?)")
                values += before
            rows = base.execute(
                "SELECT time, nth, writer, segment, place, size FROM"  # noqa: S608 - no values
                f" (SELECT * FROM decisions WHERE {' AND '.join(clauses) or '1'}"
                " ORDER BY time DESC, nth DESC LIMIT ?) AS found"
                " JOIN files ON files.number = file ORDER BY time DESC, nth DESC",
                [*values, limit],
            ).fetchall()
        lines = self._read([Place(*row[2:]) for row in rows])
        last = f"{rows[-1][0]}.{rows[-1][1]}" if len(rows) == limit else None
        return Found(tuple(lines), last)

    def count(self, wanted: Mapping[str, str], *, since: int | None, until: int | None) -> Counts:
        """Count decisions by what they can be filtered by; the arguments are those of :meth:`find`.

        Raises:
            LogError: there is no index yet, or it cannot be read.
        """
        with self._opened() as base:
            shapes, values = _shapes(base, wanted)
            for statement, bounds in _counted(since, until):
                which = f"{statement} AND shape IN ({shapes})" if wanted else statement
                base.execute(which, [*bounds, *values])
            # A shape that is of no decision any more is counted 0 times.
            base.execute(
                "CREATE TEMP TABLE found AS SELECT shapes.*, sum(count) AS count FROM counted"
                " JOIN shapes ON shapes.number = shape GROUP BY shape"
            )
            (total,) = base.execute("SELECT coalesce(sum(count), 0) FROM found").fetchone()
            facets = {name: _facet(base, name) for name in FILTERS}
            days = base.execute(
                "SELECT day, sum(count), sum(CASE text WHEN 'refused' THEN count ELSE 0 END)"
                " FROM counted JOIN shapes ON shapes.number = shape"
                " JOIN words ON words.number = outcome GROUP BY day ORDER BY day"
            ).fetchall()
        return Counts(total, facets, tuple(days))

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
            counted = base.execute(
                "SELECT words.text, names.text, sum(count),"
                " sum(CASE outcomes.text WHEN 'refused' THEN count ELSE 0 END), min(day), max(day)"
                " FROM days JOIN shapes ON shapes.number = shape"
                " JOIN words ON words.number = revision"
                " JOIN words AS names ON names.number = name"
                " JOIN words AS outcomes ON outcomes.number = outcome"
                " GROUP BY revision, name ORDER BY max(day) DESC"
            ).fetchall()
            found = [
                (revision, name, *_times(base, revision, first, last), count, refused)
                for revision, name, count, refused, first, last in counted
                if count
            ]
        return sorted(found, key=lambda it: it[3], reverse=True)

    def dearest(self, *, since: int | None, until: int | None) -> list[tuple[str, int]]:
        """Return the decisions that cost the most, and their nano-dollars.

        Raises:
            LogError: there is no index yet, or it cannot be read.
        """
        with self._opened() as base:
            return base.execute(
                "SELECT id, nano FROM executions WHERE nano IS NOT NULL AND time >= ? AND time < ?"
                " ORDER BY nano DESC LIMIT ?",
                [*_between(since, until), MOST_SHOWN],
            ).fetchall()

    def dearest_trees(self, *, since: int | None, until: int | None) -> list[tuple[str, int, int]]:
        """Return the first decisions of the trees that cost the most, with decisions and cost.

        Raises:
            LogError: there is no index yet, or it cannot be read.
        """
        with self._opened() as base:
            return base.execute(
                "WITH below AS (SELECT root, id FROM decisions"
                "  WHERE root IS NOT NULL AND time >= ? AND time < ?),"
                " every AS (SELECT root, id FROM below UNION SELECT root, root FROM below)"
                " SELECT root, count(DISTINCT every.id), coalesce(sum(nano), 0) AS cost FROM every"
                " LEFT JOIN executions ON executions.id = every.id"
                " GROUP BY root ORDER BY cost DESC LIMIT ?",
                [*_between(since, until), MOST_SHOWN],
            ).fetchall()

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
            return base.execute(
                "SELECT decisions.id, budget, sum(nano) AS cost FROM decisions"
                " JOIN executions ON executions.id = decisions.id"
                " WHERE budget IS NOT NULL AND budget < ? AND decisions.time >= ?"
                " AND decisions.time < ? AND nano IS NOT NULL"
                " GROUP BY decisions.id ORDER BY cost DESC LIMIT ?",
                [below, *_between(since, until), MOST_SHOWN],
            ).fetchall()

    def lines(self, ids: Sequence[str]) -> list[bytes]:
        """Return the lines of decisions.

        Raises:
            LogError: there is no index yet, or it cannot be read.
        """
        marks = ", ".join("?" * len(ids))
        with self._opened() as base:
            places = _places(base, f"decisions WHERE id IN ({marks})", *ids)
        return self._read(places)

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
            address = f"{Path(self._path).absolute().as_uri()}?mode=ro"
            with closing(sqlite3.connect(address, uri=True, timeout=5)) as base:
                yield base
        except sqlite3.Error as problem:
            reason = f"its index cannot be read ({problem})"
            raise LogError(str(self._folder.path), reason) from None

    def _read(self, places: Sequence[Place]) -> list[bytes]:
        """Return lines from the log; what is not there any more was pruned."""
        found = []
        for it in places:
            with suppress(FileNotFoundError), _open(self._folder, it) as stream:
                stream.seek(it.place)
                content = stream.read(it.size)
                if len(content) == it.size:
                    found.append(content)
        return found


def _open(folder: LogFolder, place: Place) -> Any:
    return folder.segment_path(place.writer, place.segment).open("rb", buffering=0)


def _places(base: sqlite3.Connection, which: str, *values: str) -> list[Place]:
    rows = base.execute(
        "SELECT writer, segment, place, size FROM"  # noqa: S608 - no values
        f" (SELECT * FROM {which}) AS found JOIN files ON files.number = file ORDER BY time",
        values,
    )
    return [Place(*row) for row in rows]


def _counted(since: int | None, until: int | None) -> Iterator[tuple[str, list[int]]]:
    """Yield what fills a table with the counts of a time: whole days, and what is beside them."""
    first = -(-(since or 0) // DAY)
    last = _NEVER if until is None else until // DAY
    whole = "CREATE TEMP TABLE counted AS SELECT * FROM days WHERE day >= ? AND day < ?"
    yield whole, [first, last]
    edges = [(since, first * DAY), (last * DAY, until)] if first <= last else [(since, until)]
    for start, end in edges:
        if start is not None and end is not None and start < end:
            part = f"INSERT INTO counted SELECT time / {DAY}, shape, 1 FROM decisions"  # noqa: S608 - no values
            yield f"{part} WHERE time >= ? AND time < ?", [start, end]


def _between(since: int | None, until: int | None) -> tuple[int, int]:
    return since or 0, _NEVER if until is None else until


def _times(base: sqlite3.Connection, revision: str, first: int, last: int) -> tuple[int, int]:
    """Return the times of the first and the last decision of a policy, from the days of these."""
    shapes, values = _shapes(base, {"policy": revision})
    found = []
    for fold, day in (("min", first), ("max", last)):
        row = base.execute(
            f"SELECT {fold}(time) FROM decisions WHERE time >= ? AND time < ?"  # noqa: S608 - no values
            f" AND shape IN ({shapes})",
            [day * DAY, (day + 1) * DAY, *values],
        ).fetchone()
        found.append(row[0] or 0)
    return found[0], found[1]


def _facet(base: sqlite3.Connection, name: str) -> tuple[tuple[str, int], ...]:
    """Return the values of a filter with their counts, the most first."""
    if name == "code":
        sums = ", ".join(f"sum(CASE WHEN codes & {bit} THEN count END)" for bit in BITS.values())
        row = base.execute(f"SELECT {sums} FROM found").fetchone()  # noqa: S608 - no values
        pairs = [(code, count) for code, count in zip(BITS, row, strict=True) if count]
        return tuple(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))
    column = {"policy": "revision"}.get(name, name)
    rows = base.execute(
        f"SELECT text, sum(count) AS total FROM found JOIN words ON words.number = {column}"  # noqa: S608
        " WHERE text != '' GROUP BY text HAVING total > 0 ORDER BY total DESC, text LIMIT ?",
        [MOST_VALUES],
    )
    return tuple(rows.fetchall())


def _shapes(base: sqlite3.Connection, wanted: Mapping[str, str]) -> tuple[str, list[Any]]:
    """Return the query of the shapes that are wanted, and its values."""
    clauses, values = [], []
    for name, text in wanted.items():
        if name == "code":
            clauses.append("codes & ?")
            values.append(BITS.get(text, 0))
        elif name == "policy":
            numbers = _policies(base, text)
            marks = ", ".join("?" * len(numbers))
            clauses.append(f"(name IN ({marks}) OR revision IN ({marks}))")
            values += [*numbers, *numbers]
        else:
            columns = ("caller", "team") if name == "caller" else (name,)
            clauses.append(f"({' OR '.join(f'{column} = ?' for column in columns)})")
            row = base.execute("SELECT number FROM words WHERE text = ?", [text]).fetchone()
            values += [row[0] if row and text else _NOWHERE] * len(columns)
    return f"SELECT number FROM shapes WHERE {' AND '.join(clauses) or '1'}", values  # noqa: S608


def _policies(base: sqlite3.Connection, text: str) -> list[int]:
    """Return the numbers of a name, and of the revisions that begin so."""
    beginning = "sha256:" + (text.removeprefix("sha256:") or "none")
    rows = base.execute(
        "SELECT number FROM words WHERE text = ? OR substr(text, 1, ?) = ?",
        [text, len(beginning), beginning],
    )
    return [row[0] for row in rows]


def _read_cursor(cursor: str) -> list[int]:
    if not _CURSOR.fullmatch(cursor):
        raise ValueError("the cursor is none of an answer before")
    return [int(number) for number in cursor.split(".")]
