# Whether a receiver acks by count or by a clock.

from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef enum:
    # Packets that owe an ack, after which one is sent at once. An ack reports 33: each is reported
    # twice, and one ack may be lost.
    ACK_EVERY = 16
    # Packets that may be under way until the receiver is known to ack by count: both acks of one
    # that does leave at once, and a 33rd packet would wait for its ack.
    BURST_SIZE = 2 * ACK_EVERY

cdef class AckCadence:
    cdef readonly bint is_frequent
    cdef readonly int score
    cdef double _burst_time, _trial_time, _season
    cdef int64_t _burst_start, _burst_size
    cdef uint64_t _counts     # bit n: an ack reported n packets of the burst
    cdef int _trials          # of this season

    cdef bint waits(self, int64_t in_flight, double now) noexcept
    cdef void begin_trial(self, double now) noexcept
    cdef bint in_trial(self, double now) noexcept
    cdef void note_sent(self, int64_t number, double now) noexcept
    cdef void note_ack(self, int64_t ack, uint32_t ack_bits) noexcept
    cdef void _judge(self) noexcept
