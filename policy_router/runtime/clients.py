"""Clients kept open: one for each endpoint, closed when it is dead and nobody uses it any more."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from policy_router.runtime.endpoints import Endpoint
from policy_router.runtime.failures import Failure
from policy_router.runtime.results import Failing, Reply

if TYPE_CHECKING:
    import openai

T = TypeVar("T")

_UNREACHED: Final = frozenset({Failing.CONNECTION_FAILED, Failing.TIMEOUT})


@dataclass(slots=True)
class Lease(Generic[T]):
    """The use of a client.

    Attributes:
        client: the client.
        endpoint: what it is connected to.
        users: how many use it now.
        answers: how many answers it has brought.
        is_retired: whether nobody is given it any more.
    """

    client: T
    endpoint: Endpoint
    users: int = 0
    answers: int = 0
    is_retired: bool = False


class Clients(Generic[T]):
    """Clients by endpoint. A key that has changed makes another endpoint, so another client."""

    def __init__(self, connect: Callable[[Endpoint], T]) -> None:
        """Begin with none.

        Args:
            connect: makes the client of an endpoint.
        """
        self._connect = connect
        self._leases: dict[Endpoint, Lease[T]] = {}
        self._lock = threading.Lock()

    def take(self, endpoint: Endpoint) -> Lease[T]:
        """Return the client of an endpoint, to be given back after each call."""
        with self._lock:
            lease = self._leases.get(endpoint)
            if lease is None:
                lease = self._leases[endpoint] = Lease(self._connect(endpoint), endpoint)
            lease.users += 1
            return lease

    def give_back(self, lease: Lease[T], *, is_dead: bool) -> T | None:
        """End the use of a client.

        Args:
            lease: what was taken.
            is_dead: whether its connections no longer work; the next call gets a new client.

        Returns:
            A client that is to be closed now, or None.
        """
        with self._lock:
            lease.users -= 1
            if is_dead and not lease.is_retired:
                lease.is_retired = True
                if self._leases.get(lease.endpoint) is lease:
                    del self._leases[lease.endpoint]
            return lease.client if lease.is_retired and lease.users == 0 else None

    def get(self, endpoint: Endpoint) -> T:
        """Return the client of an endpoint, for somebody who does not give it back."""
        lease = self.take(endpoint)
        self.give_back(lease, is_dead=False)
        return lease.client

    def drop(self) -> list[T]:
        """Forget all clients, and return those that are to be closed."""
        with self._lock:
            found = list(self._leases.values())
            self._leases.clear()
            for lease in found:
                lease.is_retired = True
            return [lease.client for lease in found]


class Connections:
    """The clients of one executor: those of threads, and those of each event loop."""

    def __init__(self, timeout: float, transport: Any = None) -> None:
        """Begin with none.

        Args:
            timeout: seconds that a provider may be silent.
            transport: an ``httpx2`` transport in place of the network, or None.
        """
        self._timeout, self._transport = timeout, transport
        self.clients: Clients[openai.OpenAI] = Clients(self._connect)
        self._by_loop: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, Clients[openai.AsyncOpenAI]
        ] = weakref.WeakKeyDictionary()

    def of_this_loop(self) -> Clients[openai.AsyncOpenAI]:
        """Return the clients of the running event loop; a connection cannot leave its loop."""
        loop = asyncio.get_running_loop()
        found = self._by_loop.get(loop)
        if found is None:
            found = self._by_loop[loop] = Clients(self._connect_async)
        return found

    def _connect(self, endpoint: Endpoint) -> openai.OpenAI:
        from policy_router.runtime.sdk import connect

        return connect(endpoint, self._timeout, self._transport)

    def _connect_async(self, endpoint: Endpoint) -> openai.AsyncOpenAI:
        from policy_router.runtime.sdk import connect_async

        return connect_async(endpoint, self._timeout, self._transport)

    def close(self) -> None:
        """Close the connections of threads."""
        for client in self.clients.drop():
            client.close()

    async def aclose(self) -> None:
        """Close the connections of the running event loop, and those of threads."""
        for client in self.of_this_loop().drop():
            await client.close()
        self.close()


@dataclass(slots=True)
class Loan(Generic[T]):
    """A client in use, and what it brought: None, while that is not known."""

    client: T
    answer: Reply | Failure | None = None


@contextmanager
def borrowed(
    clients: Clients[T], endpoint: Endpoint, bury: Callable[[T], object]
) -> Iterator[Loan[T]]:
    """Use a client, and retire it where its connections seem to be dead.

    They do where a call found nobody, and no other call had an answer meanwhile.

    Args:
        clients: where the client is from.
        endpoint: what it is to be connected to.
        bury: is given a client that is to be closed.
    """
    lease = clients.take(endpoint)
    before, loan = lease.answers, Loan(lease.client)
    try:
        yield loan
    finally:
        unreached = isinstance(loan.answer, Failure) and loan.answer.code in _UNREACHED
        if loan.answer is not None and not unreached:
            lease.answers += 1
        is_dead = unreached and lease.answers == before
        client = clients.give_back(lease, is_dead=is_dead)
        if client is not None:
            bury(client)
