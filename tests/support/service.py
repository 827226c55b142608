"""The real service, in a process of its own, at a port of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import httpx

from policy_router.errors import LogError
from policy_router.log import LogReader
from policy_router.log.read.reading import Line

SECONDS = 45.0
"""How long anything may take on a busy machine."""
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""What clients of plain HTTP are given, since the usual certificates take long to read."""


class Service:
    """A process that serves a policy, until the end of a ``with``."""

    def __init__(
        self,
        folder: Path,
        *words: str,
        policy: str = "policy.yaml",
        listen: str = "127.0.0.1:0",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        command = [sys.executable, "-m", "policy_router.cli", "serve", policy]
        self.process = subprocess.Popen(  # noqa: S603 - the words are the test's own
            [*command, "--listen", listen, *words],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = self._started()
        self.clients: list[httpx.Client] = []

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line.rstrip("\n"))

    def _started(self) -> str:
        def place() -> str | None:
            served = [line for line in self.said if " is served at " in line]
            return served[0].partition(" is served at ")[2] if served else None

        return str(until(place, lambda: f"{self.process.poll()}: {self.said}"))

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.rpartition("/")[2].rpartition(":")
        return host, int(port)

    def client(self, token: str | None = None, **options: Any) -> httpx.Client:
        """Return a client, which is closed with the service."""
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        made = httpx.Client(
            base_url=self.url, headers=headers, timeout=SECONDS, verify=PLAIN, **options
        )
        self.clients.append(made)
        return made

    def raw(self, content: bytes, *, shuts: bool = False) -> bytes:
        """Send bytes over a connection of their own, and return all that comes back."""
        with socket.create_connection(self.address, timeout=SECONDS) as link:
            link.sendall(content)
            if shuts:
                link.shutdown(socket.SHUT_WR)
            parts = []
            while part := link.recv(65536):
                parts.append(part)
            return b"".join(parts)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End the process, and return its exit code."""
        for client in self.clients:
            client.close()
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(SECONDS)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self._reader.join(SECONDS)
            assert self.process.stderr is not None
            self.process.stderr.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_problem: object) -> None:
        self.stop()


def until(found: Callable[[], Any], otherwise: Callable[[], object] = lambda: "") -> Any:
    """Return what is found once it is, but wait for it no longer than :data:`SECONDS`."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        value = found()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"it did not come in {SECONDS:g} seconds: {otherwise()}")


def problem(answer: httpx.Response) -> dict[str, Any]:
    """Return the problem that an answer says."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    said: dict[str, Any] = json.loads(answer.content)
    assert said["status"] == answer.status_code
    return said


def lines_of(log: Path) -> list[Line]:
    """Return the lines of a service's log, which begins with the first decision."""
    try:
        return list(LogReader(log).lines())
    except LogError:
        return []
