"""What the tests of every host share: a policy, its providers on loopback, and what must hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from policy_router.cli import main
from policy_router.hosts import PolicyHost
from policy_router.log import LogReader
from policy_router.log.entry import Execution
from tests.support.scripted import DONE, ScriptedProvider, Talk, chunk, completion, response

KEYS: Final = {name: f"key-of-{name}-0123456789" for name in ("near", "far", "lead")}
"""The key of each endpoint."""
SECRETS: Final = {f"{name.upper()}_KEY": key for name, key in KEYS.items()}
"""What the policies look up."""
GOAL: Final = "Fix the planted-7f3a9c test."
"""What only a child may be told."""
THREE: Final = {
    "tasks": [
        {"goal": f"{GOAL} One.", "kind": "coding"},
        {"goal": f"{GOAL} Two."},
        {"goal": f"{GOAL} Three.", "model": "spare"},
    ]
}
"""A batch on two endpoints."""
OUTSIDE: Final = {"tasks": [{"goal": f"{GOAL} One."}, {"goal": f"{GOAL} Two.", "model": "huge"}]}
"""A batch of which one task is refused."""


Calls = Sequence[tuple[str, Mapping[str, Any]]]


class Peers:
    """Three endpoints of one provider on loopback: of the lead agent, and two of its children.

    Attributes:
        faults: for a model, the statuses of its next answers; one that is 200 breaks off.
        calls: for a model, the tools that it calls first: their names and arguments.
        meanwhile: for a model, what happens before its next answer.
    """

    def __init__(self) -> None:
        self.faults: dict[str, list[int]] = {}
        self.calls: dict[str, Calls] = {}
        self.meanwhile: dict[str, Callable[[], object]] = {}
        self.provider = ScriptedProvider(self._answer)

    def __enter__(self) -> Self:
        self.provider.__enter__()
        return self

    def __exit__(self, *_problem: object) -> None:
        self.provider.__exit__(None, None, None)

    def policy(self, **more: Any) -> str:
        """Return a policy of these endpoints, in JSON."""
        url = self.provider.url.removesuffix("/v1")
        providers = {
            name: {"base_url": f"{url}/{name}/v1", "api_key": f"env:{name.upper()}_KEY"}
            for name in KEYS
        }
        coder = {"pick": 'task.kind == "coding"', "fallback": ["spare"]}
        pool: list[dict[str, Any]] = [
            {"name": "small", "model": "m-small", "parameters": {"temperature": 0.5}},
            {"name": "coder", "model": "m-coder", "provider": "far", **coder},
            {"name": "spare", "model": "m-spare", "limits": {"max_tokens": {"max": 50}}},
            {"name": "secret", "model": "m-s", "allow": 'caller.team == "research"'},
            {"name": "lead", "model": "m-lead", "provider": "lead", "pick": 'task.kind == "lead"'},
        ]
        whole = {"version": 1, "name": "hosts", "model": "m-small", "provider": "near"}
        return json.dumps({**whole, "providers": providers, "pool": pool, **more})

    def host(self, folder: Path, **options: Any) -> PolicyHost:
        """Return a host of this policy in a folder, with its log."""
        path = folder / "policy.json"
        path.write_text(self.policy(precedence="strict"))
        return PolicyHost(path, **{"log": folder / "log", "environ": SECRETS, **options})

    @property
    def asked(self) -> list[tuple[str, str]]:
        """The endpoint and the model of each call, in order."""
        return [(endpoint_of(talk), talk.body["model"]) for talk in self.provider.talks]

    def _answer(self, talk: Talk) -> None:
        assert talk.headers["authorization"] == f"Bearer {KEYS[endpoint_of(talk)]}"
        model = talk.body["model"]
        faults = self.faults.get(model, [])
        fault = faults.pop(0) if faults else None
        self.meanwhile.pop(model, str)()
        if fault == 200:
            talk.stream(chunk("Begun", model=model), ends=False)
            talk.cut()
        elif fault is not None:
            talk.whole({"error": {"message": "out of order"}}, fault)
        elif talk.path.endswith("/responses"):
            talk.whole(response(model=model))
        elif model in self.calls and not has_result(talk):
            self._call(talk, self.calls[model])
        elif talk.body.get("stream"):
            talk.stream(
                *(chunk(text, model=model) for text in ("He", f"llo from {model}.")),
                chunk(None, "stop", model=model),
                usage(model),
                DONE,
            )
        else:
            talk.whole(completion(f"Hello from {model}.", model=model))

    def _call(self, talk: Talk, calls: Calls) -> None:
        made = [
            {
                "index": place,
                "id": f"call_{place}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(arguments)},
            }
            for place, (name, arguments) in enumerate(calls)
        ]
        model = talk.body["model"]
        message = {"role": "assistant", "content": None, "tool_calls": made}
        if not talk.body.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
            talk.whole(completion(model=model, choices=[choice]))
            return
        first = chunk(None, model=model)
        first["choices"][0]["delta"] = message
        talk.stream(first, chunk(None, "tool_calls", model=model), usage(model), DONE)


def usage(model: str) -> dict[str, Any]:
    """Return the event of a stream that tells its usage."""
    counts = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
    return {**chunk(model=model), "choices": [], "usage": counts}


def endpoint_of(talk: Talk) -> str:
    """Return the name of the endpoint that a call went to."""
    return talk.path.strip("/").partition("/")[0]


def has_result(talk: Talk) -> bool:
    """Tell whether a tool has answered already."""
    return any(it["role"] == "tool" for it in talk.body["messages"])


def result_of(talk: Talk) -> dict[str, Any]:
    """Return what a tool has told the model of a call."""
    (told,) = [it["content"] for it in talk.body["messages"] if it["role"] == "tool"]
    text = told if isinstance(told, str) else "".join(it["text"] for it in told)
    found: dict[str, Any] = json.loads(text)
    return found


def executions(folder: Path) -> list[Execution]:
    """Return how each child ended, by the log."""
    found = [line.entry.execution for line in LogReader(folder).lines()]
    return [it for it in found if isinstance(it, Execution) and it.event == "finished"]


def decisions(folder: Path) -> list[Any]:
    """Return the decisions of a log."""
    return [line.entry for line in LogReader(folder).lines() if line.entry.kind == "decision"]


def requests(folder: Path) -> list[dict[str, Any]]:
    """Return what was decided on, as the log has it."""
    return [json.loads(bytes(it.record))["request"] for it in decisions(folder)]


def is_whole(folder: Path) -> bool:
    """Tell whether a log is whole, replays to the same bytes, and has no word of a goal."""
    words = b"".join(it.read_bytes() for it in folder.rglob("*") if it.is_file())
    commands = (["log", "verify", str(folder)], ["replay", str(folder)])
    return b"planted" not in words and all(main(it) == 0 for it in commands)
