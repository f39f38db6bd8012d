# One side of a connection: messages in and out of sealed packets.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

from mpgameserver._core.aead cimport Aead
from mpgameserver._core.black_hole cimport PathLimit
from mpgameserver._core.budget cimport Share
from mpgameserver._core.drop_reason cimport REASON_COUNT, DropReason
from mpgameserver._core.duplicate_filter cimport DuplicateFilter
from mpgameserver._core.fifo cimport Queue
from mpgameserver._core.fragmenter cimport Reassembler
from mpgameserver._core.packet cimport MessageView
from mpgameserver._core.packet_builder cimport PacketBuilder
from mpgameserver._core.packet_header cimport PacketFields
from mpgameserver._core.rate_bins cimport RateBins
from mpgameserver._core.receive_window cimport ReceiveWindow
from mpgameserver._core.rtt cimport Rtt
from mpgameserver._core.send_limits cimport SendLimits, Room
from mpgameserver._core.send_queue cimport SendQueue
from mpgameserver._core.sent_window cimport SentWindow

cdef class Endpoint:
    cdef readonly ReceiveWindow received_packets
    cdef readonly SentWindow sent_packets
    cdef readonly Rtt rtt
    cdef readonly SendLimits send_limits
    cdef readonly RateBins rate_bins
    cdef readonly SendQueue send_queue
    cdef readonly Reassembler reassembler
    cdef readonly Share inbox_share           # charged for unread messages
    cdef public double keep_alive_interval, message_timeout     # seconds
    cdef public bint established
    cdef readonly bint disconnect_received
    cdef readonly double last_received        # time of the last accepted packet, or the start
    cdef readonly bytes challenge             # the last CHALLENGE_RESP message
    cdef readonly int64_t assembled, sent, received, acked, timeouts   # packets
    cdef readonly int64_t messages_received, repeated_messages   # the latter among the former
    cdef readonly Py_ssize_t inbox_size       # unread messages
    cdef Queue _inbox                         # of (SeqNum, bytes)
    cdef DuplicateFilter _message_filter
    cdef Aead _cipher
    cdef bint _is_server, _is_entered         # entered: a call that none may interrupt is running
    cdef double _start, _wall_start, _now, _last_sent, _ack_due_at, _ping_due_at, _heard_for
    cdef uint32_t _unacked, _hello_received
    cdef int64_t _written_second, _written_count, _dropped[REASON_COUNT]
    cdef PathLimit _path
    cdef int _enter(self) except -1
    cdef inline int64_t key_packets(self) noexcept:  # sealed under the key, by both sides
        return self.sent_packets.newest + self.received_packets.newest
    cpdef void begin_close(self) except *
    cpdef void end_drain(self) noexcept
    cpdef bint disconnect_acked(self) noexcept
    cpdef void close(self) except *
    cpdef bytes abort(self, double now)
    cpdef bint ack_is_due(self) noexcept
    cpdef tuple take_message(self)
    cpdef list take_completed(self)
    cpdef void on_datagram_sent(self, uint32_t size, double now)
    cpdef bytes next_datagram(self, double now)
    cpdef DropReason receive(self, bytes datagram, double now) except? REASON_COUNT
    cpdef void advance(self, double now)
    cpdef double next_timer(self) except? -1.0
    cdef bint _tick(self, double now) noexcept
    cdef Room _room(self) noexcept
    cdef int _find_lost(self) except -1
    cdef bytes _assemble(self, Room room)
    cdef int _fill(self, PacketBuilder *packet, bint ahead) except -1
    cdef bint _must_speak(self) noexcept
    cdef bytes _close(self, PacketBuilder *packet)
    cdef DropReason _take(self, PacketFields *fields, bytes data, double now) except? REASON_COUNT
    cdef DropReason _judge(self, PacketFields *fields, bytes datagram) except? REASON_COUNT
    cdef int _note_received(self, PacketFields *fields, Py_ssize_t size, double now) except -1
    cdef DropReason _open(
        self, PacketFields *fields, bytes datagram, unsigned char *payload
    ) except? REASON_COUNT
    cdef int _apply_acks(self, PacketFields *fields) except -1
    cdef int _deliver_all(self, PacketFields *fields, const unsigned char *payload) except -1
    cdef int _deliver(self, MessageView *view) except -1
    cdef int _deliver_app(self, int64_t number, bytes message) except -1
    cdef int _schedule_ack(self, bint at_once) except -1
