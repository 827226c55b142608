"""The life of a service: its socket, and the processes that answer."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from policy_router.domain import Policy
from policy_router.errors import RequestError, needs_extra, reason_of
from policy_router.server.credentials import LOGGER
from policy_router.server.reloading import RuleFiles
from policy_router.server.settings import Settings, Tls, index_of

NEEDED: Final = ("uvicorn", "uvloop", "httptools", "jwt", "prometheus_client", "jinja2")
_BACKLOG: Final = 2048
_MOST_FILES: Final = 1_048_576
_QUEUE_SECONDS: Final = 0.1
_POLL_SECONDS: Final = 1.0


def need_server(*, runs: bool = False) -> None:
    """Say which extra a service needs, where it is not there.

    Args:
        runs: whether it calls models.

    Raises:
        ModuleNotFoundError: a package of the extra is not installed.
    """
    for module in NEEDED:
        with needs_extra("serve", module, "the service"):
            if find_spec(module) is None:
                raise ModuleNotFoundError(name=module)
    with needs_extra("run", "openai", "calling a model"):
        if runs and find_spec("openai") is None:
            raise ModuleNotFoundError(name="openai")


def serve(files: RuleFiles, policy: Policy, settings: Settings, say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT comes.

    Args:
        files: the rule files, as they were before they were read.
        policy: what was compiled of it.
        settings: the configuration.
        say: is told where the service listens, once it does.

    Raises:
        RequestError: the configuration names a file or an address that cannot be used.
        ModuleNotFoundError: an extra is not installed.
    """
    need_server(runs=settings.run)
    from policy_router.server.supervisor import Supervisor
    from policy_router.server.worker import Worker, why_not_writable

    _check_tls(settings.tls)
    _allow_connections()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is somebody to load a policy again
    with tempfile.TemporaryDirectory(prefix="policy-router-") as folder:
        shared, several = Path(folder), settings.workers > 1
        if settings.log is not None and (reason := why_not_writable(settings.log)) is not None:
            LOGGER.warning("not ready: %s", reason)
        serving = Supervisor if several else Worker
        server = serving(files, policy, settings, shared)
        listener = listen(settings)
        try:
            with following(settings) as keep:
                server.run(listener, lambda: say(where(listener, settings)), keep)
        finally:
            listener.close()
            if settings.socket_path is not None:
                Path(settings.socket_path).unlink(missing_ok=True)


def _check_tls(tls: Tls | None) -> None:
    """Say once, and at once, what is wrong with a certificate; it is read again by each worker."""
    if tls is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            tls.certificate, tls.key, password=lambda: ""
        )
    except ssl.SSLError:
        reason = "these are not a certificate and its key, in PEM and without a password"
        raise RequestError(f"tls: {tls.certificate}, {tls.key}", reason) from None
    except OSError as problem:
        reason = f"cannot be read: {reason_of(problem)}"
        raise RequestError(f"tls: {tls.certificate}, {tls.key}", reason) from None


def _allow_connections() -> None:
    """Open as many files as the system lets this process: each connection is one.

    A usual limit of 1,024 would drop connections above it without a word.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if most == resource.RLIM_INFINITY else min(most, _MOST_FILES)
    with suppress(OSError, ValueError):  # macOS allows less than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


@contextmanager
def following(settings: Settings) -> Iterator[Callable[[], Awaitable[None]]]:
    """Let a process of its own keep the index of the log up to date.

    Yields:
        What waits a moment, and then starts that process again if it has ended.
    """
    if settings.log is None:
        yield lambda: asyncio.sleep(_POLL_SECONDS)
        return
    command = [sys.executable, "-m", "policy_router.server.follower"]
    command += [settings.log, index_of(settings)]

    def start() -> subprocess.Popen[bytes]:
        # It ends with its input, which ends with this process, however that ends.
        return subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603 - our own

    followers = [start()]

    async def keep() -> None:
        await asyncio.sleep(_POLL_SECONDS)
        if followers[-1].poll() is not None:
            with followers.pop():
                followers.append(start())

    try:
        yield keep
    finally:
        with followers[-1]:
            pass  # its input ends here, and so does it


def where(listener: socket.socket, settings: Settings) -> str:
    """Return the address of a service, as a client writes it."""
    if settings.socket_path is not None:
        return f"unix:{settings.socket_path}"
    host, port = listener.getsockname()[:2]
    scheme = "http" if settings.tls is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def listen(settings: Settings) -> socket.socket:
    """Return the socket that a service listens at.

    Raises:
        RequestError: there cannot be one.
    """
    path = settings.socket_path
    try:
        listener = _at_address(*settings.address) if path is None else _at_path(path)
    except OSError as problem:
        in_use = "another process listens there: give another --listen; port 0 takes a free one"
        help_ = in_use if problem.errno == errno.EADDRINUSE else None
        raise RequestError(settings.listen, f"cannot listen: {reason_of(problem)}", help_) from None
    except UnicodeError:
        raise RequestError(
            settings.listen, "cannot listen: this is not the name of a host"
        ) from None
    listener.settimeout(0)
    return listener


async def let_nobody_in(listeners: Sequence[socket.socket]) -> None:
    """Let those who are connecting come in, and make others try again later.

    Who is in the queue of a socket when it is closed has sent a request, perhaps, and loses it. Who
    is kept out of the queue is told that nobody listens.
    """
    for listener in listeners:
        listener.listen(0)
    await asyncio.sleep(_QUEUE_SECONDS)


def _at_address(host: str, port: int) -> socket.socket:
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return _listening(listener, address)


def _at_path(path: str) -> socket.socket:
    """Bind a socket that only its owner can open; one that nobody listens at is replaced."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(path).st_mode) and not _is_answered(path):  # noqa: PTH116
            os.unlink(path)  # noqa: PTH108 - as the line above
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        return _listening(listener, path)
    finally:
        os.umask(before)


def _listening(listener: socket.socket, address: tuple[Any, ...] | str) -> socket.socket:
    """Let a socket listen at an address; one that cannot is closed."""
    try:
        listener.bind(address)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _is_answered(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(path)
        except OSError:
            return False
    return True
