"""A policy met by one request: what its conditions come to, and nothing that chooses.

A condition about the request alone is evaluated once, whatever comes of it.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import attrgetter, or_
from typing import Any

from policy_router.cel.condition import Condition
from policy_router.cel.evaluate import Program, Truth, truth_of
from policy_router.cel.frame import MAX_ELEMENTS_OF_DECISION, Budget, Outcome, frame_of
from policy_router.decision import record as rec
from policy_router.decision.candidate import Candidate
from policy_router.decision.condition_index import Values
from policy_router.decision.prepared import Prepared, PreparedForbid, number_of
from policy_router.domain import FrozenDict, Level, Policy, PoolEntry


class Evaluation:
    """A policy met by one request: what its conditions come to. Used in one thread.

    Attributes:
        policy: the policy that decides.
        prepared: what is worked out about it.
        values: the values of all names of the request, by section.
        now: the time of the decision, in UTC.
        frame: what conditions about the request are evaluated with.
    """

    __slots__ = (
        "_active",
        "_aim",
        "_budget",
        "_outcomes",
        "frame",
        "now",
        "policy",
        "prepared",
        "values",
    )

    def __init__(
        self,
        policy: Policy,
        values: Values,
        now: datetime.datetime,
        budget: Budget | None = None,
    ) -> None:
        """Begin with nothing evaluated."""
        self.policy, self.values, self.now = policy, values, now
        self.prepared = policy.prepared(Prepared)
        self._budget = budget or Budget()
        self.frame = frame_of(
            values, self._budget, now={"": now}, variables=self.prepared.variables
        )
        self._outcomes: dict[Program, Outcome] = {}
        self._aim: tuple[Candidate | None, dict[str, Any]] = (None, self.frame)
        self._active: Sequence[PreparedForbid] | None = None

    def asking(self, level: Level, wish: Mapping[str, Any]) -> Evaluation:
        """Return the same with another wish at a level; a part of the same decision."""
        values = {**self.values, level: {**self.values[level], **wish}}
        other = Evaluation(self.policy, values, self.now, self._budget)
        if level not in self.prepared.wish_matters:
            other._outcomes, other._active = self._outcomes, self._active
        return other

    def provider_of(self, entry: PoolEntry) -> str:
        """Return an entry's provider: its own or the policy's, else the parent's."""
        return entry.provider or self.values["parent"]["provider"]

    @property
    def visited(self) -> int:
        """How many elements the loops of the decision have visited so far."""
        return MAX_ELEMENTS_OF_DECISION - self._budget.of_decision

    def requested(self, level: Level) -> rec.Requested | None:
        """Return the target that is asked for at a level, or None."""
        wish = self.values[level]
        asked = {key: wish[key] for key in ("model", "provider") if wish[key]}
        return FrozenDict(asked) if asked else None

    def candidate(self, entry: PoolEntry, level: Level) -> Candidate:
        """Return an entry as the candidate of a level."""
        return Candidate(entry.model, self.provider_of(entry), level, entry)

    def evaluate(self, condition: Condition, candidate: Candidate | None = None) -> Outcome:
        """Evaluate an expression as it was written."""
        return condition.program.evaluate(self.frame_for(candidate))

    def truth(self, condition: Condition | None) -> Truth:
        """Evaluate a condition about the request alone, once; where there is none, it is true."""
        return Truth.TRUE if condition is None else truth_of(self.outcome_of(condition.program))

    def truth_for(self, condition: Condition, candidate: Candidate) -> Truth:
        """Evaluate a condition about a candidate, as it was written."""
        return truth_of(self.evaluate(condition, candidate))

    def frame_for(self, candidate: Candidate | None) -> dict[str, Any]:
        """Return what conditions about a candidate are evaluated with."""
        if candidate is None:
            return self.frame
        aim, frame = self._aim
        if aim is not candidate:
            frame = {**self.frame, "target": candidate.values()}
            self._aim = candidate, frame
        return frame

    def outcome_of(self, program: Program) -> Outcome:
        """Evaluate an expression about the request alone, once."""
        found = self._outcomes.get(program)
        if found is None:
            found = self._outcomes[program] = program.evaluate(self.frame)
        return found

    def allows(self, candidate: Candidate) -> Outcome:
        """Return what the ``allow`` of a candidate comes to; true where there is none."""
        if candidate.entry is None or candidate.entry.allow is None:
            return True
        found: Outcome = True
        known = self._outcomes
        for program in self.prepared.allow(candidate.entry, candidate.level):
            outcome = known.get(program)
            if outcome is None:
                outcome = self.outcome_of(program)
            if outcome is False:
                return False
            if outcome is not True:
                found = outcome
        return found

    def allowed(self, level: Level) -> Sequence[PoolEntry]:
        """Return the entries of the pool whose ``allow`` is true, in file order."""
        pool = self.policy.pool or ()
        against = [
            entries
            for program, entries in self.prepared.users(level).items()
            if self.outcome_of(program) is not True
        ]
        if not against:
            return pool
        excluded = reduce(or_, against)
        return [entry for entry in pool if not excluded >> entry.position & 1]

    @property
    def active_forbids(self) -> Sequence[PreparedForbid]:
        """The forbid rules with a part about the request, where that part is not false."""
        if self._active is None:
            screened, found = self.prepared.screened, set[int]()
            for bucket in self.prepared.request_parts.find(self.values):
                found.update(bucket.sure)
                for place in bucket.unsure:
                    part = screened[place].request_part
                    if place not in found and part and self.outcome_of(part) is not False:
                        found.add(place)
            self._active = [screened[place] for place in sorted(found)]
        return self._active

    def possible_forbids(self, candidate: Candidate) -> Sequence[PreparedForbid]:
        """Return the forbid rules that may be other than false for a candidate, in order."""
        active = self.active_forbids
        if not self.prepared.always_active:
            return active
        possible = self.prepared.possible_forbids(candidate)
        return sorted((*possible, *active), key=attrgetter("number")) if active else possible

    def matches(self, forbid: PreparedForbid, candidate: Candidate) -> Outcome:
        """Return what a rule of :meth:`possible_forbids` comes to for a candidate."""
        about_target: Outcome = True
        if forbid.target_part is not None:
            about_target = forbid.target_part.evaluate(self.frame_for(candidate))
        if about_target is not True or forbid.request_part is None:
            return about_target
        return self.outcome_of(forbid.request_part)

    def unforbidden(self, entries: Sequence[PoolEntry], level: Level) -> Sequence[PoolEntry]:
        """Return those of some entries for which no forbid rule matches."""
        if not self.active_forbids and not self.prepared.always_active:
            return entries
        return [
            candidate.entry
            for candidate in [self.candidate(entry, level) for entry in entries]
            if candidate.entry
            and all(self.matches(it, candidate) is False for it in self.possible_forbids(candidate))
        ]

    def picked(self) -> tuple[list[PoolEntry], list[PoolEntry]]:
        """Return the entries whose ``pick`` is true, in file order, and those where it fails."""
        picks = self.prepared.picks
        found: set[int] = set()
        failed: set[int] = set()
        buckets = picks.index.find(self.values)
        if len(buckets) == 1 and not buckets[0].unsure:
            return [picks.entries[place] for place in buckets[0].sure], []
        for bucket in buckets:
            found.update(bucket.sure)
            for place in bucket.unsure:
                outcome = self.outcome_of(picks.programs[place])
                if outcome is not False:
                    (found if outcome is True else failed).add(place)
        return [picks.entries[it] for it in sorted(found)], [picks.entries[it] for it in failed]

    def numbers(
        self, order_by: Condition, entries: Sequence[PoolEntry], level: Level
    ) -> list[float | None]:
        """Return what an ``order_by`` comes to for entries; None where it is no number."""
        found = [self.prepared.order(order_by, entry, level) for entry in entries]
        return [number_of(self.outcome_of(it)) if isinstance(it, Program) else it for it in found]
