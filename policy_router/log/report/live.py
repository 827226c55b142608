"""Which revision of a policy was live on which writer, and when it changed."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from policy_router.log.entry import (
    UNREADABLE,
    Kind,
    known_record_view,
)
from policy_router.log.folder import LogFolder, Progress, readable
from policy_router.log.replay.chunks import Chunk, chunks, over_all
from policy_router.log.used_policy import UsedPolicy

MOST_SPANS: Final = 1_000
"""How many changes are told apart in a piece of a log; more are two policies at the same time."""


class LiveSpan(Struct):
    """A time in which a writer decided by one revision.

    Attributes:
        writer: the name of the writer.
        name: the name of the policy.
        revision: its revision.
        first: the time of the first line, in microseconds since 1970.
        last: the time of the last one.
        decisions: how many decisions were made.
        loaded_by: who loaded it; None where the log does not say.
        origin_commit: the commit that its rule files come from; None where the log does not say.
    """

    writer: str
    name: str
    revision: str
    first: int
    last: int
    decisions: int = 0
    loaded_by: str | None = None
    origin_commit: str | None = None

    def take(self, other: LiveSpan) -> None:
        """Go on with what comes later."""
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        self.decisions += other.decisions
        self.loaded_by = other.loaded_by or self.loaded_by
        self.origin_commit = other.origin_commit or self.origin_commit


class PolicyChange(Struct, frozen=True):
    """A writer went from one revision to another one.

    Attributes:
        writer: the name of the writer.
        time: when it decided by the new one for the first time, in microseconds since 1970.
        before: the old revision.
        after: the new revision.
    """

    writer: str
    time: int
    before: str
    after: str


def live_policies(
    folder: str | Path,
    *,
    executor: Executor | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[LiveSpan]:
    """Return when which revision was live, writer by writer.

    Args:
        folder: the log.
        executor: runs the work; default for a large log: processes on all cores.
        workers: the number of processes; default: the number of cores.
        progress: is called with the progress.

    Raises:
        LogError: there is no log.
    """
    log = LogFolder.existing(folder)
    spread = partial(over_all, executor=executor, workers=workers, progress=progress)
    found: list[LiveSpan] = []
    with readable(log):
        for part in spread(_spans, chunks(log)):
            for span in part:
                _append(found, span)
    return found


def policy_changes(spans: Iterable[LiveSpan]) -> list[PolicyChange]:
    """Return when writers went from one revision to another one, the earliest first."""
    found, before = [], dict[str, LiveSpan]()
    for span in spans:
        old = before.get(span.writer)
        if old is not None and old.revision != span.revision:
            found.append(PolicyChange(span.writer, span.first, old.revision, span.revision))
        before[span.writer] = span
    return sorted(found, key=lambda it: (it.time, it.writer))


def _spans(chunk: Chunk) -> list[LiveSpan]:
    """Return the spans of a piece of a log."""
    found: list[LiveSpan] = []
    writer = Path(chunk.path).parent.name
    for line in chunk.views():
        if line is None:
            continue
        if line.kind == Kind.DECISION:
            view = known_record_view(line.record)
            if view is not None:
                name, revision = view.policy.name, view.policy.revision
                _append(found, LiveSpan(writer, name, revision, line.time, line.time, 1))
        elif line.policy and (used := _used(line.policy)) is not None:
            origin = used.loaded_by, used.origin_commit
            span = LiveSpan(writer, used.name, used.revision, line.time, line.time, 0, *origin)
            _append(found, span)
        if len(found) > MOST_SPANS:
            found = _together(found)
    return found


def _append(found: list[LiveSpan], span: LiveSpan) -> None:
    """Add a span; one that goes on with the last one becomes a part of it."""
    last = found[-1] if found else None
    if last is not None and (last.writer, last.revision) == (span.writer, span.revision):
        last.take(span)
    else:
        found.append(span)


def _together(spans: list[LiveSpan]) -> list[LiveSpan]:
    """Return one span for each revision, where they are live at the same time."""
    found: dict[str, LiveSpan] = {}
    for span in spans:
        known = found.setdefault(span.revision, span)
        if known is not span:
            known.take(span)
    return list(found.values())


def _used(content: msgspec.Raw) -> UsedPolicy | None:
    try:
        return _USED.decode(content)
    except UNREADABLE:
        return None


_USED = msgspec.json.Decoder(UsedPolicy)
