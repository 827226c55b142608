"""A process that is forked uses nothing of the one it was forked from, whatever runs there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from policy_router import load
from policy_router.log import verify
from tests.support.commands import ROOT
from tests.support.provider import KEYS, Provider, chain, policy_text

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
]

BATCHES = """
import asyncio, gc, os, sys, threading
from policy_router import DecisionLog, Delegator, Executor, load

policy = load("policy.json")
log = DecisionLog("log")
executor = Executor(policy, instructions="", streams=STREAMS)
delegator = Delegator(policy, executor=executor, log=log, concurrency=4, max_tasks=1000)
over = threading.Event()


def check(made, goals):
    assert [it.text for it in made.results] == [f"Hello! You said: {it}" for it in goals], made


def batch(name, count=6):
    goals = [f"{name} {number}" for number in range(count)]
    check(delegator.delegate({"tasks": [{"goal": it} for it in goals]}), goals)


def alone(name):
    check(delegator.delegate({"goal": name}), [name])


async def on_a_loop(name):
    goals = [f"{name} {number}" for number in range(6)]
    check(await delegator.delegate_async({"tasks": [{"goal": it} for it in goals]}), goals)
    await executor.release()


def all_ways(name):
    batch(f"{name} batch")
    alone(f"{name} alone")
    asyncio.run(on_a_loop(f"{name} loop"))


def work(name):
    while not over.is_set():
        (batch if name % 2 else alone)(f"parent {name}")


def child(number):
    code = 1
    try:
        assert threading.active_count() == 1
        all_ways(f"child {number}")
        gc.collect()
        delegator.close()
        executor.close()
        log.close()
        code = 0
    finally:
        sys.stdout.flush()
        os._exit(code)


all_ways("before")
threads = [threading.Thread(target=work, args=(name,)) for name in range(3)]
for thread in threads:
    thread.start()
children = []
for number in range(6):
    if (pid := os.fork()) == 0:
        child(number)
    children.append(pid)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
over.set()
for thread in threads:
    thread.join(30)
all_ways("after")
delegator.close()
executor.close()
log.close()
print(codes)
"""


@pytest.fixture
def folder(peer: Provider, tmp_path: Path) -> Path:
    providers = {
        name: {"base_url": peer.url(name), "api_key": f"env:{name.upper()}_KEY", "concurrency": 3}
        for name in ("near", "far")
    }
    text = policy_text(peer, *chain("near", "far"), providers=providers)
    (tmp_path / "policy.json").write_text(text, encoding="utf-8")
    return tmp_path


def run(program: str, folder: Path) -> str:
    """Run a program in a process of its own, in a folder with a policy."""
    # Coverage has locks of its own, which a fork may find held.
    own = {name: it for name, it in os.environ.items() if not name.startswith("COVERAGE_")}
    environ = {**own, **KEYS, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program],
        cwd=folder,
        env=environ,
        capture_output=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")
    return done.stdout.decode().strip()


@pytest.mark.parametrize(
    "streams",
    [pytest.param(False, id="whole", marks=pytest.mark.stress), pytest.param(True, id="streamed")],
)
def test_batches_run_in_the_parent_and_in_its_children_at_once(
    folder: Path, *, streams: bool
) -> None:
    printed = run(BATCHES.replace("STREAMS", str(streams)), folder)
    assert json.loads(printed) == [0] * 6
    assert verify(folder / "log").is_whole


IN_A_CHILD = """
import os
from policy_router import Delegator, Executor, load

policy = load("policy.json")


def run_child(target, task):
    if task.goal != "outer":
        return task.goal
    pid = os.fork()
    if pid == 0:
        made = delegator.delegate({"tasks": [{"goal": "a"}, {"goal": "b"}]})
        os._exit(0 if [it.text for it in made.results] == ["a", "b"] else 1)
    return str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


with Delegator(policy, run_child=run_child, concurrency=1, max_tasks=2) as delegator:
    print(*(it.text for it in delegator.delegate({"tasks": [{"goal": "outer"}] * 2}).results))
    print(delegator.delegate({"goal": "outer"}).results[0].text)
"""


def test_a_child_may_fork_and_delegate_there(folder: Path) -> None:
    load(folder / "policy.json")
    assert run(IN_A_CHILD, folder).split() == ["0", "0", "0"]
