"""Laws of the engine on Google's library."""

from __future__ import annotations

import datetime
import enum
import gc
import hashlib
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("cel_expr_python")

from policy_router.expressions import syntax
from policy_router.expressions.cel_expr import CelExpr
from policy_router.expressions.checker import check
from policy_router.expressions.engine import FAILURE, Outcome, Truth, truth
from policy_router.expressions.tree import (
    BOOL,
    DOUBLE,
    DURATION,
    INT,
    STRING,
    STRINGS,
    TIMESTAMP,
    Apply,
    Attribute,
    ListOf,
    Literal,
    Node,
    Present,
    Type,
)
from policy_router.expressions.vocabulary import Name, Vocabulary

ENGINE = CelExpr()
SECRET = "hunter2-the-planted-secret"  # noqa: S105 - the very opposite of one
LONE_SURROGATE = "\ud800"
EXACT_TYPES = {bool, int, float, str, list, datetime.datetime, datetime.timedelta}

VOCABULARY = Vocabulary.of(
    [
        *(Name(f"facts.{name}", BOOL) for name in ("yes", "no")),
        *(Name(f"facts.{name}", INT) for name in ("zero", "number")),
        *(Name(f"facts.{name}", STRING) for name in ("text", "key")),
        *(Name(f"facts.{name}", STRINGS) for name in ("names", "wanted")),
        Name("facts.double", DOUBLE),
        *(Name(f"facts.{name}", Type("list", INT)) for name in ("xs", "ys")),
        Name("facts.maybe", DOUBLE, optional=True),
        Name("target.name", STRING),
        Name("target.level", STRING),
        Name("target.price.input", DOUBLE, optional=True),
        Name("target.price.output", DOUBLE, optional=True),
        Name("now", TIMESTAMP),
    ]
)
TYPES = {
    bool: BOOL,
    int: INT,
    float: DOUBLE,
    str: STRING,
    list: STRINGS,
    datetime.datetime: TIMESTAMP,
    datetime.timedelta: DURATION,
}


def tree_of(text: str) -> Node:
    """Parse and check a text."""
    checked, problems = check(text, VOCABULARY)
    assert checked.node is not None, problems
    return checked.node


def name(path: str, type_: Type) -> Attribute:
    """Return the value of a name."""
    return Attribute(type_, 0, 0, path)


def literal(value: bool | float | str) -> Literal:  # noqa: FBT001
    """Return a constant."""
    return Literal(TYPES[type(value)], 0, 0, value)


def evaluated(tree: Node, **facts: Any) -> Outcome:
    """Evaluate a tree against facts."""
    return ENGINE.compile(tree).evaluate(ENGINE.bind(facts))


def value_of(text: str, /, **facts: Any) -> Outcome:
    """Evaluate a text against values under ``facts``."""
    return evaluated(tree_of(text), facts=facts)


values = st.one_of(
    st.booleans(),
    st.integers(-(2**64), 2**64),
    st.floats(),
    st.text(),
    st.none(),
    st.binary(),
    st.datetimes(),
    st.timedeltas(),
    st.just(LONE_SURROGATE),
)


@given(st.recursive(values, lambda v: st.lists(v, max_size=3)), st.sampled_from([*TYPES.values()]))
def test_binding_any_value_as_any_type_never_raises(value: object, type_: Type) -> None:
    outcome = evaluated(name("facts.value", type_), facts={"value": value})
    assert outcome is FAILURE or type(outcome) in EXACT_TYPES


def test_evaluating_without_a_proper_activation_fails() -> None:
    assert ENGINE.compile(name("now", TIMESTAMP)).evaluate(None) is FAILURE  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    [2**63, -(2**63) - 1, None, b"text", datetime.datetime(2026, 1, 1), {1, 2}, "a\0b"],  # noqa: DTZ001
)
@pytest.mark.parametrize("type_", [STRING, INT, TIMESTAMP, STRINGS])
def test_using_a_value_that_cel_does_not_have_fails(value: object, type_: Type) -> None:
    tree = name("facts.value", type_)
    assert evaluated(tree, facts={"value": value}) is FAILURE
    assert evaluated(tree, facts={"value": ["", value]}) is FAILURE
    assert evaluated(Present(BOOL, 0, 0, "facts.value"), facts={"value": value}) is True


@pytest.mark.parametrize("text", ["a\0b", LONE_SURROGATE])
def test_a_text_that_the_library_would_misread_is_an_error_like_any_other(text: str) -> None:
    assert value_of("facts.text == 'a'", text=text) is FAILURE
    assert value_of("facts.text == 'a' || true", text=text) is True
    assert value_of("'a' in facts.names && false", names=["b", text]) is False


class Word(enum.StrEnum):
    """A string that is more."""

    CODE = "code"


def test_a_value_of_a_subclass_is_its_plain_value() -> None:
    assert value_of("facts.text", text=Word.CODE) == "code"
    assert type(value_of("facts.text", text=Word.CODE)) is str
    assert value_of("facts.names", names=(Word.CODE, "x")) == ["code", "x"]


HOSTILE = [
    "facts.text == facts.key",
    "facts.text + facts.key",
    "int(facts.text) == 1",
    "double(facts.text) == 1.0",
    "timestamp(facts.text) > now",
    "duration(facts.text) > duration('1s')",
    "facts.names[5] == facts.text",
    "facts.names.map(x, int(x))",
    "facts.names.all(x, timestamp(x) < now)",
    "bucket(facts.text, facts.key)",
    "facts.text.matches('^h(a|b)*$')",
    "facts.number / facts.zero == 1",
]


def test_nothing_is_logged_or_printed_whatever_happens(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    for text in HOSTILE:
        program = ENGINE.compile(tree_of(text))
        program.evaluate(ENGINE.bind({}))
        program.evaluate(ENGINE.bind({"facts": {"text": 5, "key": SECRET, "names": SECRET}}))
        program.evaluate(
            ENGINE.bind({"facts": {"text": SECRET, "key": LONE_SURROGATE, "names": [SECRET]}})
        )
    ENGINE.compile(Apply(BOOL, 0, 0, "+", (literal(SECRET), literal(value=True))))
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


HOST = f"""
import logging, sys
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
from policy_router.expressions import syntax
from policy_router.expressions.cel_expr import CelExpr
from policy_router.expressions.tree import BOOL, INT, STRING, Apply, Attribute
engine = CelExpr()
fact = Attribute(STRING, 0, 0, "facts.text")
facts = engine.bind({{"facts": {{"text": "{SECRET}"}}}})
for function in ("int", "double", "timestamp", "duration", "size", "nonsense"):
    engine.compile(Apply(INT, 0, 0, function, (fact,))).evaluate(facts)
engine.compile(Apply(BOOL, 0, 0, "matches", (fact, fact))).evaluate(facts)
print("limit", sys.getrecursionlimit())
"""


def test_a_host_with_all_logs_on_sees_no_fact_and_no_changed_setting() -> None:
    run = subprocess.run(  # noqa: S603
        [sys.executable, "-c", HOST],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (run.stdout, run.stderr) == ("limit 1000\n", "")


def test_threads_share_a_program_and_get_their_own_answers() -> None:
    program = ENGINE.compile(tree_of("facts.wanted.filter(x, facts.names.exists(y, y == x))"))

    def work(thread: int) -> bool:
        for turn in range(500):
            names, wanted = [str(thread), f"t{turn}"], [*map(str, range(8))]
            facts = ENGINE.bind({"facts": {"names": names, "wanted": wanted}})
            if program.evaluate(facts) != [str(thread)]:
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_threads_share_facts_and_compile_at_the_same_time() -> None:
    facts = ENGINE.bind({"facts": {"number": 7, "maybe": 1.5}})

    def work(thread: int) -> bool:
        for turn in range(50):
            program = ENGINE.compile(tree_of(f"has(facts.maybe) && facts.number == {turn}"))
            if program.evaluate(facts) is not (turn == 7):
                return False
        return thread >= 0

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def resident() -> int:
    """Return the memory in use, in pages; where the system tells."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[1])


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux")  # noqa: PTH110
def test_evaluating_again_and_again_takes_no_memory() -> None:
    program = ENGINE.compile(tree_of("(facts.text + facts.text).contains('b')"))
    facts = ENGINE.bind({"facts": {"text": "a" * 4096}})
    before = resident()
    for _ in range(20_000):
        program.evaluate(facts)
    gc.collect()
    assert resident() - before < 2_000  # of 4096 bytes each; a leak would be 40,000


def test_evaluating_under_a_stack_that_is_full_never_raises() -> None:
    program = ENGINE.compile(tree_of("facts.number == 1"))
    facts = ENGINE.bind({"facts": {"number": 1}})

    def descend() -> Outcome:
        try:
            return descend()
        except RecursionError:
            return program.evaluate(facts)

    assert descend() in {True, FAILURE}


@pytest.mark.parametrize("deep", [150, 5_000])
def test_a_tree_that_is_too_deep_fails(deep: int) -> None:
    tree: Node = literal(value=True)
    for _ in range(deep):
        tree = Apply(BOOL, 0, 0, "==", (tree, literal(value=True)))
    assert evaluated(tree) is FAILURE


WRAPS: dict[str, tuple[str, Callable[[str], str]]] = {
    "not": ("facts.yes", lambda text: f"!{text}"),
    "plus": ("facts.zero", lambda text: f"{text} + facts.zero"),
    "plus, right": ("facts.zero", lambda text: f"facts.zero + ({text})"),
    "equal": ("facts.yes", lambda text: f"{text} == facts.yes"),
    "choice": ("facts.yes", lambda text: f"facts.no ? facts.yes : {text}"),
    "condition": ("facts.yes", lambda text: f"({text}) ? facts.yes : facts.no"),
    "logic": ("facts.yes", lambda text: f"facts.yes && (facts.no || ({text}))"),
    "list": ("facts.zero", lambda text: f"size([{text}])"),
    "element": ("facts.zero", lambda text: f"[{text}][0]"),
    "call": ("facts.zero", lambda text: f"int({text})"),
    "method": ("facts.zero", lambda text: f"string({text}).size()"),
}


@pytest.mark.parametrize("wrap", WRAPS)
def test_30_levels_compile_and_evaluate_even_in_a_list(
    wrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syntax, "MAX_DEPTH", 30)
    facts = {"facts": {"yes": True, "no": False, "zero": 0}}
    text, level = WRAPS[wrap]
    while tree := check(text, VOCABULARY)[0].node:
        outcome = evaluated(tree, **facts)
        assert outcome is not FAILURE
        fused = ListOf(Type("list", tree.type), 0, 0, (tree, tree))
        assert evaluated(fused, **facts) == [outcome, outcome]
        text = level(text)


@pytest.mark.parametrize("function", ["||", "&&"])
@pytest.mark.parametrize("operands", [1, 2, 3, 500])
def test_logic_takes_any_number_of_operands(function: str, operands: int) -> None:
    decisive, other = literal(value=function == "||"), literal(value=function != "||")
    few = [other] * (operands - 1)
    failing = tree_of("1 / facts.zero == 1")

    def joined(*nodes: Node) -> Outcome:
        return evaluated(Apply(BOOL, 0, 0, function, nodes), facts={"zero": 0})

    assert joined(*few, other) is other.value
    assert joined(*few, decisive) is decisive.value
    assert joined(*few, failing) is FAILURE
    assert joined(failing, *few, decisive) is decisive.value


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        ("facts.xs.all(x, true)", (9_999, 0), (10_000, 0)),
        ("size(facts.xs.filter(x, false)) == 0", (9_999, 0), (10_000, 0)),
        ("facts.xs.all(x, true) && facts.ys.all(y, true)", (5_000, 4_999), (5_000, 5_000)),
        ("facts.xs.all(x, facts.ys.all(y, true))", (100, 98), (100, 99)),
    ],
)
def test_macros_share_one_budget(text: str, good: tuple[int, int], bad: tuple[int, int]) -> None:
    for (xs, ys), expected in ((good, True), (bad, FAILURE)):
        assert value_of(text, xs=list(range(xs)), ys=list(range(ys))) is expected


def test_a_list_of_conditions_comes_to_their_truths_or_fails_as_a_whole() -> None:
    items = tuple(tree_of(f"facts.number == {number}") for number in range(50))
    fused = ListOf(Type("list", BOOL), 0, 0, items)
    assert evaluated(fused, facts={"number": 7}) == [number == 7 for number in range(50)]
    failing = ListOf(fused.type, 0, 0, (*items, tree_of("1 / facts.zero == 1")))
    assert evaluated(failing, facts={"number": 7, "zero": 0}) is FAILURE


def test_a_text_past_the_limit_of_the_library_fails() -> None:
    items = tuple(literal(value=True) for _ in range(20_000))
    assert evaluated(ListOf(Type("list", BOOL), 0, 0, items)) is FAILURE


def test_a_string_that_reads_like_an_error_is_a_string() -> None:
    text = "INVALID_ARGUMENT: divide by zero"
    assert value_of("facts.text", text=text) == text
    assert value_of("string(1 / facts.zero)", zero=0) is FAILURE


@pytest.mark.parametrize("word", ["for", "let", "while", "package", "has", "size", "x_"])
def test_a_loop_variable_may_have_a_name_that_google_reserves(word: str) -> None:
    text = f"facts.xs.map({word}, {word} + 1)"
    assert value_of(text, xs=[1, 2]) == [2, 3]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_a_bucket_is_the_digest_modulo_100(key: str) -> None:
    digest = hashlib.sha256(b"r1-canary\0" + key.encode()).hexdigest()
    assert value_of("bucket('r1-canary', facts.key)", key=key) == int(digest, 16) % 100


@pytest.mark.parametrize(
    "value",
    [
        True,
        7,
        -(2**63),
        2.5,
        float("inf"),
        "text",
        "é😀\u2028",
        ["a", "b"],
        [],
        datetime.datetime(2026, 11, 22, 11, 33, 0, 5, tzinfo=datetime.UTC),
        datetime.datetime.min.replace(tzinfo=datetime.UTC),
        datetime.datetime.max.replace(tzinfo=datetime.UTC),
        datetime.timedelta(days=-1, microseconds=1),
    ],
)
def test_a_value_comes_out_as_it_went_in(value: object) -> None:
    outcome = evaluated(name("facts.value", TYPES[type(value)]), facts={"value": value})
    assert outcome == value
    assert type(outcome) is type(value)


@given(st.datetimes(timezones=st.just(datetime.UTC)))
def test_any_time_comes_out_to_the_microsecond(moment: datetime.datetime) -> None:
    assert evaluated(name("now", TIMESTAMP), now=moment) == moment


def test_a_time_comes_out_in_utc() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=2))
    outcome = evaluated(name("now", TIMESTAMP), now=datetime.datetime(2026, 7, 1, 1, tzinfo=zone))
    assert str(outcome) == "2026-06-30 23:00:00+00:00"


def test_an_absent_name_is_not_present_and_fails_when_used() -> None:
    facts = {"target": {"price": {"input": 1.5}}}
    for path, there in [
        ("target.price.input", True),
        ("target.price.output", False),
        ("facts.maybe", False),
    ]:
        assert evaluated(Present(BOOL, 0, 0, path), **facts) is there
        assert (evaluated(name(path, DOUBLE), **facts) is FAILURE) is not there


def test_extending_facts_replaces_whole_roots_and_leaves_the_original() -> None:
    now = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)
    facts = ENGINE.bind({"target": {"name": "a", "level": "pool"}, "now": now})
    other = facts.extended({"target": {"name": "b"}})
    program = ENGINE.compile(tree_of("target.name"))
    assert (program.evaluate(facts), program.evaluate(other)) == ("a", "b")
    other = facts.extended({"target": {"name": "b"}})
    assert (program.evaluate(facts), program.evaluate(other)) == ("a", "b")
    level = ENGINE.compile(Present(BOOL, 0, 0, "target.level"))
    assert (level.evaluate(facts), level.evaluate(other)) == (True, False)
    assert ENGINE.compile(tree_of("now")).evaluate(other) == now


def test_truth_tells_errors_from_values() -> None:
    facts = ENGINE.bind({"facts": {"zero": 0}})
    for text, expected in [
        ("true", Truth.TRUE),
        ("facts.zero != 0", Truth.FALSE),
        ("1 / facts.zero == 1", Truth.ERROR),
    ]:
        assert truth(ENGINE.compile(tree_of(text)), facts) is expected


def test_the_name_holds_library_and_version() -> None:
    library, version = ENGINE.name.split(" ")
    assert library == "cel-expr-python"
    assert version.startswith("0.1.")
