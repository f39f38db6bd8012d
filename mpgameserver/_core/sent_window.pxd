# The sent window: the state of each packet that was sent.

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

cdef enum:
    MAX_SENT_SLOTS = 32768  # packets per second at the highest rate of protocol 1
    PACKET_THRESHOLD = 3    # RFC 9002 section 6.1.1: later packets acked that show a loss

cdef enum SentFlag:
    ACK_ELICITING = 1
    ACKED = 2
    LOST = 4
    PING = 8               # its ack yields an RTT sample; its loss is ignored
    PROBE = 16             # an empty copy of an acked message, or a probe of the path MTU

cdef union SentNewest:
    int64_t message         # protocol 1: the newest message number sent by then
    int64_t reported        # protocol 2: the newest packet in its ACK; 0: it carried none

cdef struct SentPacket:     # 32 bytes, without padding
    double sent_at
    SentNewest newest
    PyObject *contents      # what it carried; NULL: nothing to remember
    uint32_t late           # with `reported`: `ReceivedPackets.late` of that time
    uint16_t acked_below    # at least so many packets directly below this acked one are acked
    uint8_t flags
    uint8_t size_class      # of the datagram; a path may drop large ones

cdef class SentWindow:
    cdef readonly int64_t newest, newest_acked   # absolute; 0: none
    cdef readonly int64_t oldest_undecided  # newest + 1 when all are decided
    cdef readonly int64_t path_start  # the first packet on this path; 0: the path never changed
    cdef readonly uint32_t reordering            # later acked packets that show a loss
    cdef readonly uint32_t newly_acked_count     # the length of `newly_acked`
    cdef int64_t *newly_acked                    # their numbers
    cdef uint32_t _newly_acked_room
    cdef int64_t *_skipped                       # the last numbers skipped; NULL: none
    cdef uint32_t _skipped_count                 # of all time
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
    cpdef int64_t skip_number(self, double now) except -1
    cpdef void note_size_class(self, int64_t number, uint8_t size_class) noexcept
    cpdef int64_t newest_acked_of(self, uint8_t size_class, int64_t after) noexcept
    cpdef void on_report_sent(self, int64_t newest, uint32_t late) noexcept
    cpdef int64_t newest_report_acked(self, uint32_t late) noexcept
    cpdef void on_path_changed(self) noexcept
    cdef bint _may_be_acked_yet(self, double now) noexcept
    cdef object contents(self, int64_t number)
    cdef object take_contents(self, int64_t number)
    cdef void _put_contents(self, SentPacket *packet, object contents)
    cpdef void on_ack(self, uint16_t ack, uint32_t ack_bits) noexcept
    cpdef bint was_sent(self, int64_t newest, int64_t oldest) noexcept
    cpdef void begin_ack(self) noexcept
    cpdef int on_range_acked(self, int64_t newest, int64_t oldest) except -1
    cpdef int64_t pop_lost(self, double now, double loss_delay, double pto) noexcept
    cpdef int64_t pop_timed_out(self, double now, double timeout) noexcept
    cdef uint32_t _unreported(self, int64_t ack, uint32_t ack_bits) noexcept
    cdef void _skip_decided(self) noexcept
    cdef bint _mark_acked(self, int64_t number) noexcept
    cdef int64_t _pass_acked(self, int64_t number, int64_t lowest) noexcept
    cdef int _reserve(self) except -1
    cdef int _grow(self) except -1
