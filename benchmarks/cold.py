"""What a fresh process needs: importing, loading a policy, starting the command line.

Each figure comes from processes of its own. Run as ``python -m benchmarks.cold``, this module is
what measures memory inside such a process.
"""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
_HEAVY = ("lark", "celpy", "re2", "yaml", "jsonschema", "openai", "httpx2", "uvicorn")

_IMPORT = f"""
import time
start = time.perf_counter()
{{statement}}
taken = time.perf_counter() - start
import json, sys
from benchmarks.cold import memory
heavy = [name for name in {_HEAVY!r} if name in sys.modules]
print(json.dumps([taken * 1000, memory("VmHWM"), heavy]))
"""


def memory(key: str) -> float | None:
    """Return the memory of this process in MB: ``VmRSS`` now, ``VmHWM`` at its peak.

    It is None where there is no ``/proc``. What ``getrusage`` calls the peak is not used: a new
    process may begin with the peak of the process that started it.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    lines = status.read_text(encoding="utf-8").splitlines()
    words = next(line.split() for line in lines if line.startswith(f"{key}:"))
    return int(words[1]) * 1024 / 1e6


def imports(runs: int) -> dict[str, Any]:
    """Measure importing the package and what decides, against a process that imports nothing."""
    package: list[list[Any]] = []
    product: list[list[Any]] = []
    nothing: list[list[Any]] = []
    for _ in range(runs + 1):
        for found, statement in (
            (package, "import policy_router"),
            (product, "from policy_router import decide, load"),
            (nothing, "pass"),
        ):
            found.append(_output("-c", _IMPORT.format(statement=statement)))
    # the first run compiles modules and fills the file cache
    del package[0], product[0], nothing[0]
    return {
        "import_ms": statistics.median(run[0] for run in package),
        "names_ms": statistics.median(run[0] for run in product),
        "slowest_ms": max(run[0] for run in product),
        "peak_mb": _median([run[1] for run in product]),
        "bare_mb": _median([run[1] for run in nothing]),
        "heavy": product[0][2],
        "runs": runs,
    }


def starts(runs: int, policy: Path, request: Path) -> dict[str, float]:
    """Measure the command line from start to exit, in milliseconds."""
    line = [sys.executable, "-m", "policy_router.cli"]
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "--help": [*line, "--help"],
        "decide": [*line, "decide", str(policy), str(request)],
    }
    found: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(runs + 1):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            if number:
                found[name].append((time.perf_counter() - start) * 1000)
    return {name: statistics.median(times) for name, times in found.items()}


def policy_memory(size: int) -> dict[str, float | None]:
    """Measure what a loaded policy keeps, in kB."""
    resident = _output("-m", "benchmarks.cold", str(size), "resident")
    traced = _output("-m", "benchmarks.cold", str(size), "traced")
    return {"resident_kb": resident, "traced_kb": traced}


def _output(*arguments: str) -> Any:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _loaded(size: int, how: str) -> float | None:
    """Load and use policies in this process, and return what one of them keeps, in kB."""
    from benchmarks.workload import NOW, policy_text, varied_requests  # noqa: PLC0415 - the bare process needs none
    from policy_router import decide, loads  # noqa: PLC0415 - the same

    text, some = policy_text(size), varied_requests(size, 100)

    def used() -> object:
        policy = loads(text)
        for request in some:
            decide(policy, request, now=NOW)
        return policy

    # With the first one come imports and caches, and the memory that compiling needs for a while.
    kept = [used()]
    copies = max(3, 500 // size)
    gc.collect()
    before = memory("VmRSS")
    if how == "traced":
        tracemalloc.start()
    kept += [used() for _ in range(copies)]
    gc.collect()
    if how == "traced":
        return tracemalloc.get_traced_memory()[0] / 1000 / copies
    after = memory("VmRSS")
    return None if before is None or after is None else (after - before) * 1000 / copies


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_loaded(int(sys.argv[1]), sys.argv[2])))
