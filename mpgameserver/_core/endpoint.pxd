# One side of a session, whatever its protocol: messages in and out of sealed packets.
from libc.stdint cimport int8_t, int64_t, uint32_t

from mpgameserver._core.budget cimport Share
from mpgameserver._core.drop_reason cimport REASON_COUNT, DropReason
from mpgameserver._core.fifo cimport Queue
from mpgameserver._core.outbox cimport Outbox
from mpgameserver._core.rate_bins cimport RateBins
from mpgameserver._core.rtt cimport Rtt
from mpgameserver._core.send_limits cimport Room, SendLimits
from mpgameserver._core.sent_window cimport SentWindow

cpdef enum:
    # Bytes of unread messages; a game that calls `getMessages` once per frame stays far below.
    MAX_INBOX_BYTES = 64 * 1024 * 1024

cdef class Endpoint:
    cdef readonly int protocol                # 1 or 2
    cdef readonly SentWindow sent_packets
    cdef readonly Rtt rtt
    cdef readonly SendLimits send_limits
    cdef readonly RateBins rate_bins
    cdef readonly Outbox send_queue
    cdef readonly object reassembler          # of the protocol's own class
    cdef readonly Share inbox_share           # charged for unread messages
    cdef public double keep_alive_interval, message_timeout     # seconds
    cdef public bint established, has_probed  # the last datagram is a probe; the owner resets it
    cdef readonly bint disconnect_received, was_reset   # protocol 2: the server lost the session
    cdef readonly int64_t error_code          # protocol 2: this side must close with it; 0: none
    cdef readonly object close_code           # protocol 2: of the peer's CLOSE; None before one
    cdef readonly str close_text
    cdef readonly double last_received        # time of the last accepted packet, or the start
    cdef readonly int64_t assembled, sent, received, acked, timeouts   # packets
    cdef readonly int64_t messages_received, repeated_messages   # the latter among the former
    cdef readonly Py_ssize_t inbox_size       # unread messages
    cdef Queue _inbox                         # of (SeqNum, bytes)
    cdef bint _is_server, _is_entered         # entered: a call that none may interrupt is running
    cdef double _now, _last_sent, _ping_due_at, _heard_for
    cdef int64_t _dropped[REASON_COUNT]

    # -- what the protocols do in their own ways
    cdef DropReason take_datagram(self, bytes datagram, double now) except? REASON_COUNT
    cpdef void advance(self, double now)
    cpdef bytes next_datagram(self, double now)
    cpdef double next_timer(self) except? -1.0
    cpdef Py_ssize_t largest_datagram(self) noexcept
    cpdef bint ack_is_due(self) noexcept
    cpdef bint disconnect_acked(self) noexcept
    cdef bint owes_close(self, bint accepted, double now) noexcept
    cpdef bytes abort(self, double now)
    cdef int set_close(self, int64_t code, bytes text) except -1
    cdef int send_on(self, int channel, bytes data, int8_t retry, object callback) except -1
    cpdef Py_ssize_t pending_on(self, int channel) except -1
    cpdef list arriving_on(self, int channel)
    cdef int64_t key_packets(self) noexcept
    cdef bint path_is_stuck(self) noexcept

    # -- what they share
    cdef int begin(self, double now) except -1
    cpdef DropReason receive(self, bytes datagram, double now) except? REASON_COUNT
    cpdef void begin_close(self) except *
    cpdef void end_drain(self) noexcept
    cpdef void close(self) except *
    cpdef tuple take_message(self)
    cpdef list take_messages(self)
    cpdef list take_completed(self)
    cpdef void on_datagram_sent(self, uint32_t size, double now)
    cdef int enter(self) except -1
    cdef int on_packet_accepted(self, Py_ssize_t size, double now) except -1
    cdef double loss_time(self, double loss_delay)
    cdef double next_chance(self, Room room) except? -1.0
    cdef bint copies_messages(self) except -1
    cdef double copy_interval(self) noexcept
    cdef bint inbox_is_full(self) noexcept
    cdef int deliver(self, int64_t number, bytes message) except -1

cdef double PING_INTERVAL   # seconds

cdef object seqnum_of(int64_t number)
cdef tuple untracked(tuple item)
