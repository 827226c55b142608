"""Classifies a provider's answer that is no result: the failure and its message."""

from __future__ import annotations

import datetime
import email.utils
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from policy_router.calls.child_task import Reply
from policy_router.calls.failing import Failing
from policy_router.calls.meanings import meaning_of
from policy_router.diagnostics.model import printable
from policy_router.diagnostics.redaction import redact_words

MAX_MESSAGE: Final = 500
"""The longest message of a provider that is passed on, in characters."""

UNSENT: Final = frozenset({Failing.NO_CREDENTIAL, Failing.NO_ENDPOINT})
"""The failures of calls that were not made."""
_PASSING: Final = frozenset(
    {
        Failing.RATE_LIMITED,
        Failing.SERVER_ERROR,
        Failing.CONNECTION_FAILED,
        Failing.TIMEOUT,
    }
)
_GOES_ON: Final = _PASSING | {
    Failing.PAYMENT_REQUIRED,
    Failing.MODEL_NOT_FOUND,
    Failing.EMPTY_ANSWER,
    Failing.BAD_RESPONSE,
    Failing.CONTEXT_OVERFLOW,
}
_BY_STATUS: Final = {
    400: Failing.BAD_REQUEST,
    401: Failing.UNAUTHORIZED,
    402: Failing.PAYMENT_REQUIRED,
    404: Failing.MODEL_NOT_FOUND,
    408: Failing.TIMEOUT,
    429: Failing.RATE_LIMITED,
}
_BAD_REQUEST: Final = 400
_UNAUTHORIZED: Final = 401
_MOST_DETAILS: Final = 3
_CERTAIN: Final = frozenset({401, 402, 404, 408})  # under these, the status alone tells
_SERVER_ERRORS: Final = 500
_LONGEST_WAIT: Final = 1e9
_SECONDS: Final = re.compile(r"[0-9]+")
_DATE: Final = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)(?:, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT"
    r"|[a-z]*, [0-9]{2}-[A-Z][a-z]{2}-[0-9]{2} [0-9:]{8} GMT"
    r"| [A-Z][a-z]{2} [0-9 ][0-9] [0-9:]{8} [0-9]{4})"
)
"""The three forms of a date in HTTP (RFC 9110, section 5.6.7)."""
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]{1,9})?)s")
"""How Google writes seconds (protobuf's JSON form of a duration)."""
_MODEL: Final = re.compile(
    r"(?i)\bmodel\W{1,3}(?P<id>\S+?)\W{1,3}(?:does not exist|(?:was |is )?not found)\b"
)
"""What others say, in the midst of more: it counts where the id is that of the model called."""
_HELD: Final = 8
"""So many characters of a key, at the end of a text that was cut, are starred out."""


class Failure(Struct, frozen=True):
    """Why a model call failed.

    Attributes:
        code: the class of failure.
        message: the provider's words or ours, on one line, without keys.
        status: the HTTP status, where there was an answer.
        retry_after: seconds that the provider asks to be left alone, if it does.
        streamed: whether a part of the answer had arrived already.
        partial: that part.
        answer: what the answer says that is no result, such as its tokens, which were paid.
    """

    code: Failing
    message: str
    status: int | None = None
    retry_after: float | None = None
    streamed: bool = False
    partial: str = ""
    answer: Reply | None = None

    @property
    def passes(self) -> bool:
        """Whether the same call may succeed a little later."""
        return self.code in _PASSING and not self.streamed

    @property
    def reason(self) -> str:
        """What to say it was, in a word: the status, or the code."""
        return str(self.status) if self.status else self.code.replace("_", " ")


def goes_on(failure: Failure, rules: Iterable[int | str], *, is_fallback: bool) -> bool:
    """Tell whether the next target of the plan may be called.

    After a part of an answer it never may. A target that lacks its key or its endpoint counts as
    a call that was not authorized, unless it is itself only a fallback: then it is passed over.

    Args:
        failure: what happened.
        rules: what this target says of failures: statuses and codes after which one goes on too,
            and, with a ``-`` before them, those after which one does not.
        is_fallback: whether the target that failed is not the selected one.
    """
    said = {str(rule) for rule in rules}
    names = {str(failure.code), str(failure.status)}
    if failure.streamed or any(f"-{name}" in said for name in names):
        return False
    if failure.code in UNSENT and (is_fallback or str(_UNAUTHORIZED) in said):
        return True
    code = failure.code
    if code is Failing.ANSWER_TOO_LARGE and failure.status is not None:
        code = _code(failure.status, None, "", "")  # what the status alone tells of
    return code in _GOES_ON or not names.isdisjoint(said)


def may_hold(window: int | None, overflowed: int | None) -> bool:
    """Tell whether a target may take an input that was too long for another one.

    Args:
        window: its context window, in tokens; None is unknown.
        overflowed: the window for which the input was too long; None is unknown.
    """
    return window is None or overflowed is None or window > overflowed


def of_status(
    status: int,
    body: Any,
    headers: Mapping[str, str],
    secrets: Iterable[str],
    *,
    model: str,
    now: datetime.datetime,
) -> Failure:
    """Return the failure that an answer of a status tells of.

    Args:
        status: the HTTP status, no success.
        body: the decoded body, if it could be decoded.
        headers: the answer's headers, by lower-case name.
        secrets: what must not be repeated.
        model: the model that was called.
        now: the time, which a ``Retry-After`` may count from.
    """
    error = _error_in(body)
    words, hidden = _message(error), _passed_on(error)
    names = _names(error, headers)
    found = meaning_of(status, names, words[:MAX_MESSAGE], model=model, hidden=hidden[:MAX_MESSAGE])
    code = _code(status, found, words[:MAX_MESSAGE], model)
    told = f"{words}: {hidden}" if words and hidden and hidden not in words else words or hidden
    message = clean(told or f"the provider answered with status {status}", secrets)
    return Failure(code, message, status, retry_after(headers, error, now=now))


def _code(status: int, found: Failing | None, words: str, model: str) -> Failing:
    """Return the class of an answer, from what the table found and from its status."""
    if found is not None and (status not in _CERTAIN or found is Failing.CONTEXT_OVERFLOW):
        return found
    if status == _BAD_REQUEST and _is_about(model, words):
        return Failing.MODEL_NOT_FOUND
    known = _BY_STATUS.get(status)
    if known is not None:
        return known
    return Failing.SERVER_ERROR if status >= _SERVER_ERRORS else Failing.HTTP_ERROR


def _is_about(model: str, words: str) -> bool:
    """Tell whether a message says that there is no such model as the one that was called."""
    return any(match["id"].casefold() == model.casefold() for match in _MODEL.finditer(words))


def _names(error: Any, headers: Mapping[str, str]) -> frozenset[str]:
    """Return how a provider calls an error; Bedrock does in a header, Azure further in, too."""
    found: list[Any] = [headers.get("x-amzn-errortype", "").partition(":")[0]]
    for place in (error, _at(error, "innererror")):
        if isinstance(place, Mapping):
            found += [place.get(key) for key in ("code", "type", "status", "__type")]
    return frozenset(str(name).casefold() for name in found if name)


def _at(node: Any, key: str) -> Any:
    return node.get(key) if isinstance(node, Mapping) else None


def _error_in(body: Any) -> Any:
    """Return the error in a body: an object or a text, under ``error`` or by itself."""
    if isinstance(body, list | tuple) and body:
        body = body[0]
    for key in ("error", "detail"):
        error = _at(body, key)
        if isinstance(error, Mapping):
            return error
    return body


def _message(error: Any) -> str:
    """Return a provider's own words, wherever it puts them."""
    if isinstance(error, Mapping):
        found = [error.get(key) for key in ("message", "Message", "error", "detail", "title")]
        texts = (it if isinstance(it, str) else _listed(it) for it in found)
        return next((text for text in texts if text.strip()), "")
    is_text = isinstance(error, str) and not error.lstrip().startswith("<")
    return error if is_text and error.strip() else ""


def _listed(details: Any) -> str:
    """Return the words of a list of problems, each with its place, as FastAPI gives them."""
    rows = details[:_MOST_DETAILS] if isinstance(details, list) else []
    texts = []
    for row in rows:
        words, place = _at(row, "msg"), _at(row, "loc")
        if isinstance(words, str):
            parts = place if isinstance(place, list) else []
            where = ".".join(str(part) for part in parts if isinstance(part, str | int))
            texts.append(f"{where}: {words}" if where else words)
    return "; ".join(texts)


def _passed_on(error: Any) -> str:
    """Return what the provider behind another one said (OpenRouter, ``metadata.raw``)."""
    raw = _at(_at(error, "metadata"), "raw")
    if not isinstance(raw, str):
        return ""
    try:
        return _message(_error_in(msgspec.json.decode(raw)))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _message(raw)


def clean(text: str, secrets: Iterable[str]) -> str:
    """Return a text for a log or a person: one line, not long, no keys, no control characters."""
    text = redact_words(without(text, secrets)[: 10 * MAX_MESSAGE])
    line = printable(" ".join(text.split()))
    return line if len(line) <= MAX_MESSAGE else f"{line[:MAX_MESSAGE]}..."


def without(text: str, secrets: Iterable[str]) -> str:
    """Return a text with stars in place of the keys that it repeats, or ends in the midst of."""
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, "***")
        held = begun(text, secret)
        if held >= _HELD:
            text = f"{text[:-held]}***"
    return text


def begun(text: str, secret: str) -> int:
    """Return how many of a text's last characters a secret may begin with."""
    longest = min(len(text), len(secret) - 1)
    if longest < 1 or secret[0] not in text[-longest:]:
        return 0
    return next((size for size in range(longest, 0, -1) if secret.startswith(text[-size:])), 0)


def sound(text: str) -> str:
    """Return a text that is Unicode: halves of characters are joined, or replaced."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def retry_after(
    headers: Mapping[str, str], error: Any = None, *, now: datetime.datetime
) -> float | None:
    """Return the seconds that an answer asks to be left alone; None where it does not.

    ``Retry-After`` is a number of whole seconds or a date (RFC 9110, section 10.2.3); anything else
    in it counts for nothing. Some providers give ``Retry-After-Ms`` too, which is more exact, and
    Google gives ``retryDelay`` among the details of its error.

    Args:
        headers: the answer's headers, by lower-case name.
        error: the error in its body.
        now: the time, which a date counts from.
    """
    exact = headers.get("retry-after-ms", "").strip()
    if _SECONDS.fullmatch(exact):
        return min(float(exact), _LONGEST_WAIT) / 1000
    text = headers.get("retry-after", "").strip(" \t")
    if _SECONDS.fullmatch(text):
        return min(float(text), _LONGEST_WAIT)
    return _until_date(text, now) if _DATE.fullmatch(text) else _delay_in(error)


def _until_date(text: str, now: datetime.datetime) -> float | None:
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return max(0.0, (moment - now).total_seconds())


def _delay_in(error: Any) -> float | None:
    details = _at(error, "details")
    for detail in details if isinstance(details, list) else ():
        found = _DURATION.fullmatch(str(_at(detail, "retryDelay")))
        if found:
            return min(float(found[1]), _LONGEST_WAIT)
    return None
