"""A connection to a provider on the event loop, as httpcore wants one.

httpcore would bring anyio for this, which costs a paced event twice as much CPU.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Final

_MOST_WAITING: Final = 64 * 1024
"""How many bytes are read ahead of whoever takes them."""


class Connection(asyncio.Protocol):
    """The bytes of a connection."""

    def __init__(self) -> None:
        """Begin without any."""
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._parts: list[bytes] = []
        self._size = 0
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._is_paused = self._has_ended = False
        self._problem: Exception | None = None

    @classmethod
    async def to(cls, host: str, port: int, seconds: float | None, local: str | None) -> Connection:
        """Return a connection to an address.

        Raises:
            TimeoutError: it is not made in time.
            OSError: it cannot be made.
        """
        loop = asyncio.get_running_loop()
        source = None if local is None else (local, 0)
        async with asyncio.timeout(seconds):
            _, made = await loop.create_connection(cls, host, port, local_addr=source)
        return made

    async def secure(self, trust: ssl.SSLContext, host: str | None, seconds: float | None) -> None:
        """Go on with TLS.

        Raises:
            TimeoutError: it does not begin in time.
            OSError: the other side is not who it should be, or does not answer.
        """
        async with asyncio.timeout(seconds):
            self._transport = await self._loop.start_tls(
                self._transport, self, trust, server_hostname=host
            )

    # What is read and written.

    async def read(self, seconds: float | None) -> bytes:
        """Return what has come; nothing at the end.

        Raises:
            TimeoutError: nothing comes in time.
            OSError: the connection is broken.
        """
        if not self._parts and not self._has_ended:
            await self._wait(seconds)
        if not self._parts:
            if self._problem is not None:
                raise self._problem
            return b""
        found = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts, self._size = [], 0
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()
        return found

    async def _wait(self, seconds: float | None) -> None:
        waiting = self._reader = self._loop.create_future()
        late = None if seconds is None else self._loop.call_later(seconds, _end, waiting)
        try:
            await waiting
        finally:
            self._reader = None
            if late is not None:
                late.cancel()

    async def write(self, content: bytes, seconds: float | None) -> None:
        """Write, and wait until the connection takes more.

        Raises:
            TimeoutError: it takes nothing in time.
            OSError: the connection is broken.
        """
        if self._has_ended:
            raise self._problem or ConnectionResetError("the connection is closed")
        self._transport.write(content)
        if self._writer is not None:
            async with asyncio.timeout(seconds):
                await asyncio.shield(self._writer)

    def close(self) -> None:
        """Close it, whatever is still to be written."""
        self._transport.abort()

    @property
    def is_readable(self) -> bool:
        """Whether something has come, or the end has."""
        return bool(self._parts) or self._has_ended or self._transport.is_closing()

    def info(self, name: str) -> Any:
        """Return what the transport knows of the connection."""
        return None if self._transport is None else self._transport.get_extra_info(name)

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what writes."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Keep what has come, and read no more while that is too much."""
        self._parts.append(data)
        self._size += len(data)
        if self._size > _MOST_WAITING and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """Note the end."""
        self._has_ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end, and why."""
        self._has_ended, self._problem = True, exc
        self._wake()
        self.resume_writing()

    def pause_writing(self) -> None:
        """Let whoever writes wait."""
        self._writer = self._loop.create_future()

    def resume_writing(self) -> None:
        """Let whoever writes go on."""
        writer, self._writer = self._writer, None
        if writer is not None and not writer.done():
            writer.set_result(None)

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


def _end(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_exception(TimeoutError())
