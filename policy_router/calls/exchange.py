"""The only door to the HTTP client of the OpenAI SDK: connections, calls, and what breaks them.

Importing this takes some hundredths of a second, so it is imported with the first call. Two
versions of the SDK are accepted: 2.x brings ``httpx``, and 3.x ``httpx2``. Both would read
addresses and proxies' names from the environment, follow redirects and keep cookies by themselves;
none of that happens here, since it could take a key to another endpoint.

Calls are made with that HTTP client alone, as bytes: the SDK has no limit for the size of an
answer, none for its whole duration, and takes a comment for a sign of life. Its own clients are
for hosts (:mod:`policy_router.calls.sdk`), so calls do not import it: that takes half a second.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from policy_router.calls.answers import Secrets
from policy_router.calls.bodies import PACKINGS
from policy_router.calls.child_task import Reply
from policy_router.calls.dialects import CHAT, MESSAGES, PATHS, Wire, encoded_body
from policy_router.calls.endpoints import Endpoint
from policy_router.calls.failures import Failure
from policy_router.calls.limits import Limits
from policy_router.calls.messages import VERSION as VERSION_OF_MESSAGES
from policy_router.calls.network import bound, hide, hide_in_logs, waits_until
from policy_router.calls.receiving import Receiving, Sent
from policy_router.errors import needs_extra
from policy_router.files.clock import Clock
from policy_router.version import VERSION

with needs_extra("run", "openai", "calling a model"):
    _HTTP: Final = "httpx" if version("openai").startswith("2.") else "httpx2"

# The SDK takes only the client that it brings. Both have the same names.
with needs_extra("run", _HTTP, "calling a model"):
    if TYPE_CHECKING or _HTTP == "httpx2":
        import httpx2 as httpx
    else:
        import httpx

NO_LIMITS: Final = Limits()
_LONGEST_REST: Final = 0.05
"""Seconds to wait for the end of a body that says no more, so that its connection can be kept."""
hide_in_logs(_HTTP, "openai")
CONNECT_SECONDS: Final = 10.0
"""How long a connection may take to be made."""
_POOL: Final = httpx.Limits(max_connections=1000, max_keepalive_connections=100)


@dataclass(slots=True)
class Connection:
    """The connections to an endpoint, for threads.

    Attributes:
        endpoint: address, key and headers.
        http: what makes the calls.
        lent: the SDK's client over them, once a host has asked for it.
    """

    endpoint: Endpoint
    http: httpx.Client
    lent: Any = None

    def close(self) -> None:
        """Close them."""
        self.http.close()


@dataclass(slots=True)
class AsyncConnection:
    """The same, for an event loop."""

    endpoint: Endpoint
    http: httpx.AsyncClient
    lent: Any = None

    async def close(self) -> None:
        """Close them."""
        await self.http.aclose()


def connect(endpoint: Endpoint, timeout: float, transport: Any = None) -> Connection:
    """Return the connections to an endpoint; nothing is opened yet.

    Args:
        endpoint: address, key and headers.
        timeout: seconds that the provider may be silent, where a call says nothing else.
        transport: a transport of the HTTP client in place of the network, or None.
    """
    hide(endpoint.secrets | {endpoint.api_key})
    http = httpx.Client(**_options(timeout), transport=transport)
    if transport is None:
        bound(http)
    return Connection(endpoint, http)


def connect_async(endpoint: Endpoint, timeout: float, transport: Any = None) -> AsyncConnection:
    """Return the connections to an endpoint for an event loop; as for :func:`connect`."""
    hide(endpoint.secrets | {endpoint.api_key})
    return AsyncConnection(endpoint, httpx.AsyncClient(**_options(timeout), transport=transport))


def _options(timeout: float) -> dict[str, Any]:
    """Return how connections are kept: without redirects, and without cookies."""
    return {
        "timeout": httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
        "limits": _POOL,
        "follow_redirects": False,
        "verify": trust(),
        "cookies": CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    }


@cache
def trust() -> ssl.SSLContext:
    """Return whom to trust: reading the certificates takes longer than making a client."""
    return httpx.create_ssl_context()


def headers_of(endpoint: Endpoint, api: str = CHAT) -> dict[str, str]:
    """Return the headers of an endpoint for an API; one that it names itself goes before ours."""
    usual = {
        "Accept": "application/json",
        "Content-Type": "application/json",
        "User-Agent": f"policy-router/{VERSION}",
        "Accept-Encoding": PACKINGS,
    }
    own = {name.lower() for name, _ in endpoint.headers}
    if api == MESSAGES:
        usual["anthropic-version"] = VERSION_OF_MESSAGES
        if endpoint.api_key and "authorization" not in own:
            usual["x-api-key"] = endpoint.api_key
    elif endpoint.api_key:
        usual["Authorization"] = f"Bearer {endpoint.api_key}"
    ours = {name: value for name, value in usual.items() if name.lower() not in own}
    return {**ours, **dict(endpoint.headers)}


class Exchange:
    """One call: what is sent, and how the answer is read.

    Attributes:
        reading: the answer, as far as it has come; its outcome, when the call is over.
    """

    reading: Receiving

    def __init__(self, wire: Wire, secrets: Secrets, clock: Clock) -> None:
        """Prepare a call.

        Args:
            wire: what is sent.
            secrets: what must not be repeated.
            clock: tells the time, which a ``Retry-After`` may count from.
        """
        self._wire = wire
        self._secrets, self._clock = secrets, clock

    def call(self, connection: Connection, limits: Limits = NO_LIMITS) -> Reply | Failure:
        """Make the call, and wait for the answer.

        Args:
            connection: the connections to the endpoint.
            limits: how long it may take.
        """
        for _ in self._answer(connection, limits, streams=False):
            pass
        return self.reading.outcome()

    async def call_async(
        self, connection: AsyncConnection, limits: Limits = NO_LIMITS
    ) -> Reply | Failure:
        """Make the call on an event loop; as for :meth:`call`."""
        async with aclosing(self._answer_async(connection, limits, streams=False)) as pieces:
            async for _ in pieces:
                pass
        return self.reading.outcome()

    def stream(
        self, connection: Connection, limits: Limits = NO_LIMITS
    ) -> Generator[str, None, None]:
        """Make the call, and yield the text as it comes; :attr:`reading` has the outcome."""
        return self._answer(connection, limits, streams=True)

    def stream_async(
        self, connection: AsyncConnection, limits: Limits = NO_LIMITS
    ) -> AsyncGenerator[str, None]:
        """Make the call on an event loop; as for :meth:`stream`."""
        return self._answer_async(connection, limits, streams=True)

    def _answer(
        self, connection: Connection, limits: Limits, *, streams: bool
    ) -> Generator[str, None, None]:
        receiving, request = self._begin(connection, limits, streams=streams)
        response = None
        try:
            with waits_until(receiving.until):
                response = connection.http.send(request, stream=True)
            chunks = iter(_begun(receiving, response) or response.iter_raw())
            while not receiving.is_done:
                with waits_until(receiving.until):
                    chunk = next(chunks, None)
                yield from receiving.end() if chunk is None else receiving.feed(chunk)
            if receiving.is_reusable:
                with waits_until(time.monotonic() + _LONGEST_REST), suppress(httpx.HTTPError):
                    next(chunks, None)
        except _BROKEN as error:
            _end(receiving, error, is_answered=response is not None)
        finally:
            if response is not None:
                response.close()
        yield from receiving.rest()

    async def _answer_async(
        self, connection: AsyncConnection, limits: Limits, *, streams: bool
    ) -> AsyncGenerator[str, None]:
        receiving, request = self._begin(connection, limits, streams=streams)
        response = None
        try:
            async with asyncio.timeout(receiving.left):
                response = await connection.http.send(request, stream=True)
            read = _begun(receiving, response)
            chunks = response.aiter_raw() if read is None else _each(read)
            while not receiving.is_done:
                async with asyncio.timeout(receiving.left):
                    chunk = await anext(chunks, None)
                for piece in receiving.end() if chunk is None else receiving.feed(chunk):
                    yield piece
            if receiving.is_reusable:
                with suppress(httpx.HTTPError, TimeoutError):
                    async with asyncio.timeout(_LONGEST_REST):
                        await anext(chunks, None)
        except (*_BROKEN, TimeoutError) as error:
            _end(receiving, error, is_answered=response is not None)
        finally:
            if response is not None:
                await response.aclose()
        for piece in receiving.rest():
            yield piece

    def _begin(
        self, connection: Connection | AsyncConnection, limits: Limits, *, streams: bool
    ) -> tuple[Receiving, httpx.Request]:
        """Return what reads the answer, and the request; parameters go into it as they are."""
        wire = self._wire
        known = [limit for limit in (limits.first_byte, limits.total) if limit is not None]
        patience = min(known, default=None)
        request = connection.http.build_request(
            "POST",
            f"{connection.endpoint.base_url.rstrip('/')}/{PATHS[wire.api]}",
            content=encoded_body(wire, streams=streams),
            headers={**headers_of(connection.endpoint, wire.api), **wire.headers},
            timeout=httpx.Timeout(patience, connect=min([*known, CONNECT_SECONDS])),
        )
        sent = Sent(wire.api, wire.model, self._secrets, self._clock, streams)
        self.reading = Receiving(sent, limits)
        return self.reading, request


_BROKEN: Final = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError)
"""What the HTTP client raises where a call does not come to its end."""


def _begun(receiving: Receiving, response: httpx.Response) -> list[bytes] | None:
    """Take in the head of an answer, and return its body where a transport has read it."""
    is_read = response.is_stream_consumed
    receiving.begin(response.status_code, response.headers, is_unpacked=is_read)
    return [response.content] if is_read else None


async def _each(chunks: list[bytes]) -> AsyncGenerator[bytes, None]:
    for chunk in chunks:
        yield chunk


def _end(receiving: Receiving, error: Exception, *, is_answered: bool) -> None:
    """End an answer that broke off. The exception itself holds the request, key and all."""
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        receiving.late()
        return
    what = type(error).__name__
    receiving.broke(
        f"the provider's answer broke off ({what})"
        if is_answered
        else f"the connection to the provider failed ({what})"
    )
