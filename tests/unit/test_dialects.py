"""How a call is put to a model: roles, names of parameters, and what is left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from policy_router.calls.dialects import CHAT, RESPONSES, Wire, conversation, longest_answer, wire
from policy_router.calls.endpoints import merged
from policy_router.decision.record import Target
from policy_router.domain import Dialect, PoolEntry, frozen
from tests.support.rows import each

AS_RESPONSES = Dialect(api=RESPONSES)
RESERVED = ["input", "instructions", "messages", "model", "stream"]


def put(
    parameters: Mapping[str, Any],
    dialect: Dialect = Dialect(),  # noqa: B008 - it is frozen
    *,
    supports: tuple[str, ...] | None = None,
    streams: bool = False,
) -> Wire:
    """Put a call with parameters."""
    entry = PoolEntry("m", "m", supports=supports)
    return wire(Target("m", "p", dict(parameters)), entry, dialect, streams=streams)


def sent(parameters: Mapping[str, Any], dialect: Dialect = Dialect()) -> dict[str, Any]:  # noqa: B008 - it is frozen
    """Return the parameters that are sent."""
    return put(parameters, dialect).parameters


# --- Roles ----------------------------------------------------------------------------------------


@each(
    ("model", "role"),
    [
        ("gpt-5", "developer"),
        ("gpt-5-mini", "developer"),
        ("gpt-5.1-2025-11-13", "developer"),
        ("GPT-5", "developer"),
        ("openai/gpt-5", "developer"),
        ("OpenAI/GPT-5-Pro", "developer"),
        ("codex-mini-latest", "developer"),
        ("openrouter/openai/Codex-Mini", "developer"),
        ("my-CODEX", "developer"),
        ("gpt-4.1", "system"),
        ("gpt5", "system"),
        ("glm-5", "system"),
        ("o3", "system"),
        ("code-x", "system"),
        ("", "system"),
    ],
)
def test_the_system_message_goes_under_the_role_that_the_model_takes(model: str, role: str) -> None:
    messages = conversation(Target(model, "p", {}), Dialect(), "be brief", "the goal")
    assert messages == [
        {"role": role, "content": "be brief"},
        {"role": "user", "content": "the goal"},
    ]


@each("model", ["gpt-5", "small-model"])
@each("role", ["developer", "system"])
def test_a_dialect_that_names_a_role_goes_before_the_models_name(model: str, role: str) -> None:
    dialect = Dialect(system_role=role)
    assert conversation(Target(model, "p", {}), dialect, "s", "u")[0]["role"] == role


def test_without_instructions_there_is_no_system_message() -> None:
    assert conversation(Target("gpt-5", "p", {}), Dialect(), "", "u") == [
        {"role": "user", "content": "u"}
    ]


# --- Which dialect --------------------------------------------------------------------------------


def test_a_dialect_says_first_what_is_its_own_and_then_what_is_behind_it() -> None:
    entry = Dialect(system_role="system", unsupported=("top_k",))
    provider = Dialect("responses", "developer", "max_completion_tokens", ("seed",))
    assert merged(entry, provider) == Dialect(
        "responses", "system", "max_completion_tokens", ("top_k", "seed")
    )
    assert merged(Dialect(), Dialect()) == Dialect()


# --- Names of parameters --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "name"),
    [
        (Dialect(), "max_tokens"),
        (Dialect(max_tokens="max_tokens"), "max_tokens"),
        (Dialect(max_tokens="max_completion_tokens"), "max_completion_tokens"),
        (Dialect(api=CHAT, max_tokens="max_completion_tokens"), "max_completion_tokens"),
        (AS_RESPONSES, "max_output_tokens"),
        (Dialect(api=RESPONSES, max_tokens="max_completion_tokens"), "max_output_tokens"),
    ],
)
@pytest.mark.parametrize("given", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
def test_the_length_of_an_answer_is_spelt_as_the_endpoint_spells_it(
    dialect: Dialect, name: str, given: str
) -> None:
    assert sent({given: 100}, dialect) == {name: 100}


@pytest.mark.parametrize(
    "given",
    [
        {"max_tokens": 1, "max_completion_tokens": 2, "max_output_tokens": 3},
        {"max_output_tokens": 3, "max_completion_tokens": 2, "max_tokens": 1},
        {"max_completion_tokens": 2, "max_output_tokens": 3, "max_tokens": 1},
    ],
)
@pytest.mark.parametrize(
    ("dialect", "parameters"),
    [
        (Dialect(), {"max_tokens": 1}),
        (Dialect(max_tokens="max_completion_tokens"), {"max_completion_tokens": 2}),
        (AS_RESPONSES, {"max_output_tokens": 3}),
    ],
)
def test_of_several_lengths_the_one_that_is_spelt_right_is_sent(
    given: dict[str, int], dialect: Dialect, parameters: dict[str, int]
) -> None:
    assert sent(given, dialect) == parameters


@each("length", ["many", None, -1, True, 1.5])
def test_a_length_that_is_no_number_is_sent_as_it_is(length: Any) -> None:
    assert sent({"max_completion_tokens": length}) == {"max_tokens": length}


@pytest.mark.parametrize(
    ("given", "chat", "responses"),
    [
        ({"reasoning_effort": "low"}, None, {"reasoning": {"effort": "low"}}),
        ({"reasoning": {"effort": "low"}}, None, {"reasoning": {"effort": "low"}}),
        (
            {"reasoning": {"summary": "auto"}, "reasoning_effort": "low"},
            None,
            {"reasoning": {"summary": "auto", "effort": "low"}},
        ),
        (
            {"reasoning_effort": "low", "reasoning": {"summary": "auto", "effort": "high"}},
            None,
            {"reasoning": {"summary": "auto", "effort": "low"}},
        ),
        ({"reasoning": "auto"}, None, {"reasoning": "auto"}),
        ({"verbosity": "low"}, None, {"text": {"verbosity": "low"}}),
        (
            {"verbosity": "low", "text": {"format": {"type": "text"}}},
            None,
            {"text": {"format": {"type": "text"}, "verbosity": "low"}},
        ),
        ({"reasoning": None}, None, {"reasoning": None}),
    ],
)
def test_effort_and_verbosity_stand_where_the_api_has_them(
    given: dict[str, Any], chat: dict[str, Any] | None, responses: dict[str, Any]
) -> None:
    assert sent(given) == (chat or given)
    assert sent(given, AS_RESPONSES) == responses


@each("reasoning", [None, "auto", 1, [], True])
def test_an_effort_goes_before_a_reasoning_that_is_no_mapping(reasoning: Any) -> None:
    for given in (
        {"reasoning": reasoning, "reasoning_effort": "low"},
        {"reasoning_effort": "low", "reasoning": reasoning},
    ):
        assert sent(given, AS_RESPONSES) == {"reasoning": {"effort": "low"}}


@pytest.mark.parametrize("dialect", [Dialect(), AS_RESPONSES])
@pytest.mark.parametrize(
    "given",
    [
        {"top_k": 40},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"thinking": {"budget": [1, {"x": None}]}, "vendor_option": None},
        {"temperature": 0.0, "seed": 0, "stop": ["a", "b"]},
        {"service_tier": "flex", "extra_body": {"x": 1}, "extra_headers": {}, "timeout": 3},
    ],
)
def test_parameters_that_nobody_knows_go_on_as_they_are(
    given: dict[str, Any], dialect: Dialect
) -> None:
    put_ = put(given, dialect)
    assert put_.parameters == given
    assert put_.left_out == ()


def test_what_is_put_is_no_part_of_the_record() -> None:
    parameters = frozen({"reasoning": {"summary": "auto"}, "reasoning_effort": "low", "input": 1})
    before = dict(parameters)
    put_ = put(parameters, AS_RESPONSES, streams=True)
    put_.parameters["more"] = 1
    assert dict(parameters) == before


# --- Left out -------------------------------------------------------------------------------------


@each("dialect", [Dialect(), AS_RESPONSES])
@each("name", RESERVED)
def test_no_parameter_says_what_the_decision_and_the_task_say(name: str, dialect: Dialect) -> None:
    put_ = put({name: "mine", "top_k": 1}, dialect, streams=True)
    assert name not in put_.parameters
    assert put_.left_out == (name,)
    assert put_.model == "m"


def test_what_a_dialect_does_not_take_is_left_out_and_said_in_order() -> None:
    dialect = Dialect(unsupported=("top_k", "seed", "unused"))
    put_ = put({"top_k": 1, "seed": 2, "stop": "x"}, dialect)
    assert put_.parameters == {"stop": "x"}
    assert put_.left_out == ("seed", "top_k")


@each(
    ("supports", "left_out"),
    [
        (None, ()),
        (("reasoning", "tools"), ()),
        (("reasoning",), ("parallel_tool_calls", "tool_choice", "tools")),
        (("tools",), ("reasoning", "reasoning_effort", "thinking_budget")),
        (("vision",), None),
        ((), None),
    ],
)
def test_what_a_model_cannot_is_left_out_where_its_capabilities_are_declared(
    supports: tuple[str, ...] | None, left_out: tuple[str, ...] | None
) -> None:
    given = {
        "parallel_tool_calls": True,
        "reasoning": {},
        "thinking_budget": 1024,
        "reasoning_effort": "low",
        "tool_choice": "auto",
        "tools": [],
        "temperature": 1,
    }
    put_ = put(given, supports=supports)
    expected = tuple(sorted(set(given) - {"temperature"})) if left_out is None else left_out
    assert put_.left_out == expected
    assert put_.parameters == {name: given[name] for name in given if name not in expected}


def test_a_model_outside_the_pool_takes_everything() -> None:
    put_ = wire(Target("m", "p", {"reasoning_effort": "low"}), None, Dialect())
    assert (put_.parameters, put_.left_out) == ({"reasoning_effort": "low"}, ())


# --- Streams --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "dialect", "parameters"),
    [
        ({}, Dialect(), {"stream_options": {"include_usage": True}}),
        ({}, AS_RESPONSES, {}),
        ({}, Dialect(unsupported=("stream_options",)), {}),
        (
            {"stream_options": {"include_usage": False}},
            Dialect(),
            {"stream_options": {"include_usage": False}},
        ),
        ({"stream_options": {}}, Dialect(unsupported=("stream_options",)), {}),
    ],
)
def test_a_stream_is_asked_for_its_usage_where_that_is_taken(
    given: dict[str, Any], dialect: Dialect, parameters: dict[str, Any]
) -> None:
    assert put(given, dialect, streams=True).parameters == parameters


def test_what_is_not_streamed_is_asked_for_nothing_more() -> None:
    assert sent({}) == {}


# --- The longest answer ---------------------------------------------------------------------------


@each(
    ("parameters", "longest"),
    [
        ({}, None),
        ({"max_tokens": 100}, 100),
        ({"max_completion_tokens": 100}, 100),
        ({"max_output_tokens": 100}, 100),
        ({"max_tokens": 0}, None),
        ({"max_tokens": -1}, None),
        ({"max_tokens": "100"}, None),
        ({"max_tokens": None, "max_output_tokens": 7}, 7),
        ({"max_tokens": True}, None),
        ({"max_tokens": 3, "max_output_tokens": 7}, 7),
        ({"top_k": 5}, None),
    ],
)
def test_the_longest_answer_is_known_by_any_of_its_names(
    parameters: dict[str, Any], longest: int | None
) -> None:
    assert longest_answer(parameters) == longest


@pytest.mark.parametrize(
    ("dialect", "given"),
    [
        (Dialect(), {"max_tokens": 4000, "max_output_tokens": 100}),
        (AS_RESPONSES, {"max_tokens": 100, "max_output_tokens": 4000}),
    ],
)
def test_an_answer_is_not_longer_than_it_is_estimated(
    dialect: Dialect, given: dict[str, int]
) -> None:
    (asked_for,) = sent(given, dialect).values()
    longest = longest_answer(given)
    assert longest is not None
    assert asked_for <= longest
