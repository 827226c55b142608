"""Why a decision is not in a log: it was pruned, or it never was there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from policy_router.log.entry import Kind
from policy_router.log.read.reading import Line, LogReader, NoDecisionError

_UUID7: Final = re.compile(
    "([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
)
_MICROSECONDS: Final = 1000


class Absence(StrEnum):
    """Why a decision is not there, as the end of a sentence about it."""

    PRUNED = "is not here: it may have been pruned"
    """Lines as old as it were pruned."""
    NEVER_WAS = "is not here, and nothing as old as it was pruned: it never was in this log"
    """No line as old as it was pruned."""


def absence_of(
    reader: LogReader, lines: Sequence[Line], decision_id: str | None = None
) -> Absence | None:
    """Return why a decision is not in a log; None where it is.

    Args:
        reader: reads the log.
        lines: the lines that are about it.
        decision_id: its id, where no line is given.
    """
    if decision_id is not None:
        try:
            lines = reader.about(decision_id)
        except NoDecisionError:
            lines = ()
    if any(line.entry.kind is Kind.DECISION for line in lines):
        return None
    name = decision_id if decision_id is not None else str(lines[0].entry.id)
    time = _time_of(name, lines)
    pruned = reader.pruned_before()
    return Absence.PRUNED if pruned is not None and time < pruned else Absence.NEVER_WAS


def _time_of(decision_id: str, lines: Sequence[Line]) -> int:
    """Return when a decision was made at the latest, in microseconds since 1970.

    A UUID of version 7 (RFC 9562) begins with the milliseconds.
    """
    times = [line.entry.time for line in lines]
    found = _UUID7.fullmatch(decision_id)
    if found is not None:
        times.append(int(found[1] + found[2], 16) * _MICROSECONDS)
    return min(times, default=0)
