"""The only door to the OpenAI SDK: connections, calls, and what goes wrong with them.

Importing this takes a third of a second, so it is imported with the first call. Two versions of the
SDK are accepted: 2.x makes its calls with ``httpx``, and 3.x with ``httpx2``. Both would read keys,
addresses and headers from the environment, follow redirects and try again by themselves; none of
that happens here, since it could take a key to another endpoint, or a call outside the plan.
"""

from __future__ import annotations

import inspect
import secrets
import ssl
from collections.abc import AsyncGenerator, Generator
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Final

from policy_router.calls.dialects import RESPONSES, Wire
from policy_router.calls.endpoints import Endpoint
from policy_router.calls.failures import Failure, of_status
from policy_router.calls.limits import Limits
from policy_router.calls.responses import Secrets, body_of, failure_of, read_answer, reading_of
from policy_router.calls.results import Failing, Reply
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

CONNECT_SECONDS: Final = 10.0
"""How long a connection may take to be made."""
_LIMITS: Final = httpx.Limits(max_connections=1000, max_keepalive_connections=100)
_BROKEN: Final = (openai.APIError, httpx.HTTPError, ValueError, RecursionError)
"""What the SDK raises where a stream is not as it should be."""
_NO_KEY: Final = f"Bearer {secrets.token_hex()}"
"""Stands for a key that an endpoint does not need; it is never sent."""
_ADMIN: Final = {"admin_api_key"} & inspect.signature(openai.OpenAI).parameters.keys()
"""The argument for another key, which older versions of the SDK do not have."""


def connect(endpoint: Endpoint, timeout: float, transport: Any = None) -> openai.OpenAI:
    """Return the client of an endpoint.

    Args:
        endpoint: address, key and headers.
        timeout: seconds that the provider may be silent.
        transport: a transport of the SDK's HTTP client in place of the network, or None.
    """
    headers = _headers(endpoint)

    class Client(openai.OpenAI):
        """A client that sends the headers of its endpoint, and no others; its copies do, too."""

        @property
        def default_headers(self) -> dict[str, str | openai.Omit]:
            return dict(headers)

    http = httpx.Client(
        **_options(timeout),
        transport=transport,
        event_hooks={"request": [_unsigned], "response": [_as_utf8]},
    )
    return Client(http_client=http, **_arguments(endpoint))


def connect_async(endpoint: Endpoint, timeout: float, transport: Any = None) -> openai.AsyncOpenAI:
    """Return the client of an endpoint for an event loop; as for :func:`connect`."""
    headers = _headers(endpoint)

    class Client(openai.AsyncOpenAI):
        """The same, for an event loop."""

        @property
        def default_headers(self) -> dict[str, str | openai.Omit]:
            return dict(headers)

    http = httpx.AsyncClient(
        **_options(timeout),
        transport=transport,
        event_hooks={"request": [_unsigned_async], "response": [_as_utf8_async]},
    )
    return Client(http_client=http, **_arguments(endpoint))


def _options(timeout: float) -> dict[str, Any]:
    """Return how connections are kept: without redirects, and without cookies."""
    return {
        "timeout": httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
        "limits": _LIMITS,
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
    }
    usual["Authorization"] = f"Bearer {endpoint.api_key}" if endpoint.api_key else _NO_KEY
    own = {name.lower() for name, _ in endpoint.headers}
    ours = {name: value for name, value in usual.items() if name.lower() not in own}
    return {**ours, **dict(endpoint.headers)}


class Exchange:
    """One call: what is sent, and how the answer is read."""

    def __init__(self, wire: Wire, secrets: Secrets, clock: Clock) -> None:
        """Prepare a call.

        Args:
            wire: what is sent.
            secrets: what must not be repeated.
            clock: tells the time, which a ``Retry-After`` may count from.
        """
        self.wire, self.secrets, self.clock = wire, secrets, clock
        self.reading = reading_of(wire.api, secrets, wire.model)

    def call(
        self,
        client: openai.OpenAI,
        limits: Limits,  # noqa: ARG002 - nothing honours it yet
    ) -> Reply | Failure:
        """Make the call, and wait for the answer."""
        try:
            answer = self._create(self._api(client).with_raw_response)
        except (openai.APIError, httpx.HTTPError) as error:
            return self._failure(error)
        return self._read(answer.content)

    async def call_async(
        self,
        client: openai.AsyncOpenAI,
        limits: Limits,  # noqa: ARG002 - nothing honours it yet
    ) -> Reply | Failure:
        """Make the call on an event loop; as for :meth:`call`."""
        try:
            answer = await self._create(self._api(client).with_raw_response)
        except (openai.APIError, httpx.HTTPError) as error:
            return self._failure(error)
        return self._read(answer.content)

    def stream(
        self,
        client: openai.OpenAI,
        limits: Limits,  # noqa: ARG002 - nothing honours it yet
    ) -> Generator[str, None, None]:
        """Make the call, and yield the text as it comes; :attr:`reading` has the outcome."""
        try:
            with self._create(self._api(client), stream=True) as events:
                for event in events:
                    yield from self.reading.pieces(event, now=self.clock())
        except _BROKEN as error:
            self._break(error)
        yield from self.reading.rest()

    async def stream_async(
        self,
        client: openai.AsyncOpenAI,
        limits: Limits,  # noqa: ARG002 - nothing honours it yet
    ) -> AsyncGenerator[str, None]:
        """Make the call on an event loop; as for :meth:`stream`."""
        try:
            async with await self._create(self._api(client), stream=True) as events:
                async for event in events:
                    for piece in self.reading.pieces(event, now=self.clock()):
                        yield piece
        except _BROKEN as error:
            self._break(error)
        for piece in self.reading.rest():
            yield piece

    def _read(self, content: bytes) -> Reply | Failure:
        wire = self.wire
        return read_answer(wire.api, content, self.secrets, model=wire.model, now=self.clock())

    def _api(self, client: openai.OpenAI | openai.AsyncOpenAI) -> Any:
        return client.responses if self.wire.api == RESPONSES else client.chat.completions

    def _create(self, api: Any, **options: Any) -> Any:
        """Call the SDK; parameters go into the body as they are, whether it knows them or not."""
        wire = self.wire
        options["input" if wire.api == RESPONSES else "messages"] = wire.messages
        return api.create(
            model=wire.model,
            extra_headers=wire.headers,
            extra_body=wire.parameters or None,
            **options,
        )

    def _break(self, error: Exception) -> None:
        """Note what broke a stream; where that is what it holds, it had begun."""
        self.reading.failure = self._failure(error)
        if not isinstance(error, openai.APIError | httpx.HTTPError):
            self.reading.has_begun = True

    def _failure(self, error: Exception) -> Failure:
        """Return what an exception says. The exception itself holds the request, key and all."""
        model, now = self.wire.model, self.clock()
        if isinstance(error, openai.APIStatusError):
            headers = {name.lower(): value for name, value in error.response.headers.items()}
            status = error.status_code
            body = body_of(error.response.content)
            return of_status(status, body, headers, self.secrets, model=model, now=now)
        if isinstance(error, openai.APITimeoutError):
            return Failure(Failing.TIMEOUT, "the provider did not answer in time")
        if isinstance(error, openai.APIConnectionError):
            what = type(error.__cause__ or error).__name__
            message = f"the connection to the provider failed ({what})"
            return Failure(Failing.CONNECTION_FAILED, message)
        if isinstance(error, openai.APIError):
            return failure_of(error.body, self.secrets, model=model, now=now)
        if isinstance(error, httpx.HTTPError):
            what = type(error).__name__
            return Failure(Failing.CONNECTION_FAILED, f"the provider's answer broke off ({what})")
        return Failure(Failing.BAD_RESPONSE, "the stream holds something that is no event")
