"""A budget in a file, with processes that share it, die, fork, and meet a full disk."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from policy_router.delegation.budgets import Funds
from policy_router.delegation.sqlite_budget import SqliteBudget
from tests.support.commands import in_process_of_its_own
from tests.support.log_disk import Thread, ran

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="signals, forks and limits are POSIX"),
]


def funds_of(budget: SqliteBudget) -> Funds:
    seen: list[Funds] = []

    def choose(funds: Funds) -> dict[str, int]:
        seen.append(funds)
        return {}

    budget.reserve(choose)
    return seen[0]


FULL = """
import resource, sys
from policy_router.delegation.sqlite_budget import SqliteBudget
from policy_router.errors import BudgetError

budget = SqliteBudget(sys.argv[1], 1000.0)
budget.reserve(lambda funds: {"first": 1})
resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, 120_000))
made = 0
try:
    while made < 10_000:
        budget.reserve(lambda funds: {f"{made}-{'x' * 2000}": 1})
        made += 1
except BudgetError as problem:
    print("denied", problem)
print(made)
"""


def test_a_full_disk_denies_and_what_was_reserved_before_counts(tmp_path: Path) -> None:
    """The system refuses to let the files grow, as it does where the disk is full."""
    denied, made = ran(FULL, "b", cwd=tmp_path, measured=False).splitlines()
    assert denied.startswith("denied b: ")
    budget = SqliteBudget(tmp_path / "b", 1000.0)
    assert budget.remaining() == 1000 * 10**9 - 1 - int(made)


KILLED = """
import os, signal, sys
from policy_router.delegation.sqlite_budget import SqliteBudget

budget = SqliteBudget(sys.argv[1], 1.0, lifetime=float(sys.argv[2]))
budget.reserve(lambda funds: {"done": 300_000_000})
def choose(funds):
    if sys.argv[3] == "within":
        os.kill(os.getpid(), signal.SIGKILL)
    return {"more": 300_000_000}
budget.reserve(choose)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("when", "left"), [("within", 700_000_000), ("after", 400_000_000)])
def test_a_killed_process_leaves_what_it_reserved_until_that_expires(
    tmp_path: Path, when: str, left: int
) -> None:
    done = in_process_of_its_own("b", "3600", when, cwd=tmp_path, prefix=("-c", KILLED))
    assert done.code == -signal.SIGKILL
    assert SqliteBudget(tmp_path / "b", 1.0).remaining() == left
    later = SqliteBudget(tmp_path / "b", 1.0, clock=lambda: time.time() + 3601)
    assert later.remaining() == 10**9


MANY = """
import sys
from policy_router.delegation.sqlite_budget import SqliteBudget

budget, made = SqliteBudget(sys.argv[1], 0.0000005), 0  # 500 nano-dollars
for place in range(100):
    name = f"{sys.argv[2]}-{place}"
    taken = []

    def choose(funds):
        taken.append(funds.remaining >= 10)
        return {name: 10} if taken[0] else {}

    budget.reserve(choose)
    if taken[0]:
        budget.settle(name, 4)
        made += 1
print(made)
"""


def test_processes_at_once_spend_what_they_settle_and_never_more_than_there_is(
    tmp_path: Path,
) -> None:
    threads = [
        Thread(lambda number=number: ran(MANY, "b", str(number), cwd=tmp_path))  # type: ignore[misc]  # a default
        for number in range(2)
    ]
    made = sum(int(thread.end()) for thread in threads)
    funds = funds_of(SqliteBudget(tmp_path / "b", 0.0000005))
    assert funds.spent == 4 * made
    # One is refused only where 10 are not there, of which the other may hold 10.
    assert 120 <= made <= 125


FORK = """
import os, sys
from policy_router.delegation.budgets import MemoryBudget
from policy_router.delegation.sqlite_budget import SqliteBudget

budget, memory = SqliteBudget(sys.argv[1], 1.0), MemoryBudget(1.0)
budget.reserve(lambda funds: {"parent": 1})

def choose(funds):
    # The parent holds both locks while it forks.
    child = os.fork()
    if child == 0:
        memory.reserve(lambda funds: {"m": 1})
        print("memory", memory.remaining(), flush=True)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return {"m": 5}

memory.reserve(choose)
child = os.fork()
if child == 0:
    budget.reserve(lambda funds: {"child": 10})
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
budget.reserve(lambda funds: {"again": 100})
print("file", budget.remaining())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
def test_after_a_fork_neither_locks_nor_connections_of_the_parent_are_used(tmp_path: Path) -> None:
    shown = ran(FORK, "b", cwd=tmp_path, measured=False)
    assert shown.splitlines() == [f"memory {10**9 - 1}", f"file {10**9 - 111}"]
