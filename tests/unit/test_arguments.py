"""The arguments of a call become tasks, or a model reads what is wrong with which of them."""

from __future__ import annotations

import datetime
import json
from collections import UserDict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_router import RequestError, loads
from policy_router.delegation.arguments import (
    FEATURES,
    MAX_BYTES,
    TEXTS,
    WISHES,
    Arguments,
    arguments_of,
)
from policy_router.delegation.batch import planned
from policy_router.delegation.tool import tool
from policy_router.errors import ArgumentsError
from policy_router.files.ids import uuid7
from tests.support.examples import examples
from tests.support.rows import each

NOW = datetime.datetime(2026, 1, 31, 9, tzinfo=datetime.UTC)
SECRET = "sk-" + "abcdefghijklmnop"
POLICY = loads(
    """
    model: small
    provider: main
    kinds: [coding, math]
    facts: {region: {type: string}}
    pool: [{model: small}, {model: large}]
    """
)
KNOWN = "known: goal, context, model, provider, reasoning_effort, kind, labels, needs, input_tokens"

SEND_ALL = 'send one JSON object, such as {"goal": "..."}'

Problem = tuple[str, str, str | None]


def problem(content: Any, facts: Any = None) -> Problem:
    """Return what is wrong with arguments, now or when their requests meet a policy."""
    with pytest.raises(RequestError) as caught:
        planned(POLICY, arguments_of(content), facts or {}, now=NOW, ids=uuid7)
    assert isinstance(caught.value, ArgumentsError) == (facts is None)
    return caught.value.path, caught.value.reason, caught.value.help


def tasks_of(content: Any) -> list[dict[str, Any]]:
    return [assignment.task for assignment in arguments_of(content).assignments]


# One task.


def test_a_goal_alone_is_one_task_that_asks_for_nothing() -> None:
    made = arguments_of({"goal": "Fix the test."})
    (only,) = made.assignments
    assert made.call == {}
    assert (only.goal, only.context, only.task, only.path) == ("Fix the test.", "", {}, "$")


def test_what_is_asked_for_one_task_is_asked_for_the_whole_call() -> None:
    wishes = {"model": "large", "provider": "main", "reasoning_effort": "low"}
    features = {"kind": "math", "labels": ["x"], "needs": ["tools"], "input_tokens": 7}
    made = arguments_of({"goal": "a", "context": "b", **wishes, **features})
    assert made.call == wishes
    assert made.assignments[0].task == features
    assert (made.assignments[0].goal, made.assignments[0].context) == ("a", "b")


def test_goal_and_context_are_kept_as_they_were_written() -> None:
    (only,) = arguments_of({"goal": " a\n\n", "context": "\tb \u00e9"}).assignments
    assert (only.goal, only.context) == (" a\n\n", "\tb \u00e9")


# A batch.


def test_a_batch_has_its_tasks_in_order_each_with_its_place() -> None:
    made = arguments_of({"tasks": [{"goal": "a"}, {"goal": "b", "context": "c"}]})
    assert [(it.goal, it.context, it.path) for it in made.assignments] == [
        ("a", "", "$.tasks[0]"),
        ("b", "c", "$.tasks[1]"),
    ]
    assert tasks_of({"tasks": [{"goal": "a"}, {"goal": "b"}]}) == [
        {"index": 0, "batch_size": 2},
        {"index": 1, "batch_size": 2},
    ]


def test_a_batch_of_one_is_a_batch() -> None:
    assert tasks_of({"tasks": [{"goal": "a"}]}) == [{"index": 0, "batch_size": 1}]
    assert arguments_of({"tasks": [{"goal": "a"}]}).assignments[0].path == "$.tasks[0]"


def test_a_wish_for_the_whole_call_stays_apart_from_those_of_its_tasks() -> None:
    made = arguments_of({"model": "small", "tasks": [{"goal": "a", "model": "large"}]})
    assert made.call == {"model": "small"}
    assert made.assignments[0].task == {"model": "large", "index": 0, "batch_size": 1}


def test_what_is_said_of_all_tasks_holds_for_those_that_do_not_say_it_themselves() -> None:
    content = {
        "kind": "math",
        "labels": ["x"],
        "tasks": [{"goal": "a"}, {"goal": "b", "kind": "coding", "labels": []}],
    }
    first, second = tasks_of(content)
    assert (first["kind"], first["labels"]) == ("math", ["x"])
    assert (second["kind"], second["labels"]) == ("coding", [])


def test_the_common_goal_and_context_come_before_a_task_s_own_context() -> None:
    content = {"goal": " Ship. ", "context": "C", "tasks": [{"goal": "a", "context": "c"}]}
    (only,) = arguments_of(content).assignments
    assert only.goal == "a"
    assert only.context == "This task is one part of a whole: Ship.\n\nC\n\nc"


@each(
    ("common", "context"),
    [
        ({}, "c"),
        ({"goal": "  "}, "c"),
        ({"context": ""}, "c"),
        ({"context": "C"}, "C\n\nc"),
        ({"goal": "G"}, "This task is one part of a whole: G\n\nc"),
    ],
)
def test_what_is_not_common_leaves_no_trace(common: dict[str, str], context: str) -> None:
    content = {**common, "tasks": [{"goal": "a", "context": "c"}]}
    assert arguments_of(content).assignments[0].context == context


@each("empty", [None, [], (), {}, "", " ", "[]", "{}"])
def test_without_tasks_in_it_a_batch_is_one_task(empty: Any) -> None:
    assert arguments_of({"goal": "a", "tasks": empty}) == arguments_of({"goal": "a"})


# What is not given.


def test_null_is_not_given() -> None:
    nothing = dict.fromkeys((*TEXTS, *WISHES, *FEATURES, "tasks"))
    assert arguments_of({**nothing, "goal": "a"}) == arguments_of({"goal": "a"})
    item = {**dict.fromkeys((*TEXTS, *WISHES, *FEATURES)), "goal": "a"}
    assert arguments_of({"tasks": [item]}) == arguments_of({"tasks": [{"goal": "a"}]})


@each("empty", ["", " ", "\n"])
def test_an_empty_string_is_not_given(empty: str) -> None:
    nothing = dict.fromkeys((*WISHES, *FEATURES, "tasks"), empty)
    assert arguments_of({**nothing, "goal": "a"}) == arguments_of({"goal": "a"})
    item = {**dict.fromkeys((*WISHES, *FEATURES), empty), "goal": "a"}
    assert arguments_of({"tasks": [item]}) == arguments_of({"tasks": [{"goal": "a"}]})
    shared = {"kind": "math", "tasks": [{"goal": "a", "kind": empty}]}
    assert tasks_of(shared)[0]["kind"] == "math"


def test_null_for_a_task_leaves_what_is_said_of_all() -> None:
    assert tasks_of({"kind": "math", "tasks": [{"goal": "a", "kind": None}]})[0]["kind"] == "math"


# Forms.


def test_arguments_come_as_a_mapping_or_as_json_in_text_or_bytes() -> None:
    plain = {"tasks": [{"goal": "\u00e9", "labels": ["x"]}]}
    forms: list[Any] = [
        UserDict(plain),
        json.dumps(plain),
        json.dumps(plain, ensure_ascii=False).encode(),
    ]
    assert [arguments_of(form) for form in forms] == [arguments_of(plain)] * 3
    items = ({"goal": "a"}, UserDict(goal="b"))
    assert [it.goal for it in arguments_of({"tasks": items}).assignments] == ["a", "b"]


PLAIN: dict[str, Any] = {"goal": "G", "tasks": [{"goal": "a", "labels": ["x"], "input_tokens": 7}]}


@each(
    "content",
    [
        json.dumps(json.dumps(PLAIN)),
        f"```json\n{json.dumps(PLAIN, indent=1)}\n```",
        f"  ```\n{json.dumps(PLAIN)}```\n",
        {**PLAIN, "tasks": json.dumps(PLAIN["tasks"])},
        {**PLAIN, "tasks": json.dumps(PLAIN["tasks"][0])},
        {**PLAIN, "tasks": PLAIN["tasks"][0]},
        {**PLAIN, "tasks": [json.dumps(PLAIN["tasks"][0])]},
        {"goal": "G", "tasks": [{"goal": "a", "labels": "x", "input_tokens": "7"}]},
        {"goal": "G", "tasks": [{"goal": "a", "labels": '["x"]', "input_tokens": 7.0}]},
        {"goal": "G", "tasks": [{"goal": "a", "labels": " x ", "input_tokens": " 7 "}]},
    ],
    ids=range(10),
)
def test_what_can_be_meant_in_one_way_alone_is_understood(content: Any) -> None:
    assert arguments_of(content) == arguments_of(PLAIN)


def test_a_task_may_be_its_goal_alone() -> None:
    made = arguments_of({"tasks": ["Fix the test.", {"goal": "b"}, "[x] tick the box"]})
    assert [it.goal for it in made.assignments] == ["Fix the test.", "b", "[x] tick the box"]


def test_a_text_stays_the_text_that_it_is_though_it_is_json() -> None:
    (only,) = arguments_of({"goal": '["a"]', "context": '{"b": 1}'}).assignments
    assert (only.goal, only.context) == ('["a"]', '{"b": 1}')


def test_of_two_equal_keys_in_json_the_last_one_counts() -> None:
    assert arguments_of('{"goal": "a", "goal": "b"}').assignments[0].goal == "b"


@each(
    "content",
    [
        "{",
        "{} {}",
        "\ufeff{}",
        "{'goal': 'a'}",
        '{"goal": "a\ud800"}',
        '{"goal": "a\\ud800"}',
        b'{"goal": "\xff"}',
        '{"goal": NaN}',
        f'{{"input_tokens": {"9" * 5000}}}',
        "[" * 100_000,
        '{"tasks": ' * 100_000,
        "```json\n{\n```",
        "```" + "\n" * 1_000_000,
        "```what is it\n{}\n```",
        'Here you are: {"goal": "a"}',
    ],
    ids=range(15),
)
def test_what_is_no_json_is_refused(content: str | bytes) -> None:
    assert problem(content) == ("$", "the arguments are not JSON", SEND_ALL)


@each(
    ("content", "found"),
    [
        ("[]", "a list"),
        ("1.5", "a double"),
        ('"goal"', "a string"),
        ('"[]"', "a string"),
        ("null", "null"),
        ([], "a list"),
        (1, "an int"),
        (None, "null"),
        ("[[[]]]", "a list"),
    ],
)
def test_what_is_no_object_is_refused(content: Any, found: str) -> None:
    assert problem(content) == ("$", f"expected an object, found {found}", SEND_ALL)


def test_arguments_in_json_may_have_just_the_bytes_allowed() -> None:
    content = '{"goal": "a"}'
    assert arguments_of(content.ljust(MAX_BYTES)) == arguments_of(content)
    for longer in (content.ljust(MAX_BYTES + 1), content.encode().ljust(MAX_BYTES + 1)):
        expected = ("$", "the arguments are longer than 16,777,216 bytes", None)
        assert problem(longer) == expected
    with pytest.raises(RequestError, match="longer than"):
        arguments_of("\u00e9" * (MAX_BYTES // 2 + 1))


# What is wrong, with its place.

NOTHING_TO_DO = "there is nothing to do"
SEND_TASKS = 'send a list of objects, such as [{"goal": "..."}]'
SEND_LIST = 'send a list of strings, such as ["a", "b"], or leave it out'
SEND_TEXT = "send it as one string"
GIVE = "send a `goal`, or `tasks`"


@each(
    ("content", "path", "reason", "help_"),
    [
        # Nothing to do.
        ({}, "$.goal", NOTHING_TO_DO, GIVE),
        ({"goal": ""}, "$.goal", NOTHING_TO_DO, GIVE),
        ({"goal": " \n\u00a0"}, "$.goal", NOTHING_TO_DO, GIVE),
        ({"tasks": []}, "$.goal", NOTHING_TO_DO, GIVE),
        ({"goal": None}, "$.goal", NOTHING_TO_DO, GIVE),
        (
            {"goal": "G", "tasks": [{"goal": "a"}, {}]},
            "$.tasks[1].goal",
            NOTHING_TO_DO,
            "send a `goal`",
        ),
        (
            {"tasks": [{"goal": "a"}, {"goal": "\t"}]},
            "$.tasks[1].goal",
            NOTHING_TO_DO,
            "send a `goal`",
        ),
        ("", "$.goal", NOTHING_TO_DO, GIVE),
        (" \n", "$.goal", NOTHING_TO_DO, GIVE),
        ({"tasks": [""]}, "$.tasks[0].goal", NOTHING_TO_DO, "send a `goal`"),
        # Shapes.
        ({"tasks": "abc"}, "$.tasks", "expected a list of tasks, found a string", SEND_TASKS),
        ({"tasks": "[{"}, "$.tasks", "expected a list of tasks, found a string", SEND_TASKS),
        ({"tasks": "7"}, "$.tasks", "expected a list of tasks, found a string", SEND_TASKS),
        ({"tasks": 1}, "$.tasks", "expected a list of tasks, found an int", SEND_TASKS),
        (
            {"tasks": [{"goal": "a"}, None]},
            "$.tasks[1]",
            "expected an object, found null",
            SEND_TASKS,
        ),
        ({"tasks": [[]]}, "$.tasks[0]", "expected an object, found a list", SEND_TASKS),
        # Texts.
        ({"goal": 1}, "$.goal", "expected a string, found an int", SEND_TEXT),
        ({"goal": ["a"]}, "$.goal", "expected a string, found a list", SEND_TEXT),
        (
            {"goal": "a", "context": {}},
            "$.context",
            "expected a string, found a mapping",
            SEND_TEXT,
        ),
        (
            {"context": 1, "tasks": [{"goal": "a"}]},
            "$.context",
            "expected a string, found an int",
            SEND_TEXT,
        ),
        (
            {"tasks": [{"goal": "a"}, {"goal": False}]},
            "$.tasks[1].goal",
            "expected a string, found true or false",
            SEND_TEXT,
        ),
        ({"goal": "a\ud800"}, "$.goal", "the string is not valid Unicode", None),
        (
            {"tasks": [{"goal": "a", "context": "\udfff"}]},
            "$.tasks[0].context",
            "the string is not valid Unicode",
            None,
        ),
        # Lists that could be meant in two ways.
        (
            {"goal": "a", "labels": "x, y"},
            "$.labels",
            "expected a list of strings, found a string",
            SEND_LIST,
        ),
        (
            {"tasks": [{"goal": "a", "needs": "[tools"}]},
            "$.tasks[0].needs",
            "expected a list of strings, found a string",
            SEND_LIST,
        ),
        # Keys.
        ({"gaol": "a"}, "$.gaol", "unknown key `gaol`", "did you mean `goal`?"),
        ({"task": []}, "$.task", "unknown key `task`", "did you mean `tasks`?"),
        (
            {"tasks": [{"goal": "a"}, {"goal": "b", "modle": "x"}]},
            "$.tasks[1].modle",
            "unknown key `modle`",
            "did you mean `model`?",
        ),
        ({"zzz": 1}, "$.zzz", "unknown key `zzz`", f"{KNOWN}, tasks"),
        ({"tasks": [{"zzz": 1}]}, "$.tasks[0].zzz", "unknown key `zzz`", KNOWN),
        ({"tasks": [{"tasks": []}]}, "$.tasks[0].tasks", "unknown key `tasks`", KNOWN),
        ({"zzz": None}, "$.zzz", "unknown key `zzz`", f"{KNOWN}, tasks"),
        (
            {"goal": "a", "batch_size": 1},
            "$.batch_size",
            "unknown key `batch_size`",
            f"{KNOWN}, tasks",
        ),
        ({"goal": "a", 7: "b"}, '$["7"]', "unknown key `7`", f"{KNOWN}, tasks"),
    ],
)
def test_what_is_wrong_has_its_place_its_reason_and_perhaps_a_remedy(
    content: Any, path: str, reason: str, help_: str | None
) -> None:
    assert problem(content) == (path, reason, help_)


@pytest.mark.parametrize(("content", "found"), [(0, "an int"), (False, "true or false")])
def test_tasks_that_are_no_list_are_refused_even_where_they_are_nothing(
    content: Any, found: str
) -> None:
    expected = ("$.tasks", f"expected a list of tasks, found {found}", SEND_TASKS)
    assert problem({"goal": "a", "tasks": content}) == expected


@each("character", ["\ud7ff", "\ue000", "\U0010ffff", "\x00", "\x1b"])
def test_a_goal_may_have_any_character_that_unicode_has(character: str) -> None:
    assert arguments_of({"goal": character + "a"}).assignments[0].goal == character + "a"


# What is wrong with the request that a task makes.

UNKNOWN_KIND = "the kind is not one that the policy knows"
NUL = "the string has a NUL character"


@each(
    ("content", "path", "reason"),
    [
        ({"kind": "cooking"}, "$.kind", UNKNOWN_KIND),
        ({"kind": 7}, "$.kind", "expected a string, found an int"),
        ({"labels": {}}, "$.labels", "expected a list of strings, found a mapping"),
        ({"labels": ["x", 1]}, "$.labels[1]", "expected a string, found an int"),
        ({"needs": [None]}, "$.needs[0]", "expected a string, found null"),
        ({"input_tokens": "7 or 8"}, "$.input_tokens", "expected an int, found a string"),
        ({"input_tokens": 7.5}, "$.input_tokens", "expected an int, found a double"),
        ({"input_tokens": 2**63}, "$.input_tokens", "the number does not fit in 64 bits"),
        ({"model": "a\x00"}, "$.model", NUL),
        ({"model": ["a"]}, "$.model", "expected a string, found a list"),
        ({"provider": {}}, "$.provider", "expected a string, found a mapping"),
        ({"reasoning_effort": 1}, "$.reasoning_effort", "expected a string, found an int"),
        ({"model": "\ud800"}, "$.model", "the string is not valid Unicode"),
        ({"model": "a" * 65_537}, "$.model", "the string has more than 65,536 characters"),
        ({"labels": ["a"] * 1001}, "$.labels", "the list has more than 1,000 items"),
    ],
    ids=range(15),
)
def test_what_its_request_finds_wrong_is_placed_where_the_arguments_have_it(
    content: dict[str, Any], path: str, reason: str
) -> None:
    assert problem({"goal": "a", **content})[:2] == (path, reason)
    second = {"tasks": [{"goal": "a"}, {"goal": "b", **content}]}
    assert problem(second)[:2] == (path.replace("$", "$.tasks[1]", 1), reason)


def test_a_kind_outside_a_closed_set_has_its_remedy() -> None:
    assert problem({"goal": "a", "kind": "codng"})[2] == "did you mean `coding`?"
    assert problem({"goal": "a", "kind": "zzz"})[2] == "one of coding, math"


def test_a_wrong_wish_for_the_whole_call_is_placed_there_in_a_batch_too() -> None:
    assert problem({"model": "\x00", "tasks": [{"goal": "a"}]})[:2] == ("$.model", NUL)


def test_what_is_wrong_with_what_is_said_of_all_tasks_is_placed_where_it_is_said() -> None:
    content = {"kind": "cooking", "tasks": [{"goal": "a", "kind": "math"}, {"goal": "b"}]}
    assert problem(content)[:2] == ("$.kind", UNKNOWN_KIND)
    assert problem({"labels": [1], "tasks": [{"goal": "a"}]})[0] == "$.labels[0]"


def test_what_is_wrong_with_the_facts_stays_where_the_facts_have_it() -> None:
    wrong = {"facts": {"region": 1}}
    assert problem({"tasks": [{"goal": "a"}]}, wrong)[0] == "$.facts.region"
    assert problem({"goal": "a"}, {"parent": {"depth": "x"}})[0] == "$.parent.depth"


# Nothing is repeated that should not be read.


@each(
    "content",
    [
        {SECRET: 1},
        {"goal": "a", SECRET: {}},
        {"tasks": [{"goal": "a", SECRET: 1}]},
        {"goal": "a", "kind": SECRET},
        {"goal": "a", "model": SECRET + "\x00"},
        {"goal": [SECRET]},
        {"goal": "a", "labels": f"{SECRET},"},
        {"tasks": [{"goal": "a", "labels": [[SECRET]]}]},
        {"tasks": SECRET},
        SECRET,
        {"goal": f"{SECRET}\ud800"},
    ],
    ids=range(11),
)
def test_no_message_holds_a_value_or_what_looks_like_a_key(content: Any) -> None:
    shown = " ".join(str(part) for part in problem(content))
    assert "abcdefghijklmnop" not in shown


def test_no_message_holds_the_value_of_a_fact() -> None:
    shown = str(problem({"goal": "a"}, {"facts": {"region": ["hunter2"]}}))
    assert "hunter2" not in shown


def test_a_message_is_one_line_that_a_terminal_may_show() -> None:
    for key in ("a\nb", "\x1b[31mred", "\u202eback", "\ud800", "x" * 10_000):
        shown = " ".join(map(str, problem({"goal": "a", key: 1})))
        assert shown.isprintable()
        assert len(shown) < 500


# Whatever is given.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
VALUES = JSON | st.sampled_from(["a", "small", "coding", ["x"], 7, "", "\x00", "\ud800"])
ITEMS = st.dictionaries(st.sampled_from([*TEXTS, *WISHES, *FEATURES]), VALUES) | JSON
GOOD = st.fixed_dictionaries(
    {"goal": st.text(min_size=1)},
    optional={
        "context": st.text() | st.none(),
        "model": st.sampled_from(["small", "large", "other", None]),
        "kind": st.sampled_from(["coding", "math", "", "other"]),
        "labels": st.lists(st.text(max_size=3), max_size=2),
    },
)
CONTENTS = st.one_of(
    JSON,
    ITEMS,
    st.fixed_dictionaries({"tasks": st.lists(ITEMS | GOOD, max_size=3)}),
    st.fixed_dictionaries({"tasks": st.lists(GOOD, min_size=1, max_size=3)}),
    GOOD,
)


@pytest.mark.slow
@examples(300)
@given(CONTENTS)
def test_whatever_is_given_comes_to_tasks_or_a_request_error(content: Any) -> None:
    """As plain data, and as JSON; and so do the requests that the tasks make."""
    texts = [json.dumps(content, ensure_ascii=pure) for pure in (True, False)]
    for form in (content, *texts, texts[0].encode()):
        try:
            made = arguments_of(form)
        except ArgumentsError as error:
            assert error.path.startswith("$")  # noqa: PT017 - any error is of this kind
            continue
        assert isinstance(made, Arguments)
        assert all(it.goal.strip() and isinstance(it.context, str) for it in made.assignments)
        try:
            batch = planned(POLICY, made, {}, now=NOW, ids=uuid7)
        except ArgumentsError as error:
            assert error.path.startswith("$")  # noqa: PT017 - the same
        else:
            assert len(batch) == len(made.assignments)


@pytest.mark.slow
@examples(100)
@given(st.text() | st.binary())
def test_whatever_text_is_given_comes_to_tasks_or_a_request_error(content: str | bytes) -> None:
    try:
        arguments_of(content)
    except ArgumentsError as error:
        assert error.path.startswith("$")  # noqa: PT017 - any error is of this kind


def test_every_argument_of_the_tool_is_taken() -> None:
    parameters = tool(POLICY)["function"]["parameters"]["properties"]
    assert set(parameters) <= {*TEXTS, *WISHES, *FEATURES, "tasks"}
    assert set(parameters["tasks"]["items"]["properties"]) <= {*TEXTS, *WISHES, *FEATURES}
