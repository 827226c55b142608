"""Plans for hosts in other languages, and what they report."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from policy_router.log import LogReader, check_log
from tests.support.commands import in_this_process, write
from tests.support.service import Service, problem, until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="POSIX only")]

KEY = "planted-key-0123456789"
POLICY = """
version: 1
providers:
  near: {base_url: "http://127.0.0.1:9/v1", api_key: env:NEAR_KEY}
  far:
    base_url: http://127.0.0.1:9/v1
    dialect: {api: responses, unsupported: [seed]}
pool:
  - name: small
    model: m0
    provider: near
    pick: 'true'
    fallback: [large]
    parameters: {max_tokens: 10}
  - {name: large, model: m1, provider: far, parameters: {reasoning_effort: low, seed: 1}}
facts: {risk: {type: string, default: none}}
precedence: strict
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("plans")
    write(made, policy_yaml=POLICY)
    return made


@pytest.fixture(scope="module")
def tokens(folder: Path) -> dict[str, str]:
    made = {}
    for name, role in (("ada", "agent"), ("bob", "agent"), ("root", "host")):
        words = ("token", "new", "--tokens", "tokens.jsonl", "--id", name, "--role", role)
        made[name] = in_this_process(*words, cwd=folder).out.strip()
    return made


@pytest.fixture(scope="module")
def service(folder: Path, tokens: dict[str, str]) -> Iterator[Service]:
    assert tokens
    words = ("--tokens", "tokens.jsonl", "--log", "log")
    with Service(folder, *words, environment={"NEAR_KEY": KEY}) as made:
        yield made


@pytest.fixture
def ada(service: Service, tokens: dict[str, str]) -> httpx.Client:
    return service.client(tokens["ada"])


def planned(client: httpx.Client, arguments: Any, **headers: str) -> list[dict[str, Any]]:
    answer = client.post("/v1/plan", json=arguments, headers=headers)
    assert answer.status_code == 200, answer.text
    assert KEY not in answer.text
    tasks: list[dict[str, Any]] = answer.json()["tasks"]
    return tasks


def reports(folder: Path, decision_id: str) -> list[Any]:
    lines = [line.entry for line in LogReader(folder / "log").lines()]
    executions: list[Any] = [it.execution for it in lines if it.id == decision_id]
    return [it for it in executions if getattr(it, "event", "") == "reported"]


def test_a_plan_has_targets_in_their_dialect_and_no_key(ada: httpx.Client, folder: Path) -> None:
    tasks = planned(ada, {"tasks": [{"goal": "a"}, {"goal": "b", "model": "huge"}]})
    assert [task["task"] for task in tasks] == [0, 1]
    assert tasks[0]["target"] == {
        "model": "m0",
        "endpoint": "near",
        "entry": "small",
        "api": "chat_completions",
        "parameters": {"max_tokens": 10},
        "left_out": [],
    }
    (fallback,) = tasks[0]["fallbacks"]
    assert fallback["api"] == "responses"
    assert fallback["parameters"] == {"reasoning": {"effort": "low"}}
    assert fallback["left_out"] == ["seed"]
    assert tasks[1]["error"]["code"] == "outside_pool"
    assert tasks[1]["error"]["permitted"] == ["small", "large"]
    lines = [line.entry for line in LogReader(folder / "log").lines()]
    logged = {it.id: it for it in lines}
    for task in tasks:
        record = logged[task["decision_id"]].decision_record
        assert record.request["caller"] == {"id": "ada"}
        assert record.request["task"]["batch_size"] == 2


def test_facts_stand_in_a_header_and_only_a_host_states_them(
    ada: httpx.Client, service: Service, tokens: dict[str, str], folder: Path
) -> None:
    text = json.dumps({"facts": {"risk": "high"}, "caller": {"id": "child"}})
    answer = ada.post("/v1/plan", json={"goal": "a"}, headers={"policy-router-facts": text})
    assert (problem(answer)["status"], problem(answer)["code"]) == (403, "not_verified")
    (task,) = planned(
        service.client(tokens["root"]), {"goal": "a"}, **{"policy-router-facts": text}
    )
    lines = [line.entry for line in LogReader(folder / "log").lines()]
    record = next(it for it in lines if it.id == task["decision_id"]).decision_record
    assert record.request["facts"] == {"risk": "high"}
    wish = {"policy-router-facts": json.dumps({"task": {"model": "large"}})}
    answer = ada.post("/v1/plan", json={"goal": "a"}, headers=wish)
    assert problem(answer)["status"] == 422
    assert problem(ada.post("/v1/plan", json={"gaol": "a"}))["path"] == "$.gaol"
    assert problem(ada.post("/v1/plan", json={}))["code"] == "bad_request"


def test_what_came_of_a_decision_is_reported_once(ada: httpx.Client, folder: Path) -> None:
    (task,) = planned(ada, {"goal": "a"})
    report = {
        "decision_id": task["decision_id"],
        "status": "completed",
        "input_tokens": 12,
        "output_tokens": 3,
        "cost_usd": 0.001,
        "served_model": "m0-2026",
    }
    answer = ada.post("/v1/executions", json=report)
    assert answer.json() == {"decision_id": task["decision_id"], "attempt": 1}
    (found,) = reports(folder, task["decision_id"])
    assert (found.attempt, found.status, found.input_tokens) == (1, "completed", 12)
    assert (found.model, found.provider, found.served_model) == ("m0", "near", "m0-2026")
    again = ada.post("/v1/executions", json=report)
    assert (problem(again)["status"], problem(again)["code"]) == (409, "reported_twice")
    second = {**report, "attempt": 2, "model": "m1", "provider": "far", "status": "failed"}
    assert ada.post("/v1/executions", json={**second, "error": "timeout"}).status_code == 200
    assert [it.model for it in reports(folder, task["decision_id"])] == ["m0", "m1"]


PRICED = """version: 1
model: m0
provider: near
providers: {near: {base_url: "http://127.0.0.1:9"}, far: {base_url: "http://127.0.0.1:9"}}
pool:
  - {name: small, model: m0, price: {input: 2, output: 10, cache_read: 0.5}, fallback: [large]}
  - {name: large, model: m1, provider: far, price: {input: 20, output: 100}}
  - {name: unpriced, model: m2}
"""


def test_tokens_that_are_reported_have_the_price_of_the_policy_that_decided(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(PRICED)
    counts = {"status": "completed", "input_tokens": 1000, "output_tokens": 100}
    rows: list[tuple[dict[str, Any], str | None, float | None]] = [
        ({}, "measured", 0.003),
        ({"cached_tokens": 800}, "measured", 0.0018),
        ({"model": "m1", "provider": "far"}, "measured", 0.03),
        ({"model": "m1", "provider": "far", "cached_tokens": 1}, "upper_bound", 0.03),
        ({"model": "m2", "provider": "near"}, "no_price", None),
        ({"served_model": "m9"}, "mismatch", None),
        ({"output_tokens": None}, None, None),
        ({"cost_usd": 0.5}, None, 0.5),
        ({"status": "failed"}, None, None),
    ]
    with Service(tmp_path, "--log", "log") as service:
        client = service.client()
        ids = [client.post("/v1/decide", json={}).json()["decision_id"] for _ in rows]
        before = client.get("/v1/menu").headers["policy-router-policy"]
        (tmp_path / "policy.yaml").write_text(PRICED.replace("input: 2,", "input: 3,"))
        until(lambda: client.get("/v1/menu").headers["policy-router-policy"] != before)
        for decision_id, (more, _, _) in zip(ids, rows, strict=True):
            report = {"decision_id": decision_id, **counts, **more}
            assert client.post("/v1/executions", json=report).status_code == 200
    for decision_id, (_, known, usd) in zip(ids, rows, strict=True):
        (found,) = reports(tmp_path, decision_id)
        assert (found.cost_status, found.cost_usd) == (known, usd)
    kinds = {it.kind.value for it in check_log(tmp_path / "log", workers=1).findings}
    assert kinds == {"outside_plan", "other_model", "unexplained_cost"}  # m2, m9, and 0.5


def test_a_report_is_remembered_by_another_process(
    ada: httpx.Client, folder: Path, tokens: dict[str, str]
) -> None:
    (task,) = planned(ada, {"goal": "a"})
    report = {"decision_id": task["decision_id"], "status": "cancelled"}
    assert ada.post("/v1/executions", json=report).status_code == 200
    with Service(folder, "--tokens", "tokens.jsonl", "--log", "log") as own:
        other = own.client(tokens["ada"])
        until(lambda: other.post("/v1/executions", json=report).status_code == 409)


def test_only_who_got_a_decision_reports_of_it(
    ada: httpx.Client, service: Service, tokens: dict[str, str]
) -> None:
    (task,) = planned(ada, {"goal": "a"})
    report = {"decision_id": task["decision_id"], "status": "completed"}
    bob, host = service.client(tokens["bob"]), service.client(tokens["root"])
    assert problem(bob.post("/v1/executions", json=report))["code"] == "unknown_decision"
    assert host.post("/v1/executions", json=report).status_code == 200
    nothing = {"decision_id": "01a22bf0-f153-7209-bf5c-ee76c58982db", "status": "completed"}
    assert problem(ada.post("/v1/executions", json=nothing))["status"] == 404


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"status": "done"}, "$.status"),
        ({"attempt": 0}, "$.attempt"),
        ({"input_tokens": -1}, "$.input_tokens"),
        ({"caller": {"id": "root"}}, "$"),
    ],
)
def test_a_report_is_checked(ada: httpx.Client, more: dict[str, Any], path: str) -> None:
    report = {"decision_id": "x", "status": "completed", **more}
    found = problem(ada.post("/v1/executions", json=report))
    assert (found["status"], found["path"]) == (422, path)


def test_nothing_is_reported_of_a_refusal_or_without_a_log(
    ada: httpx.Client, tmp_path: Path
) -> None:
    (task,) = planned(ada, {"goal": "a", "model": "huge"})
    report = {"decision_id": task["decision_id"], "status": "completed"}
    assert problem(ada.post("/v1/executions", json=report))["code"] == "was_refused"
    as_json = {"content-type": "application/json"}
    odd = ada.post("/v1/executions", content=b"{", headers=as_json)
    assert problem(odd)["code"] == "not_json"
    write(tmp_path, policy_yaml=POLICY)
    with Service(tmp_path) as own:
        assert problem(own.client().post("/v1/executions", json=report))["code"] == "no_log"
