"""Adapts a call to a model's dialect: roles, names of parameters, what is left out.

This is applied last, when the call is made, and is stored nowhere: a record holds the parameters
that were decided, whatever the endpoint calls them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from policy_router.calls.messages import message_body, placed, spelt_for_messages
from policy_router.decision.record import Target
from policy_router.domain import Dialect, PoolEntry
from policy_router.parameters import BUDGET, EFFORT

CHAT, RESPONSES, MESSAGES = "chat_completions", "responses", "anthropic_messages"
"""The three APIs."""

PATHS: Final = {CHAT: "chat/completions", RESPONSES: "responses", MESSAGES: "messages"}
"""Where each API is, below the address of an endpoint."""

_DEVELOPER_MODELS: Final = ("gpt-5", "codex")
"""Models with this in their names take the role ``developer`` in place of ``system``."""

_LENGTHS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens")
"""The names for the most tokens of an answer; they mean the same."""

_RESERVED: Final = frozenset({"input", "instructions", "messages", "model", "stream"})
"""What the decision and the task say, and no parameter may say otherwise."""

_IN_RESPONSES: Final[Mapping[str, tuple[str, str]]] = {
    EFFORT: ("reasoning", "effort"),
    "verbosity": ("text", "verbosity"),
}
"""The parameters that the Responses API has in a field, with their keys there."""

_NEEDS: Final = {
    BUDGET: "reasoning",
    "parallel_tool_calls": "tools",
    "reasoning": "reasoning",
    EFFORT: "reasoning",
    "tool_choice": "tools",
    "tools": "tools",
}
"""Parameters that only a model with a capability takes."""


class Wire(Struct, frozen=True):
    """What is sent.

    Attributes:
        api: which API is called: ``chat_completions``, ``responses`` or ``anthropic_messages``.
        model: the model's id.
        parameters: further parameters, as the API calls them.
        left_out: the names of the parameters that the model does not take, sorted.
        messages: the messages of the conversation.
        headers: headers of this call, besides those of its endpoint.
    """

    api: str
    model: str
    parameters: dict[str, Any]
    left_out: tuple[str, ...] = ()
    messages: list[dict[str, str]] = []
    headers: dict[str, str] = {}


def wire(
    target: Target, entry: PoolEntry | None, dialect: Dialect, *, streams: bool = False
) -> Wire:
    """Put the parameters of a call as its model wants them.

    Args:
        target: what is called, and with which parameters.
        entry: the pool entry that it is, or None.
        dialect: how it speaks, the entry's own dialect included.
        streams: whether the answer is streamed.
    """
    api = dialect.api or CHAT
    taken, left_out = _taken(target.parameters, entry, dialect)
    parameters = _spelt(taken, api, dialect)
    if streams and api == CHAT and "stream_options" not in dialect.unsupported:
        parameters.setdefault("stream_options", {"include_usage": True})
    return Wire(api, target.model, parameters, left_out)


def conversation(target: Target, dialect: Dialect, system: str, user: str) -> list[dict[str, str]]:
    """Return the first messages of a child.

    Args:
        target: what is called.
        dialect: how it speaks.
        system: the text of the system message; there is none where it is empty.
        user: the text of the user's message.
    """
    role = system_role(target, dialect)
    first = [{"role": role, "content": system}] if system else []
    return [*first, {"role": "user", "content": user}]


def body(sent: Wire, *, streams: bool) -> dict[str, Any]:
    """Return the body of a call.

    Args:
        sent: what is sent.
        streams: whether the answer is streamed.
    """
    talk: dict[str, Any] = {"input" if sent.api == RESPONSES else "messages": sent.messages}
    if sent.api == MESSAGES:
        talk = message_body(sent.messages)
    whole = {"model": sent.model, **talk, **sent.parameters}
    return {**whole, "stream": True} if streams else whole


def encoded_body(sent: Wire, *, streams: bool) -> bytes:
    """Return the body of a call as JSON; as for :func:`body`."""
    whole = body(sent, streams=streams)
    text = json.dumps(whole, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        return text.encode()
    except UnicodeEncodeError:  # half a character, which JSON can only escape
        return json.dumps(whole, separators=(",", ":"), allow_nan=False).encode()


def longest_answer(parameters: Mapping[str, Any]) -> int | None:
    """Return the most tokens that an answer may have; None is unknown.

    Args:
        parameters: of the call; of several names for it, the largest number counts.
    """
    longest = 0
    for name in _LENGTHS:
        number = parameters.get(name)
        if type(number) is int and number > longest:
            longest = number
    return longest or None


def system_role(target: Target, dialect: Dialect) -> str:
    """Return the role of the system message of a call."""
    name = target.model.casefold()
    usual = "developer" if any(part in name for part in _DEVELOPER_MODELS) else "system"
    return dialect.system_role or usual


def _taken(
    parameters: Mapping[str, Any], entry: PoolEntry | None, dialect: Dialect
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the parameters that a model takes, and the names of the others."""
    supports = entry.supports if entry else None
    against = {*_RESERVED, *dialect.unsupported}
    if dialect.api == MESSAGES:
        against.add("system")
    if _length(dialect) in against:
        against |= {*_LENGTHS}
    if supports is not None:
        against |= {name for name, need in _NEEDS.items() if need not in supports}
    taken = {name: value for name, value in parameters.items() if name not in against}
    return taken, tuple(sorted(set(parameters) - set(taken)))


def _length(dialect: Dialect) -> str:
    """Return the name for the most tokens of an answer."""
    usual = {RESPONSES: "max_output_tokens", MESSAGES: "max_tokens"}
    return usual.get(dialect.api or CHAT) or dialect.max_tokens or "max_tokens"


def _spelt(parameters: Mapping[str, Any], api: str, dialect: Dialect) -> dict[str, Any]:
    """Return parameters under the names that an API has for them."""
    length = _length(dialect)
    spelt = {name: value for name, value in parameters.items() if name not in _LENGTHS}
    given = [parameters[name] for name in (length, *_LENGTHS) if name in parameters]
    if api == MESSAGES:
        return spelt_for_messages(spelt, given[0] if given else None)
    if given:
        spelt[length] = given[0]
    return placed(spelt, _IN_RESPONSES) if api == RESPONSES else spelt
