"""Laws of budgets: whatever the order, the threads and the failures, what is reserved is there."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_router import Delegator, Reply, loads
from policy_router.delegation.budgets import Budget, Choose, Funds, MemoryBudget, nano
from policy_router.delegation.sqlite_budget import SqliteBudget
from policy_router.errors import BudgetError
from tests.support.examples import examples
from tests.support.log_disk import Thread

LIMIT = 1000
IDS = st.sampled_from("abcdef")
AMOUNTS = st.integers(0, 600)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.dictionaries(IDS, AMOUNTS, max_size=3)),
        st.tuples(st.just("settle"), st.tuples(IDS, AMOUNTS)),
        st.tuples(st.just("fail"), st.none()),
    ),
    max_size=25,
)


def walk(budget: Budget, steps: list[tuple[str, Any]]) -> None:
    """Use a budget, beside a ledger that is simple enough to be right."""
    open_: dict[str, int] = {}
    spent = 0
    for step, what in steps:
        left = max(0, LIMIT - spent - sum(open_.values()))
        assert budget.remaining() == left
        if step == "settle":
            name, cost = what
            assert budget.settle(name, cost) == max(0, cost - open_.pop(name, 0))
            spent += cost
            continue
        new = {} if what is None else {k: v for k, v in what.items() if k not in open_}
        fits = step == "reserve" and sum(new.values()) <= left
        seen: list[Funds] = []
        try:
            budget.reserve(choosing(seen, None if step == "fail" else new))
        except (BudgetError, ZeroDivisionError):
            assert not fits
        else:
            assert fits
            open_ |= new
        assert seen == [Funds(left, spent)]
    assert budget.remaining() == max(0, LIMIT - spent - sum(open_.values()))


def choosing(seen: list[Funds], chosen: dict[str, int] | None) -> Choose:
    def choose(funds: Funds) -> dict[str, int]:
        seen.append(funds)
        if chosen is None:
            raise ZeroDivisionError
        return chosen

    return choose


@given(STEPS)
def test_a_budget_in_memory_is_its_ledger(steps: list[tuple[str, Any]]) -> None:
    walk(MemoryBudget(LIMIT / 10**9), steps)


@pytest.mark.slow
@examples(50)
@given(steps=STEPS)
def test_a_budget_in_a_file_is_its_ledger(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, Any]]
) -> None:
    budget = SqliteBudget(tmp_path_factory.mktemp("b") / "b", LIMIT / 10**9)
    walk(budget, steps)
    budget.close()


POLICY = loads(
    """
    model: a
    provider: p
    parameters: {max_tokens: 1000}
    unknown_cost_usd: 0.004
    pool:
      - {model: a, price: {input: 1, output: 2}}
      - {model: b, price: {input: 2, output: 5}, fallback: [a]}
      - {model: c}
    """
)


class Watched(MemoryBudget):
    """A budget that notes what is done with it."""

    def __init__(self, limit_usd: float) -> None:
        super().__init__(limit_usd)
        self.least = 0
        self.settled: list[int] = []
        self.reserved: set[str] = set()

    def reserve(self, choose: Choose) -> None:
        """Note the least that is ever left."""

        def watched(funds: Funds) -> Any:
            chosen = choose(funds)
            self.least = min(self.least, funds.remaining - sum(chosen.values()))
            self.reserved |= set(chosen)
            return chosen

        super().reserve(watched)

    def settle(self, reservation: str, cost: int) -> int:
        """Note what was settled; each is so once."""
        self.reserved.remove(reservation)
        self.settled.append(cost)
        return super().settle(reservation, cost)


def child_of(chance: random.Random) -> Any:
    def child(_target: Any, _task: Any) -> Reply:
        if chance.random() < 0.2:
            raise OSError("broken")
        if chance.random() < 0.2:
            return Reply(text="x")
        return Reply(text="x", input_tokens=10, output_tokens=chance.randrange(3000))

    return child


@pytest.mark.slow
@examples(25)
@given(
    seed=st.integers(0, 2**32),
    limit=st.sampled_from([0.0, 0.003, 0.01, 0.05, 1.0]),
    skips=st.booleans(),
    batches=st.lists(
        st.lists(st.sampled_from(["a", "b", "c", "huge", None]), min_size=1, max_size=6),
        min_size=1,
        max_size=6,
    ),
)
def test_delegators_reserve_what_is_there_and_settle_what_was_spent(
    seed: int, limit: float, *, skips: bool, batches: list[list[str | None]]
) -> None:
    """In several threads, with children that fail or do not say what they used."""
    budget = Watched(limit)
    options: Any = {"budget": budget, "on_refused": "skip" if skips else "refuse"}
    with Delegator(POLICY, run_child=child_of(random.Random(seed)), **options) as it:  # noqa: S311 - no secrets
        contents = [{"tasks": [{"goal": "g", "model": m} for m in models]} for models in batches]
        threads = [Thread(lambda content=content: it.delegate(content)) for content in contents]  # type: ignore[misc]  # a default
        made = [thread.end() for thread in threads]
    assert budget.least >= 0
    assert budget.reserved == set()
    results = [result for delegation in made for result in delegation.results]
    told = [
        nano(it.reserved_usd if it.cost_usd is None else it.cost_usd)
        for it in results
        if it.reserved_usd is not None
    ]
    assert sorted(told) == sorted(budget.settled)
    assert budget.remaining() == max(0, nano(limit) - sum(budget.settled))
    overruns = sum(nano(it.overrun_usd or 0.0) for it in results)
    assert sum(budget.settled) <= nano(limit) + overruns
