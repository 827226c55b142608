"""What an HTTP client lacks: waits of a thread that end in time, and logs without keys."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from policy_router.calls.failures import without
from policy_router.diagnostics.redaction import redact_words

# A thread waits in the operating system, where nobody can call it back. So what it reads from is
# told the moment to which the present step may wait, and asks for it before each wait.

_STEP: Final = threading.local()
_SHORTEST_WAIT: Final = 0.001
_LONGEST_WRITE: Final = 64 * 1024


@contextmanager
def waits_until(until: float) -> Iterator[None]:
    """Let this thread wait for the network no longer than to a moment.

    Args:
        until: the moment, by the clock of :func:`time.monotonic`; infinite for none.
    """
    _STEP.until = until
    try:
        yield
    finally:
        _STEP.until = math.inf


def _wait(timeout: float | None) -> float | None:
    """Return how long to wait: no longer than was said, and no longer than the step may."""
    until: float = getattr(_STEP, "until", math.inf)
    if until == math.inf:
        return timeout
    left = max(until - time.monotonic(), _SHORTEST_WAIT)
    return left if timeout is None else min(left, timeout)


def bound(http: Any) -> None:
    """Let all connections of a client ask how long they may wait.

    The client has no option for that: its transports make their pools themselves.

    Args:
        http: a client of ``httpx`` or ``httpx2``.
    """
    for transport in (http._transport, *http._mounts.values()):  # noqa: SLF001 - as above
        pool = getattr(transport, "_pool", None)
        if pool is not None:
            pool._network_backend = _Network(pool._network_backend)  # noqa: SLF001 - as above


class _Network:
    """Opens connections whose waits end with the step."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, **more: Any) -> Any:
        return _Stream(self._backend.connect_tcp(host, port, _wait(timeout), **more))

    def connect_unix_socket(self, path: str, timeout: float | None = None, **more: Any) -> Any:
        return _Stream(self._backend.connect_unix_socket(path, _wait(timeout), **more))

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


class _Stream:
    """A connection whose waits end with the step."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        found: bytes = self._stream.read(max_bytes, _wait(timeout))
        return found

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _LONGEST_WRITE):
            self._stream.write(buffer[start : start + _LONGEST_WRITE], _wait(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> Any:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, _wait(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


# The client and its parts log what they get at the level DEBUG, headers of answers included, and
# addresses at INFO. A provider may repeat a key there.

_SHORTEST: Final = 8
_MOST_HIDDEN: Final = 200
_PARTS: Final = (
    *("{core}.connection", "{core}.http11", "{core}.http2", "{core}.proxy", "{core}.socks"),
    *("{http}", "{sdk}._base_client", "{sdk}._response", "{sdk}._legacy_response"),
)


class _Hiding(logging.Filter):
    """Puts stars in place of keys, those that are known and what looks like one."""

    def __init__(self) -> None:
        super().__init__()
        self.secrets: dict[str, None] = {}
        self.lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        said = record.getMessage()
        secrets = sorted(self.secrets, key=len, reverse=True)
        record.msg, record.args = redact_words(without(said, secrets)), ()
        return True


_HIDING: Final = _Hiding()


def hide(secrets: Iterable[str]) -> None:
    """Let no log of the HTTP client repeat these keys."""
    known = {secret: None for secret in secrets if len(secret) >= _SHORTEST}
    with _HIDING.lock:
        kept = [key for key in _HIDING.secrets if key not in known][-_MOST_HIDDEN:]
        _HIDING.secrets = {**dict.fromkeys(kept), **known}


def hide_in_logs(http: str, sdk: str) -> None:
    """Let the logs of an HTTP client and an SDK repeat no keys.

    Args:
        http: the name of the client's module.
        sdk: the name of the SDK's module.
    """
    core = http.replace("httpx", "httpcore")
    for part in _PARTS:
        logging.getLogger(part.format(core=core, http=http, sdk=sdk)).addFilter(_HIDING)
