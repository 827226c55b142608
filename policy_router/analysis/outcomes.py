"""A policy's decision about a request, kept with its guards so that more can be asked."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from policy_router.cel.evaluate import Program
from policy_router.decision.candidate import Candidate
from policy_router.decision.evaluation import Evaluation
from policy_router.decision.evaluator import ended, fallbacks, wishes_of
from policy_router.decision.fitting import checked, values_of
from policy_router.decision.request import Request
from policy_router.domain import Assertion, Policy


class Outcome:
    """What a policy decides of a request.

    Attributes:
        request: the request.
        evaluation: the request, met by the policy.
        ending: where the walk ended.
        steps: the steps of the walk.
    """

    def __init__(
        self, policy: Policy, request: Request | Mapping[str, Any], now: datetime.datetime
    ) -> None:
        """Decide a request.

        Raises:
            RequestError: it does not fit the policy.
        """
        self.request = checked(policy, request)
        self._decide(Evaluation(policy, values_of(policy, self.request), now))

    def _decide(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation
        self.ending, self.steps = ended(evaluation)

    @classmethod
    def of_other(cls, policy: Policy, outcome: Outcome) -> Outcome:
        """Return what another policy decides of a request that fits it as well."""
        found, met = cls.__new__(cls), outcome.evaluation
        found.request = outcome.request
        found._decide(Evaluation(policy, met.values, met.now))  # noqa: SLF001 - it is its own
        return found

    @property
    def rule(self) -> str | None:
        """The rule that ended the walk."""
        return self.ending.rule.id if self.ending.rule else None

    @cached_property
    def runs(self) -> tuple[Candidate, ...]:
        """The selected target and the planned fallbacks."""
        selected = self.ending.selected
        if selected is None:
            return ()
        planned = fallbacks(self.evaluation, self.ending, wishes_of(self.evaluation))
        return (selected, *(candidate for candidate, _ in planned))

    @property
    def code(self) -> str:
        """The code of a refusal; empty where a target is selected."""
        rejection = self.ending.rejection
        return rejection.code.value if rejection else ""

    def frames(self) -> Iterator[dict[str, Any]]:
        """Yield what an assertion is evaluated with: for each target, or for the refusal."""
        frame, rule = self.evaluation.frame, self.rule or ""
        for target in self.runs:
            yield {
                **frame,
                "target": target.values(),
                **_words("selected", target.level.value, rule, ""),
                "in_pool": {"": target.entry is not None},
            }
        if not self.runs:
            words = _words("refused", "", rule, self.code)
            yield {**frame, "target": NO_TARGET, **words, "in_pool": {"": False}}


NO_TARGET: Mapping[str, Any] = {
    **dict.fromkeys(("name", "model", "provider", "level"), ""),
    "strengths": (),
    "supports": (),
}
"""What an assertion sees of the target of a refusal: there is none, so all of it is empty."""


def _words(outcome: str, level: str, rule: str, code: str) -> dict[str, dict[str, str]]:
    words = {"outcome": outcome, "level": level, "rule": rule, "code": code}
    return {key: {"": word} for key, word in words.items()}


def is_violated(assertion: Assertion, outcome: Outcome) -> bool:
    """Tell whether a decision is not as an assertion has it."""
    return bool(violating(assertion, outcome))


def violating(assertion: Assertion, outcome: Outcome) -> list[str]:
    """Return the names of the targets that an assertion does not allow; of a refusal it is empty.

    A condition holds for the selected target and for each planned fallback, since each of them can
    receive the data. One that cannot be evaluated counts as violated.
    """
    condition = assertion.condition
    assert condition is not None  # noqa: S101 - `unchanged` is about two policies
    run = Program(condition.tree).evaluate
    good = assertion.word != "never"
    return [it["target"]["name"] for it in outcome.frames() if run(it) is not good]
