"""What became of children, as results; and of a whole delegation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from policy_router.domain import Policy
from policy_router.errors import ProviderError
from policy_router.runtime.accounting import cost, ran_on
from policy_router.runtime.batch import Planned
from policy_router.runtime.failures import clean, without
from policy_router.runtime.results import (
    Attempt,
    Failing,
    Ran,
    Reply,
    Result,
    Status,
    TaskError,
    Tokens,
)


def completed(policy: Policy, plan: Planned, answer: Any, secrets: Iterable[str]) -> Result:
    """Return the result of a child that answered.

    Args:
        policy: has the prices.
        plan: the task and its decision.
        answer: a :class:`Reply`, or its text.
        secrets: keys that the text must not repeat.

    Raises:
        TypeError: the answer is neither.
    """
    reply = Reply(text=answer) if isinstance(answer, str) else answer
    if not isinstance(reply, Reply):
        raise TypeError(f"a child returns a text or a Reply, not {type(reply).__name__}")
    before = plan.result(Status.COMPLETED, policy)
    target = reply.ran or plan.target
    return replace(
        before,
        text=None if reply.text is None else without(reply.text, secrets),
        effective=ran_on(target) if target else None,
        served_model=reply.served_model,
        finish_reason=reply.finish_reason,
        attempts=reply.attempts,
        tokens=Tokens(reply.input_tokens, reply.output_tokens),
        cost_usd=cost(policy, target, reply.input_tokens, reply.output_tokens) if target else None,
        warnings=(*before.warnings, *reply.warnings),
    )


def failed(policy: Policy, plan: Planned, problem: BaseException, secrets: Iterable[str]) -> Result:
    """Return the result of a child that raised.

    Args:
        policy: what decided.
        plan: the task and its decision.
        problem: what it raised; its words are cleared of keys.
        secrets: keys that no word may repeat.
    """
    before = plan.result(Status.FAILED, policy)
    if not isinstance(problem, ProviderError):
        message = clean(f"{type(problem).__name__}: {problem}", secrets)
        return replace(before, error=TaskError(Failing.CHILD_ERROR, message, plan.index))
    return replace(
        before,
        text=problem.partial or None,
        effective=_last(problem.attempts) or before.effective,
        attempts=problem.attempts,
        error=TaskError(problem.code, clean(problem.reason, secrets), plan.index),
    )


def _last(attempts: Sequence[Attempt]) -> Ran | None:
    return Ran(attempts[-1].model, attempts[-1].provider, attempts[-1].entry) if attempts else None


def overall(results: Sequence[Result]) -> Status:
    """Return what became of a delegation, by what became of its tasks."""
    found = {result.status for result in results}
    if len(found) == 1:
        return found.pop()
    if Status.DECIDED in found:
        return Status.DECIDED
    return Status.PARTIAL if Status.COMPLETED in found else Status.FAILED
