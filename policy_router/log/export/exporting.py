"""The export of a log: every line, as a row of a table."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, Protocol, TypeAlias

from msgspec import Struct

from policy_router.errors import LogError, reason_of
from policy_router.log.entry import moment_of
from policy_router.log.export.rows import rows_of
from policy_router.log.export.tables import CONTENT, TABLES, Cells, Table, Type
from policy_router.log.export.views import SQL_TYPES, script
from policy_router.log.folder import LogFolder, Progress, readable
from policy_router.log.replay.chunks import chunks

Format: TypeAlias = Literal["parquet", "csv", "duckdb"]
FORMATS: Final = ("parquet", "csv", "duckdb")
_DATABASE: Final = "base.duckdb"
_SECOND: Final = 1_000_000
_HOUR: Final = 3600 * _SECOND
_TWO: Final = tuple(f"{it:02}" for it in range(60))
_SPECIAL: Final = '",\r\n'
"""What a cell of a CSV file has only in quotes."""


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

    def put(self, table: Table, columns: Sequence[Cells]) -> None:
        """Write rows of a table, given their columns."""

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
        (part / _DATABASE if to == "duckdb" else part).replace(path)
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

    def put(self, table: Table, columns: Sequence[Cells]) -> None:
        try:
            self._files.put(table, columns)
        except OSError as problem:
            raise _unwritten(self._path, problem) from None


def _unwritten(path: Path, problem: OSError) -> LogError:
    return LogError(str(path), f"it cannot be written: {reason_of(problem)}")


def _opened(part: Path, to: Format) -> Files:
    part.mkdir(parents=True)
    if to == "csv":
        return CsvFiles(part)
    from policy_router.log.export.arrow import DuckDatabase, ParquetFiles

    if to == "duckdb":
        return DuckDatabase(part, part / _DATABASE)
    sources = {it.name: f"read_parquet('{it.name}.parquet')" for it in TABLES}
    (part / "views.sql").write_text(script(sources), encoding="utf-8")
    return ParquetFiles(part)


def _remove(part: Path) -> None:
    if part.is_dir():
        shutil.rmtree(part)
    else:
        part.unlink(missing_ok=True)


def _pass(log: LogFolder, files: Files, progress: Progress | None) -> Exported:
    """Go through all lines, writer by writer."""
    pieces = chunks(log)
    done, total = 0, sum(it.stop - it.start for it in pieces)
    lines, counts = 0, {it.name: 0 for it in TABLES}
    for piece in pieces:
        writer = Path(piece.path).parent.name
        for block in piece.blocks():
            for it in rows_of(writer, block):
                lines += len(it.contents)
                counts[it.table.name] += len(it.rows)
                files.put(it.table, it.columns())
        done += piece.stop - piece.start
        if progress is not None:
            progress(done, total)
    return Exported(lines, counts)


class CsvFiles:
    """Writes each table to a file of a folder: with a head, NULL empty, and lists as JSON."""

    def __init__(self, folder: Path) -> None:
        """Open the files."""
        self._files = {it.name: (folder / f"{it.name}.csv").open("wb") for it in TABLES}
        for table in TABLES:
            head = ",".join(it.name for it in table.columns)
            self._files[table.name].write(f"{head}\r\n".encode())
        (folder / "views.sql").write_text(script(_csv_sources()), encoding="utf-8")

    def put(self, table: Table, columns: Sequence[Cells]) -> None:
        """Write rows."""
        each = zip(table.columns, columns, strict=True)
        spelt = [_SPELT[it.type](cells) for it, cells in each if it is not CONTENT]
        heads = [it.encode() for it in map(",".join, zip(*spelt, strict=True))]
        lines = columns[-1] if table.columns[-1] is CONTENT else None
        rows = [b"%b\r\n" % it for it in heads] if lines is None else _rows(heads, lines)
        self._files[table.name].write(b"".join(rows))

    def close(self) -> None:
        """End the files."""
        for file in self._files.values():
            file.close()


def _csv_sources() -> dict[str, str]:
    """Return what reads the tables of CSV files in DuckDB, with their types."""
    types = {**SQL_TYPES, "bytes": "VARCHAR"}
    found = {}
    for table in TABLES:
        columns = ", ".join(f"'{it.name}': '{types[it.type]}'" for it in table.columns)
        options = "header = true, quote = '\"', escape = '\"', auto_detect = false"
        found[table.name] = f"read_csv('{table.name}.csv', columns = {{{columns}}}, {options})"
    return found


def _rows(heads: Sequence[bytes], lines: Sequence[bytes]) -> list[bytes]:
    """Spell rows that end in the line: all lines have quotes but some that nobody can read."""
    if not b"".join(lines).isascii():
        lines = [it.decode(errors="replace").encode() for it in lines]
    return [
        b'%b,"%b"\r\n' % (head, line.replace(b'"', b'""'))
        if b'"' in line
        else b"%b,%b\r\n" % (head, _quoted(line.decode()).encode())
        for head, line in zip(heads, lines, strict=True)
    ]


def _texts(cells: Cells) -> Sequence[str]:
    """Spell texts; few columns have one that needs quotes."""
    if not any(cells):
        return [""] * len(cells)
    texts = [it or "" for it in cells]
    whole = "".join(texts)
    is_plain = not any(it in whole for it in _SPECIAL)
    return texts if is_plain else [*map(_quoted, texts)]


def _quoted(text: str) -> str:
    """Spell a cell as :mod:`csv` does."""
    is_plain = not any(it in text for it in _SPECIAL)
    return text if is_plain else '"' + text.replace('"', '""') + '"'


def _numbers(cells: Cells) -> list[str]:
    return ["" if it is None else f"{it}" for it in cells]


@lru_cache(maxsize=10_000)
def _list(texts: tuple[str, ...]) -> str:
    return _quoted(json.dumps(texts, ensure_ascii=False))


def _times(cells: Cells) -> list[str]:
    """Spell times; no function is called for each, which would take as long as the rest."""
    return [
        ""
        if it is None
        else f"{_hour((seconds := it // _SECOND) // 3600)}{_TWO[seconds // 60 % 60]}"
        f":{_TWO[seconds % 60]}.{it % _SECOND:06}Z"
        for it in cells
    ]


@lru_cache(maxsize=1_000)
def _hour(number: int) -> str:
    """Spell the beginning of a time, which those that follow it have in common."""
    return f"{moment_of(number * _HOUR):%Y-%m-%dT%H:}"


_SPELT: Final[dict[Type, Callable[[Cells], Sequence[str]]]] = {
    "text": _texts,
    "texts": lambda cells: [*map(_list, cells)],
    "int": _numbers,
    "float": _numbers,
    "bool": lambda cells: ["true" if it else "false" for it in cells],
    "time": _times,
}
