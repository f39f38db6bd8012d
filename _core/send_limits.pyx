"""Limits on how many packets may be in flight, and on how soon the next one may leave.

Four things limit it, each measured elsewhere: the path (`congestion`), the receiver, whose acks
report 33 packets (`ack_frequency`), the pace at which a window leaves, and a peer that is silent.
What is in flight is counted by its span, from the oldest undecided packet to the newest.

The pace is the window, and a quarter more, per round trip (RFC 9002 section 7.7), in bursts of a
game's frame: a window that left at once would fill the queue of a slow link by itself. While
nothing is acked, no more than a burst of 32 leaves per probe timeout.

Messages do not wait for the acks of fragments: while fragments are in flight, packets that begin
with a message leave ahead of them, regardless of the window and the pace. They get a quarter of the
pace for that, and 8 at once, so that no flood of them fills a slow link's queue. Towards a receiver
that is not known to ack by count, fragments leave 8 of the 33 packets that an ack reports to
messages.
"""

cimport cython

from mpgameserver._core.ack_frequency cimport BURST_SIZE, LEAST_BURST, MESSAGE_ROOM
from mpgameserver._core.packet cimport PREFERRED_FRAGMENT
from mpgameserver._core.packet_header cimport ACK_BITS, MAX_MESSAGES
from mpgameserver._core.receive_window cimport RECEIVE_WIDTH
from mpgameserver._core.send_queue cimport NARROW_SPAN

__all__ = ["SendLimits"]

cdef double INITIAL_ROUND_TRIP = 0.1   # seconds, before any sample
cdef double PACING_GAIN = 1.25     # RFC 9002 section 7.7
cdef double PACED_BURST = 10.0     # packets at once; RFC 9002 section 7.2
cdef double PACED_FRAME = 0.020    # seconds: a game sends once per frame
cdef double AHEAD_INTERVAL = 4.0   # of the pace's: a quarter is for what leaves ahead
cdef double MAX_PTO = 1.0  # seconds, unless a single probe delay is longer

cdef enum:
    # 2^5 times the PTO is the longest time between probes of a silent path.
    MAX_PTO_BACKOFF = 5


@cython.final
cdef class SendLimits:
    """The limits on one direction of a connection."""

    def __cinit__(self):
        self.congestion = CongestionWindow()
        self.ack_frequency = AckFrequency()
        self.rtt = Rtt()

    cdef Room room(self, int64_t newest, int64_t oldest, bint wants_trial, double now) noexcept:
        """Return what one more packet may begin with.

        `newest` packets have left, of which `oldest` is the oldest that is not decided.
        """
        cdef int64_t span = newest + 1 - oldest
        cdef bint beside_fragments = self.newest_fragment >= oldest
        cdef bint waits = wants_trial and not self.trial_may_begin(newest, oldest)
        cdef int64_t reserved = 0
        if beside_fragments and self.previous_unfragmented >= oldest:
            reserved = MESSAGE_ROOM
        if self._admits(span, reserved, waits, now):
            return ANYTHING
        if not beside_fragments or (
            waits and min(newest - self.newest_behind, span) >= MESSAGE_ROOM
        ):
            return NOTHING
        return MESSAGES if self._admits_ahead(span, now) else NOTHING

    cdef bint favours_messages(self, int64_t span, double now) noexcept:
        """Return True while a trial's burst should take messages before fragments.

        They have waited for it, and after it there is room for `MESSAGE_ROOM` more until its acks
        come: two thirds of the burst are for messages, and the rest is for fragments.
        """
        return (
            self.ack_frequency.in_trial(now)
            and self.newest_fragment > 0
            and span < LEAST_BURST
            and self.ack_frequency.burst_size(now) < LEAST_BURST - MESSAGE_ROOM
            and not self._pto_count
        )

    cdef bint trial_may_begin(self, int64_t newest, int64_t oldest) noexcept:
        """Return True while nothing is in flight but a few packets that left ahead."""
        return self.newest_behind < oldest and newest + 1 - oldest <= MESSAGE_ROOM

    cdef bint _admits(self, int64_t span, int64_t reserved, bint waits, double now) noexcept:
        """Return True while one more packet may leave, with `span` packets in flight.

        `reserved` packets of a burst are left to messages; `waits` says that a trial would begin
        if less were in flight.
        """
        if span == 0:
            return True
        if self._pto_count and span >= BURST_SIZE:
            return False
        if span >= self.congestion.packets:
            return False
        if not self.ack_frequency.in_trial(now) and now < self.paced_until:
            return False
        if self.ack_frequency.is_frequent:
            return True
        if self.ack_frequency.in_trial(now):
            return span < BURST_SIZE and not (reserved and self.ack_frequency.is_burst(now))
        return span < BURST_SIZE - reserved and not (waits and self.ack_frequency.waits(now))

    cdef bint _admits_ahead(self, int64_t span, double now) noexcept:
        """Return True while a packet that begins with a message may leave ahead of fragments."""
        if self._pto_count and span >= BURST_SIZE:
            return False
        if span >= (RECEIVE_WIDTH if self.ack_frequency.is_frequent else ACK_BITS + 1):
            return False
        return now >= self.ahead_until()

    cdef double ahead_until(self) noexcept:
        """Return the time before which no packet leaves ahead."""
        return self._ahead - (MESSAGE_ROOM - 1) * AHEAD_INTERVAL * self._interval()

    cdef void on_packet_ahead(self, double now) noexcept:
        """Note that a packet leaves ahead of fragments; a trial's burst has room for some."""
        if self.ack_frequency.in_trial(now):
            return
        self._ahead = max(self._ahead, now) + AHEAD_INTERVAL * self._interval()

    cdef double _interval(self) noexcept:
        """Return the seconds from one packet to the next, at the pace of the window."""
        cdef double rtt = (
            self.rtt.srtt if self.rtt.measured else INITIAL_ROUND_TRIP
        )
        return rtt / (PACING_GAIN * self.congestion.packets)

    cdef bint wants_trial(self, bint span_blocked, Py_ssize_t pending) noexcept:
        """Return True if more would be sent to a receiver that is known to ack often.

        `span_blocked`: messages wait for others to be acked; `pending`: bytes that wait.
        """
        if self.ack_frequency.is_frequent or self.congestion.packets < BURST_SIZE:
            return False
        return span_blocked or (
            self.congestion.packets >= 2 * LEAST_BURST and pending > BURST_SIZE * PREFERRED_FRAGMENT
        )

    cdef int messages_per_packet(self, int waiting, double now) noexcept:
        """Return the most messages for one packet; a trial spreads them over its burst."""
        if not self.ack_frequency.in_trial(now):
            return MAX_MESSAGES
        return max(min(waiting, NARROW_SPAN) // BURST_SIZE, 1)

    cdef int on_packet_sent(self, int64_t number, int64_t oldest, double now) except -1:
        """Note that an ack-eliciting packet leaves, with the oldest one that is in flight then."""
        cdef double interval = self._interval()
        cdef double burst = max(PACED_BURST * interval, PACED_FRAME)
        self.ack_frequency.on_packet_sent(number, oldest, now)
        self._paced = max(self._paced, now) + interval
        if self._paced - now > burst:
            self.paced_until = self._paced - burst / 2
        return 0

    cdef void on_packet_acked(self, double rtt, bint newest, double now):
        """Note that an ack-eliciting packet was acked, the `newest` of its ack or another."""
        self._pto_count = 0
        self._progress_at = now
        self.rtt.sample(rtt)
        self.congestion.on_packet_acked()
        if newest:
            self.congestion.on_rtt_sample(rtt, now)

    cdef void on_pto(self) noexcept:
        """Note a probe timeout: nothing that left after the lost packets was acked either."""
        if self._pto_count < MAX_PTO_BACKOFF:
            self._pto_count += 1

    cdef double pto(self):
        """Return the probe timeout, doubled for each one before without an ack (RFC 9002 6.2.1)."""
        cdef double single = self.rtt.pto()
        cdef double backed_off = single * (1 << self._pto_count)
        return min(backed_off, max(single, MAX_PTO))
