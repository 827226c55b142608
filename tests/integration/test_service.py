"""The decision service over real sockets: decisions, and what is no good request."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from policy_router import DecisionRecord, decide, load
from policy_router.log import LogReader, verify
from tests.support.commands import WRONG, in_process_of_its_own, in_this_process, write
from tests.support.rows import each
from tests.support.service import PLAIN, Service, lines_of, problem

pytestmark = pytest.mark.slow

POLICY = """\
version: 1
name: acme
model: small-model
provider: main
facts: {risk: {type: int}, region: {type: string, default: eu}}
pool:
  - {name: small, model: small-model, strengths: "quick tasks, writing"}
  - name: large
    model: large-model
    strengths: coding, analysis
    pick: task.kind == "coding"
    allow: parent.depth < 2
    parameters: {reasoning_effort: high}
  - {name: secret, model: secret-model, allow: caller.team == "research"}
precedence: strict
providers: {main: {base_url: "https://llm.example.com/v1"}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("service")
    write(made, policy_yaml=POLICY, wrong_yaml=WRONG)
    return made


def test_a_decision_is_the_record_that_the_library_makes(
    client: httpx.Client, folder: Path
) -> None:
    request = {"task": {"kind": "coding"}, "caller": {"id": "ada"}, "facts": {"risk": 2}}
    answer = client.post("/v1/decide", json=request)
    assert answer.status_code == 200
    record = DecisionRecord.from_json(json.dumps(answer.json()["record"]))
    policy = load(folder / "policy.yaml")
    assert record == decide(policy, request, now=record.now)
    assert answer.headers["policy-router-policy"] == policy.revision
    assert answer.headers["policy-router-decision-id"] == answer.json()["decision_id"]


def test_the_bytes_of_the_record_are_the_canonical_ones_that_are_logged(
    client: httpx.Client, folder: Path
) -> None:
    answer = client.post("/v1/decide", json={"task": {"kind": "mäth", "labels": ["pii"]}})
    (line,) = LogReader(folder / "log").about(answer.json()["decision_id"])
    logged = bytes(line.entry.record or b"")
    assert logged
    assert answer.content.endswith(b'","record":' + logged + b"}")
    assert DecisionRecord.from_json(logged).to_json() == logged


def test_a_refusal_is_an_answer_like_any_other(client: httpx.Client) -> None:
    answer = client.post("/v1/decide", json={"task": {"model": "gpt-9"}})
    assert answer.status_code == 200
    assert answer.json()["record"]["decision"]["refusal"]["code"] == "outside_pool"


def test_a_batch_is_decided_in_order_with_errors_in_their_places(
    client: httpx.Client, folder: Path
) -> None:
    asked: list[Any] = [{"task": {"kind": "coding"}}, {"task": {"knd": "x"}}, {}, 5]
    made = client.post("/v1/decide/batch", json={"requests": asked}).json()["decisions"]
    assert [sorted(it) for it in made] == [
        ["decision_id", "record"],
        ["error"],
        ["decision_id", "record"],
        ["error"],
    ]
    assert made[1]["error"]["path"] == "$.task.knd"
    assert made[1]["error"]["help"] == "did you mean `kind`?"
    for it in (made[0], made[2]):
        (line,) = LogReader(folder / "log").about(it["decision_id"])
        assert json.loads(line.content)["record"] == it["record"]


def test_the_menu_and_the_tool_are_those_of_the_library(client: httpx.Client) -> None:
    everybody = client.get("/v1/menu").json()
    assert everybody["restricted"] is True
    assert [entry["name"] for entry in everybody["entries"]] == ["small", "large"]
    research = client.post("/v1/menu", json={"caller": {"team": "research"}}).json()
    assert [entry["name"] for entry in research["entries"]] == ["small", "large", "secret"]
    tool = client.post("/v1/tool", json={"parent": {"depth": 3}}).json()
    assert tool["function"]["parameters"]["properties"]["model"]["enum"] == ["small"]
    strict = client.post("/v1/tool?format=anthropic&strict=true", json={}).json()
    assert strict["strict"] is True
    assert strict["input_schema"]["required"] == list(strict["input_schema"]["properties"])
    for query in ("strickt=true", "strict=yes", "format=xml", "format="):
        assert problem(client.post(f"/v1/tool?{query}", json={}))["code"] == "bad_query"


def test_the_service_says_that_it_is_alive_and_ready(client: httpx.Client) -> None:
    assert client.get("/livez").text == "alive\n"
    assert client.get("/readyz").text == "ready\n"


def test_who_is_nobody_may_not_administer_over_tcp(client: httpx.Client) -> None:
    assert problem(client.get("/v1/policy"))["code"] == "role_needed"


@each(
    ("content", "status", "code", "path"),
    [
        (b"", 400, "not_json", "$"),
        (b'{"task"', 400, "not_json", "$"),
        (b"\xff\xfe", 400, "not_json", "$"),
        (b"[" * 100_000, 400, "not_json", "$"),
        (b"[]", 422, "bad_request", "$"),
        (b"null", 422, "bad_request", "$"),
        (b'{"metadata": {"caller": {"id": "root"}}}', 422, "bad_request", "$.metadata"),
        (b'{"task": {"input_tokens": 1e999}}', 400, "not_json", "$"),
        (b'{"task": {"kind": "\\ud800"}}', 400, "not_json", "$"),
        (b'{"task": {"kind": "a\\u0000"}}', 422, "bad_request", "$.task.kind"),
        (b'{"facts": {"riks": 1}}', 422, "bad_request", "$.facts.riks"),
        (b'{"task": {"parameters": {"api_key": "x"}}}', 422, "bad_request", None),
    ],
)
def test_a_body_that_is_no_request_is_refused_with_its_place(
    client: httpx.Client, content: bytes, status: int, code: str, path: str | None
) -> None:
    headers = {"content-type": "application/json"}
    said = problem(client.post("/v1/decide", content=content, headers=headers))
    assert (said["status"], said["code"]) == (status, code)
    assert path in {None, said["path"]}
    assert "jSON" not in said["detail"]


@each("kind", ["text/plain", "application/x-www-form-urlencoded", "", "a" * 99])
def test_another_content_type_than_json_is_refused(client: httpx.Client, kind: str) -> None:
    answer = client.post("/v1/decide", content=b"{}", headers={"content-type": kind})
    assert problem(answer)["code"] == "unsupported_type"


def test_json_in_utf8_may_say_so_and_a_compressed_body_is_refused(client: httpx.Client) -> None:
    good = {"content-type": "Application/JSON; charset=UTF-8"}
    assert client.post("/v1/decide", content=b"{}", headers=good).status_code == 200
    zipped = {"content-type": "application/json", "content-encoding": "gzip"}
    assert client.post("/v1/decide", content=b"{}", headers=zipped).status_code == 415
    text = problem(client.post("/v1/decide", content=b"{}", headers={"content-type": "text/plain"}))
    assert text["help"] == "send the header `Content-Type: application/json`"


@each(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:99", 200),
        ("127.0.0.1", 200),
        ("[::1]:8080", 200),
        ("evil.example.com", 421),
        ("localhost.evil.example.com", 421),
        ("evil.example.com:8080", 421),
        ("127.0.0.1.evil.example.com", 421),
        ("[::1", 400),
        ("", 400),
        ("localhost:none", 400),
        ("localhost:99999", 400),
        ("evil.example.com@localhost", 400),
        ("localhost/evil.example.com", 400),
        ("localhost#.evil.example.com", 400),
    ],
)
def test_only_known_names_of_the_service_are_answered(
    service: Service, host: str, status: int
) -> None:
    head = f"GET /livez HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    assert service.raw(head.encode()).split()[1] == str(status).encode()


@each(
    ("origin", "status"),
    [
        (None, 200),
        ("own", 200),
        ("http://evil.example.com", 403),
        ("null", 403),
        ("http://localhost", 403),
        ("file://", 403),
    ],
)
def test_only_known_pages_may_ask(
    client: httpx.Client, service: Service, origin: str | None, status: int
) -> None:
    headers = {} if origin is None else {"origin": service.url if origin == "own" else origin}
    assert client.post("/v1/decide", json={}, headers=headers).status_code == status


@each("twice", ["Host: localhost", "Authorization: Bearer a", "Content-Type: application/json"])
def test_a_header_that_decides_may_come_once(service: Service, twice: str) -> None:
    head = f"POST /v1/decide HTTP/1.1\r\nHost: localhost\r\n{twice}\r\n{twice}\r\n"
    answer = service.raw(f"{head}Content-Length: 2\r\nConnection: close\r\n\r\n{{}}".encode())
    assert answer.split()[1] == b"400"


def lines_in(log: Path) -> int:
    """Return how many lines a log has."""
    return len(lines_of(log))


@pytest.mark.parametrize(
    ("head", "body"),
    [
        # A body that is shorter than it says: the client hangs up, and nothing is decided.
        ("Content-Length: 200", "{}"),
        ("Transfer-Encoding: chunked", "2\r\n{}\r\n"),
    ],
)
def test_a_body_that_breaks_off_is_not_decided(
    service: Service, folder: Path, head: str, body: str
) -> None:
    before = lines_in(folder / "log")
    kind = "Content-Type: application/json\r\nConnection: close"
    asked = f"POST /v1/decide HTTP/1.1\r\nHost: localhost\r\n{kind}\r\n{head}\r\n\r\n{body}"
    assert service.raw(asked.encode(), shuts=True) == b""
    assert lines_in(folder / "log") == before


@each(
    "heads",
    [
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Content-Length: 2", "Content-Length: 7"),
        ("Content-Length: +2",),
        ("Content-Length: -1",),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding : chunked",),
    ],
)
def test_lengths_that_contradict_each_other_are_refused(
    service: Service, folder: Path, heads: tuple[str, ...]
) -> None:
    before = lines_in(folder / "log")
    lines = "\r\n".join(("Host: localhost", "Content-Type: application/json", *heads))
    inner = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = service.raw(f"POST /v1/decide HTTP/1.1\r\n{lines}\r\n\r\n{{}}{inner}".encode())
    assert answer.split()[1] == b"400"
    assert answer.count(b"HTTP/1.1") == 1
    assert lines_in(folder / "log") == before


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_above_one_mebibyte_is_refused(client: httpx.Client, *, chunked: bool) -> None:
    content = b'{"task": {"kind": "' + b"x" * 1024 * 1024 + b'"}}'
    pieces = (content[start : start + 65536] for start in range(0, len(content), 65536))
    headers = {"content-type": "application/json"}
    answer = client.post("/v1/decide", content=pieces if chunked else content, headers=headers)
    assert problem(answer)["code"] == "too_large"


def test_a_batch_of_more_than_a_thousand_is_refused(client: httpx.Client) -> None:
    answer = client.post("/v1/decide/batch", json={"requests": [{}] * 1001})
    assert (problem(answer)["status"], problem(answer)["path"]) == (413, "$.requests")
    bad: list[dict[str, Any]] = [{"requests": {}}, {"requests": [], "more": 1}, {}]
    for body in bad:
        assert problem(client.post("/v1/decide/batch", json=body))["status"] == 422


def test_unknown_paths_and_methods_are_refused(client: httpx.Client) -> None:
    assert problem(client.get("/v1/nothing"))["code"] == "no_route"
    assert problem(client.get("/v1/decide/"))["code"] == "no_route"
    answer = client.get("/v1/decide")
    assert (problem(answer)["code"], answer.headers["allow"]) == ("no_method", "POST")


def test_a_head_is_that_of_the_answer_without_its_body(client: httpx.Client) -> None:
    head, whole = client.head("/livez"), client.get("/livez")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == whole.headers["content-length"]
    assert client.head("/v1/decide").status_code == 405


@each(
    ("body", "reason"),
    [
        (b"", "input data was truncated"),
        (b'{"task": }', "byte 9"),
        (b'{"task": "\xff"}', "it is not UTF-8"),
        (b"[" * 100_000, "nested too deep"),
    ],
)
def test_what_is_no_json_is_said_with_its_place(
    client: httpx.Client, body: bytes, reason: str
) -> None:
    headers = {"content-type": "application/json"}
    said = problem(client.post("/v1/decide", content=body, headers=headers))
    assert said["code"] == "not_json"
    assert reason in said["detail"]


def test_a_long_path_takes_no_long_time(service: Service) -> None:
    began = time.monotonic()
    for path in ("/" * 60_000, "/v1/decisions/" + "a/" * 20_000, "/v1/decide" + "%2f" * 9_000):
        answer = service.raw(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        assert answer.split()[1] == b"404"
    assert time.monotonic() - began < 15


def test_a_child_s_parent_comes_from_the_decision_that_it_runs_by(
    client: httpx.Client, folder: Path
) -> None:
    first = client.post("/v1/decide", json={"task": {"kind": "coding"}, "caller": {"id": "ada"}})
    header = {"policy-router-parent": first.json()["decision_id"]}
    body: dict[str, Any] = {"caller": {"id": "ada"}}
    second = client.post("/v1/decide", json=body, headers=header)
    assert second.json()["record"]["request"]["parent"] == {
        "model": "large-model",
        "provider": "main",
        "depth": 1,
        "reasoning_effort": "high",
    }
    (line,) = LogReader(folder / "log").about(second.json()["decision_id"])
    assert line.entry.parent == first.json()["decision_id"]

    other = client.post("/v1/decide", json={"caller": {"id": "bob"}}, headers=header)
    assert (problem(other)["status"], problem(other)["code"]) == (403, "not_verified")
    twice = client.post("/v1/decide", json={**body, "parent": {"depth": 0}}, headers=header)
    assert problem(twice)["code"] == "stated_twice"


def test_the_log_is_whole_and_holds_the_answers(client: httpx.Client, folder: Path) -> None:
    answered = {client.post("/v1/decide", json={}).json()["decision_id"] for _ in range(50)}
    assert verify(folder / "log").is_whole
    assert answered <= {str(line.entry.id) for line in LogReader(folder / "log").lines()}


def test_a_unix_socket_is_its_owner_s_who_may_administer(folder: Path) -> None:
    path = folder / "service.sock"
    with Service(folder, listen=f"unix:{path}") as service:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        transport = httpx.HTTPTransport(uds=str(path), verify=PLAIN)
        with httpx.Client(transport=transport, base_url="http://localhost") as client:
            status = client.get("/v1/policy").json()
            assert status["name"] == "acme"
            assert status["revision"] == load(folder / "policy.yaml").revision
            assert status["files"] == ["policy.yaml"]
        assert service.stop() == 0
    assert not path.exists()


@each(
    ("words", "said"),
    [
        (("policy.yaml", "--listen", "0.0.0.0:0"), "without credentials, it must be"),
        (("policy.yaml", "--listen", "nowhere"), "an address and a port"),
        (("policy.yaml", "--listen", "127.0.0.1:99999"), "an address and a port"),
        (("policy.yaml", "--listen", "unix:"), "an address and a port"),
        (("policy.yaml", "--config", "nul.json"), "an address and a port"),
        (
            ("policy.yaml", "--tokens", "none.jsonl", "--listen", "a..b:80"),
            "not the name of a host",
        ),
        (("policy.yaml", "--config", "notls.json"), "none.pem, policy.yaml: cannot be read"),
        (("policy.yaml", "--config", "badtls.json"), "not a certificate and its key"),
        (("policy.yaml", "--tokens", "missing.jsonl"), "token new --tokens missing.jsonl makes"),
        (("policy.yaml", "--config", "missing.yaml"), "cannot be read"),
        (("policy.yaml", "--config", "policy.yaml"), "unknown key `version`"),
        (("policy.yaml", "--workers", "0"), "workers"),
    ],
)
def test_a_service_that_is_not_set_up_well_does_not_start(
    folder: Path, words: tuple[str, ...], said: str
) -> None:
    tls = {"certificate": "policy.yaml", "key": "policy.yaml"}
    write(
        folder,
        nul_json=json.dumps({"listen": "unix:\0router"}),
        notls_json=json.dumps({"tls": {**tls, "certificate": "none.pem"}}),
        badtls_json=json.dumps({"tls": tls}),
        none_jsonl="",
    )
    ran = in_this_process("serve", *words, cwd=folder)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


def test_a_port_that_is_taken_is_said_with_what_to_do(service: Service, folder: Path) -> None:
    place = "{}:{}".format(*service.address)
    ran = in_process_of_its_own("serve", "policy.yaml", "--listen", place, cwd=folder)
    assert ran.code == 2
    assert f"{place}: cannot listen: address already in use; another process" in ran.err


def test_a_policy_with_errors_is_not_served(folder: Path) -> None:
    ran = in_this_process("serve", "wrong.yaml", cwd=folder)
    assert ran.code == 1
    assert "unknown name `tsk`" in ran.err
