"""A helper process: it does work that would slow down the workers.

Its first line of input is what to do; the end of its input is its own, too. It prints JSON, one
object a line: progress, and at last a report or a problem. With ``--stays`` it does what each line
says, so that whoever types a policy waits for no start of a process.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
from contextlib import suppress
from typing import Any, Final

import msgspec

from policy_router.server.problems import Problem
from policy_router.server.tasks import Task, perform

_NICE: Final = 10
_STAYS: Final = "--stays"
_MEBIBYTE: Final = 1024 * 1024


def main() -> None:
    """Do what the first line of the input says, or what each line does."""
    if _STAYS in sys.argv:
        for line in sys.stdin.buffer:
            _do(msgspec.json.decode(line, type=Task))
        return
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
    threading.Thread(target=_end_with_input, daemon=True).start()
    _do(task)


def _do(task: Task) -> None:
    """Do something, and say what came of it."""
    _limit(task)
    try:
        said = {"report": perform(task, _progress)}
    except Problem as problem:
        said = {"problem": problem.plain()}
    except MemoryError:
        said = {"problem": Problem(503, "too_much", "it takes more memory than it may").plain()}
    _say(said)


def _end_with_input() -> None:
    # Past the buffer: a process that ends of itself waits for nobody who reads through that.
    while os.read(sys.stdin.fileno(), _MEBIBYTE):
        pass
    os._exit(1)  # pragma: no cover - nothing is measured in a process that ends so


def _limit(task: Task) -> None:
    if task.what != "compile":  # whoever changes the rules waits for that
        with suppress(OSError):  # some systems do not let a process be less important
            os.nice(_NICE - os.nice(0))
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = task.seconds + int(used.ru_utime + used.ru_stime)
    _, most_seconds = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, most_seconds))
    with suppress(ValueError, OSError):  # macOS has no such limit
        most = task.megabytes * _MEBIBYTE
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _progress(done: int, total: int) -> None:
    _say({"progress": {"done_bytes": done, "total_bytes": total}})


def _say(what: dict[str, Any]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
