"""The answers as bytes, whichever way they are written."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_service import POLICY
from tests.support.commands import write
from tests.support.service import Service

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


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_fetch_of_node_is_answered(service: Service) -> None:
    program = """
    const answer = await fetch(process.argv[1] + "/v1/decide", {
        method: "POST",
        headers: {"content-type": "application/json"},
        body: JSON.stringify({task: {kind: "coding"}}),
    });
    console.log(answer.status, (await answer.json()).record.decision.target.model);
    """
    ran = subprocess.run(  # noqa: S603 - our own program
        [shutil.which("node") or "", "--input-type=module", "-e", program, service.url],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert ran.stdout.decode().split() == ["200", "large-model"], ran.stderr.decode()
