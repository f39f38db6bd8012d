"""Per-datagram work of a server: which session a datagram is for, and whose turn it is to send.

    receive ──> dirty ──┐                         ┌──> ready ──> next_datagram
    timers  ──> dirty ──┴─ serve: the events ─────┤
    calls of other threads ─────────────────────────┘

A session is dirty when one of its datagrams was accepted or its timer has expired, and ready when
it may have something to send. Sessions that are neither cost nothing.

The game's code is called for a session's messages as they arrive, but within a budget: a session
with more messages waits for its next turn (`serve_waiting`), behind those already waiting. Its
inbox bounds what waits, and its packets are acked while there is room.

Everything that does not happen for each datagram is the owner's: handshakes, the start and end of
sessions, settings, logs.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.math cimport INFINITY
from libc.stdint cimport int64_t, uint8_t, uint32_t

from mpgameserver._core.call_budget cimport MAX_CALLS_PER_TURN, CallBudget
from mpgameserver._core.connection cimport Connection
from mpgameserver._core.drop_reason cimport REASSEMBLY_FULL
from mpgameserver._core.endpoint cimport Endpoint
from mpgameserver._core.endpoint2 cimport Endpoint2
from mpgameserver._core.frames cimport CONNECTION_ID_SIZE
from mpgameserver._core.packet_header cimport CHALLENGE_RESP, CLIENT_HELLO, DISCONNECT, TYPE_OFFSET

from collections import deque

from mpgameserver._core.endpoint import DROP_REASONS
from mpgameserver.enums import DisconnectReason

__all__ = ["Dispatcher"]

# Seconds until a session is served again at the earliest. A timer that expires with nothing to do,
# perhaps because of rounding, must not make the loop spin.
cdef double MIN_TIMER = 0.001

cdef enum:
    # The first byte of a datagram of protocol 2 that is a handshake packet, and the bits of it that
    # make it a sealed packet.
    HANDSHAKE = 4
    SEALED = 8
    SEALED_MASK = 0xF8
    ID_OFFSET = 1
    MIN_PACKET_TO_SERVER = 27   # one frame of one byte, a packet number of one, the tag

cdef object _replaced = DisconnectReason.REPLACED
cdef object _reassembly_full = DROP_REASONS[<int>REASSEMBLY_FULL - 1]


@cython.final
cdef class Dispatcher:
    """The sessions of a server; `handler` gets their messages.

    `by_address` has those of protocol 1, `by_id` those of protocol 2 by their connection id, both
    kept by the owner. `names` has the names of channels by number, for a handler that asks for
    them, else it is None. `now` is monotonic, in seconds. It calls these methods of its `owner`:

    - `receive_handshake(datagram, address, kind, wall_now)`: process a datagram of protocol 1 that
      belongs to no session or is not sealed under the session's key; returns False unless it is a
      handshake's;
    - `receive_hello2(datagram, address)`: process a handshake packet of protocol 2;
    - `receive_sealed(datagram, address)`: process a sealed packet of protocol 2 of no session;
    - `on_other_address(session, address, size)`: a packet of a session of protocol 2, of `size`
      bytes, was accepted from an address that is not the session's;
    - `join(session)`: go on to admit a client that has `joining`; returns True once it is admitted;
    - `drop(reason, address)`: count a dropped datagram;
    - `announce(session)`: call the `connect` event;
    - `finish(session)`: the session has ended;
    - `make_room(session)`: make room for the session's fragments; returns True if there is some;
    - `give_up(session)`: end a session that acks nothing although much is queued;
    - `call(name, function, *arguments)`: call foreign code, and log what it raises;
    - `log_raised(name)`: log the exception being handled;
    - `apply_settings()`: the context's settings are no longer `settings`.

    An `observer` is notified of every datagram: `sent(datagram, address)`,
    `received(datagram, address)` and `dropped(datagram, address, reason)`.
    """

    def __cinit__(self, *_, **__):
        self._by_address = {}
        self._by_id = {}
        self.timers = Timers()
        self.answers = Fifo()
        self._ready = deque()
        self._dirty = []
        self._waiting = deque()
        self.calls = CallBudget()
        self._turn_is_over = True
        self.messages_left = MAX_MESSAGES_PER_RECEIVE

    def __init__(
        self,
        owner,
        context,
        handler,
        dict by_address not None,
        dict by_id not None,
        dict names=None,
        observer=None,
    ):
        self._owner = owner
        self._context = context
        self.settings = context.settings
        self.handler = handler
        self.observer = observer
        self._by_address = by_address
        self._by_id = by_id
        self._names = names

    # -- in ---------------------------------------------------------------------------------

    def set_now(self, double now):
        """Move the clock forward; an earlier time is ignored."""
        if now > self.now:
            self.now = now

    cpdef bint receive(
        self, bytes datagram, tuple address, double now, double wall_now
    ) except -1:
        """Process a datagram; return True if something may be sent before the next one is read.

        `wall_now` is the Unix time in seconds, which a session reads once, when it is established.
        """
        if self.observer is None:
            return self._receive(datagram, address, now, wall_now)
        return self._receive_observed(datagram, address, now, wall_now)

    cdef bint _receive_observed(
        self, bytes datagram, tuple address, double now, double wall_now
    ) except -1:
        """Do as `_receive`, and notify the observer of the outcome."""
        cdef bytes before = self._arriving  # a new session processes a deferred one, too
        self._arriving = datagram
        try:
            return self._receive(datagram, address, now, wall_now)
        finally:
            if self._arriving is not None:
                self.observer.received(datagram, address)
            self._arriving = before

    def note_drop(self, reason, tuple address):
        """Notify the observer that a datagram, received now or deferred, was dropped."""
        cdef bytes arriving = self._arriving
        if self.observer is not None:
            self._arriving = None
            self.observer.dropped(arriving, address, reason)

    cdef bint _receive(
        self, bytes datagram, tuple address, double now, double wall_now
    ) except -1:
        cdef uint8_t kind = 0
        cdef uint8_t first = <uint8_t>PyBytes_AS_STRING(datagram)[0]  # 0 of an empty one
        cdef Session session
        if now > self.now:
            self.now = now
        if self._turn_is_over:
            self._turn_is_over = False
            self.messages_left = MAX_MESSAGES_PER_RECEIVE
            self.calls.begin(self.now, INFINITY)
        if first == HANDSHAKE:
            self._owner.receive_hello2(datagram, address)
            return False
        if first & SEALED_MASK == SEALED:
            return self._receive_by_id(datagram, address)
        if PyBytes_GET_SIZE(datagram) > TYPE_OFFSET:
            kind = <uint8_t>PyBytes_AS_STRING(datagram)[TYPE_OFFSET]
        session = self._by_address.get(address)
        if session is None or kind == CLIENT_HELLO:
            if not self._owner.receive_handshake(datagram, address, kind, wall_now):
                self._owner.drop("no session", address)
            return False
        if not session.connection.is_live:
            # After its DISCONNECT: no reply is possible, and what is dropped is not acked.
            self._owner.drop("no session", address)
            return False
        if kind == DISCONNECT and not session.is_announced:
            self.dispatch(session)  # while it can still be replied to
        return self._receive_sealed(session, datagram, kind, wall_now)

    cdef bint _receive_by_id(self, bytes datagram, tuple address) except -1:
        """Process a sealed packet of protocol 2, whose session its connection id names."""
        cdef Session session
        if PyBytes_GET_SIZE(datagram) < MIN_PACKET_TO_SERVER:
            self._owner.drop("too short", address)
            return False
        session = self._by_id.get(datagram[ID_OFFSET : ID_OFFSET + CONNECTION_ID_SIZE])
        if session is None:
            self._owner.receive_sealed(datagram, address)
            return False
        return self._receive_from(session, datagram, address)

    cdef bint _receive_from(self, Session session, bytes datagram, tuple address) except -1:
        """Process a packet of a session of protocol 2, which may come from another address."""
        cdef Endpoint2 endpoint = session.connection.endpoint
        cdef int64_t received = endpoint.received
        cdef bint may_send = self._receive_sealed(session, datagram, 0, 0.0)
        if endpoint.received == received:
            return may_send
        if address is session.address or address == session.address:
            session.home_newest = max(session.home_newest, endpoint.last_number)
        elif session.connection.is_live:
            self._owner.on_other_address(session, address, PyBytes_GET_SIZE(datagram))
        return may_send

    cdef bint _receive_sealed(
        self, Session session, bytes datagram, uint8_t kind, double wall_now
    ) except -1:
        cdef Endpoint endpoint = session.connection.endpoint
        cdef int64_t messages = endpoint.messages_received
        if not session.message_rate.admits(self.now):
            self._owner.drop("over rate", session.address)
            return False
        reason = session.connection.receive(datagram, self.now)
        if reason is _reassembly_full and self._owner.make_room(session):
            reason = session.connection.receive(datagram, self.now)
        messages = endpoint.messages_received - messages
        session.message_rate.take(<uint32_t>messages, self.now)
        self.messages_left -= <int>messages
        if reason is None:
            if session.wants_service():
                self._serve(session)
                return True
            self.mark_dirty(session)
        elif kind != CHALLENGE_RESP or not self._owner.receive_handshake(
            datagram, session.address, kind, wall_now
        ):
            self._owner.drop(reason, session.address)
        return False

    # -- events -----------------------------------------------------------------------------

    cpdef void mark_dirty(self, Session session) except *:
        """Have the session served by the next `serve_dirty`."""
        if not session.is_dirty:
            session.is_dirty = True
            self._dirty.append(session)

    def serve_dirty(self):
        """Serve every dirty session, and those whose timer has expired."""
        cdef Session session = self.timers.pop_due(self.now)
        cdef list dirty
        cdef Py_ssize_t served = 0
        while session is not None:
            self.mark_dirty(session)
            session = self.timers.pop_due(self.now)
        dirty, self._dirty = self._dirty, []
        try:
            while served < len(dirty):
                session = dirty[served]
                session.is_dirty = False
                served += 1
                self._serve(session)
        finally:
            # A BaseException, such as KeyboardInterrupt, ends the server, but the others are kept.
            if served < len(dirty):
                self._dirty += dirty[served:]

    @property
    def has_dirty(self):
        """True while a session is dirty."""
        return len(self._dirty) > 0

    cdef int _serve(self, Session session) except -1:
        """Advance a session, and call the handler's events for it."""
        cdef Connection connection = session.connection
        self.turns += 1
        self.make_ready(session)  # first, so that what the handler sends need not do it
        connection.advance(self.now)
        if connection.endpoint.send_limits.is_stalled(self.now) and connection.is_live:
            self._owner.give_up(session)
        if not session.is_waiting:
            self.dispatch(session)
        if not connection.is_live and session.reason is None and not session.is_waiting:
            self._owner.finish(session)
        return 0

    def serve_waiting(self, double until):
        """Call the game for the sessions that wait for their turn, in order.

        At least once, if any waits; until `until`, and within the budget of calls.
        """
        cdef int before
        cdef Py_ssize_t _
        self._turn_is_over = True
        if not self._waiting:
            return
        self.calls.begin(max(self.now, self.calls.read()), until)
        while self._waiting and self.calls.left:
            before = self.calls.left
            for _ in range(len(self._waiting)):
                self._serve_first()
                if not self.calls.left:
                    return
            if self.calls.left == before:
                return

    cdef int _serve_first(self) except -1:
        """Serve the session that has waited longest."""
        cdef Session session = self._waiting.popleft()
        session.is_waiting = False
        try:
            self._serve(session)
        except BaseException:  # it ends the server, but not the session
            self._wait_for_turn(session)
            raise
        return 0

    cdef int _wait_for_turn(self, Session session) except -1:
        if not session.is_waiting:
            session.is_waiting = True
            self._waiting.append(session)
        return 0

    @property
    def waiting(self):
        """The number of sessions that wait for their next turn."""
        return len(self._waiting)

    def dispatch(self, Session session):
        """Call the handler's events for a session: `connect`, messages, callbacks."""
        if (
            session.is_announced or self._introduce(session)
        ) and session.connection.endpoint.inbox_size:
            self._handle_messages(session)
        if session.callbacks is not None or session.connection.endpoint.send_queue.completed:
            self._call_back(session)

    cdef bint _introduce(self, Session session) except -1:
        """Call `connect`; return False while the client is not admitted, or has to wait for it."""
        if session.joining is not None and not self._owner.join(session):
            return False
        if session.predecessor is not None and session.predecessor.reason is None:
            self._wait_for_turn(session)  # `disconnect` of the session before comes first
            return False
        session.predecessor = None
        session.is_announced = True
        self._owner.announce(session)
        return True

    cdef int _handle_messages(self, Session session) except -1:
        """Pass a session's messages to the handler, as many as its turn allows."""
        cdef tuple message
        cdef int most = MAX_CALLS_PER_TURN
        cdef Endpoint endpoint = session.connection.endpoint
        handle_message = self.handler.handle_message
        while endpoint.inbox_size:
            if self.is_muted or (session.ending is not None and session.ending is not _replaced):
                endpoint.take_messages()
                return 0
            if most == 0 or self.calls.left == 0:
                return self._wait_for_turn(session)
            most -= 1
            message = endpoint.take_message()
            try:
                if self._names is None:
                    handle_message(session.client, message[0], message[1])
                else:
                    channel = message[2] if len(message) > 2 else 0
                    handle_message(
                        session.client, message[0], message[1], channel=self._names[channel]
                    )
            except Exception:
                self._owner.log_raised("handle_message")
            self.calls.count_call()
            if self._context.settings is not self.settings:
                self._owner.apply_settings()
        return 0

    cdef int _call_back(self, Session session) except -1:
        """Call the callbacks of a session's completed messages, as many as its turn allows."""
        cdef int most = MAX_CALLS_PER_TURN
        if session.callbacks is None:
            session.callbacks = deque()
        session.callbacks.extend(session.connection.take_completed())
        while session.callbacks:
            if most == 0 or self.calls.left == 0:
                return self._wait_for_turn(session)
            most -= 1
            callback, acked = session.callbacks.popleft()
            try:
                self._owner.call("a message callback", callback, acked)
            except BaseException:  # it ends the server, but loses no other callback
                self._wait_for_turn(session)
                raise
            self.calls.count_call()
        session.callbacks = None
        return 0

    # -- out --------------------------------------------------------------------------------

    cpdef void make_ready(self, Session session) except *:
        """Give the session a turn to send."""
        if not session.is_ready:
            session.is_ready = True
            self._ready.append(session)

    @property
    def has_ready(self):
        """True while a session may have something to send."""
        return len(self._ready) > 0

    cpdef tuple next_datagram(self, double now):
        """Return the next datagram to send now and its address, or None if there is none."""
        cdef tuple leaving
        if now > self.now:
            self.now = now
        leaving = self.answers.take() if len(self.answers) else self._next_of_sessions()
        if self.observer is not None and leaving is not None:
            self.observer.sent(leaving[0], leaving[1])
        return leaving

    cdef tuple _next_of_sessions(self):
        cdef Session session
        cdef bytes datagram
        cdef double due
        while self._ready:
            session = self._ready[0]
            self.turns += 1
            datagram = session.connection.next_datagram(self.now)
            due = session.connection.next_timer()
            if datagram is None or due > self.now:
                self._ready.popleft()
                session.is_ready = False
                self.timers.schedule(session, max(due, self.now + MIN_TIMER))
            if datagram is not None:
                session.connection.endpoint.on_datagram_sent(
                    <uint32_t>PyBytes_GET_SIZE(datagram), self.now
                )
                if session.connection.endpoint.has_probed:
                    session.connection.endpoint.has_probed = False
                    self.probing = session.connection.endpoint
                return datagram, session.address
        return None
