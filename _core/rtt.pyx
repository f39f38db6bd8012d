"""The round-trip time: its smoothed value and its variation, as in RFC 9002 section 5.3.

A sample is the time from sending an ack-eliciting packet until an ack reports it. It includes the
delay of the peer before it acks, since the wire format does not report that.
"""

cimport cython
from libc.math cimport fabs

from mpgameserver._core.ack_frequency cimport MAX_ACK_DELAY_MS

__all__ = ["Rtt"]

cdef double INITIAL_PTO = 0.25  # before any sample: twice a transatlantic round trip
cdef double LOSS_MARGIN = 0.125
cdef double GRANULARITY = 0.010         # a delay of one frame is not a loss


@cython.final
cdef class Rtt:
    """The estimates of one path, in seconds.

    `srtt` is the smoothed average (1/8 for each new sample), `rttvar` its mean deviation (1/4);
    `latest_rtt` and `min_rtt` are single samples. All are 0.0 before the first sample.
    """

    cpdef void sample(self, double rtt):
        """Add a sample; a negative one counts as 0."""
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

    cpdef double loss_delay(self, double margin=LOSS_MARGIN):
        """Return the age at which a packet is lost if a later one was acked.

        That is 9/8 of the round-trip time (RFC 9002 section 6.1.2), or 1 + `margin` of it.
        """
        return max(max(self.srtt, self.latest_rtt) * (1 + margin), GRANULARITY)

    cpdef double pto(self):
        """Return the age at which a packet is lost if no later one was acked.

        That is the probe timeout of RFC 9002 section 6.2.1: `srtt`, four times `rttvar`, and the
        maximum ack delay.
        """
        if not self.measured:
            return INITIAL_PTO
        return self.srtt + max(4 * self.rttvar, GRANULARITY) + MAX_ACK_DELAY_MS / 1000.0
