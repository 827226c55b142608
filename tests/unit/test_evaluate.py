"""Laws of the cel-python engine that need no parser: trees are built by hand."""

from __future__ import annotations

import datetime
import hashlib
import inspect
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
from policy_router.expressions.cel_python import CelPython
from policy_router.expressions.engine import FAILURE, Outcome, Truth, truth

from policy_router.expressions.tree import (
    BOOL,
    Apply,
    Attribute,
    ListOf,
    Literal,
    Loop,
    LoopVariable,
    Node,
    Present,
)

ENGINE = CelPython()
SECRET = "hunter2-the-planted-secret"  # noqa: S105 - the very opposite of one
LONE_SURROGATE = "\ud800"
EXACT_TYPES = {bool, int, float, str, list, datetime.datetime, datetime.timedelta}


def literal(value: bool | float | str) -> Literal:  # noqa: FBT001
    """Return a constant."""
    return Literal(BOOL, 0, 0, value)


def name(path: str) -> Attribute:
    """Return the value of a name."""
    return Attribute(BOOL, 0, 0, path)


def present(path: str) -> Present:
    """Return ``has(path)``."""
    return Present(BOOL, 0, 0, path)


def element(variable: str = "x") -> LoopVariable:
    """Return the element that a loop looks at."""
    return LoopVariable(BOOL, 0, 0, variable)


def apply(function: str, *arguments: Node) -> Apply:
    """Return a function, applied."""
    return Apply(BOOL, 0, 0, function, arguments)


def list_of(*items: Node) -> ListOf:
    """Return a list literal."""
    return ListOf(BOOL, 0, 0, items)


def loop(macro: str, source: Node, body: Node, variable: str = "x") -> Loop:
    """Return a macro, applied."""
    return Loop(BOOL, 0, 0, macro, variable, source, body)


def value_of(tree: Node, **facts: Any) -> Outcome:
    """Evaluate a tree against facts."""
    return ENGINE.compile(tree).evaluate(ENGINE.bind(facts))


NO = literal(value=False)
DIVISION_BY_ZERO = apply("/", literal(1), name("facts.zero"))

OPERATORS = ["!", "neg", "==", "!=", "<", "<=", ">", ">=", "in", "+", "-", "*", "/", "%", "[]"]
LOGIC = ["&&", "||", "?:"]
FUNCTIONS = [
    *["size", "startsWith", "endsWith", "contains", "int", "double", "string", "timestamp"],
    *["duration", "bucket", "getFullYear", "getMonth", "getDate", "getDayOfMonth", "getHours"],
    *["getDayOfWeek", "getDayOfYear", "getMinutes", "getSeconds", "getMilliseconds"],
]
MACROS = ["all", "exists", "exists_one", "filter", "map"]
PATHS = ["facts.text", "facts.number", "facts.names", "facts.absent", "now", "nothing.here"]
FACTS = {
    "facts": {"text": SECRET, "number": 2.5, "names": [SECRET, ""], "zero": 0},
    "now": datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC),
}

values = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(),
    st.sampled_from([LONE_SURROGATE, "1.5h", "2026-11-22T11:33:00Z", "+02:00", "Europe"]),
)
leaves: st.SearchStrategy[Node] = st.one_of(
    values.map(literal),
    st.sampled_from(PATHS).map(name),
    st.sampled_from(PATHS).map(present),
    st.just(element()),
)


def branches(trees: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    """Return trees one level deeper, most of them of wrong types."""
    arguments = st.lists(trees, min_size=1, max_size=3)
    return st.one_of(
        st.builds(lambda f, a: apply(f, *a), st.sampled_from([*OPERATORS, *FUNCTIONS]), arguments),
        st.builds(lambda f, a: apply(f, *a), st.sampled_from(LOGIC[:2]), arguments),
        st.builds(apply, st.just("?:"), trees, trees, trees),
        arguments.map(lambda items: list_of(*items)),
        st.builds(loop, st.sampled_from(MACROS), trees, trees),
    )


any_tree = st.recursive(leaves, branches, max_leaves=12)


def assert_plain(outcome: Any) -> None:
    """Check that nothing of celpy is in an outcome."""
    assert type(outcome) in EXACT_TYPES
    if isinstance(outcome, list):
        for item in outcome:
            assert_plain(item)


@given(any_tree)
def test_evaluating_any_tree_never_raises_and_gives_plain_values(tree: Node) -> None:
    outcome = value_of(tree, **FACTS)
    if outcome is not FAILURE:
        assert_plain(outcome)


@given(st.recursive(values | st.none() | st.binary(), lambda v: st.lists(v, max_size=3)))
def test_binding_any_value_never_raises(value: object) -> None:
    outcome = value_of(name("facts.value"), facts={"value": value})
    if outcome is not FAILURE:
        assert_plain(outcome)


def test_evaluating_without_a_proper_activation_fails() -> None:
    assert ENGINE.compile(name("now")).evaluate(None) is FAILURE  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    [2**63, -(2**63) - 1, None, b"bytes", datetime.datetime(2026, 1, 1), {1, 2}],  # noqa: DTZ001
)
def test_using_a_value_that_cel_does_not_have_fails(value: object) -> None:
    assert value_of(name("facts.value"), facts={"value": value}) is FAILURE


def test_nothing_is_logged_or_printed_whatever_happens(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    for tree in [
        *(apply(function, name("facts.text")) for function in [*OPERATORS, *FUNCTIONS]),
        *(apply(f, name("facts.text"), name("facts.names")) for f in [*OPERATORS, *FUNCTIONS]),
        *(apply(f, name("facts.text"), name("facts.text")) for f in [*OPERATORS, *LOGIC[:2]]),
        *(loop(m, name("facts.names"), apply("+", element(), literal(1))) for m in MACROS),
        apply("?:", literal(value=True), name("facts.text"), name("facts.names")),
        apply("!", apply("in", name("facts.text"), name("facts.names"))),
        apply("matches", name("facts.text"), literal("^h")),
        name("undeclared"),
    ]:
        value_of(tree, **FACTS)
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


HOST = f"""
import logging, sys
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
from policy_router.expressions.cel_python import CelPython
from policy_router.expressions.tree import BOOL, Apply, Attribute, Literal
import celpy
engine = CelPython()
fact = Attribute(BOOL, 0, 0, "facts.text")
for function in ("in", "==", "int", "!", "&&", "size"):
    program = engine.compile(Apply(BOOL, 0, 0, function, (fact, fact)))
    program.evaluate(engine.bind({{"facts": {{"text": "{SECRET}"}}}}))
print("limit", sys.getrecursionlimit(), "parser", celpy.CELParser.CEL_PARSER)
"""


def test_a_host_with_all_logs_on_sees_no_fact_and_no_changed_setting() -> None:
    run = subprocess.run(  # noqa: S603
        [sys.executable, "-c", HOST],
        env={**os.environ, "CEL_TRACE": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert SECRET not in run.stdout + run.stderr
    assert run.stdout.endswith("limit 1000 parser None\n")


def test_threads_share_a_program_and_get_their_own_answers() -> None:
    inner = loop("exists", name("facts.names"), apply("==", element("y"), element()), "y")
    program = ENGINE.compile(loop("filter", name("facts.wanted"), inner))

    def work(thread: int) -> bool:
        names = [str(thread), "x"]
        facts = ENGINE.bind({"facts": {"names": names, "wanted": [*map(str, range(8))]}})
        return all(program.evaluate(facts) == [str(thread)] for _ in range(500))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def frames_in_use() -> int:
    """Return how deep the stack is."""
    frame, count = inspect.currentframe(), 0
    while frame:
        frame, count = frame.f_back, count + 1
    return count


def under(frames: int, call: Callable[[], Outcome]) -> Outcome:
    """Call a function with at least so many frames in use."""

    def descend(missing: int) -> Outcome:
        return descend(missing - 1) if missing > 0 else call()

    return descend(frames - frames_in_use())


def nested(levels: int, wrap: Callable[[Node], Node], inmost: Node) -> Node:
    """Return a tree of so many levels."""
    for _ in range(levels):
        inmost = wrap(inmost)
    return inmost


@pytest.mark.parametrize(
    ("wrap", "inmost", "expected"),
    [
        (lambda tree: apply("!", tree), literal(value=True), True),
        (lambda tree: apply("neg", tree), literal(1), 1),
        (lambda tree: apply("+", literal(1), tree), literal(1), 33),
        (lambda tree: apply("?:", tree, literal(value=True), NO), literal(value=True), True),
        (lambda tree: apply("?:", NO, literal(1), tree), literal(7), 7),
        (lambda tree: apply("||", NO, apply("&&", literal(value=True), tree)), NO, False),
        (lambda tree: apply("size", list_of(tree)), name("facts.zero"), 1),
        (lambda tree: loop("map", list_of(name("facts.zero")), tree), literal(1), None),
        (lambda tree: loop("exists", list_of(literal(1)), tree), literal(value=True), True),
    ],
)
def test_32_levels_evaluate_under_a_host_with_400_frames(
    wrap: Callable[[Node], Node], inmost: Node, expected: Outcome | None
) -> None:
    program = ENGINE.compile(nested(32, wrap, inmost))
    facts = ENGINE.bind({"facts": {"zero": 0}})
    outcome = under(400, lambda: program.evaluate(facts))
    assert outcome is not FAILURE
    assert expected is None or outcome == expected


def test_a_tree_that_is_too_deep_fails() -> None:
    program = ENGINE.compile(nested(150, lambda tree: apply("!", tree), literal(value=True)))
    frames = sys.getrecursionlimit() - 150
    assert under(frames, lambda: program.evaluate(ENGINE.bind({}))) is FAILURE


@pytest.mark.parametrize("function", ["||", "&&"])
def test_a_chain_of_500_operands_is_not_deep(function: str) -> None:
    last = apply("==", name("facts.zero"), literal(0 if function == "||" else 1))
    middle: Node = apply("==", name("facts.zero"), literal(1 if function == "||" else 0))
    chain = middle
    for _ in range(498):
        chain = apply(function, chain, middle)
    program = ENGINE.compile(apply(function, chain, last))
    facts = ENGINE.bind({"facts": {"zero": 0}})
    outcome = under(sys.getrecursionlimit() - 50, lambda: program.evaluate(facts))
    assert outcome is (function == "||")


@pytest.mark.parametrize("function", ["||", "&&"])
@pytest.mark.parametrize("operands", [1, 2, 3, 500])
def test_logic_takes_any_number_of_operands(function: str, operands: int) -> None:
    decisive = literal(value=function == "||")
    other = literal(value=function != "||")
    few = [other] * (operands - 1)
    assert value_of(apply(function, *few, other)) is other.value
    assert value_of(apply(function, *few, decisive)) is decisive.value
    facts = {"zero": 0}
    assert value_of(apply(function, *few, DIVISION_BY_ZERO), facts=facts) is FAILURE
    assert (
        value_of(apply(function, DIVISION_BY_ZERO, *few, decisive), facts=facts) is decisive.value
    )


# How far macros may walk. The numbers are those at which Google's engine (cel-expr-python 0.1.3)
# begins to fail: it counts the element that a loop would look at next, too.

XS, YS = name("facts.xs"), name("facts.ys")
YES = literal(value=True)
EVERY_Y = loop("all", YS, apply(">=", element("y"), literal(0)), "y")
WALKS = {
    "all": loop("all", XS, YES),
    "exists": loop("exists", XS, NO),
    "exists_one": loop("exists_one", XS, NO),
    "filter": apply("==", apply("size", loop("filter", XS, NO)), literal(0)),
    "map": apply(">", apply("size", loop("map", XS, literal(1))), literal(0)),
    "errors": apply("||", loop("exists", XS, DIVISION_BY_ZERO), YES),
    "errors in a map": apply("||", loop("exists", loop("map", XS, DIVISION_BY_ZERO), NO), YES),
}


def walked(tree: Node, xs: int, ys: int = 0) -> Outcome:
    """Evaluate a tree that walks lists of so many elements."""
    facts = {"zero": 0, "xs": list(range(xs)), "ys": list(range(ys))}
    return value_of(tree, facts=facts)


@pytest.mark.parametrize("walk", WALKS)
def test_one_loop_walks_fewer_than_10000_elements(walk: str) -> None:
    assert walked(WALKS[walk], 9_999) is not FAILURE
    assert walked(WALKS[walk], 10_000) is FAILURE
    assert walked(WALKS[walk], 20_000) is FAILURE


@pytest.mark.parametrize("macro", ["exists", "all"])
def test_a_loop_that_ends_early_has_walked_to_the_next_element(macro: str) -> None:
    def walk_to(last: int) -> Outcome:
        function = "==" if macro == "exists" else "!="
        return walked(loop(macro, XS, apply(function, element(), literal(last))), 20_000)

    assert walk_to(9_997) is (macro == "exists")
    assert walk_to(9_998) is FAILURE


@pytest.mark.parametrize(
    ("tree", "good", "bad"),
    [
        (apply("&&", WALKS["all"], EVERY_Y), (5_000, 4_999), (5_000, 5_000)),
        (apply("&&", WALKS["all"], EVERY_Y), (9_999, 0), (9_999, 1)),
        (loop("all", XS, EVERY_Y), (100, 98), (100, 99)),
        (loop("all", XS, EVERY_Y), (3, 3_332), (3, 3_333)),
        (loop("all", XS, EVERY_Y), (9_999, 0), (10_000, 0)),
        (loop("all", loop("map", XS, element()), YES), (4_999, 0), (5_000, 0)),
        (
            loop("all", XS, loop("exists", list_of(NO, YES, NO), element("z"), "z")),
            (2_499, 0),
            (2_500, 0),
        ),
    ],
)
def test_loops_share_one_budget(tree: Node, good: tuple[int, int], bad: tuple[int, int]) -> None:
    assert walked(tree, *good) is True
    assert walked(tree, *bad) is FAILURE


def test_nothing_makes_up_for_walking_too_far() -> None:
    assert walked(apply("||", WALKS["all"], YES), 10_000) is FAILURE
    assert walked(apply("||", YES, WALKS["all"]), 10_000) is True
    assert walked(apply("&&", NO, WALKS["all"]), 10_000) is False


def test_each_evaluation_has_a_budget_of_its_own() -> None:
    program = ENGINE.compile(WALKS["all"])
    facts = ENGINE.bind({"facts": {"xs": list(range(9_999))}})
    with ThreadPoolExecutor(4) as pool:
        assert all(outcome is True for outcome in pool.map(program.evaluate, [facts] * 12))


def test_a_lone_surrogate_fails_where_bytes_are_needed_and_only_there() -> None:
    facts = {"facts": {"text": LONE_SURROGATE}}
    text = name("facts.text")
    assert value_of(apply("bucket", literal("salt"), text), **facts) is FAILURE
    assert value_of(apply("bucket", text, literal("key")), **facts) is FAILURE
    assert value_of(apply("matches", text, literal(".")), **facts) is FAILURE
    assert value_of(apply("==", text, literal(LONE_SURROGATE)), **facts) is True
    assert value_of(apply("size", text), **facts) == 1


@pytest.mark.parametrize("function", ["int", "double", "timestamp", "duration"])
@pytest.mark.parametrize("text", ["1" * 100_000 + "x", " " * 100_000 + "x", "0x" + "f" * 100_000])
def test_reading_a_long_wrong_text_takes_no_time(function: str, text: str) -> None:
    outcome = value_of(apply(function, name("facts.text")), facts={"text": text})
    assert outcome is FAILURE or outcome == float("inf")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_bucket_is_the_digest_modulo_100(key: str) -> None:
    digest = hashlib.sha256(b"r1-canary\0" + key.encode()).hexdigest()
    tree = apply("bucket", literal("r1-canary"), name("caller.id"))
    assert value_of(tree, caller={"id": key}) == int(digest, 16) % 100


@pytest.mark.parametrize(
    "value",
    [
        True,
        7,
        2.5,
        "text",
        ["a", "b"],
        [],
        datetime.datetime(2026, 11, 22, 11, 33, 0, 5, tzinfo=datetime.UTC),
        datetime.datetime(1, 1, 1, tzinfo=datetime.UTC),
        datetime.timedelta(days=-1, microseconds=1),
    ],
)
def test_a_value_comes_out_as_it_went_in(value: object) -> None:
    outcome = value_of(name("facts.value"), facts={"value": value})
    assert outcome == value
    assert type(outcome) is type(value)


def test_a_time_comes_out_in_utc() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=2))
    outcome = value_of(name("now"), now=datetime.datetime(2026, 7, 1, 1, tzinfo=zone))
    assert str(outcome) == "2026-06-30 23:00:00+00:00"


def test_an_absent_name_is_not_present_and_fails_when_used() -> None:
    facts = {"target": {"price": {"input": 1.5}}}
    assert value_of(present("target.price.input"), **facts) is True
    assert value_of(present("target.price.output"), **facts) is False
    assert value_of(present("budget.spent_usd"), **facts) is False
    assert value_of(name("target.price.output"), **facts) is FAILURE
    assert value_of(apply("<", name("target.price.input"), literal(2.0)), **facts) is True


def test_facts_are_bound_by_value() -> None:
    values = {"facts": {"names": ["a"]}}
    facts = ENGINE.bind(values)
    values["facts"]["names"].append("b")
    assert ENGINE.compile(name("facts.names")).evaluate(facts) == ["a"]


def test_extending_facts_replaces_whole_roots_and_leaves_the_original() -> None:
    facts = ENGINE.bind({"target": {"name": "a", "level": "pool"}, "now": FACTS["now"]})
    other = facts.extended({"target": {"name": "b"}})
    program = ENGINE.compile(name("target.name"))
    assert (program.evaluate(facts), program.evaluate(other)) == ("a", "b")
    assert ENGINE.compile(present("target.level")).evaluate(other) is False
    assert ENGINE.compile(name("now")).evaluate(other) == FACTS["now"]


def test_truth_tells_errors_from_values() -> None:
    facts = ENGINE.bind({"facts": {"zero": 0}})
    for tree, expected in [
        (literal(value=True), Truth.TRUE),
        (literal(value=False), Truth.FALSE),
        (DIVISION_BY_ZERO, Truth.ERROR),
    ]:
        assert truth(ENGINE.compile(tree), facts) is expected


def test_the_name_holds_library_and_version() -> None:
    library, version = ENGINE.name.split(" ")
    assert library == "cel-python"
    assert version.startswith("0.5.")
