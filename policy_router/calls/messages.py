"""The Messages API of Anthropic: how it is asked, and how its answers are read.

Sources: its API reference (platform.claude.com/docs/en/api/messages, /messages-streaming, /errors).
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from policy_router.calls.answers import (
    Reading,
    Secrets,
    count,
    failure_of,
    get,
    judged,
    masked,
    says_something,
    text_of,
    word,
)
from policy_router.calls.failures import Failure
from policy_router.calls.results import Failing, Reply


def read_message(answer: Any, secrets: Secrets) -> Reply | Failure:
    """Read a whole answer."""
    content = get(answer, "content")
    if not isinstance(content, list):
        return Failure(Failing.BAD_RESPONSE, "the provider's answer has no content", 200)
    reply = Reply(
        text=masked(text_of(content), secrets),
        served_model=word(get(answer, "model"), secrets),
        finish_reason=word(get(answer, "stop_reason"), secrets),
        **usage_of(get(answer, "usage")),
    )
    return judged(
        reply, secrets, asks_tool=any(get(part, "type") == "tool_use" for part in content)
    )


def usage_of(usage: Any) -> dict[str, Any]:
    """Return the counts of a message; its input is what was read, from the cache or not."""
    new = count(get(usage, "input_tokens"))
    read = count(get(usage, "cache_read_input_tokens"))
    written = count(get(usage, "cache_creation_input_tokens"))
    whole = None if new is None else count(new + (read or 0) + (written or 0))
    output = count(get(usage, "output_tokens"))
    return {"input_tokens": whole, "output_tokens": output, "cached_tokens": read}


class MessageReading(Reading):
    """A stream of the Messages API."""

    def __init__(self, secrets: Secrets, model: str) -> None:
        """Begin with nothing."""
        super().__init__(secrets, model)
        self._usage: dict[str, Any] = {}

    def take(self, event: Any, now: datetime.datetime) -> str:
        """Keep what an event says, and return the text that is in it."""
        kind, delta = get(event, "type"), get(event, "delta")
        block = get(event, "content_block")
        self.has_news = says_something(delta) or says_something(block)
        if kind == "error" or get(event, "error"):
            error = get(event, "error") or event
            self.failure = failure_of(error, self.secrets, model=self.model, now=now)
        self.asks_tool = self.asks_tool or get(block, "type") == "tool_use"
        self.is_finished = kind == "message_stop"
        usage = get(event, "message", "usage") if kind == "message_start" else get(event, "usage")
        if isinstance(usage, Mapping):
            self._usage |= {key: value for key, value in usage.items() if value is not None}
        self.know(
            served_model=word(get(event, "message", "model"), self.secrets),
            finish_reason=word(get(delta, "stop_reason"), self.secrets),
            **usage_of(self._usage),
        )
        return _text_in(block) if kind == "content_block_start" else _text_in(delta)


def _text_in(part: Any) -> str:
    is_text = get(part, "type") in ("text", "text_delta")
    return (text_of(get(part, "text")) or "") if is_text else ""
