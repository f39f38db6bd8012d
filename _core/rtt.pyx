"""The round-trip time: a weighted average and its variation, as in RFC 9002 section 5.3.

A sample is the time from sending a packet that owes an ack until an ack reports it; the wait of
the other side before it acks is part of it, since the wire format does not tell it apart.
"""

cimport cython
from libc.math cimport fabs

from mpgameserver._core.ack_frequency cimport MAX_ACK_DELAY_MS

__all__ = ["RoundTrip"]

cdef double INITIAL_PROBE_DELAY = 0.25  # before any sample: a transatlantic round trip, doubled
cdef double GRANULARITY = 0.010         # a frame late is no loss


@cython.final
cdef class RoundTrip:
    """The estimate of one path. All in seconds.

    `smoothed` is the weighted average (1/8 for each new sample), `variation` its mean
    deviation (1/4), `latest` and `least` single samples; all are 0.0 until the first.
    """

    cpdef void sample(self, double elapsed):
        """Take a measured round trip into account; one below zero counts as zero."""
        elapsed = max(elapsed, 0.0)
        self.latest = elapsed
        if not self.measured:
            self.measured = True
            self.smoothed = self.least = elapsed
            self.variation = elapsed / 2
            return
        self.least = min(self.least, elapsed)
        self.variation += (fabs(self.smoothed - elapsed) - self.variation) / 4
        self.smoothed += (elapsed - self.smoothed) / 8

    cpdef double reorder_delay(self):
        """How long after it left a packet is lost, when a later one was acked.

        9/8 of the round trip (RFC 9002 section 6.1.2).
        """
        return max(max(self.smoothed, self.latest) * 9 / 8, GRANULARITY)

    cpdef double probe_delay(self):
        """How long after it left a packet is lost, when no later one was acked.

        The probe timeout of RFC 9002 section 6.2.1: a round trip, four times its variation and
        the longest that the other side waits to ack.
        """
        if not self.measured:
            return INITIAL_PROBE_DELAY
        return self.smoothed + max(4 * self.variation, GRANULARITY) + MAX_ACK_DELAY_MS / 1000.0
