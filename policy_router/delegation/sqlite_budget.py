"""A budget in a file, which several processes share: SQLite, with every write on the disk.

Reserving is one transaction that begins with the lock for writing, so that two processes decide
one after the other, each with what the other has reserved. A process that is killed leaves
reservations that expire; a file that cannot be written denies.
"""

from __future__ import annotations

import copy
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
            raise ValueError("the lifetime of a reservation must be above 0")
        self._limit, self._account = limit(limit_usd), account
        self._lifetime, self._clock = lifetime, clock
        self._file = _File(Path(path))

    def sibling(self, account: str, limit_usd: float) -> SqliteBudget:
        """Return the budget of another account in the same file, with the same connection.

        Args:
            account: whose money it is.
            limit_usd: what may be spent from the account, in US dollars.

        Raises:
            ValueError: the limit is no number of dollars.
        """
        made = copy.copy(self)
        made._limit, made._account = limit(limit_usd), account  # noqa: SLF001 - its own
        return made

    def funds(self) -> Funds:
        """Return what is left and what was spent, without waiting for anybody who writes.

        Raises:
            BudgetError: the file cannot be read.
        """
        with self._file.used() as rows:
            query = (
                "SELECT coalesce((SELECT spent FROM accounts WHERE name = :account), 0),"
                " coalesce((SELECT sum(amount) FROM reservations"
                " WHERE account = :account AND expires > :now), 0)"
            )
            given = {"account": self._account, "now": self._clock()}
            ((spent, reserved),) = rows.execute(query, given).fetchall()
        return Funds(max(0, self._limit - spent - reserved), spent)

    def remaining(self) -> int:
        """Return what is neither spent nor reserved, in nano-dollars.

        Raises:
            BudgetError: the file cannot be read.
        """
        return self.funds().remaining

    def reserve(self, choose: Choose) -> None:
        """Make reservations; other processes wait meanwhile.

        Raises:
            BudgetError: nothing is reserved.
        """
        with self._file.transaction() as rows:
            now = self._clock()
            rows.execute("DELETE FROM reservations WHERE expires <= ?", (now,))
            funds = self.funds()
            chosen = checked_choice(choose(funds), funds)
            expires = now + self._lifetime
            made = [(id_, self._account, amount, expires) for id_, amount in chosen.items()]
            rows.executemany("INSERT INTO reservations VALUES (?, ?, ?, ?)", made)

    def settle(self, reservation: str, cost: int) -> int:
        """Put what something cost in the place of its reservation.

        Raises:
            BudgetError: it cannot be written.
        """
        with self._file.transaction() as rows:
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
        """Close the file; using the budget, or another of the file, opens it again."""
        self._file.close()


class _File:
    """The file, which is opened when it is used, by each process for itself.

    Its lock is held while a thread uses it: the connection has one transaction at a time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: sqlite3.Connection | None = None
        self._lock = threading.RLock()
        ALIVE.add(self)

    def __del__(self) -> None:
        """Close the file where nobody uses it any more."""
        if self._rows is not None:
            self._rows.close()

    @contextmanager
    def used(self) -> Iterator[sqlite3.Connection]:
        """Use the file in this thread alone.

        Raises:
            BudgetError: it cannot be read or written.
        """
        with self._lock:
            try:
                if self._rows is None:
                    self._rows = _opened(self._path)
                yield self._rows
            except (sqlite3.Error, OSError) as problem:
                raise BudgetError(f"{self._path}: {problem}") from None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the file for this thread of this process alone; what is raised undoes everything.

        Raises:
            BudgetError: it cannot be read or written.
        """
        with self.used() as rows:
            rows.execute("BEGIN IMMEDIATE")
            try:
                yield rows
                rows.execute("COMMIT")
            finally:
                if rows.in_transaction:
                    rows.execute("ROLLBACK")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._rows is not None:
                self._rows.close()
                self._rows = None

    def after_fork(self) -> None:
        """Leave the connection to the parent: SQLite must not carry one across a fork."""
        if self._rows is not None:
            _LEFT_BEHIND.append(self._rows)
        self._rows, self._lock = None, threading.RLock()


def _opened(path: Path) -> sqlite3.Connection:
    """Open a file, and make its tables where it has none.

    Raises:
        sqlite3.Error: it cannot be opened, or is none of ours.
    """
    rows = sqlite3.connect(
        path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        rows.execute("PRAGMA synchronous = FULL")
        if _format_of(rows) != _FORMAT:
            _prepare(rows)
    except BaseException:
        rows.close()
        raise
    return rows


def _prepare(rows: sqlite3.Connection) -> None:
    """Make the tables, unless another process does; what is somebody else's stays as it is."""
    ((tables,),) = rows.execute("SELECT count(*) FROM sqlite_master").fetchall()
    if _format_of(rows) not in {0, _FORMAT} or (tables and _format_of(rows) != _FORMAT):
        raise sqlite3.DatabaseError("the file is a database, but no budget")
    rows.execute("PRAGMA journal_mode = WAL")
    rows.execute("BEGIN IMMEDIATE")
    if _format_of(rows) != _FORMAT:  # pragma: no branch - another process may be faster
        for statement in _SCHEMA.strip().split(";\n"):
            rows.execute(statement)
        rows.execute(f"PRAGMA application_id = {_FORMAT}")
    rows.execute("COMMIT")


def _format_of(rows: sqlite3.Connection) -> int:
    ((found,),) = rows.execute("PRAGMA application_id").fetchall()
    return int(found)
