"""Ends whose decisions are in another piece of a log, kept until these are looked for."""

from __future__ import annotations

from zlib import crc32

from msgspec import Struct, field

from policy_router.log.report.cost_status import Run

MOST_PENDING = 50_000
"""How many decisions, whose ends came late, are looked for on one pass."""


class Pending(Struct):
    """Ends whose decisions are elsewhere: all, or so many that memory holds them.

    Attributes:
        ends: the ends by the id of the decision.
        parts: in how many parts the ids are cut, so that one part is not too much.
    """

    ends: dict[str, list[Run]] = field(default_factory=dict)
    parts: int = 1

    def take(self, ends: dict[str, list[Run]]) -> None:
        """Keep more ends; where they are too many, those of the first part alone."""
        for decision_id, runs in ends.items():
            if is_of_part(decision_id, self.parts, 0):
                self.ends.setdefault(decision_id, []).extend(runs)
        while len(self.ends) > MOST_PENDING:
            self.parts *= 2
            self.ends = {
                key: runs for key, runs in self.ends.items() if is_of_part(key, self.parts, 0)
            }


def is_of_part(decision_id: str, parts: int, part: int) -> bool:
    """Tell whether an id is of a part of all ids."""
    return parts == 1 or crc32(decision_id.encode()) % parts == part
