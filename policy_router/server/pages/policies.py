"""The pages of policies: which decided when, what each says, and what tells two of them apart."""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

from msgspec import Struct

from policy_router.files.clock import Clock
from policy_router.server.active import Active
from policy_router.server.asking import Answer, Asked
from policy_router.server.helpers import StayingHelper
from policy_router.server.index import Index
from policy_router.server.pages.background import Background
from policy_router.server.pages.described import described
from policy_router.server.pages.reader import Frame, in_thread
from policy_router.server.pages.rendering import redirect
from policy_router.server.problems import Problem
from policy_router.server.tasks import Task

_HEX: Final = re.compile(r"[0-9a-f]{64}")


class Revision(Struct, frozen=True):
    """A policy that has decided.

    Attributes:
        revision: its revision.
        name: its name.
        first: the time of its first decision, in microseconds since 1970; 0 where it has none.
        last: the time of its last decision.
        decisions: how many it has made.
        refused: how many of these are refusals.
    """

    revision: str
    name: str
    first: int = 0
    last: int = 0
    decisions: int = 0
    refused: int = 0


class Policies:
    """Shows policies."""

    def __init__(
        self,
        frame: Frame,
        active: Active,
        staying: StayingHelper,
        background: Background,
        *,
        place: str | None,
        log: str | None,
        index: Index | None,
        clock: Clock,
    ) -> None:
        """Keep what the pages need.

        Args:
            frame: is around them.
            active: the policy that decides.
            staying: reads the policies beside the log.
            background: runs tests.
            place: the rule file or folder of the policy; None where it is a bundle.
            log: the folder of the log.
            index: the index of the log.
            clock: tells the time.
        """
        self._frame, self._active, self._staying = frame, active, staying
        self._background, self._place, self._log = background, place, log
        self._index, self._clock = index, clock

    async def show(self, asked: Asked) -> Answer:
        """Show which policies decided, and when."""
        asked.options()
        rejected = self._active.rejected
        return await self._frame.page(
            asked,
            "policies",
            "policies",
            revisions=await self.revisions(),
            live=self._active.revision,
            since=self._active.since,
            bundle=self._active.bundle,
            rejected=None if rejected is None or not _is_admin(asked) else rejected,
        )

    async def one(self, asked: Asked) -> Answer:
        """Show what a policy says, and what became of another one in it."""
        hexadecimal = asked.rest
        if not _HEX.fullmatch(hexadecimal):
            raise Problem(404, "unknown_policy", "this is not a revision of a policy")
        options = asked.options("against", "work")
        against, work = options.get("against") or None, options.get("work") or None
        shown = await self._described(f"sha256:{hexadecimal}", against)
        is_live = shown["revision"] == self._active.revision
        return await self._frame.page(
            asked,
            "policy",
            "policies",
            shown=shown,
            against=against,
            revisions=await self.revisions(),
            is_live=is_live,
            has_tests=is_live and self._place is not None,
            work=None if work is None else self._background.find(work),
            work_id=work,
            address=f"/pages/policies/{hexadecimal}",
        )

    async def tested(self, asked: Asked) -> Answer:
        """Begin to run the tests of the policy that decides."""
        self._frame.form(asked)
        if self._place is None:
            raise Problem(404, "no_tests", "the tests of a bundle are run when it is loaded")
        task = Task("test", path=self._place)
        work = self._background.start(task, {"title": "Tests"})
        return redirect(f"/pages/policies/{self._active.revision[7:]}?work={work}#tests")

    async def revisions(self) -> list[Revision]:
        """Return the policies that decided, the last one first, and the live one in any case."""
        rows: list[Any] = [] if self._index is None else await in_thread(self._index.revisions)
        found = [Revision(*row) for row in rows]
        if not any(it.revision == self._active.revision for it in found):
            found.insert(0, Revision(self._active.revision, self._active.policy.name))
        return found

    async def _described(self, revision: str, against: str | None) -> dict[str, Any]:
        policy = self._active.policy
        if revision == policy.revision and against is None:
            return await asyncio.to_thread(described, policy, self._clock())
        if self._log is None:
            raise Problem(404, "unknown_policy", "no other policy is kept: there is no log")
        task = Task("policy", log=self._log, revision=revision, against=against or "")
        shown: dict[str, Any] = await self._staying.report(task)
        return shown


def _is_admin(asked: Asked) -> bool:
    return "admin" in asked.credential.roles
