"""What providers answer, read with care; and which model they say that they served."""

from __future__ import annotations

import datetime
import itertools
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_router.calls.answers import Reading
from policy_router.calls.child_task import Reply
from policy_router.calls.dialects import CHAT, RESPONSES
from policy_router.calls.failing import Failing
from policy_router.calls.failures import Failure, without
from policy_router.calls.responses import read_answer, reading_of
from policy_router.calls.served import is_same_model
from tests.support.examples import examples
from tests.support.rows import each

NOW = datetime.datetime(2026, 1, 31, 9, tzinfo=datetime.UTC)
KEY = "key-0123456789abcdef"
APIS = [CHAT, RESPONSES]


def read(api: str, answer: Any, *secrets: str) -> Reply | Failure:
    """Read a whole answer, given as plain data or as bytes."""
    content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return read_answer(api, content, secrets or (KEY,), model="m", now=NOW)


def reply(api: str, answer: Any, *secrets: str) -> Reply:
    made = read(api, answer, *secrets)
    assert isinstance(made, Reply), made
    return made


def failure(api: str, answer: Any) -> Failure:
    made = read(api, answer)
    assert isinstance(made, Failure), made
    return made


def said(api: str, content: Any, **more: Any) -> dict[str, Any]:
    """Return an answer that says something."""
    if api == CHAT:
        message = {"role": "assistant", "content": content}
        return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], **more}
    output = [{"type": "reasoning", "summary": []}, {"type": "message", "content": content}]
    return {"status": "completed", "error": None, "output": output, **more}


# --- Whole answers --------------------------------------------------------------------------------


@pytest.mark.parametrize("api", APIS)
def test_a_whole_answer_is_read(api: str) -> None:
    chat = {"prompt_tokens": 5, "completion_tokens": 7}
    usage = chat if api == CHAT else {"input_tokens": 5, "output_tokens": 7}
    assert reply(api, said(api, "the text", model="m-1", usage=usage)) == Reply(
        text="the text",
        served_model="m-1",
        finish_reason="stop" if api == CHAT else "completed",
        input_tokens=5,
        output_tokens=7,
    )


@each("api", APIS)
@each(
    ("content", "text"),
    [
        ("", ""),
        ("text", "text"),
        (None, None),
        (5, None),
        ({"text": "no list"}, None),
        ([], ""),
        ([{"type": "text", "text": "a"}, {"type": "output_text", "text": "b"}], "ab"),
        ([{"type": "text", "text": "a"}, {"type": "image_url", "url": "u"}], "a"),
        ([{"type": "thinking", "text": "hidden"}, {"type": "text", "text": "a"}], "a"),
        ([{"type": "text", "text": None}, {"type": "text"}, {"text": "untyped"}], ""),
        ([{"type": "text", "text": ["a"]}, None, 5, "b", []], ""),
        ([{"type": ["text"], "text": "a"}, {"type": 5, "text": "b"}], "a"),
    ],
)
def test_the_text_of_an_answer_is_a_text_or_its_parts(
    api: str, content: Any, text: str | None
) -> None:
    made = read(api, said(api, content))
    if text:
        assert isinstance(made, Reply)
        assert made.text == text
    else:
        assert isinstance(made, Failure)
        assert made.answer is not None
        assert (made.code, made.answer.text) == (Failing.EMPTY_ANSWER, text)


@each(
    ("answer", "text"),
    [
        ([], None),
        ([{"type": "reasoning", "content": "hidden"}], None),
        ([{"type": "message"}], None),
        ([None, 5, "x", [], {}], None),
        (
            [
                {"type": "message", "content": [{"type": "output_text", "text": "a"}]},
                {"type": "web_search_call", "status": "completed"},
                {"type": "message", "content": "b"},
            ],
            "ab",
        ),
    ],
)
def test_the_messages_of_a_response_are_one_text(answer: list[Any], text: str | None) -> None:
    made = read(RESPONSES, {"output": answer})
    assert (made.answer if isinstance(made, Failure) else made) == Reply(text=text)


@each(
    "answer",
    [
        {},
        {"choices": None},
        {"choices": []},
        {"choices": {}},
        {"choices": [None]},
        {"choices": [{}]},
        {"choices": [{"message": None}]},
        {"choices": [{"message": "text"}]},
        {"choices": [{"text": "completion"}]},
        {"error": None},
        {"error": {}},
        {"error": []},
        {"error": ""},
        [],
        [{"choices": []}],
        None,
        True,
        5,
        "text",
    ],
)
def test_an_answer_without_a_message_is_none(answer: Any) -> None:
    assert failure(CHAT, answer) == Failure(
        Failing.BAD_RESPONSE, "the provider's answer has no message", 200
    )
    assert failure(RESPONSES, answer) == Failure(
        Failing.BAD_RESPONSE, "the provider's answer has no output", 200
    )


@each("api", APIS)
@each(
    "content",
    [
        b"",
        b" ",
        b"<html>",
        b"{",
        b'{"choices":',
        b"\xff\xfe",
        b'"\xff"',
        b"{}{}",
        b"NaN",
        b'{"a": Infinity}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"data: {}\n\n",
        b"<" + b"x" * 5_000_000,
    ],
)
def test_what_is_not_json_is_no_answer(api: str, content: bytes) -> None:
    assert failure(api, content) == Failure(
        Failing.BAD_RESPONSE, "the provider's answer is not JSON", 200
    )


@each("count", [None, -1, True, False, 1.5, "x", [], {}, 1e20])
def test_a_count_that_is_none_is_unknown(count: Any) -> None:
    chat = {"prompt_tokens": count, "completion_tokens": 0}
    made = reply(CHAT, said(CHAT, "t", usage=chat))
    assert (made.input_tokens, made.output_tokens) == (None, 0)
    responses = {"input_tokens": 0, "output_tokens": count}
    made = reply(RESPONSES, said(RESPONSES, "t", usage=responses))
    assert (made.input_tokens, made.output_tokens) == (0, None)


@each("api", APIS)
@each("usage", [None, [], "x", 5, True, {}])
def test_without_a_usage_nothing_is_known(api: str, usage: Any) -> None:
    made = reply(api, said(api, "t", usage=usage))
    assert (made.input_tokens, made.output_tokens) == (None, None)


@each("api", APIS)
@each(
    ("model", "served"),
    [("", None), (None, None), (5, None), (["m"], None), ("m" * 999, "m" * 200)],
)
def test_a_served_model_is_a_word_or_unknown(api: str, model: Any, served: str | None) -> None:
    assert reply(api, said(api, "t", model=model)).served_model == served
    assert reply(api, said(api, "t")).served_model is None


@each(
    ("answer", "reason"),
    [
        ({"status": "completed"}, "completed"),
        ({"status": "incomplete"}, "incomplete"),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            "max_output_tokens",
        ),
        ({"status": "incomplete", "incomplete_details": None}, "incomplete"),
        ({"status": "incomplete", "incomplete_details": {"reason": None}}, "incomplete"),
        ({"status": None}, None),
        ({"status": 5}, None),
        ({}, None),
    ],
)
def test_a_response_says_why_it_stopped(answer: dict[str, Any], reason: str | None) -> None:
    output = [{"type": "message", "content": "t"}]
    assert reply(RESPONSES, {"output": output, **answer}).finish_reason == reason


@each("reason", ["length", "stop", "eos", None, 5, []])
def test_a_completion_says_why_it_stopped(reason: Any) -> None:
    answer = {"choices": [{"message": {"content": "t"}, "finish_reason": reason}]}
    expected = reason if isinstance(reason, str) else None
    assert reply(CHAT, answer).finish_reason == expected


@pytest.mark.parametrize("api", APIS)
def test_no_answer_repeats_a_key(api: str) -> None:
    made = reply(api, said(api, f"the key is {KEY}.", model=f"m-{KEY}"))
    assert (made.text, made.served_model) == ("the key is ***.", "m-***")
    parts = [{"type": "text", "text": KEY[:9]}, {"type": "text", "text": KEY[9:]}]
    assert reply(api, said(api, parts)).text == "***"


# --- Errors under a status of success -------------------------------------------------------------


@each("api", APIS)
@each(
    ("error", "code", "status", "message"),
    [
        ({"code": 429, "message": "slow down"}, Failing.RATE_LIMITED, 429, "slow down"),
        ({"code": "429", "message": "slow down"}, Failing.RATE_LIMITED, 429, "slow down"),
        ({"code": 402, "message": "pay"}, Failing.PAYMENT_REQUIRED, 402, "pay"),
        ({"code": 400, "message": "no"}, Failing.BAD_REQUEST, 400, "no"),
        ({"code": 401, "message": "no"}, Failing.UNAUTHORIZED, 401, "no"),
        ({"code": 404, "message": "no"}, Failing.MODEL_NOT_FOUND, 404, "no"),
        ({"code": 408, "message": "no"}, Failing.TIMEOUT, 408, "no"),
        ({"code": 502, "message": "down"}, Failing.SERVER_ERROR, 502, "down"),
        ({"code": "rate_limit_exceeded", "message": "m"}, Failing.RATE_LIMITED, 429, "m"),
        ({"code": "server_error", "message": "m"}, Failing.SERVER_ERROR, 500, "m"),
        ({"code": "whatever", "message": "m"}, Failing.SERVER_ERROR, 500, "m"),
        ({"code": None, "message": "m"}, Failing.SERVER_ERROR, 500, "m"),
        ({"code": 200, "message": "m"}, Failing.SERVER_ERROR, 500, "m"),
        ({"code": 0, "message": "m"}, Failing.SERVER_ERROR, 500, "m"),
        ({"code": 600, "message": "m"}, Failing.SERVER_ERROR, 500, "m"),
        ({"code": -429, "message": "m"}, Failing.SERVER_ERROR, 500, "m"),
        ({"code": True, "message": "m"}, Failing.SERVER_ERROR, 500, "m"),
        ({"code": 429.0, "message": "m"}, Failing.SERVER_ERROR, 500, "m"),
        ({"code": "4294", "message": "m"}, Failing.SERVER_ERROR, 500, "m"),
        ({"code": "²²²", "message": "m"}, Failing.SERVER_ERROR, 500, "m"),
        ({"code": [429], "message": "m"}, Failing.SERVER_ERROR, 500, "m"),
        ({"message": "m"}, Failing.SERVER_ERROR, 500, "m"),
        ("a text", Failing.SERVER_ERROR, 500, "a text"),
        ({"code": 503}, Failing.SERVER_ERROR, 503, "the provider answered with status 503"),
        ({"code": 429, "message": f"x {KEY}"}, Failing.RATE_LIMITED, 429, "x ***"),
    ],
)
def test_an_error_under_a_status_of_success_is_a_failure(
    api: str, error: Any, code: Failing, status: int, message: str
) -> None:
    expected = Failure(code, message, status)
    assert failure(api, {"error": error}) == expected
    assert failure(api, said(api, "text", error=error)) == expected


# --- Streams --------------------------------------------------------------------------------------


def chunk(content: Any = None, reason: Any = None, **more: Any) -> dict[str, Any]:
    """Return an event of a streamed completion."""
    return {"choices": [{"delta": {"content": content}, "finish_reason": reason}], **more}


def delta(text: Any) -> dict[str, Any]:
    """Return an event of a streamed response."""
    return {"type": "response.output_text.delta", "delta": text}


def completed(**response: Any) -> dict[str, Any]:
    return {"type": "response.completed", "response": {"status": "completed", **response}}


def streamed(
    api: str, events: Sequence[Any], secrets: tuple[str, ...] = (KEY,)
) -> tuple[list[str], Reply | Failure]:
    """Return the pieces of a stream as they are told, and its outcome."""
    reading = reading_of(api, secrets, "m")
    told = [piece for event in events for piece in reading.pieces(event, now=NOW)]
    told.extend(reading.rest())
    return told, reading.outcome()


def of_texts(api: str, texts: Sequence[str]) -> list[dict[str, Any]]:
    """Return the events of a stream that says some texts."""
    if api == CHAT:
        return [*(chunk(text) for text in texts), chunk(reason="stop")]
    return [*(delta(text) for text in texts), completed()]


@pytest.mark.parametrize("api", APIS)
def test_the_pieces_of_a_stream_add_up(api: str) -> None:
    told, outcome = streamed(api, of_texts(api, ["a", "", "b c", "\n", "d"]))
    assert told == ["a", "b c", "\n", "d"]
    assert isinstance(outcome, Reply)
    assert outcome.text == "ab c\nd"


def test_a_streamed_completion_is_read() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 7}
    events = [
        chunk("", model="m-1"),
        chunk("a", model="m-1"),
        chunk(None, "stop", model="m-1"),
        {"choices": [], "model": "m-1", "usage": usage},
    ]
    assert streamed(CHAT, events)[1] == Reply("a", "m-1", "stop", 5, 7)


def test_a_streamed_response_is_read() -> None:
    usage = {"input_tokens": 5, "output_tokens": 7}
    events = [
        {"type": "response.created", "response": {"status": "in_progress", "model": "m-1"}},
        {"type": "response.reasoning_text.delta", "delta": "hidden"},
        delta("a"),
        {"type": "response.output_text.done", "text": "a"},
        completed(model="m-1", usage=usage),
    ]
    assert streamed(RESPONSES, events)[1] == Reply("a", "m-1", "completed", 5, 7)


def test_a_response_that_is_cut_short_says_so() -> None:
    response = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    _, outcome = streamed(
        RESPONSES, [delta("a"), {"type": "response.incomplete", "response": response}]
    )
    assert outcome == Reply("a", None, "max_output_tokens")


def test_what_is_said_once_stays_and_what_is_said_last_counts() -> None:
    usages = [{"prompt_tokens": 1, "completion_tokens": 1}, {"completion_tokens": 9}, None]
    events = [chunk("a", usage=usage) for usage in usages]
    _, outcome = streamed(CHAT, [chunk(model="m"), *events, chunk(reason="stop", model=None)])
    assert outcome == Reply("aaa", "m", "stop", 1, 9)


def test_a_stream_without_text_is_none() -> None:
    _, outcome = streamed(CHAT, [chunk(None, "length")])
    message = "the answer has neither text nor a tool call (finish reason length)"
    answer = Reply("", None, "length")
    assert outcome == Failure(Failing.EMPTY_ANSWER, message, 200, answer=answer)


def test_list_parts_of_a_delta_are_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "thinking", "text": "hidden"}]
    assert streamed(CHAT, [chunk(parts, "stop")])[0] == ["a"]


@pytest.mark.parametrize("api", APIS)
def test_a_stream_that_ends_before_the_answer_does_is_broken(api: str) -> None:
    told, outcome = streamed(api, of_texts(api, ["a", "b"])[:-1])
    assert told == ["a", "b"]
    assert outcome == Failure(
        Failing.STREAM_BROKEN, "the stream ended before the answer did", streamed=True, partial="ab"
    )


@pytest.mark.parametrize("api", APIS)
def test_a_stream_of_nothing_is_no_connection(api: str) -> None:
    told, outcome = streamed(api, [])
    assert told == []
    assert outcome == Failure(Failing.CONNECTION_FAILED, "the stream ended before the answer did")


@each(
    ("api", "event"),
    [
        (CHAT, {"error": {"code": 429, "message": f"slow {KEY}"}}),
        (CHAT, chunk("", "error", error={"code": "429", "message": f"slow {KEY}"})),
        (RESPONSES, {"type": "error", "code": "rate_limit_exceeded", "message": f"slow {KEY}"}),
        (
            RESPONSES,
            {
                "type": "response.failed",
                "response": {"error": {"code": "rate_limit_exceeded", "message": f"slow {KEY}"}},
            },
        ),
    ],
)
def test_an_error_in_a_stream_breaks_it(api: str, event: dict[str, Any]) -> None:
    _, outcome = streamed(api, [*of_texts(api, ["a"])[:-1], event])
    assert outcome == Failure(Failing.STREAM_BROKEN, "slow ***", 429, streamed=True, partial="a")


def test_a_failed_response_without_words_breaks_its_stream() -> None:
    _, outcome = streamed(RESPONSES, [delta("a"), {"type": "response.failed", "response": None}])
    assert isinstance(outcome, Failure)
    assert (outcome.code, outcome.partial) == (Failing.STREAM_BROKEN, "a")


@each(
    "event",
    [
        None,
        5,
        "text",
        [],
        {},
        {"choices": None},
        {"choices": [None]},
        {"choices": [{"delta": None}]},
        {"choices": [{"delta": {"content": 5}}]},
        {"choices": [{"delta": "text"}]},
        {"type": None},
        {"type": 5, "delta": "x"},
        {"type": "response.output_text.delta", "delta": None},
        {"type": "response.output_text.delta", "delta": 5},
        {"type": "response.completed", "response": None},
        {"type": "response.completed", "response": {"status": 5}},
    ],
)
@each("api", APIS)
def test_an_event_of_an_odd_type_says_nothing(api: str, event: Any) -> None:
    told, outcome = streamed(api, [*of_texts(api, ["a"])[:-1], event, *of_texts(api, ["b"])])
    assert told == ["a", "b"]
    assert isinstance(outcome, Reply)


@each("kind", [[], {}, ["response.completed"]])
def test_an_event_of_a_kind_that_is_no_word_says_nothing(kind: Any) -> None:
    assert streamed(RESPONSES, [{"type": kind}, delta("a"), completed()])[0] == ["a"]


@each("api", APIS)
@each("cut", range(1, len(KEY)))
def test_a_key_in_two_pieces_is_starred_out(api: str, cut: int) -> None:
    told, outcome = streamed(api, of_texts(api, [f"it is {KEY[:cut]}", f"{KEY[cut:]}, I say"]))
    assert "".join(told) == "it is ***, I say"
    assert all(KEY[:4] not in piece for piece in told)
    assert isinstance(outcome, Reply)
    assert outcome.text == "it is ***, I say"


@pytest.mark.parametrize("api", APIS)
def test_a_key_that_comes_letter_by_letter_is_starred_out(api: str) -> None:
    told, outcome = streamed(api, of_texts(api, list(f"ab {KEY}{KEY} key-01")))
    assert "".join(told) == "ab ****** key-01"
    assert told[-1] == "key-01"
    assert isinstance(outcome, Reply)
    assert outcome.text == "ab ****** key-01"


def test_a_key_before_a_stream_breaks_is_starred_out() -> None:
    _, outcome = streamed(CHAT, [chunk("it is key-0123"), chunk("456789abcdef")])
    assert isinstance(outcome, Failure)
    assert outcome.partial == "it is ***"


def test_text_is_held_back_no_longer_than_it_may_be_a_key() -> None:
    reading = reading_of(CHAT, (KEY,), "m")

    def notify_all(text: str) -> list[str]:
        return list(reading.pieces(chunk(text), now=NOW))

    assert notify_all("a k") == ["a "]
    assert notify_all("ey") == []
    assert notify_all("ring k") == ["keyring "]
    assert list(reading.rest()) == ["k"]
    assert list(reading.rest()) == []


@pytest.mark.parametrize("api", APIS)
def test_of_two_keys_that_begin_alike_no_end_is_told(api: str) -> None:
    longer = f"{KEY}-and-more"
    told, _ = streamed(api, of_texts(api, [KEY, "-and-more"]), (longer, KEY))
    assert "and-more" not in "".join(told)


@pytest.mark.parametrize("key", [KEY, "key-0123-key", "kkkkkkkk"])
@given(
    text=st.text("key-0123 *", max_size=40),
    cuts=st.lists(st.integers(0, 200), max_size=8),
    api=st.sampled_from(APIS),
)
@examples(100)
def test_a_text_in_any_pieces_is_told_as_it_is_without_its_keys(
    key: str, text: str, cuts: list[int], api: str
) -> None:
    text = text.replace("*", key)
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[start:end] for start, end in itertools.pairwise(places)]
    told, outcome = streamed(api, of_texts(api, pieces), (key,))
    assert key not in "".join(told)
    assert "".join(told) == without(text, (key,))
    if isinstance(outcome, Reply):
        assert outcome.text == "".join(told)
    else:
        assert (outcome.code, outcome.partial) == (Failing.EMPTY_ANSWER, "".join(told))
    assert isinstance(outcome, Reply) is bool(text.strip())


# --- Anything at all ------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        *("error", "choices", "message", "content", "type", "text", "model", "usage", "output"),
        *("delta", "response", "status", "incomplete_details", "reason", "finish_reason", "code"),
        *("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "failed"),
        *("response.output_text.delta", "response.completed", "response.failed", "output_text"),
        *("response.incomplete", "429", "server_error", "stop", KEY, KEY[:9]),
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS | st.text()


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5)


JSON = st.recursive(SCALARS, _nested, max_leaves=15)


def _answers(api: str) -> st.SearchStrategy[Any]:
    """Return what is nearly an answer."""
    content = st.none() | st.text() | st.lists(st.fixed_dictionaries({"type": WORDS, "text": JSON}))
    return st.one_of(
        JSON,
        st.builds(
            lambda text, more: {**said(api, text), **more},
            content | JSON,
            st.dictionaries(WORDS, JSON, max_size=3),
        ),
    )


@pytest.mark.slow
@pytest.mark.parametrize("api", APIS)
@examples(100)
@given(data=st.data())
def test_any_json_is_an_answer_or_a_failure(api: str, data: st.DataObject) -> None:
    made = read(api, data.draw(_answers(api)))
    assert isinstance(made, Reply | Failure)
    if isinstance(made, Reply):
        assert made.text is None or KEY not in made.text
        assert made.input_tokens is None or made.input_tokens >= 0


@pytest.mark.parametrize("api", APIS)
@examples(100)
@given(content=st.binary())
def test_any_bytes_are_an_answer_or_a_failure(api: str, content: bytes) -> None:
    assert isinstance(read(api, content), Reply | Failure)


@pytest.mark.parametrize("api", APIS)
@examples(100)
@given(data=st.data())
def test_any_events_are_an_answer_or_a_failure(api: str, data: st.DataObject) -> None:
    answer = of_texts(api, ["a", KEY, KEY[:9], f"{KEY[9:]} b"])
    events = data.draw(st.lists(st.sampled_from(answer) | JSON, max_size=6))
    told, outcome = streamed(api, events + data.draw(st.sampled_from([answer, []])))
    text = "".join(told)
    assert KEY not in text
    if isinstance(outcome, Reply):
        assert outcome.text == text
    else:
        assert outcome.partial == (text if outcome.streamed else "")


def test_an_api_has_its_own_reading() -> None:
    chat, responses = reading_of(CHAT, (), "m"), reading_of(RESPONSES, (), "m")
    assert isinstance(chat, Reading)
    assert type(chat) is not type(responses)
    with pytest.raises(NotImplementedError):
        list(Reading((), "m").pieces({}, now=NOW))


# --- Which model was served -----------------------------------------------------------------------


@each(
    ("routed", "served"),
    [
        ("gpt-5", "gpt-5"),
        ("gpt-5", "GPT-5"),
        ("gpt-5", "gpt-5-2025-08-07"),
        ("gpt-5", "openai/gpt-5"),
        ("openai/gpt-5", "gpt-5-2025-08-07"),
        ("openai/gpt-5", "OpenAI/GPT-5"),
        ("claude-sonnet-4", "claude-sonnet-4@20250514"),
        ("llama3", "llama3:latest"),
        ("mistral-large", "mistral-large-2411"),
        ("command-r", "command-r-08-2024"),
        ("gemini-2.5-flash-preview", "gemini-2.5-flash-preview-05-20"),
        ("gpt-4", "gpt-4-0613"),
        ("models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("grok-4", "grok-4-latest"),
        ("m", "m-250715"),
        ("m-2025-01-01", "M-2025-01-01"),
        ("", ""),
    ],
)
def test_one_model_goes_by_several_names(routed: str, served: str) -> None:
    assert is_same_model(routed, served)
    assert is_same_model(served, routed)


@each("served", ["m", "m-latest", "m-2025-01-01", "vendor/m-20250101", "m@0613"])
def test_the_latest_model_is_whichever_is_served(served: str) -> None:
    assert is_same_model("m-latest", served)
    assert is_same_model("m:latest", served)


@each(
    ("routed", "served"),
    [
        ("glm-5", "glm-5-turbo"),
        ("glm-5", "glm-5.1"),
        ("gpt-5", "gpt-5-mini"),
        ("gpt-5", "gpt-5-codex"),
        ("gpt-5", "gpt-5.1"),
        ("gpt-5", "gpt-5-mini-2025-08-07"),
        ("gpt-5-2025-08-07", "gpt-5-2025-10-01"),
        ("gpt-4", "gpt-4o"),
        ("gpt-4-0613", "gpt-4-1106"),
        ("claude-sonnet-4", "claude-sonnet-4-5"),
        ("claude-3", "claude-3-5-sonnet"),
        ("llama3:8b", "llama3:70b"),
        ("qwen3-8b", "qwen3-32b"),
        ("deepseek-v3", "deepseek-r1"),
        ("m", ""),
        ("m", "m-1"),
        ("m", "m-12"),
        ("m", "m-123"),
        ("m", "m-latest-2"),
        ("m", "mlatest"),
        ("vendor/m", "m/vendor"),
        ("vendor/m", "another/m"),
    ],
)
def test_another_model_is_another(routed: str, served: str) -> None:
    assert not is_same_model(routed, served)
    assert not is_same_model(served, routed)


def test_a_model_of_a_date_is_not_the_latest() -> None:
    assert not is_same_model("m-2025-01-01", "m-latest")
