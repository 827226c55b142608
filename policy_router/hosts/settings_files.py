"""What each host's settings need, so that its sub-agents run on what a policy decides."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from policy_router.hosts import claude_code_hook as hook
from policy_router.hosts.settings_text import Change, SettingsError

HOME: Final = "policy-router"
"""The folder, beside the settings, with the log and the socket of a service."""
NOWHERE: Final = "http://127.0.0.1:9/policy-router"
"""An address where nobody listens: the port of ``discard`` on this machine."""
_MARKS: Final = ("policy_router", "policy-router")


class Place(Struct, frozen=True):
    """What a host is connected with.

    Attributes:
        policy: the path of the policy.
        home: the folder with the log and the socket.
        facts: the path of a file that states the caller; None where nothing is stated.
    """

    policy: Path
    home: Path
    facts: Path | None = None


class HostSettings(Struct, frozen=True):
    """The settings of a host.

    Attributes:
        name: the name of the host.
        folder: the folder of its settings in the user's home; empty is the current folder.
        file: the name of the file.
        variable: the variable that names another folder; empty is none.
        changes: returns what is to stand there.
        runs: tells, by what its settings and the environment say, whether it can run a model.
    """

    name: str
    folder: str
    file: str
    variable: str
    changes: Callable[[Place], Sequence[Change]]
    runs: Callable[[str, Mapping[str, Any], Mapping[str, str]], bool] = lambda *_: True

    @property
    def is_json(self) -> bool:
        """Whether the file is JSON; otherwise it is YAML."""
        return self.file.endswith(".json")


def is_ours(value: Any) -> bool:
    """Tell whether an item of a list, or a key with its value, was put there by this package."""
    text = json.dumps(value).lower()
    return any(mark in text for mark in _MARKS)


def _claude_code(place: Place) -> Sequence[Change]:
    """Return the hooks: one that decides, and two that note the end."""
    words = [sys.executable, "-I", "-S", hook.__file__, "--policy", str(place.policy)]
    words += ["--home", str(place.home)]
    words += ["--facts", str(place.facts)] if place.facts else []
    notes = shlex.join(words)
    # Where the hook cannot even be started, Claude Code would go on: only exit code 2 denies.
    decides = f"{notes} || {{ echo 'policy-router: the hook does not run' >&2; exit 2; }}"
    return (
        _hook("PreToolUse", decides, hook.TOOLS),
        _hook("PostToolUse", notes, "Agent|Task"),
        _hook("SubagentStop", notes),
    )


def _claude_code_runs(model: str, settings: Mapping[str, Any], environ: Mapping[str, str]) -> bool:
    stated = settings.get("env")
    return (
        hook.alias_of(model, {**environ, **(stated if isinstance(stated, dict) else {})})
        is not None
    )


def _hook(event: str, command: str, matcher: str | None = None) -> Change:
    run = {"type": "command", "command": command, "timeout": hook.TIMEOUT}
    value = {"matcher": matcher, "hooks": [run]} if matcher else {"hooks": [run]}
    return Change(("hooks", event), value, appends=True)


def _hermes(place: Place) -> Sequence[Change]:
    """Return the plugin; and an endpoint of sub-agents that leads nowhere, should it not load."""
    entry = {"allow_tool_override": True, "policy": str(place.policy), "log": str(place.home)}
    entry |= {"facts": json.loads(place.facts.read_bytes())} if place.facts else {}
    nowhere = {"base_url": NOWHERE, "api_key": HOME, "model": HOME}
    return (
        Change(("plugins", "enabled"), HOME, appends=True),
        Change(("plugins", "entries", HOME), entry),
        *(Change(("delegation", key), value) for key, value in nowhere.items()),
    )


def _litellm(place: Place) -> Sequence[Change]:
    """Return the callback of the proxy, and the variables that it reads."""
    if place.facts is not None:
        raise SettingsError("the caller is that of a key of the proxy: --facts is for other hosts")
    variables = {"POLICY_ROUTER_POLICY": place.policy, "POLICY_ROUTER_LOG": place.home}
    return (
        Change(
            ("litellm_settings", "callbacks"), "policy_router.hosts.litellm.handler", appends=True
        ),
        *(Change(("environment_variables", key), str(it)) for key, it in variables.items()),
    )


def _litellm_runs(model: str, settings: Mapping[str, Any], _: Mapping[str, str]) -> bool:
    listed = settings.get("model_list")
    return not isinstance(listed, list) or any(
        isinstance(it, dict) and fnmatchcase(model, str(it.get("model_name"))) for it in listed
    )


HOSTS: Final = {
    it.name: it
    for it in (
        HostSettings(
            "claude-code",
            ".claude",
            "settings.json",
            "CLAUDE_CONFIG_DIR",
            _claude_code,
            _claude_code_runs,
        ),
        HostSettings("hermes-agent", ".hermes", "config.yaml", "HERMES_HOME", _hermes),
        HostSettings("litellm", "", "config.yaml", "", _litellm, _litellm_runs),
    )
}
"""The hosts that have a settings file, by name."""
