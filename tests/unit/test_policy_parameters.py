"""What a policy may say of parameters, and what of it is an error when it is loaded."""

from __future__ import annotations

import pytest

from policy_router import loads
from policy_router.diagnostics.codes import Code, Severity
from policy_router.files.loader import check_text
from policy_router.parameters import RESERVED
from tests.support.rows import each

Row = tuple[Code, str, str, str | None]


def errors_in(text: str) -> list[Row]:
    """Return code, path, message and help of each error."""
    _, found = check_text(text)
    errors = [item for item in found if item.severity is Severity.ERROR]
    return [(item.code, item.path, item.message, item.help) for item in errors]


def places_in(text: str) -> list[tuple[Code, str]]:
    """Return code and path of each error."""
    return [(code, path) for code, path, _, _ in errors_in(text)]


# PR416: names that are no parameters.


@each(
    ("text", "place"),
    [
        ("parameters: {%s: zz}", "$.parameters"),
        ("pool: [{model: m, parameters: {%s: zz}}]", "$.pool[0].parameters"),
        ("pool: [{model: m, limits: {%s: [zz]}}]", "$.pool[0].limits"),
        ("delegation: {parameters: {%s: zz}}", "$.delegation.parameters"),
    ],
)
def test_what_would_replace_a_decision_is_no_parameter_anywhere(text: str, place: str) -> None:
    assert RESERVED
    for name in RESERVED:
        assert (Code.RESERVED_PARAMETER, f"{place}.{name}") in places_in(text % name)


def test_a_reserved_name_is_pointed_at_with_a_remedy() -> None:
    _, found = check_text("parameters:\n  temperature: 1\n  model: zz")
    (item,) = found
    assert item.span.position == (3, 3)
    assert item.message == "`model` is not a parameter: it would override the decision"
    assert item.help == "say it with the entry's own keys, such as `model` and `provider`"


@each("name", ["Model", "models_", "stop", "response_format", "user"])
def test_another_name_is_a_parameter(name: str) -> None:
    assert errors_in(f"parameters: {{{name}: zz}}") == []


# Two spellings.


@each(
    "text",
    [
        "parameters: {%s}",
        "pool: [{model: m, parameters: {%s}}]",
        "pool: [{model: m, limits: {%s}}]",
    ],
)
def test_two_spellings_of_one_parameter_are_an_error(text: str) -> None:
    limits = "limits" in text
    value = "{max: 5}" if limits else "5"
    pairs = f"max_tokens: {value}, max_output_tokens: {value}"
    ((code, path, message, help_),) = errors_in(text % pairs)
    assert (code, path.rpartition(".")[2]) == (Code.GIVEN_TWICE, "max_output_tokens")
    assert message == "`max_output_tokens` and `max_tokens` are the same parameter"
    assert help_ is not None
    assert help_.startswith("first given at <policy>:1:")


def test_an_entry_may_spell_it_otherwise_than_the_policy() -> None:
    text = "parameters: {max_tokens: 5}\npool: [{model: m, parameters: {max_output_tokens: 6}}]"
    policy = loads(text)
    (entry,) = policy.pool or ()
    assert (policy.parameters, entry.parameters) == ({"max_tokens": 5}, {"max_tokens": 6})


# Types.


@each(
    ("name", "value", "wanted"),
    [
        ("temperature", "high", "a number"),
        ("temperature", "true", "a number"),
        ("top_k", "1.5", "a whole number"),
        ("max_tokens", "128k", "a whole number"),
        ("max_tokens", "false", "a whole number"),
        ("max_output_tokens", "[1]", "a whole number"),
        ("seed", "x", "a whole number"),
        ("verbosity", "1", "a string"),
        ("verbosity", "false", "a string"),
    ],
)
@each("place", ["parameters", "pool[0].parameters"])
def test_a_value_of_another_type_is_an_error(
    place: str, name: str, value: str, wanted: str
) -> None:
    content = f"parameters: {{{name}: {value}}}"
    text = content if place == "parameters" else f"pool: [{{model: m, {content}}}]"
    assert errors_in(text) == [
        (Code.WRONG_TYPE, f"$.{place}.{name}", f"`{name}` is {wanted}", None)
    ]


@pytest.mark.parametrize("place", ["parameters", "pool[0].parameters"])
def test_an_effort_is_a_word_or_switched_off(place: str) -> None:
    for value, code in (("1", Code.WRONG_TYPE), ("true", Code.NOT_ALLOWED)):
        content = f"parameters: {{reasoning_effort: {value}}}"
        text = content if place == "parameters" else f"pool: [{{model: m, {content}}}]"
        assert places_in(text) == [(code, f"$.{place}.reasoning_effort")]


def test_an_effort_may_be_switched_off() -> None:
    policy = loads("parameters: {reasoning_effort: false}", name="x")
    assert policy.parameters == {"reasoning_effort": False}
    assert loads("reasoning_effort: false", name="x").canonical == policy.canonical
    (entry,) = loads("pool: [{model: m, parameters: {reasoning_effort: false}}]").pool or ()
    assert entry.parameters == {"reasoning_effort": False}
    assert errors_in("reasoning_effort: true") != []


# Limits.


@each(
    ("limits", "code", "message"),
    [
        ("{reasoning_effort: {max: 5}}", Code.WRONG_TYPE, "expected a list, found a mapping"),
        ("{verbosity: {}}", Code.WRONG_TYPE, "`verbosity` is a string: its limit is a list"),
        ("{verbosity: [low, 1]}", Code.WRONG_TYPE, "`verbosity` is a string"),
        ("{top_k: [1, 2.5]}", Code.WRONG_TYPE, "`top_k` is a whole number"),
        ("{top_k: [true]}", Code.WRONG_TYPE, "`top_k` is a whole number"),
        ("{max_tokens: {max: 1.5}}", Code.WRONG_TYPE, "`max_tokens` is a whole number"),
        ("{temperature: [low]}", Code.WRONG_TYPE, "`temperature` is a number"),
        (
            "{temperature: {min: 1, max: 0.5}}",
            Code.OUTSIDE_LIMITS,
            "no value is at least 1 and at most 0.5",
        ),
        ("{style: {min: 2, max: 1}}", Code.OUTSIDE_LIMITS, "no value is at least 2 and at most 1"),
    ],
)
def test_a_limit_that_nothing_meets_is_an_error(limits: str, code: Code, message: str) -> None:
    ((found, path, text, _),) = errors_in(f"pool: [{{model: m, limits: {limits}}}]")
    assert (found, path.rpartition(".")[0]) == (code, "$.pool[0].limits")
    assert text.startswith(message)


@each(
    "limits",
    [
        "{temperature: {min: 0, max: 0}}",
        "{temperature: {min: 0.5, max: 1}}",
        "{max_tokens: {max: 100}}",
        "{top_k: [1, 2]}",
        "{reasoning_effort: []}",
        "{style: [terse, 1, true]}",
        "{seed: {}}",
    ],
)
def test_a_limit_that_something_meets_is_left_alone(limits: str) -> None:
    assert errors_in(f"pool: [{{model: m, limits: {limits}}}]") == []


# PR417: an entry's own values.


@each(
    ("parameters", "limits", "name"),
    [
        ("{top_k: 9}", "{top_k: {max: 5}}", "top_k"),
        ("{top_k: 0}", "{top_k: {min: 1}}", "top_k"),
        ("{reasoning_effort: high}", "{reasoning_effort: [low]}", "reasoning_effort"),
        ("{max_tokens: 11}", "{max_output_tokens: {max: 10}}", "max_tokens"),
        ("{max_completion_tokens: 11}", "{max_tokens: {max: 10}}", "max_completion_tokens"),
        ("{style: 1}", "{style: [terse]}", "style"),
        ("{style: terse}", "{style: {max: 1}}", "style"),
    ],
)
def test_an_entrys_own_value_outside_its_own_limits_is_an_error(
    parameters: str, limits: str, name: str
) -> None:
    text = f"pool: [{{model: m, parameters: {parameters}, limits: {limits}}}]"
    message = f"the entry's own `{name}` is outside its own limits"
    place = f"$.pool[0].parameters.{name}"
    assert errors_in(text) == [(Code.OUTSIDE_LIMITS, place, message, "change one of the two")]


@each(
    "text",
    [
        "pool: [{model: m, parameters: {top_k: 5}, limits: {top_k: {max: 5}}}]",
        "pool: [{model: m, parameters: {temperature: 1}, limits: {temperature: [1.0]}}]",
        "pool: [{model: m, parameters: {reasoning_effort: false}, limits: {reasoning_effort: []}}]",
        # The policy's own is clamped or left out for this entry.
        "parameters: {top_k: 9}\npool: [{model: m, limits: {top_k: {max: 5}}}]",
        # Another entry's limits are not its own.
        "pool: [{model: m, parameters: {top_k: 9}}, {model: n, limits: {top_k: {max: 5}}}]",
    ],
)
def test_what_is_within_is_left_alone(text: str) -> None:
    assert errors_in(text) == []
