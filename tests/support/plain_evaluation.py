"""Whole decisions in which each condition is evaluated by itself, as it was written.

Nothing is simplified, shared, looked up or kept, and any evaluator of CEL may do it. The product's
short cuts are compared with this.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from policy_router import DecisionRecord, Policy
from policy_router.cel.condition import Condition
from policy_router.cel.evaluate import Truth, truth_of
from policy_router.cel.frame import FAILURE
from policy_router.decision.candidate import Candidate
from policy_router.decision.condition_index import Values
from policy_router.decision.evaluation import Evaluation
from policy_router.decision.evaluator import decided, permitted_names
from policy_router.decision.fitting import checked, values_of
from policy_router.decision.prepared import PreparedForbid, number_of
from policy_router.decision.request import moment
from policy_router.domain import Level, PoolEntry
from tests.support.oracles.engine import Engine


class PlainEvaluation(Evaluation):
    """Answers as :class:`Evaluation` does, the long way."""

    def __init__(
        self, policy: Policy, values: Values, now: datetime.datetime, engine: Engine
    ) -> None:
        super().__init__(policy, values, now)
        self.engine = engine

    def asking(self, level: Level, wish: Mapping[str, Any]) -> PlainEvaluation:
        values = {**self.values, level: {**self.values[level], **wish}}
        return PlainEvaluation(self.policy, values, self.now, self.engine)

    def evaluate(self, condition: Condition, candidate: Candidate | None = None) -> Any:
        facts = {**self.values, "now": self.now, "variables": self.variables(condition)}
        if candidate is not None:
            facts["target"] = _nested(candidate.values())
        return self.engine.compile(condition.tree).evaluate(self.engine.bind(facts))

    def variables(self, condition: Condition) -> dict[str, Any]:
        """Return the values of the variables that a condition uses; failed ones are absent."""
        known: dict[str, Any] = {}
        for variable in self.policy.variables:
            if variable.name in condition.variables:
                facts = {**self.values, "now": self.now, "variables": known}
                program = self.engine.compile(variable.condition.tree)
                outcome = program.evaluate(self.engine.bind(facts))
                known = known if outcome is FAILURE else {**known, variable.name: outcome}
        return known

    def truth(self, condition: Condition | None) -> Truth:
        return Truth.TRUE if condition is None else truth_of(self.evaluate(condition))

    def truth_for(self, condition: Condition, candidate: Candidate) -> Truth:
        return truth_of(self.evaluate(condition, candidate))

    def allows(self, candidate: Candidate) -> Any:
        entry = candidate.entry
        allow = entry.allow if entry else None
        return allow is None or self.evaluate(allow, candidate)

    def allowed(self, level: Level) -> Sequence[PoolEntry]:
        pool = self.policy.pool or ()
        return [entry for entry in pool if self.allows(self.candidate(entry, level)) is True]

    def possible_forbids(self, _: Candidate) -> Sequence[PreparedForbid]:
        return self.prepared.forbids

    def matches(self, forbid: PreparedForbid, candidate: Candidate) -> Any:
        return self.evaluate(forbid.rule.when, candidate)

    def unforbidden(self, entries: Sequence[PoolEntry], level: Level) -> Sequence[PoolEntry]:
        return [
            entry
            for entry in entries
            if all(
                self.matches(forbid, self.candidate(entry, level)) is False
                for forbid in self.prepared.forbids
            )
        ]

    def picked(self) -> tuple[list[PoolEntry], list[PoolEntry]]:
        outcomes = [
            (entry, self.evaluate(entry.pick, self.candidate(entry, Level.POOL)))
            for entry in self.policy.pool or ()
            if entry.pick
        ]
        found = [entry for entry, outcome in outcomes if outcome is True]
        return found, [entry for entry, outcome in outcomes if outcome is FAILURE]

    def numbers(
        self, order_by: Condition, entries: Sequence[PoolEntry], level: Level
    ) -> list[float | None]:
        candidates = [self.candidate(entry, level) for entry in entries]
        return [number_of(self.evaluate(order_by, candidate)) for candidate in candidates]


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``price.input`` as ``input`` in ``price``, as the oracles want it."""
    nested: dict[str, Any] = {"price": {}}
    for key, value in values.items():
        root, _, rest = key.partition(".")
        if rest:
            nested[root][rest] = value
        else:
            nested[root] = value
    return nested


def plain_decision(
    policy: Policy, request: Mapping[str, Any], now: str, engine: Engine
) -> DecisionRecord:
    """Decide the long way."""
    fitting = checked(policy, request)
    evaluation = PlainEvaluation(policy, values_of(policy, fitting), moment(now), engine)
    return decided(evaluation, fitting)


def plain_permitted(
    policy: Policy, request: Mapping[str, Any], now: str, engine: Engine, level: Level
) -> tuple[str, ...] | None:
    """Return what is permitted, the long way."""
    values = values_of(policy, checked(policy, request))
    return permitted_names(PlainEvaluation(policy, values, moment(now), engine), level)
