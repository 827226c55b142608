"""One expression, read as a condition of a policy would be, and evaluated for one request."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from policy_router.cel.condition import Condition
from policy_router.cel.frame import Outcome
from policy_router.decision.candidate import Candidate
from policy_router.decision.evaluation import Evaluation
from policy_router.decision.explain.trace import ConditionTrace, trace
from policy_router.decision.fitting import checked, values_of
from policy_router.decision.request import Request
from policy_router.diagnostics.model import Diagnostics, SourceFile, did_you_mean, quote
from policy_router.domain import Level, Policy
from policy_router.errors import PolicyError, RequestError
from policy_router.policy.conditions import ConditionReader, Sees, Vocabularies
from policy_router.policy.sections import Piece
from policy_router.policy.yaml import ScalarNode


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What an expression came to.

    Attributes:
        outcome: the value, or that it cannot be evaluated.
        trace: the value with those of its parts.
    """

    outcome: Outcome
    trace: ConditionTrace


def evaluate_expression(
    policy: Policy,
    text: str,
    request: Request,
    *,
    now: datetime.datetime,
    target: str | None = None,
) -> Evaluated:
    """Evaluate an expression for a request.

    Args:
        policy: declares the facts, variables and tables that it may read.
        text: the expression, in CEL.
        request: what it reads.
        now: the time.
        target: the name of an entry, which ``target`` stands for; None where it reads none.

    Raises:
        PolicyError: the expression is wrong.
        RequestError: the request does not fit the policy, or there is no such entry.
    """
    request = checked(policy, request)
    condition = _condition(policy, text, Sees.REQUEST if target is None else Sees.CANDIDATE)
    evaluation = Evaluation(policy, values_of(policy, request), now)
    candidate = None if target is None else _candidate(evaluation, target)
    shown = trace(evaluation, "the expression", condition, candidate)
    return Evaluated(evaluation.evaluate(condition, candidate), shown)


def _candidate(evaluation: Evaluation, name: str) -> Candidate:
    entries = evaluation.prepared.named.get(name, ())
    if not entries:
        remedy = did_you_mean(name, evaluation.prepared.named)
        raise RequestError("--target", f"there is no entry {quote(name)}", remedy)
    return evaluation.candidate(entries[0], Level.POOL)


def _condition(policy: Policy, text: str, sees: Sees) -> Condition:
    reader = reader_of(policy)
    condition = reader.expression(_piece(text), sees)
    if condition is None or any(item.severity == "error" for item in reader.found):
        raise PolicyError(Diagnostics.of(reader.found))
    return condition


def reader_of(policy: Policy) -> ConditionReader:
    """Return what reads conditions as if they stood in a policy."""
    names = Vocabularies.of(policy.facts.values(), policy.closed, policy.required, policy.tables)
    reader = ConditionReader(names)
    for variable in policy.variables:
        reader.variable(variable.name, _piece(variable.condition.text))
    reader.found.clear()  # what is wrong with the policy is not asked here
    return reader


def _piece(text: str) -> Piece:
    """Return an expression as if it stood in a file by itself."""
    is_plain, source = True, SourceFile("expression", text)
    return Piece(ScalarNode(text, text, is_plain, source, 0, len(text)), "$")
