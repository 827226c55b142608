"""What any SDK's exception says of a call: its status and body, or which kind of trouble it was."""

from __future__ import annotations

import datetime
import json
import urllib.error
from email.message import Message
from types import SimpleNamespace
from typing import Any

import msgspec

from policy_router import ProviderError
from policy_router.calls.exceptions import Reading, failure_from
from policy_router.calls.failing import Failing
from policy_router.calls.failures import Failure
from tests.support.rows import each

NOW = datetime.datetime(2026, 1, 31, 9, tzinfo=datetime.UTC)
KNOWN = Reading(NOW, "m", ("a-secret-key",))
BODY = {"error": {"message": "slow down, a-secret-key"}}


def raised(name: str, *bases: type, **attributes: Any) -> BaseException:
    """Return an exception of a class of this name, as an SDK has one."""
    error: BaseException = type(name, bases or (Exception,), attributes)("said so")
    return error


def read(error: BaseException | Failure | int, **more: Any) -> Failure:
    return failure_from(error, msgspec.structs.replace(KNOWN, **more))


ANSWER = SimpleNamespace(status_code=429, headers={"Retry-After": "7"}, content=json.dumps(BODY))
WITH_STATUS = [
    raised("RateLimitError", status_code=429, body=BODY, response=ANSWER),  # openai, anthropic
    raised("HTTPStatusError", response=ANSWER),  # httpx, requests
    raised("ClientResponseError", status=429, body=BODY, headers={"retry-after": "7"}),  # aiohttp
    raised("APIError", code=429, details=BODY, response=SimpleNamespace(headers=ANSWER.headers)),
    raised("ApiError", status_code=429, body=json.dumps(BODY), headers=ANSWER.headers),  # cohere
]


@each("error", WITH_STATUS, ids=lambda error: type(error).__name__)
def test_a_status_is_found_with_its_body_and_its_headers(error: BaseException) -> None:
    assert read(error) == Failure(Failing.RATE_LIMITED, "slow down, ***", 429, retry_after=7.0)


def test_the_error_of_boto3_is_read() -> None:
    said = {
        "Error": {"Code": "ThrottlingException", "Message": "Too many"},
        "ResponseMetadata": {"HTTPStatusCode": 429, "HTTPHeaders": {"retry-after": "3"}},
    }
    found = read(raised("ClientError", response=said))
    assert (found.code, found.status, found.retry_after) == (Failing.RATE_LIMITED, 429, 3.0)


def test_the_error_of_urllib_is_read() -> None:
    headers = Message()
    headers["Retry-After"] = "5"
    found = read(urllib.error.HTTPError("http://h", 503, "busy", headers, None))
    assert (found.code, found.retry_after) == (Failing.SERVER_ERROR, 5.0)


def test_a_status_without_a_body_has_the_words_of_its_exception() -> None:
    error = raised("InternalServerError", status_code=500)
    assert read(error).message == "InternalServerError: said so"


def test_a_status_by_itself_is_an_answer() -> None:
    found = read(402, body=b'{"error": "no credit"}', headers={"Retry-After": "1"})
    assert found == Failure(Failing.PAYMENT_REQUIRED, "no credit", 402, retry_after=1.0)


def test_what_the_caller_knows_goes_before_what_the_exception_has() -> None:
    assert read(WITH_STATUS[0], body="not JSON", headers={}).message == "not JSON"


@each(
    ("error", "code"),
    [
        (TimeoutError(), Failing.TIMEOUT),
        (raised("ReadTimeout"), Failing.TIMEOUT),
        (raised("APITimeoutError"), Failing.TIMEOUT),
        (raised("DeadlineExceeded"), Failing.TIMEOUT),
        (ConnectionRefusedError(), Failing.CONNECTION_FAILED),
        (raised("APIConnectionError"), Failing.CONNECTION_FAILED),
        (raised("ClientConnectorError"), Failing.CONNECTION_FAILED),
        (raised("ConnectError"), Failing.CONNECTION_FAILED),
        (raised("RemoteProtocolError"), Failing.CONNECTION_FAILED),
        (raised("ServerDisconnectedError"), Failing.CONNECTION_FAILED),
        (raised("ChunkedEncodingError"), Failing.CONNECTION_FAILED),
        (raised("ClientPayloadError"), Failing.CONNECTION_FAILED),
        (raised("IncompleteRead"), Failing.CONNECTION_FAILED),
        (json.JSONDecodeError("no", "", 0), Failing.BAD_RESPONSE),
        (msgspec.DecodeError("no"), Failing.BAD_RESPONSE),
        (KeyError("choices"), Failing.CHILD_ERROR),
        (raised("ValueError", code=7), Failing.CHILD_ERROR),
    ],
    ids=lambda it: str(it) if isinstance(it, Failing) else type(it).__name__,
)
def test_trouble_without_a_status_is_told_by_its_class(error: BaseException, code: Failing) -> None:
    assert read(error).code is code


def test_the_cause_of_an_exception_counts() -> None:
    error = RuntimeError("the agent failed")
    error.__cause__ = WITH_STATUS[0]
    assert read(error).status == 429


def test_an_exception_that_can_say_nothing_has_a_name() -> None:
    class BrokenError(Exception):
        """Cannot even be asked."""

        @property
        def status_code(self) -> int:
            raise RuntimeError

        def __str__(self) -> str:
            raise RuntimeError

    assert read(BrokenError()) == Failure(Failing.CHILD_ERROR, "BrokenError")


def test_no_word_repeats_a_key() -> None:
    assert "a-secret-key" not in read(ConnectionError("at a-secret-key")).message


def test_failures_of_ours_stay_what_they_are() -> None:
    assert read(Failure(Failing.TIMEOUT, "late")) == Failure(Failing.TIMEOUT, "late")
    assert read(ProviderError("timeout", "late")) == Failure(Failing.TIMEOUT, "late")
    assert read(ProviderError("odd", "?")).code is Failing.CHILD_ERROR


def test_after_a_part_of_an_answer_a_failure_is_one_of_a_stream() -> None:
    found = failure_from(TimeoutError(), KNOWN, partial="so f")
    assert (found.streamed, found.partial) == (True, "so f")
