"""The decision log: what logging a decision costs, and how quickly a log is read.

``log_writing`` measures the one, ``log_reading`` the other. Every log is written to a temporary
folder, which is removed.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import log_reading, log_writing
from benchmarks.log_workload import SIZE, Say, log_policy, one_record
from benchmarks.workload import FORBIDS

RECORDS = 1_000_000
"""How many records the large log has, unless said otherwise."""
QUICK_RECORDS = 50_000
_MOUNTS = Path("/proc/mounts")
_SPARE = 256 * 1024 * 1024


def measure(say: Say, *, records: int, folder: Path | None, quick: bool) -> dict[str, Any]:
    """Measure the log.

    Args:
        say: is told what is being measured.
        records: how many records the large log has.
        folder: where the logs are written; the system's folder for temporary files unless given.
        quick: whether to be less exact.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix="policy-router-bench-") as place:
        path = Path(place)
        example = one_record(log_policy())
        found: dict[str, Any] = {
            "entries": SIZE,
            "forbids": FORBIDS,
            "record_bytes": len(example.to_json()),
            "line_bytes": len(log_writing.line_of(log_policy(), path / "line")),
            "disk": _disk(path),
            "notes": [],
        }
        found |= log_writing.measure(path, say, quick=quick)
        room = records * found["line_bytes"] * 5 // 4 + _SPARE
        free = shutil.disk_usage(path).free
        if free < room:
            found["reading"] = []
            found["notes"].append(
                f"reading the log is skipped: {records:,} records may need {room / 1e9:.1f} GB, "
                f"and {free / 1e9:.1f} GB are free (see --log-records and --log-folder)"
            )
        else:
            found |= log_reading.measure(path, records, say, found["notes"].append)
    return found


def _disk(path: Path) -> str:
    """Return which file system a folder is on: one in memory has no disk to wait for."""
    if not _MOUNTS.exists():
        return "unknown"
    mounts = [line.split() for line in _MOUNTS.read_text(encoding="utf-8").splitlines()]
    above = [mount for mount in mounts if path.is_relative_to(mount[1])]
    return max(above, key=lambda mount: len(mount[1]))[2] if above else "unknown"


def is_right(found: dict[str, Any]) -> bool:
    """Tell whether every log was whole, and all that was read of it was as it should be."""
    return all(row["right"] for row in found["reading"])
