"""Going through every line of a log: what is wrong with those there are, and which are missing.

This is the only walk over the segments of a log that checks them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from policy_router.errors import LogError
from policy_router.log.damage import Damage, Problem, spelt_lines
from policy_router.log.folder import PRUNE_WRITER, LogFolder, Progress, Segment, readable
from policy_router.log.heads import Head
from policy_router.log.integrity.duplicates import IdCounter
from policy_router.log.integrity.writer import Findings, Known, Prunes, WriterWalk
from policy_router.log.policies import PolicyStore

T = TypeVar("T")

_ATTEMPTS = 3


def examined(log: LogFolder, known: Known, progress: Progress | None = None) -> Findings:
    """Go through every line of a log.

    Args:
        log: the log.
        known: what is known of it.
        progress: is told how far it is.

    Raises:
        LogError: it is of a newer version, or cannot be read.
    """
    with readable(log), IdCounter() as ids:
        found = _Walk(log, known, ids, progress).run()
        found.repeated = ids.repeated()
        return found


def steadily(log: LogFolder, look: Callable[[], T], is_whole: Callable[[T], bool]) -> T:
    """Look at a log, and once more where segments of it were pruned meanwhile.

    Args:
        log: the log.
        look: looks at it, and returns what it sees.
        is_whole: tells whether that is a log that is whole.

    Raises:
        LogError: what `look` raised, and nothing was pruned meanwhile.
    """
    while True:
        with readable(log):
            there = [segment.path for segment in log.all_segments()]
        try:
            seen = look()
        except LogError:
            if all(map(os.path.exists, there)):
                raise
        else:
            if is_whole(seen) or all(map(os.path.exists, there)):
                return seen


class _Walk:
    """Goes through a log, writer by writer."""

    def __init__(
        self, log: LogFolder, known: Known, ids: IdCounter, progress: Progress | None
    ) -> None:
        self._log, self._known, self._ids = log, known, ids
        self._progress = progress or (lambda _done, _all: None)
        self._sizes = {it.path: Path(it.path).stat().st_size for it in log.all_segments()}
        self._done, self._all = 0, sum(self._sizes.values())
        self._prunes = Prunes(known.signed.prunes)

    def run(self) -> Findings:
        there = self._log.writers()
        # A head is read before the lines: while somebody writes, there are more lines than it says.
        heads = {name: self._log.head(name) for name in {*there, *self._log.known_writers()}}
        found = Findings()
        # What says which segments were removed comes first.
        for name in sorted(there, key=lambda it: it != PRUNE_WRITER):
            found.add(self._writer(name, heads[name]))
        for name in sorted(heads.keys() - set(there)):
            head, is_new = heads[name], bool(self._log.segments(name))  # it began after we looked
            if head is not None and head.seq and not is_new:
                found.add(WriterWalk(self._log, name, head, self._known, self._prunes).missing())
        for name in sorted(self._known.signed.lines.keys() - heads.keys()):
            if last := self._known.signed.lines[name].covered:
                words = f"{spelt_lines(1, last)}: missing, though they were signed"
                found.tell(Problem(Damage.MISSING_WRITER, name, words, (1, last)))
        self._check_policies(found)
        return found

    def _check_policies(self, found: Findings) -> None:
        store = PolicyStore(self._log)
        for name in store.altered():
            found.tell(Problem(Damage.CHANGED_POLICY, f"policies/{name}", "changed"))
        for revision in sorted(found.revisions):
            if not store.has(revision):
                words = "missing, though decisions are of it"
                where = f"policies/{revision[:80]}.json"
                found.tell(Problem(Damage.MISSING_POLICY, where, words))

    def _writer(self, name: str, head: Head | None) -> Findings:
        """Go through a writer: again where what nobody was told of was taken away meanwhile."""
        done = self._done
        for attempt in range(_ATTEMPTS):
            self._done = done
            met = self._ids.add if attempt == 0 else None
            walk = WriterWalk(self._log, name, head, self._known, self._prunes, met=met)
            found = walk.run(self._pass)
            problems = [*found.integrity, *found.completeness, *found.authenticity]
            if not any(head and it.lines and it.lines[1] > head.seq for it in problems):
                break
            head = self._log.head(name)
        return found

    def _pass(self, segment: Segment) -> None:
        self._done += self._sizes.get(segment.path, 0)
        self._progress(self._done, self._all)
