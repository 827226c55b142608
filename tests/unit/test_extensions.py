"""CEL's extension libraries: their guards, their sizes, names for values, and explanations."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Mapping
from typing import Any

from policy_router import decide, explain, loads
from policy_router.cel.ast import DOUBLE, INT, STRING, STRINGS, Bind, Node, walk
from policy_router.cel.checker import check
from policy_router.cel.frame import MAX_ELEMENTS
from policy_router.cel.simplify import literal, simplified, strings
from policy_router.cel.texts import MAX_LIST, MAX_TEXT
from policy_router.cel.vocabulary import REQUEST_NAMES, Name, TableValues, Vocabulary
from policy_router.decision.condition_index import key_of
from policy_router.diagnostics.codes import Code
from tests.support.evaluating import FAILURE, PRODUCT
from tests.support.oracles.engine import Outcome
from tests.support.render import render
from tests.support.rows import each

NAMES = (
    *REQUEST_NAMES,
    Name("facts.text", STRING),
    Name("facts.names", STRINGS),
    Name("facts.share", DOUBLE),
)
TABLES: Mapping[str, TableValues] = {"tables.caps": (INT, {"ops": 1, "research": 5})}
VOCABULARY = Vocabulary.of(NAMES, tables=TABLES)


def tree_of(text: str) -> Node:
    """Parse and check a text."""
    checked, problems = check(text, VOCABULARY)
    assert checked.node is not None, problems
    return checked.node


def problems_of(text: str) -> list[Code]:
    """Return the codes of the problems of a text."""
    return [problem.code for problem in check(text, VOCABULARY)[1]]


def value_of(text: str, /, **facts: Any) -> Outcome:
    """Evaluate a text."""
    values = {"facts": facts, "task": {"labels": []}}
    return PRODUCT.compile(tree_of(text)).evaluate(PRODUCT.bind(values))


# Guards and names.


@each(
    "text",
    [
        "has(budget.spent_usd) && cel.bind(x, budget.spent_usd, x > budget.spent_usd)",
        "cel.bind(ok, has(budget.spent_usd), ok && budget.spent_usd > 1.0)",
        "cel.bind(no, !has(budget.spent_usd), no || budget.spent_usd > 1.0)",
        "cel.bind(ok, has(budget.spent_usd), ok) && budget.spent_usd > 1.0",
        "cel.bind(team, caller.team, team in tables.caps && tables.caps[team] > 1)",
        "caller.team in tables.caps && cel.bind(cap, tables.caps[caller.team], cap > 1)",
        "task.labels.all(a, cel.bind(b, a, task.needs.all(c, c == b)))",
    ],
)
def test_a_guard_holds_through_a_bound_name(text: str) -> None:
    assert problems_of(text) == []


@each(
    ("text", "code"),
    [
        ("cel.bind(x, budget.spent_usd, has(budget.spent_usd) && x > 1.0)", Code.UNGUARDED),
        ("cel.bind(ok, has(budget.spent_usd), true) && budget.spent_usd > 1.0", Code.UNGUARDED),
        ("cel.bind(ok, has(budget.spent_usd), ok || budget.spent_usd > 1.0)", Code.UNGUARDED),
        (
            "cel.bind(t, 'ops', t in tables.caps) && cel.bind(t, 'x', tables.caps[t] > 1)",
            Code.UNGUARDED,
        ),
        ("cel.bind(x, 1, true) && x > 1", Code.UNKNOWN_NAME),
        ("cel.bind(x, 1, cel.bind(x, 2, x > 1))", Code.OUTSIDE_PROFILE),
        ("task.labels.all(x, cel.bind(x, 2, x > 1))", Code.OUTSIDE_PROFILE),
        ("cel.bind(x, 1, task.labels.all(x, x == ''))", Code.OUTSIDE_PROFILE),
        ("cel.bind(task.kind, 1, true)", Code.OUTSIDE_PROFILE),
        ("cel.bind(x, 1)", Code.OUTSIDE_PROFILE),
        ("math.least() > 1", Code.TYPE_MISMATCH),
        ("math.least(true, false)", Code.TYPE_MISMATCH),
        ("math.least([1], 2) > 1", Code.TYPE_MISMATCH),
        ("math.least(1, 2.0) > 1.0", Code.INT_WITH_DOUBLE),
        ("math.greatest(1.0, 2.0, 3) > 1.0", Code.INT_WITH_DOUBLE),
        ("sets.contains(task.labels)", Code.TYPE_MISMATCH),
        ("sets.contains(task.labels, 'a')", Code.TYPE_MISMATCH),
        ("sets.contains([1], [1.0])", Code.TYPE_MISMATCH),
        ("[1].join() == ''", Code.TYPE_MISMATCH),
        ("'a'.substring() == ''", Code.TYPE_MISMATCH),
        ("'a'.replace('a') == ''", Code.TYPE_MISMATCH),
        ("'a'.indexOf('a', 0, 1) == 0", Code.TYPE_MISMATCH),
        ("[1] + ['a'] == [1]", Code.TYPE_MISMATCH),
    ],
)
def test_what_is_wrong_is_reported_once(text: str, code: Code) -> None:
    assert problems_of(text) == [code]


# Sizes: checked before anything is made.


@each("text", ["text.split(',')", "text.split(',', -1)", "text.split(',', 99999)"])
def test_a_text_is_split_into_at_most_10000_parts(text: str) -> None:
    fits, more = "," * (MAX_LIST - 1), "," * MAX_LIST
    assert value_of(f"facts.{text}.size()", text=fits) == MAX_LIST
    assert value_of(f"facts.{text}.size()", text=more) == FAILURE
    assert value_of("facts.text.split(',', 3).size()", text=more) == 3


def test_a_text_is_split_into_at_most_10000_characters() -> None:
    assert value_of("facts.text.split('').size()", text="é" * MAX_LIST) == MAX_LIST
    assert value_of("facts.text.split('').size()", text="é" * (MAX_LIST + 1)) == FAILURE
    assert value_of("facts.text.split('', 2)[1].size()", text="é" * (MAX_LIST + 1)) == MAX_LIST


@each("more", [0, 1])
@each("text", ["names.join()", "names.join('')", "text.replace('b', 'cc')", "text.lowerAscii()"])
def test_a_text_that_is_made_has_at_most_65536_characters(text: str, more: int) -> None:
    half = "a" * (MAX_TEXT // 2)
    facts: dict[str, dict[str, Any]] = {
        "names.join()": {"names": [half, half + "a" * more]},
        "names.join('')": {"names": [half, half + "a" * more]},
        "text.replace('b', 'cc')": {"text": "b" * (MAX_TEXT // 2) + "a" * more},
        "text.lowerAscii()": {"text": "A" * (MAX_TEXT + more)},
    }
    wanted = FAILURE if more else MAX_TEXT
    assert value_of(f"facts.{text}.size()", **facts[text]) == wanted


def test_separators_count() -> None:
    names = ["a"] * MAX_LIST
    assert value_of("facts.names.join(',').size()", names=names) == 2 * MAX_LIST - 1
    assert value_of("facts.names.join('1234567').size()", names=names) == FAILURE


def test_what_does_not_fit_is_never_made() -> None:
    tracemalloc.start()
    try:
        long = "a" * MAX_TEXT
        assert value_of("facts.text.replace('', facts.text)", text=long) == FAILURE
        assert value_of("facts.names.join(facts.text)", text=long, names=[long] * 999) == FAILURE
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * MAX_TEXT


def test_sets_are_compared_in_time_that_grows_with_their_sum() -> None:
    names = [f"{number}" for number in range(MAX_LIST)]
    start = time.process_time()
    assert value_of("sets.contains(facts.names, facts.names)", names=names) is True
    assert value_of("sets.intersects(facts.names, ['a'] + task.labels)", names=names) is False
    assert time.process_time() - start < 1, "comparing each with each takes several seconds"


# A bound value is worked out once.


def test_a_bound_value_spends_its_budget_once() -> None:
    names = [""] * (MAX_ELEMENTS * 3 // 5)
    twice = "cel.bind(sizes, facts.names.map(name, size(name)), sizes == sizes && sizes[0] == 0)"
    assert value_of(twice, names=names) is True
    apart = "facts.names.map(name, size(name)) == facts.names.map(name, size(name))"
    assert value_of(apart, names=names) == FAILURE


def test_a_bound_value_that_fails_is_tried_once() -> None:
    fails = "facts.names.map(name, 1 / size(name))[0]"
    asked = "x == 1 || x == 2 || x == 3 || x == 4 || true"
    names = ["a"] * (MAX_ELEMENTS * 3 // 10) + [""]
    assert value_of(f"cel.bind(x, {fails}, {asked})", names=names) is True
    assert value_of(asked.replace("x", fails), names=names) == FAILURE


def test_a_bound_value_in_a_loop_is_that_of_each_element() -> None:
    text = "facts.names.map(name, cel.bind(half, name + '-', facts.names.map(it, half + it)))"
    assert value_of(f"{text}[1][0]", names=["a", "b"]) == "b-a"


# Simplification.


@each(
    ("text", "rest"),
    [
        ("cel.bind(x, 'a', task.kind == x + 'b')", 'task.kind == "ab"'),
        ("cel.bind(x, task.kind, x == 'a' || x == 'b')", 'task.kind == "a" || task.kind == "b"'),
        ("cel.bind(x, 1 / 0, task.kind == 'a')", 'task.kind == "a"'),
        ("cel.bind(x, size(task.kind), 1 < 2 || x > 1)", "true"),
        ("cel.bind(x, ['a', 'b'], task.kind in x)", 'task.kind in ["a", "b"]'),
        ("cel.bind(x, facts.text, x == 'a' || 1 > 2)", 'facts.text == "a"'),
        ("cel.bind(x, size(facts.text), x > 1 || 1 > 2)", "cel.bind(x, size(facts.text), x > 1)"),
        ("'A,B'.lowerAscii().split(',') == task.labels", '["a", "b"] == task.labels'),
        ("math.greatest(1, 2, 3) > task.index", "3 > task.index"),
        ("sets.intersects(['a'], ['a', 'b']) && task.index > 1", "task.index > 1"),
    ],
)
def test_what_is_constant_is_worked_out(text: str, rest: str) -> None:
    assert render(simplified(tree_of(text), {})) == rest


def test_what_is_known_is_written_into_a_bound_value_and_its_body() -> None:
    tree = tree_of("cel.bind(x, facts.text, x in task.labels && facts.text != caller.team)")
    known = {"facts.text": literal("eu"), "task.labels": strings(("eu", "us"))}
    assert render(simplified(tree, known)) == '"eu" != caller.team'


def test_a_bound_name_of_a_fact_is_looked_up_by_it() -> None:
    tree = simplified(tree_of("cel.bind(kind, task.kind, kind in ['a', 'b'])"), {})
    key = key_of(tree, frozenset({"task.kind"}))
    assert key is not None
    assert (key.path, sorted(key.values)) == ("task.kind", ["a", "b"])


def test_a_condition_that_may_use_up_its_budget_keeps_its_bound_names() -> None:
    text = "cel.bind(parts, facts.text.split(','), parts.exists(part, part == facts.text))"
    rest = simplified(tree_of(text), {"facts.text": literal("a")})
    assert any(isinstance(part, Bind) for part in walk(rest))
    assert PRODUCT.compile(rest).evaluate(PRODUCT.bind({})) is True


# Explanation.

POLICY = """
model: small
pool:
  - {model: small, provider: main}
  - model: large
    provider: main
    pick: 'cel.bind(part, caller.team.lowerAscii().split("-")[0], part == "ops" && %s)'
precedence: delegation
"""


def explained(condition: str) -> str:
    """Return why the large model is not selected."""
    policy = loads(POLICY % condition)
    record = decide(policy, {"caller": {"team": "Ops-eu"}}, now="2026-01-31T09:00:00Z")
    return str(explain(policy, record, why_not="large"))


def test_an_explanation_shows_the_bound_value_and_the_parts_of_the_body() -> None:
    text = " ".join(explained("task.index > 1").split())
    assert 'caller.team.lowerAscii().split("-")[0] "ops" caller.team = "Ops-eu"' in text
    assert 'part == "ops" true part = "ops"' in text
    assert "task.index > 1 false task.index = 0" in text


def test_an_explanation_shows_a_bucket_of_a_bound_name() -> None:
    text = " ".join(explained('bucket("salt", part) > 99').split())
    assert 'bucket("salt", part) = 75' in text
