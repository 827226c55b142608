"""Delegation against a provider that answers over HTTP, slowly, wrongly or not at all."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import signal
import threading
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from policy_router import Delegator, Executor, Policy, ProviderError, Reply, RequestError, decide
from policy_router.calls.child_task import ChildTask, Event, EventKind
from policy_router.calls.failing import Failing
from policy_router.calls.failures import Failure
from policy_router.calls.results import Delegation, Result, Status
from policy_router.decision.record import Target
from tests.support.commands import NOW
from tests.support.provider import KEYS, Provider, chain, dead_port, policy_at

HELLO = "Hello! You said: hi there"
PRICE = {"input": 3.0, "output": 15.0}
ONE = {"goal": "hi there"}
DOWN = [("m0", Failing.SERVER_ERROR, 503)]


@dataclass
class Seen:
    """A watcher that remembers."""

    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: EventKind) -> list[Event]:
        return [event for event in self.events if event.kind is kind]

    async def so_many(self, kind: EventKind, count: int) -> None:
        """Wait until an event has happened so often."""
        while len(self.of(kind)) < count:  # noqa: ASYNC110 - an event tells nobody who waits
            await asyncio.sleep(0.01)

    @property
    def most_at_once(self) -> int:
        steps = {EventKind.STARTED: 1, EventKind.FINISHED: -1}
        return max(itertools.accumulate(steps.get(event.kind, 0) for event in self.events))


@contextmanager
def delegating(
    policy: Policy, *, executor: Mapping[str, Any] | None = None, **options: Any
) -> Iterator[Delegator]:
    """Open a delegator, and close it; its children have no system message."""
    usual = {"environ": KEYS, "instructions": ""}
    with (
        Executor(policy, **{**usual, **(executor or {})}) as made,
        Delegator(policy, executor=made, **options) as delegator,
    ):
        yield delegator


@dataclass(frozen=True)
class Way:
    """In a thread, or on an event loop."""

    on_loop: bool

    def delegate(
        self,
        policy: Policy,
        arguments: Mapping[str, Any],
        *,
        session_id: str | None = None,
        executor: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Delegation:
        """Delegate once."""
        if self.on_loop:
            return asyncio.run(self._delegate(policy, arguments, session_id, executor, options))
        with delegating(policy, executor=executor, **options) as delegator:
            return delegator.delegate(arguments, session_id=session_id)

    async def _delegate(
        self,
        policy: Policy,
        arguments: Mapping[str, Any],
        session_id: str | None,
        executor: Mapping[str, Any] | None,
        options: dict[str, Any],
    ) -> Delegation:
        usual = {"environ": KEYS, "instructions": ""}
        async with (
            Executor(policy, **{**usual, **(executor or {})}) as made,
            Delegator(policy, executor=made, **options) as delegator,
        ):
            return await delegator.delegate_async(arguments, session_id=session_id)

    def result(self, policy: Policy, arguments: Mapping[str, Any] = ONE, **options: Any) -> Result:
        """Delegate one task."""
        (result,) = self.delegate(policy, arguments, **options).results
        return result


WAYS = {"thread": Way(on_loop=False), "loop": Way(on_loop=True)}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    return WAYS[request.param]


def tasks(count: int, **more: Any) -> dict[str, Any]:
    return {"tasks": [{"goal": f"task {number}", **more} for number in range(count)]}


def tried(result: Result) -> list[tuple[str, Failing | None, int | None]]:
    """Return the attempts, in short."""
    return [(attempt.model, attempt.failure, attempt.status) for attempt in result.attempts]


def error_code(result: Result) -> str | None:
    return result.error.code if result.error else None


def statuses(made: Delegation) -> list[Status]:
    return [result.status for result in made.results]


def counted() -> Callable[[Any], str]:
    numbers = itertools.count()
    return lambda _now: f"decision-{next(numbers)}"


# What comes back


def test_one_child_comes_back_with_everything_that_is_known_of_it(peer: Provider, way: Way) -> None:
    policy = policy_at(peer, *chain("near", "far", price=PRICE))
    made = json.loads(way.delegate(policy, ONE, session_id="s-1", ids=counted()).to_json())
    took = made["results"][0].pop("duration_seconds")
    of_the_call = made["results"][0]["attempts"][0].pop("duration_seconds")
    assert 0 < of_the_call <= took < 10
    assert made == {
        "status": "completed",
        "session_id": "s-1",
        "error": None,
        "results": [
            {
                "task": 0,
                "status": "completed",
                "text": HELLO,
                "requested": {"model": None, "provider": None},
                "outranked": [],
                "effective": {"model": "m0", "provider": "near", "entry": "m0"},
                "level": "pool",
                "rule": "pool",
                "decision_id": "decision-0",
                "session_id": "s-1",
                "served_model": "m0",
                "finish_reason": "stop",
                "attempts": [
                    {
                        "number": 1,
                        "model": "m0",
                        "provider": "near",
                        "entry": "m0",
                        "failure": None,
                        "status": 200,
                        "message": None,
                        "is_sent": True,
                        "input_tokens": None,
                        "output_tokens": None,
                    }
                ],
                "tokens": {"input": 2, "output": 6, "cached": None},
                "cost_usd": 0.000096,
                "cost_is_upper_bound": False,
                "cost_status": "measured",
                "reserved_usd": None,
                "overrun_usd": None,
                "estimate": None,
                "warnings": [],
                "error": None,
            }
        ],
        "totals": {
            "input_tokens": 2,
            "output_tokens": 6,
            "cost_usd": 0.000096,
            "unknown_tokens": 0,
            "unknown_costs": 0,
            "overrun_usd": None,
        },
    }


def test_what_is_asked_for_is_told_beside_what_it_ran_on(peer: Provider, way: Way) -> None:
    policy = policy_at(peer, *chain("near", "far"), precedence="strict")
    result = way.result(policy, {**ONE, "model": "m1", "provider": "far"})
    assert result.requested.model == "m1"
    assert result.requested.provider == "far"
    assert result.effective is not None
    assert (result.effective.model, result.effective.provider) == ("m1", "far")
    assert (result.level, result.rule) == ("call", "call")


@pytest.mark.parametrize(
    ("price", "cost"),
    [
        (None, None),
        ({"input": 3.0}, None),
        ({"output": 15.0}, None),
        ({"input": 0.0, "output": 0.0}, 0.0),
    ],
    ids=["unknown", "of the output unknown", "of the input unknown", "nothing"],
)
def test_an_unknown_cost_is_null_and_a_known_one_may_be_zero(
    peer: Provider, way: Way, price: dict[str, float] | None, cost: float | None
) -> None:
    given = {} if price is None else {"price": price}
    made = way.delegate(policy_at(peer, *chain("near", **given)), ONE)
    assert json.loads(made.to_json())["results"][0]["cost_usd"] == cost


def test_results_come_in_the_order_of_the_tasks(peer: Provider, way: Way) -> None:
    peer.delay(0.3, "m0")
    seen = Seen()
    made = way.delegate(policy_at(peer, *chain("near")), tasks(5), watcher=seen)
    assert [result.text for result in made.results] == [
        f"Hello! You said: task {number}" for number in range(5)
    ]
    ended = [event.task for event in seen.of(EventKind.FINISHED)]
    assert sorted(ended) == list(range(5))
    assert ended != list(range(5))


def test_the_session_goes_to_every_target_and_comes_back(peer: Provider, way: Way) -> None:
    forcing = {"session_header": "X-LLMock-Force-Status"}  # it answers with what this says
    made = way.delegate(
        policy_at(peer, *chain("near", "far")), ONE, session_id="502", executor=forcing
    )
    assert tried(made.results[0]) == [
        ("m0", Failing.SERVER_ERROR, 502),
        ("m1", Failing.SERVER_ERROR, 502),
    ]
    assert (made.session_id, made.results[0].session_id) == ("502", "502")


@pytest.mark.parametrize("session", ["", " a", "a\nb", "é", "x" * 201])
def test_a_session_that_no_header_can_carry_is_a_bad_request(
    peer: Provider, way: Way, session: str
) -> None:
    with pytest.raises(RequestError, match=r"^\$\.session_id: "):
        way.delegate(policy_at(peer, *chain("near")), ONE, session_id=session)
    assert peer.requests() == []


# Batches


def test_two_hundred_tasks_run_within_the_limit_and_after_all_is_decided(
    peer: Provider, way: Way
) -> None:
    decided: list[str] = []
    decided_at_start: list[int] = []
    seen, ids = Seen(), counted()

    def keep(now: Any) -> str:
        decided.append(ids(now))
        return decided[-1]

    def watch(event: Event) -> None:
        seen(event)
        if event.kind is EventKind.STARTED:
            decided_at_start.append(len(decided))

    policy = policy_at(peer, *chain("near", price=PRICE))
    made = way.delegate(policy, tasks(200), concurrency=32, watcher=watch, ids=keep)
    assert made.status == Status.COMPLETED
    assert [result.task for result in made.results] == list(range(200))
    assert [result.text for result in made.results] == [
        f"Hello! You said: task {number}" for number in range(200)
    ]
    assert [result.decision_id for result in made.results] == decided
    assert decided_at_start == [200] * 200
    assert seen.most_at_once == 32
    assert len(peer.requests()) == 200


@pytest.mark.parametrize("limit", [1, 3])
def test_no_more_children_run_than_may(peer: Provider, way: Way, limit: int) -> None:
    seen = Seen()
    policy = policy_at(peer, *chain("near"))
    way.delegate(policy, tasks(9), concurrency=limit, watcher=seen)
    assert seen.most_at_once == limit
    spans = [(request["started_at"], request["ended_at"]) for request in peer.requests()]
    assert all(sum(a < start < b for a, b in spans) < limit for start, _ in spans)


MIXED = {"tasks": [{"goal": "a"}, {"goal": "b", "model": "huge"}, {"goal": "c", "model": "m1"}]}


def test_one_refused_task_refuses_the_batch_and_nobody_is_called(peer: Provider, way: Way) -> None:
    seen = Seen()
    policy = policy_at(peer, *chain("near", "far"), precedence="strict")
    made = way.delegate(policy, MIXED, watcher=seen)
    assert made.status == Status.REFUSED
    assert made.error is not None
    assert made.error == made.results[1].error
    assert (made.error.code, made.error.task) == ("outside_pool", 1)
    assert made.error.permitted == ("m0", "m1")
    assert made.error.message == "the task asks for a model outside the pool"
    assert statuses(made) == [Status.NOT_STARTED, Status.REFUSED, Status.NOT_STARTED]
    assert [result.effective for result in made.results] == [None, None, None]
    assert (seen.events, peer.requests()) == ([], [])


def test_a_refused_task_may_be_skipped(peer: Provider, way: Way) -> None:
    policy = policy_at(peer, *chain("near", "far"), precedence="strict")
    made = way.delegate(policy, MIXED, on_refused="skip")
    assert (made.status, made.error) == (Status.PARTIAL, None)
    assert statuses(made) == [Status.COMPLETED, Status.REFUSED, Status.COMPLETED]
    assert made.results[1].error is not None
    assert made.results[1].error.permitted == ("m0", "m1")
    assert sorted(peer.models()) == ["m0", "m1"]


def test_a_batch_of_refused_tasks_alone_is_refused(peer: Provider, way: Way) -> None:
    policy = policy_at(peer, *chain("near"), precedence="strict")
    for rule in ("refuse", "skip"):
        made = way.delegate(policy, tasks(2, model="huge"), on_refused=rule)
        assert (made.status, statuses(made)) == (Status.REFUSED, [Status.REFUSED] * 2)
    assert peer.requests() == []


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ({}, "$.goal"),
        ({"goal": "  "}, "$.goal"),
        ({"gaol": "x"}, "$.gaol"),
        ({"tasks": [{"goal": "a"}, {}]}, "$.tasks[1].goal"),
        ({"tasks": [{"goal": "a"}, {"goal": "b", "kind": 3}]}, "$.tasks[1].kind"),
        ({"tasks": "a"}, "$.tasks"),
    ],
)
def test_malformed_arguments_are_told_by_their_place_and_nobody_is_called(
    peer: Provider, way: Way, arguments: dict[str, Any], place: str
) -> None:
    made = way.delegate(policy_at(peer, *chain("near")), arguments)
    assert (made.status, made.results) == (Status.REFUSED, ())
    assert made.error is not None
    assert made.error.code == "bad_request"
    assert made.error.message.startswith(f"{place}: ")
    assert peer.requests() == []


# Going on by the plan


@pytest.mark.parametrize(
    ("status", "code", "streams"),
    [
        (402, Failing.PAYMENT_REQUIRED, False),
        (404, Failing.MODEL_NOT_FOUND, False),
        (408, Failing.TIMEOUT, False),
        (429, Failing.RATE_LIMITED, False),
        (429, Failing.RATE_LIMITED, True),
        (500, Failing.SERVER_ERROR, False),
        (503, Failing.SERVER_ERROR, False),
        (529, Failing.SERVER_ERROR, False),
        (529, Failing.SERVER_ERROR, True),
    ],
)
def test_one_goes_on_after_a_status_that_another_target_could_mend(
    peer: Provider,
    way: Way,
    status: int,
    code: Failing,
    streams: bool,  # noqa: FBT001 - of the table
) -> None:
    peer.fail(status, "m0")
    seen = Seen()
    policy = policy_at(peer, *chain("near", "far", price=PRICE))
    result = way.result(policy, watcher=seen, executor={"streams": streams})
    assert (result.status, result.text, result.error) == (Status.COMPLETED, HELLO, None)
    assert tried(result) == [("m0", code, status), ("m1", None, 200)]
    assert result.effective is not None
    assert (result.effective.model, result.effective.provider) == ("m1", "far")
    assert (result.served_model, result.cost_usd) == ("m1", None)
    assert [event.message for event in seen.of(EventKind.ATTEMPT)] == [
        "attempt 1 of 2 at near",
        f"attempt 2 of 2 at far after {status}",
    ]
    assert seen.of(EventKind.WAITING) == []
    assert peer.models() == ["m0", "m1"]


@pytest.mark.parametrize("status", [400, 401, 403, 422])
def test_one_does_not_go_on_after_a_call_that_is_wrong_itself(
    peer: Provider, way: Way, status: int
) -> None:
    peer.fail(status, "m0", message="It is the call.")
    result = way.result(policy_at(peer, *chain("near", "far")))
    code = {400: "bad_request", 401: "unauthorized"}.get(status, "http_error")
    assert result.status == Status.FAILED
    assert tried(result) == [("m0", code, status)]
    assert result.error is not None
    assert (result.error.code, result.error.task) == (code, 0)
    assert result.error.message == "It is the call. (m0 at near)"
    assert (result.text, result.cost_usd, result.tokens.input) == (None, None, None)
    assert peer.models() == ["m0"]


@pytest.mark.parametrize("status", [400, 401, 403, 422])
def test_one_goes_on_after_further_statuses_that_the_entry_names(
    peer: Provider, way: Way, status: int
) -> None:
    peer.fail(status, "m0")
    result = way.result(policy_at(peer, *chain("near", "far", fallback_on=[status])))
    assert result.status == Status.COMPLETED
    assert peer.models() == ["m0", "m1"]


def test_one_goes_on_where_nobody_listens(peer: Provider, way: Way) -> None:
    with dead_port() as port:
        dead = {"base_url": f"http://127.0.0.1:{port}/v1"}
        policy = policy_at(peer, *chain("dead", "far"), providers={"dead": dead})
        result = way.result(policy)
    assert result.status == Status.COMPLETED
    assert tried(result) == [("m0", Failing.CONNECTION_FAILED, None), ("m1", None, 200)]


def test_one_goes_on_where_nothing_comes_in_time(peer: Provider, way: Way) -> None:
    peer.delay(20, "m0")
    result = way.result(policy_at(peer, *chain("near", "far")), executor={"timeout": 0.7})
    assert tried(result) == [("m0", Failing.TIMEOUT, None), ("m1", None, 200)]
    assert result.status == Status.COMPLETED


def test_a_fallback_without_a_key_is_passed_over(peer: Provider, way: Way) -> None:
    peer.fail(503, "m0")
    keyless = {"base_url": peer.url("near"), "api_key": "env:NO_SUCH_KEY"}
    policy = policy_at(peer, *chain("near", "other", "far"), providers={"other": keyless})
    result = way.result(policy)
    assert tried(result) == [*DOWN, ("m1", Failing.NO_CREDENTIAL, None), ("m2", None, 200)]
    assert peer.models() == ["m0", "m2"]


def test_without_a_key_nothing_is_sent_and_the_reference_is_named(peer: Provider, way: Way) -> None:
    result = way.result(policy_at(peer, *chain("near", "far")), executor={"environ": {}})
    assert result.error is not None
    assert result.error.code == Failing.NO_CREDENTIAL
    assert "env:NEAR_KEY" in result.error.message
    assert peer.requests() == []


def test_where_every_target_fails_all_attempts_are_told_in_order(peer: Provider, way: Way) -> None:
    for number, status in enumerate((500, 429, 404)):
        peer.fail(status, f"m{number}", message=f"It is {status}.")
    result = way.result(policy_at(peer, *chain("near", "far", "near")))
    assert result.status == Status.FAILED
    assert tried(result) == [
        ("m0", Failing.SERVER_ERROR, 500),
        ("m1", Failing.RATE_LIMITED, 429),
        ("m2", Failing.MODEL_NOT_FOUND, 404),
    ]
    assert [attempt.number for attempt in result.attempts] == [1, 2, 3]
    assert [attempt.message for attempt in result.attempts] == [
        "It is 500.",
        "It is 429.",
        "It is 404.",
    ]
    assert result.error is not None
    assert result.error.code == Failing.MODEL_NOT_FOUND
    assert result.error.message == "It is 404. (m2 at near)"
    assert result.effective is not None
    assert result.effective.model == "m2"


@pytest.mark.parametrize("level", ["call", "task"])
def test_a_child_that_was_pinned_never_becomes_another(
    peer: Provider, way: Way, level: str
) -> None:
    peer.fail(503, "m0", times=None)
    policy = policy_at(peer, *chain("near", "far"), precedence="strict")
    wish = {**ONE, "model": "m0"}
    (result,) = way.delegate(policy, wish if level == "call" else {"tasks": [wish]}).results
    assert (result.status, result.level) == (Status.FAILED, level)
    assert tried(result) == DOWN
    assert peer.models() == ["m0"]


# Being left alone


def again(*places: str) -> tuple[dict[str, Any], ...]:
    """Return a pool as :func:`chain` does, whose second entry is the model of the first."""
    pool = chain(*places)
    pool[1]["model"] = "m0"
    return pool


def test_a_target_is_left_alone_for_as_long_as_it_asks(peer: Provider, way: Way) -> None:
    peer.fail(429, "m0", retry_after=0.4)
    seen = Seen()
    result = way.result(policy_at(peer, *again("near", "near")), watcher=seen)
    assert result.status == Status.COMPLETED
    (waited,) = seen.of(EventKind.WAITING)
    assert waited.seconds is not None
    assert 0 < waited.seconds <= 0.4
    first, second = peer.requests()
    assert second["started_at"] - first["ended_at"] > 0.35


@pytest.mark.parametrize("second", ["near", "far"])
def test_another_target_is_not_waited_for(peer: Provider, way: Way, second: str) -> None:
    peer.fail(429, "m0", retry_after=30)
    seen = Seen()
    result = way.result(policy_at(peer, *chain("near", second)), watcher=seen)
    assert result.status == Status.COMPLETED
    assert seen.of(EventKind.WAITING) == []


def test_a_target_that_asks_for_too_long_is_passed_over(peer: Provider, way: Way) -> None:
    peer.fail(429, "m0", retry_after=30)
    seen, options = Seen(), {"longest_wait": 5}
    policy = policy_at(peer, *again("near", "near", "far"))
    result = way.result(policy, watcher=seen, executor=options)
    assert result.status == Status.COMPLETED
    assert tried(result) == [
        ("m0", Failing.RATE_LIMITED, 429),
        ("m0", Failing.RATE_LIMITED, None),
        ("m2", None, 200),
    ]
    assert seen.of(EventKind.WAITING) == []
    assert peer.models() == ["m0", "m2"]


def test_where_all_that_is_left_is_to_be_left_alone_too_long_nothing_is_waited_for(
    peer: Provider, way: Way
) -> None:
    peer.fail(429, "m0", retry_after=90)
    result = way.result(policy_at(peer, *again("near", "near")), executor={"retries": 3})
    assert (result.status, error_code(result)) == (Status.FAILED, Failing.RATE_LIMITED)
    assert peer.models() == ["m0"]


def test_a_plan_is_begun_anew_as_often_as_the_host_says(peer: Provider, way: Way) -> None:
    policy = policy_at(peer, *chain("near"))
    peer.fail(503, "m0", times=2, retry_after=0.05)
    result = way.result(policy, executor={"retries": 2})
    assert tried(result) == [*DOWN, *DOWN, ("m0", None, 200)]
    assert (result.status, result.text) == (Status.COMPLETED, HELLO)

    peer.reset()
    peer.fail(503, "m0", times=None, retry_after=0.05)
    result = way.result(policy, executor={"retries": 2})
    assert tried(result) == DOWN * 3
    assert (result.status, error_code(result)) == (Status.FAILED, Failing.SERVER_ERROR)
    assert peer.models() == ["m0"] * 3


def test_without_being_told_nothing_is_begun_anew(peer: Provider, way: Way) -> None:
    peer.fail(503, "m0", retry_after=0.01)
    assert tried(way.result(policy_at(peer, *chain("near")))) == DOWN
    assert peer.models() == ["m0"]


# Streams


@pytest.mark.parametrize(
    ("provider", "api"),
    [("near", "chat_completions"), ("near", "responses"), ("far", "chat_completions")],
)
def test_the_pieces_of_a_stream_add_up_to_its_text(
    peer: Provider, way: Way, provider: str, api: str
) -> None:
    seen = Seen()
    policy = policy_at(peer, *chain(provider, price=PRICE, dialect={"api": api}))
    result = way.result(policy, watcher=seen, executor={"streams": True})
    pieces = [event.message for event in seen.of(EventKind.TEXT)]
    assert len(pieces) > 2
    assert "".join(pieces) == result.text == HELLO
    assert (result.tokens.input, result.tokens.output) == (2, 6)
    assert (result.cost_usd, result.served_model) == (0.000096, "m0")
    assert result.finish_reason == {"responses": "completed"}.get(api, "stop")
    (asked,) = peer.requests()
    assert asked["stream"] is True
    assert asked["path"].endswith({"responses": "/responses"}.get(api, "/chat/completions"))


def test_a_response_that_is_not_streamed_is_read_too(peer: Provider, way: Way) -> None:
    policy = policy_at(peer, *chain("near", price=PRICE, dialect={"api": "responses"}))
    result = way.result(policy)
    assert (result.text, result.finish_reason) == (HELLO, "completed")
    assert (result.tokens.input, result.tokens.output, result.cost_usd) == (2, 6, 0.000096)


def test_of_a_stream_without_counts_the_cost_is_unknown(peer: Provider, way: Way) -> None:
    entry = {"price": PRICE, "dialect": {"unsupported": ["stream_options"]}}
    result = way.result(policy_at(peer, *chain("near", **entry)), executor={"streams": True})
    assert result.text == HELLO
    assert (result.tokens.input, result.tokens.output, result.cost_usd) == (None, None, None)


BREAKS = {
    "disconnect": {},
    "truncate": {},
    "malformed": {},
    "stall": {"stall_seconds": 20},
}


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("disconnect", Failing.STREAM_BROKEN),
        ("truncate", Failing.STREAM_BROKEN),
        ("malformed", Failing.STREAM_BROKEN),
        ("stall", Failing.TIMEOUT),
    ],
)
def test_after_its_first_text_a_stream_that_breaks_is_the_end(
    peer: Provider, way: Way, kind: str, code: Failing
) -> None:
    text = "Hello! You "
    peer.break_stream(kind, after=3, **BREAKS[kind])
    seen = Seen()
    options = {"streams": True, "timeout": 0.7, "retries": 2}
    policy = policy_at(peer, *chain("near", "far", fallback_on=[400, 401]))
    result = way.result(policy, watcher=seen, executor=options)
    assert (result.status, error_code(result)) == (Status.FAILED, code)
    assert result.text == text
    assert "".join(event.message for event in seen.of(EventKind.TEXT)) == text
    (attempt,) = result.attempts
    assert (attempt.model, attempt.failure) == ("m0", code)
    assert result.cost_usd is None
    assert peer.models() == ["m0"]


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("kind", BREAKS)
def test_before_its_first_text_a_stream_that_breaks_is_gone_on_after(
    peer: Provider, way: Way, kind: str, after: int
) -> None:
    peer.break_stream(kind, after=after, **BREAKS[kind])
    options = {"streams": True, "timeout": 0.7}
    result = way.result(policy_at(peer, *chain("near", "far")), executor=options)
    assert (result.status, result.text) == (Status.COMPLETED, HELLO)
    assert peer.models() == ["m0", "m1"]


def test_a_stream_that_is_slow_but_steady_is_no_timeout(peer: Provider, way: Way) -> None:
    peer.break_stream("stall", after=2, stall_seconds=0.4)
    options = {"streams": True, "timeout": 2.0}
    result = way.result(policy_at(peer, *chain("near")), executor=options)
    assert (result.status, result.text) == (Status.COMPLETED, HELLO)


# Outages


def open_sockets() -> int:
    """Return how many sockets this process has."""
    found = Path("/proc/self/fd")
    if not found.exists():
        pytest.skip("this system does not list what is open")
    count = 0
    for link in found.iterdir():
        try:
            count += str(link.readlink()).startswith("socket:")
        except OSError:  # it was the folder itself
            continue
    return count


@pytest.fixture(scope="module")
def failing() -> Iterator[Provider]:
    with Provider() as provider:
        yield provider


def test_after_an_outage_the_next_call_has_a_new_connection(failing: Provider, way: Way) -> None:
    def outage(delegate: Callable[[], Result]) -> None:
        assert delegate().status == Status.COMPLETED
        failing.stop()
        for _ in range(2):
            assert error_code(delegate()) == Failing.CONNECTION_FAILED
        failing.start()
        assert delegate().status == Status.COMPLETED
        failing.stop()
        failing.start()
        assert delegate().status == Status.COMPLETED  # the connection that was kept is dead

    async def on_a_loop() -> None:
        loop = asyncio.get_running_loop()

        async def delegate() -> Result:
            return (await delegator.delegate_async(ONE)).results[0]

        def from_a_thread() -> Result:
            return asyncio.run_coroutine_threadsafe(delegate(), loop).result(30)

        executor = Executor(policy, environ=KEYS, instructions="")
        async with executor, Delegator(policy, executor=executor) as delegator:
            await asyncio.to_thread(outage, from_a_thread)

    policy = policy_at(failing, *chain("near"))
    if way.on_loop:
        asyncio.run(on_a_loop())
    else:
        with delegating(policy) as delegator:
            outage(lambda: delegator.delegate(ONE).results[0])


@pytest.mark.parametrize("fault", ["none", "timeout", "broken stream"])
def test_no_connection_is_left_open(peer: Provider, way: Way, fault: str) -> None:
    policy = policy_at(peer, *chain("near"))
    before = open_sockets()
    options: dict[str, Any] = {}
    if fault == "timeout":
        peer.delay(20, "m0", times=None)
        options = {"timeout": 0.3}
    if fault == "broken stream":
        peer.break_stream("disconnect", after=2, times=None)
        options = {"streams": True}
    expected = Status.COMPLETED if fault == "none" else Status.FAILED
    for arguments in (ONE, tasks(8)):
        assert way.delegate(policy, arguments, executor=options).status == expected
    assert open_sockets() == before


# Interrupts


def test_who_cancels_a_delegation_cancels_its_children_and_no_others(peer: Provider) -> None:
    peer.delay(20, "m0", times=None)
    policy = policy_at(peer, *chain("near", "far"), precedence="strict")
    seen, others = Seen(), Seen()

    async def run() -> Delegation:
        executor = Executor(policy, environ=KEYS, instructions="")
        async with executor, Delegator(policy, executor=executor, concurrency=4) as delegator:
            slow = asyncio.create_task(delegator.delegate_async(tasks(10), watcher=seen))
            await seen.so_many(EventKind.ATTEMPT, 4)
            other = asyncio.create_task(
                delegator.delegate_async(tasks(10, model="m1"), watcher=others)
            )
            slow.cancel()
            with pytest.raises(asyncio.CancelledError):
                await slow
            return await other

    made = asyncio.run(run())
    assert statuses(made) == [Status.COMPLETED] * 10
    assert len(others.of(EventKind.FINISHED)) == 10
    assert Counter(event.status for event in seen.of(EventKind.FINISHED)) == {Status.CANCELLED: 4}
    assert len(seen.of(EventKind.STARTED)) == 4


def test_a_cancelled_stream_is_closed(peer: Provider) -> None:
    peer.break_stream("stall", after=3, stall_seconds=20)
    policy, seen = policy_at(peer, *chain("near", "far")), Seen()

    async def run() -> None:
        executor = Executor(policy, environ=KEYS, instructions="", streams=True)
        async with executor, Delegator(policy, executor=executor) as delegator:
            task = asyncio.create_task(delegator.delegate_async(ONE, watcher=seen))
            await seen.so_many(EventKind.TEXT, 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    before = open_sockets()
    asyncio.run(run())
    assert [event.status for event in seen.of(EventKind.FINISHED)] == [Status.CANCELLED]
    assert open_sockets() == before
    (request,) = peer.requests()
    assert request["completed"] is False


@pytest.mark.usefixtures("interrupts")
@pytest.mark.parametrize("count", [1, 6])
def test_an_interrupted_delegation_cancels_its_children_first(peer: Provider, count: int) -> None:
    peer.delay(20, "m0", times=None)
    policy, seen = policy_at(peer, *chain("near", "far")), Seen()

    def watch(event: Event) -> None:
        seen(event)
        begun = len(seen.of(EventKind.ATTEMPT))
        if event.kind is EventKind.ATTEMPT and begun == min(count, 4):
            threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT)).start()

    main = threading.main_thread().ident
    began = time.monotonic()
    with delegating(policy, concurrency=4) as delegator:
        with pytest.raises(KeyboardInterrupt):
            delegator.delegate(tasks(count), watcher=watch)
        running = [event.status for event in seen.of(EventKind.FINISHED)]
        assert running == [Status.CANCELLED] * min(count, 4)
        peer.reset()
        assert delegator.delegate(tasks(2)).status == Status.COMPLETED
    assert time.monotonic() - began < 20


# Faults at random


class Forgetful:
    """A host's store of health that knows nothing of any target, so that each child is alone."""

    def rest(self, provider: str, model: str) -> None:
        """Know of no rest."""

    def failed(self, provider: str, model: str, failure: Failure) -> None:
        """Forget it."""

    def answered(self, provider: str, model: str) -> None:
        """Forget it."""


@pytest.mark.parametrize(
    ("way", "streams"),
    [(WAYS["thread"], True), (WAYS["loop"], True), (WAYS["loop"], False)],
    ids=["thread, streamed", "loop, streamed", "loop"],
)
def test_whatever_happens_every_task_has_a_result_that_is_true(
    shaky: Provider,
    way: Way,
    streams: bool,  # noqa: FBT001 - of the table
) -> None:
    seen = Seen()
    policy = policy_at(shaky, *chain("near", "far", price=PRICE))
    shaky.reset()
    options = {"streams": streams, "health": Forgetful()}
    made = way.delegate(policy, tasks(200), concurrency=32, watcher=seen, executor=options)
    assert [result.task for result in made.results] == list(range(200))
    for result in made.results:
        _check(result)
    found = Counter(statuses(made))
    assert found[Status.COMPLETED] > 50
    assert sum(found.values()) == 200
    assert set(found) <= {Status.COMPLETED, Status.FAILED}
    assert sum(len(result.attempts) for result in made.results) == len(shaky.requests())
    ended = {event.task: event.result for event in seen.of(EventKind.FINISHED)}
    assert [ended[number] for number in range(200)] == list(made.results)


GONE_ON_AFTER = {"rate_limited", "server_error", "connection_failed", "bad_response"}


def _check(result: Result) -> None:
    """Assert that a result agrees with itself."""
    *before, last = result.attempts
    assert [attempt.model for attempt in result.attempts] == ["m0", "m1"][: len(result.attempts)]
    assert all(attempt.failure in GONE_ON_AFTER for attempt in before)
    assert result.effective is not None
    assert result.effective.model == last.model
    if result.status is Status.COMPLETED:
        assert (last.failure, result.error) == (None, None)
        assert result.text == f"Hello! You said: task {result.task}"
    else:
        assert error_code(result) == last.failure
        assert last.failure in set(Failing)
        assert "Hello! You said: ".startswith((result.text or "")[:17])
        assert result.cost_usd is None


@pytest.fixture(scope="module")
def shaky() -> Iterator[Provider]:
    faults = [("disconnect", 0.1), ("truncate", 0.1), ("malformed", 0.1)]
    words = [f"--stream-fault={kind}={rate}" for kind, rate in faults]
    with Provider("--error-rate=429=0.2", "--error-rate=500=0.1", *words) as provider:
        yield provider


# Secrets


SECRET = "planted 0123456789 zyxwvut 9876543210"  # noqa: S105 - of no provider
"""A key in several words, since the peer streams word by word."""


REPEATED = {
    f"{place}, {said}{', streamed' * streams}": (place, said, streams)
    for place in ("env", "file", "header")
    for said in ("answer", "error")
    for streams in (False, True)
}


@pytest.mark.parametrize("case", REPEATED.values(), ids=REPEATED)
def test_no_key_is_repeated_anywhere(
    peer: Provider,
    way: Way,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    case: tuple[str, str, bool],
) -> None:
    place, said, streams = case
    (tmp_path / "key").write_text(f"{SECRET}\n")
    near: dict[str, Any] = {"base_url": peer.url("near")}
    if place == "header":
        near["headers"] = {"X-Api-Key": "env:PLANTED"}
    else:
        near["api_key"] = "env:PLANTED" if place == "env" else f"file:{tmp_path}/key"
    policy = policy_at(peer, *chain("near", "far"), providers={"near": near})
    words = f"The key {SECRET} is {SECRET}{SECRET}."
    options = {"environ": {**KEYS, "PLANTED": SECRET}, "streams": streams}
    for name in ("openai", "httpx", "httpx2", "httpcore", "httpcore2", "policy_router", "asyncio"):
        caplog.set_level(logging.DEBUG, name)
    caplog.set_level(logging.DEBUG)

    if said == "answer":
        peer.say(words, times=None)
    else:
        peer.fail(400 if streams else 500, times=None, message=words, code=SECRET)
    seen = Seen()
    made = way.delegate(policy, tasks(2), watcher=seen, executor=options)
    shown = [repr(made), made.to_json().decode(), repr(seen.events), caplog.text]
    if said == "answer":
        assert [result.text for result in made.results] == ["The key *** is ******."] * 2
    else:
        shown.extend(_raised(policy, options))
    assert "httpcore" in caplog.text
    assert not [text for text in shown if SECRET in text or SECRET[:18] in text]


def _raised(policy: Policy, options: dict[str, Any]) -> list[str]:
    """Return all that an exception shows."""
    with Executor(policy, **options) as executor, pytest.raises(ProviderError) as caught:
        executor.run(decide(policy, {}, now=NOW), "hi there")
    error = caught.value
    return [str(error), repr(error), repr(vars(error)), *traceback.format_exception(error)]


def test_what_a_child_of_the_host_says_is_cleared_of_keys(peer: Provider, way: Way) -> None:
    policy = policy_at(peer, *chain("near"))
    with Executor(policy, environ=KEYS) as executor:

        def say(_target: Target, task: ChildTask) -> str:
            key = executor.client("near").api_key or KEYS["NEAR_KEY"]
            if task.index:
                raise ValueError(f"the key is {key}, {KEYS['NEAR_KEY']}")
            return f"the key is {KEYS['NEAR_KEY']}"

        seen = Seen()
        with Delegator(policy, executor=executor, run_child=say, watcher=seen) as delegator:
            if way.on_loop:
                made = asyncio.run(delegator.delegate_async(tasks(2)))
            else:
                made = delegator.delegate(tasks(2))
    assert made.results[0].text == "the key is ***"
    assert error_code(made.results[1]) == Failing.CHILD_ERROR
    assert KEYS["NEAR_KEY"] not in f"{made}{seen.events}"


# Children of the host


def by_function(_target: Target, task: ChildTask) -> str:
    return f"done: {task.goal}"


def by_reply(_target: Target, task: ChildTask) -> Reply:
    return Reply(text=f"done: {task.goal}", served_model="m0", input_tokens=2, output_tokens=6)


async def by_coroutine(_target: Target, task: ChildTask) -> str:
    await asyncio.sleep(0)
    return f"done: {task.goal}"


def by_awaitable(target: Target, task: ChildTask) -> Awaitable[str]:
    return by_coroutine(target, task)


class Called:
    def __call__(self, _target: Target, task: ChildTask) -> str:
        return f"done: {task.goal}"


class CalledAsync:
    async def __call__(self, _target: Target, task: ChildTask) -> str:
        await asyncio.sleep(0)
        return f"done: {task.goal}"


CHILDREN = {
    "a function": by_function,
    "a coroutine function": by_coroutine,
    "a function that returns an awaitable": by_awaitable,
    "an object": Called(),
    "an object that is awaited": CalledAsync(),
}


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("kind", CHILDREN)
def test_a_child_of_the_host_takes_the_place_of_the_call(
    peer: Provider, way: Way, kind: str, count: int
) -> None:
    policy = policy_at(peer, *chain("near", "far", price=PRICE))
    made = way.delegate(policy, tasks(count), run_child=CHILDREN[kind])
    assert made.status == Status.COMPLETED
    assert [result.text for result in made.results] == [f"done: task {n}" for n in range(count)]
    result = made.results[0]
    assert result.effective is not None
    assert (result.effective.model, result.level, result.attempts) == ("m0", "pool", ())
    assert (result.tokens.input, result.cost_usd) == (None, None)
    assert peer.requests() == []


def test_what_a_child_of_the_host_counted_is_priced(peer: Provider, way: Way) -> None:
    policy = policy_at(peer, *chain("near", price=PRICE))
    result = way.result(policy, run_child=by_reply)
    assert (result.served_model, result.tokens.output, result.cost_usd) == ("m0", 6, 0.000096)


def test_a_child_of_the_host_is_told_all_that_was_decided(peer: Provider, way: Way) -> None:
    told: list[tuple[Target, ChildTask]] = []

    def keep(target: Target, task: ChildTask) -> str:
        told.append((target, task))
        return ""

    policy = policy_at(peer, *chain("near", "far"))
    arguments = {"tasks": [{"goal": "g", "context": "c", "kind": "k"}]}
    made = way.delegate(policy, arguments, run_child=keep, session_id="s")
    ((target, task),) = told
    assert (target.model, target.provider, target.entry) == ("m0", "near", "m0")
    assert [fallback.model for fallback in task.fallbacks] == ["m1"]
    assert (task.index, task.goal, task.context, task.kind) == (0, "g", "c", "k")
    assert (task.decision_id, task.session_id) == (made.results[0].decision_id, "s")
    assert task.record.decision.target == target


def test_the_batch_rule_and_the_limit_go_for_children_of_the_host(peer: Provider, way: Way) -> None:
    now_running, most, lock = 0, 0, threading.Lock()

    def work(_target: Target, _task: ChildTask) -> str:
        nonlocal now_running, most
        with lock:
            now_running += 1
            most = max(most, now_running)
        time.sleep(0.01)
        with lock:
            now_running -= 1
        return ""

    policy = policy_at(peer, *chain("near", "far"), precedence="strict")
    assert way.delegate(policy, MIXED, run_child=work).status == Status.REFUSED
    assert most == 0
    assert way.delegate(policy, tasks(30), run_child=work, concurrency=3).status == "completed"
    assert most == 3


class OwnExit(BaseException):
    pass


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (ValueError("no luck"), "ValueError: no luck"),
        (SystemExit(3), "SystemExit: 3"),
        (StopIteration("x"), "StopIteration"),
        (asyncio.CancelledError(), "CancelledError"),
        (TimeoutError(), "TimeoutError"),
        (OwnExit("off"), "OwnExit: off"),
        (None, "TypeError: a child returns a text or a Reply, not int"),
    ],
    ids=repr,
)
def test_whatever_a_child_raises_is_its_error_and_nobody_elses(
    peer: Provider,
    way: Way,
    problem: BaseException | None,
    words: str,
    count: int,
) -> None:
    def raises(_target: Target, task: ChildTask) -> Any:
        if task.index > 0:
            return "fine"
        if problem is None:
            return 3
        raise problem

    async def raises_later(target: Target, task: ChildTask) -> Any:
        await asyncio.sleep(0)
        return raises(target, task)

    policy = policy_at(peer, *chain("near"))
    for child in (raises, raises_later):
        made = way.delegate(policy, tasks(count), run_child=child, concurrency=2)
        assert statuses(made) == [Status.FAILED, *[Status.COMPLETED] * (count - 1)]
        assert error_code(made.results[0]) == Failing.CHILD_ERROR
        assert made.results[0].error is not None
        assert words in made.results[0].error.message


def test_a_watcher_that_fails_changes_nothing(peer: Provider, way: Way) -> None:
    def fails(_event: Event) -> None:
        raise ValueError

    seen = Seen()
    policy = policy_at(peer, *chain("near"))
    with delegating(policy, watcher=fails) as delegator:
        assert delegator.delegate(tasks(3), watcher=seen).status == Status.COMPLETED
    assert len(seen.of(EventKind.FINISHED)) == 3
    assert way.delegate(policy, tasks(3), watcher=fails).status == Status.COMPLETED


# Sharing and closing


def test_threads_share_a_delegator(peer: Provider) -> None:
    made: dict[int, Delegation] = {}

    def work(number: int) -> None:
        made[number] = delegator.delegate({"tasks": [{"goal": f"{number}-{n}"} for n in range(20)]})
        made[-number] = delegator.delegate({"goal": f"{number}-alone"})

    with delegating(policy_at(peer, *chain("near"))) as delegator:
        threads = [threading.Thread(target=work, args=(number,)) for number in (1, 2, 3, 4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    for number in (1, 2, 3, 4):
        texts = [result.text for result in made[number].results]
        assert texts == [f"Hello! You said: {number}-{n}" for n in range(20)]
        assert made[-number].results[0].text == f"Hello! You said: {number}-alone"


def test_event_loops_one_after_the_other_share_an_executor(peer: Provider) -> None:
    policy, before = policy_at(peer, *chain("near")), open_sockets()

    async def run() -> Status:
        made = await delegator.delegate_async(tasks(5))
        await executor.release()
        return made.status

    with (
        Executor(policy, environ=KEYS) as executor,
        Delegator(policy, executor=executor) as delegator,
    ):
        assert asyncio.run(run()) == Status.COMPLETED
        assert asyncio.run(run()) == Status.COMPLETED
        assert delegator.delegate(tasks(5)).status == Status.COMPLETED
        assert delegator.delegate(ONE).status == Status.COMPLETED
    assert open_sockets() == before


@pytest.mark.parametrize("arguments", [ONE, tasks(3)], ids=["one", "batch"])
def test_one_may_wait_for_a_delegation_inside_of_an_event_loop(
    peer: Provider, arguments: dict[str, Any]
) -> None:
    with delegating(policy_at(peer, *chain("near"))) as delegator:

        async def run() -> Delegation:
            return delegator.delegate(arguments)

        assert asyncio.run(run()).status == Status.COMPLETED


@pytest.mark.parametrize("is_given", [False, True], ids=["its own", "given"])
def test_what_is_closed_may_be_closed_again_and_delegates_nothing(
    peer: Provider,
    is_given: bool,  # noqa: FBT001 - of the table
) -> None:
    policy = policy_at(peer, *chain("near"))
    executor = Executor(policy, environ=KEYS)
    delegator = Delegator(policy, executor=executor if is_given else None)
    for _ in range(2):
        delegator.close()
        executor.close()
    for arguments in (ONE, tasks(2)):
        with pytest.raises(RuntimeError, match="closed"):
            delegator.delegate(arguments)
        with pytest.raises(RuntimeError, match="closed"):
            asyncio.run(delegator.delegate_async(arguments))
    with pytest.raises(RuntimeError, match="closed"):
        executor.run(decide(policy, {}, now=NOW), "hi there")
    assert peer.requests() == []


def test_closing_ends_a_batch_that_another_thread_waits_for(peer: Provider) -> None:
    peer.delay(20, "m0", times=None)
    seen, ended = Seen(), list[str]()

    def wait() -> None:
        try:
            delegator.delegate(tasks(6), watcher=seen)
        except RuntimeError as problem:
            ended.append(str(problem))

    with delegating(policy_at(peer, *chain("near")), concurrency=3) as delegator:
        thread = threading.Thread(target=wait)
        thread.start()
        while len(seen.of(EventKind.ATTEMPT)) < 3:
            time.sleep(0.01)
    thread.join(10)
    assert ended == ["the delegator was closed before the call ended"]
    assert [event.status for event in seen.of(EventKind.FINISHED)] == [Status.CANCELLED] * 3


def test_a_child_that_delegates_with_its_own_delegator_does_not_wait_for_itself(
    peer: Provider, way: Way
) -> None:
    def work(_target: Target, task: ChildTask) -> str:
        if task.context:
            return "inner"
        made = delegator.delegate({"tasks": [{"goal": "a", "context": "x"}] * 3})
        return f"{made.status} {len(made.results)}"

    policy = policy_at(peer, *chain("near"))
    with delegating(policy, run_child=work, concurrency=2) as delegator:
        made = (
            asyncio.run(delegator.delegate_async(tasks(4)))
            if way.on_loop
            else delegator.delegate(tasks(4))
        )
    assert [result.text for result in made.results] == ["completed 3"] * 4


def test_a_coroutine_of_a_child_cannot_wait_for_its_own_loop(peer: Provider) -> None:
    async def work(_target: Target, _task: ChildTask) -> str:
        return delegator.delegate(tasks(2)).status

    with delegating(policy_at(peer, *chain("near")), run_child=work) as delegator:
        (result, _) = delegator.delegate(tasks(2)).results
    assert error_code(result) == Failing.CHILD_ERROR
    assert result.error is not None
    assert "await delegate_async()" in result.error.message
