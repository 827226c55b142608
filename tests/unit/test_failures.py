"""What a provider's answer means where it is no result: the class, the words, and how long."""

from __future__ import annotations

import datetime
import email.utils
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from policy_router.calls.failing import Failing
from policy_router.calls.failures import (
    MAX_MESSAGE,
    Failure,
    clean,
    goes_on,
    may_hold,
    of_status,
    retry_after,
    without,
)
from policy_router.calls.meanings import MEANINGS
from tests.support.examples import examples
from tests.support.rows import each

NOW = datetime.datetime(2026, 1, 31, 9, tzinfo=datetime.UTC)
KEY = "key-0123456789abcdef"

LONG = Failing.CONTEXT_OVERFLOW
RATE, PAY, SERVER = Failing.RATE_LIMITED, Failing.PAYMENT_REQUIRED, Failing.SERVER_ERROR
GONE, BAD, DENIED = Failing.MODEL_NOT_FOUND, Failing.BAD_REQUEST, Failing.UNAUTHORIZED
LATE, OTHER = Failing.TIMEOUT, Failing.HTTP_ERROR

GOING_ON = {RATE, PAY, SERVER, GONE, LATE, LONG, Failing.CONNECTION_FAILED}
GOING_ON |= {Failing.EMPTY_ANSWER, Failing.BAD_RESPONSE}
ENDING = {BAD, DENIED, OTHER, Failing.CONTENT_FILTERED, Failing.REFUSED_BY_MODEL}
ENDING |= {Failing.WANTS_TOOL}
PASSING = {RATE, SERVER, LATE, Failing.CONNECTION_FAILED}


def failure(status: int, body: Any, **headers: str) -> Failure:
    """Return the failure that an answer tells of."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return of_status(status, body, named, (KEY,), model="vendor/x", now=NOW)


# --- Classes --------------------------------------------------------------------------------------


@each(
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


@each(
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
    status: int, name: Any, code: Failing
) -> None:
    error = {"message": "Something about it.", "type": "a_type", "code": name}
    for shape, body in shapes_of(error).items():
        made = failure(status, body)
        wanted = (code, "Something about it.", status)
        assert (made.code, made.message, made.status) == wanted, shape


@each("shape", ["under error", "in a list", "flat", "flat in a list"])
def test_the_type_of_an_error_is_a_name_too(shape: str) -> None:
    error = {"message": "m", "type": "insufficient_quota", "code": None}
    assert failure(429, shapes_of(error)[shape]).code is PAY


@each(
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
    status: int, words: str, code: Failing
) -> None:
    for shape, body in shapes_of({"message": words, "type": None, "code": None}).items():
        made = failure(status, body)
        assert (made.code, made.message) == (code, words), shape


# --- Bodies as providers send them ----------------------------------------------------------------

FILTERED = Failing.CONTENT_FILTERED


def of_openai(message: str, code: Any = None, type_: str = "invalid_request_error") -> Any:
    return {"error": {"message": message, "type": type_, "param": None, "code": code}}


BODIES: list[tuple[str, int, Any, Failing]] = [
    # OpenAI, Azure
    ("OpenAI", 400, of_openai("This model's maximum context length is 8192 tokens. However, "
     "your messages resulted in 8545 tokens.", "context_length_exceeded"), LONG),
    ("OpenAI, responses", 400, of_openai("Your input exceeds the context window of this model. "
     "Please adjust your input and try again.", "context_length_exceeded"), LONG),
    ("OpenAI", 400, of_openai("Invalid prompt: your prompt was flagged as potentially violating "
     "our usage policy.", "invalid_prompt"), FILTERED),
    ("OpenAI", 429, of_openai("You exceeded your current quota", "insufficient_quota",
     "insufficient_quota"), PAY),
    ("OpenAI", 404, of_openai("The model `vendor/x` has been deprecated", "model_not_found"), GONE),
    ("OpenAI", 429, of_openai("Request too large for gpt-4 on tokens per min (TPM): Limit 10000, "
     "Requested 12000.", "rate_limit_exceeded", "tokens"), RATE),
    ("Azure", 400, {"error": {"message": "The response was filtered due to the prompt triggering "
     "Azure OpenAI's content management policy.", "code": "content_filter", "status": 400,
     "innererror": {"code": "ResponsibleAIPolicyViolation"}}}, FILTERED),
    ("Azure, by its inner error", 400, {"error": {"message": "It was filtered.", "code": "400",
     "innererror": {"code": "ResponsibleAIPolicyViolation"}}}, FILTERED),
    ("Azure", 404, {"error": {"code": "DeploymentNotFound", "message": "not there"}}, GONE),
    # OpenRouter
    ("OpenRouter", 400, {"error": {"message": "This endpoint's maximum context length is 163840 "
     "tokens. However, you requested about 200000 tokens.", "code": 400}}, LONG),
    ("OpenRouter", 403, {"error": {"message": "Key limit exceeded (monthly limit). Manage it using "
     "https://openrouter.ai/settings/keys", "code": 403}}, PAY),
    ("OpenRouter", 403, {"error": {"message": "Your chosen model requires moderation and your "
     "input was flagged", "code": 403, "metadata": {"reasons": ["violence"]}}}, FILTERED),
    ("OpenRouter, passed on", 400, {"error": {"message": "Provider returned error", "code": 400,
     "metadata": {"raw": '{"error": {"message": "prompt is too long: 9 tokens > 8 maximum"}}'}}},
     LONG),
    ("OpenRouter, passed on as text", 400, {"error": {"message": "Provider returned error",
     "metadata": {"raw": "Input is too long for requested model."}}}, LONG),
    ("OpenRouter, passed on as nothing", 400, {"error": {"message": "Provider returned error",
     "metadata": {"raw": 5}}}, BAD),
    # Anthropic
    ("Anthropic", 400, {"type": "error", "error": {"type": "invalid_request_error",
     "message": "prompt is too long: 208310 tokens > 200000 maximum"}}, LONG),
    ("Anthropic", 413, {"type": "error", "error": {"type": "request_too_large",
     "message": "Request exceeds the maximum size"}}, LONG),
    ("Anthropic", 400, {"type": "error", "error": {"type": "invalid_request_error", "message":
     "Your credit balance is too low to access the Anthropic API."}}, PAY),
    ("Anthropic", 529, {"type": "error", "error": {"type": "overloaded_error",
     "message": "Overloaded"}}, SERVER),
    # Gemini
    ("Gemini", 400, [{"error": {"code": 400, "message": "The input token count (1196265) exceeds "
     "the maximum number of tokens allowed (1048575).", "status": "INVALID_ARGUMENT"}}], LONG),
    ("Gemini", 429, [{"error": {"code": 429, "message": "You exceeded your current quota",
     "status": "RESOURCE_EXHAUSTED"}}], RATE),
    # Bedrock
    ("Bedrock", 400, {"Message": "Input is too long for requested model."}, LONG),
    ("Bedrock", 400, {"message": "The provided model identifier is invalid."}, GONE),
    # vLLM, FastAPI
    ("vLLM", 400, {"object": "error", "message": "This model's maximum context length is 131072 "
     "tokens. However, you requested 351430.", "type": "BadRequestError", "code": 400}, LONG),
    ("FastAPI", 422, {"detail": [{"loc": ["body", "messages"], "msg": "Field required",
     "input": {"text": "the model is retired: maximum context length is 1"}}]}, OTHER),
    ("FastAPI", 400, {"detail": "prompt exceeds max length"}, LONG),
    # LiteLLM
    ("LiteLLM", 400, of_openai("litellm.ContextWindowExceededError: litellm.BadRequestError: "
     "too much", "400"), LONG),
    ("LiteLLM", 400, of_openai("litellm.ContentPolicyViolationError: no", "400"), FILTERED),
    ("LiteLLM", 400, of_openai("Budget has been exceeded! Current cost: 26.0, Max budget: 0.25",
     "400", "budget_exceeded"), PAY),
    ("LiteLLM", 400, {"error": {"message": "{'error': '/chat/completions: Invalid model name "
     "passed in model=vendor/x. Call `/v1/models` to view available models.'}", "code": "400"}},
     GONE),
    # Others
    ("llama.cpp", 400, {"error": {"code": 400, "type": "exceed_context_size_error", "message":
     "request (9412 tokens) exceeds the available context size (8192 tokens)"}}, LONG),
    ("GitHub Models", 413, of_openai("prompt token count of 125516 exceeds the limit of 64000",
     "model_max_prompt_tokens_exceeded"), LONG),
    ("xAI", 400, {"code": "Client specified an invalid argument", "error": "This model's maximum "
     "prompt length is 131072 but the request contains 537812 tokens."}, LONG),
    ("xAI", 403, {"code": "permission-denied", "error": "Your team 1 has either used all available "
     "credits or reached its monthly spending limit."}, PAY),
    ("xAI", 403, {"code": "x", "error": "Content violates usage guidelines."}, FILTERED),
    ("Mistral", 400, {"object": "error", "message": "Prompt contains 40000 tokens, too large for "
     "model with 32768 maximum context length", "code": 3051}, LONG),
    ("Mistral", 400, {"object": "error", "message": "Invalid model: vendor/x",
     "type": "invalid_model", "code": "1500"}, GONE),
    ("TGI", 422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= "
     "65537. Given: 79993", "error_type": "validation"}, LONG),
    ("Z.ai", 400, {"error": {"code": "1261", "message": "Prompt exceeds max length"}}, LONG),
    ("Z.ai", 429, {"error": {"code": "1113", "message": "Your account is in arrears"}}, PAY),
    ("Z.ai", 400, {"error": {"code": "1301", "message": "unsafe content"}}, FILTERED),
    ("DashScope", 400, of_openai("Input data may contain inappropriate content.",
     "data_inspection_failed", "data_inspection_failed"), FILTERED),
    ("DashScope", 400, of_openai("Access denied", "Arrearage"), PAY),
    ("DeepSeek", 400, of_openai("Content Exists Risk"), FILTERED),
    ("Groq", 413, of_openai("Request too large for model on tokens per minute (TPM): Limit 6000",
     "rate_limit_exceeded", "tokens"), RATE),
    ("Perplexity", 400, of_openai("Invalid model 'vendor/x'. Permitted models can be found in the "
     "documentation."), GONE),
    # Retired
    ("retired", 400, of_openai("The supported API model names are next-flash or next-pro, but you "
     "passed vendor/x"), GONE),
    ("retired", 400, of_openai("Model vendor/x has been decommissioned and is no longer supported"),
     GONE),
    ("retired, another", 400, of_openai("The supported API model names are next-flash or next-pro, "
     "but you passed vendor/x-2"), BAD),
    ("no word of the model", 400, of_openai("This parameter is no longer supported"), BAD),
    ("a parameter", 400, of_openai("The model vendor/x does not support temperature"), BAD),
]  # fmt: skip


@each("number", range(len(BODIES)))
def test_a_body_of_a_provider_is_understood(number: int) -> None:
    where, status, body, code = BODIES[number]
    made = failure(status, body)
    assert (made.code, made.status) == (code, status), where
    assert made.message


def test_each_row_of_the_table_is_needed() -> None:
    codes = {code for *_, code in BODIES}
    assert codes >= {row.code for row in MEANINGS}
    assert all(row.source and (row.names or row.words) for row in MEANINGS)


def test_bedrock_names_an_error_in_a_header() -> None:
    made = failure(400, {"message": "m"}, x_amzn_errortype="Model_Not_Found:http://x")
    assert made.code is GONE


def test_what_another_provider_said_is_told_too() -> None:
    raw = '{"error": {"message": "slow down"}}'
    body = {"error": {"message": "Provider returned error", "metadata": {"raw": raw}}}
    assert failure(429, body).message == "Provider returned error: slow down"
    assert failure(429, {"error": {"metadata": {"raw": raw}}}).message == "slow down"


@each(
    ("delay", "seconds"),
    [("36s", 36.0), ("3.5s", 3.5), ("0s", 0.0), ("36", None), ("-1s", None), (37, None)],
)
def test_google_says_in_the_body_how_long_to_wait(delay: Any, seconds: float | None) -> None:
    kind = "type.googleapis.com/google.rpc.RetryInfo"
    details = [{"@type": "x"}, 5, {"@type": kind, "retryDelay": delay}]
    body = [{"error": {"code": 429, "message": "m", "details": details}}]
    assert failure(429, body).retry_after == seconds
    assert failure(429, body, retry_after="7").retry_after == 7.0


# --- Going on -------------------------------------------------------------------------------------


@each("also", [(), (400,), (401, 403)])
@each("status", [400, 401, 402, 403, 404, 408, 409, 422, 429, 500, 503])
def test_one_goes_on_after_what_another_could_mend_and_after_what_the_entry_says(
    status: int, also: tuple[int, ...]
) -> None:
    made = failure(status, "")
    expected = made.code in GOING_ON or status in also
    assert goes_on(made, also, is_fallback=False) is expected
    assert goes_on(made, also, is_fallback=True) is expected


@each("code", sorted(GOING_ON | ENDING))
@each("is_fallback", [False, True])
def test_a_code_goes_on_by_itself_or_as_the_entry_says(
    code: Failing,
    is_fallback: bool,  # noqa: FBT001 - of the table
) -> None:
    made = Failure(code, "m", 418)

    def goes(*rules: int | str) -> bool:
        return goes_on(made, rules, is_fallback=is_fallback)

    assert goes() is (code in GOING_ON)
    assert goes(str(code)) is goes(418) is True
    assert goes(f"-{code}") is goes(-418) is goes(418, f"-{code}") is False
    assert goes("no_endpoint", "-no_endpoint", 499, -499) is (code in GOING_ON)


@each(("status", "expected"), [(None, False), (200, False), (400, False), (429, True), (502, True)])
def test_after_what_is_too_large_one_goes_on_where_its_status_says_so(
    status: int | None,
    expected: bool,  # noqa: FBT001 - of the table
) -> None:
    made = Failure(Failing.ANSWER_TOO_LARGE, "m", status)
    assert goes_on(made, (), is_fallback=False) is expected


@each(
    ("window", "overflowed", "expected"),
    [(None, 100, True), (100, None, True), (101, 100, True), (100, 100, False), (99, 100, False)],
)
def test_an_input_may_fit_where_the_window_is_larger_or_unknown(
    window: int | None,
    overflowed: int | None,
    expected: bool,  # noqa: FBT001 - of the table
) -> None:
    assert may_hold(window, overflowed) is expected


@each("code", [code for code in Failing if code.name.startswith("NO_")])
@each(
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


@each("code", Failing)
def test_after_a_part_of_an_answer_nobody_goes_on(code: Failing) -> None:
    broken = Failure(code, "m", 429, streamed=True)
    assert not goes_on(broken, (429,), is_fallback=True)
    assert not broken.passes


@each("code", Failing)
def test_what_may_pass_is_told_by_its_class(code: Failing) -> None:
    assert Failure(code, "m").passes is (code in PASSING)


def test_the_reason_is_the_status_or_else_the_class() -> None:
    assert Failure(RATE, "m", 429).reason == "429"
    assert Failure(Failing.CONNECTION_FAILED, "m").reason == "connection failed"


# --- Words ----------------------------------------------------------------------------------------


@each(
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


@each(
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


@each("body", [" ", "\n", {"error": {"message": " \t "}}, {"title": "\u2003"}])
def test_blank_words_are_none(body: Any) -> None:
    assert failure(503, body).message == "the provider answered with status 503"


@each(
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


@each(
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


@each(
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


@each(
    "text",
    [
        "Mon, 01 Jan 99999999999 00:00:00 GMT",
        "Mon, 20 Nov 1995 19:12:08 +9999999999999999999999",
        "99999999999999999999999999 Jan 2000 00:00:00",
    ],
)
def test_a_date_beyond_all_times_is_no_date(text: str) -> None:
    assert retry_after({"retry-after": text}, now=NOW) is None


@each(
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
