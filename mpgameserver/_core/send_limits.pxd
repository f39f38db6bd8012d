# Limits on how many packets may be in flight, and when the next may leave.

from libc.stdint cimport int64_t, uint32_t

from mpgameserver._core.ack_frequency cimport AckFrequency
from mpgameserver._core.congestion cimport CongestionWindow
from mpgameserver._core.rtt cimport Rtt

cdef enum:
    STALL_LIMIT = 1024 * 1024   # bytes queued; any path that carries a game acks something in 10 s
    STALL_TIMEOUT = 10          # seconds

cdef enum Room:
    NOTHING
    MESSAGES    # a packet that does not begin with a fragment
    ANYTHING

cdef class SendLimits:
    cdef readonly CongestionWindow congestion
    cdef readonly AckFrequency ack_frequency
    cdef readonly Rtt rtt
    cdef double paced_until     # nothing is sent before
    # Packets: the newest with a fragment, the newest two with an unfragmented message, the newest
    # that was not sent ahead.
    cdef int64_t newest_fragment, newest_unfragmented, previous_unfragmented, newest_behind
    cdef double _paced          # the time up to which the rate is used
    cdef double _ahead          # the time up to which the messages' share of it is used
    cdef uint32_t _pto_count
    cdef double _progress_at    # the time of the last ack, or when little was queued

    cdef Room room(self, int64_t newest, int64_t oldest, bint wants_trial, double now) noexcept
    cdef bint favours_messages(self, int64_t span, double now) noexcept
    cdef bint trial_may_begin(self, int64_t newest, int64_t oldest) noexcept
    cdef bint _admits(self, int64_t span, int64_t reserved, bint waits, double now) noexcept
    cdef bint _admits_ahead(self, int64_t span, double now) noexcept
    cdef double ahead_until(self) noexcept
    cdef double _interval(self) noexcept
    cdef bint wants_trial(self, bint span_blocked, Py_ssize_t pending) noexcept
    cdef int messages_per_packet(self, int waiting, double now) noexcept
    cdef int on_packet_sent(self, int64_t number, int64_t oldest, double now) except -1
    cdef void on_packet_ahead(self, double now) noexcept
    cdef void on_pto(self) noexcept
    cdef void on_packet_acked(self, double rtt, bint newest, double now)
    cdef void on_delivery(self, double now) noexcept
    cdef void trust_receiver(self) noexcept
    cdef double pto(self)
    cdef inline void on_content_sent(self, bint is_fragment, int64_t packet_number) noexcept:
        # Record that a packet carries a fragment or an unfragmented message.
        if is_fragment:
            self.newest_fragment = packet_number
        elif packet_number != self.newest_unfragmented:
            self.previous_unfragmented = self.newest_unfragmented
            self.newest_unfragmented = packet_number
    cdef inline void on_pending(self, Py_ssize_t pending, double now) noexcept:
        if pending <= STALL_LIMIT:
            self._progress_at = now
    cdef inline bint is_stalled(self, double now) noexcept:     # much queued, nothing acked
        return now >= self._progress_at + STALL_TIMEOUT
