"""Questions and their answers: *never*, *can*, or *undecided*. Never a guess.

*Never* is what the formula says, which lets in all that requests can bring about. *Can* is what the
evaluator has decided for a request that is shown. What the formula lets in and the evaluator does
not confirm is refined: pieces that were left open are evaluated for that very request, which is
true of all requests like it. After some rounds the question is undecided.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, TypeAlias

from policy_router.analysis.outcomes import Outcome
from policy_router.analysis.proof.names import Names, Plain
from policy_router.analysis.proof.refining import EXHAUSTED, Cause, Refining
from policy_router.analysis.proof.sampling import Samples
from policy_router.analysis.proof.solver import Formula, OutOfReachError, holds_in
from policy_router.analysis.proof.walk import Walk
from policy_router.analysis.proof.wishes import Wish
from policy_router.analysis.proof.witness import Witness
from policy_router.decision.evaluator import decide
from policy_router.decision.record import DecisionRecord
from policy_router.decision.request import spelt
from policy_router.domain import Level, Policy
from policy_router.errors import RequestError

Moment: TypeAlias = datetime.datetime
Progress: TypeAlias = Callable[[int, int], object]

_ROUNDS: Final = 24
_NEAR: Final = 25
_SAMPLES: Final = 300
_MOST_EXAMPLES: Final = 3
MOST_VISITED: Final = 1_000_000
"""No more requests are tried after so many elements: some seconds."""
_MOST_TO_SHRINK: Final = MOST_VISITED // 10


class Answer(StrEnum):
    """The answer to a question."""

    NEVER = "never"
    """No request brings it about: proved."""
    CAN = "can"
    """A request does: the evaluator has decided it so."""
    UNDECIDED = "undecided"
    """It is not known."""


Confirm: TypeAlias = Callable[[Sequence[Outcome]], bool]
"""Tells whether what each policy decides of a request is what is asked about."""
Happening: TypeAlias = Callable[[Sequence[Outcome]], Iterable[Hashable]]
"""Tells the keys of the questions to which what each policy decides of a request is an answer."""


@dataclass(frozen=True, slots=True)
class Example:
    """A request that does what was asked about.

    Attributes:
        request: the request, as plain data.
        now: the time of its decision, RFC 3339.
        records: the decision of each policy.
    """

    request: Plain
    now: str
    records: tuple[DecisionRecord, ...] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Question:
    """A question about all requests that fit a policy.

    Attributes:
        key: names it.
        literal: whether it comes about, in the formula.
        confirm: decides whether a request brings it about.
        assumed: what is assumed besides.
    """

    key: Hashable
    literal: int
    confirm: Confirm
    assumed: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Answered:
    """A question with its answer.

    Attributes:
        key: the name of the question.
        answer: the answer.
        example: for *can*: a request.
        cause: for *undecided*: why.
    """

    key: Any
    answer: Answer
    example: Example | None = None
    cause: Cause | None = None


class Asking:
    """Asks questions about one policy, or two.

    Attributes:
        formula: what requests can bring about, and more.
        names: the names of requests.
        walks: the policies.
        wishes: the wishes for parameters of requests.
        now: the time that is used where any is good.
    """

    def __init__(
        self,
        policies: Sequence[Policy],
        *,
        now: Moment,
        seconds: float | None = None,
        more: Iterable[Any] = (),
    ) -> None:
        """Make the formula of some policies.

        Args:
            policies: the policies that decide the same requests.
            now: the time that is used where any is good.
            seconds: how much time of the processor may be used; None for any.
            more: further conditions that will be asked about.

        Raises:
            ModuleNotFoundError: the extra for proofs is not installed.
            OutOfReachError: the formula is too large.
        """
        self.formula = Formula(seconds)
        self.names = Names(self.formula, policies, more)
        self.wishes: dict[tuple[Level, str], Wish] = {}
        self.walks: list[Walk] = []
        for policy in policies:
            other = self.walks[0] if self.walks else None
            is_alone = len(policies) == 1
            self.walks.append(
                Walk(self.formula, self.names, policy, self.wishes, other=other, is_alone=is_alone)
            )
        self.now = now
        self.policies = policies
        self._samples: Samples | None = None
        self._settled: dict[tuple[int, tuple[int, ...]], Answered] = {}
        self.known: dict[Hashable, list[tuple[Plain, Moment]]] = {}
        self._visited = 0
        self._refining = Refining(self.names, self.walks)
        for each in self.walks:
            for condition in each.policy.assumptions:
                self.formula.add(each.conditions.condition(condition)[0])

    @property
    def switches(self) -> tuple[int, ...]:
        """What has to be assumed for all forbid rules to be there."""
        return tuple(it for each in self.walks for it in each.guards.switches.values())

    @property
    def is_exhausted(self) -> bool:
        """Whether the loops of conditions have visited so many elements that no more is tried."""
        return self._visited + self._refining.visited > MOST_VISITED

    def sample(self, happening: Happening) -> None:
        """Decide requests from the policies' own words, and keep them for what they bring about.

        Args:
            happening: tells what a request brings about, as the keys of questions.
        """
        samples = Samples(self.names, self.now)
        for request, now in itertools.chain(samples.single(), samples.mixed(_SAMPLES)):
            if self._visited > MOST_VISITED / 2:
                return
            outcomes = self.outcomes(request, now)
            for key in happening(outcomes) if outcomes else ():
                examples = self.known.setdefault(key, [])
                if len(examples) < _MOST_EXAMPLES:
                    examples.append((request, now))

    def confirmed(self, questions: Sequence[Question]) -> Happening:
        """Return what tells which of some questions a request is the first to answer."""
        return lambda outcomes: [
            it.key for it in questions if it.key not in self.known and it.confirm(outcomes)
        ]

    def ask(self, question: Question, *, small: bool = True) -> Answered:
        """Answer a question.

        Args:
            question: the question.
            small: whether the request is made as small as it goes.
        """
        settled = self._settled.get((question.literal, question.assumed))
        if settled is not None:
            return replace(settled, key=question.key)
        found = self._ask(question, small=small)
        if not question.assumed:
            self._settled[question.literal, question.assumed] = found
        return found

    def _ask(self, question: Question, *, small: bool) -> Answered:
        for request, now in self.known.get(question.key, ()):
            if self._confirmed(question, request, now):
                return self._can(question, request, now, small=small)
        try:
            return self._solve(question, small=small)
        except OutOfReachError as problem:
            return Answered(question.key, Answer.UNDECIDED, cause=Cause(str(problem)))

    def _solve(self, question: Question, *, small: bool) -> Answered:
        assumed = question.assumed or self.switches
        cause = Cause("it is too hard for the solver")
        for _ in range(_ROUNDS):
            asked = (*assumed, question.literal)
            short = self.names.short()
            found = self.formula.holds((*asked, *short))
            if short and not found:
                found = self.formula.holds(asked)
            if found is False:
                return Answered(question.key, Answer.NEVER)
            if found is None:
                break
            if self.is_exhausted:
                cause = EXHAUSTED
                break
            model = self.formula.model()
            request, now = Witness(self.names, model, self.now).request(self.wishes.values())
            if self._confirmed(question, request, now):
                return self._can(question, request, now, small=small)
            near = self._near(question, request, now, model)
            if near is not None:
                return self._can(question, *near, small=small)
            learnt = self._refining.learn(model, request, now)
            cause = learnt.cause
            if not learnt.is_new:
                break
        return Answered(question.key, Answer.UNDECIDED, cause=cause)

    def _near(
        self, question: Question, request: Plain, now: Moment, model: list[int]
    ) -> tuple[Plain, Moment] | None:
        """Look for an example around a request that is nearly one."""
        if self._samples is None:
            self._samples = Samples(self.names, self.now)
        near = self._samples.near(request, now, _NEAR)
        if any(not holds_in(model, it) for each in self.walks for it in each.conditions.within):
            near = itertools.chain(((it, now) for it in self._samples.long(request)), near)
        for other, then in near:
            if self.is_exhausted:
                break
            if self._confirmed(question, other, then):
                return other, then
        return None

    def _can(self, question: Question, request: Plain, now: Moment, *, small: bool) -> Answered:
        if small:
            request, now = self._shrunk(question, request, now)
        records = tuple(decide(policy, request, now=now) for policy in self.policies)
        return Answered(question.key, Answer.CAN, Example(request, spelt(now), records))

    def _confirmed(self, question: Question, request: Plain, now: Moment) -> bool:
        """Let the evaluator decide; what does not fit, or breaks an assumption, is no example."""
        outcomes = self.outcomes(request, now)
        return outcomes is not None and question.confirm(outcomes)

    def outcomes(self, request: Plain, now: Moment) -> list[Outcome] | None:
        """Return what each policy decides; None for what does not fit, or is not as is assumed."""
        try:
            found = [Outcome(policy, request, now) for policy in self.policies]
        except RequestError:
            return None
        self._visited += sum(it.evaluation.visited for it in found)
        for it in found:
            assumed = it.evaluation.policy.assumptions
            if any(it.evaluation.evaluate(each) is not True for each in assumed):
                return None
        return found

    def _shrunk(self, question: Question, request: Plain, now: Moment) -> tuple[Plain, Moment]:
        """Leave out of a request what can be left out."""
        if now != self.now and self._confirmed(question, request, self.now):
            now = self.now
        is_smaller, most = True, self._visited + _MOST_TO_SHRINK
        while is_smaller:
            is_smaller = False
            for other in _smaller(request):
                if self._visited > most:
                    return request, now
                if self._confirmed(question, other, now):
                    request, is_smaller = other, True
                    break
        return request, now


def _smaller(request: Plain) -> Iterator[Plain]:
    """Yield a request without one of its parts, large parts first."""
    for section, content in request.items():
        yield {key: it for key, it in request.items() if key != section}
        for key, value in content.items():
            rest = {name: it for name, it in content.items() if name != key}
            if rest:
                yield {**request, section: rest}
            if isinstance(value, list):
                half = len(value) // 2
                if half > 1:
                    yield {**request, section: {**content, key: value[:half]}}
                    yield {**request, section: {**content, key: value[half:]}}
                for place in range(len(value)):
                    fewer = [*value[:place], *value[place + 1 :]]
                    if fewer:
                        yield {**request, section: {**content, key: fewer}}
            elif isinstance(value, dict) and len(value) > 1:
                for name in value:
                    fewer_names = {it: given for it, given in value.items() if it != name}
                    yield {**request, section: {**content, key: fewer_names}}
