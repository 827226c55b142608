"""Calls of providers as bytes: the only door to httpcore.

The SDK brings one of two generations of it; the one of the installed SDK is taken. Certificates are
verified, redirects are not followed, and no cookie is kept.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from contextlib import aclosing
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from policy_router.calls.limits import Limits
from policy_router.errors import needs_extra
from policy_router.server.gateway.connection import Connection

with needs_extra("run", "openai", "the gateway"):
    _SDK: Final = version("openai")

if TYPE_CHECKING or not _SDK.startswith("2."):
    import httpcore2 as httpcore
else:
    import httpcore

CONNECT_SECONDS: Final = 10.0
"""How long a connection may take to be made."""
SILENCE_SECONDS: Final = 600.0
"""How long a provider may be silent, where nothing else is said."""
BROKEN: Final = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
    OSError,
)
"""What is raised where a call cannot be made, or its answer breaks off."""
_MOST_CONNECTIONS: Final = 1000
_MOST_IDLE: Final = 100
_IDLE_SECONDS: Final = 15.0

Headers = list[tuple[bytes, bytes]]


class Received:
    """An answer whose head has come.

    Attributes:
        status: its HTTP status.
        headers: its headers, by names in lower case.
    """

    def __init__(self, response: httpcore.Response, timeouts: dict[str, float | None]) -> None:
        """Take an answer."""
        self.status: int = response.status
        self.headers: Headers = [(name.lower(), value) for name, value in response.headers]
        self._response, self._timeouts = response, timeouts
        self._pieces = cast("AsyncIterable[bytes]", response.stream)

    def header(self, name: bytes) -> bytes:
        """Return a header; empty where there is none."""
        return next((value for key, value in self.headers if key == name), b"")

    async def pieces(self, idle: float | None) -> AsyncGenerator[bytes, None]:
        """Yield the pieces of the body as they come, and close the answer at its end.

        Args:
            idle: the seconds that the provider may be silent.
        """
        self._timeouts["read"] = idle
        try:
            async for piece in self._pieces:
                yield piece
        finally:
            await self._response.aclose()

    async def whole(self, longest: int, idle: float | None) -> bytes:
        """Return the whole body; of one that has more bytes than that, at least so many."""
        parts, size = [], 0
        async with aclosing(self.pieces(idle)) as pieces:
            async for piece in pieces:
                parts.append(piece)
                size += len(piece)
                if size > longest:
                    break
        return b"".join(parts)


class _Stream(httpcore.AsyncNetworkStream):
    """A connection, as httpcore reads and writes it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            return await self._connection.read(timeout)
        except TimeoutError as problem:
            raise httpcore.ReadTimeout(problem) from None
        except OSError as problem:
            raise httpcore.ReadError(problem) from None

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            await self._connection.write(buffer, timeout)
        except TimeoutError as problem:
            raise httpcore.WriteTimeout(problem) from None
        except OSError as problem:
            raise httpcore.WriteError(problem) from None

    async def aclose(self) -> None:
        self._connection.close()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            await self._connection.secure(ssl_context, server_hostname, timeout)
        except TimeoutError as problem:
            raise httpcore.ConnectTimeout(problem) from None
        except OSError as problem:
            raise httpcore.ConnectError(problem) from None
        return self

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            return self._connection.is_readable
        return self._connection.info(info)


class _Backend(httpcore.AsyncNetworkBackend):
    """Makes connections."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            return _Stream(await Connection.to(host, port, timeout, local_address))
        except TimeoutError as problem:
            raise httpcore.ConnectTimeout(problem) from None
        except OSError as problem:
            raise httpcore.ConnectError(problem) from None

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Upstream:
    """Calls providers, and keeps connections to them open. For one event loop."""

    def __init__(self) -> None:
        """Read whom to trust; nothing is opened yet."""
        self._trust = ssl.create_default_context()
        self._proxies = getproxies()
        self._proxy_of: dict[tuple[str, str], str | None] = {}
        self._pools: dict[str | None, httpcore.AsyncConnectionPool] = {}

    async def send(
        self, url: str, headers: Mapping[str, str], body: bytes, limits: Limits
    ) -> Received:
        """Make a call, and return its answer as soon as its head has come.

        Args:
            url: where.
            headers: the headers, with the key.
            body: JSON.
            limits: how long it may take.
        """
        first_byte = SILENCE_SECONDS if limits.first_byte is None else limits.first_byte
        timeouts: dict[str, float | None] = {
            "connect": min(first_byte, CONNECT_SECONDS),
            "pool": min(first_byte, CONNECT_SECONDS),
            "read": first_byte,
            "write": first_byte,
        }
        own = {"host": urlsplit(url).netloc.rpartition("@")[2], "content-length": str(len(body))}
        sent = {**headers, **own}
        request = httpcore.Request(
            "POST",
            url,
            headers=[(name.encode(), value.encode()) for name, value in sent.items()],
            content=body,
            extensions={"timeout": timeouts},
        )
        return Received(await self._pool(url).handle_async_request(request), timeouts)

    def _pool(self, url: str) -> httpcore.AsyncConnectionPool:
        """Return the connections through which an address is reached."""
        proxy = self._proxy(url) if self._proxies else None
        if proxy not in self._pools:
            options: dict[str, Any] = {} if proxy is None else {"proxy": _proxy(proxy)}
            self._pools[proxy] = httpcore.AsyncConnectionPool(
                ssl_context=self._trust,
                max_connections=_MOST_CONNECTIONS,
                max_keepalive_connections=_MOST_IDLE,
                keepalive_expiry=_IDLE_SECONDS,
                network_backend=_Backend(),
                **options,
            )
        return self._pools[proxy]

    def _proxy(self, url: str) -> str | None:
        """Return the proxy that the environment names for an address, as HTTP clients read it."""
        parts = urlsplit(url)
        place = (parts.scheme, parts.netloc.rpartition("@")[2])
        if place not in self._proxy_of:
            proxy = self._proxies.get(parts.scheme) or self._proxies.get("all")
            if proxy is not None and proxy_bypass(place[1]):
                proxy = None
            is_whole = proxy is None or "://" in proxy
            self._proxy_of[place] = proxy if is_whole else f"http://{proxy}"
        return self._proxy_of[place]

    async def aclose(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            await pool.aclose()


def _proxy(url: str) -> httpcore.Proxy:
    parts = urlsplit(url)
    if parts.username is None:
        return httpcore.Proxy(url)
    auth = (unquote(parts.username), unquote(parts.password or ""))
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return httpcore.Proxy(bare, auth=auth)
