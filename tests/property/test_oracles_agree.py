"""The evaluator comes to the outcome of the oracles for whatever the checker lets through."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_router.cel.ast import Node
from policy_router.cel.checker import check
from tests.property.trees import VOCABULARY, all_facts, any_tree, plain_tree, shown
from tests.support.oracles import ORACLES
from tests.support.oracles.engine import Engine
from tests.support.random_trees import Maker
from tests.support.render import bare, render

each_oracle = pytest.mark.parametrize("oracle", ORACLES, ids=lambda it: it.name.split()[0])


@each_oracle
@given(st.data(), all_facts)
def test_the_evaluator_agrees(oracle: Engine, data: st.DataObject, facts: dict[str, Any]) -> None:
    tree = data.draw(any_tree if oracle.has_extensions else plain_tree)
    assert shown(tree, facts) == shown(tree, facts, oracle), render(tree)


@pytest.mark.stress
@each_oracle
def test_the_evaluator_agrees_on_thousands(oracle: Engine) -> None:
    chance = random.Random(20261130)  # noqa: S311 - for variety, not for secrets
    maker = Maker(chance, extensions=oracle.has_extensions)
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
