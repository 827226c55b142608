"""What begins again in a forked process has new locks and nothing of its parent, used or not."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from policy_router import loads
from policy_router.calls.connections import Clients, Connections
from policy_router.calls.endpoints import Endpoint
from policy_router.calls.failing import Failing
from policy_router.calls.failures import Failure
from policy_router.calls.health import Health
from policy_router.calls.legs import Legs
from policy_router.calls.slots import ENDPOINTS, Slots
from policy_router.delegation.held import holding, lent
from policy_router.delegation.loop import BackgroundLoop
from policy_router.delegation.tasks import Tasks
from policy_router.hosts.deciding_policy import DecidingPolicy

HERE = Endpoint("p", "http://127.0.0.1:9")


async def where() -> tuple[threading.Thread, asyncio.AbstractEventLoop]:
    return threading.current_thread(), asyncio.get_running_loop()


async def last() -> None:
    """Have nothing to do at the end."""


def test_a_loop_begins_again_in_another_thread() -> None:
    loop = BackgroundLoop()
    thread, running = loop.run(where)
    loop.begin_again()
    another, its_own = loop.run(where)
    assert another is not thread
    assert its_own is not running
    loop.stop(last)
    running.call_soon_threadsafe(running.stop)  # as the parent does
    thread.join(10)
    running.close()


def test_clients_of_the_parent_are_not_given_out_and_not_closed() -> None:
    clients: Clients[Any] = Clients(lambda _endpoint: object())
    lease, lent_ = clients.take(HERE), clients.lend(HERE)
    clients.begin_again()
    assert clients.take(HERE).client is not lease.client
    assert lent_ not in clients.close()
    with pytest.raises(RuntimeError, match="closed"):
        clients.take(HERE)
    clients.begin_again()
    with pytest.raises(RuntimeError, match="closed"):
        clients.take(HERE)


def test_the_loops_of_the_parent_are_not_known() -> None:
    async def run() -> None:
        connections = Connections(1.0)
        before = connections.of_this_loop()
        connections.begin_again()
        assert connections.of_this_loop() is not before

    asyncio.run(run())


def test_what_is_known_of_targets_is_forgotten() -> None:
    health = Health(lambda: 0.0)
    health.failed("p", "m", Failure(Failing.RATE_LIMITED, "wait", 429, 9))
    health.begin_again()
    assert health.rest("p", "m") is None


def test_all_slots_are_free_and_those_of_the_parent_are_nobodys() -> None:
    slots = Slots(1)
    slot = slots.take_now()
    assert slot is not None
    with holding(slots, slot):
        slots.begin_again()
        with lent():  # nothing of this process is lent
            assert slots.take_now() is not None
    assert slots.taken == 1
    at = ENDPOINTS.slots("forks", "http://forks", 1)
    ENDPOINTS.begin_again()
    assert ENDPOINTS.slots("forks", "http://forks", 1) is not at


def test_no_task_is_under_way() -> None:
    tasks = Tasks(1)
    with tasks.count(1):
        tasks.begin_again()
        with tasks.count(1):
            pass
    with tasks.count(1):
        pass


def test_keys_and_policies_are_kept() -> None:
    text = "{model: m, provider: p, providers: {p: {base_url: 'http://h', api_key: env:K}}}"
    policy, legs = loads(text), Legs({"K": "a-key-of-some-length"})
    legs.endpoint(policy, "p")
    legs.begin_again()
    assert legs.secrets == ("a-key-of-some-length",)
    deciding = DecidingPolicy(policy)
    deciding.begin_again()
    assert deciding.policy() is policy
