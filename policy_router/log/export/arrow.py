"""Parquet and DuckDB: the one place that imports their libraries."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from policy_router.errors import needs_extra
from policy_router.log.export.tables import CONTENT, TABLES, Cells, Table
from policy_router.log.export.views import SQL_TYPES, statements

EXTRA: Final = "export"
GROUP_ROWS: Final = 4_000
"""How many rows a group has, about."""
_DIFFERENT: Final = frozenset({"id", "parent", "root", "session", "trace"})
"""The columns of text that have another one in each row, or nearly."""
_WITH_ZSTD: Final = 2
"""The first version of DuckDB that stores lines in zstd where it is asked for."""
FRUGAL: Final[dict[str, Any]] = {"memory_limit": "64MB", "threads": 1}
"""How DuckDB is to make a database, if that does."""


class ParquetFiles:
    """Writes each table to a file of a folder."""

    def __init__(self, folder: Path) -> None:
        """Open the files.

        Raises:
            ModuleNotFoundError: the extra is not installed.
        """
        with needs_extra(EXTRA, "pyarrow", "Parquet"):
            import pyarrow
            from pyarrow import parquet
        self._arrow, self._schemas = pyarrow, _schemas(pyarrow)
        self._files: dict[str, Any] = {
            it.name: parquet.ParquetWriter(
                folder / f"{it.name}.parquet", self._schemas[it.name], **_options(it)
            )
            for it in TABLES
        }
        self._waiting: dict[str, list[Any]] = {name: [] for name in self._schemas}

    def put(self, table: Table, columns: Sequence[Cells]) -> None:
        """Write rows, as soon as they are many."""
        schema, waiting = self._schemas[table.name], self._waiting[table.name]
        each = zip(columns, schema.types, strict=True)
        arrays = [self._arrow.array(cells, type_) for cells, type_ in each]
        waiting.append(self._arrow.record_batch(arrays, schema=schema))
        if sum(it.num_rows for it in waiting) >= GROUP_ROWS:
            self._write(table.name)

    def _write(self, name: str) -> None:
        """Write the rows of a table that wait, as one group."""
        if batches := self._waiting[name]:
            self._waiting[name] = []
            self._files[name].write_table(self._arrow.Table.from_batches(batches).combine_chunks())

    def close(self) -> None:
        """End the files."""
        for name, file in self._files.items():
            with file:
                self._write(name)


class DuckDatabase:
    """Writes the tables and the views to a database of DuckDB, by way of Parquet.

    DuckDB reads that in little memory; row by row it would compress each column many times.
    """

    def __init__(self, folder: Path, path: Path) -> None:
        """Begin.

        Args:
            folder: where files may be that are needed meanwhile.
            path: the database.

        Raises:
            ModuleNotFoundError: the extra is not installed.
        """
        with needs_extra(EXTRA, "duckdb", "DuckDB"):
            import duckdb
        self._duckdb, self._path, self._folder = duckdb, path, folder
        self._files = ParquetFiles(folder)

    def put(self, table: Table, columns: Sequence[Cells]) -> None:
        """Write rows."""
        self._files.put(table, columns)

    def close(self) -> None:
        """Make the tables and the views, and end the database."""
        self._files.close()
        try:
            try:
                self._make(FRUGAL)
            except self._duckdb.OutOfMemoryException:  # many lines are very long
                self._path.unlink()
                self._make({})
        except self._duckdb.Error as problem:
            raise OSError(errno.EIO, str(problem).partition("\n")[0]) from None

    def _make(self, config: dict[str, Any]) -> None:
        with self._duckdb.connect(str(self._path), config=config) as base:
            base.execute("SET enable_progress_bar = false")  # it prints where nobody asked for it
            base.execute("SET temp_directory = ?", [str(self._folder)])
            for table in TABLES:
                base.execute(f"CREATE TABLE {table.name} ({self._columns(table)})")
                rows = base.read_parquet(str(self._folder / f"{table.name}.parquet"))
                rows.insert_into(table.name)
            for text in statements():
                base.execute(text)

    def _columns(self, table: Table) -> str:
        """Return the columns of a table in SQL.

        zstd makes lines smallest, and soonest. Earlier versions would store them as they are where
        it is asked for, and so choose for themselves.
        """
        has_zstd = int(self._duckdb.__version__.partition(".")[0]) >= _WITH_ZSTD
        each = [f"{it.name} {SQL_TYPES[it.type]}" for it in table.columns]
        if has_zstd and table.columns[-1] is CONTENT:
            each[-1] += " USING COMPRESSION zstd"
        return ", ".join(each)


def _options(table: Table) -> dict[str, Any]:
    """Return how a table is written: no work is done that would not make it smaller or quicker."""
    repeated = [it.name for it in table.columns if it.type == "text" and it.name not in _DIFFERENT]
    compared = [it.name for it in table.columns if it is not CONTENT]
    return {"compression": "zstd", "use_dictionary": repeated, "write_statistics": compared}


def _schemas(arrow: Any) -> dict[str, Any]:
    types = {
        "text": arrow.string(),
        "texts": arrow.list_(arrow.string()),
        "int": arrow.int64(),
        "float": arrow.float64(),
        "bool": arrow.bool_(),
        "time": arrow.timestamp("us", tz="UTC"),
        "bytes": arrow.binary(),
    }
    return {
        table.name: arrow.schema([(it.name, types[it.type]) for it in table.columns])
        for table in TABLES
    }
