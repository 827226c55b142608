"""What a provider's answer means where it is no result: which failure it is, in which words."""

from __future__ import annotations

import datetime
import email.utils
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec import Struct

from policy_router.calls.results import Failing
from policy_router.diagnostics.model import printable
from policy_router.diagnostics.redaction import redact

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
_GOES_ON: Final = _PASSING | {Failing.PAYMENT_REQUIRED, Failing.MODEL_NOT_FOUND}
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
_VAGUE: Final = frozenset({400, 403, 429})  # under any of these, credit may be used up
_SERVER_ERRORS: Final = 500
_NO_CREDIT_CODES: Final = frozenset({"insufficient_quota", "insufficient_balance"})
_NO_CREDIT: Final = re.compile(
    r"(?i)\bcredit balance is too low\b|\binsufficient (?:account )?(?:balance|credits?|funds)\b"
)
_NO_MODEL_CODES: Final = frozenset(
    {"1211", "invalid_model", "model_decommissioned", "model_not_available", "model_not_found"}
)  # the number is Z.ai's
_NO_MODEL: Final = re.compile(
    r"(?i)(?:unknown model|model not exist|invalid model: \S+|\S+ is not a valid model(?: id)?)\W*"
)
"""The whole of what some providers say of a model that they do not know."""
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
    """

    code: Failing
    message: str
    status: int | None = None
    retry_after: float | None = None
    streamed: bool = False
    partial: str = ""

    @property
    def passes(self) -> bool:
        """Whether the same call may succeed a little later."""
        return self.code in _PASSING and not self.streamed

    @property
    def reason(self) -> str:
        """What to say it was, in a word: the status, or the code."""
        return str(self.status) if self.status else self.code.replace("_", " ")


def goes_on(failure: Failure, also: Iterable[int | None], *, is_fallback: bool) -> bool:
    """Tell whether the next target of the plan may be called.

    After a part of an answer it never may. A target that lacks its key or its endpoint counts as
    a call that was not authorized, unless it is itself only a fallback: then it is passed over.

    Args:
        failure: what happened.
        also: further statuses of this target after which one goes on.
        is_fallback: whether the target that failed is not the selected one.
    """
    if failure.streamed:
        return False
    if failure.code in UNSENT:
        return is_fallback or _UNAUTHORIZED in also
    return failure.code in _GOES_ON or failure.status in set(also)


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
    words = _message(error)
    code = _code(status, error, words[:MAX_MESSAGE], model)
    message = clean(words or f"the provider answered with status {status}", secrets)
    return Failure(code, message, status, retry_after(headers, now=now))


def _code(status: int, error: Any, words: str, model: str) -> Failing:
    """Return the class of an answer; some providers say under 400 or 429 what others do not."""
    named = _names(error)
    if status in _VAGUE and (named & _NO_CREDIT_CODES or _NO_CREDIT.search(words)):
        return Failing.PAYMENT_REQUIRED
    if status == _BAD_REQUEST and (named & _NO_MODEL_CODES or _is_about(model, words)):
        return Failing.MODEL_NOT_FOUND
    known = _BY_STATUS.get(status)
    if known is not None:
        return known
    return Failing.SERVER_ERROR if status >= _SERVER_ERRORS else Failing.HTTP_ERROR


def _is_about(model: str, words: str) -> bool:
    """Tell whether a message says that there is no such model.

    A message may repeat what was asked, so only whole messages and this model's id count.
    """
    if _NO_MODEL.fullmatch(words.partition(",")[0].strip()):
        return True
    return any(match["id"].casefold() == model.casefold() for match in _MODEL.finditer(words))


def _names(error: Any) -> frozenset[str]:
    """Return how a provider calls an error."""
    if not isinstance(error, Mapping):
        return frozenset()
    return frozenset(str(error[key]) for key in ("code", "type") if error.get(key))


def _error_in(body: Any) -> Any:
    """Return the error in a body: an object or a text, under ``error`` or by itself."""
    if isinstance(body, list | tuple) and body:
        body = body[0]
    error = body.get("error") if isinstance(body, Mapping) else None
    return error if isinstance(error, Mapping) else body


def _message(error: Any) -> str:
    """Return a provider's own words, wherever it puts them."""
    if isinstance(error, Mapping):
        found = (error.get(key) for key in ("message", "error", "detail", "title"))
        return next((text for text in found if isinstance(text, str) and text.strip()), "")
    is_text = isinstance(error, str) and not error.lstrip().startswith("<")
    return error if is_text and error.strip() else ""


def clean(text: str, secrets: Iterable[str]) -> str:
    """Return a text for a log or a person: one line, not long, no keys, no control characters."""
    text = redact(without(text, secrets)[: 10 * MAX_MESSAGE])
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


def retry_after(headers: Mapping[str, str], *, now: datetime.datetime) -> float | None:
    """Return the seconds that an answer asks to be left alone; None where it does not.

    ``Retry-After`` is a number of seconds or a date (RFC 9110, section 10.2.3); some providers
    give ``Retry-After-Ms`` too, which is more exact.
    """
    exact = _seconds(headers.get("retry-after-ms", ""))
    if exact is not None:
        return exact / 1000
    text = headers.get("retry-after", "")
    seconds = _seconds(text)
    if seconds is not None or not text:
        return seconds
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return max(0.0, (moment - now).total_seconds())


def _seconds(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None
