"""``python -m benchmarks.policy_tests``: what running the tests of a policy costs.

The policy is that of the other benchmarks with 50 entries, and the suite has 1,000 tests, each with
a request of its own, written out. What is timed is the processor's time of this process.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.workload import NOW, policy_text, varied_requests
from policy_router import Policy, decide, load
from policy_router.analysis import Coverages, Suite, read_suite, run_suite, suite_files
from policy_router.analysis.drafting import suite_of
from policy_router.analysis.mutation import chosen, survivors

SIZE = 50
TESTS = 1_000
FEW, MUTANTS = 300, 760
RUNS = 5


def write(folder: Path) -> Path:
    """Write the policy and its suite to a folder, and return the suite."""
    policy = folder / "policy.yaml"
    policy.write_text(policy_text(SIZE), encoding="utf-8")
    loaded = load(policy)
    records = [decide(loaded, it, now=NOW) for it in varied_requests(SIZE, TESTS)]
    suite = folder / "policy_test.yaml"
    suite.write_text(suite_of(records, policy=policy.name), encoding="utf-8")
    return suite


def seconds(work: Callable[[], object], runs: int = RUNS) -> float:
    """Return the least time of the processor that some work took."""
    taken = []
    for _ in range(runs):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def loaded(suite: Suite) -> Policy:
    """Return the policy of a suite that can be run."""
    assert suite.policy is not None  # noqa: S101 - it is a benchmark of one
    return suite.policy


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        path = write(Path(name))
        (file,) = suite_files(path)
        suite = read_suite(file)
        assert len(suite.tests) == TESTS  # noqa: S101 - it is a benchmark of so many
        assert run_suite(suite).passed  # noqa: S101
        few = replace(suite, tests=suite.tests[:FEW])
        tried = chosen(loaded(suite), MUTANTS, 1)
        figures = {
            "tests": TESTS,
            "entries": SIZE,
            "bytes": path.stat().st_size,
            "load the policy": seconds(lambda: load(path.with_name("policy.yaml"))),
            "read policy and suite": seconds(lambda: read_suite(file)),
            "run the suite": seconds(lambda: run_suite(suite)),
            "mutants": len(tried),
            "try them with 300 tests": seconds(lambda: survivors([few], tried), runs=1),
            "run it with coverage": seconds(lambda: run_suite(suite, coverages=Coverages())),
        }
        print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
