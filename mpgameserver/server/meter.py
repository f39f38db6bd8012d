"""Measurements of a server: where its time goes, and the sums of its sessions' statistics.

The observer of an engine (`observer`) notifies the meter of what the engine is doing. Everything
here is used only on the handler's thread.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Coroutine, Iterator
from time import perf_counter
from typing import Any, Protocol, TypeVar

from mpgameserver._core.pump import Phase
from mpgameserver.server.host_budgets import HostBudgets
from mpgameserver.server.sessions import Session, SessionTable
from mpgameserver.server.stats import ConnectionFigures, ServerFigures, ServerStats
from mpgameserver.stats import percentile
from mpgameserver.transport.address import format_address

__all__ = ["Measured", "Phase", "ServerMeter"]

MAX_CONNECTIONS_LISTED = 32
"""Sessions listed in a snapshot: about as many as a terminal has lines."""

_Result = TypeVar("_Result")


class Measured(Protocol):
    """The interface that a meter needs of its engine."""

    @property
    def now(self) -> float:
        """The monotonic time, in seconds."""

    @property
    def stats(self) -> ServerStats:
        """A snapshot of the engine's own statistics."""

    @property
    def sessions(self) -> SessionTable:
        """The sessions that have not ended."""

    @property
    def budgets(self) -> HostBudgets:
        """The bytes that sessions hold, per host, per network and in all."""


class Events(Protocol):
    """The interface that a meter needs of the queue of events that wait for coroutines."""

    @property
    def running(self) -> int:
        """Events in progress."""

    @property
    def waiting(self) -> int:
        """Events waiting for those in progress."""

    @property
    def waiting_bytes(self) -> int:
        """The bytes of their messages."""

    @property
    def dropped(self) -> int:
        """Messages that were waiting when their client left, and were not handled."""


class ServerMeter:
    """Measurements of the servers that run a context, one after the other, each from zero."""

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self._clock = clock
        self._engine: Measured | None = None
        self._events: Events | None = None
        self._reset()

    def _reset(self) -> None:
        self.ticks = 0
        self.datagrams_received = self.bytes_received = 0
        self.datagrams_sent = self.bytes_sent = 0
        self._seconds = [0.0] * len(Phase)
        self._phase = Phase.IDLE
        self._began = self._since = self._clock()
        self._ended = _Totals()

    def attach(self, engine: Measured) -> None:
        """Measure an engine, from now on."""
        self._engine = engine
        self._events = None
        self._reset()

    def watch(self, events: Events) -> None:
        """Include events waiting for coroutines, until another engine is measured."""
        self._events = events

    def switch(self, phase: Phase) -> Phase:
        """Enter another phase; return the previous one."""
        now = self._clock()
        before, self._phase = self._phase, phase
        self._seconds[before] += now - self._since
        self._since = now
        return before

    def timed(self, phase: Phase, function: Callable[..., _Result]) -> Callable[..., _Result]:
        """Return a wrapper that counts the function's time, except for other phases within it."""

        def measured(*arguments: object, **channel: object) -> _Result:
            before = self.switch(phase)
            try:
                return function(*arguments, **channel)
            finally:
                self.switch(before)

        return measured

    def timed_steps(
        self, phase: Phase, coroutine: Coroutine[Any, Any, _Result]
    ) -> Coroutine[Any, Any, _Result]:
        """Return an awaitable that counts the time in which the coroutine runs, not waits."""
        return _TimedSteps(self, phase, coroutine)

    def note_end(self, session: Session) -> None:
        """Keep the counts of a session that has ended."""
        self._ended.add(session)

    def figures(self) -> ServerFigures:
        """Return a snapshot, on the handler's thread. Zeros before a measured server was made."""
        engine, events = self._engine, self._events
        if engine is None:
            return ServerFigures()
        self.switch(self._phase)
        sessions = tuple(engine.sessions)
        totals = self._ended.with_all(sessions)
        trips = [trip for session in sessions if (trip := session.connection.latency)]
        return ServerFigures(
            uptime=self._since - self._began,
            ticks=self.ticks,
            receive_seconds=self._seconds[Phase.RECEIVE],
            handler_seconds=self._seconds[Phase.HANDLER],
            send_seconds=self._seconds[Phase.SEND],
            datagrams_received=self.datagrams_received,
            bytes_received=self.bytes_received,
            datagrams_sent=self.datagrams_sent,
            bytes_sent=self.bytes_sent,
            packets_sent=totals.sent,
            packets_acked=totals.acked,
            packets_timed_out=totals.timed_out,
            retransmitted=totals.retransmitted,
            messages_repeated=totals.repeated,
            messages_discarded=totals.discarded,
            send_queue_bytes=sum(session.connection.pending for session in sessions),
            reassembly_bytes=engine.budgets.reassembly,
            inbox_bytes=engine.budgets.inboxes,
            unacked_bytes=engine.budgets.send_queues,
            events_running=events.running if events else 0,
            events_waiting=events.waiting if events else 0,
            events_waiting_bytes=events.waiting_bytes if events else 0,
            events_dropped=events.dropped if events else 0,
            latency_median=percentile(trips, 50) if trips else None,
            latency_p99=percentile(trips, 99) if trips else None,
            stats=engine.stats,
            connections=_slowest(sessions, engine.now),
        )


class _TimedSteps(Coroutine[Any, Any, _Result]):
    """The result of `ServerMeter.timed_steps`.

    Not a coroutine around the other one: if it were cancelled before its first step, the other
    would never be started, and Python would warn.
    """

    def __init__(
        self, meter: ServerMeter, phase: Phase, inner: Coroutine[Any, Any, _Result]
    ) -> None:
        self._inner = inner
        self._send = meter.timed(phase, inner.send)
        self._throw = meter.timed(phase, inner.throw)
        # In its debug mode, the loop logs slow callbacks by name.
        self.__qualname__ = getattr(inner, "__qualname__", type(inner).__name__)

    def send(self, value: Any) -> Any:
        return self._send(value)

    def throw(self, *error: Any) -> Any:
        return self._throw(*error)

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._send(None)


class _Totals:
    """Sums of session statistics."""

    def __init__(self) -> None:
        self.sent = self.acked = self.timed_out = self.retransmitted = 0
        self.repeated = self.discarded = 0

    def add(self, session: Session) -> None:
        endpoint = session.connection.endpoint
        self.sent += endpoint.sent
        self.acked += endpoint.acked
        self.timed_out += endpoint.timeouts
        self.retransmitted += endpoint.send_queue.retransmitted
        self.repeated += endpoint.repeated_messages
        self.discarded += endpoint.reassembler.discarded

    def with_all(self, sessions: tuple[Session, ...]) -> _Totals:
        """Return these sums plus those of more sessions."""
        sums = _Totals()
        vars(sums).update(vars(self))
        for session in sessions:
            sums.add(session)
        return sums


def _slowest(sessions: tuple[Session, ...], now: float) -> tuple[ConnectionFigures, ...]:
    def latency(session: Session) -> float:
        return session.connection.latency

    chosen = heapq.nlargest(MAX_CONNECTIONS_LISTED, sessions, key=latency)
    return tuple(_figures_of(session, now) for session in chosen)


def _figures_of(session: Session, now: float) -> ConnectionFigures:
    connection, endpoint = session.connection, session.connection.endpoint
    return ConnectionFigures(
        address=format_address(session.client.addr),
        protocol=endpoint.protocol,
        connected_for=now - session.connected_at,
        latency=connection.latency,
        sent=endpoint.sent,
        received=endpoint.received,
        timeouts=endpoint.timeouts,
        retransmitted=endpoint.send_queue.retransmitted,
        dropped=endpoint.dropped,
        send_queue_bytes=connection.pending,
    )
