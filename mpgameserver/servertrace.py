"""The engine of a server that is traced, which writes a line for each datagram."""

from __future__ import annotations

from collections.abc import Callable

from mpgameserver.address import SocketAddress
from mpgameserver.context import ServerContext
from mpgameserver.serverengine import ServerEngine
from mpgameserver.trace import PacketTrace

__all__ = ["TracedEngine"]


class TracedEngine(ServerEngine):
    """A `ServerEngine` on a socket; `local` tells the address of that.

    A hello or a proof that waits for its turn counts as received. When it comes to nothing later,
    it gets a second line, without its header.
    """

    def __init__(
        self,
        trace: PacketTrace,
        local: Callable[[], SocketAddress],
        context: ServerContext,
        before_work: Callable[[], None],
    ) -> None:
        super().__init__(context, before_work)
        self._trace = trace
        self._local = local
        self._is_receiving = False
        self._reason: str | None = None

    def receive(self, datagram: bytes, address: SocketAddress, now: float, wall_now: float) -> bool:
        """Take a datagram, and write what became of it."""
        self._is_receiving, self._reason = True, None
        try:
            return super().receive(datagram, address, now, wall_now)
        finally:
            self._is_receiving = False
            self._trace.arrived(datagram, self._local(), address, self._reason)

    def next_datagram(self, now: float) -> tuple[bytes, SocketAddress] | None:
        """The next datagram to send now, which is written."""
        leaving = super().next_datagram(now)
        if leaving is not None:
            self._trace.sent(leaving[0], self._local(), leaving[1])
        return leaving

    def _drop(self, reason: str, address: SocketAddress) -> None:
        super()._drop(reason, address)
        if reason == "unsent":  # an answer or a goodbye, whatever has just arrived
            self._trace.dropped("out", self._local(), address, reason)
        elif self._is_receiving:
            self._reason = reason
        else:
            self._trace.dropped("in", self._local(), address, reason)
