"""``python -m benchmarks.gateway``: the gateway beside a direct call, and LiteLLM's proxy.

A provider in a process of its own answers at once, or streams events at a steady pace. The service
runs with a token, a log and one worker. ``--litellm PATH`` names the command of LiteLLM's proxy
(``pip install 'litellm[proxy]'``, in an environment of its own).

CPU is that of the process that forwards. Times of one call include the client; what the gateway
adds is the difference to the direct call of the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import uvloop

_CALLS: Final = 300
_EVENTS: Final = 300
_PAUSE: Final = 0.01
_STREAMS: Final = 20
_AT_ONCE: Final = 200
_SECONDS: Final = 60.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_KEY: Final = "key-of-the-benchmark-0123456789"


# The provider.


def _event(number: int) -> bytes:
    choice = {"index": 0, "delta": {"content": f"word {number} "}, "finish_reason": None}
    return _data({"choices": [choice], "usage": None})


def _data(content: dict[str, Any]) -> bytes:
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m0"}
    data = b"data: %b\n\n" % json.dumps({**head, **content}).encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


_USAGE: Final = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
_LAST: Final = (
    _data({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": None})
    + _data({"choices": [], "usage": _USAGE})
    + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
)
_WHOLE: Final = json.dumps(
    {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "m0",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello. " * 50},
                "finish_reason": "stop",
            }
        ],
        "usage": _USAGE,
    }
).encode()


async def _provide(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the calls of a connection; a message says how many events there are, how far apart."""
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
            body = json.loads(await reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            return
        if not body.get("stream"):
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
            writer.write(head + b"content-length: %d\r\n\r\n%b" % (len(_WHOLE), _WHOLE))
            continue
        events, pause = json.loads(body["messages"][0]["content"])
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        for number in range(events):
            writer.write(_event(number))
            if pause:
                await asyncio.sleep(pause)
            else:
                await writer.drain()
        writer.write(_LAST)


async def _serve_provider(port: int) -> None:
    server = await asyncio.start_server(_provide, "127.0.0.1", port, backlog=1000)
    async with server:
        await server.serve_forever()


# The client.


class Call:
    """One call over a connection of its own or a kept one: its times, and what came."""

    def __init__(self, place: Place, *, events: int | None = None, pause: float = 0.0) -> None:
        """Prepare a call; it is streamed where events are wanted."""
        said = "Say hello." if events is None else json.dumps([events, pause])
        body: dict[str, Any] = {"model": place.model}
        body["messages"] = [{"role": "user", "content": said}]
        if events is not None:
            body["stream"] = True
        content = json.dumps(body).encode()
        head = f"POST {place.path} HTTP/1.1\r\nhost: localhost\r\n"
        head += f"authorization: Bearer {place.key}\r\ncontent-type: application/json\r\n"
        self.content = f"{head}content-length: {len(content)}\r\n\r\n".encode() + content
        self.is_streamed = events is not None
        self.first = self.whole = 0.0
        self.size = 0

    async def make(self, link: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        """Make the call."""
        reader, writer = link
        began = time.perf_counter()
        writer.write(self.content)
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head[:20]:
            raise RuntimeError(head.decode() + (await reader.read(2000)).decode())
        lower = head.lower()
        if b"content-length: " in lower:
            length = int(lower.partition(b"content-length: ")[2].split(b"\r\n")[0])
            self.first = time.perf_counter() - began
            self.size = len(await reader.readexactly(length))
        else:
            tail = b""
            while not tail.endswith(b"0\r\n\r\n"):
                piece = await reader.read(65536)
                if not piece:
                    raise RuntimeError("the answer is not whole")
                self.first = self.first or time.perf_counter() - began
                self.size += len(piece)
                tail = (tail + piece)[-16:]
        self.whole = time.perf_counter() - began


class Place:
    """Where calls go.

    Attributes:
        name: how it is called in the report.
        port: its port.
        path: the path of chat completions.
        key: the key that it takes.
        model: the model that is asked for.
        process: the process that forwards; None where nobody does.
    """

    def __init__(
        self,
        name: str,
        port: int,
        *,
        path: str = "/v1/chat/completions",
        key: str = _KEY,
        model: str = "m0",
        process: int | None = None,
    ) -> None:
        """Name a place."""
        self.name, self.port, self.path = name, port, path
        self.key, self.model, self.process = key, model, process

    async def link(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a connection."""
        return await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)

    def cpu(self) -> float:
        """Return the seconds of CPU that its process has used."""
        fields = Path(f"/proc/{self.process}/stat").read_text("utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def megabytes(self) -> float:
        """Return the memory that its process has."""
        lines = Path(f"/proc/{self.process}/status").read_text("utf-8").splitlines()
        resident = next(line for line in lines if line.startswith("VmRSS"))
        return int(resident.split()[1]) / 1024


# What is measured.


async def one_after_the_other(places: list[Place], *, streams: bool) -> dict[str, list[float]]:
    """Return the milliseconds until the first byte of calls, the places by turns."""
    links = {place.name: await place.link() for place in places}
    found: dict[str, list[float]] = {place.name: [] for place in places}
    for number in range(_CALLS):
        for place in places:
            call = Call(place, events=3 if streams else None)
            await call.make(links[place.name])
            if number >= _CALLS // 10:  # the first ones warm it up
                found[place.name].append(call.first * 1000)
    for _, writer in links.values():
        writer.close()
    return found


async def cpu_of_events(place: Place, streams: int, events: int) -> float:
    """Return the microseconds of CPU that a paced event costs the process that forwards."""
    links = [await place.link() for _ in range(streams)]
    warm = [Call(place, events=5).make(link) for link in links]
    await asyncio.gather(*warm)
    idle = [Call(place, events=0).make(link) for link in links]
    before = place.cpu()
    await asyncio.gather(*idle)
    of_calls = place.cpu() - before
    before = place.cpu()
    calls = [Call(place, events=events, pause=_PAUSE).make(link) for link in links]
    await asyncio.gather(*calls)
    taken = place.cpu() - before - of_calls
    for _, writer in links:
        writer.close()
    return taken / (streams * events) * 1e6


async def memory_of_streams(place: Place) -> tuple[float, float, float]:
    """Return the megabytes before many streams, and at a quarter and at the end of them."""
    links = [await place.link() for _ in range(_AT_ONCE)]
    await asyncio.gather(*(Call(place, events=5).make(link) for link in links))
    before = place.megabytes()
    pause, events = 0.1, 100
    calls = [Call(place, events=events, pause=pause).make(link) for link in links]
    running = asyncio.gather(*calls)
    await asyncio.sleep(pause * events / 4)
    early = place.megabytes()
    await asyncio.sleep(pause * events / 2)
    late = place.megabytes()
    await running
    for _, writer in links:
        writer.close()
    return before, early, late


async def at_once(place: Place, concurrency: int, *, streams: bool) -> dict[str, float]:
    """Return how many calls are answered in a second, their times, and their CPU."""
    links = [await place.link() for _ in range(concurrency)]
    times: list[float] = []
    left = iter(range(_CALLS if concurrency == 1 else 3 * _CALLS))

    async def ask(link: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        for _ in left:
            call = Call(place, events=20 if streams else None)
            await call.make(link)
            times.append(call.whole * 1000)

    await asyncio.gather(*(Call(place).make(link) for link in links))
    cpu, began = place.cpu(), time.perf_counter()
    await asyncio.gather(*map(ask, links))
    took, cpu = time.perf_counter() - began, place.cpu() - cpu
    for _, writer in links:
        writer.close()
    return {
        "a second": len(times) / took,
        "median ms": statistics.median(times),
        "p99 ms": statistics.quantiles(times, n=100)[98],
        "CPU ms a call": cpu / len(times) * 1000,
    }


# What runs.


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("a process does not listen")


@contextmanager
def _running(command: list[str], port: int, folder: str, **more: str) -> Iterator[int]:
    environment = {**os.environ, **more}  # noqa: TID251 - a benchmark sets up what it starts
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(port, process)
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def provider() -> Iterator[Place]:
    """Run the provider."""
    port = _free_port()
    here = str(Path(__file__).parents[1])
    command = [sys.executable, "-m", "benchmarks.gateway", "--provider", str(port)]
    with _running(command, port, here) as process:
        yield Place("directly", port, process=process)


@contextmanager
def gateway(direct: Place, folder: str) -> Iterator[Place]:
    """Run the service, with a token and a log."""
    policy = {
        "version": 1,
        "providers": {
            "near": {
                "base_url": f"http://127.0.0.1:{direct.port}/v1",
                "api_key": "env:NEAR_KEY",
            }
        },
        "pool": [
            {"name": f"m{number}", "model": f"m{number}", "provider": "near"}
            for number in range(50)
        ],
    }
    Path(folder, "policy.yaml").write_text(json.dumps(policy), encoding="utf-8")
    cli = [sys.executable, "-m", "policy_router.cli"]
    words = ["token", "new", "--tokens", "tokens", "--id", "ada"]
    token = subprocess.run([*cli, *words], cwd=folder, capture_output=True, text=True, check=True)
    port = _free_port()
    serve = ["serve", "policy.yaml", "--run", "--tokens", "tokens", "--log", "log", "-q"]
    command = [*cli, *serve, "--listen", f"127.0.0.1:{port}"]
    with _running(command, port, folder, NEAR_KEY=_KEY) as process:
        yield Place("gateway", port, key=token.stdout.strip(), process=process)


@contextmanager
def litellm(direct: Place, folder: str, command: str) -> Iterator[Place]:
    """Run LiteLLM's proxy, with the same model and a key, and nothing else."""
    parameters = {
        "model": "openai/m0",
        "api_base": f"http://127.0.0.1:{direct.port}/v1",
        "api_key": _KEY,
    }
    config = {
        "model_list": [{"model_name": "m0", "litellm_params": parameters}],
        "general_settings": {"master_key": "sk-benchmark"},
    }
    Path(folder, "litellm.yaml").write_text(json.dumps(config), encoding="utf-8")
    port = _free_port()
    words = [command, "--config", "litellm.yaml", "--host", "127.0.0.1", "--port", str(port)]
    with _running([*words, "--num_workers", "1"], port, folder, LITELLM_LOG="ERROR") as process:
        time.sleep(3)
        yield Place("LiteLLM", port, key="sk-benchmark", process=process)


async def _measure(direct: Place, routed: Place, peer: Place | None) -> None:
    print(f"{'until the first byte, ms':<34}{'median':>9}{'p90':>9}")
    for streams in (False, True):
        places = [direct, routed, *([peer] if peer else [])]
        found = await one_after_the_other(places, streams=streams)
        for name, times in found.items():
            what = f"{name}, {'streamed' if streams else 'whole'}"
            tenths = statistics.quantiles(times, n=10)
            print(f"{what:<34}{statistics.median(times):>9.2f}{tenths[8]:>9.2f}")
    print(f"\n{'CPU of a paced event, µs':<34}{'1 stream':>9}{_STREAMS:>9}")
    for place in [routed, *([peer] if peer else [])]:
        one = await cpu_of_events(place, 1, 2 * _EVENTS)
        many = await cpu_of_events(place, _STREAMS, _EVENTS)
        print(f"{place.name:<34}{one:>9.0f}{many:>9.0f}")
    before, early, late = await memory_of_streams(routed)
    print(f"\n{_AT_ONCE} streams at once, MB: {before:.1f} before, {early:.1f}, then {late:.1f}")
    for streams in (False, True):
        print(f"\n{'streams of 20 events' if streams else 'whole answers'}")
        for concurrency in (1, 16):
            for place in [direct, routed, *([peer] if peer else [])]:
                found_at_once = await at_once(place, concurrency, streams=streams)
                figures = "".join(f"{value:>12.2f} {key}" for key, value in found_at_once.items())
                print(f"{place.name:<12}{concurrency:>3} at once{figures}")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--litellm", metavar="PATH", help="the command of LiteLLM's proxy")
    parser.add_argument("--provider", metavar="PORT", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.provider is not None:
        uvloop.run(_serve_provider(options.provider))
        return
    with ExitStack() as running:
        folder = running.enter_context(tempfile.TemporaryDirectory())
        direct = running.enter_context(provider())
        routed = running.enter_context(gateway(direct, folder))
        peer = None
        if options.litellm is not None:
            peer = running.enter_context(litellm(direct, folder, options.litellm))
        uvloop.run(_measure(direct, routed, peer))


if __name__ == "__main__":
    main()
