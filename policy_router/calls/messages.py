"""The Messages API of Anthropic: how it is asked, and how its answers are read.

Sources: its API reference (platform.claude.com/docs/en/api/messages, /messages-streaming, /errors).
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
    judged,
    masked,
    says_something,
    text_of,
    word,
)
from policy_router.calls.child_task import Reply
from policy_router.calls.failing import Failing
from policy_router.calls.failures import Failure
from policy_router.parameters import BUDGET, EFFORT

VERSION: Final = "2023-06-01"
"""The version of the API that is spoken: its header ``anthropic-version``."""
_PLACES: Final[Mapping[str, tuple[str, str]]] = {
    EFFORT: ("output_config", "effort"),
    BUDGET: ("thinking", "budget_tokens"),
}
USUAL_LENGTH: Final = 8192
"""The most tokens of an answer where a policy says nothing, since the API wants a number.

Each model that is served in 2026 takes it; a longer answer ends with ``max_tokens``.
"""
_CACHED: Final = {"type": "ephemeral"}
_CHOICES: Final = {"auto": "auto", "required": "any", "none": "none"}


# What is sent.


def placed(parameters: Mapping[str, Any], places: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """Return parameters with some of them put into a field, beside what is in it.

    Args:
        parameters: those of a call.
        places: the name of a parameter to its field, and its key there.
    """
    found = dict(parameters)
    for name, (field, key) in places.items():
        if name in found:
            value, there = found.pop(name), found.get(field)
            found[field] = {**(there if isinstance(there, Mapping) else {}), key: value}
    return found


def spelt_for_messages(parameters: Mapping[str, Any], length: Any) -> dict[str, Any]:
    """Return parameters under the names that the API has for them.

    Args:
        parameters: those of the call, but for the most tokens of its answer.
        length: the most tokens of its answer; None where nothing says it.
    """
    spelt = {**parameters, "max_tokens": USUAL_LENGTH if length is None else length}
    if "stop" in spelt:
        stop = spelt.pop("stop")
        spelt["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    spelt = placed(spelt, _PLACES)
    if BUDGET in parameters:
        spelt["thinking"] = {"type": "enabled", **spelt["thinking"]}
    if isinstance(spelt.get("tools"), list):
        spelt["tools"] = [_tool(tool) for tool in spelt["tools"]]
    choice = _choice(spelt.pop("tool_choice", None), spelt.pop("parallel_tool_calls", None))
    return {**spelt, "tool_choice": choice} if choice is not None else spelt


def _tool(tool: Any) -> Any:
    """Return a tool as the API describes it; one that is no function stays as it is."""
    function = get(tool, "function")
    if not isinstance(function, Mapping):
        return tool
    named = {key: function[key] for key in ("name", "description") if key in function}
    return {**named, "input_schema": function.get("parameters") or {"type": "object"}}


def _choice(choice: Any, in_parallel: Any) -> Any:
    """Return which tool is to be used, and whether several may be at once."""
    if isinstance(choice, str):
        choice = {"type": _CHOICES.get(choice, choice)}
    elif name := get(choice, "function", "name"):
        choice = {"type": "tool", "name": name}
    if in_parallel is False and isinstance(choice or {}, Mapping):
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    return choice


def message_body(messages: list[dict[str, str]]) -> dict[str, Any]:
    """Return the part of a body that holds the conversation, with the system message apart.

    What stays the same from child to child is marked, so that the provider may keep it.
    """
    system = [
        {"type": "text", "text": message["content"], "cache_control": _CACHED}
        for message in messages
        if message["role"] in {"system", "developer"}
    ]
    rest = [message for message in messages if message["role"] not in {"system", "developer"}]
    return {"system": system, "messages": rest} if system else {"messages": rest}


# What comes back.


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
