"""What literals and constant arguments mean."""

from __future__ import annotations

import pytest

from policy_router.cel.literals import (
    LiteralProblem,
    is_duration,
    is_timestamp,
    is_utc_offset,
    pattern_problem,
    value_of,
)
from tests.support.rows import each

VALUES: list[tuple[str, bool | float | str]] = [
    ("true", True),
    ("false", False),
    ("0", 0),
    ("-7", -7),
    ("0x1f", 31),
    ("-0x1F", -31),
    ("010", 10),
    ("9223372036854775807", 2**63 - 1),
    ("-9223372036854775808", -(2**63)),
    ("1.0", 1.0),
    ("-1.5e3", -1500.0),
    (".5", 0.5),
    ("1e-400", 0.0),
    ("'a'", "a"),
    ('"a"', "a"),
    ("''", ""),
    ('""', ""),
    ("'''a'''", "a"),
    ('"""a"b"""', 'a"b'),
    ("''''''", ""),
    (r"r'\n'", r"\n"),
    (r'R"\d"', r"\d"),
    (r'r"""\d"""', r"\d"),
    (r"'\a\b\f\n\r\t\v'", "\a\b\f\n\r\t\v"),
    (r"'\\ \' \" \` \?'", "\\ ' \" ` ?"),
    (r"'\x41\X42'", "AB"),
    (r"'\u00e9'", "\u00e9"),
    (r"'\U0001F600'", "\U0001f600"),
    (r"'\101\377'", "A\xff"),
    (r"'\1011'", "A1"),
    # An escaped backslash does not begin the escape that follows it.
    (r"'\\n'", r"\n"),
]


@each(("text", "value"), VALUES)
def test_a_literal_has_its_value(text: str, value: bool | float | str) -> None:  # noqa: FBT001
    found = value_of(text)
    assert found == value
    assert type(found) is type(value)


REFUSED = [
    ("9223372036854775808", "the number is too large for an int of 64 bits"),
    ("-9223372036854775809", "the number is too large for an int of 64 bits"),
    ("0xFFFFFFFFFFFFFFFF", "the number is too large for an int of 64 bits"),
    ("1e400", "the number is too large for a double"),
    ("-1e400", "the number is too large for a double"),
    ("1u", "`1u` is outside the profile of CEL used here"),
    ("1U", "`1U` is outside the profile of CEL used here"),
    ("null", "`null` is outside the profile of CEL used here"),
    ("b'a'", "bytes are outside the profile of CEL used here"),
    ('rb"a"', "bytes are outside the profile of CEL used here"),
    (r"'\q'", r"unknown escape `\q` in a string"),
    (r"'\x4'", r"unknown escape `\x` in a string"),
    (r"'\400'", r"unknown escape `\4` in a string"),
    (r"'\ud800'", r"`\ud800` is not a Unicode character"),
    (r"'\udfff'", r"`\udfff` is not a Unicode character"),
    (r"'\U00110000'", r"`\U00110000` is not a Unicode character"),
]


@each(("text", "message"), REFUSED)
def test_a_literal_without_a_value_says_why(text: str, message: str) -> None:
    with pytest.raises(LiteralProblem) as caught:
        value_of(text)
    assert str(caught.value) == message


@each("text", [r"'\ud7ff'", r"'\ue000'", r"'\U0010FFFF'"])
def test_the_characters_beside_the_surrogates_are_characters(text: str) -> None:
    assert len(str(value_of(text))) == 1


@each("text", ["^a+$", "[[:alpha:]]", r"\pL", "(?i)a", ""])
def test_a_pattern_of_re2_is_no_problem(text: str) -> None:
    assert pattern_problem(text) is None


@each("text", ["(", "a**", "(?=a)", r"(a)\1", "[z-a]"])
def test_another_pattern_has_a_reason(text: str) -> None:
    reason = pattern_problem(text)
    assert reason
    assert isinstance(reason, str)


@each(
    ("text", "expected"),
    [
        ("2026-01-31T09:00:00Z", True),
        ("2026-01-31T09:00:00.123456789Z", True),
        ("2026-01-31T09:00:00+02:00", True),
        ("0001-01-01T00:00:00Z", True),
        ("9999-12-31T23:59:59Z", True),
        ("2024-02-29T00:00:00Z", True),
        ("2026-02-29T00:00:00Z", False),
        ("2026-13-01T00:00:00Z", False),
        ("2026-01-31T24:00:00Z", False),
        ("2026-01-31T09:00:00", False),
        ("2026-01-31", False),
        ("2026-01-31 09:00:00Z", False),
        ("2026-01-31T09:00:00.Z", False),
        ("2026-01-31T09:00:00.1234567890Z", False),
        ("2026-01-31T09:00:00Z ", False),
        # In UTC these are outside the years that there are.
        ("0001-01-01T00:00:00+01:00", False),
        ("0001-01-01T00:00:00-01:00", True),
        ("9999-12-31T23:59:59-01:00", False),
        ("9999-12-31T23:59:59+01:00", True),
        ("", False),
    ],
)
def test_a_timestamp_is_of_rfc_3339(text: str, expected: bool) -> None:  # noqa: FBT001
    assert is_timestamp(text) is expected


@each(
    ("text", "expected"),
    [
        ("0", True),
        ("1h", True),
        ("1h30m", True),
        ("-1.5s", True),
        ("+1ms", True),
        ("1us1ns", True),
        (".5s", True),
        ("1.s", True),
        ("1", False),
        ("1x", False),
        ("s", False),
        (".s", False),
        ("1 h", False),
        ("1h ", False),
        ("1d", False),
        ("", False),
    ],
)
def test_a_duration_is_numbers_with_units(text: str, expected: bool) -> None:  # noqa: FBT001
    assert is_duration(text) is expected


@each(
    ("text", "expected"),
    [
        ("UTC", True),
        ("+02:00", True),
        ("-08:30", True),
        ("02:00", True),
        ("+14:59", True),
        ("+15:00", False),
        ("+02:60", False),
        ("+2:00", False),
        ("utc", False),
        ("Europe/Berlin", False),
        ("", False),
    ],
)
def test_a_time_zone_is_utc_or_an_offset(text: str, expected: bool) -> None:  # noqa: FBT001
    assert is_utc_offset(text) is expected
