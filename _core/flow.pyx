"""How many packets may be under way, and how soon the next one may leave.

Four things limit it, each measured elsewhere: the path (`congestion`), the receiver, whose acks
report 33 packets (`cadence`), the pace at which a window leaves, and silence. What is under way is
counted by its span, from the oldest packet that is not decided to the newest.

The pace is the window, and a quarter more, per round trip (RFC 9002 section 7.7), in bursts of a
game's frame: a window that left at once would fill the queue of a slow link by itself. While
nothing answers, no more than a burst of 32 leaves per probe delay.
"""

from mpgameserver._core.cadence cimport BURST_SIZE
from mpgameserver._core.header cimport MAX_MESSAGES
from mpgameserver._core.outbox cimport NARROW_SPAN
from mpgameserver._core.packet cimport PREFERRED_PIECE

__all__ = ["FlowControl"]

cdef double INITIAL_ROUND_TRIP = 0.1   # seconds, before any sample
cdef double PACING_GAIN = 1.25     # RFC 9002 section 7.7
cdef double PACED_BURST = 10.0     # packets at once; RFC 9002 section 7.2
cdef double PACED_FRAME = 0.020    # seconds: a game sends once per frame
cdef double MAX_PROBE_DELAY = 1.0  # seconds, unless a single probe delay is longer

cdef enum:
    # 2^5 times the probe delay is the longest wait between probes of a silent path.
    MAX_PROBE_BACKOFF = 5


cdef class FlowControl:
    """What one direction of a connection may send."""

    def __cinit__(self):
        self.congestion = CongestionWindow()
        self.cadence = AckCadence()
        self.round_trip = RoundTrip()

    cdef bint admits(self, int64_t span, bint wants_trial, double now) noexcept:
        """True while one more packet may leave, with a span of so many under way."""
        if span == 0:
            return True
        if self._probes_unanswered and span >= BURST_SIZE:
            return False
        if span >= self.congestion.packets:
            return False
        if not self.cadence.in_trial(now) and now < self.paced_until:
            return False
        if self.cadence.is_frequent:
            return True
        return span < BURST_SIZE and not (wants_trial and self.cadence.waits(span, now))

    cdef bint wants_trial(self, bint hemmed_in, Py_ssize_t pending) noexcept:
        """True when a receiver that is known to ack often would be sent more.

        `hemmed_in` says that messages wait for others to be acked, `pending` how many bytes wait.
        """
        if self.cadence.is_frequent or self.congestion.packets < BURST_SIZE:
            return False
        return hemmed_in or (
            self.congestion.packets >= 2 * BURST_SIZE and pending > BURST_SIZE * PREFERRED_PIECE
        )

    cdef int messages_per_packet(self, int waiting, double now) noexcept:
        """The most messages for one packet; in a trial, what waits is spread over the burst."""
        if not self.cadence.in_trial(now):
            return MAX_MESSAGES
        return max(min(waiting, NARROW_SPAN) // BURST_SIZE, 1)

    cdef void note_sent(self, int64_t number, double now) noexcept:
        """A packet that owes an ack leaves."""
        cdef double round_trip = (
            self.round_trip.smoothed if self.round_trip.measured else INITIAL_ROUND_TRIP
        )
        cdef double interval = round_trip / (PACING_GAIN * self.congestion.packets)
        cdef double burst = max(PACED_BURST * interval, PACED_FRAME)
        self.cadence.note_sent(number, now)
        self._paced = max(self._paced, now) + interval
        if self._paced - now > burst:
            self.paced_until = self._paced - burst / 2

    cdef void note_round_trip(self, double elapsed, bint newest, double now):
        """A packet that owed an ack was acked; `newest` says that it is the ack's newest."""
        self._probes_unanswered = 0
        self._progress_at = now
        self.round_trip.sample(elapsed)
        self.congestion.note_acked()
        if newest:
            self.congestion.note_round_trip(elapsed, now)

    cdef void note_probe(self) noexcept:
        """Nothing that left after the lost packets was acked either."""
        if self._probes_unanswered < MAX_PROBE_BACKOFF:
            self._probes_unanswered += 1

    cdef double probe_delay(self):
        """The probe delay, doubled for each probe that was not answered (RFC 9002 6.2.1)."""
        cdef double single = self.round_trip.probe_delay()
        cdef double backed_off = single * (1 << self._probes_unanswered)
        return min(backed_off, max(single, MAX_PROBE_DELAY))
