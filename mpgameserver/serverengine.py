"""A server without a socket or a clock: sessions, events and the tick.

The owner gives it every datagram with the address that it came from (`receive`), lets it work
(`advance`) after each batch of datagrams and when `next_timer` has come, and then sends what
`next_datagram` makes until that is None. It may stop in between, while the network takes no more:
nothing is made that is not sent. What a datagram completes is handled in `receive`, and what the
handler sends can leave before the next is taken: the player whose datagram was first does not wait
for those behind.

    receive ──> touched ──┐                        ┌──> ready ──> next_datagram
    timers  ──> touched ──┴─ advance: the events ──┤
    update, calls of other threads ────────────────┘

A session is touched when a datagram of it was accepted or its timer has come, and ready when it
may have something to send. Sessions that are neither cost nothing. What an event of the handler
raises is logged.

The public-key work of handshakes comes last: `next_datagram` does it when all that the sessions
have to say has left, and only so much of it between two calls of `advance`. `next_timer` then
asks for the next turn at once, in which the sessions come first again.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict, deque
from collections.abc import Callable

from mpgameserver._core.fragments import ReassemblyBudget
from mpgameserver.accepting import HelloRefused, ProvedSession, ServerHandshakes
from mpgameserver.address import (
    IpAddress,
    SocketAddress,
    format_address,
    host_of,
    plain_address,
)
from mpgameserver.connection import Connection
from mpgameserver.context import EventHandler, ServerContext
from mpgameserver.enums import ConnectionStatus, DisconnectReason, PacketType
from mpgameserver.errors import ProtocolError
from mpgameserver.limitedlog import LimitedLog
from mpgameserver.serverclient import ServerClient
from mpgameserver.serverstats import ServerStats
from mpgameserver.session import Session, SessionTable
from mpgameserver.timers import Timers

__all__ = ["ServerEngine"]

MIN_TIMER = 0.001
"""Seconds until a session is looked at again at the earliest: a timer that has come and has
nothing to do, were it for a rounding of the time, must not keep the loop spinning."""
WORK_PER_TURN = 1
"""Hellos answered and keys exchanged in one turn at most: 0.15 ms, in which no session is served.
Each more of them adds as much to the round trips of players while there is a flood."""
FULL_EVENT_INTERVAL = 1.0
"""Seconds between two `full` events: anybody can cause them, from any address."""

_LOG = logging.getLogger("mpgameserver.server")
_TYPE_OFFSET = 12
# As plain ints: they are compared for every datagram.
_UNKNOWN, _CLIENT_HELLO = int(PacketType.UNKNOWN), int(PacketType.CLIENT_HELLO)
_CHALLENGE_RESP, _DISCONNECT = int(PacketType.CHALLENGE_RESP), int(PacketType.DISCONNECT)
_ORDINARY_DROPS = frozenset({"repeated", "too late", "no session", "late hello"})
"""What honest clients on an honest network cause, and no log needs to tell."""


class _Place:
    """An address that is written out only if the log line is: a flood writes few."""

    __slots__ = ("_address",)

    def __init__(self, address: SocketAddress) -> None:
        self._address = address

    def __str__(self) -> str:
        return format_address(plain_address(self._address))


def _nothing() -> None:
    pass


class ServerEngine:
    """The sessions of a server, the handshakes of those to come, and the handler's events.

    `now` is monotonic, in seconds, everywhere. `before_work` is called before public-key work,
    and sees to it that what was made until then has left. `handler` is whose events are called,
    if not the context's.
    """

    def __init__(
        self,
        context: ServerContext,
        before_work: Callable[[], None] = _nothing,
        handler: EventHandler | None = None,
    ) -> None:
        self.drops: Counter[str] = Counter()
        """Datagrams that came to nothing, by reason; see `ServerStats.drops`."""
        self.is_stopped = False
        """The handler has had its `shutdown` event, and there is nothing more to do."""
        self.now = 0.0
        """The latest time that the engine was told."""
        self.on_queued: Callable[[], None] = _nothing
        """Called when the handler has queued something for a client that had nothing to send."""
        self._before_work = before_work
        self._context = context
        self._handler = handler or context.handler
        self._settings = context.settings
        self._sessions = SessionTable()
        self._reassembly = ReassemblyBudget(self._settings.limits.reassembly_bytes)
        self._handshakes = ServerHandshakes(context.root_key, self._sessions, self._settings.limits)
        self._timers: Timers[Session] = Timers()
        self._touched: dict[Session, None] = {}
        self._ready: deque[Session] = deque()
        self._answers: deque[tuple[bytes, SocketAddress]] = deque()
        self._is_stopping = False
        self._last_tick = self._next_tick = float("inf")
        self._next_full_event = float("-inf")
        self._proved = 0
        self._work_left = 0
        self._has_sent_all = True
        self._drop_logs: defaultdict[str, LimitedLog] = defaultdict(lambda: LimitedLog(_LOG))
        self._full_log = LimitedLog(_LOG)
        self._error_logs: defaultdict[str, LimitedLog] = defaultdict(lambda: LimitedLog(_LOG))

    @property
    def clients(self) -> tuple[ServerClient, ...]:
        """The clients that are connected and known to the handler, in the order of arrival."""
        return tuple(
            session.client
            for session in self._sessions
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
            clients=len(self._sessions),
            half_open=self.half_open,
            waiting_hellos=len(handshakes.waiting),
            hellos_put_off=handshakes.waiting.put_off,
            hellos_answered=handshakes.answered,
            answers_repeated=handshakes.answered_again,
            key_exchanges=handshakes.exchanges,
            handshakes_proved=self._proved,
            handshakes_evicted=handshakes.half_open.evicted,
            drops=dict(self.drops),
        )

    # -- in ---------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Begin to serve."""
        self.now = self._last_tick = now
        self._next_tick = now + self._settings.interval
        self._call("starting", self._handler.starting)

    def receive(self, datagram: bytes, address: SocketAddress, now: float, wall_now: float) -> bool:
        """Take a datagram; True when something may leave before the next one is taken.

        `wall_now` is the Unix time in seconds; a session reads it once, when its handshake opens.
        """
        if now > self.now:
            self.now = now
        self._work_left = 0  # what is sent between two arrivals is the sessions'
        kind = datagram[_TYPE_OFFSET] if len(datagram) > _TYPE_OFFSET else _UNKNOWN
        if kind == _CLIENT_HELLO:
            self._receive_hello(datagram, address, wall_now)
            return False
        session = self._sessions.get(address)
        if session is None:
            if not (kind == _CHALLENGE_RESP and self._receive_proof(datagram, address)):
                self._drop("no session", address)
            return False
        if not session.connection.is_live:
            # Behind its goodbye: nobody could be replied to, and what is dropped is not acked.
            self._drop("no session", address)
            return False
        if kind == _DISCONNECT and not session.is_announced:
            self._dispatch(session)  # while it can still be sent something
        return self._receive_sealed(session, datagram, kind)

    def _receive_sealed(self, session: Session, datagram: bytes, kind: int) -> bool:
        connection = session.connection
        reason = connection.receive(datagram, self.now)
        if reason is None:
            if connection.endpoint.inbox_size or connection.endpoint.ack_is_due:
                self._serve(session)
                return True
            self._touched[session] = None
            return False
        if kind != _CHALLENGE_RESP or not self._receive_proof(datagram, session.address):
            self._drop(reason, session.address)
        return False

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
            self._drop(reason, address)

    def _refusal(self, address: SocketAddress, host: IpAddress) -> str | None:
        """Why no handshake is begun with an address; None where one is."""
        if self._is_stopping:
            return "stopping"
        if address[1] == 0:
            return "no port"  # forged: it cannot be answered
        if self._settings.blocklist and host in self._settings.blocklist:
            return "blocked"
        reason = self._sessions.no_room(address, host, self._settings.limits)
        if reason is not None:
            self._tell_full(reason, address)
        return reason

    def _tell_full(self, reason: str, address: SocketAddress) -> None:
        if reason == "full":
            self._full_log.warning(self.now, "the server is full: %d clients", len(self._sessions))
        else:
            share = self._settings.limits.clients_per_host
            self._full_log.warning(
                self.now, "the host of %s has its share: %d clients", _Place(address), share
            )
        if self.now >= self._next_full_event:
            self._next_full_event = self.now + FULL_EVENT_INTERVAL
            self._call("full", self._handler.full, plain_address(address))

    def _queue_answer(self, datagram: bytes, address: SocketAddress) -> None:
        if len(self._answers) < self._settings.limits.unsent_answers:
            self._answers.append((datagram, address))
        else:
            self._drop("unsent", address)

    def _receive_proof(self, datagram: bytes, address: SocketAddress) -> bool:
        """True when the datagram has proved a handshake, or waits for a key that will tell."""
        if not self._handshakes.half_open.at(address):
            return False
        if self._refusal(address, host_of(address)) is not None:
            return False
        return self._prove(datagram, address) or self._handshakes.postpone(datagram, address)

    def _prove(self, datagram: bytes, address: SocketAddress) -> bool:
        """True when the datagram has proved a handshake that has a key: there is a new session."""
        proved = self._handshakes.prove(datagram, address, self.now)
        if proved is None:
            return False
        self._proved += 1
        old = self._sessions.get(address)
        if old is not None:
            self._replace(old)
        self._add_session(proved, address)
        return True

    def _replace(self, session: Session) -> None:
        """End a session whose address another one takes over."""
        self._dispatch(session)
        session.ending = session.ending or DisconnectReason.REPLACED
        session.connection.abandon(self.now)  # nobody is left who could open its goodbye
        self._sessions.remove(session)
        self._touched[session] = None

    def _add_session(self, proved: ProvedSession, address: SocketAddress) -> None:
        connection = Connection(proved.endpoint, proved.token, self._settings.timing)
        self._limit(connection)
        connection.endpoint.reassembler.share(self._reassembly)
        session = Session(connection, address, proved.client_key, self)
        self._sessions.add(session)
        self._touched[session] = None

    def _drop(self, reason: str, address: SocketAddress) -> None:
        self.drops[reason] += 1
        if reason not in _ORDINARY_DROPS:
            self._drop_logs[reason].warning(
                self.now, "dropped a datagram from %s: %s", _Place(address), reason
            )

    # -- time and events --------------------------------------------------------------------

    def advance(self, now: float) -> None:
        """Do what arrived and what the time asks for: the handler's events, and timeouts."""
        if now > self.now:
            self.now = now
        self._apply_settings()
        self._handshakes.expire(self.now - self._settings.handshake_timeout)
        for function, arguments in self._context.take_calls():
            self._call("call_soon_threadsafe", function, *arguments)
        for session in self._timers.pop_due(self.now):
            self._touched[session] = None
        if self._touched:
            self._serve_touched()
        if self._context.is_shutting_down and not self._is_stopping:
            self._begin_to_stop()
        elif self.now >= self._next_tick:
            self._tick()
        self._work_left = WORK_PER_TURN
        self._has_sent_all = False
        if self._is_stopping and not self._sessions and not self.is_stopped:
            self.is_stopped = True
            self._call("shutdown", self._handler.shutdown)

    def next_timer(self) -> float:
        """When `advance` has something to do, if nothing arrives before."""
        if self._touched:
            return self.now
        # While the network takes no more, answers need not be made either.
        work = self._handshakes.next_work() if self._has_sent_all else float("inf")
        return min(self._next_tick, self._timers.next_time(), work)

    def abort(self) -> None:
        """Stop at once: each client is told by one datagram, the handler as ever."""
        self._begin_to_stop()
        for session in self._sessions:
            self._abandon(session)
        self.advance(self.now)

    def _tick(self) -> None:
        delta_t, self._last_tick = self.now - self._last_tick, self.now
        self._next_tick += self._settings.interval
        if self._next_tick <= self.now:
            self._next_tick = self.now + self._settings.interval
        self._call("update", self._handler.update, delta_t)

    def _do_public_key_work(self) -> bool:
        """Finish or begin a handshake; False when none waits, or this turn had its part."""
        if not self._work_left or not self._handshakes.has_work:
            return False
        self._work_left -= 1
        self._before_work()
        return self._try_waiting_proof() or self._answer_waiting_hello()

    def _try_waiting_proof(self) -> bool:
        """Make a key for a proof that waits, and try it; False when none waits."""
        waiting = self._handshakes.exchange_next()
        if waiting is None:
            return False
        _, address = waiting
        reason = self._refusal(address, host_of(address))
        if reason is None and not self._prove(*waiting):
            reason = "unproved"
        if reason is not None and not self._handshakes.proof_waits(address):
            self._drop(reason, address)
        return True

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
            self._drop(reason, waiting.address)
        return True

    def _apply_settings(self) -> None:
        settings, previous = self._context.settings, self._settings
        if settings is previous:
            return
        self._settings = settings
        self._handshakes.limit(settings.limits)
        self._reassembly.limit = settings.limits.reassembly_bytes
        if not self._is_stopping:
            self._next_tick = min(self._next_tick, self.now + settings.interval)
        for session in self._sessions:
            session.connection.retime(settings.timing)
            self._limit(session.connection)
            self.make_ready(session)
        if settings.blocklist is not previous.blocklist:
            self._enforce_blocklist()

    def _limit(self, connection: Connection) -> None:
        connection.endpoint.outbox.max_pending = self._settings.limits.send_queue_bytes

    def _enforce_blocklist(self) -> None:
        blocklist = self._settings.blocklist
        self._handshakes.block(blocklist)
        for session in self._sessions:
            if host_of(session.address) in blocklist:
                session.ending = session.ending or DisconnectReason.KICKED
                self._abandon(session)

    def _abandon(self, session: Session) -> None:
        """End a session at once; one datagram tells the client, as far as it arrives."""
        farewell = session.connection.abandon(self.now)
        if farewell is not None:
            self._queue_answer(farewell, session.address)
        self._touched[session] = None

    def _begin_to_stop(self) -> None:
        self._is_stopping = True
        self._next_tick = float("inf")
        self._handshakes.clear()
        for session in self._sessions:
            session.say_goodbye(DisconnectReason.SHUTDOWN)

    def _serve_touched(self) -> None:
        touched, self._touched = iter(self._touched), {}
        try:
            for session in touched:
                self._serve(session)
        finally:
            # What is no Exception, such as KeyboardInterrupt, ends the server, but not these.
            self._touched |= dict.fromkeys(touched)

    def _serve(self, session: Session) -> None:
        """Bring a session up to date, and the handler about it."""
        connection = session.connection
        self.make_ready(session)  # first: then what the handler sends need not see to it
        connection.advance(self.now)
        if connection.endpoint.inbox_size or not session.is_announced:
            self._dispatch(session)
        for callback, acked in connection.take_settled():
            self._call("a message callback", callback, acked)
        if not connection.is_live and session.reason is None:
            self._finish(session)

    def _dispatch(self, session: Session) -> None:
        """Tell the handler of a session's arrival, and of its messages."""
        client = session.client
        if not session.is_announced:
            session.is_announced = True
            self._log_access(session, "connect")
            self._call("connect", self._handler.connect, client)
        handle_message = self._handler.handle_message
        for seqnum, message in session.connection.endpoint.take_messages():
            if session.ending is not None:
                break
            try:
                handle_message(client, seqnum, message)
            except Exception:
                self._log_raised("handle_message")
            if self._context.settings is not self._settings:
                self._apply_settings()

    def _finish(self, session: Session) -> None:
        """The session is over: forget it, and tell the handler."""
        self._sessions.remove(session)
        self._timers.cancel(session)
        reason = session.end()
        self._log_access(
            session, f"disconnect {reason.value} after {self.now - session.connected_at:.3f} s"
        )
        self._call("disconnect", self._handler.disconnect, session.client)

    def _log_access(self, session: Session, what: str) -> None:
        log = self._context.access_log
        if log is not None:
            self._call("the access log", log.write, f"{format_address(session.client.addr)} {what}")

    def _call(self, name: str, function: Callable[..., object], *arguments: object) -> None:
        """Call what is not ours; what it raises is logged and goes no further."""
        try:
            function(*arguments)
        except Exception:
            self._log_raised(name)
        self._apply_settings()

    def _log_raised(self, name: str) -> None:
        self._error_logs[name].exception(self.now, "%s raised", name)

    # -- out --------------------------------------------------------------------------------

    def make_ready(self, session: Session) -> None:
        """Give the session a turn to send."""
        if not session.is_ready:
            session.is_ready = True
            self._ready.append(session)

    def wants_out(self, session: Session) -> None:
        """Something was queued for the session, which had nothing to send."""
        self.make_ready(session)
        self.on_queued()

    def next_datagram(self, now: float) -> tuple[bytes, SocketAddress] | None:
        """The next datagram to send now, and where to; None when there is none."""
        if now > self.now:
            self.now = now
        while True:
            leaving = self._answers.popleft() if self._answers else self._next_of_sessions()
            if leaving is not None:
                return leaving
            if not self._do_public_key_work():
                self._has_sent_all = True
                return None

    def _next_of_sessions(self) -> tuple[bytes, SocketAddress] | None:
        while self._ready:
            session = self._ready[0]
            connection = session.connection
            datagram = connection.next_datagram(self.now)
            if datagram is not None:
                connection.endpoint.note_sent(len(datagram), self.now)
                return datagram, session.address
            self._ready.popleft()
            session.is_ready = False
            self._timers.schedule(session, max(connection.next_timer(), self.now + MIN_TIMER))
        return None
