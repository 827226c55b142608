"""Wherever the host would go on without the plugin, the user sees a refusal, and nothing leaves."""

from __future__ import annotations

from typing import Any

import pytest
from hermes_cli import plugins

from policy_router.hosts import hermes
from policy_router.hosts.settings_files import NOWHERE
from tests.hosts.common.provider import Asked, Said
from tests.hosts.hermes_agent.conftest import PARENT_KEY, Scene

CODING = {"goal": "Fix the test.", "kind": "coding"}


def broken(*_: Any, **__: Any) -> Any:
    raise RuntimeError("a fault of the plugin, with a secret")


@pytest.mark.parametrize("method", ["_decided", "bind", "seal", "_answer"])
def test_a_fault_of_the_plugin_reaches_no_provider(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(hermes.Plugin, method, broken)
    said = str(scene.delegate(CODING))
    assert "refused" in said
    assert "secret" not in said
    assert scene.near.asked == scene.far.asked == []
    scene.assert_parent_kept_apart()


def test_every_failed_target_is_a_refusal_and_the_parents_fallbacks_are_not_tried(
    scene: Scene,
) -> None:
    scene.near.answers = scene.far.answers = lambda _: Said(status=503)
    parents = {"provider": "custom", "model": "p2", "base_url": f"{scene.main.url}/v1"}
    said = scene.delegate(CODING, fallback_model={**parents, "api_key": PARENT_KEY})
    assert "policy-router refused this task: server_error" in said["results"][0]["summary"]
    assert (scene.far.models(), scene.near.models()) == (["large-model"], ["spare-model"])
    scene.assert_parent_kept_apart()
    (end,) = scene.log().ends
    assert (end.status, end.error) == ("failed", "server_error")


def test_a_missing_key_is_a_refusal(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEAR_KEY")
    said = scene.delegate({"goal": "Write.", "model": "small"})
    assert "no_credential" in said["results"][0]["summary"]
    scene.assert_parent_kept_apart()


def test_another_api_than_the_hosts_is_a_refusal(scene: Scene) -> None:
    said = scene.delegate({"goal": "Write.", "model": "other"})
    assert "speaks `responses`" in said["results"][0]["summary"]
    assert scene.near.asked == []
    scene.assert_parent_kept_apart()


def test_a_plugin_that_may_not_replace_the_tool_delegates_nothing(scene: Scene) -> None:
    del scene.settings["allow_tool_override"]
    said = scene.delegate(CODING)
    assert said["error"]["code"] == "override_not_allowed"
    assert "--allow-tool-override" in said["error"]["message"]
    assert scene.near.asked == scene.far.asked == []
    scene.assert_parent_kept_apart()


def test_a_policy_that_cannot_be_read_permits_nothing(scene: Scene) -> None:
    scene.policy = "pool: ["
    loaded = scene.begin()
    assert loaded.error is None
    said = scene.delegate(CODING)
    assert said["error"]["code"] == "policy_unavailable"
    scene.assert_parent_kept_apart()


def test_a_policy_that_is_not_there_permits_nothing(scene: Scene) -> None:
    scene.settings["policy"] = "nowhere.yaml"
    assert scene.delegate(CODING)["error"]["code"] == "policy_unavailable"
    scene.assert_parent_kept_apart()


@pytest.mark.parametrize("log", ["policy.yaml", "/dev/null/log"])
def test_a_decision_that_cannot_be_logged_starts_nothing(scene: Scene, log: str) -> None:
    scene.settings["log"] = log
    said = scene.delegate(CODING)
    assert said["error"]["code"] in {"log_unavailable", "policy_unavailable"}
    assert scene.near.asked == scene.far.asked == []
    scene.assert_parent_kept_apart()


def test_settings_that_are_wrong_permit_nothing(scene: Scene) -> None:
    scene.settings["facts"] = ["team"]
    assert "refused" in str(scene.delegate(CODING))
    assert scene.near.asked == scene.far.asked == []
    scene.assert_parent_kept_apart()


def test_the_hosts_own_summary_of_a_long_run_leads_nowhere(scene: Scene) -> None:
    scene.far.answers = lambda _: Said(tools=(("todo", {"todos": []}),))
    scene.config["delegation"] = {"max_iterations": 1}
    scene.begin()
    scene.delegate(CODING)
    assert scene.far.models() == ["large-model"]
    scene.assert_parent_kept_apart()


def test_a_child_that_nobody_decided_calls_nothing(scene: Scene) -> None:
    from tools.delegate_tool import delegate_task  # noqa: PLC0415 - the host

    scene.begin()
    said = delegate_task(goal="Do it.", parent_agent=scene.parent())
    assert "no_decision" in said
    assert [it for it in scene.main.asked if it.path.endswith("/completions")] == []


def test_the_end_of_the_host_ends_what_is_open(scene: Scene) -> None:
    def answers(asked: Asked) -> Said:
        callbacks = plugins.get_plugin_manager()._middleware["tool_execution"]  # noqa: SLF001
        callbacks[-1].__self__.close()
        return Said(f"Late: {asked.model}.")

    scene.near.answers = answers
    scene.delegate({"goal": "Write.", "model": "small"})
    assert [it.status for it in scene.log().ends] == ["cancelled"]


def test_the_address_that_leads_nowhere_is_on_this_machine() -> None:
    assert NOWHERE.startswith("http://127.0.0.1:9/")
