"""Parquet and DuckDB: the one place that imports their libraries."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from policy_router.errors import needs_extra
from policy_router.log.export.tables import TABLES, Row, Table
from policy_router.log.export.views import statements

EXTRA: Final = "export"


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

    def put(self, table: Table, rows: Sequence[Row]) -> None:
        """Write rows, as one group."""
        self._files[table.name].write_table(_batch(self._arrow, self._schemas[table.name], rows))

    def close(self) -> None:
        """End the files."""
        for file in self._files.values():
            file.close()


class DuckDatabase:
    """Writes the tables and the views to a database of DuckDB."""

    def __init__(self, path: Path) -> None:
        """Make the database.

        Raises:
            ModuleNotFoundError: the extra is not installed.
        """
        with needs_extra(EXTRA, "duckdb", "DuckDB"):
            import duckdb
        with needs_extra(EXTRA, "pyarrow", "DuckDB"):
            import pyarrow
        self._arrow, self._schemas, self._problem = pyarrow, _schemas(pyarrow), duckdb.Error
        with self._written():
            self._base = duckdb.connect(str(path))
            for table in TABLES:
                self._base.register("batch", _batch(pyarrow, self._schemas[table.name], ()))
                self._base.execute(f"CREATE TABLE {table.name} AS SELECT * FROM batch")

    @contextmanager
    def _written(self) -> Iterator[None]:
        """Let what DuckDB cannot write be an error of the system, as it is of a file."""
        try:
            yield
        except self._problem as problem:
            raise OSError(errno.EIO, str(problem).partition("\n")[0]) from None

    def put(self, table: Table, rows: Sequence[Row]) -> None:
        """Insert rows."""
        self._base.register("batch", _batch(self._arrow, self._schemas[table.name], rows))
        with self._written():
            self._base.execute(f"INSERT INTO {table.name} SELECT * FROM batch")

    def close(self) -> None:
        """Make the views, and end the database."""
        self._base.unregister("batch")
        with self._written(), closing(self._base):
            for text in statements():
                self._base.execute(text)


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
        table.name: arrow.schema([(name, types[type_]) for name, type_ in table.columns])
        for table in TABLES
    }


def _batch(arrow: Any, schema: Any, rows: Sequence[Row]) -> Any:
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [
        arrow.array(column, type_) for column, type_ in zip(columns, schema.types, strict=True)
    ]
    return arrow.Table.from_arrays(arrays, schema=schema)
