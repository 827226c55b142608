"""Finds decisions by their ids: recent ones in this worker, all others in the log."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct, UnsetType

from policy_router.decision.record import DecisionRecord, Target
from policy_router.domain import FrozenDict
from policy_router.errors import LogError, RecordError
from policy_router.log.entry import Kind, LogEntry, is_id
from policy_router.parameters import EFFORT
from policy_router.server.index import Index

_MOST: Final = 10_000
_NOTHING: Final[Mapping[str, Any]] = FrozenDict()
_UUID7: Final = re.compile(r"([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_FRESH_SECONDS: Final = 10.0
_PATIENCE_SECONDS: Final = 2.0
_POLL_SECONDS: Final = 0.1


class Earlier(Struct, frozen=True, gc=False):
    """What is kept of a decision, for the child that runs by it.

    Attributes:
        caller: the id of the caller; empty where nobody was known.
        target: what the child runs on; None where the request was refused.
        depth: how deep the agent is that the decision was made for.
        revision: the policy that decided.
    """

    caller: str
    target: Target | None
    depth: int
    revision: str

    @classmethod
    def of(cls, record: DecisionRecord) -> Earlier:
        """Return what is kept of a decision."""
        request, target = record.request, record.decision.target
        return cls(
            request.get("caller", _NOTHING).get("id", ""),
            None if isinstance(target, UnsetType) else target,
            request.get("parent", _NOTHING).get("depth", 0),
            record.policy.revision,
        )

    def parent(self) -> FrozenDict | None:
        """Return the section ``parent`` of what the child delegates."""
        target = self.target
        if target is None:
            return None
        effort = target.parameters.get(EFFORT)
        known = {EFFORT: effort} if isinstance(effort, str) else {}
        runs = {"model": target.model, "provider": target.provider, "depth": self.depth + 1}
        return FrozenDict({**runs, **known})


class EarlierDecisions:
    """The last decisions of this worker, and behind them the log."""

    def __init__(self, index: Index | None) -> None:
        """Begin with what is in a log.

        Args:
            index: that of the log; None where there is none.
        """
        self._index = index
        self._kept: dict[str, Earlier] = {}
        self._older: dict[str, Earlier] = {}

    def keep(self, decision_id: str, record: DecisionRecord) -> None:
        """Remember a decision, and forget old ones where there are too many."""
        if len(self._kept) >= _MOST:
            self._kept, self._older = {}, self._kept
        self._kept[decision_id] = Earlier.of(record)

    async def find(self, decision_id: str) -> Earlier | None:
        """Return what is kept of a decision; None where there is none."""
        found = self._kept.get(decision_id) or self._older.get(decision_id)
        if found is None and (record := await self.record(decision_id)) is not None:
            found = Earlier.of(record)
        return found

    async def record(self, decision_id: str) -> DecisionRecord | None:
        """Return the record of a decision from the log; None where there is none."""
        if self._index is None or not is_id(decision_id):
            return None
        lines, _ = await self.lines(decision_id)
        try:
            entries = map(LogEntry.from_json, lines)
            return next((it.decision_record for it in entries if it.kind is Kind.DECISION), None)
        except RecordError:
            return None

    async def lines(self, decision_id: str) -> tuple[list[bytes], list[bytes]]:
        """Return the lines about a decision, and the decisions of its child.

        Another worker may have made it a moment ago: a new id is waited for, until the index
        has it.
        """
        if self._index is None:
            return [], []
        end = time.monotonic() + (_PATIENCE_SECONDS if _is_fresh(decision_id) else 0.0)
        while True:
            try:
                found = await asyncio.to_thread(self._index.about, decision_id)
            except LogError:
                found = ([], [])
            if found[0] or time.monotonic() >= end:
                return found
            await asyncio.sleep(_POLL_SECONDS)


def _is_fresh(decision_id: str) -> bool:
    """Tell whether an id was made in the last seconds, as it says itself."""
    match = _UUID7.fullmatch(decision_id)
    if match is None:
        return False
    made = int(match[1] + match[2], 16) / 1000
    return abs(time.time() - made) < _FRESH_SECONDS
