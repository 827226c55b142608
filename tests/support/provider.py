"""A provider of models on the loopback interface: llmock, in a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

from policy_router import Policy, loads

KEYS: Final = {"NEAR_KEY": "key-of-near-0123456789", "FAR_KEY": "key-of-far-0123456789"}
"""What the policies of :func:`policy_at` look up."""

_PATHS: Final = {"near": "/v1", "far": "/groq/openai/v1"}
"""Two providers that one process plays; they share their queue of faults."""

_STARTS_WITHIN: Final = 30.0


class Provider:
    """A process that answers as providers do, and fails as it is told to."""

    def __init__(self, *options: str) -> None:
        """Choose a port; nothing is started yet."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("COVERAGE_", "LLMOCK_"))
        }
        self._process = subprocess.Popen(  # noqa: S603 - the words are the test's own
            [
                str(Path(sys.executable).with_name("llmock")),
                "serve",
                *("--host", "127.0.0.1", "--port", str(self.port)),
                *("--response-style", "echo", "--log-level", "critical"),
                *self._options,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environ,
        )
        try:
            self._wait_for(self._process)
        except BaseException:
            self.stop()
            raise

    def _wait_for(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _STARTS_WITHIN
        while True:
            try:
                self._ask("GET", "/health")
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """Kill it, as an outage would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_problem: object) -> None:
        self.stop()

    def url(self, name: str) -> str:
        """Return the address of one of the providers that it plays."""
        return f"http://127.0.0.1:{self.port}{_PATHS[name]}"

    def reset(self) -> None:
        """Forget what was asked for and what is planned."""
        self._ask("POST", "/_llmock/reset")

    def plan(self, *behaviours: dict[str, Any]) -> None:
        """Plan what it does with the next requests; each is for one unless it says `times`."""
        self._ask("POST", "/_llmock/scenario", {"behaviors": list(behaviours)})

    def fail(self, status: int, model: str = "*", **more: Any) -> None:
        """Plan an error."""
        self.plan({"type": "fail", "status": status, "match": {"model": model}, **more})

    def delay(self, seconds: float, model: str = "*", **more: Any) -> None:
        """Plan to be slow."""
        self.plan({"type": "delay", "seconds": seconds, "match": {"model": model}, **more})

    def break_stream(self, kind: str, *, after: int = 1, **more: Any) -> None:
        """Plan to break a stream after some chunks, the first of which has no text."""
        self.plan({"type": "stream_fault", "kind": kind, "after_chunks": after, **more})

    def say(self, text: str, **more: Any) -> None:
        """Plan an answer."""
        self.plan({"type": "reply", "text": text, **more})

    def requests(self) -> list[dict[str, Any]]:
        """Return what was asked for, in order."""
        found: list[dict[str, Any]] = self._ask("GET", "/_llmock/requests")["requests"]
        return found

    def models(self) -> list[str]:
        """Return the models that were asked for, in order."""
        return [request["model"] for request in self.requests()]

    def _ask(self, method: str, path: str, content: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            body = None if content is None else json.dumps(content)
            connection.request(method, path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        assert response.status < 300, answer
        return json.loads(answer)


@contextmanager
def dead_port() -> Iterator[int]:
    """Keep a port at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def policy_text(provider: Provider, *pool: dict[str, Any], **sections: Any) -> str:
    """Return a policy, in JSON, whose providers `near` and `far` one process plays."""
    providers = {
        name: {"base_url": provider.url(name), "api_key": f"env:{name.upper()}_KEY"}
        for name in _PATHS
    }
    providers |= sections.pop("providers", {})
    given = {"version": 1, "name": "peers", "provider": "near", "providers": providers, **sections}
    return json.dumps({**given, "pool": list(pool)} if pool else given)


def policy_at(provider: Provider, *pool: dict[str, Any], **sections: Any) -> Policy:
    """Return the same, compiled."""
    return loads(policy_text(provider, *pool, **sections), name="policy.json")


def chain(*places: str, **first: Any) -> tuple[dict[str, Any], ...]:
    """Return a pool that goes from `m0` at the first provider to `m1` at the next, and so on."""
    names = [f"m{number}" for number in range(len(places))]
    pool: list[dict[str, Any]] = [
        {"name": name, "model": name, "provider": at}
        for name, at in zip(names, places, strict=True)
    ]
    pool[0] |= {"pick": "true", "fallback": names[1:], **first}
    return tuple(pool)
