"""A batch is decided whole: each task by the policy, with its place, at one time."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest

from policy_router import Policy, RequestError, decide, loads
from policy_router.calls.results import Asked, Ran, Status, TaskError
from policy_router.delegation.arguments import arguments_of
from policy_router.delegation.batch import CountTokens, Planned, count_tokens, planned
from tests.support.rows import each

NOW = datetime.datetime(2026, 1, 31, 9, tzinfo=datetime.UTC)
POLICY = loads(
    """
    name: acme
    model: small
    provider: main
    facts: {region: {type: string, default: eu}}
    pool:
      - {model: small}
      - {model: large, name: coder, provider: other, pick: task.kind == "coding"}
      - {model: last, pick: task.index == task.batch_size - 1 && task.batch_size > 1}
      - {model: secret, allow: caller.team == "research"}
    precedence: strict
    """
)


def numbered() -> Callable[[datetime.datetime], str]:
    """Return ids that count, and say their time."""
    count = iter(range(1000))
    return lambda now: f"id-{next(count)}-{now:%H}"


def batch(
    content: Any,
    facts: dict[str, Any] | None = None,
    *,
    policy: Policy = POLICY,
    counts: CountTokens | None = None,
    session_id: str | None = None,
) -> list[Planned]:
    arguments = arguments_of(content)
    ids = numbered()
    return planned(
        policy, arguments, facts or {}, now=NOW, ids=ids, session_id=session_id, counts=counts
    )


def models(made: list[Planned]) -> list[str | None]:
    return [plan.target.model if plan.target else None for plan in made]


# Requests.


def test_each_record_is_the_decision_of_its_own_request() -> None:
    facts = {"caller": {"team": "x"}, "facts": {"region": "us"}}
    content = {"model": "small", "tasks": [{"goal": "a", "kind": "coding"}, {"goal": "b"}]}
    task = {"kind": "coding", "index": 0, "batch_size": 2}
    expected = decide(POLICY, {**facts, "call": {"model": "small"}, "task": task}, now=NOW)
    assert batch(content, facts)[0].record.to_json() == expected.to_json()


def test_conditions_see_the_place_in_a_batch_and_its_size() -> None:
    tasks = [{"goal": "a"}, {"goal": "b"}, {"goal": "c"}]
    assert models(batch({"tasks": tasks})) == ["small", "small", "last"]
    made = batch({"tasks": tasks})
    places = [plan.record.request["task"] for plan in made]
    assert places == [{"index": place, "batch_size": 3} for place in range(3)]
    assert [plan.index for plan in made] == [0, 1, 2]


def test_a_single_task_has_the_place_that_the_language_gives_it() -> None:
    (only,) = batch({"goal": "a"})
    assert only.record.request == {}
    assert only.index == 0


def test_what_a_child_is_told_is_no_part_of_its_request() -> None:
    (only,) = batch({"goal": "hunter2", "context": "hunter3"}, counts=count_tokens)
    assert b"hunter" not in only.record.to_json()
    assert only.assignment.goal == "hunter2"


def test_facts_hold_for_every_task() -> None:
    content = {"model": "secret", "tasks": [{"goal": "a"}, {"goal": "b"}]}
    assert models(batch(content)) == [None, None]
    assert models(batch(content, {"caller": {"team": "research"}})) == ["secret", "secret"]


def test_a_task_of_a_kind_that_is_picked_for_runs_on_what_is_picked() -> None:
    content = {"tasks": [{"goal": "a", "kind": "coding"}, {"goal": "b", "model": "small"}]}
    assert models(batch(content)) == ["large", "small"]


@each("section", ["call", "task"])
@each("content", [{"model": "small"}, {}, None])
def test_what_is_asked_for_is_no_fact(section: str, content: Any) -> None:
    with pytest.raises(RequestError) as caught:
        batch({"goal": "a"}, {section: content})
    assert caught.value.path == f"$.{section}"
    assert caught.value.reason == ("wishes go into the arguments, not into the facts")


@each(
    ("facts", "path"),
    [
        ({"parant": {"model": "a"}}, "$.parant"),
        ({"caller": {"tem": "a"}}, "$.caller.tem"),
        ({"facts": {"rigion": "eu"}}, "$.facts.rigion"),
        ({"budget": {"spent_usd": float("inf")}}, "$.budget.spent_usd"),
        ({"caller": ["a"]}, "$.caller"),
        ({"caller": []}, "$.caller"),
        ({"parant": {}}, "$.parant"),
        ({1: {"model": "a"}}, "$"),
    ],
    ids=range(8),
)
def test_facts_that_do_not_fit_the_policy_are_refused(facts: dict[str, Any], path: str) -> None:
    with pytest.raises(RequestError) as caught:
        batch({"goal": "a"}, facts)
    assert caught.value.path == path


def test_facts_that_are_no_mapping_are_refused_too() -> None:
    facts: Any = ["caller"]
    with pytest.raises(RequestError):
        batch({"goal": "a"}, facts)


def test_nothing_is_decided_of_a_batch_with_a_malformed_task() -> None:
    asked: list[datetime.datetime] = []

    def ids(now: datetime.datetime) -> str:
        asked.append(now)
        return "id"

    arguments = arguments_of({"tasks": [{"goal": "a", "kind": 1}, {"goal": "b"}]})
    with pytest.raises(RequestError):
        planned(POLICY, arguments, {}, now=NOW, ids=ids)
    assert asked == []


# Time and ids.


def test_all_decisions_of_a_batch_have_one_time_and_each_an_id_of_that_time() -> None:
    made = batch({"tasks": [{"goal": "a"}, {"goal": "b"}]}, session_id="s")
    assert {plan.record.now for plan in made} == {"2026-01-31T09:00:00Z"}
    assert [plan.decision_id for plan in made] == ["id-0-09", "id-1-09"]
    assert {plan.session_id for plan in made} == {"s"}


# Tokens.


@each(
    ("text", "tokens"),
    [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("\u00e9\u00e9", 1), ("\U0001f600" * 3, 3)],
)
def test_tokens_are_estimated_as_a_quarter_of_the_bytes(text: str, tokens: int) -> None:
    assert count_tokens(text) == tokens


def test_a_text_that_is_no_unicode_is_counted_all_the_same() -> None:
    assert count_tokens("\ud800") == 1


def sizes(made: list[Planned]) -> list[int]:
    return [plan.record.request["task"]["input_tokens"] for plan in made]


def test_what_a_task_does_not_say_of_its_size_is_counted_in_goal_and_context() -> None:
    seen: list[str] = []

    def counts(text: str) -> int:
        seen.append(text)
        return len(text)

    made = batch({"context": "c" * 90, "tasks": [{"goal": "g"}]}, counts=counts)
    assert seen == [f"g\n\n{'c' * 90}"]
    assert sizes(made) == [93]


@each(("said", "size"), [(0, 25), (-5, 25), (24, 25), (26, 26), (10**9, 10**9)])
def test_a_task_may_say_that_it_is_larger_than_counted_and_not_that_it_is_smaller(
    said: int, size: int
) -> None:
    content = {"goal": "g" * 98, "input_tokens": said}
    assert sizes(batch(content, counts=count_tokens)) == [size]
    assert sizes(batch(content)) == [said]


@each("said", [True, "x", 7.5, [], {}], ids=str)
def test_a_size_that_is_no_whole_number_is_refused_and_not_mended(said: Any) -> None:
    with pytest.raises(RequestError) as caught:
        batch({"tasks": [{"goal": "a", "input_tokens": said}]}, counts=count_tokens)
    assert caught.value.path == "$.tasks[0].input_tokens"


def test_without_estimates_an_unknown_size_stays_unknown() -> None:
    policy = loads("provider: p\npool: [{model: a, pick: '!has(task.input_tokens)'}]")
    assert models(batch({"goal": "a"}, policy=policy)) == ["a"]
    assert models(batch({"goal": "a"}, policy=policy, counts=count_tokens)) == [None]


def test_the_estimate_does_not_change_the_arguments() -> None:
    arguments = arguments_of({"labels": ["x"], "tasks": [{"goal": "a"}]})
    planned(POLICY, arguments, {}, now=NOW, ids=numbered())
    assert arguments == arguments_of({"labels": ["x"], "tasks": [{"goal": "a"}]})


# Wishes of call and task: as the precedence has them.

BOTH = {"model": "small", "tasks": [{"goal": "a", "model": "coder"}, {"goal": "b"}]}


def of_precedence(precedence: str) -> Policy:
    return loads(
        f"""
        model: small
        provider: main
        pool: [{{model: small}}, {{model: large, name: coder}}]
        precedence: {precedence}
        """
    )


@each(
    ("precedence", "ran", "asked"),
    [
        ("strict", ["small", "small"], ["small", "small"]),
        ("delegation", ["small", "small"], ["small", "small"]),
        ("task-first", ["large", "small"], ["coder", "small"]),
        ("[{use: task}, {use: config}]", ["large", "small"], ["coder", "small"]),
        ("[{use: config}]", ["small", "small"], ["small", "small"]),
    ],
)
def test_the_wish_that_the_precedence_puts_first_wins_and_is_what_was_requested(
    precedence: str, ran: list[str], asked: list[str]
) -> None:
    policy = of_precedence(precedence)
    made = batch(BOTH, policy=policy)
    assert models(made) == ran
    results = [plan.result(Status.DECIDED, policy) for plan in made]
    assert [result.requested for result in results] == [Asked(name) for name in asked]


@each(
    ("precedence", "outranked"),
    [
        ("strict", [Asked("coder", "main")]),
        ("task-first", [Asked("small")]),
        # One that no rule hears was not outranked.
        ("[{use: task}, {use: config}]", []),
        ("[{use: call}, {use: config}]", []),
    ],
)
def test_a_wish_that_another_rule_went_before_is_told_beside_it(
    precedence: str, outranked: list[Asked]
) -> None:
    policy = of_precedence(precedence)
    content = {"model": "small", "goal": "a"}
    task = {"goal": "a", "model": "coder", "provider": "main", "reasoning_effort": "low"}
    (made,) = batch({"model": "small", "reasoning_effort": "high", "tasks": [task]}, policy=policy)
    result = made.result(Status.DECIDED, policy)
    assert list(result.outranked) == outranked
    # Wishes for parameters are warnings alone.
    assert any("reasoning_effort" in warning for warning in result.warnings)
    (alone,) = batch(content, policy=policy)
    assert alone.result(Status.DECIDED, policy).outranked == ()


def test_a_wish_that_only_the_other_level_has_is_what_was_requested() -> None:
    policy = of_precedence("task-first")
    (made,) = batch({"provider": "main", "tasks": [{"goal": "a"}]}, policy=policy)
    assert made.result(Status.DECIDED, policy).requested == Asked(None, "main")
    (made,) = batch({"goal": "a", "reasoning_effort": "low"}, policy=policy)
    assert made.result(Status.DECIDED, policy).requested == Asked()
    (made,) = batch({"goal": "a", "model": "", "provider": ""}, policy=policy)
    assert made.result(Status.DECIDED, policy).requested == Asked()


def test_without_rules_for_wishes_the_call_goes_first() -> None:
    policy = of_precedence("[{use: config}]")
    (made,) = batch({"tasks": [{"goal": "a", "model": "coder"}]}, policy=policy)
    assert made.result(Status.DECIDED, policy).requested == Asked("coder")
    made, _ = batch(BOTH, policy=policy)
    assert made.result(Status.DECIDED, policy).requested == Asked("small")


# What a result says before a task ran.


def test_a_selected_task_says_what_it_runs_on_and_why() -> None:
    (plan,) = batch({"goal": "a", "kind": "coding"}, session_id="s")
    result = plan.result(Status.DECIDED, POLICY)
    assert (result.task, result.status) == (0, Status.DECIDED)
    assert result.effective == Ran("large", "other", "coder")
    assert (result.level, result.rule) == ("pool", "pool")
    assert (result.decision_id, result.session_id) == ("id-0-09", "s")
    assert (result.error, result.warnings) == (None, ())


def test_a_target_in_no_pool_is_no_entry() -> None:
    policy = loads("{model: m, provider: p}")
    (plan,) = batch({"goal": "a"}, policy=policy)
    assert plan.result(Status.DECIDED, policy).effective == Ran("m", "p")


def test_a_refused_task_says_what_may_be_asked_for_instead() -> None:
    _, plan = batch({"tasks": [{"goal": "a"}, {"goal": "b", "model": "huge"}]})
    result = plan.result(Status.REFUSED, POLICY)
    message = "the task asks for a model outside the pool"
    expected = TaskError("outside_pool", message, 1, ("small", "coder", "last"))
    assert result.error == expected
    assert (plan.target, result.effective, result.level) == (None, None, None)
    assert result.rule == "task"
    assert result.requested == Asked("huge")


def test_a_refusal_of_no_rule_names_none() -> None:
    policy = loads("precedence: [{use: config}]")
    (plan,) = batch({"goal": "a"}, policy=policy)
    result = plan.result(Status.REFUSED, policy)
    assert result.rule is None
    assert result.error is not None
    assert (result.error.code, result.error.permitted) == ("no_target", None)


def test_an_empty_menu_is_not_the_same_as_none() -> None:
    policy = loads("{pool: [], precedence: strict}")
    (plan,) = batch({"goal": "a", "model": "x"}, policy=policy)
    error = plan.result(Status.REFUSED, policy).error
    assert error is not None
    assert error.permitted == ()


def test_what_was_not_started_ran_on_nothing() -> None:
    (plan,) = batch({"goal": "a"})
    result = plan.result(Status.NOT_STARTED, POLICY)
    assert (result.effective, result.error) == (None, None)
    assert result.level == "config"


def test_warnings_are_spelt_for_a_person() -> None:
    policy = of_precedence("delegation")
    (plan,) = batch({"goal": "a", "model": "huge\x1b"}, policy=policy)
    assert plan.result(Status.DECIDED, policy).warnings == ("`huge\ufffd`: outside the pool",)
