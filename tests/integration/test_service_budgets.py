"""What callers may spend comes from the service's budget file, whatever an agent says."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from policy_router import Delegator, Reply, decide, load, loads
from policy_router.delegation.budgets import Funds
from policy_router.delegation.sqlite_budget import SqliteBudget
from policy_router.errors import BudgetError
from policy_router.server.budgets import CallerBudgets, reserve
from policy_router.server.problems import Problem
from policy_router.server.settings import Budgets, settings_of
from tests.integration.test_service_credentials import new_token
from tests.support.commands import in_this_process, write
from tests.support.service import Service, problem

POLICY = """\
version: 1
name: acme
model: small-model
provider: main
parameters: {max_tokens: 1000}
providers: {main: {base_url: "https://llm.example.com/v1"}}
pool:
  - {name: small, model: small-model, price: {input: 1, output: 2}}
  - name: large
    model: large-model
    allow: "has(budget.remaining_usd) && budget.remaining_usd > 0.3"
precedence: strict
"""
BUDGETS = {"file": "money.db", "callers": {"ada": 0.5}, "teams": {"research": 1.0, "ops": 2.0}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, policy_yaml=POLICY, serve_json=json.dumps({"budgets": BUDGETS}))
    return tmp_path


@pytest.fixture
def service(folder: Path) -> Iterator[Service]:
    people = (("ada", "research"), ("bob", "ops"), ("eve", "none"))
    for who, team in people:
        write(folder, **{f"{who}_token": new_token(folder, "--id", who, "--team", team)})
    write(folder, host_token=new_token(folder, "--id", "host", "--role", "host"))
    with Service(folder, "--config", "serve.json", "--tokens", "tokens.jsonl") as it:
        yield it


def client(service: Service, folder: Path, who: str) -> httpx.Client:
    return service.client((folder / f"{who}.token").read_text())


def budget_of(client: httpx.Client, **body: Any) -> dict[str, float] | None:
    request = client.post("/v1/decide", json=body).json()["record"]["request"]
    found: dict[str, float] | None = request.get("budget")
    return found


@pytest.mark.slow
def test_the_budget_of_a_request_is_that_of_its_caller_or_team(
    service: Service, folder: Path
) -> None:
    ada, bob, eve, host = (client(service, folder, who) for who in ("ada", "bob", "eve", "host"))
    assert budget_of(ada) == {"remaining_usd": 0.5, "spent_usd": 0.0}
    assert budget_of(bob) == {"remaining_usd": 2.0, "spent_usd": 0.0}
    assert budget_of(eve) is None
    assert budget_of(host, caller={"id": "ada"}) == {"remaining_usd": 0.5, "spent_usd": 0.0}
    stated = {"remaining_usd": 9.0, "spent_usd": 1.0}
    assert budget_of(host, caller={"id": "ada"}, budget=stated) == stated
    forged = problem(ada.post("/v1/decide", json={"budget": stated}))
    assert (forged["code"], forged["path"]) == ("not_verified", "$.budget")
    # Less is left to the team than to the caller.
    team = SqliteBudget(folder / "money.db", 1.0, account="team:research")
    team.reserve(lambda _funds: {"x": 700_000_000})
    assert budget_of(ada) == {"remaining_usd": 0.3, "spent_usd": 0.0}
    team.settle("x", 100_000_000)
    assert budget_of(ada) == {"remaining_usd": 0.5, "spent_usd": 0.0}


@pytest.mark.slow
def test_what_a_delegator_spends_is_known_to_the_next_decision(
    service: Service, folder: Path
) -> None:
    ada = client(service, folder, "ada")
    tool = ada.post("/v1/tool", json={}).json()
    assert tool["function"]["parameters"]["properties"]["model"]["enum"] == ["small", "large"]
    budget = SqliteBudget(folder / "money.db", 0.5, account="caller:ada")
    reply = Reply(text="x", input_tokens=100_000, output_tokens=100_000)
    with Delegator(
        load(folder / "policy.yaml"), run_child=lambda _target, _task: reply, budget=budget
    ) as delegator:
        (result,) = delegator.delegate({"goal": "g"}).results
    assert result.cost_usd == 0.3
    assert budget_of(ada) == {"remaining_usd": 0.2, "spent_usd": 0.3}
    tool = ada.post("/v1/tool", json={}).json()
    assert tool["function"]["parameters"]["properties"]["model"]["enum"] == ["small"]
    asked = ada.post("/v1/decide", json={"task": {"model": "large"}}).json()
    assert asked["record"]["decision"]["refusal"]["code"] == "not_allowed"


@pytest.mark.slow
def test_a_service_does_not_start_with_a_budget_that_it_cannot_use(folder: Path) -> None:
    write(folder, money_db="no database, and long enough to be told from one" * 20)
    ran = in_this_process("serve", "policy.yaml", "--config", "serve.json", cwd=folder)
    assert ran.code == 2
    assert "money.db: file is not a database" in ran.err


def test_a_budget_that_cannot_be_read_is_a_problem_and_no_missing_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budgets = CallerBudgets(Budgets(str(tmp_path / "b"), {"ada": 1.0}))
    assert budgets.section({"id": "ada"}) is not None

    def broken(_: SqliteBudget) -> Funds:
        raise BudgetError("b: disk I/O error")

    monkeypatch.setattr(SqliteBudget, "funds", broken)
    with pytest.raises(Problem) as caught:
        budgets.section({"id": "ada"})
    assert (caught.value.status, caught.value.code) == (503, "budget_unavailable")
    assert budgets.section({"id": "eve"}) is None


@pytest.mark.parametrize("caller", [None, [], "ada", {}, {"id": 7, "team": ["x"]}])
def test_a_caller_that_is_none_has_no_budget(tmp_path: Path, caller: Any) -> None:
    budgets = CallerBudgets(Budgets(str(tmp_path / "b"), {"ada": 1.0}))
    assert budgets.section(caller) is None


def test_what_callers_may_spend_is_a_number_of_dollars() -> None:
    for wrong in (-1, "much", None):
        with pytest.raises(Exception, match=r"budgets\.callers"):
            settings_of({"budgets": {"file": "b", "callers": {"ada": wrong}}}, {})


def test_a_budget_that_cannot_be_written_is_not_one_that_is_spent(tmp_path: Path) -> None:
    text = "pool: [{model: m, provider: p, pick: 'true', price: {input: 1, output: 1}}]"
    policy = loads(f"{text}\nparameters: {{max_tokens: 10}}")
    record = decide(policy, {"task": {"input_tokens": 5}}, now="2026-01-31T09:00:00Z")
    accounts = CallerBudgets(Budgets(str(tmp_path / "b"), {"ada": 1.0})).of({"id": "ada"})
    assert accounts is not None
    with closing(sqlite3.connect(tmp_path / "b")) as base, base:
        base.execute("DROP TABLE reservations")
    with pytest.raises(Problem) as caught:
        reserve(accounts, policy, record, "id-1")
    assert (caught.value.status, caught.value.code) == (503, "budget_unavailable")
