"""Cases among the lines that a reader gives, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from policy_router.log.entry import Execution, Kind, view_of
from policy_router.log.read.reading import Line, LogReader
from policy_router.log.replay.chunks import Job
from policy_router.log.report.cases import Case, CaseReader, in_time
from policy_router.log.report.cost_status import Run, read_run


class CaseFinder:
    """Makes cases of the lines of a log."""

    def __init__(self, reader: LogReader) -> None:
        """Take what reads the log."""
        self._reader, self._cases = reader, CaseReader(Job.of(reader.folder))

    def newest_first(self) -> Iterator[tuple[Line, Case]]:
        """Yield the decisions, the newest first, each with the ends that came after it."""
        ends: dict[str, list[Run]] = {}
        for line in self._reader.newest_first():
            decision_id = str(line.entry.id)
            if line.entry.kind is Kind.DECISION:
                case = self.case(line, ends.pop(decision_id, ()))
                if case is None:
                    self._reader.unreadable += 1
                else:
                    yield line, case
            elif (run := _run(line)) is not None:
                ends.setdefault(decision_id, []).append(run)

    def oldest_first(self) -> Iterator[tuple[Line, Case]]:
        """Yield the decisions, the oldest first, without what came of them."""
        for line in self._reader.lines():
            if line.entry.kind is Kind.DECISION:
                case = self.case(line, ())
                if case is None:
                    self._reader.unreadable += 1
                else:
                    yield line, case

    def case(self, line: Line, ends: Iterable[Run]) -> Case | None:
        """Return the decision of a line with its ends; None where its record cannot be read."""
        view = view_of(line.content)
        case = None if view is None else self._cases.case(view, line.writer)
        if case is not None:
            case.runs = tuple(sorted(ends, key=in_time))
        return case

    def about(self, lines: Iterable[Line]) -> list[Case]:
        """Return the cases among all lines about one decision: mostly one."""
        lines = list(lines)
        ends = [run for line in lines if (run := _run(line)) is not None]
        made = [it for it in lines if it.entry.kind is Kind.DECISION]
        found = [self.case(line, ends if number == 0 else ()) for number, line in enumerate(made)]
        return [case for case in found if case is not None]


def _run(line: Line) -> Run | None:
    if not isinstance(line.entry.execution, Execution):
        return None
    return read_run(line.entry.time, msgspec.json.encode(line.entry.execution))
