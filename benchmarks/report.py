"""Results as aligned tables for a terminal, and as tables of a Markdown page."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from policy_router.version import VERSION

_PACKAGES = (
    "cel-python",
    "google-re2",
    "msgspec",
    "PyYAML",
    "jsonschema",
    "openai",
)


@dataclass(frozen=True, slots=True)
class Table:
    """A table of results.

    Attributes:
        id: its name in the markers of the Markdown page.
        title: what it shows.
        columns: the heads of its columns; the first ones, up to ``words``, hold words.
        words: how many columns hold words.
        rows: what it shows; numbers are rounded here.
    """

    id: str
    title: str
    columns: Sequence[str]
    words: int
    rows: Sequence[Sequence[Any]]

    def cells(self) -> list[list[str]]:
        """Return the head and the rows as texts."""
        return [list(self.columns), *([_shown(value) for value in row] for row in self.rows)]

    def lines(self) -> Iterable[str]:
        """Yield the table for a terminal."""
        cells = self.cells()
        widths = [max(len(row[column]) for row in cells) for column in range(len(self.columns))]
        yield self.title
        for row in cells:
            padded = [
                cell.ljust(width) if column < self.words else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            yield f"  {'  '.join(padded).rstrip()}"

    def markdown(self) -> Iterable[str]:
        """Yield the table for a Markdown page."""
        head, *rows = self.cells()
        yield _row(head)
        yield _row(["---" if n < self.words else "--:" for n in range(len(head))])
        yield from (_row(row) for row in rows)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _shown(value: Any) -> str:
    """Return a number with three digits that count, and no more than one after the point."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"  # noqa: PLR2004


def machine() -> dict[str, Any]:
    """Return what was measured on, and when by the local clock."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load": load,
    }


def versions() -> dict[str, str]:
    """Return the versions of what takes part."""
    found = {"policy-router": VERSION}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"^model name\s*: (.+)$", info.read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or "unknown"


def described(results: Mapping[str, Any]) -> list[str]:
    """Return what was measured on and how, one fact a line."""
    on, how = results["machine"], results.get("settings")
    load = "" if on["load"] is None else f", load {on['load']:.1f} at the start"
    lines = [
        f"{on['date']}, {on['cpu']}, {on['cores']} cores{load}; {on['system']}, {on['python']}",
        ", ".join(f"{name} {version}" for name, version in results["versions"].items()),
    ]
    if how is None:
        return lines
    return [
        *lines,
        f"{how['rounds']} rounds of about {how['seconds'] * 1000:.0f} ms for each figure, in turns",
        f"each call is timed by itself, which adds {how['timer_ns']:.0f} ns to it",
    ]


def tables(results: Mapping[str, Any]) -> list[Table]:
    """Return the tables of a run; parts that were not measured have none."""
    found = []
    if "decisions" in results:
        found += [_decisions(results["decisions"]), _json(results["decisions"])]
        if results["peers"]:
            found.append(_peers(results["peers"]))
        found += [_policies(results["policies"]), _starts(results["imports"], results["starts"])]
        if results["threads"]:
            found.append(_threads(results["threads"]))
        if results["delegation"]:
            found += _delegation(results["delegation"])
    if "loading" in results:
        found.append(_loading(results["loading"]))
    if "tool" in results:
        found.append(_tool(results["tool"]))
    if "log" in results:
        found += _log(results["log"])
    return found


def _decisions(rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = ("entries", "request", "decided by", "median µs", "p99 µs", "x plain", "x tuned")
    keys = ("size", "request", "by", "median_us", "p99_us", "plain", "tuned")
    return Table("decisions", "A decision", columns, 3, [[row[k] for k in keys] for row in rows])


def _json(rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = (
        *("entries", "request", "decided by", "JSON to JSON µs", "p99 µs"),
        *("over the decision µs", "x plain", "x tuned", "from a mapping µs"),
    )
    keys = (
        *("size", "request", "by", "json_us", "json_p99_us"),
        *("json_over_us", "json_plain", "json_tuned", "mapping_us"),
    )
    title = "A decision from JSON bytes to JSON bytes"
    return Table("json", title, columns, 3, [[row[k] for k in keys] for row in rows])


def _peers(rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = (
        *("entries", "request", "peer", "median µs", "p99 µs", "x plain", "x tuned"),
        *("compile ms", "same entry"),
    )
    keys = (
        *("size", "request", "by", "median_us", "p99_us", "plain", "tuned"),
        *("compile_ms", "same"),
    )
    return Table("peers", "Peers", columns, 3, [[row[key] for key in keys] for row in rows])


def _policies(rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = (
        *("entries", "load ms", "first decision ms"),
        *("resident kB", "Python objects kB"),
    )
    keys = ("size", "load_ms", "first_ms", "resident_kb", "traced_kb")
    title = "A policy: compiling it, and what it keeps in memory"
    return Table("policies", title, columns, 1, [[row[key] for key in keys] for row in rows])


def _starts(imports: Mapping[str, Any], starts: Mapping[str, float]) -> Table:
    heavy = ", ".join(imports["heavy"]) or "none of the heavy ones"
    rows = [
        ["import policy_router, median", imports["import_ms"], "ms"],
        ["from policy_router import decide, load, median", imports["names_ms"], "ms"],
        ["the same, slowest", imports["slowest_ms"], "ms"],
        ["peak memory with it", imports["peak_mb"], "MB"],
        ["peak memory of bare Python", imports["bare_mb"], "MB"],
        ["libraries that it imports", heavy, ""],
        *([f"`{name}` from start to exit", taken, "ms"] for name, taken in starts.items()),
    ]
    return Table("starts", "A fresh process", ("what", "figure", "unit"), 1, rows)


def _loading(rows: Sequence[Sequence[Any]]) -> Table:
    columns = ("entries", "conditions", "files", "seconds", "seconds of CPU")
    return Table("loading", "`policy-router check` of a folder", columns, 2, rows)


def _tool(rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = ("format", "strict", "5 entries", "50 entries", "200 entries")
    cells = [
        [row["format"], "yes" if row["strict"] else "no", row["5"], row["50"], row["200"]]
        for row in rows
    ]
    return Table("tool", "Tokens of the tool's definition", columns, 2, cells)


def _threads(rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = ("entries", "threads", "decisions", "right", "seconds")
    keys = ("size", "threads", "decisions", "right", "seconds")
    title = "Threads that share one policy"
    return Table("threads", title, columns, 1, [[row[key] for key in keys] for row in rows])


def _delegation(found: Mapping[str, Any]) -> list[Table]:
    """Return the tables about model calls."""
    columns = ("on", "by", "calls", "median µs", "p99 µs", "x the SDK alone")
    keys = ("form", "by", "calls", "median_us", "p99_us", "ratio")
    calls = [[row[key] for key in keys[:-1]] + [f"{row['ratio']:.3f}"] for row in found["calls"]]
    batches = [[row[k] for k in ("what", "tasks", "size", "ms")] for row in found["batches"]]
    stress = found["stress"]
    states = [
        [
            f"{when} the {stress['children']:,} children",
            stress[f"mb_{key}"],
            stress[f"sockets_{key}"],
        ]
        for when, key in (("before", "before"), ("after", "after"), ("closed, after", "closed"))
    ]
    title = f"{stress['children']:,} children, {stress['seconds']:.1f} s, {stress['right']:,} right"
    return [
        Table("calls", "A model call, to a peer on this machine", columns, 2, calls),
        Table("batches", "A batch", ("what", "tasks", "entries", "ms"), 1, batches),
        Table("stress", title, ("when", "resident MB", "open sockets"), 1, states),
    ]


def _described_log(results: Mapping[str, Any]) -> list[str]:
    """Return what the log was measured on and with, one fact a line."""
    found = results["log"]
    pool = f"{found['entries']} entries, {found['forbids']} forbid rules"
    sizes = f"a record of {found['record_bytes']:,} bytes in a line of {found['line_bytes']:,}"
    how = f"{pool}, {sizes}; the file system is {found['disk']}"
    return [described(results)[0], how]


def _log(found: Mapping[str, Any]) -> list[Table]:
    """Return the tables about the log."""
    columns = (
        *("durability", "called by", "decisions", "unlogged µs of CPU"),
        *("added µs of CPU", "its own", "the system's"),
    )
    keys = ("durability", "caller", "calls", "alone_us", "added_us", "user_us", "system_us")
    cpu = [[row[key] for key in keys] for row in found["cpu"]]
    written_columns = (
        *("what", "durability", "processes", "callers in each", "a second"),
        *("median µs", "p99 µs", "worst µs", "µs of CPU each"),
    )
    written_keys = (
        *("what", "durability", "processes", "callers", "per_second"),
        *("median_us", "p99_us", "worst_us", "cpu_us"),
    )
    written = [[row[key] for key in written_keys] for row in found["durable"]]
    read_columns = (
        *("what", "records", "different requests", "processes"),
        *("seconds", "seconds of CPU", "records a second", "records a second of CPU"),
    )
    read_keys = (
        *("what", "records", "distinct", "cores"),
        *("seconds", "cpu_seconds", "per_second", "per_cpu_second"),
    )
    read = [[row[key] for key in read_keys] for row in found["reading"]]
    tables = [
        Table("log-cpu", "What logging adds to a decision", columns, 2, cpu),
        Table("log-durable", "Decisions that are on disk", written_columns, 2, written),
    ]
    if read:
        tables.append(Table("log-reading", "Reading a log", read_columns, 1, read))
    return tables


def write_markdown(path: Path, results: Mapping[str, Any]) -> None:
    """Put the tables between their markers in a page; a part not measured keeps its old table."""
    page = path.read_text(encoding="utf-8")
    parts = {table.id: "\n".join(table.markdown()) for table in tables(results)}
    if "decisions" in results:
        parts["machine"] = "\n".join(f"- {line}" for line in described(results))
    if "loading" in results:
        parts["loading-machine"] = "\n".join(f"- {line}" for line in described(results))
    if "log" in results:
        parts["log-machine"] = "\n".join(f"- {line}" for line in _described_log(results))
    for name, text in parts.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        before, found, rest = page.partition(begin)
        _, also, after = rest.partition(end)
        if not found or not also:
            raise LookupError(f"{path.name} has no markers for {name}")
        page = f"{before}{begin}\n{text}\n{end}{after}"
    path.write_text(page, encoding="utf-8")
