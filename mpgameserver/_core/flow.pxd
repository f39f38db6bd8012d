# How much may be under way, and how soon.

from libc.stdint cimport int64_t, uint32_t

from mpgameserver._core.cadence cimport AckCadence
from mpgameserver._core.congestion cimport CongestionWindow
from mpgameserver._core.roundtrip cimport RoundTrip

cdef class FlowControl:
    cdef readonly CongestionWindow congestion
    cdef readonly AckCadence cadence
    cdef readonly RoundTrip round_trip
    cdef double paced_until     # nothing more leaves before
    cdef double _paced          # the time up to which the rate is used
    cdef uint32_t _probes_unanswered

    cdef bint admits(self, int64_t span, bint wants_trial, double now) noexcept
    cdef bint wants_trial(self, bint hemmed_in, Py_ssize_t pending) noexcept
    cdef int messages_per_packet(self, int waiting, double now) noexcept
    cdef void note_sent(self, int64_t number, double now) noexcept
    cdef void note_probe(self) noexcept
    cdef void note_round_trip(self, double elapsed, bint newest, double now)
    cdef double probe_delay(self)
