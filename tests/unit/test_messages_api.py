"""The Messages API: what is sent, and what comes back."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest

from policy_router.calls.child_task import Reply
from policy_router.calls.dialects import MESSAGES, body, conversation, wire
from policy_router.calls.failing import Failing
from policy_router.calls.failures import Failure
from policy_router.calls.responses import read_answer, reading_of
from policy_router.decision.record import Target
from policy_router.domain import Dialect, PoolEntry
from tests.support.rows import each

NOW = datetime.datetime(2026, 1, 31, 9, tzinfo=datetime.UTC)
KEY = "key-0123456789abcdef"
DIALECT = Dialect(api=MESSAGES)
FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}


# --- What is sent ---------------------------------------------------------------------------------


def sent(**parameters: Any) -> dict[str, Any]:
    """Return the parameters that are sent."""
    return wire(Target("m", "p", parameters), PoolEntry("m", "m"), DIALECT).parameters


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"max_tokens": 8192}),
        ({"max_tokens": 9}, {"max_tokens": 9}),
        ({"max_output_tokens": 9}, {"max_tokens": 9}),
        ({"max_completion_tokens": 9, "max_tokens": 8}, {"max_tokens": 8}),
        ({"temperature": 0.5, "top_k": 4}, {"max_tokens": 8192, "temperature": 0.5, "top_k": 4}),
        ({"stop": "a"}, {"max_tokens": 8192, "stop_sequences": ["a"]}),
        ({"stop": ["a", "b"]}, {"max_tokens": 8192, "stop_sequences": ["a", "b"]}),
        (
            {"reasoning_effort": "low"},
            {"max_tokens": 8192, "output_config": {"effort": "low"}},
        ),
        (
            {"reasoning_effort": "low", "output_config": {"format": {"type": "json_schema"}}},
            {
                "max_tokens": 8192,
                "output_config": {"effort": "low", "format": {"type": "json_schema"}},
            },
        ),
        (
            {"thinking_budget": 1024},
            {"max_tokens": 8192, "thinking": {"type": "enabled", "budget_tokens": 1024}},
        ),
        (
            {"thinking_budget": 1024, "thinking": {"type": "adaptive"}},
            {"max_tokens": 8192, "thinking": {"type": "adaptive", "budget_tokens": 1024}},
        ),
        (
            {"reasoning_effort": "low", "output_config": "odd"},
            {"max_tokens": 8192, "output_config": {"effort": "low"}},
        ),
    ],
)
def test_parameters_have_the_names_of_the_api(
    given: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert sent(**given) == expected


def test_a_tool_is_described_as_the_api_does() -> None:
    own = {"type": "web_search_20260209", "name": "web_search"}
    tools = [{"type": "function", "function": FUNCTION}, own, {"function": {"name": "g"}}]
    assert sent(tools=tools)["tools"] == [
        {"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}},
        own,
        {"name": "g", "input_schema": {"type": "object"}},
    ]
    assert sent(tools="odd")["tools"] == "odd"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": {"type": "any"}}, {"type": "any"}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
            {"type": "tool", "name": "f"},
        ),
        (
            {"parallel_tool_calls": False},
            {"type": "auto", "disable_parallel_tool_use": True},
        ),
        (
            {"parallel_tool_calls": False, "tool_choice": "required"},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        ({"parallel_tool_calls": True}, None),
    ],
)
def test_the_choice_of_a_tool_is_put_as_the_api_does(
    given: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    assert sent(**given).get("tool_choice") == expected


def test_the_system_message_goes_apart_and_may_be_kept() -> None:
    target = Target("gpt-5", "p", {"system": "mine", "max_tokens": 9})
    put = wire(target, None, DIALECT)
    assert put.left_out == ("system",)
    messages = conversation(target, DIALECT, "be brief", "the goal")
    put = type(put)(put.api, put.model, put.parameters, messages=messages)
    assert body(put, streams=True) == {
        "model": "gpt-5",
        "system": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": "the goal"}],
        "max_tokens": 9,
        "stream": True,
    }
    messages = conversation(target, DIALECT, "", "the goal")
    put = type(put)(put.api, put.model, put.parameters, messages=messages)
    assert "system" not in body(put, streams=False)


# --- What comes back ------------------------------------------------------------------------------


def read(answer: Any) -> Reply | Failure:
    """Read a whole answer."""
    content = json.dumps(answer).encode()
    return read_answer(MESSAGES, content, (KEY,), model="m", now=NOW)


def said(*content: Any, reason: Any = "end_turn", **more: Any) -> dict[str, Any]:
    return {"type": "message", "content": [*content], "stop_reason": reason, **more}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


USAGE = {
    "input_tokens": 5,
    "cache_read_input_tokens": 90,
    "cache_creation_input_tokens": 5,
    "output_tokens": 7,
}


def test_a_whole_answer_is_read() -> None:
    thinking = {"type": "thinking", "thinking": "hm", "signature": "s"}
    made = read(said(thinking, text("a "), text(f"b {KEY}"), model="m-1", usage=USAGE))
    assert made == Reply("a b ***", "m-1", "end_turn", 100, 7, cached_tokens=90)


@each("usage", [None, {}, [], {"output_tokens": -1}, {"input_tokens": "x"}])
def test_without_a_usage_nothing_is_known(usage: Any) -> None:
    assert read(said(text("a"), usage=usage)) == Reply("a", None, "end_turn")


@each(
    ("answer", "code"),
    [
        (said(), Failing.EMPTY_ANSWER),
        (said(text(" ")), Failing.EMPTY_ANSWER),
        (said(reason="max_tokens"), Failing.EMPTY_ANSWER),
        (said(text("I cannot."), reason="refusal"), Failing.REFUSED_BY_MODEL),
        (said({"type": "tool_use", "name": "f"}, reason="tool_use"), Failing.WANTS_TOOL),
        (said(text("a"), {"type": "tool_use"}, reason=None), Failing.WANTS_TOOL),
        (said(reason="model_context_window_exceeded"), Failing.CONTEXT_OVERFLOW),
        ({"type": "message"}, Failing.BAD_RESPONSE),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "m"}},
         Failing.SERVER_ERROR),
        ({"type": "error", "error": {"type": "rate_limit_error", "message": "m"}},
         Failing.RATE_LIMITED),
        ({"type": "error", "error": {"type": "not_found_error", "message": "m"}},
         Failing.MODEL_NOT_FOUND),
        ({"type": "error", "error": {"type": "invalid_request_error",
         "message": "prompt is too long: 9 tokens > 8 maximum"}}, Failing.CONTEXT_OVERFLOW),
    ],
)  # fmt: skip
def test_an_answer_that_is_no_result_is_a_failure(answer: Any, code: Failing) -> None:
    made = read(answer)
    assert isinstance(made, Failure)
    assert made.code is code


def test_an_answer_that_is_cut_short_is_one() -> None:
    for reason in ("max_tokens", "model_context_window_exceeded", "stop_sequence"):
        assert read(said(text("a"), reason=reason)) == Reply("a", None, reason)


def streamed(*events: Any) -> tuple[list[str], list[bool], Reply | Failure]:
    """Return the pieces of a stream, whether each event brought anything, and the outcome."""
    reading = reading_of(MESSAGES, (KEY,), "m")
    told: list[str] = []
    news: list[bool] = []
    for event in events:
        told += reading.pieces(event, now=NOW)
        news.append(reading.has_news)
    told += reading.rest()
    return told, news, reading.outcome()


def delta(**what: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": what}


START = {
    "type": "message_start",
    "message": {"model": "m-1", "usage": {**USAGE, "output_tokens": 1}},
}
BLOCK = {"type": "content_block_start", "index": 0, "content_block": text("")}
PING = {"type": "ping"}
END = {
    "type": "message_delta",
    "delta": {"stop_reason": "end_turn", "stop_sequence": None},
    "usage": {"output_tokens": 7},
}
STOP = {"type": "message_stop"}


def test_a_stream_is_read() -> None:
    thinking = delta(type="thinking_delta", thinking="hm")
    a, b = (delta(type="text_delta", text=words) for words in ("a ", "b"))
    told, news, outcome = streamed(START, BLOCK, PING, thinking, a, PING, b, END, STOP)
    assert told == ["a ", "b"]
    assert news == [True, False, False, True, True, False, True, True, False]
    assert outcome == Reply("a b", "m-1", "end_turn", 100, 7, cached_tokens=90)


def test_a_stream_that_asks_for_a_tool_is_a_failure() -> None:
    block = {"type": "content_block_start", "content_block": {"type": "tool_use", "name": "f"}}
    part = delta(type="input_json_delta", partial_json="{}")
    end = {"type": "message_delta", "delta": {"stop_reason": "tool_use"}}
    told, news, outcome = streamed(START, block, part, end, STOP)
    assert (told, news) == ([], [True, True, True, True, False])
    assert isinstance(outcome, Failure)
    assert (outcome.code, outcome.streamed) == (Failing.WANTS_TOOL, False)


def test_an_error_in_a_stream_is_understood() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": f"busy {KEY}"}}
    _, _, outcome = streamed(START, BLOCK, error)
    assert outcome == Failure(Failing.SERVER_ERROR, "busy ***", 529)
    _, _, outcome = streamed(START, BLOCK, delta(type="text_delta", text="a"), error)
    assert isinstance(outcome, Failure)
    assert (outcome.code, outcome.partial) == (Failing.STREAM_BROKEN, "a")


def test_a_stream_without_its_end_is_broken() -> None:
    _, _, outcome = streamed(START, BLOCK, delta(type="text_delta", text="a"))
    assert isinstance(outcome, Failure)
    assert outcome.code is Failing.STREAM_BROKEN


@each("event", [None, 5, "x", [], {}, {"type": []}, {"type": "x", "delta": 5}])
def test_an_event_of_an_odd_type_says_nothing(event: Any) -> None:
    told, _, outcome = streamed(START, event, delta(type="text_delta", text="a"), END, STOP)
    assert told == ["a"]
    assert isinstance(outcome, Reply)
