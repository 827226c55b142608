"""Clients are kept for each provider, and closed when dead and used by nobody any more."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from policy_router.calls.child_task import Reply
from policy_router.calls.connections import Clients, Connections, borrowed
from policy_router.calls.endpoints import Endpoint
from policy_router.calls.failing import Failing
from policy_router.calls.failures import Failure
from tests.support.rows import each

HERE = Endpoint("main", "http://127.0.0.1:9/v1", "first-key")
THERE = replace(HERE, api_key="second-key")
GOOD = Reply(text="done")
LOST = Failure(Failing.CONNECTION_FAILED, "lost")
LATE = Failure(Failing.TIMEOUT, "late")
DOWN = Failure(Failing.SERVER_ERROR, "down", 503)


class Client:
    """What is connected to an endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint


def use(
    clients: Clients[Client], answer: Reply | Failure | None = GOOD, endpoint: Endpoint = HERE
) -> Client:
    """Make a call that has some answer, and return the client it was made with."""
    with borrowed(clients, endpoint) as loan:
        loan.answer = answer
    return loan.client


# One for each provider.


def test_one_endpoint_has_one_client() -> None:
    clients = Clients(Client)
    first = use(clients)
    assert use(clients) is first
    assert use(clients, endpoint=replace(HERE)) is first
    assert clients.lend(HERE) is first
    other = replace(HERE, provider="other")
    assert use(clients, endpoint=other) is not first
    assert use(clients) is first


@each(
    "changed",
    [
        THERE,
        replace(HERE, base_url="http://127.0.0.1:10/v1"),
        replace(HERE, headers=(("X-Key", "a"),)),
    ],
    ids=["key", "address", "headers"],
)
def test_a_key_address_or_header_that_has_changed_makes_another_client(changed: Endpoint) -> None:
    clients = Clients(Client)
    first, second = use(clients), use(clients, endpoint=changed)
    assert first is not second
    assert (first.endpoint, second.endpoint) == (HERE, changed)
    assert use(clients, endpoint=changed) is second
    # What nobody uses any more is closed.
    assert clients.dead() == [first]


def test_a_client_with_an_old_key_is_closed_when_its_last_user_is_done() -> None:
    clients = Clients(Client)
    with borrowed(clients, HERE) as old:
        use(clients, endpoint=THERE)
        assert clients.dead() == []
    assert clients.dead() == [old.client]


def test_a_client_is_made_when_it_is_wanted_and_not_before() -> None:
    made: list[Endpoint] = []

    def connect(endpoint: Endpoint) -> Client:
        made.append(endpoint)
        return Client(endpoint)

    clients = Clients(connect)
    assert made == []
    use(clients)
    use(clients)
    assert made == [HERE]


def test_a_client_that_cannot_be_made_is_tried_again() -> None:
    tries: list[int] = []

    def connect(endpoint: Endpoint) -> Client:
        tries.append(1)
        if len(tries) == 1:
            raise LookupError
        return Client(endpoint)

    clients = Clients(connect)
    with pytest.raises(LookupError):
        clients.take(HERE)
    assert clients.take(HERE).users == 1


# Who uses it.


def test_its_users_are_counted() -> None:
    clients = Clients(Client)
    first, second = clients.take(HERE), clients.take(HERE)
    assert first is second
    assert first.users == 2
    clients.give_back(first, is_dead=False)
    clients.give_back(first, is_dead=False)
    assert first.users == 0
    assert clients.dead() == []


def test_a_client_that_is_alive_is_kept() -> None:
    clients = Clients(Client)
    first = use(clients)
    for answer in (GOOD, DOWN, None):
        assert use(clients, answer) is first
    assert clients.dead() == []


@pytest.mark.parametrize("answer", [LOST, LATE], ids=["lost", "late"])
def test_a_client_that_found_nobody_is_closed_and_the_next_call_has_a_new_one(
    answer: Failure,
) -> None:
    clients = Clients(Client)
    gone = use(clients, answer)
    assert use(clients) is not gone
    assert clients.dead() == [gone]
    assert clients.dead() == []


def test_a_dead_client_is_closed_when_its_last_user_is_done() -> None:
    clients = Clients(Client)
    with borrowed(clients, HERE) as outer:
        with borrowed(clients, HERE) as inner:
            inner.answer = LOST
        assert inner.client is outer.client
        assert clients.dead() == []
        # Nobody is given it any more.
        assert use(clients) is not outer.client
        outer.answer = GOOD
    assert clients.dead() == [outer.client]


def test_a_client_that_dies_for_several_is_closed_once() -> None:
    clients = Clients(Client)
    with borrowed(clients, HERE) as outer:
        with borrowed(clients, HERE) as inner:
            inner.answer = LOST
        fresh = use(clients)
        outer.answer = LATE
    assert clients.dead() == [outer.client]
    assert use(clients) is fresh


def test_a_client_over_which_another_call_had_an_answer_meanwhile_is_not_dead() -> None:
    clients = Clients(Client)
    with borrowed(clients, HERE) as slow:
        use(clients, DOWN)
        slow.answer = LATE
    assert clients.dead() == []
    assert use(clients) is slow.client


def test_an_answer_before_the_call_began_does_not_count() -> None:
    clients = Clients(Client)
    first = use(clients)
    assert use(clients, LOST) is first
    assert clients.dead() == [first]


@each("problem", [ValueError, KeyboardInterrupt, asyncio.CancelledError])
def test_a_call_that_is_broken_off_gives_its_client_back(problem: type[BaseException]) -> None:
    clients = Clients(Client)

    def broken() -> None:
        with borrowed(clients, HERE):
            raise problem

    with pytest.raises(problem):
        broken()
    lease = clients.take(HERE)
    assert (lease.users, lease.answers, lease.is_retired) == (1, 0, False)
    assert clients.dead() == []


# Lent for good.


@pytest.mark.parametrize("late", [False, True], ids=["before", "meanwhile"])
def test_a_client_that_was_lent_is_not_closed_before_the_end(*, late: bool) -> None:
    clients = Clients(Client)
    lent = None if late else clients.lend(HERE)
    with borrowed(clients, HERE) as loan:
        lent = lent or clients.lend(HERE)
        loan.answer = LOST
    fresh = use(clients)
    assert fresh is not lent
    assert clients.dead() == []
    assert set(clients.close()) == {lent, fresh}


def test_a_client_that_was_lent_twice_is_closed_once() -> None:
    clients = Clients(Client)
    assert clients.lend(HERE) is clients.lend(HERE)
    assert len(clients.close()) == 1


# The end.


def test_all_clients_are_closed_at_the_end_each_once() -> None:
    clients = Clients(Client)
    gone, lent = use(clients, LOST), clients.lend(HERE)
    changed = use(clients, endpoint=THERE)
    other = use(clients, endpoint=replace(HERE, provider="other"))
    found = clients.close()
    assert len(found) == 4
    assert set(found) == {gone, lent, changed, other}
    assert clients.close() == []


def test_after_the_end_nobody_is_given_a_client() -> None:
    clients = Clients(Client)
    clients.close()
    with pytest.raises(RuntimeError, match="the executor is closed"):
        clients.take(HERE)
    with pytest.raises(RuntimeError, match="the executor is closed"):
        clients.lend(HERE)


@pytest.mark.parametrize("answer", [GOOD, LOST], ids=["good", "lost"])
def test_a_call_that_outlives_the_end_ends_in_peace(answer: Reply | Failure) -> None:
    clients = Clients(Client)
    with borrowed(clients, HERE) as loan:
        assert clients.close() == [loan.client]
        loan.answer = answer
    # To close a client twice does no harm.
    assert set(clients.dead()) <= {loan.client}


# Threads.


def test_threads_share_one_client_and_it_is_never_closed_under_a_user() -> None:
    made: list[Client] = []
    in_use: dict[Client, int] = {}
    closed: list[Client] = []
    wrong: list[str] = []
    lock = threading.Lock()

    def connect(endpoint: Endpoint) -> Client:
        made.append(Client(endpoint))
        return made[-1]

    clients = Clients(connect)

    def calls(number: int) -> None:
        for turn in range(200):
            endpoint = THERE if (turn + number) % 50 == 0 else HERE
            with borrowed(clients, endpoint) as loan:
                with lock:
                    in_use[loan.client] = in_use.get(loan.client, 0) + 1
                    if loan.client in closed:
                        wrong.append("used after it was closed")
                loan.answer = LOST if (turn + number) % 7 == 0 else GOOD
                with lock:
                    in_use[loan.client] -= 1
            for client in clients.dead():
                with lock:
                    if in_use[client]:
                        wrong.append("closed while in use")
                    closed.append(client)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(calls, range(8)))
    assert wrong == []
    closed += clients.close()
    assert len(closed) == len(set(closed)) == len(made)


def test_threads_that_come_at_once_make_one_client() -> None:
    barrier = threading.Barrier(8)
    made: list[Client] = []

    def connect(endpoint: Endpoint) -> Client:
        made.append(Client(endpoint))
        return made[-1]

    clients = Clients(connect)

    def take(_number: int) -> Client:
        barrier.wait(20)
        return clients.take(HERE).client

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(take, range(8)))) == 1
    assert len(made) == 1


# The clients of an executor.


@pytest.mark.slow
def test_threads_and_each_event_loop_have_clients_of_their_own() -> None:
    connections = Connections(timeout=1.0)
    client = connections.clients.lend(HERE)

    async def once() -> bool:
        clients = connections.of_this_loop()
        same = clients is connections.of_this_loop()
        mine = clients.lend(HERE)
        await connections.release()
        return same and mine.http.is_closed and connections.of_this_loop() is not clients

    assert [asyncio.run(once()) for _ in range(2)] == [True, True]
    assert not client.http.is_closed
    connections.close()
    assert client.http.is_closed


@pytest.mark.slow
def test_to_release_on_one_loop_leaves_the_clients_of_another() -> None:
    connections = Connections(timeout=1.0)

    async def inner() -> None:
        connections.of_this_loop().lend(HERE)
        await connections.release()

    async def outer() -> bool:
        client = connections.of_this_loop().lend(HERE)
        await asyncio.to_thread(asyncio.run, inner())
        still = not client.http.is_closed
        await connections.release()
        await connections.release()
        return still and client.http.is_closed

    assert asyncio.run(outer())


def test_after_the_end_there_are_no_connections() -> None:
    connections = Connections(timeout=1.0)
    connections.close()
    connections.close()

    async def ask() -> None:
        await connections.release()
        connections.of_this_loop()

    with pytest.raises(RuntimeError, match="the executor is closed"):
        asyncio.run(ask())
    with pytest.raises(RuntimeError, match="the executor is closed"):
        connections.clients.take(HERE)


def test_after_the_end_a_loop_can_still_close_its_own_connections() -> None:
    connections = Connections(timeout=1.0)

    async def late() -> bool:
        client = connections.of_this_loop().lend(HERE)
        connections.close()
        await connections.release()
        return client.http.is_closed

    assert asyncio.run(late())


@pytest.mark.slow
def test_a_loop_that_has_ended_is_forgotten() -> None:
    connections = Connections(timeout=1.0)
    kept: list[weakref.ref[object]] = []

    async def begin() -> None:
        kept.append(weakref.ref(connections.of_this_loop()))

    for _ in range(3):
        asyncio.run(begin())
    gc.collect()
    assert [it() is None for it in kept] == [True, True, False]
    connections.close()
    gc.collect()
    assert kept[-1]() is None


def test_without_a_loop_there_are_no_clients_of_one() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        Connections(timeout=1.0).of_this_loop()


def test_no_key_is_shown() -> None:
    lease = Clients(Client).take(HERE)
    assert "first-key" not in f"{HERE!r}{lease!r}"


@pytest.mark.slow
def test_clients_of_an_event_loop_that_has_ended_are_let_go() -> None:
    connections = Connections(5.0)
    kept: list[Any] = []

    async def use() -> None:
        clients = connections.of_this_loop()
        kept.append(weakref.ref(clients))

    for _ in range(3):
        asyncio.run(use())
    gc.collect()
    assert [reference() is None for reference in kept] == [True, True, False]
    connections.close()
    gc.collect()
    assert kept[-1]() is None
