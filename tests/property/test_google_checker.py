"""Google's checker accepts whatever ours does, and finds the same type."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

pytest.importorskip("cel_expr_python")

from cel_expr_python import cel

from policy_router.cel.ast import (
    EMPTY_LIST,
    Apply,
    Bind,
    ListOf,
    Loop,
    Node,
    Type,
    walk,
)
from policy_router.cel.checker import check
from policy_router.cel.functions import FUNCTIONS, METHODS, OPERATORS
from tests.property.trees import NAMES, OPTIONAL, VOCABULARY, Trees, any_tree, shown
from tests.support.evaluating import PRODUCT
from tests.support.oracles import ORACLES
from tests.support.oracles.google import EXTENSIONS
from tests.support.render import Spelling, render

TYPES = {
    "bool": cel.Type.BOOL,
    "int": cel.Type.INT,
    "double": cel.Type.DOUBLE,
    "string": cel.Type.STRING,
    "timestamp": cel.Type.TIMESTAMP,
    "duration": cel.Type.DURATION,
}
# There names are variables with dots in them, of which `has()` cannot be asked, and no loop
# variable may be called `for`.
SPELLING = Spelling(present="present.{}".format, element="{}_".format)


def declared(type_: Type) -> Any:
    """Return Google's type for one of ours."""
    return cel.Type.List(declared(type_.element)) if type_.element else TYPES[type_.name]


@functools.cache
def environment() -> Any:
    """Return Google's checker with the same names."""
    names = {path: declared(type_) for path, type_ in {**NAMES, **OPTIONAL}.items()}
    flags = {f"present.{path}": cel.Type.BOOL for path in OPTIONAL}
    text = cel.Type.STRING
    bucket = cel.FunctionDecl("bucket", [cel.Overload("bucket", cel.Type.INT, [text, text])])
    return cel.NewEnv(variables={**names, **flags}, functions=[bucket], **EXTENSIONS)


def is_spelt(type_: Type, name: str) -> bool:
    """Tell whether Google's checker calls a type so; what is in an empty list is of any type."""
    if type_.name != "list":
        return name in {"DYN", type_.name.upper()}
    if not name.startswith("LIST<"):
        return name == "DYN"
    element = name.removeprefix("LIST<").removesuffix(">")
    return is_spelt(type_.element, element) if type_.element else element == "DYN"


def checked(text: str) -> Node | None:
    """Check a text here; if it passes, check it there."""
    node = check(text, VOCABULARY)[0].node
    event(f"it passes: {node is not None}")
    if node is not None:
        name = environment().compile(render(node, SPELLING)).return_type().name()
        assert is_spelt(node.type, name), (text, str(node.type), name)
        assert "DYN" not in name or "[]" in text
    return node


def replaced(node: Node, old: Node, new: Node) -> Node:
    """Return a tree in which one piece is another."""
    if node is old:
        return new
    match node:
        case Apply():
            return replace(node, arguments=tuple(replaced(it, old, new) for it in node.arguments))
        case ListOf():
            return replace(node, items=tuple(replaced(it, old, new) for it in node.items))
        case Loop():
            source, body = (replaced(it, old, new) for it in node.children())
            return replace(node, source=source, body=body)
        case Bind():
            value, body = (replaced(it, old, new) for it in node.children())
            return replace(node, value=value, body=body)
    return node


WORDS = {
    count: [
        word
        for word, signatures in {**OPERATORS, **FUNCTIONS, **METHODS}.items()
        if any(len(signature.takes) == count for signature in signatures)
    ]
    for count in (1, 2)
}
WORDS[2] += ["==", "!=", "in", "[]", "&&", "||"]
WORDS[3] = ["&&", "||", "?:"]


@st.composite
def odd_trees(draw: st.DrawFn) -> Node:
    """Return trees in which a piece is of any type, or a function is another one."""
    tree = draw(any_tree)
    piece = draw(st.sampled_from([*walk(tree)]))
    words = WORDS.get(len(piece.arguments)) if isinstance(piece, Apply) else None
    if isinstance(piece, Apply) and words is not None and draw(st.booleans()):
        word = draw(st.sampled_from(words))
        return replaced(tree, piece, replace(piece, function=word))
    empty: Trees = st.just(ListOf(EMPTY_LIST, 0, 0, ()))
    return replaced(tree, piece, draw(st.booleans().flatmap(lambda it: any_tree if it else empty)))


@given(any_tree)
def test_what_is_well_typed_passes_googles_checker_with_the_same_type(tree: Node) -> None:
    checked(render(tree))


@given(odd_trees())
def test_what_passes_here_passes_googles_checker_with_the_same_type(tree: Node) -> None:
    checked(render(tree))


@pytest.mark.parametrize(
    "text",
    ["1 in [].filter(x, x == 'a')", "[].filter(x, x == 'a') + [1] == [1]"],
)
def test_a_filter_of_an_empty_list_is_a_list_of_strings(text: str) -> None:
    outcomes = {
        shown(node, {}, engine)
        for engine in (PRODUCT, *ORACLES)
        if (node := check(text, VOCABULARY)[0].node)
    }
    assert len(outcomes) < 2
