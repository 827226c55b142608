"""What logging a decision costs: the CPU that it takes, and how many reach the disk in a second."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import statistics
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from threading import Barrier
from typing import Any, Literal, TypeAlias

from benchmarks.log_workload import Say, log_policy, one_record, one_request
from policy_router import DecisionLog, Policy, Request, Router
from policy_router.log.write.decision_log import Durability

if sys.platform != "win32":
    import resource

CALLERS = 64
Way: TypeAlias = Literal["main thread", "threads", "tasks"]
"""Where callers are: in the main thread, in threads, or tasks of one event loop in the main one."""
_WAYS: dict[str, tuple[Way, int]] = {
    "main thread": ("main thread", 1),
    "another thread": ("threads", 1),
    f"{CALLERS} threads": ("threads", CALLERS),
    f"{CALLERS} tasks": ("tasks", CALLERS),
}
_FEWEST = 256
_WAIT_SECONDS = 60.0
_SYNC = getattr(os, "fdatasync", os.fsync)


def measure(folder: Path, say: Say, *, quick: bool) -> dict[str, Any]:
    """Measure writing a log in a folder."""
    rounds, seconds = (3, 0.1) if quick else (9, 0.3)
    found = {"cpu": _cpu_rows(folder, rounds, seconds, say)}
    found["durable"] = _durable_rows(folder, 1.0 if quick else 4.0, say)
    return found


# CPU.


def _cpu() -> tuple[float, float]:
    """Return the seconds of CPU that this process has used: its own, and the system's for it."""
    if sys.platform == "win32":
        times = os.times()
        return times.user, times.system
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime, used.ru_stime


@dataclass(slots=True)
class _Load:
    """Decisions by some callers, logged or not.

    Attributes:
        router: what decides.
        way: where its callers are.
        callers: how many there are.
        log: where it logs.
        calls: how many decisions a round has.
        user: microseconds of its own for each decision, by round.
        system: those of the system for it.
    """

    router: Router
    way: Way
    callers: int
    log: DecisionLog | None = None
    calls: int = _FEWEST
    user: list[float] = field(default_factory=list)
    system: list[float] = field(default_factory=list)

    def calibrate(self, seconds: float) -> None:
        """Warm up, and choose how many decisions fill a round."""
        taken = []
        for _ in range(3):  # one of them may meet a busy core
            start = time.perf_counter()
            self._run()
            taken.append(time.perf_counter() - start)
        self.calls = max(_FEWEST, int(seconds / min(taken) * self.calls) // CALLERS * CALLERS)

    def round(self) -> None:
        """Measure one round."""
        gc.collect()
        before = _cpu()
        self._run()
        after = _cpu()
        self.user.append((after[0] - before[0]) * 1e6 / self.calls)
        self.system.append((after[1] - before[1]) * 1e6 / self.calls)

    def both(self) -> list[float]:
        """Return all microseconds for each decision, by round."""
        return [sum(pair) for pair in zip(self.user, self.system, strict=True)]

    def _run(self) -> None:
        request, share = Request.from_mapping(one_request()), self.calls // self.callers
        decide, decide_async = self.router.decide, self.router.decide_async

        def work() -> None:
            for _ in range(share):
                decide(request)

        async def task() -> None:
            for _ in range(share):
                await decide_async(request)

        _in_their_way(self.way, self.callers, work, task)
        if self.log is not None:
            self.log.flush()


def _in_their_way(
    way: Way, callers: int, work: Callable[[], None], task: Callable[[], Awaitable[None]]
) -> None:
    """Do something where the callers are."""

    async def tasks() -> None:
        await asyncio.gather(*(task() for _ in range(callers)))

    if way == "tasks":
        asyncio.run(tasks())
    elif way == "threads":
        _in_threads(callers, work)
    else:
        work()


def _in_threads(count: int, work: Callable[[], None]) -> None:
    """Do something in threads that begin together."""
    barrier = Barrier(count)

    def begin() -> None:
        barrier.wait()
        work()

    threads = [threading.Thread(target=begin) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _cpu_rows(folder: Path, rounds: int, seconds: float, say: Say) -> list[dict[str, Any]]:
    """Measure the CPU of decisions with and without a log, in turns."""
    policy = log_policy()
    loads = {("", caller): _Load(Router(policy), *way) for caller, way in _WAYS.items()}
    durabilities: tuple[Durability, ...] = ("async", "group")
    for durability in durabilities:
        for number, (caller, way) in enumerate(_WAYS.items()):
            log = DecisionLog(folder / f"cpu-{durability}-{number}", durability=durability)
            loads[durability, caller] = _Load(Router(policy, log=log), *way, log)
    say("warming up the log")
    for load in loads.values():
        load.calibrate(seconds)
    gc.collect()
    gc.freeze()
    for number in range(rounds):
        for load in loads.values() if number % 2 == 0 else reversed(loads.values()):
            load.round()
        say(f"CPU of logging, round {number + 1} of {rounds} done")
    gc.unfreeze()
    for load in loads.values():
        if load.log is not None:
            load.log.close()
    return [
        _cpu_row(durability, caller, load, loads["", caller])
        for (durability, caller), load in loads.items()
        if durability
    ]


def _cpu_row(durability: str, caller: str, load: _Load, alone: _Load) -> dict[str, Any]:
    return {
        "durability": durability,
        "caller": caller,
        "calls": load.calls * len(load.user),
        "alone_us": statistics.median(alone.both()),
        "added_us": _added(load.both(), alone.both()),
        "user_us": _added(load.user, alone.user),
        "system_us": _added(load.system, alone.system),
    }


def _added(mine: Sequence[float], its: Sequence[float]) -> float:
    return statistics.median(one - other for one, other in zip(mine, its, strict=True))


# What is on disk.


@dataclass(frozen=True, slots=True)
class _Found:
    """What one process, or the disk alone, came to.

    Attributes:
        taken: how long each call took, in nanoseconds.
        seconds: how long all of them took.
        cpu: how many seconds of CPU that took.
    """

    taken: list[int]
    seconds: float
    cpu: float


def _durable_rows(folder: Path, seconds: float, say: Say) -> list[dict[str, Any]]:
    """Measure how many decisions a second are on disk, beside the disk alone."""
    line = line_of(log_policy(), folder / "example")
    rows = []
    for lines in (1, CALLERS):
        what = f"a write and a sync of {lines} line{'s' * (lines > 1)}"
        say(f"timing {what}")
        bare = _bare(folder / f"bare-{lines}", line * lines, seconds / 4)
        rows.append(_durable_row((what, "-", 1, "-"), [bare]))
    router, request = Router(log_policy()), Request.from_mapping(one_request())
    bare = _bare(folder / "bare", line, seconds / 4, lambda: router.decide(request))
    what = "an unlogged decision, a write and a sync of 1 line"
    rows.append(_durable_row((what, "-", 1, "-"), [bare]))
    made, ready = "a decision", "a decision that was made already"
    cases: tuple[tuple[str, Durability, int, Way, int], ...] = (
        (made, "sync", 1, "main thread", 1),
        (made, "group", 1, "main thread", 1),
        (made, "group", 1, "threads", 1),
        (made, "group", 1, "threads", CALLERS),
        (made, "group", 1, "tasks", CALLERS),
        (made, "group", 2, "threads", CALLERS // 2),
        (made, "group", 2, "tasks", CALLERS // 2),
        (ready, "group", 1, "threads", CALLERS),
        (ready, "group", 1, "tasks", CALLERS),
    )
    for number, (what, durability, processes, way, callers) in enumerate(cases):
        whose = way if callers == 1 else f"{callers} {way}"
        say(f"timing {what} on disk, {durability}, {processes} x {whose}")
        place = folder / f"durable-{number}"
        share = seconds if callers > 1 else seconds / 2
        is_ready = what == ready
        found = _at_once(processes, place, durability, way, callers, is_ready, share)
        rows.append(_durable_row((what, durability, processes, whose), found))
    return rows


def line_of(policy: Policy, folder: Path) -> bytes:
    """Return a line as the log has it."""
    with DecisionLog(folder, durability="sync") as log:
        for _ in range(2):
            Router(policy, log=log).decide(one_request())
    return (folder / "w1" / "00000001.jsonl").read_bytes().splitlines(keepends=True)[1]


def _bare(
    path: Path, content: bytes, seconds: float, first: Callable[[], object] = lambda: None
) -> _Found:
    """Do something, append to a file, and sync it, again and again."""
    clock, taken = time.perf_counter_ns, []
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        begin, used = clock(), sum(_cpu())
        while clock() - begin < seconds * 1e9:
            start = clock()
            first()
            os.write(file, content)
            _SYNC(file)
            taken.append(clock() - start)
        return _Found(taken, (clock() - begin) / 1e9, sum(_cpu()) - used)
    finally:
        os.close(file)


_gate: list[Any] = []


def _keep_gate(gate: Any) -> None:
    _gate.append(gate)


def _at_once(processes: int, *arguments: Any) -> list[_Found]:
    """Let processes log at the same time; the arguments are those of :func:`_callers`."""
    context = get_context("spawn")
    gate = context.Barrier(processes)
    with ProcessPoolExecutor(processes, context, _keep_gate, (gate,)) as pool:
        futures = [pool.submit(_callers, *arguments) for _ in range(processes)]
        return [future.result() for future in futures]


def _callers(  # noqa: PLR0917 - they are sent to a process
    folder: Path,
    durability: Durability,
    way: Way,
    callers: int,
    is_ready: bool,  # noqa: FBT001 - as above
    seconds: float,
) -> _Found:
    """Decide and log by some callers, as long as it says, together with other processes."""
    policy = log_policy()
    record, request = one_record(policy), Request.from_mapping(one_request())
    with DecisionLog(folder, durability=durability) as log:
        router = Router(policy, log=log)

        def call() -> object:
            return log.decision(policy, record) if is_ready else router.decide(request)

        def call_async() -> Awaitable[object]:
            if is_ready:
                return log.decision_async(policy, record)
            return router.decide_async(request)

        _called(call, call_async, way, callers, seconds / 8)
        _gate[0].wait(_WAIT_SECONDS)
        return _called(call, call_async, way, callers, seconds)


def _called(
    call: Callable[[], object],
    call_async: Callable[[], Awaitable[object]],
    way: Way,
    callers: int,
    seconds: float,
) -> _Found:
    clock = time.perf_counter_ns
    taken: list[int] = []
    gc.collect()
    begin, used = clock(), sum(_cpu())
    end = begin + seconds * 1e9

    def work() -> None:
        own = []
        while (start := clock()) < end:
            call()
            own.append(clock() - start)
        taken.extend(own)

    async def task() -> None:
        while (start := clock()) < end:
            await call_async()
            taken.append(clock() - start)

    _in_their_way(way, callers, work, task)
    return _Found(taken, (clock() - begin) / 1e9, sum(_cpu()) - used)


def _durable_row(who: tuple[str, str, int, str], found: Sequence[_Found]) -> dict[str, Any]:
    taken = sorted(one for it in found for one in it.taken)
    return {
        **dict(zip(("what", "durability", "processes", "callers"), who, strict=True)),
        "calls": len(taken),
        "per_second": sum(len(it.taken) / it.seconds for it in found),
        "median_us": statistics.median(taken) / 1000,
        "p99_us": taken[math.ceil(len(taken) * 0.99) - 1] / 1000,
        "worst_us": taken[-1] / 1000,
        "cpu_us": sum(it.cpu for it in found) * 1e6 / len(taken),
    }
