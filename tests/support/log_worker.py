"""A process that logs decisions from several threads until it is killed.

Each id is written to a file of its own only after the log said that the decision is logged.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from policy_router import DecisionLog, Policy, decide, loads
from policy_router.decision.record import DecisionRecord

NOW = "2026-01-31T09:00:00Z"
WIDTHS = (0, 10, 5000, 30_000)
"""How much the records hold: the widest ones take several pages, so that a kill tears them."""


def records_of(policy: Policy) -> list[DecisionRecord]:
    """Return records of several sizes."""
    return [decide(policy, {"caller": {"team": "t" * width}}, now=NOW) for width in WIDTHS]


def logging(
    log: DecisionLog, policy: Policy, records: list[DecisionRecord], acknowledged: int
) -> Callable[[], None]:
    """Return what logs without end."""

    def work() -> None:
        for record in itertools.cycle(records):
            made = log.decision(policy, record)
            os.write(acknowledged, made.encode() + b"\n")

    return work


def main(folder: str, acknowledged: str, rules: str, threads: str, segment_bytes: str) -> None:
    """Log from several threads, as soon as there is a line to read."""
    policy = loads(Path(rules).read_bytes(), name="logged")
    records = records_of(policy)
    log = DecisionLog(folder, segment_bytes=int(segment_bytes))
    number = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    sys.stdin.readline()
    for first in range(int(threads)):
        work = logging(log, policy, records[first % 4 :] + records[: first % 4], number)
        threading.Thread(target=work).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
