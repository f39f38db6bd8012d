"""The observer of a server that is traced, measured, or both; other servers have none."""

from __future__ import annotations

from collections.abc import Callable

from mpgameserver.server.context import ServerContext
from mpgameserver.server.handler import EVENTS, EventHandler, EventResult
from mpgameserver.server.meter import Measured, Phase, ServerMeter
from mpgameserver.server.sessions import Session
from mpgameserver.transport.address import SocketAddress
from mpgameserver.transport.trace import PacketTrace

__all__ = ["ServerObserver", "new_observer"]


class _TimedEvents(EventHandler):
    """A handler that calls another one's events and counts their time."""

    def __init__(self, meter: ServerMeter, events: EventHandler) -> None:
        self._meter = meter
        for name in EVENTS:
            setattr(self, name, meter.timed(Phase.HANDLER, getattr(events, name)))
        self._update, self.update = self.update, self._count_tick  # type: ignore[method-assign]

    def _count_tick(self, delta_t: float) -> EventResult:
        self._meter.ticks += 1
        return self._update(delta_t)


class ServerObserver:
    """Passes every datagram and phase of a server to its meter and its trace.

    In the trace, a deferred hello or challenge response counts as received. If it is dropped later,
    it gets a second line, without its header.
    """

    def __init__(
        self,
        meter: ServerMeter | None,
        trace: PacketTrace | None,
        local: Callable[[], SocketAddress],
    ) -> None:
        self._meter = meter or ServerMeter()
        self._trace = trace
        self._local = local

    def attach(self, engine: Measured) -> None:
        """Measure an engine, from now on."""
        self._meter.attach(engine)

    def timed(self, events: EventHandler) -> EventHandler:
        """Return a handler with the same events, whose time is counted."""
        return _TimedEvents(self._meter, events)

    def phase(self, phase: Phase) -> Phase:
        """Enter another phase; return the previous one."""
        return self._meter.switch(phase)

    def received(self, datagram: bytes, address: SocketAddress) -> None:
        """Record a datagram that was received and not dropped."""
        self._note_arrival(datagram, address, None)

    def dropped(self, datagram: bytes | None, address: SocketAddress, reason: str) -> None:
        """Record a dropped datagram; None stands for a deferred one that was recorded before."""
        if datagram is not None:
            self._note_arrival(datagram, address, reason)
        elif self._trace is not None:
            self._trace.dropped("in", self._local(), address, reason)

    def _note_arrival(self, datagram: bytes, address: SocketAddress, reason: str | None) -> None:
        self._meter.datagrams_received += 1
        self._meter.bytes_received += len(datagram)
        if self._trace is not None:
            self._trace.arrived(datagram, self._local(), address, reason)

    def sent(self, datagram: bytes, address: SocketAddress) -> None:
        """Record a datagram that is sent."""
        self._meter.datagrams_sent += 1
        self._meter.bytes_sent += len(datagram)
        if self._trace is not None:
            self._trace.sent(datagram, self._local(), address)

    def unsent(self, address: SocketAddress) -> None:
        """Record a reply or a DISCONNECT for which there was no room."""
        if self._trace is not None:
            self._trace.dropped("out", self._local(), address, "unsent")

    def ended(self, session: Session) -> None:
        """Record the end of a session."""
        self._meter.note_end(session)


def new_observer(
    context: ServerContext, local: Callable[[], SocketAddress]
) -> ServerObserver | None:
    """Return the observer that a context asks for, if any; `local` returns the socket's address."""
    if context.trace is None and context.meter is None:
        return None
    return ServerObserver(context.meter, context.trace, local)
