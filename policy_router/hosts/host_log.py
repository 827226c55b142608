"""The log of a host: each decision is in it before anybody acts on it, or it is refused."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from msgspec import UNSET, UnsetType

from policy_router.delegation.batch import Planned
from policy_router.delegation.current_decision import parent_of
from policy_router.domain import Policy
from policy_router.hosts.refused import LOG_UNAVAILABLE, refusing
from policy_router.log.write.decision_log import DecisionLog
from policy_router.log.write.drafts import Decided

_DENIED = "the decision cannot be logged, so it is denied"


class HostLog:
    """A log, or none.

    Attributes:
        decisions: the log; None where nothing is logged.
    """

    def __init__(self, log: DecisionLog | str | os.PathLike[str] | None) -> None:
        """Keep a log.

        Args:
            log: a log, which is not closed here; or the folder of one, which is.
        """
        self._is_own = isinstance(log, str | os.PathLike)
        self.decisions = DecisionLog(Path(log)) if isinstance(log, str | os.PathLike) else log

    def keep(
        self,
        policy: Policy,
        made: Sequence[Planned],
        parent_id: str | None,
        trace: str | None = None,
    ) -> None:
        """Log decisions.

        Raises:
            RefusedError: they cannot be logged.
            LogError: the same.
        """
        if self.decisions is not None:
            with refusing(LOG_UNAVAILABLE, _DENIED):
                self.decisions.decisions(policy, _drafts(made, parent_id, trace))

    async def keep_async(
        self,
        policy: Policy,
        made: Sequence[Planned],
        parent_id: str | None,
        trace: str | None = None,
    ) -> None:
        """Log decisions like :meth:`keep`, without blocking the running event loop."""
        if self.decisions is not None:
            with refusing(LOG_UNAVAILABLE, _DENIED):
                await self.decisions.decisions_async(policy, _drafts(made, parent_id, trace))

    def flush(self) -> None:
        """Wait until the lines so far are on disk, or cannot be written."""
        if self.decisions is not None:
            self.decisions.flush()

    async def flush_async(self) -> None:
        """Wait as :meth:`flush` does, without blocking the running event loop."""
        if self.decisions is not None:
            await self.decisions.flush_async()

    def close(self) -> None:
        """Close the log, where it was opened here."""
        if self._is_own and self.decisions is not None:
            self.decisions.close()


def _drafts(made: Sequence[Planned], parent_id: str | None, trace: str | None) -> list[Decided]:
    """Return decisions as they are logged, below the one that the child at hand runs by."""
    above = parent_of(parent_id)
    kept: str | UnsetType = UNSET if trace is None else trace
    return [
        Decided(it.record, it.decision_id, above, trace=kept, session_id=it.session_id)
        for it in made
    ]
