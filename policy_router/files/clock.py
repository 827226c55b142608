"""The clock: the one place that asks the system for the time."""

from __future__ import annotations

import datetime
from collections.abc import Callable

Clock = Callable[[], datetime.datetime]
"""Returns the current time, with its time zone."""


def system_clock() -> datetime.datetime:
    """Return the system's time in UTC."""
    return datetime.datetime.now(datetime.UTC)  # noqa: TID251 - the one clock there is
