"""One call of Chat Completions at a leg, streamed, for a host that reads answers as the SDK's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from types import SimpleNamespace
from typing import Any, Final

from policy_router.calls.dialects import CHAT, system_role
from policy_router.calls.legs import Leg
from policy_router.calls.network import waits_until

TAKEN: Final = (
    "messages",
    "parallel_tool_calls",
    "response_format",
    "stop",
    "tool_choice",
    "tools",
)
"""What a call takes from the host's request; all else is decided."""

_SYSTEM: Final = frozenset({"developer", "system"})
_TEXTS: Final = ("content", "reasoning_content", "refusal")
_IDLE_SECONDS: Final = 600.0


class OtherApiError(Exception):
    """The leg speaks another API than Chat Completions."""


def call(
    leg: Leg,
    request: Mapping[str, Any],
    on_text: Callable[[str], None] = lambda _: None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> SimpleNamespace | None:
    """Make a call, and return the answer in the form of the SDK's; needs the extra ``run``.

    Args:
        leg: where the call goes, with which key and parameters.
        request: the host's own request; its messages and tools are taken, and nothing else.
        on_text: is given each piece of the text.
        is_stopped: tells, after each piece, whether the answer is still wanted.

    Returns:
        The answer; None if it was stopped.

    Raises:
        OtherApiError: the leg speaks another API.
    """
    from policy_router.calls.exchange import connect  # noqa: PLC0415 - an extra
    from policy_router.calls.sdk import client_over  # noqa: PLC0415 - as above

    if leg.api != CHAT:
        raise OtherApiError(f"{leg.model} speaks `{leg.api}`, and this host `{CHAT}`")
    limits, began = leg.limits, time.monotonic()
    end = began + limits.total if limits.total else float("inf")
    first = min(end, began + limits.first_byte) if limits.first_byte else end
    answer = _Answer()
    with closing(connect(leg.endpoint, limits.idle or _IDLE_SECONDS)) as connection:
        with waits_until(first):
            sent = client_over(connection).chat.completions.create(
                **_body(leg, request), extra_headers=leg.wire.headers
            )
        with closing(sent):
            for chunk in _each(iter(sent), end, limits.idle):
                answer.take(chunk, on_text)
                if is_stopped():
                    return None
    return answer.whole()


def _each(chunks: Iterator[Any], end: float, idle: float | None) -> Iterator[Any]:
    """Yield the events of a stream; each has to come in time."""
    while True:
        with waits_until(min(end, time.monotonic() + idle) if idle else end):
            chunk = next(chunks, None)
        if chunk is None:
            return
        yield chunk


def _body(leg: Leg, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body: the host's conversation, the model and the parameters that were decided."""
    body = {key: request[key] for key in TAKEN if request.get(key) is not None}
    role = system_role(leg.target, leg.dialect)
    body["messages"] = [
        {**message, "role": role} if message.get("role") in _SYSTEM else message
        for message in body.get("messages", ())
    ]
    if "stream_options" not in leg.dialect.unsupported:
        body["stream_options"] = {"include_usage": True}
    return {**body, "model": leg.model, "extra_body": leg.parameters, "stream": True}


class _Answer:
    """An answer as it arrives."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {name: [] for name in _TEXTS}
        self._calls: dict[int, SimpleNamespace] = {}
        self._model: str | None = None
        self._reason: str | None = None
        self._usage: Any = None

    def take(self, chunk: Any, on_text: Callable[[str], None]) -> None:
        """Take in an event."""
        self._model = chunk.model or self._model
        self._usage = chunk.usage or self._usage
        for choice in (chunk.choices or ())[:1]:
            self._reason = choice.finish_reason or self._reason
            for name in _TEXTS:
                if text := getattr(choice.delta, name, None):
                    self._texts[name].append(text)
            if choice.delta and choice.delta.content:
                on_text(choice.delta.content)
            for piece in getattr(choice.delta, "tool_calls", None) or ():
                self._take_tool(piece)

    def _take_tool(self, piece: Any) -> None:
        empty = SimpleNamespace(name="", arguments="")
        call = self._calls.setdefault(
            piece.index, SimpleNamespace(id="", type="function", function=empty)
        )
        call.id = piece.id or call.id
        if piece.function:
            call.function.name += piece.function.name or ""
            call.function.arguments += piece.function.arguments or ""

    def whole(self) -> SimpleNamespace:
        """Return the answer.

        Raises:
            ConnectionError: the stream has ended without an answer.
        """
        if self._reason is None:
            raise ConnectionError("the stream ended without a reason why the answer stopped")
        texts = {name: "".join(pieces) or None for name, pieces in self._texts.items()}
        calls = [call for _, call in sorted(self._calls.items())] or None
        return answer_of(self._model or "", self._reason, self._usage, tool_calls=calls, **texts)


def answer_of(model: str, reason: str, usage: Any = None, **message: Any) -> SimpleNamespace:
    """Return an answer in the form of the SDK's.

    Args:
        model: the model that is said to have answered.
        reason: why it stopped.
        usage: the tokens, as the provider counts them; None is not known.
        message: the fields of its message.
    """
    fields = {"content": None, "tool_calls": None, "reasoning_content": None, **message}
    said = SimpleNamespace(role="assistant", **fields)
    choice = SimpleNamespace(index=0, message=said, finish_reason=reason)
    return SimpleNamespace(
        id="policy-router", object="chat.completion", model=model, choices=[choice], usage=usage
    )
