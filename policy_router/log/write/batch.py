"""Lines that are written together, and who waits for them: see the group commit in ``group``."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from policy_router.errors import LogError
from policy_router.log.write.drafts import Draft

if TYPE_CHECKING:
    import asyncio


class Batch:
    """Lines that are written together, and who waits for them."""

    __slots__ = ("drafts", "problem", "tasks", "waiters")

    def __init__(self) -> None:
        self.drafts: list[Draft] = []
        self.waiters: list[Waiter] = []
        self.tasks: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        self.problem: LogError | None = None

    @property
    def is_awaited(self) -> bool:
        """Whether anybody waits for it."""
        return bool(self.waiters or self.tasks)


class Waiter:
    """A thread that waits until its lines are written, or until it is to write."""

    __slots__ = ("can_lead", "gate", "leads")

    def __init__(self, *, can_lead: bool) -> None:
        self.gate = threading.Lock()
        self.gate.acquire()
        self.can_lead, self.leads = can_lead, False


def pass_on(batch: Batch) -> None:
    """Wake one who waits for a batch that is written, who wakes the next.

    To wake all of them at once would let them crowd at the interpreter's lock.
    """
    while batch.waiters:
        waiter = batch.waiters.pop()
        waiter.gate.release()
        if waiter.can_lead:  # it wakes the next; an interrupted main thread might not
            return
