"""The hooks for claude-agent-sdk, in a program that uses the SDK."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from claude_agent_sdk import ClaudeAgentOptions, query

from policy_router.hosts import PolicyHost
from policy_router.hosts.claude_code import Guard, hooks
from policy_router.log import DecisionLog
from tests.hosts.claude_agent_sdk.conftest import USER, USUAL, Scene
from tests.hosts.common.logs import Log


@pytest.fixture(autouse=True)
def _own_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.startswith(("ANTHROPIC", "CLAUDE")):
            monkeypatch.delenv(name)


def use(scene: Scene, made: Any, *calls: tuple[str, Mapping[str, Any]]) -> str:
    """Ask the SDK once, and return what the user's model was told."""
    scene.script(*calls)
    options = ClaudeAgentOptions(
        hooks=made,
        model="sonnet",
        env=scene.environ,
        cwd=scene.home / "project",
        setting_sources=[],
    )

    async def ask() -> None:
        async for _ in query(prompt=USER, options=options):
            pass

    asyncio.run(asyncio.wait_for(ask(), 50))
    return scene.main.asked[-1].text


def agent(**more: Any) -> tuple[str, dict[str, Any]]:
    return "Agent", {**USUAL, "run_in_background": False, **more}


@pytest.mark.parametrize("in_background", [False, True])
def test_a_sub_agent_runs_on_the_decided_model(
    scene: Scene, tmp_path: Path, *, in_background: bool
) -> None:
    with DecisionLog(tmp_path / "log") as log:
        use(scene, hooks(scene.policy, log=log), agent(run_in_background=in_background))
    assert ["haiku" in it for it in scene.children()] == [True]
    kept = Log(tmp_path / "log")
    assert len(kept.decisions) == 1
    (end,) = kept.reports
    assert (end.status, end.input_tokens) == ("completed", 20)


def test_a_refusal_starts_nothing_and_names_what_may_be_asked_for(scene: Scene) -> None:
    said = use(scene, hooks(scene.policy), agent(model="opus"))
    assert "policy-router refused this sub-agent" in said
    assert "you may ask for sonnet, haiku, fable" in said
    assert scene.children() == []


def test_the_program_says_who_the_caller_is(scene: Scene) -> None:
    facts = {"caller": {"team": "research"}}
    use(scene, hooks(scene.policy, facts=facts), agent(model="opus"))
    assert ["opus" in it for it in scene.children()] == [True]


def test_what_the_aliases_mean_is_in_the_variables(scene: Scene) -> None:
    scene.environ["ANTHROPIC_DEFAULT_OPUS_MODEL"] = "our-own-model"
    made = hooks(scene.policy, environ=scene.environ)
    use(scene, made, agent(subagent_type="Explore"))
    assert scene.children() == ["our-own-model"]


def test_a_policy_that_cannot_be_read_permits_nothing(scene: Scene) -> None:
    scene.policy.write_text("pool: [", encoding="utf-8")
    said = use(scene, hooks(scene.policy), agent())
    assert "the policy cannot be used" in said
    assert scene.children() == []


def test_a_log_that_cannot_be_written_permits_nothing(scene: Scene, tmp_path: Path) -> None:
    with DecisionLog(tmp_path / "log") as log:
        made = hooks(scene.policy, log=log)
    said = use(scene, made, agent())
    assert "policy-router refused this sub-agent" in said
    assert scene.children() == []


def test_a_fault_of_the_hook_permits_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("with a secret")

    monkeypatch.setattr(PolicyHost, "plan_async", broken)
    said = use(scene, hooks(scene.policy), agent())
    assert "no decision can be made (RuntimeError)" in said
    assert "secret" not in said
    assert scene.children() == []


def test_a_callback_that_fails_altogether_blocks(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> Any:
        raise RuntimeError("a fault")

    monkeypatch.setattr(Guard, "before", broken)
    use(scene, hooks(scene.policy), agent())
    assert scene.children() == []


def test_what_is_told_in_another_shape_is_nothing(scene: Scene) -> None:
    guard = Guard(PolicyHost(scene.policy), None, {})
    for told in ({}, {"tool_use_id": "x"}, None):
        assert asyncio.run(guard.after(told, None, None)) == {}
        assert asyncio.run(guard.stopped(told, None, None)) == {}


def test_a_workflow_is_refused(scene: Scene) -> None:
    guard = Guard(PolicyHost(scene.policy), None, {})
    told = {"tool_name": "Workflow", "tool_input": {}}
    assert "a workflow" in str(asyncio.run(guard.before(told, None, None)))


def test_the_oldest_is_forgotten_where_ends_are_never_told(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("policy_router.hosts.claude_code._MOST_OPEN", 1)
    with DecisionLog(tmp_path / "log") as log:
        guard = Guard(PolicyHost(scene.policy, log=log), log, {})
        for call in ("one", "two"):
            about = {"tool_name": "Agent", "tool_input": USUAL, "tool_use_id": call}
            asyncio.run(guard.before(about, None, None))
        for call in ("one", "two"):
            told = {"tool_use_id": call, "tool_response": {"status": "failed"}}
            asyncio.run(guard.after(told, None, None))
    assert [it.status for it in Log(tmp_path / "log").reports] == ["failed"]
