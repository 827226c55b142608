"""What children share, against a provider over HTTP: time, rests, and calls at the same time."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from policy_router import Delegator, Executor, Policy, ProviderError, decide
from policy_router.calls.connections import prepare_http
from policy_router.calls.failing import Failing
from policy_router.calls.health import Health
from policy_router.calls.results import Delegation, Result, Status
from tests.support.provider import KEYS, Provider, chain, policy_at, policy_text

pytestmark = pytest.mark.slow

ONE = {"goal": "hi there"}
DELAY = 20.0
"""How long a provider takes, in seconds, where nothing may wait for it."""
STREAMS = pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])


def tasks(count: int) -> dict[str, Any]:
    return {"tasks": [{"goal": f"task {number}"} for number in range(count)]}


@contextmanager
def delegating(policy: Policy, **options: Any) -> Iterator[Delegator]:
    """Open a delegator with an executor of these options, and close both."""
    own = {name: options.pop(name) for name in ("concurrency", "deadline") if name in options}
    with (
        Executor(policy, environ=KEYS, instructions="", **options) as executor,
        Delegator(policy, executor=executor, **own) as delegator,
    ):
        yield delegator


def single(made: Delegation) -> Result:
    (result,) = made.results
    return result


def codes(made: Delegation) -> Counter[str]:
    return Counter(str(it.error.code if it.error else it.status) for it in made.results)


def most_at_once(requests: list[dict[str, Any]]) -> int:
    """Return how many requests were answered at the same time."""
    begun = [(request["started_at"], 1) for request in requests]
    ended = [(request["ended_at"], -1) for request in requests]
    return max(itertools.accumulate(step for _, step in sorted([*begun, *ended])))


@pytest.fixture(autouse=True, scope="module")
def _warm() -> None:
    """Import the SDK beforehand, so that no call here has to wait for it."""
    prepare_http()


# Time.


@STREAMS
def test_a_call_that_takes_too_long_for_its_entry_is_followed_by_the_next(
    peer: Provider, *, streams: bool
) -> None:
    peer.delay(DELAY, "m0")
    policy = policy_at(peer, *chain("near", "far", timeouts={"total": 0.2}))
    began = time.monotonic()
    with delegating(policy, streams=streams, deadline=10) as it:
        result = single(it.delegate(ONE))
    assert time.monotonic() - began < DELAY / 2
    assert result.status is Status.COMPLETED
    assert [(it.model, it.failure) for it in result.attempts] == [
        ("m0", Failing.TIMEOUT),
        ("m1", None),
    ]


@STREAMS
@pytest.mark.parametrize("on_loop", [False, True], ids=["thread", "loop"])
def test_a_child_of_the_executor_has_no_more_time_than_its_deadline(
    peer: Provider, *, streams: bool, on_loop: bool
) -> None:
    peer.delay(DELAY, "m0")
    policy = policy_at(peer, *chain("near", "far"))
    record = decide(policy, {}, now="2026-01-31T09:00:00Z")
    executor = Executor(policy, environ=KEYS, streams=streams)

    async def run_async() -> None:
        async with executor:
            await executor.run_async(record, "hi there", deadline=0.3)

    began = time.monotonic()
    with executor, pytest.raises(ProviderError) as caught:
        asyncio.run(run_async()) if on_loop else executor.run(record, "hi there", deadline=0.3)
    assert time.monotonic() - began < DELAY / 2
    assert caught.value.code == "timeout"
    assert [it.failure for it in caught.value.attempts] == ["timeout"]


@STREAMS
def test_without_a_deadline_a_child_in_a_thread_has_the_time_of_its_entry(
    peer: Provider, *, streams: bool
) -> None:
    peer.delay(DELAY, "m0")
    policy = policy_at(peer, *chain("near", "far", timeouts={"first_byte": 0.2}))
    began = time.monotonic()
    with delegating(policy, streams=streams) as it:
        result = single(it.delegate(ONE))
    assert time.monotonic() - began < DELAY / 2
    assert [(it.model, it.failure) for it in result.attempts] == [("m0", "timeout"), ("m1", None)]


@STREAMS
def test_a_batch_ends_at_its_deadline_with_what_is_finished(
    peer: Provider, *, streams: bool
) -> None:
    peer.delay(DELAY, "m0", times=2)
    policy = policy_at(peer, *chain("near"))
    began = time.monotonic()
    with delegating(policy, streams=streams, deadline=0.4, concurrency=8) as it:
        made = it.delegate(tasks(6))
    assert time.monotonic() - began < DELAY / 2
    assert made.status is Status.PARTIAL
    assert codes(made) == {"completed": 4, "timeout": 2}
    late = [result for result in made.results if result.error]
    assert {it.failure for result in late for it in result.attempts} <= {Failing.TIMEOUT}


# Rests.


@pytest.mark.parametrize("concurrency", [1, 8, 32])
def test_of_100_children_at_most_those_under_way_call_one_that_asked_to_be_left_alone(
    peer: Provider, concurrency: int
) -> None:
    peer.fail(429, "m0", times=None, retry_after=3600)
    with delegating(policy_at(peer, *chain("near")), concurrency=concurrency) as it:
        made = it.delegate(tasks(100))
    assert codes(made) == {"rate_limited": 100}
    assert 1 <= len(peer.requests()) <= concurrency
    assert sum(it.attempts[0].is_sent for it in made.results) == len(peer.requests())


def test_the_others_go_on_to_their_fallback(peer: Provider) -> None:
    peer.fail(429, "m0", times=None, retry_after=300)
    with delegating(policy_at(peer, *chain("near", "far")), concurrency=4) as it:
        made = it.delegate(tasks(20))
        assert codes(made) == {"completed": 20}
        called = Counter(peer.models())
        assert called["m0"] <= 4
        assert called["m1"] == 20
        for _ in range(5):  # in later delegations, too
            assert single(it.delegate(ONE)).attempts[0].is_sent is False
        assert Counter(peer.models())["m0"] == called["m0"]


def test_one_that_failed_several_times_in_a_row_rests(peer: Provider) -> None:
    peer.fail(500, "m0", times=None)
    with delegating(policy_at(peer, *chain("near", "far")), concurrency=1) as it:
        made = it.delegate(tasks(20))
    assert codes(made) == {"completed": 20}
    assert Counter(peer.models()) == {"m0": 5, "m1": 20}
    assert made.results[19].attempts[0].failure is Failing.SERVER_ERROR
    assert "failed several times" in (made.results[19].attempts[0].message or "")


def test_threads_and_loops_know_the_same(peer: Provider) -> None:
    peer.fail(429, "m0", times=None, retry_after=300)
    policy = policy_at(peer, *chain("near", "far"))
    with delegating(policy) as it:

        async def on_a_loop() -> None:
            await it.delegate_async(ONE)
            await it.executor.release()

        it.delegate(ONE)
        asyncio.run(on_a_loop())
        it.delegate(tasks(3))
    assert Counter(peer.models()) == {"m0": 1, "m1": 5}


def test_a_host_may_give_its_executors_one_store(peer: Provider) -> None:
    peer.fail(429, "m0", times=None, retry_after=300)
    policy, health = policy_at(peer, *chain("near", "far")), Health()
    for _ in range(3):
        with delegating(policy, health=health) as it:
            it.delegate(ONE)
    assert Counter(peer.models()) == {"m0": 1, "m1": 3}


def test_one_that_rests_for_a_moment_is_waited_for_where_nobody_else_is_free(
    peer: Provider,
) -> None:
    peer.fail(429, "m0", retry_after=0.3)
    with delegating(policy_at(peer, *chain("near")), retries=1) as it:
        result = single(it.delegate(ONE))
        assert [it.failure for it in result.attempts] == ["rate_limited", None]


# At the same time.


def test_a_provider_gets_so_many_calls_at_the_same_time_and_no_more(peer: Provider) -> None:
    peer.delay(0.05, "m0", times=None)
    providers = {
        "near": {"base_url": peer.url("near"), "api_key": "env:NEAR_KEY", "concurrency": 2}
    }
    policy = policy_at(peer, *chain("near"), providers=providers)
    with delegating(policy, concurrency=8) as one, delegating(policy, concurrency=8) as two:

        async def both() -> list[Delegation]:
            batches = (it.delegate_async(tasks(6)) for it in (one, two))
            single = asyncio.to_thread(one.delegate, ONE)
            made = list(await asyncio.gather(*batches, single))
            for it in (one, two):
                await it.executor.release()
            return made

        made = asyncio.run(both())
    assert [it.status for it in made] == [Status.COMPLETED] * 3
    assert most_at_once(peer.requests()) == 2


def test_of_children_that_wait_for_their_turn_none_calls_one_that_rests(peer: Provider) -> None:
    peer.fail(429, "m0", times=None, retry_after=3600)
    providers = {
        "near": {"base_url": peer.url("near"), "api_key": "env:NEAR_KEY", "concurrency": 2}
    }
    policy = policy_at(peer, *chain("near"), providers=providers)
    with delegating(policy, concurrency=100) as it:
        made = it.delegate(tasks(100))
    assert codes(made) == {"rate_limited": 100}
    assert len(peer.requests()) <= 2


# The first call on an event loop.

FIRST_CALL = """
import asyncio, sys, threading
from policy_router import Executor, decide, load

policy = load(sys.argv[1])
record = decide(policy, {}, now="2026-01-31T09:00:00Z")


async def main():
    async with Executor(policy, environ={"NEAR_KEY": "k" * 20}) as executor:
        if sys.argv[2] == "warm":
            await executor.warm()
            assert {"httpx", "httpx2"} & sys.modules.keys()
        await executor.run_async(record, "hi there")
    assert "openai" not in sys.modules  # only a host that wants its client needs it


class Finder:
    def find_spec(self, name, path=None, target=None):
        if name in ("httpx", "httpx2"):
            print(threading.current_thread() is threading.main_thread())
        return None


sys.meta_path.insert(0, Finder())
asyncio.run(main())
"""


@pytest.mark.parametrize("way", ["warm", "cold"])
def test_on_an_event_loop_the_http_client_is_imported_in_another_thread(
    peer: Provider, tmp_path: Path, way: str
) -> None:
    (tmp_path / "policy.json").write_text(policy_text(peer, *chain("near")), encoding="utf-8")
    ran = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", FIRST_CALL, str(tmp_path / "policy.json"), way],
        capture_output=True,
        check=False,
        timeout=50,
    )
    assert (ran.stdout.decode().split(), ran.stderr.decode()) == (["False"], "")
