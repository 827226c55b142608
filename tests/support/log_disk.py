"""A disk that waits or fails, threads that keep what became of them, and scripts that log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from policy_router.log.write import chain as chain_module
from tests.support.commands import in_process_of_its_own

PATIENCE_SECONDS = 20.0
SCRIPT = """
import json, os, sys, threading, warnings
from policy_router import DecisionLog, decide, loads
warnings.simplefilter("ignore", DeprecationWarning)
folder, rules, *more = sys.argv[1:]
policy = loads(rules, name="logged")
record = decide(policy, {"caller": {"team": "x"}}, now="2026-01-31T09:00:00Z")
"""
"""What a script begins with: a policy and a record, and its words after those of the test."""


class Disk:
    """Stands before the sync of the disk: lets it wait, or fail, and counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.syncs = 0
        self.problems: list[BaseException | None] = []
        self._may_go, self._is_there = threading.Event(), threading.Event()
        self._may_go.set()
        monkeypatch.setattr(chain_module, "sync", self._sync)

    def _sync(self, _number: int) -> None:
        self.syncs += 1
        self._is_there.set()
        assert self._may_go.wait(PATIENCE_SECONDS), "nobody lets the disk go on"
        problem = self.problems.pop(0) if self.problems else None
        if problem is not None:
            raise problem

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Let whoever syncs meanwhile wait for the end."""
        self._is_there.clear()
        self._may_go.clear()
        try:
            yield
        finally:
            self._may_go.set()

    def go_on_once(self, is_so: Callable[[], object]) -> None:
        """Let whoever syncs go on once something is so."""
        until(is_so)
        self._may_go.set()

    @property
    def is_reached(self) -> bool:
        """Whether somebody syncs."""
        return self._is_there.is_set()

    def wait(self) -> None:
        """Wait until somebody syncs."""
        assert self._is_there.wait(PATIENCE_SECONDS), "nobody writes"


class Thread(threading.Thread):
    """A thread that keeps what became of its call, and never holds up the end of the process."""

    def __init__(self, call: Callable[[], Any], name: str | None = None) -> None:
        super().__init__(daemon=True, name=name)
        self.call = call
        self.outcome: Any = None
        self.problem: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Call."""
        try:
            self.outcome = self.call()
        except BaseException as problem:  # noqa: BLE001 - it is looked at by the test
            self.problem = problem

    def end(self) -> Any:
        """Wait for the end, and return what became of it."""
        self.join(PATIENCE_SECONDS)
        assert not self.is_alive(), "a thread hangs"
        return self.problem or self.outcome


def until(is_so: Callable[[], object]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < end, "it never is"
        time.sleep(0.001)


def ran(script: str, *words: str, cwd: Path, measured: bool = True) -> str:
    """Run a script in a process of its own, and return what it says."""
    prefix = ("-c", script)
    done = in_process_of_its_own(*words, cwd=cwd, prefix=prefix, measured=measured)
    assert (done.code, done.err) == (0, "")
    return done.out
