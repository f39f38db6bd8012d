"""The turns of a server's engine that has no socket."""

from __future__ import annotations

from mpgameserver.server.engine import ServerEngine
from mpgameserver.transport.address import SocketAddress

__all__ = ["turn"]


def turn(engine: ServerEngine, now: float) -> list[tuple[bytes, SocketAddress]]:
    """Have a turn in which nothing arrives; what the server sends in it, and where to."""
    engine.advance(now)
    leaving = list(iter(lambda: engine.dispatcher.next_datagram(now), None))
    if engine.step_handshakes(now):
        leaving += iter(lambda: engine.dispatcher.next_datagram(now), None)
    return leaving
