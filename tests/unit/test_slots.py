"""So many slots for threads and event loops together; whoever waited longest is next."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from policy_router.calls.slots import ENDPOINTS, Slot, Slots
from policy_router.delegation.held import Held, holding, lent, lent_async


def taken(slots: Slots) -> Slot:
    slot = slots.take_now()
    assert slot is not None
    return slot


def eventually(is_true: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not is_true():
        assert time.monotonic() < until
        time.sleep(0.001)


def waiting_thread(slots: Slots, got: list[Slot | None]) -> threading.Thread:
    thread = threading.Thread(target=lambda: got.append(slots.take(10)))
    thread.start()
    eventually(lambda: slots.waiting > 0)
    return thread


def test_there_are_so_many_and_no_more() -> None:
    slots = Slots(2)
    one, _ = taken(slots), taken(slots)
    assert slots.take_now() is None
    one.give_back()
    taken(slots)


def test_a_slot_is_given_back_once() -> None:
    slots = Slots(1)
    slot = taken(slots)
    slot.give_back()
    slot.give_back()
    assert slots.taken == 0


def test_a_thread_waits_for_one_that_is_given_back() -> None:
    slots, got = Slots(1), list[Slot | None]()
    slot = taken(slots)
    thread = waiting_thread(slots, got)
    slot.give_back()
    thread.join(10)
    assert got[0] is not None
    assert slots.taken == 1


def test_nobody_passes_by_those_who_wait() -> None:
    slots, got = Slots(1), list[Slot | None]()
    slot = taken(slots)
    thread = waiting_thread(slots, got)
    slots.resize(2)
    thread.join(10)
    assert got[0] is not None
    assert slots.take_now() is None
    slot.give_back()


def test_one_waits_no_longer_than_one_says() -> None:
    slots = Slots(1)
    slot = taken(slots)
    assert slots.take(0.01) is None
    assert asyncio.run(slots.take_async(0.01)) is None
    slot.give_back()
    taken(slots)


def test_a_loop_waits_for_a_thread() -> None:
    slots = Slots(1)
    slot = taken(slots)

    async def run() -> None:
        waiting = asyncio.create_task(slots.take_async())
        await asyncio.sleep(0)
        threading.Thread(target=slot.give_back).start()
        got = await waiting
        assert got is not None
        got.give_back()

    asyncio.run(run())
    assert slots.taken == 0


def test_a_wait_that_is_cancelled_keeps_no_slot() -> None:
    slots = Slots(1)

    async def run() -> None:
        slot = taken(slots)
        first = asyncio.create_task(slots.take_async())
        second = asyncio.create_task(slots.take_async())
        await asyncio.sleep(0)
        first.cancel()
        slot.give_back()  # while the first is being cancelled
        got = await second
        assert got is not None
        got.give_back()
        await asyncio.gather(first, return_exceptions=True)

    asyncio.run(run())
    assert (slots.taken, slots.waiting) == (0, 0)


def test_a_wait_that_is_cancelled_as_it_ends_gives_its_slot_back() -> None:
    slots = Slots(1)

    async def run() -> None:
        slot = taken(slots)
        waiting = asyncio.create_task(slots.take_async())
        await asyncio.sleep(0)
        slot.give_back()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    asyncio.run(run())
    assert slots.taken == 0


def test_a_loop_that_is_gone_gets_none() -> None:
    slots = Slots(1)
    slot = taken(slots)
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(slots.take_async())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    slot.give_back()
    taken(slots)
    waiting.get_coro().close()


def test_many_threads_and_loops_never_have_more() -> None:
    slots, at_once, most = Slots(3), 0, 0
    lock = threading.Lock()

    def count(step: int) -> None:
        nonlocal at_once, most
        with lock:
            at_once += step
            most = max(most, at_once)

    def work() -> None:
        for _ in range(20):
            slot = slots.take()
            assert slot is not None
            count(1)
            count(-1)
            slot.give_back()

    async def work_async() -> None:
        for _ in range(20):
            slot = await slots.take_async()
            assert slot is not None
            count(1)
            await asyncio.sleep(0)
            count(-1)
            slot.give_back()

    async def works() -> None:
        await asyncio.gather(*(work_async() for _ in range(5)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    threads += [threading.Thread(target=lambda: asyncio.run(works())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (slots.taken, slots.waiting) == (0, 0)
    assert 1 <= most <= 3


# While one waits for others.


def test_whoever_waits_for_others_holds_no_slot() -> None:
    slots = Slots(1)
    with holding(slots, taken(slots)):
        with lent():
            assert slots.taken == 0
            with holding(slots, taken(slots)):
                assert slots.taken == 1
        assert slots.taken == 1
    assert slots.taken == 0


def test_on_a_loop_it_is_the_same() -> None:
    slots = Slots(1)

    async def run() -> None:
        with holding(slots, taken(slots)):
            async with lent_async():
                assert slots.taken == 0
            assert slots.taken == 1
        async with lent_async():
            pass  # nobody's child has nothing to lend

    asyncio.run(run())
    assert slots.taken == 0


def test_without_a_slot_there_is_nothing_to_lend() -> None:
    with lent():
        pass


def test_what_interrupts_the_others_is_not_waited_after() -> None:
    slots = Slots(1)

    async def run() -> None:
        with pytest.raises(ValueError, match="no"):
            async with lent_async():
                raise ValueError("no")

    with holding(slots, taken(slots)):
        with pytest.raises(ValueError, match="no"), lent():
            raise ValueError("no")
        asyncio.run(run())
        assert slots.taken == 0
    assert slots.taken == 0


def test_one_that_waits_for_others_twice_has_its_slot_back_after_both() -> None:
    slots = Slots(1)
    has = Held(slots, taken(slots))
    has.lend()
    has.lend()
    has.regain()
    assert slots.taken == 0
    has.regain()
    assert slots.taken == 1
    has.end()
    assert slots.taken == 0


def test_one_that_has_ended_gets_none_back() -> None:
    slots = Slots(1)
    has = Held(slots, taken(slots))
    has.lend()
    has.end()
    has.regain()
    assert slots.taken == 0


def test_a_slot_that_comes_after_the_end_is_given_back() -> None:
    slots = Slots(1)
    has = Held(slots, taken(slots))
    has.lend()
    other = taken(slots)
    thread = threading.Thread(target=has.regain)
    thread.start()
    eventually(lambda: slots.waiting > 0)
    has.end()
    other.give_back()
    thread.join(10)
    assert slots.taken == 0


def test_the_slots_of_an_endpoint_are_those_of_the_process() -> None:
    slots = ENDPOINTS.slots("p", "http://one.example", 2)
    assert ENDPOINTS.slots("p", "http://one.example", 3) is slots
    assert slots.limit == 3
    assert ENDPOINTS.slots("p", "http://two.example", 2) is not slots


def test_a_wait_in_a_thread_that_is_interrupted_keeps_no_slot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slots = Slots(1)
    slot = taken(slots)

    def interrupted(_event: threading.Event, _seconds: float | None = None) -> bool:
        slot.give_back()  # it comes just as the wait is interrupted
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Event, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        slots.take()
    assert (slots.taken, slots.waiting) == (0, 0)


def test_fewer_slots_than_are_taken_are_not_given_out() -> None:
    slots = Slots(2)
    one, two = taken(slots), taken(slots)
    slots.resize(1)
    slots.resize(1)
    one.give_back()
    assert slots.take_now() is None
    two.give_back()
    taken(slots)


def test_a_finalizer_may_drop_a_slot_while_the_lock_is_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slots, got = Slots(1), list[Slot | None]()
    slot = taken(slots)
    thread = waiting_thread(slots, got)
    looked = Slots.is_of_this_process

    def collecting(self: Slots, it: Slot) -> bool:
        if it is not slot:
            slot.drop()  # as the garbage collector may, in the midst of anything
        return looked(self, it)

    monkeypatch.setattr(Slots, "is_of_this_process", collecting)
    slots.give_back(Slot(slots, object()))
    thread.join(10)
    assert got[0] is not None
    assert slots.taken == 1
