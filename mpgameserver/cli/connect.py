"""Connecting to a server from a command, and reporting failures."""

from __future__ import annotations

import time

from mpgameserver.client.udpclient import UdpClient
from mpgameserver.enums import ConnectionStatus
from mpgameserver.transport.address import format_address

__all__ = ["FRAME", "UnreachableError", "reach"]

FRAME = 1 / 60
"""Seconds from one update to the next."""


class UnreachableError(Exception):
    """The server could not be connected to; the text says which, and why."""


def reach(client: UdpClient, address: tuple[str, int]) -> None:
    """Connect a client, and wait for that. Raises UnreachableError when it fails."""
    client.connect(address)
    while client.status() == ConnectionStatus.CONNECTING:
        client.update()
        time.sleep(FRAME)
    if client.failure is not None:
        text = f"cannot connect to {format_address(address)}: {client.failure.text}"
        if client.reason is not None and client.reason.text:
            text += f" {client.reason.text}"
        raise UnreachableError(text)
