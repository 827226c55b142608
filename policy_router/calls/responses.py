"""What providers answer, read with care: any field may be missing or of another type.

Each API is read, whole answers and streams. What is repeated of a key is starred out, in a
stream too, where a key may come in two pieces.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Final

from policy_router.calls.answers import (
    Reading,
    Secrets,
    count,
    failure_of,
    get,
    has_too_many_parts,
    judged,
    masked,
    parsed,
    refusal_of,
    says_something,
    text_of,
    word,
)
from policy_router.calls.child_task import Reply
from policy_router.calls.dialects import MESSAGES, RESPONSES
from policy_router.calls.failing import Failing
from policy_router.calls.failures import Failure
from policy_router.calls.messages import MessageReading, read_message

_ASKS: Final = frozenset(
    {
        "apply_patch_call",
        "computer_call",
        "custom_tool_call",
        "function_call",
        "local_shell_call",
        "mcp_approval_request",
        "shell_call",
    }
)
"""What the Responses API calls an item that somebody else than the provider is to act on."""


def read_answer(
    api: str, content: bytes | bytearray, secrets: Secrets, *, model: str, now: datetime.datetime
) -> Reply | Failure:
    """Read a whole answer.

    Args:
        api: the API it comes from.
        content: its body.
        secrets: what must not be repeated.
        model: the model that was called.
        now: the time.
    """
    if has_too_many_parts(content):
        return Failure(Failing.ANSWER_TOO_LARGE, "the provider's answer has too many parts", 200)
    try:
        answer = parsed(content)
    except (ValueError, RecursionError):
        return Failure(Failing.BAD_RESPONSE, "the provider's answer is not JSON", 200)
    error = get(answer, "error")
    if isinstance(error, Mapping | str) and error:
        return failure_of(error, secrets, model=model, now=now)
    if api == MESSAGES:
        return read_message(answer, secrets)
    if api == RESPONSES:
        return _read_response(answer, secrets)
    return _read_completion(answer, secrets, model=model, now=now)


def _read_completion(
    answer: Any, secrets: Secrets, *, model: str, now: datetime.datetime
) -> Reply | Failure:
    choice = get(answer, "choices", 0)
    if isinstance(get(choice, "error"), Mapping):
        return failure_of(choice["error"], secrets, model=model, now=now)
    message = get(choice, "message")
    if not isinstance(message, Mapping):
        return Failure(Failing.BAD_RESPONSE, "the provider's answer has no message", 200)
    content, refusal = get(message, "content"), get(message, "refusal")
    reply = Reply(
        text=masked(text_of(content), secrets),
        served_model=word(get(answer, "model"), secrets),
        finish_reason=word(get(choice, "finish_reason"), secrets),
        **_chat_usage(get(answer, "usage")),
    )
    return judged(
        reply,
        secrets,
        refusal=refusal if isinstance(refusal, str) else refusal_of(content),
        asks_tool=_asks_tool(message),
    )


def _asks_tool(message: Any) -> bool:
    """Tell whether a message, or a piece of one, asks for a tool."""
    calls, call = get(message, "tool_calls"), get(message, "function_call")
    return (isinstance(calls, list) and bool(calls)) or (isinstance(call, Mapping) and bool(call))


def _chat_usage(usage: Any) -> dict[str, Any]:
    """Return the counts of a completion; the last names are DeepSeek's and Moonshot's."""
    return {
        "input_tokens": count(get(usage, "prompt_tokens")),
        "output_tokens": count(get(usage, "completion_tokens")),
        "cached_tokens": count(
            get(usage, "prompt_tokens_details", "cached_tokens"),
            get(usage, "cache_read_input_tokens"),
            get(usage, "prompt_cache_hit_tokens"),
            get(usage, "cached_tokens"),
        ),
    }


def _response_usage(usage: Any) -> dict[str, Any]:
    return {
        "input_tokens": count(get(usage, "input_tokens")),
        "output_tokens": count(get(usage, "output_tokens")),
        "cached_tokens": count(get(usage, "input_tokens_details", "cached_tokens")),
    }


def _read_response(answer: Any, secrets: Secrets) -> Reply | Failure:
    output = get(answer, "output")
    if not isinstance(output, list) or get(answer, "status") == "failed":
        return Failure(Failing.BAD_RESPONSE, "the provider's answer has no output", 200)
    contents = [get(item, "content") for item in output if get(item, "type") == "message"]
    texts = [text for content in contents if (text := text_of(content)) is not None]
    reply = Reply(
        text=masked("".join(texts), secrets) if texts else None,
        served_model=word(get(answer, "model"), secrets),
        finish_reason=word(
            get(answer, "incomplete_details", "reason") or get(answer, "status"), secrets
        ),
        **_response_usage(get(answer, "usage")),
    )
    return judged(
        reply,
        secrets,
        refusal="".join(map(refusal_of, contents)),
        asks_tool=any(str(get(item, "type")) in _ASKS for item in output),
    )


class ChatReading(Reading):
    """A stream of the Chat Completions API."""

    def take(self, event: Any, now: datetime.datetime) -> str:
        """Keep what an event says, and return the text that is in it."""
        choice = get(event, "choices", 0)
        error = get(event, "error") or get(choice, "error")
        if error:
            self.failure = failure_of(error, self.secrets, model=self.model, now=now)
        delta = get(choice, "delta")
        self.has_news = says_something(delta)
        self.asks_tool = self.asks_tool or _asks_tool(delta)
        self.refuse(get(delta, "refusal"))
        usage = get(event, "usage")
        self.know(
            served_model=word(get(event, "model"), self.secrets),
            finish_reason=word(get(choice, "finish_reason"), self.secrets),
            **(_chat_usage(usage) if usage else {}),
        )
        return text_of(get(delta, "content")) or ""


class ResponseReading(Reading):
    """A stream of the Responses API."""

    def take(self, event: Any, now: datetime.datetime) -> str:
        """Keep what an event says, and return the text that is in it."""
        kind = get(event, "type")
        self.has_news = says_something(get(event, "delta"))
        if kind == "response.output_text.delta":
            return text_of(get(event, "delta")) or ""
        if kind == "response.refusal.delta":
            self.refuse(get(event, "delta"))
        elif kind == "response.output_item.done":
            self.asks_tool = self.asks_tool or str(get(event, "item", "type")) in _ASKS
        response = get(event, "response")
        if kind == "error":
            error = get(event, "error") or event
            self.failure = failure_of(error, self.secrets, model=self.model, now=now)
        elif kind == "response.failed":
            error = get(response, "error")
            self.failure = failure_of(error, self.secrets, model=self.model, now=now)
        self.is_finished = kind in ("response.completed", "response.incomplete")
        reason = get(response, "incomplete_details", "reason") or get(response, "status")
        self.know(
            served_model=word(get(response, "model"), self.secrets),
            finish_reason=word(reason, self.secrets) if self.is_finished else None,
            **_response_usage(get(response, "usage")),
        )
        return ""


def reading_of(api: str, secrets: Secrets, model: str) -> Reading:
    """Begin to read a stream of an API."""
    kinds = {RESPONSES: ResponseReading, MESSAGES: MessageReading}
    return kinds.get(api, ChatReading)(secrets, model)
