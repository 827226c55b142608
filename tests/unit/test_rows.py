"""A test of several rows runs all of them, and tells which are wrong."""

from __future__ import annotations

import inspect

import pytest

from tests.support.rows import each


def test_every_row_is_tried_and_each_that_is_wrong_is_named() -> None:
    seen = []

    @each("one, other", [(1, 1), pytest.param(2, 3, id="two is three"), (4, 4), (5, 6)])
    def same(one: int, other: int) -> None:
        seen.append(one)
        assert one == other

    with pytest.raises(ExceptionGroup) as caught:
        same()

    assert seen == [1, 2, 4, 5]
    assert caught.value.message == "2 of 4 rows are wrong: 1 two is three, 3 (5, 6)"
    assert [it.__notes__ for it in caught.value.exceptions] == [
        ["in row 1 two is three"],
        ["in row 3 (5, 6)"],
    ]


def test_an_exception_that_is_not_raised_is_a_wrong_row_too() -> None:
    @each("name", ["a", "b"], ids=str.upper)
    def refused(name: str) -> None:
        with pytest.raises(ValueError, match="b"):
            raise ValueError(name) if name == "b" else TypeError
        pytest.fail("it goes on")

    with pytest.raises(BaseExceptionGroup, match="2 of 2 rows are wrong: 0 A, 1 B") as caught:
        refused()

    assert [type(it) for it in caught.value.exceptions] == [TypeError, pytest.fail.Exception]


def test_rows_of_rows_are_all_tried_and_fixtures_are_passed_on() -> None:
    seen = []

    @each("one", [1, 2])
    @each("other", "ab", ids=["first", "second"])
    def noted(one: int, other: str, fixture: str) -> None:
        seen.append(f"{one}{other}{fixture}")

    noted(fixture="!")

    assert seen == ["1a!", "1b!", "2a!", "2b!"]
    assert [*inspect.signature(noted).parameters] == ["fixture"]


def test_there_are_rows_and_none_has_a_mark() -> None:
    with pytest.raises(AssertionError):
        each("name", [])
    with pytest.raises(AssertionError, match="a test of its own"):
        each("name", [pytest.param(1, marks=pytest.mark.slow)])
