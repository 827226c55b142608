"""What an agent is told when its request is refused, or a rule selects nothing."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from policy_router import decide, loads
from policy_router.decision.candidate import Candidate
from policy_router.decision.evaluation import Evaluation
from policy_router.decision.evaluator import Rejection, Wish
from policy_router.decision.fitting import values_of
from policy_router.decision.messages import message_for, warning_of
from policy_router.decision.record import DecisionWarning, ReasonCode
from policy_router.decision.request import Request, moment
from policy_router.domain import Level, Policy, PrecedenceRule
from tests.support.rows import each

NOW = "2026-01-31T09:00:00Z"
POLICY = loads(
    """
provider: p
pool: [{model: m, name: e, limits: {top_k: {max: 5}}}]
forbid:
  - {id: loud, when: task.index > 0, message: Ask for nothing.}
  - {id: silent, when: task.index > 0}
"""
)
(ENTRY,) = POLICY.pool or ()
LOUD, SILENT = POLICY.forbid
RULE = PrecedenceRule("mine", Level.TASK)
INSIDE = Candidate("m", "p", Level.TASK, ENTRY)
OUTSIDE = Candidate("x", "p", Level.TASK)
WISH = Wish("top_k", 9, RULE, rejects=True)


def message(rejection: Rejection, *, policy: Policy = POLICY, **request: Any) -> str:
    """Return the message of a refusal by a rule."""
    values = values_of(policy, Request(**request))
    return message_for(Evaluation(policy, values, moment(NOW)), RULE, rejection, (), ())


ONLY_WARNED_OF = {
    ReasonCode.PARAMETER_LIMITED,
    ReasonCode.PICK_ERROR,
    ReasonCode.OUTRANKED,
    ReasonCode.LEVEL_NOT_USED,
    ReasonCode.UNKNOWN_VALUE,
    ReasonCode.WOULD_FORBID,
}


@each("code", [code for code in ReasonCode if code not in ONLY_WARNED_OF])
def test_every_code_of_a_refusal_has_a_message(code: ReasonCode) -> None:
    wish = WISH if code is ReasonCode.PARAMETER_NOT_ALLOWED else None
    text = message(Rejection(code, INSIDE, SILENT, wish=wish))
    assert text
    assert "{" not in text


@each(
    ("rejection", "text"),
    [
        (Rejection(ReasonCode.FORBIDDEN, INSIDE, LOUD), "Ask for nothing."),
        (Rejection(ReasonCode.FORBIDDEN, INSIDE, SILENT), "`e` is forbidden by the rule `silent`"),
        (
            Rejection(ReasonCode.FORBIDDEN, OUTSIDE, SILENT),
            "the model is forbidden by the rule `silent`",
        ),
        # What failed says so, and not what the rule would tell.
        (
            Rejection(ReasonCode.FORBIDDEN, INSIDE, LOUD, failed=True),
            "the rule `loud` could not be evaluated, so `e` is forbidden",
        ),
        (Rejection(ReasonCode.NOT_ALLOWED, INSIDE), "`e` is not allowed for this request"),
        (
            Rejection(ReasonCode.NOT_ALLOWED, INSIDE, failed=True),
            "whether `e` is allowed could not be evaluated",
        ),
        (Rejection(ReasonCode.INCOMPLETE, INSIDE), "no provider is known for `e`"),
        (Rejection(ReasonCode.INCOMPLETE, OUTSIDE), "no provider is known for `x`"),
        (
            Rejection(ReasonCode.PARAMETER_NOT_ALLOWED, INSIDE, wish=WISH),
            "`e` does not allow top_k as asked; it allows at most 5",
        ),
        (
            Rejection(ReasonCode.PARAMETER_NOT_ALLOWED, OUTSIDE, wish=WISH),
            "the model does not allow top_k as asked; it allows none",
        ),
    ],
)
def test_a_refusal_says_what_stood_in_the_way(rejection: Rejection, text: str) -> None:
    assert message(rejection) == text


@each(
    ("rejection", "about"),
    [
        (Rejection(ReasonCode.OUTSIDE_POOL), {}),
        (Rejection(ReasonCode.OUTSIDE_POOL, OUTSIDE), {}),
        (Rejection(ReasonCode.INCOMPLETE, INSIDE), {}),
        (Rejection(ReasonCode.NOT_ALLOWED, INSIDE), {"entry": "e"}),
        (Rejection(ReasonCode.NOT_ALLOWED, INSIDE, failed=True), {"entry": "e"}),
        (Rejection(ReasonCode.LACKS_CAPABILITY, INSIDE), {"entry": "e"}),
        # A forbid rule is named in place of the entry.
        (Rejection(ReasonCode.FORBIDDEN, INSIDE, SILENT), {"forbid": "silent"}),
        (
            Rejection(ReasonCode.FORBIDDEN, INSIDE, LOUD),
            {"forbid": "loud", "message": "Ask for nothing."},
        ),
        (
            Rejection(ReasonCode.FORBIDDEN, INSIDE, LOUD, failed=True),
            {
                "forbid": "loud",
                "message": "the rule `loud` could not be evaluated, so `e` is forbidden",
            },
        ),
        (
            Rejection(ReasonCode.PARAMETER_NOT_ALLOWED, INSIDE, wish=WISH),
            {"entry": "e", "parameter": "top_k"},
        ),
        (Rejection(ReasonCode.PARAMETER_NOT_ALLOWED, OUTSIDE, wish=WISH), {"parameter": "top_k"}),
    ],
)
def test_a_warning_names_the_guard_that_was_against_the_first_candidate(
    rejection: Rejection, about: dict[str, Any]
) -> None:
    wish = {"model": "m"}
    expected = DecisionWarning(rejection.code, "mine", **about)
    assert warning_of(RULE, rejection) == expected
    assert warning_of(RULE, rejection, wish).requested == wish
    assert warning_of(RULE, rejection).requested is UNSET


SECRETS = """
provider: p
model: m
facts: {n: {type: int}, secret: {type: string}}
tables: {t: {hunter2: 1}}
pool:
  - {model: m, allow: has(facts.n) && 1 / facts.n > 7}
  - {model: n, allow: has(facts.secret) && facts.secret == "x"}
forbid:
  - {id: f, when: 'has(facts.secret) && facts.secret == "hunter2" && 1 / parent.depth > 0'}
precedence: %s
"""


@each("precedence", ["strict", "delegation", "task-first"])
@each("model", ["m", "n", "zzz"])
@each("number", [0, 4711])
def test_nothing_that_is_told_holds_the_value_of_a_fact(
    precedence: str, model: str, number: int
) -> None:
    request = {
        "task": {"model": model, "labels": ["hunter2"]},
        "caller": {"id": "hunter2", "team": "hunter2", "roles": ["hunter2"]},
        "facts": {"n": number, "secret": "hunter2"},
    }
    record = decide(loads(SECRETS % precedence), request, now=NOW)
    told = str(record.decision) + str(record.steps)
    assert record.decision.outcome == "refused"
    assert "hunter2" not in told
    assert "4711" not in told
