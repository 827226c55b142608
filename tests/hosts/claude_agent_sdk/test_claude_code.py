"""Claude Code's sub-agents run on what the policy decides: the real program, to its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from policy_router.cli import main
from tests.hosts.claude_agent_sdk.conftest import GOAL, USUAL, Scene, hook_words
from tests.support.service import Service


def agent(**more: Any) -> tuple[str, dict[str, Any]]:
    return "Agent", {**USUAL, "run_in_background": False, **more}


def test_a_sub_agent_runs_on_the_decided_model(scene: Scene) -> None:
    scene.connect()
    said = scene.run(agent())
    assert "Hello from below." in said
    assert ["haiku" in it for it in scene.children()] == [True]
    (decision,) = scene.log().decisions
    assert scene.log().request(decision)["task"]["kind"] == "general-purpose"
    (end,) = scene.log().reports
    assert (end.status, end.model) == ("completed", "haiku")
    assert (end.input_tokens, end.output_tokens) == (20, 5)
    assert "haiku" in str(end.served_model)


def test_a_wish_is_granted_where_the_policy_has_it(scene: Scene) -> None:
    scene.connect()
    scene.run(agent(model="sonnet"))
    assert ["sonnet" in it for it in scene.children()] == [True]


def test_several_sub_agents_of_one_turn_are_decided_each(scene: Scene) -> None:
    scene.connect()
    scene.run(agent(), agent(model="sonnet"), agent())
    assert sorted("haiku" in it for it in scene.children()) == [False, True, True]
    assert len(scene.log().decisions) == len(scene.log().reports) == 3


def test_a_refusal_starts_nothing_and_names_what_may_be_asked_for(scene: Scene) -> None:
    scene.connect()
    said = scene.run(agent(model="opus"))
    assert "policy-router refused this sub-agent" in said
    assert "you may ask for sonnet, haiku, fable" in said
    assert scene.children() == []


def test_the_host_says_who_the_caller_is(scene: Scene) -> None:
    facts = scene.home / "facts.json"
    facts.write_text('{"caller": {"team": "research"}}', encoding="utf-8")
    scene.connect("--facts", str(facts))
    scene.run(agent(model="opus"))
    assert ["opus" in it for it in scene.children()] == [True]


def test_an_id_is_reached_by_the_alias_that_means_it(scene: Scene) -> None:
    scene.environ["ANTHROPIC_DEFAULT_HAIKU_MODEL"] = "our-own-model"
    scene.connect()
    scene.run(agent(subagent_type="Explore"))
    assert scene.children() == ["our-own-model"]


def test_an_id_that_no_alias_means_is_a_refusal(scene: Scene) -> None:
    scene.connect()
    assert "unreachable_model" in scene.run(agent(subagent_type="Explore"))
    assert scene.children() == []


def test_a_fork_and_a_workflow_are_refused(scene: Scene) -> None:
    scene.connect()
    meta = "export const meta = {name: 'fan-out', description: 'Ask several.'}"
    workflow = {"script": f"{meta}\nconst said = await agent('{GOAL}')\nreturn said"}
    said = scene.run(agent(subagent_type="fork"), ("Workflow", workflow))
    assert "a fork always runs on your own model" in said
    assert "a workflow starts sub-agents" in said
    assert scene.children() == []


def test_what_a_sub_agent_in_the_background_came_to_is_logged(scene: Scene) -> None:
    scene.connect()
    scene.run(agent(run_in_background=True))
    assert ["haiku" in it for it in scene.children()] == [True]
    (end,) = scene.log().reports
    assert (end.status, end.input_tokens, end.output_tokens) == ("completed", 20, 5)


def test_a_service_at_its_socket_decides_and_logs(scene: Scene) -> None:
    scene.connect()
    scene.own.mkdir()
    listen = f"unix:{scene.own / 'socket'}"
    with Service(scene.home, "--log", str(scene.own / "log"), listen=listen):
        scene.policy.write_text("pool: [", encoding="utf-8")  # nobody else could decide now
        scene.run(agent())
    assert ["haiku" in it for it in scene.children()] == [True]
    (end,) = scene.log().reports
    assert (end.status, end.input_tokens) == ("completed", 20)


# Every way in which Claude Code would go on without us.


def broken_policy(scene: Scene) -> None:
    scene.policy.write_text("pool: [", encoding="utf-8")


def no_policy(scene: Scene) -> None:
    scene.policy.unlink()


def no_log(scene: Scene) -> None:
    scene.own.mkdir(exist_ok=True)
    (scene.own / "log").write_text("not a folder", encoding="utf-8")


def no_python(scene: Scene) -> None:
    text = scene.settings.read_text(encoding="utf-8")
    scene.settings.write_text(text.replace(sys.executable, "/nowhere/python"), encoding="utf-8")


def no_hook(scene: Scene) -> None:
    text = scene.settings.read_text(encoding="utf-8")
    there = "claude_code_hook.py"
    scene.settings.write_text(text.replace(there, f"gone/{there}"), encoding="utf-8")


def no_place_for_children(scene: Scene) -> None:
    scene.own.mkdir(exist_ok=True)
    (scene.own / "children").write_text("not a folder", encoding="utf-8")


def broken_facts(scene: Scene) -> None:
    facts = scene.home / "facts.json"
    facts.write_text("{}", encoding="utf-8")
    scene.connect("--facts", str(facts))
    facts.write_text("{", encoding="utf-8")


def agent_in_facts(scene: Scene) -> None:
    facts = scene.home / "facts.json"
    facts.write_text("{}", encoding="utf-8")
    scene.connect("--facts", str(facts))
    facts.write_text('{"task": {"kind": "Plan"}}', encoding="utf-8")


FAULTS = [
    broken_policy,
    no_policy,
    no_log,
    no_python,
    no_hook,
    no_place_for_children,
    broken_facts,
    agent_in_facts,
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda it: it.__name__)
def test_every_fault_is_a_refusal_that_the_agent_reads(scene: Scene, fault: Any) -> None:
    scene.connect()
    fault(scene)
    said = scene.run(agent())
    assert "policy-router" in said
    assert scene.children() == []


def test_a_service_that_answers_badly_is_a_refusal(scene: Scene) -> None:
    scene.connect()
    scene.own.mkdir()
    with Mute(scene.own / "socket"):
        said = scene.run(agent())
    assert "no decision can be made" in said
    assert scene.children() == []


class Mute:
    """A socket at which somebody hangs up at once."""

    def __init__(self, place: Path) -> None:
        code = (
            "import socket, sys\n"
            "s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()\n"
            "print(flush=True)\n"
            "while True: s.accept()[0].close()"
        )
        self.process = subprocess.Popen(  # noqa: S603 - the words are the test's own
            [sys.executable, "-c", code, str(place)], stdout=subprocess.PIPE
        )

    def __enter__(self) -> None:
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


# The hook by itself.


def ask(scene: Scene, content: str, event: str = "PreToolUse") -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S602 - Claude Code starts it by the shell, too
        hook_words(scene, event),
        shell=True,
        check=False,
        input=content,
        capture_output=True,
        text=True,
        timeout=50,
        env={"PATH": os.environ["PATH"]},
    )


def asking(**more: Any) -> str:
    about = {"hook_event_name": "PreToolUse", "tool_name": "Agent", "tool_use_id": "toolu_1"}
    return json.dumps({**about, "tool_input": {**USUAL, **more}})


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '"x"', "\0", asking()[:-9]])
def test_what_is_no_call_is_denied(scene: Scene, content: str) -> None:
    scene.connect()
    done = ask(scene, content)
    assert done.returncode == 0
    said = json.loads(done.stdout)["hookSpecificOutput"]
    assert said["permissionDecision"] == "deny"


def test_an_effort_is_decided_and_what_the_tool_does_not_take_is_said(scene: Scene) -> None:
    scene.connect()
    said = json.loads(ask(scene, asking(subagent_type="Plan")).stdout)
    changed = said["hookSpecificOutput"]["updatedInput"]
    assert (changed["model"], changed["effort"]) == ("fable", "low")
    assert said["systemMessage"] == "policy-router: Claude Code takes no temperature"


def test_a_decision_never_grants_a_permission(scene: Scene) -> None:
    scene.connect()
    assert "permissionDecision" not in json.loads(ask(scene, asking()).stdout)["hookSpecificOutput"]


def test_an_answer_that_cannot_be_written_denies_by_its_exit_code(scene: Scene) -> None:
    scene.connect()
    words = hook_words(scene)
    done = subprocess.run(  # noqa: S602 - as above
        f"( {words} ) >&-", shell=True, check=False, input=asking(), text=True, capture_output=True
    )
    assert done.returncode == 2


def test_the_end_of_an_unknown_sub_agent_is_nothing(scene: Scene) -> None:
    scene.connect()
    told = {"hook_event_name": "SubagentStop", "agent_id": "a1"}
    assert ask(scene, json.dumps(told), "SubagentStop").stdout == "{}"


def test_the_end_that_cannot_be_logged_stops_nothing(scene: Scene) -> None:
    scene.connect()
    done = ask(scene, '{"hook_event_name": "SubagentStop", "agent_id": "/"}', "SubagentStop")
    assert done.returncode == 1
    assert "is not logged" in done.stderr


def test_the_hook_imports_nothing_of_the_package_before_it_has_asked(scene: Scene) -> None:
    scene.connect()
    scene.own.mkdir()
    with Mute(scene.own / "socket"):
        words = hook_words(scene).replace(" -I ", " -X importtime -I ", 1)
        done = subprocess.run(  # noqa: S602 - as above
            words, shell=True, check=False, input=asking(), text=True, capture_output=True
        )
    assert "socket" in done.stderr
    assert "policy_router" not in done.stderr
    assert "site" not in done.stderr.split()


def test_the_command_answers_as_the_hook_does(
    scene: Scene, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["--policy", str(scene.policy), "--home", str(scene.own)]
    source = scene.home / "asking.json"
    source.write_text(asking(), encoding="utf-8")
    with source.open(encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        assert main(["hook", "claude-code", *given]) == 0
    assert '"model": "haiku"' in capfd.readouterr().out
