"""MCP over its real transports: the command on standard input, and the service over HTTP."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
from mcp import MCPError
from mcp.types import CallToolResult, TextContent

from policy_router import DecisionRecord, decide, explain, load
from policy_router.log import LogReader, verify
from policy_router.log.used_policy import UsedPolicy
from tests.integration.test_documents import README, blocks
from tests.integration.test_service import POLICY
from tests.integration.test_service_credentials import FORGED, ROLES, new_token
from tests.support.commands import ROOT, in_process_of_its_own, in_this_process, write
from tests.support.rows import each
from tests.support.service import SECONDS, Service, lines_of, problem
from tests.support.speaking import COMMAND, Lines, Session, on_http, on_stdio

pytestmark = pytest.mark.slow

GIVEN: Final[dict[str, Any]] = {
    "caller": {"id": "ada", "team": "research"},
    "parent": {"model": "large-model", "provider": "main", "depth": 1},
    "facts": {"risk": 3},
}
CALLER: Final = {"id": "a-agent", "team": "research"}
PAGE: Final = ROOT / "docs" / "mcp.md"
WHERE: Final = ("stdio", "http")
UNTOLD: Final = "s3cr3t"
HEADERS: Final = {
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("mcp")
    write(made, policy_yaml=POLICY, facts_json=json.dumps(GIVEN))
    return made


@pytest.fixture(scope="module")
def tokens(folder: Path) -> dict[str, str]:
    words = ("--team", "research", "--role")
    return {role: new_token(folder, "--id", f"a-{role}", *words, role) for role in ROLES}


@pytest.fixture(scope="module")
def service(folder: Path, tokens: dict[str, str]) -> Iterator[Service]:
    assert tokens
    with Service(folder, "--tokens", "tokens.jsonl", "--log", "http-log") as made:
        yield made


@pytest.fixture(scope="module")
def sessions(
    folder: Path, service: Service, tokens: dict[str, str]
) -> Iterator[dict[str, Session]]:
    with ExitStack() as stack:
        made = {
            role: stack.enter_context(on_http(service.url, token)) for role, token in tokens.items()
        }
        words = ("--facts", "facts.json", "--log", "stdio-log")
        made["stdio"] = stack.enter_context(on_stdio(folder, *words))
        made["http"] = made["agent"]
        yield made


def text(result: CallToolResult) -> str:
    (block,) = result.content
    assert isinstance(block, TextContent)
    return block.text


def error(result: CallToolResult) -> dict[str, Any]:
    assert result.is_error, text(result)
    found: dict[str, Any] = result.structured_content["error"]
    assert found["code"] in text(result)
    return found


def logged(folder: Path, where: str) -> dict[str | None, DecisionRecord]:
    lines = lines_of(folder / f"{where}-log")
    return {str(it.entry.id): it.entry.decision_record for it in lines if it.entry.record}


def given(where: str) -> dict[str, Any]:
    return GIVEN if where == "stdio" else {"caller": CALLER}


# What is offered.


@each(
    ("who", "names"),
    [
        ("stdio", ["decide", "menu", "explain"]),
        ("agent", ["decide", "menu"]),
        ("host", ["decide", "menu"]),
        ("auditor", ["explain"]),
        ("admin", ["decide", "menu", "explain"]),
    ],
)
def test_tools_are_listed_to_those_who_may_use_them(
    sessions: dict[str, Session], who: str, names: list[str]
) -> None:
    tools = sessions[who].tools()
    assert list(tools) == names
    for tool in tools.values():
        jsonschema.Draft202012Validator.check_schema(tool.input_schema)
        jsonschema.Draft202012Validator.check_schema(tool.output_schema or {})
        assert tool.description
    if "decide" in tools:
        sections = {"call", "task"} | (set(FORGED) if who in {"host", "admin"} else set())
        for name in ("decide", "menu"):
            assert set(tools[name].input_schema["properties"]) == sections


@pytest.mark.stress
@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_both_generations_of_the_protocol_are_spoken(
    folder: Path, service: Service, tokens: dict[str, str], mode: str
) -> None:
    for session in (on_http(service.url, tokens["agent"], mode), on_stdio(folder, mode=mode)):
        with session as connected:
            assert connected.client.server_info
            assert connected.client.server_info.name == "policy-router"
            assert "`decide`" in (connected.client.instructions or "")
            assert not connected.call("decide").is_error


def test_closed_sets_are_in_the_arguments(tmp_path: Path) -> None:
    closed = "kinds: [coding, math]\nlabels: [pii]\nteams: {values: [research], unknown: drop}\n"
    write(tmp_path, policy_yaml=POLICY + closed)
    with on_stdio(tmp_path) as session:
        task = session.tools()["decide"].input_schema["properties"]["task"]["properties"]
        assert task["kind"]["enum"] == ["coding", "math"]
        assert task["labels"]["items"]["enum"] == ["pii"]
        assert error(session.call("decide", task={"kind": "cooking"}))["path"] == "$.task.kind"


@pytest.mark.parametrize("where", WHERE)
def test_there_is_no_other_tool(sessions: dict[str, Session], where: str) -> None:
    for name in ("delegate_task", "policy", ""):
        with pytest.raises(MCPError, match="there is no such tool"):
            sessions[where].call(name)


# What is answered.


@pytest.mark.parametrize("where", WHERE)
def test_a_decision_is_that_of_the_library_and_is_in_the_log(
    sessions: dict[str, Session], folder: Path, where: str
) -> None:
    asked = {"task": {"kind": "coding", "model": "large"}, "call": {"reasoning_effort": "low"}}
    result = sessions[where].call("decide", **asked)
    assert not result.is_error
    content = result.structured_content
    record = logged(folder, where)[content["decision_id"]]
    made = decide(load(folder / "policy.yaml"), {**asked, **given(where)}, now=record.now)
    assert record == made
    assert content["decision"] == json.loads(made.to_json())["decision"]
    assert text(result).splitlines() == [
        "selected: large (large-model at main)",
        "parameters: reasoning_effort=low",
        "fallbacks: none",
        f"decision id: {content['decision_id']}",
    ]


@pytest.mark.parametrize("where", WHERE)
def test_a_refusal_is_an_error_that_says_what_is_permitted(
    sessions: dict[str, Session], folder: Path, where: str
) -> None:
    result = sessions[where].call("decide", task={"model": "huge"})
    found, content = error(result), result.structured_content
    assert (found["code"], found["permitted"]) == ("outside_pool", ["small", "large", "secret"])
    assert found["message"] in text(result)
    assert "permitted: small, large, secret" in text(result)
    assert logged(folder, where)[content["decision_id"]].decision.refusal
    schema = sessions[where].tools()["decide"].output_schema
    jsonschema.validate(content, schema or {})


@pytest.mark.parametrize("where", WHERE)
def test_the_menu_is_that_of_the_command(
    sessions: dict[str, Session], folder: Path, where: str
) -> None:
    (folder / "asked.json").write_text(json.dumps(given(where)))
    ran = in_this_process("menu", "policy.yaml", "asked.json", "--format", "json", cwd=folder)
    result = sessions[where].call("menu")
    assert result.structured_content == json.loads(ran.out)
    assert text(result).splitlines() == [
        "small (small-model at main): quick tasks, writing",
        "large (large-model at main): coding, analysis",
        "secret (secret-model at main)",
    ]
    needs = sessions[where].call("menu", task={"parameters": {"seed": "x"}})
    assert error(needs)["path"] == "$.task.parameters.seed"


def test_an_explanation_is_that_of_the_library(sessions: dict[str, Session], folder: Path) -> None:
    session, policy = sessions["stdio"], load(folder / "policy.yaml")
    made = session.call("decide", task={"kind": "coding"}).structured_content
    record = logged(folder, "stdio")[made["decision_id"]]
    page = explain(policy, record, why_not="small").to_text().replace(f"{folder}/", "")
    for asked in (
        {"decision_id": made["decision_id"]},
        {"record": json.loads(record.to_json())},
        {"request": {"task": {"kind": "coding"}}, "now": record.now},
    ):
        result = session.call("explain", **asked, why_not="small")
        assert text(result) == page
        assert result.structured_content["record"] == json.loads(record.to_json())
    wrong: list[tuple[dict[str, Any], str]] = [
        ({}, "$"),
        ({"decision_id": "x"}, "$.decision_id"),
        ({"request": {}, "record": {}}, "$"),
        ({"request": {}, "full": 1}, "$.full"),
        ({"request": "x"}, "$.request"),
        ({"at": 1}, "$"),
    ]
    for arguments, path in wrong:
        assert error(session.call("explain", **arguments))["path"] == path


def test_an_agent_gets_no_explanation(sessions: dict[str, Session]) -> None:
    assert error(sessions["agent"].call("explain", request={}))["code"] == "role_needed"
    assert error(sessions["auditor"].call("decide"))["code"] == "role_needed"
    assert not sessions["auditor"].call("explain", request={"caller": {"id": "jo"}}).is_error


def test_an_auditor_explains_what_an_agent_was_told(sessions: dict[str, Session]) -> None:
    made = sessions["agent"].call("decide", task={"model": "huge"}).structured_content
    page = sessions["auditor"].call("explain", decision_id=made["decision_id"])
    assert "outside the pool" in text(page)
    assert page.structured_content["record"]["request"]["caller"] == CALLER


# Who is believed.


@each("name", FORGED)
@each("where", WHERE)
def test_an_agent_cannot_state_what_only_a_host_may(
    sessions: dict[str, Session], folder: Path, where: str, name: str
) -> None:
    before, session = len(logged(folder, where)), sessions[where]
    values: tuple[Any, ...] = (FORGED[name], [], None, "x")
    for value in values:
        results = [session.call(tool, **{name: value}) for tool in ("decide", "menu")]
        if where == "stdio":
            results.append(session.call("explain", request={name: value}))
        for found in map(error, results):
            assert found["code"] == "not_verified"
            assert found["path"].rpartition("$")[2].startswith((f".{name}", f".request.{name}"))
    assert len(logged(folder, where)) == before


def test_nothing_else_in_a_message_or_header_states_anything(
    service: Service, tokens: dict[str, str], folder: Path
) -> None:
    forged = {name: json.dumps(value) for name, value in FORGED.items()}
    headers = {f"{at}-{name}": it for at in ("x", "mcp-param") for name, it in forged.items()}
    headers |= {f"policy-router-{name}": it for name, it in forged.items() if name != "parent"}
    client = service.client(tokens["agent"])
    params = {"name": "decide", "arguments": {}, "_meta": FORGED, **FORGED}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params, **FORGED}
    answer = client.post("/mcp", json=message, headers=HEADERS | headers)
    result = answer.json()["result"]
    decision_id = result["structuredContent"]["decision_id"]
    assert answer.headers["policy-router-decision-id"] == decision_id
    assert logged(folder, "http")[decision_id].request == {"caller": CALLER}


def test_a_parent_is_an_earlier_decision_of_the_same_caller(
    service: Service, tokens: dict[str, str], sessions: dict[str, Session], folder: Path
) -> None:
    mine = sessions["agent"].call("decide", task={"kind": "coding"}).structured_content
    parent = {"policy_router_parent": mine["decision_id"]}
    with on_http(service.url, tokens["agent"], **parent) as session:
        child = session.call("decide").structured_content
        request = logged(folder, "http")[child["decision_id"]].request
        assert (request["parent"]["model"], request["parent"]["depth"]) == ("large-model", 1)
    with on_http(service.url, tokens["admin"], **parent) as session:
        assert error(session.call("decide"))["code"] == "not_verified"


def test_decisions_over_mcp_are_counted(
    service: Service, tokens: dict[str, str], sessions: dict[str, Session]
) -> None:
    client = service.client(tokens["auditor"])

    def selected() -> float:
        lines = client.get("/metrics").text.splitlines()
        found = [line for line in lines if line.startswith("policy_router_decisions_total{")]
        return sum(float(line.rpartition(" ")[2]) for line in found)

    before = selected()
    sessions["agent"].call("decide")
    sessions["agent"].call("menu")
    assert selected() == before + 1
    client.post("/mcp", json={}, headers=HEADERS | {"accept": "text/html"})
    text = client.get("/metrics").text
    assert 'policy_router_requests_total{route="/mcp",status="406"}' in text
    assert 'status="500"' not in text


def test_a_host_states_what_it_has_verified(sessions: dict[str, Session], folder: Path) -> None:
    stated = {"caller": {"id": "jo"}, "facts": {"risk": 1}}
    made = sessions["host"].call("decide", **stated).structured_content
    assert logged(folder, "http")[made["decision_id"]].request == stated


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"task": {"kind": "coding"}}', "$.task"),
        ('{"facts": {"unknown": 1}}', "$.facts.unknown"),
        ('{"caller": {"id": 3}}', "$.caller.id"),
        ("[]", "expected a mapping"),
        ("{", "this is not JSON"),
    ],
)
def test_a_file_of_facts_that_does_not_fit_is_an_error(
    folder: Path, tmp_path: Path, content: str, reason: str
) -> None:
    write(tmp_path, facts_json=content)
    words = (str(folder / "policy.yaml"), "--facts", str(tmp_path / "facts.json"))
    ran = in_this_process("mcp", *words, cwd=tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert reason in ran.err


def test_no_caller_gets_what_another_asks_at_the_same_time(
    service: Service, tokens: dict[str, str], folder: Path
) -> None:
    client = service.client()

    def made(number: int) -> tuple[str, str]:
        role = ("agent", "admin")[number % 2]
        params = {"name": "decide", "arguments": {"task": {"labels": [role]}}}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        headers = HEADERS | {"authorization": f"Bearer {tokens[role]}"}
        result = client.post("/mcp", json=message, headers=headers).json()["result"]
        return role, result["structuredContent"]["decision_id"]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(made, range(60)))
    records = logged(folder, "http")
    for role, decision_id in answers:
        request = records[decision_id].request
        assert (request["caller"]["id"], request["task"]["labels"]) == (f"a-{role}", (role,))


# What is no good message.


@each("where", WHERE)
@each(
    ("arguments", "path"),
    [
        ({"tsk": {}}, "$.tsk"),
        ({"task": []}, "$.task"),
        ({"task": {"kind": 3}}, "$.task.kind"),
        ({"task": {"input_tokens": "many"}}, "$.task.input_tokens"),
        ({"task": {"input_tokens": 10**30}}, "$"),
        ({"task": {"kind": "k" * 100_000}}, "$.task.kind"),
        ({"task": {"parameters": {"model": "zz"}}}, "$.task.parameters.model"),
        ({"task": {"kind": "\0"}}, "$.task.kind"),
    ],
)
def test_wrong_arguments_are_errors_with_their_place(
    sessions: dict[str, Session], where: str, arguments: dict[str, Any], path: str
) -> None:
    found = error(sessions[where].call("decide", **arguments))
    assert found["path"].startswith(path)
    assert "Traceback" not in found["message"]


def test_what_is_no_message_ends_nothing(folder: Path) -> None:
    with Lines(folder, "--log", "odd-log") as lines:
        lines.answer("hello")
        lines.write(
            *(b"{", b"", b"[]", b'"x"', b'{"jsonrpc": "2.0"}', b"\xff\xfe", b"x" * 3_000_000),
            *(b"[" * 100_000, b'{"jsonrpc": "2.0", "id": 1, "method": 3}'),
            b'{"jsonrpc": "2.0", "id": {}, "method": "ping"}',
            b'{"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": 3}}',
            b'{"jsonrpc": "2.0", "id": 3, "method": "no/such"}',
            b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 9}}',
        )
        lines.call(4, "decide", [])
        lines.call(5, "decide", {"task": {"parameters": {"temperature": float("nan")}}})
        deep: dict[str, Any] = {}
        for _ in range(150):
            deep = {"task": deep}
        lines.call(6, "decide", deep)
        lines.call(7, "decide", {"task": {"labels": ["l" * 60_000] * 20}})
        lines.call(8, "decide", {})
        assert not lines.answer(8)["result"].get("isError")
        for number in (2, 3, 4):
            assert "error" in lines.answer(number)
        for number in (5, 6, 7):
            assert lines.answer(number)["result"]["isError"]
        large = lines.answer(7)["result"]["structuredContent"]["error"]
        assert (large["code"], large["path"]) == ("too_large", "$")
        assert "Traceback" not in lines.end()
        assert lines.process.returncode == 0
    assert len(logged(folder, "odd")) == 1


def test_what_is_no_message_over_http_is_an_error(
    service: Service, tokens: dict[str, str], folder: Path
) -> None:
    client, before = service.client(tokens["agent"]), len(logged(folder, "http"))
    ping = b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}'
    for body in (b"{", b"[]", b'"x"', b"{}", b"[" * 100_000, b"[%b]" % ping, b"\xff"):
        for version in ({}, {"mcp-protocol-version": "2026-07-28"}):
            answer = client.post("/mcp", content=body, headers=HEADERS | version)
            assert answer.status_code == 400
            assert "error" in answer.json()
            assert b"Traceback" not in answer.content
    for content in ([UNTOLD], {"id": UNTOLD}, {"jsonrpc": "2.0", "id": 1, "params": UNTOLD}):
        answer = client.post("/mcp", json=content, headers=HEADERS)
        assert "not a message of JSON-RPC" in answer.json()["error"]["message"]
        assert UNTOLD not in answer.text
    pong = {"jsonrpc": "2.0", "id": 1, "result": {}}
    assert client.post("/mcp", content=ping, headers=HEADERS).json() == pong
    assert client.post("/mcp", content=b"x" * 2**21, headers=HEADERS).status_code == 413
    for name, value, status in (("content-type", "text/plain", 415), ("accept", "text/html", 406)):
        answer = client.post("/mcp", content=ping, headers={**HEADERS, name: value})
        assert answer.status_code == status
    for method in ("GET", "DELETE", "PUT"):
        assert problem(client.request(method, "/mcp"))["code"] == "no_method"
    assert problem(service.client().post("/mcp", content=ping, headers=HEADERS))["status"] == 401
    for name, value in (("host", "evil.example"), ("origin", "https://evil.example")):
        answer = client.post("/mcp", content=ping, headers=HEADERS | {name: value})
        assert problem(answer)["code"] == f"unknown_{name}"
    assert len(logged(folder, "http")) == before


# What ends early.


@pytest.mark.stress
def test_a_cancelled_call_is_not_answered_and_ends_nothing(tmp_path: Path) -> None:
    write(tmp_path, policy_yaml=POLICY, request_json="{}")
    words = ("decide", "policy.yaml", "request.json", "--log", "log")
    assert in_this_process(*words, cwd=tmp_path).code == 0
    (made,) = [str(it.entry.id) for it in LogReader(tmp_path / "log").lines() if it.entry.record]
    (tmp_path / "policy.yaml").write_text(POLICY.replace("name: acme", "name: changed"))
    with Lines(tmp_path, "--log", "log") as lines:
        lines.call(1, "explain", {"decision_id": made})  # by the policy of then: a helper's work
        lines.call(2, "explain", {"decision_id": made})
        cancelled = {"requestId": 1, "reason": "no more"}
        method = "notifications/cancelled"
        lines.write({"jsonrpc": "2.0", "method": method, "params": cancelled})
        lines.call(3, "decide", {})
        assert lines.answer(3)["result"]["structuredContent"]["decision"]
        assert "policy acme" in lines.answer(2)["result"]["content"][0]["text"]
        assert "Traceback" not in lines.end()
        assert all("result" not in it for it in lines.said if it.get("id") == 1)
    assert verify(tmp_path / "log").is_whole


CLIENT: Final = """
import asyncio, sys
from pathlib import Path
from mcp import Client, StdioServerParameters, stdio_client

async def main():
    command = StdioServerParameters(command=sys.executable, args=sys.argv[1:], cwd=Path.cwd())
    async with Client(stdio_client(command)) as client:
        while True:
            made = await client.call_tool("decide", {"task": {"kind": "coding"}})
            print(made.structured_content["decision_id"], flush=True)

asyncio.run(main())
"""


@pytest.mark.stress
def test_a_log_is_whole_after_its_client_was_killed(tmp_path: Path) -> None:
    write(tmp_path, policy_yaml=POLICY)
    words = [sys.executable, "-c", CLIENT, *COMMAND, "policy.yaml", "--log", "log"]
    with subprocess.Popen(  # noqa: S603 - the words are the test's own
        words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as client:
        assert client.stdout is not None
        assert client.stderr is not None
        answered = {client.stdout.readline().strip() for _ in range(20)}
        client.kill()
        answered |= set(client.stdout.read().split())
        client.stderr.read()  # ends when the command, too, has ended
    assert verify(tmp_path / "log").is_whole
    ids = {str(it.entry.id) for it in LogReader(tmp_path / "log").lines() if it.entry.record}
    assert {it for it in answered if len(it) == len(min(ids))} <= ids


@pytest.mark.usefixtures("interrupts")
@pytest.mark.parametrize(
    "how", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.stress)]
)
def test_a_signal_ends_the_command_though_its_input_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    write(tmp_path, policy_yaml=POLICY)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    with Lines(tmp_path, "--log", "log") as lines:
        lines.call(1, "decide", {})
        lines.answer(1)
        lines.process.send_signal(how)
        assert lines.process.wait(SECONDS) == 128 + how
    assert verify(tmp_path / "log").is_whole
    assert list((tmp_path / "temporary").iterdir()) == []


def test_who_starts_it_says_session_tags_and_commit_of_each_decision(
    folder: Path, tmp_path: Path
) -> None:
    words = ("--session", "s-1", "--tag", "project:a", "--tag", "b", "--origin-commit", "4f2a91c")
    with on_stdio(folder, "--log", str(tmp_path / "log"), *words) as session:
        assert not session.call("decide").is_error
    used, made, *_ = [it.entry for it in lines_of(tmp_path / "log")]
    assert (made.session, made.tags) == ("s-1", ("project:a", "b"))
    assert isinstance(used.policy, UsedPolicy)
    assert used.policy.origin_commit == "4f2a91c"
    assert used.policy.loaded_by


@each(
    ("option", "value"),
    [("--session", ""), ("--session", "\u00fc"), ("--tag", "a\tb"), ("--origin-commit", "a b")],
)
def test_what_no_line_can_have_is_refused_at_the_start(
    folder: Path, option: str, value: str
) -> None:
    ran = in_this_process("mcp", "policy.yaml", option, value, cwd=folder)
    assert ran.code == 2
    assert "session" in ran.err or option in ran.err


def test_the_service_takes_the_tags_of_a_host_over_mcp_too(
    folder: Path, service: Service, tokens: dict[str, str]
) -> None:
    said = {"policy_router_tags": "project:a", "policy_router_session": "s-2"}
    with on_http(service.url, tokens["host"], **said) as session:
        id_ = session.call("decide").structured_content["decision_id"]
    (line,) = [it.entry for it in lines_of(folder / "http-log") if it.entry.id == id_]
    assert (line.session, line.tags) == ("s-2", ("project:a",))


def test_a_decision_that_cannot_be_logged_is_an_error(folder: Path, tmp_path: Path) -> None:
    write(tmp_path, log="no folder")
    with on_stdio(folder, "--log", str(tmp_path / "log")) as session:
        assert error(session.call("decide"))["code"] == "log_unavailable"
        assert not session.call("menu").is_error


# What the page says.


def test_the_page_shows_what_is_answered(tmp_path: Path) -> None:
    shown = blocks(PAGE, "json")
    for block in shown[:2]:
        (host,) = json.loads(block)["mcpServers"].values()
        assert host.get("args", ["mcp"])[0] == "mcp"
    write(tmp_path, policy_yaml=blocks(README, "yaml")[0], facts_yaml=blocks(PAGE, "yaml")[0])
    with on_stdio(tmp_path, "--facts", "facts.yaml") as session:
        answers = [
            session.call("decide", task={"kind": "coding"}),
            session.call("decide", task={"model": "huge"}),
            session.call("menu"),
        ]
        assert error(session.call("decide", task={"kind": 3}))["path"] == "$.task.kind"
    for answer, written, data in zip(answers, blocks(PAGE, "text"), shown[2:], strict=True):
        content = json.loads(data)
        made, id_ = answer.structured_content, content.get("decision_id", "")
        assert {**made, "decision_id": id_} == {"decision_id": id_, **content}
        assert text(answer).replace(made.get("decision_id", "?"), id_) == written.strip()


# Without the extra.

BLOCKED: Final = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name == "mcp":
            raise ModuleNotFoundError("No module named 'mcp'", name="mcp")

sys.meta_path.insert(0, Blocked())
"""
NEEDED: Final = "MCP needs the extra `mcp`: pip install 'policy-router[mcp]'"


@pytest.mark.stress
def test_without_the_extra_the_command_and_the_service_name_it(tmp_path: Path) -> None:
    write(tmp_path, policy_yaml=POLICY, sitecustomize_py=BLOCKED, request_json="{}")
    without = {"PYTHONPATH": str(tmp_path)}
    ran = in_process_of_its_own("mcp", "policy.yaml", cwd=tmp_path, environment=without)
    assert (ran.code, ran.out, ran.err) == (2, "", f"policy-router: {NEEDED}\n")
    words = ("decide", "policy.yaml", "request.json")
    assert in_process_of_its_own(*words, cwd=tmp_path, environment=without).code == 0
    with Service(tmp_path, environment=without) as service:
        answer = service.client().post("/mcp", json={}, headers=HEADERS)
        said = problem(answer)
        assert (said["status"], said["code"], said["detail"]) == (501, "not_installed", NEEDED)
        assert service.client().post("/v1/decide", json={}).status_code == 200


@pytest.mark.stress
def test_decisions_are_answered_while_the_first_message_loads_the_sdk(tmp_path: Path) -> None:
    write(tmp_path, policy_yaml=POLICY)
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    with Service(tmp_path) as service, ThreadPoolExecutor() as pool:
        client, meanwhile = service.client(), 0
        first = pool.submit(service.client().post, "/mcp", json=ping, headers=HEADERS)
        while not first.done():
            meanwhile += client.post("/v1/decide", json={}).status_code == 200
        assert first.result().status_code == 200
        assert meanwhile >= 3
        assert [line for line in service.said if "mcp" in line.lower()] == []
