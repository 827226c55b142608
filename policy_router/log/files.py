"""Plain files: opened only where they are files, and written whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import secrets
import stat
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Final

SMALL: Final = 1 << 20
"""More bytes than a head, a checkpoint or a statement has."""
_BINARY: Final = getattr(os, "O_BINARY", 0)
_NO_FOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT: Final = getattr(os, "O_NONBLOCK", 0)
_NO_FILE: Final = "it is not a regular file"


def open_file(path: str | Path) -> io.FileIO:
    """Open a file to read it.

    Raises:
        OSError: it cannot be opened, or is a folder, a pipe or a device, which is never opened.
    """
    _check(os.stat(path))  # noqa: PTH116 - the path may be a string
    return _checked(os.open(path, os.O_RDONLY | _BINARY | _NO_WAIT), "rb")


def read_file(path: str | Path, most: int = SMALL) -> bytes:
    """Read a file that has at most so many bytes.

    Raises:
        OSError: it cannot be read, is longer, or is no regular file.
    """
    with open_file(path) as file:
        parts, size = [], 0
        while part := file.read(most + 1 - size):
            parts.append(part)
            size += len(part)
            if size > most:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
        return b"".join(parts)


def opened(path: Path, flags: int = 0) -> io.FileIO:
    """Open a file to read and write, which no link leads to; it is made where it is not there.

    Raises:
        OSError: it cannot be opened, or something else has its name.
    """
    with suppress(FileNotFoundError):
        _check(os.lstat(path))
    number = os.open(path, os.O_RDWR | os.O_CREAT | _BINARY | _NO_FOLLOW | _NO_WAIT | flags, 0o644)
    return _checked(number, "rb+")


def _checked(number: int, mode: str) -> io.FileIO:
    try:
        _check(os.fstat(number))
    except OSError:
        os.close(number)
        raise
    return io.FileIO(number, mode)


def _check(found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, _NO_FILE)


def write_whole(path: Path, content: bytes, *, has_name: bool = True) -> None:
    """Write a file whole or not at all, and on disk when this returns.

    Args:
        path: the file.
        content: what it will hold.
        has_name: whether its name is on disk, too; else :func:`sync_folder` is to be called.

    Raises:
        OSError: it cannot be written; what was there is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        with half.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        half.replace(path)
    except BaseException:
        with suppress(OSError):
            half.unlink(missing_ok=True)
        raise
    if has_name:
        sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder and those it is in, with their names on disk when this returns.

    Raises:
        OSError: one cannot be made.
    """
    new = list(takewhile(lambda it: not it.exists(), (path, *path.parents)))
    path.mkdir(parents=True, exist_ok=True)
    for it in new:
        with suppress(PermissionError):  # what it is in may be written and not read
            sync_folder(it.parent)


def sync_folder(path: Path) -> None:
    """Let the names in a folder be on disk; a system that cannot open folders does so itself."""
    if os.name == "nt":  # pragma: no cover - other systems
        return
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
