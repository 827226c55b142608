"""Laws of writing a typed tree as text."""

from __future__ import annotations

import pytest

from policy_router.cel.ast import (
    BOOL,
    DOUBLE,
    INT,
    STRING,
    STRINGS,
    TIMESTAMP,
    Apply,
    Literal,
    Node,
    Present,
)
from policy_router.cel.checker import check
from policy_router.cel.vocabulary import Name, Vocabulary
from tests.support.render import Spelling, bare, render
from tests.support.rows import each

VOCABULARY = Vocabulary.of(
    [
        Name("facts.b", BOOL),
        Name("facts.n", INT),
        Name("facts.d", DOUBLE),
        Name("facts.s", STRING),
        Name("facts.l", STRINGS),
        Name("facts.o", DOUBLE, optional=True),
        Name("now", TIMESTAMP),
    ]
)


def tree_of(text: str) -> Node:
    """Parse and check a text."""
    checked, problems = check(text, VOCABULARY)
    assert checked.node is not None, problems
    return checked.node


CANONICAL = [
    "true",
    "facts.n == -5",
    "facts.n - -5 == 3",
    "-(5) < facts.n",
    "-(-5) < facts.n",
    "-facts.n < 1",
    "-(-facts.n) < 1",
    "!(!facts.b)",
    "!facts.b || facts.b && facts.b || facts.b",
    "(facts.b || facts.b) && (facts.b && facts.b) && facts.b",
    "(facts.b || facts.b) || facts.b",
    "facts.n - facts.n - facts.n == facts.n - (facts.n - facts.n)",
    "facts.n * facts.n / facts.n % (facts.n + 1) != 0",
    "facts.b == facts.b == facts.b",
    "facts.b == (facts.b == facts.b)",
    "(facts.b ? facts.b : facts.b) ? facts.b : facts.b ? facts.b : facts.b",
    "facts.b ? (facts.b ? 1 : 2) : 3",
    'facts.s in ["a", "b"] && facts.l[0] == "c"',
    '("a" + facts.s).startsWith("b")',
    '(facts.l + ["x"]).exists(x, x == "y") && size(facts.l) > 1',
    "[1, 2].map(x, [x].filter(y, y > 1))[0] == [2]",
    "has(facts.o) && facts.o < 1e+16",
    "facts.d == -0.0 || facts.d == 0.1 || facts.d == 5e-324",
    "facts.n == -9223372036854775808",
    'now > timestamp("2026-01-31T09:00:00Z") - duration("1h30m")',
    'now.getHours("+02:00") < 8 && now.getDate() == 1',
    'bucket("salt", facts.s) < 10',
    r'facts.s == "\"\\\n\r\t\u0001\u0007\u007f\u2028é😀' + "'`\"",
    r'facts.s.matches("^a\\d+$")',
]


@each("text", CANONICAL)
def test_a_canonical_text_is_written_as_it_was_read(text: str) -> None:
    assert render(tree_of(text)) == text


@each(
    ("text", "canonical"),
    [
        ("((facts.n))+(1*2)==3", "facts.n + 1 * 2 == 3"),
        ("facts.l.size() > 0x10", "size(facts.l) > 16"),
        ("facts.s == r'\\d' + 'a\"' + '''b'''", r'facts.s == "\\d" + "a\"" + "b"'),
        ("facts.d > 1e3 && facts.d < .5", "facts.d > 1000.0 && facts.d < 0.5"),
        ("facts.b\n  && (facts.b) // why\n  && facts.b", "facts.b && facts.b && facts.b"),
        ("- 5 < facts.n", "-(5) < facts.n"),
        ("!!facts.b", "!(!facts.b)"),
    ],
)
def test_what_means_the_same_is_written_the_same(text: str, canonical: str) -> None:
    tree = tree_of(text)
    assert render(tree) == canonical
    assert bare(tree_of(canonical)) == bare(tree)


@each(
    ("value", "text"), [(float("inf"), '"inf"'), (float("-inf"), '"-inf"'), (float("nan"), '"nan"')]
)
def test_a_double_without_a_literal_is_written_as_a_conversion(value: float, text: str) -> None:
    assert render(Literal(DOUBLE, 0, 0, value)) == f"double({text})"


def test_a_chain_of_one_is_what_it_holds() -> None:
    assert render(Apply(BOOL, 0, 0, "&&", (Present(BOOL, 0, 0, "facts.o"),))) == "has(facts.o)"


def test_a_chain_of_500_is_not_deep() -> None:
    literal = Literal(BOOL, 0, 0, value=True)
    assert render(Apply(BOOL, 0, 0, "||", (literal,) * 500)) == " || ".join(["true"] * 500)


def test_names_can_be_spelled_in_another_way() -> None:
    spelling = Spelling(present=lambda path: f"p.{path}", element=lambda name: f"{name}_")
    tree = tree_of('has(facts.o) && facts.l.exists(for, for == "x")')
    assert render(tree, spelling) == 'p.facts.o && facts.l.exists(for_, for_ == "x")'


def test_only_trees_are_written() -> None:
    with pytest.raises(TypeError):
        render(Node(BOOL, 0, 0))
