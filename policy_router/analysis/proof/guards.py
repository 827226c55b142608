"""The guards of targets, as formulas: step 4 of ``decision.evaluator``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from policy_router.analysis.proof.conditions import Conditions
from policy_router.analysis.proof.names import conditions_of
from policy_router.analysis.proof.places import Place
from policy_router.analysis.proof.solver import FALSE, TRUE
from policy_router.analysis.proof.trees import Truths
from policy_router.analysis.proof.wishes import Wishes
from policy_router.decision.prepared import Prepared
from policy_router.decision.record import ReasonCode
from policy_router.domain import ForbidRule, Policy, PoolEntry, PrecedenceRule

_CODES: Final = (
    ReasonCode.INCOMPLETE,
    ReasonCode.OUTSIDE_POOL,
    ReasonCode.NOT_ALLOWED,
    ReasonCode.FORBIDDEN,
    ReasonCode.LACKS_CAPABILITY,
    ReasonCode.CONTEXT_TOO_SMALL,
    ReasonCode.PARAMETER_NOT_ALLOWED,
)
"""The codes of a candidate that is not admitted, in the order of the guards."""


class Guards:
    """Tells which targets of a policy are admitted.

    Attributes:
        switches: for each forbid rule that is enforced, whether it is there.
        level_matters: whether a condition looks at the level of a target.
    """

    def __init__(
        self, conditions: Conditions, policy: Policy, wishes: Wishes, *, is_alone: bool
    ) -> None:
        """Begin with what a policy says.

        Args:
            conditions: what is known of conditions.
            policy: the policy.
            wishes: what is known of wishes for parameters.
            is_alone: whether there is no other policy, so that forbid rules can be left out.
        """
        self._conditions, self._policy, self._wishes = conditions, policy, wishes
        self._formula, self._names = conditions.formula, conditions.names
        self._prepared = policy.prepared(Prepared)
        self.switches = {
            rule.id: self._formula.new() if is_alone else TRUE
            for rule in policy.forbid
            if rule.enforce
        }
        self.level_matters = any("target.level" in it.reads for it in conditions_of(policy))
        self._found: dict[object, tuple[int, ...]] = {}
        self._admitted: dict[tuple[Place, bool], int] = {}

    def admitted(self, place: Place, rule: PrecedenceRule) -> int:
        """Return whether a target is admitted as the candidate of a rule."""
        key = place, rule.in_pool
        found = self._admitted.get(key)
        if found is None:
            found = self._admitted[key] = self._formula.all(*self.of(place, rule))
        return found

    def refusing(self, place: Place, rule: PrecedenceRule) -> Iterator[tuple[ReasonCode, int]]:
        """Yield the codes with which a target is not admitted, each with whether that is so."""
        passed = TRUE
        for code, guard in zip(_CODES, self.of(place, rule), strict=True):
            if guard != TRUE:
                yield code, self._formula.all(passed, -guard)
                passed = self._formula.all(passed, guard)

    def of(self, place: Place, rule: PrecedenceRule) -> tuple[int, ...]:
        """Return whether a target passes each guard, in their order."""
        entry = place.entry
        key: object = place
        if entry is not None:
            key = entry.position, place.level if self.level_matters else None
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = tuple(self._passed(place))
        outside = entry is None and rule.in_pool and self._policy.pool is not None
        return (found[0], FALSE if outside else TRUE, *found[1:])

    def _passed(self, place: Place) -> Iterator[int]:
        formula, entry = self._formula, place.entry
        yield -self._conditions.is_text(place.provider, "")
        if entry is None or entry.allow is None:
            yield TRUE
        else:
            programs = self._prepared.allow(entry, place.level)
            yield formula.all(*[self._conditions.tree(it.tree, entry.allow)[0] for it in programs])
        yield formula.all(
            *[
                formula.any(self.forbidden(rule, place)[1], -self.switches[rule.id])
                for rule in self._policy.forbid
                if rule.enforce
            ]
        )
        yield TRUE if entry is None else -self._lacks(entry)
        yield TRUE if entry is None else self._holds(entry)
        yield self._wishes.granted(entry)

    def forbidden(self, rule: ForbidRule, place: Place) -> Truths:
        """Return what a forbid rule comes to for a target."""
        return self._conditions.about(rule.when, place.known, place.marks)

    def _lacks(self, entry: PoolEntry) -> int:
        """Return whether an entry lacks a capability that the task needs."""
        if entry.supports is None:
            return FALSE
        lacks = []
        for seen in self._names.seen(self._policy, "task.needs"):
            items = seen.value
            missing = [items.has(word) for word in [*items.words] if word not in entry.supports]
            lacks.append(self._formula.all(seen.where, self._formula.any(*missing, items.other)))
        return self._formula.any(*lacks)

    def _holds(self, entry: PoolEntry) -> int:
        """Return whether the window of an entry holds the input and its own answer."""
        if entry.context_window is None:
            return TRUE
        own = self._prepared.offer(entry).own_tokens
        room = entry.context_window - (1 if own is None else own)
        held = [FALSE if room < 0 else -self._names.presence("task.input_tokens")]
        held += [
            self._formula.all(it.where, it.value.at_most(room))
            for it in self._names.seen(self._policy, "task.input_tokens")
        ]
        return self._formula.any(*held)
