"""Reads an exception of any SDK or HTTP client, without importing any of them.

They are told by what they have in common: a status, on the exception or on its answer, and the
names of their classes. Looked at were openai, anthropic, google-genai, boto3, cohere, mistralai,
LiteLLM, httpx, requests, aiohttp and urllib.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from policy_router.calls.failing import Failing
from policy_router.calls.failures import Failure, clean, of_status
from policy_router.errors import ProviderError

_DEEPEST: Final = 8
"""So many causes of an exception are looked at."""
_LONGEST_BODY: Final = 1024 * 1024
_STATUSES: Final = range(100, 600)
_NAMES_OF_STATUS: Final = ("status_code", "status", "http_status", "code")
_TIMEOUT: Final = re.compile("(?i)time.?d?out|DeadlineExceeded")
_CONNECTION: Final = re.compile(
    "(?i)Connect(ion|or)?(Error|Closed|Reset|Broken)|(Network|Transport|Protocol)Error"
    "|(Read|Write|Chunked.*|Payload)Error|IncompleteRead|ServerDisconnected"
)


class Reading(Struct, frozen=True):
    """What is known besides an error, for whoever reads it.

    Attributes:
        now: the time, which a ``Retry-After`` may count from.
        model: the model that was called.
        secrets: what must not be repeated.
        body: the body of the answer: bytes, a text, or decoded JSON; None is that of the exception.
        headers: the headers of the answer; None are those of the exception.
    """

    now: datetime.datetime
    model: str = ""
    secrets: tuple[str, ...] = ()
    body: Any = None
    headers: Mapping[str, str] | None = None

    def of_status(self, status: int, error: BaseException | None = None) -> Failure:
        """Return the failure that an answer of a status tells of, and its exception, if any."""
        body = _decoded(self.body)
        headers = self.headers
        if error is not None:
            body = _body_of(error) if body is None else body
            headers = _headers_of(error) if headers is None else headers
        lower = _lower(headers or {})
        made = of_status(status, body, lower, self.secrets, model=self.model, now=self.now)
        if error is None or body:
            return made
        return replace(made, message=_words(error, self.secrets))


def failure_from(
    error: BaseException | Failure | int,
    known: Reading,
    *,
    partial: str = "",
    has_begun: bool = False,
) -> Failure:
    """Return the failure that an error of any kind tells of.

    Args:
        error: an exception of any SDK or HTTP client, an HTTP status, or a failure.
        known: what is known besides.
        partial: the text that has been passed on already; nothing is tried after it.
        has_begun: whether anything else of the answer has been passed on already.
    """
    if isinstance(error, Failure):
        found = error
    elif isinstance(error, int):
        found = known.of_status(error)
    elif isinstance(error, ProviderError):
        found = _of_ours(error)
    else:
        found = _of_exception(error, known)
    return replace(found, streamed=True, partial=partial) if partial or has_begun else found


def _of_ours(error: ProviderError) -> Failure:
    code = Failing(error.code) if error.code in {*Failing} else Failing.CHILD_ERROR
    return Failure(code, error.reason, partial=error.partial)


def _of_exception(error: BaseException, known: Reading) -> Failure:
    causes = [*_chain(error)]
    for cause in causes:
        status = _status_of(cause)
        if status is not None:
            return known.of_status(status, cause)
    code = next((code for cause in causes if (code := _code_of(cause))), Failing.CHILD_ERROR)
    return Failure(code, _words(error, known.secrets))


def _code_of(error: BaseException) -> Failing | None:
    """Return the class of failure of an exception that tells of no status."""
    names = " ".join(kind.__name__ for kind in type(error).__mro__)
    if isinstance(error, TimeoutError) or _TIMEOUT.search(names):
        return Failing.TIMEOUT
    if isinstance(error, OSError) or _CONNECTION.search(names):
        return Failing.CONNECTION_FAILED
    if isinstance(error, json.JSONDecodeError | msgspec.DecodeError):
        return Failing.BAD_RESPONSE
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and what it was raised from, as far as that is told."""
    cause: BaseException | None = error
    for _ in range(_DEEPEST):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _attribute(owner: object, name: str) -> Any:
    """Return an attribute of a thing that others made, which may raise what it likes."""
    try:
        return getattr(owner, name, None)
    except Exception:  # noqa: BLE001 - what it cannot tell is not known
        return None


def _status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an exception tells of."""
    answer = _attribute(error, "response")
    if isinstance(answer, Mapping):
        status = _metadata(answer).get("HTTPStatusCode")
        return status if _is_status(status) else None
    for owner in (error, answer):
        for name in _NAMES_OF_STATUS:
            status = _attribute(owner, name)
            if _is_status(status):
                return int(status)
    return None


def _metadata(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what boto3 tells of an answer, which it has as a mapping."""
    found = answer.get("ResponseMetadata")
    return found if isinstance(found, Mapping) else {}


def _is_status(status: object) -> bool:
    return isinstance(status, int) and not isinstance(status, bool) and status in _STATUSES


def _body_of(error: BaseException) -> Any:
    """Return the body of the answer that an exception tells of, decoded where it can be."""
    answer = _attribute(error, "response")
    if isinstance(answer, Mapping):
        return answer.get("Error")
    for owner in (error, answer):
        for name in ("body", "details", "content", "text"):
            said = _attribute(owner, name)
            if said and isinstance(said, Mapping | list | str | bytes):
                return _decoded(said)
    return None


def _headers_of(error: BaseException) -> Mapping[str, str]:
    answer = _attribute(error, "response")
    if isinstance(answer, Mapping):
        return _lower(_metadata(answer).get("HTTPHeaders") or {})
    for owner in (answer, error):
        found = _attribute(owner, "headers")
        if found is not None and hasattr(found, "items"):
            return _lower(found)
    return {}


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers by their names in lower case."""
    return {str(name).lower(): str(value) for name, value in headers.items()}


def _decoded(body: Any) -> Any:
    if not isinstance(body, str | bytes):
        return body
    content = body.encode(errors="replace") if isinstance(body, str) else body
    try:
        return msgspec.json.decode(content[:_LONGEST_BODY])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return content[:_LONGEST_BODY].decode(errors="replace")


def _words(error: BaseException, secrets: tuple[str, ...]) -> str:
    """Return what an exception says; one that cannot say it has a name at least."""
    try:
        words = str(error)
    except Exception:  # noqa: BLE001 - others made it
        words = ""
    name = type(error).__name__
    return f"{name}: {clean(words, secrets)}" if words else name
