"""A client's source of time and sockets."""

from __future__ import annotations

import socket
import time
from typing import Protocol

from mpgameserver.client.resolver import Resolver
from mpgameserver.transport.poll import wait_readable
from mpgameserver.transport.sockets import new_udp_socket

__all__ = ["SYSTEM", "Network"]


class _HasFileno(Protocol):
    def fileno(self) -> int: ...


class Network:
    """The clocks and the network of this computer."""

    def now(self) -> float:
        """Return the monotonic time, in seconds."""
        return time.perf_counter()

    def wall_now(self) -> float:
        """Return the Unix time, in seconds."""
        return time.time()

    def resolver(self, host: str, port: int) -> Resolver:
        """Start to resolve the name of a server."""
        return Resolver(host, port)

    def new_socket(self, family: socket.AddressFamily) -> socket.socket:
        """Open a non-blocking UDP socket. Raises OSError if the system has none."""
        return new_udp_socket(family)

    def wait(self, client: _HasFileno, seconds: float) -> None:
        """Block until the socket of a client is readable, for at most `seconds`."""
        wait_readable(client, seconds)


SYSTEM = Network()
"""The network of every client outside of tests."""
