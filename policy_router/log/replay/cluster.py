"""Where a log is gone through: on this machine, or on a Dask cluster that shares its folder.

Dask hands the pieces out, and hands a piece out again whose worker was lost. What a piece comes to
and how pieces are merged is the same everywhere, so the place changes no byte of a report.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor
from contextlib import contextmanager
from typing import Final

from policy_router.errors import LogError, RequestError, needs_extra
from policy_router.log.folder import LogFolder

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
        raise RequestError("on", f"`{address}` is no address such as `tcp://HOST:PORT`") from None
    try:
        client = Client(address, set_as_default=False)
    except OSError:
        raise failed("no scheduler answers there") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=_PATIENCE_SECONDS)
        except TimeoutError:
            raise failed("it has no worker") from None
        executor = client.get_executor()
        try:
            yield executor
        except KilledWorker:
            raise failed("one piece of the log cost several workers their lives") from None
        except (CancelledError, CommClosedError):
            raise failed("its scheduler is lost") from None
        finally:
            executor.shutdown(wait=False)
