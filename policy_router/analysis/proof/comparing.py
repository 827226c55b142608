"""Two policies: is any request decided differently, and how?"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from policy_router.analysis.proof.asking import (
    Answer,
    Answered,
    Asking,
    Progress,
    Question,
)
from policy_router.analysis.proof.places import Place
from policy_router.analysis.proof.refining import Cause
from policy_router.analysis.proof.solver import FALSE, TRUE
from policy_router.analysis.proof.walk import Ended, Walk
from policy_router.analysis.proof.ways import CLASSES, CONFIRMS, DETAILS, due_to, price_of
from policy_router.cel.ast import Literal, Node
from policy_router.decision.request import moment
from policy_router.domain import Policy

Target: TypeAlias = tuple[Node, Node]
"""A model and its provider: constants, or names of the request."""

_PARTS: Final = (
    *("model", "provider", "parameters", "facts", "closed", "required", "tables", "variables"),
    *("pool", "forbid", "precedence", "assumptions"),
)
"""What decides; a revision is not compared, since a policy that was changed in memory keeps it."""


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
    asking.sample(asking.confirmed(questions))
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
    example = answered.example
    if example is None:
        return DecisionDifference(name, answered)
    outcomes = asking.outcomes(example.request, moment(example.now))
    assert outcomes is not None  # noqa: S101 - it is an example
    return DecisionDifference(name, answered, due_to(outcomes, example.records))


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
        if is_strict:
            literals[DETAILS] = TRUE
        return [Question(name, it, CONFIRMS[name]) for name, it in literals.items()]

    def _same_target(self) -> int:
        old, new = self.old.selected, self.new.selected
        return self.formula.either((where, self._among(it, new)) for it, where in old.items())

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
        same = self.asking.walks[0].conditions.same
        return self.formula.all(*[same(*pair) for pair in zip(one, other, strict=True)])

    def _dearer(self) -> int:
        """Return whether the price of the new target is above that of the old one."""
        same = self._both(self.old.priced, self.new.priced)
        found, above = [], FALSE
        prices = sorted({*self.old.prices, *self.new.prices}, reverse=True)
        for price in prices:
            found.append(self.formula.all(self.old.prices.get(price, FALSE), above))
            above = self.formula.any(above, self.new.prices.get(price, FALSE))
        return self.formula.all(-same, self.formula.any(*found))

    def _both(self, old: Mapping[Any, int], new: Mapping[Any, int]) -> int:
        """Return whether the two sides have one and the same of some things."""
        return self.formula.either((where, new.get(it, FALSE)) for it, where in old.items())

    def _other_plan(self) -> int:
        """Return whether a fallback of one side is none of the other."""
        return self.formula.either(
            (where, -self._among(target, other.planned))
            for one, other in ((self.old, self.new), (self.new, self.old))
            for target, where in one.planned.items()
        )

    def _other_order(self) -> int:
        """Return whether the fallbacks may come in another order, or another number."""
        same = self._both(self.old.orders, self.new.orders)
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
        self.selected = formula.joined(((_target(it), where) for _, it, where in walk.ends()))
        plans = [(ended, it, where) for ended in walk.rules for it, where in ended.planned.items()]
        self.planned = formula.joined(((_target(it), where) for _, it, where in plans))
        self.is_selected = formula.any(*self.selected.values())
        priced = [
            ((_target(it), price), where)
            for _, it, where in walk.ends()
            if it.entry and (price := price_of(it.entry)) is not None
        ]
        self.priced = formula.joined(priced)
        self.prices = formula.joined(((price, where) for (_, price), where in priced))
        self.orders = formula.joined(
            (order, where)
            for ended, it, where in walk.ends()
            if (order := _order(walk, ended, it)) is not None
        )
        self.plans_two, before = FALSE, FALSE
        for _, _, where in plans:
            self.plans_two = formula.any(self.plans_two, formula.all(before, where))
            before = formula.any(before, where)


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
        if not ended.proposal.is_ordered:
            return None
        entries += [
            it.place.entry for it in ended.proposal.candidates if it.place.entry is not None
        ]
    unique = {it.position: it for it in entries}
    targets = [(it.model, it.provider) for it in unique.values()]
    is_certain = len(set(targets)) == len(targets) and all(at for _, at in targets)
    return tuple(targets) if is_certain else None
