"""A provider on the loopback interface that answers each request as a test has scripted it."""

from __future__ import annotations

import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Self

Answering = Callable[["Talk"], None]

DONE = b"data: [DONE]\n\n"


class Talk:
    """One request, and the connection that it came over."""

    def __init__(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("content-length", 0))
        self.path = handler.path
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        self.content = handler.rfile.read(length)
        self.body: dict[str, Any] = json.loads(self.content)
        self.ended = threading.Event()
        self._wire = handler.wfile
        self._socket = handler.connection

    def whole(
        self,
        content: Any,
        status: int = 200,
        type_: str = "application/json",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Answer with a whole body: bytes, or plain data."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.head(status, type_, {"content-length": str(len(body)), **headers})
        self._wire.write(body)

    def stream(self, *events: Any, pause: float = 0.0, ends: bool = True) -> None:
        """Answer with events: bytes as they are, or the data of one."""
        self.head(200, "text/event-stream", {"transfer-encoding": "chunked"})
        for event in events:
            self.send(event)
            time.sleep(pause)
        if ends:
            self.end()

    def send(self, event: Any) -> None:
        """Send an event as a chunk of its own."""
        data = event if isinstance(event, bytes) else b"data: %b\n\n" % json.dumps(event).encode()
        self._wire.write(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        self._wire.write(b"0\r\n\r\n")

    def head(self, status: int, type_: str, headers: Mapping[str, str]) -> None:
        lines = [f"HTTP/1.1 {status} Said", f"content-type: {type_}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._wire.write("\r\n".join([*lines, "", ""]).encode())

    def cut(self) -> None:
        """Break the connection off."""
        self._socket.shutdown(socket.SHUT_RDWR)

    def hung_up(self) -> bool:
        """Wait until the other side has hung up."""
        self._socket.settimeout(10)
        with suppress(OSError):
            return not self._socket.recv(1)
        return False


class ScriptedProvider:
    """Answers requests as it is told to, one after the other; the last way stays."""

    def __init__(self, *script: Answering) -> None:
        self.script = list(script)
        self.talks: list[Talk] = []
        peer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                talk = Talk(self)
                peer.talks.append(talk)
                answering = peer.script.pop(0) if len(peer.script) > 1 else peer.script[0]
                try:
                    with suppress(BrokenPipeError, ConnectionResetError):
                        answering(talk)
                finally:
                    talk.ended.set()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)

    def begin(self, *script: Answering) -> None:
        """Forget what was asked, and answer in another way."""
        self.script, self.talks = list(script), []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_problem: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join(10)


def completion(text: str = "Hello.", **more: Any) -> dict[str, Any]:
    """Return an answer of Chat Completions."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m0",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15},
        **more,
    }


def chunk(text: str | None = None, reason: str | None = None, **more: Any) -> dict[str, Any]:
    """Return an event of a stream of Chat Completions."""
    delta = {} if text is None else {"content": text}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m0",
        "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
        **more,
    }


USAGE = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "m0",
    "choices": [],
    "usage": {"prompt_tokens": 12, "completion_tokens": 2, "total_tokens": 14},
}
"""The last event of a stream that tells its usage."""


def response(id_: str = "resp_1", **more: Any) -> dict[str, Any]:
    """Return an answer of the Responses API."""
    return {
        "id": id_,
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": "m4",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "output": [
            {
                "type": "message",
                "id": "msg_1",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Hello.", "annotations": []}],
            }
        ],
        "usage": {
            "input_tokens": 20,
            "input_tokens_details": {"cached_tokens": 5},
            "output_tokens": 4,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 24,
        },
        **more,
    }


def response_events(id_: str = "resp_1") -> list[bytes]:
    """Return the events of a stream of the Responses API."""
    begun = response(id_, status="in_progress", output=[], usage=None)
    delta: dict[str, Any] = {
        "type": "response.output_text.delta",
        "item_id": "msg_1",
        "output_index": 0,
        "content_index": 0,
        "delta": "Hello.",
        "logprobs": [],
    }
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        delta,
        {"type": "response.completed", "response": response(id_)},
    ]
    return [
        b"event: %b\ndata: %b\n\n"
        % (str(event["type"]).encode(), json.dumps({**event, "sequence_number": place}).encode())
        for place, event in enumerate(events)
    ]


def message(**more: Any) -> dict[str, Any]:
    """Return an answer of Anthropic's Messages API."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m9",
        "content": [{"type": "text", "text": "Hello."}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 30, "output_tokens": 4},
        **more,
    }


def message_events() -> list[bytes]:
    """Return the events of a stream of Anthropic's Messages API."""
    begun = message(content=[], stop_reason=None)
    begun["usage"] = {"input_tokens": 10, "cache_read_input_tokens": 30, "output_tokens": 1}
    text = {"type": "text_delta", "text": "Hello."}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": begun},
        {"type": "ping"},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": text},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 4},
        },
        {"type": "message_stop"},
    ]
    return [
        b"event: %b\ndata: %b\n\n" % (str(it["type"]).encode(), json.dumps(it).encode())
        for it in events
    ]
