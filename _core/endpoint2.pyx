"""One side of a session of protocol 2; docs/protocol2.md specifies what it sends and accepts.

Until `establish` only what both sides may send at the start of a session is sent. A client keeps
what arrives too early, because packets overtake each other, and receives it again then.

The peer breaks a rule: `error_code` says which code closes the session, which is the owner's to do.
"""

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE
from libc.math cimport INFINITY
from libc.stdint cimport int8_t, int64_t, uint8_t

from mpgameserver._core.ack_frequency cimport ACK_EVERY
from mpgameserver._core.acks2 cimport find_lost, loss_delay_of
from mpgameserver._core.budget cimport ITEM_COST
from mpgameserver._core.channel_receiver cimport ChannelReceiver, receiver_at
from mpgameserver._core.connection_ids cimport OwnIds
from mpgameserver._core.drop_reason cimport REASON_COUNT, DropReason
from mpgameserver._core.endpoint cimport Endpoint
from mpgameserver._core.endpoint2_state cimport CLOSING_PTOS, Endpoint2State, fit_path, speaks
from mpgameserver._core.fifo cimport Fifo, queue_pop
from mpgameserver._core.frames cimport (
    ACCEPT,
    CONNECT,
    KEM,
    PATH_CHALLENGE,
    PATH_DATA_SIZE,
    PATH_RESPONSE,
    RETIRE_CONNECTION_ID,
    Frame,
    FrameType,
    begin_frame,
)
from mpgameserver._core.receiving2 cimport open_datagram
from mpgameserver._core.send_limits cimport ANYTHING, Room, SendLimits
from mpgameserver._core.sending2 cimport (
    assemble,
    assemble_ack,
    assemble_close,
    assemble_probe,
    assemble_size_probe,
    close_due,
    has_more,
    has_replies,
    renew_key,
    room_for,
)

__all__ = ["Endpoint2"]


@cython.final
cdef class Endpoint2(Endpoint2State):
    """The delivery engine of one side of a session of protocol 2.

    `own_secret` and `peer_secret` are the traffic secrets of what this side and the peer seal, each
    a `TrafficSecret`. `connection_id` has 8 bytes. `max_datagram` is the size of the largest
    datagram that the interface takes, in bytes, at least 1,200; the session begins with that and
    finds out what its path carries. `sealed_before` packets were sealed under the first key
    already. Raises ValueError for other values.
    """

    # -- the start --------------------------------------------------------------------------------

    @property
    def setup(self):
        """The peer's connect or accept data, None until all of it has come."""
        return self._setup.whole

    def exchange_keys(self, exchange not None):
        """Mix a secret that is agreed on in KEM frames into the keys, before any other update.

        `exchange` is a `LateDecapsulation` or a `LateEncapsulation`. A server leaves it to the
        client whether it sends its key; a client has to call this before `send_setup`, and sends
        its connect data only under a key that depends on the secret.
        """
        self._key_exchange = exchange
        self._control.add_pieces(KEM, exchange.opening)

    def send_setup(self, bytes data not None):
        """Queue the connect data of a client, or the accept data of a server."""
        if self._key_exchange is not None and not self._is_server and self._kem.whole is None:
            self._held_setup = data
        else:
            self._control.add_pieces(ACCEPT if self._is_server else CONNECT, data)

    def open_channel(
        self, int channel, int kind, int priority=0, tuple window=(0, 0), tuple peer_window=(0, 0)
    ):
        """Open a channel besides 0, in both directions.

        `kind` is its `ChannelKind`; `window` and `peer_window` are the first windows of an ordered
        channel, each (highest number, highest total), that this side and the peer grant. Raises
        ValueError for what no table of channels holds, and for a channel that is open.
        """
        cdef ChannelReceiver receiver = ChannelReceiver(
            channel, kind, self._reassembler, window[0], window[1]
        )
        if self._receivers[channel] is not None:
            raise ValueError(f"channel {channel} is open")
        self._queue.open(channel, kind, priority, peer_window[0], peer_window[1])
        self._receivers[channel] = receiver
        if not self._is_server:  # which has one inbox for all
            self._inboxes[channel] = Fifo()
        if receiver.order is not None:
            self._ordered.append(receiver)

    def establish(self, double now):
        """Let messages flow: the client is accepted, and its channels are open on this side."""
        cdef list early = self._early
        self.established = True
        self._early = []
        self.path_mtu.start(max(self._now, now))
        for datagram in early:
            self.receive(datagram, now)

    def issue_ids(self, source not None):
        """Issue further connection ids to a client; `source` as for `OwnIds`."""
        self._own_ids = OwnIds(self.connection_id, source)

    def stop_issuing_ids(self):
        """Forget the source of ids: the session has ended."""
        self._own_ids = None

    # -- paths ------------------------------------------------------------------------------------

    @property
    def last_is_newest(self):
        """True if the last packet that was accepted has the highest number of all."""
        return self.last_number == self.received_packets.newest()

    def challenge_path(self, bytes challenge not None, Py_ssize_t size, double now):
        """Return a packet with a PATH_CHALLENGE of 8 bytes, filled up to `size` bytes in all.

        It is not for the address of the session. Returns None while no packet can be sealed.
        """
        if PyBytes_GET_SIZE(challenge) != PATH_DATA_SIZE:
            raise ValueError(f"a challenge of {len(challenge)} bytes")
        return _probe(self, PATH_CHALLENGE, challenge, size, now)

    def answer_path(self, Py_ssize_t size, double now):
        """Return a packet with the PATH_RESPONSE that is due, filled up to `size` bytes in all.

        It is for the address that the challenge came from, and is not sent to that of the session
        any more. Returns None if none is due, or while no packet can be sealed.
        """
        cdef bytes response = self._path_response
        self._path_response = None
        return None if response is None else _probe(self, PATH_RESPONSE, response, size, now)

    def ignore_challenge(self):
        """Leave the last PATH_CHALLENGE without an answer."""
        self._path_response = None

    def on_path_changed(self, Py_ssize_t max_datagram):
        """Begin anew on another path: what is in flight is lost, and nothing is known of it.

        `max_datagram` is what its interface takes, in bytes. A client goes on under another
        connection id, where it has one.
        """
        if self.peer_ids is not None:
            _change_id(self)
        self.path_mtu.on_path_changed(max_datagram, self._now)
        fit_path(self)
        self.sent_packets.on_path_changed()
        self.send_limits = SendLimits()
        self.send_limits.trust_receiver()
        self.rtt = self.send_limits.rtt

    # -- for the owner ----------------------------------------------------------------------------

    cdef int set_close(self, int64_t code, bytes text) except -1:
        self._close_code = code
        self._close_text = text
        return 0

    cdef int send_on(self, int channel, bytes data, int8_t retry, object callback) except -1:
        return self._queue.add_on(channel, data, retry, callback)

    cpdef Py_ssize_t pending_on(self, int channel) except -1:
        return self._queue.pending_on(channel)

    cpdef list arriving_on(self, int channel):
        cdef ChannelReceiver receiver = self._receivers[channel] if 0 <= channel < 256 else None
        return [] if receiver is None else receiver.arriving()

    cpdef tuple take_message(self):
        cdef tuple item = Endpoint.take_message(self)
        if len(item) > 2:
            _on_taken(self, item[2], item[1])
        return item

    cpdef list take_messages(self):
        """Take all messages received, of the game's channels too on a server."""
        cdef list messages = Endpoint.take_messages(self)
        cdef tuple item
        if self._is_server and self._ordered:
            for item in messages:
                if len(item) > 2:
                    _on_taken(self, item[2], item[1])
        return messages

    cpdef tuple take_channel_message(self, int channel):
        """Take the oldest message of a client's channel: (SeqNum, bytes).

        Raises IndexError if there is none.
        """
        cdef tuple item = queue_pop(&_inbox_of(self, channel)._queue)
        self.inbox_share.charge(-(PyBytes_GET_SIZE(item[1]) + ITEM_COST))
        _on_taken(self, channel, item[1])
        return item

    cpdef Py_ssize_t channel_inbox_size(self, int channel) except -1:
        """Return the number of messages of a client's channel that it has not taken."""
        return _inbox_of(self, channel)._queue.count

    def request_key_update(self):
        """Seal with a new key as soon as the protocol allows it."""
        self._wants_key = True

    @property
    def key_phase(self):
        """The number of key updates of this side and of the peer."""
        return self._sealer.phase, self._opener.phase

    cpdef bint disconnect_acked(self) noexcept:
        return self._close_acked or (
            self._close_packet > 0
            and self._now >= self._close_first_at + CLOSING_PTOS * self.rtt.pto()
        )

    cdef bint owes_close(self, bint accepted, double now) noexcept:
        cdef bint asks = accepted or self._asks_for_close
        self._asks_for_close = False
        if self.disconnect_received:
            return accepted
        return asks and not self._close_acked and now >= self._close_sent_at + self.rtt.pto()

    cpdef bytes abort(self, double now):
        self._now = max(self._now, now)
        self.close()
        if self.disconnect_received:
            return assemble_ack(self) if self._acks.waiting else None
        return assemble_close(self)

    cpdef void close(self) except *:
        cdef ChannelReceiver receiver
        self._queue.close()
        self._control.clear()
        self._early.clear()
        for receiver in self._receivers:
            if receiver is not None:
                receiver.clear()

    # -- time -------------------------------------------------------------------------------------

    cpdef void advance(self, double now):
        self.enter()
        try:
            self._now = max(self._now, now)
            find_lost(self)
            while self.sent_packets.pop_timed_out(self._now, self.message_timeout):
                self.timeouts += 1
            self._queue.expire(self._now, self.message_timeout)
            if self._reassembler.share.held:
                self._reassembler.expire(self._heard_for)
            if self._now >= self._forget_at:
                self._forget_at = INFINITY
                self._opener.forget_previous()
            self.send_limits.on_pending(self._queue.pending, self._now)
        finally:
            self._is_entered = False

    cpdef double next_timer(self) except? -1.0:
        cdef double when = self._acks.due_at
        cdef Room room
        if self._queue.is_drained():
            return min(when, close_due(self))
        if self._acks.at_once or has_replies(self):
            return self._now
        if speaks(self):
            when = min(when, self._last_sent + self.keep_alive_interval)
        room = room_for(self)
        if room == ANYTHING and has_more(self):
            return self._now
        when = min(
            when, self.path_mtu.next_timer(self.sent_packets, room == ANYTHING, self._now)
        )
        when = min(when, self.loss_time(loss_delay_of(self)))
        return min(when, self.next_chance(room))

    # -- in and out -------------------------------------------------------------------------------

    cpdef bytes next_datagram(self, double now):
        cdef Room room
        self.enter()
        try:
            self._now = max(self._now, now)
            if self.error_code or not renew_key(self):
                return None
            if self._queue.is_drained():  # nothing but the end is left to send
                if self._now >= close_due(self):
                    return assemble_close(self)
                return assemble_ack(self) if self._acks.due_at <= self._now else None
            room = room_for(self)
            if room == ANYTHING and self.path_mtu.is_due(self.sent_packets, self._now):
                probe = assemble_size_probe(self)
                if probe is not None:
                    return probe
            return assemble(self, room)
        finally:
            self._is_entered = False

    cpdef Py_ssize_t largest_datagram(self) noexcept:
        return self.path_mtu.size

    cpdef bint ack_is_due(self) noexcept:
        return self._acks.at_once or self._acks.waiting >= ACK_EVERY

    cdef DropReason take_datagram(self, bytes datagram, double now) except? REASON_COUNT:
        """Open a datagram, and use its frames."""
        return open_datagram(self, datagram, now)


cdef int _change_id(Endpoint2 endpoint) except -1:
    """Use the next id that the server has issued, if any, and retire the former one."""
    cdef Frame frame
    cdef int64_t former = endpoint.peer_ids.move()
    if former >= 0:
        endpoint._outgoing_id = endpoint.peer_ids.current
        begin_frame(&frame, RETIRE_CONNECTION_ID)
        frame.number = former
        endpoint._control.add(&frame)
    return 0


cdef Fifo _inbox_of(Endpoint2 endpoint, int channel):
    """Return the inbox of a client's channel. Raises ValueError for one that is not open."""
    if endpoint._is_server or not 0 < channel < 256 or endpoint._inboxes[channel] is None:
        raise ValueError(f"no inbox of channel {channel}")
    return endpoint._inboxes[channel]


cdef int _on_taken(Endpoint2 endpoint, int channel, bytes message) except -1:
    """Note that the game has taken a message, which may make a WINDOW due."""
    cdef ChannelReceiver receiver = receiver_at(endpoint._receivers, <uint8_t>channel)
    if receiver.order is not None:
        receiver.order.on_taken(PyBytes_GET_SIZE(message))
        endpoint._windows_due |= receiver.order.is_window_due()
    return 0


cdef bytes _probe(Endpoint2 endpoint, FrameType kind, bytes data, Py_ssize_t size, double now):
    """Return a packet for another address than the session's, or None."""
    endpoint.enter()
    try:
        endpoint._now = max(endpoint._now, now)
        if endpoint.error_code or not renew_key(endpoint):
            return None
        return assemble_probe(endpoint, kind, data, size)
    finally:
        endpoint._is_entered = False
