"""Which target gave which answer, so that a call that continues it goes to the same target.

The provider keeps the answer, under the key of the service. So it is the answer of one caller, and
nobody else goes on from it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct, UnsetType

from policy_router.decision.record import DecisionRecord
from policy_router.errors import LogError, RecordError
from policy_router.hosts import Leg
from policy_router.log.entry import Execution, LogEntry
from policy_router.log.write.decision_log import DecisionLog
from policy_router.server.index import Index

ANSWERED: Final = "answered"
"""The event of an answer that can be gone on from."""
_MOST: Final = 10_000
_PATIENCE_SECONDS: Final = 1.0
_POLL_SECONDS: Final = 0.1
_NOTHING: Final[Mapping[str, Any]] = {}


class Origin(Struct, frozen=True, gc=False):
    """Where an answer comes from.

    Attributes:
        caller: the id of the caller that it was given to; empty where nobody was known.
        model: the model's id at its provider.
        provider: the provider's name.
        entry: the name of the pool entry; None where it is none.
    """

    caller: str
    model: str
    provider: str
    entry: str | None = None


class Origins:
    """The origins of the last answers of this worker, and behind them the log."""

    def __init__(self, log: DecisionLog | None, index: Index | None) -> None:
        """Begin with what is in a log.

        Args:
            log: keeps the origins; None where nothing is logged.
            index: that of the log.
        """
        self._log, self._index = log, index
        self._kept: dict[str, Origin] = {}
        self._older: dict[str, Origin] = {}

    def keep(self, answer_id: str, record: DecisionRecord, decision_id: str, leg: Leg) -> None:
        """Remember where an answer comes from, and forget old ones where there are too many."""
        caller = record.request.get("caller", _NOTHING)
        origin = Origin(caller.get("id", ""), leg.target.model, leg.provider, leg.entry)
        if len(self._kept) >= _MOST:
            self._kept, self._older = {}, self._kept
        self._kept[answer_id] = origin
        if self._log is not None:
            event = Execution(
                ANSWERED, origin.provider, origin.model, origin.entry, answer_id=answer_id
            )
            self._log.execution(decision_id, event, record.request.get("caller"))

    async def find(self, answer_id: str, caller: str) -> Origin | None:
        """Return where an answer to a caller comes from; None where there was none.

        Another worker may have given it a moment ago, so the index is waited for.
        """
        found = self._kept.get(answer_id) or self._older.get(answer_id)
        end = time.monotonic() + _PATIENCE_SECONDS
        while found is None and self._index is not None:
            found = await asyncio.to_thread(self._logged, self._index, answer_id)
            if found is None and time.monotonic() >= end:
                break
            if found is None:
                await asyncio.sleep(_POLL_SECONDS)
        return found if found is not None and found.caller == caller else None

    def _logged(self, index: Index, answer_id: str) -> Origin | None:
        try:
            entries = list(map(LogEntry.from_json, index.answered(answer_id)))
        except (LogError, RecordError):
            return None
        for it in entries:
            if not isinstance(it.execution, UnsetType) and it.execution.provider is not None:
                caller = {} if isinstance(it.caller, UnsetType) else it.caller
                made = it.execution
                return Origin(
                    caller.get("id", ""), made.model or "", made.provider or "", made.entry
                )
        return None
