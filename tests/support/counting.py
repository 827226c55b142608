"""What deciding does, noted: the expressions that are evaluated, and the elements visited."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from policy_router.cel.evaluate import Program
from policy_router.cel.frame import Budget, Frame, Outcome
from tests.support.render import render


@dataclass
class Work:
    """What was done since it was last cleared.

    Attributes:
        evaluated: the expressions evaluated, variables included.
        visited: how many elements macros visited.
    """

    evaluated: list[str] = field(default_factory=list)
    visited: int = 0

    def clear(self) -> None:
        """Begin to note again."""
        self.evaluated.clear()
        self.visited = 0


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    """Note what is evaluated and visited."""
    noted = Work()
    evaluate, spend = Program.evaluate, Budget.spend

    def noting_evaluate(program: Program, frame: Frame) -> Outcome:
        noted.evaluated.append(render(program.tree))
        return evaluate(program, frame)

    def noting_spend(budget: Budget, visited: int) -> None:
        noted.visited += visited
        spend(budget, visited)

    monkeypatch.setattr(Program, "evaluate", noting_evaluate)
    monkeypatch.setattr(Budget, "spend", noting_spend)
    return noted
