"""The end of a process closes the logs that are open in it; one that is forked has its own.

A child of :mod:`multiprocessing` may end without what :mod:`atexit` has, so that they are closed as
one of its own finalizers.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from typing import Any, Final, Protocol

from policy_router.calls.notifications import LOGGER
from policy_router.log.folder import LogFolder


class Open(Protocol):
    """A log that is open."""

    folder: LogFolder

    def close(self) -> None:
        """Close it."""

    def _forked(self) -> None:
        """Be another writer than the process that this one was forked from."""


OPEN: Final[weakref.WeakSet[Open]] = weakref.WeakSet()
"""The logs of this process."""
_REGISTERED: Final[list[bool]] = []
"""Whether children of ``multiprocessing`` know; one that is forked has both."""


class _Closer(threading.Thread):
    """Waits for all other threads, but for those that do."""


def _close_all() -> None:
    for log in list(OPEN):
        try:
            log.close()
        except Exception:  # noqa: BLE001 - the others are closed nevertheless
            LOGGER.exception("the log %s was not closed", log.folder.path)


def _close_in_the_end() -> None:
    """Close all logs when the last thread is done that the end of the process waits for."""
    if threading.current_thread() is threading.main_thread() and _running():
        _Closer(target=_close_in_the_end, name="policy-router log").start()
        return
    while running := _running():
        running[0].join()
    _close_all()


def _running() -> list[threading.Thread]:
    """Return the other threads that the end of the process waits for."""
    others = [it for it in threading.enumerate() if it is not threading.main_thread()]
    return [it for it in others if not it.daemon and not isinstance(it, _Closer)]


def _after_fork() -> None:
    for log in list(OPEN):
        log._forked()  # noqa: SLF001 - it is a part of the log
    _end_with_multiprocessing()


def _end_with_multiprocessing() -> None:
    """Close the logs of children of ``multiprocessing``, of which this may be one."""
    util = sys.modules.get("multiprocessing.util")
    if util is None:
        return
    if not _REGISTERED:
        _REGISTERED.append(True)
        util.register_after_fork(OPEN, lambda _logs: _finalize(util))
    if sys.modules["multiprocessing.process"].parent_process() is not None:
        _finalize(util)


def _finalize(util: Any) -> None:
    util.Finalize(None, _close_in_the_end, exitpriority=0)


atexit.register(_close_all)
_end_with_multiprocessing()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
