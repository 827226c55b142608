"""Results of delegated tasks, for a host and its agent."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec import Struct

from policy_router.calls.failing import Attempt
from policy_router.decision.record import Reason
from policy_router.domain import Level

_HANDED_OVER: Final = "policy_router_delegation"
_DEEPEST: Final = 8
"""So many causes of an exception are looked at."""


class Status(StrEnum):
    """What became of a task, or of a delegation as a whole."""

    COMPLETED = "completed"
    """It ran and has a result; of a delegation: all of them."""
    PARTIAL = "partial"
    """Of a delegation: some tasks completed."""
    FAILED = "failed"
    """It ran and has no result; of a delegation: no task completed."""
    REFUSED = "refused"
    """The policy refused it; of a delegation: nothing was started for that."""
    NOT_STARTED = "not_started"
    """Another task of its batch was refused."""
    CANCELLED = "cancelled"
    """It was stopped before its end."""
    DECIDED = "decided"
    """It was decided and not run, as asked (a dry run)."""


class CostStatus(StrEnum):
    """How the cost of a child is known, or why it is not."""

    MEASURED = "measured"
    """By the provider's counts, and the prices of the pool."""
    UPPER_BOUND = "upper_bound"
    """The same; tokens from a cache are counted as if they were not."""
    FREE = "free"
    """Nothing was sent, or the provider answered each call with an error: it cost nothing."""
    NO_PRICE = "no_price"
    """The pool has no price for what ran."""
    NO_USAGE = "no_usage"
    """The provider did not say how many tokens it counted."""
    MISMATCH = "mismatch"
    """The provider served another model than the one that was called, so no price applies."""
    FAILED = "failed"
    """There is no answer, and a call that was sent may have cost something."""


_NEVER_RUN = frozenset({Status.REFUSED, Status.NOT_STARTED, Status.DECIDED})
_FIRST_ERROR = 400
"""The lowest HTTP status of an error."""


class Asked(Struct, frozen=True):
    """What the agent asked for; None is nothing."""

    model: str | None = None
    provider: str | None = None


class Ran(Struct, frozen=True):
    """What a task ran on in the end: the target, or what was gone on with after it.

    Attributes:
        model: the model's id at its provider.
        provider: the provider's name.
        entry: the name of the pool entry; None where it is none.
    """

    model: str
    provider: str
    entry: str | None = None


class Tokens(Struct, frozen=True):
    """What the provider counted; None is unknown.

    Attributes:
        input: the tokens of the input, those from a cache among them.
        output: the tokens of the answer.
        cached: how many tokens of the input came from the provider's cache.
    """

    input: int | None = None
    output: int | None = None
    cached: int | None = None


class Totals(Struct, frozen=True):
    """What a delegation took, over all its tasks; None where it is unknown of any.

    Attributes:
        input_tokens: the tokens of all inputs.
        output_tokens: the tokens of all answers.
        cost_usd: what all tasks cost, in US dollars.
        unknown_tokens: of how many tasks the tokens are unknown.
        unknown_costs: of how many tasks the cost is unknown.
        overrun_usd: what went beyond the reservations of a budget, where there is one.
    """

    input_tokens: int | None = 0
    output_tokens: int | None = 0
    cost_usd: float | None = 0.0
    unknown_tokens: int = 0
    unknown_costs: int = 0
    overrun_usd: float | None = None


class TaskError(Struct, frozen=True):
    """Why there is no result.

    Attributes:
        code: a reason of the policy (``outside_pool``, ...) or a :class:`Failing`; ``bad_request``
            for arguments that are not understood.
        message: for the agent: no keys, no values of facts.
        task: the index of the task; None where it is no single one's.
        permitted: the names that may be asked for instead; None where any may, or for failures.
        reasons: for ``no_target``: what stood in the way at each rule that proposed something.
    """

    code: str
    message: str
    task: int | None
    permitted: tuple[str, ...] | None = None
    reasons: tuple[Reason, ...] = ()


class Estimate(Struct, frozen=True):
    """What a task may take, before it ran; None is unknown.

    Attributes:
        input_tokens: the size of its input.
        output_tokens: the most that its answer may have.
        cost_usd: the most that both cost, in US dollars.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None


class Result(Struct, frozen=True):
    """What became of one task.

    Attributes:
        task: its index in the batch, from 0.
        status: what became of it.
        text: what the child said; of a stream that broke off, as far as it came.
        requested: what the agent asked for.
        outranked: what it asked for besides, which another rule went before.
        effective: what it ran on; None where it was refused.
        level: the level that decided; None where it was refused.
        rule: the precedence rule that decided, or that refused.
        decision_id: the id of the decision.
        session_id: the session it belongs to, as the host gave it.
        served_model: the model that the provider says it served; None where it does not say.
        finish_reason: why the child stopped, in the provider's word: ``length`` is cut short.
        attempts: every model call, in order.
        tokens: what the provider counted.
        cost_usd: US dollars by the prices of the pool; None is unknown.
        cost_is_upper_bound: whether it may have cost less, since tokens came from a cache and the
            pool has no price for them.
        cost_status: of a completed task: how the cost is known, or why it is not.
        reserved_usd: what was reserved for it, where there is a budget.
        overrun_usd: what it cost beyond that.
        estimate: what it may take, of a dry run.
        duration_seconds: from its start to its end.
        warnings: what went otherwise than wished.
        error: why there is no result.
    """

    task: int
    status: Status
    text: str | None = None
    requested: Asked = Asked()
    outranked: tuple[Asked, ...] = ()
    effective: Ran | None = None
    level: Level | None = None
    rule: str | None = None
    decision_id: str | None = None
    session_id: str | None = None
    served_model: str | None = None
    finish_reason: str | None = None
    attempts: tuple[Attempt, ...] = ()
    tokens: Tokens = Tokens()
    cost_usd: float | None = None
    cost_is_upper_bound: bool = False
    cost_status: CostStatus | None = None
    reserved_usd: float | None = None
    overrun_usd: float | None = None
    estimate: Estimate | None = None
    duration_seconds: float | None = None
    warnings: tuple[str, ...] = ()
    error: TaskError | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data: what is unknown is None."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    @property
    def is_free(self) -> bool:
        """Whether it cost nothing for certain.

        A call that was sent may have been paid, unless its status is that of an error.
        """
        if self.status in _NEVER_RUN or self.effective is None:
            return self.status is not Status.COMPLETED
        if self.status is not Status.FAILED:
            return False
        return bool(self.attempts) and all(
            not it.is_sent or (it.status or 0) >= _FIRST_ERROR for it in self.attempts
        )


class Delegation(Struct, frozen=True):
    """What became of a delegation: its results, in the order of the tasks.

    Attributes:
        status: what became of it as a whole.
        results: one for each task.
        session_id: the session it belongs to, as the host gave it.
        error: the first refusal, where the batch was refused for one; or what is wrong with the
            arguments, and then there are no results.
        totals: what all tasks took.
    """

    status: Status
    results: tuple[Result, ...]
    session_id: str | None = None
    error: TaskError | None = None
    totals: Totals = Totals()

    @staticmethod
    def handed_over(problem: BaseException) -> Delegation | None:
        """Return what was finished of a delegation that was interrupted; None where nothing says.

        Args:
            problem: what interrupted it, such as ``asyncio.CancelledError``, ``KeyboardInterrupt``
                or the ``TimeoutError`` of ``asyncio.timeout``.
        """
        cause: BaseException | None = problem
        for _ in range(_DEEPEST):
            if cause is None:
                return None
            found = getattr(cause, _HANDED_OVER, None)
            if isinstance(found, Delegation):
                return found
            cause = cause.__cause__ or cause.__context__
        return None

    def to_json(self) -> bytes:
        """Return everything as JSON, for the host: what is unknown is null."""
        return _ENCODER.encode(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the same as plain data."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def to_tool_answer(self) -> str:
        """Return JSON for the model that called the tool: what it needs to go on, and no more.

        Nothing that is unknown or empty is in it, and no id, count or price.
        """
        told = [result for result in self.results if result.status is not Status.NOT_STARTED]
        waiting = [it.task for it in self.results if it.status is Status.NOT_STARTED]
        answer = {
            "status": self.status,
            "results": [_for_model(result) for result in told],
            "not_started": waiting,
            "error": None if self.results else _reason(self.error),
        }
        return _ENCODER.encode(_given(answer)).decode()


def hand_over(problem: BaseException, made: Delegation) -> None:
    """Let what interrupts a delegation carry what is finished of it."""
    setattr(problem, _HANDED_OVER, made)


def _for_model(result: Result) -> dict[str, Any]:
    """Return what a model is told of a task."""
    ran = result.effective
    is_cut = result.finish_reason == "length"
    notes = (*result.warnings, "the answer is cut short") if is_cut else result.warnings
    return _given(
        {
            "task": result.task,
            "status": None if result.status is Status.COMPLETED else result.status,
            "model": (ran.entry or ran.model) if ran else None,
            "text": result.text,
            "warnings": notes,
            "error": _reason(result.error),
        }
    )


def _reason(error: TaskError | None) -> dict[str, Any] | None:
    """Return why there is no result, as far as a model can act on it."""
    if error is None:
        return None
    plain = {"code": error.code, "message": error.message}
    return plain if error.permitted is None else {**plain, "permitted": error.permitted}


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is unknown or empty; a text may be empty."""
    return {key: value for key, value in fields.items() if value not in (None, (), [])}


_ENCODER = msgspec.json.Encoder()
