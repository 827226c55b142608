"""What a formula leaves open, learnt request by request.

A piece of a condition that is not understood may come to anything. For the request that the solver
proposes, the evaluator says what it comes to: that is true of all requests in which the names that
the piece reads have these values, and is added to the formula.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from policy_router.analysis.proof.conditions import Conditions, Opaque, budget_of
from policy_router.analysis.proof.items import Items
from policy_router.analysis.proof.names import (
    ELEMENT,
    MOST_PLACES,
    NOW,
    Names,
    Plain,
    conditions_of,
)
from policy_router.analysis.proof.solver import FALSE, TRUE, holds_in
from policy_router.analysis.proof.terms import Number, Text
from policy_router.analysis.proof.walk import Walk
from policy_router.cel.ast import Attribute, Node, Present, walk
from policy_router.cel.condition import Condition
from policy_router.cel.evaluate import Program
from policy_router.cel.simplify import reads_of
from policy_router.decision.evaluation import Evaluation
from policy_router.decision.fitting import checked, values_of
from policy_router.diagnostics.model import Span
from policy_router.domain import Policy
from policy_router.errors import RequestError


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a question is undecided.

    Attributes:
        text: the expression that was not understood, or the reason in words.
        span: where it is written.
    """

    text: str
    span: Span | None = None


EXHAUSTED: Final = Cause("the loops of conditions visit too many elements to try more requests")
NOT_FOLLOWED: Final = Cause(
    "the order of candidates, or how names depend on one another, is not followed so far"
)


@dataclass(frozen=True, slots=True)
class Learnt:
    """What was found about a model.

    Attributes:
        cause: what was taken otherwise in it than it is.
        is_new: whether something was learnt.
    """

    cause: Cause
    is_new: bool


class Refining:
    """Adds what is learnt to the formula of some policies.

    Attributes:
        visited: how many elements the loops of open pieces have visited.
    """

    def __init__(self, names: Names, walks: Sequence[Walk]) -> None:
        """Take what is known of requests, and the policies."""
        self._names, self._walks, self._formula = names, walks, names.formula
        self.visited = 0

    def learn(self, model: list[int], request: Plain, now: datetime.datetime) -> Learnt:
        """Learn what was taken otherwise in the model that a request was made of."""
        causes: list[Cause] = []
        others: list[Cause] = []
        for each in self._walks:
            try:
                values = values_of(each.policy, checked(each.policy, request))
            except RequestError:
                return Learnt(NOT_FOLLOWED, is_new=False)
            meet = partial(Evaluation, each.policy, values, now)
            causes += self._learnt(model, each, meet)
            others += () if causes else _differing(model, each.conditions, meet)
        return Learnt([*causes, *others, NOT_FOLLOWED][0], is_new=bool(causes))

    def _learnt(
        self, model: list[int], walk_: Walk, meet: Callable[[], Evaluation]
    ) -> Iterator[Cause]:
        for opaque in [*walk_.conditions.opaque]:
            evaluation = meet()  # each piece has the whole budget
            if self._is_learnt(model, opaque, evaluation):
                yield _cause_of(opaque.node, opaque.condition)
            self.visited += evaluation.visited
        evaluation = meet()
        for path, term in [*self._names.terms.items()]:
            if isinstance(term, Text | Number | Items) and not path.startswith(ELEMENT):
                value = self._value(path, evaluation)
                if value is not None and self._is_learnt_of(model, term, value):
                    yield Cause(f"what is asked of `{path}` is not understood")

    def _is_learnt(self, model: list[int], opaque: Opaque, evaluation: Evaluation) -> bool:
        """Learn what an open piece comes to for a request; tell whether that was not known."""
        paths = _paths(opaque, evaluation.policy)
        if paths is None:
            return False
        outcome = Program(opaque.node).evaluate(evaluation.frame)
        wanted = [literal if is_so(outcome) else -literal for literal, is_so in opaque.answers]
        if all(holds_in(model, literal) for literal in wanted):
            return False
        here = self._formula.all(*[self._is_at(path, evaluation) for path in paths])
        if here == FALSE:
            return False
        for literal in wanted:
            self._formula.imply(here, literal)
        return True

    def _is_learnt_of(self, model: list[int], term: Text | Number | Items, value: Any) -> bool:
        """Learn what is asked of a term for a value; tell whether that was not known."""
        wanted = [it.literal if it.test(value) else -it.literal for it in term.questions.values()]
        if all(holds_in(model, literal) for literal in wanted):
            return False
        here = self._equal(term, value)
        for literal in wanted:
            self._formula.imply(here, literal)
        return here != FALSE

    def _value(self, path: str, evaluation: Evaluation) -> Any:
        if path == NOW:
            return self._names.ticks(evaluation.now)
        section, _, key = path.partition(".")
        return evaluation.values[section].get(key)

    def _equal(self, term: Any, value: Any) -> int:
        """Return whether a term has a value; of long lists, that is not known."""
        if isinstance(term, Text):
            return term.equals(value)
        if isinstance(term, Number):
            return term.compared("==", value)
        if isinstance(term, Items):
            return self._consists(term, value)
        if isinstance(term, int) and not isinstance(term, bool):
            return term if value else -term
        return TRUE if term == value else FALSE

    def _consists(self, items: Items, value: Sequence[str]) -> int:
        if len(value) > MOST_PLACES:
            return FALSE
        self._names.first(items)
        same = [items.places[at].equals(word) for at, word in enumerate(value)]
        return self._formula.all(items.size.compared("==", len(value)), *same)

    def _is_at(self, path: str, evaluation: Evaluation) -> int:
        """Return whether a name has the value that it has in a request."""
        value, all_ = self._value(path, evaluation), self._formula.all
        seen = self._names.seen(evaluation.policy, path)
        if value is None:
            return all_(*[-it.where for it in seen])
        return self._formula.any(*[all_(it.where, self._equal(it.value, value)) for it in seen])


def _differing(
    model: list[int], conditions: Conditions, meet: Callable[[], Evaluation]
) -> Iterator[Cause]:
    """Yield the smallest part of each condition that comes to something else than in a model."""
    for condition in conditions_of(conditions.policy):
        within = conditions.known(budget_of(condition.tree))
        if within is not None and not holds_in(model, within[0]):
            yield _cause_of(condition.tree, condition)
        found, frame = None, meet().frame
        for part in walk(condition.tree):  # what is in a part comes after it
            truths = conditions.known(part)
            if truths is not None and not any(it.startswith("target.") for it in reads_of(part)):
                outcome = Program(part).evaluate(frame)
                wanted = outcome is True, outcome is False
                if wanted != tuple(holds_in(model, it) for it in truths):
                    found = part
        if found is not None:
            yield _cause_of(found, condition)


def _cause_of(node: Node, condition: Condition) -> Cause:
    text = condition.text_of(node) or condition.text
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
