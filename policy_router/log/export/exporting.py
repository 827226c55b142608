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
from policy_router.log.export.tables import TABLES, Cells, Table, rows_of
from policy_router.log.export.views import script
from policy_router.log.folder import LogFolder, Progress, readable
from policy_router.log.replay.chunks import chunks

Format: TypeAlias = Literal["parquet", "csv", "duckdb"]
FORMATS: Final = ("parquet", "csv", "duckdb")
_DATABASE: Final = "base.duckdb"
_SECOND: Final = 1_000_000
_HOUR: Final = 3600 * _SECOND
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
        raise LogError(str(path), "it is there already: expected a new name")
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
            lines += block.count(b"\n")
            for table, rows in rows_of(writer, block):
                counts[table.name] += len(rows.lines)
                files.put(table, rows.columns(table))
        done += piece.stop - piece.start
        if progress is not None:
            progress(done, total)
    return Exported(lines, counts)


class CsvFiles:
    """Writes each table to a file of a folder: with a head, NULL empty, and lists as JSON."""

    def __init__(self, folder: Path) -> None:
        """Open the files."""
        self._files = {
            it.name: (folder / f"{it.name}.csv").open("w", encoding="utf-8", newline="")
            for it in TABLES
        }
        for table in TABLES:
            self._files[table.name].write(",".join(it.name for it in table.columns) + "\r\n")
        (folder / "views.sql").write_text(script(_csv_sources()), encoding="utf-8")

    def put(self, table: Table, columns: Sequence[Cells]) -> None:
        """Write rows."""
        spelt = [_SPELT[it.type](cells) for it, cells in zip(table.columns, columns, strict=True)]
        rows = map(",".join, zip(*spelt, strict=True))
        self._files[table.name].write("\r\n".join([*rows, ""]))

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
        columns = ", ".join(f"'{it.name}': '{types[it.type]}'" for it in table.columns)
        options = "header = true, quote = '\"', escape = '\"', auto_detect = false"
        found[table.name] = f"read_csv('{table.name}.csv', columns = {{{columns}}}, {options})"
    return found


def _texts(cells: Cells) -> list[str]:
    """Spell texts, most of which need no quotes."""
    texts = ["" if it is None else it for it in cells]
    whole = "".join(texts)
    is_plain = not any(it in whole for it in _SPECIAL)
    return texts if is_plain else [_quoted(it) for it in texts]


def _quoted(text: str) -> str:
    """Spell a cell as :mod:`csv` does, which takes long for a line of a log."""
    if '"' in text:
        return '"' + text.replace('"', '""') + '"'
    return f'"{text}"' if any(it in text for it in _SPECIAL) else text


def _plain(cells: Cells) -> list[str]:
    """Spell what needs no quotes."""
    return ["" if it is None else f"{it}" for it in cells] if None in cells else [*map(str, cells)]


@lru_cache(maxsize=10_000)
def _list(texts: tuple[str, ...]) -> str:
    return _quoted(json.dumps(texts, ensure_ascii=False))


def _moment(time: int | None) -> str:
    if time is None:
        return ""
    hour, rest = divmod(time, _HOUR)
    seconds, fraction = divmod(rest, _SECOND)
    return f"{_hour(hour)}{seconds // 60:02}:{seconds % 60:02}.{fraction:06}Z"


@lru_cache(maxsize=1_000)
def _hour(number: int) -> str:
    """Spell the beginning of a time, which those that follow it have in common."""
    return f"{moment_of(number * _HOUR):%Y-%m-%dT%H:}"


_SPELT: Final[dict[str, Callable[[Cells], list[str]]]] = {
    "text": _texts,
    "texts": lambda cells: [_list(it) for it in cells],
    "int": _plain,
    "float": _plain,
    "bool": lambda cells: ["true" if it else "false" for it in cells],
    "time": lambda cells: [_moment(it) for it in cells],
    "bytes": lambda cells: [_quoted(it.decode(errors="replace")) for it in cells],
}
