"""A lock on a file that only one process holds, and that its end lets go, even a sudden one."""

from __future__ import annotations

import sys
from typing import IO

if sys.platform == "win32":  # pragma: no cover - other systems
    import msvcrt

    _FAR = 1 << 30
    """Where the locked byte is: others may read what a file has before it."""

    def lock(file: IO[bytes]) -> bool:
        """Take the lock on a file, if nobody has it. Its end, or closing it, lets it go."""
        file.seek(_FAR)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def lock(file: IO[bytes]) -> bool:
        """Take the lock on a file, if nobody has it. Its end, or closing it, lets it go."""
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
