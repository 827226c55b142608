"""What each precedence rule proposes, as a formula: step 2 of ``decision.evaluator``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from policy_router.analysis.proof.conditions import Conditions
from policy_router.analysis.proof.names import text_name
from policy_router.analysis.proof.places import Place, Places, provider_of, wished
from policy_router.analysis.proof.solver import FALSE, TRUE
from policy_router.analysis.proof.terms import Number, Text
from policy_router.cel.ast import Literal, Node
from policy_router.cel.evaluate import Program
from policy_router.cel.simplify import literal
from policy_router.decision.prepared import Prepared
from policy_router.decision.record import ReasonCode
from policy_router.domain import Level, Policy, PoolEntry, PrecedenceRule


@dataclass(frozen=True, slots=True)
class Candidate:
    """A target that a rule proposes.

    Attributes:
        place: the target.
        proposed: whether it is proposed.
    """

    place: Place
    proposed: int


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a rule proposes.

    Attributes:
        candidates: the targets, in order.
        codes: for a wish without a candidate: why there is none, each with whether that is so.
        is_ordered: whether the order of the candidates is known.
    """

    candidates: tuple[Candidate, ...] = ()
    codes: dict[ReasonCode, int] = field(default_factory=dict)
    is_ordered: bool = True


class Proposals:
    """Makes the proposals of the rules of a policy."""

    def __init__(self, conditions: Conditions, policy: Policy, places: Places) -> None:
        """Use what is known of conditions."""
        self._conditions, self._policy, self._places = conditions, policy, places
        self._formula, self._prepared = conditions.formula, policy.prepared(Prepared)

    def of(self, rule: PrecedenceRule) -> Proposal:
        """Return what a rule proposes."""
        model, provider = self._policy.model, provider_of(self._policy.provider)
        match rule.use:
            case Level.CALL | Level.TASK:
                return self._wished(rule)
            case Level.POOL:
                return self._picked(rule)
            case Level.CONFIG if model is not None:
                return Proposal(self._equal(rule.use, literal(model), provider, TRUE))
            case Level.PARENT:
                name = text_name("parent.model")
                where = -self._conditions.is_text(name, "")
                return Proposal(self._equal(rule.use, name, provider_of(None), where))
        return Proposal()

    def _picked(self, rule: PrecedenceRule) -> Proposal:
        if rule.entry is not None:
            named = self._prepared.named.get(rule.entry, ())
            return Proposal(tuple(Candidate(self._places.of(it, rule.use), TRUE) for it in named))
        picks = self._prepared.picks
        picked = [
            (entry, self._conditions.tree(program.tree, entry.pick)[0])
            for entry, program in zip(picks.entries, picks.programs, strict=True)
        ]
        return self._ordered(rule, picked)

    def _ordered(self, rule: PrecedenceRule, entries: Sequence[tuple[PoolEntry, int]]) -> Proposal:
        """Propose entries in order; an entry without a number in the order is left out."""
        rows, is_ordered = list[tuple[float, int, Candidate]](), True
        for entry, where in entries:
            if where == FALSE:
                continue
            place, numbers = self._places.of(entry, rule.use), self._numbers(rule, entry)
            if numbers is None:
                is_ordered, numbers = False, [(self._formula.new(), 0.0)]
            for also, number in numbers:
                proposed = self._formula.all(where, also)
                rows.append((number, entry.position, Candidate(place, proposed)))
        rows.sort(key=lambda row: row[:2])
        return Proposal(tuple(it for _, _, it in rows), is_ordered=is_ordered)

    def _numbers(self, rule: PrecedenceRule, entry: PoolEntry) -> list[tuple[int, float]] | None:
        """Return the numbers that put an entry in order, each with where; None if unknown."""
        if rule.order_by is None:
            return [(TRUE, 0.0)]
        found = self._prepared.order(rule.order_by, entry, rule.use)
        if not isinstance(found, Program):
            return [] if found is None else [(TRUE, found)]
        values = self._conditions.values_of(found.tree, rule.order_by)
        if values is None or any(isinstance(value, Number | Text) for _, value in values):
            return None
        return [(where, value) for where, value in values if value == value]  # noqa: PLR0124 - a NaN is no number

    def _wished(self, rule: PrecedenceRule) -> Proposal:
        formula, pool = self._formula, self._policy.pool
        no_model, no_provider = (self._conditions.is_text(it, "") for it in wished(rule.use))
        asked = formula.any(-no_model, -no_provider)
        if pool is None:
            return self._as_asked(rule.use, asked)
        meant = [(it, self._means(it, rule.use, no_model, no_provider)) for it in pool]
        found = self._ordered(rule, meant)
        some = formula.any(*[where for _, where in meant])
        if rule.order_by is not None:
            numbered = formula.any(*[it.proposed for it in found.candidates])
            found.codes[ReasonCode.EVALUATION_ERROR] = formula.all(some, -numbered)
        none = formula.all(asked, -some)
        if rule.in_pool:
            return replace(found, codes={**found.codes, ReasonCode.OUTSIDE_POOL: none})
        other = self._as_asked(rule.use, none)
        candidates = (*found.candidates, *other.candidates)
        return Proposal(candidates, {**found.codes, **other.codes}, found.is_ordered)

    def _means(self, entry: PoolEntry, level: Level, no_model: int, no_provider: int) -> int:
        """Return whether a wish means an entry."""
        formula, (model, provider) = self._formula, wished(level)
        words = [it for it in self._words_of(entry) if it]
        is_named = formula.any(*[self._conditions.is_text(model, word) for word in words])
        same = self._conditions.same(provider, provider_of(entry.provider))
        at = formula.all(-no_provider, same)
        return formula.any(
            formula.all(is_named, formula.any(no_provider, at)), formula.all(no_model, at)
        )

    def _words_of(self, entry: PoolEntry) -> list[str]:
        """Return the words that an entry is meant by, where no other goes by them as its name."""
        words = dict.fromkeys((entry.name, entry.model, *entry.aliases))
        named, known = self._prepared.named, self._prepared.known_as
        return [
            word
            for word in words
            if any(it is entry for it in named.get(word) or known.get(word, ()))
        ]

    def _as_asked(self, level: Level, where: int) -> Proposal:
        """Propose what is asked for, as no pool restricts it."""
        formula, policy, (model, provider) = self._formula, self._policy, wished(level)
        no_model, no_provider = (self._conditions.is_text(it, "") for it in (model, provider))
        named, rest = formula.all(where, -no_model), formula.all(where, no_model)
        own = provider_of(policy.provider)
        found = [
            *self._equal(level, model, provider, formula.all(named, -no_provider)),
            *self._equal(level, model, own, formula.all(named, no_provider)),
        ]
        if policy.model and policy.provider:
            is_own = formula.all(rest, self._conditions.is_text(provider, policy.provider))
            found += self._equal(level, literal(policy.model), own, is_own)
            rest = formula.all(rest, -is_own)
        return Proposal(tuple(found), {ReasonCode.INCOMPLETE: rest})

    def _equal(
        self, level: Level, model: Node, provider: Node, where: int
    ) -> tuple[Candidate, ...]:
        """Propose the first entry that a target equals, if any, else the target itself."""
        formula, same, found = self._formula, self._conditions.same, list[Candidate]()
        for entry in self._policy.pool or ():
            if isinstance(model, Literal) and model.value != entry.model:
                continue
            at = same(provider, provider_of(entry.provider))
            equal = formula.all(same(model, literal(entry.model)), at)
            found.append(Candidate(self._places.of(entry, level), formula.all(where, equal)))
            where = formula.all(where, -equal)
        found.append(Candidate(self._places.outside(model, provider, level), where))
        return tuple(it for it in found if it.proposed != FALSE)
