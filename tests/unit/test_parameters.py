"""Parameters of a model call: their names, their types, and which are none."""

from __future__ import annotations

from typing import Any

from policy_router.cel.vocabulary import REQUEST_NAMES
from policy_router.parameters import KNOWN, RESERVED, SPELLINGS, Kind, fits, is_number, named, same
from tests.support.rows import each

WHOLE, NUMBER, TEXT = "top_k", "temperature", "verbosity"


def test_what_may_be_wished_for_of_any_target_is_what_the_page_says() -> None:
    kinds = {kind: {name for name, it in KNOWN.items() if it is kind} for kind in Kind}
    assert kinds == {
        Kind.COUNT: {"max_tokens", "top_k", "seed", "thinking_budget"},
        Kind.NUMBER: {"temperature", "top_p", "frequency_penalty", "presence_penalty"},
        Kind.TEXT: {"reasoning_effort", "verbosity"},
    }


def test_nothing_that_may_be_wished_for_replaces_what_was_decided() -> None:
    assert not RESERVED & {*KNOWN, *SPELLINGS}
    assert {"model", "base_url", "api_key", "messages", "tools", "stream"} <= RESERVED


def test_a_parameter_has_one_name_whatever_it_was_called() -> None:
    for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
        assert named(name) == "max_tokens"
    # Only as it is written: another case is another name.
    assert named("Max_Tokens") == "Max_Tokens"
    assert named("temperature") == "temperature"


@each(
    ("name", "value", "does"),
    [
        (WHOLE, 1, True),
        (WHOLE, 1.0, False),
        (WHOLE, True, False),
        (WHOLE, "1", False),
        (WHOLE, None, False),
        (NUMBER, 1, True),
        (NUMBER, 1.5, True),
        (NUMBER, False, False),
        (NUMBER, "1", False),
        (TEXT, "low", True),
        (TEXT, "", True),
        (TEXT, 1, False),
        (TEXT, False, False),
        # One that is not known may have any type.
        ("stop", ["a"], True),
        ("stop", None, True),
    ],
)
def test_a_value_has_the_type_of_its_parameter_or_does_not_fit(
    name: str,
    value: Any,
    does: bool,  # noqa: FBT001
) -> None:
    assert fits(name, value) is does


@each(
    ("one", "other", "are"),
    [
        (1, 1, True),
        (1, 1.0, True),
        ("a", "a", True),
        (True, True, True),
        (1, True, False),
        (0.0, False, False),
        (1, "1", False),
        ("a", "A", False),
        (1, 2, False),
    ],
)
def test_values_are_the_same_where_an_endpoint_takes_them_alike(
    one: Any,
    other: Any,
    are: bool,  # noqa: FBT001
) -> None:
    assert same(one, other) is are
    assert same(other, one) is are


def test_true_and_false_are_no_numbers() -> None:
    assert [is_number(it) for it in (1, 1.5, True, False, "1", None)] == [
        *(True, True),
        *(False, False, False, False),
    ]


def test_no_condition_reads_a_parameter_but_the_reasoning_effort() -> None:
    read = {name.path.partition(".")[2] for name in REQUEST_NAMES} & {*KNOWN, "parameters"}
    assert read == {"reasoning_effort"}
