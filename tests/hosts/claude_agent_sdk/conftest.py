"""The real Claude Code, which the SDK brings, at a scripted provider on the loopback interface."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import claude_agent_sdk
import pytest

from policy_router.cli import main
from tests.hosts.common.logs import Log
from tests.hosts.common.provider import Asked, Provider, Said, provider

CLI = Path(claude_agent_sdk.__file__).parent / "_bundled" / "claude"
KEY = "key-of-the-user-0123456789"
USER = "Please get it done."
GOAL = "SUBGOAL: fix the test."
USUAL = {"description": "fix it", "prompt": GOAL, "subagent_type": "general-purpose"}

POLICY = """
version: 1
model: sonnet
provider: anthropic
providers: {anthropic: {base_url: 'https://api.anthropic.com/v1'}}
pool:
  - {name: sonnet, model: sonnet, strengths: reviews}
  - {name: haiku, model: haiku, strengths: quick work, pick: task.kind == "general-purpose"}
  - {name: own, model: our-own-model, pick: task.kind == "Explore"}
  - {name: opus, model: opus, allow: caller.team == "research"}
  - name: fable
    model: fable
    pick: task.kind == "Plan"
    parameters: {reasoning_effort: low, temperature: 0.5}
precedence: strict
"""


class Scene:
    """Claude Code in a home of its own.

    Attributes:
        home: the home.
        main: its provider.
        environ: its variables.
    """

    def __init__(self, home: Path, main: Provider) -> None:
        self.home, self.main = home, main
        self.policy = home / "policy.yaml"
        self.policy.write_text(POLICY, encoding="utf-8")
        (home / "project").mkdir()
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "CLAUDE_CONFIG_DIR": str(home / ".claude"),
            "ANTHROPIC_BASE_URL": main.url,
            "ANTHROPIC_API_KEY": KEY,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_ERROR_REPORTING": "1",
            "DISABLE_TELEMETRY": "1",
            "DO_NOT_TRACK": "1",
        }

    @property
    def settings(self) -> Path:
        """Its settings."""
        return self.home / ".claude" / "settings.json"

    @property
    def own(self) -> Path:
        """The folder with the log and the socket."""
        return self.home / ".claude" / "policy-router"

    def connect(self, *words: str) -> None:
        """Let the policy decide."""
        given = ["connect", "claude-code", str(self.policy), "--settings", str(self.settings)]
        assert main([*given, *words]) == 0

    def script(self, *calls: tuple[str, Mapping[str, Any]]) -> None:
        """Let the user's model call tools, and then end; a sub-agent says hello."""

        def answers(asked: Asked) -> Said:
            if is_child(asked):
                return Said("Hello from below.")
            is_first = "tool_result" not in asked.text
            return Said(tools=calls) if is_first else Said("All is done.")

        self.main.answers = answers

    def run(self, *calls: tuple[str, Mapping[str, Any]]) -> str:
        """Run it for one request of the user, and return what the user's model was told."""
        self.script(*calls)
        done = subprocess.run(  # noqa: S603 - the words are the test's own
            [str(CLI), "-p", USER, "--output-format", "json", "--model", "sonnet"],
            check=False,
            env=self.environ,
            cwd=self.home / "project",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=50,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return self.main.asked[-1].text

    def children(self) -> list[str]:
        """Return the models on which sub-agents ran."""
        return [it.model for it in self.main.asked if is_child(it)]

    def log(self) -> Log:
        """Return the log, checked."""
        return Log(self.own / "log")


def is_child(asked: Asked) -> bool:
    """Tell whether a request is one of a sub-agent, which knows no more than its goal."""
    return GOAL in asked.text and USER not in asked.text


def nothing(_: Asked) -> Said:
    return Said("Nothing was asked for.")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with provider(nothing) as main_one:
        yield Scene(tmp_path, main_one)


def hook_words(scene: Scene, event: str = "PreToolUse") -> str:
    """Return the command line that the settings have for an event."""
    hooks = json.loads(scene.settings.read_text(encoding="utf-8"))["hooks"]
    return str(hooks[event][-1]["hooks"][0]["command"])
