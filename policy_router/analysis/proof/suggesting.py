"""Requests for what the tests of a policy do not cover, and the proof where there is none.

Each outcome that no test brought about is a question. The formula lets in every request that brings
it about; whether one does is what the coverage of its decision says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from policy_router.analysis.coverage import Coverage
from policy_router.analysis.coverage_report import CoverageItem, CoverageReport
from policy_router.analysis.outcomes import Outcome
from policy_router.analysis.proof.asking import (
    Answer,
    Answered,
    Asking,
    Cause,
    Moment,
    Progress,
    Question,
)
from policy_router.analysis.proof.sampling import Samples
from policy_router.analysis.proof.solver import FALSE, TRUE, OutOfReachError
from policy_router.analysis.proof.walk import Ended, Place
from policy_router.cel.ast import STRING, Attribute, Node
from policy_router.cel.condition import Condition
from policy_router.cel.simplify import Known, simplified
from policy_router.decision.evaluator import decide
from policy_router.decision.record import DecisionRecord
from policy_router.decision.request import Request, moment, spelt
from policy_router.domain import WISHES, ForbidRule, Level, Policy, PoolEntry

_SAMPLES: Final = 300
_MOST_EXAMPLES: Final = 3

_Key: TypeAlias = tuple[int, str]
"""An outcome: the place of its item in the report, and its word."""
_Contexts: TypeAlias = Iterable[tuple[int, Known]]
"""Where a condition is evaluated, each with what the names of the target stand for."""


@dataclass(frozen=True, slots=True)
class Gap:
    """An outcome that no test brings about.

    Attributes:
        item: what the policy says.
        outcome: its outcome.
    """

    item: CoverageItem
    outcome: str


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A request for a test.

    Attributes:
        record: what is decided of it today, to be confirmed.
        covers: what it brings about that nothing before it did.
    """

    record: DecisionRecord
    covers: tuple[Gap, ...]


@dataclass(frozen=True, slots=True)
class Suggestions:
    """What to test besides.

    Attributes:
        policy: the policy.
        tests: the requests.
        never: what no request can bring about: proved.
        undecided: what is neither found nor proved, each with the reason.
    """

    policy: Policy = field(repr=False)
    tests: tuple[Suggestion, ...]
    never: tuple[Gap, ...]
    undecided: tuple[tuple[Gap, Cause | None], ...]


def suggest(
    policy: Policy,
    report: CoverageReport,
    *,
    now: Moment | str,
    seconds: float | None = None,
    progress: Progress = lambda _done, _total: None,
) -> Suggestions:
    """Look for a request for each outcome that no test brings about.

    Args:
        policy: the policy.
        report: what its tests cover.
        now: the time of the requests where any is good.
        seconds: how much time of the processor may be used; None for any.
        progress: is told how many of how many outcomes were asked about.

    Raises:
        ModuleNotFoundError: the extra for proofs is not installed.
    """
    gaps = {
        (place, outcome): Gap(item, outcome)
        for place, item in enumerate(report.items)
        for outcome in item.missing
    }
    if not gaps:
        return Suggestions(policy, (), (), ())
    try:
        return _Search(policy, gaps, moment(now), seconds).found(progress)
    except OutOfReachError as problem:
        cause = Cause(str(problem))
        return Suggestions(policy, (), (), tuple((gap, cause) for gap in gaps.values()))


class _Search:
    """Asks about one gap after the other."""

    def __init__(
        self, policy: Policy, gaps: dict[_Key, Gap], now: Moment, seconds: float | None
    ) -> None:
        self.policy, self.gaps = policy, gaps
        self.asking = Asking([policy], now=now, seconds=seconds)
        self._probe = _Probe(policy)
        reaching = _Reaching(self.asking)
        self._questions = [self._question(key, reaching) for key in gaps]
        self._sample()

    def _question(self, key: _Key, reaching: _Reaching) -> Question:
        gap = self.gaps[key]

        def confirm(outcomes: Sequence[Outcome]) -> bool:
            return key in self._probe.brought_about(outcomes[0])

        # With an assumption of its own, it shares no answer with a question of the same literal.
        literal = reaching.literal(gap.item, gap.outcome)
        return Question(key, literal, confirm, (*self.asking.switches, TRUE))

    def _sample(self) -> None:
        """Decide requests from the policy's own words, and keep those that fill a gap."""
        samples = Samples(self.asking.names, self.asking.now)
        for request, now in (*samples.single(), *samples.mixed(_SAMPLES)):
            outcomes = self.asking.outcomes(request, now)
            for key in self._probe.brought_about(outcomes[0]) if outcomes else ():
                examples = self.asking.known.setdefault(key, [])
                if key in self.gaps and len(examples) < _MOST_EXAMPLES:
                    examples.append((request, now))

    def found(self, progress: Progress) -> Suggestions:
        """Return what was found."""
        answers: dict[_Key, Answered] = {}
        made: list[tuple[DecisionRecord, frozenset[_Key]]] = []
        waiting = {*self.gaps}
        for number, question in enumerate(self._questions, start=1):
            if question.key in waiting:
                answered = answers[question.key] = self.asking.ask(question)
                if answered.example is not None:
                    (record,) = answered.example.records
                    made.append((record, self._probe.covered(record) & self.gaps.keys()))
                    waiting -= made[-1][1]
            progress(number, len(self._questions))
        return self._suggestions(made, [it for key, it in answers.items() if key in waiting])

    def _suggestions(
        self, made: list[tuple[DecisionRecord, frozenset[_Key]]], left: list[Answered]
    ) -> Suggestions:
        tests, known = list[Suggestion](), set[_Key]()
        for record, keys in _needed(made):
            covers = tuple(gap for key, gap in self.gaps.items() if key in keys - known)
            tests.append(Suggestion(record, covers))
            known |= keys
        is_never = [it.answer is Answer.NEVER for it in left]
        never = [self.gaps[it.key] for it, is_so in zip(left, is_never, strict=True) if is_so]
        others = [it for it, is_so in zip(left, is_never, strict=True) if not is_so]
        undecided = tuple((self.gaps[it.key], it.cause) for it in others)
        return Suggestions(self.policy, tuple(tests), tuple(never), undecided)


def _needed(
    made: list[tuple[DecisionRecord, frozenset[_Key]]],
) -> list[tuple[DecisionRecord, frozenset[_Key]]]:
    """Leave out each decision that brings nothing about but what others do."""
    kept = [*made]
    for each in made:
        others = frozenset[_Key]().union(*(keys for it, keys in kept if it is not each[0]))
        if each[1] <= others:
            kept.remove(each)
    return kept


class _Probe:
    """Tells which outcomes a single decision brings about."""

    def __init__(self, policy: Policy) -> None:
        self._policy, self._coverage = policy, Coverage(policy)
        self._counters = [
            (place, outcome, item)
            for place, item in enumerate(self._coverage.report().items)
            for outcome in item.counts
        ]

    def brought_about(self, outcome: Outcome) -> frozenset[_Key]:
        """Decide a request once more, and return what that brings about."""
        now = spelt(outcome.evaluation.now)
        return self.covered(decide(self._policy, outcome.request, now=now))

    def covered(self, record: DecisionRecord) -> frozenset[_Key]:
        """Return the outcomes that a decision brings about."""
        before = self._counts()
        self._coverage.note(Request.from_mapping(record.request), record)
        after = self._counts()
        found = zip(self._counters, before, after, strict=True)
        return frozenset((place, word) for (place, word, _), one, two in found if one != two)

    def _counts(self) -> list[int]:
        return [
            item.counts[word] if item.leaf is None else item.leaf.counts[word == "true"]
            for _, word, item in self._counters
        ]


class _Reaching:
    """Makes the literals: each holds for every request that brings an outcome about."""

    def __init__(self, asking: Asking) -> None:
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
                return self._formula.any(self._rules[item.name].selected.values())
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
        return self._formula.any(found)

    def _planned(self, entry: PoolEntry, name: str) -> int:
        formula, found = self._formula, []
        for ended in self._walk.rules:
            mine = [it for place, it in ended.selected.items() if place.entry is entry]
            planned = [
                it
                for place, it in ended.planned.items()
                if place.entry and place.entry.name == name
            ]
            found.append(formula.all((formula.any(mine), formula.any(planned))))
        return formula.any(found)

    def _violated(self, ended: Ended) -> int:
        level, formula = ended.rule.use, self._formula
        asked = TRUE
        if level in WISHES:
            names = [Attribute(STRING, 0, 0, f"{level}.{key}") for key in ("model", "provider")]
            asked = formula.any([-self._walk.is_text(name, "") for name in names])
        return formula.all((self._active(ended), asked, -formula.any(ended.selected.values())))

    def _compared(self, ended: Ended) -> int:
        """Return whether a rule puts at least two candidates in order."""
        formula, one, two = self._formula, FALSE, FALSE
        for _, where in self._ordered(ended):
            two = formula.any((two, formula.all((one, where))))
            one = formula.any((one, where))
        return formula.all((self._active(ended), two))

    def _ordered(self, ended: Ended) -> Iterator[tuple[Place, int]]:
        """Yield the entries that a rule puts in order, each with whether it does."""
        rule, walk_ = ended.rule, self._walk
        if rule.entry is not None or (rule.use is not Level.POOL and rule.use not in WISHES):
            return
        for entry in self._policy.pool or ():
            place = walk_.place(entry, rule.use)
            if rule.use is not Level.POOL:
                yield place, self._meant(ended, place)
            elif entry.pick is not None:
                yield place, walk_.about(entry.pick, place.known)[0]

    def _meant(self, ended: Ended, place: Place) -> int:
        """Return whether a wish may mean an entry: of one without a number, nothing is known."""
        order_by, entry = ended.rule.order_by, place.entry
        if order_by is None or entry is None:
            return TRUE
        number = self._walk.prepared.order(order_by, entry, ended.rule.use)
        if not isinstance(number, float):
            return TRUE
        return self._formula.any([it.proposed for it in ended.candidates if it.place is place])

    # What conditions come to.

    def _active(self, ended: Ended) -> int:
        when = ended.rule.when
        is_true = TRUE if when is None else self._walk.conditions.condition(when)[0]
        return self._formula.all((ended.reached, is_true))

    def _truth(self, kind: str, name: str, item: CoverageItem, *, is_true: bool) -> int:
        condition, contexts = self._looked_at(kind, name, item)
        if item.leaf is None:
            parts = [(it, self._walk.about(condition, known)) for it, known in contexts]
            return self._either([(where, *found) for where, found in parts], is_true=is_true)
        cases, leaf = [], item.leaf
        for where, known in contexts:
            unless = [
                -self._of_part(part, condition, known)[0 if value else 1]
                for part, value in leaf.unless
            ]
            here = self._formula.all((where, *unless))
            cases.append((here, *self._of_part(leaf.bound or leaf.node, condition, known)))
        return self._either(cases, is_true=is_true)

    def _either(self, cases: Iterable[tuple[int, int, int]], *, is_true: bool) -> int:
        formula = self._formula
        return formula.any(
            [formula.all((where, true if is_true else false)) for where, true, false in cases]
        )

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
                contexts = [(self._formula.all((active, it)), place.known) for place, it in rows]
        else:
            entry = self._entry(item)
            condition = entry.allow if kind == "allow" else entry.pick
            contexts = self._of_allow(entry) if kind == "allow" else self._of_pick(entry)
        assert condition is not None  # noqa: S101 - it is covered, so that it is there
        return condition, contexts

    def _of_pick(self, entry: PoolEntry) -> _Contexts:
        for ended in self._walk.rules:
            if ended.rule.use is Level.POOL and ended.rule.entry is None:
                yield self._active(ended), self._walk.place(entry, Level.POOL).known

    def _of_allow(self, entry: PoolEntry) -> _Contexts:
        for ended, tried in zip(self._walk.rules, self._tried, strict=True):
            for place, where in tried:
                if place.entry is entry:
                    guards = self._walk.guards(place, ended.rule)[:2]
                    yield self._formula.all((where, *guards)), place.known

    def _of_forbid(self, name: str) -> _Contexts:
        formula, walk_, rule = self._formula, self._walk, self._forbids[name]
        if not rule.enforce:
            for _, place, where in walk_.runs():
                yield where, place.known
            return
        for ended, tried in zip(walk_.rules, self._tried, strict=True):
            for place, where in tried:
                guards = walk_.guards(place, ended.rule)[:3]
                before = [walk_.forbidden(it, place)[1] for it in self._before(name)]
                yield formula.all((where, *guards, *before)), place.known

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
        for it in ended.candidates:
            yield it.place, formula.all((rest, it.proposed))
            if ended.is_ordered:
                admitted = formula.all((it.proposed, self._walk.admitted(it.place, rule)))
                rest = formula.all((rest, -admitted))
        if not rule.fallback:
            return
        chosen = {it: where for it, where in ended.selected.items() if it.entry is not None}
        for place, where in chosen.items():
            assert place.entry is not None  # noqa: S101 - only entries have fallbacks
            for entry in self._walk.prepared.offer(place.entry).fallback:
                yield self._walk.place(entry, rule.use), where
        some = formula.any(chosen.values())
        for it in ended.candidates if rule.falls_to_candidates else ():
            if it.place.entry is not None:
                mine = ended.selected.get(it.place, FALSE)
                yield it.place, formula.all((some, it.proposed, -mine))
