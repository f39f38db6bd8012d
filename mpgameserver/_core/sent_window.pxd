# The sent window: the state of each packet that was sent.

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

from mpgameserver._core.packet_header cimport ACK_BITS

cdef enum SentFlag:
    ACK_ELICITING = 1
    ACKED = 2
    LOST = 4
    PING = 8               # its ack yields an RTT sample; its loss is ignored
    PROBE = 16             # it carried an empty copy of an acked message

cdef struct SentPacket:
    double sent_at
    int64_t newest_message  # the newest message number sent by then
    PyObject *contents      # what it carried; NULL: nothing to remember
    uint8_t flags
    uint8_t size_class      # of the datagram; a path may drop large ones

cdef class SentWindow:
    cdef readonly int64_t newest, newest_acked   # absolute; 0: none
    cdef readonly int64_t oldest_undecided  # newest + 1 when all are decided
    cdef readonly uint32_t reordering            # later acked packets that show a loss
    cdef readonly uint32_t newly_acked_count     # the length of `newly_acked`
    cdef int64_t newly_acked[ACK_BITS + 1]       # newest first
    cdef int64_t _previous, _oldest_waiting      # before the first; not acked or timed out
    cdef int64_t _last_ack                       # the newest ack, and the bits reported below it
    cdef SentPacket *_packets
    cdef uint32_t _reported, _mask
    cdef inline SentPacket *packet(self, int64_t number) noexcept:
        return &self._packets[number & self._mask]
    cdef inline int64_t span(self) noexcept:
        # From the oldest undecided packet to the newest: what is in flight, with its gaps.
        return self.newest + 1 - self.oldest_undecided
    cdef inline bint remembers(self, int64_t number) noexcept:
        return self._previous < number <= self.newest and self.newest - number <= self._mask
    cpdef int64_t on_packet_sent(
        self, double now, bint ack_eliciting, object contents
    ) except -1
    cdef bint _may_be_acked_yet(self, double now) noexcept
    cdef object contents(self, int64_t number)
    cdef object take_contents(self, int64_t number)
    cdef void _put_contents(self, SentPacket *packet, object contents)
    cpdef void on_ack(self, uint16_t ack, uint32_t ack_bits) noexcept
    cpdef int64_t pop_lost(self, double now, double loss_delay, double pto) noexcept
    cpdef int64_t pop_timed_out(self, double now, double timeout) noexcept
    cdef uint32_t _unreported(self, int64_t ack, uint32_t ack_bits) noexcept
    cdef void _skip_decided(self) noexcept
    cdef bint _mark_acked(self, int64_t number) noexcept
    cdef int _grow(self) except -1
