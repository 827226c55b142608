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
