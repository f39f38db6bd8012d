# The congestion window: how many packets the path carries at once.

from libc.stdint cimport int64_t

cdef class CongestionWindow:
    cdef readonly double packets      # that may be in flight
    cdef int64_t most                 # that the receiver can tell apart
    cdef readonly double base_delay   # seconds: the recent minimum RTT
    cdef readonly double queue_delay  # seconds: what queues added to it in the last round
    cdef readonly double loss         # the fraction of packets lost recently
    cdef double _next_base, _base_renewed, _least_in_round
    cdef double _usual_loss           # the fraction that is lost at any rate
    cdef double _undo_packets, _undo_loss   # before a backoff that is on trial; 0: none
    cdef int64_t _round_end, _samples, _acked, _lost
    cdef int64_t _high                # samples in a row that show a queue
    cdef int64_t _peak                # the most packets in flight in the round
    cdef double _latest, _jitter      # seconds: the last sample, and the mean difference of two
    cdef bint _slow_start, _undo_slow_start
    cdef bint _settles                # this round acks packets from before the last change

    cpdef void on_packet_acked(self) noexcept
    cpdef void on_packet_lost(self) noexcept
    cpdef void on_rtt_sample(self, double rtt, double now) noexcept
    cpdef void on_ack(
        self, int64_t newest_acked, int64_t newest_sent, int64_t in_flight
    ) noexcept
    cdef bint _overshoots(self) noexcept
    cdef void _end_round(self) noexcept
    cdef bint _judge_loss(self, double share, int64_t decided) noexcept
    cdef void _shrink(self, double factor) noexcept
    cdef void _grow(self, double excess) noexcept
