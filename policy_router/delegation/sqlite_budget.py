"""A budget in a file, which several processes share: SQLite, with every write on the disk.

Reserving is one transaction that begins with the lock for writing, so that two processes decide
one after the other, each with what the other has reserved. A process that is killed leaves
reservations that expire; a file that cannot be written denies.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from policy_router.delegation.budgets import ALIVE, Choose, Funds, checked_choice, limit
from policy_router.errors import BudgetError

LIFETIME: Final = 6 * 60 * 60.0
"""Seconds after which the reservation of a process that never came back is released."""
_BUSY_SECONDS: Final = 30.0
_FORMAT: Final = 0x70726231
"""Marks a file as a budget (``application_id``): "prb1"."""
_SCHEMA: Final = """
CREATE TABLE accounts (
    name TEXT PRIMARY KEY, spent INTEGER NOT NULL, overrun INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE reservations (
    id TEXT PRIMARY KEY, account TEXT NOT NULL, amount INTEGER NOT NULL, expires REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX reservations_of ON reservations (account);
"""
_LEFT_BEHIND: Final[list[object]] = []
"""Connections of a parent process: closing one here would break the parent's locks."""


class SqliteBudget:
    """A budget in a file, which several processes of one machine share.

    The file keeps what was spent and what is reserved. A write is on the disk when it returns.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        limit_usd: float,
        *,
        account: str = "",
        lifetime: float = LIFETIME,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare; the file is made when it is first used.

        Args:
            path: the file. It must be on a local disk.
            limit_usd: what may be spent from the account, in US dollars; it is not kept in the
                file.
            account: whose money it is; a file has many accounts.
            lifetime: seconds after which a reservation that nobody settled is released. Longer
                than any child runs.
            clock: tells seconds since 1970.

        Raises:
            ValueError: an option has a wrong value.
        """
        if lifetime <= 0:
            raise ValueError("the lifetime of a reservation is above 0")
        self._path, self._limit, self._account = Path(path), limit(limit_usd), account
        self._lifetime, self._clock = lifetime, clock
        self._open: _Open | None = None
        self._opening = threading.Lock()
        ALIVE.add(self)

    def remaining(self) -> int:
        """Return what is neither spent nor reserved, in nano-dollars.

        Raises:
            BudgetError: the file cannot be read.
        """
        with self._transaction() as rows:
            return self._funds(rows).remaining

    def reserve(self, choose: Choose) -> None:
        """Make reservations; other processes wait meanwhile.

        Raises:
            BudgetError: nothing is reserved.
        """
        with self._transaction() as rows:
            funds = self._funds(rows)
            chosen = checked_choice(choose(funds), funds)
            expires = self._clock() + self._lifetime
            made = [(id_, self._account, amount, expires) for id_, amount in chosen.items()]
            rows.executemany("INSERT INTO reservations VALUES (?, ?, ?, ?)", made)

    def settle(self, reservation: str, cost: int) -> int:
        """Put what something cost in the place of its reservation.

        Raises:
            BudgetError: it cannot be written.
        """
        with self._transaction() as rows:
            gone = "DELETE FROM reservations WHERE id = ? RETURNING amount"
            found = rows.execute(gone, (reservation,)).fetchall()
            overrun: int = max(0, cost - sum(amount for (amount,) in found))
            rows.execute(
                "INSERT INTO accounts VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET"
                " spent = spent + excluded.spent, overrun = overrun + excluded.overrun",
                (self._account, cost, overrun),
            )
            return overrun

    def close(self) -> None:
        """Close the file; using the budget opens it again."""
        with self._opening:
            if self._open is not None:
                self._open.rows.close()
                self._open = None

    def _funds(self, rows: sqlite3.Connection) -> Funds:
        rows.execute("DELETE FROM reservations WHERE expires <= ?", (self._clock(),))
        spent = self._sum(rows, "SELECT sum(spent) FROM accounts WHERE name = ?")
        reserved = self._sum(rows, "SELECT sum(amount) FROM reservations WHERE account = ?")
        return Funds(max(0, self._limit - spent - reserved), spent)

    def _sum(self, rows: sqlite3.Connection, query: str) -> int:
        ((found,),) = rows.execute(query, (self._account,)).fetchall()
        return int(found or 0)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the file for this thread of this process alone; what is raised undoes everything."""
        try:
            with self._opening:
                opened = self._open = self._open or _Open(self._path)
            with opened.lock:
                opened.rows.execute("BEGIN IMMEDIATE")
                try:
                    yield opened.rows
                    opened.rows.execute("COMMIT")
                finally:
                    if opened.rows.in_transaction:
                        opened.rows.execute("ROLLBACK")
        except (sqlite3.Error, OSError) as problem:
            raise BudgetError(f"{self._path}: {_words_of(problem)}") from None

    def after_fork(self) -> None:
        """Leave the connection to the parent: SQLite must not carry one across a fork."""
        if self._open is not None:
            _LEFT_BEHIND.append(self._open)
        self._open, self._opening = None, threading.Lock()


class _Open:
    """An open file, for one process."""

    def __init__(self, path: Path) -> None:
        """Open the file, and make its tables where it has none.

        Raises:
            sqlite3.Error: it cannot be opened, or is none of ours.
        """
        self.lock = threading.Lock()
        self.rows = sqlite3.connect(
            path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare()
        except BaseException:
            self.rows.close()
            raise

    def _prepare(self) -> None:
        self.rows.execute("PRAGMA synchronous = FULL")
        if self._format() == _FORMAT:
            return
        self.rows.execute("PRAGMA journal_mode = WAL")
        self.rows.execute("BEGIN IMMEDIATE")
        if self._format() != _FORMAT:  # nobody else has made it meanwhile
            ((tables,),) = self.rows.execute("SELECT count(*) FROM sqlite_master").fetchall()
            if tables or self._format():
                raise sqlite3.DatabaseError("the file is a database, but no budget")
            for statement in _SCHEMA.strip().split(";\n"):
                self.rows.execute(statement)
            self.rows.execute(f"PRAGMA application_id = {_FORMAT}")
        self.rows.execute("COMMIT")

    def _format(self) -> int:
        ((found,),) = self.rows.execute("PRAGMA application_id").fetchall()
        return int(found)


def _words_of(problem: Exception) -> str:
    return str(problem) or type(problem).__name__
