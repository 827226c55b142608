"""No test of a host reaches beyond the loopback interface, whatever the host looks up."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


def is_loopback(address: Any) -> bool:
    """Tell whether an address of a socket is on this machine."""
    if not isinstance(address, tuple):
        return True
    try:
        return address[0] == "localhost" or ipaddress.ip_address(address[0]).is_loopback
    except ValueError:
        return False


@contextmanager
def only_loopback() -> Iterator[list[Any]]:
    """Refuse every connection and every look-up beyond it; yields what was refused."""
    refused: list[Any] = []
    connect, connect_ex, look_up = (
        socket.socket.connect,
        socket.socket.connect_ex,
        socket.getaddrinfo,
    )

    def guarded(address: Any) -> None:
        if not is_loopback(address):
            refused.append(address)
            raise ConnectionRefusedError(f"a test stays on this machine: {address}")

    def connect_here(self: Any, address: Any) -> None:
        guarded(address)
        connect(self, address)

    def connect_ex_here(self: Any, address: Any) -> int:
        guarded(address)
        return connect_ex(self, address)

    def look_up_here(host: Any, *arguments: Any, **more: Any) -> Any:
        if host is not None and not is_loopback((host,)):
            refused.append(host)
            raise socket.gaierror(f"a test stays on this machine: {host}")
        return look_up(host, *arguments, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect_here)
        patch.setattr(socket.socket, "connect_ex", connect_ex_here)
        patch.setattr(socket, "getaddrinfo", look_up_here)
        yield refused
