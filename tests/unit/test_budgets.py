"""Budgets hold what is reserved, exactly, in memory and in a file that processes share."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from policy_router.delegation.budgets import Budget, Funds, MemoryBudget, dollars, nano
from policy_router.delegation.sqlite_budget import SqliteBudget
from policy_router.errors import BudgetError
from tests.support.rows import each

Make = Callable[[float], Budget]


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Return what makes a budget with a limit in dollars."""
    if request.param == "memory":
        return MemoryBudget
    return lambda limit: SqliteBudget(tmp_path / "budget.db", limit)


def take(budget: Budget, **amounts: int) -> Funds:
    """Reserve amounts, and return what there was before."""
    seen: list[Funds] = []

    def choose(funds: Funds) -> dict[str, int]:
        seen.append(funds)
        return amounts

    budget.reserve(choose)
    (found,) = seen
    return found


# Amounts.


@each(
    ("usd", "up", "down"),
    [
        (0, 0, 0),
        (1, 10**9, 10**9),
        (3 * 0.1, 300_000_000, 300_000_000),
        (0.0000000014, 2, 1),
        (123456.789, 123_456_789_000_000, 123_456_789_000_000),
    ],
)
def test_dollars_become_whole_nano_dollars(usd: float, up: int, down: int) -> None:
    assert (nano(usd), nano(usd, up=False)) == (up, down)
    assert dollars(up) == pytest.approx(usd, abs=1e-8)


# Any budget.


def test_what_is_reserved_and_spent_is_no_longer_there(make: Make) -> None:
    budget = make(1.0)
    assert take(budget, a=300_000_000, b=200_000_000) == Funds(10**9, 0)
    assert budget.remaining() == 500_000_000
    assert budget.settle("a", 100_000_000) == 0
    assert take(budget) == Funds(700_000_000, 100_000_000)
    assert budget.settle("b", 0) == 0
    assert budget.remaining() == 900_000_000


def test_what_goes_beyond_a_reservation_is_told_and_spent(make: Make) -> None:
    budget = make(1.0)
    take(budget, a=100)
    assert budget.settle("a", 250) == 150
    assert take(budget) == Funds(10**9 - 250, 250)
    assert budget.settle("unheard of", 7) == 7
    assert budget.settle("too much", 2 * 10**9) == 2 * 10**9
    assert budget.remaining() == 0


def test_no_more_is_reserved_than_is_left(make: Make) -> None:
    budget = make(1.0)
    take(budget, a=10**9)
    for amounts in ({"b": 1}, {"b": -1}, {"b": 5, "c": -5}):
        with pytest.raises(BudgetError, match="more would be reserved than is left"):
            take(budget, **amounts)
    assert budget.remaining() == 0
    budget.settle("a", 0)
    assert budget.remaining() == 10**9


def test_what_choosing_raises_reserves_nothing(make: Make) -> None:
    budget = make(1.0)

    def choose(_: Funds) -> dict[str, int]:
        raise KeyError("no")

    with pytest.raises(KeyError):
        budget.reserve(choose)
    assert take(budget) == Funds(10**9, 0)


@pytest.mark.parametrize("limit", [-0.1, float("nan"), float("inf"), 2e9])
def test_a_limit_is_a_number_of_dollars(limit: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the limit of a budget"):
        MemoryBudget(limit)
    with pytest.raises(ValueError, match="the limit of a budget"):
        SqliteBudget(tmp_path / "b", limit)


def test_threads_share_a_budget_and_never_reserve_more_than_it_has(make: Make) -> None:
    budget = make(0.000001)  # 1,000 nano-dollars
    taken: list[str] = []

    def work(number: int) -> None:
        for place in range(20):
            name = f"{number}-{place}"
            try:
                take(budget, **{name: 50})
            except BudgetError:
                continue
            taken.append(name)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(taken) == 20
    assert budget.remaining() == 0
    for name in taken:
        budget.settle(name, 10)
    assert take(budget) == Funds(800, 200)


# The file.


def test_two_budgets_of_one_file_and_account_share_what_is_spent(tmp_path: Path) -> None:
    first, second = (SqliteBudget(tmp_path / "b", limit) for limit in (1.0, 0.5))
    other = SqliteBudget(tmp_path / "b", 1.0, account="ops")
    take(first, a=400_000_000)
    assert second.remaining() == 100_000_000
    first.settle("a", 600_000_000)
    assert (second.remaining(), first.remaining()) == (0, 400_000_000)
    assert other.remaining() == 10**9
    again = SqliteBudget(tmp_path / "b", 1.0)
    assert take(again) == Funds(400_000_000, 600_000_000)


def test_a_reservation_that_nobody_settles_expires(tmp_path: Path) -> None:
    now = [1000.0]
    budget = SqliteBudget(tmp_path / "b", 1.0, lifetime=60, clock=lambda: now[0])
    take(budget, a=700_000_000)
    now[0] = 1059.9
    assert budget.remaining() == 300_000_000
    now[0] = 1060.0
    assert budget.remaining() == 10**9
    # What comes too late was spent all the same.
    take(budget)
    assert budget.settle("a", 100_000_000) == 100_000_000
    assert take(budget) == Funds(900_000_000, 100_000_000)


def test_a_budget_s_sibling_is_another_account_of_its_file(tmp_path: Path) -> None:
    first = SqliteBudget(tmp_path / "b", 1.0, account="a")
    second = first.sibling("b", 0.5)
    take(first, x=10**9)
    take(second, y=100)
    second.settle("y", 40)
    assert (first.funds(), second.funds()) == (Funds(0, 0), Funds(5 * 10**8 - 40, 40))
    assert SqliteBudget(tmp_path / "b", 1.0, account="b").funds().spent == 40


def test_what_is_left_is_told_while_somebody_reserves(tmp_path: Path) -> None:
    first, second = (SqliteBudget(tmp_path / "b", 1.0) for _ in range(2))
    seen: list[int] = []

    def choose(_: Funds) -> dict[str, int]:
        seen.append(second.remaining())
        return {"a": 5}

    first.reserve(choose)
    assert (seen, second.remaining()) == ([10**9], 10**9 - 5)


def test_the_lifetime_of_a_reservation_is_above_0(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lifetime"):
        SqliteBudget(tmp_path / "b", 1.0, lifetime=0)


def test_a_budget_that_was_closed_opens_its_file_again(tmp_path: Path) -> None:
    budget = SqliteBudget(tmp_path / "b", 1.0)
    budget.close()
    take(budget, a=1)
    budget.close()
    assert budget.remaining() == 10**9 - 1


def refused(budget: Budget) -> str:
    """Return why a budget denies, in every way of using it."""
    with pytest.raises(BudgetError) as caught:
        take(budget, a=1)
    with pytest.raises(BudgetError):
        budget.remaining()
    with pytest.raises(BudgetError):
        budget.settle("a", 1)
    return str(caught.value)


def test_a_file_that_is_no_budget_denies_and_stays_as_it_is(tmp_path: Path) -> None:
    text, other = tmp_path / "notes.txt", tmp_path / "other.db"
    text.write_text("no database, but a text that is long enough for a header" * 40)
    with sqlite3.connect(other) as rows:
        rows.execute("CREATE TABLE t (x)")
    rows.close()
    before = [text.read_bytes(), other.read_bytes()]
    assert "not a database" in refused(SqliteBudget(text, 1.0))
    assert "no budget" in refused(SqliteBudget(other, 1.0))
    assert [text.read_bytes(), other.read_bytes()] == before


def test_a_file_that_cannot_be_opened_denies(tmp_path: Path) -> None:
    assert "unable to open" in refused(SqliteBudget(tmp_path / "none" / "b", 1.0))
    (tmp_path / "folder").mkdir()
    refused(SqliteBudget(tmp_path / "folder", 1.0))
