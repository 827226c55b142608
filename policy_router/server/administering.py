"""Answers administrators: the policy's status, checks and reloads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from msgspec import Struct

from policy_router.server.active import Active
from policy_router.server.asking import Answer, Asked, decoded
from policy_router.server.helpers import Helpers
from policy_router.server.problems import Problem
from policy_router.server.tasks import Task

_PATIENCE_SECONDS: Final = 10.0
_STATUS: Final = b"/v1/policy"
_CONFLICT: Final = 409


class CheckBody(Struct, forbid_unknown_fields=True):
    """A policy to be checked: text alone, no folder and no reference in it is looked at.

    Attributes:
        policy: what a rule file holds.
    """

    policy: str


class Administrators:
    """Answers administrators."""

    def __init__(
        self,
        active: Active,
        helpers: Helpers,
        reload: Callable[[], Awaitable[dict[str, Any]]],
    ) -> None:
        """Keep what the answers need.

        Args:
            active: the policy that decides.
            helpers: check.
            reload: loads the policy again.
        """
        self._active, self._helpers, self._reload = active, helpers, reload
        self._running: asyncio.Future[dict[str, Any]] | None = None

    async def status(self, asked: Asked) -> Answer:
        """Tell which policy decides, since when, and what is wrong with a newer version."""
        asked.options()
        return Answer.of(self._active.status())

    async def check(self, asked: Asked) -> Answer:
        """Find what is wrong with a policy."""
        asked.options()
        wanted = decoded(asked.body, CheckBody)
        with self._helpers.check():
            return Answer.of(await self._helpers.report(Task("check", text=wanted.policy)))

    async def reload(self, asked: Asked) -> Answer:
        """Load the policy again: the outcome, or where to look for it once that takes long."""
        asked.options()
        if asked.body not in {b"", b"{}"}:
            raise Problem(422, "bad_request", "nothing is asked for here", path="$")
        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(self._reload())
        done, _ = await asyncio.wait([self._running], timeout=_PATIENCE_SECONDS)
        if not done:
            headers = ((b"location", _STATUS),)
            return Answer(b'{"outcome":"pending"}', 202, headers)
        outcome = self._running.result()
        return Answer.of(outcome, _CONFLICT if outcome["outcome"] == "rejected" else 200)
