"""Tries mutants: in several processes if there are many, and so that a later call can go on.

A process cannot be sent a compiled policy, so that each reads the suites again and makes the same
mutants. What was found is a line of a file at once: whoever is interrupted goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, BinaryIO, Final

from policy_router.analysis.mutation import Mutant, chosen, is_noticed
from policy_router.analysis.suites import Suite, read_suite
from policy_router.domain import Policy
from policy_router.errors import PolicyRouterError
from policy_router.version import VERSION

_FEW: Final = 20_000
"""So many decisions are sooner made than another process has begun."""
_SHARE: Final = 8
"""So many mutants are tried by a process at a time."""

_BEGIN: Final = '{"trial": "'

Progress = Callable[[int, int], object]


@dataclass(frozen=True, slots=True)
class Trial:
    """Which mutants are tried by which tests: what each process makes again for itself.

    Attributes:
        paths: the suites, which are of one policy.
        revision: of the policy.
        names: the names of the tests of each suite.
        most: how many mutants, None for all.
        seed: of their choice.
    """

    paths: tuple[str, ...]
    revision: str
    names: tuple[tuple[str, ...], ...]
    most: int | None = None
    seed: int = 1

    @classmethod
    def of(cls, suites: Sequence[Suite], most: int | None, seed: int) -> Trial:
        """Return the trial of a policy by the tests of its suites."""
        names = tuple(tuple(test.name for test in suite.tests) for suite in suites)
        return cls(tuple(it.path for it in suites), _policy_of(suites).revision, names, most, seed)

    def again(self) -> tuple[list[Suite], list[Mutant]]:
        """Read the suites, and make the mutants.

        Raises:
            PolicyRouterError: the files are not what they were.
        """
        suites = [read_suite(path) for path in self.paths]
        found = []
        for suite, names in zip(suites, self.names, strict=True):
            known = {test.name: test for test in suite.tests}
            if not suite.usable or not known.keys() >= set(names):
                raise PolicyRouterError(f"{suite.path} was changed while its tests were run")
            found.append(replace(suite, tests=tuple(known[name] for name in names)))
        policy = _policy_of(found)
        if policy.revision != self.revision:
            raise PolicyRouterError(f"{policy.name} was changed while its tests were run")
        return found, chosen(policy, self.most, self.seed)


class Memory:
    """What was found of mutants, in a file that later calls go on from.

    The file may know of several trials. What is found is added as lines, and none is changed.

    Attributes:
        known: number of a mutant of this trial to whether a test notices it.
    """

    def __init__(self, path: str | Path, trial: Trial, suites: Sequence[Suite]) -> None:
        """Read what the file knows of a trial.

        Args:
            path: the file; it is made if it is not there.
            trial: what is tried.
            suites: its suites, as they were read.

        Raises:
            PolicyRouterError: the file holds something else.
        """
        self._path = Path(path)
        self._key = _key(trial, suites)
        self.known = {
            line["mutant"]: line["noticed"] for line in self._lines() if line["trial"] == self._key
        }

    def _lines(self) -> Iterator[dict[str, Any]]:
        if not self._path.exists():
            return
        if not self._path.is_file():  # a device or a pipe may never end
            raise PolicyRouterError(f"{self._path} is not a file")
        lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        for number, line in enumerate(lines, start=1):
            try:
                found = json.loads(line)
            except ValueError:
                found = None
            if isinstance(found, dict) and found.keys() == {"trial", "mutant", "noticed"}:
                yield found
            elif number < len(lines) or line[: len(_BEGIN)] != _BEGIN[: len(line)]:
                # The last line may be that of an interrupted call.
                raise PolicyRouterError(f"{self._path}:{number}: this is not a trial of a change")

    def note(self, found: Mapping[int, bool]) -> None:
        """Keep what was found."""
        self.known |= found
        lines = [{"trial": self._key, "mutant": it, "noticed": is_} for it, is_ in found.items()]
        with self._path.open("a+b") as stream:
            stream.truncate(_whole_lines(stream))
            stream.write("".join(f"{json.dumps(line)}\n" for line in lines).encode())


def _whole_lines(stream: BinaryIO) -> int:
    """Return where the last line ends that was written whole."""
    stream.seek(0)
    return stream.read().rfind(b"\n") + 1


def survivors_of(
    trial: Trial,
    suites: Sequence[Suite],
    tried: Sequence[Mutant],
    *,
    workers: int | None = None,
    memory: Memory | None = None,
    progress: Progress = lambda _done, _total: None,
) -> list[Mutant]:
    """Return the mutants that no test notices.

    Args:
        trial: what is tried.
        suites: its suites; all their tests pass.
        tried: its mutants.
        workers: how many processes; as many as there are cores unless given.
        memory: what is known, and keeps what is found.
        progress: is told how many of how many were tried.
    """
    known = dict(memory.known) if memory else {}
    left = [number for number in range(len(tried)) if number not in known]
    tests = sum(len(suite.tests) for suite in suites)
    parts: Iterator[dict[int, bool]]
    workers = min(workers or os.cpu_count() or 1, -(-len(left) // _SHARE))
    if workers <= 1 or len(left) * tests < _FEW:
        parts = ({it: is_noticed(suites, tried[it])} for it in left)
    else:
        parts = _in_processes(trial, left, workers)
    for found in parts:
        known |= found
        if memory is not None:
            memory.note(found)
        progress(len(known), len(tried))
    return [mutant for number, mutant in enumerate(tried) if not known[number]]


def _in_processes(trial: Trial, left: list[int], workers: int) -> Iterator[dict[int, bool]]:
    """Yield what processes find, as it comes; each has its next share when it is done with one."""
    shares = iter([left[at : at + _SHARE] for at in range(0, len(left), _SHARE)])
    context = get_context("spawn")
    work = partial(_share, trial)
    with ProcessPoolExecutor(workers, context) as pool:
        running: set[Future[dict[int, bool]]] = set()
        try:
            running |= {pool.submit(work, it) for it in islice(shares, 2 * workers)}
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                running |= {pool.submit(work, it) for it in islice(shares, len(done))}
                yield from (future.result() for future in done)
        finally:
            for future in running:
                future.cancel()


@cache
def _made(trial: Trial) -> tuple[list[Suite], list[Mutant]]:
    """Return what a process reads once, and then has for each of its shares."""
    return trial.again()


def _share(trial: Trial, numbers: list[int]) -> dict[int, bool]:
    suites, tried = _made(trial)
    return {number: is_noticed(suites, tried[number]) for number in numbers}


def _policy_of(suites: Sequence[Suite]) -> Policy:
    policy = suites[0].policy
    assert policy is not None  # noqa: S101 - its tests were run
    return policy


def _key(trial: Trial, suites: Sequence[Suite]) -> str:
    """Return what is another one if anything that mutants depend on is another."""
    policy = _policy_of(suites)
    parts = [VERSION, trial.revision, str(trial.most), str(trial.seed)]
    parts += [text for names in trial.names for text in names]
    parts += [source.text for source in policy.sources]
    parts += [it.piece.node.span.source.text for s in suites for it in s.tests[:1] if it.piece]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
