"""How much of a policy its tests look at.

Everything that a policy says has outcomes that tests can bring about: a rule is reached and
selects, a condition is true and is false, and so is each leaf of it. Which of them a decision
brought about follows from its record: the evaluator has decided, and its steps and verdicts say
which conditions it came to. These are evaluated again, part by part, to see the values of their
leaves. Deciding itself knows nothing of coverage.

What a precedence profile brings is not counted: its author is not the policy's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from policy_router.analysis.coverage_report import CoverageItem, CoverageReport
from policy_router.analysis.leaves import Leaf, Observer, values_over
from policy_router.cel.ast import BOOL
from policy_router.cel.condition import Condition
from policy_router.cel.frame import Frame, frame_of
from policy_router.cel.simplify import reads_of
from policy_router.decision.candidate import Candidate
from policy_router.decision.evaluation import Evaluation
from policy_router.decision.evaluator import admission, meant, proposed, wishes_of
from policy_router.decision.fitting import checked, values_of
from policy_router.decision.record import (
    DecisionRecord,
    ReasonCode,
    Result,
    Step,
)
from policy_router.decision.request import Request, moment
from policy_router.diagnostics.model import Span
from policy_router.domain import WISHES, Level, Policy, PoolEntry, PrecedenceRule

_UNGUARDED: Final = frozenset({ReasonCode.INCOMPLETE, ReasonCode.OUTSIDE_POOL})
"""The codes of the guards that come before the conditions."""


@dataclass(slots=True, eq=False)
class WatchedCondition:
    """A condition of a policy, with what is counted of it.

    Attributes:
        item: how often it was true and false.
        observer: evaluates it, and counts the values of its leaves.
    """

    item: CoverageItem
    observer: Observer

    def observe(self, frame: Frame) -> None:
        """Evaluate it, and count what it comes to."""
        outcome = self.observer.observe(frame)
        if isinstance(outcome, bool) and self.item.kind != "order_by":
            self.item.counts["true" if outcome else "false"] += 1


@dataclass(slots=True, eq=False)
class _Rule:
    rule: PrecedenceRule
    item: CoverageItem
    when: WatchedCondition | None
    order_by: WatchedCondition | None
    violation: CoverageItem | None


@dataclass(slots=True, eq=False)
class _Entry:
    entry: PoolEntry
    item: CoverageItem
    allow: WatchedCondition | None
    pick: WatchedCondition | None
    fallback: Mapping[str, CoverageItem] = field(default_factory=dict)


class Coverage:
    """Counts, decision by decision, which outcomes of a policy came about."""

    def __init__(self, policy: Policy) -> None:
        """Begin with nothing covered."""
        self.policy = policy
        self._watched: list[WatchedCondition] = []
        self._seen: set[str] = set()
        self._variables = {
            it.name: self._watch("variable", it.name, it.condition) for it in policy.variables
        }
        self._entries = [self._entry(entry) for entry in policy.pool or ()]
        self._forbids = [
            (rule, self._watch("forbid", rule.id, rule.when)) for rule in policy.forbid
        ]
        self._rules = [self._rule(rule) for rule in policy.precedence]

    def _watch(self, kind: str, name: str, condition: Condition) -> WatchedCondition:
        counts = {"true": 0, "false": 0} if condition.tree.type == BOOL else {}
        counts = {"compared": 0} if kind == "order_by" else counts
        item = CoverageItem(kind, name, condition.span, counts)
        watched = WatchedCondition(item, Observer(condition, self._note_variable))
        self._watched.append(watched)
        return watched

    def _optional(
        self, kind: str, name: str, condition: Condition | None
    ) -> WatchedCondition | None:
        return None if condition is None else self._watch(kind, name, condition)

    def _entry(self, entry: PoolEntry) -> _Entry:
        item = CoverageItem("entry", entry.name, entry.span, {"selected": 0})
        fallback = {
            name: CoverageItem("fallback", entry.name, entry.span, {"planned": 0}, name)
            for name in entry.fallback
        }
        allow = self._optional("allow", entry.name, entry.allow)
        return _Entry(entry, item, allow, self._optional("pick", entry.name, entry.pick), fallback)

    def _rule(self, rule: PrecedenceRule) -> _Rule:
        item = CoverageItem("rule", rule.id, rule.span, {"reached": 0, "selected": 0})
        violation = None
        if "on_violation" in _written(rule.span):
            violation = CoverageItem("on_violation", rule.id, rule.span, {"violated": 0})
        when = self._optional("when", rule.id, rule.when)
        order_by = self._optional("order_by", rule.id, rule.order_by)
        return _Rule(rule, item, when, order_by, violation)

    # What a decision brought about.

    def note(self, request: Request, record: DecisionRecord) -> None:
        """Count what a decision of the policy brought about.

        Args:
            request: what was decided; it fits the policy.
            record: the decision.
        """
        values = values_of(self.policy, checked(self.policy, request))
        evaluation = Evaluation(self.policy, values, moment(record.now))
        self._seen.clear()
        for step, watched in zip(record.steps, self._rules, strict=True):
            if step.result is not Result.NOT_REACHED:
                self._note_step(evaluation, step, watched)
        if record.decision.target:
            self._note_target(evaluation, record)

    def _note_variable(self, name: str, frame: Frame) -> None:
        if name not in self._seen:
            self._seen.add(name)
            self._variables[name].observe(frame)

    def _note_step(self, evaluation: Evaluation, step: Step, watched: _Rule) -> None:
        rule = watched.rule
        watched.item.counts["reached"] += 1
        if watched.when is not None:
            watched.when.observe(evaluation.frame)
        if step.result in {Result.SKIPPED, Result.ERROR}:
            return
        if step.result is Result.SELECTED:
            watched.item.counts["selected"] += 1
        if step.result is Result.VIOLATED and watched.violation is not None:
            watched.violation.counts["violated"] += 1
        self._note_proposal(evaluation, step, watched)
        for candidate, verdict in zip(
            _proposed(evaluation, rule), step.candidates or (), strict=False
        ):
            self._note_guards(evaluation, candidate, verdict.code or None, verdict.forbid or None)

    def _note_proposal(self, evaluation: Evaluation, step: Step, watched: _Rule) -> None:
        """Count the picks that a rule asked for, and whether it put candidates in order."""
        rule = watched.rule
        ordered: list[Candidate] = []
        if rule.use is Level.POOL and rule.entry is None:
            for each in self._entries:
                if each.pick is not None:
                    candidate = evaluation.candidate(each.entry, Level.POOL)
                    each.pick.observe(evaluation.frame_for(candidate))
            ordered = [evaluation.candidate(it, Level.POOL) for it in evaluation.picked()[0]]
        elif rule.use in WISHES and step.requested and self.policy.pool is not None:
            model, provider = (step.requested.get(key, "") for key in ("model", "provider"))
            entries = meant(evaluation, model, provider)
            ordered = [evaluation.candidate(entry, rule.use) for entry in entries]
        if watched.order_by is not None:
            for candidate in ordered:
                watched.order_by.observe(evaluation.frame_for(candidate))
            watched.order_by.item.counts["compared"] += len(ordered) > 1

    def _note_guards(
        self,
        evaluation: Evaluation,
        candidate: Candidate,
        code: ReasonCode | None,
        forbid: str | None,
    ) -> None:
        """Count the guards that a candidate came to: up to the one that rejected it."""
        if code in _UNGUARDED:
            return
        frame = evaluation.frame_for(candidate)
        if candidate.entry is not None:
            allow = self._entries[candidate.entry.position].allow
            if allow is not None:
                allow.observe(frame)
        if code is ReasonCode.NOT_ALLOWED:
            return
        for rule, watched in self._forbids:
            if rule.enforce:
                watched.observe(frame)
                if code is ReasonCode.FORBIDDEN and rule.id == forbid:
                    return

    def _note_target(self, evaluation: Evaluation, record: DecisionRecord) -> None:
        """Count the selected entry, its fallbacks, and what is only observed about them."""
        place = next(at for at, step in enumerate(record.steps) if step.result is Result.SELECTED)
        rule, step = self._rules[place].rule, record.steps[place]
        verdicts = step.candidates or ()
        selected = _proposed(evaluation, rule)[len(verdicts) - 1]
        ran = [selected]
        if selected.entry is not None:
            self._entries[selected.entry.position].item.counts["selected"] += 1
            if rule.fallback:
                others = proposed(evaluation, rule).entries[len(verdicts) :]
                ran += self._note_fallbacks(evaluation, rule, selected.entry, others)
        for each, watched in self._forbids:
            for candidate in () if each.enforce else ran:
                watched.observe(evaluation.frame_for(candidate))

    def _note_fallbacks(
        self,
        evaluation: Evaluation,
        rule: PrecedenceRule,
        selected: PoolEntry,
        others: Sequence[PoolEntry],
    ) -> list[Candidate]:
        """Count the fallbacks of a selected entry, and return those that are planned."""
        items = self._entries[selected.position].fallback
        named = evaluation.prepared.offer(selected).fallback
        entries = (*named, *(others if rule.falls_to_candidates else ()))
        wishes = wishes_of(evaluation)
        planned = []
        for entry in {it.position: it for it in entries}.values():
            candidate = evaluation.candidate(entry, rule.use)
            found = admission(evaluation, candidate, wishes, in_pool=rule.in_pool)
            if found is None:
                planned.append(candidate)
                if entry.name in items:
                    items[entry.name].counts["planned"] += 1
            forbid = found.forbid.id if found and found.forbid else None
            self._note_guards(evaluation, candidate, found.code if found else None, forbid)
        return planned

    # The report.

    def conditions(self) -> Sequence[WatchedCondition]:
        """Return all conditions of the policy, those of a profile too."""
        return tuple(self._watched)

    def report(self) -> CoverageReport:
        """Return what was brought about so far, without what a profile brings."""
        own = {source.name for source in self.policy.sources}
        items = [it for it in self._items() if it.span is None or it.span.source.name in own]
        return CoverageReport(tuple(items))

    def _items(self) -> Iterator[CoverageItem]:
        for variable in self._variables.values():
            yield from self._with_leaves(variable)
        for each in self._entries:
            yield each.item
            for watched in (each.allow, each.pick):
                yield from self._with_leaves(watched, each.entry)
            yield from each.fallback.values()
        for _, forbid in self._forbids:
            yield from self._with_leaves(forbid)
        for rule in self._rules:
            yield rule.item
            yield from self._with_leaves(rule.when)
            yield from self._with_leaves(rule.order_by)
            if rule.violation is not None:
                yield rule.violation

    def _with_leaves(
        self, watched: WatchedCondition | None, entry: PoolEntry | None = None
    ) -> Iterator[CoverageItem]:
        if watched is None:
            return
        item = watched.item
        yield item
        key = "" if item.kind in {"forbid", "variable"} else f": {item.kind}"
        for leaf in watched.observer.leaves:
            wanted = self._wanted(leaf, item.kind, entry)
            counts = {str(value).lower(): leaf.counts[value] for value in wanted}
            name = f"{item.name}{key}"
            yield CoverageItem("leaf", name, leaf.span, counts, leaf.text, leaf, item.kind)

    def _wanted(self, leaf: Leaf, kind: str, entry: PoolEntry | None) -> tuple[bool, ...]:
        """Return the values that a leaf can have, as far as the pool alone tells.

        Of a part that reads the target alone, it is those that some candidate gives it.
        """
        reads = reads_of(leaf.node)
        only_target = bool(reads) and all(it in _OF_ENTRIES for it in reads)
        if not only_target or (entry is None and kind != "order_by" and self._takes_others):
            return (True, False)
        pool = [entry] if entry is not None else [*(self.policy.pool or ())]
        found = values_over(leaf.node, map(_frame, pool))
        return tuple(value for value in (True, False) if value in found)

    @property
    def _takes_others(self) -> bool:
        """Whether a target can be in no pool."""
        return self.policy.pool is None or any(map(self._may_leave_pool, self.policy.precedence))

    def _may_leave_pool(self, rule: PrecedenceRule) -> bool:
        policy, default = self.policy, (self.policy.model, self.policy.provider or "")
        if rule.in_pool or rule.use is Level.POOL:
            return False
        is_in_pool = default in [(entry.model, entry.provider) for entry in policy.pool or ()]
        return rule.use is not Level.CONFIG or not is_in_pool


def _proposed(evaluation: Evaluation, rule: PrecedenceRule) -> list[Candidate]:
    """Return the candidates of a rule; the verdicts of its step are about the first of them."""
    return list(proposed(evaluation, rule).candidates(evaluation, rule.use))


_OF_ENTRIES: Final = frozenset(
    {
        *("target.name", "target.model", "target.strengths", "target.supports"),
        *("target.price.input", "target.price.output", "target.price.cache_read"),
        *("target.price.cache_write", "target.context_window"),
    }
)
"""The names that an entry alone gives values to."""


def _frame(entry: PoolEntry) -> dict[str, Any]:
    values = Candidate(entry.model, entry.provider, Level.POOL, entry).values()
    return frame_of({"target": values})


def _written(span: Span | None) -> str:
    return "" if span is None else span.source.text[span.start : span.end]
