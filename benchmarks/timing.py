"""Timing calls in interleaved rounds; only the standard library is used."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

_FEWEST, _MOST = 3, 4000
_SHORT_NS = 2_000_000
_ENOUGH = 100


class Timed(Protocol):
    """Something to be timed."""

    def batch(self, calls: int) -> list[int]:
        """Call it, and return how long each call took, in nanoseconds."""
        ...


@dataclass(frozen=True, slots=True)
class Local:
    """A function in this process."""

    call: Callable[[], object]

    def batch(self, calls: int) -> list[int]:
        """Call it, each call timed by itself; the garbage collector is on, and starts empty."""
        call, clock = self.call, time.perf_counter_ns
        gc.collect()
        found = []
        for _ in range(calls):
            start = clock()
            call()
            found.append(clock() - start)
        return found


@dataclass(slots=True)
class Case:
    """What is timed, with what was found.

    Attributes:
        timed: what is called.
        samples: how long each call took, in nanoseconds.
        medians: the median of each round, in nanoseconds.
        calls: how many calls a round has.
    """

    timed: Timed
    samples: list[int] = field(default_factory=list)
    medians: list[float] = field(default_factory=list)
    calls: int = 0

    def calibrate(self, seconds: float) -> None:
        """Warm up, and choose how many calls fill a round."""
        once: float = min(self.timed.batch(3))  # one call may meet a busy core
        if once < _SHORT_NS:
            once = statistics.median(self.timed.batch(50))
        self.calls = min(max(int(seconds * 1e9 / max(once, 1)), _FEWEST), _MOST)

    def round(self) -> None:
        """Time one round."""
        found = self.timed.batch(self.calls)
        self.samples += found
        self.medians.append(statistics.median(found))

    def median_us(self) -> float:
        """Return the median over all rounds, in microseconds."""
        return statistics.median(self.samples) / 1000

    def p99_us(self) -> float | None:
        """Return what 99 of 100 calls stay within, in microseconds; None for fewer calls."""
        ordered = sorted(self.samples)
        if len(ordered) < _ENOUGH:
            return None
        return ordered[math.ceil(len(ordered) * 0.99) - 1] / 1000

    def ratio(self, other: Case) -> float:
        """Return how many times as long as another case it takes: the median over the rounds."""
        pairs = zip(self.medians, other.medians, strict=True)
        return statistics.median(mine / its for mine, its in pairs)


def run(cases: Sequence[Case], rounds: int, seconds: float) -> Iterable[int]:
    """Time cases in turns, every other round backwards; yields after each round."""
    for case in cases:
        case.calibrate(seconds)
    gc.collect()
    gc.freeze()
    for number in range(rounds):
        for case in cases if number % 2 == 0 else reversed(cases):
            case.round()
        yield number
    gc.unfreeze()


def timer_ns() -> float:
    """Return what timing a call costs by itself: it is in every figure."""
    return statistics.median(Local(lambda: None).batch(2000))
