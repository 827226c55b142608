"""Assertions of a policy: does any request break one?"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from policy_router.analysis.outcomes import Outcome, is_violated
from policy_router.analysis.proof.asking import Answer, Answered, Asking, Progress, Question
from policy_router.analysis.proof.comparing import Comparison, compare
from policy_router.decision.request import moment
from policy_router.domain import Assertion, Policy
from policy_router.files.loader import load


@dataclass(frozen=True, slots=True)
class Proof:
    """An assertion, and whether a request breaks it.

    Attributes:
        assertion: the assertion.
        answered: *never* where it holds, *can* with a request that breaks it, or *undecided*.
        comparison: for ``unchanged``: how the two policies differ.
    """

    assertion: Assertion
    answered: Answered
    comparison: Comparison | None = None

    @property
    def word(self) -> str:
        """The answer in a word: ``holds``, ``violated`` or ``undecided``."""
        return _WORDS[self.answered.answer]


_WORDS = {Answer.NEVER: "holds", Answer.CAN: "violated", Answer.UNDECIDED: "undecided"}


@dataclass(frozen=True, slots=True)
class Proofs:
    """The assertions about a policy, each with its answer.

    Attributes:
        policy: the policy.
        proofs: the assertions.
    """

    policy: Policy = field(repr=False)
    proofs: tuple[Proof, ...]

    def count(self, answer: Answer) -> int:
        """Return how many assertions have an answer."""
        return sum(it.answered.answer is answer for it in self.proofs)


def prove(
    policy: Policy,
    *,
    now: datetime.datetime | str,
    seconds: float | None = None,
    progress: Progress = lambda _done, _total: None,
) -> Proofs:
    """Ask whether any request breaks an assertion of a policy.

    Args:
        policy: the policy, with assertions and assumptions.
        now: the time of example requests where any is good.
        seconds: how much time of the processor may be used for each policy; None for any.
        progress: is told how many of how many assertions were asked.

    Raises:
        ModuleNotFoundError: the extra for proofs is not installed.
        PolicyError: a policy that ``unchanged`` names cannot be used.
    """
    now = moment(now)
    conditions = [it.condition for it in policy.assertions if it.condition]
    asking = Asking([policy], now=now, seconds=seconds, more=conditions)
    found: list[Proof] = []
    questions = [_question(asking, it) if it.condition else None for it in policy.assertions]
    asking.sample(asking.confirmed([it for it in questions if it]))
    for assertion, question in zip(policy.assertions, questions, strict=True):
        if question is None:
            comparison = compare(_unchanged(assertion), policy, now=now, seconds=seconds)
            found.append(Proof(assertion, comparison.answered(assertion.id), comparison))
        else:
            found.append(Proof(assertion, asking.ask(question)))
        progress(len(found), len(policy.assertions))
    return Proofs(policy, tuple(found))


def _unchanged(assertion: Assertion) -> Policy:
    """Return the policy that an assertion names, as seen from the file of the assertion."""
    here = Path(assertion.span.source.name).parent if assertion.span else Path()
    return load(here / (assertion.unchanged or ""))


def _question(asking: Asking, assertion: Assertion) -> Question:
    """Return whether a decision is not as an assertion has it."""
    (walk,), condition, formula = asking.walks, assertion.condition, asking.formula
    assert condition is not None  # noqa: S101 - `unchanged` is asked otherwise
    side = 1 if assertion.word == "never" else 0
    about = walk.conditions.about
    ends = formula.joined((about(condition, known)[side], it) for known, it in walk.outcomes())
    broken = formula.either((-fine, it) for fine, it in ends.items())

    def confirm(outcomes: Sequence[Outcome]) -> bool:
        return is_violated(assertion, outcomes[0])

    return Question(("assert", assertion.id), broken, confirm)
