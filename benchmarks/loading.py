"""``python -m benchmarks.loading``: what checking a policy costs, as a whole process.

The policy is that of the other benchmarks, as a folder: ``policy.yaml`` holds everything but the
pool, and each ``pool-NNN.yaml`` 250 entries of it. Its conditions have a few forms, as those of
a large policy do: 5,000 entries have 155 different ones. In the second form no two are equal.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.cold import ROOT
from benchmarks.workload import policy_text

PAGE = ROOT / "docs" / "performance.md"
SIZES = (50, 500, 5000)
RUNS = 3
_A_FILE = 250


def write(folder: Path, size: int, *, distinct: bool) -> int:
    """Write the policy with a pool of a size to a folder, and return the number of files."""
    policy = json.loads(policy_text(size))
    pool: list[dict[str, Any]] = policy.pop("pool")
    for number, entry in enumerate(pool if distinct else ()):
        entry["allow"] += f" && task.index != {number}"
        entry["pick"] += f" && task.batch_size != {number}"
    parts = [{"pool": pool[start : start + _A_FILE]} for start in range(0, size, _A_FILE)]
    (folder / "policy.yaml").write_text(json.dumps(policy, indent=1), encoding="utf-8")
    for number, part in enumerate(parts):
        name = f"pool-{number:03}.yaml"
        (folder / name).write_text(json.dumps(part, indent=1), encoding="utf-8")
    return 1 + len(parts)


def checked(folder: Path) -> tuple[float, float]:
    """Run ``check`` on a folder, and return its seconds of the clock and of the processor."""
    command = [sys.executable, "-m", "policy_router.cli", "--quiet", "check", str(folder)]
    used, start = _processor(), time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start, _processor() - used


def _processor() -> float:
    """Return how long the processor worked for the processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def row(size: int, *, distinct: bool) -> list[Any]:
    """Measure one size, and return the medians."""
    with tempfile.TemporaryDirectory() as name:
        files = write(Path(name), size, distinct=distinct)
        runs = [checked(Path(name)) for _ in range(RUNS)]
    seconds, cpu = (statistics.median(figures) for figures in zip(*runs, strict=True))
    return [size, "all different" if distinct else "some equal", files, seconds, cpu]


def main() -> None:
    """Print the table, or put it into the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loading")
    parser.add_argument("--markdown", action="store_true", help=f"write it to docs/{PAGE.name}")
    arguments = parser.parse_args()
    results: dict[str, Any] = {"machine": report.machine(), "versions": report.versions()}
    results["loading"] = [row(size, distinct=how) for how in (False, True) for size in SIZES]
    print(*report.described(results), sep="\n")
    for table in report.tables(results):
        print(*table.lines(), sep="\n")
    if arguments.markdown:
        report.write_markdown(PAGE, results)


if __name__ == "__main__":
    main()
