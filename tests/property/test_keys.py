"""A key says where a condition is false: there it is false, and never fails."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st

from policy_router.cel.ast import (
    BOOL,
    DOUBLE,
    INT,
    STRING,
    Apply,
    Attribute,
    ListOf,
    Literal,
    Node,
    Present,
    Type,
)
from policy_router.decision.condition_index import Key, key_of
from tests.property.trees import NAMES, OPTIONAL, Trees, all_facts, trees
from tests.support.evaluating import PRODUCT
from tests.support.render import render

# Small alphabets, so that what a fact is and what it is compared with meet.
CONSTANTS: dict[Type, st.SearchStrategy[Any]] = {
    BOOL: st.booleans(),
    INT: st.sampled_from([0, 1, 2, -1, 2**63 - 1]),
    DOUBLE: st.sampled_from([0.0, -0.0, 1.0, 2.5, math.inf, -math.inf]),
    STRING: st.sampled_from(["", "a", "b", "é", "\U00010000", "\uffff"]),
}
ORDER = ("<", "<=", ">", ">=")
SIGNS: dict[Type, tuple[str, ...]] = {
    BOOL: ("==", "in"),
    **dict.fromkeys((INT, DOUBLE, STRING), ("==", "==", "==", "in", "in", "!=", *ORDER)),
}
NOT_A_NUMBER = st.builds(lambda: Literal(DOUBLE, 0, 0, float("nan")))
FAILING = st.sampled_from(
    [
        Apply(BOOL, 0, 0, "==", (Apply(INT, 0, 0, "/", (Literal(INT, 0, 0, 1), zero)), zero))
        for zero in (Literal(INT, 0, 0, 0), Attribute(INT, 0, 0, "facts.int"))
    ]
)


EVERYWHERE = {
    path: type_
    for path, type_ in {**NAMES, **OPTIONAL}.items()
    if (type_.element or type_) in CONSTANTS
}


def constants(type_: Type) -> Trees:
    """Return constants of a type."""
    plain: Trees = CONSTANTS[type_].map(lambda value: Literal(type_, 0, 0, value))
    return plain | NOT_A_NUMBER if type_ == DOUBLE else plain


@st.composite
def comparisons(draw: st.DrawFn, paths: Sequence[str]) -> Node:
    """Return comparisons of a name with constants; of an optional one, mostly with its guard."""
    path = draw(st.sampled_from(paths))
    name = Attribute(EVERYWHERE[path], 0, 0, path)
    type_ = name.type.element or name.type
    sign = draw(st.sampled_from([*SIGNS[type_]]))
    if name.type.element is not None:
        test = Apply(BOOL, 0, 0, "in", (draw(constants(type_)), name))
    elif sign == "in":
        others = [Attribute(type_, 0, 0, path) for path in EVERYWHERE if EVERYWHERE[path] == type_]
        items = draw(st.lists(constants(type_), max_size=3))
        if not draw(st.integers(0, 4)):
            items.append(draw(st.sampled_from(others)))
        test = Apply(BOOL, 0, 0, "in", (name, ListOf(Type("list", type_), 0, 0, tuple(items))))
    else:
        pair = draw(st.permutations([name, draw(constants(type_))]))
        test = Apply(BOOL, 0, 0, sign, tuple(pair))
    if path in NAMES or not draw(st.integers(0, 4)):
        return test
    return Apply(BOOL, 0, 0, "&&", (Present(BOOL, 0, 0, path), test))


@st.composite
def chains(draw: st.DrawFn, paths: Sequence[str], depth: int = 2) -> Node:
    """Return conditions of which many have a key: comparisons, chains, and what goes wrong."""
    form = draw(st.sampled_from(["chain"] * depth + ["comparison"] * 4 + ["other"]))
    if form == "comparison":
        return draw(comparisons(paths))
    if form == "other":
        others = [FAILING, trees(BOOL, 1, ()), comparisons(paths).map(opposite)]
        return draw(draw(st.sampled_from(others)))
    function = draw(st.sampled_from(["&&", "||"]))
    parts = draw(st.lists(chains(paths, depth - 1), min_size=2, max_size=3))
    return Apply(BOOL, 0, 0, function, tuple(parts))


conditions = st.lists(st.sampled_from([*EVERYWHERE]), min_size=1, max_size=2).flatmap(chains)


def opposite(condition: Node) -> Node:
    """Return the opposite of a condition."""
    return Apply(BOOL, 0, 0, "!", (condition,))


@st.composite
def meeting(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """Return facts of which many are among the constants."""
    facts = draw(all_facts)
    for path, type_ in EVERYWHERE.items():
        root, _, word = path.partition(".")
        if draw(st.integers(0, 3)):
            values = CONSTANTS[type_.element or type_]
            facts[root][word] = draw(st.lists(values, max_size=3) if type_.element else values)
    return facts


def fits(key: Key, facts: dict[str, dict[str, Any]]) -> bool:
    """Tell whether a fact is what a key says."""
    root, _, word = key.path.partition(".")
    value = facts[root].get(word)
    if isinstance(value, list):
        return not key.values.isdisjoint(value)
    if value is None or key.values:
        return value in key.values
    return bool(
        (key.at_most is not None and value <= key.at_most)
        or (key.at_least is not None and value >= key.at_least)
    )


def holds_to_its_key(tree: Node, facts: dict[str, dict[str, Any]]) -> None:
    """Check a condition against its key, if it has one."""
    key = key_of(tree, frozenset(f"facts.{word}" for word in facts["facts"]))
    if key is None:
        return
    fitting = fits(key, facts)
    event(f"fits: {fitting}, decisive: {key.decisive}")
    if key.path in OPTIONAL:
        event(f"optional, fits: {fitting}")
    outcome = PRODUCT.compile(tree).evaluate(PRODUCT.bind(facts))
    if not fitting:
        assert outcome is False, (render(tree), key)
    elif key.decisive:
        assert outcome is True, (render(tree), key)


@given(conditions, meeting())
def test_a_condition_is_false_where_the_fact_does_not_fit_its_key(
    tree: Node, facts: dict[str, dict[str, Any]]
) -> None:
    holds_to_its_key(tree, facts)
