"""Parquet and DuckDB: the one place that imports their libraries."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from policy_router.errors import needs_extra
from policy_router.log.export.tables import TABLES, Cells, Table
from policy_router.log.export.views import statements

EXTRA: Final = "export"
GROUP_ROWS: Final = 8_000
"""How many rows a group has, about."""
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
            name: parquet.ParquetWriter(folder / f"{name}.parquet", schema, compression="zstd")
            for name, schema in self._schemas.items()
        }

        self._waiting: dict[str, list[Cells]] = {}

    def put(self, table: Table, columns: Sequence[Cells]) -> None:
        """Write rows, as soon as they are many: to make an array takes long."""
        waiting = self._waiting.setdefault(table.name, [[] for _ in columns])
        for cells, more in zip(waiting, columns, strict=True):
            cells.extend(more)
        if len(waiting[0]) >= GROUP_ROWS:
            self._write(table.name)

    def _write(self, name: str) -> None:
        """Write the rows of a table that wait, as one group."""
        schema, waiting = self._schemas[name], self._waiting.pop(name, [])
        if waiting:
            each = zip(waiting, schema.types, strict=True)
            arrays = [self._arrow.array(cells, type_) for cells, type_ in each]
            self._files[name].write_table(self._arrow.Table.from_arrays(arrays, schema=schema))

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
            base.execute("SET temp_directory = ?", [str(self._folder)])
            for table in TABLES:
                rows = base.read_parquet(str(self._folder / f"{table.name}.parquet"))
                rows.create(table.name)
            for text in statements():
                base.execute(text)


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
