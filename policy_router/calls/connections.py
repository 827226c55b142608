"""Clients kept open: one for each provider, closed when it is dead and nobody uses it any more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from policy_router.calls.child_task import Reply
from policy_router.calls.endpoints import Endpoint
from policy_router.calls.failing import Failing
from policy_router.calls.failures import Failure
from policy_router.files.forks import begins_again, keep

if TYPE_CHECKING:
    from policy_router.calls.exchange import AsyncConnection, Connection

T = TypeVar("T")

_UNREACHED: Final = frozenset({Failing.CONNECTION_FAILED, Failing.TIMEOUT})


def require_http() -> None:
    """Import what makes calls, so that nothing is begun that needs it where it is missing.

    Raises:
        ModuleNotFoundError: the extra ``run`` is not installed.
    """
    import_module("policy_router.calls.exchange")


def prepare_http() -> None:
    """Import what makes calls, and read whom to trust.

    Raises:
        ModuleNotFoundError: the extra ``run`` is not installed.
    """
    import_module("policy_router.calls.exchange").trust()


@dataclass(slots=True)
class Lease(Generic[T]):
    """The use of a client.

    Attributes:
        client: the client.
        endpoint: what it is connected to.
        users: how many use it now.
        answers: how many answers it has brought.
        is_lent: whether somebody has it who does not give it back.
        is_retired: whether nobody is given it any more.
    """

    client: T
    endpoint: Endpoint
    users: int = 0
    answers: int = 0
    is_lent: bool = False
    is_retired: bool = False


class Clients(Generic[T]):
    """Clients by provider. Where its endpoint has changed, such as its key, it gets a new one."""

    def __init__(self, connect: Callable[[Endpoint], T]) -> None:
        """Begin with none.

        Args:
            connect: makes the client of an endpoint.
        """
        self._connect = connect
        self._is_closed = False
        self._leases: dict[str, Lease[T]] = {}
        self._lent: list[T] = []
        self._dead: list[T] = []
        self._lock = threading.Lock()
        begins_again(self)

    def begin_again(self) -> None:
        """Have no clients, and a new lock: in a process that was forked."""
        keep(self._leases, self._lent, self._dead)
        self._leases, self._lent, self._dead = {}, [], []
        self._lock = threading.Lock()

    def take(self, endpoint: Endpoint) -> Lease[T]:
        """Return the client of an endpoint, to be given back after each call.

        Raises:
            RuntimeError: the clients are closed.
        """
        with self._lock:
            lease = self._lease(endpoint)
            lease.users += 1
            return lease

    def lend(self, endpoint: Endpoint) -> T:
        """Return the client of an endpoint to somebody who does not give it back.

        Raises:
            RuntimeError: the clients are closed.
        """
        with self._lock:
            lease = self._lease(endpoint)
            if not lease.is_lent:
                lease.is_lent = True
                self._lent.append(lease.client)
            return lease.client

    def _lease(self, endpoint: Endpoint) -> Lease[T]:
        if self._is_closed:
            raise RuntimeError("the executor is closed")
        lease = self._leases.get(endpoint.provider)
        if lease is not None and lease.endpoint == endpoint:
            return lease
        if lease is not None:
            self._retire(lease)
        made = self._leases[endpoint.provider] = Lease(self._connect(endpoint), endpoint)
        return made

    def give_back(self, lease: Lease[T], *, is_dead: bool) -> None:
        """End the use of a client.

        Args:
            lease: what was taken.
            is_dead: whether its connections no longer work; the next call gets a new client.
        """
        with self._lock:
            lease.users -= 1
            if lease.is_retired:
                self._bury(lease)
            elif is_dead:
                self._retire(lease)

    def _retire(self, lease: Lease[T]) -> None:
        lease.is_retired = True
        if self._leases.get(lease.endpoint.provider) is lease:
            del self._leases[lease.endpoint.provider]
        self._bury(lease)

    def _bury(self, lease: Lease[T]) -> None:
        if lease.users == 0 and not lease.is_lent:
            self._dead.append(lease.client)

    def dead(self) -> list[T]:
        """Return the clients that are to be closed now; each is returned once."""
        if not self._dead:
            return []
        with self._lock:
            found, self._dead = self._dead, []
            return found

    def close(self) -> list[T]:
        """Give out no more clients, and return all that are to be closed."""
        with self._lock:
            self._is_closed = True
            kept = [lease.client for lease in self._leases.values() if not lease.is_lent]
            found = [*self._dead, *self._lent, *kept]
            self._leases, self._lent, self._dead = {}, [], []
            return found


class Connections:
    """The clients of one executor: those of threads, and those of each event loop."""

    def __init__(self, timeout: float, transport: Any = None) -> None:
        """Begin with none.

        Args:
            timeout: seconds that a provider may be silent.
            transport: a transport of the SDK's HTTP client in place of the network, or None.
        """
        self._timeout, self._transport = timeout, transport
        self.clients: Clients[Connection] = Clients(self._connect)
        self._by_loop: dict[asyncio.AbstractEventLoop, Clients[AsyncConnection]] = {}
        self._is_closed = False
        self._lock = threading.Lock()
        begins_again(self)

    def begin_again(self) -> None:
        """Know no event loop, and have a new lock: in a process that was forked."""
        keep(self._by_loop)
        self._by_loop = {}
        self._lock = threading.Lock()

    def of_this_loop(self) -> Clients[AsyncConnection]:
        """Return the clients of the running event loop; a connection cannot leave its loop.

        Raises:
            RuntimeError: the connections are closed.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._is_closed:
                raise RuntimeError("the executor is closed")
            found = self._by_loop.get(loop)
            if found is None:
                self._forget_closed_loops()
                found = self._by_loop[loop] = Clients(self._connect_async)
            return found

    def _forget_closed_loops(self) -> None:
        """Let go of connections that nobody closed while their loop could still do so."""
        for loop in [loop for loop in self._by_loop if loop.is_closed()]:
            del self._by_loop[loop]

    def _connect(self, endpoint: Endpoint) -> Connection:
        from policy_router.calls.exchange import connect

        return connect(endpoint, self._timeout, self._transport)

    def _connect_async(self, endpoint: Endpoint) -> AsyncConnection:
        from policy_router.calls.exchange import connect_async

        return connect_async(endpoint, self._timeout, self._transport)

    def close(self) -> None:
        """Close the connections of threads, and give out none any more."""
        with self._lock:
            self._is_closed = True
            self._forget_closed_loops()
        for client in self.clients.close():
            client.close()

    async def release(self) -> None:
        """Close the connections of the running event loop."""
        with self._lock:
            clients = self._by_loop.pop(asyncio.get_running_loop(), None)
        for client in clients.close() if clients else ():
            await client.close()


@dataclass(slots=True)
class Loan(Generic[T]):
    """A client in use, and what it brought: None, while that is not known."""

    client: T
    answer: Reply | Failure | None = None


@contextmanager
def borrowed(clients: Clients[T], endpoint: Endpoint) -> Iterator[Loan[T]]:
    """Use a client, and retire it where its connections seem to be dead.

    They do where a call found nobody, and no other call had an answer meanwhile.

    Args:
        clients: where the client is from.
        endpoint: what it is to be connected to.

    Raises:
        RuntimeError: the clients are closed.
    """
    lease = clients.take(endpoint)
    before, loan = lease.answers, Loan(lease.client)
    try:
        yield loan
    finally:
        unreached = isinstance(loan.answer, Failure) and loan.answer.code in _UNREACHED
        if loan.answer is not None and not unreached:
            lease.answers += 1
        clients.give_back(lease, is_dead=unreached and lease.answers == before)
