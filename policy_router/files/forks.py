"""Renews locks, event loops and connections in a forked process.

Of the process that this one was forked from, nothing may be used: its threads are not here, and its
sockets are its own. Nothing of it may be closed either: an event loop shares its selector with it.
"""

from __future__ import annotations

import os
import weakref
from typing import Any, Final, Protocol


class BeginsAgain(Protocol):
    """Something that has locks, threads or connections."""

    def begin_again(self) -> None:
        """Be as new, without any of what the process had that this one was forked from."""


_KNOWN: Final[weakref.WeakSet[BeginsAgain]] = weakref.WeakSet()
_KEPT: Final[list[Any]] = []
"""What is of another process: it is kept, so that nothing ends it here."""


def begins_again(it: BeginsAgain) -> None:
    """Let something begin again in every process that is forked from this one."""
    _KNOWN.add(it)


def keep(*things: Any) -> None:
    """Keep what is of the process that this one was forked from, and never end it."""
    _KEPT.extend(things)


def _after_fork() -> None:
    for it in list(_KNOWN):
        it.begin_again()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
