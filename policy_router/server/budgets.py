"""What callers may spend, as the service's budget store knows it.

Whoever runs children reserves and settles in the same file, with a delegator whose budget has the
account of the caller or of the team. The service only reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from policy_router.delegation.budgets import Funds
from policy_router.delegation.sqlite_budget import SqliteBudget
from policy_router.domain import FrozenDict
from policy_router.errors import BudgetError
from policy_router.server.problems import busy
from policy_router.server.settings import Budgets

CALLER: Final = "caller:"
TEAM: Final = "team:"
"""What the name of an account begins with."""


class CallerBudgets:
    """The budgets of callers and of teams."""

    def __init__(self, budgets: Budgets) -> None:
        """Open the file.

        Raises:
            BudgetError: it cannot be used.
        """
        self._file = SqliteBudget(budgets.file, 0.0)
        limits = {
            **{f"{CALLER}{name}": usd for name, usd in budgets.callers.items()},
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


def _accounts_of(caller: Any) -> list[str]:
    """Return the accounts of a caller, which is not checked in shape."""
    if not isinstance(caller, Mapping):
        return []
    return [f"{CALLER}{caller.get('id', '')}", f"{TEAM}{caller.get('team', '')}"]
