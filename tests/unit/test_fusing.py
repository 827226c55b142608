"""Conditions that are evaluated together come to what each comes to by itself, or to nothing."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from policy_router.expressions.cel_python import CelPython
from policy_router.expressions.checker import check
from policy_router.expressions.engine import FAILURE, Activation, Engine, Outcome, Program
from policy_router.expressions.folding import FALSE, TRUE, literal
from policy_router.expressions.fusing import MAX_CHARACTERS, MAX_CONDITIONS, Fused
from policy_router.expressions.render import render
from policy_router.expressions.tree import BOOL, DOUBLE, INT, STRING, STRINGS, Apply, ListOf, Node
from policy_router.expressions.vocabulary import Name, Vocabulary

PORTABLE = CelPython()
ENGINES: list[Engine] = [PORTABLE]
if importlib.util.find_spec("cel_expr_python"):
    from policy_router.expressions.cel_expr import CelExpr

    ENGINES.append(CelExpr())
each_engine = pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name.split()[0])

VOCABULARY = Vocabulary.of(
    [
        Name("facts.yes", BOOL),
        Name("facts.number", INT),
        Name("facts.share", DOUBLE),
        Name("facts.text", STRING),
        Name("facts.list", STRINGS),
        Name("facts.maybe", INT, optional=True),
    ]
)
FACTS = {"yes": True, "number": 3, "share": 0.5, "text": "abc", "list": ["a"] * 1000}
FAILING = "1 / (facts.number - 3) == 1"


class Counting:
    """An engine that notes what it compiles and evaluates; else it is another one."""

    def __init__(self, engine: Engine = PORTABLE) -> None:
        self.engine, self.name = engine, engine.name
        self.compiled: list[Node] = []
        self.evaluated: list[Node] = []

    def compile(self, expression: Node) -> Program:
        self.compiled.append(expression)
        return _Counted(self, expression, self.engine.compile(expression))

    def bind(self, values: Mapping[str, Any]) -> Activation:
        return self.engine.bind(values)


class _Counted:
    def __init__(self, engine: Counting, expression: Node, program: Program) -> None:
        self.engine, self.expression, self.program = engine, expression, program

    def evaluate(self, activation: Activation) -> Outcome:
        self.engine.evaluated.append(self.expression)
        return self.program.evaluate(activation)


def tree_of(text: str) -> Node:
    """Parse and check a text."""
    checked, problems = check(text, VOCABULARY)
    assert checked.node is not None, problems
    return checked.node


def outcomes(engine: Engine, *conditions: str | Node) -> list[Outcome]:
    """Fuse conditions, and evaluate them."""
    trees = [tree_of(it) if isinstance(it, str) else it for it in conditions]
    return Fused(engine, trees).outcomes(engine.bind({"facts": FACTS}))


def parts(engine: Counting) -> list[int]:
    """Return how many conditions each compiled expression has."""
    return [len(it.items) if isinstance(it, ListOf) else 1 for it in engine.compiled]


def numbered(count: int) -> list[str]:
    """Return different conditions; one of them is true."""
    return [f"facts.number == {number}" for number in range(count)]


@each_engine
def test_nothing_comes_to_nothing(engine: Engine) -> None:
    counting = Counting(engine)
    assert outcomes(counting) == []
    assert counting.compiled == []


@each_engine
def test_outcomes_come_in_order(engine: Engine) -> None:
    counting = Counting(engine)
    texts = ["facts.yes", "facts.number > 5", "facts.text == 'abc'", "has(facts.maybe)"]
    assert outcomes(counting, *texts) == [True, False, True, False]
    assert parts(counting) == [4]


@each_engine
def test_one_condition_is_no_list(engine: Engine) -> None:
    counting = Counting(engine)
    assert outcomes(counting, "facts.yes") == [True]
    assert [render(it) for it in counting.compiled] == ["facts.yes"]
    assert outcomes(engine, FAILING) == [FAILURE]


@each_engine
def test_constants_are_not_evaluated(engine: Engine) -> None:
    counting = Counting(engine)
    assert outcomes(counting, TRUE, FALSE) == [True, False]
    assert counting.compiled == []
    assert outcomes(counting, FALSE, "facts.yes", TRUE, "!facts.yes") == [False, True, True, False]
    assert parts(counting) == [2]


@each_engine
def test_equal_conditions_are_evaluated_once(engine: Engine) -> None:
    counting = Counting(engine)
    texts = ["facts.yes", "!facts.yes", "facts.yes", "facts.number == 3", " facts . yes"]
    assert outcomes(counting, *texts) == [True, False, True, True, True]
    assert parts(counting) == [3]
    assert outcomes(engine, "facts.yes", TRUE, "facts.yes") == [True, True, True]
    assert outcomes(engine, "facts.yes", "facts.yes") == [True, True]
    assert outcomes(engine, FAILING, FAILING) == [FAILURE, FAILURE]


@each_engine
def test_numbers_are_fused_too(engine: Engine) -> None:
    found = outcomes(engine, "facts.number", "facts.number * 2", literal(7), "size(facts.text)")
    assert found == [3, 6, 7, 3]
    assert {type(number) for number in found} == {int}
    shares = outcomes(
        engine, "facts.share", "-facts.share", literal(-0.0), "0.0 / (facts.share - 0.5)"
    )
    assert [repr(share) for share in shares] == ["0.5", "-0.5", "-0.0", "nan"]


@each_engine
def test_where_one_fails_all_have_to_be_found_one_by_one(engine: Engine) -> None:
    assert outcomes(engine, "facts.yes", FAILING, "!facts.yes") == [FAILURE] * 3
    found = outcomes(engine, "facts.yes", TRUE, FAILING, FALSE, "facts.yes")
    assert found == [FAILURE, True, FAILURE, False, FAILURE]


@each_engine
def test_a_failing_one_says_nothing_about_another_activation(engine: Engine) -> None:
    fused = Fused(engine, [tree_of("facts.yes"), tree_of(FAILING)])
    assert fused.outcomes(engine.bind({"facts": FACTS})) == [FAILURE, FAILURE]
    assert fused.outcomes(engine.bind({"facts": {**FACTS, "number": 4}})) == [True, True]
    assert fused.outcomes(engine.bind({"facts": FACTS})) == [FAILURE, FAILURE]


@each_engine
def test_macros_that_use_up_the_budget_together_have_to_be_found_one_by_one(
    engine: Engine,
) -> None:
    texts = [f"facts.list.all(x, x != '{number}')" for number in range(10)]
    assert outcomes(engine, *texts[:9]) == [True] * 9
    assert outcomes(engine, *texts) == [FAILURE] * 10


@each_engine
def test_what_comes_back_may_be_changed(engine: Engine) -> None:
    for texts in (["facts.yes", "!facts.yes"], [FAILING, "facts.yes"], ["true", "facts.yes"]):
        fused = Fused(engine, list(map(tree_of, texts)))
        activation = engine.bind({"facts": FACTS})
        first = fused.outcomes(activation)
        kept = list(first)
        first.clear()
        assert fused.outcomes(activation) == kept


# Where a list is cut.


@each_engine
@pytest.mark.parametrize(
    ("count", "cut"),
    [
        (MAX_CONDITIONS, [MAX_CONDITIONS]),
        (MAX_CONDITIONS + 1, [MAX_CONDITIONS, 1]),
        (2 * MAX_CONDITIONS + 2, [MAX_CONDITIONS, MAX_CONDITIONS, 2]),
    ],
)
def test_a_list_is_cut_where_it_has_many_conditions(
    engine: Engine, count: int, cut: list[int]
) -> None:
    counting = Counting(engine)
    assert outcomes(counting, *numbered(count)) == [number == 3 for number in range(count)]
    assert parts(counting) == cut


@each_engine
def test_a_failing_one_spares_the_other_parts(engine: Engine) -> None:
    texts = numbered(3 * MAX_CONDITIONS)
    texts[MAX_CONDITIONS + 5] = FAILING
    found = outcomes(engine, *texts)
    ends = [found[:MAX_CONDITIONS], found[-MAX_CONDITIONS:]]
    assert ends == [[number == 3 for number in range(MAX_CONDITIONS)], [False] * MAX_CONDITIONS]
    assert found[MAX_CONDITIONS:-MAX_CONDITIONS] == [FAILURE] * MAX_CONDITIONS


def test_equal_conditions_count_once_where_a_list_is_cut() -> None:
    counting = Counting()
    texts = [*numbered(MAX_CONDITIONS), *numbered(MAX_CONDITIONS)]
    found = outcomes(counting, *texts)
    assert [place for place, outcome in enumerate(found) if outcome] == [3, MAX_CONDITIONS + 3]
    assert parts(counting) == [MAX_CONDITIONS]


def long(characters: int, letter: str = "x") -> Node:
    """Return a condition of so many characters; it is true."""
    empty = tree_of('facts.text != ""')
    assert isinstance(empty, Apply)
    text = literal(letter * (characters - len(render(empty))))
    return replace(empty, arguments=(empty.arguments[0], text))


@each_engine
@pytest.mark.parametrize(("more", "cut"), [(0, [2]), (1, [1, 1])])
def test_a_list_is_cut_where_it_is_long(engine: Engine, more: int, cut: list[int]) -> None:
    half = MAX_CHARACTERS // 2
    conditions = [long(half), long(half + more, "y")]
    assert sum(len(render(it)) for it in conditions) == MAX_CHARACTERS + more
    counting = Counting(engine)
    assert outcomes(counting, *conditions) == [True, True]
    assert parts(counting) == cut


@each_engine
def test_a_condition_that_is_too_long_stays_alone(engine: Engine) -> None:
    counting = Counting(engine)
    conditions: list[str | Node] = [
        "facts.yes",
        long(MAX_CHARACTERS + 1),
        "!facts.yes",
        "facts.number == 3",
    ]
    assert outcomes(counting, *conditions) == [True, True, False, True]
    assert parts(counting) == [1, 1, 2]
    assert outcomes(engine, long(MAX_CHARACTERS + 1), "!facts.yes") == [True, False]


@each_engine
def test_what_no_engine_reads_spares_the_others(engine: Engine) -> None:
    conditions: list[str | Node] = ["facts.yes", long(100_001), "!facts.yes"]
    found = outcomes(engine, *conditions)
    assert [found[0], found[2]] == [True, False]
    assert found[1] in {True, FAILURE}


# When an engine is asked.


def test_a_part_is_compiled_when_it_is_first_needed_and_once() -> None:
    counting = Counting()
    fused = Fused(counting, [tree_of(text) for text in numbered(MAX_CONDITIONS + 1)])
    assert counting.compiled == []
    for _ in range(2):
        fused.outcomes(counting.bind({"facts": FACTS}))
    assert parts(counting) == [MAX_CONDITIONS, 1]
    assert counting.evaluated == counting.compiled * 2
