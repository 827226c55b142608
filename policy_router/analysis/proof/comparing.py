"""Two policies: is any request decided differently, and how?"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from policy_router.analysis.outcomes import Outcome
from policy_router.analysis.proof.asking import (
    Answer,
    Answered,
    Asking,
    Cause,
    Confirm,
    Example,
    Progress,
    Question,
)
from policy_router.analysis.proof.sampling import Samples
from policy_router.analysis.proof.solver import FALSE, TRUE
from policy_router.analysis.proof.walk import Ended, Place, Walk
from policy_router.cel.ast import Literal, Node
from policy_router.decision.compare import cause, spelt_guard
from policy_router.decision.evaluator import admission, decide, wishes_of
from policy_router.decision.prepared import Candidate
from policy_router.decision.request import moment
from policy_router.domain import Policy, PoolEntry, Price

Target: TypeAlias = tuple[Node, Node]
"""A model and its provider: constants, or names of the request."""

CLASSES: Final[Mapping[str, str]] = {
    "newly-refused": "a request is refused that had a target",
    "newly-allowed": "a request has a target that was refused",
    "moved": "a request has another target",
    "dearer": "a request has a dearer target",
    "fallbacks": "a request has other fallbacks",
}
"""In which ways a request can be decided differently, in words."""
_PARTS: Final = (
    *("model", "provider", "parameters", "facts", "closed", "required", "tables", "variables"),
    *("pool", "forbid", "precedence", "assumptions"),
)
"""What decides; a revision is not compared, since a policy that was changed in memory keeps it."""
DETAILS: Final = "details"
_SAMPLES: Final = 400


@dataclass(frozen=True, slots=True)
class DecisionDifference:
    """A way in which requests can be decided differently.

    Attributes:
        name: one of ``CLASSES``, or ``details``.
        answered: whether a request is.
        due_to: for an example: what the difference is due to.
    """

    name: str
    answered: Answered
    due_to: str | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two policies differ, over all requests that fit both.

    Attributes:
        before: the old policy.
        after: the new one.
        differences: each way, with its answer.
        is_strict: whether rules, parameters and warnings are compared, too.
    """

    before: Policy = field(repr=False)
    after: Policy = field(repr=False)
    differences: tuple[DecisionDifference, ...]
    is_strict: bool = False

    @property
    def equivalent(self) -> bool:
        """Whether it is proved that no request is decided differently."""
        return all(it.answered.answer is Answer.NEVER for it in self.differences)

    def found(self, name: str) -> DecisionDifference:
        """Return the answer about one way."""
        return next(it for it in self.differences if it.name == name)

    def answered(self, key: str) -> Answered:
        """Return one answer to whether any request is decided differently."""
        for answer in (Answer.CAN, Answer.UNDECIDED):
            for it in self.differences:
                if it.answered.answer is answer:
                    return it.answered
        return Answered(key, Answer.NEVER)


def compare(
    before: Policy,
    after: Policy,
    *,
    now: datetime.datetime | str,
    strict: bool = False,
    seconds: float | None = None,
    progress: Progress = lambda _done, _total: None,
) -> Comparison:
    """Ask whether two policies decide any request differently.

    Args:
        before: the old policy.
        after: the new one.
        now: the time of example requests where any is good.
        strict: compare rules, parameters and warnings, too.
        seconds: how much time of the processor may be used; None for any.
        progress: is told how many of how many questions were asked.

    Raises:
        ModuleNotFoundError: the extra for proofs is not installed.
    """
    now = moment(now)
    if all(getattr(before, part) == getattr(after, part) for part in _PARTS):
        names = [*CLASSES, *([DETAILS] if strict else [])]
        same = tuple(DecisionDifference(it, Answered(it, Answer.NEVER)) for it in names)
        return Comparison(before, after, same, strict)
    asking = Asking([before, after], now=now, seconds=seconds)
    comparer = _Comparer(asking)
    questions = comparer.questions(is_strict=strict)
    comparer.sample(questions)
    found = []
    for number, question in enumerate(questions, start=1):
        found.append(_difference(asking, question))
        progress(number, len(questions))
    return Comparison(before, after, tuple(found), strict)


def _difference(asking: Asking, question: Question) -> DecisionDifference:
    answered = asking.ask(question)
    name = str(question.key)
    if answered.answer is Answer.UNDECIDED and name == DETAILS:
        reason = "rules, parameters and warnings are compared request by request"
        answered = Answered(name, Answer.UNDECIDED, cause=Cause(reason))
    due_to = None
    if answered.example is not None:
        due_to = _due_to(asking, answered.example)
    return DecisionDifference(name, answered, due_to)


def _due_to(asking: Asking, example: Example) -> str:
    """Return what tells two decisions apart; where they have one target, its plan or its price."""
    outcomes = asking.outcomes(example.request, moment(example.now))
    assert outcomes is not None  # noqa: S101 - it is an example
    if _has_other_fallbacks(outcomes):
        return _due_to_plan(*outcomes)
    if _is_dearer(outcomes) and not _is_moved(outcomes):
        return f"the price of `{outcomes[1].runs[0].name}`"
    return cause(*example.records)


def _due_to_plan(old: Outcome, new: Outcome) -> str:
    """Return why two decisions have other fallbacks: a guard, or what the policies plan."""
    lost = _rejected(old, new)
    if lost is not None:
        return lost
    found = _rejected(new, old)
    if found is not None:
        return f"no longer {found}"
    selected = new.runs[0]
    if selected.entry is None or new.ending.others or old.ending.others:
        return f"rule `{new.rule}`"
    return f"`fallback` of `{selected.name}`"


def _rejected(one: Outcome, other: Outcome) -> str | None:
    """Return which guard keeps a fallback of one decision from the plan of another one."""
    evaluation, selected, rule = other.evaluation, other.runs[0], other.ending.rule
    if selected.entry is None or rule is None:
        return None
    missing = {it.name for it in one.runs[1:]} - {it.name for it in other.runs}
    for entry in evaluation.prepared.offer(selected.entry).fallback:
        candidate = evaluation.candidate(entry, selected.level)
        found = admission(evaluation, candidate, wishes_of(evaluation), in_pool=rule.in_pool)
        if entry.name in missing and found is not None:
            forbid = found.forbid.id if found.forbid else None
            return spelt_guard(found.code, entry.name, forbid)
    return None


class _Comparer:
    def __init__(self, asking: Asking) -> None:
        self.asking, self.formula = asking, asking.formula
        self._opened: dict[int, list[Target]] = {}
        self.old, self.new = (_Side(asking, it) for it in asking.walks)

    def questions(self, *, is_strict: bool) -> list[Question]:
        """Return what is asked, way by way."""
        all_, any_ = self.formula.all, self.formula.any
        old, new = self.old.is_selected, self.new.is_selected
        both = all_(old, new)
        same = self._same_target()
        literals = {
            "newly-refused": all_(old, -new),
            "newly-allowed": all_(-old, new),
            "moved": all_(both, -same),
            "dearer": all_(both, self._dearer()),
            "fallbacks": all_(both, same, any_(self._other_plan(), self._other_order())),
        }
        found = [Question(name, it, CONFIRMS[name]) for name, it in literals.items()]
        if is_strict:
            found.append(Question(DETAILS, TRUE, _has_other_details))
        return found

    def sample(self, questions: Sequence[Question]) -> None:
        """Decide requests from the policies' own words by both."""
        samples = Samples(self.asking.names, self.asking.now)
        for request, now in (*samples.single(), *samples.mixed(_SAMPLES)):
            outcomes = self.asking.outcomes(request, now)
            for it in questions if outcomes else ():
                assert outcomes is not None  # noqa: S101 - so the loop was entered
                if it.key not in self.asking.known and it.confirm(outcomes):
                    self.asking.known[it.key] = [(request, now)]

    def _same_target(self) -> int:
        return self.formula.any(
            *[
                self.formula.all(where, self._among(target, self.new.selected))
                for target, where in self.old.selected.items()
            ]
        )

    def _among(self, target: Target, others: Mapping[Target, int]) -> int:
        """Return whether a target is one of some others."""
        found = [others[target]] if target in others else []
        found += [
            self.formula.all(others[it], self._equal(target, it))
            for it in (others if _is_open(target) else self._open(others))
            if it != target and all(_may_be(*pair) for pair in zip(target, it, strict=True))
        ]
        return self.formula.any(*found)

    def _open(self, others: Mapping[Target, int]) -> list[Target]:
        """Return the targets that depend on the request."""
        found = self._opened.get(id(others))
        if found is None:
            found = self._opened[id(others)] = [it for it in others if _is_open(it)]
        return found

    def _equal(self, one: Target, other: Target) -> int:
        walk = self.asking.walks[0]
        return self.formula.all(*[walk.same(*pair) for pair in zip(one, other, strict=True)])

    def _dearer(self) -> int:
        """Return whether the price of the new target is above that of the old one."""
        same = self.formula.any(
            *[
                self.formula.all(where, self.new.priced.get(key, FALSE))
                for key, where in self.old.priced.items()
            ]
        )
        found, above = [], FALSE
        prices = sorted({*self.old.prices, *self.new.prices}, reverse=True)
        for price in prices:
            found.append(self.formula.all(self.old.prices.get(price, FALSE), above))
            above = self.formula.any(above, self.new.prices.get(price, FALSE))
        return self.formula.all(-same, self.formula.any(*found))

    def _other_plan(self) -> int:
        """Return whether a fallback of one side is none of the other."""
        found = []
        for one, other in ((self.old, self.new), (self.new, self.old)):
            for target, where in one.planned.items():
                found.append(self.formula.all(where, -self._among(target, other.planned)))
        return self.formula.any(*found)

    def _other_order(self) -> int:
        """Return whether the fallbacks may come in another order, or another number."""
        same = self.formula.any(
            *[
                self.formula.all(where, self.new.orders.get(order, FALSE))
                for order, where in self.old.orders.items()
            ]
        )
        return self.formula.all(-same, self.formula.any(self.old.plans_two, self.new.plans_two))


class _Side:
    """What one policy may decide, by the targets that tasks run on.

    Attributes:
        selected: the targets, each with whether it is selected.
        planned: the targets, each with whether it is a fallback.
        is_selected: whether any is selected.
        prices: the prices of entries, each with whether the selected one has it.
        priced: the same, for each target by itself.
        orders: orders of fallbacks that are certain, each with whether the plan has it.
        plans_two: whether two fallbacks or more are planned.
    """

    def __init__(self, asking: Asking, walk: Walk) -> None:
        formula = asking.formula
        # The walk says so already, but not in a form in which a solver sees it at once.
        formula.at_most_one([where for _, _, where in walk.ends()])
        self.selected = _joined(formula, ((_target(it), where) for _, it, where in walk.ends()))
        plans = [(ended, it, where) for ended in walk.rules for it, where in ended.planned.items()]
        self.planned = _joined(formula, ((_target(it), where) for _, it, where in plans))
        self.is_selected = formula.any(*self.selected.values())
        priced = [
            ((_target(it), price), where)
            for _, it, where in walk.ends()
            if it.entry and (price := price_of(it.entry)) is not None
        ]
        self.priced = _joined(formula, priced)
        self.prices = _joined(formula, ((price, where) for (_, price), where in priced))
        self.orders = _joined(
            formula,
            (
                (order, where)
                for ended, it, where in walk.ends()
                if (order := _order(walk, ended, it)) is not None
            ),
        )
        self.plans_two, before = FALSE, FALSE
        for _, _, where in plans:
            self.plans_two = formula.any(self.plans_two, formula.all(before, where))
            before = formula.any(before, where)


def _joined(formula: Any, pairs: Iterable[tuple[Any, int]]) -> dict[Any, int]:
    found: dict[Any, list[int]] = {}
    for key, where in pairs:
        found.setdefault(key, []).append(where)
    return {key: formula.any(*literals) for key, literals in found.items()}


def _target(place: Place) -> Target:
    return place.model, place.provider


def _is_open(target: Target) -> bool:
    return not all(isinstance(it, Literal) for it in target)


def _may_be(one: Node, other: Node) -> bool:
    return one == other or not (isinstance(one, Literal) and isinstance(other, Literal))


def _order(walk: Walk, ended: Ended, place: Place) -> tuple[Any, ...] | None:
    """Return the order of all fallbacks that a selected target can have; None if not certain."""
    if place.entry is None or not ended.rule.fallback:
        return ()
    entries = [*walk.prepared.offer(place.entry).fallback]
    if ended.rule.falls_to_candidates:
        if not ended.is_ordered:
            return None
        entries += [it.place.entry for it in ended.candidates if it.place.entry is not None]
    unique = {it.position: it for it in entries}
    targets = [(it.model, it.provider) for it in unique.values()]
    is_certain = len(set(targets)) == len(targets) and all(at for _, at in targets)
    return tuple(targets) if is_certain else None


def price_of(entry: PoolEntry) -> tuple[float, float] | None:
    """Return the price of an entry, to be compared: output before input; None if not known."""
    price: Price = entry.price
    if price.output is None:
        return None
    return price.output, price.input or 0.0


# What confirms each way.


def _where(candidate: Candidate) -> tuple[str, str]:
    return candidate.model, candidate.provider


def _is_newly_refused(outcomes: Sequence[Outcome]) -> bool:
    return bool(outcomes[0].runs) and not outcomes[1].runs


def _is_newly_allowed(outcomes: Sequence[Outcome]) -> bool:
    return bool(outcomes[1].runs) and not outcomes[0].runs


def _is_moved(outcomes: Sequence[Outcome]) -> bool:
    one, two = (it.ending.selected for it in outcomes)
    return one is not None and two is not None and _where(one) != _where(two)


def _is_dearer(outcomes: Sequence[Outcome]) -> bool:
    one, two = (it.ending.selected for it in outcomes)
    if one is None or two is None or one.entry is None or two.entry is None:
        return False
    before, after = price_of(one.entry), price_of(two.entry)
    return before is not None and after is not None and after > before


def _has_other_fallbacks(outcomes: Sequence[Outcome]) -> bool:
    one, two = ([*map(_where, it.runs)] for it in outcomes)
    return bool(one) and bool(two) and one[0] == two[0] and one != two


def _has_other_details(outcomes: Sequence[Outcome]) -> bool:
    one, two = (
        decide(it.evaluation.policy, it.request, now=it.evaluation.now).decision for it in outcomes
    )
    return one != two


CONFIRMS: Final[Mapping[str, Confirm]] = {
    "newly-refused": _is_newly_refused,
    "newly-allowed": _is_newly_allowed,
    "moved": _is_moved,
    "dearer": _is_dearer,
    "fallbacks": _has_other_fallbacks,
}
