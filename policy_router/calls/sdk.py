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
import secrets
import ssl
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, suppress
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from policy_router.calls.answers import Secrets
from policy_router.calls.bodies import PACKINGS
from policy_router.calls.dialects import CHAT, MESSAGES, PATHS, Wire, encoded_body
from policy_router.calls.endpoints import Endpoint
from policy_router.calls.failures import Failure
from policy_router.calls.limits import Limits
from policy_router.calls.messages import VERSION as VERSION_OF_MESSAGES
from policy_router.calls.network import bound, hide, hide_in_logs, waits_until
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
hide_in_logs(httpx.__name__, "openai")
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
    hide(endpoint.secrets | {endpoint.api_key})
    http = httpx.Client(
        **_options(timeout),
        transport=transport,
        event_hooks={"request": [_unsigned], "response": [_as_utf8]},
    )
    if transport is None:
        bound(http)
    own = type("Client", (Client,), {"endpoint": endpoint})
    client: Client = own(http_client=http, **_arguments(endpoint))
    client.http = http
    return client


def connect_async(endpoint: Endpoint, timeout: float, transport: Any = None) -> AsyncClient:
    """Return the client of an endpoint for an event loop; as for :func:`connect`."""
    hide(endpoint.secrets | {endpoint.api_key})
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


def _headers(endpoint: Endpoint, api: str = CHAT) -> dict[str, str]:
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
    else:
        usual["Authorization"] = f"Bearer {endpoint.api_key}" if endpoint.api_key else _NO_KEY
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
            with waits_until(receiving.until):
                response = own.http.send(request, stream=True)
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
            content=encoded_body(wire, streams=streams),
            headers={**_headers(client.endpoint, wire.api), **wire.headers},
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
