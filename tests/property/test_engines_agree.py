"""Both CEL engines come to the same outcome for whatever the checker lets through."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("cel_expr_python")

from policy_router.expressions.checker import check
from policy_router.expressions.engine import FAILURE
from policy_router.expressions.render import render
from policy_router.expressions.tree import BOOL, ListOf, Node, Type
from tests.property.trees import ENGINES, VOCABULARY, all_facts, any_tree, bare, shown, trees

PORTABLE, FAST = ENGINES


@given(any_tree, all_facts)
def test_engines_agree(tree: Node, facts: dict[str, Any]) -> None:
    assert shown(FAST, tree, facts) == shown(PORTABLE, tree, facts), render(tree)


@given(st.lists(trees(BOOL, 2, ()), min_size=1, max_size=8), all_facts)
def test_a_fused_list_is_the_list_of_truths_or_fails(
    conditions: list[Node], facts: dict[str, Any]
) -> None:
    fused = ListOf(Type("list", BOOL), 0, 0, tuple(conditions))
    single = [FAST.compile(tree).evaluate(FAST.bind(facts)) for tree in conditions]
    expected = FAILURE if FAILURE in single else single
    for engine in (FAST, PORTABLE):
        assert engine.compile(fused).evaluate(engine.bind(facts)) == expected


@given(any_tree)
def test_a_rendered_tree_reads_as_itself(tree: Node) -> None:
    checked, problems = check(render(tree), VOCABULARY)
    if any("LIMIT" in problem.code.name for problem in problems):
        return
    assert not problems, (render(tree), problems)
    assert bare(checked.node) == bare(tree)
    assert checked.node is not None
    assert render(checked.node) == render(tree)
