"""A provider on the loopback interface for the tests of hosts: it answers by what is asked.

It speaks Chat Completions and Anthropic's Messages API, streamed or not.
"""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

MOST_REQUESTS = 500
"""A host that asks more often is in a loop."""


@dataclass(frozen=True)
class Asked:
    """One request.

    Attributes:
        path: its path.
        headers: its headers, with their names in lower case.
        body: its body.
    """

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The key that it brings."""
        bearer = self.headers.get("authorization", "").removeprefix("Bearer ")
        return self.headers.get("x-api-key") or bearer

    @property
    def model(self) -> str:
        """The model that it asks for."""
        return str(self.body.get("model", ""))

    @property
    def text(self) -> str:
        """All of its conversation, as JSON."""
        return json.dumps(self.body.get("messages", self.body))


@dataclass(frozen=True)
class Said:
    """One answer.

    Attributes:
        text: what the model says.
        tools: the calls of tools: name and arguments.
        status: the HTTP status.
        breaks: whether a stream ends after its first text.
        model: what it says of itself; None is the model that was asked for.
    """

    text: str = ""
    tools: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    status: int = 200
    breaks: bool = False
    model: str | None = None


Answers = Callable[[Asked], Said]


@dataclass
class Provider:
    """A provider.

    Attributes:
        url: its address.
        answers: what it says.
        asked: what was asked, in order.
    """

    url: str
    answers: Answers
    asked: list[Asked] = field(default_factory=list)

    def keys(self) -> set[str]:
        """Return the keys that were brought."""
        return {it.key for it in self.asked}

    def models(self) -> list[str]:
        """Return the models that were asked for."""
        return [it.model for it in self.asked]


@contextmanager
def provider(answers: Answers) -> Iterator[Provider]:
    """Serve a provider, at `/v1` of a port of its own."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send(200, "application/json", b'{"object": "list", "data": []}')

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.path.partition("?")[0], headers, body)
            served.asked.append(asked)
            said = served.answers(asked) if len(served.asked) <= MOST_REQUESTS else Said(status=400)
            with suppress(BrokenPipeError, ConnectionResetError):
                self._answer(asked, said)

        def _answer(self, asked: Asked, said: Said) -> None:
            if said.status != 200:
                error = {"type": "error", "error": {"type": "api_error", "message": "told to fail"}}
                self._send(said.status, "application/json", json.dumps(error).encode())
                return
            is_message = asked.path.endswith("/messages")
            whole, events = (_message if is_message else _completion)(asked, said)
            if asked.body.get("stream"):
                content = b"".join(events)
                self._send(200, "text/event-stream", content, whole=not said.breaks)
            else:
                self._send(200, "application/json", json.dumps(whole).encode())

        def _send(self, status: int, kind: str, content: bytes, *, whole: bool = True) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content) + (0 if whole else 1)))
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = self.close_connection or not whole

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    served = Provider(f"http://127.0.0.1:{server.server_address[1]}", answers)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


# What is said, in the form of each API: whole, and as the events of a stream.

_COUNTS = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}


def _completion(asked: Asked, said: Said) -> tuple[dict[str, Any], list[bytes]]:
    calls = [
        {
            "index": place,
            "id": f"call_{place}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments)},
        }
        for place, (name, arguments) in enumerate(said.tools)
    ]
    reason = "tool_calls" if calls else "stop"
    about: dict[str, Any] = {"id": "chatcmpl-1", "created": 1, "model": said.model or asked.model}
    message: dict[str, Any] = {"role": "assistant", "content": said.text or None}
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "finish_reason": reason}
    whole = {**about, "object": "chat.completion", "choices": [choice], "usage": _COUNTS}
    deltas: list[tuple[dict[str, Any], str | None]] = [({"role": "assistant"}, None)]
    deltas += [
        ({"content": said.text[place : place + 8]}, None) for place in range(0, len(said.text), 8)
    ]
    deltas += [({"tool_calls": [call]}, None) for call in calls]
    deltas += [] if said.breaks else [({}, reason)]
    about["object"] = "chat.completion.chunk"
    events = [
        _event({**about, "choices": [{"index": 0, "delta": delta, "finish_reason": end}]})
        for delta, end in deltas
    ]
    if said.breaks:
        return whole, events
    return whole, [*events, _event({**about, "choices": [], "usage": _COUNTS}), b"data: [DONE]\n\n"]


def _message(asked: Asked, said: Said) -> tuple[dict[str, Any], list[bytes]]:
    blocks: list[dict[str, Any]] = [{"type": "text", "text": said.text}] if said.text else []
    blocks += [
        {"type": "tool_use", "id": f"toolu_{len(asked.text)}_{place}", "name": name, "input": given}
        for place, (name, given) in enumerate(said.tools)
    ]
    reason = "tool_use" if said.tools else "end_turn"
    usage = {"input_tokens": 20, "output_tokens": 5}
    about: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "stop_sequence": None,
    }
    about |= {"model": said.model or asked.model, "usage": usage}
    whole = {**about, "content": blocks, "stop_reason": reason}
    begun = {**about, "content": [], "stop_reason": None}
    events: list[tuple[str, dict[str, Any]]] = [("message_start", {"message": begun})]
    for place, block in enumerate(blocks):
        events += [(kind, {"index": place, **more}) for kind, more in _block_events(block)]
    if not said.breaks:
        delta = {"stop_reason": reason, "stop_sequence": None}
        events += [("message_delta", {"delta": delta, "usage": usage}), ("message_stop", {})]
    return whole, [_event({"type": kind, **more}, kind) for kind, more in events]


def _block_events(block: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    if block["type"] == "text":
        yield "content_block_start", {"content_block": {"type": "text", "text": ""}}
        delta = {"type": "text_delta", "text": block["text"]}
    else:
        yield "content_block_start", {"content_block": {**block, "input": {}}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
    yield "content_block_delta", {"delta": delta}
    yield "content_block_stop", {}


def _event(content: Mapping[str, Any], kind: str | None = None) -> bytes:
    head = f"event: {kind}\n" if kind else ""
    return f"{head}data: {json.dumps(content)}\n\n".encode()
