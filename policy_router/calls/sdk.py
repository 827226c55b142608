"""The only door to the OpenAI SDK: clients for hosts that make their own calls.

Importing this takes half a second, so it is imported when a host asks for a client. The SDK would
read keys, addresses and headers from the environment, and try again by itself; none of that happens
here, since it could take a key to another endpoint, or a call outside the plan.
"""

from __future__ import annotations

import inspect
import secrets
from typing import TYPE_CHECKING, Any, ClassVar, Final

from policy_router.calls.endpoints import Endpoint
from policy_router.calls.exchange import AsyncConnection, Connection, headers_of
from policy_router.errors import needs_extra

if TYPE_CHECKING:
    import httpx2 as httpx

with needs_extra("run", "openai", "calling a model"):
    import openai

_NO_KEY: Final = f"Bearer {secrets.token_hex()}"
"""Stands for a key that an endpoint does not need; it is never sent."""
_ADMIN: Final = {"admin_api_key"} & inspect.signature(openai.OpenAI).parameters.keys()
"""The argument for another key, which older versions of the SDK do not have."""


class Client(openai.OpenAI):
    """A client that sends the headers of its endpoint, and no others; its copies do, too."""

    endpoint: ClassVar[Endpoint]

    @property
    def default_headers(self) -> dict[str, str | openai.Omit]:
        """The headers of its endpoint."""
        return _headers(self.endpoint)


class AsyncClient(openai.AsyncOpenAI):
    """The same, for an event loop."""

    endpoint: ClassVar[Endpoint]

    @property
    def default_headers(self) -> dict[str, str | openai.Omit]:
        """The headers of its endpoint."""
        return _headers(self.endpoint)


def client_over(connection: Connection) -> openai.OpenAI:
    """Return the SDK's client over the connections to an endpoint: one, however often.

    Closing the connections closes it.
    """
    if connection.lent is None:
        connection.http.event_hooks = {"request": [_unsigned], "response": [_as_utf8]}
        own = type("Client", (Client,), {"endpoint": connection.endpoint})
        connection.lent = own(http_client=connection.http, **_arguments(connection.endpoint))
    lent: openai.OpenAI = connection.lent
    return lent


def async_client_over(connection: AsyncConnection) -> openai.AsyncOpenAI:
    """Return the SDK's client for an event loop; as for :func:`client_over`."""
    if connection.lent is None:
        connection.http.event_hooks = {"request": [_unsigned_async], "response": [_as_utf8_async]}
        own = type("AsyncClient", (AsyncClient,), {"endpoint": connection.endpoint})
        connection.lent = own(http_client=connection.http, **_arguments(connection.endpoint))
    lent: openai.AsyncOpenAI = connection.lent
    return lent


def _headers(endpoint: Endpoint) -> dict[str, str | openai.Omit]:
    """Return the headers of an endpoint; without a key, what tells the SDK that none is missing."""
    found: dict[str, str | openai.Omit] = {**headers_of(endpoint)}
    if not any(name.lower() == "authorization" for name in found):
        found["Authorization"] = _NO_KEY
    return found


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
