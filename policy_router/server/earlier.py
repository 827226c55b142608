"""Decisions of a moment ago: what an agent runs on, by the id of the decision that says so."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct, UnsetType

from policy_router.decision.record import DecisionRecord
from policy_router.domain import FrozenDict
from policy_router.errors import LogError, RecordError
from policy_router.parameters import EFFORT
from policy_router.runtime.log.entry import Kind, is_id
from policy_router.runtime.log.read.reading import LogReader

_MOST: Final = 10_000


class Earlier(Struct, frozen=True):
    """A decision that a child runs by.

    Attributes:
        caller: the id of the caller; empty where nobody was known.
        parent: the section ``parent`` of what the child delegates; None where it was refused.
    """

    caller: str
    parent: Mapping[str, Any] | None

    @classmethod
    def of(cls, record: DecisionRecord) -> Earlier:
        """Return what is needed of a decision."""
        target = record.decision.target
        caller = record.request.get("caller", {}).get("id", "")
        if isinstance(target, UnsetType):
            return cls(caller, None)
        effort = target.parameters.get(EFFORT)
        parent = {
            "model": target.model,
            "provider": target.provider,
            "depth": record.request.get("parent", {}).get("depth", 0) + 1,
            **({EFFORT: effort} if isinstance(effort, str) else {}),
        }
        return cls(caller, FrozenDict(parent))


class EarlierDecisions:
    """The last decisions of this worker, and behind them the log."""

    def __init__(self, folder: str | None) -> None:
        """Begin with what is in a log.

        Args:
            folder: the log; None where there is none.
        """
        self._folder = folder
        self._records: dict[str, DecisionRecord] = {}

    def keep(self, decision_id: str, record: DecisionRecord) -> None:
        """Remember a decision, and forget the oldest where there are too many."""
        records = self._records
        records[decision_id] = record
        if len(records) > _MOST:
            del records[next(iter(records))]

    async def find(self, decision_id: str) -> Earlier | None:
        """Return a decision by its id; None where there is none."""
        record = self._records.get(decision_id)
        if record is None and self._folder is not None and is_id(decision_id):
            record = await asyncio.to_thread(self._read, self._folder, decision_id)
        return None if record is None else Earlier.of(record)

    def _read(self, folder: str, decision_id: str) -> DecisionRecord | None:
        try:
            lines = LogReader(folder).about(decision_id)
            made = (it.entry for it in lines if it.entry.kind is Kind.DECISION)
            return next((it.decision_record for it in made if it.id == decision_id), None)
        except (LogError, RecordError):
            return None
