"""What providers answer, read with care: any field may be missing or of another type.

Both APIs are read, whole answers and streams. What is repeated of a key is starred out, in a
stream too, where a key may come in two pieces.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from policy_router.calls.dialects import RESPONSES
from policy_router.calls.failures import Failure, begun, of_status, sound, without
from policy_router.calls.results import Failing, Reply

Secrets = tuple[str, ...]
"""Keys that must not be repeated, longest first."""

_STATUS_OF_CODE = {"rate_limit_exceeded": 429, "server_error": 500}
"""What the Responses API calls a failure in an answer, as the status it would have been."""


def read_answer(
    api: str, content: bytes, secrets: Secrets, *, model: str, now: datetime.datetime
) -> Reply | Failure:
    """Read a whole answer.

    Args:
        api: the API it comes from.
        content: its body.
        secrets: what must not be repeated.
        model: the model that was called.
        now: the time.
    """
    try:
        answer = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return Failure(Failing.BAD_RESPONSE, "the provider's answer is not JSON", 200)
    error = get(answer, "error")
    if isinstance(error, Mapping | str) and error:
        return failure_of(error, secrets, model=model, now=now)
    if api == RESPONSES:
        return _read_response(answer, secrets)
    choice = get(answer, "choices", 0)
    if isinstance(get(choice, "error"), Mapping):
        return failure_of(choice["error"], secrets, model=model, now=now)
    message = get(choice, "message")
    if not isinstance(message, Mapping):
        return Failure(Failing.BAD_RESPONSE, "the provider's answer has no message", 200)
    return Reply(
        text=_masked(_text(get(message, "content")), secrets),
        served_model=_word(get(answer, "model"), secrets),
        finish_reason=_word(get(choice, "finish_reason"), secrets),
        input_tokens=_count(get(answer, "usage", "prompt_tokens")),
        output_tokens=_count(get(answer, "usage", "completion_tokens")),
    )


def _read_response(answer: Any, secrets: Secrets) -> Reply | Failure:
    output = get(answer, "output")
    if not isinstance(output, list) or get(answer, "status") == "failed":
        return Failure(Failing.BAD_RESPONSE, "the provider's answer has no output", 200)
    texts = [
        text
        for item in output
        if get(item, "type") == "message" and (text := _text(get(item, "content"))) is not None
    ]
    return Reply(
        text=_masked("".join(texts), secrets) if texts else None,
        served_model=_word(get(answer, "model"), secrets),
        finish_reason=_word(
            get(answer, "incomplete_details", "reason") or get(answer, "status"), secrets
        ),
        input_tokens=_count(get(answer, "usage", "input_tokens")),
        output_tokens=_count(get(answer, "usage", "output_tokens")),
    )


def body_of(content: bytes) -> Any:
    """Return the JSON in a body; its text, where it is none."""
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return content.decode("utf-8", "replace")


def failure_of(error: Any, secrets: Secrets, *, model: str, now: datetime.datetime) -> Failure:
    """Return the failure that an answer tells of under a status of success, or in a stream."""
    if not isinstance(error, Mapping | str):
        error = {key: get(error, key) for key in ("code", "message", "type")}
    code = get(error, "code")
    if isinstance(code, str):
        code = _STATUS_OF_CODE.get(code, int(code) if code.isdecimal() and len(code) == 3 else None)  # noqa: PLR2004 - digits
    status = code
    if not isinstance(status, int) or not 400 <= status < 600:  # noqa: PLR2004 - statuses
        status = 500
    return of_status(status, error, {}, secrets, model=model, now=now)


class Reading:
    """A stream, as far as it has come.

    Attributes:
        has_begun: whether anything arrived.
        failure: what ended it too early, or None.
    """

    def __init__(self, secrets: Secrets, model: str) -> None:
        """Begin with nothing."""
        self.has_begun = False
        self.failure: Failure | None = None
        self._secrets, self._model, self._held = secrets, model, ""
        self._reply = Reply()
        self._texts: list[str] = []

    def pieces(self, event: Any, *, now: datetime.datetime) -> Iterable[str]:
        """Take an event in, and return what it adds to the text."""
        self.has_begun = True
        return self._released(self._take(event, now))

    def rest(self) -> Iterable[str]:
        """Return what is still held back of the text."""
        held, self._held = self._held, ""
        return self._released("", last=held)

    def outcome(self) -> Reply | Failure:
        """Return the answer, or why there is none."""
        text = "".join(self._texts)
        if self.failure is None and self._reply.finish_reason is not None:
            return replace(self._reply, text=text)
        failure = self.failure or Failure(
            Failing.CONNECTION_FAILED, "the stream ended before the answer did"
        )
        if not self.has_begun:
            return failure
        return replace(failure, code=Failing.STREAM_BROKEN, streamed=True, partial=text)

    def _take(self, event: Any, now: datetime.datetime) -> str:
        """Keep what an event says, and return the text that is in it."""
        raise NotImplementedError

    def _know(self, **found: Any) -> None:
        """Keep what is known now; what is not said again stays."""
        known = {key: value for key, value in found.items() if value is not None}
        if known:
            self._reply = replace(self._reply, **known)

    def _released(self, text: str, last: str = "") -> Iterable[str]:
        """Star out keys, and hold back what may be the beginning of one."""
        text = self._held + text
        place = self._certain(text)
        self._held = text[place:]
        released = sound(_complete(text[:place], self._secrets) + without(last, self._secrets))
        if released:
            self._texts.append(released)
            yield released

    def _certain(self, text: str) -> int:
        """Return how much of a text is certain: before what may begin a key, in no key's midst."""
        place = len(text) - max((begun(text, secret) for secret in self._secrets), default=0)
        if text and "\ud800" <= text[place - 1 : place] <= "\udbff":
            place -= 1  # the first half of a character
        moved = place < len(text)
        while moved:
            moved = False
            for secret in self._secrets:
                start = text.rfind(secret, 0, place + len(secret) - 1)
                if start != -1 and start < place < start + len(secret):
                    place, moved = start, True
        return place


class ChatReading(Reading):
    """A stream of the Chat Completions API."""

    def _take(self, event: Any, now: datetime.datetime) -> str:
        error = get(event, "error")
        if error:
            self.failure = failure_of(error, self._secrets, model=self._model, now=now)
        choice = get(event, "choices", 0)
        self._know(
            served_model=_word(get(event, "model"), self._secrets),
            finish_reason=_word(get(choice, "finish_reason"), self._secrets),
            input_tokens=_count(get(event, "usage", "prompt_tokens")),
            output_tokens=_count(get(event, "usage", "completion_tokens")),
        )
        return _text(get(choice, "delta", "content")) or ""


class ResponseReading(Reading):
    """A stream of the Responses API."""

    def _take(self, event: Any, now: datetime.datetime) -> str:
        kind = get(event, "type")
        if kind == "response.output_text.delta":
            return _text(get(event, "delta")) or ""
        if kind == "error":
            self.failure = failure_of(event, self._secrets, model=self._model, now=now)
        elif kind == "response.failed":
            self.failure = failure_of(
                get(event, "response", "error"), self._secrets, model=self._model, now=now
            )
        response = get(event, "response")
        ended = kind in ("response.completed", "response.incomplete")
        reason = get(response, "incomplete_details", "reason") or get(response, "status")
        self._know(
            served_model=_word(get(response, "model"), self._secrets),
            finish_reason=_word(reason, self._secrets) if ended else None,
            input_tokens=_count(get(response, "usage", "input_tokens")),
            output_tokens=_count(get(response, "usage", "output_tokens")),
        )
        return ""


def reading_of(api: str, secrets: Secrets, model: str) -> Reading:
    """Begin to read a stream of an API."""
    return (ResponseReading if api == RESPONSES else ChatReading)(secrets, model)


def get(node: Any, *path: str | int) -> Any:
    """Return what is at a path of plain data or of the SDK's objects; None where nothing is."""
    for part in path:
        if isinstance(part, int):
            is_there = isinstance(node, list) and part < len(node)
            node = node[part] if is_there else None
        elif isinstance(node, Mapping):
            node = node.get(part)
        else:
            node = getattr(node, part, None)
    return node


def _text(content: Any) -> str | None:
    """Return the text of a message: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    parts = [get(part, "text") for part in content if "text" in str(get(part, "type"))]
    return "".join(part for part in parts if isinstance(part, str))


def _complete(text: str, secrets: Secrets) -> str:
    """Star out whole keys; what may yet become one is held back instead."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def _masked(text: str | None, secrets: Secrets) -> str | None:
    return None if text is None else without(sound(text), secrets)


def _word(value: Any, secrets: Secrets) -> str | None:
    return without(sound(value), secrets)[:200] if isinstance(value, str) and value else None


def _count(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_count else None
