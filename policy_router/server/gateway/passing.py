"""Events that pass through the gateway as bytes, and what the log needs of them.

Server-sent events are those of the WHATWG's standard: fields a line, an empty line at the end of
each event. Of an event only the model, the usage and the reason for its end are decoded; the rest
is never looked at.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from policy_router.calls.failures import sound

LONGEST_EVENT: Final = 32 * 1024 * 1024
"""The longest event that is read, in bytes; a longer one passes unread."""
_LONGEST_WORD: Final = 200
_MOST_TOKENS: Final = 2**53
_END: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_OVERLAP: Final = 3
_DONE: Final = b"[DONE]"
_NULL: Final = Raw(b"null")
_NOTHING: Final = frozenset({b"", b"null", b"{}", b'""', b"[]"})
_FINAL: Final = frozenset(
    {"message_stop", "response.completed", "response.failed", "response.incomplete"}
)
_ERRORS: Final = frozenset({"error", "response.failed"})
_FAULTS: Final = range(400, 600)
_SERVER_ERROR: Final = 500
_STATUSES: Final = {
    "invalid_request_error": 400,
    "overloaded_error": 529,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
}
"""What providers call an error in an answer, as the status that it would have had."""
_UNFINISHED: Final = frozenset({"in_progress", "queued"})
_ABOUT: Final = frozenset({"role", "type"})
_LIFELESS: Final = frozenset({"ping"})


class _Cached(Struct):
    cached_tokens: Any = None


class _Usage(Struct):
    """Counts, as each of the APIs calls them."""

    prompt_tokens: Any = None
    completion_tokens: Any = None
    prompt_tokens_details: _Cached | None = None
    input_tokens: Any = None
    output_tokens: Any = None
    input_tokens_details: _Cached | None = None
    cache_read_input_tokens: Any = None
    cache_creation_input_tokens: Any = None


class _Choice(Struct):
    finish_reason: Any = None
    delta: Any = None


class _Details(Struct):
    reason: Any = None


class _Answer(Struct):
    """An answer, or the part of an event that stands for one."""

    id: Any = None
    model: Any = None
    status: Any = None
    stop_reason: Any = None
    incomplete_details: _Details | None = None
    usage: _Usage | None = None
    error: Raw = _NULL


class _Event(_Answer):
    """An event of any of the APIs; a whole answer is read in the same way."""

    type: str | None = None
    choices: tuple[_Choice, ...] | UnsetType | None = UNSET
    response: _Answer | None = None
    message: Raw = _NULL
    delta: Any = None


class Seen:
    """What has been seen of an answer.

    Attributes:
        id: the id of the answer.
        model: the model that the provider says it served.
        finish_reason: why the model stopped.
        input_tokens: the tokens of the input, cached ones included.
        output_tokens: the tokens of the answer.
        cached_tokens: how many of the input came from a cache.
        error: the error that it holds, JSON.
        events: how many events were looked at.
        is_complete: whether its end has come.
        has_news: whether the last piece had more than comments and empty parts.
    """

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self.id: str | None = None
        self.model: str | None = None
        self.finish_reason: str | None = None
        self.input_tokens: int | None = None
        self.output_tokens: int | None = None
        self.cached_tokens: int | None = None
        self.error: bytes | None = None
        self.events = 0
        self.is_complete = self.has_news = False

    def take(self, content: bytes) -> bool:
        """Look at an event, or at a whole answer.

        Returns:
            Whether it has nothing but the usage of a stream of completions.
        """
        self.events += 1
        try:
            event = _EVENTS.decode(content)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            self.has_news = True
            return False
        self._know(event)
        if event.response is not None:
            self._know(event.response)
        choices = event.choices or ()
        for choice in choices:
            if choice.finish_reason is not None:
                self.finish_reason = _word(choice.finish_reason) or self.finish_reason
            self.has_news = self.has_news or _is_news(choice.delta)
        self._look_at_kind(event, content)
        self.is_complete = self.is_complete or bool(choices and self.finish_reason)
        return event.choices == () and event.usage is not None and event.type is None

    @property
    def status(self) -> int:
        """The HTTP status that the error would have had."""
        try:
            error = msgspec.json.decode(self.error or b"null")
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            error = None
        inner = error.get("error") if isinstance(error, dict) else None
        for node in (inner, error):
            if isinstance(node, dict):
                for word in (node.get("code"), node.get("type")):
                    if isinstance(word, int) and word in _FAULTS:
                        return word
                    if isinstance(word, str) and word in _STATUSES:
                        return _STATUSES[word]
        return _SERVER_ERROR

    def _look_at_kind(self, event: _Event, content: bytes) -> None:
        """Look at what events of the newer APIs are called."""
        kind = event.type
        if event.choices is UNSET:
            self.has_news = kind not in _LIFELESS and (event.delta is None or _is_news(event.delta))
        if kind == "message_start":
            self._know(_part(event.message))
        elif kind == "message_delta" and isinstance(event.delta, dict):
            self.finish_reason = _word(event.delta.get("stop_reason")) or self.finish_reason
        if kind in _ERRORS and self.error is None:
            self.error = content
        self.is_complete = self.is_complete or kind in _FINAL

    def _know(self, answer: _Answer) -> None:
        self.id = self.id or _word(answer.id)
        self.model = self.model or _word(answer.model)
        if answer.status is not None or answer.stop_reason is not None:
            status, details = _word(answer.status), answer.incomplete_details
            self.finish_reason = (
                _word(details.reason if details else None)
                or _word(answer.stop_reason)
                or (None if status in _UNFINISHED else status)
                or self.finish_reason
            )
        if bytes(answer.error) not in _NOTHING:
            self.error = bytes(answer.error)
        if answer.usage is not None:
            self._count(answer.usage)

    def _count(self, usage: _Usage) -> None:
        details = usage.prompt_tokens_details or usage.input_tokens_details or _Cached()
        cached = _number(details.cached_tokens)
        given = _number(usage.prompt_tokens)
        if given is None and (given := _number(usage.input_tokens)) is not None:
            # Anthropic counts what is in a cache apart.
            apart = [_number(it) for it in (usage.cache_read_input_tokens,)]
            apart.append(_number(usage.cache_creation_input_tokens))
            cached = cached if apart[0] is None else apart[0]
            given = min(given + sum(it or 0 for it in apart), _MOST_TOKENS)
        made = _number(usage.completion_tokens)
        made = _number(usage.output_tokens) if made is None else made
        self.input_tokens = self.input_tokens if given is None else given
        self.output_tokens = self.output_tokens if made is None else made
        self.cached_tokens = self.cached_tokens if cached is None else cached


class Events:
    """Lets events pass, each as soon as it is whole."""

    def __init__(self, seen: Seen, secrets: Collection[bytes], *, drops_usage: bool) -> None:
        """Begin.

        Args:
            seen: is told what passes.
            secrets: what no event may repeat.
            drops_usage: whether an event of nothing but usage is kept back, since nobody asked
                for it but the gateway.
        """
        self._seen, self._secrets, self._drops_usage = seen, tuple(secrets), drops_usage
        self._parts: list[bytes] = []
        self._size = 0
        self._is_unread = False

    def feed(self, piece: bytes) -> bytes:
        """Take a piece in, and return what of it may pass."""
        if self._is_unread:
            return piece
        if not self._parts and piece.endswith(b"\n\n"):  # as most do
            return self._looked(piece)
        seam = self._parts[-1][-_OVERLAP:] if self._parts else b""
        if _END.search(seam + piece) is None:
            self._parts.append(piece)
            self._size += len(piece)
            if self._size <= LONGEST_EVENT:
                return b""
            self._is_unread = True
            return self.rest()
        content = b"".join([*self._parts, piece])
        end = 0
        for found in _END.finditer(content):
            end = found.end()
        self._parts = [content[end:]] if end < len(content) else []
        self._size = len(content) - end
        return self._looked(content[:end])

    def rest(self) -> bytes:
        """Return what has not passed yet, at the end."""
        content, self._parts, self._size = b"".join(self._parts), [], 0
        return content if self._is_unread else self._looked(content)

    def _looked(self, content: bytes) -> bytes:
        """Look at whole events; return those that pass."""
        self._seen.has_news = False
        for secret in self._secrets:
            if secret in content:
                content = content.replace(secret, b"***")
        usages = [data for data in _data_of(content) if self._take(data)]
        if not usages or not self._drops_usage:
            return content
        kept = [it for it in _events_of(content) if not any(data in it for data in usages)]
        return b"".join(kept)

    def _take(self, data: bytes) -> bool:
        if data == _DONE:
            self._seen.is_complete = self._seen.has_news = True
            return False
        return self._seen.take(data)


def _events_of(content: bytes) -> Iterator[bytes]:
    start = 0
    for found in _END.finditer(content):
        yield content[start : found.end()]
        start = found.end()
    if start < len(content):
        yield content[start:]


def _data_of(content: bytes) -> Iterator[bytes]:
    for line in content.splitlines():
        if line.startswith(b"data:"):
            yield line[5:].strip()


def _is_news(delta: Any) -> bool:
    """Tell whether a part of an answer has anything in it, besides who speaks."""
    if not isinstance(delta, dict):
        return bool(delta)
    return any(value for key, value in delta.items() if key not in _ABOUT)


def _part(content: Raw) -> _Answer:
    try:
        return _ANSWERS.decode(content)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _Answer()


def _word(value: Any) -> str | None:
    return sound(value)[:_LONGEST_WORD] if isinstance(value, str) and value else None


def _number(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return min(value, _MOST_TOKENS) if is_count else None


_EVENTS: Final = msgspec.json.Decoder(_Event)
_ANSWERS: Final = msgspec.json.Decoder(_Answer)
