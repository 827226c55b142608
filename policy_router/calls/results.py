"""Results of delegated tasks, for a host and its agent; and the events on the way."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from policy_router.decision.record import DecisionRecord, Reason, Target
from policy_router.domain import Level

_Count = Annotated[int, Meta(ge=0)]
_HANDED_OVER: Final = "policy_router_delegation"
_DEEPEST: Final = 8
"""So many causes of an exception are looked at."""


class Failing(StrEnum):
    """Why a model call failed."""

    RATE_LIMITED = "rate_limited"
    """Too many calls for now: HTTP 429."""
    PAYMENT_REQUIRED = "payment_required"
    """No credit is left: HTTP 402, or a quota that is used up."""
    SERVER_ERROR = "server_error"
    """The provider's own fault: HTTP 5xx."""
    CONNECTION_FAILED = "connection_failed"
    """No connection, or one that broke before an answer."""
    TIMEOUT = "timeout"
    """Nothing came in time."""
    MODEL_NOT_FOUND = "model_not_found"
    """The provider does not know the model."""
    BAD_REQUEST = "bad_request"
    """The provider does not take the call as it is: HTTP 400."""
    UNAUTHORIZED = "unauthorized"
    """The provider does not take the key: HTTP 401."""
    HTTP_ERROR = "http_error"
    """Any other status that is no success."""
    BAD_RESPONSE = "bad_response"
    """An answer that is none: not JSON, or without a message."""
    STREAM_BROKEN = "stream_broken"
    """A stream that ended before the answer did."""
    EMPTY_ANSWER = "empty_answer"
    """An answer with neither text nor a tool call."""
    CONTENT_FILTERED = "content_filtered"
    """The provider's filter kept the input or the answer back."""
    REFUSED_BY_MODEL = "refused_by_model"
    """The model says that it will not do the task."""
    CONTEXT_OVERFLOW = "context_overflow"
    """The input is too long for the model's context window."""
    WANTS_TOOL = "wants_tool"
    """The answer of a child of one completion asks for a tool."""
    ANSWER_TOO_LARGE = "answer_too_large"
    """An answer of more bytes than are read."""
    NO_ENDPOINT = "no_endpoint"
    """Nothing says where the provider is; nothing was sent."""
    NO_CREDENTIAL = "no_credential"
    """The provider's key is not where the policy says; nothing was sent."""
    CHILD_ERROR = "child_error"
    """The host's own child raised."""


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


class Attempt(Struct, frozen=True):
    """One model call, or what kept it from being made.

    Attributes:
        number: its number, from 1.
        model: the model's id at its provider.
        provider: the provider's name.
        entry: the name of the pool entry; None where it is none.
        failure: why it failed; None where it did not.
        status: the HTTP status, where there was an answer.
        message: what the provider said of the failure, without keys.
        duration_seconds: how long it took.
        is_sent: whether anything was sent; not so where a key is missing, or a provider asks to
            be left alone for too long.
        input_tokens: of a call that failed: the provider's count; None where it told none.
        output_tokens: the same.
    """

    number: int
    model: str
    provider: str
    entry: str | None = None
    failure: Failing | None = None
    status: int | None = None
    message: str | None = None
    duration_seconds: float = 0.0
    is_sent: bool = True
    input_tokens: int | None = None
    output_tokens: int | None = None


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


class Reply(Struct, frozen=True):
    """The answer of a child.

    Attributes:
        text: the answer; None if the model gave none.
        served_model: the model that the provider reports, or None.
        finish_reason: the provider's reason why the model stopped.
        input_tokens: the provider's count; None is unknown.
        output_tokens: the provider's count; None is unknown.
        cached_tokens: how many of the input tokens came from the provider's cache; None is unknown.
        ran: the target that really ran; None is the decided target.
        attempts: every model call, in order.
        warnings: parameters that were left out, and an answer of another model.
    """

    text: str | None = None
    served_model: str | None = None
    finish_reason: str | None = None
    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    cached_tokens: _Count | None = None
    ran: Target | None = None
    attempts: tuple[Attempt, ...] = ()
    warnings: tuple[str, ...] = ()


class EventKind(StrEnum):
    """What happened to a child."""

    STARTED = "started"
    """Its decision is made and it begins."""
    ATTEMPT = "attempt"
    """A model call begins."""
    WAITING = "waiting"
    """The provider asked to be left alone for some seconds."""
    TEXT = "text"
    """A piece of its answer, streamed."""
    PARAMETER_LEFT_OUT = "parameter_left_out"
    """The model does not take a parameter."""
    MODEL_MISMATCH = "model_mismatch"
    """The provider says that it served another model."""
    FINISHED = "finished"
    """It has a result, or none will come."""


class Event(Struct, frozen=True):
    """Something that happened to a child, for whoever watches.

    Attributes:
        kind: what.
        task: the index of the task.
        decision_id: the id of the decision.
        message: the same for a person, on one line; of a text event, the text.
        provider: the provider's name.
        model: the model's id.
        attempt: the number of the attempt, from 1.
        attempts: how many there can be.
        seconds: how long is waited.
        parameter: the name of the parameter that is left out.
        served_model: the model that the provider says it served.
        result: of the end: what became of the task, in full.
    """

    kind: EventKind
    task: int
    decision_id: str
    message: str
    provider: str | None = None
    model: str | None = None
    attempt: int | None = None
    attempts: int | None = None
    seconds: float | None = None
    parameter: str | None = None
    served_model: str | None = None
    result: Result | None = None

    @property
    def status(self) -> Status | None:
        """Of the end: what became of the task."""
        return self.result.status if self.result else None


Watcher = Callable[[Event], None]
"""Is told what happens, in the thread in which it happens."""


def moment_after(seconds: float | None) -> float | None:
    """Return the moment in so many seconds, by ``time.monotonic``; None is never."""
    return None if seconds is None else time.monotonic() + seconds


class ChildTask(Struct, frozen=True):
    """What a child is to do.

    Attributes:
        index: the task's index in its batch, from 0.
        goal: what it is to do.
        context: what it has to know; may be empty.
        kind: the word for the sort of work, or ``""``.
        decision_id: the id of the decision.
        session_id: the session to continue, or None.
        record: the decision.
        tell: tells whoever watches the delegation.
        deadline: the moment, by ``time.monotonic``, at which it has to be done; None is never.
    """

    index: int
    goal: str
    context: str
    kind: str
    decision_id: str
    session_id: str | None
    record: DecisionRecord
    tell: Watcher
    deadline: float | None = None

    @property
    def remaining(self) -> float | None:
        """The seconds that are left to it, at least 0; None is without a limit."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def by(self, seconds: float | None) -> float | None:
        """Return its deadline, or the moment in so many seconds if that is sooner."""
        moments = [it for it in (self.deadline, moment_after(seconds)) if it is not None]
        return min(moments, default=None)

    @property
    def fallbacks(self) -> tuple[Target, ...]:
        """What may be gone on with where the target fails, in order."""
        return self.record.decision.fallbacks or ()


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
