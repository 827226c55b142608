"""What was done without being logged, until a line of the log says so."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

from policy_router.errors import LogError
from policy_router.log.entry import Gap, Kind
from policy_router.log.write.drafts import Draft

_NOTHING: Final = Gap("unlogged")


class UnloggedCounter:
    """Counts decisions and executions that are not logged. Safe to share between threads."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.RLock()  # a signal handler may count, too
        self._gap = _NOTHING

    @property
    def decisions(self) -> int:
        """How many decisions are missing."""
        return self._gap.decisions

    @property
    def executions(self) -> int:
        """How many execution events are missing."""
        return self._gap.executions

    def __bool__(self) -> bool:
        """Whether anything is missing."""
        return bool(self._gap.decisions or self._gap.executions)

    def gap(self) -> Gap | None:
        """Return what is missing, to be written as a gap; None where nothing is."""
        found = self._gap
        return None if found is _NOTHING else found

    def forget(self, gap: Gap) -> None:
        """Forget what a gap line tells now; what came since is still missing."""
        with self._lock:
            now = self._gap
            decisions, executions = now.decisions - gap.decisions, now.executions - gap.executions
            rest = Gap("unlogged", decisions, executions, 0, now.since, now.error)
            self._gap = rest if decisions or executions else _NOTHING

    def count(self, drafts: Sequence[Draft], problem: LogError) -> None:
        """Count lines that are not in the log, of what was done nevertheless."""
        kinds = [it.kind for it in drafts]
        decisions, executions = kinds.count(Kind.DECISION), kinds.count(Kind.EXECUTION)
        if decisions or executions:
            more = Gap("unlogged", decisions, executions, 0, drafts[0].time, problem.reason)
            with self._lock:
                self._gap = _sum(self._gap, more)


def _sum(first: Gap, second: Gap) -> Gap:
    """Return what is missing together, since the earlier one."""
    return Gap(
        "unlogged",
        first.decisions + second.decisions,
        first.executions + second.executions,
        0,
        second.since if first is _NOTHING else first.since,
        second.error or first.error,
    )
