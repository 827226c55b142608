"""Clients of MCP: the SDK's own, for tests that wait; and one that writes lines as it likes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self

import httpx2
from anyio.from_thread import BlockingPortal, start_blocking_portal
from mcp import Client, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, Tool

from tests.support.service import SECONDS, until

COMMAND: Final = ("-m", "policy_router.cli", "mcp")
HELLO: Final = {
    "jsonrpc": "2.0",
    "id": "hello",
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


class Session:
    """The SDK's client, which is connected."""

    def __init__(self, portal: BlockingPortal, client: Client) -> None:
        self._portal, self.client = portal, client

    def tools(self) -> dict[str, Tool]:
        listed = self._portal.call(self.client.list_tools)
        return {tool.name: tool for tool in listed.tools}

    def call(self, name: str, /, **arguments: Any) -> CallToolResult:
        result = self._portal.call(self.client.call_tool, name, arguments)
        assert isinstance(result, CallToolResult)
        return result


@contextmanager
def on_stdio(folder: Path, *words: str, mode: str = "auto") -> Iterator[Session]:
    """Start the real command, and talk to it."""
    command = StdioServerParameters(
        command=sys.executable, args=[*COMMAND, "policy.yaml", *words], cwd=folder
    )
    with start_blocking_portal() as portal:
        client = Client(stdio_client(command), mode=mode, read_timeout_seconds=SECONDS)
        with portal.wrap_async_context_manager(client) as connected:
            yield Session(portal, connected)


@contextmanager
def on_http(
    url: str, token: str | None = None, mode: str = "auto", **headers: str
) -> Iterator[Session]:
    """Talk to a service."""
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    said |= {} if token is None else {"authorization": f"Bearer {token}"}
    with start_blocking_portal() as portal:
        wire = httpx2.AsyncClient(headers=said, timeout=SECONDS)
        with portal.wrap_async_context_manager(wire) as http:
            transport = streamable_http_client(f"{url}/mcp", http_client=http)
            client = Client(transport, mode=mode, read_timeout_seconds=SECONDS)
            with portal.wrap_async_context_manager(client) as connected:
                yield Session(portal, connected)


class Lines:
    """The real command, and what is written to it line by line."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.process = subprocess.Popen(  # noqa: S603 - the words are the test's own
            [sys.executable, *COMMAND, "policy.yaml", *words],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.said: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.write(HELLO, {"jsonrpc": "2.0", "method": "notifications/initialized"})

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(json.loads(line))

    def write(self, *messages: bytes | dict[str, Any]) -> None:
        assert self.process.stdin is not None
        for it in messages:
            line = it if isinstance(it, bytes) else json.dumps(it).encode()
            self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def call(self, number: int, name: str, arguments: object) -> None:
        params = {"name": name, "arguments": arguments}
        self.write({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})

    def answer(self, number: int | str) -> dict[str, Any]:
        """Return the answer to a request, once it is there."""
        found: dict[str, Any] = until(
            lambda: next((it for it in self.said if it.get("id") == number), None),
            lambda: (self.process.poll(), self.said),
        )
        return found

    def end(self) -> str:
        """Close the input, and return what the process said on standard error."""
        assert self.process.stdin is not None
        assert self.process.stderr is not None
        self.process.stdin.close()
        self.process.wait(SECONDS)
        self._reader.join(SECONDS)
        return self.process.stderr.read().decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self._reader.join(SECONDS)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()
        self.process.wait(SECONDS)
