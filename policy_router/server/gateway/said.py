"""Problems in the error formats of OpenAI and Anthropic, and those of addresses of theirs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from policy_router.calls.dialects import CHAT, RESPONSES
from policy_router.calls.failing import Failing
from policy_router.server.asking import Answer, answer_of
from policy_router.server.problems import Header, Problem

RETRY: Final = b"x-should-retry"
"""Tells the SDKs of OpenAI and Anthropic whether to send a request again."""
_OPENAI_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
_ANTHROPIC_TYPES: Final = {
    **_OPENAI_TYPES,
    404: "not_found_error",
    413: "request_too_large",
    503: "overloaded_error",
    504: "timeout_error",
}
_SERVER_ERRORS: Final = 500
_OPENAI_PATHS: Final = re.compile(
    r"(?:/v1)*/(?:assistants|audio|batches|chat|completions|containers|conversations|embeddings"
    r"|engines|evals|files|fine_tuning|images|models|moderations|realtime|responses|threads"
    r"|uploads|vector_stores|videos)(?:/.*)?"
)
_ANTHROPIC_PATHS: Final = re.compile(r"(?:/v1)*/(?:complete|messages)(?:/.*)?")


class CallProblem(Problem):
    """Why a model call has no answer.

    Attributes:
        permitted: what may be asked for instead; None where anything may, or nothing helps.
        decision_id: the id of the decision.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        decision_id: str,
        permitted: tuple[str, ...] | None = None,
        headers: tuple[Header, ...] = (),
    ) -> None:
        """Make the problem of a call that was decided."""
        super().__init__(status, code, detail, headers=headers)
        self.decision_id, self.permitted = decision_id, permitted


def shape_at(path: str) -> Callable[[Problem], Answer]:
    """Return what says a problem at a path in the words of the clients that ask there."""
    if _ANTHROPIC_PATHS.fullmatch(path):
        return to_anthropic
    return to_openai if _OPENAI_PATHS.fullmatch(path) else answer_of


def no_route(path: str) -> Problem:
    """Return the problem of a path where nothing is, with what to do about it."""
    help_ = "`GET /openapi.json` lists what there is"
    if shape_at(path) is not answer_of:
        help_ = "the gateway has `/v1/chat/completions`, `/v1/responses`, `/v1/messages` and"
        help_ = f"{help_} `/v1/models`"
        if not path.startswith("/v1/"):
            help_ = "the base URL of a client of OpenAI's API ends with `/v1`"
        elif path.startswith("/v1/v1/"):
            help_ = "leave `/v1` out of the base URL: a client of Anthropic's API adds it"
    return Problem(404, "no_route", "there is nothing at this path", help=help_)


def to_openai(problem: Problem) -> Answer:
    """Return a problem as OpenAI's API has it."""
    error: dict[str, Any] = {"message": _words(problem), "type": _type(problem, _OPENAI_TYPES)}
    error |= {"param": problem.path, "code": problem.code, **_more(problem)}
    return Answer(msgspec.json.encode({"error": error}), problem.status, problem.headers)


def to_anthropic(problem: Problem) -> Answer:
    """Return a problem as Anthropic's API has it."""
    error: dict[str, Any] = {"type": _type(problem, _ANTHROPIC_TYPES), "message": _words(problem)}
    error |= {"code": problem.code, **_more(problem)}
    body = msgspec.json.encode({"type": "error", "error": error})
    return Answer(body, problem.status, problem.headers)


def broken_off(api: str, message: str) -> bytes:
    """Return an event that tells that a stream is not whole.

    Args:
        api: the API that the stream is of.
        message: why.
    """
    error = {"message": message, "type": "api_error", "code": Failing.STREAM_BROKEN}
    if api == CHAT:
        return b"data: %b\n\n" % msgspec.json.encode({"error": error})
    if api == RESPONSES:
        event = {**error, "type": "error", "param": None}
        return b"event: error\ndata: %b\n\n" % msgspec.json.encode(event)
    nested = {"type": "error", "error": error}
    return b"event: error\ndata: %b\n\n" % msgspec.json.encode(nested)


def _words(problem: Problem) -> str:
    where = f"{problem.path}: " if problem.path else ""
    return f"{where}{problem.detail}{f'; {problem.help}' if problem.help else ''}"


def _type(problem: Problem, types: dict[int, str]) -> str:
    usual = "api_error" if problem.status >= _SERVER_ERRORS else "invalid_request_error"
    return types.get(problem.status, usual)


def _more(problem: Problem) -> dict[str, Any]:
    if not isinstance(problem, CallProblem):
        return {}
    more: dict[str, Any] = {"decision_id": problem.decision_id}
    if problem.permitted is not None:
        more["permitted"] = list(problem.permitted)
    return more
