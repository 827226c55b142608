"""A request is checked in shape when it is made, and against a policy when it meets one."""

from __future__ import annotations

import datetime
import math
import pickle
from collections import UserDict
from typing import Any

import pytest

from policy_router import Request, RequestError, loads
from policy_router.cel.vocabulary import MAX_ITEMS
from policy_router.decision.fitting import checked, dropped, values_of
from policy_router.decision.request import MAX_BYTES, moment, spelt
from policy_router.decision.typed import MAX_CHARACTERS
from policy_router.parameters import LONGEST, RESERVED
from tests.support.rows import each

POLICY = loads(
    """
model: m
kinds: [coding, math]
facts:
  text: {type: string}
  count: {type: int, default: 3}
  ratio: {type: double}
  flag: {type: bool, default: false}
  tags: {type: list, default: [a]}
"""
)
NOW = "2026-01-31T09:00:00Z"


def problem(content: Any) -> tuple[str, str, str | None]:
    """Return place, reason and remedy of what is wrong with a request, whoever finds it."""
    with pytest.raises(RequestError) as caught:
        checked(POLICY, content)
    return caught.value.path, caught.value.reason, caught.value.help


# Shape.


@each(
    ("content", "path", "reason", "help_"),
    [
        ([], "$", "expected a mapping, found a list", None),
        (None, "$", "expected a mapping, found null", None),
        ("x", "$", "expected a mapping, found a string", None),
        ({1: {}}, "$", "a key must be a string", None),
        ({"tsk": {}}, "$.tsk", "unknown key `tsk`", "did you mean `task`?"),
        ({"fact": {}}, "$.fact", "unknown key `fact`", "did you mean `facts`?"),
        ({"now": NOW}, "$.now", "unknown key `now`", None),
        ({"xyz": {}}, "$.xyz", "unknown key `xyz`", None),
        ({"kind": "x"}, "$.kind", "unknown key `kind`", "write it under `task`"),
        ({"team": "x"}, "$.team", "unknown key `team`", "write it under `caller`"),
        ({"odd key": {}}, '$["odd key"]', "unknown key `odd key`", None),
        ({"self": {}}, "$.self", "unknown key `self`", None),
        ({"task": None}, "$.task", "expected a mapping, found null", None),
        ({"facts": []}, "$.facts", "expected a mapping, found a list", None),
        ({"task": {1: "x"}}, "$.task", "a key must be a string", None),
        ({"facts": {1: "x"}}, "$.facts", "a key must be a string", None),
        ({"task": {"knd": "x"}}, "$.task.knd", "unknown key `knd`", "did you mean `kind`?"),
        ({"call": {"kind": "x"}}, "$.call.kind", "unknown key `kind`", None),
        ({"task": {"model": 1}}, "$.task.model", "expected a string, found an int", None),
        ({"task": {"model": None}}, "$.task.model", "expected a string, found null", None),
        (
            {"task": {"model": b"x"}},
            "$.task.model",
            "expected a string, found something else",
            None,
        ),
        ({"task": {"index": "1"}}, "$.task.index", "expected an int, found a string", None),
        ({"task": {"index": True}}, "$.task.index", "expected an int, found true or false", None),
        (
            {"task": {"index": 1.0}},
            "$.task.index",
            "expected an int, found a double",
            None,
        ),
        (
            {"task": {"labels": "a"}},
            "$.task.labels",
            "expected a list of strings, found a string",
            None,
        ),
        (
            {"task": {"labels": {"a": 1}}},
            "$.task.labels",
            "expected a list of strings, found a mapping",
            None,
        ),
        (
            {"task": {"labels": ["a", 1]}},
            "$.task.labels[1]",
            "expected a string, found an int",
            None,
        ),
        (
            {"budget": {"spent_usd": "1"}},
            "$.budget.spent_usd",
            "expected a number, found a string",
            None,
        ),
        (
            {"budget": {"spent_usd": False}},
            "$.budget.spent_usd",
            "expected a number, found true or false",
            None,
        ),
        (
            {"budget": {"spent_usd": math.inf}},
            "$.budget.spent_usd",
            "expected a finite number",
            None,
        ),
        (
            {"budget": {"remaining_usd": math.nan}},
            "$.budget.remaining_usd",
            "expected a finite number",
            None,
        ),
        ({"task": {"index": 2**63}}, "$.task.index", "the number does not fit in 64 bits", None),
        (
            {"task": {"index": -(2**63) - 1}},
            "$.task.index",
            "the number does not fit in 64 bits",
            None,
        ),
        (
            {"budget": {"spent_usd": 10**400}},
            "$.budget.spent_usd",
            "the number does not fit in 64 bits",
            None,
        ),
        ({"caller": {"id": "a\x00b"}}, "$.caller.id", "the string has a NUL character", None),
        ({"caller": {"id": "a\ud800"}}, "$.caller.id", "the string is not valid Unicode", None),
        ({"caller": {"id": "\udfff"}}, "$.caller.id", "the string is not valid Unicode", None),
        (
            {"caller": {"roles": ["ok", "\udc00"]}},
            "$.caller.roles[1]",
            "the string is not valid Unicode",
            None,
        ),
        # Facts, which only a policy gives a type.
        ({"facts": {"text": None}}, "$.facts.text", "expected a plain value, found null", None),
        (
            {"facts": {"text": {"a": 1}}},
            "$.facts.text",
            "expected a plain value, found a mapping",
            None,
        ),
        ({"facts": {"text": 1}}, "$.facts.text", "expected a string, found an int", None),
        (
            {"facts": {"count": 1.5}},
            "$.facts.count",
            "expected an int, found a double",
            None,
        ),
        ({"facts": {"count": True}}, "$.facts.count", "expected an int, found true or false", None),
        ({"facts": {"ratio": "1"}}, "$.facts.ratio", "expected a number, found a string", None),
        ({"facts": {"flag": 1}}, "$.facts.flag", "expected true or false, found an int", None),
        (
            {"facts": {"tags": "a"}},
            "$.facts.tags",
            "expected a list of strings, found a string",
            None,
        ),
        ({"facts": {"tags": [1]}}, "$.facts.tags[0]", "expected a string, found an int", None),
        ({"facts": {"ratio": math.inf}}, "$.facts.ratio", "expected a finite number", None),
        (
            {"facts": {"txt": ""}},
            "$.facts.txt",
            "the policy declares no fact `txt`",
            "did you mean `text`?",
        ),
        (
            {"facts": {"zzz": ""}},
            "$.facts.zzz",
            "the policy declares no fact `zzz`",
            "declare it in the policy under `facts`",
        ),
        (
            {"task": {"kind": "codng"}},
            "$.task.kind",
            "the kind is not one that the policy knows",
            "did you mean `coding`?",
        ),
        (
            {"task": {"kind": "zzz"}},
            "$.task.kind",
            "the kind is not one that the policy knows",
            "one of coding, math",
        ),
    ],
)
def test_what_is_wrong_has_its_place_its_reason_and_perhaps_a_remedy(
    content: Any, path: str, reason: str, help_: str | None
) -> None:
    assert problem(content) == (path, reason, help_)


def test_an_error_is_one_line_with_place_reason_and_remedy() -> None:
    assert str(RequestError("$.a", "is wrong", "mend it")) == "$.a: is wrong; mend it"
    assert str(RequestError("$.a", "is wrong")) == "$.a: is wrong"
    assert isinstance(RequestError("$", ""), ValueError)


def test_no_message_holds_a_value() -> None:
    with pytest.raises(RequestError) as caught:
        checked(POLICY, {"task": {"kind": "hunter2"}})
    assert "hunter2" not in str(caught.value)


def test_a_kind_that_is_not_given_is_in_no_closed_set_and_is_fine() -> None:
    assert checked(POLICY, {"task": {"kind": ""}}).given == {"task": {"kind": ""}}
    checked(loads("model: m"), {"task": {"kind": "anything"}})


def test_of_many_kinds_the_first_eight_are_named() -> None:
    policy = loads(f"kinds: [{', '.join(f'k{number:02}xx' for number in range(9))}]")
    with pytest.raises(RequestError) as caught:
        checked(policy, {"task": {"kind": "zzz"}})
    assert caught.value.help == "one of k00xx, k01xx, k02xx, k03xx, k04xx, k05xx, k06xx, k07xx"


def test_a_policy_without_facts_takes_none() -> None:
    with pytest.raises(RequestError) as caught:
        checked(loads("model: m"), {"facts": {"text": "a"}})
    assert caught.value.path == "$.facts.text"


# Wishes for parameters.

WISHING = loads(
    "model: m\npool: [{model: m, limits: {style: [terse], Logprobs: [true], max_tokens: {max: 9}}}]"
)


@each("section", ["call", "task"])
@each(
    "wish",
    [
        {},
        {"temperature": 1, "top_p": 0.5, "frequency_penalty": -2, "presence_penalty": 2.0},
        {"top_k": 0, "max_tokens": 1, "seed": -(2**63)},
        {"reasoning_effort": "none", "verbosity": "x" * LONGEST},
        {"max_completion_tokens": 5},
        {"max_output_tokens": 5},
        # What some entry's limits are about, of any plain type.
        {"style": "florid", "Logprobs": 1.5},
        {"style": True, "Logprobs": 3},
    ],
)
def test_a_parameter_that_is_known_may_be_wished_for(section: str, wish: dict[str, Any]) -> None:
    assert checked(WISHING, {section: {"parameters": wish}}).given == {
        section: {"parameters": wish}
    }


WHOLE = "expected a whole number, found "


@each(
    ("wish", "path", "reason"),
    [
        ([], "", "expected a mapping, found a list"),
        (None, "", "expected a mapping, found null"),
        ({1: 1}, "", "a key must be a string"),
        ({"temperature": "1"}, ".temperature", "expected a number, found a string"),
        ({"temperature": True}, ".temperature", "expected a number, found true or false"),
        ({"temperature": None}, ".temperature", "expected a number, found null"),
        ({"temperature": math.nan}, ".temperature", "expected a finite number"),
        ({"temperature": -math.inf}, ".temperature", "expected a finite number"),
        ({"temperature": 10**400}, ".temperature", "the number does not fit in 64 bits"),
        ({"top_k": 1.0}, ".top_k", f"{WHOLE}a double"),
        ({"seed": "1"}, ".seed", f"{WHOLE}a string"),
        ({"seed": 2**63}, ".seed", "the number does not fit in 64 bits"),
        ({"max_tokens": True}, ".max_tokens", f"{WHOLE}true or false"),
        ({"max_output_tokens": 1.5}, ".max_output_tokens", f"{WHOLE}a double"),
        ({"reasoning_effort": 1}, ".reasoning_effort", "expected a string, found an int"),
        ({"verbosity": False}, ".verbosity", "expected a string, found true or false"),
        (
            {"verbosity": "x" * (LONGEST + 1)},
            ".verbosity",
            "the string has more than 64 characters",
        ),
        ({"verbosity": "a\x00"}, ".verbosity", "the string has a NUL character"),
        ({"style": "\ud800"}, ".style", "the string is not valid Unicode"),
        ({"style": ["a"]}, ".style", "expected a string, a number, or true or false, found a list"),
        ({"style": {}}, ".style", "expected a string, a number, or true or false, found a mapping"),
        (
            {"max_tokens": 1, "max_output_tokens": 1},
            ".max_output_tokens",
            "`max_output_tokens` and `max_tokens` are the same parameter",
        ),
        (
            {"max_output_tokens": 1, "max_completion_tokens": 2},
            ".max_completion_tokens",
            "`max_completion_tokens` and `max_output_tokens` are the same parameter",
        ),
        ({"temprature": 1}, ".temprature", "no parameter `temprature` may be asked for"),
        ({"Temperature": 1}, ".Temperature", "no parameter `Temperature` may be asked for"),
        ({"logprobs": True}, ".logprobs", "no parameter `logprobs` may be asked for"),
    ],
)
def test_a_wish_that_does_not_fit_is_refused_with_its_place(
    wish: Any, path: str, reason: str
) -> None:
    with pytest.raises(RequestError) as caught:
        checked(WISHING, {"task": {"parameters": wish}})
    assert (caught.value.path, caught.value.reason) == (f"$.task.parameters{path}", reason)


@each("name", sorted(RESERVED))
def test_what_would_replace_a_decision_is_no_parameter(name: str) -> None:
    with pytest.raises(RequestError) as caught:
        Request(call={"parameters": {name: "hunter2"}})
    reason = f"`{name}` is not a parameter: it would override the decision"
    assert (caught.value.path, caught.value.reason) == (f"$.call.parameters.{name}", reason)
    assert "hunter2" not in str(caught.value)


def test_a_parameter_that_is_not_known_has_a_remedy() -> None:
    for name, help_ in (("temprature", "did you mean `temperature`?"), ("zzz", None)):
        with pytest.raises(RequestError) as caught:
            checked(WISHING, {"task": {"parameters": {name: 1}}})
        assert caught.value.help is not None
        assert caught.value.help == help_ if help_ else caught.value.help.startswith("known: ")


@each("section", ["parent", "caller", "budget"])
def test_nobody_else_wishes_for_parameters(section: str) -> None:
    with pytest.raises(RequestError, match="unknown key `parameters`"):
        Request(**{section: {"parameters": {}}})


@pytest.mark.parametrize(
    "given",
    [
        {"reasoning_effort": "low"},
        {"parameters": {"reasoning_effort": "low"}},
        {"reasoning_effort": "low", "parameters": {"reasoning_effort": "low"}},
        {"reasoning_effort": "", "parameters": {"reasoning_effort": "low"}},
        {"reasoning_effort": "low", "parameters": {"reasoning_effort": ""}},
    ],
)
def test_a_reasoning_effort_is_one_wish_wherever_it_was_given(given: dict[str, Any]) -> None:
    values = Request(task=given).values["task"]
    assert values["reasoning_effort"] == "low"
    assert values["parameters"] == {"reasoning_effort": "low"}


def test_two_efforts_at_one_level_are_refused() -> None:
    given = {"reasoning_effort": "low", "parameters": {"reasoning_effort": "high"}}
    with pytest.raises(RequestError) as caught:
        Request(task=given)
    assert caught.value.path == "$.task.parameters.reasoning_effort"
    assert caught.value.reason == "reasoning_effort is given twice, with two values"


def test_wishes_are_known_by_one_name_and_stay_in_the_request_as_they_were_given() -> None:
    given = {"parameters": {"max_output_tokens": 5, "seed": 1}}
    request = Request(call=given)
    assert request.given == {"call": given}
    assert request.values["call"]["parameters"] == {"max_tokens": 5, "seed": 1}
    assert Request(task={"kind": "x"}).values["call"]["parameters"] == {}
    assert Request().values["task"]["parameters"] == {}
    with pytest.raises(TypeError):
        request.given["call"]["parameters"]["seed"] = 2
    with pytest.raises(TypeError):
        request.values["call"]["parameters"]["seed"] = 2


# Closed sets, and what is required.

CLOSED = """
kinds: [coding, math]
teams: {values: [ops, research], unknown: refuse}
roles: [admin]
labels: [pii]
needs: {values: [tools]}
"""


@each(
    ("content", "path", "reason", "help_"),
    [
        (
            {"caller": {"team": "opss"}},
            "$.caller.team",
            "the team is not one that the policy knows",
            "did you mean `ops`?",
        ),
        (
            {"caller": {"roles": ["admin", "zzz"]}},
            "$.caller.roles[1]",
            "the role is not one that the policy knows",
            "one of admin",
        ),
        (
            {"task": {"labels": ["zzz"]}},
            "$.task.labels[0]",
            "the label is not one that the policy knows",
            "one of pii",
        ),
        (
            {"task": {"needs": ["tools", "tool"]}},
            "$.task.needs[1]",
            "the need is not one that the policy knows",
            "did you mean `tools`?",
        ),
        (
            {"task": {"kind": "zzz"}},
            "$.task.kind",
            "the kind is not one that the policy knows",
            "one of coding, math",
        ),
    ],
)
def test_a_value_outside_a_closed_set_is_refused(
    content: Any, path: str, reason: str, help_: str
) -> None:
    with pytest.raises(RequestError) as caught:
        checked(loads(CLOSED), content)
    assert (caught.value.path, caught.value.reason, caught.value.help) == (path, reason, help_)


def test_values_of_closed_sets_and_empty_ones_fit() -> None:
    policy = loads(CLOSED)
    for task, caller in (
        ({"kind": "", "labels": [], "needs": []}, {"team": "", "roles": []}),
        ({"kind": "math", "labels": ["pii"], "needs": ["tools"]}, {"team": "ops"}),
    ):
        assert dropped(policy, checked(policy, {"task": task, "caller": caller})) == ()


def test_an_empty_item_of_a_list_is_a_value_like_another() -> None:
    with pytest.raises(RequestError):
        checked(loads(CLOSED), {"task": {"labels": [""]}})


DROPPING = """
kinds: {values: [coding], unknown: drop}
teams: {values: [ops], unknown: drop}
roles: {values: [admin], unknown: drop}
facts: {n: {type: int, default: 1}}
"""


def test_a_value_that_a_closed_set_drops_counts_as_not_given() -> None:
    policy = loads(DROPPING)
    given = {
        "task": {"kind": "x"},
        "caller": {"id": "me", "team": "x", "roles": ["a", "admin", "b"]},
    }
    request = checked(policy, given)
    values = values_of(policy, request)
    assert values["task"]["kind"] == values["caller"]["team"] == ""
    assert values["caller"]["roles"] == ("admin",)
    assert (values["caller"]["id"], values["facts"]["n"]) == ("me", 1)
    assert dropped(policy, request) == (
        *("$.task.kind", "$.caller.team"),
        *("$.caller.roles[0]", "$.caller.roles[2]"),
    )
    # The request stays what it was.
    assert request.given["caller"]["roles"] == ("a", "admin", "b")


REQUIRING = """
teams: {values: [ops], unknown: drop}
facts: {risk: {type: int, required: true}, text: {type: string, required: true}}
require: [budget.remaining_usd, caller.team, task.labels, parent.depth]
"""
COMPLETE: dict[str, Any] = {
    "budget": {"remaining_usd": 0},
    "caller": {"team": "ops"},
    "task": {"labels": ["x"]},
    "parent": {"depth": 0},
    "facts": {"risk": 0, "text": "x"},
}


def test_what_is_required_has_to_be_given() -> None:
    policy = loads(REQUIRING)
    assert checked(policy, COMPLETE).given["facts"] == {"risk": 0, "text": "x"}
    # Wherever it is given.
    effort = loads("require: [task.reasoning_effort]")
    checked(effort, {"task": {"parameters": {"reasoning_effort": "low"}}})


@each(
    ("section", "content", "path"),
    [
        ("budget", {}, "$.budget.remaining_usd"),
        ("budget", {"spent_usd": 1.0}, "$.budget.remaining_usd"),
        ("caller", {}, "$.caller.team"),
        ("caller", {"team": ""}, "$.caller.team"),
        # One that is dropped counts as not given.
        ("caller", {"team": "zzz"}, "$.caller.team"),
        ("task", {"labels": []}, "$.task.labels"),
        # The number that the language has for it is no answer.
        ("parent", {"model": "m"}, "$.parent.depth"),
        ("facts", {"text": "x"}, "$.facts.risk"),
        ("facts", {"risk": 0}, "$.facts.text"),
        ("facts", {"risk": 0, "text": ""}, "$.facts.text"),
    ],
)
def test_a_request_without_what_is_required_is_refused(
    section: str, content: dict[str, Any], path: str
) -> None:
    with pytest.raises(RequestError) as caught:
        checked(loads(REQUIRING), {**COMPLETE, section: content})
    assert caught.value.path == path
    assert caught.value.reason == "the policy requires this to be given"


# Limits, at their edges.


def test_a_list_may_have_just_the_items_allowed() -> None:
    Request(task={"labels": ["a"] * MAX_ITEMS})
    assert problem({"task": {"labels": ["a"] * (MAX_ITEMS + 1)}}) == (
        "$.task.labels",
        "the list has more than 1,000 items",
        None,
    )


def test_a_string_may_have_just_the_characters_allowed() -> None:
    Request(task={"model": "\u00e9" * MAX_CHARACTERS})
    long = "a" * (MAX_CHARACTERS + 1)
    reason = "the string has more than 65,536 characters"
    assert problem({"task": {"model": long}}) == ("$.task.model", reason, None)
    assert problem({"task": {"labels": [long]}}) == ("$.task.labels[0]", reason, None)


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63)])
def test_an_int_may_have_just_64_bits(number: int) -> None:
    assert Request(task={"index": number}).given["task"]["index"] == number


@each("character", ["\ud7ff", "\ue000", "\U0010ffff"])
def test_the_characters_beside_the_surrogates_are_valid(character: str) -> None:
    Request(caller={"id": character})


# Values.


def test_a_whole_number_given_for_a_double_is_taken_as_one() -> None:
    budget = Request(budget={"spent_usd": 2}).given["budget"]
    assert type(budget["spent_usd"]) is float
    fact = checked(POLICY, {"facts": {"ratio": 2}}).given["facts"]["ratio"]
    assert type(fact) is float
    # Before a policy gives it a type, it is what was written.
    assert type(Request(facts={"ratio": 2}).given["facts"]["ratio"]) is int


def test_what_fits_is_taken_as_it_is() -> None:
    given: dict[str, Any] = {
        "call": {"model": "a", "provider": "b", "reasoning_effort": "c"},
        "task": {"kind": "coding", "labels": ["a"], "index": 1, "input_tokens": 5},
        "caller": {"roles": ["x"]},
        "facts": {"text": "", "count": 1, "ratio": 0.5, "flag": True, "tags": []},
    }
    found = checked(POLICY, given).given
    assert found["call"] == given["call"]
    assert found["task"] == {**given["task"], "labels": ("a",)}
    assert found["facts"] == {**given["facts"], "tags": ()}


def test_the_values_of_a_request_have_the_defaults_of_policy_and_language() -> None:
    request = checked(POLICY, {"facts": {"count": 4}, "parent": {"depth": 2}})
    values = values_of(POLICY, request)
    assert values["facts"] == {"count": 4, "flag": False, "tags": ("a",)}
    assert values["parent"] == {"model": "", "provider": "", "reasoning_effort": "", "depth": 2}
    assert values["task"]["batch_size"] == 1
    assert values["budget"] == {}


def test_a_request_need_not_be_a_plain_dict() -> None:
    assert Request.from_mapping(UserDict(task=UserDict(kind="a"))) == Request(task={"kind": "a"})


def test_a_checked_request_is_not_made_again() -> None:
    request = Request(task={"kind": "coding"})
    assert checked(POLICY, request) is request


def test_what_is_not_given_stays_away() -> None:
    assert Request().given == {}
    assert Request(task={}).given == {"task": {}}


# As a value.


def test_equal_requests_are_equal_and_have_one_hash() -> None:
    one = Request(task={"kind": "a", "labels": ["x"]}, parent={"model": "m"})
    two = Request(parent={"model": "m"}, task={"labels": ("x",), "kind": "a"})
    assert one == two
    assert hash(one) == hash(two)
    assert one != Request(task={"kind": "b"})
    assert one != one.given
    assert len({one, two}) == 1


def test_a_request_cannot_be_changed() -> None:
    labels = ["a"]
    task: dict[str, Any] = {"labels": labels}
    request = Request(task=task)
    labels.append("b")
    task["kind"] = "x"
    assert request.given == {"task": {"labels": ("a",)}}
    for mapping in (request.given, request.given["task"]):
        with pytest.raises(TypeError):
            mapping["kind"] = "x"
    with pytest.raises(AttributeError):
        request.given = {}  # type: ignore[assignment,misc]
    with pytest.raises(AttributeError):
        request.other = 1  # type: ignore[attr-defined]


def test_a_request_shows_what_was_given() -> None:
    shown = repr(Request(task={"kind": "coding"}, parent={"model": "glm-5"}))
    assert shown == "Request(task={'kind': 'coding'}, parent={'model': 'glm-5'})"


def test_a_request_survives_pickling() -> None:
    request = Request(task={"kind": "coding", "labels": ["a"]})
    assert pickle.loads(pickle.dumps(request)) == request  # noqa: S301 - its own bytes


# From JSON.


def test_a_request_is_read_from_json_in_text_or_bytes() -> None:
    for content in ('{"task": {"kind": "a"}}', b'{"task": {"kind": "a"}}'):
        assert Request.from_json(content) == Request(task={"kind": "a"})


@each(
    ("content", "path", "reason"),
    [
        ("", "$", "the request is not JSON"),
        ("{", "$", "the request is not JSON"),
        ("{} {}", "$", "the request is not JSON"),
        ('{"budget": {"spent_usd": NaN}}', "$", "the request is not JSON"),
        (b'{"task": {"kind": "\xff"}}', "$", "the request is not JSON"),
        ("\ud800", "$", "the request is not JSON"),
        ("[" * 100_000, "$", "the request is not JSON"),
        ("[]", "$", "expected a mapping, found a list"),
        ("1.5", "$", "expected a mapping, found a double"),
        ('{"task": {"index": 1e300}}', "$.task.index", None),
        ('{"task": {"index": 99999999999999999999}}', "$.task.index", None),
        ('{"budget": {"spent_usd": 1e999}}', "$", None),
    ],
)
def test_what_is_no_request_in_json_is_refused(
    content: str | bytes, path: str, reason: str | None
) -> None:
    with pytest.raises(RequestError) as caught:
        Request.from_json(content)
    assert caught.value.path == path
    assert reason is None or caught.value.reason == reason


def test_a_request_in_json_may_have_just_the_bytes_allowed() -> None:
    assert Request.from_json("{}".ljust(MAX_BYTES)) == Request()
    for content in ("{}".ljust(MAX_BYTES + 1), b"{}".ljust(MAX_BYTES + 1)):
        with pytest.raises(RequestError, match="longer than 1,048,576 bytes"):
            Request.from_json(content)


def test_a_text_is_as_long_as_its_bytes() -> None:
    text = '{"caller": {"id": "' + "\u00e9" * (MAX_BYTES // 2) + '"}}'
    with pytest.raises(RequestError, match="longer than 1,048,576 bytes"):
        Request.from_json(text)


# The time.


@each(
    ("now", "text"),
    [
        ("2026-01-31T09:00:00Z", "2026-01-31T09:00:00Z"),
        ("2026-01-31T09:00:00+02:00", "2026-01-31T07:00:00Z"),
        ("2026-01-31T09:00:00-08:30", "2026-01-31T17:30:00Z"),
        ("2026-01-31T09:00:00.5Z", "2026-01-31T09:00:00.5Z"),
        ("2026-01-31T09:00:00.120Z", "2026-01-31T09:00:00.12Z"),
        ("2026-01-31T09:00:00.000001Z", "2026-01-31T09:00:00.000001Z"),
        ("2026-01-31T09:00:00.000000Z", "2026-01-31T09:00:00Z"),
        ("2026-01-31T09:00:10Z", "2026-01-31T09:00:10Z"),
        ("2026-01-31t09:00:00z", "2026-01-31T09:00:00Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_a_time_is_spelt_in_utc_without_needless_zeros(now: str, text: str) -> None:
    assert spelt(moment(now)) == text
    assert moment(now).tzinfo is datetime.UTC


def test_a_time_may_be_an_aware_datetime() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=2))
    now = datetime.datetime(2026, 1, 31, 9, 0, tzinfo=zone)
    assert spelt(moment(now)) == "2026-01-31T07:00:00Z"


WANTED = "expected a time such as 2026-01-31T09:00:00Z"
NO_ZONE = "the time has no time zone; give an aware datetime"


@each(
    ("now", "reason"),
    [
        ("", WANTED),
        ("now", WANTED),
        ("2026-01-31", WANTED),
        ("2026-01-31T09:00:00", WANTED),
        ("2026-01-31 09:00:00Z", WANTED),
        ("2026-01-31T09:00Z", WANTED),
        ("2026-01-31T09:00:00.1234567Z", WANTED),
        ("2026-01-31T09:00:00.Z", WANTED),
        ("2026-01-31T09:00:00Z\n", WANTED),
        ("\u0662026-01-31T09:00:00Z", WANTED),
        ("2026-13-31T09:00:00Z", "there is no such time"),
        ("2026-02-29T09:00:00Z", "there is no such time"),
        ("2026-01-31T25:00:00Z", "there is no such time"),
        ("2026-01-31T09:00:00+25:00", "there is no such time"),
        ("0001-01-01T00:00:00+01:00", "the time is outside the years 1 to 9999"),
        ("9999-12-31T23:59:59-01:00", "the time is outside the years 1 to 9999"),
        (datetime.datetime(2026, 1, 31), NO_ZONE),  # noqa: DTZ001 - naive on purpose
        (datetime.date(2026, 1, 31), "expected a datetime, found something else"),
        (1769850000, "expected a datetime, found an int"),
        (None, "expected a datetime, found null"),
    ],
)
def test_another_time_is_refused(now: Any, reason: str) -> None:
    with pytest.raises(RequestError) as caught:
        moment(now)
    assert str(caught.value) == f"now: {reason}"


class Zoneless(datetime.tzinfo):
    """A time zone that does not know its offset."""

    def utcoffset(self, _when: datetime.datetime | None) -> None:
        """Return nothing."""

    def dst(self, _when: datetime.datetime | None) -> None:
        """Return nothing."""

    def tzname(self, _when: datetime.datetime | None) -> None:
        """Return nothing."""


def test_a_time_zone_that_does_not_know_its_offset_is_none() -> None:
    with pytest.raises(RequestError, match="no time zone"):
        moment(datetime.datetime(2026, 1, 31, tzinfo=Zoneless()))


def test_the_values_of_a_request_cannot_be_changed() -> None:
    for request in (Request(), Request(task={"kind": "a"}, facts={"text": "b"})):
        for section in ("task", "facts"):
            with pytest.raises(TypeError):
                request.values[section]["kind"] = "b"  # type: ignore[index]
        with pytest.raises(TypeError):
            request.values["task"] = {}  # type: ignore[index]
    assert Request().values["task"]["kind"] == ""
