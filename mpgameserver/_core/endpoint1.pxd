# One side of a session of protocol 1.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

from mpgameserver._core.aead cimport Aead
from mpgameserver._core.black_hole cimport PathLimit
from mpgameserver._core.drop_reason cimport REASON_COUNT, DropReason
from mpgameserver._core.duplicate_filter cimport DuplicateFilter
from mpgameserver._core.endpoint cimport Endpoint
from mpgameserver._core.fragmenter cimport Reassembler
from mpgameserver._core.packet cimport MessageView
from mpgameserver._core.packet_builder cimport PacketBuilder
from mpgameserver._core.packet_header cimport PacketFields
from mpgameserver._core.receive_window cimport ReceiveWindow
from mpgameserver._core.send_limits cimport Room
from mpgameserver._core.send_queue cimport SendQueue

cdef class Endpoint1(Endpoint):
    cdef readonly ReceiveWindow received_packets
    cdef readonly bytes challenge             # the last CHALLENGE_RESP message
    cdef SendQueue _queue                     # `send_queue`
    cdef Reassembler _reassembler
    cdef DuplicateFilter _message_filter
    cdef Aead _cipher
    cdef double _start, _wall_start, _ack_due_at
    cdef uint32_t _unacked, _hello_received
    cdef int64_t _written_second, _written_count
    cdef PathLimit _path

    cdef bint _tick(self, double now) noexcept
    cdef Room _room(self) noexcept
    cdef int _find_lost(self) except -1
    cdef bytes _assemble(self, Room room)
    cdef int _fill(self, PacketBuilder *packet, bint ahead) except -1
    cdef bint _must_speak(self) noexcept
    cdef bytes _close(self, PacketBuilder *packet)
    cdef DropReason _take(self, PacketFields *fields, bytes data, double now) except? REASON_COUNT
    cdef DropReason _judge(self, PacketFields *fields, bytes datagram) except? REASON_COUNT
    cdef DropReason _open(
        self, PacketFields *fields, bytes datagram, unsigned char *payload
    ) except? REASON_COUNT
    cdef int _apply_acks(self, PacketFields *fields) except -1
    cdef int _deliver_all(self, PacketFields *fields, const unsigned char *payload) except -1
    cdef int _deliver(self, MessageView *view) except -1
    cdef int _schedule_ack(self, bint at_once) except -1
