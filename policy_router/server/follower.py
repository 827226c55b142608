"""The process that follows a log, and keeps the index of it up to date."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from policy_router.domain import WISHES
from policy_router.errors import reason_of
from policy_router.log.entry import UNREADABLE, Kind
from policy_router.log.folder import LogFolder, Segment
from policy_router.log.report.cost_status import nano_of
from policy_router.server.index import acknowledged
from policy_router.server.index_lines import LINES, ListedLine, ListedRecord
from policy_router.server.index_questions import BITS, DAY
from policy_router.version import VERSION

SCHEMA: Final = f"policy-router/index/v4 {VERSION}"
_POLL_SECONDS: Final = 0.2
_TURN_SECONDS: Final = 2.0
_BLOCK: Final = 4 * 1024 * 1024
_MOST_ROOTS: Final = 100_000
_TABLES: Final = """
CREATE TABLE about (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE words (number INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE files (
    number INTEGER PRIMARY KEY, writer TEXT, segment INTEGER, inode INTEGER, done INTEGER,
    UNIQUE (writer, segment));
CREATE TABLE shapes (
    number INTEGER PRIMARY KEY,
    outcome INTEGER, level INTEGER, rule INTEGER, entry INTEGER, model INTEGER, provider INTEGER,
    caller INTEGER, team INTEGER, codes INTEGER, name INTEGER, revision INTEGER);
CREATE TABLE decisions (
    time INTEGER, nth INTEGER, id TEXT, file INTEGER, place INTEGER, size INTEGER,
    shape INTEGER, parent TEXT, root TEXT, budget REAL, PRIMARY KEY (time, nth)) WITHOUT ROWID;
CREATE TABLE days (
    day INTEGER, shape INTEGER, count INTEGER, PRIMARY KEY (day, shape)) WITHOUT ROWID;
CREATE INDEX by_id ON decisions (id);
CREATE INDEX by_parent ON decisions (parent) WHERE parent IS NOT NULL;
CREATE INDEX by_root ON decisions (root) WHERE root IS NOT NULL;
CREATE INDEX granted ON decisions (budget) WHERE budget IS NOT NULL;
CREATE TABLE executions (
    id TEXT, time INTEGER, file INTEGER, place INTEGER, size INTEGER, answer TEXT, nano INTEGER);
CREATE INDEX executions_by_cost ON executions (nano) WHERE nano IS NOT NULL;
CREATE INDEX executions_by_id ON executions (id);
CREATE INDEX executions_by_answer ON executions (answer) WHERE answer IS NOT NULL;
"""


class Follower:
    """Keeps an index up to date with its log."""

    def __init__(self, folder: str, path: str) -> None:
        """Open an index, and make it again if it is of another log or version.

        Args:
            folder: the log.
            path: the file of the index.
        """
        self._folder, self._path = LogFolder(folder), Path(path)
        self._base = self._opened()
        self._words: dict[str, int] = dict(
            self._base.execute("SELECT text, number FROM words").fetchall()
        )
        self._shapes: dict[tuple[int, ...], int] = {
            tuple(shape): number
            for number, *shape in self._base.execute("SELECT * FROM shapes").fetchall()
        }
        self._roots: dict[str, str] = {}
        (self._nth,) = self._base.execute("SELECT coalesce(max(nth), 0) FROM decisions").fetchone()

    def _opened(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            base = sqlite3.connect(self._path, isolation_level=None)
            base.execute("PRAGMA journal_mode = WAL")
            base.execute("PRAGMA synchronous = NORMAL")
            rows = base.execute("SELECT value FROM about WHERE name = 'schema'").fetchall()
            if rows == [(f"{SCHEMA} {self._folder.path}",)]:
                return base
            base.close()
        except sqlite3.Error:
            base.close()
        return self._made()

    def _made(self) -> sqlite3.Connection:
        for ending in ("", "-wal", "-shm"):
            Path(f"{self._path}{ending}").unlink(missing_ok=True)
        self._path.touch(mode=0o600)
        base = sqlite3.connect(self._path, isolation_level=None)
        base.execute("PRAGMA journal_mode = WAL")
        base.execute("PRAGMA synchronous = NORMAL")
        base.executescript(_TABLES)
        schema = f"{SCHEMA} {self._folder.path}"
        base.execute("INSERT INTO about VALUES ('schema', ?)", [schema])
        return base

    def close(self) -> None:
        """Close the index."""
        self._base.close()

    def catch_up(self) -> int:
        """Take in what the log has more; return how many lines that is."""
        there = {(it.writer, it.number): it for it in self._folder.all_segments()}
        known = {
            (writer, segment): (number, inode, done)
            for number, writer, segment, inode, done in self._base.execute("SELECT * FROM files")
        }
        for place in known.keys() - there.keys():
            self._forget(known[place][0])
        return sum(self._take(it, known.get(place)) for place, it in sorted(there.items()))

    def _forget(self, file: int) -> None:
        """Forget a segment that was pruned, or is another one now."""
        with self._transaction():
            counted = self._base.execute(
                f"SELECT time / {DAY}, shape, -count(*) FROM decisions"  # noqa: S608 - no values
                " WHERE file = ? GROUP BY 1, 2",
                [file],
            ).fetchall()
            self._count(counted)
            self._base.execute("DELETE FROM days WHERE count = 0")
            for table in ("decisions", "executions"):
                self._base.execute(f"DELETE FROM {table} WHERE file = ?", [file])  # noqa: S608
            self._base.execute("DELETE FROM files WHERE number = ?", [file])

    def _take(self, segment: Segment, known: tuple[int, int, int] | None) -> int:
        with suppress(FileNotFoundError):
            # Most segments are as they were, which is seen without opening them.
            if known is None or known[1:] != _extent(Path(segment.path).stat()):
                return self._read(segment, known)
        return 0

    def _read(self, segment: Segment, known: tuple[int, int, int] | None) -> int:
        with Path(segment.path).open("rb") as stream:
            found = os.fstat(stream.fileno())
            stop = min(found.st_size, acknowledged(self._folder, segment))
            if known is not None and (known[1] != found.st_ino or known[2] > found.st_size):
                self._forget(known[0])
                known = None
            number, done = (known[0], known[2]) if known else (self._file(segment, found), 0)
            taken = 0
            while done < stop:
                stream.seek(done)
                block = stream.read(min(_BLOCK, stop - done))
                whole = block[: block.rfind(b"\n") + 1]
                if not whole:
                    break  # a line that is longer than a block is none of ours
                taken += self._add(number, done, whole)
                done += len(whole)
            return taken

    def _file(self, segment: Segment, found: os.stat_result) -> int:
        made = self._base.execute(
            "INSERT INTO files (writer, segment, inode, done) VALUES (?, ?, ?, 0)",
            [segment.writer, segment.number, found.st_ino],
        )
        return int(made.lastrowid or 0)

    def _add(self, file: int, start: int, lines: bytes) -> int:
        decisions: list[tuple[Any, ...]] = []
        executions, place = [], start
        with self._transaction():
            for line in lines.split(b"\n")[:-1]:
                with suppress(*UNREADABLE):
                    read = LINES.decode(line)
                    if read.kind == Kind.EXECUTION:
                        where = (file, place, len(line))
                        end = read.execution
                        cost = nano_of(end.cost_usd)
                        executions.append((read.id, read.time, *where, end.answer_id, cost))
                    elif isinstance(read.record, ListedRecord):
                        decisions.append(self._row(read, read.record, (file, place, len(line))))
                place += len(line) + 1
            marks = ", ".join("?" * 10)
            self._base.executemany(f"INSERT INTO decisions VALUES ({marks})", decisions)  # noqa: S608
            days = Counter((row[0] // DAY, row[6]) for row in decisions)
            self._count((*place, count) for place, count in days.items())
            self._base.executemany(
                "INSERT INTO executions VALUES (?, ?, ?, ?, ?, ?, ?)", executions
            )
            self._base.execute("UPDATE files SET done = ? WHERE number = ?", [place, file])
        return len(decisions) + len(executions)

    def _count(self, rows: Iterable[tuple[int, int, int]]) -> None:
        """Count decisions for their days and shapes."""
        self._base.executemany(
            "INSERT INTO days VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET count = count + excluded.count",
            rows,
        )

    def _row(
        self, line: ListedLine, record: ListedRecord, where: tuple[int, int, int]
    ) -> tuple[Any, ...]:
        self._nth += 1
        root, shape = self._root(line), self._shape(record)
        is_granted = record.decision.level in WISHES and record.decision.outcome == "selected"
        budget = record.request.budget.remaining_usd if is_granted else None
        return (line.time, self._nth, line.id, *where, shape, line.parent, root, budget)

    def _root(self, line: ListedLine) -> str | None:
        """Return the decision that led to one, the first of all; None where it is that itself."""
        if line.parent is None or (line.root is not None and line.root != line.id):
            return line.root if line.root != line.id else None
        known = self._roots.get(line.parent)
        if known is None:
            row = self._base.execute("SELECT root FROM decisions WHERE id = ?", [line.parent])
            known = (row.fetchone() or (None,))[0] or line.parent
        if len(self._roots) > _MOST_ROOTS:
            self._roots.clear()
        self._roots[line.id] = known
        return known

    def _shape(self, record: ListedRecord) -> int:
        """Return the number of what a decision is found by, which many decisions share."""
        decision, caller, word = record.decision, record.request.caller, self._word
        codes = 0
        for it in (*decision.warnings, decision.refusal):
            codes |= BITS.get(it.code, 0)
        shape = (
            *(word(decision.outcome), word(decision.level)),
            *(word(decision.rule or decision.refusal.rule or ""), word(decision.target.entry)),
            *(word(decision.target.model), word(decision.target.provider)),
            *(word(caller.id), word(caller.team), codes),
            *(word(record.policy.name), word(record.policy.revision)),
        )
        number = self._shapes.get(shape)
        if number is None:
            marks = ", ".join("?" * len(shape))
            made = self._base.execute(f"INSERT INTO shapes VALUES (NULL, {marks})", shape)  # noqa: S608
            number = self._shapes[shape] = int(made.lastrowid or 0)
        return number

    def _word(self, text: str) -> int:
        """Return the number of a text."""
        number = self._words.get(text)
        if number is None:
            made = self._base.execute("INSERT INTO words (text) VALUES (?)", [text])
            number = self._words[text] = int(made.lastrowid or 0)
        return number

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._base.execute("BEGIN")
        try:
            yield
        except BaseException:
            self._base.execute("ROLLBACK")
            raise
        self._base.execute("COMMIT")


def _extent(found: os.stat_result) -> tuple[int, int]:
    """Return which file it is and how many bytes it has, as the index notes them."""
    return found.st_ino, found.st_size


def follow(folder: str, path: str, ends: threading.Event) -> None:
    """Keep an index up to date until told to end; of several that do, one has its turn."""
    lock = Path(f"{path}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as held:
        while not _locked(held.fileno()):
            if ends.wait(_TURN_SECONDS):
                return
        with closing(Follower(folder, path)) as follower:
            while not ends.is_set():
                if not follower.catch_up():
                    ends.wait(_POLL_SECONDS)


def _locked(number: int) -> bool:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def main() -> None:
    """Follow a log until standard input ends, as it does with the process that started this."""
    folder, path = sys.argv[1:]
    ends = threading.Event()

    def wait() -> None:
        sys.stdin.buffer.read()
        ends.set()

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started this ends it
    threading.Thread(target=wait, daemon=True).start()
    said = ""
    while not ends.is_set():
        began = time.monotonic()
        try:
            follow(folder, path, ends)
        except (OSError, sqlite3.Error) as problem:
            reason = reason_of(problem) if isinstance(problem, OSError) else str(problem)
            if reason != said or time.monotonic() - began > _TURN_SECONDS:  # not every time
                sys.stderr.write(f"policy-router: the index {path}: {reason}\n")
            said = reason
            ends.wait(_TURN_SECONDS)


if __name__ == "__main__":
    main()
