"""The command ``hook claude-code``: what it answers, with a service and without."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from policy_router.cli import main
from policy_router.hosts import claude_code_hook as hook
from policy_router.log import LogReader
from policy_router.log.entry import Execution
from tests.support.commands import in_process_of_its_own
from tests.support.service import Service

POLICY = """
version: 1
model: sonnet
provider: anthropic
providers: {anthropic: {base_url: 'https://api.anthropic.com/v1'}}
pool:
  - {name: sonnet, model: sonnet}
  - {name: haiku, model: haiku, pick: task.kind == "Explore"}
  - {name: own, model: our-own, pick: task.kind == "own"}
  - {name: opus, model: opus, allow: caller.team == "research"}
  - name: fable
    model: fable
    pick: task.kind == "Plan"
    parameters: {reasoning_effort: low, temperature: 0.5}
  - {name: deep, model: haiku, pick: task.kind == "deep", parameters: {reasoning_effort: minimal}}
precedence: strict
"""


class Hook:
    """The hook, called in this process."""

    def __init__(self, home: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.home, self._capfd = home, capfd
        self.policy = home / "policy.yaml"
        self.policy.write_text(POLICY, encoding="utf-8")
        self.words = ["--policy", str(self.policy), "--home", str(home)]
        self.code = 0

    def send(self, content: bytes) -> Any:
        """Call it, and return what it says."""
        self.code = hook.main(self.words, content)
        said = self._capfd.readouterr()
        return json.loads(said.out) if said.out else said.err

    def ask(self, kind: str | None = "Explore", tool: str = "Agent", **given: Any) -> Any:
        """Ask about a call, and return the part of the answer that decides."""
        of_kind = {} if kind is None else {"subagent_type": kind}
        asked = {"hook_event_name": "PreToolUse", "tool_name": tool, "tool_use_id": "toolu_1"}
        asking = {**asked, "tool_input": {"prompt": "Do it.", **of_kind, **given}}
        return self.send(json.dumps(asking).encode())["hookSpecificOutput"]

    def why(self, *arguments: Any, **given: Any) -> str:
        """Ask about a call, and return why it is denied."""
        said = self.ask(*arguments, **given)
        assert said["permissionDecision"] == "deny"
        return str(said["permissionDecisionReason"])

    def end(self, event: str, **notice: Any) -> Any:
        """Tell it of an end."""
        return self.send(json.dumps({"hook_event_name": event, **notice}).encode())

    def reports(self) -> list[Execution]:
        """Return the ends in the log."""
        found = [it.entry.execution for it in LogReader(self.home / "log").lines()]
        return [it for it in found if isinstance(it, Execution)]


@pytest.fixture
def called(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Hook:
    return Hook(tmp_path, capfd)


def test_the_input_of_the_tool_gets_the_decided_model(called: Hook) -> None:
    said = called.ask(description="look")
    assert said == {
        "hookEventName": "PreToolUse",
        "updatedInput": {
            "prompt": "Do it.",
            "subagent_type": "Explore",
            "description": "look",
            "model": "haiku",
        },
    }
    assert called.ask("reviewer", model="haiku")["updatedInput"]["model"] == "haiku"
    assert called.ask(None)["updatedInput"]["model"] == "sonnet"


def test_a_refusal_names_the_aliases_that_may_be_asked_for(called: Hook) -> None:
    why = called.why("reviewer", model="opus")
    assert why.startswith("policy-router refused this sub-agent: not_allowed: ")
    assert why.endswith("; you may ask for sonnet, haiku, fable")


def test_what_nobody_can_decide_is_denied(called: Hook) -> None:
    assert "a fork always runs" in called.why("fork")
    assert "a workflow starts" in called.why(tool="Workflow")
    assert not (called.home / "log").exists()


def test_an_id_needs_an_alias(called: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "unreachable_model: the policy selects `our-own`" in called.why("own")
    monkeypatch.setenv("ANTHROPIC_DEFAULT_OPUS_MODEL", "our-own")
    assert called.ask("own")["updatedInput"]["model"] == "opus"


def test_an_effort_is_applied_and_other_parameters_are_named(
    called: Hook, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = {"hook_event_name": "PreToolUse", "tool_name": "Task", "tool_use_id": "t"}
    for kind, effort, message in (
        ("Plan", "low", "policy-router: Claude Code takes no temperature"),
        ("deep", None, "policy-router: Claude Code takes no reasoning_effort"),
    ):
        given = {"prompt": "p", "subagent_type": kind}
        said = called.send(json.dumps({**asked, "tool_input": given}).encode())
        assert said["hookSpecificOutput"]["updatedInput"].get("effort") == effort
        assert said["systemMessage"] == message
    assert capfd.readouterr().err == ""


def test_the_caller_is_stated_in_a_file(called: Hook) -> None:
    facts = called.home / "facts.json"
    facts.write_text('{"caller": {"team": "research"}}', encoding="utf-8")
    called.words += ["--facts", str(facts)]
    assert called.ask("x", model="opus")["updatedInput"]["model"] == "opus"
    facts.write_text('{"task": {"kind": "Plan"}}', encoding="utf-8")
    assert "(ValueError)" in called.why("x")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"{", b'{"hook_event_name": "PreToolUse"}'])
def test_every_fault_denies(called: Hook, content: bytes) -> None:
    said = called.send(content)["hookSpecificOutput"]
    assert said["permissionDecision"] == "deny"
    assert called.code == 0


def test_a_policy_or_a_log_that_cannot_be_used_denies_in_words(called: Hook) -> None:
    (called.home / "log").write_text("no folder", encoding="utf-8")
    assert "log_unavailable: the decision cannot be logged" in called.why()
    called.policy.write_text("model: [", encoding="utf-8")
    why = called.why()
    assert "the policy cannot be used: it has an error; `policy-router check` shows it" in why


def test_an_id_that_no_file_can_have_denies(called: Hook) -> None:
    asked = {"hook_event_name": "PreToolUse", "tool_name": "Agent", "tool_use_id": "../x"}
    said = called.send(json.dumps({**asked, "tool_input": {"prompt": ""}}).encode())
    assert "(ValueError)" in said["hookSpecificOutput"]["permissionDecisionReason"]


def test_an_answer_that_cannot_be_written_denies(
    called: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> int:
        raise OSError(9, "closed")

    monkeypatch.setattr(os, "write", broken)
    assert hook.main(called.words, b"{}") == 2


def test_an_input_that_no_json_can_answer_denies(called: Hook) -> None:
    asked = {"hook_event_name": "PreToolUse", "tool_name": "Agent", "tool_use_id": "toolu_1"}
    given = {"prompt": "", "size": float("nan")}
    called.send(json.dumps({**asked, "tool_input": given}).encode())
    assert called.code == 2


def test_a_decision_that_takes_too_long_denies(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class EndedError(BaseException):
        """The process has ended."""

    def ended(code: int) -> None:
        assert code == 0
        raise EndedError

    monkeypatch.setattr(os, "_exit", ended)
    signal.signal(signal.SIGALRM, hook._late)  # noqa: SLF001 - what the alarm calls
    with pytest.raises(EndedError):
        signal.raise_signal(signal.SIGALRM)
    assert "no decision was made in 20 seconds" in capfd.readouterr().out
    assert hook.SECONDS < hook.TIMEOUT


# The ends.


def test_the_end_of_a_call_is_logged(called: Hook) -> None:
    called.ask()
    usage = {"input_tokens": 5, "cache_read_input_tokens": 10, "output_tokens": 3}
    response = {"status": "completed", "usage": usage, "resolvedModel": "haiku-9"}
    assert called.end("PostToolUse", tool_use_id="toolu_1", tool_response=response) == {}
    (end,) = called.reports()
    assert (end.event, end.status, end.model) == ("reported", "completed", "haiku")
    assert (end.served_model, end.input_tokens, end.output_tokens) == ("haiku-9", 15, 3)
    assert called.end("PostToolUse", tool_use_id="toolu_1", tool_response=response) == {}
    assert len(called.reports()) == 1


def message(id_: str, **more: Any) -> str:
    usage = {"input_tokens": 2, "output_tokens": 1}
    said = {"id": id_, "role": "assistant", "model": "haiku-9", "usage": usage, **more}
    return json.dumps({"message": said}) + "\n"


def test_the_end_in_the_background_is_read_from_its_transcript(called: Hook) -> None:
    called.ask()
    begun = {"status": "async_launched", "agentId": "a1"}
    called.end("PostToolUse", tool_use_id="toolu_1", tool_response=begun)
    assert called.reports() == []
    script = called.home / "agent.jsonl"
    other = '{"type": "user"}\n'
    script.write_text(message("1") + message("1") + other + message("2"), encoding="utf-8")
    called.end("SubagentStop", agent_id="a1", agent_transcript_path=str(script))
    (end,) = called.reports()
    assert (end.status, end.served_model) == ("completed", "haiku-9")
    assert (end.input_tokens, end.output_tokens) == (4, 2)


def test_the_end_in_the_background_may_come_before_its_beginning(called: Hook) -> None:
    called.ask()
    script = called.home / "agent.jsonl"
    script.write_text(message("1"), encoding="utf-8")
    called.end("SubagentStop", agent_id="a1", agent_transcript_path=str(script))
    assert called.reports() == []
    begun = {"status": "async_launched", "agentId": "a1"}
    called.end("PostToolUse", tool_use_id="toolu_1", tool_response=begun)
    assert [(it.status, it.input_tokens) for it in called.reports()] == [("completed", 2)]
    assert [*(called.home / "children").iterdir()] == []


def test_the_end_in_the_foreground_is_logged_once(called: Hook) -> None:
    called.ask()
    called.end("SubagentStop", agent_id="a1", agent_transcript_path="/nowhere")
    response = {"status": "completed", "agentId": "a1"}
    called.end("PostToolUse", tool_use_id="toolu_1", tool_response=response)
    assert [it.status for it in called.reports()] == ["completed"]
    assert [*(called.home / "children").iterdir()] == []


def test_a_sub_agent_that_never_ended_is_forgotten_after_a_week(called: Hook) -> None:
    called.ask()
    folder = called.home / "children"
    old, gone = folder / "toolu_0", folder / "toolu_gone"
    (folder / "toolu_1").rename(old)
    gone.symlink_to("nowhere")  # as one that another hook takes meanwhile
    os.utime(old, (0, 0))
    assert called.ask()["updatedInput"]["model"] == "haiku"
    assert {it.name for it in folder.iterdir()} == {"toolu_1", "toolu_gone"}


@pytest.mark.parametrize(("last", "status"), [("Done.", "completed"), (None, "failed")])
def test_an_end_without_a_transcript_has_no_tokens(
    called: Hook, monkeypatch: pytest.MonkeyPatch, last: str | None, status: str
) -> None:
    monkeypatch.setattr(hook, "_TRANSCRIPT_SECONDS", 0.01)
    notice = {"agent_transcript_path": str(called.home / "none"), "last_assistant_message": last}
    assert hook.transcript_of(notice) == {"status": status}


def test_a_transcript_is_waited_for(called: Hook) -> None:
    script = called.home / "agent.jsonl"
    later = threading.Timer(0.1, lambda: script.write_text(message("1"), encoding="utf-8"))
    later.start()
    found = hook.transcript_of({"agent_transcript_path": str(script)})
    later.join(20)
    assert (found["status"], found["input_tokens"]) == ("completed", 2)


def test_an_end_that_cannot_be_logged_stops_nothing(called: Hook) -> None:
    said = called.end("SubagentStop", agent_id="/")
    assert (said, called.code) == ("the end of a sub-agent is not logged: ValueError", 1)
    assert called.end("SubagentStop", agent_id="unknown") == {}


# A service.


@pytest.mark.slow
def test_a_service_decides_and_logs_where_one_listens(called: Hook) -> None:
    listen = f"unix:{called.home / 'socket'}"
    with Service(called.home, "--log", str(called.home / "log"), listen=listen):
        called.policy.write_text("pool: [", encoding="utf-8")
        assert called.ask()["updatedInput"]["model"] == "haiku"
        response = {"status": "failed", "usage": {"input_tokens": 7}}
        called.end("PostToolUse", tool_use_id="toolu_1", tool_response=response)
        assert "you may ask for" in called.why("x", model="opus")
        called.words += ["--facts", str(called.home / "facts.json")]
        (called.home / "facts.json").write_text('{"nonsense": 1}', encoding="utf-8")
        assert "bad_request" in called.why("x")
    (end,) = called.reports()
    assert (end.status, end.input_tokens) == ("failed", 7)


@contextmanager
def answering(place: Path, *answers: bytes) -> Iterator[None]:
    """Answer each connection at a socket with bytes."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place))
        server.listen()

        def serve() -> None:
            for answer in answers:
                link, _ = server.accept()
                with link:
                    link.recv(65536)
                    link.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        thread.join(20)


def test_a_service_that_answers_badly_denies(called: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hook, "_MOST", 200)
    head = b"HTTP/1.1 200 OK\r\n"
    chunked = head + b"transfer-encoding: chunked\r\n\r\n"
    answers = [
        b"",
        b"nonsense",
        head + b"\r\n{",
        head + b"\r\n" + b"x" * 300,
        chunked + b"2\r\n{}\r\n",
        chunked + b"2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 500 No\r\n\r\n{}",
    ]
    with answering(called.home / "socket", *answers):
        said = [called.why() for _ in answers]
    assert all("no decision can be made" in it for it in said[:-1])
    assert said[-1].endswith("refused: ")


def test_the_command_is_the_hook(
    called: Hook, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    source = called.home / "asked.json"
    given = {"prompt": "p", "subagent_type": "Explore"}
    asked = {"hook_event_name": "PreToolUse", "tool_name": "Agent", "tool_use_id": "t"}
    source.write_text(json.dumps({**asked, "tool_input": given}), encoding="utf-8")
    with source.open(encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        assert main(["hook", "claude-code", *called.words]) == 0
    assert '"model": "haiku"' in capfd.readouterr().out


@pytest.mark.slow
def test_the_hook_imports_no_library_that_it_can_do_without(called: Hook) -> None:
    asked = {"hook_event_name": "PreToolUse", "tool_name": "Agent", "tool_use_id": "t"}
    given = json.dumps({**asked, "tool_input": {"prompt": "p", "subagent_type": "Explore"}})
    program = (
        "import sys\n"
        "from policy_router.hosts.claude_code_hook import main\n"
        f"main({called.words!r}, {given.encode()!r})\n"
        "names = ('asyncio', 'celpy', 'httpcore', 'jsonschema', 'openai', 'sqlite3')\n"
        "print([name for name in names if name in sys.modules])\n"
    )
    ran = in_process_of_its_own(cwd=called.home, prefix=("-c", program), measured=False)
    assert '"model": "haiku"}}' in ran.out
    assert ran.out.endswith("[]\n")
