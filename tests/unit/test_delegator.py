"""A call of the tool becomes decisions, children and results; nothing of a child reaches others."""

from __future__ import annotations

import asyncio
import contextvars
import datetime
import functools
import json
import logging
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError as ThreadCancelled
from typing import Any

import pytest

from policy_router import Delegator, Executor, ProviderError, Reply, RequestError, loads
from policy_router.calls.child_task import ChildTask, Event, EventKind
from policy_router.calls.results import Delegation, Estimate, Ran, Result, Status, TaskError
from policy_router.decision.record import Target
from policy_router.delegation.tool import tool
from policy_router.errors import ArgumentsError
from tests.support.rows import each

NOW = datetime.datetime(2026, 1, 31, 9, tzinfo=datetime.UTC)
POLICY = loads(
    """
    model: small
    provider: main
    pool:
      - {model: small, price: {input: 1, output: 2}, parameters: {max_tokens: 1000}}
      - {model: large, name: coder, pick: task.kind == "coding", fallback: [small]}
      - {model: secret, allow: caller.team == "research"}
    precedence: strict
    """
)
THREE = {"tasks": [{"goal": "a"}, {"goal": "b", "kind": "coding"}, {"goal": "c"}]}
REFUSED = {"tasks": [{"goal": "a"}, {"goal": "b", "model": "huge"}, {"goal": "c"}]}

Child = Callable[[Target, ChildTask], Any]


def echo(target: Target, task: ChildTask) -> str:
    """Say what is to be done, and by whom."""
    return f"{task.goal} by {target.model}"


async def echo_async(target: Target, task: ChildTask) -> str:
    await asyncio.sleep(0)
    return echo(target, task)


def awaited(target: Target, task: ChildTask) -> Awaitable[str]:
    """Be a function that returns something to be awaited."""
    return echo_async(target, task)


class Caller:
    """An object that is called as a coroutine."""

    async def __call__(self, target: Target, task: ChildTask) -> str:
        """Say it."""
        return echo(target, task)


def delegator(child: Child | None = echo, **options: Any) -> Delegator:
    options = {"clock": lambda: NOW, **options}
    return Delegator(POLICY, run_child=child, **options)


def delegated(content: Any, child: Child | None = echo, **options: Any) -> Delegation:
    with delegator(child, **options) as made:
        return made.delegate(content)


def statuses(made: Delegation) -> list[str]:
    return [str(result.status) for result in made.results]


def texts(made: Delegation) -> list[str | None]:
    return [result.text for result in made.results]


EACH_WAY = pytest.mark.parametrize(
    "child",
    [echo, echo_async, awaited, Caller(), functools.partial(echo_async), functools.partial(echo)],
    ids=["function", "coroutine", "awaitable", "object", "partial coroutine", "partial"],
)


# Results.


@EACH_WAY
def test_children_run_each_at_its_own_target(child: Child) -> None:
    made = delegated(THREE, child)
    assert made.status is Status.COMPLETED
    assert texts(made) == ["a by small", "b by large", "c by small"]
    assert [result.task for result in made.results] == [0, 1, 2]
    single = delegated({"goal": "a", "kind": "coding"}, child)
    assert texts(single) == ["a by large"]


@EACH_WAY
def test_on_an_event_loop_it_is_the_same(child: Child) -> None:
    async def main(content: Any) -> Delegation:
        async with delegator(child) as it:
            return await it.delegate_async(content)

    for content in (THREE, {"goal": "a"}):
        made, expected = asyncio.run(main(content)), delegated(content, child)
        assert texts(made) == texts(expected)
        assert made.status is expected.status is Status.COMPLETED


def test_results_come_in_the_order_of_the_tasks_whichever_ends_first() -> None:
    async def child(_target: Target, task: ChildTask) -> str:
        await asyncio.sleep(0.01 * (5 - task.index))
        return task.goal

    made = delegated({"tasks": [{"goal": str(number)} for number in range(5)]}, child)
    assert texts(made) == ["0", "1", "2", "3", "4"]


def test_a_child_is_told_what_it_is_to_do_and_why_it_runs_there() -> None:
    seen: list[ChildTask] = []

    def child(_target: Target, task: ChildTask) -> str:
        seen.append(task)
        return "done"

    content = {"context": "C", "tasks": [{"goal": "a", "context": "c", "kind": "coding"}]}
    with delegator(child) as it:
        made = it.delegate(content, {"caller": {"team": "x"}}, session_id="7f3a")
    (task,), (result,) = seen, made.results
    assert (task.index, task.goal, task.context, task.kind) == (0, "a", "C\n\nc", "coding")
    assert (task.session_id, made.session_id, result.session_id) == ("7f3a",) * 3
    assert task.decision_id == result.decision_id
    assert task.record.request["caller"] == {"team": "x"}
    assert [target.entry for target in task.fallbacks] == ["small"]
    assert task.record.now == "2026-01-31T09:00:00Z"


def test_arguments_come_as_the_model_wrote_them() -> None:
    for form in (json.dumps(THREE), json.dumps(THREE).encode()):
        assert statuses(delegated(form)) == ["completed"] * 3


def test_each_decision_has_an_id_of_its_time() -> None:
    made = delegated(THREE, ids=lambda now: f"id of {now:%Y}")
    assert {result.decision_id for result in made.results} == {"id of 2026"}
    assert len({result.decision_id for result in delegated(THREE).results}) == 3


# What is refused.


def test_one_refused_task_refuses_the_batch_and_nothing_is_started() -> None:
    events: list[Event] = []
    ran: list[int] = []

    def child(_target: Target, task: ChildTask) -> str:
        ran.append(task.index)
        return "done"

    made = delegated(REFUSED, child, watcher=events.append)
    assert made.status is Status.REFUSED
    assert statuses(made) == ["not_started", "refused", "not_started"]
    message = "the task asks for a model outside the pool"
    assert made.error == TaskError("outside_pool", message, 1, ("small", "coder"))
    assert made.results[1].error == made.error
    assert (made.results[0].error, made.results[0].effective) == (None, None)
    assert (ran, events) == ([], [])


def test_the_first_refused_task_is_the_one_that_is_named() -> None:
    content = {"tasks": [{"goal": "a", "model": "x"}, {"goal": "b", "model": "y"}]}
    made = delegated(content)
    assert made.error is not None
    assert made.error.task == 0
    assert statuses(made) == ["refused", "refused"]


def test_a_refused_task_may_be_skipped() -> None:
    made = delegated(REFUSED, on_refused="skip")
    assert statuses(made) == ["completed", "refused", "completed"]
    assert (made.status, made.error) == (Status.PARTIAL, None)
    assert made.results[1].error is not None


def test_where_all_are_skipped_all_is_refused() -> None:
    made = delegated({"goal": "a", "model": "huge"}, on_refused="skip")
    assert (made.status, statuses(made)) == (Status.REFUSED, ["refused"])


SEND_ONE = "send one string, or leave it out"
WAYS = pytest.mark.parametrize("way", ["delegate", "plan", "delegate_async"])


def called(it: Delegator, way: str, *arguments: Any, **options: Any) -> Delegation:
    """Delegate in one of three ways."""
    made = getattr(it, way)(*arguments, **options)
    found: Delegation = asyncio.run(made) if way == "delegate_async" else made
    return found


@WAYS
def test_a_host_s_mistake_is_an_error_and_nothing_is_started(way: str) -> None:
    ran: list[int] = []
    with delegator(lambda _target, task: ran.append(task.index)) as it:
        for facts, session_id, path in (
            ({"task": {}}, None, "$.task"),
            ({"caler": {}}, None, "$.caler"),
            ({"parent": {"depth": "1"}}, None, "$.parent.depth"),
            (None, "a\nb", "$.session_id"),
        ):
            with pytest.raises(RequestError) as caught:
                called(it, way, {"goal": "a"}, facts, session_id=session_id)
            assert caught.value.path == path
            assert not isinstance(caught.value, ArgumentsError)
    assert ran == []


@WAYS
def test_arguments_that_are_not_understood_are_a_refusal_that_the_model_reads(way: str) -> None:
    """It has the place, what was found, and what to send."""
    ran: list[int] = []
    with delegator(lambda _target, task: ran.append(task.index)) as it:
        for content, task, message in (
            (
                {"tasks": [{"goal": "a"}, {"goal": ""}]},
                1,
                "$.tasks[1].goal: there is nothing to do; send a `goal`",
            ),
            (
                {"tasks": [{"goal": "a", "model": ["small"]}]},
                0,
                f"$.tasks[0].model: expected a string, found a list; {SEND_ONE}",
            ),
            (
                "{",
                None,
                '$: the arguments are not JSON; send one JSON object, such as {"goal": "..."}',
            ),
            ({"gaol": "a"}, None, "$.gaol: unknown key `gaol`; did you mean `goal`?"),
        ):
            made = called(it, way, content, session_id="s")
            error = TaskError("bad_request", message, task)
            assert made == Delegation(Status.REFUSED, (), "s", error)
    assert ran == []


# What is only planned.


def test_a_plan_decides_and_estimates_and_calls_nobody() -> None:
    ran: list[int] = []
    events: list[Event] = []
    child = lambda _target, task: ran.append(task.index)  # noqa: E731 - it is one
    with delegator(child, watcher=events.append) as it:
        made = it.plan({"goal": "g" * 398})
    (result,) = made.results
    assert (made.status, result.status) == (Status.DECIDED, Status.DECIDED)
    assert result.effective == Ran("small", "main", "small")
    assert result.estimate == Estimate(100, 1000, 0.0021)
    assert (ran, events, result.text, result.duration_seconds) == ([], [], None, None)


def test_a_plan_says_what_would_be_refused() -> None:
    with delegator() as it:
        made = it.plan(REFUSED)
    assert statuses(made) == ["decided", "refused", "decided"]
    assert made.status is Status.REFUSED
    assert made.error is not None
    assert made.results[1].estimate is None
    with delegator(on_refused="skip") as it:
        made = it.plan(REFUSED)
    assert (made.status, made.error) == (Status.DECIDED, None)


def test_without_counts_the_size_of_the_input_is_unknown() -> None:
    with delegator(counts=None) as it:
        assert it.plan({"goal": "a"}).results[0].estimate == Estimate(None, 1000, None)


def test_the_tool_is_the_one_of_the_policy() -> None:
    facts = {"caller": {"team": "research"}}
    with delegator() as it:
        assert it.tool() == tool(POLICY)
        assert it.tool(facts) == tool(POLICY, facts)


# Children that fail.


class MuteError(Exception):
    """Cannot say what it is."""

    def __str__(self) -> str:
        """Fail."""
        raise LookupError


PROBLEMS: list[tuple[BaseException, str]] = [
    (ValueError("no"), "ValueError: no"),
    (SystemExit(3), "SystemExit: 3"),
    (asyncio.CancelledError(), "CancelledError"),
    (ThreadCancelled(), "CancelledError"),
    (BaseExceptionGroup("both", [SystemExit()]), "BaseExceptionGroup: both (1 sub-exception)"),
    (MuteError(), "MuteError"),
    (TimeoutError("late"), "TimeoutError: late"),
]


@each("way", ["function", "coroutine"])
@each(("problem", "message"), PROBLEMS, ids=range(len(PROBLEMS)))
def test_what_a_child_raises_is_its_error_and_leaves_the_others_alone(
    problem: BaseException, message: str, way: str
) -> None:
    def child(target: Target, task: ChildTask) -> str:
        if task.index == 0:
            raise problem
        return echo(target, task)

    async def child_async(target: Target, task: ChildTask) -> str:
        await asyncio.sleep(0)
        return child(target, task)

    events: list[Event] = []
    run: Child = child if way == "function" else child_async
    made = delegated(THREE, run, concurrency=1, watcher=events.append)
    assert statuses(made) == ["failed", "completed", "completed"]
    assert made.status is Status.PARTIAL
    assert made.results[0].error == TaskError("child_error", message, 0)
    ends = [event for event in events if event.kind is EventKind.FINISHED]
    assert [event.status for event in ends] == [result.status for result in made.results]


def test_a_function_that_stops_an_iteration_has_an_error() -> None:
    def child(target: Target, task: ChildTask) -> str:
        return echo(target, task) if task.index else next(iter([]))

    made = delegated(THREE, child, concurrency=1)
    assert statuses(made) == ["failed", "completed", "completed"]
    error = made.results[0].error
    assert error is not None
    assert "StopIteration" in error.message


def test_a_function_that_ends_a_generator_has_an_error() -> None:
    def child(target: Target, task: ChildTask) -> str:
        if task.index:
            return echo(target, task)
        raise GeneratorExit

    assert statuses(delegated(THREE, child)) == ["failed", "completed", "completed"]


@each("problem", [ValueError("no"), SystemExit(3), StopIteration()], ids=str)
def test_what_a_single_child_raises_is_its_error(problem: BaseException) -> None:
    def child(_target: Target, _task: ChildTask) -> str:
        raise problem

    made = delegated({"goal": "a"}, child)
    assert (made.status, statuses(made)) == (Status.FAILED, ["failed"])
    assert made.results[0].effective == Ran("small", "main", "small")


@pytest.mark.parametrize("content", [{"goal": "a"}, THREE], ids=["one", "some"])
def test_a_child_that_returns_something_else_has_an_error(content: Any) -> None:
    made = delegated(content, lambda _target, _task: 7)
    error = made.results[0].error
    assert error is not None
    assert error.message == "TypeError: a child returns a text or a Reply, not int"


def test_what_a_provider_refused_is_told_with_its_code() -> None:
    def child(_target: Target, _task: ChildTask) -> str:
        raise ProviderError("payment_required", "no credit")

    (result,) = delegated({"goal": "a"}, child).results
    assert result.error == TaskError("payment_required", "no credit", 0)


def test_a_reply_says_what_was_counted() -> None:
    reply = Reply("done", "small-2026", "stop", input_tokens=1000, output_tokens=1000)
    (result,) = delegated({"goal": "a"}, lambda _target, _task: reply).results
    assert (result.cost_usd, result.served_model) == (0.003, "small-2026")
    assert result.duration_seconds is not None


# At the same time.


@each("way", ["function", "coroutine"])
@each("concurrency", [1, 2, 5])
def test_no_more_children_than_may_run_at_the_same_time(way: str, concurrency: int) -> None:
    lock = threading.Lock()
    running: list[int] = [0, 0]

    def begin(number: int) -> None:
        with lock:
            running[0] += number
            running[1] = max(running)

    def child(_target: Target, _task: ChildTask) -> str:
        begin(1)
        time.sleep(0.02)
        begin(-1)
        return "done"

    async def child_async(_target: Target, _task: ChildTask) -> str:
        begin(1)
        await asyncio.sleep(0.02)
        begin(-1)
        return "done"

    content = {"tasks": [{"goal": "a"}] * 10}
    run: Child = child if way == "function" else child_async
    made = delegated(content, run, concurrency=concurrency)
    assert made.status is Status.COMPLETED
    assert running == [0, concurrency]


def test_threads_may_share_a_delegator() -> None:
    made: list[Delegation] = []
    with delegator(echo_async) as it:
        work = [threading.Thread(target=lambda: made.append(it.delegate(THREE))) for _ in range(8)]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join(20)
    assert [texts(each) for each in made] == [["a by small", "b by large", "c by small"]] * 8


def test_a_function_sees_the_context_of_whoever_delegates() -> None:
    word: contextvars.ContextVar[str] = contextvars.ContextVar("word", default="none")

    async def main() -> Delegation:
        word.set("mine")
        async with delegator(lambda _target, _task: word.get()) as it:
            return await it.delegate_async(THREE)

    assert texts(asyncio.run(main())) == ["mine"] * 3


# Children that delegate in their turn.


def nested(of: Callable[[], Delegator], content: Any) -> Child:
    """Return a child that delegates with the delegator that runs it, which is made after it."""

    def child(target: Target, task: ChildTask) -> str:
        if task.goal.startswith("inner"):
            return echo(target, task)
        return of().delegate(content).status

    return child


INNER = {"tasks": [{"goal": "inner 1"}, {"goal": "inner 2"}]}


@each("content", [{"goal": "a"}, THREE], ids=["one", "some"])
@each("inner", [{"goal": "inner"}, INNER], ids=["one", "some"])
def test_a_function_may_delegate_with_the_same_delegator(content: Any, inner: Any) -> None:
    with delegator(nested(lambda: it, inner), concurrency=1) as it:
        assert set(texts(it.delegate(content))) == {"completed"}


def test_a_coroutine_may_delegate_with_the_same_delegator() -> None:
    async def child(target: Target, task: ChildTask) -> str:
        if task.goal.startswith("inner"):
            return echo(target, task)
        return (await it.delegate_async(INNER)).status

    with delegator(child, concurrency=1) as it:
        assert texts(it.delegate(THREE)) == ["completed"] * 3


def test_a_coroutine_that_would_block_its_own_loop_has_an_error() -> None:
    async def child(_target: Target, _task: ChildTask) -> str:
        return it.delegate(INNER).status

    with delegator(child) as it:
        (result,) = it.delegate({"tasks": [{"goal": "a"}]}).results
    assert result.error is not None
    assert "await delegate_async" in result.error.message


# Watching.


@pytest.mark.parametrize("content", [{"goal": "a"}, THREE], ids=["one", "some"])
def test_watchers_are_told_of_each_beginning_and_end(content: Any) -> None:
    mine: list[Event] = []
    theirs: list[Event] = []
    with delegator(watcher=mine.append) as it:
        made = it.delegate(content, watcher=theirs.append)
    assert mine == theirs
    for result in made.results:
        begun, ended = [event for event in mine if event.task == result.task]
        assert (begun.kind, ended.kind) == (EventKind.STARTED, EventKind.FINISHED)
        assert begun.decision_id == ended.decision_id == result.decision_id
        assert result.effective is not None
        expected = f"runs on {result.effective.model} at {result.effective.provider}"
        assert begun.message == expected
        assert (ended.status, ended.result) == (Status.COMPLETED, result)
        assert ended.message == "completed"


@pytest.mark.parametrize("problem", [ValueError("hunter2"), SystemExit(3)], ids=["error", "exit"])
@pytest.mark.parametrize("content", [{"goal": "a"}, THREE], ids=["one", "some"])
def test_a_watcher_that_fails_is_logged_and_changes_nothing(
    caplog: pytest.LogCaptureFixture, content: Any, problem: BaseException
) -> None:
    seen: list[Event] = []

    def fail(_event: Event) -> None:
        raise problem

    with delegator(watcher=fail) as it:
        made = it.delegate(content, watcher=seen.append)
    assert made.status is Status.COMPLETED
    assert len(seen) == 2 * len(made.results)
    assert f"a watcher of started failed: {type(problem).__name__}" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_child_that_begins_is_one_line_of_the_log_without_what_it_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "policy_router")
    child = lambda _target, _task: "hunter4"  # noqa: E731 - it is one
    content = {"goal": "hunter2", "context": "hunter3", "kind": "coding"}
    (result,) = delegated(content, child).results
    assert caplog.messages == [
        f"decision {result.decision_id} task 0 level pool provider main model large"
    ]
    assert "hunter" not in caplog.text


# To interrupt, to cancel and to close.


def interrupt() -> None:
    """Do what ^C does: the main thread is told."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


@pytest.mark.usefixtures("interrupts")
def test_an_interrupted_batch_cancels_its_children_first() -> None:
    events: list[Event] = []
    begun = threading.Barrier(3, action=lambda: threading.Timer(0.05, interrupt).start())

    async def child(_target: Target, _task: ChildTask) -> str:
        await asyncio.to_thread(begun.wait, 10)
        await asyncio.sleep(30)
        return "done"

    with delegator(child, watcher=events.append) as it, pytest.raises(KeyboardInterrupt):
        it.delegate(THREE)
    ends = [event for event in events if event.kind is EventKind.FINISHED]
    assert [event.status for event in ends] == [Status.CANCELLED] * 3


def test_an_interrupted_child_is_told_of_as_cancelled() -> None:
    events: list[Event] = []

    def child(_target: Target, _task: ChildTask) -> str:
        raise KeyboardInterrupt

    with delegator(child, watcher=events.append) as it, pytest.raises(KeyboardInterrupt):
        it.delegate({"goal": "a"})
    assert [event.status for event in events] == [None, Status.CANCELLED]


def test_to_cancel_a_delegation_cancels_its_children() -> None:
    events: list[Event] = []
    tidied: list[int] = []

    async def child(_target: Target, task: ChildTask) -> str:
        try:
            await asyncio.sleep(30)
        finally:
            tidied.append(task.index)
        return "done"

    async def main() -> None:
        async with delegator(child, watcher=events.append, concurrency=2) as it:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(it.delegate_async(THREE), 0.05)

    asyncio.run(main())
    assert sorted(tidied) == [0, 1]
    ends = [event for event in events if event.kind is EventKind.FINISHED]
    assert [event.status for event in ends] == [Status.CANCELLED] * 2


def test_to_close_cancels_what_runs() -> None:
    begun = threading.Event()
    caught: list[BaseException] = []

    async def child(_target: Target, _task: ChildTask) -> str:
        begun.set()
        await asyncio.sleep(30)
        return "done"

    it = delegator(child)

    def wait() -> None:
        try:
            it.delegate(THREE)
        except RuntimeError as problem:
            caught.append(problem)

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert begun.wait(10)
    it.close()
    waiting.join(10)
    assert [str(problem) for problem in caught] == [
        "the delegator was closed before the call ended"
    ]


@pytest.mark.parametrize("way", ["delegate", "plan"])
def test_what_is_closed_delegates_no_more(way: str) -> None:
    it = delegator()
    it.close()
    it.close()
    for content in ({"goal": "a"}, THREE):
        with pytest.raises(RuntimeError, match="the delegator is closed"):
            getattr(it, way)(content)


def test_what_was_not_used_can_be_closed_either_way() -> None:
    delegator().close()

    async def main() -> None:
        await delegator().aclose()

    asyncio.run(main())


def test_a_delegator_closes_the_executor_that_it_made_and_no_other() -> None:
    policy = loads("{model: m, provider: p, providers: {p: {base_url: 'http://127.0.0.1:9'}}}")
    with Delegator(policy) as own:
        client = own.executor.client("p")
    assert client.is_closed()
    with pytest.raises(RuntimeError, match="the executor is closed"):
        own.executor.client("p")
    with Executor(policy) as given:
        client = given.client("p")
        with Delegator(policy, executor=given):
            pass
        assert given.client("p") is client
        assert not client.is_closed()


# Options.


@each(
    ("options", "message"),
    [
        ({"concurrency": 0}, "at least 1"),
        ({"on_refused": "ask"}, "refuse or skip"),
        ({"executor": Executor(loads("model: m"))}, "of another policy"),
    ],
    ids=["concurrency", "on_refused", "executor"],
)
def test_an_option_without_such_a_value_is_refused(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Delegator(POLICY, **options)


def test_a_result_can_be_given_back_to_the_agent_as_json() -> None:
    made = delegated(THREE)
    plain = json.loads(made.to_json())
    assert [it["text"] for it in plain["results"]] == texts(made)
    assert set(plain["results"][0]) == set(Result.__struct_fields__)
