"""HTTP on the wire: connections, and the server that accepts them. The only door to uvicorn."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from policy_router.server.app import Service
from policy_router.server.asking import Send
from policy_router.server.problems import TYPE, Header, Problem
from policy_router.server.serve import let_nobody_in
from policy_router.server.settings import Settings, seconds_of

_KEEP_ALIVE_SECONDS: Final = 75
_REQUEST_SECONDS: Final = 15.0
_READING_SECONDS: Final = 60.0
_LONGEST_HEAD: Final = 64 * 1024
_LEAVE_SECONDS: Final = 1.0
_LEAVE_POLL_SECONDS: Final = 0.02
_NO_REQUEST: Final = Problem(
    400, "bad_http", "this is not HTTP, or it comes too slowly, or its head is too long"
)
_HEAD_END: Final = b"\r\n\r\n"
_UPGRADE: Final = re.compile(rb"\r\nupgrade:", re.IGNORECASE)
new_loop: Final = uvloop.new_event_loop
"""Makes the event loop that a server runs in."""


class _Connection(HttpToolsProtocol):
    """A connection whose requests are bounded: their heads in length, and each in time.

    What is too slow is closed: a first request, the rest of a head or of a body, and a client that
    does not read what it asked for.
    """

    _head_bytes = _come = 0
    _is_leaving = False
    _began = 0.0
    _writing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a first request only so long."""
        super().connection_made(transport)
        self._close_after(_KEEP_ALIVE_SECONDS)

    def data_received(self, data: bytes) -> None:
        """Take in what has come, and wait for what is still to come only so long."""
        if self._is_leaving:
            return
        self._come = self._head_bytes + len(data)
        super().data_received(_without_upgrade(data))
        # uvicorn makes a scope when a request begins, and a cycle of it at the end of its head.
        has_head = getattr(self.cycle, "scope", None) is self.scope
        if has_head and not self.cycle.more_body:
            self._head_bytes, self._began = 0, 0.0
        elif not self.transport.is_closing():
            self._wait_for_rest(len(data), has_head=has_head)

    def _wait_for_rest(self, size: int, *, has_head: bool) -> None:
        now = self.loop.time()
        self._began = self._began or now
        self._head_bytes = 0 if has_head else self._head_bytes + size
        left = self._began + _REQUEST_SECONDS - now
        if self._head_bytes > _LONGEST_HEAD or left <= 0:
            self.send_400_response()
        else:
            self._close_after(left)

    def on_headers_complete(self) -> None:
        """Begin to answer; what a chunked body names after its end is no part of the head.

        Nobody looks at such trailers: one could name who asks where a proxy has looked at the head.
        """
        if self._come > _LONGEST_HEAD:  # or it need not be looked at
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > _LONGEST_HEAD:
                raise ValueError("the head is too long")  # which uvicorn answers with 400
        super().on_headers_complete()
        nothing: Any = deque(maxlen=0)
        self.headers = nothing

    def send_400_response(self, _msg: str = "") -> None:
        """Answer what is no request, as a problem like any other, and close."""
        body = _NO_REQUEST.to_json()
        parts = [STATUS_LINE[400]]
        for name, value in (
            *self.server_state.default_headers,
            (b"content-type", TYPE),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ):
            parts += (name, b": ", value, b"\r\n")
        self.transport.write(b"".join((*parts, b"\r\n", body)))
        self.transport.close()

    def leave(self) -> None:
        """Close once the client has read its answer; what it still sends is thrown away.

        To close at once would reset the connection, and the client would lose the answer.
        """
        self._is_leaving = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._close_after(_REQUEST_SECONDS)

    def pause_writing(self) -> None:
        """Wait for a client that does not read only so long."""
        super().pause_writing()
        self._writing = self.loop.call_later(_READING_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Wait no more."""
        super().resume_writing()
        if self._writing is not None:
            self._writing.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        if self._writing is not None:
            self._writing.cancel()

    def _close_after(self, seconds: float) -> None:
        """Close it where nothing more comes."""
        self._unset_keepalive_if_required()
        closing = self.loop.call_later(seconds, self.timeout_keep_alive_handler)
        self.timeout_keep_alive_task = closing


def _without_upgrade(data: bytes) -> bytes:
    """Return what has come without a wish for another protocol, if that is in the first head of it.

    It may be ignored (RFC 9110, section 7.8). Clients of Java send it with a first request, and the
    parser takes no body where it sees it. What is returned is as long, so that no body ends
    elsewhere.
    """
    if b"pgrade" not in data:
        return data
    head, end, rest = data.partition(_HEAD_END)
    return _UPGRADE.sub(b"\r\nxpgrade:", head) + end + rest


def write_whole(send: Send, status: int, headers: list[Header], body: bytes) -> bool:
    """Write a whole answer at once, as uvicorn would in two messages, each header checked.

    The headers are the service's own: nothing in them was asked for by a client. Whatever is out of
    the ordinary is left to uvicorn.

    Returns:
        Whether it is written, or nobody is there any more to read it.
    """
    cycle = getattr(send, "__self__", None)
    ends = (b"connection", b"close") in headers
    if type(cycle) is RequestResponseCycle and cycle.transport.is_closing():
        cycle.disconnected = True  # uvicorn hears of it a moment later
        return True
    if (
        type(cycle) is not RequestResponseCycle
        or not (cycle.more_body if ends else cycle.keep_alive)
        or cycle.response_started
        or cycle.disconnected
        or cycle.flow.write_paused
        or cycle.scope["method"] == "HEAD"
    ):
        return False
    parts = [STATUS_LINE[status]]
    for name, value in (*cycle.default_headers, *headers):
        parts += (name, b": ", value, b"\r\n")
    parts += (b"\r\n", body)
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.transport.write(b"".join(parts))
    cycle.message_event.set()
    cycle.on_response()
    connection = getattr(cycle.on_response, "__self__", None)
    if ends and isinstance(connection, _Connection):
        connection.leave()
    return True


def cut(send: Send) -> None:
    """Close the connection of an answer, behind what was written, so that it is not whole."""
    cycle = getattr(send, "__self__", None)
    if type(cycle) is RequestResponseCycle:
        cycle.disconnected = True
        cycle.transport.close()


class Server(uvicorn.Server):
    """A server that tells when it has started, and lets busy clients leave before it ends."""

    def __init__(self, service: Service, settings: Settings, started: Callable[[], None]) -> None:
        tls = settings.tls
        config = uvicorn.Config(
            service,
            loop="uvloop",
            http=_Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=max(1, round(seconds_of(settings.drain))),
            ssl_certfile=None if tls is None else tls.certificate,
            ssl_keyfile=None if tls is None else tls.key,
        )
        super().__init__(config)
        self._service, self._started = service, started
        self.leave_seconds, self.is_replaced = _LEAVE_SECONDS, False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self._started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End: a connection that is in use is told to go with its next answer.

        To close one at once would lose the request that may be on its way.
        """
        self._service.is_draining = True
        if not self.is_replaced:
            await let_nobody_in(sockets or [])
        for server in self.servers:
            server.close()
        end = time.monotonic() + self.leave_seconds
        while (  # noqa: ASYNC110 - nothing tells of it
            self.server_state.connections and time.monotonic() < end and not self.force_exit
        ):
            await asyncio.sleep(_LEAVE_POLL_SECONDS)
        await super().shutdown(sockets)
