"""Ids: of decisions, UUIDs that sort by their time; of sessions, what a header can carry."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Callable
from typing import Final

from policy_router.errors import RequestError

Ids = Callable[[datetime.datetime], str]
"""Returns a new id for something that happens at a time."""

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MILLISECOND = datetime.timedelta(milliseconds=1)
_AT_A_TIME: Final = 100
_chance: list[bytes] = []
_SESSION: Final = re.compile(r"[!-~](?:[ -~]{0,198}[!-~])?")


def uuid7(now: datetime.datetime) -> str:
    """Return a new UUID of version 7 (RFC 9562, section 5.7): milliseconds, then chance.

    Args:
        now: the time that it is to sort by; before 1970 counts as 1970.
    """
    time = f"{max(0, (now - _EPOCH) // _MILLISECOND):012x}"
    chance = _ten_bytes()
    digits = chance.hex()
    variant = "89ab"[chance[9] & 3]
    return f"{time[:8]}-{time[8:]}-7{digits[:3]}-{variant}{digits[3:6]}-{digits[6:18]}"


def _ten_bytes() -> bytes:
    """Return bytes of chance from the system, which is asked for many at a time.

    To ask lets other threads run, and in a crowd it would take long to come back.
    """
    try:
        return _chance.pop()
    except IndexError:
        many = os.urandom(10 * _AT_A_TIME)
        _chance.extend(many[place : place + 10] for place in range(10, len(many), 10))
        return many[:10]


def check_session(session_id: object) -> None:
    """Refuse the id of a session that no header can carry.

    Raises:
        RequestError: it is empty, longer than 200 characters, or not printable ASCII.
    """
    if not isinstance(session_id, str) or not _SESSION.fullmatch(session_id):
        reason = "the session's id must be 1 to 200 printable ASCII characters"
        raise RequestError("$.session_id", reason)


if hasattr(os, "register_at_fork"):  # a forked process has its own chance
    os.register_at_fork(after_in_child=_chance.clear)
