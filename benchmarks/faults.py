"""``python -m benchmarks.faults``: how far a provider's misbehaviour outlives its limits.

Each behaviour of the fault server of the tests is called in four forms, whole and streamed, in a
thread and on an event loop. The server is another process; the memory is that of this one.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, closing
from typing import NamedTuple

from benchmarks import cold
from policy_router.calls.child_task import Reply
from policy_router.calls.dialects import CHAT, Wire
from policy_router.calls.endpoints import Endpoint
from policy_router.calls.exchange import Exchange, connect, connect_async
from policy_router.calls.failures import Failure
from policy_router.calls.limits import Limits
from policy_router.files.clock import system_clock
from tests.support.faults import BEHAVIOURS, Faults

SHORT = Limits(first_byte=0.5, idle=0.5, total=0.5)
"""Every call has to be over by then, whichever of these it meets."""
LONG = Limits(first_byte=1.0, idle=1.0, total=10.0)
"""With these, what is large is read as far as it ever is."""
FORMS = tuple((on_loop, streams) for on_loop in (False, True) for streams in (False, True))
_KEY = "key-of-nobody-0123456789"


class Row(NamedTuple):
    """One call: how long it took, and what came of it."""

    name: str
    on_loop: bool
    streams: bool
    seconds: float
    outcome: str


def measure(limits: Limits) -> list[Row]:
    """Call each behaviour in each form, one after the other."""
    with Faults() as server:
        endpoint = Endpoint("one", server.url, _KEY)
        return [_row(name, endpoint, limits, *form) for name in BEHAVIOURS for form in FORMS]


def _row(
    name: str,
    endpoint: Endpoint,
    limits: Limits,
    on_loop: bool,  # noqa: FBT001 - of the table
    streams: bool,  # noqa: FBT001 - of the table
) -> Row:
    start = time.perf_counter()
    made = (
        asyncio.run(_on_loop(name, endpoint, limits, streams=streams))
        if on_loop
        else _in_thread(name, endpoint, limits, streams=streams)
    )
    outcome = "an answer" if isinstance(made, Reply) else str(made.code)
    return Row(name, on_loop, streams, time.perf_counter() - start, outcome)


def _exchange(name: str) -> Exchange:
    messages = [{"role": "user", "content": "Say hello."}]
    return Exchange(Wire(CHAT, name, {}, (), messages), (_KEY,), system_clock)


def _in_thread(name: str, endpoint: Endpoint, limits: Limits, *, streams: bool) -> Reply | Failure:
    exchange = _exchange(name)
    with closing(connect(endpoint, 600)) as client:
        if not streams:
            return exchange.call(client, limits)
        for _ in exchange.stream(client, limits):
            pass
    return exchange.reading.outcome()


async def _on_loop(
    name: str, endpoint: Endpoint, limits: Limits, *, streams: bool
) -> Reply | Failure:
    exchange, client = _exchange(name), connect_async(endpoint, 600)
    try:
        if not streams:
            return await exchange.call_async(client, limits)
        async with aclosing(exchange.stream_async(client, limits)) as pieces:
            async for _ in pieces:
                pass
    finally:
        await client.close()
    return exchange.reading.outcome()


def main() -> None:
    """Print what outlived its limits the most, and the most memory that was used."""
    before = cold.memory("VmRSS")
    rows = sorted(measure(SHORT), key=lambda row: row.seconds, reverse=True)
    print(f"{len(rows)} calls of {len(BEHAVIOURS)} behaviours, each with {SHORT}")
    beyond = rows[0].seconds - (SHORT.total or 0)
    print(f"beyond the limit, at most: {beyond:.3f} s")
    measure(LONG)
    print(f"memory before {before:.0f} MB, at most {cold.memory('VmHWM'):.0f} MB")
    for row in rows[:8]:
        form = f"{'loop' if row.on_loop else 'thread'}{', streamed' if row.streams else ''}"
        print(f"  {row.name:24} {form:18} {row.seconds:6.3f} s  {row.outcome}")


if __name__ == "__main__":
    main()
