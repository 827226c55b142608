"""The service runs delegated tasks over MCP, and spends a caller's budget."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp.types import TextContent
from msgspec import UNSET

from policy_router.log import LogReader
from policy_router.log.entry import Execution, Kind
from tests.support.commands import in_this_process
from tests.support.scripted import ScriptedProvider, Talk, completion
from tests.support.service import SECONDS, Service, until
from tests.support.speaking import on_http

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="POSIX only")]

KEY = "planted-key-of-the-provider-0123456789"
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def peer() -> Iterator[ScriptedProvider]:
    with ScriptedProvider(lambda talk: talk.whole(completion())) as made:
        yield made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, peer: ScriptedProvider) -> Path:
    made = tmp_path_factory.mktemp("delegation")
    entry: dict[str, Any] = {"name": "small", "model": "m0", "provider": "near", "pick": "true"}
    entry |= {"price": {"input": 1000.0, "output": 1000.0}, "parameters": {"max_tokens": 100}}
    policy = {
        "version": 1,
        "providers": {"near": {"base_url": peer.url, "api_key": "env:NEAR_KEY"}},
        "pool": [entry],
        "precedence": "strict",
    }
    (made / "policy.yaml").write_text(json.dumps(policy), encoding="utf-8")
    budgets = {"file": "budget", "callers": {"ada": 5.0}, "teams": {"rich": 100.0, "poor": 0.0001}}
    settings = {"run": True, "tokens": "tokens.jsonl", "log": "log", "budgets": budgets}
    settings["agent_may_state"] = ["tags"]
    (made / "serve.yaml").write_text(json.dumps(settings), encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def tokens(folder: Path) -> dict[str, str]:
    wanted = {
        "ada": ("--team", "rich"),
        "bob": ("--max-tasks", "2"),
        "eve": ("--team", "poor"),
        "sue": ("--role", "auditor"),
        "tim": ("--deadline", "200ms"),
    }
    made = {}
    for name, words in wanted.items():
        command = ("token", "new", "--tokens", "tokens.jsonl", "--id", name, *words)
        made[name] = in_this_process(*command, cwd=folder).out.strip()
    return made


@pytest.fixture(scope="module")
def service(folder: Path, tokens: dict[str, str]) -> Iterator[Service]:
    assert tokens
    with Service(folder, "--config", "serve.yaml", environment={"NEAR_KEY": KEY}) as made:
        yield made


def spent(folder: Path, account: str) -> tuple[float, int]:
    """Return what an account of the budget file has spent, and how much is reserved there."""
    with closing(sqlite3.connect(folder / "budget")) as base:
        rows = base.execute("SELECT spent FROM accounts WHERE name = ?", [account]).fetchall()
        query = "SELECT count(*) FROM reservations WHERE account = ?"
        (count,) = base.execute(query, [account]).fetchone()
    return (rows[0][0] / 1e9 if rows else 0.0), count


def is_settled(folder: Path, account: str) -> bool:
    amount, reservations = spent(folder, account)
    return amount > 0 and not reservations


def said(result: Any) -> dict[str, Any]:
    (content,) = result.content
    assert isinstance(content, TextContent)
    found: dict[str, Any] = json.loads(content.text)
    return found


def test_an_agent_delegates_over_mcp(
    service: Service, peer: ScriptedProvider, tokens: dict[str, str], folder: Path
) -> None:
    peer.begin(lambda talk: talk.whole(completion("Done.")))
    with on_http(service.url, tokens["bob"]) as session:
        offered = session.tools()["delegate_task"]
        assert "goal" in offered.input_schema["properties"]
        made = session.call("delegate_task", goal="Fix the test.")
        assert not made.is_error
        assert said(made)["results"][0]["text"] == "Done."
        refused = session.call("delegate_task", goal="Fix it.", model="huge")
        assert refused.is_error
        assert "outside_pool" in str(refused.content)
        wrong = session.call("delegate_task", gaol="Fix it.")
        assert wrong.is_error
        too_many = session.call("delegate_task", tasks=[{"goal": "a"}] * 3)
        assert too_many.is_error
    assert peer.talks[0].headers["authorization"] == f"Bearer {KEY}"
    entries = [line.entry for line in LogReader(folder / "log").lines()]
    callers = {it.caller["id"] for it in entries if isinstance(it.caller, dict)}
    assert "bob" in callers


def test_a_delegation_is_logged_with_the_tags_that_an_agent_may_state(
    service: Service, peer: ScriptedProvider, tokens: dict[str, str], folder: Path
) -> None:
    peer.begin(lambda talk: talk.whole(completion("Done.")))
    with on_http(service.url, tokens["bob"], policy_router_tags="project:a") as session:
        assert not session.call("delegate_task", goal="Fix it.").is_error
    with on_http(service.url, tokens["bob"], policy_router_session="s-1") as session:
        assert "not_verified" in str(session.call("delegate_task", goal="Fix it.").content)
    lines = [line.entry for line in LogReader(folder / "log").lines()]
    *_, last = [it for it in lines if it.kind is Kind.DECISION]
    assert (last.session, last.tags) == (UNSET, ("project:a",))


def test_a_delegation_ends_at_the_deadline_of_its_credential(
    service: Service, peer: ScriptedProvider, tokens: dict[str, str]
) -> None:
    def silent(talk: Talk) -> None:
        talk.hung_up()

    peer.begin(silent)
    with on_http(service.url, tokens["tim"]) as session:
        made = session.call("delegate_task", goal="Fix the test.")
    assert made.is_error
    assert "timeout" in str(made.content)


def test_who_may_not_spend_is_not_offered_the_tool(
    service: Service, tokens: dict[str, str], folder: Path, tmp_path: Path
) -> None:
    with on_http(service.url, tokens["sue"]) as session:
        assert "delegate_task" not in session.tools()
        assert session.call("delegate_task", goal="x").is_error
    (tmp_path / "policy.yaml").write_bytes((folder / "policy.yaml").read_bytes())
    for words in ((), ("--run",)):  # on TCP without credentials anybody may ask
        with Service(tmp_path, *words) as own, on_http(own.url) as session:
            assert "delegate_task" not in session.tools()


def test_a_budget_is_reserved_and_settled(
    service: Service, peer: ScriptedProvider, tokens: dict[str, str], folder: Path
) -> None:
    peer.begin(lambda talk: talk.whole(completion()))
    body = {"model": "auto", "messages": [{"role": "user", "content": "Say hello."}]}
    answer = service.client(tokens["ada"]).post(CHAT, json=body)
    assert answer.status_code == 200
    cost = 15 * 1000 / 1e6  # 12 tokens in, and 3 out
    for account in ("caller:ada", "team:rich"):
        until(partial(is_settled, folder, account))
        assert spent(folder, account)[0] == pytest.approx(cost)
    with on_http(service.url, tokens["ada"]) as session:
        assert not session.call("delegate_task", goal="Say hello.").is_error
    assert spent(folder, "caller:ada")[0] == pytest.approx(2 * cost)
    assert spent(folder, "team:rich")[0] == pytest.approx(2 * cost)
    assert is_settled(folder, "team:rich")


def test_nothing_is_called_that_the_budget_may_not_cover(
    service: Service, peer: ScriptedProvider, tokens: dict[str, str], folder: Path
) -> None:
    peer.begin(lambda talk: talk.whole(completion()))
    client = service.client(tokens["eve"])
    body = {"model": "auto", "messages": [{"role": "user", "content": "Say hello."}]}
    found = denied(client, body)
    assert found["code"] == "budget_exceeded"
    decision_id = found["decision_id"]
    with on_http(service.url, tokens["eve"]) as session:
        made = session.call("delegate_task", goal="Say hello.")
    assert made.is_error
    assert "budget_exceeded" in str(made.content)
    assert peer.talks == []
    assert spent(folder, "team:poor") == (0.0, 0)
    ends = partial(ends_of, folder / "log", decision_id)
    (end,) = until(ends)
    assert (end.event, end.status, end.error) == ("finished", "refused", "budget_exceeded")


def ends_of(log: Path, decision_id: str) -> list[Execution]:
    found = [line.entry.execution for line in LogReader(log).about(decision_id)]
    return [it for it in found if isinstance(it, Execution)]


def denied(client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(CHAT, json=body)
    assert answer.status_code == 403, answer.text
    found: dict[str, Any] = answer.json()["error"]
    assert answer.headers["policy-router-decision-id"] == found["decision_id"]
    assert answer.headers["x-should-retry"] == "false"
    return found


@pytest.mark.stress
def test_workers_share_the_calls_that_a_provider_gets_at_the_same_time(
    folder: Path, peer: ScriptedProvider, tokens: dict[str, str], tmp_path: Path
) -> None:
    counting, now, most = threading.Lock(), 0, 0

    def slow(talk: Talk) -> None:
        nonlocal now, most
        with counting:
            now += 1
            most = max(most, now)
        time.sleep(0.2)
        with counting:
            now -= 1
        talk.whole(completion())

    policy = json.loads((folder / "policy.yaml").read_text(encoding="utf-8"))
    policy["providers"]["near"]["concurrency"] = 2
    (tmp_path / "policy.yaml").write_text(json.dumps(policy), encoding="utf-8")
    peer.begin(slow)
    body = {"model": "auto", "messages": [{"role": "user", "content": "Say hello."}]}
    words = ("--run", "--workers", "2", "--tokens", str(folder / "tokens.jsonl"))
    with Service(tmp_path, *words, environment={"NEAR_KEY": KEY}) as own:

        def call(_: int) -> int:
            with httpx.Client(base_url=own.url, timeout=SECONDS) as client:  # any worker's
                headers = {"authorization": f"Bearer {tokens['bob']}"}
                return client.post(CHAT, json=body, headers=headers).status_code

        with ThreadPoolExecutor(10) as pool:
            assert list(pool.map(call, range(10))) == [200] * 10
    assert most <= 2


def test_who_hangs_up_before_anything_was_sent_pays_nothing(
    folder: Path, peer: ScriptedProvider, tokens: dict[str, str], tmp_path: Path
) -> None:
    policy = json.loads((folder / "policy.yaml").read_text(encoding="utf-8"))
    policy["providers"]["near"]["concurrency"] = 1
    (tmp_path / "policy.yaml").write_text(json.dumps(policy), encoding="utf-8")
    settings = json.loads((folder / "serve.yaml").read_text(encoding="utf-8"))
    settings["tokens"] = str(folder / "tokens.jsonl")
    (tmp_path / "serve.yaml").write_text(json.dumps(settings), encoding="utf-8")
    goes_on = threading.Event()

    def held(talk: Talk) -> None:
        goes_on.wait(SECONDS)
        talk.whole(completion())

    peer.begin(held)
    body = {"model": "auto", "messages": [{"role": "user", "content": "Say hello."}]}
    with Service(tmp_path, "--config", "serve.yaml", environment={"NEAR_KEY": KEY}) as own:
        client = own.client(tokens["ada"])
        with ThreadPoolExecutor(1) as pool:
            try:
                first = pool.submit(client.post, CHAT, json=body)
                until(lambda: peer.talks)
                with pytest.raises(httpx.ReadTimeout):
                    own.client(tokens["ada"]).post(CHAT, json=body, timeout=0.5)
                until(lambda: spent(tmp_path, "caller:ada") == (0.0, 1))
            finally:
                goes_on.set()
            assert first.result().status_code == 200
        until(lambda: is_settled(tmp_path, "caller:ada"))
    assert spent(tmp_path, "caller:ada")[0] == pytest.approx(15 * 1000 / 1e6)
    assert len(peer.talks) == 1


@pytest.mark.stress
def test_what_the_gateway_learns_of_a_target_holds_for_delegations_too(
    folder: Path, peer: ScriptedProvider, tokens: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "policy.yaml").write_bytes((folder / "policy.yaml").read_bytes())
    error = {"error": {"message": "slow down"}}
    peer.begin(lambda talk: talk.whole(error, 429, headers={"retry-after": "3600"}))
    body = {"model": "auto", "messages": [{"role": "user", "content": "Say hello."}]}
    words = ("--run", "--tokens", str(folder / "tokens.jsonl"))
    with Service(tmp_path, *words, environment={"NEAR_KEY": KEY}) as own:
        answer = own.client(tokens["bob"]).post(CHAT, json=body)
        with on_http(own.url, tokens["bob"]) as session:
            made = session.call("delegate_task", goal="Say hello.")
    assert (answer.status_code, made.is_error) == (429, True)
    assert "rate_limited" in str(made.content)
    assert len(peer.talks) == 1
