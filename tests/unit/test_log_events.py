"""What a delegation leaves in the log: decisions with their parents, and no word anybody said."""

from __future__ import annotations

import asyncio
import datetime
import functools
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from policy_router import DecisionLog, Delegator, ProviderError, Reply, Router, loads
from policy_router.calls.child_task import ChildTask, Event, EventKind
from policy_router.calls.failing import Attempt, Failing
from policy_router.calls.results import (
    CostStatus,
    Delegation,
    Ran,
    Result,
    Status,
    TaskError,
    Tokens,
)
from policy_router.decision.record import Target
from policy_router.delegation.arguments import arguments_of
from policy_router.delegation.batch import Planned, planned
from policy_router.delegation.current_decision import parent_of
from policy_router.delegation.log_events import decided, execution_of, logging_watcher
from policy_router.files.ids import uuid7
from policy_router.log.entry import Call, Execution
from tests.support.log_chain import (
    Line,
    NewLog,
    everything,
    ids,
    kinds,
    one_writer,
    whole,
)
from tests.support.rows import each

NOW = datetime.datetime(2026, 1, 31, 9, tzinfo=datetime.UTC)
POLICY = loads(
    """
    model: small
    provider: main
    pool:
      - {model: small, price: {input: 1, output: 2}}
      - {model: large, name: coder, pick: task.kind == "coding", fallback: [small]}
    precedence: strict
    """
)
MARKER = "planted-7f3a9c"
ONE = {"goal": "a"}
THREE = {"tasks": [{"goal": "a"}, {"goal": "b", "kind": "coding"}, {"goal": "c"}]}
INNER = {"tasks": [{"goal": "inner 1"}, {"goal": "inner 2"}]}
Child = Callable[[Target, ChildTask], Any]
ONE_OR_SOME = pytest.mark.parametrize("content", [ONE, THREE], ids=["one", "some"])


def echo(_target: Target, task: ChildTask) -> str:
    return f"did {task.goal}"


async def echo_async(target: Target, task: ChildTask) -> str:
    await asyncio.sleep(0)
    return echo(target, task)


def delegated(log: DecisionLog, content: Any, child: Child, **options: Any) -> Delegation:
    """Delegate in a thread, and close the log."""
    with log, Delegator(POLICY, run_child=child, log=log, concurrency=2) as it:
        return it.delegate(content, **options)


def of(lines: list[Line], kind: str) -> list[dict[str, Any]]:
    """Return the entries of one kind."""
    return [line.entry for line in lines if line.kind == kind]


def events_of(lines: list[Line], decision_id: str) -> list[str]:
    """Return what happened to the child of a decision, in order."""
    return [
        entry["execution"]["event"]
        for entry in of(lines, "execution")
        if entry["id"] == decision_id
    ]


def plan_of(facts: Any = None) -> Planned:
    (plan,) = planned(POLICY, arguments_of(ONE), facts or {}, now=NOW, ids=uuid7)
    return plan


# Events as the log keeps them.


def test_an_event_is_kept_without_its_message() -> None:
    event = Event(
        EventKind.ATTEMPT, 3, "id", MARKER, "main", "small", attempt=2, attempts=4, seconds=0.5
    )
    assert execution_of(event) == Execution(
        "attempt", provider="main", model="small", attempt=2, seconds=0.5
    )


def test_an_end_is_kept_with_what_can_be_counted() -> None:
    result = Result(
        0,
        Status.FAILED,
        text=MARKER,
        effective=Ran("large", "main", "coder"),
        decision_id="id",
        session_id="session",
        served_model="large-2026",
        finish_reason="length",
        attempts=(
            Attempt(
                1,
                "large",
                "main",
                "coder",
                Failing.TIMEOUT,
                504,
                MARKER,
                1.5,
                input_tokens=10,
                output_tokens=20,
            ),
            Attempt(2, "small", "main", is_sent=False),
        ),
        tokens=Tokens(10, 20),
        cost_usd=0.25,
        duration_seconds=2.5,
        warnings=(MARKER,),
        error=TaskError("timeout", MARKER, 0),
    )
    kept = execution_of(Event(EventKind.FINISHED, 0, "id", MARKER, result=result))
    assert kept == Execution(
        "finished",
        provider="main",
        model="large",
        entry="coder",
        status="failed",
        error="timeout",
        served_model="large-2026",
        finish_reason="length",
        input_tokens=10,
        output_tokens=20,
        cost_usd=0.25,
        duration_seconds=2.5,
        session_id="session",
        calls=(
            Call(
                1, "main", "large", "coder", "timeout", 504, 1.5, input_tokens=10, output_tokens=20
            ),
            Call(2, "main", "small", is_sent=False),
        ),
        cost_status="measured",
    )
    assert MARKER not in repr(kept)


def test_an_end_of_what_never_ran_is_kept_too() -> None:
    result = Result(0, Status.REFUSED)
    kept = execution_of(Event(EventKind.FINISHED, 0, "id", "", result=result))
    assert kept == Execution("finished", status="refused", cost_status="free")


def attempts_of(*made: tuple[int | None, bool]) -> tuple[Attempt, ...]:
    return tuple(
        Attempt(number, "large", "main", status=status, is_sent=is_sent)
        for number, (status, is_sent) in enumerate(made, 1)
    )


@each(
    ("result", "known"),
    [
        (Result(0, Status.COMPLETED, cost_status=CostStatus.NO_PRICE), "no_price"),
        (Result(0, Status.COMPLETED, cost_usd=0.5), "measured"),
        (Result(0, Status.NOT_STARTED), "free"),
        (Result(0, Status.FAILED, effective=Ran("large", "main")), "failed"),
        (
            Result(0, Status.FAILED, effective=Ran("a", "b"), attempts=attempts_of((500, True))),
            "free",
        ),
        (
            Result(0, Status.FAILED, effective=Ran("a", "b"), attempts=attempts_of((200, True))),
            "failed",
        ),
        (Result(0, Status.CANCELLED, effective=Ran("large", "main")), "failed"),
    ],
)
def test_an_end_says_how_its_cost_is_known(result: Result, known: str) -> None:
    kept = execution_of(Event(EventKind.FINISHED, 0, "id", "", result=result))
    assert kept.cost_status == known


@pytest.mark.parametrize("kind", [kind for kind in EventKind if kind is not EventKind.TEXT])
def test_every_event_but_text_is_logged(tmp_path: Path, new_log: NewLog, kind: EventKind) -> None:
    plan = plan_of({"caller": {"team": "x"}})
    with new_log() as log:
        logging_watcher(log, plan)(Event(kind, 0, plan.decision_id, MARKER, "main", "small"))
    (entry,) = of(one_writer(tmp_path / "log"), "execution")
    assert entry["id"] == plan.decision_id
    assert entry["caller"] == {"team": "x"}
    assert entry["execution"] == {"event": kind.value, "provider": "main", "model": "small"}
    assert MARKER.encode() not in everything(tmp_path)


def test_no_text_of_an_answer_is_logged(tmp_path: Path, new_log: NewLog) -> None:
    plan = plan_of()
    with new_log() as log:
        log.decision(POLICY, plan.record)
        logging_watcher(log, plan)(Event(EventKind.TEXT, 0, plan.decision_id, MARKER))
    assert kinds(one_writer(tmp_path / "log")) == ["decision", "close"]


def test_an_event_of_nobody_has_no_caller(tmp_path: Path, new_log: NewLog) -> None:
    plan = plan_of()
    with new_log() as log:
        logging_watcher(log, plan)(Event(EventKind.STARTED, 0, plan.decision_id, ""))
    (entry,) = of(one_writer(tmp_path / "log"), "execution")
    assert "caller" not in entry


def test_a_planned_task_is_a_decision_to_be_logged() -> None:
    plan = plan_of()
    made = decided(plan, "above")
    assert (made.record, made.decision_id, made.parent_id) == (
        plan.record,
        plan.decision_id,
        "above",
    )


# A delegation.


@pytest.mark.parametrize("child", [echo, echo_async], ids=["function", "coroutine"])
@ONE_OR_SOME
@pytest.mark.parametrize("durability", ["sync", "group", "async"])
def test_each_child_has_a_decision_a_beginning_and_an_end(
    tmp_path: Path, new_log: NewLog, child: Child, content: Any, durability: str
) -> None:
    log = new_log(durability=durability)
    made = delegated(log, content, child, facts={"caller": {"team": "x"}}, session_id="7f3a")
    lines = one_writer(tmp_path / "log")
    count = len(made.results)
    assert kinds(lines)[:count] == ["decision"] * count
    assert ids(lines) == [result.decision_id for result in made.results]
    for result in made.results:
        assert result.decision_id is not None
        assert events_of(lines, result.decision_id) == ["started", "finished"]
    for entry in of(lines, "decision"):
        assert entry["caller"] == entry["record"]["request"]["caller"] == {"team": "x"}
        assert "parent" not in entry
    for entry in of(lines, "execution"):
        assert entry["caller"] == {"team": "x"}
        if entry["execution"]["event"] == "finished":
            assert entry["execution"]["status"] == "completed"
            assert entry["execution"]["session_id"] == "7f3a"
            assert entry["execution"]["provider"] == "main"


@pytest.mark.parametrize("child", [echo, echo_async], ids=["function", "coroutine"])
@ONE_OR_SOME
def test_on_an_event_loop_it_is_the_same(
    tmp_path: Path, new_log: NewLog, child: Child, content: Any
) -> None:
    async def main() -> Delegation:
        async with (
            new_log() as log,
            Delegator(POLICY, run_child=child, log=log) as it,
        ):
            made = await it.delegate_async(content)
            assert len(of(one_writer(tmp_path / "log"), "execution")) == 2 * len(made.results)
            return made

    made = asyncio.run(main())
    lines = one_writer(tmp_path / "log")
    assert ids(lines) == [result.decision_id for result in made.results]
    for result in made.results:
        assert result.decision_id is not None
        assert events_of(lines, result.decision_id) == ["started", "finished"]


@ONE_OR_SOME
def test_all_is_in_the_log_before_the_results_are_returned(
    tmp_path: Path, new_log: NewLog, content: Any
) -> None:
    log = new_log(durability="async")
    with Delegator(POLICY, run_child=echo, log=log) as it:
        made = it.delegate(content)
        assert len(of(one_writer(tmp_path / "log"), "execution")) == 2 * len(made.results)


@ONE_OR_SOME
def test_decisions_are_in_the_log_before_a_child_begins(
    tmp_path: Path, new_log: NewLog, content: Any
) -> None:
    def child(_target: Target, task: ChildTask) -> str:
        assert task.decision_id in ids(one_writer(tmp_path / "log"))
        return "done"

    assert delegated(new_log(), content, child).status is Status.COMPLETED


def test_a_refused_task_is_a_decision_without_a_child(tmp_path: Path, new_log: NewLog) -> None:
    content = {"tasks": [{"goal": "a"}, {"goal": "b", "model": "huge"}]}
    made = delegated(new_log(), content, echo)
    lines = one_writer(tmp_path / "log")
    assert ids(lines) == [result.decision_id for result in made.results]
    assert kinds(lines) == ["decision", "decision", "close"]
    outcomes = [entry["record"]["decision"]["outcome"] for entry in of(lines, "decision")]
    assert outcomes == ["selected", "refused"]


def test_what_is_only_planned_is_not_logged(tmp_path: Path, new_log: NewLog) -> None:
    with Delegator(POLICY, run_child=echo, log=new_log()) as it:
        it.plan(THREE)
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize(
    ("problem", "code"),
    [(ValueError(MARKER), "child_error"), (ProviderError("payment_required", MARKER), None)],
    ids=["error", "provider"],
)
@ONE_OR_SOME
def test_a_child_that_fails_has_an_end_with_a_code(
    tmp_path: Path, new_log: NewLog, content: Any, problem: Exception, code: str | None
) -> None:
    def child(_target: Target, _task: ChildTask) -> str:
        raise problem

    delegated(new_log(), content, child)
    ends = [
        entry["execution"]
        for entry in of(one_writer(tmp_path / "log"), "execution")
        if entry["execution"]["event"] == "finished"
    ]
    assert {(end["status"], end["error"]) for end in ends} == {
        ("failed", code or "payment_required")
    }
    assert MARKER.encode() not in everything(tmp_path)


def test_an_interrupted_child_has_an_end(tmp_path: Path, new_log: NewLog) -> None:
    def child(_target: Target, _task: ChildTask) -> str:
        raise KeyboardInterrupt

    log = new_log()
    with pytest.raises(KeyboardInterrupt):
        delegated(log, ONE, child)
    lines = one_writer(tmp_path / "log")
    assert [entry["execution"].get("status") for entry in of(lines, "execution")] == [
        None,
        "cancelled",
    ]


def test_what_a_provider_counted_is_in_the_log(tmp_path: Path, new_log: NewLog) -> None:
    attempt = Attempt(1, "small", "main", "small", message=MARKER, duration_seconds=0.125)
    reply = Reply("done", "small", "stop", 1000, 500, attempts=(attempt,), warnings=(MARKER,))
    delegated(new_log(), ONE, lambda _target, _task: reply)
    *_, end = of(one_writer(tmp_path / "log"), "execution")
    kept = end["execution"]
    assert (kept["input_tokens"], kept["output_tokens"]) == (1000, 500)
    assert kept["cost_usd"] == pytest.approx(0.002)
    assert (kept["served_model"], kept["finish_reason"]) == ("small", "stop")
    assert kept["calls"] == [
        {
            "number": 1,
            "provider": "main",
            "model": "small",
            "entry": "small",
            "duration_seconds": 0.125,
        }
    ]
    assert MARKER.encode() not in everything(tmp_path)


# What nobody may read in a log.


@pytest.mark.parametrize("way", ["answers", "replies", "streams", "raises", "is no answer"])
@pytest.mark.parametrize("is_async", [False, True], ids=["function", "coroutine"])
@pytest.mark.parametrize("form", ["one", "some", "json"])
def test_no_word_of_a_task_or_an_answer_is_in_the_log(
    tmp_path: Path,
    new_log: NewLog,
    caplog: pytest.LogCaptureFixture,
    way: str,
    form: str,
    *,
    is_async: bool,
) -> None:
    def child(_target: Target, task: ChildTask) -> Any:
        if way == "streams":
            for piece in (MARKER, f"and {MARKER}"):
                task.tell(Event(EventKind.TEXT, task.index, task.decision_id, piece))
            return "done"
        if way == "raises":
            raise ValueError(f"cannot do {MARKER}")
        if way == "is no answer":
            return [MARKER]
        text = f"{MARKER} is done"
        return Reply(text, warnings=(text,)) if way == "replies" else text

    async def child_async(target: Target, task: ChildTask) -> Any:
        await asyncio.sleep(0)
        return child(target, task)

    told = {"goal": f"do {MARKER}", "context": f"know {MARKER}"}
    content: Any = told if form == "one" else {"context": MARKER, "tasks": [told, told]}
    if form == "json":
        content = json.dumps(content)
    caplog.set_level("DEBUG")
    made = delegated(new_log(), content, child_async if is_async else child)
    results = json.loads(made.to_json())["results"]
    assert (MARKER in json.dumps(results)) == (way not in {"streams", "is no answer"})
    assert MARKER.encode() not in everything(tmp_path)
    assert MARKER not in caplog.text
    assert len(of(one_writer(tmp_path / "log"), "execution")) == 2 * len(results)


# Parents.


def parents(folder: Path) -> dict[str, str | None]:
    """Return the parent of each decision in a log."""
    entries = [line.entry for lines in whole(folder).values() for line in lines]
    return {it["id"]: it.get("parent") for it in entries if it["kind"] == "decision"}


@ONE_OR_SOME
def test_a_parent_may_be_said(tmp_path: Path, new_log: NewLog, content: Any) -> None:
    above = uuid7(NOW)
    made = delegated(new_log(), content, echo, parent_id=above)
    assert parents(tmp_path / "log") == {str(result.decision_id): above for result in made.results}


def test_a_parent_may_be_said_on_an_event_loop(tmp_path: Path, new_log: NewLog) -> None:
    above = uuid7(NOW)

    async def main() -> None:
        async with new_log() as log, Delegator(POLICY, run_child=echo, log=log) as it:
            await it.delegate_async(THREE, parent_id=above)

    asyncio.run(main())
    assert set(parents(tmp_path / "log").values()) == {above}


def test_a_router_says_parent_and_id(tmp_path: Path, new_log: NewLog) -> None:
    above, mine = uuid7(NOW), uuid7(NOW)
    with new_log() as log:
        router = Router(POLICY, log=log)
        router.decide({}, decision_id=above)
        router.target({}, decision_id=mine, parent_id=above)
    assert parents(tmp_path / "log") == {above: None, mine: above}


class Nesting:
    """A child that delegates in its turn, unless it is an inner one."""

    def __init__(self, log: DecisionLog, inner: Any, *, parent_id: str | None = None) -> None:
        self.inner, self.parent_id = inner, parent_id
        self.made: dict[str, list[str]] = {}
        self.log = log
        self.delegator: Delegator

    def run(self, child: Child, content: Any) -> Delegation:
        """Delegate to a child of this, and close what delegates."""
        with Delegator(POLICY, run_child=child, log=self.log, concurrency=2) as self.delegator:
            return self.delegator.delegate(content)

    def function(self, target: Target, task: ChildTask) -> str:
        """Run in a thread."""
        if task.goal.startswith("inner"):
            return echo(target, task)
        made = self.delegator.delegate(self.inner, parent_id=self.parent_id)
        return self._remember(task, made)

    async def coroutine(self, target: Target, task: ChildTask) -> str:
        """Run on the event loop."""
        if task.goal.startswith("inner"):
            return echo(target, task)
        await asyncio.sleep(0)
        made = await self.delegator.delegate_async(self.inner, parent_id=self.parent_id)
        return self._remember(task, made)

    def awaitable(self, target: Target, task: ChildTask) -> Awaitable[str]:
        """Be a function that returns something to be awaited."""
        return self.coroutine(target, task)

    def _remember(self, task: ChildTask, made: Delegation) -> str:
        below = [str(result.decision_id) for result in made.results]
        self.made[task.decision_id] = below
        return made.status


def ways(nesting: Nesting) -> dict[str, Child]:
    """Return the same child in every form that a child may have."""
    return {
        "function": nesting.function,
        "coroutine": nesting.coroutine,
        "awaitable": nesting.awaitable,
        "partial": functools.partial(nesting.function),
        "partial coroutine": functools.partial(nesting.coroutine),
    }


@pytest.mark.parametrize(
    "way", ["function", "coroutine", "awaitable", "partial", "partial coroutine"]
)
@ONE_OR_SOME
@pytest.mark.parametrize("inner", [{"goal": "inner"}, INNER], ids=["one below", "some below"])
def test_what_a_child_delegates_is_below_its_own_decision(
    tmp_path: Path, new_log: NewLog, way: str, content: Any, inner: Any
) -> None:
    log = new_log()
    nesting = Nesting(log, inner)
    made = nesting.run(ways(nesting)[way], content)
    log.close()
    assert made.status is Status.COMPLETED
    expected: dict[str, str | None] = {str(it.decision_id): None for it in made.results}
    for above, below in nesting.made.items():
        expected |= dict.fromkeys(below, above)
    assert len(expected) == len(made.results) * (1 + len(inner.get("tasks", [0])))
    assert parents(tmp_path / "log") == expected


@pytest.mark.parametrize("way", ["function", "coroutine"])
def test_a_parent_that_is_said_goes_before_the_one_at_hand(
    tmp_path: Path, new_log: NewLog, way: str
) -> None:
    above, log = uuid7(NOW), new_log()
    nesting = Nesting(log, ONE | {"goal": "inner"}, parent_id=above)
    made = nesting.run(ways(nesting)[way], {"tasks": [ONE]})
    log.close()
    ((mine, below),) = nesting.made.items()
    assert mine == made.results[0].decision_id
    assert parents(tmp_path / "log") == {mine: None, below[0]: above}


def test_below_is_as_deep_as_children_delegate(tmp_path: Path, new_log: NewLog) -> None:
    log = new_log()
    chain: list[str] = []

    def child(_target: Target, task: ChildTask) -> str:
        chain.append(task.decision_id)
        if len(chain) < 5:
            it.delegate(ONE)
        return "done"

    with Delegator(POLICY, run_child=child, log=log) as it:
        it.delegate(ONE)
    log.close()
    assert parents(tmp_path / "log") == dict(zip(chain, [None, *chain], strict=False))


@pytest.mark.parametrize("is_async", [False, True], ids=["function", "coroutine"])
def test_what_a_child_decides_by_a_router_is_below_it(
    tmp_path: Path, new_log: NewLog, *, is_async: bool
) -> None:
    log = new_log()
    router = Router(POLICY, log=log)
    known, told, other, after = (uuid7(NOW) for _ in range(4))

    def child(target: Target, task: ChildTask) -> str:
        router.decide({}, decision_id=known)
        router.target({}, decision_id=told, parent_id=other)
        return echo(target, task)

    async def child_async(target: Target, task: ChildTask) -> str:
        await router.decide_async({}, decision_id=known)
        await router.target_async({}, decision_id=told, parent_id=other)
        return echo(target, task)

    with log, Delegator(POLICY, run_child=child_async if is_async else child, log=log) as it:
        (result,) = it.delegate(ONE).results
        router.decide({}, decision_id=after)
    found = parents(tmp_path / "log")
    assert (found[known], found[told], found[after]) == (result.decision_id, other, None)


@pytest.mark.parametrize("problem", [None, ValueError("no")], ids=["done", "failed"])
@pytest.mark.parametrize("is_async", [False, True], ids=["function", "coroutine"])
@ONE_OR_SOME
def test_after_a_child_nobody_is_its_child(
    tmp_path: Path, new_log: NewLog, content: Any, problem: Exception | None, *, is_async: bool
) -> None:
    def child(target: Target, task: ChildTask) -> str:
        assert parent_of(None) == task.decision_id
        if problem is not None:
            raise problem
        return echo(target, task)

    async def child_async(target: Target, task: ChildTask) -> str:
        return child(target, task)

    log = new_log()
    run = child_async if is_async else child
    with log, Delegator(POLICY, run_child=run, log=log) as it:
        it.delegate(content)
        assert parent_of(None) is None
        it.delegate(content)
    assert set(parents(tmp_path / "log").values()) == {None}


# An event that cannot be logged.


POISON = Reply("done", attempts=(Attempt(1, "m\ud800", "main"),))


@pytest.mark.parametrize("durability", ["sync", "group", "async"])
@ONE_OR_SOME
def test_an_event_that_cannot_be_spelt_loses_no_result(
    tmp_path: Path, new_log: NewLog, content: Any, durability: str
) -> None:
    log = new_log(durability=durability)
    made = delegated(log, content, lambda _target, _task: POISON)
    assert {result.text for result in made.results} == {"done"}
    lines = one_writer(tmp_path / "log")
    assert ids(lines) == [result.decision_id for result in made.results]


def test_an_event_that_cannot_be_spelt_denies_nobody_else(tmp_path: Path, new_log: NewLog) -> None:
    with new_log() as log:
        with suppress(UnicodeEncodeError):  # whoever logs it may be told
            log.execution(uuid7(NOW), Execution("started", model="\ud800"))
        made = log.decision(POLICY, plan_of().record)
    assert ids(one_writer(tmp_path / "log")) == [made]
