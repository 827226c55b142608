"""How a model call went, and why one failed."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


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
