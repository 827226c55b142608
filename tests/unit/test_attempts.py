"""The course of a child's calls: along the plan and nowhere else, told what came of each call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from policy_router.calls.attempts import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    Call,
    Finished,
    Pause,
    Rules,
    attempt_plan,
)
from policy_router.calls.child_task import Reply
from policy_router.calls.failing import Attempt, Failing
from policy_router.calls.failures import Failure
from policy_router.calls.health import Health
from policy_router.decision.record import Target
from tests.support.examples import examples
from tests.support.rows import each

A = Target("a", "p", {}, "first")
B = Target("b", "q", {})
C = Target("c", "p", {})
AGAIN = Target("a", "p", {}, "again")
PLAN = (A, B, C)
GOOD = Reply(text="done")


def failing(code: Failing, status: int | None = None, **more: Any) -> Failure:
    return Failure(code, f"it was {code}", status, **more)


LIMITED = failing(Failing.RATE_LIMITED, 429)
BROKE = failing(Failing.PAYMENT_REQUIRED, 402)
DOWN = failing(Failing.SERVER_ERROR, 503)
LOST = failing(Failing.CONNECTION_FAILED)
LATE = failing(Failing.TIMEOUT)
GONE = failing(Failing.MODEL_NOT_FOUND, 404)
BAD = failing(Failing.BAD_REQUEST, 400)
DENIED = failing(Failing.UNAUTHORIZED, 401)
TEAPOT = failing(Failing.HTTP_ERROR, 418)
GIBBERISH = failing(Failing.BAD_RESPONSE)
TORN = failing(Failing.STREAM_BROKEN, streamed=True, partial="so f")
NO_KEY = failing(Failing.NO_CREDENTIAL)
NOWHERE = failing(Failing.NO_ENDPOINT)


class Run(Struct):
    """A course that was run to its end, on a clock of its own."""

    steps: list[Call | Pause]
    made: Finished

    @property
    def calls(self) -> list[Call]:
        return [step for step in self.steps if isinstance(step, Call)]

    @property
    def models(self) -> str:
        return "".join(call.target.model for call in self.calls)

    @property
    def pauses(self) -> list[tuple[float, str]]:
        return [(it.seconds, it.provider) for it in self.steps if isinstance(it, Pause)]


def driven(
    plan: Sequence[Target],
    script: Iterable[Reply | Failure],
    *,
    retries: int = 0,
    longest_wait: float = 60.0,
    also: Mapping[str, tuple[int | str, ...]] | None = None,
    chance: float = 1.0,
    took: float = 0.0,
    health: Health | None = None,
    deadline: float | None = None,
    windows: Mapping[str, int] | None = None,
) -> Run:
    """Drive a course with answers; each call takes some seconds, and a pause as long as it is."""
    now = 1000.0
    known = also or {}
    rules = Rules(
        retries,
        longest_wait,
        lambda target: known.get(target.model, ()),
        lambda: now,
        lambda: chance,
        health=health,
        deadline=deadline,
        window=lambda target: (windows or {}).get(target.model),
    )
    steps: list[Call | Pause] = []
    answers = iter(script)
    going = attempt_plan(plan, rules)
    answer: Reply | Failure | None = None
    while True:
        try:
            step = going.send(answer)
        except StopIteration as end:
            return Run(steps, end.value)
        steps.append(step)
        if isinstance(step, Pause):
            now += step.seconds
            answer = None
        else:
            now += took
            answer = next(answers)


# The first answer ends it.


def test_an_answer_is_the_end() -> None:
    run = driven(PLAN, [GOOD])
    assert run.steps == [Call(A, 1, 3)]
    assert run.made == Finished(GOOD, (Attempt(1, "a", "p", "first", None, 200),), A)


def test_after_a_failure_the_next_target_is_called_and_told_why() -> None:
    run = driven(PLAN, [DOWN, GOOD], took=1.25)
    assert run.calls == [Call(A, 1, 3), Call(B, 2, 3, DOWN)]
    first, second = run.made.attempts
    assert first == Attempt(
        1, "a", "p", "first", Failing.SERVER_ERROR, 503, "it was server_error", 1.25
    )
    assert second == Attempt(2, "b", "q", None, None, 200, None, 1.25)
    assert (run.made.last, run.made.target) == (GOOD, B)


def test_where_all_fail_the_last_failure_is_what_came_of_it() -> None:
    run = driven((A, B), [DOWN, GONE])
    assert run.models == "ab"
    assert (run.made.last, run.made.target) == (GONE, B)
    assert [it.failure for it in run.made.attempts] == ["server_error", "model_not_found"]


# Which failure leads where.

ON = {
    "rate": LIMITED,
    "credit": BROKE,
    "down": DOWN,
    "lost": LOST,
    "late": LATE,
    "gone": GONE,
    "gibberish": GIBBERISH,
}
OVER = {"bad": BAD, "denied": DENIED, "teapot": TEAPOT, "torn": TORN}


@each("failure", ON.values(), ids=ON)
def test_these_failures_lead_to_the_next_target(failure: Failure) -> None:
    assert driven((A, B), [failure, GOOD]).models == "ab"
    assert driven(PLAN, [GONE, failure, GOOD]).models == "abc"


@each("failure", OVER.values(), ids=OVER)
def test_these_failures_are_the_end(failure: Failure) -> None:
    for script in ([failure], [GONE, failure]):
        run = driven(PLAN, script, retries=3)
        assert len(run.calls) == len(script)
        assert run.made.last is failure


@each(("failure", "status"), [(BAD, 400), (DENIED, 401), (TEAPOT, 418)], ids=["400", "401", "418"])
def test_a_target_may_name_further_statuses_to_go_on_after(failure: Failure, status: int) -> None:
    assert driven((A, B), [failure, GOOD], also={"a": (status,)}).models == "ab"
    assert driven((A, B), [failure], also={"a": (499,)}).models == "a"


def test_each_target_names_its_own_statuses() -> None:
    assert driven(PLAN, [BAD], also={"b": (400,)}).models == "a"
    assert driven(PLAN, [GONE, BAD, GOOD], also={"b": (400,)}).models == "abc"


@each("code", Failing)
def test_after_a_part_of_an_answer_nobody_else_is_called(code: Failing) -> None:
    torn = failing(code, 503, streamed=True, partial="so f")
    run = driven(PLAN, [torn], retries=2, also={"a": (401, 503)})
    assert run.models == "a"
    assert run.made.last is torn


# A missing key.


@pytest.mark.parametrize("failure", [NO_KEY, NOWHERE], ids=["key", "address"])
def test_a_missing_key_of_the_selected_target_is_the_end(failure: Failure) -> None:
    run = driven(PLAN, [failure], retries=2)
    assert run.models == "a"
    assert run.made.last is failure


@pytest.mark.parametrize("failure", [NO_KEY, NOWHERE], ids=["key", "address"])
def test_a_missing_key_counts_as_a_call_that_was_not_authorized(failure: Failure) -> None:
    assert driven(PLAN, [failure, GOOD], also={"a": (401,)}).models == "ab"
    assert driven(PLAN, [failure], also={"a": (403,)}).models == "a"


@pytest.mark.parametrize("failure", [NO_KEY, NOWHERE], ids=["key", "address"])
def test_a_fallback_whose_key_is_missing_is_passed_over(failure: Failure) -> None:
    run = driven(PLAN, [DOWN, failure, GOOD])
    assert run.models == "abc"
    assert [attempt.is_sent for attempt in run.made.attempts] == [True, False, True]


@pytest.mark.parametrize("failure", [NO_KEY, NOWHERE], ids=["key", "address"])
def test_a_call_that_was_not_made_does_not_hide_why_the_others_failed(failure: Failure) -> None:
    run = driven((A, B), [DOWN, failure])
    assert (run.made.last, run.made.target) == (DOWN, A)
    assert [attempt.failure for attempt in run.made.attempts] == [DOWN.code, failure.code]
    alone = driven((A, B), [failure, failure], also={"a": (401,)})
    assert (alone.made.last, alone.made.target) == (failure, A)


def test_a_target_that_stands_in_its_own_plan_is_a_fallback_there() -> None:
    assert driven((A, A, B), [DOWN, NO_KEY, GOOD]).models == "aab"


# Beginning anew.


def test_without_retries_the_plan_is_gone_through_once() -> None:
    assert driven(PLAN, [DOWN] * 3).models == "abc"


def test_retries_begin_the_whole_plan_anew() -> None:
    run = driven((A, B), [DOWN] * 6, retries=2)
    assert run.models == "ababab"
    assert [(call.number, call.total) for call in run.calls] == [(n, 6) for n in range(1, 7)]
    assert [attempt.number for attempt in run.made.attempts] == [1, 2, 3, 4, 5, 6]


@each("failure", [BROKE, GONE, NO_KEY], ids=["credit", "gone", "key"])
def test_what_does_not_pass_is_not_tried_again(failure: Failure) -> None:
    assert driven((A, B), [DOWN, failure, DOWN, DOWN], retries=2).models == "abaa"
    also = {"a": (401,)}
    assert driven((A, B), [failure, DOWN, GOOD], retries=2, also=also).models == "abb"


def test_where_nothing_can_pass_there_is_no_further_round() -> None:
    run = driven((A, B), [GONE, BROKE], retries=5)
    assert run.models == "ab"
    assert run.pauses == []


def test_a_status_that_a_target_goes_on_after_does_not_pass_by_that() -> None:
    run = driven((A, B), [BAD, DOWN, GOOD], retries=1, also={"a": (400,)})
    assert run.models == "abb"


def test_what_came_of_it_names_the_target_that_was_called_last() -> None:
    run = driven((A, B), [DOWN, GONE, LATE], retries=1)
    assert run.models == "aba"
    assert run.made.attempts[-1].model == "a"
    assert (run.made.last, run.made.target) == (LATE, A)


# Pauses.


def asking(seconds: float, failure: Failure = LIMITED) -> Failure:
    return Failure(failure.code, failure.message, failure.status, seconds)


def test_a_target_is_left_alone_for_as_long_as_it_asks() -> None:
    run = driven((A, AGAIN), [asking(7), GOOD])
    assert run.steps == [Call(A, 1, 2), Pause(7, "p"), Call(AGAIN, 2, 2, asking(7))]


def test_another_provider_or_model_is_called_at_once() -> None:
    run = driven(PLAN, [asking(7), GOOD])
    assert (run.models, run.pauses) == ("ab", [])
    run = driven((A, C), [asking(7), GOOD])
    assert (run.models, run.pauses) == ("ac", [])


@pytest.mark.parametrize("failure", [BROKE, LOST], ids=["credit", "lost"])
def test_what_is_about_a_whole_provider_counts_for_all_its_models(failure: Failure) -> None:
    assert driven((A, C), [asking(7, failure), GOOD]).pauses == [(7, "p")]


def test_one_that_is_left_alone_is_passed_over_where_another_is_free() -> None:
    run = driven((A, AGAIN, B), [asking(7), GOOD])
    assert (run.models, run.pauses) == ("ab", [])
    assert [it.is_sent for it in run.made.attempts] == [True, False, True]
    assert run.made.attempts[1].message == "asks to be left alone for 7 s"


def test_time_that_has_passed_meanwhile_is_not_waited_again() -> None:
    run = driven((A, B, AGAIN), [asking(7), GONE, GOOD], took=3)
    assert (run.models, run.pauses) == ("aba", [(4, "p")])
    run = driven((A, B, AGAIN), [asking(3), GONE, GOOD], took=3)
    assert (run.models, run.pauses) == ("aba", [])


@each("failure", [DOWN, BROKE, GONE], ids=["down", "credit", "gone"])
def test_any_failure_may_ask_for_a_pause(failure: Failure) -> None:
    assert driven((A, AGAIN), [asking(7, failure), GOOD]).pauses == [(7, "p")]


def test_a_pause_of_nothing_is_none() -> None:
    assert driven((A, AGAIN), [asking(0), GOOD]).pauses == []


def test_a_target_that_asks_for_longer_than_is_waited_is_passed_over() -> None:
    run = driven((A, AGAIN, B), [asking(61), GOOD])
    assert (run.models, run.pauses) == ("ab", [])
    assert [(it.number, it.model, it.failure, it.status) for it in run.made.attempts] == [
        (1, "a", "rate_limited", 429),
        (2, "a", "rate_limited", None),
        (3, "b", None, 200),
    ]
    assert run.made.attempts[1].message == (
        "asks to be left alone for 61 s, which is too long to wait"
    )
    assert run.made.attempts[1].duration_seconds == 0
    assert [attempt.is_sent for attempt in run.made.attempts] == [True, False, True]


def test_to_pass_over_does_not_hide_why_the_others_failed() -> None:
    run = driven((A, AGAIN), [asking(61)])
    assert (run.made.last, run.made.target) == (asking(61), A)


def test_one_may_wait_just_as_long_as_is_waited() -> None:
    assert driven((A, AGAIN), [asking(60), GOOD]).pauses == [(60, "p")]
    assert driven((A, AGAIN), [asking(2), GOOD], longest_wait=1.5).models == "a"
    assert driven((A, AGAIN), [asking(2), GOOD], longest_wait=2).models == "aa"


def test_what_was_passed_over_has_no_further_turn() -> None:
    run = driven((A, B), [asking(61), DOWN, DOWN], retries=1)
    assert run.models == "abb"
    assert len(run.made.attempts) == 4
    alone = driven((A,), [asking(61)], retries=5)
    assert alone.models == "a"
    assert [it.failure for it in alone.made.attempts] == ["rate_limited"] * 2


def test_after_too_many_calls_without_a_time_half_a_second_or_less_is_waited() -> None:
    assert driven((A, AGAIN), [LIMITED, GOOD], chance=1.0).pauses == [(FIRST_PAUSE, "p")]
    assert driven((A, AGAIN), [LIMITED, GOOD], chance=0.0).pauses == [(FIRST_PAUSE / 2, "p")]
    assert driven((A, B), [LIMITED, GOOD]).pauses == []


@each("failure", [DOWN, LOST, LATE], ids=["down", "lost", "late"])
def test_other_failures_are_not_waited_after_where_the_plan_is_gone_through_once(
    failure: Failure,
) -> None:
    assert driven((A, AGAIN), [failure, GOOD]).pauses == []
    assert driven((A, AGAIN), [failure, GOOD], retries=1).pauses == [(FIRST_PAUSE, "p")]


def test_pauses_double_from_round_to_round_up_to_the_longest() -> None:
    run = driven((A,), [DOWN] * 8, retries=7)
    pauses = [seconds for seconds, _ in run.pauses]
    assert pauses == pytest.approx([0.5, 1, 2, 4, 8, 8, 8])
    assert max(pauses) == pytest.approx(LONGEST_PAUSE)
    halves = [seconds for seconds, _ in driven((A,), [DOWN] * 4, retries=3, chance=0).pauses]
    assert halves == pytest.approx([0.25, 0.5, 1])


# A deadline.


def late(script: list[Reply | Failure], plan: Sequence[Target] = PLAN, **more: Any) -> Run:
    """Drive a plan whose child has 10 seconds, by calls of 4 seconds."""
    return driven(plan, script, **{"took": 4.0, "deadline": 1010.0, **more})


def test_the_plan_goes_on_while_there_is_time() -> None:
    assert late([LATE, LATE, GOOD]).models == "abc"
    run = late([LATE, LATE, GOOD], took=5)
    assert run.models == "ab"
    assert (run.made.last, run.made.target) == (LATE, B)


def test_after_another_failure_the_end_is_that_the_time_is_over() -> None:
    run = late([DOWN, DOWN], took=5)
    assert isinstance(run.made.last, Failure)
    assert (run.made.last.code, run.made.last.message) == (
        Failing.TIMEOUT,
        "the deadline passed; before that: it was server_error",
    )
    assert run.made.target == B
    assert [(it.failure, it.is_sent) for it in run.made.attempts] == [
        ("server_error", True),
        ("server_error", True),
        ("timeout", False),
    ]


def test_without_any_time_nothing_is_called() -> None:
    run = late([], deadline=1000.0)
    assert run.steps == []
    assert isinstance(run.made.last, Failure)
    assert (run.made.last.code, run.made.last.message) == (Failing.TIMEOUT, "the deadline passed")


def test_a_pause_that_is_longer_than_the_time_left_is_not_made() -> None:
    run = late([asking(7), DOWN], (A, AGAIN))
    assert (run.models, run.pauses) == ("a", [])
    assert late([asking(5), GOOD], (A, AGAIN)).pauses == [(5, "p")]


def test_a_call_that_is_cut_off_by_the_deadline_is_not_its_targets_fault() -> None:
    health = Health(lambda: 0.0, failures=1)
    late([LATE], took=10, health=health)
    assert health.rest("p", "a") is None
    late([LATE, GOOD], health=health)
    assert health.rest("p", "a") is not None


# What everybody knows.


def test_one_that_rests_is_passed_over_by_all_children() -> None:
    health = Health(lambda: 0.0)
    driven((A,), [asking(61)], health=health)
    run = driven((A, B), [GOOD], health=health)
    assert run.models == "b"
    assert [(it.failure, it.is_sent) for it in run.made.attempts] == [
        ("rate_limited", False),
        (None, True),
    ]
    alone = driven((A,), [], health=health)
    assert isinstance(alone.made.last, Failure)
    assert alone.made.last.message == "asks to be left alone for 61 s, which is too long to wait"


def test_one_that_failed_too_often_says_so() -> None:
    health = Health(lambda: 0.0, failures=2)
    for _ in range(2):
        driven((A,), [DOWN], health=health)
    run = driven((A, B), [GOOD], health=health)
    assert run.made.attempts[0].message == "failed several times, and is left alone for 5 s"
    assert run.made.attempts[0].failure == "server_error"


def test_one_is_waited_for_where_nobody_else_is_free() -> None:
    now = [0.0]
    health = Health(lambda: now[0])
    driven((A,), [asking(7)], health=health)
    run = driven((A,), [], longest_wait=5, health=health)
    assert run.steps == []
    # Whoever waited, and finds that it has to be left alone still, does not wait again.
    run = driven((A,), [], health=health)
    assert run.pauses == [(7, "p")]
    assert [it.is_sent for it in run.made.attempts] == [False]


def test_one_that_waited_for_its_turn_looks_again() -> None:
    health = Health(lambda: 0.0)
    rules = Rules(0, 60.0, lambda _: (), lambda: 0.0, lambda: 0.0, health=health)
    steps = attempt_plan((A, B), rules)
    assert next(steps) == Call(A, 1, 2)
    health.failed("p", "a", asking(61))
    after = steps.send(None)
    assert isinstance(after, Call)
    assert (after.target, after.number) == (B, 2)


# Whatever is answered.

TARGETS = st.sampled_from([*PLAN, Target("d", "", {}), Target("a", "q", {})])
ANSWERS = st.one_of(
    st.builds(
        Failure,
        st.sampled_from(Failing),
        st.just("it failed"),
        st.sampled_from([None, 400, 401, 403, 429, 503]),
        st.sampled_from([None, None, 0.0, 1.0, 59.0, 61.0]),
        st.sampled_from([False, False, False, True]),
    ),
    st.sampled_from([DOWN, LIMITED, GONE, GOOD]),
)


@examples(300)
@given(
    st.lists(TARGETS, min_size=1, max_size=4),
    st.lists(ANSWERS, min_size=16, max_size=16),
    st.integers(0, 3),
    st.dictionaries(st.sampled_from("abcd"), st.just((400, 401)), max_size=2),
    st.sampled_from([0.0, 0.3, 1.0]),
)
def test_whatever_is_answered_nobody_outside_the_plan_is_called(
    plan: list[Target],
    script: list[Reply | Failure],
    retries: int,
    also: dict[str, tuple[int, ...]],
    took: float,
) -> None:
    """Calls are made in the order of the plan, started again so often, up to the first answer."""
    run = driven(plan, script, retries=retries, also=also, took=took)
    rounds = iter(plan * (retries + 1))
    assert all(call.target in rounds for call in run.calls)
    assert run.calls[0].target == plan[0]
    total = len(plan) * (retries + 1)
    attempts = run.made.attempts
    assert [attempt.number for attempt in attempts] == list(range(1, len(attempts) + 1))
    assert len(attempts) <= total
    numbers = [call.number for call in run.calls]
    assert numbers == sorted(set(numbers))
    assert {call.total for call in run.calls} == {total}
    given_ = script[: len(run.calls)]
    # Only the last answer is one, or has begun to be one.
    assert not any(isinstance(it, Reply) or it.streamed for it in given_[:-1])
    if isinstance(given_[-1], Reply):
        assert run.made.last is given_[-1]
        assert run.made.target == run.calls[-1].target
    else:
        assert isinstance(run.made.last, Failure)
        assert all(attempt.failure for attempt in attempts)
    assert all(0 < step.seconds <= 60 for step in run.steps if isinstance(step, Pause))
    assert not any(
        isinstance(one, Pause) and not isinstance(two, Call)
        for one, two in zip(run.steps, [*run.steps[1:], None], strict=True)
    )
    if isinstance(run.made.last, Failure):
        last_ones = [place for place, it in enumerate(given_) if it is run.made.last]
        assert run.made.target in [run.calls[place].target for place in last_ones]
    called = {call.number: call.target.model for call in run.calls}
    assert all(attempts[number - 1].model == model for number, model in called.items())


# Inputs that are too long.

LONG = failing(Failing.CONTEXT_OVERFLOW, 400)


@each(
    ("windows", "models"),
    [
        ({}, "abc"),
        ({"a": 100, "b": 100, "c": 200}, "ac"),
        ({"a": 100, "b": 200, "c": 300}, "abc"),
        ({"a": 100, "b": 50}, "ac"),
        ({"a": 100, "b": 99, "c": 1}, "a"),
        ({"b": 1, "c": 1}, "ab"),
        ({"a": 100, "c": 100}, "ab"),
    ],
)
def test_an_input_that_is_too_long_goes_to_where_it_may_fit(
    windows: dict[str, int], models: str
) -> None:
    for retries in (0, 2):
        run = driven(PLAN, [LONG] * len(models), windows=windows, retries=retries)
        assert (run.models, run.made.last) == (models, LONG)
        skipped = [it for it in run.made.attempts if not it.is_sent]
        assert [it.failure for it in skipped] == ["context_overflow"] * (3 - len(models))


def test_a_window_counts_only_after_an_input_was_too_long() -> None:
    assert driven((A, B), [DOWN, GOOD], windows={"a": 100, "b": 50}).models == "ab"
