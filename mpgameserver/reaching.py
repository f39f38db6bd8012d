"""Connecting to a server from a command, and what to tell when that fails."""

from __future__ import annotations

import time

from mpgameserver.address import format_address
from mpgameserver.client import CONNECTION_TIMEOUT, UdpClient
from mpgameserver.enums import ConnectFailure, ConnectionStatus

__all__ = ["FRAME", "UnreachableError", "reach"]

FRAME = 1 / 60
"""Seconds from one update to the next."""

_FAILURES = {
    ConnectFailure.TIMEOUT: f"nothing answered within {CONNECTION_TIMEOUT:.0f} s",
    ConnectFailure.REFUSED: "nothing listens on that port",
    ConnectFailure.WRONG_KEY: "the server has another key than the one given",
    ConnectFailure.UNRESOLVED: "the host name has no address",
}


class UnreachableError(Exception):
    """The server could not be connected to; the text says which, and why."""


def reach(client: UdpClient, address: tuple[str, int]) -> None:
    """Connect a client, and wait for that. Raises UnreachableError when it fails."""
    client.connect(address)
    while client.status() == ConnectionStatus.CONNECTING:
        client.update()
        time.sleep(FRAME)
    if client.failure is not None:
        reason = _FAILURES[client.failure]
        raise UnreachableError(f"cannot connect to {format_address(address)}: {reason}")
