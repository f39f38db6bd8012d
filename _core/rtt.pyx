"""The round-trip time: a weighted average and its rttvar, as in RFC 9002 section 5.3.

A sample is the time from sending a packet that owes an ack until an ack reports it; the wait of
the other side before it acks is part of it, since the wire format does not tell it apart.
"""

cimport cython
from libc.math cimport fabs

from mpgameserver._core.ack_frequency cimport MAX_ACK_DELAY_MS

__all__ = ["Rtt"]

cdef double INITIAL_PTO = 0.25  # before any sample: a transatlantic round trip, doubled
cdef double GRANULARITY = 0.010         # a frame late is no loss


@cython.final
cdef class Rtt:
    """The estimate of one path. All in seconds.

    `srtt` is the weighted average (1/8 for each new sample), `rttvar` its mean
    deviation (1/4), `latest_rtt` and `min_rtt` single samples; all are 0.0 until the first.
    """

    cpdef void sample(self, double rtt):
        """Take a measured round trip into account; one below zero counts as zero."""
        rtt = max(rtt, 0.0)
        self.latest_rtt = rtt
        if not self.measured:
            self.measured = True
            self.srtt = self.min_rtt = rtt
            self.rttvar = rtt / 2
            return
        self.min_rtt = min(self.min_rtt, rtt)
        self.rttvar += (fabs(self.srtt - rtt) - self.rttvar) / 4
        self.srtt += (rtt - self.srtt) / 8

    cpdef double loss_delay(self):
        """How long after it left a packet is lost, when a later one was acked.

        9/8 of the round trip (RFC 9002 section 6.1.2).
        """
        return max(max(self.srtt, self.latest_rtt) * 9 / 8, GRANULARITY)

    cpdef double pto(self):
        """How long after it left a packet is lost, when no later one was acked.

        The probe timeout of RFC 9002 section 6.2.1: a round trip, four times its rttvar and
        the longest that the other side waits to ack.
        """
        if not self.measured:
            return INITIAL_PTO
        return self.srtt + max(4 * self.rttvar, GRANULARITY) + MAX_ACK_DELAY_MS / 1000.0
