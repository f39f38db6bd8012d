"""A session without a socket or a clock: status, delivery, disconnect.

The owner passes it every datagram from the peer's address (`receive`), calls `advance` once per
frame or tick, sends what `next_datagram` returns until that is None, and calls the callbacks of
`take_completed`. Nothing that the peer does raises an exception here.

    CONNECTED ── disconnect() ──> DISCONNECTING ── acked, or 1 s ──> DISCONNECTED
        │ └─────── the peer's DISCONNECT ────────────────────────────────^
        └───────── idle timeout, or a reliable message too large for the path ──> DROPPED

In protocol 2 a session is CONNECTING first, until the server has accepted the client, and what is
called DISCONNECT here is a CLOSE, with a code and a text. A peer that breaks a rule of protocol 2
is dropped as well.

`disconnect` drains the connection first: the DISCONNECT is sent when every reliable message queued
before it has been acked, and at the latest `DRAIN_RESERVE` before the end of the second. The side
that receives it is disconnected at once and replies with one DISCONNECT. A side whose idle timeout
expires sends one as well, because the peer may still be there.

After a pause that is longer than the idle timeout, such as a frame that loads a level, the peer has
probably dropped the connection. The datagrams in the socket prove nothing, since they may be older.
The connection is therefore DROPPED unless the peer acks a packet that was sent after the pause.
"""

import logging

cimport cython
from libc.math cimport INFINITY
from libc.stdint cimport int8_t, int64_t

from mpgameserver._core.drop_reason cimport ACCEPTED, DropReason
from mpgameserver._core.endpoint2 cimport Endpoint2
from mpgameserver._core.message cimport checked_message
from mpgameserver._core.packet_cipher cimport MAX_KEY_PACKETS
from mpgameserver._core.seqnum cimport HALF_RING

from mpgameserver._core.endpoint import DROP_REASONS
from mpgameserver.enums import ConnectionStatus
from mpgameserver.errors import NotConnectedError

__all__ = ["DISCONNECT_TIMEOUT", "Connection"]

cdef enum:
    KEY_WARNING = MAX_KEY_PACKETS >> 1
    # Packets that both sides can still send during the second that a disconnect takes, which may
    # span two written seconds of 32,767 packets each.
    KEY_RESERVE = 4 * (HALF_RING + 1)

_LOG = logging.getLogger("mpgameserver.connection")

# Seconds that a disconnect takes at most, if no ack arrives.
DISCONNECT_TIMEOUT = 1.0
# Of these, the seconds reserved for the DISCONNECT itself: four copies of it.
cdef double DRAIN_RESERVE = 0.2
# Seconds, and round trips, within which the peer must ack a packet after such a pause. Meanwhile
# keep-alives are sent at least at the default interval.
cdef double MIN_LIVENESS_TIME = 0.5
cdef double LIVENESS_RTTS = 4.0
cdef double LIVENESS_INTERVAL = 0.1

cdef object _connecting = ConnectionStatus.CONNECTING
cdef object _connected = ConnectionStatus.CONNECTED
cdef object _disconnecting = ConnectionStatus.DISCONNECTING
cdef object _disconnected = ConnectionStatus.DISCONNECTED
cdef object _dropped = ConnectionStatus.DROPPED


@cython.final
cdef class Connection:
    """An established session, seen from one side.

    `endpoint` has the session's key, `token` identifies the session, and `timing` is read now and
    by `retime`.
    """

    def __cinit__(self, Endpoint endpoint, token, timing):
        self.endpoint = endpoint
        self.token = token
        self.is_live = True
        self.status = _connecting
        if endpoint.protocol == 1:
            self.status = _connected
            endpoint.established = True
        self._last_turn = endpoint.last_received
        self.retime(timing)
        if endpoint.disconnect_received:  # in the packet that has established the session
            self._owes_disconnect = True
            self._end(_disconnected)

    def retime(self, timing):
        """Change the intervals from now on."""
        self._keep_alive_interval = timing.keep_alive
        self.endpoint.keep_alive_interval = timing.keep_alive
        self.endpoint.message_timeout = timing.message
        self._idle_timeout = timing.idle_timeout

    def establish(self, double now):
        """Let messages flow in a session of protocol 2: the server has accepted the client."""
        if self.status is _connecting:
            self.status = _connected
            self.endpoint.establish(now)

    # -- messages ---------------------------------------------------------------------------

    def send(self, payload, retry=-1, callback=None):
        """Queue a message.

        `payload` is any bytes-like object and is copied at once; `retry` a RetryMode or its
        number; `callback` is called with True or False once, through `take_completed`.

        Raises NotConnectedError unless CONNECTED, TypeError for another type, ValueError for
        another retry mode or a message of more than `send_queue.max_message` bytes, and
        SendQueueFullError when there is no room. The connection is unchanged then.
        """
        cdef int8_t mode
        cdef bytes data = self._checked(payload, retry, callback, &mode)
        self.endpoint.send_queue.enqueue(data, mode, callback)

    def send_on(self, int channel, payload, retry=-1, callback=None):
        """Queue a message on a channel of a session of protocol 2; otherwise as `send`.

        Raises ValueError for a channel that is not open, too.
        """
        cdef int8_t mode
        cdef bytes data = self._checked(payload, retry, callback, &mode)
        self.endpoint.send_on(channel, data, mode, callback)

    cdef bytes _checked(self, object payload, object retry, object callback, int8_t *mode):
        """Return the payload of a message that can be sent now, as bytes."""
        cdef bytes data
        self._require_connected()
        data = checked_message(
            payload, retry, callback, self.endpoint.send_queue.max_message, mode
        )
        self._require_connected()  # `__buffer__` of the payload, or a finalizer, may have ended it
        return data

    def peer_time(self, double now):
        """Return the server's monotonic time in a client's session of protocol 2, in seconds.

        None while it is not known.
        """
        if self.endpoint.protocol == 1 or (<Endpoint2>self.endpoint).clock is None:
            return None
        offset = (<Endpoint2>self.endpoint).clock.offset
        return None if offset is None else now + offset

    def take_channel_message(self, int channel):
        """Take the oldest message of a client's channel: (SeqNum, bytes).

        Raises IndexError if there is none, and ValueError for a channel that is not open.
        """
        return (<Endpoint2?>self.endpoint).take_channel_message(channel)

    def channel_inbox_size(self, int channel):
        """Return the number of messages of a client's channel that it has not taken."""
        return (<Endpoint2?>self.endpoint).channel_inbox_size(channel)

    def channel_pending(self, int channel):
        """Return the bytes of a channel's messages that were never sent."""
        return self.endpoint.pending_on(channel)

    def channel_arriving(self, int channel):
        """Return (bytes received, bytes in all) of a channel's incomplete messages.

        None arrives any more once the session has ended.
        """
        return self.endpoint.arriving_on(channel) if self.is_live else []

    cdef int _require_connected(self) except -1:
        if self.status is not _connected:
            raise NotConnectedError(f"cannot send while {self.status.name}")
        return 0

    cpdef list take_completed(self):
        """Take the list of (callback, acked) of the messages that are completed.

        A report of the progress of one is (function, None).
        """
        return self.endpoint.take_completed()

    @property
    def latency(self):
        """The smoothed round-trip time in seconds, 0.0 before the first ack."""
        return self.endpoint.rtt.srtt

    @property
    def pending(self):
        """The bytes of queued messages that were not sent yet."""
        return self.endpoint.send_queue.pending

    # -- datagrams --------------------------------------------------------------------------

    cpdef object receive(self, bytes datagram, double now):
        """Process a datagram; return the reason (of `DROP_REASONS`) if it is dropped, else None."""
        cdef DropReason reason = self.endpoint.receive(datagram, now)
        if self.endpoint.disconnect_received and self.is_live:
            if self.endpoint.close_code is not None:
                self.close_reason = (self.endpoint.close_code, self.endpoint.close_text)
            # In protocol 1, a DISCONNECT that acks ours is the reply: the peer has forgotten the
            # session. In protocol 2 each CLOSE is acked.
            self._owes_disconnect = self.endpoint.protocol == 2 or (
                not self.endpoint.disconnect_acked()
            )
            self._end(_disconnected)
        elif self.endpoint.was_reset and self.is_live:
            self._end(_dropped)  # the server does not know the session any more
        elif not self.is_live and self.endpoint.owes_close(reason == ACCEPTED, now):
            self._owes_disconnect = True
        return None if reason == ACCEPTED else DROP_REASONS[<int>reason - 1]

    cpdef void advance(self, double now) except *:
        """Do what is due at `now`: losses, timeouts, the end. Call it once per frame or tick."""
        if not self.is_live:
            return
        if self.endpoint.key_packets() >= KEY_WARNING and self.status is _connected:
            self._spare_key(now)
            if not self.is_live:  # a logging handler may have ended it
                return
        self.endpoint.advance(now)
        if self.endpoint.send_queue.watched:
            self.endpoint.send_queue.note_progress()
        if self.endpoint.error_code:
            self.close_reason = (self.endpoint.error_code, "")
            self.endpoint.set_close(self.endpoint.error_code, b"")
            self._drop()
        elif self.status is _disconnecting:
            if self.endpoint.disconnect_acked() or now >= self._disconnect_deadline:
                self._end(_disconnected)
            elif now >= self._disconnect_deadline - DRAIN_RESERVE:
                self.endpoint.end_drain()
        elif self.endpoint.path_is_stuck() or (
            now >= self.endpoint.last_received + self._idle_timeout
        ):
            self._drop()
        elif now > self._last_turn + self._idle_timeout:
            self._begin_liveness_check(now)
        elif self._liveness_packet:
            self._check_liveness(now)
        self._last_turn = now
        # An ack that waited in the socket during a pause makes the next srtt far too long.
        self._last_srtt = self.endpoint.rtt.srtt

    cdef int _begin_liveness_check(self, double now) except -1:
        """Require the peer to ack a packet that is sent after this pause."""
        self._liveness_packet = self.endpoint.sent_packets.newest + 1
        self._liveness_deadline = now + max(
            MIN_LIVENESS_TIME, LIVENESS_RTTS * self._last_srtt
        )
        self.endpoint.keep_alive_interval = min(LIVENESS_INTERVAL, self._keep_alive_interval)
        return 0

    cdef int _check_liveness(self, double now) except -1:
        if self.endpoint.sent_packets.newest_acked >= self._liveness_packet:
            self._liveness_packet = 0
            self.endpoint.keep_alive_interval = self._keep_alive_interval
        elif now >= self._liveness_deadline:
            self._drop()
        return 0

    cdef int _drop(self) except -1:
        self._owes_disconnect = True
        return self._end(_dropped)

    cdef int _spare_key(self, double now) except -1:
        """Warn when half of the key is used, and disconnect before it reaches its limit."""
        cdef int64_t packets = self.endpoint.key_packets()
        if packets >= MAX_KEY_PACKETS - KEY_RESERVE:
            self.key_used_up = True
            self.disconnect(now)
        elif not self._warned_of_key:
            self._warned_of_key = True
            _LOG.warning(
                "a session has used half of its key: it ends after %d more packets",
                MAX_KEY_PACKETS - KEY_RESERVE - packets,
            )
        return 0

    cpdef bytes next_datagram(self, double now):
        """Return the next datagram to send now, or None if there is none."""
        if self.is_live:
            return self.endpoint.next_datagram(now)
        if self._owes_disconnect:
            self._owes_disconnect = False
            return self.endpoint.abort(now)
        return None

    cpdef double next_timer(self) except? -1.0:
        """Return when `advance` and `next_datagram` are next due if nothing arrives before."""
        if not self.is_live:
            return 0.0 if self._owes_disconnect else INFINITY
        if self.status is _disconnecting:
            return min(self.endpoint.next_timer(), self._next_deadline())
        return min(
            self.endpoint.next_timer(),
            self._liveness_deadline if self._liveness_packet else INFINITY,
            self.endpoint.last_received + self._idle_timeout,
        )

    cdef double _next_deadline(self) noexcept:
        """Return when the drain, or the wait for the ack after it, must end."""
        if self.endpoint.send_queue.drain_ended:
            return self._disconnect_deadline
        return self._disconnect_deadline - DRAIN_RESERVE

    # -- the end ----------------------------------------------------------------------------

    def disconnect(self, double now, int64_t code=0, text=""):
        """Begin to drain, and then disconnect; does nothing unless CONNECTED, or CONNECTING.

        `code` and `text`, which were checked, tell the peer why in protocol 2.
        """
        if self.status is _connected or self.status is _connecting:
            self._close_with(code, text)
            self.status = _disconnecting
            self._disconnect_deadline = now + DISCONNECT_TIMEOUT
            self.endpoint.begin_close()

    cdef int _close_with(self, int64_t code, str text) except -1:
        self.close_reason = (code, text)
        self.endpoint.set_close(code, text.encode())
        return 0

    def abort(self, double now, int64_t code=0, text=""):
        """End at once; return a datagram with the DISCONNECT, or None if it had already ended.

        `code` and `text`, which were checked, tell the peer why in protocol 2.
        """
        if not self.is_live:
            return None
        if self.status is not _disconnecting:
            self._close_with(code, text)
        self._end(_disconnected)
        return self.endpoint.abort(now)

    def disown(self):
        """End without a datagram or a callback: the session belongs to another process."""
        if self.is_live:
            self._end(_disconnected)
        self._owes_disconnect = False
        self.endpoint.take_completed()
        self.endpoint.take_messages()

    cdef int _end(self, object status) except -1:
        self.status = status
        self.is_live = False
        self.endpoint.close()
        return 0
