"""What passes through the gateway: events, and what is seen of them."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_router.server.gateway import passing
from policy_router.server.gateway.passing import Events, Seen
from tests.support.rows import each
from tests.support.scripted import (
    DONE,
    USAGE,
    chunk,
    completion,
    message,
    message_events,
    response,
    response_events,
)


def data(content: Any, end: bytes = b"\n\n") -> bytes:
    return b"data: %b%b" % (json.dumps(content).encode(), end)


def passed(content: bytes, *cuts: int, drops: bool = False) -> tuple[bytes, Seen]:
    """Return what passes of a stream that comes in pieces."""
    seen = Seen()
    events = Events(seen, [b"secret-of-the-endpoint"], drops_usage=drops)
    places = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    pieces = [content[start:end] for start, end in pairwise(places)]
    return b"".join([*map(events.feed, pieces), events.rest()]), seen


STREAMS = {
    "chat": b"".join(map(data, (chunk("Hel"), chunk("lo."), chunk(None, "stop"), USAGE))) + DONE,
    "responses": b"".join(response_events()),
    "messages": b"".join(message_events()),
    "carriage returns": b": hello\r\n\r\n" + data(chunk("a", "stop"), b"\r\n\r\n"),
}


@given(st.sampled_from(sorted(STREAMS)), st.lists(st.integers(0, 2000), max_size=8))
def test_events_pass_byte_for_byte_however_they_come(name: str, cuts: list[int]) -> None:
    whole, seen = passed(STREAMS[name], *cuts)
    assert whole == STREAMS[name]
    assert seen.is_complete
    assert seen.error is None


@given(st.lists(st.integers(0, 2000), max_size=8))
def test_only_the_usage_that_nobody_asked_for_is_kept_back(cuts: list[int]) -> None:
    whole, seen = passed(STREAMS["chat"], *cuts, drops=True)
    assert whole == STREAMS["chat"].replace(data(USAGE), b"")
    assert (seen.input_tokens, seen.output_tokens) == (12, 2)


@given(st.lists(st.integers(0, 200), max_size=4))
def test_a_key_in_an_event_is_starred_out_however_it_comes(cuts: list[int]) -> None:
    whole, _ = passed(data(chunk("it is secret-of-the-endpoint")), *cuts)
    assert b"secret-of" not in whole
    assert b"it is ***" in whole


@each(
    ("answer", "model", "reason", "tokens"),
    [
        (completion(), "m0", "stop", (12, 3, None)),
        (response(), "m4", "completed", (20, 4, 5)),
        (message(), "m9", "end_turn", (40, 4, 30)),
        (
            response(status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
            "m4",
            "max_output_tokens",
            (20, 4, 5),
        ),
        (completion(usage=None), "m0", "stop", (None, None, None)),
        (
            completion(usage={"prompt_tokens": 10**30, "completion_tokens": -1}),
            "m0",
            "stop",
            (2**53, None, None),
        ),
    ],
    ids=["chat", "responses", "messages", "incomplete", "no usage", "odd usage"],
)
def test_a_whole_answer_is_looked_at(
    answer: dict[str, Any], model: str, reason: str, tokens: tuple[int | None, ...]
) -> None:
    seen = Seen()
    seen.take(json.dumps(answer).encode())
    assert (seen.model, seen.finish_reason) == (model, reason)
    assert (seen.input_tokens, seen.output_tokens, seen.cached_tokens) == tokens
    assert seen.error is None


@each(
    ("event", "status"),
    [
        ({"error": {"message": "x", "code": 429}}, 429),
        ({"error": {"message": "x", "type": "rate_limit_error"}}, 429),
        ({"error": {"message": "x"}}, 500),
        ({"error": "x"}, 500),
        ({"type": "error", "error": {"type": "overloaded_error"}}, 529),
        ({"type": "error", "code": "rate_limit_exceeded", "message": "x"}, 429),
        ({"type": "response.failed", "response": {"error": {"code": "server_error"}}}, 500),
        ({"error": {"code": 200}}, 500),
    ],
)
def test_an_error_has_the_status_that_it_would_have_had(event: Any, status: int) -> None:
    seen = Seen()
    seen.take(json.dumps(event).encode())
    assert seen.error is not None
    assert seen.status == status


@each(
    ("event", "has_news"),
    [
        (chunk("a"), True),
        (chunk(""), False),
        (chunk(None), False),
        ({"choices": [{"delta": {"role": "assistant"}}]}, False),
        ({"choices": [{"delta": {"tool_calls": [{"index": 0}]}}]}, True),
        ({"type": "ping"}, False),
        ({"type": "response.output_text.delta", "delta": ""}, False),
        ({"type": "response.output_text.delta", "delta": "a"}, True),
        ({"type": "content_block_delta", "delta": {"type": "text_delta", "text": ""}}, False),
        ({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "a"}}, True),
    ],
)
def test_what_is_empty_is_no_news(event: Any, has_news: bool) -> None:  # noqa: FBT001 - a table
    seen = Seen()
    Events(seen, [], drops_usage=False).feed(data(event))
    assert seen.has_news is has_news


def test_comments_are_no_news_and_no_events() -> None:
    whole, seen = passed(b": keep alive\n\n")
    assert whole == b": keep alive\n\n"
    assert (seen.has_news, seen.events) == (False, 0)


@each(
    "odd",
    [
        b"data: {\n\n",
        b"data: []\n\n",
        b'data: {"model": {"a": 1}, "choices": "x"}\n\n',
        b'data: {"type": 5}\n\n',
        b'data: {"usage": {"prompt_tokens": "x"}, "choices": []}\n\n',
        b'data: {"type": "message_start", "message": 5}\n\n',
        b"data: \xff\n\n",
        b"data: " + b"[" * 5000 + b"\n\n",
        b"nothing like an event",
    ],
)
def test_what_is_odd_passes(odd: bytes) -> None:
    whole, seen = passed(odd)
    assert whole == odd
    assert seen.input_tokens is None


def test_an_event_that_is_too_long_passes_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passing, "LONGEST_EVENT", 100)
    content = data(chunk("x" * 300)) + data(chunk(None, "stop"))
    whole, seen = passed(content, 60, 120, 180)
    assert whole == content
    assert not seen.is_complete
