"""The outcomes that coverage counts as literals: where the walk brings each of them about.

It follows what ``analysis.coverage`` counts of a decision, and lets in more than that where the
walk does: that an outcome comes about is believed only once coverage has counted it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from policy_router.analysis.coverage_report import CoverageItem
from policy_router.analysis.proof.asking import Asking
from policy_router.analysis.proof.places import Place, wished
from policy_router.analysis.proof.solver import FALSE, TRUE
from policy_router.analysis.proof.walk import Ended
from policy_router.cel.ast import Node
from policy_router.cel.condition import Condition
from policy_router.cel.simplify import Known, simplified
from policy_router.domain import WISHES, ForbidRule, Level, PoolEntry

_Contexts: TypeAlias = Iterable[tuple[int, Known]]
"""Where a condition is evaluated, each with what the names of the target stand for."""


class Reaching:
    """Makes the literals: each holds for every request that brings an outcome about."""

    def __init__(self, asking: Asking) -> None:
        """Take the policy that is asked about."""
        self._formula, self._walk = asking.formula, asking.walks[0]
        self._policy = self._walk.policy
        self._rules = {ended.rule.id: ended for ended in self._walk.rules}
        self._forbids = {rule.id: rule for rule in self._policy.forbid}
        self._tried = [[*self._targets(ended)] for ended in self._walk.rules]

    def literal(self, item: CoverageItem, outcome: str) -> int:
        """Return a literal that holds wherever an outcome comes about, and perhaps elsewhere."""
        match item.kind, outcome:
            case "rule", "reached":
                return self._rules[item.name].reached
            case "rule", _:
                return self._formula.any(*self._rules[item.name].selected.values())
            case "entry", _:
                return self._selected(self._entry(item))
            case "fallback", _:
                return self._planned(self._entry(item), item.text)
            case "on_violation", _:
                return self._violated(self._rules[item.name])
            case "order_by", _:
                return self._compared(self._rules[item.name])
        kind = item.of or item.kind
        name = item.name.removesuffix(f": {kind}") if item.of else item.name
        return self._truth(kind, name, item, is_true=outcome == "true")

    def _entry(self, item: CoverageItem) -> PoolEntry:
        """Return the entry that something is written in: several may have one name."""
        assert item.span is not None  # noqa: S101 - what is covered has a place
        start, source = item.span.start, item.span.source
        return next(
            it
            for it in self._policy.pool or ()
            if it.span and it.span.source is source and it.span.start <= start < it.span.end
        )

    # What is selected and planned.

    def _selected(self, entry: PoolEntry) -> int:
        found = [it for _, place, it in self._walk.ends() if place.entry is entry]
        return self._formula.any(*found)

    def _planned(self, entry: PoolEntry, name: str) -> int:
        formula, found = self._formula, []
        for ended in self._walk.rules:
            mine = [it for place, it in ended.selected.items() if place.entry is entry]
            planned = [
                it
                for place, it in ended.planned.items()
                if place.entry and place.entry.name == name
            ]
            found.append(formula.all(formula.any(*mine), formula.any(*planned)))
        return formula.any(*found)

    def _violated(self, ended: Ended) -> int:
        level, formula = ended.rule.use, self._formula
        asked = TRUE
        if level in WISHES:
            is_text = self._walk.conditions.is_text
            asked = formula.any(*[-is_text(name, "") for name in wished(level)])
        return formula.all(self._active(ended), asked, -formula.any(*ended.selected.values()))

    def _compared(self, ended: Ended) -> int:
        """Return whether a rule puts at least two candidates in order."""
        formula, one, two = self._formula, FALSE, FALSE
        for _, where in self._ordered(ended):
            two = formula.any(two, formula.all(one, where))
            one = formula.any(one, where)
        return formula.all(self._active(ended), two)

    def _ordered(self, ended: Ended) -> Iterator[tuple[Place, int]]:
        """Yield the entries that a rule puts in order, each with whether it does."""
        rule, walk_ = ended.rule, self._walk
        if rule.entry is not None or (rule.use is not Level.POOL and rule.use not in WISHES):
            return
        for entry in self._policy.pool or ():
            place = walk_.places.of(entry, rule.use)
            if rule.use is not Level.POOL:
                yield place, self._meant(ended, place)
            elif entry.pick is not None:
                yield place, walk_.conditions.about(entry.pick, place.known)[0]

    def _meant(self, ended: Ended, place: Place) -> int:
        """Return whether a wish may mean an entry: of one without a number, nothing is known."""
        order_by, entry = ended.rule.order_by, place.entry
        if order_by is None or entry is None:
            return TRUE
        number = self._walk.prepared.order(order_by, entry, ended.rule.use)
        if not isinstance(number, float):
            return TRUE
        return self._formula.any(
            *[it.proposed for it in ended.proposal.candidates if it.place is place]
        )

    # What conditions come to.

    def _active(self, ended: Ended) -> int:
        when = ended.rule.when
        is_true = TRUE if when is None else self._walk.conditions.condition(when)[0]
        return self._formula.all(ended.reached, is_true)

    def _truth(self, kind: str, name: str, item: CoverageItem, *, is_true: bool) -> int:
        condition, contexts = self._looked_at(kind, name, item)
        if item.leaf is None:
            parts = [(it, self._walk.conditions.about(condition, known)) for it, known in contexts]
            return self._either([(where, *found) for where, found in parts], is_true=is_true)
        cases, leaf = [], item.leaf
        for where, known in contexts:
            unless = [
                -self._of_part(part, condition, known)[0 if value else 1]
                for part, value in leaf.unless
            ]
            here = self._formula.all(where, *unless)
            cases.append((here, *self._of_part(leaf.bound or leaf.node, condition, known)))
        return self._either(cases, is_true=is_true)

    def _either(self, cases: Iterable[tuple[int, int, int]], *, is_true: bool) -> int:
        formula = self._formula
        return formula.either((where, true if is_true else false) for where, true, false in cases)

    def _of_part(self, part: Node, condition: Condition, known: Known) -> tuple[int, int]:
        return self._walk.conditions.tree(simplified(part, known), condition)

    def _looked_at(self, kind: str, name: str, item: CoverageItem) -> tuple[Condition, _Contexts]:
        """Return a condition, and where it is evaluated."""
        if kind == "variable":
            variable = next(it for it in self._policy.variables if it.name == name)
            return variable.condition, [(TRUE, {})]
        if kind == "forbid":
            return self._forbids[name].when, self._of_forbid(name)
        if kind in {"when", "order_by"}:
            ended = self._rules[name]
            condition = ended.rule.when if kind == "when" else ended.rule.order_by
            contexts: _Contexts = [(ended.reached, {})]
            if kind == "order_by":
                active = self._active(ended)
                rows = self._ordered(ended)
                contexts = [(self._formula.all(active, it), place.known) for place, it in rows]
        else:
            entry = self._entry(item)
            condition = entry.allow if kind == "allow" else entry.pick
            contexts = self._of_allow(entry) if kind == "allow" else self._of_pick(entry)
        assert condition is not None  # noqa: S101 - it is covered, so that it is there
        return condition, contexts

    def _of_pick(self, entry: PoolEntry) -> _Contexts:
        for ended in self._walk.rules:
            if ended.rule.use is Level.POOL and ended.rule.entry is None:
                yield self._active(ended), self._walk.places.of(entry, Level.POOL).known

    def _of_allow(self, entry: PoolEntry) -> _Contexts:
        for ended, tried in zip(self._walk.rules, self._tried, strict=True):
            for place, where in tried:
                if place.entry is entry:
                    guards = self._walk.guards.of(place, ended.rule)[:2]
                    yield self._formula.all(where, *guards), place.known

    def _of_forbid(self, name: str) -> _Contexts:
        formula, walk_, rule = self._formula, self._walk, self._forbids[name]
        if not rule.enforce:
            for _, place, where in walk_.runs():
                yield where, place.known
            return
        for ended, tried in zip(walk_.rules, self._tried, strict=True):
            for place, where in tried:
                guards = walk_.guards.of(place, ended.rule)[:3]
                before = [walk_.guards.forbidden(it, place)[1] for it in self._before(name)]
                yield formula.all(where, *guards, *before), place.known

    def _before(self, name: str) -> Iterator[ForbidRule]:
        """Yield the forbid rules that have to be false before another is looked at."""
        for rule in self._policy.forbid:
            if rule.id == name:
                return
            if rule.enforce:
                yield rule

    def _targets(self, ended: Ended) -> Iterator[tuple[Place, int]]:
        """Yield what a rule tries, candidates and fallbacks, each with whether it does."""
        formula, rule, rest = self._formula, ended.rule, self._active(ended)
        for it in ended.proposal.candidates:
            yield it.place, formula.all(rest, it.proposed)
            if ended.proposal.is_ordered:
                admitted = formula.all(it.proposed, self._walk.guards.admitted(it.place, rule))
                rest = formula.all(rest, -admitted)
        if not rule.fallback:
            return
        chosen = {it: where for it, where in ended.selected.items() if it.entry is not None}
        for place, where in chosen.items():
            assert place.entry is not None  # noqa: S101 - only entries have fallbacks
            for entry in self._walk.prepared.offer(place.entry).fallback:
                yield self._walk.places.of(entry, rule.use), where
        some = formula.any(*chosen.values())
        for it in ended.proposal.candidates if rule.falls_to_candidates else ():
            if it.place.entry is not None:
                mine = ended.selected.get(it.place, FALSE)
                yield it.place, formula.all(some, it.proposed, -mine)
