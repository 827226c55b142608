"""What a provider's answer means where it is no result: the class, the words, and how long."""

from __future__ import annotations

import datetime
import email.utils
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_router.calls.failures import (
    MAX_MESSAGE,
    Failure,
    clean,
    goes_on,
    of_status,
    retry_after,
    without,
)
from policy_router.calls.results import Failing
from tests.support.examples import examples

NOW = datetime.datetime(2026, 1, 31, 9, tzinfo=datetime.UTC)
KEY = "key-0123456789abcdef"

LONG = Failing.CONTEXT_OVERFLOW
RATE, PAY, SERVER = Failing.RATE_LIMITED, Failing.PAYMENT_REQUIRED, Failing.SERVER_ERROR
GONE, BAD, DENIED = Failing.MODEL_NOT_FOUND, Failing.BAD_REQUEST, Failing.UNAUTHORIZED
LATE, OTHER = Failing.TIMEOUT, Failing.HTTP_ERROR

GOING_ON = {RATE, PAY, SERVER, GONE, LATE, Failing.CONNECTION_FAILED}
PASSING = {RATE, SERVER, LATE, Failing.CONNECTION_FAILED}


def failure(status: int, body: Any, **headers: str) -> Failure:
    """Return the failure that an answer tells of."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return of_status(status, body, named, (KEY,), model="vendor/x", now=NOW)


# --- Classes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (300, OTHER),
        (302, OTHER),
        (304, OTHER),
        (400, BAD),
        (401, DENIED),
        (402, PAY),
        (403, OTHER),
        (404, GONE),
        (405, OTHER),
        (408, LATE),
        (409, OTHER),
        (413, OTHER),
        (418, OTHER),
        (422, OTHER),
        (425, OTHER),
        (429, RATE),
        (451, OTHER),
        (499, OTHER),
        (500, SERVER),
        (501, SERVER),
        (502, SERVER),
        (503, SERVER),
        (504, SERVER),
        (529, SERVER),
        (599, SERVER),
    ],
)
def test_a_status_alone_tells_the_class(status: int, code: Failing) -> None:
    assert failure(status, "") == Failure(
        code, f"the provider answered with status {status}", status
    )


def shapes_of(error: dict[str, Any]) -> dict[str, Any]:
    """Return the bodies that providers have for one error."""
    message, code = error["message"], error["code"]
    return {
        "under error": {"error": error},
        "under error, beside more": {"error": error, "user_id": "u", "request_id": None},
        "in a list": [{"error": error}],
        "code and text": {"code": code, "error": message},
        "flat": {**error, "object": "error"},
        "flat in a list": [error],
    }


SHAPES = [*shapes_of({"message": "", "type": "", "code": ""})]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("status", "name", "code"),
    [
        (400, "insufficient_quota", PAY),
        (403, "insufficient_balance", PAY),
        (429, "insufficient_quota", PAY),
        (429, "insufficient_balance", PAY),
        (429, "rate_limit_exceeded", RATE),
        (401, "insufficient_quota", DENIED),
        (500, "insufficient_quota", SERVER),
        (400, "model_not_found", GONE),
        (400, "invalid_model", GONE),
        (400, "model_decommissioned", GONE),
        (400, "model_not_available", GONE),
        (400, "1211", GONE),
        (403, "model_not_found", OTHER),
        (422, "model_not_found", OTHER),
        (400, "context_length_exceeded", LONG),
        (400, 400, BAD),
        (400, None, BAD),
    ],
)
def test_a_name_of_an_error_tells_the_class_where_the_status_is_vague(
    shape: str, status: int, name: Any, code: Failing
) -> None:
    error = {"message": "Something about it.", "type": "a_type", "code": name}
    made = failure(status, shapes_of(error)[shape])
    assert (made.code, made.message, made.status) == (code, "Something about it.", status)


@pytest.mark.parametrize("shape", ["under error", "in a list", "flat", "flat in a list"])
def test_the_type_of_an_error_is_a_name_too(shape: str) -> None:
    error = {"message": "m", "type": "insufficient_quota", "code": None}
    assert failure(429, shapes_of(error)[shape]).code is PAY


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("status", "words", "code"),
    [
        (400, "Your credit balance is too low to access the API.", PAY),
        (429, "Insufficient balance, please recharge.", PAY),
        (403, "insufficient account balance", PAY),
        (403, "Insufficient credits", PAY),
        (403, "INSUFFICIENT FUNDS", PAY),
        (402, "whatever", PAY),
        (429, "Too many requests.", RATE),
        (429, "You exceeded your sufficient balance", RATE),
        (401, "Insufficient credits", DENIED),
        (400, "The model `vendor/x` does not exist", GONE),
        (400, "The model `vendor/x` does not exist or you have no access", GONE),
        (400, "the model 'Vendor/X' was not found", GONE),
        (400, 'model "vendor/x" is not found', GONE),
        (400, "Model vendor/x not found.", GONE),
        (400, "Model Not Exist", GONE),
        (400, "vendor/y is not a valid model ID", GONE),
        (400, "Unknown Model, please check the model code.", GONE),
        (400, "Invalid model: vendor/x", GONE),
        (400, "The model `x` does not exist", BAD),
        (400, "The model `vendor/x-2` does not exist", BAD),
        (400, "in your text: unknown model", BAD),
        (400, "the model cannot take this parameter", BAD),
        (400, "the remodel was not found", BAD),
        (403, "The model `vendor/x` does not exist", OTHER),
    ],
)
def test_the_words_of_an_error_tell_the_class_where_the_status_is_vague(
    shape: str, status: int, words: str, code: Failing
) -> None:
    made = failure(status, shapes_of({"message": words, "type": None, "code": None})[shape])
    assert (made.code, made.message) == (code, words)


@pytest.mark.parametrize("also", [(), (400,), (401, 403)])
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 408, 409, 422, 429, 500, 503])
def test_one_goes_on_after_what_another_could_mend_and_after_what_the_entry_says(
    status: int, also: tuple[int, ...]
) -> None:
    made = failure(status, "")
    expected = made.code in GOING_ON or status in also
    assert goes_on(made, also, is_fallback=False) is expected
    assert goes_on(made, also, is_fallback=True) is expected


@pytest.mark.parametrize("code", [code for code in Failing if code.name.startswith("NO_")])
@pytest.mark.parametrize(
    ("also", "is_fallback", "expected"),
    [((), False, False), ((), True, True), ((401,), False, True), ((400,), False, False)],
)
def test_a_missing_key_is_as_no_authorization_and_of_a_fallback_nothing(
    code: Failing,
    also: tuple[int, ...],
    is_fallback: bool,  # noqa: FBT001 - of the table
    expected: bool,  # noqa: FBT001 - of the table
) -> None:
    assert goes_on(Failure(code, "m"), also, is_fallback=is_fallback) is expected


@pytest.mark.parametrize("code", Failing)
def test_after_a_part_of_an_answer_nobody_goes_on(code: Failing) -> None:
    broken = Failure(code, "m", 429, streamed=True)
    assert not goes_on(broken, (429,), is_fallback=True)
    assert not broken.passes


@pytest.mark.parametrize("code", Failing)
def test_what_may_pass_is_told_by_its_class(code: Failing) -> None:
    assert Failure(code, "m").passes is (code in PASSING)


def test_the_reason_is_the_status_or_else_the_class() -> None:
    assert Failure(RATE, "m", 429).reason == "429"
    assert Failure(Failing.CONNECTION_FAILED, "m").reason == "connection failed"


# --- Words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "a", "type": "t"}}, "a"),
        ({"error": "a"}, "a"),
        ({"error": {"message": "", "detail": "d"}}, "d"),
        ({"status": 500, "title": "t", "detail": "d"}, "d"),
        ({"status": 500, "title": "t"}, "t"),
        ({"detail": [{"loc": ["body", "n", 0], "msg": "m"}], "title": "t"}, "body.n.0: m"),
        ({"detail": [{"msg": "a"}, {"msg": "b"}, {}, {"msg": "d"}]}, "a; b"),
        ({"detail": [], "title": "t"}, "t"),
        ({"detail": {"message": "d"}}, "d"),
        ({"Message": "m"}, "m"),
        ({"message": {"deep": 1}, "error": "e"}, "e"),
        ([{"error": {"message": "first"}}, {"error": {"message": "second"}}], "first"),
        ("plain text", "plain text"),
        (["text in a list"], "text in a list"),
        ("two\nlines  and\ttabs\r\n", "two lines and tabs"),
        ({"error": {"message": "x\x1b[31mred\x07"}}, "x\ufffd[31mred\ufffd"),
        ("{broken json", "{broken json"),
    ],
)
def test_a_provider_is_quoted_in_its_own_words_on_one_line(body: Any, words: str) -> None:
    assert failure(500, body).message == words


@pytest.mark.parametrize(
    "body",
    [
        None,
        "",
        "<html><body>502 Bad Gateway</body></html>",
        "\n  <!DOCTYPE html>\n<p>nginx</p>",
        {},
        [],
        [[]],
        [None],
        {"error": None},
        {"error": {}},
        {"error": []},
        {"error": [{"message": "deep"}]},
        {"error": {"message": None, "code": None}},
        {"message": 5},
        5,
        1.5,
        True,
    ],
)
def test_an_answer_without_words_is_told_by_its_status(body: Any) -> None:
    assert failure(503, body).message == "the provider answered with status 503"
    assert failure(503, body).code is SERVER


@pytest.mark.parametrize("body", [" ", "\n", {"error": {"message": " \t "}}, {"title": "\u2003"}])
def test_blank_words_are_none(body: Any) -> None:
    assert failure(503, body).message == "the provider answered with status 503"


@pytest.mark.parametrize(
    "body",
    [
        "x" * 5_000_000,
        {"error": {"message": "x" * 5_000_000}},
        {"error": "x" * 5_000_000},
        "model " * 800_000,
        "model" + " " * 5_000_000,
        {"error": {"message": "insufficient " * 400_000, "code": "y" * 5_000_000}},
    ],
)
def test_a_huge_answer_is_cut_short(body: Any) -> None:
    made = failure(400, body)
    assert made.code is BAD
    assert len(made.message) <= MAX_MESSAGE + len("...")


def test_what_providers_say_after_the_longest_message_does_not_count() -> None:
    assert failure(429, "x " * MAX_MESSAGE + "insufficient balance").code is RATE


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": f"the key {KEY} is wrong"}},
        {"error": f"the key {KEY} is wrong"},
        f"the key {KEY} is wrong",
        {"error": {"message": "the key sk-proj-abcdefghijklmnopqrstuv is wrong"}},
        {"title": f"x {KEY}{KEY}"},
        {"error": {"message": "y" * 4990 + KEY}},
        {"error": {"message": "y" * (MAX_MESSAGE - 5) + KEY}},
        "at https://me:hunter2-hunter2@home.example/v1?api_key=abcdefgh",
    ],
)
def test_no_words_repeat_a_key(body: Any) -> None:
    message = failure(401, body).message
    for part in (KEY[:12], KEY[-12:], "abcdefghijkl", "hunter2", "abcdefgh"):
        assert part not in message


def test_keys_are_starred_out_in_the_order_that_they_are_given() -> None:
    assert without("a longkey1longkey1 b longkey1", ("longkey1longkey1", "longkey1")) == (
        "a *** b ***"
    )
    assert without("nothing", ()) == "nothing"


def test_a_message_is_cut_at_its_length_and_says_so() -> None:
    assert clean("x" * MAX_MESSAGE, ()) == "x" * MAX_MESSAGE
    assert clean("x" * (MAX_MESSAGE + 1), ()) == "x" * MAX_MESSAGE + "..."


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "code", "type", "detail", "title"]) | st.text(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@examples(300)
@given(body=JSON, status=st.integers(300, 599))
def test_any_body_is_a_failure_on_one_line(body: Any, status: int) -> None:
    made = failure(status, body)
    assert made.message.isprintable()
    assert len(made.message) <= MAX_MESSAGE + len("...")
    assert made.status == status
    assert made.message.encode()


# --- How long to wait -----------------------------------------------------------------------------


def date_in(seconds: float) -> str:
    return email.utils.format_datetime(NOW + datetime.timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("1.5", None),
        ("1e1", None),
        ("+7", None),
        ("\u0667", None),
        ("9" * 400, 1e9),
        ("86400", 86400.0),
        ("-1", None),
        ("-0.0", None),
        ("nan", None),
        ("inf", None),
        ("-inf", None),
        ("1e999", None),
        ("soon", None),
        ("7 seconds", None),
        ("", None),
        ("0x10", None),
        (date_in(30), 30.0),
        (date_in(0), 0.0),
        (date_in(-3600), 0.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Saturday, 31-Jan-26 09:00:30 GMT", 30.0),
        ("Sat Jan 31 09:00:30 2026", 30.0),
        ("Sun Feb  1 09:00:00 2026", 86400.0),
        ("Sat, 31 Jan 2026 10:00:30 +0100", None),
        ("Sat, 31 Jan 2026 09:00:30", None),
        ("Sat, 31 Jan 2026 09:00:30 -0000", None),
        ("31 Jan 2026 09:00:30 GMT", None),
        ("Sat, 99 Jan 2026 09:00:30 GMT", None),
        ("Mon, 01 Jan 0001 00:00:00 GMT", 0.0),
        ("Mon, 01 Jan 0001 00:00:00 +2300", None),
        ("Mon, 20 Nov 1995 19:12:08 +99999999", None),
    ],
)
def test_how_long_a_provider_asks_to_be_left_alone(text: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": text}, now=NOW) == seconds
    assert failure(429, "", retry_after=text).retry_after == seconds


@pytest.mark.parametrize(
    "text",
    [
        "Mon, 01 Jan 99999999999 00:00:00 GMT",
        "Mon, 20 Nov 1995 19:12:08 +9999999999999999999999",
        "99999999999999999999999999 Jan 2000 00:00:00",
    ],
)
def test_a_date_beyond_all_times_is_no_date(text: str) -> None:
    assert retry_after({"retry-after": text}, now=NOW) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "0.5"}, None),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "0", "retry-after": "9"}, 0.0),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after-ms": "-1", "retry-after": "9"}, 9.0),
        ({"retry-after-ms": "inf"}, None),
        ({}, None),
    ],
)
def test_milliseconds_are_more_exact(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=NOW) == seconds


@examples(300)
@given(text=st.text() | st.floats().map(str) | st.datetimes().map(email.utils.format_datetime))
def test_any_header_is_some_seconds_or_none(text: str) -> None:
    for name in ("retry-after", "retry-after-ms"):
        seconds = retry_after({name: text}, now=NOW)
        assert seconds is None or 0 <= seconds < float("inf")
