"""Targets that a rule may come to, and what conditions see of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from policy_router.analysis.proof.conditions import Conditions
from policy_router.analysis.proof.names import text_name
from policy_router.cel.ast import Attribute, Node
from policy_router.cel.simplify import Known, literal, strings
from policy_router.decision.candidate import known_of
from policy_router.domain import Level, PoolEntry

NO_TARGET: Final[Known] = {
    **{f"target.{key}": literal("") for key in ("name", "model", "provider", "level")},
    **{f"target.{key}": strings(()) for key in ("strengths", "supports")},
    **dict.fromkeys(
        f"target.price.{part}" for part in ("input", "output", "cache_read", "cache_write")
    ),
    "target.context_window": None,
}
"""What an assertion sees of the target of a refusal: nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A target that a rule may come to: an entry, or another model at a provider.

    Attributes:
        level: the level of the rule.
        model: the model: a constant, or a name of the request.
        provider: the provider, in the same way.
        entry: the entry, or None.
        known: what stands for the names of the target.
        marks: for each of these names a number: equal ones stand for the same.
    """

    level: Level
    model: Node
    provider: Node
    entry: PoolEntry | None = None
    known: Known = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)


class Places:
    """The targets of a policy; one that is asked for again is the same."""

    def __init__(self, conditions: Conditions) -> None:
        """Begin with none."""
        self._conditions = conditions
        self._found: dict[object, Place] = {}

    def of(self, entry: PoolEntry, level: Level) -> Place:
        """Return an entry as the target of a level."""
        found = self._found.get((level, entry.position))
        if found is None:
            model, provider = literal(entry.model), provider_of(entry.provider)
            found = self._placed(level, model, provider, entry, known_of(entry, level))
            self._found[level, entry.position] = found
        return found

    def outside(self, model: Node, provider: Node, level: Level) -> Place:
        """Return a target of a level that is no entry."""
        key = level, model, provider
        if key not in self._found:
            said = {"name": model, "model": model, "provider": provider}
            said["level"] = literal(level.value)
            known = {**NO_TARGET, **{f"target.{key}": node for key, node in said.items()}}
            self._found[key] = self._placed(level, model, provider, None, known)
        return self._found[key]

    def _placed(
        self, level: Level, model: Node, provider: Node, entry: PoolEntry | None, known: Known
    ) -> Place:
        marks = {path: self._conditions.mark(node) for path, node in known.items()}
        return Place(level, model, provider, entry, known, marks)


def provider_of(name: str | None) -> Node:
    """Return the provider that a name stands for; none is the parent's."""
    return literal(name) if name else text_name("parent.provider")


def wished(level: Level) -> tuple[Attribute, Attribute]:
    """Return the names of the model and the provider that a level wishes for."""
    return text_name(f"{level.value}.model"), text_name(f"{level.value}.provider")
