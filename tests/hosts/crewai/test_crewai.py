"""The recipe for crewai, with the real package and providers on loopback."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crewai import Agent, Crew, Task
from crewai.events import crewai_event_bus

from policy_router import DecisionLog
from policy_router.hosts import PolicyHost, RefusedError
from tests.support.commands import ROOT
from tests.support.hosting import GOAL, SECRETS, Peers, executions, is_whole, requests

EXAMPLE = runpy.run_path(str(ROOT / "docs" / "examples" / "crewai_llm.py"))


@pytest.fixture
def peers() -> Iterator[Peers]:
    with Peers() as peers:
        yield peers


def run(host: PolicyHost, *roles: str) -> str:
    """Run a crew with a task for an agent of each role."""
    llm = EXAMPLE["PolicyLLM"](host)
    agents = [Agent(role=role, goal="Work.", backstory="None.", llm=llm) for role in roles]
    tasks = [Task(description=GOAL, expected_output="A text.", agent=agent) for agent in agents]
    made: Any = Crew(agents=agents, tasks=tasks).kickoff()
    crewai_event_bus.flush()
    return str(made.raw)


def test_each_task_is_decided_by_the_role_of_its_agent(peers: Peers, tmp_path: Path) -> None:
    peers.faults["m-coder"] = [503]
    with peers.host(tmp_path) as host:
        assert "m-small" in run(host, "coding", "writing")
    assert peers.asked[:2] == [("far", "m-coder"), ("near", "m-spare")]
    assert set(peers.asked[2:]) <= {("near", "m-spare"), ("near", "m-small")}
    kinds = [it["task"]["kind"] for it in requests(tmp_path / "log")]
    assert kinds == ["coding", "writing"]
    ends = executions(tmp_path / "log")
    assert [(it.status, it.entry) for it in ends] == [
        ("completed", "spare"),
        ("completed", "small"),
    ]
    answered = len(peers.asked) - 1
    assert sum(it.input_tokens or 0 for it in ends) == 12 * answered
    assert sum(it.output_tokens or 0 for it in ends) == 3 * answered
    assert is_whole(tmp_path / "log")


def test_a_refusal_calls_nothing_and_is_seen(peers: Peers, tmp_path: Path) -> None:
    forbid = [{"when": 'task.kind == "writing"', "message": "no writing"}]
    (tmp_path / "policy.json").write_text(peers.policy(precedence="strict", forbid=forbid))
    with (
        PolicyHost(tmp_path / "policy.json", environ=SECRETS) as host,
        pytest.raises(RefusedError, match="no_target"),
    ):
        run(host, "writing")
    with pytest.raises(RefusedError, match=r"policy_unavailable: [^\n]+$"):
        run(PolicyHost(tmp_path / "none.yaml"), "coding")
    (tmp_path / "full").write_text("no folder")
    log = DecisionLog(tmp_path / "full")
    with log, pytest.raises(RefusedError, match="log_unavailable"):
        run(peers.host(tmp_path, log=log), "coding")
    with pytest.raises(PermissionError, match="outside a task"):
        EXAMPLE["PolicyLLM"](PolicyHost(tmp_path / "policy.json")).call("Plan it.")
    assert peers.asked == []


def test_when_all_targets_fail_it_is_seen(peers: Peers, tmp_path: Path) -> None:
    peers.faults |= {"m-coder": [503] * 3, "m-spare": [503] * 3}
    with peers.host(tmp_path) as host, pytest.raises(PermissionError, match="server_error"):
        run(host, "coding")
    assert set(peers.asked) == {("far", "m-coder"), ("near", "m-spare")}
