"""What an auditor's commands take on a large log: the check, reports, proofs, and the export.

``python -m benchmarks.auditing`` makes a log with planted faults, and prints what it measured as
JSON. The figures are of CPU and of wall time; the first ones bear a busy machine better.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import random
import re
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

from benchmarks.audit_log import WRITERS, write_audit_log
from policy_router.log import (
    check_log,
    export_log,
    log_report,
    proof_bundle,
    prove_decisions,
    verify,
)
from policy_router.log.entry import count_lines, scan_views_of, split_lines
from policy_router.log.files import open_file
from policy_router.log.folder import LogFolder
from policy_router.log.integrity.scan import Blocks
from policy_router.log.report.kinds import KINDS
from policy_router.log.sign.keys import Signer
from policy_router.log.sign.merkle import WIDTH
from policy_router.log.sign.signing import make_checkpoint

_AFTER: Final = datetime.datetime(2026, 11, 2, tzinfo=datetime.UTC)
_ID: Final = re.compile(rb'"id":"([^"]+)","kind":"decision"')
_MOST_PROVED: Final = 1_000
_SIGNER: Final = Signer("benchmark", b"k" * 32)


def measure(folder: Path, decisions: int, faults: int, workers: int) -> dict[str, Any]:
    """Measure each command on a log that is made in a folder, which is not there yet.

    Args:
        folder: where the log is made.
        decisions: how many decisions it has.
        faults: how many faults of each kind are planted.
        workers: how many processes the check has.
    """
    rows: list[dict[str, Any]] = []
    log = folder / "log"
    planted = _timed(rows, "make", lambda: write_audit_log(log, decisions, faults=faults))
    report = _timed(rows, "check", lambda: check_log(log, workers=workers, clock=lambda: _AFTER))
    found = {it.kind.value: 0 for it in report.findings}
    for it in report.findings:
        found[it.kind.value] += it.count
    wanted = {kind: sum(map(len, each.values())) for kind, each in planted.faults.items()}
    memory = folder / "state"
    _timed(rows, "sign", lambda: make_checkpoint(log, _SIGNER, memory=memory, first=True))
    _timed(rows, "verify", lambda: verify(log, verifier=_SIGNER.verifier()))
    for name, step in _STEPS.items():
        _timed(rows, f"verify needs: {name}", lambda: step(log))  # noqa: B023 - done at once
    for kind in KINDS:
        _timed(rows, f"report {kind}", lambda: log_report(log, kind, workers=workers))  # noqa: B023 - done at once
    ids = _some_of(log)
    for name, signer in (("prove", None), ("prove, complete", _SIGNER)):
        proof = _timed(rows, name, lambda: prove_decisions(log, ids, signer=signer))  # noqa: B023 - done at once
        _timed(rows, f"{name}: bundle", lambda: proof_bundle(log, proof))  # noqa: B023 - done at once
    for to in ("parquet", "csv", "duckdb"):
        _timed(rows, f"export {to}", lambda: export_log(log, folder / to, to))  # noqa: B023 - done at once
    return {
        "decisions": planted.decisions,
        "lines": planted.lines,
        "proved": len(ids),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "right": found == wanted,
        "rows": rows,
    }


def _timed(rows: list[dict[str, Any]], name: str, run: Callable[[], Any]) -> Any:
    """Do something, and note the seconds and the memory that it takes."""
    before, start = _cpu(), time.monotonic()
    made = run()
    peaks = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    rows.append(
        {
            "name": name,
            "wall_seconds": round(time.monotonic() - start, 2),
            "cpu_seconds": round(_cpu() - before, 2),
            "peak_megabytes": [resource.getrusage(it).ru_maxrss // 1024 for it in peaks],
        }
    )
    return made


def _blocks(log: Path) -> Iterator[bytes]:
    for segment in LogFolder(log).all_segments():
        with open_file(segment.path) as stream:
            yield from Blocks(stream)


def _hash_lines(log: Path) -> None:
    """Work out the hash of each line, as no check of a chain can do without."""
    for block in _blocks(log):
        for line in split_lines(block):
            sha256(line).hexdigest()


def _hash_entries(log: Path) -> None:
    """Work out two hashes for each line, as no tree can do without: of its entry, and of a pair."""
    entries = cycle([(b"\0w1 123456 %064d\n" % it, b"\1%064d" % it) for it in range(WIDTH)])
    for block in _blocks(log):
        for content, pair in islice(entries, count_lines(block)):
            sha256(content).digest()
            sha256(pair).digest()


def _read_lines(log: Path) -> None:
    """Read each line as JSON, so that one that is none is found."""
    for block in _blocks(log):
        scan_views_of(block)


_STEPS: Final = {
    "a hash of each line": _hash_lines,
    "two hashes for the tree": _hash_entries,
    "each line read as JSON": _read_lines,
}


def _cpu() -> float:
    return sum(os.times()[:4])


def _some_of(log: Path) -> list[str]:
    """Return the ids of decisions, at random, from all months."""
    folder = LogFolder(log)
    paths = [it.path for writer in WRITERS for it in folder.segments(writer)]
    ids = [it.decode() for path in paths for it in _ID.findall(Path(path).read_bytes())]
    return random.Random(1).sample(ids, min(_MOST_PROVED, len(ids)))  # noqa: S311 - no secret


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(prog="benchmarks.auditing", description=__doc__)
    parser.add_argument("--decisions", type=int, default=342_000, metavar="N")
    parser.add_argument("--faults", type=int, default=50, metavar="N", help="of each kind")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="of the check")
    parser.add_argument("--folder", metavar="DIR", help="default: the system's temporary folder")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=options.folder, prefix="policy-router-auditing-"))
    try:
        made = measure(folder, options.decisions, options.faults, options.workers)
    finally:
        shutil.rmtree(folder)
    sys.stdout.write(json.dumps(made, indent=2) + "\n")


if __name__ == "__main__":
    main()
