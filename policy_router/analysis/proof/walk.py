"""The walk along the precedence rules as a formula: what is selected, planned or refused, and when.

It follows ``decision.evaluator`` step by step, and decides nothing: that some request brings
something about is believed only once the evaluator has decided that request so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from policy_router.analysis.proof.conditions import Conditions
from policy_router.analysis.proof.names import Names, conditions_of
from policy_router.analysis.proof.solver import FALSE, TRUE, Formula
from policy_router.analysis.proof.terms import Number, Text
from policy_router.analysis.proof.trees import Truths
from policy_router.analysis.proof.wishes import Wish, Wishes
from policy_router.cel.ast import STRING, Attribute, Literal, Node
from policy_router.cel.condition import Condition
from policy_router.cel.evaluate import Program
from policy_router.cel.simplify import Known, literal, simplified, strings
from policy_router.cel.vocabulary import OUTCOME_NAMES
from policy_router.decision.prepared import Prepared, known_of
from policy_router.decision.record import ReasonCode
from policy_router.domain import WISHES, ForbidRule, Level, Policy, PoolEntry, PrecedenceRule

PARENT: Final = Attribute(STRING, 0, 0, "parent.provider")
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


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A target that a rule may come to: an entry, or another model at a provider.

    Attributes:
        level: the level of the rule.
        model: the model: a constant, or a name of the request.
        provider: the provider, in the same way.
        entry: the entry, or None.
    """

    level: Level
    model: Node
    provider: Node
    entry: PoolEntry | None = None
    known: Known = field(default_factory=dict)
    """What stands for the names of the target."""
    marks: dict[str, int] = field(default_factory=dict)
    """For each of these names a number: equal ones stand for the same."""

    @classmethod
    def of(cls, entry: PoolEntry, level: Level) -> Place:
        """Return an entry as the target of a level."""
        known = known_of(entry, level)
        return cls(level, literal(entry.model), _provider(entry.provider), entry, known)

    @classmethod
    def outside(cls, model: Node, provider: Node, level: Level) -> Place:
        """Return a target that is no entry."""
        known = {
            "target.name": model,
            "target.model": model,
            "target.provider": provider,
            "target.level": literal(level.value),
            "target.strengths": strings(()),
            "target.supports": strings(()),
            **dict.fromkeys(f"target.{key}" for key in _ABSENT),
        }
        return cls(level, model, provider, None, known)


_OUTCOME: Final = frozenset(name.path for name in OUTCOME_NAMES)
_ABSENT: Final = (
    *(f"price.{part}" for part in ("input", "output", "cache_read", "cache_write")),
    "context_window",
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A target that a rule proposes, in order.

    Attributes:
        place: the target.
        proposed: whether it is proposed.
    """

    place: Place
    proposed: int


@dataclass(slots=True)
class Ended:
    """How a rule may end.

    Attributes:
        rule: the rule.
        number: its place among the rules.
        reached: whether the walk comes to it.
        selected: the targets, each with whether it is selected.
        planned: the targets, each with whether it is a planned fallback.
        refused: the codes, each with whether the rule refuses with it.
        candidates: what it proposes.
        is_ordered: whether the order of the candidates is known.
    """

    rule: PrecedenceRule
    number: int
    reached: int
    selected: dict[Place, int] = field(default_factory=dict)
    planned: dict[Place, int] = field(default_factory=dict)
    refused: dict[ReasonCode, int] = field(default_factory=dict)
    candidates: list[Candidate] = field(default_factory=list)
    is_ordered: bool = True


class Walk:
    """All that a policy may decide.

    Attributes:
        policy: the policy.
        conditions: its conditions.
        rules: how each of its rules may end.
        nothing: whether no rule ends the walk.
        switches: for each forbid rule that is enforced, whether it is there.
        level_matters: whether a condition looks at the level of a target.
    """

    def __init__(
        self,
        formula: Formula,
        names: Names,
        policy: Policy,
        wishes: dict[tuple[Level, str], Wish] | None = None,
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
        self.formula, self.names, self.policy = formula, names, policy
        if other is not None and _sees_alike(policy, other.policy):
            self.conditions: Conditions = other.conditions
        else:
            self.conditions = Conditions(formula, names, policy)
        self.prepared = policy.prepared(Prepared)
        self.switches = {
            rule.id: formula.new() if is_alone else TRUE for rule in policy.forbid if rule.enforce
        }
        self._forbids: dict[object, Truths] = {}
        self._guards: dict[object, tuple[int, ...]] = {}
        self._marks: dict[Node | None, int] = {}
        self._paths: dict[int, tuple[str, ...]] = {}
        self.level_matters = any("target.level" in it.reads for it in conditions_of(policy))
        self._admitted: dict[tuple[Place, bool], int] = {}
        self._places: dict[object, Place] = {}
        self._when = [self._truths_of(rule) for rule in policy.precedence]
        asked = [
            (rule.use, *truths, rule.reject)
            for rule, truths in zip(policy.precedence, self._when, strict=True)
            if rule.use in WISHES
        ]
        shared = wishes if wishes is not None else {}
        self.wishes = Wishes(formula, names, policy, asked, shared)
        self.rules: list[Ended] = []
        self.nothing = self._walked()

    def _truths_of(self, rule: PrecedenceRule) -> Truths:
        return (TRUE, FALSE) if rule.when is None else self.conditions.condition(rule.when)

    def _walked(self) -> int:
        reached = TRUE
        for number, rule in enumerate(self.policy.precedence):
            ended = Ended(rule, number, reached)
            self.rules.append(ended)
            reached = self._rule(ended)
        return reached

    def _rule(self, ended: Ended) -> int:
        """Follow one rule, and return whether the walk goes on."""
        formula, rule = self.formula, ended.rule
        true, false = self._when[ended.number]
        active = formula.all(ended.reached, true)
        failed = formula.all(ended.reached, -true, -false)
        if failed != FALSE:
            ended.refused[ReasonCode.EVALUATION_ERROR] = failed
        codes = self._propose(ended)
        rest = self._select(ended, active)
        self._plan(ended)
        skipped = formula.all(ended.reached, false)
        if not rule.reject:
            return formula.any(skipped, rest)
        is_any = formula.any(*(it.proposed for it in ended.candidates), *codes.values())
        self._refuse(ended, rest, codes)
        return formula.any(skipped, formula.all(rest, -is_any))

    def _select(self, ended: Ended, active: int) -> int:
        """Select the first candidate that is admitted; return whether there is none."""
        formula = self.formula
        if not ended.is_ordered:
            return self._select_any(ended, active)
        rest, found = active, dict[Place, list[int]]()
        for it in ended.candidates:
            admitted = formula.all(it.proposed, self.admitted(it.place, ended.rule))
            if admitted != FALSE:
                found.setdefault(it.place, []).append(formula.all(rest, admitted))
                rest = formula.all(rest, -admitted)
        ended.selected = {place: formula.any(*literals) for place, literals in found.items()}
        return rest

    def _select_any(self, ended: Ended, active: int) -> int:
        """Select one of the candidates where their order is not known."""
        formula, admitted = self.formula, dict[Place, int]()
        for it in ended.candidates:
            may = formula.all(active, it.proposed, self.admitted(it.place, ended.rule))
            if may != FALSE:
                admitted[it.place] = may
        for place, may in admitted.items():
            chosen = formula.new()
            formula.add(-chosen, may)
            ended.selected[place] = chosen
        formula.at_most_one(ended.selected.values())
        some = formula.any(*admitted.values())
        formula.add(-some, *ended.selected.values())
        return formula.all(active, -some)

    # Step 2: what each level proposes.

    def _propose(self, ended: Ended) -> dict[ReasonCode, int]:
        """Note the candidates of a rule; return the codes of wishes without a candidate."""
        match ended.rule.use:
            case Level.CALL | Level.TASK:
                return self._wished(ended)
            case Level.POOL:
                self._picked(ended)
            case Level.CONFIG:
                if self.policy.model is not None:
                    provider = _provider(self.policy.provider)
                    self._equal(ended, literal(self.policy.model), provider, TRUE)
            case Level.PARENT:
                model = Attribute(STRING, 0, 0, "parent.model")
                self._equal(ended, model, PARENT, -self.is_text(model, ""))
        return {}

    def _picked(self, ended: Ended) -> None:
        rule, prepared = ended.rule, self.prepared
        if rule.entry is not None:
            entries = [(entry, TRUE) for entry in prepared.named.get(rule.entry, ())]
            ended.candidates = [Candidate(self.place(it, rule.use), where) for it, where in entries]
            return
        picks = prepared.picks
        picked = [
            (entry, self.conditions.tree(program.tree, entry.pick)[0])
            for entry, program in zip(picks.entries, picks.programs, strict=True)
        ]
        self._order(ended, picked)

    def _order(self, ended: Ended, entries: Sequence[tuple[PoolEntry, int]]) -> int:
        """Note entries as candidates, in order; return whether one has a number in the order."""
        rule, rows = ended.rule, list[tuple[float, int, Candidate]]()
        kept = []
        for entry, where in entries:
            if where == FALSE:
                continue
            place = self.place(entry, rule.use)
            numbers = self._numbers(rule, entry)
            if numbers is None:
                ended.is_ordered = False
                also = self.formula.new()
                numbers = [(also, 0.0)]
            for also, number in numbers:
                proposed = self.formula.all(where, also)
                kept.append(proposed)
                rows.append((number, entry.position, Candidate(place, proposed)))
        rows.sort(key=lambda row: row[:2])
        ended.candidates += [candidate for _, _, candidate in rows]
        return self.formula.any(*kept)

    def _numbers(self, rule: PrecedenceRule, entry: PoolEntry) -> list[tuple[int, float]] | None:
        """Return the numbers that put an entry in order, each with where; None if unknown."""
        if rule.order_by is None:
            return [(TRUE, 0.0)]
        found = self.prepared.order(rule.order_by, entry, rule.use)
        if not isinstance(found, Program):
            return [] if found is None else [(TRUE, found)]
        values = self.conditions.values_of(found.tree, rule.order_by)
        if values is None or any(isinstance(value, Number | Text) for _, value in values):
            return None
        return [(where, value) for where, value in values if value == value]  # noqa: PLR0124 - a NaN is no number

    def _wished(self, ended: Ended) -> dict[ReasonCode, int]:
        formula, rule = self.formula, ended.rule
        model = Attribute(STRING, 0, 0, f"{rule.use.value}.model")
        provider = Attribute(STRING, 0, 0, f"{rule.use.value}.provider")
        no_model, no_provider = self.is_text(model, ""), self.is_text(provider, "")
        asked = formula.any(-no_model, -no_provider)
        if self.policy.pool is None:
            return self._as_asked(ended, asked)
        meant = [
            (entry, self._means(entry, rule.use, no_model, no_provider))
            for entry in self.policy.pool
        ]
        numbered = self._order(ended, meant)
        some = formula.any(*[where for _, where in meant])
        codes = {}
        if rule.order_by is not None:
            codes[ReasonCode.EVALUATION_ERROR] = formula.all(some, -numbered)
        none = formula.all(asked, -some)
        if rule.in_pool:
            return {**codes, ReasonCode.OUTSIDE_POOL: none}
        return {**codes, **self._as_asked(ended, none)}

    def _means(self, entry: PoolEntry, level: Level, no_model: int, no_provider: int) -> int:
        """Return whether a wish means an entry."""
        formula = self.formula
        model = Attribute(STRING, 0, 0, f"{level.value}.model")
        provider = Attribute(STRING, 0, 0, f"{level.value}.provider")
        names = [self.is_text(model, word) for word in self._words_of(entry) if word]
        at = self.same(provider, _provider(entry.provider))
        at = formula.all(-no_provider, at)
        return formula.any(
            formula.all(formula.any(*names), formula.any(no_provider, at)),
            formula.all(no_model, at),
        )

    def _words_of(self, entry: PoolEntry) -> list[str]:
        """Return the words that an entry is meant by, where no other goes by them as its name."""
        words = dict.fromkeys((entry.name, entry.model, *entry.aliases))
        named, known = self.prepared.named, self.prepared.known_as
        return [
            word
            for word in words
            if any(it is entry for it in named.get(word) or known.get(word, ()))
        ]

    def _as_asked(self, ended: Ended, where: int) -> dict[ReasonCode, int]:
        """Note what is asked for, as no pool restricts it."""
        formula, policy, level = self.formula, self.policy, ended.rule.use.value
        model = Attribute(STRING, 0, 0, f"{level}.model")
        provider = Attribute(STRING, 0, 0, f"{level}.provider")
        no_model, no_provider = self.is_text(model, ""), self.is_text(provider, "")
        named = formula.all(where, -no_model)
        self._equal(ended, model, provider, formula.all(named, -no_provider))
        self._equal(ended, model, _provider(policy.provider), formula.all(named, no_provider))
        rest = formula.all(where, no_model)
        if policy.model and policy.provider:
            own = formula.all(rest, self.is_text(provider, policy.provider))
            self._equal(ended, literal(policy.model), literal(policy.provider), own)
            rest = formula.all(rest, -own)
        return {ReasonCode.INCOMPLETE: rest}

    def _equal(self, ended: Ended, model: Node, provider: Node, where: int) -> None:
        """Note the first entry that a target equals, if any, else the target itself."""
        formula, level = self.formula, ended.rule.use
        for entry in self.policy.pool or ():
            if isinstance(model, Literal) and model.value != entry.model:
                continue
            equal = formula.all(
                self.same(model, literal(entry.model)),
                self.same(provider, _provider(entry.provider)),
            )
            here = formula.all(where, equal)
            if here != FALSE:
                ended.candidates.append(Candidate(self.place(entry, level), here))
            where = formula.all(where, -equal)
        if where != FALSE:
            key = level, model, provider
            place = self._places.setdefault(key, Place.outside(model, provider, level))
            ended.candidates.append(Candidate(place, where))

    def place(self, entry: PoolEntry, level: Level) -> Place:
        """Return an entry as the target of a level."""
        found = self._places.get((level, entry.position))
        if found is None:
            found = self._places[level, entry.position] = Place.of(entry, level)
        return found

    # Step 4: the guards.

    def admitted(self, place: Place, rule: PrecedenceRule) -> int:
        """Return whether a target is admitted as the candidate of a rule."""
        key = place, rule.in_pool
        found = self._admitted.get(key)
        if found is None:
            found = self._admitted[key] = self.formula.all(*self.guards(place, rule))
        return found

    def guards(self, place: Place, rule: PrecedenceRule) -> tuple[int, ...]:
        """Return what each guard of a target comes to, in the order of ``_CODES``."""
        entry = place.entry
        key: object = place
        if entry is not None:
            key = entry.position, place.level if self.level_matters else None
        found = self._guards.get(key)
        if found is None:
            found = self._guards[key] = tuple(self._asked(place))
        outside = place.entry is None and rule.in_pool and self.policy.pool is not None
        return (found[0], FALSE if outside else TRUE, *found[1:])

    def _asked(self, place: Place) -> Iterator[int]:
        formula, entry = self.formula, place.entry
        yield -self.is_text(place.provider, "")
        if entry is None or entry.allow is None:
            yield TRUE
        else:
            programs = self.prepared.allow(entry, place.level)
            yield formula.all(*[self.conditions.tree(it.tree, entry.allow)[0] for it in programs])
        yield formula.all(
            *[
                formula.any(self.forbidden(rule, place)[1], -self.switches[rule.id])
                for rule in self.policy.forbid
                if rule.enforce
            ]
        )
        yield TRUE if entry is None else -self._lacks(entry)
        yield TRUE if entry is None else self._holds(entry)
        yield self.wishes.granted(entry)

    def forbidden(self, rule: ForbidRule, place: Place) -> Truths:
        """Return what a forbid rule comes to for a target."""
        return self.about(rule.when, place.known, self._marks_of(place))

    def _marks_of(self, place: Place) -> dict[str, int]:
        if not place.marks:
            place.marks.update((path, self._mark(node)) for path, node in place.known.items())
        return place.marks

    def _mark(self, node: Node | None) -> int:
        return self._marks.setdefault(node, len(self._marks))

    def about(
        self, condition: Condition, known: Known, marks: Mapping[str, int] | None = None
    ) -> Truths:
        """Return what a condition comes to where some names stand for others.

        Args:
            condition: the condition.
            known: what the names stand for.
            marks: the same as numbers, which are quicker to look up.
        """
        paths = self._paths.get(id(condition))
        if paths is None:
            read = sorted(
                it for it in condition.reads if it in _OUTCOME or it.startswith("target.")
            )
            paths = self._paths[id(condition)] = tuple(read)
        if marks is None:
            marks = {path: self._mark(known.get(path)) for path in paths}
        key = id(condition), tuple([marks.get(path) for path in paths])
        found = self._forbids.get(key)
        if found is None:
            tree = simplified(
                condition.tree, {path: known[path] for path in paths if path in known}
            )
            found = self._forbids[key] = self.conditions.tree(tree, condition)
        return found

    def _lacks(self, entry: PoolEntry) -> int:
        """Return whether an entry lacks a capability that the task needs."""
        if entry.supports is None:
            return FALSE
        lacks = []
        for seen in self.names.seen(self.policy, "task.needs"):
            items = seen.value
            missing = [items.has(word) for word in [*items.words] if word not in entry.supports]
            lacks.append(self.formula.all(seen.where, self.formula.any(*missing, items.other)))
        return self.formula.any(*lacks)

    def _holds(self, entry: PoolEntry) -> int:
        """Return whether the window of an entry holds the input and its own answer."""
        if entry.context_window is None:
            return TRUE
        own = self.prepared.offer(entry).own_tokens
        room = entry.context_window - (1 if own is None else own)
        held = [FALSE if room < 0 else -self.names.presence("task.input_tokens")]
        held += [
            self.formula.all(it.where, it.value.at_most(room))
            for it in self.names.seen(self.policy, "task.input_tokens")
        ]
        return self.formula.any(*held)

    # Step 6: refusals.

    def _refuse(self, ended: Ended, rest: int, codes: Mapping[ReasonCode, int]) -> None:
        """Note the code of a refusal: that of the first candidate."""
        formula = self.formula
        found: dict[ReasonCode, list[int]] = {}
        for code, where in codes.items():
            found.setdefault(code, []).append(formula.all(rest, where))
        first = rest
        for it in ended.candidates:
            here = formula.all(first if ended.is_ordered else rest, it.proposed)
            first = formula.all(first, -it.proposed)
            if here != FALSE:
                for code, literal_ in self._rejected(it.place, ended.rule):
                    found.setdefault(code, []).append(formula.all(here, literal_))
        for code, literals in found.items():
            refused = formula.any(*literals)
            if not ended.is_ordered:  # any of the candidates may be the first
                loose = formula.new()
                formula.add(-loose, refused)
                refused = loose
            earlier = ended.refused.get(code, FALSE)
            ended.refused[code] = formula.any(earlier, refused)
        if not ended.is_ordered:
            is_any = formula.any(*[it for literals in found.values() for it in literals])
            formula.add(-is_any, *ended.refused.values())

    def _rejected(self, place: Place, rule: PrecedenceRule) -> Iterator[tuple[ReasonCode, int]]:
        passed = TRUE
        for code, guard in zip(_CODES, self.guards(place, rule), strict=True):
            if guard != TRUE:
                yield code, self.formula.all(passed, -guard)
                passed = self.formula.all(passed, guard)

    # Step 8: fallbacks.

    def _plan(self, ended: Ended) -> None:
        """Note the fallbacks of each target."""
        formula, rule = self.formula, ended.rule
        if not rule.fallback:
            return
        found: dict[Place, list[int]] = {}
        for place, selected in ended.selected.items():
            if place.entry is not None:
                for entry in self.prepared.offer(place.entry).fallback:
                    found.setdefault(self.place(entry, rule.use), []).append(selected)
        if rule.falls_to_candidates:
            some = formula.any(
                *[it for place, it in ended.selected.items() if place.entry is not None]
            )
            for it in ended.candidates:
                if it.place.entry is not None:
                    mine = ended.selected.get(it.place, FALSE)
                    found.setdefault(it.place, []).append(formula.all(some, it.proposed, -mine))
        for place, literals in found.items():
            planned = formula.all(formula.any(*literals), self.admitted(place, rule))
            if planned != FALSE:
                ended.planned[place] = planned

    # Texts of the request.

    def is_text(self, node: Node, word: str) -> int:
        """Return whether a constant, or a name of the request, is a word."""
        return self.same(node, literal(word))

    def same(self, one: Node, other: Node) -> int:
        """Return whether two constants, or names of the request, are equal."""
        left, right = self.conditions.values(one), self.conditions.values(other)
        cases = [
            self.formula.all(where, also, self.conditions.comparison("==", value, it))
            for where, value in left or ()
            for also, it in right or ()
        ]
        return self.formula.any(*cases)

    # What it comes to.

    def ends(self) -> Iterable[tuple[Ended, Place, int]]:
        """Yield each target that may be selected."""
        for ended in self.rules:
            for place, literal_ in ended.selected.items():
                yield ended, place, literal_

    def runs(self) -> Iterable[tuple[Ended, Place, int]]:
        """Yield each target on which a task may run: selected, or a planned fallback."""
        yield from self.ends()
        for ended in self.rules:
            for place, literal_ in ended.planned.items():
                yield ended, place, literal_

    def outcomes(self) -> Iterable[tuple[Known, int]]:
        """Yield what an assertion sees of each target and of each refusal, with where it is so."""
        for ended, place, literal_ in self.runs():
            level = place.level.value
            words = _words("selected", level, ended.rule.id, "", in_pool=place.entry is not None)
            yield {**place.known, **words}, literal_
        for ended in self.rules:
            for code, literal_ in ended.refused.items():
                words = _words("refused", "", ended.rule.id, code.value, in_pool=False)
                yield {**_NO_TARGET, **words}, literal_
        words = _words("refused", "", "", ReasonCode.NO_TARGET.value, in_pool=False)
        yield {**_NO_TARGET, **words}, self.nothing


def _sees_alike(one: Policy, other: Policy) -> bool:
    """Tell whether conditions mean the same in two policies."""
    variables, others = (
        [(it.name, it.condition.tree) for it in policy.variables] for policy in (one, other)
    )
    same = ("facts", "closed", "tables", "required")
    alike = all(getattr(one, key) == getattr(other, key) for key in same)
    return alike and variables == others


def _provider(name: str | None) -> Node:
    """Return the provider that a name stands for; none is the parent's."""
    return literal(name) if name else PARENT


def _words(outcome: str, level: str, rule: str, code: str, *, in_pool: bool) -> Known:
    texts = {"outcome": outcome, "level": level, "rule": rule, "code": code}
    words = {key: literal(word) for key, word in texts.items()}
    return {**words, "in_pool": literal(in_pool)}


_NO_TARGET: Final[Known] = {
    **{f"target.{key}": literal("") for key in ("name", "model", "provider", "level")},
    **{f"target.{key}": strings(()) for key in ("strengths", "supports")},
    **dict.fromkeys(f"target.{key}" for key in _ABSENT),
}
"""What an assertion sees of the target of a refusal: nothing."""
