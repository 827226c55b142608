"""What becomes of a condition where some of its names are known."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any

import pytest

from policy_router.cel import simplify
from policy_router.cel.ast import (
    BOOL,
    DOUBLE,
    INT,
    STRING,
    STRINGS,
    TIMESTAMP,
    Attribute,
    Loop,
    Node,
)
from policy_router.cel.checker import check
from policy_router.cel.evaluate import Program
from policy_router.cel.simplify import (
    FALSE,
    MAX_LOOPS,
    TRUE,
    Known,
    constant_of,
    joined,
    literal,
    may_exceed_budget,
    negated,
    simplified,
    strings,
)
from policy_router.cel.vocabulary import MAX_ITEMS, REQUEST_NAMES, Name, Vocabulary
from tests.support.evaluating import FAILURE, PRODUCT
from tests.support.oracles import ORACLES
from tests.support.oracles.engine import Engine, Outcome
from tests.support.render import render
from tests.support.rows import each

each_engine = pytest.mark.parametrize(
    "engine",
    [PRODUCT, *(pytest.param(oracle, marks=pytest.mark.slow) for oracle in ORACLES)],
    ids=lambda engine: engine.name.split()[0],
)

VOCABULARY = Vocabulary.of(
    [
        *REQUEST_NAMES,
        *(Name(f"target.{name}", STRING) for name in ("name", "model", "provider")),
        Name("target.supports", STRINGS),
        Name("target.price.input", DOUBLE, optional=True),
        Name("target.price.output", DOUBLE, optional=True),
        Name("target.context_window", INT, optional=True),
        *(Name(f"facts.{name}", BOOL) for name in ("a", "b", "c")),
        Name("facts.count", INT),
        Name("facts.low", INT),
        Name("facts.zero", DOUBLE),
        Name("facts.big", STRINGS),
        Name("facts.pair", STRINGS),
        Name("now", TIMESTAMP),
    ]
)
KNOWN: Known = {
    "target.name": Attribute(STRING, 0, 0, "target.model"),
    "target.model": literal("glm-5"),
    "target.provider": Attribute(STRING, 0, 0, "parent.provider"),
    "target.supports": strings(("tools", "vision")),
    "target.price.input": literal(0.5),
    "target.price.output": None,
    "target.context_window": literal(1000),
    "facts.count": literal(2**63 - 1),
    "facts.low": literal(-(2**63)),
    "facts.zero": literal(-0.0),
    "facts.pair": strings(()),
}


def tree_of(text: str) -> Node:
    """Parse and check a text."""
    checked, problems = check(text, VOCABULARY)
    assert checked.node is not None, problems
    return checked.node


def rest_of(text: str) -> str:
    """Simplify a text with what is known, and write what is left."""
    return render(simplified(tree_of(text), KNOWN))


RULES = {
    "names": {
        "target.model == task.kind": '"glm-5" == task.kind',
        "target.provider == task.kind": "parent.provider == task.kind",
        "task.kind in target.supports": 'task.kind in ["tools", "vision"]',
        "task.kind in [target.model, caller.id]": 'task.kind in ["glm-5", caller.id]',
        "task.kind in facts.pair": "task.kind in []",
        "task.kind == caller.id": "task.kind == caller.id",
        "now": "now",
        # The other name is not looked up in turn.
        'target.name == "x"': 'target.model == "x"',
    },
    "has": {
        "has(target.price.input)": "true",
        "has(target.price.output)": "false",
        "has(task.input_tokens)": "has(task.input_tokens)",
        "has(target.price.input) && target.price.input < 1.0": "true",
        "has(target.price.output) && target.price.output < 1.0": "false",
        "has(target.price.output) ? target.price.output : 9.0": "9.0",
        "!has(target.price.output) || target.price.output < 1.0": "true",
        "has(target.price.input) ? target.price.input : 9.0": "0.5",
        "has(target.context_window) && has(task.input_tokens)"
        " && task.input_tokens < target.context_window": (
            "has(task.input_tokens) && task.input_tokens < 1000"
        ),
    },
    "comparisons": {
        'target.model == "glm-5"': "true",
        'target.model == "glm-6"': "false",
        'target.model != "glm-5"': "false",
        'target.model < "glm-5"': "false",
        'target.model <= "glm-5"': "true",
        'target.model > "glm-5"': "false",
        'target.model >= "glm-5"': "true",
        'target.model < "glm-é"': "true",
        "target.model < '\U00010000'": "true",
        "'\\uffff' < '\U00010000'": "true",
        "facts.count > facts.low": "true",
        "facts.count == facts.low": "false",
        "(target.model == 'glm-5') == true": "true",
        "true != false": "true",
        "target.supports == ['tools', 'vision']": "true",
        "target.supports == ['vision', 'tools']": "false",
        "target.supports != facts.pair": "true",
        "facts.pair == []": "true",
    },
    "texts": {
        'target.model.startsWith("glm")': "true",
        'target.model.startsWith("5")': "false",
        'target.model.endsWith("5")': "true",
        'target.model.endsWith("glm")': "false",
        'target.model.contains("m-")': "true",
        'target.model.contains("m5")': "false",
        '"glm".contains(target.model)': "false",
        "target.model.startsWith(task.kind)": '"glm-5".startsWith(task.kind)',
        r"target.model.matches('^[a-z]+-\\d$')": "true",
        "target.model.matches('^x')": "false",
        'bucket("salt", target.model)': "13",
        'bucket("salt", caller.id)': 'bucket("salt", caller.id)',
        'target.model + "!"': '"glm-5!"',
        "size(target.model)": "5",
        "target.model.size() > 4": "true",
    },
    "membership": {
        '"tools" in target.supports': "true",
        '"audio" in target.supports': "false",
        '"audio" in facts.pair': "false",
        "target.model in ['glm-4', 'glm-5']": "true",
        "1 in [2, 3]": "false",
        "0.0 in [facts.zero]": "true",
        "true in [false]": "false",
        "target.model in task.needs": '"glm-5" in task.needs',
        "target.model in [task.kind, 'glm-5']": '"glm-5" in [task.kind, "glm-5"]',
        "[1] in [[1], [2]]": "[1] in [[1], [2]]",
    },
    "lists": {
        "size(target.supports)": "2",
        "target.supports[1]": '"vision"',
        "target.supports[2]": '["tools", "vision"][2]',
        "target.supports[-1]": '["tools", "vision"][-1]',
        "size(facts.pair) == 0": "true",
        "[target.model][0] == 'glm-5'": "true",
        "target.supports + ['a']": '["tools", "vision", "a"]',
        "size(target.supports + ['a'])": "3",
        "size([1] + [2])": "size([1] + [2])",
    },
    "numbers": {
        "facts.zero": "-0.0",
        "facts.zero == 0.0": "true",
        "-facts.zero": "0.0",
        "facts.zero + 0.0": "0.0",
        "1.0 / facts.zero": 'double("-inf")',
        "1.0 / facts.zero < -1e308": "true",
        "0.0 / facts.zero": 'double("nan")',
        "0.0 / facts.zero == 0.0 / facts.zero": "false",
        "0.0 / facts.zero != 0.0 / facts.zero": "true",
        "0.0 / facts.zero < 1.0": "false",
        "double('nan') in [double('nan')]": "false",
        "facts.count - 1": "9223372036854775806",
        "facts.count + 1": "9223372036854775807 + 1",
        "-facts.low": "-(-9223372036854775808)",
        "facts.low / -1": "-9223372036854775808 / -1",
        "facts.count * 2 > 0": "9223372036854775807 * 2 > 0",
        "1 / 0": "1 / 0",
        "facts.count % 0 == 1": "9223372036854775807 % 0 == 1",
        "7 / 2 == 3": "true",
        "-7 / 2": "-3",
        "-7 % 2": "-1",
        "int(target.model)": 'int("glm-5")',
        "int('12')": "12",
        "int(1e300)": "int(1e+300)",
        "double(facts.count)": "9.223372036854776e+18",
        "string(facts.count)": '"9223372036854775807"',
    },
    "times": {
        "timestamp('2026-01-31T09:00:00Z')": 'timestamp("2026-01-31T09:00:00Z")',
        "now < timestamp('2026-01-31T09:00:00Z')": 'now < timestamp("2026-01-31T09:00:00Z")',
        # There is no literal of a time, so that it is no constant.
        "timestamp('2026-01-31T09:00:00Z').getHours()": (
            'timestamp("2026-01-31T09:00:00Z").getHours()'
        ),
        "duration('1h') + duration('1m')": 'duration("1h") + duration("1m")',
    },
    "logic": {
        "facts.a && true": "facts.a",
        "true && facts.a": "facts.a",
        "facts.a && false": "false",
        "false && facts.a": "false",
        "facts.a || false": "facts.a",
        "false || facts.a": "facts.a",
        "facts.a || true": "true",
        "true || facts.a": "true",
        "true && true": "true",
        "false || false": "false",
        "facts.a && true && facts.b": "facts.a && facts.b",
        "facts.a || false || facts.b": "facts.a || facts.b",
        "facts.a && facts.b && false && facts.c": "false",
        "facts.a && (facts.b || true) && facts.c": "facts.a && facts.c",
        "facts.a || (facts.b && (facts.c || true))": "facts.a || facts.b",
        "facts.a && (facts.b && true)": "facts.a && facts.b",
        "facts.a && (facts.b && facts.c)": "facts.a && (facts.b && facts.c)",
        "(facts.a && false) || (facts.b && true)": "facts.b",
        "!(facts.a && false)": "true",
        "!(facts.a || true)": "false",
        "!(facts.a && true)": "!facts.a",
        "!facts.a": "!facts.a",
        "!(!facts.a)": "!(!facts.a)",
        # What fails has no say beside what decides, and fails where that does not.
        "1 / 0 == 1 && false": "false",
        "1 / 0 == 1 || true": "true",
        "1 / 0 == 1 && true": "1 / 0 == 1",
        "1 / 0 == 1 || facts.a": "1 / 0 == 1 || facts.a",
    },
    "choices": {
        "true ? facts.a : facts.b": "facts.a",
        "false ? facts.a : facts.b": "facts.b",
        "target.model == 'glm-5' ? task.kind : caller.id": "task.kind",
        "facts.a ? target.model : task.kind": 'facts.a ? "glm-5" : task.kind',
        "facts.a ? true : true": "facts.a ? true : true",
        "(true ? false : facts.a) ? facts.b : (false ? facts.b : facts.c)": "facts.c",
        "true ? 1 : 1 / 0": "1",
        "1 / 0 == 1 ? 1 : 1": "1 / 0 == 1 ? 1 : 1",
        "task.kind in (true ? ['a'] : task.needs)": 'task.kind in ["a"]',
    },
    "macros": {
        "target.supports.exists(x, x == 'tools')": ('["tools", "vision"].exists(x, x == "tools")'),
        "task.labels.all(x, x == target.model)": 'task.labels.all(x, x == "glm-5")',
        "task.labels.exists(x, x == 'a' && true)": 'task.labels.exists(x, x == "a")',
        "task.labels.all(x, x == 'a' || true)": "task.labels.all(x, true)",
        "facts.pair.all(x, x == 'a')": '[].all(x, x == "a")',
        "task.labels.map(x, target.model)": 'task.labels.map(x, "glm-5")',
        "size(target.supports.filter(x, x > 'u'))": (
            'size(["tools", "vision"].filter(x, x > "u"))'
        ),
        "facts.a && task.labels.exists(x, x == 'a') && false": "false",
        "target.supports.exists(x, x == 'tools') || true": "true",
    },
}

EXAMPLES = [
    pytest.param(*row, id=f"{kind}: {row[0]}")
    for kind, rows in RULES.items()
    for row in rows.items()
]
FACTS: dict[str, Any] = {
    "task": {"kind": "glm-5", "labels": ["a"] * MAX_ITEMS, "needs": ["glm-5"]},
    "parent": {"provider": "zai"},
    "caller": {"id": "u-1"},
    "target": {
        "name": "glm-5",
        "model": "glm-5",
        "provider": "zai",
        "supports": ["tools", "vision"],
        "price": {"input": 0.5},
        "context_window": 1000,
    },
    "facts": {
        "a": True,
        "b": False,
        "c": True,
        "count": 2**63 - 1,
        "low": -(2**63),
        "zero": -0.0,
        "big": ["a"] * 9500,
        "pair": [],
    },
    "now": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
}


def outcome_of(engine: Engine, tree: Node) -> Outcome:
    """Evaluate a tree with all facts."""
    return engine.compile(tree).evaluate(engine.bind(FACTS))


@each_engine
@each(("text", "expected"), EXAMPLES)
def test_a_condition_is_simplified(engine: Engine, text: str, expected: str) -> None:
    tree = tree_of(text)
    rest = simplified(tree, KNOWN)
    assert render(rest) == expected
    assert rest.type == tree.type
    assert repr(outcome_of(engine, rest)) == repr(outcome_of(engine, tree))


# An evaluation fails when its macros come to element 10,000: what is dropped may not hide that.

LOOP = 'task.labels.all(x, x == "a")'
NINE, TEN = (" && ".join([LOOP] * number) for number in (MAX_LOOPS, MAX_LOOPS + 1))
NESTED = 'task.labels.all(x, task.labels.all(y, y == "a"))'
SHORT, LONG = ('["a"' + ', "a"' * number + "]" for number in (MAX_ITEMS - 1, MAX_ITEMS))
FAR = {
    "many macros": f"({TEN})",
    "a macro in a macro": NESTED,
    "a macro in a macro, over a constant": 'target.supports.all(x, task.labels.all(y, y == "a"))',
    "a macro over a macro": 'task.labels.filter(x, true).all(x, x == "a")',
    "a list without a limit": 'facts.big.all(x, x == "a")',
    "joined lists": '(task.labels + task.labels).all(x, x == "a")',
    "a chosen list": '(facts.a ? task.labels : facts.big).all(x, x == "a")',
    "deep inside": f"!(facts.b && !(facts.c ? {NESTED} : facts.a))",
}
NEAR = {
    "a macro": LOOP,
    "several macros": f"({NINE})",
    "a constant list": 'target.supports.all(x, x == "a")',
}


@each("text", FAR.values(), ids=FAR.keys())
@each(("function", "decisive"), [("&&", "false"), ("||", "true")])
def test_nothing_is_dropped_beside_macros_that_may_exceed_the_budget(
    text: str, function: str, decisive: str
) -> None:
    for operands in (["facts.b", text, decisive, "facts.c"], [decisive, text]):
        whole = f" {function} ".join(operands)
        written = whole.replace("target.supports", '["tools", "vision"]')
        assert rest_of(whole) == render(tree_of(written))


@each("text", NEAR.values(), ids=NEAR.keys())
def test_other_macros_are_dropped(text: str) -> None:
    assert rest_of(f"{text} && false") == "false"
    assert rest_of(f"{text} || true") == "true"


def test_a_constant_list_is_short_up_to_the_length_of_one_of_a_request() -> None:
    lists = [strings(("a",) * number) for number in (MAX_ITEMS, MAX_ITEMS + 1)]
    loop = tree_of('["a"].all(x, x == "a")')
    assert isinstance(loop, Loop)
    assert [may_exceed_budget(replace(loop, source=source)) for source in lists] == [False, True]


def test_what_has_no_macros_never_walks_far() -> None:
    assert not may_exceed_budget(tree_of("size(facts.big) > 0 && 'a' in facts.big && 1 / 0 == 1"))


NONE = " || ".join(["task.labels.exists(x, x == 'b')"] * (MAX_LOOPS + 1))
EXHAUSTING = {
    "one operand": f"({TEN}) && target.model == 'x'",
    "one operand of ||": f"({TEN}) || target.model == 'glm-5'",
    "a macro in a macro": f"{NESTED} && target.model == 'x'",
    "a macro in a macro of ||": f"!{NESTED} || target.model == 'glm-5'",
    "several operands": f"{TEN} && target.model == 'x'",
    "several operands of ||": f"{NONE} || target.model != 'x'",
    "what is dropped and what is not": f"({LOOP} && target.model == 'x') || "
    "facts.big.exists(x, x == 'b')",
    "what a chain in a chain drops": f"({NINE} && target.model == 'x') || !{LOOP}",
}


@each_engine
@each("text", EXHAUSTING.values(), ids=EXHAUSTING.keys())
def test_a_condition_that_uses_up_the_budget_does_so_when_simplified(
    engine: Engine, text: str
) -> None:
    tree = tree_of(text)
    assert outcome_of(engine, tree) is FAILURE
    assert outcome_of(engine, simplified(tree, KNOWN)) is FAILURE


@each_engine
def test_a_condition_at_the_border_of_the_budget_does_not_fail(engine: Engine) -> None:
    tree = tree_of(f"{NINE} && target.model == 'x'")
    assert outcome_of(engine, tree) is False


# What has to be planned.


def test_comparisons_and_lists_need_no_planning(monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[str] = []

    def noting(tree: Node) -> Program:
        planned.append(render(tree))
        return Program(tree)

    monkeypatch.setattr(simplify, "Program", noting)
    text = 'target.model in ["a"] || target.model >= "b" || target.model.endsWith("5")'
    assert simplified(tree_of(text), KNOWN) == TRUE
    assert planned == []
    assert simplified(tree_of("size(target.model) == 5"), KNOWN) == TRUE
    assert planned == ['size("glm-5")']


def test_a_tree_is_left_as_it_was() -> None:
    tree = tree_of("target.model == 'x' && target.supports.all(x, x == target.model)")
    before = render(tree)
    simplified(tree, KNOWN)
    assert render(tree) == before


# The parts by themselves.


def test_constants_are_of_the_type_of_their_value() -> None:
    values: list[bool | float | str] = [True, 1, 1.0, "1"]
    assert [literal(value).type for value in values] == [BOOL, INT, DOUBLE, STRING]
    assert strings(()).type == strings(("a",)).type == STRINGS
    assert [constant_of(literal(value)) for value in values] == values
    assert constant_of(tree_of("facts.a")) is None


def test_nothing_joined_is_true_for_all_and_false_for_any() -> None:
    assert joined("&&", []) == joined("&&", [TRUE, TRUE]) == TRUE
    assert joined("||", []) == joined("||", [FALSE, FALSE]) == FALSE


def test_one_condition_joined_is_itself() -> None:
    one = tree_of("facts.a")
    assert joined("&&", [TRUE, one]) is joined("||", [one, FALSE]) is one


def test_the_opposite_of_a_constant_is_a_constant() -> None:
    assert (negated(TRUE), negated(FALSE)) == (FALSE, TRUE)
    assert render(negated(tree_of("facts.a"))) == "!facts.a"
