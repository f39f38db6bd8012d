"""A server without a socket or a clock: sessions, events and the tick.

What every datagram goes through is the compiled `dispatcher`: which session it is for, whose turn
it is to be served and to send. The rest is here: handshakes, a session's beginning and end,
settings, ticks, logs. What an event of the handler raises is logged.

A turn has four steps, and is due when a datagram has arrived or `next_timer` has come:

1. receive: the dispatcher's `receive` for each datagram, with the address that it came from. What
   it completes is handled in there, and what the handler sends can leave before the next is taken:
   the player whose datagram was first does not wait for those behind.
2. `advance`.
3. send what the dispatcher's `next_datagram` makes until that is None. While the network takes no
   more the turn ends here: nothing is made that is not sent.
4. `step_handshakes`: a little public-key work, and send again. It comes last, so that all that the
   sessions have to say has left. While more waits `next_timer` asks for the next turn at once, in
   which the sessions come first again.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import TypeVar

from mpgameserver._core.dispatcher import Dispatcher
from mpgameserver.connection import Connection
from mpgameserver.enums import ConnectionStatus, DisconnectReason, PacketType
from mpgameserver.errors import ProtocolError, SendQueueFullError
from mpgameserver.server.client import ServerClient
from mpgameserver.server.context import ServerContext, ServerSettings
from mpgameserver.server.handler import EventHandler
from mpgameserver.server.handover import MESSAGE_COST, HandOver
from mpgameserver.server.handshakes import HelloRefused, ProvedSession, ServerHandshakes
from mpgameserver.server.host_budgets import HostBudgets
from mpgameserver.server.meter import Phase
from mpgameserver.server.observer import new_observer
from mpgameserver.server.sessions import Session, SessionTable
from mpgameserver.server.slow_events import SlowEventLog
from mpgameserver.server.stats import ServerStats
from mpgameserver.transport.address import (
    IpAddress,
    SocketAddress,
    format_address,
    host_of,
    plain_address,
)
from mpgameserver.transport.ratelog import LimitedLog

__all__ = ["ServerEngine"]

WORK_PER_TURN = 1
"""Hellos answered and keys exchanged in one turn at most: 0.15 ms, in which no session is served.
Each more of them adds as much to the round trips of players while there is a flood."""
FULL_EVENT_INTERVAL = 1.0
"""Seconds between two `full` events: anyone can cause them, from any address."""

REFUSED_DELAY = 0.01
"""Seconds until the callback of a message to a client that is gone: one that sends again and again
must not keep the loop spinning."""
MAX_ARRIVALS_LOGGED = 20
"""Lines per second on who connects, and as many on who leaves."""

_LOG = logging.getLogger("mpgameserver.server")
_CLIENT_HELLO, _CHALLENGE_RESP = PacketType.CLIENT_HELLO, PacketType.CHALLENGE_RESP
_DISCONNECT = PacketType.DISCONNECT
_Result = TypeVar("_Result")
_ORDINARY_DROPS = frozenset({"repeated", "too late", "no session", "late hello"})
"""Drops that honest clients on an honest network cause, and that need no log line."""


class _Place:
    """An address that is written out only if the log line is: a flood writes few."""

    __slots__ = ("_address",)

    def __init__(self, address: SocketAddress) -> None:
        self._address = address

    def __str__(self) -> str:
        return format_address(plain_address(self._address))


def _nothing() -> None:
    pass


def _no_address() -> SocketAddress:
    return ("", 0)


class ServerEngine:
    """The sessions of a server, the handshakes of those to come, and the handler's events.

    `now` is monotonic, in seconds, everywhere. `handler` is whose events are called, if not the
    context's. `local` tells the address of the server's socket, for a trace.
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
            self, context, self.handler, self.sessions.by_address, observer
        )
        """Sessions and datagrams: whose is which, and whose turn it is."""
        self._observer = observer
        self.drops: Counter[str] = Counter()
        """Datagrams dropped, by reason; see `ServerStats.drops`."""
        self.is_stopped: bool = False
        """The handler has had its `shutdown` event, and there is nothing more to do."""
        self.on_queued: Callable[[], None] = _nothing
        """Called when the handler has queued something for a client that had nothing to send."""
        self.send_errors: Callable[[], dict[str, int]] = dict
        """Counts of the socket's send errors by name: `ServerStats.send_errors`."""
        self.budgets: HostBudgets = HostBudgets(self.settings.limits)
        self._handshakes = ServerHandshakes(context.root_key, self.sessions, self.settings.limits)
        self._is_stopping = self._is_inherited = False
        self._is_at_handshakes = True
        self._last_tick = self._next_tick = float("inf")
        self._next_full_event = float("-inf")
        self._proved = self._stalled = self._evicted = 0
        self._drop_logs: defaultdict[str, LimitedLog] = defaultdict(lambda: LimitedLog(_LOG))
        self._full_log = LimitedLog(_LOG)
        self._ended_log = LimitedLog(_LOG)
        self._error_logs: defaultdict[str, LimitedLog] = defaultdict(lambda: LimitedLog(_LOG))
        self._refused_log = LimitedLog(_LOG)
        self._arrivals_log = LimitedLog(_LOG, MAX_ARRIVALS_LOGGED)
        self._departures_log = LimitedLog(_LOG, MAX_ARRIVALS_LOGGED)
        self._messages_refused = 0
        self._is_closed = False
        self.handover: HandOver = HandOver(context.wake)
        self.slow_events: SlowEventLog = SlowEventLog(self.dispatcher.calls.read)
        if observer is not None:
            observer.attach(self)

    @property
    def now(self) -> float:
        """The latest time that it was told."""
        return self.dispatcher.now

    @property
    def settings(self) -> ServerSettings:
        """The settings that hold: the context's, since the last event or turn."""
        return self.dispatcher.settings

    @property
    def clients(self) -> tuple[ServerClient, ...]:
        """The clients that are connected and known to the handler, in the order of arrival."""
        return tuple(
            session.client
            for session in self.sessions
            if session.is_announced and session.connection.status == ConnectionStatus.CONNECTED
        )

    @property
    def half_open(self) -> int:
        """The number of handshakes that wait for their proof."""
        return len(self._handshakes.half_open)

    @property
    def stats(self) -> ServerStats:
        """A snapshot of the figures of the server as a whole."""
        handshakes = self._handshakes
        return ServerStats(
            clients=len(self.sessions),
            half_open=self.half_open,
            waiting_hellos=len(handshakes.waiting),
            hellos_put_off=handshakes.waiting.put_off,
            hellos_answered=handshakes.answered,
            answers_repeated=handshakes.answered_again,
            key_exchanges=handshakes.exchanges,
            handshakes_proved=self._proved,
            handshakes_evicted=handshakes.half_open.evicted + handshakes.waiting.evicted,
            waiting_sessions=self.dispatcher.waiting,
            sessions_stalled=self._stalled,
            sessions_evicted=self._evicted,
            send_errors=self.send_errors(),
            messages_refused=self._messages_refused,
            drops=dict(self.drops),
        )

    # -- in ---------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Begin to serve. What the event `starting` raises is raised."""
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
        """Take a datagram that no session has taken; False unless it belongs to a handshake."""
        if kind == _CLIENT_HELLO:
            self._receive_hello(datagram, address, wall_now)
            return True
        if kind == _DISCONNECT:
            return self._handshakes.postpone_end(datagram, address)
        return kind == _CHALLENGE_RESP and self._receive_proof(datagram, address)

    def _receive_hello(self, datagram: bytes, address: SocketAddress, wall_now: float) -> None:
        host = host_of(address)
        reason = self._refusal(address, host)
        if reason is None:
            try:
                answer = self._handshakes.receive_hello(datagram, address, host, self.now, wall_now)
            except ProtocolError:
                reason = "malformed hello"
            except HelloRefused as refused:
                reason = str(refused)
            else:
                if answer is not None:
                    self._queue_answer(answer, address)
        if reason is not None:
            self.drop(reason, address)

    def _refusal(self, address: SocketAddress, host: IpAddress) -> str | None:
        """Return the reason to refuse a handshake with an address, or None."""
        if self._is_stopping:
            return "stopping"
        if address[1] == 0:
            return "no port"  # forged: it cannot be answered
        if self.settings.blocklist and host in self.settings.blocklist:
            return "blocked"
        session = self.sessions.get(address)
        if session is not None and session.predecessor is not None:
            return "busy"  # the handler has yet to learn of the one before
        reason = self.sessions.no_room(address, host, self.settings.limits)
        if reason is not None:
            self._tell_full(reason, address)
        return reason

    def _tell_full(self, reason: str, address: SocketAddress) -> None:
        if reason == "full":
            self._full_log.warning(self.now, "the server is full: %d clients", len(self.sessions))
        else:
            share = self.settings.limits.clients_per_host
            self._full_log.warning(
                self.now, "refused %s: its host already has %d clients", _Place(address), share
            )
        if self.now >= self._next_full_event:
            self._next_full_event = self.now + FULL_EVENT_INTERVAL
            self.call_event("full", self.handler.full, plain_address(address))

    def _queue_answer(self, datagram: bytes, address: SocketAddress) -> None:
        answers = self.dispatcher.answers
        if len(answers) < self.settings.limits.unsent_answers:
            answers.push((datagram, address))
            return
        self._count_drop("unsent", address)
        if self._observer is not None:
            self._observer.unsent(address)

    def _receive_proof(self, datagram: bytes, address: SocketAddress) -> bool:
        """True when the datagram has proved a handshake, or waits for a key that will tell.

        True as well when it is dropped here, for no more keys can be tried now.
        """
        if not self._handshakes.half_open.at(address):
            return False
        if self._refusal(address, host_of(address)) is not None:
            return False
        if not self._handshakes.may_try(address, self.now):
            self.drop("busy", address)
            return True
        return self._prove(datagram, address) or self._handshakes.postpone(datagram, address)

    def _prove(self, datagram: bytes, address: SocketAddress) -> bool:
        """True when the datagram has proved a handshake that has a key: there is a new session."""
        proved = self._handshakes.prove(datagram, address, self.now)
        if proved is not None:
            self._begin_session(proved, address)
        return proved is not None

    def _begin_session(self, proved: ProvedSession, address: SocketAddress) -> None:
        self._proved += 1
        old = self.sessions.get(address)
        if old is not None:
            self._replace(old)
        self._add_session(proved, address).predecessor = old
        self._take_end(address)

    def _replace(self, session: Session) -> None:
        """End a session whose address another one takes over."""
        self.dispatcher.dispatch(session)
        session.ending = session.ending or DisconnectReason.REPLACED
        session.connection.abort(self.now)  # no one is left who could decrypt its DISCONNECT
        self._forget(session)
        self.dispatcher.touch(session)

    def _add_session(self, proved: ProvedSession, address: SocketAddress) -> Session:
        connection = Connection(proved.endpoint, proved.token, self.settings.timing)
        session = Session(connection, address, proved.client_key, self)
        self._limit(session)
        session.client = ServerClient(session, plain_address(address))
        self.sessions.add(session)
        self.budgets.add(session)
        self.dispatcher.touch(session)
        return session

    def _forget(self, session: Session) -> None:
        """Take a session that has ended out of the table, once."""
        if self.sessions.get(session.address) is session:
            if self._observer is not None:
                self._observer.ended(session)
            self.sessions.remove(session)

    def drop(self, reason: str, address: SocketAddress) -> None:
        self._count_drop(reason, address)
        self.dispatcher.note_drop(reason, address)

    def _count_drop(self, reason: str, address: SocketAddress) -> None:
        self.drops[reason] += 1
        if reason not in _ORDINARY_DROPS:
            self._drop_logs[reason].warning(
                self.now, "dropped a datagram from %s: %s", _Place(address), reason
            )

    # -- time and events --------------------------------------------------------------------

    def advance(self, now: float) -> None:
        """Do what arrived and what the time asks for: the handler's events, and timeouts."""
        self._observed(Phase.RECEIVE, self._advance, now)

    def _observed(self, phase: Phase, work: Callable[[float], _Result], now: float) -> _Result:
        """Do the work, and return its result; the observer is told of the phase."""
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
        self._handshakes.expire(self.now - self.settings.handshake_timeout)
        for function, arguments in self.context.take_calls():
            self.call_event("call_soon_threadsafe", function, *arguments)
        for _, function, arguments in self.handover.take():
            function(*arguments)
        self.dispatcher.serve_touched()
        if self.context.is_shutting_down and not self._is_stopping:
            self._begin_to_stop()
        elif self.now >= self._next_tick:
            self._tick()
        self.dispatcher.serve_waiting(self._next_tick)
        if self._is_stopping and not (self.sessions or self.dispatcher.waiting or self.is_stopped):
            self._stop()

    def next_timer(self) -> float:
        """Time at which a turn is due if nothing arrives before."""
        if self.dispatcher.has_touched or self.dispatcher.waiting or self.handover:
            return self.now
        # While the network takes no more, a turn does not get that far.
        work = self._handshakes.next_work() if self._is_at_handshakes else float("inf")
        return min(self._next_tick, self.dispatcher.timers.next_time(), work)

    def abort(self) -> None:
        """Stop at once: each client is told by one datagram, the handler as ever."""
        self._begin_to_stop()
        for session in self.sessions:
            self._abandon(session)
        while not self.is_stopped:
            self.advance(self.now)

    def end_in_child(self) -> None:
        """Serve nobody and call nothing any more: the sessions are the parent process's."""
        self._is_inherited = self.is_stopped = True
        self._handshakes.clear()
        self.dispatcher.answers.take_all()
        for session in self.sessions:
            session.connection.disown()
        self.handover = HandOver(_nothing)
        self.handover.close()

    def _tick(self) -> None:
        delta_t, self._last_tick = self.now - self._last_tick, self.now
        self._next_tick += self.settings.interval
        if self._next_tick <= self.now:
            self._next_tick = self.now + self.settings.interval
        self.call_event("update", self.handler.update, delta_t)

    def step_handshakes(self, now: float) -> bool:
        """Finish or begin a handshake, when all has left; True if there may be more to send."""
        self._is_at_handshakes = True
        return self._handshakes.has_work and self._observed(Phase.SEND, self._step, now)

    def _step(self, now: float) -> bool:
        self.dispatcher.set_now(now)
        done = 0
        while done < WORK_PER_TURN and (self._try_waiting_proof() or self._answer_waiting_hello()):
            done += 1
        return done > 0

    def _try_waiting_proof(self) -> bool:
        """Make a key for a proof that waits, and try it; False when none waits."""
        tried = self._handshakes.exchange_next(self.now)
        if tried is None:
            return False
        address, proved = tried
        reason = self._refusal(address, host_of(address))
        if reason is None:
            if proved is None:
                reason = "unproved"
            else:
                self._begin_session(proved, address)
        if reason is not None and not self._handshakes.proof_waits(address):
            self.drop(reason, address)
        self._take_end(address)
        return True

    def _take_end(self, address: SocketAddress) -> None:
        """Take the DISCONNECT of a client that gave up behind its proof."""
        end = self._handshakes.take_end(address)
        if end is not None:
            self.dispatcher.receive(end, address, self.now, 0.0)

    def _answer_waiting_hello(self) -> bool:
        """Answer a hello that waits; False when none may be answered now."""
        waiting = self._handshakes.take_hello(self.now)
        if waiting is None:
            return False
        reason = self._refusal(waiting.address, waiting.host)
        if reason is None:
            try:
                answer = self._handshakes.answer(waiting, self.now)
            except ProtocolError:
                reason = "malformed hello"
            except HelloRefused as refused:
                reason = str(refused)
            else:
                self._queue_answer(answer, waiting.address)
        if reason is not None:
            self.drop(reason, waiting.address)
        return True

    def apply_settings(self) -> None:
        settings, previous = self.context.settings, self.settings
        if settings is previous:
            return
        self.dispatcher.settings = settings
        contradiction = settings.timing.contradiction()
        if contradiction is not None and settings.timing != previous.timing:
            _LOG.warning("%s", contradiction)
        self._handshakes.limit(settings.limits)
        self.budgets.limit(settings.limits)
        if not self._is_stopping:
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
        self._handshakes.block(blocklist)
        for session in self.sessions:
            if host_of(session.address) in blocklist:
                session.ending = session.ending or DisconnectReason.KICKED
                self._abandon(session)

    def _abandon(self, session: Session) -> None:
        """End a session at once; one datagram tells the client, as far as it arrives."""
        datagram = session.connection.abort(self.now)
        if datagram is not None:
            self._queue_answer(datagram, session.address)
        self.dispatcher.touch(session)

    def make_room(self, session: Session) -> bool:
        """End the session whose incomplete messages hold the most, to make room for another's."""
        largest = self.budgets.largest_reassembly(session)
        if largest is None:
            return False
        self._evicted += 1
        self._end_for(largest, DisconnectReason.EVICTED)
        largest.connection.endpoint.reassembler.clear()
        return True

    def give_up(self, session: Session) -> None:
        """End a session that acks nothing of all that waits for it."""
        self._stalled += 1
        self._end_for(session, DisconnectReason.STALLED)

    def _end_for(self, session: Session, reason: DisconnectReason) -> None:
        session.ending = session.ending or reason
        self._ended_log.warning(self.now, "%s is %s", _Place(session.address), reason.value)
        self._abandon(session)

    def _begin_to_stop(self) -> None:
        self._is_stopping = self.dispatcher.is_muted = True
        self._next_tick = float("inf")
        self._handshakes.clear()
        for session in self.sessions:
            session.disconnect_here(DisconnectReason.SHUTDOWN)

    def announce(self, session: Session) -> None:
        """Tell the handler of a session's arrival."""
        self._log_access(session, "connect")
        self._arrivals_log.info(
            self.now, "%s has connected: %d clients", _Place(session.address), len(self.sessions)
        )
        self.call_event("connect", self.handler.connect, session.client)

    def finish(self, session: Session) -> None:
        """The session has ended: forget it, and notify the handler."""
        self._forget(session)
        self.budgets.remove(session)
        self.dispatcher.timers.cancel(session)
        reason, seconds = session.end(), self.now - session.connected_at
        self._log_access(session, f"disconnect {reason.value} after {seconds:.3f} s")
        self._departures_log.info(
            self.now,
            "%s has left: %s after %.1f s",
            _Place(session.address),
            reason.value,
            seconds,
        )
        self.call_event("disconnect", self.handler.disconnect, session.client)

    def _log_access(self, session: Session, what: str) -> None:
        log = self.context.access_log
        if log is not None:
            line = f"{format_address(session.client.addr)} {what}"
            self.call("the access log", log.write, line, host_of(session.address), self.now)

    def call_event(self, name: str, function: Callable[..., object], *arguments: object) -> None:
        """Call an event that does not come with each message, and warn if it takes long."""
        began = self.slow_events.begin()
        self.call(name, function, *arguments)
        self.slow_events.end(name, began)

    def call(self, name: str, function: Callable[..., object], *arguments: object) -> None:
        """Call what is not ours; what it raises is logged and goes no further."""
        if self._is_inherited:
            return
        try:
            function(*arguments)
        except Exception:
            self.log_raised(name)
        self.apply_settings()

    def log_raised(self, name: str) -> None:
        self._error_logs[name].exception(self.now, "%s raised", name)

    def _stop(self) -> None:
        """Everybody is gone: the last event, and the callbacks of what is sent to them in vain."""
        self.is_stopped = True
        self.call_event("shutdown", self.handler.shutdown)
        self.handover.close()
        while calls := self.handover.take():
            for _, function, arguments in calls:
                function(*arguments)
        self._is_closed = True
        self.dispatcher.set_now(self.now + REFUSED_DELAY)
        self.dispatcher.serve_touched()
        while self.dispatcher.waiting:
            self.dispatcher.serve_waiting(float("inf"))
        self._arrivals_log.finish()
        self._departures_log.finish()

    # -- what cannot be sent, and what other threads send -------------------------------------

    def refuse(self, session: Session, callback: Callable[[bool], object]) -> None:
        """See to it that a callback is called with False, for its client is gone."""
        if self._is_closed:
            self.call("a message callback", callback, False)
            return
        session.connection.endpoint.send_queue.completed.append((callback, False))
        if session.reason is None:
            self.dispatcher.touch(session)
        else:
            self.dispatcher.timers.schedule(session, self.now + REFUSED_DELAY)
        self.on_queued()

    def hand_over_send(
        self,
        session: Session,
        data: bytes,
        retry: int,
        callback: Callable[[bool], object] | None,
    ) -> None:
        """Send a message of another thread when this one has its turn.

        Where there is no room for it the callback is called with False, on that other thread.
        """
        size = len(data) + MESSAGE_COST
        if self.handover.put(size, self._send, session, data, retry, callback):
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
    ) -> None:
        try:
            session.send_here(data, retry, callback)
        except SendQueueFullError as error:
            self._messages_refused += 1
            self._refused_log.warning(
                self.now, "%r misses a message from another thread: %s", session.client, error
            )
            if callback is not None:
                self.call("a message callback", callback, False)

    def hand_over_disconnect(self, session: Session, reason: DisconnectReason) -> None:
        """Disconnect a client when this thread has its turn."""
        self.handover.put(0, session.disconnect_here, reason)

    # -- out --------------------------------------------------------------------------------

    def wants_out(self, session: Session) -> None:
        """Something was queued for the session, which had nothing to send."""
        self.dispatcher.make_ready(session)
        self.on_queued()
