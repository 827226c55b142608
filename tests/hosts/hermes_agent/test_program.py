"""The host's own program, from its command line, with the plugin turned on and off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from policy_router.cli import main
from tests.hosts.common.logs import Log
from tests.hosts.common.provider import Asked, Said
from tests.hosts.hermes_agent.conftest import KEYS, PARENT_KEY, QUICK, Scene, last_result

pytestmark = pytest.mark.timeout(120)  # the program starts, which takes seconds

GOAL = "SUBGOAL: fix the test."
ASKED = {"goal": GOAL, "kind": "coding"}


def hermes(scene: Scene, *words: str, **variables: str) -> str:
    """Run the program in the home of the scene; it reaches nothing but this machine's servers."""
    own = {"HERMES_HOME": str(scene.home), "HOME": str(scene.home), **KEYS, **variables}
    kept = {key: os.environ[key] for key in ("PATH", "SSL_CERT_FILE") if key in os.environ}
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    done = subprocess.run(  # noqa: S603 - the words are the test's own
        [str(Path(sys.executable).with_name("hermes")), *words],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        env={**kept, "no_proxy": "127.0.0.1,localhost", **nowhere, **own},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def installed(scene: Scene) -> Scene:
    """A home with a model and a policy; the plugin is not turned on."""
    model = {"default": "parent-model", "provider": "custom", "base_url": f"{scene.main.url}/v1"}
    agent = {"api_max_retries": 1, **QUICK}
    settings = {"model": {**model, "api_key": PARENT_KEY}, "agent": agent}
    (scene.home / "config.yaml").write_text(json.dumps(settings), encoding="utf-8")
    (scene.home / "policy.yaml").write_text(scene.policy, encoding="utf-8")
    return scene


def ask(scene: Scene, **variables: str) -> Any:
    """Let the parent's model delegate once, and return what the tool says."""

    def answers(asked: Asked) -> Said:
        if not asked.path.endswith("/chat/completions"):
            return Said("No.")
        if last_result(asked):
            return Said("It is done.")
        return Said(tools=(("delegate_task", ASKED),))

    scene.main.answers = answers
    said = hermes(scene, "-z", "Please get it done.", "-t", "delegation", **variables)
    assert "It is done." in said
    return json.loads(last_result([it for it in scene.main.asked if last_result(it)][-1]))


def children_at_the_parent(scene: Scene) -> list[Asked]:
    calls = [it for it in scene.main.asked if it.path.endswith("/chat/completions")]
    return [it for it in calls if "Please get it done." not in it.text]


def test_one_line_turns_it_on(installed: Scene) -> None:
    hermes(installed, "plugins", "enable", "policy-router", "--allow-tool-override")
    said = ask(installed)
    assert said["results"][0]["summary"] == "Done by far."
    assert installed.far.models() == ["large-model"]
    assert children_at_the_parent(installed) == []
    (end,) = Log(installed.home / "policy-router").ends
    assert end.status == "completed"


@pytest.fixture
def connected(installed: Scene) -> Scene:
    """A home with what `policy-router connect` writes."""
    policy, config = installed.home / "policy.yaml", installed.home / "config.yaml"
    assert main(["connect", "hermes-agent", str(policy), "--settings", str(config)]) == 0
    return installed


def test_one_command_connects_it(connected: Scene) -> None:
    assert ask(connected)["results"][0]["summary"] == "Done by far."
    assert connected.far.models() == ["large-model"]
    assert children_at_the_parent(connected) == []


def test_a_host_that_is_connected_and_loads_no_plugin_delegates_nowhere(
    connected: Scene,
) -> None:
    said = ask(connected, HERMES_SAFE_MODE="1")
    assert "Done" not in str(said["results"][0]["summary"])
    assert connected.far.asked == connected.near.asked == []
    assert children_at_the_parent(connected) == []
