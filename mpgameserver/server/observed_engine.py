"""The engine of a server that is traced, measured, or both.

It is used only where one of them was asked for: without, nothing is called and nothing is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mpgameserver.server.context import ServerContext
from mpgameserver.server.engine import ServerEngine
from mpgameserver.server.handler import EVENTS, EventHandler, EventResult
from mpgameserver.server.meter import Phase, ServerMeter
from mpgameserver.server.sessions import Session
from mpgameserver.transport.address import SocketAddress

if TYPE_CHECKING:
    from mpgameserver._core.pump import Carrier

__all__ = ["ObservedEngine", "carrier_of", "new_engine"]


def new_engine(
    context: ServerContext,
    before_work: Callable[[], None],
    handler: EventHandler,
    local: Callable[[], SocketAddress],
) -> ServerEngine:
    """The engine that a context asks for; `local` tells the address of the server's socket."""
    if context.trace is None and context.meter is None:
        return ServerEngine(context, before_work, handler)
    return ObservedEngine(context, before_work, handler, local)


class _MeasuredCarrier:
    """Carries datagrams as another one does, and counts what the system takes for it."""

    def __init__(self, carrier: Carrier, meter: ServerMeter) -> None:
        self.receive_from = meter.timed(Phase.RECEIVE, carrier.receive_from)
        self.queue = meter.timed(Phase.SEND, carrier.queue)
        self.flush = meter.timed(Phase.SEND, carrier.flush)


def carrier_of(carrier: Carrier, meter: ServerMeter | None) -> Carrier:
    """The same carrier, or a measured one where there is a meter."""
    return carrier if meter is None else _MeasuredCarrier(carrier, meter)


class _MeasuredHandler(EventHandler):
    """A handler whose events are those of another one, and are counted."""

    def __init__(self, meter: ServerMeter, handler: EventHandler) -> None:
        self._meter = meter
        for name in EVENTS:
            setattr(self, name, meter.timed(Phase.HANDLER, getattr(handler, name)))
        self._update, self.update = self.update, self._count_tick  # type: ignore[method-assign]

    def _count_tick(self, delta_t: float) -> EventResult:
        self._meter.ticks += 1
        return self._update(delta_t)


class ObservedEngine(ServerEngine):
    """A `ServerEngine` with a trace, a meter, or both.

    In the trace, a hello or a proof that waits for its turn counts as received. When it comes to
    nothing later, it gets a second line, without its header.
    """

    def __init__(
        self,
        context: ServerContext,
        before_work: Callable[[], None],
        handler: EventHandler,
        local: Callable[[], SocketAddress],
    ) -> None:
        super().__init__(context, before_work, handler)
        self._trace = context.trace
        self._meter = context.meter or ServerMeter()
        self._local = local
        self._is_receiving = False
        self._reason: str | None = None
        self.handler: EventHandler = _MeasuredHandler(self._meter, self.handler)
        self._meter.attach(self)

    @property
    def sessions(self) -> tuple[Session, ...]:
        """Those that are not over."""
        return tuple(self._sessions)

    @property
    def reassembly_bytes(self) -> int:
        """What unfinished messages hold, of all clients."""
        return self._budgets.reassembly

    @property
    def inbox_bytes(self) -> int:
        """What messages hold that wait for the handler, of all clients."""
        return self._budgets.inboxes

    @property
    def unacked_bytes(self) -> int:
        """What messages hold that wait to be sent or acked, of all clients."""
        return self._budgets.send_queues

    def receive(self, datagram: bytes, address: SocketAddress, now: float, wall_now: float) -> bool:
        """Take a datagram, and note what became of it."""
        self._meter.datagrams_received += 1
        self._meter.bytes_received += len(datagram)
        self._is_receiving, self._reason = True, None
        before = self._meter.switch(Phase.RECEIVE)
        try:
            return super().receive(datagram, address, now, wall_now)
        finally:
            self._meter.switch(before)
            self._is_receiving = False
            if self._trace is not None:
                self._trace.arrived(datagram, self._local(), address, self._reason)

    def advance(self, now: float) -> None:
        """Do what the time asks for, which is counted."""
        before = self._meter.switch(Phase.RECEIVE)
        try:
            super().advance(now)
        finally:
            self._meter.switch(before)

    def next_datagram(self, now: float) -> tuple[bytes, SocketAddress] | None:
        """The next datagram to send now, which is noted."""
        before = self._meter.switch(Phase.SEND)
        try:
            leaving = super().next_datagram(now)
        finally:
            self._meter.switch(before)
        if leaving is not None:
            self._meter.datagrams_sent += 1
            self._meter.bytes_sent += len(leaving[0])
            if self._trace is not None:
                self._trace.sent(leaving[0], self._local(), leaving[1])
        return leaving

    def _replace(self, session: Session) -> None:
        self._meter.note_end(session)
        super()._replace(session)

    def finish(self, session: Session) -> None:
        if self._sessions.get(session.address) is session:  # else it was replaced, and is noted
            self._meter.note_end(session)
        super().finish(session)

    def drop(self, reason: str, address: SocketAddress) -> None:
        super().drop(reason, address)
        if self._trace is None:
            return
        if reason == "unsent":  # an answer or a goodbye, whatever has just arrived
            self._trace.dropped("out", self._local(), address, reason)
        elif self._is_receiving:
            self._reason = reason
        else:
            self._trace.dropped("in", self._local(), address, reason)
