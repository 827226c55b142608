"""``python -m benchmarks.service``: the service over real sockets, with tokens and metrics on.

The server runs in a process of its own on one core, the clients in this one on another. What it
costs is told as CPU of the server's process a request, since what is reached in a second depends on
who else uses the machine; beside it stands ``/livez``, which decides nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvloop

from benchmarks import peer_cerbos
from benchmarks.workload import SIZES, policy_text, requests, selecting

CONNECTIONS = 64
_STEADY_A_SECOND = 2000
_RELOADS = 5


class _Client(asyncio.Protocol):
    """A connection that asks, and asks again when it has its answer."""

    def __init__(self, run: _Run) -> None:
        self.run, self.rest, self.began = run, b"", 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self.transport: Any = transport
        self.run.free.append(self)

    def ask(self, content: bytes) -> None:
        """Send a request."""
        self.began = time.perf_counter()
        self.transport.write(content)

    def data_received(self, data: bytes) -> None:
        """Take an answer in."""
        self.rest += data
        head, end, body = self.rest.partition(b"\r\n\r\n")
        length = (
            int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0) if end else 0
        )
        whole = body.endswith(b"0\r\n\r\n") if b"chunked" in head.lower() else len(body) >= length
        if end and whole:
            self.run.answered(self, head, time.perf_counter() - self.began)
            self.rest = b""

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that it was closed before it should be."""
        self.run.lost += exc is not None


def _is_whole(head: bytes, body: bytes) -> bool:
    if b"chunked" in head:
        return body.endswith(b"0\r\n\r\n")
    return len(body) >= int(head.partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)


class _Run:
    """What was answered in a time."""

    def __init__(self, contents: list[bytes], seconds: float, a_second: int | None) -> None:
        self.contents = itertools.cycle(contents)
        self.seconds, self.a_second = seconds, a_second
        self.free: list[_Client] = []
        self.times: list[tuple[float, float]] = []
        self.bad = self.lost = 0
        self.end = 0.0

    def answered(self, client: _Client, head: bytes, seconds: float) -> None:
        """Count an answer, and let its connection ask again."""
        now = time.perf_counter()
        self.times.append((now, seconds))
        self.bad += not head.startswith(b"HTTP/1.1 200")
        if self.a_second is None and now < self.end:
            client.ask(next(self.contents))
        else:
            self.free.append(client)

    async def go(self, address: tuple[str, int]) -> None:
        """Ask for so long, as often as there are answers, or so often in a second."""
        loop = asyncio.get_running_loop()
        clients = []
        for _ in range(CONNECTIONS):
            _, client = await loop.create_connection(lambda: _Client(self), *address)
            clients.append(client)
        began = time.perf_counter()
        self.end = began + self.seconds
        if self.a_second is None:
            busy, self.free = self.free, []
            for client in busy:
                client.ask(next(self.contents))
        due = began
        while time.perf_counter() < self.end:
            while self.a_second is not None and due <= time.perf_counter() and self.free:
                self.free.pop().ask(next(self.contents))
                due += 1 / self.a_second
            await asyncio.sleep(0.0002)
        await asyncio.sleep(0.2)
        for client in clients:
            client.transport.close()

    def report(self) -> dict[str, Any]:
        """Return what came of it; times are milliseconds."""
        taken = sorted(seconds * 1000 for _, seconds in self.times)
        quantiles = statistics.quantiles(taken, n=1000)
        found = {"p50": quantiles[499], "p99": quantiles[989], "most": taken[-1]}
        rounded = {name: round(value, 2) for name, value in found.items()}
        a_second = round(len(taken) / self.seconds)
        return {"a_second": a_second, "ms": rounded, "bad": self.bad, "lost": self.lost}


class _Server:
    """A service that was started."""

    def __init__(self, folder: Path, process: subprocess.Popen[Any], token: str) -> None:
        self.folder, self.process, self.token = folder, process, token
        self.address = ("127.0.0.1", 0)

    def head(self, path: str, body: bytes) -> bytes:
        """Return a request."""
        method = b"POST" if body else b"GET"
        lines = (
            b"%b %b HTTP/1.1" % (method, path.encode()),
            b"Host: localhost",
            b"Authorization: Bearer " + self.token.encode(),
            b"Content-Type: application/json",
            b"Content-Length: %d" % len(body),
        )
        return b"\r\n".join(lines) + b"\r\n\r\n" + body

    def cpu(self) -> float:
        """Return the seconds of CPU that it has used."""
        text = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(text[11]) + int(text[12])) / os.sysconf("SC_CLK_TCK")

    def megabytes(self) -> float:
        """Return the memory that it has."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        (size,) = (line.split()[1] for line in lines if line.startswith("VmRSS"))
        return round(int(size) / 1024, 1)


@contextmanager
def _served(folder: Path, size: int, *words: str, core: int | None = 0) -> Iterator[_Server]:
    (folder / "policy.yaml").write_text(policy_text(size))
    ours = [sys.executable, "-m", "policy_router.cli"]
    token = subprocess.run(
        [*ours, "token", "new", "--id", "ada", "--role", "admin", "-q"],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    command = [*ours, "serve", "policy.yaml", "--tokens", "tokens.jsonl"]
    command += ["--listen", "127.0.0.1:0", *words]
    pinned = command if core is None else ["taskset", "-c", str(core), *command]
    process = subprocess.Popen(pinned, cwd=folder, stderr=subprocess.PIPE, text=True)
    server = _Server(folder, process, token)
    try:
        lines = iter(process.stderr or ())
        said = next(line for line in lines if " is served at " in line)
        server.address = ("127.0.0.1", int(said.rpartition(":")[2]))
        yield server
    finally:
        process.terminate()
        process.communicate()


def _run(server: _Server, contents: list[bytes], seconds: float, a_second: int | None) -> Any:
    run, before = _Run(contents, seconds, a_second), server.cpu()
    uvloop.run(run.go(server.address))
    spent = server.cpu() - before
    return {**run.report(), "cpu_us": round(spent / max(1, len(run.times)) * 1e6)}


def _throughput(seconds: float) -> dict[str, Any]:
    """Return what a worker answers, by the size of the pool, the request and the log."""
    found: dict[str, Any] = {}
    for size in SIZES:
        for words in ((), ("--log", "decisions")):
            with tempfile.TemporaryDirectory() as folder, _served(Path(folder), size, *words) as it:
                rows = {"null": [it.head("/livez", b"")]}
                for name, request in requests(size).items():
                    rows[name] = [it.head("/v1/decide", json.dumps(request).encode())]
                logged = "logged" if words else "not logged"
                for name, contents in rows.items():
                    found[f"{size} entries, {logged}, {name}"] = _run(it, contents, seconds, None)
    return found


def _peer(binary: str, size: int, seconds: float) -> dict[str, Any]:
    """Return what Cerbos and a worker cost on the same rules, in turns."""
    found: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        peer_cerbos.served(binary, Path(folder), size, core=0) as process,
        _served(Path(folder), size) as ours,
    ):
        peer = _Server(Path(folder), process, "none")
        peer.address = peer_cerbos.ADDRESS
        asked = {name: json.dumps(it).encode() for name, it in selecting(size).items()}
        for name, body in peer_cerbos.bodies(size).items():
            cerbos = _run(peer, [peer.head(peer_cerbos.PATH, body)], seconds, None)
            here = _run(ours, [ours.head("/v1/decide", asked[name])], seconds, None)
            times = round(cerbos["cpu_us"] / here["cpu_us"], 1)
            found[name] = {"cerbos": cerbos, "ours": here, "times": times}
    return found


def _steady(seconds: float) -> dict[str, Any]:
    """Return the times of a steady load, beside those of what decides nothing."""
    found = {}
    with tempfile.TemporaryDirectory() as folder, _served(Path(folder), SIZES[1]) as it:
        for name, path, body in (("null", "/livez", b""), ("decide", "/v1/decide", b"{}")):
            found[name] = _run(it, [it.head(path, body)], seconds, _STEADY_A_SECOND)
    return found


def _reloads(size: int) -> dict[str, Any]:
    """Return the longest answer while a policy is loaded again, and while it is not."""
    with tempfile.TemporaryDirectory() as folder, _served(Path(folder), size, core=None) as it:
        policy = it.folder / "policy.yaml"
        texts = [policy.read_text(), policy.read_text().replace("model-3", "model-three")]
        before = _run(it, [it.head("/v1/decide", b"{}")], 5, _STEADY_A_SECOND // 4)
        for number, text in enumerate(texts):
            (it.folder / f"text-{number}").write_text(text)
        command = [sys.executable, "-c", _CHANGE, str(it.folder), str(_RELOADS)]
        with subprocess.Popen(command):
            during = _run(it, [it.head("/v1/decide", b"{}")], 2.5 * _RELOADS, 500)
        return {"quiet": before, "reloading": during}


_CHANGE = """
import pathlib, sys, time
folder, times = pathlib.Path(sys.argv[1]), int(sys.argv[2])
for number in range(times):
    new = folder / "new"
    new.write_text((folder / f"text-{(number + 1) % 2}").read_text())
    new.rename(folder / "policy.yaml")
    time.sleep(2.5)
"""


def _life(decisions: int, idle: int) -> dict[str, Any]:
    """Return the start, and the memory: new, after many decisions, and with idle connections."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, _served(Path(folder), SIZES[1], core=None) as it:
        found: dict[str, Any] = {"start_seconds": round(time.monotonic() - began, 2)}
        found["new_mb"] = it.megabytes()
        body = json.dumps({"requests": [{"task": {"kind": "coding"}}] * 1000}).encode()
        asked, made = it.head("/v1/decide/batch", body), 0
        with socket.create_connection(it.address) as link:
            while made < decisions:
                link.sendall(asked)
                made += _one_answer(link).count(b'"decision_id"')
        found |= {"decisions": made, "after_mb": it.megabytes()}
        links = [socket.create_connection(it.address) for _ in range(idle)]
        found |= {"idle": len(links), "idle_mb": it.megabytes()}
        for link in links:
            link.close()
        return found


def _one_answer(link: socket.socket) -> bytes:
    """Return the body of the next answer."""
    rest, end = b"", b""
    while not end:
        rest += link.recv(1 << 20)
        head, end, body = rest.partition(b"\r\n\r\n")
    length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += link.recv(1 << 20)
    return body


def main() -> None:
    """Measure what is asked for, and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", help="throughput, steady, reload or life; all")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--decisions", type=int, default=1_000_000)
    parser.add_argument("--idle", type=int, default=10_000)
    parser.add_argument("--cerbos", help="the binary of Cerbos, to measure it beside a worker")
    options = parser.parse_args()
    what = options.what or ([] if options.cerbos else ["throughput", "steady", "reload", "life"])
    found: dict[str, Any] = {"load": [round(it, 1) for it in os.getloadavg()]}
    if "throughput" in what:
        found["throughput"] = _throughput(options.seconds)
    if options.cerbos:
        found["cerbos"] = {size: _peer(options.cerbos, size, options.seconds) for size in SIZES[:2]}
    if "steady" in what:
        found["steady"] = _steady(options.seconds)
    if "reload" in what:
        found["reload"] = {size: _reloads(size) for size in SIZES[1:]}
    if "life" in what:
        found["life"] = _life(options.decisions, options.idle)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
