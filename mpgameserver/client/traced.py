"""The objects of a client that is traced, which write a line for each datagram."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from mpgameserver._core.endpoint import Endpoint
from mpgameserver.client.handshake import ClientHandshake, EstablishedSession
from mpgameserver.connection import Connection, Timing
from mpgameserver.crypto import EllipticCurvePublicKey
from mpgameserver.transport.sockets import ConnectedSocket
from mpgameserver.transport.trace import PacketTrace

__all__ = ["TracedConnection", "TracedHandshake", "trace_sending"]


def trace_sending(sock: ConnectedSocket, trace: PacketTrace) -> None:
    """Let a socket write a line for each datagram that it takes to send."""

    def traced(take: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
        def take_and_tell(datagram: bytes) -> bool:
            taken = take(datagram)
            if taken:
                trace.sent(datagram, sock.local_address, sock.address)
            return taken

        return take_and_tell

    sock.queue, sock.send = traced(sock.queue), traced(sock.send)


class TracedHandshake(ClientHandshake):
    """A `ClientHandshake` whose paths are sockets."""

    def __init__(
        self,
        trace: PacketTrace,
        trusted_key: EllipticCurvePublicKey | None,
        now: float,
        wall_start: float,
    ) -> None:
        super().__init__(trusted_key, now, wall_start)
        self._trace = trace

    def receive(self, path: Hashable, datagram: bytes, now: float) -> EstablishedSession | None:
        """Take a datagram, and write what became of it."""
        assert isinstance(path, ConnectedSocket)
        session = super().receive(path, datagram, now)
        self._trace.arrived(datagram, path.local_address, path.address, self.drop_reason)
        return session


class TracedConnection(Connection):
    """A `Connection` that gets its datagrams from a socket."""

    def __init__(
        self,
        endpoint: Endpoint,
        token: int,
        timing: Timing,
        trace: PacketTrace,
        sock: ConnectedSocket,
    ) -> None:
        super().__init__()
        self._trace = trace
        self._socket = sock

    def receive(self, datagram: bytes, now: float) -> str | None:
        """Take a datagram, and write what became of it."""
        reason = super().receive(datagram, now)
        self._trace.arrived(datagram, self._socket.local_address, self._socket.address, reason)
        return reason
