"""The walk along the precedence rules as a formula: what is selected, planned or refused, and when.

It follows ``decision.evaluator`` step by step, and decides nothing: that some request brings
something about is believed only once the evaluator has decided that request so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from policy_router.analysis.proof.conditions import Conditions
from policy_router.analysis.proof.guards import Guards
from policy_router.analysis.proof.names import Names
from policy_router.analysis.proof.places import NO_TARGET, Place, Places
from policy_router.analysis.proof.proposals import Proposal, Proposals
from policy_router.analysis.proof.solver import FALSE, TRUE, Formula
from policy_router.analysis.proof.trees import Truths
from policy_router.analysis.proof.wishes import Wish, Wishes
from policy_router.cel.simplify import Known, literal
from policy_router.decision.prepared import Prepared
from policy_router.decision.record import ReasonCode
from policy_router.domain import WISHES, Level, Policy, PrecedenceRule


@dataclass(frozen=True, slots=True)
class Ended:
    """How a rule may end.

    Attributes:
        rule: the rule.
        reached: whether the walk comes to it.
        proposal: what it proposes.
        selected: the targets, each with whether it is selected.
        planned: the targets, each with whether it is a planned fallback.
        refused: the codes, each with whether the rule refuses with it.
    """

    rule: PrecedenceRule
    reached: int
    proposal: Proposal
    selected: dict[Place, int] = field(default_factory=dict)
    planned: dict[Place, int] = field(default_factory=dict)
    refused: dict[ReasonCode, int] = field(default_factory=dict)


class Walk:
    """All that a policy may decide.

    Attributes:
        policy: the policy.
        conditions: its conditions.
        places: its targets.
        guards: its guards.
        rules: how each of its rules may end.
        nothing: whether no rule ends the walk.
    """

    def __init__(
        self,
        formula: Formula,
        names: Names,
        policy: Policy,
        wishes: dict[tuple[Level, str], Wish],
        *,
        other: Walk | None = None,
        is_alone: bool = True,
    ) -> None:
        """Make the formula of a policy.

        Args:
            formula: the formula that grows.
            names: the names of the request.
            policy: the policy.
            wishes: the wishes for parameters that are known already.
            other: that of a policy that is compared with this one; what both say is one formula.
            is_alone: whether there is no other policy, so that forbid rules can be left out.
        """
        self.formula, self.policy, self.prepared = formula, policy, policy.prepared(Prepared)
        self.conditions = Conditions(formula, names, policy)
        if other is not None and _see_alike(self.conditions, other.conditions):
            self.conditions = other.conditions
        self.places = Places(self.conditions)
        self._when = {rule.id: self._truths_of(rule) for rule in policy.precedence}
        asked = [
            (rule.use, *self._when[rule.id], rule.reject)
            for rule in policy.precedence
            if rule.use in WISHES
        ]
        granting = Wishes(formula, names, policy, asked, wishes)
        self.guards = Guards(self.conditions, policy, granting, is_alone=is_alone)
        self._proposals = Proposals(self.conditions, policy, self.places)
        self.rules: list[Ended] = []
        self.nothing = TRUE
        for rule in policy.precedence:
            self.rules.append(Ended(rule, self.nothing, self._proposals.of(rule)))
            self.nothing = self._rest(self.rules[-1])

    def _truths_of(self, rule: PrecedenceRule) -> Truths:
        return (TRUE, FALSE) if rule.when is None else self.conditions.condition(rule.when)

    def _rest(self, ended: Ended) -> int:
        """Follow one rule, and return whether the walk goes on."""
        formula, (true, false) = self.formula, self._when[ended.rule.id]
        active = formula.all(ended.reached, true)
        failed = formula.all(ended.reached, -true, -false)
        if failed != FALSE:
            ended.refused[ReasonCode.EVALUATION_ERROR] = failed
        rest = self._select(ended, active)
        self._plan(ended)
        skipped, proposal = formula.all(ended.reached, false), ended.proposal
        if not ended.rule.reject:
            return formula.any(skipped, rest)
        proposed = [it.proposed for it in proposal.candidates]
        is_any = formula.any(*proposed, *proposal.codes.values())
        self._refuse(ended, rest)
        return formula.any(skipped, formula.all(rest, -is_any))

    def _select(self, ended: Ended, active: int) -> int:
        """Select the first candidate that is admitted; return whether there is none."""
        formula = self.formula
        if not ended.proposal.is_ordered:
            return self._select_any(ended, active)
        rest, found = active, list[tuple[Place, int]]()
        for it in ended.proposal.candidates:
            admitted = formula.all(it.proposed, self.guards.admitted(it.place, ended.rule))
            if admitted != FALSE:
                found.append((it.place, formula.all(rest, admitted)))
                rest = formula.all(rest, -admitted)
        ended.selected.update(formula.joined(found))
        return rest

    def _select_any(self, ended: Ended, active: int) -> int:
        """Select one of the candidates where their order is not known."""
        formula, admitted = self.formula, self.guards.admitted
        # An entry to which the order gives several numbers comes several times.
        may_be = formula.joined(
            (it.place, formula.all(active, it.proposed, admitted(it.place, ended.rule)))
            for it in ended.proposal.candidates
        )
        for place, may in may_be.items():
            if may != FALSE:
                ended.selected[place] = formula.new()
                formula.imply(ended.selected[place], may)
        formula.at_most_one(ended.selected.values())
        some = formula.any(*may_be.values())
        formula.add(-some, *ended.selected.values())
        return formula.all(active, -some)

    # Step 6: refusals.

    def _refuse(self, ended: Ended, rest: int) -> None:
        """Note the code of a refusal: that of the first candidate."""
        formula, proposal = self.formula, ended.proposal
        found = [(code, formula.all(rest, where)) for code, where in proposal.codes.items()]
        first = rest
        for it in proposal.candidates:
            here = formula.all(first if proposal.is_ordered else rest, it.proposed)
            first = formula.all(first, -it.proposed)
            if here != FALSE:
                for code, refused in self.guards.refusing(it.place, ended.rule):
                    found.append((code, formula.all(here, refused)))
        for code, where in formula.joined(found).items():
            refused = where if proposal.is_ordered else formula.new()
            formula.imply(refused, where)  # any of the candidates may be the first
            ended.refused[code] = formula.any(ended.refused.get(code, FALSE), refused)
        if not proposal.is_ordered:
            formula.imply(formula.any(*[it for _, it in found]), *ended.refused.values())

    # Step 8: fallbacks.

    def _plan(self, ended: Ended) -> None:
        """Note the fallbacks of each target."""
        formula, rule, found = self.formula, ended.rule, list[tuple[Place, int]]()
        if not rule.fallback:
            return
        chosen = {place: it for place, it in ended.selected.items() if place.entry is not None}
        for place, selected in chosen.items():
            assert place.entry is not None  # noqa: S101 - so they were chosen
            fallback = self.prepared.offer(place.entry).fallback
            found += [(self.places.of(entry, rule.use), selected) for entry in fallback]
        some = formula.any(*chosen.values())
        for it in ended.proposal.candidates if rule.falls_to_candidates else ():
            if it.place.entry is not None:
                another = formula.all(some, it.proposed, -chosen.get(it.place, FALSE))
                found.append((it.place, another))
        for place, offered in formula.joined(found).items():
            planned = formula.all(offered, self.guards.admitted(place, rule))
            if planned != FALSE:
                ended.planned[place] = planned

    # What it comes to.

    def ends(self) -> Iterable[tuple[Ended, Place, int]]:
        """Yield each target that may be selected."""
        for ended in self.rules:
            for place, where in ended.selected.items():
                yield ended, place, where

    def runs(self) -> Iterable[tuple[Ended, Place, int]]:
        """Yield each target on which a task may run: selected, or a planned fallback."""
        yield from self.ends()
        for ended in self.rules:
            for place, where in ended.planned.items():
                yield ended, place, where

    def outcomes(self) -> Iterable[tuple[Known, int]]:
        """Yield what an assertion sees of each target and of each refusal, with where it is so."""
        for ended, place, where in self.runs():
            level = place.level.value
            words = _words("selected", level, ended.rule.id, "", in_pool=place.entry is not None)
            yield {**place.known, **words}, where
        for ended in self.rules:
            for code, where in ended.refused.items():
                words = _words("refused", "", ended.rule.id, code.value, in_pool=False)
                yield {**NO_TARGET, **words}, where
        words = _words("refused", "", "", ReasonCode.NO_TARGET.value, in_pool=False)
        yield {**NO_TARGET, **words}, self.nothing


def _see_alike(one: Conditions, other: Conditions) -> bool:
    """Tell whether conditions mean the same in two policies."""
    variables, others = (
        [(path, it.tree) for path, it in each.variables.items()] for each in (one, other)
    )
    parts = ("facts", "closed", "tables", "required")
    alike = all(getattr(one.policy, it) == getattr(other.policy, it) for it in parts)
    return alike and variables == others and one.failing.is_scarce == other.failing.is_scarce


def _words(outcome: str, level: str, rule: str, code: str, *, in_pool: bool) -> Known:
    texts = {"outcome": outcome, "level": level, "rule": rule, "code": code}
    words = {key: literal(word) for key, word in texts.items()}
    return {**words, "in_pool": literal(in_pool)}
