"""Turns the ends of children into results, and these into a whole delegation."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

import msgspec
from msgspec.structs import replace

from policy_router.calls.child_task import Reply
from policy_router.calls.costs import Cost, priced, ran_on
from policy_router.calls.failing import Attempt, Failing
from policy_router.calls.failures import clean, sound, without
from policy_router.calls.notifications import LOGGER
from policy_router.calls.results import (
    CostStatus,
    Delegation,
    Ran,
    Result,
    Status,
    TaskError,
    Tokens,
    Totals,
)
from policy_router.calls.served import is_served
from policy_router.decision.explain.wording import is_pinned
from policy_router.decision.record import DecisionRecord
from policy_router.delegation.batch import Planned
from policy_router.domain import Policy
from policy_router.errors import ArgumentsError, BudgetError, ProviderError

BAD_REQUEST: Final = "bad_request"
"""The code of arguments that are not understood."""
BUDGET_UNAVAILABLE: Final = "budget_unavailable"
"""The code of a call whose budget cannot be read or written."""
_TASK: Final = re.compile(r"\$\.tasks\[(\d+)\]")


def completed(policy: Policy, plan: Planned, answer: Any, secrets: Iterable[str]) -> Result:
    """Return the result of a child that answered.

    Args:
        policy: has the prices.
        plan: the task and its decision.
        answer: a :class:`Reply`, or its text.
        secrets: keys that the text must not repeat.

    Raises:
        TypeError: the answer is neither, or a reply that its own class does not allow.
    """
    reply = _checked(Reply(text=answer) if isinstance(answer, str) else answer)
    before, (paid, known) = plan.result(Status.COMPLETED, policy), _cost(policy, plan, reply)
    return replace(
        before,
        text=_cleared(reply.text, secrets),
        effective=_sound(ran_on(reply.ran)) if reply.ran else before.effective,
        served_model=_cleared(reply.served_model, secrets),
        finish_reason=_cleared(reply.finish_reason, secrets),
        attempts=tuple(_cleared_attempt(attempt, secrets) for attempt in reply.attempts),
        tokens=Tokens(reply.input_tokens, reply.output_tokens, reply.cached_tokens),
        cost_usd=paid.usd if paid else None,
        cost_is_upper_bound=paid is not None and paid.is_upper_bound,
        cost_status=known,
        warnings=(*before.warnings, *(clean(warning, secrets) for warning in reply.warnings)),
    )


def _checked(reply: Any) -> Reply:
    """Return what a host's own child said, which nobody has checked before."""
    if not isinstance(reply, Reply):
        raise TypeError(f"a child returns a text or a Reply, not {type(reply).__name__}")
    # What a host's own class has besides is its own affair.
    fields: dict[str, Any] = {name: getattr(reply, name) for name in Reply.__struct_fields__}
    fields |= {name: str(text) for name, text in fields.items() if isinstance(text, str)}
    checked = Reply(**fields)
    if (problem := _misfit(checked, Reply)) is not None:
        raise TypeError(f"a child's Reply is malformed: {problem}")
    return checked


def _misfit(value: object, wanted: Any) -> str | None:
    """Return why a value that a host made is not of a type, with the place; None where it is."""
    try:
        msgspec.convert(msgspec.to_builtins(value), wanted)
    except (msgspec.ValidationError, TypeError, RecursionError) as problem:
        return str(problem)
    return None


def _cost(policy: Policy, plan: Planned, reply: Reply) -> tuple[Cost | None, CostStatus]:
    """Return what a child cost, and why that is unknown; another model has another price."""
    target = reply.ran or plan.target
    served = reply.served_model
    if target is not None and served is not None and not is_served(policy, target, served):
        return None, CostStatus.MISMATCH
    counts = reply.input_tokens, reply.output_tokens, reply.cached_tokens
    if None in counts[:2]:
        return None, CostStatus.NO_USAGE
    found = None if target is None else priced(policy, target, *counts)
    if found is None:
        return None, CostStatus.NO_PRICE
    return found, CostStatus.UPPER_BOUND if found.is_upper_bound else CostStatus.MEASURED


def _cleared(text: str | None, secrets: Iterable[str]) -> str | None:
    return None if text is None else without(sound(text), secrets)


def _cleared_attempt(attempt: Attempt, secrets: Iterable[str]) -> Attempt:
    if attempt.message is not None:
        attempt = replace(attempt, message=clean(attempt.message, secrets))
    took = attempt.duration_seconds
    if not (math.isfinite(took) and took >= 0):  # A host's clock may have gone back.
        attempt = replace(attempt, duration_seconds=0.0)
    return _sound(attempt)


_R = TypeVar("_R", Ran, Attempt)


def _sound(ran: _R) -> _R:
    """Return what something ran on with names that are Unicode, whatever the host said."""
    names = {
        "model": sound(ran.model),
        "provider": sound(ran.provider),
        "entry": None if ran.entry is None else sound(ran.entry),
    }
    return replace(ran, **names)


def _words_of(problem: BaseException, secrets: Iterable[str]) -> str:
    """Return what an exception says; one that cannot say it has a name at least."""
    try:
        words = str(problem)
    except Exception:  # noqa: BLE001 - a child may raise what it likes
        words = ""
    name = type(problem).__name__
    return f"{name}: {clean(words, secrets)}" if words else name


def failed(policy: Policy, plan: Planned, problem: BaseException, secrets: Iterable[str]) -> Result:
    """Return the result of a child that raised.

    Args:
        policy: what decided.
        plan: the task and its decision.
        problem: what it raised; its words are cleared of keys.
        secrets: keys that no word may repeat.
    """
    before = plan.result(Status.FAILED, policy)
    # A host may raise what is meant for the executor.
    if not isinstance(problem, ProviderError) or _misfit(problem.attempts, tuple[Attempt, ...]):
        message = _words_of(problem, secrets)
        return replace(before, error=TaskError(Failing.CHILD_ERROR, message, plan.index))
    return replace(
        before,
        text=_cleared(problem.partial, secrets) or None,
        effective=_last(problem.attempts) or before.effective,
        attempts=tuple(_cleared_attempt(attempt, secrets) for attempt in problem.attempts),
        warnings=(*before.warnings, *_pinned(policy, plan.record)),
        error=TaskError(problem.code, clean(problem.reason, secrets), plan.index),
    )


def _pinned(policy: Policy, record: DecisionRecord) -> Iterator[str]:
    """Yield a note where a target failed that nothing follows, though its entry has fallbacks."""
    if is_pinned(policy, record):
        yield "it has no fallbacks, since it was asked for by name"


def _last(attempts: Sequence[Attempt]) -> Ran | None:
    """Return what was called last, if anything was."""
    called = [Ran(it.model, it.provider, it.entry) for it in attempts if it.is_sent]
    return called[-1] if called else None


def totals(results: Sequence[Result]) -> Totals:
    """Return what tasks took together."""
    ran = [result for result in results if not result.is_free]
    tokens = [it.tokens for it in ran if None not in (it.tokens.input, it.tokens.output)]
    costs = [it.cost_usd for it in ran if it.cost_usd is not None]
    overruns = [it.overrun_usd for it in results if it.overrun_usd is not None]
    is_known, is_priced = len(tokens) == len(ran), len(costs) == len(ran)
    return Totals(
        input_tokens=sum(it.input or 0 for it in tokens) if is_known else None,
        output_tokens=sum(it.output or 0 for it in tokens) if is_known else None,
        cost_usd=round(math.fsum(costs), 12) if is_priced else None,
        unknown_tokens=len(ran) - len(tokens),
        unknown_costs=len(ran) - len(costs),
        overrun_usd=round(math.fsum(overruns), 9) if overruns else None,
    )


def overall(results: Sequence[Result]) -> Status:
    """Return what became of a delegation, by what became of its tasks."""
    found = {result.status for result in results}
    if len(found) == 1:
        return found.pop()
    if Status.DECIDED in found:
        return Status.DECIDED
    return Status.PARTIAL if Status.COMPLETED in found else Status.FAILED


def refused_whole(problem: ArgumentsError | BudgetError, session_id: str | None) -> Delegation:
    """Return the delegation of a call of which nothing was decided.

    Args:
        problem: what is wrong with its arguments, where, and what to send; or with the budget,
            of which an agent hears no more than that.
        session_id: the session it belongs to.
    """
    if isinstance(problem, BudgetError):
        LOGGER.error("no child is started: %s", problem)
        error = TaskError(BUDGET_UNAVAILABLE, "the budget cannot be used now", None)
    else:
        place = _TASK.match(problem.path)
        error = TaskError(BAD_REQUEST, str(problem), int(place[1]) if place else None)
    return Delegation(Status.REFUSED, (), session_id, error)
