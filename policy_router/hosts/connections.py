"""The connections of one run of a child, for hosts that call models with clients of OpenAI's SDK.

A client knows the address, key and headers of its endpoint, and takes nothing from the environment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from policy_router.calls.dialects import CHAT, RESPONSES
from policy_router.calls.endpoints import Endpoint
from policy_router.calls.exchange import AsyncConnection, Connection, connect, connect_async
from policy_router.calls.legs import Leg
from policy_router.calls.sdk import async_client_over, client_over
from policy_router.hosts.refused import Refused, RefusedError

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

_SILENT: Final = 600.0
"""Seconds that a provider may be silent, where nothing else is said."""


class Connections:
    """Makes a client for each endpoint of a run, and closes them with it."""

    def __init__(self) -> None:
        """Begin without any."""
        self._made: dict[Endpoint, Connection] = {}
        self._made_async: dict[Endpoint, AsyncConnection] = {}

    def client(self, leg: Leg) -> OpenAI:
        """Return the client of a leg.

        Raises:
            RefusedError: its endpoint takes calls of an API that is not OpenAI's.
        """
        _check(leg)
        if leg.endpoint not in self._made:
            self._made[leg.endpoint] = connect(leg.endpoint, silence_of(leg))
        return client_over(self._made[leg.endpoint])

    def async_client(self, leg: Leg) -> AsyncOpenAI:
        """Return the client of a leg for the running event loop, like :meth:`client`."""
        _check(leg)
        if leg.endpoint not in self._made_async:
            self._made_async[leg.endpoint] = connect_async(leg.endpoint, silence_of(leg))
        return async_client_over(self._made_async[leg.endpoint])

    def close(self) -> None:
        """Close the clients that are of no event loop."""
        for made in self._made.values():
            made.close()

    async def aclose(self) -> None:
        """Close all clients, on the running event loop."""
        self.close()
        for made in self._made_async.values():
            await made.close()


def is_chat(leg: Leg) -> bool:
    """Tell whether a leg is called by Chat Completions, and not by the Responses API."""
    return leg.api == CHAT


def silence_of(leg: Leg) -> float:
    """Return the seconds without data after which a call of a leg fails."""
    return leg.limits.idle or leg.limits.total or _SILENT


def _check(leg: Leg) -> None:
    if leg.api not in {CHAT, RESPONSES}:
        words = f"no call of the API `{leg.api}` is made here"
        raise RefusedError(Refused("other_api", words))
