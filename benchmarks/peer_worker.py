"""The side of a peer: decides and times in the peer's own environment.

A peer's module gives :func:`serve` a function from the size of a pool to how it decides each kind
of request. Commands and answers are lines of JSON. Only the standard library is used.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping

from benchmarks.timing import Local

Deciders = Mapping[str, Callable[[], str]]
"""Kind of request to a function that decides it, and returns the name of the entry."""


def serve(build: Callable[[int], Deciders]) -> None:
    """Answer commands until the input ends: ``{"size": 50}``, then ``{"run": …, "calls": …}``."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the peer itself may print
    built: dict[int, Deciders] = {}
    for line in sys.stdin:
        command = json.loads(line)
        size = command["size"]
        answer: object
        if "run" in command:
            answer = Local(built[size][command["run"]]).batch(command["calls"])
        else:
            start = time.perf_counter()
            built[size] = build(size)
            taken = (time.perf_counter() - start) * 1000
            chosen = {kind: decide() for kind, decide in built[size].items()}
            answer = {"compile_ms": taken, "chosen": chosen}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
