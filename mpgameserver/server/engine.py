"""A server without a socket or a clock: sessions, events and the tick.

The work for each datagram is done by the compiled `dispatcher`: which session it is for, and whose
turn it is to send. `admission` handles handshakes. The rest is here: the start and end of sessions,
settings, ticks. Exceptions in the handler's events are logged.

A turn is due when a datagram has arrived or at `next_timer`. It has four steps:

1. receive: the dispatcher's `receive` for each datagram, with the address that it came from. The
   messages that it completes are handled there, and the handler's replies can be sent before the
   next datagram is read, so the player whose datagram came first does not wait for the others.
2. `advance`.
3. send what the dispatcher's `next_datagram` returns until that is None. While the socket is not
   writable, the turn ends here, so that no datagram is assembled that cannot be sent.
4. `step_handshakes`: a little public-key work, and send again. It comes last, when everything else
   has been sent. While more is waiting, `next_timer` asks for the next turn at once, in which the
   sessions come first again.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import TypeVar, cast

from mpgameserver._core.dispatcher import Dispatcher
from mpgameserver._core.endpoint2 import Endpoint2
from mpgameserver.connection import Connection
from mpgameserver.enums import CloseCode, ConnectionStatus, DisconnectReason
from mpgameserver.errors import SendQueueFullError
from mpgameserver.server.admission import Admission
from mpgameserver.server.client import ServerClient
from mpgameserver.server.closed import ClosedSessions
from mpgameserver.server.context import ServerContext, ServerSettings
from mpgameserver.server.eventlog import EventLog
from mpgameserver.server.further_ids import FurtherIds
from mpgameserver.server.half_open2 import HalfOpenSession2
from mpgameserver.server.handler import EventHandler
from mpgameserver.server.handover import MESSAGE_COST, HandOver
from mpgameserver.server.handshakes import EstablishedSession
from mpgameserver.server.host_budgets import HostBudgets
from mpgameserver.server.joining import Joining
from mpgameserver.server.meter import Phase
from mpgameserver.server.observer import new_observer
from mpgameserver.server.paths import Paths
from mpgameserver.server.resets import ResetTokens
from mpgameserver.server.sessions import Session, SessionTable
from mpgameserver.server.slow_events import SlowEventLog
from mpgameserver.server.stats import ServerStats
from mpgameserver.transport.address import (
    SocketAddress,
    format_address,
    host_of,
    largest_datagram,
    plain_address,
)

__all__ = ["ServerEngine"]

REFUSED_DELAY = 0.01
"""Seconds until the callback of a message to a client that is gone: a callback that sends again
must not make the loop spin."""

_LOG = logging.getLogger("mpgameserver.server")
_CODES = frozenset(CloseCode)
_Result = TypeVar("_Result")


def _nothing() -> None:
    pass


def _no_address() -> SocketAddress:
    return ("", 0)


def _is_of_protocol_2(session: Session) -> bool:
    return bool(session.connection_id)


def _end_of(session: Session, reason: DisconnectReason) -> str:
    """Return how the end of a session counts: one of few words, whatever a client has sent."""
    said = session.connection.close_reason
    if reason is not DisconnectReason.CLIENT or said is None or not said[0]:
        return reason.value
    code = said[0]
    return f"{reason.value}: {CloseCode(code).name}" if code in _CODES else reason.value


class ServerEngine:
    """The sessions of a server, their admission, and the handler's events.

    `now` is monotonic, in seconds, everywhere. The events of `handler` are called, by default those
    of the context. `local` returns the address of the server's socket, for a trace.
    """

    def __init__(
        self,
        context: ServerContext,
        handler: EventHandler | None = None,
        local: Callable[[], SocketAddress] = _no_address,
    ) -> None:
        self.sessions: SessionTable = SessionTable()
        observer, events = new_observer(context, local), handler or context.events
        self.handler: EventHandler = events if observer is None else observer.timed(events)
        self.context: ServerContext = context
        self.dispatcher: Dispatcher = Dispatcher(
            self,
            context,
            self.handler,
            self.sessions.by_address,
            self.sessions.by_id,
            context.names,
            observer,
        )
        """The work for each datagram."""
        self._observer = observer
        self.drops: Counter[str] = Counter()
        """Datagrams dropped, by reason; see `ServerStats.drops`."""
        self.is_stopped: bool = False
        """True after the `shutdown` event: there is nothing more to do."""
        self.on_queued: Callable[[], None] = _nothing
        """Called when something is queued for a client that had nothing to send."""
        self.send_errors: Callable[[], dict[str, int]] = dict
        """Counts of the socket's send errors by name: `ServerStats.send_errors`."""
        self.budgets: HostBudgets = HostBudgets(self.settings.limits)
        self._log = EventLog()
        tokens = ResetTokens(context.root_key)
        self.admission: Admission = Admission(self, context, self._log, tokens)
        self.closed: ClosedSessions = ClosedSessions()
        """The sessions of protocol 2 that have ended lately."""
        self.joining: Joining = Joining(self, context.channels, tokens, context.authenticates)
        """The clients that are not admitted yet."""
        self.paths: Paths = Paths(self.queue_reply)
        """The addresses to which sessions of protocol 2 may have moved."""
        self.ids: FurtherIds = FurtherIds(
            self.sessions, tokens, self.admission.handshakes2.free_id, lambda: self.now
        )
        """The connection ids of sessions of protocol 2 besides the first."""
        self._is_inherited = False
        self._is_at_handshakes = True
        self._last_tick = self._next_tick = float("inf")
        self._established = self._messages_refused = 0
        self._of_protocol_2 = self._moves = 0
        self._ends: Counter[str] = Counter()
        self._is_closed = False
        self.handover: HandOver = HandOver(context.wake)
        self.slow_events: SlowEventLog = SlowEventLog(self.dispatcher.calls.read)
        if observer is not None:
            observer.attach(self)

    @property
    def now(self) -> float:
        """The latest time seen."""
        return self.dispatcher.now

    @property
    def settings(self) -> ServerSettings:
        """The settings in effect: the context's as of the last event or turn."""
        return self.dispatcher.settings

    @property
    def clients(self) -> tuple[ServerClient, ...]:
        """The connected clients that the handler knows, in the order of arrival."""
        return tuple(
            session.client
            for session in self.sessions
            if session.is_announced and session.connection.status == ConnectionStatus.CONNECTED
        )

    @property
    def half_open(self) -> int:
        """The number of handshakes that were answered and are not a session yet."""
        return len(self.admission.handshakes.half_open) + len(self.admission.handshakes2.half_open)

    @property
    def stats(self) -> ServerStats:
        """A snapshot of the statistics of the server as a whole."""
        first, second = self.admission.handshakes, self.admission.handshakes2
        return ServerStats(
            clients=len(self.sessions),
            protocols={
                "1": len(self.sessions) - self._of_protocol_2,
                "2": self._of_protocol_2,
            },
            joining=len(self.joining),
            half_open=self.half_open,
            waiting_hellos=len(first.waiting) + second.waiting,
            hellos_put_off=first.waiting.put_off,
            hellos_answered=first.answered + second.public_key_work,
            answers_repeated=first.answered_again + second.answered_again,
            retries=second.retries,
            key_exchanges=first.exchanges,
            handshakes_proved=self._established,
            handshakes_evicted=first.half_open.evicted
            + first.waiting.evicted
            + second.half_open.evicted,
            waiting_sessions=self.dispatcher.waiting,
            ends=dict(self._ends),
            moves=self._moves,
            resets=self.admission.resets,
            send_errors=self.send_errors(),
            messages_refused=self._messages_refused,
            drops=dict(self.drops),
        )

    # -- in ---------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Begin to serve. Raises what the event `starting` raises."""
        self.dispatcher.set_now(now)
        self._last_tick = now
        self._next_tick = now + self.settings.interval
        began = self.slow_events.begin()
        self.handler.starting()
        self.slow_events.end("starting", began)
        self.apply_settings()

    def receive_handshake(
        self, datagram: bytes, address: SocketAddress, kind: int, wall_now: float
    ) -> bool:
        """Process a datagram that no session has accepted; False unless it is a handshake's."""
        return self.admission.receive(datagram, address, kind, wall_now)

    def receive_hello2(self, datagram: bytes, address: SocketAddress) -> None:
        """Process a handshake packet of protocol 2."""
        self.admission.receive_hello2(datagram, address)

    def receive_sealed(self, datagram: bytes, address: SocketAddress) -> None:
        """Process a sealed packet of protocol 2 that belongs to no session."""
        self.admission.receive_sealed(datagram, address)

    def on_other_address(self, session: Session, address: SocketAddress, size: int) -> None:
        """Note a packet of a session of protocol 2 that came from elsewhere: it may have moved."""
        if host_of(address) in self.settings.blocklist:
            cast(Endpoint2, session.connection.endpoint).ignore_challenge()
            return
        if self.paths.on_packet(session, address, size, self.now):
            former = session.address
            self._move(session, address)
            self.paths.moved(session, former, self.now)

    def _move(self, session: Session, address: SocketAddress) -> None:
        """Go on with a session at another address."""
        former = session.address
        self.budgets.remove(session)
        self.sessions.move(session, address)
        self.budgets.add(session)
        self._moves += 1
        session.client.addr = plain_address(address)
        cast(Endpoint2, session.connection.endpoint).on_path_changed(
            largest_datagram(host_of(address))
        )
        self._log.moved(self.now, former, address)
        self._log_access(session, f"moved from {format_address(plain_address(former))}")
        self.dispatcher.mark_dirty(session)

    def join(self, session: Session) -> bool:
        """Go on to admit the client of a session; return True once it is admitted."""
        return self.joining.advance(session)

    def on_joined(self, session: Session) -> None:
        """Serve a session soon, about which something was decided outside its turn."""
        self.dispatcher.mark_dirty(session)
        self.on_queued()

    def receive_deferred(self, datagram: bytes, address: SocketAddress) -> None:
        """Process a datagram of a session that is established by now."""
        self.dispatcher.receive(datagram, address, self.now, 0.0)

    def queue_reply(self, datagram: bytes, address: SocketAddress) -> None:
        """Queue a datagram that belongs to no session, or count it if too many are queued."""
        answers = self.dispatcher.answers
        if len(answers) < self.settings.limits.unsent_answers:
            answers.push((datagram, address))
            return
        self._count_drop("unsent", address)
        if self._observer is not None:
            self._observer.unsent(address)

    def begin_session(self, established: EstablishedSession, address: SocketAddress) -> None:
        """Start a session of protocol 1, and end the one that has the address now."""
        old = self.sessions.get(address)
        if old is not None:
            self._replace(old)
        connection = Connection(established.endpoint, established.token, self.settings.timing)
        session = Session(connection, address, established.client_key, self)
        session.predecessor = old
        self._add(session)

    def begin_session2(self, connection: Connection, half_open: HalfOpenSession2) -> None:
        """Start a session of protocol 2, which has opened its first packet."""
        connection.retime(self.settings.timing)  # they may have changed since it was made
        self._add(
            Session(
                connection,
                half_open.address,
                half_open.client_point,
                self,
                half_open.connection_id,
            ),
            half_open.secrets.export,
        )

    def _add(self, session: Session, binding: bytes = b"") -> None:
        self._established += 1
        self._limit(session)
        session.client = ServerClient(
            session, plain_address(session.address), self.context.channels, binding
        )
        self.sessions.add(session)
        self._of_protocol_2 += _is_of_protocol_2(session)
        self.budgets.add(session)
        self.joining.begin(session)
        self.dispatcher.mark_dirty(session)

    def _replace(self, session: Session) -> None:
        """End a session whose address is taken over by another."""
        self.dispatcher.dispatch(session)
        session.ending = session.ending or DisconnectReason.REPLACED
        session.connection.abort(self.now)  # no one is left who could decrypt its DISCONNECT
        self._forget(session)
        self.dispatcher.mark_dirty(session)

    def _forget(self, session: Session) -> None:
        """Remove a session that has ended from the table, once."""
        if session in self.sessions:
            if self._observer is not None:
                self._observer.ended(session)
            self.ids.forget(session)
            self.sessions.remove(session)
            self._of_protocol_2 -= _is_of_protocol_2(session)

    def drop(self, reason: str, address: SocketAddress) -> None:
        """Count and log a dropped datagram, and notify the observer."""
        self._count_drop(reason, address)
        self.dispatcher.note_drop(reason, address)

    def _count_drop(self, reason: str, address: SocketAddress) -> None:
        self.drops[reason] += 1
        self._log.dropped(self.now, reason, address)

    # -- time and events --------------------------------------------------------------------

    def advance(self, now: float) -> None:
        """Do what is due: events, calls of other threads, timeouts, the tick."""
        self._observed(Phase.RECEIVE, self._advance, now)

    def _observed(self, phase: Phase, work: Callable[[float], _Result], now: float) -> _Result:
        """Do the work and return its result; the observer is notified of the phase."""
        if self._observer is None:
            return work(now)
        before = self._observer.phase(phase)
        try:
            return work(now)
        finally:
            self._observer.phase(before)

    def _advance(self, now: float) -> None:
        self.dispatcher.set_now(now)
        self._is_at_handshakes = False
        self.apply_settings()
        self.admission.expire()
        self.joining.expire()
        self.closed.expire(self.now)
        self.paths.expire(self.now)
        self.ids.expire(self.now)
        for function, arguments in self.context.take_calls():
            self.call_event("call_soon_threadsafe", function, *arguments)
        for _, function, arguments in self.handover.take():
            function(*arguments)
        self.dispatcher.serve_dirty()
        if self.context.is_shutting_down and not self.admission.is_closed:
            self._begin_to_stop()
        elif self.now >= self._next_tick:
            self._tick()
        self.dispatcher.serve_waiting(self._next_tick)
        if self.admission.is_closed and not (
            self.sessions or self.dispatcher.waiting or self.is_stopped
        ):
            self._stop()

    def next_timer(self) -> float:
        """Return when a turn is due if nothing arrives before."""
        if self.dispatcher.has_dirty or self.dispatcher.waiting or self.handover:
            return self.now
        due = min(self._next_tick, self.dispatcher.timers.next_time(), self.joining.next_time())
        if not self._is_at_handshakes:
            return due  # the socket is not writable: the turn got no further than sending
        if self.dispatcher.has_ready:
            return self.now  # queued after the turn's last send, by a log handler or a finalizer
        return min(due, self.admission.next_work())

    def abort(self) -> None:
        """Stop at once: send one DISCONNECT to each client, and call the handler's events."""
        self._begin_to_stop()
        for session in self.sessions:
            self._abort(session, CloseCode.SHUTDOWN)
        while not self.is_stopped:
            self.advance(self.now)

    def end_in_child(self) -> None:
        """Stop without an event or a datagram: the sessions are the parent process's."""
        self._is_inherited = self.is_stopped = True
        self.admission.clear()
        self.dispatcher.answers.take_all()
        for session in self.sessions:
            session.connection.disown()
        self.closed = ClosedSessions()
        self.handover = HandOver(_nothing)
        self.handover.close()

    def _tick(self) -> None:
        delta_t, self._last_tick = self.now - self._last_tick, self.now
        self._next_tick += self.settings.interval
        if self._next_tick <= self.now:
            self._next_tick = self.now + self.settings.interval
        self.call_event("update", self.handler.update, delta_t)

    def step_handshakes(self, now: float) -> bool:
        """Do a little public-key work, when all has been sent; True if there is more to send."""
        self._is_at_handshakes = True
        return self.admission.has_work and self._observed(Phase.SEND, self._step, now)

    def _step(self, now: float) -> bool:
        self.dispatcher.set_now(now)
        return self.admission.step()

    def apply_settings(self) -> None:
        """Apply the context's settings if they have changed."""
        settings, previous = self.context.settings, self.settings
        if settings is previous:
            return
        self.dispatcher.settings = settings
        contradiction = settings.timing.contradiction()
        if contradiction is not None and settings.timing != previous.timing:
            _LOG.warning("%s", contradiction)
        self.admission.apply(settings)
        self.budgets.limit(settings.limits)
        if not self.admission.is_closed:
            self._next_tick = min(self._next_tick, self.now + settings.interval)
        for session in self.sessions:
            session.connection.retime(settings.timing)
            self._limit(session)
            self.dispatcher.make_ready(session)
        if settings.blocklist is not previous.blocklist:
            self._enforce_blocklist()

    def _limit(self, session: Session) -> None:
        limits = self.settings.limits
        session.connection.endpoint.send_queue.max_pending = limits.send_queue_bytes
        session.message_rate.limit(limits.message_rate)

    def _enforce_blocklist(self) -> None:
        blocklist = self.settings.blocklist
        self.admission.block(blocklist)
        for session in self.sessions:
            if host_of(session.address) in blocklist:
                session.ending = session.ending or DisconnectReason.KICKED
                self._abort(session)

    def _abort(self, session: Session, code: CloseCode = CloseCode.CLOSED) -> None:
        """End a session at once, with one DISCONNECT or CLOSE to the client."""
        disconnect = session.connection.abort(self.now, code)
        if disconnect is not None:
            self.queue_reply(disconnect, session.address)
        self.dispatcher.mark_dirty(session)

    def make_room(self, session: Session) -> bool:
        """End the session whose incomplete messages hold the most; False if there is none."""
        largest = self.budgets.largest_reassembly(session)
        if largest is None:
            return False
        self._end_for(largest, DisconnectReason.EVICTED)
        largest.connection.endpoint.reassembler.clear()
        return True

    def give_up(self, session: Session) -> None:
        """End a session that acks nothing although much is queued for it."""
        self._end_for(session, DisconnectReason.STALLED)

    def _end_for(self, session: Session, reason: DisconnectReason) -> None:
        session.ending = session.ending or reason
        self._log.ended(self.now, session.address, reason.value)
        self._abort(session)

    def _begin_to_stop(self) -> None:
        self.dispatcher.is_muted = True
        self._next_tick = float("inf")
        self.admission.close()
        for session in self.sessions:
            session.disconnect_here(DisconnectReason.SHUTDOWN, CloseCode.SHUTDOWN)

    def announce(self, session: Session) -> None:
        """Call the `connect` event of a session."""
        self._log_access(session, "connect")
        self._log.connected(self.now, session.address, len(self.sessions))
        self.call_event("connect", self.handler.connect, session.client)

    def finish(self, session: Session) -> None:
        """Remove a session that has ended, and call its `disconnect` event if it had `connect`."""
        connection_ids = self.sessions.ids_of(session)
        self._forget(session)
        self.joining.end(session)
        if connection_ids:
            self.closed.add(session, connection_ids, self.now)
            self.paths.forget(session)
        self.budgets.remove(session)
        self.dispatcher.timers.cancel(session)
        reason, seconds = session.end(), self.now - session.connected_at
        self._ends[_end_of(session, reason)] += 1
        if session.is_announced:
            self._log_access(session, f"disconnect {reason.value} after {seconds:.3f} s")
            self._log.left(self.now, session.address, reason.value, seconds)
            self.call_event("disconnect", self.handler.disconnect, session.client)
        else:
            self._log_access(session, f"not admitted: {reason.value}")
            self._log.not_admitted(self.now, session.address, reason.value)
        session.client._leave_groups()

    def _log_access(self, session: Session, what: str) -> None:
        log = self.context.access_log
        if log is not None:
            line = f"{format_address(session.client.addr)} {what}"
            self.call("the access log", log.write, line, host_of(session.address), self.now)

    def call_event(self, name: str, function: Callable[..., object], *arguments: object) -> None:
        """Call an event other than those of messages, and warn if it takes long."""
        began = self.slow_events.begin()
        self.call(name, function, *arguments)
        self.slow_events.end(name, began)

    def call(self, name: str, function: Callable[..., object], *arguments: object) -> None:
        """Call foreign code; an exception is logged and does not propagate."""
        if self._is_inherited:
            return
        try:
            function(*arguments)
        except Exception:
            self.log_raised(name)
        self.apply_settings()

    def log_raised(self, name: str) -> None:
        """Log the exception being handled."""
        self._log.raised(self.now, name)

    def _stop(self) -> None:
        """Call the last event, and the callbacks of messages to clients that are gone."""
        self.is_stopped = True
        self.call_event("shutdown", self.handler.shutdown)
        self.handover.close()
        while calls := self.handover.take():
            for _, function, arguments in calls:
                function(*arguments)
        self._is_closed = True
        self.dispatcher.set_now(self.now + REFUSED_DELAY)
        self.dispatcher.serve_dirty()
        while self.dispatcher.waiting:
            self.dispatcher.serve_waiting(float("inf"))
        self._log.finish()

    # -- what cannot be sent, and what other threads send -------------------------------------

    def refuse(self, session: Session, callback: Callable[[bool], object]) -> None:
        """Have a callback called with False, because its client is gone."""
        if self._is_closed:
            self.call("a message callback", callback, False)
            return
        session.connection.endpoint.send_queue.completed.append((callback, False))
        if session.reason is None:
            self.dispatcher.mark_dirty(session)
        else:
            self.dispatcher.timers.schedule(session, self.now + REFUSED_DELAY)
        self.on_queued()

    def hand_over_send(
        self,
        session: Session,
        data: bytes,
        retry: int,
        callback: Callable[[bool], object] | None,
        channel: int,
    ) -> None:
        """Send a message of another thread at the next turn.

        If there is no room for it, the callback is called with False, on that other thread.
        """
        size = len(data) + MESSAGE_COST
        if self.handover.put(size, self._send, session, data, retry, callback, channel):
            return
        self._messages_refused += 1
        if callback is not None:
            try:
                callback(False)
            except Exception:
                _LOG.exception("a message callback raised")

    def _send(
        self,
        session: Session,
        data: bytes,
        retry: int,
        callback: Callable[[bool], object] | None,
        channel: int,
    ) -> None:
        try:
            session.send_here(data, retry, callback, channel)
        except (SendQueueFullError, ValueError) as error:  # no room, or longer than a window
            self._messages_refused += 1
            self._log.refused(self.now, session.client, error)
            if callback is not None:
                self.call("a message callback", callback, False)

    def hand_over_disconnect(
        self, session: Session, reason: DisconnectReason, code: int, text: str
    ) -> None:
        """Disconnect a client at the next turn."""
        self.handover.put(0, session.disconnect_here, reason, code, text)

    # -- out --------------------------------------------------------------------------------

    def wants_out(self, session: Session) -> None:
        """Give a session a turn to send, because something was queued for it."""
        self.dispatcher.make_ready(session)
        self.on_queued()
