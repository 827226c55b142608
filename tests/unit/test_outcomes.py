"""What became of children, as results: what it cost, what failed, and no key in any word."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from typing import Any

import pytest

from policy_router import ProviderError, Reply, loads
from policy_router.calls.costs import cost, estimate, ran_on
from policy_router.calls.failing import Attempt, Failing
from policy_router.calls.results import (
    CostStatus,
    Delegation,
    Estimate,
    Ran,
    Result,
    Status,
    TaskError,
    Tokens,
)
from policy_router.decision.record import Target
from policy_router.delegation.arguments import arguments_of
from policy_router.delegation.batch import Planned, planned
from policy_router.delegation.outcomes import completed, failed, overall, refused_whole
from policy_router.errors import ArgumentsError
from policy_router.files.ids import uuid7
from tests.support.rows import each

NOW = datetime.datetime(2026, 1, 31, 9, tzinfo=datetime.UTC)
SECRET = "s3cret-of-the-house"  # noqa: S105 - nobody's
SHAPED = "sk-" + "abcdefghijklmnop"
POLICY = loads(
    """
    model: unknown
    provider: main
    pool:
      - {model: priced, price: {input: 3.0, output: 15.0}, parameters: {max_tokens: 1000}}
      - {model: half, price: {input: 3.0}}
      - {model: other-half, price: {output: 3.0}}
      - {model: free, price: {input: 0, output: 0}}
      - {model: unknown}
      - {model: twice, provider: p, price: {input: 1, output: 1}}
      - {model: twice, provider: q, price: {input: 2, output: 2}}
      - {model: anywhere, name: any, price: {input: 1, output: 0.5}}
    precedence: delegation
    """
)


def target_of(model: str, provider: str = "main", entry: str | None = None) -> Target:
    return Target(model, provider, {}, entry or model)


def plan_of(model: str = "priced", content: dict[str, Any] | None = None) -> Planned:
    arguments = arguments_of({"goal": "a", "model": model, **(content or {})})
    (plan,) = planned(POLICY, arguments, {}, now=NOW, ids=uuid7, session_id="s")
    return plan


# What tokens cost.


@each(
    ("target", "tokens", "dollars"),
    [
        (target_of("priced"), (1_000_000, 1_000_000), 18.0),
        (target_of("priced"), (18, 23), 0.000399),
        (target_of("priced"), (0, 0), 0.0),
        (target_of("priced"), (1, 0), 0.000003),
        (target_of("priced"), (None, 5), None),
        (target_of("priced"), (5, None), None),
        (target_of("priced"), (None, None), None),
        (target_of("half"), (5, 0), None),
        (target_of("other-half"), (0, 5), None),
        (target_of("free"), (5, 5), 0.0),
        (target_of("free"), (None, 5), None),
        (target_of("unknown"), (5, 5), None),
        (target_of("twice", "p"), (500_000, 0), 0.5),
        (target_of("twice", "q"), (500_000, 0), 1.0),
        (target_of("twice", "r"), (500_000, 0), None),
        (target_of("anywhere", entry="any"), (0, 1_000_000), 0.5),
        (target_of("anywhere"), (0, 1_000_000), None),
        (Target("priced", "main", {}), (5, 5), None),
    ],
    ids=range(18),
)
def test_what_tokens_cost_is_known_where_all_of_it_is_known(
    target: Target, tokens: tuple[int | None, int | None], dollars: float | None
) -> None:
    found = cost(POLICY, target, *tokens)
    assert found == (None if dollars is None else pytest.approx(dollars))
    assert (found is None) == (dollars is None)


def test_without_a_pool_nothing_is_known_of_prices() -> None:
    assert cost(loads("{model: m, provider: p}"), Target("m", "p", {}), 1, 1) is None


def test_a_cost_is_rounded_so_that_it_is_read_as_it_was_reckoned() -> None:
    assert cost(POLICY, target_of("priced"), 7, 7) == 0.000126
    assert json.dumps(cost(POLICY, target_of("priced"), 1, 1)) == "1.8e-05"


@each(
    ("parameters", "tokens", "expected"),
    [
        ({}, 100, Estimate(100, None, None)),
        ({"max_tokens": 1000}, 100, Estimate(100, 1000, 0.0153)),
        ({"max_tokens": 1000}, None, Estimate(None, 1000, None)),
        ({"max_tokens": 1000, "max_completion_tokens": 10}, 0, Estimate(0, 1000, 0.015)),
        ({"max_output_tokens": 10}, 0, Estimate(0, 10, 0.00015)),
        ({"max_tokens": "many"}, 100, Estimate(100, None, None)),
        ({"max_tokens": 0}, 100, Estimate(100, None, None)),
    ],
    ids=range(7),
)
def test_an_estimate_is_of_the_most_that_a_task_may_take(
    parameters: dict[str, Any], tokens: int | None, expected: Estimate
) -> None:
    target = Target("priced", "main", parameters, "priced")
    assert estimate(POLICY, target, tokens) == expected


def test_a_target_is_named_with_its_entry_where_it_is_one() -> None:
    assert ran_on(target_of("anywhere", entry="any")) == Ran("anywhere", "main", "any")
    assert ran_on(Target("m", "", {})) == Ran("m", "", None)


# A child that answered.


def test_a_text_is_a_result_of_which_no_more_is_known() -> None:
    plan = plan_of()
    result = completed(POLICY, plan, "done", ())
    assert result == Result(
        task=0,
        status=Status.COMPLETED,
        text="done",
        requested=result.requested,
        effective=Ran("priced", "main", "priced"),
        level=result.level,
        rule="call",
        decision_id=plan.decision_id,
        session_id="s",
        cost_status=CostStatus.NO_USAGE,
    )
    assert result.tokens == Tokens(None, None)
    assert result.cost_usd is None


def test_a_reply_says_what_was_served_and_counted() -> None:
    attempts = (Attempt(1, "priced", "main", "priced", None, 200, None, 0.5),)
    reply = Reply(
        text="done",
        served_model="priced-2026",
        finish_reason="length",
        input_tokens=1000,
        output_tokens=1000,
        attempts=attempts,
        warnings=("it went otherwise",),
    )
    result = completed(POLICY, plan_of(), reply, ())
    assert (result.text, result.served_model, result.finish_reason) == (
        "done",
        "priced-2026",
        "length",
    )
    assert (result.tokens, result.cost_usd) == (Tokens(1000, 1000), 0.018)
    assert (result.attempts, result.warnings) == (attempts, ("it went otherwise",))


def test_what_it_ran_on_in_the_end_is_what_is_paid_for() -> None:
    reply = Reply("done", input_tokens=10, output_tokens=10, ran=target_of("free"))
    result = completed(POLICY, plan_of(), reply, ())
    assert result.effective == Ran("free", "main", "free")
    assert result.cost_usd == 0.0


def test_what_another_model_costs_is_unknown() -> None:
    for served, dollars in (("other", None), ("vendor/Priced-latest", 0.018), (None, 0.018)):
        reply = Reply("done", served, input_tokens=1000, output_tokens=1000)
        assert completed(POLICY, plan_of(), reply, ()).cost_usd == dollars


def test_warnings_of_the_decision_come_before_those_of_the_child() -> None:
    reply = Reply("done", warnings=("later",))
    result = completed(POLICY, plan_of("nobody"), reply, ())
    assert result.warnings == ("`nobody`: outside the pool", "later")


def test_an_empty_answer_is_one_and_no_answer_is_none() -> None:
    assert completed(POLICY, plan_of(), "", ()).text == ""
    assert completed(POLICY, plan_of(), Reply(), (SECRET,)).text is None


@each("answer", [None, 7, b"done", ["done"], {"text": "done"}, object()])
def test_a_child_that_returns_something_else_has_an_error(answer: Any) -> None:
    with pytest.raises(TypeError, match=rf"a text or a Reply, not {type(answer).__name__}$"):
        completed(POLICY, plan_of(), answer, ())


@each(
    ("reply", "place"),
    [
        (Reply("done", input_tokens="5"), "input_tokens"),  # type: ignore[arg-type]
        (Reply("done", output_tokens=-1), "output_tokens"),
        (Reply("done", output_tokens=True), "output_tokens"),
        (Reply(7), "text"),  # type: ignore[arg-type]
        (Reply("done", ran="small"), "ran"),  # type: ignore[arg-type]
        (Reply("done", attempts=("first",)), r"attempts\[0\]"),  # type: ignore[arg-type]
        (Reply("done", attempts=(Attempt("1", "m", "p"),)), r"attempts\[0\].number"),  # type: ignore[arg-type]
    ],
    ids=range(7),
)
def test_a_reply_that_its_class_does_not_allow_is_an_error_with_its_place(
    reply: Reply, place: str
) -> None:
    with pytest.raises(TypeError, match=rf"a child's Reply is malformed: .*`\$\.{place}`$"):
        completed(POLICY, plan_of(), reply, ())


@each("seconds", [float("nan"), float("inf"), -1.0])
def test_a_duration_that_cannot_be_loses_no_result(seconds: float) -> None:
    reply = Reply("done", attempts=(Attempt(1, "m", "p", duration_seconds=seconds),))
    result = completed(POLICY, plan_of(), reply, ())
    assert (result.text, result.attempts[0].duration_seconds) == ("done", 0.0)


def test_what_is_of_a_host_s_own_class_loses_no_result() -> None:
    class Text(str):
        __slots__ = ()

    class Own(Reply, frozen=True):
        more: object = None

    for answer in (Text("done"), Own(Text("done"), Text("m"), more=object())):
        result = completed(POLICY, plan_of(), answer, ())
        assert result.text == "done"
        json.loads(Delegation(Status.COMPLETED, (result,)).to_json())


def test_names_that_are_not_unicode_lose_no_result() -> None:
    ran = Target("m\ud800", "p\ud800", {}, "e\ud800")
    reply = Reply("done", ran=ran, attempts=(Attempt(1, "m\ud800", "p", "e\ud800"),))
    result = completed(POLICY, plan_of(), reply, ())
    assert (result.text, result.effective) == ("done", Ran("m\ufffd", "p\ufffd", "e\ufffd"))
    assert (result.attempts[0].model, result.attempts[0].entry) == ("m\ufffd", "e\ufffd")
    json.loads(Delegation(Status.COMPLETED, (result,)).to_json())


def test_an_error_with_malformed_attempts_is_the_child_s_own() -> None:
    problem = ProviderError("server_error", "no", attempts=(Attempt(1, None, "p"),))  # type: ignore[arg-type]
    result = failed(POLICY, plan_of(), problem, ())
    assert (result.error and result.error.code, result.attempts) == ("child_error", ())


def test_a_text_is_cleared_of_the_keys_that_were_read() -> None:
    for answer in (f"it is {SECRET}!", Reply(f"it is {SECRET}!")):
        assert completed(POLICY, plan_of(), answer, (SECRET,)).text == "it is ***!"
    kept = f"line one\nline two {SHAPED}"
    assert completed(POLICY, plan_of(), kept, (SECRET,)).text == kept


# A child that raised.


def test_what_a_child_raises_is_its_error() -> None:
    plan = plan_of()
    result = failed(POLICY, plan, LookupError("nowhere"), ())
    message = "LookupError: nowhere"
    assert result.error == TaskError(Failing.CHILD_ERROR, message, 0)
    assert (result.status, result.text) == (Status.FAILED, None)
    assert result.effective == Ran("priced", "main", "priced")
    assert (result.decision_id, result.session_id) == (plan.decision_id, "s")


@each(
    ("problem", "message"),
    [
        (ValueError(), "ValueError"),
        (ValueError("a\n  b\tc"), "ValueError: a b c"),
        (ValueError("\x1b[31mred"), "ValueError: \ufffd[31mred"),
        (ValueError(f"key {SECRET}"), "ValueError: key ***"),
        (ValueError(f"key {SHAPED}"), f"ValueError: key {'*' * len(SHAPED)}"),
        (LookupError("a: b"), "LookupError: a: b"),
        (ExceptionGroup("both", [ValueError("a")]), "ExceptionGroup: both (1 sub-exception)"),
        (SystemExit(3), "SystemExit: 3"),
        (TimeoutError(), "TimeoutError"),
    ],
    ids=range(9),
)
def test_its_words_are_one_line_without_keys(problem: BaseException, message: str) -> None:
    error = failed(POLICY, plan_of(), problem, (SECRET,)).error
    assert error is not None
    assert error.message == message


def test_a_missing_key_of_a_mapping_is_no_secret() -> None:
    error = failed(POLICY, plan_of(), KeyError("choices"), ()).error
    assert error is not None
    assert error.message == "KeyError: 'choices'"


def test_its_words_are_not_long() -> None:
    error = failed(POLICY, plan_of(), ValueError("x" * 10_000), ()).error
    assert error is not None
    assert len(error.message) < 600


def test_what_cannot_say_what_it_is_is_an_error_all_the_same() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise LookupError

    error = failed(POLICY, plan_of(), MuteError(), ()).error
    assert error == TaskError(Failing.CHILD_ERROR, "MuteError", 0)


ATTEMPTS = (
    Attempt(1, "priced", "main", "priced", Failing.SERVER_ERROR, 503, "down", 0.1),
    Attempt(2, "free", "other", "free", Failing.RATE_LIMITED, 429, "slow down", 0.1),
)


def test_what_a_provider_refused_has_its_code_and_every_attempt() -> None:
    problem = ProviderError("rate_limited", f"slow {SECRET}", attempts=ATTEMPTS, partial="so f")
    result = failed(POLICY, plan_of(), problem, (SECRET,))
    assert result.error == TaskError("rate_limited", "slow ***", 0)
    assert (result.attempts, result.text) == (ATTEMPTS, "so f")
    assert result.effective == Ran("free", "other", "free")


def test_what_was_not_called_is_not_what_it_ran_on() -> None:
    passed_over = Attempt(3, "unknown", "main", failure=Failing.NO_CREDENTIAL, is_sent=False)
    problem = ProviderError("rate_limited", "no", attempts=(*ATTEMPTS, passed_over))
    assert failed(POLICY, plan_of(), problem, ()).effective == Ran("free", "other", "free")


def test_without_attempts_it_would_have_run_on_what_was_decided() -> None:
    result = failed(POLICY, plan_of(), ProviderError("no_credential", "no key"), ())
    assert result.effective == Ran("priced", "main", "priced")
    assert (result.attempts, result.text) == ((), None)


def test_what_a_host_had_of_an_answer_is_cleared_of_keys() -> None:
    problem = ProviderError("server_error", f"no {SECRET}", partial=f"so f {SECRET}")
    result = failed(POLICY, plan_of(), problem, (SECRET,))
    assert (result.text, SECRET in repr(result)) == ("so f ***", False)


def test_the_attempts_of_a_host_of_its_own_are_cleared_of_keys() -> None:
    attempts = (Attempt(1, "m", "p", None, Failing.SERVER_ERROR, 500, f"no {SECRET}"),)
    problem = ProviderError("server_error", "no", attempts=attempts)
    assert SECRET not in repr(failed(POLICY, plan_of(), problem, (SECRET,)))
    reply = Reply("done", attempts=attempts)
    assert SECRET not in repr(completed(POLICY, plan_of(), reply, (SECRET,)))


def test_no_part_of_what_a_host_replies_repeats_a_key() -> None:
    reply = Reply("done", served_model=SECRET, finish_reason=SECRET, warnings=(SECRET,))
    assert SECRET not in repr(completed(POLICY, plan_of(), reply, (SECRET,)))


# A whole delegation.

DONE, FAILED, REFUSED = Status.COMPLETED, Status.FAILED, Status.REFUSED
STOPPED, UNBEGUN, DECIDED = Status.CANCELLED, Status.NOT_STARTED, Status.DECIDED


@each(
    ("found", "expected"),
    [
        *(([status], status) for status in Status),
        ([DONE, DONE], DONE),
        ([DONE, FAILED], Status.PARTIAL),
        ([DONE, REFUSED], Status.PARTIAL),
        ([DONE, STOPPED], Status.PARTIAL),
        ([FAILED, REFUSED, DONE], Status.PARTIAL),
        ([FAILED, FAILED], FAILED),
        ([FAILED, REFUSED], FAILED),
        ([REFUSED, REFUSED], REFUSED),
        ([DECIDED, REFUSED], DECIDED),
        ([STOPPED, STOPPED], STOPPED),
        ([STOPPED, FAILED], FAILED),
    ],
    ids=range(len(Status) + 11),
)
def test_the_whole_is_as_its_tasks(found: Sequence[Status], expected: Status) -> None:
    assert overall([Result(place, status) for place, status in enumerate(found)]) is expected


def test_in_json_what_is_unknown_is_null_and_nothing_is_left_out() -> None:
    made = Delegation(Status.COMPLETED, (Result(0, Status.COMPLETED, text="done"),))
    plain = json.loads(made.to_json())
    assert plain == json.loads(json.dumps(made.to_dict()))
    assert plain == {
        "status": "completed",
        "results": [
            {
                "task": 0,
                "status": "completed",
                "text": "done",
                "requested": {"model": None, "provider": None},
                "outranked": [],
                "effective": None,
                "level": None,
                "rule": None,
                "decision_id": None,
                "session_id": None,
                "served_model": None,
                "finish_reason": None,
                "attempts": [],
                "tokens": {"input": None, "output": None, "cached": None},
                "cost_usd": None,
                "cost_is_upper_bound": False,
                "cost_status": None,
                "reserved_usd": None,
                "overrun_usd": None,
                "estimate": None,
                "duration_seconds": None,
                "warnings": [],
                "error": None,
            }
        ],
        "session_id": None,
        "error": None,
        "totals": {
            "input_tokens": 0,
            "output_tokens": 0,
            "cost_usd": 0.0,
            "unknown_tokens": 0,
            "unknown_costs": 0,
            "overrun_usd": None,
        },
    }


# The answer for the model.


def told(made: Delegation) -> Any:
    return json.loads(made.to_tool_answer())


def test_a_model_is_told_the_text_and_what_it_came_from() -> None:
    made = Delegation(
        Status.PARTIAL,
        (
            Result(0, Status.COMPLETED, text="done", effective=Ran("m", "p", "small")),
            Result(
                1,
                Status.COMPLETED,
                text="",
                effective=Ran("m", "p"),
                finish_reason="length",
                warnings=("`large`: another rule went before (rule `call`)",),
                tokens=Tokens(1, 2),
                cost_usd=0.1,
                decision_id="d",
            ),
            Result(
                2,
                Status.FAILED,
                effective=Ran("m", "p", "small"),
                attempts=(Attempt(1, "m", "p", failure=Failing.TIMEOUT),),
                error=TaskError("timeout", "nothing came in time", 2),
            ),
        ),
        session_id="s",
    )
    assert told(made) == {
        "status": "partial",
        "results": [
            {"task": 0, "model": "small", "text": "done"},
            {
                "task": 1,
                "model": "m",
                "text": "",
                "warnings": [
                    "`large`: another rule went before (rule `call`)",
                    "the answer is cut short",
                ],
            },
            {
                "task": 2,
                "status": "failed",
                "model": "small",
                "error": {"code": "timeout", "message": "nothing came in time"},
            },
        ],
    }


def test_of_a_refused_batch_a_model_is_told_what_refuses_it_once() -> None:
    error = TaskError("outside_pool", "no", 1, permitted=("small",))
    none = TaskError("forbidden", "never", 2, permitted=())
    results = (
        Result(0, Status.NOT_STARTED),
        Result(1, Status.REFUSED, error=error),
        Result(2, Status.REFUSED, error=none),
    )
    assert told(Delegation(Status.REFUSED, results, error=error)) == {
        "status": "refused",
        "results": [
            {
                "task": 1,
                "status": "refused",
                "error": {"code": "outside_pool", "message": "no", "permitted": ["small"]},
            },
            {
                "task": 2,
                "status": "refused",
                "error": {"code": "forbidden", "message": "never", "permitted": []},
            },
        ],
        "not_started": [0],
    }


def test_a_model_is_told_what_is_wrong_with_its_arguments() -> None:
    made = refused_whole(ArgumentsError("$.tasks[3].goal", "nothing", "send one"), "s")
    assert told(made) == {
        "status": "refused",
        "error": {"code": "bad_request", "message": "$.tasks[3].goal: nothing; send one"},
    }
    assert made.error is not None
    assert made.error.task == 3
