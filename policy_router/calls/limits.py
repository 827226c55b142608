"""How long one attempt at a provider may take."""

from __future__ import annotations

from msgspec import Struct


class Limits(Struct, frozen=True):
    """What one attempt may take, in seconds; None is no limit.

    Attributes:
        first_byte: from the request until the answer begins.
        idle: between two pieces of an answer; comments and empty pieces are none.
        total: from the request until the answer's end.
    """

    first_byte: float | None = None
    idle: float | None = None
    total: float | None = None


def limits_of(
    timeout: float, *, deadline: float | None, retries: int, longest_wait: float, workers: int
) -> Limits:
    """Return the limits of each attempt, by the options of an executor or a host.

    Raises:
        ValueError: an option has a wrong value.
    """
    if timeout <= 0 or retries < 0 or longest_wait < 0:
        raise ValueError("the timeout must be above 0, retries and longest_wait at least 0")
    if deadline is not None and deadline <= 0:
        raise ValueError("the deadline must be above 0")
    if workers < 1:
        raise ValueError("the workers must be above 0")
    return Limits(timeout, timeout)
