"""A provider on the loopback interface that does whatever a provider ever did, or might.

The model of a request names the behaviour: see :data:`BEHAVIOURS`. It speaks HTTP by hand, over
sockets of its own, since no server would send what some of them do.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

Answer = Callable[["Line"], None]

TICK: Final = 0.02
"""Seconds between two bytes or events of those that never end."""
ENDLESS: Final = 60.0
"""Seconds after which even these end, so that no thread outlives the tests."""


class Line:
    """The connection of one request."""

    def __init__(self, connection: socket.socket, head: bytes, body: dict[str, Any]) -> None:
        self.connection, self.body = connection, body
        rows = [line.partition(": ") for line in head.decode("latin-1").split("\r\n")[1:]]
        self.headers = {name.lower(): value for name, _, value in rows}

    @property
    def streams(self) -> bool:
        return bool(self.body.get("stream"))

    def send(self, content: bytes) -> None:
        self.connection.sendall(content)

    def head(self, status: int = 200, length: int | None = None, /, **headers: str) -> None:
        """Send a status and headers; without a length, the body ends with the connection."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if length is not None:
            named["content-length"] = str(length)
        else:
            named["connection"] = "close"
        lines = [f"HTTP/1.1 {status} S", *(f"{name}: {value}" for name, value in named.items())]
        self.send("\r\n".join([*lines, "", ""]).encode())

    def whole(self, content: bytes, status: int = 200, /, **headers: str) -> None:
        self.head(status, len(content), **{"content_type": "application/json", **headers})
        self.send(content)

    def say(self, body: Any, status: int = 200, /, **headers: str) -> None:
        self.whole(json.dumps(body).encode(), status, **headers)

    def events(self, *events: Any) -> None:
        """Send a stream of events, and close; bytes are put as they are."""
        self.head(content_type="text/event-stream")
        self.send(sse(*events))

    def for_ever(self, content: bytes) -> None:
        """Send something again and again, until the other side has enough."""
        end = time.monotonic() + ENDLESS
        while time.monotonic() < end:
            self.send(content)
            if self.is_left_within(TICK):
                return

    def rest(self) -> None:
        """Send nothing more, until the other side has enough."""
        self.is_left_within(ENDLESS)

    def is_left_within(self, seconds: float) -> bool:
        """Wait, and tell whether the other side hung up."""
        ready, _, _ = select.select([self.connection], [], [], seconds)
        return bool(ready) and not self.connection.recv(1, socket.MSG_PEEK)


def sse(*events: Any) -> bytes:
    """Return events as they are streamed."""
    lines = [it if isinstance(it, bytes) else json.dumps(it).encode() for it in events]
    return b"".join(b"data: " + line + b"\n\n" for line in lines)


USAGE: Final = {"prompt_tokens": 5, "completion_tokens": 7}


def message(content: Any = "pong", reason: Any = "stop", **more: Any) -> dict[str, Any]:
    """Return a whole completion."""
    choice = {"index": 0, "finish_reason": reason, "message": {"role": "assistant"}}
    choice["message"] |= {"content": content, **more.pop("message", {})}
    return {"id": "x", "model": "m", "choices": [choice], "usage": USAGE, **more}


def chunk(content: Any = None, reason: Any = None, **more: Any) -> dict[str, Any]:
    """Return an event of a streamed completion."""
    delta = {} if content is None else {"content": content}
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}], **more}


def packed(megabytes: int, start: bytes = b"", part: bytes = b" ") -> bytes:
    """Return so many megabytes in a thousandth, packed as raw ``deflate``.

    After a full flush a block stands for itself, so that one can be repeated.
    """
    packing = zlib.compressobj(9, wbits=-15)
    first = packing.compress(start) + packing.flush(zlib.Z_FULL_FLUSH)
    million = part * (1_000_000 // len(part))
    block = packing.compress(million) + packing.flush(zlib.Z_FULL_FLUSH)
    return first + block * megabytes + packing.flush()


def gzipped(megabytes: int, start: bytes = b"", part: bytes = b" ") -> bytes:
    """Return the same as a file of gzip, whose check at its end is wrong."""
    return b"\x1f\x8b\x08" + bytes(7) + packed(megabytes, start, part) + bytes(8)


# --- Behaviours -----------------------------------------------------------------------------------


class Expected(NamedTuple):
    """What comes of a behaviour: a text, or the code of a failure, in both forms of a call."""

    whole: str
    streamed: str


BEHAVIOURS: Final[dict[str, Answer]] = {}
EXPECTED: Final[dict[str, Expected]] = {}
"""What comes of each behaviour: the text ``pong``, or a code; whole, and streamed."""
ENDLESS_ERRORS: Final = frozenset({"error-for-ever", "error-text-for-ever"})


def is_endless(name: str) -> bool:
    """Tell whether only a limit of the caller's ends a behaviour."""
    return "timeout" in EXPECTED[name] or name in ENDLESS_ERRORS


def behaves(name: str, whole: str, streamed: str | None = None) -> Callable[[Answer], Answer]:
    """Register a behaviour under its name, and what comes of it."""

    def register(answer: Answer) -> Answer:
        BEHAVIOURS[name] = answer
        EXPECTED[name] = Expected(whole, whole if streamed is None else streamed)
        return answer

    return register


@behaves("right", "pong")
def _right(line: Line) -> None:
    if line.streams:
        line.events(chunk("po"), chunk("ng"), chunk(reason="stop"), b"[DONE]")
    else:
        line.say(message())


def _whole(name: str, expected: str, *args: Any, **headers: str) -> None:
    """Add a behaviour that answers whole, whatever was asked for."""
    behaves(name, expected)(lambda line: line.say(*args, **headers))


def _raw(name: str, expected: str, content: bytes | Callable[[], bytes], **headers: str) -> None:
    def answer(line: Line) -> None:
        line.whole(content() if callable(content) else content, **headers)

    behaves(name, expected)(answer)


def _streamed(name: str, expected: str, *events: Any) -> None:
    """Add a behaviour that streams, whatever was asked for."""
    behaves(name, expected)(lambda line: line.events(*events))


def _endless(name: str, expected: str, content: bytes, begun: bytes = b"", /, **head: str) -> None:
    def answer(line: Line) -> None:
        line.head(**head)
        line.send(begun)
        line.for_ever(content)

    behaves(name, expected)(answer)


# Slow and endless.

_STREAM: Final = {"content_type": "text/event-stream"}
_JSON: Final = {"content_type": "application/json"}


@behaves("silent", "timeout")
def _silent(line: Line) -> None:
    line.rest()


@behaves("headers-for-ever", "timeout")
def _headers_for_ever(line: Line) -> None:
    line.send(b"HTTP/1.1 200 OK\r\nx-slow: ")
    line.for_ever(b"a")


@behaves("status-line-for-ever", "timeout")
def _status_line_for_ever(line: Line) -> None:
    line.send(b"HTTP/1.1 200 ")
    line.for_ever(b"O")


@behaves("continue-for-ever", "timeout")
def _continue_for_ever(line: Line) -> None:
    line.for_ever(b"HTTP/1.1 100 Continue\r\n\r\n")


@behaves("headers-then-silence", "timeout")
def _headers_then_silence(line: Line) -> None:
    line.head(**_JSON)
    line.rest()


@behaves("error-for-ever", "server_error")
def _error_for_ever(line: Line) -> None:
    line.head(503, **_JSON)
    line.for_ever(b" ")


@behaves("error-text-for-ever", "server_error")
def _error_text_for_ever(line: Line) -> None:
    line.head(503, content_type="text/plain")
    line.for_ever(b"so sorry ")


_endless("body-for-ever", "timeout", b"a", b'{"choices": [{"message": {"content": "', **_JSON)
_endless("spaces-for-ever", "timeout", b" ", **_JSON)
_endless("lines-for-ever", "timeout", b"\n", **_STREAM)
_endless("comments-for-ever", "timeout", b": still here\n\n", **_STREAM)
_endless("comment-for-ever", "timeout", b"x", b": ", **_STREAM)
_endless("pings-for-ever", "timeout", b"event: ping\n\n", **_STREAM)
_endless("empty-deltas-for-ever", "timeout", sse(chunk("")), **_STREAM)
_endless("no-deltas-for-ever", "timeout", sse(chunk()), **_STREAM)
_endless("roles-for-ever", "timeout", sse(chunk(role="assistant")), **_STREAM)
_endless("no-choices-for-ever", "timeout", sse({"choices": []}), **_STREAM)
_endless("same-usage-for-ever", "timeout", sse({"choices": [], "usage": USAGE}), **_STREAM)
_endless("text-for-ever", "timeout", sse(chunk("po")), **_STREAM)
_endless("thoughts-for-ever", "timeout",
         sse({"choices": [{"delta": {"reasoning_content": "hm"}}]}), **_STREAM)  # fmt: skip
_endless("event-for-ever", "timeout", b"a", b'data: {"choices": "', **_STREAM)
_endless("text-then-comments", "timeout", b": still here\n\n", sse(chunk("po")), **_STREAM)
_endless("text-then-empty-deltas", "timeout", sse(chunk("")), sse(chunk("po")), **_STREAM)
_endless("packed-for-ever", "timeout", packed(0)[:5],
         content_encoding="deflate", **_JSON)  # fmt: skip


@behaves("finished-not-closed", "pong")
def _finished_not_closed(line: Line) -> None:
    line.head(**_STREAM)
    line.send(sse(chunk("pong"), chunk(reason="stop"), b"[DONE]"))
    line.rest()


@behaves("finished-comments", "pong")
def _finished_comments(line: Line) -> None:
    line.head(**_STREAM)
    line.send(sse(chunk("pong"), chunk(reason="stop")))
    line.for_ever(b": bye\n\n")


@behaves("whole-not-closed", "pong")
def _whole_not_closed(line: Line) -> None:
    line.head(**_JSON)
    line.send(json.dumps(message()).encode())
    line.rest()


@behaves("whole-then-spaces", "pong")
def _whole_then_spaces(line: Line) -> None:
    line.head(**_JSON)
    line.send(json.dumps(message()).encode())
    line.for_ever(b" ")


@behaves("spaces-then-whole", "pong")
def _spaces_then_whole(line: Line) -> None:
    line.head(**_JSON)
    for _ in range(5):
        line.send(b"\n")
        time.sleep(TICK)
    line.send(json.dumps(message()).encode())


# Large.

_MEGABYTE: Final = b"a" * 1_000_000
_GZIP: Final = {"content_encoding": "gzip"}
_START: Final = b'{"choices": [{"message": {"content": "'

_DEFLATED: Final = {"content_encoding": "deflate"}
_raw("bomb", "answer_too_large", gzipped(500, _START), **_GZIP)
_raw("bomb-of-text", "answer_too_large", gzipped(500, _START, b"a"), **_GZIP)
_raw("bomb-deflated", "answer_too_large", packed(500, _START), **_DEFLATED)
_raw("bomb-of-events", "answer_too_large", gzipped(500, b"data: ", b"a"), **_GZIP)
_raw("bomb-of-lists", "answer_too_large", packed(30, b'{"a": [', b"[],"), **_DEFLATED)


@behaves("many-spaces-for-ever", "timeout")
def _spaces_for_long(line: Line) -> None:
    line.head(**_JSON)
    line.for_ever(b" " * 100_000)


@behaves("bomb-in-error", "answer_too_large")
def _bomb_in_error(line: Line) -> None:
    line.whole(gzipped(500, b"sorry ", b"a"), 400, content_encoding="gzip")


@behaves("text-too-large", "answer_too_large")
def _text_too_large(line: Line) -> None:
    line.head(**_STREAM)
    event = sse(chunk("a" * 1_000_000))
    for _ in range(40):
        line.send(event)


@behaves("body-too-large", "answer_too_large")
def _body_too_large(line: Line) -> None:
    line.head(**_JSON)
    line.send(_START)
    for _ in range(40):
        line.send(_MEGABYTE)


@behaves("line-too-large", "answer_too_large")
def _line_too_large(line: Line) -> None:
    line.head(**_STREAM)
    line.send(b"data: ")
    for _ in range(40):
        line.send(_MEGABYTE)


@behaves("header-too-large", "connection_failed")
def _header_too_large(line: Line) -> None:
    line.send(b"HTTP/1.1 200 OK\r\nx-large: " + _MEGABYTE)
    line.rest()


@behaves("largest", "pong")
def _largest(line: Line) -> None:
    """Send the longest answer that is read, but for a little."""
    line.whole(json.dumps(message())[:-1].encode() + b', "more": "' + _MEGABYTE * 31 + b'"}')


# Broken.

_raw("nothing", "bad_response", b"")
EXPECTED["nothing"] = Expected("bad_response", "connection_failed")
_raw("html", "bad_response", b"<html><body>busy</body></html>", content_type="text/html")
_raw("truncated", "bad_response", json.dumps(message()).encode()[:-9])
_raw("null", "bad_response", b"null")
_raw("deep", "bad_response", b"[" * 100_000)
_raw("not-packed", "bad_response", b"pong", **_GZIP)
_raw("packed-oddly", "bad_response", b"pong", content_encoding="br")
_raw("half-a-character", "pong", json.dumps(message("pong\ud83d")).encode())
_raw("usage-of-a-thousand-digits", "pong",
     json.dumps(message()).replace('"prompt_tokens": 5', f'"prompt_tokens": {"9" * 5000}').encode(),
)  # fmt: skip
_raw("usage-beyond-numbers", "pong",
     json.dumps(message()).replace('"prompt_tokens": 5', '"prompt_tokens": 1e999').encode(),
)  # fmt: skip
_raw("packed-rightly", "pong", zlib.compress(json.dumps(message()).encode(), wbits=31), **_GZIP)
_raw("deflated-without-header", "pong", zlib.compress(json.dumps(message()).encode(), wbits=-15),
     content_encoding="deflate")  # fmt: skip


@behaves("hangs-up", "connection_failed")
def _hangs_up(line: Line) -> None:
    line.connection.shutdown(socket.SHUT_RDWR)


@behaves("shorter-than-said", "connection_failed")
def _shorter_than_said(line: Line) -> None:
    line.head(200, 10_000, **_JSON)
    line.send(_START)


@behaves("no-http", "connection_failed")
def _no_http(line: Line) -> None:
    line.send(b"SSH-2.0-OpenSSH_9.6\r\n")


# The wrong form.

_whole("json-for-a-stream", "pong", message())
_streamed("stream-for-json", "pong", chunk("pong"), chunk(reason="stop"), b"[DONE]")
_whole("usage-huge", "pong", message(usage={"prompt_tokens": 10**30, "completion_tokens": -5}))
_whole("usage-odd", "pong", message(usage=["many"]))
_streamed("done-without-reason", "pong", chunk("pong"), b"[DONE]")
_streamed("done-alone", "connection_failed", b"[DONE]")
_streamed("end-without-either", "stream_broken", chunk("pong"))
_streamed("broken-event", "stream_broken", chunk("po"), b"{broken")
_streamed("broken-first-event", "bad_response", b"{broken")
_streamed("last-line-without-end", "pong", chunk("pong"), chunk(reason="stop"))
_streamed("error-at-once", "rate_limited", {"error": {"code": 429, "message": "slow down"}})
_streamed("error-later", "stream_broken", chunk("po"), {"error": {"message": "sorry"}})


@behaves("lines-end-in-returns", "pong")
def _lines_end_in_returns(line: Line) -> None:
    line.head(**_STREAM)
    line.send(b"\xef\xbb\xbf" + sse(chunk("po"), chunk("ng", "stop")).replace(b"\n", b"\r"))


@behaves("lines-end-in-both", "pong")
def _lines_end_in_both(line: Line) -> None:
    line.head(**_STREAM)
    for byte in sse(chunk("po"), chunk("ng", "stop")).replace(b"\n", b"\r\n"):
        line.send(bytes([byte]))


@behaves("data-in-two-lines", "pong")
def _data_in_two_lines(line: Line) -> None:
    line.head(**_STREAM)
    first, second = json.dumps(chunk("pong", "stop")).split(" ", 1)
    line.send(f"event: x\nid: 1\ndata:{first}\ndata: {second}\n\n".encode())


# Answers that are none.

_whole("empty", "empty_answer", message(""))
_whole("blank", "empty_answer", message(" \n"))
_whole("null-text", "empty_answer", message(None))
_whole("cut-before-text", "empty_answer", message("", "length"))
_whole("filtered", "content_filtered", message(None, "content_filter"))
_whole("refused", "refused_by_model", message(None, message={"refusal": "I cannot do that."}))
_whole("asks-tool", "wants_tool", message(None, "tool_calls", message={"tool_calls": [{"id": 1}]}))
_streamed("empty-stream", "empty_answer", chunk(""), chunk(reason="stop"), b"[DONE]")


# Keys.


@behaves("keys-in-an-error", "unauthorized")
def _keys_in_an_error(line: Line) -> None:
    """Repeat every header, in headers, in a cookie and in words."""
    said = {f"x-echo-{name}": value for name, value in line.headers.items()}
    said["set-cookie"] = f"sid={line.headers.get('authorization')}"
    words = ", ".join(f"{name}: {value}" for name, value in line.headers.items())
    line.say({"error": {"message": f"wrong key among {words}"}}, 401, **said)


@behaves("keys-in-an-answer", "***")
def _keys_in_an_answer(line: Line) -> None:
    key = line.headers.get("authorization", "").removeprefix("Bearer ")
    line.say(message(key, model=key), **{"x-echo": key, "x-other": f"api-key={key}"})


# --- The server -----------------------------------------------------------------------------------


class Faults:
    """The server, in a process of its own."""

    def __enter__(self) -> Self:
        """Start it, and wait until it listens."""
        self._process = subprocess.Popen(  # noqa: S603 - the words are the test's own
            [sys.executable, "-m", __name__],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        port = self._process.stdout.readline() if self._process.stdout else b""
        self.url = f"http://127.0.0.1:{int(port)}/v1"
        return self

    def __exit__(self, *_problem: object) -> None:
        self._process.kill()
        self._process.communicate(timeout=20)


def serve() -> None:
    """Answer each connection in a thread of its own, and one request on each."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        print(listening.getsockname()[1], flush=True)  # noqa: T201 - for who started it
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=_serve, args=(connection,), daemon=True).start()


def _serve(connection: socket.socket) -> None:
    with connection, suppress(OSError):  # of the other side, which has enough
        head, body = _request(connection)
        BEHAVIOURS[body["model"]](Line(connection, head, body))


def _request(connection: socket.socket) -> tuple[bytes, dict[str, Any]]:
    """Read a request."""
    content = b""
    while b"\r\n\r\n" not in content:
        content += _more(connection)
    head, _, body = content.partition(b"\r\n\r\n")
    length = next(
        int(line.partition(b":")[2])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    parts, size = [body], len(body)
    while size < length:
        parts.append(_more(connection))
        size += len(parts[-1])
    asked: dict[str, Any] = json.loads(b"".join(parts))
    return head, asked


def _more(connection: socket.socket) -> bytes:
    found = connection.recv(65536)
    if not found:
        raise ConnectionResetError
    return found


if __name__ == "__main__":
    serve()
