"""One attempt at a provider that does whatever a provider may do, over real connections.

The server is in another process (:mod:`tests.support.faults`). How far a behaviour outlives its
limits, and how much memory it takes, is measured by the benchmarks.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import Any

import openai
import pytest

from policy_router.calls.child_task import Reply
from policy_router.calls.dialects import Wire
from policy_router.calls.endpoints import Endpoint
from policy_router.calls.exchange import Exchange, connect, connect_async
from policy_router.calls.failures import Failure
from policy_router.calls.limits import Limits
from policy_router.calls.sdk import client_over
from policy_router.files.clock import system_clock
from tests.support.faults import EXPECTED, Faults, is_endless
from tests.support.rows import each

SHORT = Limits(first_byte=0.6, idle=0.6, total=1.2)
LONG = Limits(first_byte=30, idle=30, total=40)
KEY = "key-0123456789abcdef"
OTHER = "other-0123456789abcdef"


@pytest.fixture(scope="module")
def faults() -> Iterator[Faults]:
    with Faults() as started:
        yield started


def exchange(name: str) -> Exchange:
    messages = [{"role": "user", "content": "ping"}]
    return Exchange(Wire("chat_completions", name, {}, (), messages), (KEY,), system_clock)


@dataclass(frozen=True)
class Form:
    """One of the four forms of a call."""

    on_loop: bool
    streams: bool

    def expected(self, name: str) -> str:
        return EXPECTED[name].streamed if self.streams else EXPECTED[name].whole

    def made(self, faults: Faults, name: str, limits: Limits) -> Reply | Failure:
        """Make one call, in a thread or on an event loop of its own."""
        if self.on_loop:
            return asyncio.run(self.made_async(faults, name, limits))
        made = exchange(name)
        with closing(connect(Endpoint("one", faults.url, KEY), 600)) as client:
            if not self.streams:
                return made.call(client, limits)
            told = "".join(made.stream(client, limits))
        return checked(made.reading.outcome(), told)

    async def made_async(self, faults: Faults, name: str, limits: Limits) -> Reply | Failure:
        made = exchange(name)
        client = connect_async(Endpoint("one", faults.url, KEY), 600)
        try:
            if not self.streams:
                return await made.call_async(client, limits)
            async with aclosing(made.stream_async(client, limits)) as pieces:
                told = "".join([piece async for piece in pieces])
        finally:
            await client.close()
        return checked(made.reading.outcome(), told)


def checked(outcome: Reply | Failure, told: str) -> Reply | Failure:
    """Hold what was told of a stream against its outcome; what came whole is told if it is one."""
    if isinstance(outcome, Reply):
        assert told == outcome.text
    elif outcome.code == "answer_too_large":
        assert (outcome.partial, outcome.streamed) == ("", bool(told))
    else:
        assert told == (outcome.partial if outcome.streamed else "")
    return outcome


FORMS = {
    "thread": Form(on_loop=False, streams=False),
    "thread, streamed": Form(on_loop=False, streams=True),
    "loop": Form(on_loop=True, streams=False),
    "loop, streamed": Form(on_loop=True, streams=True),
}
ENDLESS = [name for name in EXPECTED if is_endless(name)]
LARGE = [
    name for name in EXPECTED if name.startswith("bomb") or name.endswith(("large", "largest"))
]
WHOLE = ["finished-comments", "finished-not-closed", "whole-not-closed", "whole-then-spaces"]
OTHERS = [name for name in EXPECTED if name not in {*ENDLESS, *LARGE, *WHOLE}]


def word(outcome: Reply | Failure) -> str:
    """Return a text, or a code, as the table of behaviours has them."""
    if isinstance(outcome, Reply):
        return (outcome.text or "").replace("\ufffd", "")
    return str(outcome.code)


@pytest.mark.parametrize("name", OTHERS)
@each("form", FORMS)
def test_each_behaviour_has_its_outcome(faults: Faults, form: str, name: str) -> None:
    outcome = FORMS[form].made(faults, name, LONG)
    assert word(outcome) == FORMS[form].expected(name), outcome


@pytest.mark.slow
@each("name", LARGE)
@each("form", FORMS)
def test_no_more_is_read_than_may_be(faults: Faults, form: str, name: str) -> None:
    outcome = FORMS[form].made(faults, name, LONG)
    assert word(outcome) == FORMS[form].expected(name), outcome


@pytest.mark.slow
@each("form", FORMS)
def test_what_never_ends_is_ended(faults: Faults, form: str) -> None:
    def expected(name: str, outcome: Reply | Failure) -> None:
        assert word(outcome) == FORMS[form].expected(name), (name, outcome)

    if FORMS[form].on_loop:
        outcomes = asyncio.run(all_at_once(faults, FORMS[form]))
    else:
        with ThreadPoolExecutor(len(ENDLESS)) as pool:
            calls = [pool.submit(FORMS[form].made, faults, name, SHORT) for name in ENDLESS]
            outcomes = [call.result(30) for call in calls]
    for name, outcome in zip(ENDLESS, outcomes, strict=True):
        expected(name, outcome)


async def all_at_once(faults: Faults, form: Form) -> list[Reply | Failure]:
    return await asyncio.gather(*(form.made_async(faults, name, SHORT) for name in ENDLESS))


@pytest.mark.slow
@each("form", FORMS)
@each(
    ("name", "limits", "message"),
    [
        ("silent", Limits(first_byte=0.2), "the provider did not answer in time"),
        ("silent", Limits(total=0.2), "the answer was not whole after 0.2 s"),
        ("headers-for-ever", Limits(first_byte=0.2, idle=9), "the provider did not answer in time"),
        ("comments-for-ever", Limits(first_byte=0.2), "the provider did not answer in time"),
        ("text-then-comments", Limits(9, idle=0.2), "nothing new came for 0.2 s"),
        ("text-then-empty-deltas", Limits(9, idle=0.2), "nothing new came for 0.2 s"),
        ("text-for-ever", Limits(9, idle=9, total=0.2), "the answer was not whole after 0.2 s"),
        ("body-for-ever", Limits(9, idle=9, total=0.2), "the answer was not whole after 0.2 s"),
    ],
)
def test_the_limit_that_was_met_is_named(
    faults: Faults, form: str, name: str, limits: Limits, message: str
) -> None:
    outcome = FORMS[form].made(faults, name, limits)
    assert isinstance(outcome, Failure)
    assert (outcome.code, outcome.message) == ("timeout", message)
    assert outcome.streamed is name.startswith("text")


@pytest.mark.slow
@each("form", FORMS)
@each("name", WHOLE)
def test_an_answer_that_is_whole_outlives_its_time(faults: Faults, form: str, name: str) -> None:
    outcome = FORMS[form].made(faults, name, SHORT)
    assert word(outcome) == "pong"


@each("form", FORMS)
def test_a_stream_without_a_reason_is_whole_with_a_warning(faults: Faults, form: str) -> None:
    outcome = FORMS[form].made(faults, "done-without-reason", LONG)
    assert isinstance(outcome, Reply)
    assert outcome.warnings == ("the stream ended without a reason why the answer stopped",)
    assert outcome.finish_reason is None


@each("form", FORMS)
@each(
    ("name", "counts"),
    [
        ("usage-huge", (1_000_000_000, None)),
        ("usage-of-a-thousand-digits", (1_000_000_000, 7)),
        ("usage-beyond-numbers", (None, 7)),
        ("usage-odd", (None, None)),
    ],
)
def test_no_usage_spoils_an_answer(
    faults: Faults, form: str, name: str, counts: tuple[int | None, int | None]
) -> None:
    outcome = FORMS[form].made(faults, name, LONG)
    assert isinstance(outcome, Reply)
    assert (outcome.input_tokens, outcome.output_tokens) == counts


@pytest.mark.parametrize("on_loop", [False, True])
def test_a_call_is_cancelled_at_once_and_its_connection_closed(
    faults: Faults,
    on_loop: bool,  # noqa: FBT001 - of the table
) -> None:
    async def cancelled() -> None:
        form = Form(on_loop=True, streams=True)
        call = asyncio.create_task(form.made_async(faults, "text-for-ever", LONG))
        await asyncio.sleep(0.1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    if on_loop:
        asyncio.run(cancelled())
        return
    made = exchange("text-for-ever")
    with closing(connect(Endpoint("one", faults.url, KEY), 600)) as client:
        pieces: Any = made.stream(client, LONG)
        assert next(pieces) == "po"
        pieces.close()


def test_a_limit_of_one_call_is_none_of_the_next(faults: Faults) -> None:
    with closing(connect(Endpoint("one", faults.url, KEY), 600)) as client:
        late = exchange("silent").call(client, Limits(total=0.05))
        assert isinstance(late, Failure)
        time.sleep(0.06)
        assert word(exchange("right").call(client)) == "pong"
        answer = client_over(client).chat.completions.create(
            model="right", messages=[{"role": "user", "content": "ping"}]
        )
    assert answer.choices[0].message.content == "pong"


# Keys.


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["keys-in-an-error", "keys-in-an-answer"])
def test_no_key_is_in_a_log_at_the_level_debug(
    faults: Faults, form: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        outcome = FORMS[form].made(faults, name, LONG)
    shown = f"{outcome!r}{caplog.text}"
    assert "x-echo" in caplog.text  # the client does log the headers of answers
    assert [part for part in (KEY, KEY[4:], KEY[:-4]) if part in shown] == []


def test_no_key_is_in_the_log_of_a_client_that_was_lent(
    faults: Faults, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint = Endpoint(
        "one",
        faults.url,
        KEY,
        (("X-Other", f"Bearer {OTHER}"), ("X-Plain", "plain")),
        secrets=frozenset({KEY, OTHER}),
    )
    with caplog.at_level(logging.DEBUG), closing(connect(endpoint, 600)) as client:
        with pytest.raises(openai.AuthenticationError):
            client_over(client).chat.completions.create(model="keys-in-an-error", messages=[])
        client_over(client).chat.completions.create(model="keys-in-an-answer", messages=[])
    assert "x-echo" in caplog.text
    assert "plain" in caplog.text
    assert [part for part in (KEY, OTHER) if part in caplog.text] == []
