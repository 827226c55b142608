"""Threads that share one policy: are all answers right?"""

from __future__ import annotations

import datetime
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

from policy_router import Policy, Request, decide

THREADS = 8
DECISIONS = 100_000


@dataclass(frozen=True, slots=True)
class Checked:
    """How many decisions were made, and how many of them were right."""

    decisions: int
    right: int
    seconds: float


def check(
    policy: Policy, expected: list[tuple[dict[str, Any], bytes]], now: datetime.datetime
) -> Checked:
    """Decide in eight threads at once, and compare each record with the expected bytes.

    The threads begin at different requests and are switched a hundred times as often as usual.
    """
    pairs = [(Request.from_mapping(request), content) for request, content in expected]
    barrier = threading.Barrier(THREADS)
    each = DECISIONS // THREADS
    right = [0] * THREADS

    def work(number: int) -> None:
        start = number * len(pairs) // THREADS
        barrier.wait()
        for position in range(start, start + each):
            request, content = pairs[position % len(pairs)]
            right[number] += decide(policy, request, now=now).to_json() == content

    interval = sys.getswitchinterval()
    sys.setswitchinterval(interval / 100)
    start = time.perf_counter()
    try:
        workers = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(interval)
    return Checked(each * THREADS, sum(right), time.perf_counter() - start)
