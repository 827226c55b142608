"""The evaluator comes to the outcome of the oracles for whatever the checker lets through."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given

from policy_router.expressions.checker import check
from policy_router.expressions.tree import Node
from tests.property.trees import VOCABULARY, all_facts, any_tree, bare, shown
from tests.support.oracles import ORACLES
from tests.support.oracles.engine import Engine
from tests.support.random_trees import Maker
from tests.support.render import render

each_oracle = pytest.mark.parametrize("oracle", ORACLES, ids=lambda it: it.name.split()[0])


@each_oracle
@given(any_tree, all_facts)
def test_the_evaluator_agrees(oracle: Engine, tree: Node, facts: dict[str, Any]) -> None:
    assert shown(tree, facts) == shown(tree, facts, oracle), render(tree)


@each_oracle
def test_the_evaluator_agrees_on_thousands(oracle: Engine) -> None:
    maker = Maker(random.Random(20261130))  # noqa: S311 - for variety, not for secrets
    for _ in range(2000):
        tree, facts = maker.tree(), maker.facts()
        assert shown(tree, facts) == shown(tree, facts, oracle), render(tree)


@given(any_tree)
def test_a_rendered_tree_reads_as_itself(tree: Node) -> None:
    checked, problems = check(render(tree), VOCABULARY)
    if any("LIMIT" in problem.code.name for problem in problems):
        return
    assert not problems, (render(tree), problems)
    assert bare(checked.node) == bare(tree)
    assert checked.node is not None
    assert render(checked.node) == render(tree)
