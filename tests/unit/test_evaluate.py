"""Laws of the evaluator that need no oracle: it never raises, and what an evaluation may cost."""

from __future__ import annotations

import datetime
import functools
import hashlib
import inspect
import logging
import os
import random
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_router.cel import planner
from policy_router.cel.ast import (
    BOOL,
    DOUBLE,
    DURATION,
    INT,
    STRING,
    STRINGS,
    TIMESTAMP,
    Apply,
    Attribute,
    Literal,
    Node,
    Present,
    Type,
)
from policy_router.cel.checker import check
from policy_router.cel.evaluate import Program, Truth
from policy_router.cel.frame import (
    MAX_ELEMENTS,
    MAX_ELEMENTS_OF_DECISION,
    Budget,
    Outcome,
    frame_of,
)
from policy_router.cel.operations import ERRORS
from policy_router.cel.texts import MAX_LIST, MAX_TEXT
from policy_router.cel.timestamps import Duration, Timestamp
from policy_router.cel.vocabulary import Name, Vocabulary
from tests.support import evaluating
from tests.support.evaluating import FAILURE
from tests.support.random_trees import Maker
from tests.support.rows import each

SECRET = "hunter2-the-planted-secret"  # noqa: S105 - the very opposite of one
LONE_SURROGATE = "\ud800"
EXACT_TYPES = {bool, int, float, str, tuple, Timestamp, Duration}
TYPES = {bool: BOOL, int: INT, float: DOUBLE, str: STRING, list: STRINGS}

VOCABULARY = Vocabulary.of(
    [
        *(Name(f"facts.{name}", BOOL) for name in ("yes", "no")),
        *(Name(f"facts.{name}", INT) for name in ("zero", "number")),
        *(Name(f"facts.{name}", STRING) for name in ("text", "key")),
        *(Name(f"facts.{name}", STRINGS) for name in ("names", "wanted")),
        Name("facts.double", DOUBLE),
        *(Name(f"facts.{name}", Type("list", INT)) for name in ("xs", "ys")),
        Name("facts.maybe", DOUBLE, optional=True),
        Name("target.price.input", DOUBLE, optional=True),
        Name("target.price.output", DOUBLE, optional=True),
        Name("now", TIMESTAMP),
    ]
)


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


def evaluated(tree: Node, **roots: Any) -> Outcome:
    """Evaluate a tree against plain values."""
    return Program(tree).evaluate(evaluating.frame(roots))


def value_of(text: str, /, **facts: Any) -> Outcome:
    """Evaluate a text against values under ``facts``."""
    return evaluated(tree_of(text), facts=facts)


# It never raises, and says nothing.


def assert_plain(outcome: Any) -> None:
    """Check that an outcome is a value of the evaluator, and no subclass of one."""
    assert type(outcome) in EXACT_TYPES
    if isinstance(outcome, tuple):
        for item in outcome:
            assert_plain(item)


@pytest.mark.parametrize("odd", ["", "\0", LONE_SURROGATE])
def test_evaluating_never_raises_and_gives_plain_values(odd: str) -> None:
    maker = Maker(random.Random(20261130))  # noqa: S311 - for variety, not for secrets
    for _ in range(1000):
        tree, facts = maker.tree(), maker.facts()
        if "string" in facts["facts"]:
            facts["facts"]["string"] += odd
            facts["facts"]["list_of_string"] = [odd, facts["facts"]["string"]]
        outcome = evaluated(tree, **facts)
        if outcome is not FAILURE:
            assert_plain(outcome)


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
    "facts.text.startsWith(facts.key) ? facts.names[0] : facts.text",
]


def test_nothing_is_logged_or_printed_whatever_happens(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    for text in HOSTILE:
        tree = tree_of(text)
        evaluated(tree)
        evaluated(tree, facts={"text": SECRET, "key": LONE_SURROGATE, "names": [SECRET]})
        evaluated(tree, facts={"text": SECRET, "key": SECRET, "names": [SECRET] * 6, "zero": 0})
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


HOST = f"""
import logging, sys
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
from policy_router import decide, loads
texts = [
    "int(facts.text) == 1", "facts.text.matches('^h(a|b)*$')", "[facts.text][1] == ''",
    "timestamp(facts.text) < now", "bucket(facts.text, facts.text) < 50",
]
for text in texts:
    policy = loads('{{facts: {{text: {{type: string}}}}, forbid: [{{when: "has(facts.text) && '
        + text + '"}}], model: m, provider: p}}')
    decide(policy, {{"facts": {{"text": "{SECRET}"}}}}, now="2026-01-31T09:00:00Z")
import celpy
print("limit", sys.getrecursionlimit(), "parser", celpy.CELParser.CEL_PARSER)
"""


@pytest.mark.slow
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


@pytest.mark.parametrize("problem", [MemoryError, RecursionError, TypeError, KeyboardInterrupt])
@pytest.mark.parametrize(
    "text",
    [
        "facts.text.contains('a')",
        "facts.text.contains('a') || true",
        "facts.text.contains('a') && false",
        "facts.names.exists(x, x.contains('a')) || true",
        "facts.names.map(x, x.contains('a')) == []",
    ],
)
def test_what_is_no_error_of_an_expression_is_never_an_outcome(
    monkeypatch: pytest.MonkeyPatch, problem: type[BaseException], text: str
) -> None:
    assert not issubclass(problem, ERRORS)

    def fail(*_: object) -> None:
        raise problem

    monkeypatch.setattr(planner, "operation", lambda *_: fail)
    frame = evaluating.frame({"facts": {"text": "a", "names": ["b"]}})
    with pytest.raises(problem):
        Program(tree_of(text)).evaluate(frame)


# Threads.


def test_threads_share_a_program_and_get_their_own_answers() -> None:
    program = Program(tree_of("facts.wanted.filter(x, facts.names.exists(y, y == x))"))

    def work(thread: int) -> bool:
        for turn in range(500):
            names, wanted = [str(thread), f"t{turn}"], [*map(str, range(8))]
            frame = evaluating.frame({"facts": {"names": names, "wanted": wanted}})
            if program.evaluate(frame) != (str(thread),):
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_threads_may_plan_the_same_program_at_the_same_time() -> None:
    def work(program: Program) -> bool:
        return program.evaluate(evaluating.frame({"facts": {"number": 7}})) is True

    for _ in range(50):
        program = Program(tree_of("facts.number == 7 && [1, 7].exists(x, x == facts.number)"))
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(work, [program] * 8))


# Depth.


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


WRAPS: dict[str, tuple[str, Callable[[str], str]]] = {
    "not": ("facts.yes", lambda text: f"!{text}"),
    "minus": ("facts.zero", lambda text: f"-{text}"),
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
    "macro": ("facts.yes", lambda text: f"[true].exists(x{len(text)}, {text})"),
    "macro's list": ("[true]", lambda text: f"{text}.map(x, x)"),
}


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.slow
def test_the_deepest_conditions_evaluate_under_a_host_with_400_frames(wrap: str) -> None:
    text, level = WRAPS[wrap]
    deepest: Node | None = None
    levels = 0
    while levels < 100 and (node := check(text, VOCABULARY)[0].node):
        deepest, levels, text = node, levels + 1, level(text)
    assert deepest is not None
    assert levels >= 3
    facts = {"facts": {"yes": True, "no": False, "zero": 0}}
    tree = deepest
    assert under(400, lambda: evaluated(tree, **facts)) is not FAILURE


@pytest.mark.parametrize("function", ["||", "&&"])
def test_a_chain_of_500_operands_is_not_deep(function: str) -> None:
    last, middle = (
        tree_of(f"facts.zero {sign} 0")
        for sign in (("==", "!=") if function == "||" else ("!=", "=="))
    )
    program = Program(Apply(BOOL, 0, 0, function, (*[middle] * 499, last)))
    frame = evaluating.frame({"facts": {"zero": 0}})
    outcome = under(sys.getrecursionlimit() - 60, lambda: program.evaluate(frame))
    assert outcome is (function == "||")


def test_a_chain_of_500_sums_or_choices_is_not_deep() -> None:
    sums: Node = name("facts.number", INT)
    choices: Node = literal(500)
    for number in reversed(range(500)):
        sums = Apply(INT, 0, 0, "+", (sums, literal(1)))
        condition = Apply(BOOL, 0, 0, "==", (name("facts.number", INT), literal(number)))
        choices = Apply(INT, 0, 0, "?:", (condition, literal(number), choices))
    for tree, expected in ((sums, 1000), (choices, 500)):
        program, frame = Program(tree), evaluating.frame({"facts": {"number": 500}})
        run = functools.partial(program.evaluate, frame)
        assert under(sys.getrecursionlimit() - 60, run) == expected


def test_a_stack_that_is_full_is_no_outcome() -> None:
    program, frame = Program(tree_of("facts.yes || !facts.yes")), evaluating.frame({"facts": {}})

    def descend() -> Outcome:
        return descend() if frames_left() > 3 else program.evaluate(frame)

    def frames_left() -> int:
        return sys.getrecursionlimit() - frames_in_use()

    with pytest.raises(RecursionError):
        descend()


# Logic.


@each("function", ["||", "&&"])
@each("operands", [1, 2, 3, 500])
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
    assert joined(failing, *few, failing) is FAILURE


def test_truth_tells_errors_from_values() -> None:
    frame = evaluating.frame({"facts": {"zero": 0}})
    for text, expected in [
        ("true", Truth.TRUE),
        ("facts.zero != 0", Truth.FALSE),
        ("1 / facts.zero == 1", Truth.ERROR),
    ]:
        assert Program(tree_of(text)).truth(frame) is expected


# How many elements macros may visit.

WALKS = {
    "all": "facts.xs.all(x, true)",
    "exists": "!facts.xs.exists(x, false)",
    "exists_one": "!facts.xs.exists_one(x, false)",
    "filter": "size(facts.xs.filter(x, false)) == 0",
    "map": "size(facts.xs.map(x, 1)) > 0",
    "errors": "facts.xs.exists(x, 1 / facts.zero == 1) || true",
}


def walked(text: str, xs: int, ys: int = 0) -> Outcome:
    """Evaluate a text that walks lists of so many elements."""
    return value_of(text, zero=0, xs=list(range(xs)), ys=list(range(ys)))


@each("walk", WALKS)
def test_one_macro_visits_fewer_than_10000_elements(walk: str) -> None:
    assert walked(WALKS[walk], 9_999) is True
    assert walked(WALKS[walk], 10_000) is FAILURE
    assert walked(WALKS[walk], 20_000) is FAILURE


@pytest.mark.parametrize(
    ("macro", "stops"), [("exists(x, x == {0})", True), ("all(x, x != {0})", False)]
)
def test_a_macro_that_is_decided_counts_only_the_elements_it_visited(
    macro: str,
    stops: bool,  # noqa: FBT001 - it is data
) -> None:
    assert walked(f"facts.xs.{macro.format(9_998)}", 20_000) is stops
    assert walked(f"facts.xs.{macro.format(9_999)}", 20_000) is FAILURE


@pytest.mark.parametrize("macro", ["map(x, 1 / (x - {0}))", "filter(x, 1 / (x - {0}) == 0)"])
def test_a_macro_that_fails_counts_the_elements_up_to_the_failure(macro: str) -> None:
    failing = f"size(facts.xs.{macro.format(4_999)}) == 0 || facts.ys.all(y, true)"
    assert walked(failing, 20_000, 4_999) is True
    assert walked(failing, 20_000, 5_000) is FAILURE


@each(
    ("text", "good", "bad"),
    [
        ("facts.xs.all(x, true) && facts.ys.all(y, true)", (5_000, 4_999), (5_000, 5_000)),
        ("facts.xs.all(x, true) && facts.ys.all(y, true)", (9_999, 0), (9_999, 1)),
        ("facts.xs.all(x, facts.ys.all(y, true))", (100, 98), (100, 99)),
        ("facts.xs.all(x, facts.ys.all(y, true))", (3, 3_332), (3, 3_333)),
        ("facts.xs.all(x, facts.ys.all(y, true))", (9_999, 0), (10_000, 0)),
        ("facts.xs.map(x, x).all(y, true)", (4_999, 0), (5_000, 0)),
        ("facts.xs.all(x, [false, true, false].exists(z, z))", (3_333, 0), (3_334, 0)),
    ],
)
def test_macros_share_one_budget(text: str, good: tuple[int, int], bad: tuple[int, int]) -> None:
    assert walked(text, *good) is True
    assert walked(text, *bad) is FAILURE


def test_nothing_makes_up_for_visiting_too_many_elements() -> None:
    assert walked("facts.xs.all(x, true) || true", 10_000) is FAILURE
    assert walked("true || facts.xs.all(x, true)", 10_000) is True
    assert walked("false && facts.xs.all(x, true)", 10_000) is False
    assert walked("[1].exists(z, facts.xs.all(x, true)) || true", 10_000) is FAILURE


def test_each_evaluation_has_a_budget_of_its_own() -> None:
    program = Program(tree_of(WALKS["all"]))
    frame = evaluating.frame({"facts": {"xs": list(range(9_999))}})
    assert [program.evaluate(frame) for _ in range(12)] == [True] * 12
    frames = [evaluating.frame({"facts": {"xs": list(range(9_999))}}) for _ in range(12)]
    with ThreadPoolExecutor(4) as pool:
        assert all(outcome is True for outcome in pool.map(program.evaluate, frames))


def test_a_variable_has_a_budget_of_its_own_and_is_evaluated_once() -> None:
    far = Program(tree_of(WALKS["all"]))
    variable = name("variables.far", BOOL)
    whole = Apply(BOOL, 0, 0, "&&", (tree_of(WALKS["all"]), variable, variable))
    facts = {"xs": tuple(range(9_999))}
    budget = Budget()
    frame = frame_of({"facts": facts, "variables": {"far": [("far", far)]}}, budget)
    assert Program(whole).evaluate(frame) is True
    assert budget.of_decision == MAX_ELEMENTS_OF_DECISION - 2 * 9_999


def test_the_evaluations_of_one_decision_share_a_larger_budget() -> None:
    program, facts = Program(tree_of(WALKS["all"])), {"xs": tuple(range(9_999))}
    budget = Budget()
    outcomes = [program.evaluate(frame_of({"facts": facts}, budget)) for _ in range(103)]
    assert outcomes == [True] * 100 + [FAILURE] * 3
    frame = frame_of({"facts": {**facts, "yes": True}}, budget)
    assert Program(tree_of("[].all(x, true)")).evaluate(frame) is FAILURE
    assert Program(tree_of("facts.yes")).evaluate(frame) is True


def test_the_last_element_of_a_decision_is_one_too_many() -> None:
    program, budget = Program(tree_of(WALKS["all"])), Budget()
    frame = frame_of({"facts": {"xs": tuple(range(100))}}, budget)
    for left, outcome in ((101, True), (100, FAILURE), (99, FAILURE)):
        budget.of_decision = left
        assert program.evaluate(frame) is outcome


def test_the_bounds_are_those_of_the_page() -> None:
    assert (MAX_ELEMENTS, MAX_ELEMENTS_OF_DECISION) == (10_000, 1_000_000)
    assert (MAX_TEXT, MAX_LIST) == (65_536, 10_000)


# How large values may become.


@pytest.mark.parametrize(("more", "good"), [(0, True), (1, False)])
def test_a_text_that_is_made_has_at_most_65536_characters(more: int, good: bool) -> None:  # noqa: FBT001 - it is data
    half = "é" * (MAX_TEXT // 2)
    outcome = value_of("size(facts.text + facts.key)", text=half, key=half + "a" * more)
    assert outcome == (MAX_TEXT if good else FAILURE)


@pytest.mark.parametrize(("more", "good"), [(0, True), (1, False)])
def test_a_list_that_is_made_has_at_most_10000_elements(more: int, good: bool) -> None:  # noqa: FBT001 - it is data
    half = list(range(MAX_LIST // 2))
    outcome = value_of("size(facts.xs + facts.ys)", xs=half, ys=half + [0] * more)
    assert outcome == (MAX_LIST if good else FAILURE)


def test_a_text_or_list_that_is_given_may_be_longer() -> None:
    assert value_of("size(facts.text)", text="a" * (MAX_TEXT + 1)) == MAX_TEXT + 1
    assert value_of("size(facts.xs)", xs=[0] * (MAX_LIST + 1)) == MAX_LIST + 1


def test_one_that_is_too_large_is_an_error_like_any_other() -> None:
    text = "a" * MAX_TEXT
    assert value_of("facts.text + 'a' == '' || true", text=text) is True
    assert value_of("facts.text + 'a' == '' && true", text=text) is FAILURE


DOUBLING = """
import json, resource, sys
if sys.argv[1] == "limited":
    resource.setrlimit(resource.RLIMIT_AS, (600 * 2**20,) * 2)
from policy_router import decide, loads
variables = {"a0": "task.kind", "b0": "task.labels"}
for number in range(24):
    for letter in "ab":
        last = f"variables.{letter}{number}"
        variables[f"{letter}{number + 1}"] = f"{last} + {last}"
pool = [
    {"model": f"m{number}", "pick": f"size(variables.a{number}) + size(variables.b{number}) > 0"}
    for number in range(25)
]
policy = loads(json.dumps({"variables": variables, "pool": pool}))
request = {"task": {"kind": "x" * 65536, "labels": ["y"] * 1000}}
print(decide(policy, request, now="2026-01-31T09:00:00Z").to_json().decode())
"""


@pytest.mark.slow
def test_memory_decides_nothing() -> None:
    free, limited = (
        subprocess.run(  # noqa: S603
            [sys.executable, "-c", DOUBLING, how],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for how in ("free", "limited")
    )
    assert free == limited
    assert free.count("pick_error") == 24


@each("function", ["int", "double", "timestamp", "duration"])
@each("text", ["1" * 100_000 + "x", " " * 100_000 + "x", "0x" + "f" * 100_000])
def test_reading_a_long_wrong_text_takes_no_time(function: str, text: str) -> None:
    outcome = evaluated(tree_of(f"{function}(facts.text)"), facts={"text": text})
    assert outcome is FAILURE or outcome == float("inf")


def test_a_pattern_that_could_back_up_takes_no_time() -> None:
    text = "a" * 60_000 + "b"
    assert value_of("facts.text.matches('^(a+)+$')", text=text) is False
    assert value_of("facts.text.matches('(a*)*c')", text=text) is False


# Values.


def test_a_lone_surrogate_fails_where_bytes_are_needed_and_only_there() -> None:
    facts = {"text": LONE_SURROGATE}
    assert value_of("bucket('salt', facts.text)", **facts) is FAILURE
    assert value_of("bucket(facts.text, 'key')", **facts) is FAILURE
    assert value_of("facts.text.matches('.')", **facts) is FAILURE
    assert value_of("facts.text == facts.text", **facts) is True
    assert value_of("size(facts.text)", **facts) == 1


def test_a_nul_ends_no_text() -> None:
    facts = {"text": "a\0b"}
    assert value_of("size(facts.text)", **facts) == 3
    assert value_of("facts.text == 'a'", **facts) is False
    assert value_of("facts.text.matches('b$')", **facts) is True
    assert value_of("facts.text.matches('a$')", **facts) is False


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_bucket_is_the_digest_modulo_100(key: str) -> None:
    digest = hashlib.sha256(b"r1-canary\0" + key.encode()).hexdigest()
    assert value_of("bucket('r1-canary', facts.key)", key=key) == int(digest, 16) % 100


@each(
    ("type_", "value"),
    [
        (BOOL, True),
        (INT, 7),
        (INT, -(2**63)),
        (DOUBLE, 2.5),
        (DOUBLE, float("inf")),
        (STRING, "text"),
        (STRING, "é😀\u2028"),
        (STRINGS, ["a", "b"]),
        (STRINGS, []),
        (TIMESTAMP, datetime.datetime(2026, 11, 22, 11, 33, 0, 5, tzinfo=datetime.UTC)),
        (TIMESTAMP, datetime.datetime.min.replace(tzinfo=datetime.UTC)),
        (TIMESTAMP, datetime.datetime.max.replace(tzinfo=datetime.UTC)),
        (DURATION, datetime.timedelta(days=-1, microseconds=1)),
    ],
)
def test_a_value_comes_out_as_it_went_in(type_: Type, value: object) -> None:
    outcome = evaluating.plain(evaluated(name("facts.value", type_), facts={"value": value}))
    assert outcome == value
    assert type(outcome) is type(value)


@given(st.datetimes(timezones=st.just(datetime.UTC)))
def test_any_time_comes_out_to_the_microsecond(moment: datetime.datetime) -> None:
    assert evaluating.plain(evaluated(name("now", TIMESTAMP), now=moment)) == moment


def test_a_time_comes_out_in_utc() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=2))
    moment = datetime.datetime(2026, 7, 1, 1, tzinfo=zone)
    outcome = evaluating.plain(evaluated(name("now", TIMESTAMP), now=moment))
    assert str(outcome) == "2026-06-30 23:00:00+00:00"


def test_the_time_of_a_request_is_bound_as_it_is() -> None:
    moment = datetime.datetime(2026, 7, 1, 1, 2, 3, 456_789, tzinfo=datetime.UTC)
    tree = tree_of(
        "now == timestamp('2026-07-01T01:02:03.456789Z') && now.getMilliseconds() == 456"
    )
    assert Program(tree).evaluate(frame_of({"now": {"": moment}})) is True


def test_an_absent_name_is_not_present_and_fails_when_used() -> None:
    roots = {"target": {"price": {"input": 1.5}}}
    for path, there in [
        ("target.price.input", True),
        ("target.price.output", False),
        ("facts.maybe", False),
    ]:
        assert evaluated(Present(BOOL, 0, 0, path), **roots) is there
        assert (evaluated(name(path, DOUBLE), **roots) is FAILURE) is not there
    assert evaluated(tree_of("has(facts.maybe)")) is False
