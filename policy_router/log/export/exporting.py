"""The export of a log: every line, as a row of a table."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias

from msgspec import Struct

from policy_router.errors import LogError, reason_of
from policy_router.log.entry import moment_of
from policy_router.log.export.tables import TABLES, Row, Table, rows_of
from policy_router.log.export.views import script
from policy_router.log.files import open_file
from policy_router.log.folder import LogFolder, Progress, readable
from policy_router.log.read.reading import whole_lines

Format: TypeAlias = Literal["parquet", "csv", "duckdb"]
FORMATS: Final = ("parquet", "csv", "duckdb")
_ROWS: Final = 8_000
"""How many rows of a table are written at once."""
_LINES: Final = 500
"""How many lines are read at once."""
_TABLES: Final = {it.name: it for it in TABLES}
_BLOCK: Final = 1 << 20


class Exported(Struct, frozen=True):
    """What was exported.

    Attributes:
        lines: how many lines of the log.
        rows: how many rows each table has.
    """

    lines: int
    rows: dict[str, int]


class Files(Protocol):
    """Where rows are written."""

    def put(self, table: Table, rows: Sequence[Row]) -> None:
        """Write rows of a table."""

    def close(self) -> None:
        """End what is written."""


def export_log(
    folder: str | Path,
    destination: str | Path,
    to: Format = "parquet",
    *,
    progress: Progress | None = None,
) -> Exported:
    """Export every line of a log as a row of a table.

    Args:
        folder: the log.
        destination: the new folder of the files; of DuckDB, the new file.
        to: the format.
        progress: is called with how many bytes of how many are done.

    Raises:
        LogError: there is no log, the destination is there already, or something cannot be read or
            written.
        ModuleNotFoundError: the format needs the extra ``export``.
    """
    log, path = LogFolder.existing(folder), Path(destination)
    if path.exists() or path.is_symlink():
        raise LogError(str(path), "it is there already: a new name is wanted")
    if not path.parent.is_dir():
        raise LogError(str(path), "there is no folder for it")
    part = path.with_name(f"{path.name}.part")
    try:
        _remove(part)
        files = _Guarded(_opened(part, to), path)
        try:
            with readable(log):
                exported = _pass(log, files, progress)
        finally:
            files.close()
        part.replace(path)
    except OSError as problem:
        raise _unwritten(path, problem) from None
    finally:
        with suppress(OSError):  # what went wrong is raised already
            _remove(part)
    return exported


class _Guarded:
    """Writes rows; that it cannot is no fault of the log, which is read meanwhile."""

    def __init__(self, files: Files, path: Path) -> None:
        self._files, self._path = files, path
        self.close = files.close

    def put(self, table: Table, rows: Sequence[Row]) -> None:
        try:
            self._files.put(table, rows)
        except OSError as problem:
            raise _unwritten(self._path, problem) from None


def _unwritten(path: Path, problem: OSError) -> LogError:
    return LogError(str(path), f"it cannot be written: {reason_of(problem)}")


def _opened(part: Path, to: Format) -> Files:
    if to != "duckdb":
        part.mkdir(parents=True)
    if to == "csv":
        return CsvFiles(part)
    from policy_router.log.export.arrow import DuckDatabase, ParquetFiles

    if to == "duckdb":
        return DuckDatabase(part)
    sources = {it.name: f"read_parquet('{it.name}.parquet')" for it in TABLES}
    (part / "views.sql").write_text(script(sources), encoding="utf-8")
    return ParquetFiles(part)


def _remove(part: Path) -> None:
    if part.is_dir():
        shutil.rmtree(part)
    else:
        part.unlink(missing_ok=True)
        part.with_name(f"{part.name}.wal").unlink(missing_ok=True)  # DuckDB keeps it if it fails


def _pass(log: LogFolder, files: Files, progress: Progress | None) -> Exported:
    """Go through all lines, writer by writer."""
    waiting: dict[str, list[Row]] = {it.name: [] for it in TABLES}
    lines, rows = 0, Counter({it.name: 0 for it in TABLES})
    segments = list(log.all_segments())
    sizes = [Path(it.path).stat().st_size for it in segments]
    for place, segment in enumerate(segments):
        with io.BufferedReader(open_file(segment.path), _BLOCK) as stream:
            every = whole_lines(stream)
            while contents := list(islice(every, _LINES)):
                lines += len(contents)
                for name, more in rows_of(segment.writer, contents).items():
                    rows[name] += len(more)
                    _add(files, _TABLES[name], waiting[name], more)
        if progress is not None:
            progress(sum(sizes[: place + 1]), sum(sizes))
    for table in TABLES:
        if waiting[table.name]:
            files.put(table, waiting[table.name])
    return Exported(lines, dict(rows))


def _add(files: Files, table: Table, waiting: list[Row], more: Sequence[Row]) -> None:
    """Add rows to those that wait, and write them as soon as they are many."""
    waiting += more
    while len(waiting) >= _ROWS:
        files.put(table, waiting[:_ROWS])
        del waiting[:_ROWS]


class CsvFiles:
    """Writes each table to a file of a folder: with a head, NULL empty, and lists as JSON."""

    def __init__(self, folder: Path) -> None:
        """Open the files."""
        self._files = {
            it.name: (folder / f"{it.name}.csv").open("w", encoding="utf-8", newline="")
            for it in TABLES
        }
        for table in TABLES:
            csv.writer(self._files[table.name]).writerow([name for name, _ in table.columns])
        (folder / "views.sql").write_text(script(_csv_sources()), encoding="utf-8")

    def put(self, table: Table, rows: Sequence[Row]) -> None:
        """Write rows."""
        spelt = [_SPELT.get(type_) for _, type_ in table.columns]
        *columns, last = (
            column if spell is None else ["" if it is None else spell(it) for it in column]
            for spell, column in zip(spelt, zip(*rows, strict=True), strict=True)
        )
        if table.columns[-1][1] == "bytes":
            texts = _Texts()
            csv.writer(texts, lineterminator=",").writerows(zip(*columns, strict=True))
            ends = [f"{_quoted(it)}\r\n" for it in last]
            self._files[table.name].writelines(chain.from_iterable(zip(texts, ends, strict=True)))
        else:
            csv.writer(self._files[table.name]).writerows(zip(*columns, last, strict=True))

    def close(self) -> None:
        """End the files."""
        for file in self._files.values():
            file.close()


def _csv_sources() -> dict[str, str]:
    """Return what reads the tables of CSV files in DuckDB, with their types."""
    types = {
        "text": "VARCHAR",
        "texts": "VARCHAR[]",
        "int": "BIGINT",
        "float": "DOUBLE",
        "bool": "BOOLEAN",
        "time": "TIMESTAMPTZ",
        "bytes": "VARCHAR",
    }
    found = {}
    for table in TABLES:
        columns = ", ".join(f"'{name}': '{types[type_]}'" for name, type_ in table.columns)
        options = "header = true, quote = '\"', escape = '\"', auto_detect = false"
        found[table.name] = f"read_csv('{table.name}.csv', columns = {{{columns}}}, {options})"
    return found


class _Texts(list[str]):
    """Keeps what is written."""

    write = list.append


def _quoted(text: str) -> str:
    """Spell the last field of a row: as :mod:`csv` does, which takes long for a line of a log."""
    if '"' in text:
        return '"' + text.replace('"', '""') + '"'
    return f'"{text}"' if "," in text or "\r" in text or "\n" in text else text


@lru_cache(maxsize=10_000)
def _spelt_texts(texts: tuple[str, ...]) -> str:
    return json.dumps(texts, ensure_ascii=False)


_SPELT: Final[dict[str, Callable[[Any], str]]] = {
    "texts": _spelt_texts,
    "time": lambda it: f"{moment_of(it).isoformat(timespec='microseconds')[:-6]}Z",
    "bytes": lambda it: it.decode(errors="replace"),
    "bool": lambda it: "true" if it else "false",
}
