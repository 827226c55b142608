"""The task of a child, its reply, and the events on the way."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from policy_router.calls.failing import Attempt
from policy_router.calls.results import Result, Status
from policy_router.decision.record import DecisionRecord, Target

_Count = Annotated[int, Meta(ge=0)]


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
