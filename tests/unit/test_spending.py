"""A delegator starts nothing that its budget may not cover, and settles what its children cost."""

from __future__ import annotations

import asyncio
import datetime
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from policy_router import DecisionLog, Delegator, ProviderError, Reply, RequestError, loads
from policy_router.calls.child_task import ChildTask
from policy_router.calls.costs import dearest, priced
from policy_router.calls.failing import Attempt, Failing
from policy_router.calls.results import Delegation, Ran, Result, Status, Totals
from policy_router.decision.record import Target
from policy_router.delegation.budgets import Budget, Choose, Funds, MemoryBudget
from policy_router.delegation.sqlite_budget import SqliteBudget
from policy_router.errors import BudgetError, LogError
from policy_router.log import LogReader
from policy_router.log.entry import Execution
from tests.support.rows import each

NOW = datetime.datetime(2026, 1, 31, 9, tzinfo=datetime.UTC)
TEXT = """
model: small
provider: main
parameters: {max_tokens: 1000}
pool:
  - {model: small, price: {input: 1, output: 2}}
  - {model: large, price: {input: 10, output: 20}, fallback: [small]}
  - {model: cheap, price: {input: 0.1, output: 0.2}, fallback: [large], pick: task.kind == "cheap"}
  - {model: endless, price: {input: 1, output: 2}, dialect: {unsupported: [max_tokens]}}
  - {model: half, price: {input: 1}}
  - {model: thrifty, price: {input: 1, output: 2}, allow: budget.remaining_usd < 0.005}
require: [budget.remaining_usd]
precedence: [{use: task, on_violation: reject}, {use: pool}, {use: config}]
"""
POLICY = loads(TEXT)
SMALL = 0.0021  # 100 tokens in, 1,000 out
GOAL = "g" * 398


def delegator(child: Any = "x", policy: Any = POLICY, **options: Any) -> Delegator:
    run_child = child if callable(child) else lambda _target, _task: child
    return Delegator(policy, run_child=run_child, **{"clock": lambda: NOW, **options})


def tasks(*models: str | None) -> dict[str, Any]:
    return {"tasks": [{"goal": GOAL, "model": model} for model in models]}


def codes(made: Delegation) -> list[str | None]:
    return [result.error.code if result.error else None for result in made.results]


def statuses(made: Delegation) -> list[str]:
    return [result.status.value for result in made.results]


def used(cost: int = 50) -> Reply:
    """Return an answer of 100 tokens in, and as many out as cost some micro-dollars more."""
    return Reply(text="x", input_tokens=100, output_tokens=cost)


# What is reserved.


@each(
    ("model", "usd"),
    [
        ("small", SMALL),
        ("large", 0.021),
        ("cheap", 0.00021),  # what is asked for by name has no fallbacks
        ("endless", None),  # nothing bounds its answer
        ("half", None),
    ],
)
def test_the_dearest_of_target_and_fallbacks_is_reserved(model: str, usd: float | None) -> None:
    with delegator(used(), max_cost_usd=1.0) as it:
        made = it.delegate(tasks(model))
        (result,) = made.results
        assert result.reserved_usd == usd
        assert codes(made) == ([None] if usd else ["cost_unknown"])
        (picked,) = it.delegate({"goal": GOAL, "kind": "cheap"}).results
    assert (picked.effective, picked.reserved_usd) == (Ran("cheap", "main", "cheap"), 0.021)


def test_without_a_size_of_the_input_the_cost_is_unknown() -> None:
    with delegator(max_cost_usd=1.0, counts=None) as it:
        assert codes(it.delegate({"goal": "a"})) == ["cost_unknown"]
        assert codes(it.delegate({"goal": "a", "input_tokens": 5})) == [None]


def test_what_an_unknown_cost_counts_as_is_the_policy_s_to_say() -> None:
    policy = loads(f"{TEXT}unknown_cost_usd: 0.5\n")
    with delegator(policy=policy, max_cost_usd=1.2) as it:
        made = it.plan(tasks("endless", "half", "endless"))
        assert codes(made) == [None, None, "budget_exceeded"]
        # A child of which nobody knows what it cost took what was reserved for it.
        (result,) = it.delegate(tasks("half")).results
        assert (result.cost_usd, result.reserved_usd, result.overrun_usd) == (None, 0.5, 0.0)
        assert codes(it.delegate(tasks("half", "half"))) == [None, "budget_exceeded"]


def test_tokens_that_are_put_in_a_cache_may_be_the_dearest() -> None:
    policy = loads("model: m\nprovider: p\npool: [{model: m, price: {input: 1, output: 2}}]")
    dear = loads(
        "model: m\nprovider: p\n"
        "pool: [{model: m, price: {input: 1, output: 2, cache_read: 0.1, cache_write: 1.25}}]"
    )
    target = Target("m", "p", {"max_tokens": 10}, "m")
    assert dearest(policy, [target], 100) == 0.00012
    assert dearest(dear, [target], 100) == 0.000145
    assert dearest(dear, [target, Target("m", "p", {}, "m")], 100) is None
    assert dearest(dear, [target], None) is None


@each(
    ("parameters", "unsupported", "length"),
    [({}, "", 8192), ({"max_tokens": 10}, "", 10), ({"max_tokens": 10}, "max_tokens", 8192)],
)
def test_what_is_sent_where_nothing_bounds_an_answer_is_reserved(
    parameters: dict[str, Any], unsupported: str, length: int
) -> None:
    text = "model: m\nprovider: anthropic\npool: [{model: m, price: {input: 0, output: 2}, %s}]"
    policy = loads(text.replace("%s", f"dialect: {{unsupported: [{unsupported}]}}"))
    target = Target("m", "anthropic", parameters, "m")
    assert dearest(policy, [target], 100) == length * 2 / 1e6


def test_a_dry_run_says_the_same() -> None:
    policy = loads(
        "pool: [{model: m, provider: anthropic, pick: 'true', price: {input: 0, output: 2}}]"
    )
    with Delegator(policy) as it:
        (result,) = it.plan({"goal": "a"}).results
    assert result.estimate is not None
    assert (result.estimate.output_tokens, result.estimate.cost_usd) == (8192, 0.016384)


# Deciding, in order.


def test_tasks_are_decided_in_order_each_with_what_those_before_it_leave() -> None:
    """The fourth may use an entry for times when little is left, the first may not."""
    models = ["thrifty", "small", "small", "small", "thrifty", "small", "small"]
    with delegator(used(), max_cost_usd=0.0105, on_refused="skip") as it:
        made = it.delegate(tasks(*models))
    assert codes(made) == ["not_allowed", None, None, None, None, None, "budget_exceeded"]


def test_a_batch_that_is_refused_whole_reserves_and_starts_nothing() -> None:
    ran: list[int] = []
    budget = MemoryBudget(0.005)
    with delegator(lambda _target, task: ran.append(task.index), budget=budget) as it:
        made = it.delegate(tasks("small", "small", "small"))
    assert (made.status, codes(made)) == (Status.REFUSED, [None, None, "budget_exceeded"])
    assert statuses(made) == ["not_started", "not_started", "refused"]
    assert made.error is not None
    assert made.error.message == (
        "it may cost 0.002100 US dollars, and the budget has less than that left"
    )
    assert (ran, budget.remaining()) == ([], 5_000_000)
    assert made.totals == Totals()


def test_what_the_policy_refuses_reserves_nothing_either() -> None:
    budget = MemoryBudget(1.0)
    with delegator(budget=budget) as it:
        assert codes(it.delegate(tasks("small", "huge"))) == [None, "outside_pool"]
    assert budget.remaining() == 10**9


def test_with_skip_the_others_run_within_the_budget() -> None:
    budget = MemoryBudget(0.005)
    with delegator(used(), budget=budget, on_refused="skip") as it:
        made = it.delegate(tasks("large", "small", "small", "small"))
    assert codes(made) == ["budget_exceeded", None, None, "budget_exceeded"]
    assert budget.remaining() == 5_000_000 - 2 * 200_000


def test_a_plan_reserves_nothing() -> None:
    budget = MemoryBudget(0.005)
    with delegator(budget=budget) as it:
        assert codes(it.plan(tasks("small", "small", "small"))) == [None, None, "budget_exceeded"]
    assert budget.remaining() == 5_000_000


def test_the_request_has_the_budget_of_the_moment() -> None:
    seen: list[Any] = []

    def child(_target: Target, task: ChildTask) -> Reply:
        seen.append(task.record.request["budget"])
        return used()

    with delegator(child, max_cost_usd=1.0) as it:
        it.delegate(tasks("small", "small"))
        it.delegate(tasks("small"))
    assert sorted(seen, key=lambda budget: budget["spent_usd"]) == [
        {"remaining_usd": 1.0, "spent_usd": 0.0},
        {"remaining_usd": 0.9979, "spent_usd": 0.0},
        {"remaining_usd": 0.9996, "spent_usd": 0.0004},
    ]


def test_a_host_states_no_budget_beside_the_delegator_s_own() -> None:
    with delegator(max_cost_usd=1.0) as it, pytest.raises(RequestError) as caught:
        it.delegate({"goal": "a"}, {"budget": {"remaining_usd": 5.0}})
    assert caught.value.path == "$.budget"
    with pytest.raises(ValueError, match="not both"):
        delegator(max_cost_usd=1.0, budget=MemoryBudget(1.0))


# Settling.


def spent(child: Any, model: str = "small", **options: Any) -> tuple[Result, int]:
    """Return the result of one child, and what it took of a budget, in nano-dollars."""
    budget = MemoryBudget(1.0)
    with delegator(child, budget=budget, **options) as it:
        (result,) = it.delegate(tasks(model)).results
    return result, 10**9 - budget.remaining()


def failing(*attempts: Attempt) -> Callable[..., Any]:
    def child(_target: Target, _task: Any) -> Any:
        raise ProviderError("timeout", "no", attempts=attempts)

    return child


def raising(_target: Target, _task: Any) -> Any:
    raise OSError("broken")


def test_a_child_settles_what_it_cost() -> None:
    result, took = spent(used(200))
    assert (result.cost_usd, result.reserved_usd, result.overrun_usd) == (0.0005, SMALL, 0.0)
    assert took == 500_000


def test_what_a_child_costs_beyond_its_reservation_is_told() -> None:
    result, took = spent(used(2000))
    assert (result.cost_usd, result.overrun_usd) == (0.0041, 0.002)
    assert took == 4_100_000


@each(
    ("child", "took"),
    [
        ("x", 2_100_000),  # it does not tell what it used
        (Reply(text="x", served_model="other", input_tokens=1, output_tokens=1), 2_100_000),
        (raising, 2_100_000),
        (failing(Attempt(1, "m", "p", failure=Failing.TIMEOUT)), 2_100_000),
        (failing(Attempt(1, "m", "p", failure=Failing.BAD_RESPONSE, status=200)), 2_100_000),
        (failing(Attempt(1, "m", "p", failure=Failing.SERVER_ERROR, status=500)), 0),
        (failing(Attempt(1, "m", "p", failure=Failing.NO_CREDENTIAL, is_sent=False)), 0),
        (
            failing(
                Attempt(1, "m", "p", failure=Failing.SERVER_ERROR, status=500),
                Attempt(2, "m", "p", failure=Failing.CONNECTION_FAILED),
            ),
            2_100_000,
        ),
    ],
    ids=range(8),
)
def test_what_may_have_been_paid_and_is_unknown_counts_as_reserved(child: Any, took: int) -> None:
    assert spent(child)[1] == took


def test_a_cancelled_batch_releases_what_had_not_begun_and_keeps_what_had() -> None:
    budget, began = MemoryBudget(1.0), asyncio.Event()

    async def child(_target: Target, _task: Any) -> str:
        began.set()
        await asyncio.sleep(60)
        return "x"

    async def main() -> None:
        async with delegator(child, budget=budget, concurrency=1) as it:
            running = asyncio.create_task(it.delegate_async(tasks(*["small"] * 5)))
            await asyncio.wait_for(began.wait(), 20)
            assert budget.remaining() == 10**9 - 5 * 2_100_000
            running.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await running
            made = Delegation.handed_over(caught.value)
            assert made is not None
            assert [it.is_free for it in made.results] == [False, True, True, True, True]

    asyncio.run(main())
    assert budget.remaining() == 10**9 - 2_100_000


class Slow(MemoryBudget):
    """A budget whose reservations take as long as a test likes."""

    def __init__(self, limit_usd: float) -> None:
        super().__init__(limit_usd)
        self.may_go, self.is_asked, self.is_done = (threading.Event() for _ in range(3))

    def reserve(self, choose: Choose) -> None:
        """Wait."""
        self.is_asked.set()
        assert self.may_go.wait(20)
        super().reserve(choose)
        self.is_done.set()


@pytest.mark.parametrize("is_late", [True, False])
def test_a_batch_that_is_cancelled_while_its_budget_lets_it_wait_keeps_nothing(
    *, is_late: bool
) -> None:
    """Whether the budget answers before the cancellation or after it."""
    budget = Slow(1.0)

    async def main() -> None:
        async with delegator(budget=budget) as it:
            running = asyncio.create_task(it.delegate_async(tasks("small")))
            assert await asyncio.to_thread(budget.is_asked.wait, 20)
            if is_late:
                budget.may_go.set()
                assert budget.is_done.wait(20)  # and the loop has not heard of it
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            budget.may_go.set()

    asyncio.run(main())
    end = time.monotonic() + 20
    while budget.remaining() != 10**9:
        assert time.monotonic() < end, "it stays reserved"
        time.sleep(0.001)
    assert budget.is_done.is_set()


def test_a_decision_that_cannot_be_logged_releases_its_reservation(tmp_path: Path) -> None:
    budget = MemoryBudget(1.0)
    log = DecisionLog(tmp_path / "log")
    log.close()
    with delegator(budget=budget, log=log) as it, pytest.raises((LogError, RuntimeError)):
        it.delegate(tasks("small"))
    assert budget.remaining() == 10**9


@pytest.mark.parametrize("is_async", [False, True])
def test_the_log_tells_what_a_budget_did_not_let_start(tmp_path: Path, *, is_async: bool) -> None:
    with DecisionLog(tmp_path) as log, delegator(used(), max_cost_usd=SMALL, log=log) as it:
        batch = tasks("small", "endless", "small")
        made = asyncio.run(it.delegate_async(batch)) if is_async else it.delegate(batch)
    assert codes(made) == [None, "cost_unknown", "budget_exceeded"]
    ends = [
        (line.entry.execution.status, line.entry.execution.error)
        for result in made.results
        for line in LogReader(tmp_path).about(str(result.decision_id))
        if isinstance(line.entry.execution, Execution)
    ]
    assert ends == [("refused", "cost_unknown"), ("refused", "budget_exceeded")]


def test_a_child_s_own_batch_takes_from_the_same_budget() -> None:
    inner: list[Delegation] = []
    budget = MemoryBudget(0.005)

    def child(_target: Target, task: Any) -> Reply:
        if task.goal == GOAL:
            inner.append(it.delegate({"tasks": [{"goal": "h" * 398}, {"goal": "h" * 398}]}))
        return used()

    with delegator(child, budget=budget) as it:
        made = it.delegate(tasks("small"))
    assert statuses(made) == ["completed"]
    assert codes(inner[0]) == [None, "budget_exceeded"]
    assert budget.remaining() == 5_000_000 - 200_000


@pytest.mark.parametrize("is_async", [False, True])
def test_with_a_file_it_is_the_same(tmp_path: Path, *, is_async: bool) -> None:
    budget = SqliteBudget(tmp_path / "b", 0.005)
    with delegator(used(), budget=budget) as it:
        for expected in (["completed", "completed"], ["completed", "completed"]):
            content = tasks("small", "small")
            made = asyncio.run(it.delegate_async(content)) if is_async else it.delegate(content)
            assert statuses(made) == expected
    assert budget.remaining() == 5_000_000 - 4 * 200_000


# A budget that fails.


class Broken:
    """A budget that cannot be used, from some moment on."""

    def __init__(self, *, settles: bool = False) -> None:
        self.settles, self.budget = settles, MemoryBudget(1.0)

    def remaining(self) -> int:
        """Say it cannot."""
        raise BudgetError("b: disk I/O error")

    def reserve(self, choose: Choose) -> None:
        """Say it cannot, or reserve where only settling fails."""
        if not self.settles:
            raise BudgetError("b: database or disk is full")
        self.budget.reserve(choose)

    def settle(self, reservation: str, cost: int) -> int:
        """Say it cannot."""
        raise BudgetError(f"{reservation[:0]}{cost * 0}: database or disk is full")


@each("way", ["delegate", "plan", "delegate_async"])
def test_a_budget_that_cannot_be_used_refuses_everything(way: str) -> None:
    ran: list[int] = []
    budget: Budget = Broken()
    with delegator(lambda _target, task: ran.append(task.index), budget=budget) as it:
        made = getattr(it, way)(tasks("small"))
        made = asyncio.run(made) if way == "delegate_async" else made
    assert (made.status, made.results, ran) == (Status.REFUSED, (), [])
    assert (made.error.code, made.error.task) == ("budget_unavailable", None)
    assert "disk" not in made.error.message


def test_a_child_that_was_paid_is_delivered_where_its_budget_cannot_be_written() -> None:
    with delegator(used(), budget=Broken(settles=True)) as it:
        (result,) = it.delegate(tasks("small")).results
    assert (result.text, result.overrun_usd) == ("x", None)
    assert result.warnings == (
        "the budget could not be settled; the reservation stays until it expires",
    )


def test_what_cannot_be_released_stays_reserved(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    budget, log = Broken(settles=True), DecisionLog(tmp_path / "log")
    log.close()
    with delegator(budget=budget, log=log) as it, pytest.raises((LogError, RuntimeError)):
        it.delegate(tasks("small", "small"))
    assert budget.budget.remaining() == 10**9 - 2 * 2_100_000
    assert "disk is full" in caplog.text


# Totals, and tokens from a cache.


def test_a_batch_has_totals_where_all_is_known() -> None:
    with delegator(used(), max_cost_usd=1.0) as it:
        made = it.delegate(tasks("small", "large"))
    assert made.totals == Totals(200, 100, 0.0022, 0, 0, 0.0)
    with delegator(used()) as it:
        made = it.delegate(tasks("small"), {"budget": {"remaining_usd": 1.0}})
    assert made.totals == Totals(100, 50, 0.0002, 0, 0, None)


def test_totals_are_null_where_anything_is_unknown_with_a_count_of_it() -> None:
    def child(_target: Target, task: Any) -> Any:
        return {0: used(), 1: "x", 2: Reply(text="x", served_model="other", input_tokens=1)}[
            task.index
        ]

    with delegator(child, on_refused="skip") as it:
        facts = {"budget": {"remaining_usd": 1.0}}
        made = it.delegate(tasks("small", "small", "small", "huge"), facts)
    assert made.totals == Totals(None, None, None, 2, 2, None)


CACHED = loads(
    """
    provider: p
    pool:
      - {model: a, price: {input: 3, output: 15, cache_read: 0.3}}
      - {model: b, price: {input: 3, output: 15}}
      - {model: c, price: {input: 3, output: 15, cache_read: 0}}
    """
)


@each(
    ("model", "cached", "usd", "is_bound"),
    [
        ("a", None, 0.0045, False),
        ("a", 0, 0.0045, False),
        ("a", 900, 0.00207, False),
        ("a", 5000, 0.0018, False),  # no more than there were
        ("b", 900, 0.0045, True),
        ("b", 0, 0.0045, False),
        ("c", 1000, 0.0015, False),
    ],
)
def test_tokens_from_a_cache_cost_their_own_price_or_the_cost_is_an_upper_bound(
    model: str, cached: int | None, usd: float, *, is_bound: bool
) -> None:
    found = priced(CACHED, Target(model, "p", {}, model), 1000, 100, cached)
    assert found is not None
    assert (found.usd, found.is_upper_bound) == (usd, is_bound)
    reply = Reply(text="x", input_tokens=1000, output_tokens=100, cached_tokens=cached)
    with delegator(reply, policy=CACHED) as it:
        (result,) = it.delegate({"goal": "a", "model": model}).results
    assert (result.cost_usd, result.cost_is_upper_bound) == (usd, is_bound)
    assert result.tokens.cached == cached


def test_funds_tell_a_request_what_is_left() -> None:
    funds = Funds(1_500_000_000, 250_000_000).less(500_000_000)
    assert funds.section() == {"remaining_usd": 1.0, "spent_usd": 0.25}
