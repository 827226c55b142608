"""Claiming a writer: the lock on its head, which only one process holds."""

from __future__ import annotations

import errno
import io
import os
import secrets
import threading
import time
import weakref
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from policy_router.log.entry import GENESIS
from policy_router.log.files import opened, sync_folder
from policy_router.log.folder import LogFolder
from policy_router.log.heads import Head
from policy_router.log.lock import lock

_POLL_SECONDS = 0.05


def claimed(folder: LogFolder, names: Iterable[str], patience: float) -> tuple[str, io.FileIO]:
    """Return a writer nobody else is, with its head's file, which keeps the lock."""
    until = time.monotonic() + patience
    while True:
        for name in names:
            try:
                file = _claim(folder, name)
            except PermissionError:
                if not (folder.heads / name).exists():
                    raise
                continue  # It is the writer of another user.
            try:
                is_free = lock(file)
            except BaseException:
                file.close()
                raise
            if is_free:
                return name, file
            file.close()
        if time.monotonic() >= until:
            raise BlockingIOError(errno.EAGAIN, "another process is this writer of the log")
        time.sleep(_POLL_SECONDS)


_CLAIMS: Final[list[weakref.ref[io.FileIO]]] = []
_CLAIMING: Final = threading.RLock()
"""Held while one is added, and during a fork."""


def _claim(folder: LogFolder, name: str) -> io.FileIO:
    """Open a file that is to be locked, which a process that is forked does not keep open."""
    path = folder.heads / name
    with _CLAIMING:
        if not path.exists() and not (folder.path / name).exists():
            _make_head(path)
        file = opened(path)
        _CLAIMS[:] = [it for it in _CLAIMS if it() is not None]
        _CLAIMS.append(weakref.ref(file))
    return file


def _make_head(path: Path) -> None:
    """Make the head of a new writer, so that it is never there without what it says."""
    half = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with half.open("xb") as stream:
            stream.write(Head(1, 0, 0, GENESIS).to_bytes())
            stream.flush()
            os.fsync(stream.fileno())
        with suppress(OSError):  # Another process made it, or files can have one name only.
            os.link(half, path)
        sync_folder(path.parent)
    finally:
        half.unlink(missing_ok=True)


def _forget_claims() -> None:
    """Leave the writers to the process that this one was forked from, whatever it was about."""
    try:
        for claim in _CLAIMS:
            if (file := claim()) is not None:
                file.close()
    finally:
        _CLAIMING.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_CLAIMING.acquire,
        after_in_parent=_CLAIMING.release,
        after_in_child=_forget_claims,
    )
