"""Where a log is gone through: on this machine, or on a Dask cluster that shares its folder.

Dask hands the pieces out, and hands a piece out again whose worker was lost. What a piece comes to
and how pieces are merged is the same everywhere, so the place changes no byte of a report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar

from policy_router.errors import LogError, RequestError, needs_extra
from policy_router.log.folder import LogFolder

T = TypeVar("T")

LOCAL: Final = "local"
"""The place that is this machine."""
_DASK: Final = "dask:"
_PATIENCE_SECONDS: Final = 30
"""How long a cluster may take until its first worker is there."""


@contextmanager
def executor_at(place: str, log: LogFolder) -> Iterator[Executor | None]:
    """Yield what does the work at a place; None for this machine.

    Args:
        place: `local`, or `dask:` and the address of a scheduler.
        log: what the work is about.

    Raises:
        RequestError: there is no such place.
        ModuleNotFoundError: the extra for clusters is not installed.
        LogError: the cluster cannot be reached, has no worker, or is lost.
    """
    address = place.removeprefix(_DASK)
    if place == LOCAL:
        yield None
    elif address and address != place:
        with _dask_executor(address, str(log.path)) as executor:
            yield executor
    else:
        raise RequestError("on", "expected `local`, or `dask:` and the address of a scheduler")


@contextmanager
def _dask_executor(address: str, folder: str) -> Iterator[Executor]:
    with needs_extra("dask", "distributed", "replaying on a cluster"):
        from distributed import Client, KilledWorker
        from distributed.comm import CommClosedError, get_address_host_port

    def failed(reason: str) -> LogError:
        return LogError(folder, f"the cluster at {address}: {reason}")

    try:
        get_address_host_port(address)
    except ValueError:
        raise RequestError(
            "on", f"`{address}` is not an address such as `tcp://HOST:PORT`"
        ) from None
    try:
        client = Client(address, set_as_default=False)
    except OSError:
        raise failed("no scheduler answers there") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=_PATIENCE_SECONDS)
        except TimeoutError:
            raise failed("it has no worker") from None
        try:
            yield _OnDask(client)
        except KilledWorker:
            raise failed("one piece of the log cost several workers their lives") from None
        except (CancelledError, CommClosedError):
            raise failed("its scheduler is lost") from None


class _OnDask(Executor):
    """Hands work to a cluster.

    The executor that Dask has waits for ever where the scheduler is lost while a result is on its
    way; Dask's own futures do not.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def submit(self, work: Callable[..., T], /, *values: Any, **options: Any) -> Future[T]:
        """Begin a piece of work; a future of Dask has a result, and can be cancelled."""
        made: Future[T] = self._client.submit(partial(work, **options), *values, pure=False)
        return made
