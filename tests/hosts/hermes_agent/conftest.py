"""A home of the host, a parent agent, and the providers of the parent and of the policy."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hermes_cli import plugins
from run_agent import AIAgent

from tests.hosts.common.logs import Log
from tests.hosts.common.loopback import only_loopback
from tests.hosts.common.provider import Answers, Asked, Provider, Said, provider

KEYS = {"NEAR_KEY": "key-of-near-0123456789", "FAR_KEY": "key-of-far-0123456789"}
PARENT_KEY = "key-of-parent-0123456789"
QUICK = {"environment_probe": False}
"""Settings of an agent that starts no programs for a line in its prompt."""
USER = "Please get it done."
"""What the user says to the parent; no child is told."""

POLICY = """
version: 1
model: small-model
provider: near
providers:
  near: {{base_url: '{near}/v1', api_key: env:NEAR_KEY}}
  far: {{base_url: '{far}/v1', api_key: env:FAR_KEY}}
pool:
  - {{name: small, model: small-model, strengths: writing}}
  - name: large
    model: large-model
    provider: far
    strengths: coding
    pick: task.kind == "coding"
    parameters: {{temperature: 0.5}}
    fallback: [spare]
  - {{name: spare, model: spare-model, pick: task.kind == "deep" && parent.depth == 1}}
  - {{name: inner, model: inner-model, allow: caller.team == "research"}}
  - {{name: other, model: other-model, dialect: {{api: responses}}}}
precedence: strict
"""


def last_result(asked: Asked) -> str:
    """Return what the last tool has said, in a conversation."""
    said = [it for it in asked.body.get("messages", ()) if it["role"] == "tool"]
    return str(said[-1]["content"]) if said else ""


class Scene:
    """The host, with the plugin, and its providers.

    Attributes:
        main: the provider of the parent.
        near: a provider of the policy.
        far: another one.
        home: the home of the host.
    """

    def __init__(self, main: Provider, near: Provider, far: Provider, home: Path) -> None:
        self.main, self.near, self.far, self.home = main, near, far, home
        self.config: dict[str, Any] = {
            "agent": QUICK,
            "model": {
                "default": "parent-model",
                "provider": "custom",
                "base_url": f"{main.url}/v1",
            },
            "plugins": {
                "enabled": ["policy-router"],
                "entries": {"policy-router": {"allow_tool_override": True}},
            },
        }
        self.policy = POLICY.format(near=near.url, far=far.url)

    @property
    def settings(self) -> dict[str, Any]:
        """What the configuration says of the plugin."""
        found: dict[str, Any] = self.config["plugins"]["entries"]["policy-router"]
        return found

    def begin(self) -> Any:
        """Start the host's plugins, and return ours."""
        (self.home / "policy.yaml").write_text(self.policy, encoding="utf-8")
        (self.home / "config.yaml").write_text(json.dumps(self.config), encoding="utf-8")
        manager = plugins.get_plugin_manager()
        manager.discover_and_load(force=True)
        return manager._plugins["policy-router"]  # noqa: SLF001 - the host has no door

    def parent(self, **options: Any) -> Any:
        """Return a parent agent."""
        given = {"enabled_toolsets": ["delegation", "todo"], **options}
        return AIAgent(
            base_url=f"{self.main.url}/v1",
            api_key=PARENT_KEY,
            model="parent-model",
            provider="custom",
            api_mode="chat_completions",
            quiet_mode=True,
            skip_context_files=True,
            skip_memory=True,
            platform="test",
            **given,
        )

    def delegate(self, arguments: Any, **options: Any) -> Any:
        """Let the parent's model call the tool, and return what the tool says."""
        if not (self.home / "config.yaml").exists():
            self.begin()

        def answers(asked: Asked) -> Said:
            if asked.path.endswith("/chat/completions") and not last_result(asked):
                return Said(tools=(("delegate_task", arguments),))
            return Said("It is done.")

        self.main.answers = answers
        self.parent(**options).run_conversation(user_message=USER, task_id="turn")
        return json.loads(last_result(self.main.asked[-1]))

    def assert_parent_kept_apart(self) -> None:
        """Check that the parent's provider saw the parent's conversation only, and no key left."""
        calls = [it for it in self.main.asked if it.path.endswith("/chat/completions")]
        assert calls
        assert all(USER in it.text for it in calls)
        assert self.main.keys() <= {PARENT_KEY, ""}
        assert self.near.keys() <= {KEYS["NEAR_KEY"]}
        assert self.far.keys() <= {KEYS["FAR_KEY"]}

    def log(self) -> Log:
        """Close the log, and return it, checked."""
        callbacks = plugins.get_plugin_manager()._middleware["tool_execution"]  # noqa: SLF001
        callbacks[-1].__self__.close()
        return Log(self.home / "policy-router")


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """The host in a home of its own."""
    from gateway.session_context import set_session_vars  # noqa: PLC0415 - slow

    for name, value in {**KEYS, "HERMES_HOME": str(tmp_path)}.items():
        monkeypatch.setitem(os.environ, name, value)
    with ExitStack() as stack:
        stack.enter_context(only_loopback())
        main, near, far = (
            stack.enter_context(provider(_says(name))) for name in ("main", "near", "far")
        )
        set_session_vars(platform="test", async_delivery=False)
        yield Scene(main, near, far, tmp_path)


def _says(name: str) -> Answers:
    return lambda _: Said(f"Done by {name}.")
