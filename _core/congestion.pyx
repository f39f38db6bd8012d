"""The congestion window: how many packets may be in flight on a path.

The window is delay-based, after LEDBAT (RFC 6817) and LEDBAT++ (draft-irtf-iccrg-ledbat-plus-plus):
once per round trip, the minimum RTT of the round minus the recent minimum is the queueing delay.
The window doubles each round until that delay shows, then grows more slowly the nearer the delay
comes to the target, and shrinks above it.

The minimum of a round comes from its first packets, which were sent before the window doubled. The
doubling therefore also ends, and the last one is undone, as soon as a few samples in a row show
the delay: waiting for the end of the round would double the window twice more, and lose the
packets that overflow the queue.

Only the newest packet that an ack reports yields a sample (RFC 9002 section 5.1), because the
others may have waited for an ack that was lost. The minimum of a few samples means little, so a
round continues until there are enough.

Loss counts if queues have built up. Otherwise it counts only if it grows with what is sent, as at a
policer or a full socket buffer: the window backs off from an unusual loss rate, and if the rate
stays, the loss is the path's own and the backoff is undone. On a radio link that loses packets at
random, sending less does not reduce the loss.
"""

cimport cython
from libc.math cimport INFINITY, fabs, sqrt

from mpgameserver._core.ack_frequency cimport BURST_SIZE
from mpgameserver._core.receive_window cimport RECEIVE_WIDTH

__all__ = ["CongestionWindow"]

cdef double TARGET = 0.060          # seconds of queueing; LEDBAT++ section 4.4
cdef double OVERSHOT_PEAK = 0.75    # of the window: more than a burst was in flight
cdef double OVERSHOT = 0.5          # undoes the doubling that filled the queue
cdef double QUEUE_SHOWS = 0.75      # of the target; ends slow start (LEDBAT++ section 4.2)
cdef double BASE_LIFETIME = 60.0    # seconds until a minimum RTT expires: routes change
cdef double INITIAL_WINDOW = BURST_SIZE
cdef double MIN_WINDOW = 8.0        # a game's own pace if others fill the queue
cdef double GROWTH = 0.125          # of the window per round, at no queueing
cdef double DECREASE = 0.7          # on loss with queueing; RFC 9438 section 4.6
cdef double HEADROOM = 0.85         # of what arrived, so that the queue drains
cdef double USUAL_MEMORY = 32.0     # rounds: slower than loss grows with a window that grows
cdef double LOSS_MARGIN = 0.05      # above the usual share
cdef double MOST = 0.5              # a usable path does not lose more than it delivers
cdef double UNHELPED = 0.6          # the loss rate stayed above this fraction of what it was
cdef double LOSS_MEMORY = 64.0      # packets
cdef double JITTER_MEMORY = 16.0    # samples; RFC 3550 section 6.4.1

cdef enum:
    MIN_SAMPLES = 8
    MIN_SAMPLES_AT_FIRST = 2
    HIGH_SAMPLES = 4       # in a row; CURRENT_FILTER of RFC 6817


@cython.final
cdef class CongestionWindow:
    """The number of packets that may be in flight on a path.

    `packets` is the window; `base_delay`, in seconds, the recent minimum RTT; `queue_delay` what
    queues added to it in the last round; `loss` the fraction of packets lost recently.
    """

    def __cinit__(self):
        self.packets = INITIAL_WINDOW
        self.most = RECEIVE_WIDTH
        self._slow_start = True
        self.base_delay = self._next_base = self._least_in_round = INFINITY

    cpdef void on_packet_acked(self) noexcept:
        """Count an ack-eliciting packet as acked."""
        self._acked += 1
        self.loss -= self.loss / LOSS_MEMORY

    cpdef void on_packet_lost(self) noexcept:
        """Count a packet as lost."""
        self._lost += 1
        self.loss += (1.0 - self.loss) / LOSS_MEMORY

    cpdef void on_rtt_sample(self, double rtt, double now) noexcept:
        """Add the round-trip time, in seconds, of the newest packet that an ack reports."""
        if now - self._base_renewed >= BASE_LIFETIME:
            self._base_renewed = now
            self.base_delay = self._next_base
            self._next_base = INFINITY
        self.base_delay = min(self.base_delay, rtt)
        self._next_base = min(self._next_base, rtt)
        self._least_in_round = min(self._least_in_round, rtt)
        if self._latest:
            self._jitter += (fabs(rtt - self._latest) - self._jitter) / JITTER_MEMORY
        self._latest = rtt
        self._samples += 1
        if rtt - self.base_delay > QUEUE_SHOWS * (TARGET + self._jitter):
            self._high += 1
        else:
            self._high = 0

    cpdef void on_ack(
        self, int64_t newest_acked, int64_t newest_sent, int64_t in_flight
    ) noexcept:
        """Finish an ack whose packets were reported; `in_flight` packets were in flight before."""
        self._peak = max(self._peak, in_flight)
        if self._round_end == 0:
            self._round_end = newest_sent
        if self._overshoots():
            self._shrink(OVERSHOT)
        elif newest_acked < self._round_end:
            return
        elif not self._settles and self._samples < (
            MIN_SAMPLES_AT_FIRST if self._slow_start else MIN_SAMPLES
        ):
            self._round_end = newest_sent
            return
        elif self._settles:
            self._settles = False
        else:
            self._end_round()
        self._round_end = newest_sent
        self._least_in_round = INFINITY
        self._samples = self._lost = self._acked = self._peak = 0

    cdef bint _overshoots(self) noexcept:
        """Return True if most of a doubled window is in use and queues show."""
        return (
            self._slow_start
            and self._high >= HIGH_SAMPLES
            and self.packets > INITIAL_WINDOW
            and self._peak >= OVERSHOT_PEAK * self.packets
        )

    cdef void _end_round(self) noexcept:
        """Adjust the window to what the round has shown."""
        cdef int64_t decided = self._acked + self._lost
        cdef double share = <double>self._lost / decided if decided else 0.0
        cdef double excess
        cdef bint unusual = self._judge_loss(share, decided)
        self.queue_delay = self._least_in_round - self.base_delay
        excess = self.queue_delay / (TARGET + self._jitter) - 1.0
        if excess > 0.0 and self.packets <= MIN_WINDOW:
            # Others fill the queue, or the route is longer now: take this delay as the new base.
            self.base_delay = self._next_base = self._least_in_round
        elif self._lost and excess > QUEUE_SHOWS - 1.0:
            self._shrink(DECREASE)
        elif excess > 0.0:
            self._shrink(max(1.0 - excess, 0.5))
        elif unusual:
            self._undo_packets = self.packets
            self._undo_loss = share
            self._undo_slow_start = self._slow_start
            self._shrink(HEADROOM * (1.0 - share))
        elif <double>self._peak * 2.0 >= self.packets:
            self._grow(excess)

    cdef bint _judge_loss(self, double share, int64_t decided) noexcept:
        """Return True if more is lost than usual; undo a backoff that did not help."""
        if self._undo_packets:
            if self._undo_loss * UNHELPED < share <= MOST:
                self.packets = max(self.packets, self._undo_packets)
                self._slow_start = self._undo_slow_start
                self._usual_loss = (share + self._undo_loss) / 2
            self._undo_packets = 0.0
            return False
        if share > self._usual_loss + LOSS_MARGIN + 1.0 / sqrt(<double>max(decided, 1)):
            return True
        self._usual_loss += (share - self._usual_loss) / USUAL_MEMORY
        return False

    cdef void _shrink(self, double factor) noexcept:
        """Shrink to a fraction of what was in use; the rest of the window was never tried."""
        self._slow_start = False
        self._settles = True
        self.packets = max(min(self.packets, <double>self._peak) * factor, MIN_WINDOW)

    cdef void _grow(self, double excess) noexcept:
        if self._slow_start and excess <= QUEUE_SHOWS - 1.0:
            self.packets *= 2.0
        else:
            self._slow_start = False
            self.packets += max(1.0, -excess * GROWTH * self.packets)
        self.packets = min(self.packets, <double>self.most)
