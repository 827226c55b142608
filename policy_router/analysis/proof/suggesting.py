"""Requests for what the tests of a policy do not cover, and the proof where there is none.

Each outcome that no test brought about is a question. The formula lets in every request that brings
it about; whether one does is what the coverage of its decision says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from policy_router.analysis.coverage import Coverage
from policy_router.analysis.coverage_report import CoverageItem, CoverageReport
from policy_router.analysis.outcomes import Outcome
from policy_router.analysis.proof.asking import Answer, Answered, Asking, Moment, Progress, Question
from policy_router.analysis.proof.reaching import Reaching
from policy_router.analysis.proof.refining import Cause
from policy_router.analysis.proof.solver import TRUE, OutOfReachError
from policy_router.decision.evaluator import decide
from policy_router.decision.record import DecisionRecord
from policy_router.decision.request import Request, moment, spelt
from policy_router.domain import Policy

_Key: TypeAlias = tuple[int, str]
"""An outcome: the place of its item in the report, and its word."""


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
        reaching = Reaching(self.asking)
        self._questions = [self._question(key, reaching) for key in gaps]
        self.asking.sample(lambda outcomes: self._probe.brought_about(outcomes[0]) & gaps.keys())

    def _question(self, key: _Key, reaching: Reaching) -> Question:
        gap = self.gaps[key]

        def confirm(outcomes: Sequence[Outcome]) -> bool:
            return key in self._probe.brought_about(outcomes[0])

        # With an assumption of its own, it shares no answer with a question of the same literal.
        literal = reaching.literal(gap.item, gap.outcome)
        return Question(key, literal, confirm, (*self.asking.switches, TRUE))

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
