"""What a fact has to be for a condition to be true, by example."""

from __future__ import annotations

import math
from typing import Any

from policy_router.cel.ast import (
    BOOL,
    DOUBLE,
    INT,
    STRING,
    STRINGS,
    TIMESTAMP,
    Apply,
    Attribute,
    Node,
    Type,
)
from policy_router.cel.checker import check
from policy_router.cel.simplify import MAX_LOOPS, literal
from policy_router.cel.vocabulary import MAX_ITEMS, REQUEST_NAMES, Name, Vocabulary
from policy_router.decision.condition_index import Key, key_of
from tests.support.evaluating import FAILURE, PRODUCT
from tests.support.oracles import ORACLES
from tests.support.oracles.engine import Engine
from tests.support.rows import each

NAMES = (
    *REQUEST_NAMES,
    Name("facts.flag", BOOL),
    Name("facts.count", INT),
    Name("facts.share", DOUBLE),
    Name("facts.region", STRING),
    Name("facts.sizes", Type("list", INT)),
    Name("facts.maybe", STRING, optional=True),
    Name("facts.tags", STRINGS, optional=True),
    Name("now", TIMESTAMP),
)
VOCABULARY = Vocabulary.of(NAMES)
GIVEN = frozenset(name.path for name in NAMES if not name.optional)


def tree_of(text: str) -> Node:
    """Parse and check a text."""
    checked, problems = check(text, VOCABULARY)
    assert checked.node is not None, problems
    return checked.node


def some(path: str, *values: Any) -> Key:
    """Return the key of a condition that is true for some values."""
    return Key(path, frozenset(values), decisive=True)


def any_of(path: str, *values: Any) -> Key:
    """Return the key of a condition that may be true for some values."""
    return Key(path, frozenset(values))


KIND = some("task.kind", "a")
KEYED = {
    # Values.
    "task.kind == 'a'": KIND,
    "'a' == task.kind": KIND,
    "task.kind in ['a', 'b']": some("task.kind", "a", "b"),
    "task.kind in ['a', 'a']": KIND,
    "task.kind in []": some("task.kind"),
    "'a' in task.labels": some("task.labels", "a"),
    "2 in facts.sizes": some("facts.sizes", 2),
    "facts.count == 3": some("facts.count", 3),
    "facts.share == 0.5": some("facts.share", 0.5),
    "facts.flag == true": Key("facts.flag", frozenset({True}), decisive=True),
    "false == facts.flag": Key("facts.flag", frozenset({False}), decisive=True),
    # Bounds.
    "parent.depth < 2": Key("parent.depth", at_most=2),
    "parent.depth <= 2": Key("parent.depth", at_most=2),
    "parent.depth > 2": Key("parent.depth", at_least=2),
    "parent.depth >= 2": Key("parent.depth", at_least=2),
    "2 < parent.depth": Key("parent.depth", at_least=2),
    "2 <= parent.depth": Key("parent.depth", at_least=2),
    "2 > parent.depth": Key("parent.depth", at_most=2),
    "2 >= parent.depth": Key("parent.depth", at_most=2),
    "parent.depth > 0": Key("parent.depth", at_least=0),
    "facts.share < 0.5": Key("facts.share", at_most=0.5),
    "facts.region >= ''": Key("facts.region", at_least=""),
    # Alternatives.
    "task.kind == 'a' || task.kind == 'b'": some("task.kind", "a", "b"),
    "task.kind == 'a' || task.kind in ['b', 'c'] || 'd' == task.kind": some(
        "task.kind", "a", "b", "c", "d"
    ),
    "'a' in task.labels || 'b' in task.labels": some("task.labels", "a", "b"),
    "task.kind == 'a' || (task.kind == 'b' && facts.flag)": any_of("task.kind", "a", "b"),
    "(task.kind == 'a' && 1 / facts.count == 1) || task.kind == 'b'": any_of("task.kind", "a", "b"),
    "task.kind == 'a' || (task.kind == 'b' || task.kind == 'c')": some("task.kind", "a", "b", "c"),
    # Together.
    "task.kind == 'a' && facts.flag": any_of("task.kind", "a"),
    "facts.flag && 1 / facts.count == 1 && task.kind == 'a'": any_of("task.kind", "a"),
    "task.kind == 'a' && task.kind == 'b'": any_of("task.kind", "a"),
    "task.kind == 'a' && facts.region == 'b'": any_of("task.kind", "a"),
    "parent.depth > 2 && facts.count < 3": Key("parent.depth", at_least=2),
    "parent.depth > 2 && task.kind == 'a'": any_of("task.kind", "a"),
    "facts.flag && parent.depth > 2": Key("parent.depth", at_least=2),
    "(task.kind == 'a' || task.kind == 'b') && facts.flag": any_of("task.kind", "a", "b"),
    "(facts.flag || task.kind == 'b') && task.kind == 'a'": any_of("task.kind", "a"),
    "(facts.flag && (task.kind == 'a' && facts.flag))": any_of("task.kind", "a"),
    "task.kind != 'a' && task.kind == 'b'": any_of("task.kind", "b"),
    "task.labels.exists(x, x == 'a') && task.kind == 'a'": any_of("task.kind", "a"),
    "(task.labels.exists(x, x == 'a') && task.kind == 'a') || task.kind == 'b'": any_of(
        "task.kind", "a", "b"
    ),
    # What may be absent.
    "has(facts.maybe) && facts.maybe == 'a'": any_of("facts.maybe", "a"),
    "has(facts.maybe) && (facts.maybe == 'a' || facts.maybe == 'b')": any_of(
        "facts.maybe", "a", "b"
    ),
    "has(facts.tags) && 'a' in facts.tags": any_of("facts.tags", "a"),
    "has(task.input_tokens) && task.input_tokens > 10": Key("task.input_tokens", at_least=10),
    "has(facts.maybe) && (facts.flag && facts.maybe == 'a')": any_of("facts.maybe", "a"),
    "(has(facts.maybe) && facts.maybe == 'a') || (has(facts.maybe) && facts.maybe == 'b')": any_of(
        "facts.maybe", "a", "b"
    ),
    "has(facts.maybe) && task.kind == 'a'": any_of("task.kind", "a"),
}
LOOP = "task.labels.exists(x, x == 'a')"
KEYLESS = [
    "true",
    "facts.flag",
    "has(facts.maybe)",
    "!(task.kind == 'a')",
    "!(task.kind == 'a' || task.kind == 'b')",
    "task.kind != 'a'",
    "task.kind == 'a' ? true : false",
    "task.kind.startsWith('a')",
    "task.kind == caller.id",
    "task.kind in ['a', caller.id]",
    "task.kind in task.labels",
    "caller.id in ['a'] == true",
    "'a' in [task.kind]",
    "task.labels == ['a']",
    "['a'] == task.labels",
    "task.labels in [['a']]",
    "'a' in (task.labels + task.needs)",
    "'a' in task.labels.map(x, x + '!')",
    "task.kind + '' == 'a'",
    "size(task.kind) == 1",
    "facts.count + 1 == 1",
    "facts.count < parent.depth",
    "facts.count + 1 < 2",
    "now < timestamp('2026-01-31T09:00:00Z')",
    "'a' == 'a'",
    "1 < 2",
    # Alternatives about more than the values of one fact.
    "task.kind == 'a' || facts.flag",
    "task.kind == 'a' || facts.region == 'a'",
    "task.kind == 'a' || task.kind == caller.id",
    "task.kind == 'a' || task.kind != 'b'",
    "task.kind == 'a' || task.kind > 'b'",
    "parent.depth < 1 || parent.depth > 3",
    "parent.depth < 1 || parent.depth < 3",
    "(task.kind == 'a' && facts.flag) || (facts.flag && facts.region == 'a')",
    "facts.flag && facts.count == parent.depth",
    # What may be absent, so that the condition would fail.
    "!has(facts.maybe) || facts.maybe == 'a'",
    "has(facts.maybe) ? facts.maybe == 'a' : false",
    # Macros that use up the budget, so that the whole would fail.
    f"{' && '.join([LOOP] * (MAX_LOOPS + 1))} && task.kind == 'a'",
    "task.labels.exists(x, task.needs.exists(y, x == y)) && task.kind == 'a'",
    "facts.sizes.exists(x, x == 1) && task.kind == 'a'",
]


@each(("text", "key"), KEYED.items())
def test_a_condition_has_a_key(text: str, key: Key) -> None:
    assert key_of(tree_of(text), GIVEN) == key


@each("text", KEYLESS)
def test_a_condition_has_no_key(text: str) -> None:
    assert key_of(tree_of(text), GIVEN) is None


def test_a_fact_that_may_be_absent_has_no_key_without_its_guard() -> None:
    tree = tree_of("has(facts.maybe) && facts.maybe == 'a'")
    assert isinstance(tree, Apply)
    guard, test = tree.arguments
    assert key_of(test, GIVEN) is None
    assert key_of(test, GIVEN | {"facts.maybe"}) == some("facts.maybe", "a")
    either = Apply(BOOL, 0, 0, "||", (guard, test))
    assert key_of(either, GIVEN) is None
    some_guard = Apply(BOOL, 0, 0, "||", (guard, tree_of("facts.flag")))
    assert key_of(Apply(BOOL, 0, 0, "&&", (some_guard, test)), GIVEN) is None


def test_a_guard_says_nothing_about_another_fact() -> None:
    tree = tree_of("has(facts.tags) && (has(facts.maybe) ? facts.maybe : '') == 'a'")
    assert key_of(tree, GIVEN) is None


def test_nothing_is_given_unless_it_is_said() -> None:
    assert key_of(tree_of("task.kind == 'a' && parent.depth > 2"), frozenset()) is None


@each("sign", ["<", "<=", ">", ">="])
def test_what_is_no_number_is_no_bound(sign: str) -> None:
    share, nan = Attribute(DOUBLE, 0, 0, "facts.share"), literal(math.nan)
    for pair in ((share, nan), (nan, share)):
        assert key_of(Apply(BOOL, 0, 0, sign, pair), GIVEN) is None


def test_infinity_is_a_bound() -> None:
    share = Attribute(DOUBLE, 0, 0, "facts.share")
    tree = Apply(BOOL, 0, 0, "<", (share, literal(math.inf)))
    assert key_of(tree, GIVEN) == Key("facts.share", at_most=math.inf)


def test_both_zeros_are_one_value() -> None:
    key = key_of(tree_of("facts.share in [0.0]"), GIVEN)
    assert key is not None
    assert -0.0 in key.values


# An evaluation fails when its macros come to element 10,000, whatever else would decide.

FIVE = " && ".join(["task.labels.all(x, x == 'a')"] * 5)


@each("engine", [PRODUCT, *ORACLES], ids=lambda engine: engine.name.split()[0])
@each(
    "text",
    [
        f"({FIVE} && {FIVE}) && task.kind == 'a'",
        f"({FIVE} && task.kind == 'a') || ({FIVE} && task.kind == 'b')",
    ],
    ids=["together", "alternatives"],
)
def test_what_can_use_up_the_budget_has_no_key(engine: Engine, text: str) -> None:
    tree = tree_of(text)
    facts = {"task": {"labels": ["a"] * MAX_ITEMS, "kind": "c"}}
    assert engine.compile(tree).evaluate(engine.bind(facts)) is FAILURE
    assert key_of(tree, GIVEN) is None
