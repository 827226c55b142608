"""One run of a child over many model calls: what the adapters of hosts build on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import UNSET

from policy_router import loads
from policy_router.calls.results import Status
from policy_router.hosts import HostPlan, PolicyHost, Refused
from policy_router.hosts.child_run import (
    ChildRun,
    at_hand,
    begin,
    begin_async,
    facts_of,
    function_of,
    given,
    host_of,
    undecided,
    wish_of,
    words_of,
)
from policy_router.hosts.connections import Connections, is_chat, silence_of
from policy_router.hosts.delegating import delegated, delegated_async, prompt_of
from policy_router.hosts.refused import RefusedError
from policy_router.log import LogReader
from tests.support.rows import each

POLICY = loads(
    """
    version: 1
    model: small
    provider: near
    providers:
      near: {base_url: "http://127.0.0.1:1/v1", api_key: env:NEAR_KEY}
      far: {base_url: "http://127.0.0.1:2/v1", dialect: {api: responses}}
      other: {base_url: "http://127.0.0.1:3/v1", dialect: {api: anthropic_messages}}
    pool:
      - {name: small, model: small, timeouts: {total: 9}}
      - {name: coder, model: large, pick: task.kind == "coding", fallback: [spare, small]}
      - {name: spare, model: spare, provider: far}
      - {name: claude, model: claude, provider: other}
    precedence: strict
    """
)


def host(**options: Any) -> PolicyHost:
    return PolicyHost(POLICY, environ={"NEAR_KEY": "key-of-near-0123"}, **options)


def begun(kept: PolicyHost, **task: Any) -> ChildRun:
    return begin(kept, task, {}, "goal")


def one_of(made: tuple[HostPlan, ...] | Refused) -> HostPlan:
    assert not isinstance(made, Refused), made
    return made[0]


# Its calls.


def test_a_run_stays_at_its_target_and_counts_all_its_calls() -> None:
    run = begun(host(), kind="coding")
    for _ in range(2):
        assert run.leg().model == "large"
        run.answered("large", input_tokens=5, output_tokens=2, cached_tokens=None)
    run.text = "text"
    result = run.ended()
    assert (result.status, result.text, result.served_model) == ("completed", "text", "large")
    assert (result.tokens.input, result.tokens.output, result.tokens.cached) == (10, 4, None)
    with pytest.raises(RefusedError, match="run_ended"):
        run.leg()


def test_a_run_that_made_no_call_has_no_counts() -> None:
    assert begun(host()).ended().tokens.input is None


def test_a_failed_attempt_goes_to_the_next_target_until_there_is_none() -> None:
    run, seen = begun(host(), kind="coding"), []

    def call() -> None:
        while True:
            seen.append(run.leg().model)
            with run.attempt():
                raise ConnectionError

    with pytest.raises(ConnectionError):
        call()
    assert seen == ["large", "spare", "small"]
    with pytest.raises(RefusedError, match="connection_failed"):
        run.leg()
    assert run.ended().status is Status.FAILED


def test_after_a_part_of_an_answer_a_failure_is_the_end() -> None:
    run = begun(host(), kind="coding")
    run.leg()

    def call() -> None:
        with run.attempt() as attempt:
            attempt.has_begun = True
            raise ConnectionError

    with pytest.raises(ConnectionError):
        call()
    with pytest.raises(RefusedError):
        run.leg_now()


def test_a_refusal_is_no_failed_call() -> None:
    run = begun(host(), kind="coding")
    run.leg()
    with pytest.raises(RefusedError), run.attempt():
        raise RefusedError(Refused("other_api", "words"))
    assert run.leg().model == "large"


def test_a_run_that_something_stops_has_failed_or_is_cancelled() -> None:
    assert begun(host()).ended(KeyError("a")).status is Status.FAILED
    assert begun(host()).ended(asyncio.CancelledError()).status is Status.CANCELLED


def test_a_run_on_an_event_loop() -> None:
    async def made() -> str:
        run = await begin_async(host(), {"kind": "coding"}, {}, "goal")
        return (await run.leg_async()).model

    assert asyncio.run(made()) == "large"


# Beginning.


@each(
    ("name", "task"),
    [
        (None, {}),
        ("auto", {}),
        ("policy:", {}),
        ("policy:coding", {"kind": "coding"}),
        ("large", {"model": "large"}),
    ],
)
def test_the_name_of_a_model_is_a_wish(name: str | None, task: Any) -> None:
    assert wish_of(name) == task


def test_a_refusal_is_raised_with_the_names_that_are_permitted() -> None:
    with pytest.raises(RefusedError) as caught:
        begun(host(), model="huge")
    assert str(caught.value).endswith("; permitted: small, coder, spare, claude")
    with pytest.raises(RefusedError, match="bad_request"):
        asyncio.run(begin_async(host(), {"kind": 1}, {}, ""))


def test_a_host_is_taken_as_it_is() -> None:
    made = host()
    assert host_of(made) is made
    assert host_of(POLICY).policy is POLICY


@each("facts", [None, {"caller": {"id": "a"}}, lambda it: {"caller": {"id": it}}])
def test_facts_are_stated_or_made_of_the_context(facts: Any) -> None:
    assert facts_of(host(), facts, "a") == ({} if facts is None else {"caller": {"id": "a"}})


def test_what_is_begun_in_a_run_has_it_as_its_parent(tmp_path: Path) -> None:
    with host(log=tmp_path / "log") as kept:
        run = begun(kept)
        run.leg()
        with run.scope():
            assert at_hand() is run
            facts = facts_of(kept, None, None)
            assert facts == {"parent": {"model": "small", "provider": "near", "depth": 0}}
            child = begin(kept, {}, facts, "goal")
            assert facts_of(kept, {"parent": {"depth": 3}}, None) == {"parent": {"depth": 3}}
        assert (run.depth, child.depth) == (0, 1)
        run.enter()
        run.ended()
        assert at_hand() is None
        begun(kept)
    entries = [it.entry for it in LogReader(tmp_path / "log").lines()]
    parents = [it.parent for it in entries if it.kind == "decision"]
    assert parents == [UNSET, run.plan.decision_id, UNSET]


def test_a_plan_that_is_given_is_taken_once() -> None:
    kept = host()
    plan = one_of(kept.batch({"goal": "a"}))
    with given(plan):
        assert begun(kept).plan is not plan  # another agent, which the child asks first
        assert begin(kept, {}, {}, "goal", "another").plan is not plan
        assert begin(kept, {}, {}, "goal", plan.decision_id).plan is plan
        assert begin(kept, {}, {}, "goal", plan.decision_id).plan is not plan


@each(
    ("content", "words"),
    [
        ("Fix it.", "Fix it."),
        (None, ""),
        ([{"role": "user", "content": [{"type": "input_text", "text": "Fix it."}]}], "Fix it."),
        (["Fix", {"type": "input_image", "image_url": "data:planted"}, "it."], "Fix\nit."),
        (("Fix it.", SimpleNamespace(content="Now.")), "Fix it.\nNow."),
        (["Fix it.", SimpleNamespace(data=b"planted", content=b"planted")], "Fix it."),
    ],
)
def test_the_words_of_a_prompt_are_those_of_its_texts(content: Any, words: str) -> None:
    assert words_of(content) == words


def test_settings_that_would_replace_what_is_decided_are_left_out() -> None:
    given_ = {"model": "huge", "max_completion_tokens": 9, "temperature": 1, "user": "ada"}
    assert undecided(given_) == {"user": "ada"}
    assert undecided(None) == {}


def test_the_definition_of_the_tool() -> None:
    assert function_of(host(), lambda _: pytest.fail("there is no run"))["name"] == "delegate_task"
    with pytest.raises(RefusedError, match="policy_unavailable"):
        function_of(PolicyHost("/nowhere.yaml"))


# Delegating.


def both(
    kept: PolicyHost, arguments: Any, child: Callable[[HostPlan], None]
) -> list[dict[str, Any]]:
    """Return what is made of a call, with threads and on an event loop."""

    async def child_async(plan: HostPlan) -> None:
        child(plan)

    made = asyncio.run(delegated_async(kept, arguments, {}, child_async))
    return [delegated(kept, arguments, {}, child), made]


def test_children_run_by_the_plans_that_are_given_to_them() -> None:
    kept = host()

    def child(plan: HostPlan) -> None:
        run = begin(kept, {}, {}, plan.goal, plan.decision_id)
        assert run.plan is plan
        run.leg()
        run.text = prompt_of(plan)
        run.ended()

    for made in both(kept, {"tasks": [{"goal": "a"}, {"goal": "b"}]}, child):
        assert [it["text"] for it in made["results"]] == ["a", "b"]


def test_a_refused_call_runs_no_child() -> None:
    def child(plan: HostPlan) -> None:
        pytest.fail(plan.goal)

    for made in both(host(), {"goal": "a", "model": "huge"}, child):
        assert made["error"]["code"] == "outside_pool"


def test_a_child_that_breaks_has_failed_and_one_without_its_plan_is_refused() -> None:
    def broken(plan: HostPlan) -> None:
        raise KeyError(plan.goal)

    for made in both(host(), {"goal": "a"}, broken):
        assert made["results"][0]["error"]["code"] == "child_error"
    for made in both(host(), {"goal": "a"}, lambda _: None):
        assert made["results"][0]["error"]["code"] == "not_policed"


def test_a_child_that_is_refused_has_called_nothing(tmp_path: Path) -> None:
    def child(_: HostPlan) -> None:
        raise RefusedError(Refused("not_policed", "it has a model of its own"))

    with host(log=tmp_path / "log") as kept:
        for made in both(kept, {"goal": "a"}, child):
            (result,) = made["results"]
            assert (result["status"], result["error"]["code"]) == ("refused", "not_policed")
            assert (result["effective"], result["attempts"]) == (None, ())


def test_children_that_are_cancelled_are_so_in_the_log(tmp_path: Path) -> None:
    async def child(_: HostPlan) -> None:
        raise asyncio.CancelledError

    with host(log=tmp_path / "log") as kept, pytest.raises(asyncio.CancelledError):
        asyncio.run(delegated_async(kept, {"goal": "a"}, {}, child))
    entries = [it.entry for it in LogReader(tmp_path / "log").lines()]
    ends = [it.execution for it in entries if it.kind == "execution"]
    assert [getattr(it, "status", None) for it in ends] == [None, "cancelled"]


# Connections.


def test_each_endpoint_of_a_run_has_one_client() -> None:
    connections, run = Connections(), begun(host(), kind="coding")
    leg = run.leg()
    assert connections.client(leg) is connections.client(leg)
    assert connections.async_client(leg) is connections.async_client(leg)
    assert is_chat(leg)
    (spare, small) = run.plan.remaining
    assert [it.model for it in (spare, small)] == ["spare", "small"]
    assert connections.client(spare) is not connections.client(leg)
    assert not is_chat(spare)
    connections.close()
    asyncio.run(connections.aclose())
    run.ended()
    assert run.plan.remaining == ()


def test_a_call_of_another_api_is_refused() -> None:
    leg = begun(host(), model="claude").leg()
    for make in (Connections().client, Connections().async_client):
        with pytest.raises(RefusedError, match="other_api"):
            make(leg)


def test_how_long_a_provider_may_be_silent() -> None:
    assert silence_of(begun(host(timeout=5)).leg()) == 5


def test_nothing_remains_after_a_plan_without_a_leg() -> None:
    plan = begun(PolicyHost(POLICY, environ={}), kind="coding").plan
    assert [it.model for it in plan.remaining] == []


def test_a_function_of_facts_that_breaks_refuses_and_says_no_value() -> None:
    def facts(_: object) -> Any:
        raise KeyError("planted-7f3a9c")

    with pytest.raises(RefusedError, match=r"bad_request: .*\(KeyError\)$"):
        facts_of(host(), facts, None)
