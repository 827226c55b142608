"""A candidate, and the values of the names that conditions read of it: ``target`` and below."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from policy_router.cel.ast import STRING, Attribute, Node
from policy_router.cel.simplify import Known, literal, strings
from policy_router.domain import Level, PoolEntry

_PARENT_PROVIDER: Final = Attribute(STRING, 0, 0, "parent.provider")
"""What the provider of an entry without one is."""


class Candidate(Struct, frozen=True):
    """A target that a level proposes, before anyone has said whether it may be used.

    Attributes:
        model: the model's id.
        provider: the provider's name, or ``""``.
        level: the level that proposes it.
        entry: the pool entry that it is, or None.
    """

    model: str
    provider: str
    level: Level
    entry: PoolEntry | None = None

    @property
    def name(self) -> str:
        """The name of the entry; the model's id where there is none."""
        return self.entry.name if self.entry else self.model

    def values(self) -> dict[str, Any]:
        """Return the values of the names that begin with ``target``."""
        values = {
            "name": self.name,
            "model": self.model,
            "provider": self.provider,
            "level": self.level.value,
            "strengths": (),
            "supports": (),
        }
        return values if self.entry is None else {**values, **_attributes(self.entry)}


def _attributes(entry: PoolEntry) -> dict[str, Any]:
    """Return the values of the names about an entry that are the same for all candidates."""
    given = {key: value for key, value in _optional(entry).items() if value is not None}
    return {"strengths": entry.strengths, "supports": entry.supports or (), **given}


def _optional(entry: PoolEntry) -> dict[str, float | None]:
    """Return the values of the names about an entry that may be absent."""
    price = entry.price
    return {
        "price.input": price.input,
        "price.output": price.output,
        "price.cache_read": price.cache_read,
        "price.cache_write": price.cache_write,
        "context_window": entry.context_window,
    }


def known_of(entry: PoolEntry, level: Level) -> Known:
    """Return what stands for the names of an entry, as the candidate of a level."""
    provider = literal(entry.provider) if entry.provider else _PARENT_PROVIDER
    return {
        "target.name": literal(entry.name),
        "target.model": literal(entry.model),
        "target.provider": provider,
        "target.level": literal(level.value),
        "target.strengths": strings(entry.strengths),
        "target.supports": strings(entry.supports or ()),
        **{f"target.{key}": _constant(value) for key, value in _optional(entry).items()},
    }


def _constant(value: float | None) -> Node | None:
    return None if value is None else literal(value)
