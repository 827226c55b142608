"""The budgets of callers and teams, from the service's budget file.

Whoever runs children reserves and settles in the same file, with a delegator whose budget has the
account of the caller or of the team. The service does so itself for what it runs: the gateway, and
``delegate_task``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from msgspec import UnsetType

from policy_router.calls.costs import dearest
from policy_router.decision.record import DecisionRecord
from policy_router.delegation.batch import BUDGET_EXCEEDED, COST_UNKNOWN
from policy_router.delegation.budgets import Choose, Funds, Purse, nano
from policy_router.delegation.sqlite_budget import SqliteBudget
from policy_router.domain import FrozenDict, Policy
from policy_router.errors import BudgetError
from policy_router.hosts.pseudonyms import Pseudonyms
from policy_router.server.problems import Problem, busy
from policy_router.server.settings import Budgets

CALLER: Final = "caller:"
TEAM: Final = "team:"
"""What the name of an account begins with."""


class CallerBudgets:
    """The budgets of callers and of teams."""

    def __init__(self, budgets: Budgets, pseudonyms: Pseudonyms | None = None) -> None:
        """Open the file.

        Args:
            budgets: what each may spend, by name.
            pseudonyms: stand for callers, in the file too; None: they are named.

        Raises:
            BudgetError: it cannot be used.
        """
        self._file = SqliteBudget(budgets.file, 0.0)
        known = str if pseudonyms is None else pseudonyms.of
        limits = {
            **{f"{CALLER}{known(name)}": usd for name, usd in budgets.callers.items()},
            **{f"{TEAM}{name}": usd for name, usd in budgets.teams.items()},
        }
        self._accounts = {name: self._file.sibling(name, usd) for name, usd in limits.items()}
        self._file.funds()

    def section(self, caller: Any) -> FrozenDict | None:
        """Return the section ``budget`` of a caller's requests; None where it has none.

        Where both the caller and its team have one, it is the one with less left.

        Raises:
            Problem: the file cannot be read.
        """
        found = [self._funds(name) for name in _accounts_of(caller) if name in self._accounts]
        return min(found, key=lambda funds: funds.remaining).section() if found else None

    def _funds(self, account: str) -> Funds:
        try:
            return self._accounts[account].funds()
        except BudgetError as problem:
            raise busy("budget_unavailable", f"the budget cannot be read: {problem}") from None

    def of(self, caller: Any) -> Accounts | None:
        """Return what the calls of a caller are paid from; None where it has no budget."""
        names = [name for name in _accounts_of(caller) if name in self._accounts]
        return Accounts({name: self._accounts[name] for name in names}) if names else None


class Accounts:
    """The budgets of a caller and its team, as one: what is spent is spent from each."""

    def __init__(self, budgets: Mapping[str, SqliteBudget]) -> None:
        """Take them by their names, which tell their reservations apart."""
        self._budgets = budgets

    def remaining(self) -> int:
        """Return what the one with less left has, in nano-dollars."""
        return self._least().remaining

    def _least(self) -> Funds:
        found = [budget.funds() for budget in self._budgets.values()]
        return min(found, key=lambda funds: funds.remaining)

    def reserve(self, choose: Choose) -> None:
        """Make reservations in each; where one holds less, in none.

        Raises:
            BudgetError: nothing is reserved.
        """
        chosen = choose(self._least())
        done: list[str] = []
        try:
            for name, budget in self._budgets.items():
                ours = {f"{name} {id_}": amount for id_, amount in chosen.items()}
                budget.reserve(partial(_given, ours))
                done.append(name)
        except BudgetError:
            for name in done:
                for id_ in chosen:
                    self._budgets[name].settle(f"{name} {id_}", 0)
            raise

    def settle(self, reservation: str, cost: int) -> int:
        """Put what something cost in the place of its reservations; return what goes beyond."""
        return max(
            budget.settle(f"{name} {reservation}", cost) for name, budget in self._budgets.items()
        )


def _given(chosen: Mapping[str, int], _funds: Funds) -> Mapping[str, int]:
    return chosen


def reserve(accounts: Accounts, policy: Policy, record: DecisionRecord, decision_id: str) -> Purse:
    """Reserve the most that a decided call may cost.

    Returns:
        What it is settled with.

    Raises:
        Problem: the budget does not let it.
    """
    decision, purse = record.decision, Purse(accounts)
    if isinstance(decision.target, UnsetType):
        return purse
    tokens = record.request.get("task", {}).get("input_tokens")
    most = dearest(policy, (decision.target, *(decision.fallbacks or ())), tokens)
    if most is None:
        detail = "what this may cost is not known, and the caller has a budget"
        help_ = "give `max_tokens`; the entries of the policy need prices"
        raise Problem(403, COST_UNKNOWN, detail, help=help_)

    def choose(funds: Funds) -> Mapping[str, int]:
        if nano(most) > funds.remaining:
            detail = f"it may cost {most:.6f} US dollars, and the budget has less than that left"
            raise Problem(403, BUDGET_EXCEEDED, detail)
        return {decision_id: nano(most)}

    try:
        purse.reserve(choose)
    except BudgetError as problem:
        raise busy("budget_unavailable", f"the budget cannot be used: {problem}") from None
    return purse


def _accounts_of(caller: Any) -> list[str]:
    """Return the accounts of a caller, which is not checked in shape."""
    if not isinstance(caller, Mapping):
        return []
    return [f"{CALLER}{caller.get('id', '')}", f"{TEAM}{caller.get('team', '')}"]
