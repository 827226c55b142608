"""What an index of a log is asked: statements on its tables, of which :mod:`.follower` tells.

Whole days are counted from counts, and what is beside them from rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from policy_router.decision.record import ReasonCode

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
BITS: Final = {code.value: 1 << place for place, code in enumerate(ReasonCode)}
"""The bits of codes: a decision may have several."""


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


def find(
    base: sqlite3.Connection,
    wanted: Mapping[str, str],
    since: int | None,
    until: int | None,
    *,
    before: Sequence[int],
    limit: int,
) -> list[tuple[Any, ...]]:
    """Return the newest decisions: time, number, and the place of each line.

    Only days that have any are looked at: what is rare would else be looked for in all of them.

    Args:
        base: the index.
        wanted: values by the names of :data:`FILTERS`.
        since: the earliest time, in microseconds since 1970.
        until: the time before which they are.
        before: time and number of the last one that is known already; empty for none.
        limit: how many at most.
    """
    first, last = _between(since, until)
    if before:
        last = min(last, before[0] + 1)
    if not wanted:
        return _found(base, "1", [], (first, last), before=before, limit=limit)
    shapes, values = shapes_of(base, wanted)
    days = base.execute(
        f"SELECT DISTINCT day FROM days WHERE day BETWEEN ? AND ? AND shape IN ({shapes})"  # noqa: S608 - no values
        " AND count > 0 ORDER BY day DESC",
        [first // DAY, last // DAY, *values],
    ).fetchall()
    rows: list[tuple[Any, ...]] = []
    for (day,) in days:
        window = (max(first, day * DAY), min(last, (day + 1) * DAY))
        clause = f"shape IN ({shapes})"
        rows += _found(base, clause, values, window, before=before, limit=limit - len(rows))
        if len(rows) >= limit:
            break
    return rows


def _found(
    base: sqlite3.Connection,
    clause: str,
    values: Sequence[Any],
    window: tuple[int, int],
    *,
    before: Sequence[int],
    limit: int,
) -> list[tuple[Any, ...]]:
    """Return the newest decisions of a window of time that a clause is true of."""
    if before:
        clause, values = f"{clause} AND (time, nth) < (?, ?)", [*values, *before]
    return base.execute(
        "SELECT time, nth, writer, segment, place, size FROM"  # noqa: S608 - no values
        f" (SELECT * FROM decisions WHERE time >= ? AND time < ? AND {clause}"
        " ORDER BY time DESC, nth DESC LIMIT ?) AS found"
        " JOIN files ON files.number = file ORDER BY time DESC, nth DESC",
        [*window, *values, limit],
    ).fetchall()


def count(
    base: sqlite3.Connection, wanted: Mapping[str, str], since: int | None, until: int | None
) -> Counts:
    """Count decisions by what they can be filtered by."""
    shapes, values = shapes_of(base, wanted)
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


def revisions(base: sqlite3.Connection) -> list[tuple[str, str, int, int, int, int]]:
    """Return the policies that decided, the last one first."""
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


def dearest(
    base: sqlite3.Connection, since: int | None, until: int | None
) -> list[tuple[str, int]]:
    """Return the decisions that cost the most, and their nano-dollars."""
    return base.execute(
        "SELECT id, nano FROM executions WHERE nano IS NOT NULL AND time >= ? AND time < ?"
        " ORDER BY nano DESC LIMIT ?",
        [*_between(since, until), MOST_SHOWN],
    ).fetchall()


def dearest_trees(
    base: sqlite3.Connection, since: int | None, until: int | None
) -> list[tuple[str, int, int]]:
    """Return the first decisions of the trees that cost the most, with decisions and cost."""
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
    base: sqlite3.Connection, below: float, since: int | None, until: int | None
) -> list[tuple[str, float, int]]:
    """Return the dearest wishes that were granted while a budget was low."""
    return base.execute(
        # The decisions come first: there are few of these.
        "SELECT low.id, budget, sum(nano) AS cost FROM (SELECT id, budget FROM decisions"
        "  WHERE budget IS NOT NULL AND budget < ? AND time >= ? AND time < ?) AS low"
        " CROSS JOIN executions INDEXED BY executions_by_id ON executions.id = low.id"
        " WHERE nano IS NOT NULL GROUP BY low.id ORDER BY cost DESC LIMIT ?",
        [below, *_between(since, until), MOST_SHOWN],
    ).fetchall()


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


def shapes_of(base: sqlite3.Connection, wanted: Mapping[str, str]) -> tuple[str, list[Any]]:
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


def _between(since: int | None, until: int | None) -> tuple[int, int]:
    return since or 0, _NEVER if until is None else until


def _times(base: sqlite3.Connection, revision: str, first: int, last: int) -> tuple[int, int]:
    """Return the times of the first and the last decision of a policy, from the days of these."""
    shapes, values = shapes_of(base, {"policy": revision})
    found = []
    for fold, day in (("min", first), ("max", last)):
        row = base.execute(
            f"SELECT {fold}(time) FROM decisions WHERE time >= ? AND time < ?"  # noqa: S608 - no values
            f" AND shape IN ({shapes})",
            [day * DAY, (day + 1) * DAY, *values],
        ).fetchone()
        found.append(row[0] or 0)
    return found[0], found[1]
