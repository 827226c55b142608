"""The content of an answer in any API: its text, its token counts, and what they mean."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from policy_router.calls.child_task import Reply
from policy_router.calls.failing import Failing
from policy_router.calls.failures import (
    Failure,
    begun,
    clean,
    of_status,
    sound,
    without,
)
from policy_router.calls.meanings import FINISHES

Secrets = tuple[str, ...]
"""Keys that must not be repeated, longest first."""

MOST_TOKENS: Final = 1_000_000_000
"""A count of tokens above this is taken for this: no model reads or writes as many."""

_STATUS_OF_CODE: Final = {
    "api_error": 500,
    "authentication_error": 401,
    "billing_error": 402,
    "insufficient_quota": 429,
    "invalid_request_error": 400,
    "not_found_error": 404,
    "overloaded_error": 529,
    "permission_error": 403,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "request_too_large": 413,
    "server_error": 500,
    "timeout_error": 504,
}
"""What the Responses API (`code`) and the Messages API (`type`) call a failure, as its status."""

_MOST_PARTS: Final = 1_000_000
_PARTS: Final = (b",", b"[", b"{")
_DEEPEST: Final = 8
_LONGEST_NUMBER: Final = 30
_LABELS: Final = frozenset({"role", "type", "id", "object", "format"})


# JSON.


def parsed(content: bytes | bytearray) -> Any:
    """Return JSON as plain data.

    Raises:
        ValueError: it is not JSON.
        RecursionError: it is nested too deep.
    """
    try:
        return msgspec.json.decode(content)
    except msgspec.ValidationError:  # a number that no machine has
        return json.loads(content, parse_int=_number)
    except msgspec.DecodeError as error:
        if b"\\ud" not in content and b"\\uD" not in content:
            raise ValueError from error
    return json.loads(content)  # with half a character


def _number(digits: str) -> int:
    return int(digits[:_LONGEST_NUMBER])


def has_too_many_parts(content: bytes | bytearray) -> bool:
    """Tell whether JSON would take far more memory than it has bytes.

    A list in a list takes sixty bytes and more for two. No answer of a model has as many parts.
    """
    return sum(map(content.count, _PARTS)) > _MOST_PARTS


def get(node: Any, *path: str | int) -> Any:
    """Return what is at a path of plain data; None where nothing is."""
    for part in path:
        if isinstance(part, int):
            is_there = isinstance(node, list) and part < len(node)
            node = node[part] if is_there else None
        else:
            node = node.get(part) if isinstance(node, dict) else None
    return node


# Words and counts.


def text_of(content: Any) -> str | None:
    """Return the text of a message: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    parts = [get(part, "text") for part in content if "text" in str(get(part, "type"))]
    return "".join(part for part in parts if isinstance(part, str))


def refusal_of(content: Any) -> str:
    """Return what the parts of a message say of a refusal."""
    parts = content if isinstance(content, list) else []
    words = [get(part, "refusal") for part in parts if get(part, "type") == "refusal"]
    return "".join(word for word in words if isinstance(word, str))


def masked(text: str | None, secrets: Secrets) -> str | None:
    """Return a text with stars in place of keys."""
    return None if text is None else without(sound(text), secrets)


def word(value: Any, secrets: Secrets) -> str | None:
    """Return a name that a provider gives; None where it gives none."""
    return without(sound(value), secrets)[:200] if isinstance(value, str) and value else None


def count(*values: Any) -> int | None:
    """Return the first of some counts of tokens that is one, and no larger than any can be."""
    for value in values:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return min(value, MOST_TOKENS)
    return None


def says_something(value: Any, depth: int = _DEEPEST) -> bool:
    """Tell whether a piece of an answer brings anything; its labels alone do not."""
    if isinstance(value, str):
        return bool(value)
    if depth == 0:
        return False
    if isinstance(value, dict):
        value = [part for key, part in value.items() if key not in _LABELS]
    return isinstance(value, list) and any(says_something(part, depth - 1) for part in value)


# Failures that an answer tells of.


def body_of(content: bytes | bytearray) -> Any:
    """Return the JSON in a body; its text, where it is none."""
    try:
        return parsed(content)
    except (ValueError, RecursionError):
        return content.decode("utf-8", "replace")


def failure_of(error: Any, secrets: Secrets, *, model: str, now: datetime.datetime) -> Failure:
    """Return the failure that an answer tells of under a status of success, or in a stream."""
    if not isinstance(error, Mapping | str):
        error = {key: get(error, key) for key in ("code", "message", "type")}
    return of_status(_status_of(error), error, {}, secrets, model=model, now=now)


def _status_of(error: Any) -> int:
    for name in (get(error, "code"), get(error, "type")):
        status = name
        if isinstance(name, str):
            is_status = name.isdecimal() and name.isascii() and len(name) == 3  # noqa: PLR2004 - digits
            status = int(name) if is_status else _STATUS_OF_CODE.get(name)
        if type(status) is int and 400 <= status < 600:  # noqa: PLR2004 - statuses
            return status
    return 500


def judged(
    reply: Reply, secrets: Secrets, *, refusal: str = "", asks_tool: bool = False
) -> Reply | Failure:
    """Return an answer, or the failure that it is.

    Args:
        reply: what it says.
        secrets: what must not be repeated.
        refusal: the words of a refusal.
        asks_tool: whether it asks for a tool.
    """
    if reply.cached_tokens is not None and reply.input_tokens is not None:
        cached = min(reply.cached_tokens, reply.input_tokens)
        reply = replace(reply, cached_tokens=cached)
    reason = reply.finish_reason or ""
    code = FINISHES.get(reason.casefold())
    has_text = bool(reply.text and reply.text.strip())
    if refusal.strip():
        code = Failing.REFUSED_BY_MODEL
    elif asks_tool and code is None:
        code = Failing.WANTS_TOOL
    elif code is Failing.CONTEXT_OVERFLOW and has_text:
        code = None  # it is cut short, as by its most tokens
    elif code is None and not has_text:
        code = Failing.EMPTY_ANSWER
    if code is None:
        return reply
    because = f" (finish reason {reason})" if reason else ""
    words = clean(refusal, secrets) if refusal.strip() else f"{_MESSAGES[code]}{because}"
    return Failure(code, words, 200, partial=reply.text or "", answer=reply)


_MESSAGES: Final = {
    Failing.CONTENT_FILTERED: "the provider's filter kept the answer back",
    Failing.CONTEXT_OVERFLOW: "the input leaves no place for an answer in the context window",
    Failing.EMPTY_ANSWER: "the answer has neither text nor a tool call",
    Failing.REFUSED_BY_MODEL: "the model refuses the task",
    Failing.SERVER_ERROR: "the provider could not finish the answer",
    Failing.WANTS_TOOL: "the answer asks for a tool, which this child does not have",
}


# Streams.


class Reading:
    """A stream, as far as it has come.

    Attributes:
        has_text: whether a part of the text was told.
        has_news: whether the last event brought anything.
        is_finished: whether the answer is complete, whatever else may come.
        failure: what ended it too early, or None.
        secrets: what must not be repeated.
        model: the model that was called.
        reply: what is known of the answer, but for its text.
        refusal: the words of a refusal.
        asks_tool: whether it asks for a tool.
    """

    def __init__(self, secrets: Secrets, model: str) -> None:
        """Begin with nothing."""
        self.has_text = self.has_news = self.asks_tool = self.is_finished = False
        self.failure: Failure | None = None
        self.secrets, self.model, self.refusal = secrets, model, ""
        self.reply = Reply()
        self._held = ""
        self._texts: list[str] = []

    def pieces(self, event: Any, *, now: datetime.datetime) -> Iterable[str]:
        """Take an event in, and return what it adds to the text."""
        self.has_news = False
        return self._released(self.take(event, now))

    @property
    def is_holding(self) -> bool:
        """Whether some of the text is held back, since it may begin a key."""
        return bool(self._held)

    def rest(self) -> Iterable[str]:
        """Return what is still held back of the text."""
        held, self._held = self._held, ""
        return self._released("", last=held)

    def take(self, event: Any, now: datetime.datetime) -> str:
        """Keep what an event says, and return the text that is in it."""
        raise NotImplementedError

    def outcome(self) -> Reply | Failure:
        """Return the answer, or why there is none."""
        if self.failure is not None and self.failure.code is Failing.ANSWER_TOO_LARGE:
            self._texts = []  # nobody wants so much of what is no answer
        self._texts = ["".join(self._texts)]
        text, failure = self._texts[0], self.failure
        if failure is None and self.reply.finish_reason is None and not self.is_finished:
            failure = Failure(Failing.CONNECTION_FAILED, "the stream ended before the answer did")
        if failure is None:
            made = judged(
                replace(self.reply, text=text),
                self.secrets,
                refusal=self.refusal,
                asks_tool=self.asks_tool,
            )
            if isinstance(made, Failure) and self.has_text:
                return replace(made, streamed=True)
            return made
        if not self.has_text:
            return failure
        # What the answer may have taken too long for is told as such; all else broke it.
        code = failure.code if failure.code in _OURS else Failing.STREAM_BROKEN
        return replace(failure, code=code, streamed=True, partial=text)

    def know(self, **found: Any) -> None:
        """Keep what is known now; what is not said again stays."""
        known = {
            key: value
            for key, value in found.items()
            if value is not None and value != getattr(self.reply, key)
        }
        if known:
            self.has_news = True
            self.reply = replace(self.reply, **known)

    def refuse(self, words: Any) -> None:
        """Keep a piece of a refusal."""
        if isinstance(words, str):
            self.refusal += words

    def warn(self, message: str) -> None:
        """Keep a warning for the answer."""
        self.reply = replace(self.reply, warnings=(*self.reply.warnings, message))

    def _released(self, text: str, last: str = "") -> Iterable[str]:
        """Star out keys, and hold back what may be the beginning of one."""
        text = self._held + text
        place = self._certain(text)
        self._held = text[place:]
        released = sound(_complete(text[:place], self.secrets) + without(last, self.secrets))
        if released:
            self.has_text = self.has_news = True
            self._texts.append(released)
            yield released

    def _certain(self, text: str) -> int:
        """Return how much of a text is certain: before what may begin a key, in no key's midst."""
        place = len(text) - max((begun(text, secret) for secret in self.secrets), default=0)
        if text and "\ud800" <= text[place - 1 : place] <= "\udbff":
            place -= 1  # the first half of a character
        moved = place < len(text)
        while moved:
            moved = False
            for secret in self.secrets:
                start = text.rfind(secret, 0, place + len(secret) - 1)
                if start != -1 and start < place < start + len(secret):
                    place, moved = start, True
        return place


_OURS: Final = frozenset({Failing.TIMEOUT, Failing.ANSWER_TOO_LARGE})


def _complete(text: str, secrets: Secrets) -> str:
    """Star out whole keys; what may yet become one is held back instead."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text
