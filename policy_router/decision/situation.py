"""A policy met by a request: facts bound for the engine, conditions answered on demand."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from policy_router.decision.folded import Folded, Group
from policy_router.decision.lookup import Lookup
from policy_router.decision.plan import Guards, Plan, PlannedForbid
from policy_router.domain import Level, Policy, PoolEntry
from policy_router.expressions.condition import Condition
from policy_router.expressions.engine import FAILURE, Activation, Outcome, Truth, truth

_FEW: Final = 2  # forbid rules that are evaluated one by one
_MANY: Final = 10  # conditions that are evaluated together in the time of one by itself
_EMPTY: Mapping[str, Any] = {}


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


class Situation:
    """What conditions are evaluated in. Used by one decision, in one thread.

    Attributes:
        policy: the policy that decides.
        plan: what is worked out about it.
        values: the values of all names of the request, by section.
        now: the time of the decision, in UTC.
    """

    __slots__ = (
        "_activation",
        "_aim",
        "_standing",
        "_variables",
        "now",
        "plan",
        "policy",
        "values",
    )

    def __init__(
        self, policy: Policy, values: Mapping[str, Mapping[str, Any]], now: datetime.datetime
    ) -> None:
        """Bind the facts once."""
        self.policy, self.values, self.now = policy, values, now
        self.plan = policy.prepared(Plan)
        self._activation = policy.engine.bind({**values, "now": now, "variables": _EMPTY})
        self._aim: tuple[Activation, Candidate | None, Activation] = (
            self._activation,
            None,
            self._activation,
        )
        self._variables: dict[str, Outcome] = {}
        self._standing: Sequence[PlannedForbid] | None = None

    def provider_of(self, entry: PoolEntry) -> str:
        """Return an entry's provider: its own or the policy's, else the parent's."""
        return entry.provider or self.values["parent"]["provider"]

    def candidate(self, entry: PoolEntry, level: Level) -> Candidate:
        """Return an entry as the candidate of a level."""
        return Candidate(entry.model, self.provider_of(entry), level, entry)

    # Conditions as they were written.

    def evaluate(self, condition: Condition, candidate: Candidate | None = None) -> Outcome:
        """Evaluate an expression, with the variables that it needs."""
        return condition.program.evaluate(self.activation(condition, candidate))

    def truth(self, condition: Condition, candidate: Candidate | None = None) -> Truth:
        """Evaluate a condition."""
        return truth(condition.program, self.activation(condition, candidate))

    def activation(self, condition: Condition, candidate: Candidate | None = None) -> Activation:
        """Return what a condition is evaluated with, for evaluating its parts too."""
        self._know(condition.variables)
        return self._aimed_at(candidate) if candidate else self._activation

    def _aimed_at(self, candidate: Candidate) -> Activation:
        base, aim, aimed = self._aim
        if aim is not candidate or base is not self._activation:
            aimed = self._activation.extended({"target": candidate.values()})
            self._aim = self._activation, candidate, aimed
        return aimed

    def _know(self, names: tuple[str, ...]) -> None:
        """Evaluate variables not known yet; a failed one stays absent, so that using it fails."""
        if not names or all(name in self._variables for name in names):
            return
        for variable in self.policy.variables:
            name = variable.name
            if name in names and name not in self._variables:
                self._variables[name] = variable.condition.program.evaluate(self._activation)
                known = {k: v for k, v in self._variables.items() if v is not FAILURE}
                self._activation = self._activation.extended({"variables": known})

    # Folded conditions, which come to the same.

    def outcome(self, folded: Folded, candidate: Candidate | None = None) -> Outcome:
        """Evaluate what is left of a condition; where that fails, all of it, as it was written."""
        if folded.constant is not None:
            return folded.constant
        if folded.program is not None:
            self._know(folded.variables)
            activation = self._activation
            if folded.aimed and candidate is not None:
                activation = self._aimed_at(candidate)
            found = folded.program.evaluate(activation)
            if found is not FAILURE:
                return found
        condition = folded.condition
        return FAILURE if condition is None else self.evaluate(condition, candidate)

    def outcomes(self, group: Group, wanted: Sequence[int] | None = None) -> list[Outcome]:
        """Evaluate conditions together, and one by one those for which that fails.

        Args:
            group: the conditions.
            wanted: the places of those that matter; None for all. Others may be without an
                outcome.
        """
        found: list[Outcome] = [FAILURE] * len(group.members)
        if group.fused is not None and (wanted is None or _MANY * len(wanted) >= len(found)):
            self._know(group.variables)
            found = group.fused.outcomes(self._activation)
        for place in range(len(found)) if wanted is None else wanted:
            if found[place] is FAILURE:
                entry = group.entries[place] if group.entries else None
                candidate = self.candidate(entry, group.level) if entry else None
                found[place] = self.outcome(group.members[place], candidate)
        return found

    def look_up(self, lookup: Lookup) -> tuple[Sequence[int], set[int]]:
        """Return the places of the conditions that are true, in order, and of those that fail."""
        buckets = lookup.buckets(self.values)
        if not buckets:
            return (), set()
        runs: list[Sequence[int]] = []
        several: set[tuple[int, ...]] = set()
        single: set[int] = set()
        for bucket in buckets:
            if bucket.sure:
                runs.append(bucket.sure)
            if bucket.several:
                several.add(bucket.several)
            single.update(bucket.single)
        failed: set[int] = set()
        for places in (*several, *((place,) for place in single)):
            outcomes = self.outcomes(lookup.group(places))
            runs.append([place for place, it in zip(places, outcomes, strict=True) if it is True])
            failed.update(
                place for place, it in zip(places, outcomes, strict=True) if it is FAILURE
            )
        if len(runs) == 1:
            return runs[0], failed
        return sorted({place for run in runs for place in run}), failed

    # The guards of a candidate.

    def is_spared(self, candidate: Candidate, guards: Guards) -> bool:
        """Tell whether no forbid rule with a screen holds for a candidate, as far as is certain."""
        if not self.standing:
            return True
        if self._many_stand:
            return self.outcome(guards.spared, candidate) is True
        return not self._is_held(candidate, guards)

    def pass_together(
        self, after: PoolEntry | None, level: Level
    ) -> list[tuple[PoolEntry, bool | None]]:
        """Tell which entries pass their guards; None where that is not certain.

        Args:
            after: they are those to go on with after this one, or the whole pool.
            level: the level that proposes them.
        """
        group = self.plan.guards_of(after, level)
        found = [_certain(outcome) for outcome in self.outcomes(group)]
        if self._many_stand:
            spared = self.outcomes(self.plan.spared_of(after, level))
            found = [it and _certain(also) for it, also in zip(found, spared, strict=True)]
        elif self.standing:
            found = [
                it
                and not self._is_held(self.candidate(entry, level), self.plan.guards(entry, level))
                for it, entry in zip(found, group.entries, strict=True)
            ]
        return list(zip(group.entries, found, strict=True))

    @property
    def _many_stand(self) -> bool:
        """Whether it is quicker to evaluate all rules with a screen than those that stand."""
        return self.plan.are_few and len(self.standing) > _FEW

    def _is_held(self, candidate: Candidate, guards: Guards) -> bool:
        """Tell whether one of the forbid rules that stand forbids a candidate."""
        return any(self.holds(forbid, candidate, guards) for forbid in self.standing)

    def holds(self, forbid: PlannedForbid, candidate: Candidate, guards: Guards) -> bool:
        """Tell whether a forbid rule that is possible forbids a candidate: true, or failing."""
        if forbid.rest is None:
            return True
        if forbid.screen is not None and not self.plan.are_few:
            return self.evaluate(forbid.rest, candidate) is not False
        rest = guards.rest(forbid)
        return rest is None or self.outcome(rest, candidate) is not False

    @property
    def standing(self) -> Sequence[PlannedForbid]:
        """The forbid rules whose screen is not false."""
        if self._standing is None:
            true, failed = self.look_up(self.plan.screens)
            places = sorted(failed.union(true)) if failed else true
            self._standing = [self.plan.screened[place] for place in places]
        return self._standing

    def possible(self) -> Iterator[PlannedForbid]:
        """Yield the forbid rules that are not false for whatever candidate, in order."""
        standing = {forbid.number for forbid in self.standing}
        for forbid in self.plan.forbids:
            if forbid.screen is None or forbid.number in standing:
                yield forbid


def _certain(outcome: Outcome) -> bool | None:
    return None if outcome is FAILURE else outcome is True


def _prices(entry: PoolEntry) -> dict[str, float]:
    prices = {"input": entry.price.input, "output": entry.price.output}
    return {key: price for key, price in prices.items() if price is not None}
