"""A target that asked for it, or failed several times in a row, is left alone by everybody."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from policy_router.calls import health as module
from policy_router.calls.failing import Failing
from policy_router.calls.failures import Failure
from policy_router.calls.health import (
    FIRST_REST,
    IN_A_ROW,
    LONGEST_REST,
    Guarded,
    Health,
    Rest,
)


class Clock:
    """A clock that is set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(clock)


def failing(code: Failing = Failing.SERVER_ERROR, after: float | None = None) -> Failure:
    return Failure(code, "it failed", 503, after)


def fail(health: Health, times: int = 1, **more: Any) -> None:
    for _ in range(times):
        health.failed("p", "m", failing(**more))


def test_nothing_is_known_at_first(health: Health) -> None:
    assert health.rest("p", "m") is None


def test_what_a_target_asks_for_counts_for_everybody(health: Health, clock: Clock) -> None:
    fail(health, code=Failing.RATE_LIMITED, after=30)
    assert health.rest("p", "m") == Rest(30, Failing.RATE_LIMITED)
    clock.now += 29
    assert health.rest("p", "m") == Rest(1, Failing.RATE_LIMITED)
    clock.now += 1
    assert health.rest("p", "m") is None


def test_an_answer_meanwhile_does_not_end_what_was_asked_for(health: Health) -> None:
    fail(health, code=Failing.RATE_LIMITED, after=30)
    health.answered("p", "m")
    assert health.rest("p", "m") == Rest(30, Failing.RATE_LIMITED)


def test_the_longest_of_what_was_asked_for_counts(health: Health) -> None:
    fail(health, after=30)
    fail(health, after=3)
    assert health.rest("p", "m") == Rest(30, Failing.SERVER_ERROR)


def test_another_model_and_another_provider_are_not_meant(health: Health) -> None:
    fail(health, after=30)
    assert health.rest("p", "n") is None
    assert health.rest("q", "m") is None


@pytest.mark.parametrize("code", [Failing.PAYMENT_REQUIRED, Failing.CONNECTION_FAILED])
def test_what_is_about_the_provider_counts_for_all_its_models(
    health: Health, code: Failing
) -> None:
    fail(health, code=code, after=30)
    assert health.rest("p", "another") == Rest(30, code)
    assert health.rest("q", "m") is None


@pytest.mark.parametrize(
    ("message", "is_all"),
    [
        ("Rate limit of your organization exceeded", True),
        ("this API key has a daily limit", True),
        ("Rate limit reached for M in organization org-1", False),
        ("slow down", False),
    ],
)
def test_an_answer_may_say_that_it_is_about_the_account(
    health: Health, message: str, *, is_all: bool
) -> None:
    health.failed("p", "m", Failure(Failing.RATE_LIMITED, message, 429, 30))
    assert (health.rest("p", "other") is not None) is is_all
    assert health.rest("p", "m") is not None


def test_several_failures_in_a_row_are_a_rest(health: Health, clock: Clock) -> None:
    fail(health, IN_A_ROW - 1)
    assert health.rest("p", "m") is None
    fail(health)
    assert health.rest("p", "m") == Rest(FIRST_REST, Failing.SERVER_ERROR)
    fail(health, 20)  # of calls that were under way
    assert health.rest("p", "m") == Rest(FIRST_REST, Failing.SERVER_ERROR)
    clock.now += FIRST_REST
    assert health.rest("p", "m") is None


def test_one_that_fails_again_rests_twice_as_long_up_to_the_longest(
    health: Health, clock: Clock
) -> None:
    fail(health, IN_A_ROW)
    seconds = []
    for _ in range(12):
        clock.now += LONGEST_REST
        fail(health)
        rest = health.rest("p", "m")
        assert rest is not None
        seconds.append(rest.seconds)
    assert seconds[:3] == [2 * FIRST_REST, 4 * FIRST_REST, 8 * FIRST_REST]
    assert seconds[-1] == LONGEST_REST


def test_an_answer_ends_a_row(health: Health) -> None:
    for _ in range(3):
        fail(health, IN_A_ROW - 1)
        health.answered("p", "m")
    assert health.rest("p", "m") is None
    fail(health, IN_A_ROW)
    health.answered("p", "m")
    assert health.rest("p", "m") is None


@pytest.mark.parametrize(
    "failure",
    [
        failing(Failing.BAD_REQUEST, 30),
        failing(Failing.UNAUTHORIZED, 30),
        failing(Failing.MODEL_NOT_FOUND),
        Failure(Failing.STREAM_BROKEN, "torn", streamed=True),
    ],
    ids=lambda failure: failure.code,
)
def test_what_is_the_calls_own_fault_is_not_the_targets(health: Health, failure: Failure) -> None:
    for _ in range(2 * IN_A_ROW):
        health.failed("p", "m", failure)
    assert health.rest("p", "m") is None


def test_so_many_targets_are_remembered_and_no_more(
    health: Health, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST", 2)
    for model, after in (("a", 30.0), ("b", 1.0)):
        health.failed("p", model, failing(after=after))
    clock.now += 2
    health.failed("p", "c", failing(after=30))
    assert [health.rest("p", model) is not None for model in "abc"] == [True, False, True]
    health.failed("p", "d", failing(after=30))
    assert [health.rest("p", model) is not None for model in "abcd"] == [False, False, True, True]


def test_threads_may_share_it(health: Health) -> None:
    def work() -> None:
        for _ in range(200):
            fail(health)
            health.rest("p", "m")
            health.answered("p", "m")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert health.rest("p", "m") is None


def test_a_store_that_fails_is_nobodys_trouble(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        """A host's store whose server is gone."""

        def rest(self, provider: str, model: str) -> Rest | None:
            raise OSError(f"cannot ask for {provider}, {model}")

        def failed(self, provider: str, model: str, failure: Failure) -> None:
            raise OSError(f"cannot tell of {provider}, {model}, {failure}")

        def answered(self, provider: str, model: str) -> None:
            raise OSError(f"cannot tell of {provider}, {model}")

    store = Guarded(Broken())
    assert store.rest("p", "m") is None
    store.failed("p", "m", failing())
    store.answered("p", "m")
    assert caplog.messages == ["the store of health failed: OSError"] * 3
