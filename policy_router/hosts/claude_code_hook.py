"""The hook of Claude Code: decides, before a sub-agent starts, what it runs on.

Claude Code runs this file with ``python -I -S`` at each call of its tools ``Agent`` and ``Task``.
It would go on without us after any exit code but 0 and 2, and where the hook takes too long. So
every fault is a denial here, and the shell line that starts it denies where not even this file
runs.

Nothing of the package is imported before a service was asked at its Unix socket: that takes a
twentieth of a second. Where nobody listens, the package decides in this process.
"""

# The standard library alone, and of that as little as possible: each import takes its time.
from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

SECONDS = 20
"""How long a decision may take: less than the time that Claude Code gives a hook."""
TIMEOUT = 60
"""The time that Claude Code is to give the hook, in seconds."""
ALIASES = ("sonnet", "opus", "haiku", "fable")
"""The names of models that the tool takes."""
EFFORTS = ("low", "medium", "high", "xhigh", "max")
"""The efforts of reasoning that the tool takes."""
TOOLS = "Agent|Task|Workflow"
"""The tools that start sub-agents."""

_ENDED = ".ended"
_ENDS = ("PostToolUse", "SubagentStop")
_BYTES_PER_TOKEN = 4
_LOOK_SECONDS = 0.05
_TRANSCRIPT_SECONDS = 5
_KEPT_SECONDS = 7 * 24 * 3600
_MOST = 16 << 20
_USUAL = "general-purpose"
_WORKFLOW = "a workflow starts sub-agents that nobody decides about: use Agent for each of them"
_FORK = "a fork always runs on your own model: use another subagent_type"


def main(words: Sequence[str], given: bytes | None = None) -> int:
    """Answer one call of the hook, and return the exit code.

    Args:
        words: ``--policy``, ``--home`` and ``--facts``, each with its value; ``home`` has the
            log, the socket of a service, and what is known of running sub-agents.
        given: the input of the hook; that of the process unless given.
    """
    asked: Any = None
    try:
        signal.signal(signal.SIGALRM, _late)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        asked = json.loads(sys.stdin.buffer.read(_MOST) if given is None else given)
        said = answered(asked, dict(zip(words[::2], words[1::2], strict=True)))
    except BaseException as problem:
        if isinstance(asked, dict) and asked.get("hook_event_name") in _ENDS:
            sys.stderr.write("the end of a sub-agent is not logged: " + type(problem).__name__)
            return 1
        said = denied("no decision can be made (" + type(problem).__name__ + ")")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return _say(said)


def _late(*_: object) -> None:
    os._exit(_say(denied("no decision was made in " + str(SECONDS) + " seconds")))


def _say(said: Mapping[str, Any]) -> int:
    """Write the answer; where that fails too, the exit code denies."""
    try:
        content = json.dumps(said, allow_nan=False).encode()  # no JSON would be no denial
        while content:
            content = content[os.write(1, content) :]
    except BaseException:
        return 2
    return 0


def answered(asked: Mapping[str, Any], options: Mapping[str, str]) -> dict[str, Any]:
    """Return the answer to one call: a denial, or the input of the tool with the decided model.

    Args:
        asked: what Claude Code tells of the call.
        options: the words of the command line, by their names.
    """
    if asked["hook_event_name"] in _ENDS:
        return _report(asked, options)
    given = asked["tool_input"]
    why = impossible(asked["tool_name"], given)
    if why is not None:
        return denied(why)
    decided = _decided(request_of(given, options.get("--facts")), options)
    said = answer_of(decided, given, os.environ)
    if "updatedInput" in said["hookSpecificOutput"]:
        target = decided["record"]["decision"]["target"]
        known = {key: target[key] for key in ("model", "provider")}
        _keep(options, asked["tool_use_id"], {"decision_id": decided["decision_id"], **known})
    return said


def impossible(tool: str, given: Mapping[str, Any]) -> str | None:
    """Say why a call of a tool cannot be decided about; None where it can."""
    if tool == "Workflow":
        return _WORKFLOW
    return _FORK if given.get("subagent_type") == "fork" else None


def request_of(given: Mapping[str, Any], facts: str | None = None) -> dict[str, Any]:
    """Return the request about a call of the tool; the type of the sub-agent is the kind."""
    size = len(given.get("prompt", "").encode()) // _BYTES_PER_TOKEN
    task = {"kind": given.get("subagent_type") or _USUAL, "input_tokens": size}
    wishes = {"model": given.get("model"), "reasoning_effort": given.get("effort")}
    task.update({key: wish for key, wish in wishes.items() if wish})
    stated = {}
    if facts:
        with open(facts, encoding="utf-8") as file:
            stated = json.load(file)
    if "task" in stated or "call" in stated:
        raise ValueError("the file of facts states what the agent asks for")
    return {**stated, "task": task}


def _decided(request: Mapping[str, Any], options: Mapping[str, str]) -> dict[str, Any]:
    said = _ask(options, "/v1/decide", request)
    if said is not None:
        return said
    _with_packages()
    from policy_router.hosts.claude_code import decide_once

    log = os.path.join(options["--home"], "log")
    return decide_once(request, options["--policy"], log)


def _with_packages() -> None:
    """Make what is installed known, which Python was to leave out."""
    gc.disable()  # the process ends before there is garbage
    if sys.flags.no_site:
        import site

        site.main()


def _ask(options: Mapping[str, str], path: str, asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a service says; None where none listens."""
    body = json.dumps(asked).encode()
    head = (
        "POST " + path + " HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        "content-type: application/json\r\ncontent-length: " + str(len(body)) + "\r\n\r\n"
    )
    answer = bytearray()
    with socket.socket(socket.AF_UNIX) as link:
        try:
            link.connect(os.path.join(options["--home"], "socket"))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        link.sendall(head.encode() + body)
        while piece := link.recv(65536):
            answer += piece
            if len(answer) > _MOST:
                raise ValueError("the answer is too long")
    first, _, content = bytes(answer).partition(b"\r\n\r\n")
    said: dict[str, Any] = json.loads(_unchunked(content) if b"chunked" in first else content)
    if first.split(b" ", 2)[1] == b"200":
        return said
    return {"refused": str(said.get("code", "refused")) + ": " + str(said.get("detail", ""))}


def _unchunked(content: bytes) -> bytes:
    whole = b""
    while content:
        size, _, content = content.partition(b"\r\n")
        length = int(size.partition(b";")[0], 16)
        whole, content = whole + content[:length], content[length + 2 :]
        if not length:
            return whole
    raise ValueError("the answer broke off")


def answer_of(
    decided: Mapping[str, Any], given: Mapping[str, Any], environ: Mapping[str, str]
) -> dict[str, Any]:
    """Return the answer for a decision.

    Args:
        decided: ``refused``, or the ``record`` of the decision.
        given: the input of the tool.
        environ: has ``ANTHROPIC_DEFAULT_*_MODEL``, which say what the aliases mean.
    """
    if "refused" in decided:
        return denied(decided["refused"])
    decision = decided["record"]["decision"]
    if decision["outcome"] != "selected":
        return denied(_refusal(decision))
    target = decision["target"]
    alias = alias_of(target["model"], environ)
    if alias is None:
        return denied(
            f"unreachable_model: the policy selects `{target['model']}`, and Claude Code takes "
            f"only {', '.join(ALIASES)}; ANTHROPIC_DEFAULT_SONNET_MODEL, for example, says what "
            "one of them means"
        )
    parameters = dict(target.get("parameters") or {})
    changed = {key: value for key, value in given.items() if key != "effort"}
    changed["model"] = alias
    if parameters.get("reasoning_effort") in EFFORTS:
        changed["effort"] = parameters.pop("reasoning_effort")
    part = {"hookEventName": "PreToolUse", "updatedInput": changed}
    warning = "policy-router: Claude Code takes no " + ", ".join(parameters)
    return {"hookSpecificOutput": part, **({"systemMessage": warning} if parameters else {})}


def alias_of(model: str, environ: Mapping[str, str]) -> str | None:
    """Return the alias that stands for a model's id; None where none does."""
    for alias in ALIASES:
        means = environ.get("ANTHROPIC_DEFAULT_" + alias.upper() + "_MODEL")
        if model in (alias, means):
            return alias
    return None


def _refusal(decision: Mapping[str, Any]) -> str:
    """Return a refusal in words, with the names that may be asked for."""
    refusal = decision["refusal"]
    words = f"{refusal['code']}: {refusal['message']}"
    permitted = [name for name in refusal.get("permitted") or () if name in ALIASES]
    return words + ("; you may ask for " + ", ".join(permitted) if permitted else "")


def denied(why: str) -> dict[str, Any]:
    """Return a denial, which the agent and its user read."""
    return {
        "hookSpecificOutput": {
            "hookEventName": "PreToolUse",
            "permissionDecision": "deny",
            "permissionDecisionReason": "policy-router refused this sub-agent: " + why,
        }
    }


# The end of a sub-agent. Its decision is kept under the id of the call, and, where it goes on in
# the background, under that of the sub-agent.


def running(notice: Mapping[str, Any]) -> str | None:
    """Return the id of a sub-agent that goes on in the background; None where it has ended."""
    response = notice["tool_response"]
    return str(response["agentId"]) if response.get("status") == "async_launched" else None


def outcome_of(response: Mapping[str, Any]) -> dict[str, Any]:
    """Return what came of a sub-agent, by the answer of its tool."""
    usage, model = response.get("usage") or {}, response.get("resolvedModel")
    status = "completed" if response.get("status") == "completed" else "failed"
    return {"status": status, **({"served_model": model} if model else {}), **_tokens([usage])}


def transcript_of(notice: Mapping[str, Any]) -> dict[str, Any]:
    """Return what came of a sub-agent, by the transcript that it leaves.

    Claude Code writes it while the hook runs, so it is waited for.
    """
    until = time.monotonic() + _TRANSCRIPT_SECONDS
    messages = _said_in(notice["agent_transcript_path"])
    while not messages and time.monotonic() < until:
        time.sleep(_LOOK_SECONDS)
        messages = _said_in(notice["agent_transcript_path"])
    has_ended = notice.get("last_assistant_message") or messages
    found: dict[str, Any] = {"status": "completed" if has_ended else "failed"}
    if messages:
        *_, last = messages.values()
        model = {"served_model": last["model"]} if last.get("model") else {}
        found.update(model, **_tokens([message["usage"] for message in messages.values()]))
    return found


def _said_in(path: str) -> dict[str, dict[str, Any]]:
    """Return what a model has said in a transcript, by the ids of messages."""
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as lines:
        said = [json.loads(line).get("message") or {} for line in lines if line.endswith("\n")]
    return {it["id"]: it for it in said if it.get("role") == "assistant" and it.get("usage")}


def _tokens(usages: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    read = sum(usage.get(name) or 0 for usage in usages for name in names)
    return {
        "input_tokens": read,
        "output_tokens": sum(usage.get("output_tokens") or 0 for usage in usages),
    }


def _place(options: Mapping[str, str], name: str) -> str:
    if not name.replace("_", "").replace("-", "").isalnum():
        raise ValueError("an id that no file can have")
    return os.path.join(options["--home"], "children", name)


def _keep(options: Mapping[str, str], name: str, known: Mapping[str, str]) -> None:
    place = _place(options, name)
    os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
    _forget(os.path.dirname(place))
    _write(place, known)


def _forget(folder: str) -> None:
    """Forget sub-agents that began long ago: one that its user stops has no end to hear of."""
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                if entry.stat().st_mtime < time.time() - _KEPT_SECONDS:
                    os.remove(entry.path)
            except FileNotFoundError:
                continue  # another hook was faster


def _report(notice: Mapping[str, Any], options: Mapping[str, str]) -> dict[str, Any]:
    """Log the end of a sub-agent, or keep its decision until then.

    Claude Code runs the hooks of a call and of the end in the background at the same time, so
    either may come first: whichever comes second finds what the other has left.
    """
    if notice["hook_event_name"] == "SubagentStop":
        place = _place(options, notice["agent_id"])
        if os.path.isdir(os.path.dirname(place)) and os.listdir(os.path.dirname(place)):
            _write(place + _ENDED, notice)
            _log_ended(place, options)
        return {}
    place, agent = _place(options, notice["tool_use_id"]), running(notice)
    if not os.path.exists(place):
        return {}
    if agent is not None:
        os.replace(place, _place(options, agent))
        if os.path.exists(_place(options, agent) + _ENDED):
            _log_ended(_place(options, agent), options)
        return {}
    note = _place(options, notice["tool_response"].get("agentId", "none")) + _ENDED
    if os.path.exists(note):
        os.remove(note)
    _log_end(place, outcome_of(notice["tool_response"]), options)
    return {}


def _log_ended(place: str, options: Mapping[str, str]) -> None:
    """Log the end in the background, once both its decision and its notice are there."""
    try:
        os.replace(place, place + ".taken")  # by one of the two hooks
    except FileNotFoundError:
        return
    notice = _read(place + _ENDED)
    os.remove(place + _ENDED)
    _log_end(place + ".taken", transcript_of(notice), options)


def _log_end(place: str, outcome: Mapping[str, Any], options: Mapping[str, str]) -> None:
    report = {**_read(place), **outcome}
    os.remove(place)
    if _ask(options, "/v1/executions", report) is None:
        _with_packages()
        from policy_router.hosts.claude_code import report_once

        report_once(report, os.path.join(options["--home"], "log"))


def _read(place: str) -> dict[str, Any]:
    with open(place, encoding="utf-8") as file:
        found: dict[str, Any] = json.load(file)
    return found


def _write(place: str, content: Mapping[str, Any]) -> None:
    with open(place + ".new", "w", encoding="utf-8") as file:
        json.dump(content, file)
    os.replace(place + ".new", place)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
