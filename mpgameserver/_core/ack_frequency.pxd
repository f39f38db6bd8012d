# Detection of receivers that ack by packet count rather than on a timer.

from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef enum:
    # How long a receiver may delay an ack: RFC 9000's default.
    MAX_ACK_DELAY_MS = 25
    # Ack-eliciting packets after which an ack is sent at once. An ack reports 33: each packet is
    # reported twice, and one ack may be lost.
    ACK_EVERY = 16
    # Packets that may be in flight until the receiver is known to ack by count, which acks them
    # with two acks at once; a 33rd packet would wait for its ack.
    BURST_SIZE = 2 * ACK_EVERY
    # Of those, the ones reserved for messages while fragments use the others.
    MESSAGE_ROOM = 8
    LEAST_BURST = BURST_SIZE - MESSAGE_ROOM     # enough to score: more than any step that counts

cdef class AckFrequency:
    cdef readonly bint is_frequent
    cdef readonly int score
    cdef double _burst_time, _trial_time, _season
    cdef int64_t _burst_start, _burst_size
    cdef int64_t _newest, _last_before     # ack-eliciting packets: of all, before the burst
    cdef int64_t _unacked     # the first packet that the receiver may not have acked before it
    cdef uint64_t _counts     # bit n: an ack reported n packets of the burst
    cdef int _trials          # of this season

    cdef bint waits(self, double now) noexcept
    cdef void begin_trial(self, double now) noexcept
    cdef bint in_trial(self, double now) noexcept
    cdef bint is_burst(self, double now) noexcept
    cdef inline int64_t burst_size(self, double now) noexcept:     # packets sent at `now`
        return self._burst_size if now == self._burst_time else 0
    cpdef int on_packet_sent(self, int64_t number, int64_t oldest, double now) except -1
    cpdef int on_ack(self, int64_t ack, uint32_t ack_bits) except -1
    cdef void _judge(self) noexcept
