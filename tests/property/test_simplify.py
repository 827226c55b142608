"""What is known may be written into a condition: it comes to the same outcome."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from policy_router.cel.ast import (
    DURATION,
    TIMESTAMP,
    Attribute,
    ListOf,
    Literal,
    Node,
    Type,
)
from policy_router.cel.simplify import Known, simplified
from tests.property.trees import NAMES, OPTIONAL, all_facts, any_tree, shown
from tests.support.render import render


def constant(type_: Type, value: Any) -> Node | None:
    """Return a value as a constant; None for one of a type that has no literals."""
    if type_ in {TIMESTAMP, DURATION} or type_.element in {TIMESTAMP, DURATION}:
        return None
    if type_.element is None:
        return Literal(type_, 0, 0, value)
    return ListOf(type_, 0, 0, tuple(Literal(type_.element, 0, 0, item) for item in value))


@st.composite
def situations(draw: st.DrawFn) -> tuple[dict[str, Any], Known]:
    """Return facts, and what is known of them: constants, absences, and other names."""
    facts = draw(all_facts)
    known: dict[str, Node | None] = {}
    others: dict[str, Any] = {}
    for path, type_ in {**NAMES, **OPTIONAL}.items():
        root, _, word = path.partition(".")
        is_there = word in facts[root]
        how = draw(st.sampled_from(["a constant", "another name", "unknown"]))
        if how == "another name" and is_there:
            others[f"{root}_{word}"] = facts[root][word]
            known[path] = Attribute(type_, 0, 0, f"parent.{root}_{word}")
        elif how == "a constant" and is_there:
            node = constant(type_, facts[root][word])
            if node is not None:
                known[path] = node
        elif how != "unknown" and path in OPTIONAL and not is_there:
            known[path] = None
    return {**facts, "parent": others}, known


@given(st.lists(any_tree, min_size=1, max_size=2), situations())
def test_a_simplified_tree_comes_to_the_same_outcome(
    trees: list[Node], situation: tuple[dict[str, Any], Known]
) -> None:
    facts, known = situation
    for tree in trees:
        rest = simplified(tree, known)
        assert shown(rest, facts) == shown(tree, facts), (render(tree), render(rest))
