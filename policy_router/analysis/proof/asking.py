"""Questions and their answers: *never*, *can*, or *undecided*. Never a guess.

*Never* is what the formula says, which lets in all that requests can bring about. *Can* is what the
evaluator has decided for a request that is shown. What the formula lets in and the evaluator does
not confirm is refined: pieces that were left open are evaluated for that very request, which is
true of all requests like it. After some rounds the question is undecided.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, TypeAlias

from policy_router.analysis.outcomes import Outcome
from policy_router.analysis.proof.conditions import Opaque
from policy_router.analysis.proof.names import ELEMENT, NOW, Names, Plain
from policy_router.analysis.proof.sampling import Samples
from policy_router.analysis.proof.solver import FALSE, TRUE, Formula, OutOfReachError, holds_in
from policy_router.analysis.proof.terms import Items, Number, Text
from policy_router.analysis.proof.walk import Walk
from policy_router.analysis.proof.wishes import Wish
from policy_router.analysis.proof.witness import Witness
from policy_router.cel.ast import Attribute, Present, walk
from policy_router.cel.evaluate import Program
from policy_router.decision.evaluation import Evaluation
from policy_router.decision.evaluator import decide
from policy_router.decision.record import DecisionRecord
from policy_router.decision.request import checked, spelt, values_of
from policy_router.diagnostics.model import Span
from policy_router.domain import Level, Policy
from policy_router.errors import RequestError

Moment: TypeAlias = datetime.datetime
Progress: TypeAlias = Callable[[int, int], object]

_ROUNDS: Final = 24
_NEAR: Final = 25


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
class Cause:
    """Why a question is undecided.

    Attributes:
        text: the expression that was not understood, or the reason in words.
        span: where it is written.
    """

    text: str
    span: Span | None = None


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
        for each in self.walks:
            for condition in each.policy.assumptions:
                self.formula.add(each.conditions.condition(condition)[0])

    @property
    def switches(self) -> tuple[int, ...]:
        """What has to be assumed for all forbid rules to be there."""
        return tuple(it for each in self.walks for it in each.switches.values())

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
            found = self.formula.holds((*assumed, question.literal))
            if found is False:
                return Answered(question.key, Answer.NEVER)
            if found is None:
                break
            model = self.formula.model()
            request, now = Witness(self.names, model, self.now).request(self.wishes.values())
            if self._confirmed(question, request, now):
                return self._can(question, request, now, small=small)
            near = self._near(question, request, now)
            if near is not None:
                return self._can(question, *near, small=small)
            cause = self._refine(model, request, now) or Cause(_UNKNOWN)
            if cause.text == _UNKNOWN:
                break
        return Answered(question.key, Answer.UNDECIDED, cause=cause)

    def _near(self, question: Question, request: Plain, now: Moment) -> tuple[Plain, Moment] | None:
        """Look for an example around a request that is nearly one."""
        if self._samples is None:
            self._samples = Samples(self.names, self.now)
        for other, then in self._samples.near(request, now, _NEAR):
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
        for it in found:
            assumed = it.evaluation.policy.assumptions
            if any(it.evaluation.evaluate(each) is not True for each in assumed):
                return None
        return found

    def _shrunk(self, question: Question, request: Plain, now: Moment) -> tuple[Plain, Moment]:
        """Leave out of a request what can be left out."""
        if now != self.now and self._confirmed(question, request, self.now):
            now = self.now
        is_smaller = True
        while is_smaller:
            is_smaller = False
            for other in _smaller(request):
                if self._confirmed(question, other, now):
                    request, is_smaller = other, True
                    break
        return request, now

    # Refinement.

    def _refine(self, model: list[int], request: Plain, now: Moment) -> Cause | None:
        """Learn what open pieces come to for a request; return one that was taken otherwise."""
        cause = None
        for each in self.walks:
            try:
                values = values_of(each.policy, checked(each.policy, request))
            except RequestError:
                return Cause(_UNKNOWN)
            evaluation = Evaluation(each.policy, values, now)
            for opaque in [*each.conditions.opaque]:
                if self._learn(model, opaque, evaluation):
                    cause = cause or _cause_of(opaque)
            for path, term in [*self.names.terms.items()]:
                if self._learn_of_term(model, path, term, evaluation):
                    cause = cause or Cause(f"what is asked of `{path}` is not understood")
        return cause

    def _learn(self, model: list[int], opaque: Opaque, evaluation: Evaluation) -> bool:
        """Learn what an open piece comes to for a request; tell whether that was not known."""
        paths = _paths(opaque, evaluation.policy)
        if paths is None:
            return False
        outcome = Program(opaque.node).evaluate(evaluation.frame)
        wanted = [(it, is_so(outcome)) for it, is_so in opaque.answers]
        if all(holds_in(model, literal) is is_so for literal, is_so in wanted):
            return False
        points = [self._is_at(path, evaluation) for path in paths]
        if FALSE in points:
            return False
        here = self.formula.all(*points)
        for literal, is_so in wanted:
            self.formula.imply(here, literal if is_so else -literal)
        return True

    def _learn_of_term(
        self, model: list[int], path: str, term: Any, evaluation: Evaluation
    ) -> bool:
        if path.startswith(ELEMENT) or isinstance(term, int):
            return False
        value = self._value(path, evaluation)
        if value is None:
            return False
        wrong = [
            it
            for it in term.questions.values()
            if it.test(value) is not holds_in(model, it.literal)
        ]
        if not wrong or isinstance(term, Items):
            return False
        if isinstance(term, Text):
            term.equals(value)
            return True
        here = term.compared("==", value)
        for it in term.questions.values():
            self.formula.imply(here, it.literal if it.test(value) else -it.literal)
        return True

    def _value(self, path: str, evaluation: Evaluation) -> Any:
        if path == NOW:
            return self.names.ticks(evaluation.now)
        section, _, key = path.partition(".")
        return evaluation.values[section].get(key)

    def _is_at(self, path: str, evaluation: Evaluation) -> int:
        """Return whether a name has the value that it has in a request."""
        value, all_ = self._value(path, evaluation), self.formula.all
        seen = self.names.seen(evaluation.policy, path)
        if value is None:
            return all_(*[-it.where for it in seen])
        return self.formula.any(*[all_(it.where, _equal(it.value, value)) for it in seen])


def _equal(term: Any, value: Any) -> int:
    """Return whether a term has a value; for lists, that is not known."""
    if isinstance(term, Text):
        return term.equals(value)
    if isinstance(term, Number):
        return term.compared("==", value)
    if isinstance(term, Items):
        return FALSE
    if isinstance(term, int) and not isinstance(term, bool):
        return term if value else -term
    return TRUE if term == value else FALSE


_UNKNOWN: Final = (
    "lists, the order of candidates, or numbers that depend on one another are not followed so far"
)


def _cause_of(opaque: Opaque) -> Cause:
    condition = opaque.condition
    text = condition.text_of(opaque.node) or condition.text
    return Cause(" ".join(text.split()), condition.span)


def _paths(opaque: Opaque, policy: Policy) -> list[str] | None:
    """Return the names of a request that an open piece depends on; None where that is not known."""
    found: dict[str, None] = {}
    variables = {f"variables.{it.name}": it.condition for it in policy.variables}
    for part in walk(opaque.node):
        if not isinstance(part, Attribute | Present):
            continue
        if part.path.startswith((ELEMENT, "target.")):
            return None
        reads = variables[part.path].reads if part.path in variables else {part.path}
        found.update((path, None) for path in sorted(reads) if not path.startswith("variables."))
    return [*found]


def _smaller(request: Plain) -> Iterator[Plain]:
    """Yield a request without one of its parts, large parts first."""
    for section, content in request.items():
        yield {key: it for key, it in request.items() if key != section}
        for key, value in content.items():
            rest = {name: it for name, it in content.items() if name != key}
            if rest:
                yield {**request, section: rest}
            if isinstance(value, list):
                for place in range(len(value)):
                    fewer = [*value[:place], *value[place + 1 :]]
                    if fewer:
                        yield {**request, section: {**content, key: fewer}}
            elif isinstance(value, dict) and len(value) > 1:
                for name in value:
                    fewer_names = {it: given for it, given in value.items() if it != name}
                    yield {**request, section: {**content, key: fewer_names}}
