"""The answers as bytes, whichever way they are written."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_service import POLICY
from tests.support.commands import write
from tests.support.service import SECONDS, Service

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder: Path = tmp_path_factory.mktemp("wire")
    write(folder, policy_yaml=POLICY)
    with Service(folder) as made:
        yield made


def request(*heads: str, version: str = "1.1", body: str = "{}") -> bytes:
    lines = (f"POST /v1/decide HTTP/{version}", "Host: localhost", *heads)
    length = f"Content-Length: {len(body)}"
    return "\r\n".join((*lines, "Content-Type: application/json", length, "", body)).encode()


def heads_of(answer: bytes) -> dict[str, str]:
    head, _, _ = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")[1:]
    pairs = [line.split(": ", 1) for line in lines]
    assert len({name for name, _ in pairs}) == len(pairs)
    return {name: value for name, value in pairs}  # noqa: C416 - mypy knows no pairs in a list


def test_both_ways_of_writing_an_answer_give_the_same_head(service: Service) -> None:
    kept = service.raw(request() + request("Connection: close"))
    first, second = (part for part in re.split(rb"(?=HTTP/1\.1 )", kept) if part)
    quick, usual = heads_of(first), heads_of(second)
    assert usual.pop("connection") == "close"
    for found in (quick, usual):
        for name in ("policy-router-decision-id", "date", "content-length"):
            found.pop(name)
    assert quick == usual
    assert set(quick) == {"content-type", "policy-router-policy"}
    for answer in (first, second):
        head, _, body = answer.partition(b"\r\n\r\n")
        assert f"content-length: {len(body)}".encode() in head


def test_requests_in_one_go_are_answered_in_order(service: Service) -> None:
    names = [f"kind-{number}" for number in range(20)]
    bodies = [f'{{"task": {{"kind": "{name}"}}}}' for name in names]
    sent = b"".join(request(body=body) for body in bodies)
    answered = service.raw(sent + request("Connection: close"))
    assert re.findall(rb'"kind":"(kind-\d+)"', answered) == [name.encode() for name in names]
    assert answered.count(b"HTTP/1.1 200 OK") == 21


def test_http_1_0_is_answered_and_closed(service: Service) -> None:
    answer = service.raw(request(version="1.0"))
    assert answer.startswith(b"HTTP/1.1 200")
    assert heads_of(answer)["connection"] == "close"


def test_a_client_that_expects_to_continue_is_told_to(service: Service) -> None:
    answer = service.raw(request("Expect: 100-continue", "Connection: close"))
    assert b"HTTP/1.1 200 OK" in answer


def test_a_wish_for_another_protocol_is_answered_as_http(service: Service) -> None:
    heads = ("Connection: Upgrade, close", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    answer = service.raw(
        b"\r\n".join(
            (
                b"GET /livez HTTP/1.1",
                b"Host: localhost",
                *(head.encode() for head in heads),
                b"",
                b"",
            )
        )
    )
    assert answer.startswith(b"HTTP/1.1 200")


LAST = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
CODING = json.dumps({"task": {"kind": "coding"}})


def chunked(*heads: str, trailer: str = "") -> bytes:
    lines = ("POST /v1/decide HTTP/1.1", *heads, "Content-Type: application/json")
    size = f"{len(CODING):x}"
    ends = ("Transfer-Encoding: chunked", "", size, CODING, "0", trailer, "")
    return "\r\n".join((*lines, *ends)).encode()


def statuses(answers: bytes) -> list[bytes]:
    return re.findall(rb"HTTP/1.1 (\d+)", answers)


def test_a_body_comes_with_a_wish_for_another_protocol(service: Service) -> None:
    """As the client of Java asks unless told otherwise, with and without a length."""
    wish = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AA")
    for asked in (request(*wish, body=CODING), chunked("Host: localhost", *wish)):
        answers = service.raw(asked + LAST)
        assert statuses(answers) == [b"200", b"200"]
        assert b'"model":"large-model"' in answers


def test_a_body_in_a_form_that_is_not_known_is_refused(service: Service) -> None:
    asked = chunked("Host: localhost").replace(b"-Encoding: chunked", b"-Encoding: gzip, chunked")
    assert statuses(service.raw(asked + LAST)) == [b"415", b"200"]


def test_the_answer_to_a_body_too_long_is_read_and_the_connection_closed(service: Service) -> None:
    """A client that is still sending when the connection is reset would not read it."""
    for size in (1024 * 1024 + 1, 16 * 1024 * 1024):
        for version in ("1.0", "1.1"):
            asked = request(body=" " * size, version=version)
            assert statuses(service.raw(asked + LAST)) == [b"413"]


def test_what_is_no_http_is_a_problem_like_any_other(service: Service) -> None:
    answer = service.raw(b"no request\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert statuses(head) == [b"400"]
    assert heads_of(answer)["content-type"] == "application/problem+json"
    said = json.loads(body)
    assert (said["code"], said["status"]) == ("bad_http", 400)


@pytest.mark.parametrize(("size", "status"), [(60_000, b"200"), (66_000, b"400")])
def test_a_head_is_bounded_in_one_piece_too(service: Service, size: int, status: bytes) -> None:
    asked = request(f"X-Long: {'x' * size}", "Connection: close", body=CODING)
    assert statuses(service.raw(asked)) == [status]


def test_a_body_with_the_name_of_a_header_is_as_long_as_it_was(service: Service) -> None:
    body = "\r\nUpgrade: h2c\r\n{}"
    head, _, _ = request(body=body).partition(body.encode())
    with socket.create_connection(service.address, timeout=SECONDS) as link:
        link.sendall(head)
        time.sleep(0.2)  # so that the body comes by itself
        link.sendall(body.encode() + LAST)
        assert statuses(b"".join(iter(lambda: link.recv(65536), b""))) == [b"400", b"200"]


def test_what_comes_behind_a_body_is_no_header(service: Service) -> None:
    answers = service.raw(chunked(trailer="Host: localhost\r\n") + LAST)
    assert statuses(answers) == [b"400", b"200"]
    assert b"unknown_host" in answers


def test_a_client_that_leaves_at_once_makes_no_noise(service: Service) -> None:
    before = len(service.said)
    service.raw(request(), shuts=True)
    service.raw(request() + b"no request\r\n\r\n")
    assert statuses(service.raw(LAST)) == [b"200"]
    assert service.said[before:] == []
