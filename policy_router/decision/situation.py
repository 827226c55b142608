"""A policy met by a request: facts bound for the engine, conditions answered on demand."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from policy_router.domain import Level, Policy, PoolEntry
from policy_router.expressions.condition import Condition
from policy_router.expressions.engine import FAILURE, Activation, Outcome, Truth, truth

_EMPTY: Mapping[str, Any] = {}


class Candidate:
    """A target that a level proposes, before anyone has said whether it may be used.

    Attributes:
        model: the model's id.
        provider: the provider's name, or ``""``.
        level: the level that proposes it.
        entry: the pool entry that it is, or None.
    """

    __slots__ = ("_activation", "_base", "entry", "level", "model", "provider")

    def __init__(
        self, model: str, provider: str, level: Level, entry: PoolEntry | None = None
    ) -> None:
        """Propose a model at a provider."""
        self.model, self.provider, self.level, self.entry = model, provider, level, entry
        self._base: Activation | None = None
        self._activation: Activation | None = None

    @property
    def name(self) -> str:
        """The name of the entry; the model's id where there is none."""
        return self.entry.name if self.entry else self.model

    def values(self) -> dict[str, Any]:
        """Return the values of the names that begin with ``target``."""
        entry = self.entry
        values: dict[str, Any] = {
            "name": self.name,
            "model": self.model,
            "provider": self.provider,
            "level": self.level.value,
            "strengths": entry.strengths if entry else (),
            "supports": (entry.supports or ()) if entry else (),
            "price": _prices(entry) if entry else _EMPTY,
        }
        if entry and entry.context_window is not None:
            values["context_window"] = entry.context_window
        return values

    def seen_from(self, base: Activation) -> Activation:
        """Return an activation in which ``target`` is this candidate."""
        if self._activation is None or self._base is not base:
            self._base, self._activation = base, base.extended({"target": self.values()})
        return self._activation


class Situation:
    """What conditions are evaluated in. Used by one decision, in one thread.

    Attributes:
        policy: the policy that decides.
        values: the values of all names of the request, by section.
        now: the time of the decision, in UTC.
    """

    def __init__(
        self, policy: Policy, values: Mapping[str, Mapping[str, Any]], now: datetime.datetime
    ) -> None:
        """Bind the facts once."""
        self.policy, self.values, self.now = policy, values, now
        self._activation = policy.engine.bind({**values, "now": now, "variables": {}})
        self._variables: dict[str, Outcome] = {}

    def evaluate(self, condition: Condition, candidate: Candidate | None = None) -> Outcome:
        """Evaluate an expression, with the variables that it needs."""
        return condition.program.evaluate(self.activation(condition, candidate))

    def truth(self, condition: Condition | None, candidate: Candidate | None = None) -> Truth:
        """Evaluate a condition; an absent one is true."""
        if condition is None:
            return Truth.TRUE
        return truth(condition.program, self.activation(condition, candidate))

    def activation(self, condition: Condition, candidate: Candidate | None = None) -> Activation:
        """Return what a condition is evaluated with, for evaluating its parts too."""
        self._know(condition.variables)
        return candidate.seen_from(self._activation) if candidate else self._activation

    def _know(self, names: tuple[str, ...]) -> None:
        """Evaluate variables not known yet; a failed one stays absent, so that using it fails."""
        missing = [name for name in names if name not in self._variables]
        for variable in self.policy.variables if missing else ():
            if variable.name in missing:
                outcome = variable.condition.program.evaluate(self._activation)
                self._variables[variable.name] = outcome
                known = {k: v for k, v in self._variables.items() if v is not FAILURE}
                self._activation = self._activation.extended({"variables": known})


def _prices(entry: PoolEntry) -> dict[str, float]:
    prices = {"input": entry.price.input, "output": entry.price.output}
    return {key: price for key, price in prices.items() if price is not None}
