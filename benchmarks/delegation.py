"""Delegation: what the executor adds to a call of the SDK, to the same peer on this machine.

The peer is ``llmock``, started here on a free port of the loopback address.
"""

from __future__ import annotations

import asyncio
import datetime
import gc
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import openai

from benchmarks import cold
from benchmarks.timing import Case, Local, run
from benchmarks.workload import NOW, policy_text, requests
from policy_router import Delegator, Executor, Policy, decide, loads
from policy_router.calls.executor import INSTRUCTIONS
from policy_router.delegation.arguments import arguments_of
from policy_router.delegation.batch import planned
from policy_router.delegation.budgets import Budget, Funds, MemoryBudget
from policy_router.delegation.sqlite_budget import SqliteBudget
from policy_router.files.ids import uuid7

CHILDREN, CONCURRENCY = 2000, 64
BATCH = 100
_GOAL = "Say hello."
_WAIT_SECONDS = 20.0
_ENOUGH_USD = 1_000_000.0
_MOMENT = datetime.datetime.fromisoformat(NOW)
_SOCKETS = Path("/proc/self/fd")

_POLICY = """
version: 1
name: bench
model: small-model
provider: local
parameters: {{max_tokens: 100}}
providers: {{local: {{base_url: "{url}", api_key: "env:BENCH_KEY"}}}}
"""
_ENVIRON = {"BENCH_KEY": "bench-key-of-nobody"}


@contextmanager
def peer() -> Iterator[str]:
    """Start the peer, and give the address of its API."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    program = Path(sys.executable).with_name("llmock")
    words = ["serve", "--host", "127.0.0.1", "--port", port, "--log-level", "error"]
    process = subprocess.Popen(
        [program, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _await(f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


def _await(address: str) -> None:
    end = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < end:
        with suppress(urllib.error.URLError), urllib.request.urlopen(address):  # noqa: S310 - ours
            return
        time.sleep(0.05)
    raise TimeoutError("the peer did not start")


class _OnLoop:
    """A coroutine function to be timed on an event loop."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, call: Callable[[], Awaitable[object]]
    ) -> None:
        self._loop, self._call = loop, call

    def batch(self, calls: int) -> list[int]:
        """Call it, and return how long each call took, in nanoseconds."""
        return self._loop.run_until_complete(self._timed(calls))

    async def _timed(self, calls: int) -> list[int]:
        call, clock = self._call, time.perf_counter_ns
        gc.collect()
        found = []
        for _ in range(calls):
            start = clock()
            await call()
            found.append(clock() - start)
        return found


def calls(url: str, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Time one call at a time: by the SDK alone, by the executor, by the delegator."""
    policy = loads(_POLICY.format(url=url))
    record = decide(policy, {}, now=NOW)
    loop = asyncio.new_event_loop()
    sdk = openai.OpenAI(base_url=url, api_key="x", max_retries=0)
    sdk_async = openai.AsyncOpenAI(base_url=url, api_key="x", max_retries=0)
    executor = Executor(policy, environ=_ENVIRON)
    delegator = Delegator(policy, executor=executor)
    asked: Any = {
        "model": "small-model",
        "messages": [
            {"role": "system", "content": INSTRUCTIONS},
            {"role": "user", "content": _GOAL},
        ],
        "max_tokens": 100,
    }
    task = {"goal": _GOAL}
    plain = {
        "the SDK alone": lambda: sdk.chat.completions.create(**asked),
        "Executor.run": lambda: executor.run(record, _GOAL),
        "Delegator.delegate": lambda: delegator.delegate(task),
    }
    on_loop: dict[str, Callable[[], Awaitable[object]]] = {
        "the SDK alone": lambda: sdk_async.chat.completions.create(**asked),
        "Executor.run_async": lambda: executor.run_async(record, _GOAL),
        "Delegator.delegate_async": lambda: delegator.delegate_async(task),
    }
    cases = {("thread", name): Case(Local(call)) for name, call in plain.items()}
    cases |= {("event loop", name): Case(_OnLoop(loop, call)) for name, call in on_loop.items()}
    try:
        for _ in run(list(cases.values()), rounds, seconds):
            pass
    finally:
        loop.run_until_complete(sdk_async.close())
        loop.run_until_complete(delegator.aclose())
        loop.close()
        sdk.close()
    return [_call_row(cases, form, name) for form, name in cases]


def _call_row(cases: dict[tuple[str, str], Case], form: str, name: str) -> dict[str, Any]:
    case = cases[form, name]
    return {
        "form": form,
        "by": name,
        "calls": len(case.samples),
        "median_us": case.median_us(),
        "p99_us": case.p99_us(),
        "ratio": case.ratio(cases[form, "the SDK alone"]),
    }


def batches(rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Time the decisions of a batch, from the arguments of the tool to what would run.

    With a budget, all that a batch may cost is reserved, in one transaction.
    """
    size = 50
    picked = requests(size)["picked"]
    facts = {key: value for key, value in picked.items() if key not in {"call", "task"}}
    without = {key: value for key, value in facts.items() if key != "budget"}
    task = {
        key: value for key, value in picked["task"].items() if key not in {"index", "batch_size"}
    }
    arguments = {"tasks": [{"goal": _GOAL, **task}] * BATCH}
    policy = loads(policy_text(size))
    with tempfile.TemporaryDirectory() as folder:
        file = SqliteBudget(Path(folder, "budget"), _ENOUGH_USD)
        cases = {
            "decided": Case(Local(lambda: _batch(policy, arguments, facts, None))),
            "decided and reserved, in memory": Case(
                Local(lambda: _batch(policy, arguments, without, MemoryBudget(_ENOUGH_USD)))
            ),
            "decided and reserved, in a file": Case(
                Local(lambda: _batch(policy, arguments, without, file))
            ),
        }
        for _ in run(list(cases.values()), rounds, seconds):
            pass
        file.close()
    return [
        {"what": what, "tasks": BATCH, "size": size, "ms": case.median_us() / 1000}
        for what, case in cases.items()
    ]


def _batch(
    policy: Policy, arguments: dict[str, Any], facts: dict[str, Any], budget: Budget | None
) -> None:
    """Decide a batch as a delegator does, and reserve what it may cost."""
    found = arguments_of(arguments)
    if budget is None:
        planned(policy, found, facts, now=_MOMENT, ids=uuid7)
        return

    def choose(funds: Funds) -> dict[str, int]:
        batch = planned(policy, found, facts, now=_MOMENT, ids=uuid7, funds=funds)
        return {plan.decision_id: plan.reserved for plan in batch if plan.denied is None}

    budget.reserve(choose)


def stress(url: str) -> dict[str, Any]:
    """Run two thousand children, 64 at a time, and look at what is left behind."""
    policy = loads(_POLICY.format(url=url))
    tasks = {"tasks": [{"goal": f"Say hello to {number}."} for number in range(CHILDREN)]}
    executor = Executor(policy, environ=_ENVIRON)
    with Delegator(policy, executor=executor, concurrency=CONCURRENCY) as delegator:
        delegator.delegate({"tasks": tasks["tasks"][:CONCURRENCY]})  # the SDK is loaded by now
        before = _left()
        start = time.perf_counter()
        made = delegator.delegate(tasks)
        taken = time.perf_counter() - start
        right = sum(
            result.text is not None and result.task == place
            for place, result in enumerate(made.results)
        )
        del made
        after = _left()
    closed = _left()
    return {
        "children": CHILDREN,
        "right": right,
        "seconds": taken,
        **{f"{name}_before": value for name, value in before.items()},
        **{f"{name}_after": value for name, value in after.items()},
        **{f"{name}_closed": value for name, value in closed.items()},
    }


def _left() -> dict[str, float | None]:
    """Return memory in megabytes, and how many sockets are open; None where nobody tells."""
    gc.collect()
    resident = cold.memory("VmRSS")
    sockets = None
    if _SOCKETS.exists():
        links = []
        for name in os.listdir(_SOCKETS):  # noqa: PTH208 - a link may be gone by the next line
            with suppress(OSError):
                links.append(str(Path(_SOCKETS, name).readlink()))
        sockets = float(sum(link.startswith("socket:") for link in links))
    return {"mb": resident, "sockets": sockets}
