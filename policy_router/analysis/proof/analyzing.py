"""What is asked of a policy without being told: can each of its parts matter?"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from policy_router.analysis.outcomes import Outcome
from policy_router.analysis.proof.asking import (
    Answer,
    Answered,
    Asking,
    Confirm,
    Moment,
    Progress,
    Question,
)
from policy_router.analysis.proof.places import Place
from policy_router.analysis.proof.solver import FALSE
from policy_router.analysis.proof.walk import Walk
from policy_router.cel.condition import Condition
from policy_router.cel.evaluate import Program, Truth
from policy_router.cel.frame import FAILURE
from policy_router.decision.candidate import Candidate
from policy_router.decision.evaluation import Evaluation
from policy_router.decision.request import moment
from policy_router.diagnostics.model import Span
from policy_router.domain import ForbidRule, Level, Note, Policy


@dataclass(frozen=True, slots=True)
class Item:
    """What is asked about a part of a policy.

    Attributes:
        kind: the kind of the question, such as ``rule``.
        text: the question, in words.
        span: where the part is written.
        blamed: whether *never* is a finding; else *can* is one, where ``notable``.
        notable: whether *can* is a finding.
    """

    kind: str
    text: str
    span: Span | None = None
    blamed: bool = True
    notable: bool = False


@dataclass(frozen=True, slots=True)
class AnalysisItem:
    """A question about a part of a policy, with its answer.

    Attributes:
        item: what was asked.
        answered: the answer.
        by: for an entry: the rules that select it.
    """

    item: Item
    answered: Answered
    by: tuple[str, ...] = ()

    @property
    def is_finding(self) -> bool:
        """Whether this is something to look at."""
        if self.answered.answer is Answer.NEVER:
            return self.item.blamed
        return self.answered.answer is Answer.CAN and self.item.notable


@dataclass(frozen=True, slots=True)
class Analysis:
    """The answers about a policy.

    Attributes:
        policy: the policy.
        items: the questions with their answers.
        alike: parts that say the same, in words, each with its place.
    """

    policy: Policy = field(repr=False)
    items: tuple[AnalysisItem, ...]
    alike: tuple[tuple[str, Span | None], ...] = ()

    def count(self, answer: Answer) -> int:
        """Return how many questions have an answer."""
        return sum(it.answered.answer is answer for it in self.items)


def analyze(
    policy: Policy,
    *,
    now: datetime.datetime | str,
    seconds: float | None = None,
    progress: Progress = lambda _done, _total: None,
) -> Analysis:
    """Ask whether each part of a policy can matter.

    Args:
        policy: the policy.
        now: the time of example requests where any is good.
        seconds: how much time of the processor may be used; None for any.
        progress: is told how many of how many questions were asked.

    Raises:
        ModuleNotFoundError: the extra for proofs is not installed.
    """
    now = moment(now)
    analyst = _Analyst(policy, now, seconds)
    questions = [*analyst.questions()]
    analyst.asking.sample(lambda outcomes: analyst.events.of(outcomes[0]))
    items = []
    for number, (item, question) in enumerate(questions, start=1):
        items.append(analyst.answer(item, question))
        progress(number, len(questions))
    return Analysis(policy, tuple(items), tuple(_alike(policy)))


class _Analyst:
    def __init__(self, policy: Policy, now: Moment, seconds: float | None) -> None:
        self.policy = policy
        self.asking = Asking([policy], now=now, seconds=seconds)
        self.walk: Walk = self.asking.walks[0]
        self.events = Events(policy)
        self.idle: set[str] = set()
        self.own = {source.name for source in policy.sources}

    def answer(self, item: Item, question: Question) -> AnalysisItem:
        answered = self.asking.ask(question)
        by: tuple[str, ...] = ()
        if item.kind == "rule" and answered.answer is Answer.NEVER:
            self.idle.add(str(question.key[1]))  # type: ignore[index]
        if item.kind == "entry" and answered.answer is Answer.CAN:
            by = tuple(self._selecting(question.key[1]))  # type: ignore[index]
        return AnalysisItem(item, answered, by)

    def _selecting(self, position: int) -> Iterator[str]:
        """Yield the rules that select an entry."""
        for ended in self.walk.rules:
            if ended.rule.id in self.idle:
                continue
            literal = self._by_entry(ended.selected.items()).get(position, FALSE)
            question = self._about(("by", ended.rule.id, position), literal)
            if self.asking.ask(question, small=False).answer is Answer.CAN:
                yield ended.rule.id

    # The questions.

    def questions(self) -> Iterator[tuple[Item, Question]]:
        """Yield what is asked, part by part."""
        yield from self._about_rules()
        yield from self._about_entries()
        yield from self._about_forbids()
        yield from self._about_outcomes()
        yield from self._about_failures()

    def _about(self, key: tuple[Any, ...], literal: int) -> Question:
        return Question(key, literal, lambda outcomes: key in self.events.of(outcomes[0]))

    def _about_rules(self) -> Iterator[tuple[Item, Question]]:
        for ended in self.walk.rules:
            rule = ended.rule
            literal = self.asking.formula.any(*ended.selected.values())
            is_own = rule.span is not None and rule.span.source.name in self.own
            text = f"precedence rule `{rule.id}` selects a target"
            item = Item("rule", text, rule.span, blamed=is_own)
            yield item, self._about(("rule", rule.id), literal)

    def _about_entries(self) -> Iterator[tuple[Item, Question]]:
        found = self._by_entry((place, literal) for _, place, literal in self.walk.ends())
        for entry in self.policy.pool or ():
            item = Item("entry", f"entry `{entry.name}` is selected", entry.span)
            yield item, self._about(("entry", entry.position), found.get(entry.position, FALSE))
        yield from self._about_picks()

    def _about_picks(self) -> Iterator[tuple[Item, Question]]:
        won: list[tuple[Place, int]] = []
        for ended in self.walk.rules:
            if ended.rule.use is Level.POOL and not ended.rule.entry:
                planned = ended.planned if ended.rule.falls_to_candidates else {}
                won += [*ended.selected.items(), *planned.items()]
        found = self._by_entry(won)
        for entry in self.policy.pool or ():
            if entry.pick is not None:
                item = Item("pick", f"`pick` of entry `{entry.name}` wins", entry.pick.span)
                yield item, self._about(("pick", entry.position), found.get(entry.position, FALSE))

    def _by_entry(self, places: Iterable[tuple[Place, int]]) -> dict[int, int]:
        """Return for each entry whether one of its places holds."""
        pairs = ((place.entry.position, it) for place, it in places if place.entry is not None)
        return self.asking.formula.joined(pairs)

    def _about_forbids(self) -> Iterator[tuple[Item, Question]]:
        formula, guards, places = self.asking.formula, self.walk.guards, self._running()
        for rule in self.policy.forbid:
            if not rule.enforce:
                continue
            runs = formula.joined((guards.forbidden(rule, it)[1], where) for it, where in places)
            literal = formula.either((-free, where) for free, where in runs.items())
            switches = {**guards.switches}
            off = switches.pop(rule.id)
            item = Item("forbid", f"forbid rule `{rule.id}` makes a difference", rule.span)
            assumed = (*switches.values(), -off)
            yield item, Question(("forbid", rule.id), literal, self._without(rule), assumed)

    def _running(self) -> list[tuple[Place, int]]:
        """Return the targets that conditions tell apart, each with whether a task runs on it."""
        alike: dict[object, Place] = {}
        runs = []
        for _, place, literal in self.walk.runs():
            level = place.level if self.walk.guards.level_matters else None
            key = place if place.entry is None else (place.entry.position, level)
            runs.append((alike.setdefault(key, place), literal))
        return [*self.asking.formula.joined(runs).items()]

    def _without(self, rule: ForbidRule) -> Confirm:
        """Confirm that a decision would have another target, or fallback, without a forbid rule."""
        policy = self.walk.prepared.without(rule)

        def confirm(outcomes: Sequence[Outcome]) -> bool:
            found = outcomes[0]
            without = Outcome.of_other(policy, found)
            return any(
                found.evaluation.truth_for(rule.when, target) is not Truth.FALSE
                for target in without.runs
            )

        return confirm

    def _about_outcomes(self) -> Iterator[tuple[Item, Question]]:
        item = Item("no_target", "no rule selects a target", blamed=False)
        yield item, self._about(("no_target",), self.walk.nothing)
        if self.policy.pool is not None:
            found = [it for _, place, it in self.walk.ends() if place.entry is None]
            literal = self.asking.formula.any(*found)
            text = "a model outside the pool runs"
            item = Item("outside", text, blamed=False, notable=True)
            yield item, self._about(("outside",), literal)
        for ended in self.walk.rules:
            for code, literal in ended.refused.items():
                text = f"precedence rule `{ended.rule.id}` refuses with {code.value}"
                item = Item("refusal", text, ended.rule.span, blamed=False)
                yield item, self._about(("refused", ended.rule.id, code.value), literal)

    # What can fail.

    def _about_failures(self) -> Iterator[tuple[Item, Question]]:
        levels = dict.fromkeys(rule.use for rule in self.policy.precedence)
        for ended in self.walk.rules:
            if ended.rule.when is not None:
                part = f"`when` of rule `{ended.rule.id}`"
                yield from self._failing(part, ended.rule.when, [None])
        for entry in self.policy.pool or ():
            places = [self.walk.places.of(entry, level) for level in levels]
            for word, condition in (("allow", entry.allow), ("pick", entry.pick)):
                if condition is not None:
                    part = f"`{word}` of entry `{entry.name}`"
                    yield from self._failing(part, condition, places)
        for rule in self.policy.forbid:
            every = [place for _, place, _ in self.walk.runs()]
            yield from self._failing(f"forbid rule `{rule.id}`", rule.when, every)

    def _failing(
        self, part: str, condition: Condition, places: Any
    ) -> Iterator[tuple[Item, Question]]:
        if not self.walk.conditions.may_fail(condition.tree, guarded=True):
            return
        found = {}
        for place in places:
            true, false = self.walk.conditions.about(condition, place.known if place else {})
            found[true, false] = place
        literal = self.asking.formula.either((-true, -false) for true, false in found)

        def confirm(outcomes: Sequence[Outcome]) -> bool:
            evaluation = outcomes[0].evaluation
            targets = (_candidate(evaluation, it) for it in found.values())
            return any(evaluation.evaluate(condition, it) is FAILURE for it in targets)

        text = f"{part} cannot be evaluated"
        item = Item("fails", text, condition.span, blamed=False, notable=True)
        yield item, Question(("fails", part), literal, confirm)


def _candidate(evaluation: Evaluation, place: Place | None) -> Candidate | None:
    """Return the target that a place is for a request."""
    if place is None:
        return None
    if place.entry is not None:
        return evaluation.candidate(place.entry, place.level)
    model, provider = (
        Program(it).evaluate(evaluation.frame) for it in (place.model, place.provider)
    )
    return Candidate(str(model), str(provider), place.level)


class Events:
    """What the decisions of a policy bring about, as the keys of questions."""

    def __init__(self, policy: Policy) -> None:
        """Take the rules of a policy."""
        self._picking = {
            rule.id for rule in policy.precedence if rule.use is Level.POOL and rule.entry is None
        }
        self._planning = {rule.id for rule in policy.precedence if rule.falls_to_candidates}

    def of(self, outcome: Outcome) -> Iterator[tuple[Any, ...]]:
        """Yield the keys of what a decision brings about."""
        ending, rule = outcome.ending, outcome.rule
        if ending.rejection is not None:
            code = ending.rejection.code.value
            yield ("no_target",) if rule is None else ("refused", rule, code)
        if ending.selected is not None:
            entry = ending.selected.entry
            yield ("rule", rule)
            if entry is None:
                yield ("outside",)
                return
            yield ("entry", entry.position)
            yield ("by", rule, entry.position)
            if rule in self._picking:
                picked = outcome.runs if rule in self._planning else (ending.selected,)
                yield from (("pick", it.entry.position) for it in picked if it.entry)
        for step in outcome.steps:
            for candidate in step.candidates or ():
                if candidate.forbid:
                    yield ("forbid", candidate.forbid)


def _alike(policy: Policy) -> Iterator[tuple[str, Span | None]]:
    """Yield the parts of a policy that say the same as an earlier one."""
    found: dict[object, str] = {}
    for kind, name, said, span in _said(policy):
        first = found.setdefault((kind, said), name)
        if first != name:
            yield f"{kind} `{name}` is the same as {kind} `{first}`", span


def _said(policy: Policy) -> Iterator[tuple[str, str, object, Span | None]]:
    """Yield the parts of a policy: what each is, its name, what it says, and where."""
    for entry in policy.pool or ():
        said = replace(entry, name="", aliases=(), strengths=(), note=Note(), shares_name=False)
        yield "entry", entry.name, replace(said, span=None), entry.span
    for rule in policy.forbid:
        yield "forbid rule", rule.id, (rule.when.tree, rule.enforce), rule.span
    for it in policy.precedence:
        trees = [each and each.tree for each in (it.when, it.order_by)]
        rest = replace(it, id="", when=None, order_by=None)
        yield "precedence rule", it.id, (*trees, rest), it.span
