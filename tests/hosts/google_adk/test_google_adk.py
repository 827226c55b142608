"""The recipe for google-adk, with the real package and providers on loopback."""

from __future__ import annotations

import asyncio
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.adk.agents import LlmAgent
from google.adk.apps import App
from google.adk.runners import InMemoryRunner
from google.genai import types

from policy_router import DecisionLog
from policy_router.hosts import PolicyHost
from tests.support.commands import ROOT
from tests.support.hosting import GOAL, SECRETS, Peers, executions, is_whole, requests

EXAMPLE = runpy.run_path(str(ROOT / "docs" / "examples" / "google_adk_plugin.py"))


@pytest.fixture
def peers() -> Iterator[Peers]:
    with Peers() as peers:
        yield peers


def look(at: str) -> str:
    """Look at something."""
    return f"It is {at}."


async def answered(host: PolicyHost, agent: LlmAgent) -> str:
    app = App(name="a", root_agent=agent, plugins=[EXAMPLE["PolicyPlugin"](host)])
    runner = InMemoryRunner(app=app)
    session = await runner.session_service.create_session(app_name="a", user_id="u")
    said = types.Content(role="user", parts=[types.Part(text=GOAL)])
    texts = [
        part.text
        async for event in runner.run_async(user_id="u", session_id=session.id, new_message=said)
        for part in (event.content.parts if event.content else ())
        if part.text
    ]
    await runner.close()
    return texts[-1]


def run(host: PolicyHost, name: str, **more: Any) -> str:
    """Run an agent whose own model must not be called."""
    return asyncio.run(answered(host, LlmAgent(name=name, model="gemini-none", **more)))


def test_a_run_is_decided_once_and_goes_along_its_plan(peers: Peers, tmp_path: Path) -> None:
    peers.calls["m-spare"] = [("look", {"at": "it"})]
    peers.faults["m-coder"] = [503]
    with peers.host(tmp_path) as host:
        assert run(host, "coding", tools=[look]) == "Hello from m-spare."
    assert peers.asked == [("far", "m-coder"), ("near", "m-spare"), ("near", "m-spare")]
    (request,) = requests(tmp_path / "log")
    assert request["task"]["kind"] == "coding"
    (end,) = executions(tmp_path / "log")
    assert (end.status, end.entry) == ("completed", "spare")
    assert (end.input_tokens, end.output_tokens) == (24, 6)
    assert is_whole(tmp_path / "log")


def test_agents_below_an_agent_have_decisions_of_their_own(peers: Peers, tmp_path: Path) -> None:
    coder = LlmAgent(name="coding", model="gemini-none", description="Codes.")
    peers.calls["m-lead"] = [("transfer_to_agent", {"agent_name": "coding"})]
    with peers.host(tmp_path) as host:
        assert run(host, "lead", sub_agents=[coder]) == "Hello from m-coder."
    assert peers.asked == [("lead", "m-lead"), ("far", "m-coder")]
    assert [it["task"]["kind"] for it in requests(tmp_path / "log")] == ["lead", "coding"]


def test_a_refusal_calls_nothing_and_is_seen(peers: Peers, tmp_path: Path) -> None:
    forbid = [{"when": 'task.kind == "writing"', "message": "no writing"}]
    (tmp_path / "policy.json").write_text(peers.policy(precedence="strict", forbid=forbid))
    with (
        PolicyHost(tmp_path / "policy.json", environ=SECRETS) as host,
        pytest.raises(RuntimeError, match="no_target"),
    ):
        run(host, "writing")
    with pytest.raises(RuntimeError, match="policy_unavailable"):
        run(PolicyHost(tmp_path / "none.yaml"), "coding")
    (tmp_path / "full").write_text("no folder")
    log = DecisionLog(tmp_path / "full")
    with log, pytest.raises(RuntimeError, match="log_unavailable"):
        run(peers.host(tmp_path, log=log), "coding")
    assert peers.asked == []


def test_when_all_targets_fail_it_is_seen(peers: Peers, tmp_path: Path) -> None:
    peers.faults |= {"m-coder": [503], "m-spare": [503]}
    with peers.host(tmp_path) as host, pytest.raises(RuntimeError, match="server_error"):
        run(host, "coding")
    assert peers.asked == [("far", "m-coder"), ("near", "m-spare")]
