"""The only door to the OpenAI SDK and its HTTP client: connections, calls, and what breaks them.

Importing this takes a third of a second, so it is imported with the first call. Two versions of the
SDK are accepted: 2.x makes its calls with ``httpx``, and 3.x with ``httpx2``. Both would read keys,
addresses and headers from the environment, follow redirects and try again by themselves; none of
that happens here, since it could take a key to another endpoint, or a call outside the plan.

Our own calls are made with that HTTP client alone, as bytes: the SDK has no limit for the size of
an answer, none for its whole duration, and takes a comment for a sign of life. Its own clients are
for hosts.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import math
import secrets
import ssl
import threading
import time
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import aclosing, contextmanager, suppress
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from policy_router.calls.answers import Secrets
from policy_router.calls.bodies import PACKINGS
from policy_router.calls.dialects import PATHS, Wire, body
from policy_router.calls.endpoints import Endpoint
from policy_router.calls.failures import Failure
from policy_router.calls.limits import Limits
from policy_router.calls.receiving import Receiving, Sent
from policy_router.calls.results import Reply
from policy_router.errors import needs_extra
from policy_router.files.clock import Clock
from policy_router.version import VERSION

with needs_extra("run", "openai", "calling a model"):
    import openai

# The SDK takes only the client that it brings. Both have the same names.
if TYPE_CHECKING or not openai.VERSION.startswith("2."):
    import httpx2 as httpx
else:
    import httpx

NO_LIMITS: Final = Limits()
_LONGEST_REST: Final = 0.05
"""Seconds to wait for the end of a body that says no more, so that its connection can be kept."""
CONNECT_SECONDS: Final = 10.0
"""How long a connection may take to be made."""
_POOL: Final = httpx.Limits(max_connections=1000, max_keepalive_connections=100)
_NO_KEY: Final = f"Bearer {secrets.token_hex()}"
"""Stands for a key that an endpoint does not need; it is never sent."""
_ADMIN: Final = {"admin_api_key"} & inspect.signature(openai.OpenAI).parameters.keys()
"""The argument for another key, which older versions of the SDK do not have."""


class Client(openai.OpenAI):
    """A client that sends the headers of its endpoint, and no others; its copies do, too."""

    endpoint: ClassVar[Endpoint]
    http: httpx.Client
    """What makes its calls."""

    @property
    def default_headers(self) -> dict[str, str | openai.Omit]:
        """The headers of its endpoint."""
        return dict(_headers(self.endpoint))


class AsyncClient(openai.AsyncOpenAI):
    """The same, for an event loop."""

    endpoint: ClassVar[Endpoint]
    http: httpx.AsyncClient

    @property
    def default_headers(self) -> dict[str, str | openai.Omit]:
        """The headers of its endpoint."""
        return dict(_headers(self.endpoint))


def connect(endpoint: Endpoint, timeout: float, transport: Any = None) -> Client:
    """Return the client of an endpoint.

    Args:
        endpoint: address, key and headers.
        timeout: seconds that the provider may be silent, where a call says nothing else.
        transport: a transport of the SDK's HTTP client in place of the network, or None.
    """
    http = httpx.Client(
        **_options(timeout),
        transport=transport,
        event_hooks={"request": [_unsigned], "response": [_as_utf8]},
    )
    if transport is None:
        _bound(http)
    own = type("Client", (Client,), {"endpoint": endpoint})
    client: Client = own(http_client=http, **_arguments(endpoint))
    client.http = http
    return client


def connect_async(endpoint: Endpoint, timeout: float, transport: Any = None) -> AsyncClient:
    """Return the client of an endpoint for an event loop; as for :func:`connect`."""
    http = httpx.AsyncClient(
        **_options(timeout),
        transport=transport,
        event_hooks={"request": [_unsigned_async], "response": [_as_utf8_async]},
    )
    own = type("AsyncClient", (AsyncClient,), {"endpoint": endpoint})
    client: AsyncClient = own(http_client=http, **_arguments(endpoint))
    client.http = http
    return client


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


def _unsigned(request: httpx.Request) -> None:
    """Take away what tells the SDK that no key is missing."""
    if request.headers.get("Authorization") == _NO_KEY:
        del request.headers["Authorization"]


async def _unsigned_async(request: httpx.Request) -> None:
    _unsigned(request)


def _as_utf8(response: httpx.Response) -> None:
    """Read every answer as JSON is written, whatever its headers say (RFC 8259, section 8.1)."""
    response.encoding = "utf-8"


async def _as_utf8_async(response: httpx.Response) -> None:
    _as_utf8(response)


def _arguments(endpoint: Endpoint) -> dict[str, Any]:
    """Return all that the SDK would otherwise take from the environment."""
    return {
        "base_url": endpoint.base_url,
        "api_key": "",  # it is among the headers
        **dict.fromkeys(_ADMIN, ""),
        "organization": "",
        "project": "",
        "webhook_secret": "",
        "max_retries": 0,
    }


def _headers(endpoint: Endpoint) -> dict[str, str]:
    """Return the headers of an endpoint; one that it names itself goes before ours."""
    usual = {
        "Accept": "application/json",
        "Content-Type": "application/json",
        "User-Agent": f"policy-router/{VERSION}",
        "Accept-Encoding": PACKINGS,
    }
    usual["Authorization"] = f"Bearer {endpoint.api_key}" if endpoint.api_key else _NO_KEY
    own = {name.lower() for name, _ in endpoint.headers}
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

    def call(self, client: openai.OpenAI, limits: Limits = NO_LIMITS) -> Reply | Failure:
        """Make the call, and wait for the answer.

        Args:
            client: the client of the endpoint.
            limits: how long it may take.
        """
        for _ in self._answer(client, limits, streams=False):
            pass
        return self.reading.outcome()

    async def call_async(
        self, client: openai.AsyncOpenAI, limits: Limits = NO_LIMITS
    ) -> Reply | Failure:
        """Make the call on an event loop; as for :meth:`call`."""
        async with aclosing(self._answer_async(client, limits, streams=False)) as pieces:
            async for _ in pieces:
                pass
        return self.reading.outcome()

    def stream(
        self, client: openai.OpenAI, limits: Limits = NO_LIMITS
    ) -> Generator[str, None, None]:
        """Make the call, and yield the text as it comes; :attr:`reading` has the outcome."""
        return self._answer(client, limits, streams=True)

    def stream_async(
        self, client: openai.AsyncOpenAI, limits: Limits = NO_LIMITS
    ) -> AsyncGenerator[str, None]:
        """Make the call on an event loop; as for :meth:`stream`."""
        return self._answer_async(client, limits, streams=True)

    def _answer(
        self, client: openai.OpenAI, limits: Limits, *, streams: bool
    ) -> Generator[str, None, None]:
        own = _own(client, Client)
        receiving, request = self._begin(own, limits, streams=streams)
        response = None
        try:
            with _bounded(receiving.until):
                response = own.http.send(request, stream=True)
            chunks = iter(_begun(receiving, response) or response.iter_raw())
            while not receiving.is_done:
                with _bounded(receiving.until):
                    chunk = next(chunks, None)
                yield from receiving.end() if chunk is None else receiving.feed(chunk)
            if receiving.is_reusable:
                with _bounded(time.monotonic() + _LONGEST_REST), suppress(httpx.HTTPError):
                    next(chunks, None)
        except _BROKEN as error:
            _end(receiving, error, is_answered=response is not None)
        finally:
            if response is not None:
                response.close()
        yield from receiving.rest()

    async def _answer_async(
        self, client: openai.AsyncOpenAI, limits: Limits, *, streams: bool
    ) -> AsyncGenerator[str, None]:
        own = _own(client, AsyncClient)
        receiving, request = self._begin(own, limits, streams=streams)
        response = None
        try:
            async with asyncio.timeout(receiving.left):
                response = await own.http.send(request, stream=True)
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
        self, client: Client | AsyncClient, limits: Limits, *, streams: bool
    ) -> tuple[Receiving, httpx.Request]:
        """Return what reads the answer, and the request; parameters go into it as they are."""
        wire = self._wire
        known = [limit for limit in (limits.first_byte, limits.total) if limit is not None]
        patience = min(known, default=None)
        request = client.http.build_request(
            "POST",
            f"{str(client.base_url).rstrip('/')}/{PATHS[wire.api]}",
            content=_encoded(body(wire, streams=streams)),
            headers={**_headers(client.endpoint), **wire.headers},
            timeout=httpx.Timeout(patience, connect=min([*known, CONNECT_SECONDS])),
        )
        sent = Sent(wire.api, wire.model, self._secrets, self._clock, streams)
        self.reading = Receiving(sent, limits)
        return self.reading, request


_T = TypeVar("_T")


def _own(client: object, kind: type[_T]) -> _T:
    """Return a client that :func:`connect` or :func:`connect_async` made.

    Raises:
        TypeError: it is another one.
    """
    if not isinstance(client, kind):
        raise TypeError("a client that this module made is needed")
    return client


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


def _encoded(body: dict[str, Any]) -> bytes:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        return text.encode()
    except UnicodeEncodeError:  # half a character, which JSON can only escape
        return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()


# A thread waits in the operating system, where nobody can call it back. So what it reads from is
# told the moment to which the present step may wait, and asks for it before each wait.

_STEP: Final = threading.local()
_SHORTEST_WAIT: Final = 0.001
_LONGEST_WRITE: Final = 64 * 1024


@contextmanager
def _bounded(until: float) -> Iterator[None]:
    """Let this thread wait for the network no longer than to a moment."""
    _STEP.until = until
    try:
        yield
    finally:
        _STEP.until = math.inf


def _wait(timeout: float | None) -> float | None:
    """Return how long to wait: no longer than was said, and no longer than the step may."""
    until: float = getattr(_STEP, "until", math.inf)
    if until == math.inf:
        return timeout
    left = max(until - time.monotonic(), _SHORTEST_WAIT)
    return left if timeout is None else min(left, timeout)


def _bound(http: httpx.Client) -> None:
    """Let all connections of a client ask how long they may wait.

    The client has no option for that: its transports make their pools themselves.
    """
    for transport in (http._transport, *http._mounts.values()):  # noqa: SLF001 - as above
        pool = getattr(transport, "_pool", None)
        if pool is not None:
            pool._network_backend = _Network(pool._network_backend)  # noqa: SLF001 - as above


class _Network:
    """Opens connections whose waits end with the step."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, **more: Any) -> Any:
        return _Stream(self._backend.connect_tcp(host, port, _wait(timeout), **more))

    def connect_unix_socket(self, path: str, timeout: float | None = None, **more: Any) -> Any:
        return _Stream(self._backend.connect_unix_socket(path, _wait(timeout), **more))

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


class _Stream:
    """A connection whose waits end with the step."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        found: bytes = self._stream.read(max_bytes, _wait(timeout))
        return found

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _LONGEST_WRITE):
            self._stream.write(buffer[start : start + _LONGEST_WRITE], _wait(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> Any:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, _wait(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
