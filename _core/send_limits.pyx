"""Limits on how many packets may be in flight, and on how soon the next one may leave.

There are four limits: the path (`congestion`), the receiver, whose acks report 33 packets
(`ack_frequency`), pacing, and a peer that does not reply. What is in flight is measured by its
span, from the oldest undecided packet to the newest.

Pacing sends 5/4 of the window per round trip (RFC 9002 section 7.7), in bursts for a game's frame;
a window sent at once would fill the queue of a slow link by itself. While nothing is acked, no more
than a burst of 32 is sent per probe timeout.

Messages do not wait for the acks of fragments: while fragments are in flight, packets that begin
with a message are sent ahead of them, regardless of the window and pacing. They get a quarter of
the pacing rate for that, and 8 at once, so that they cannot fill a slow link's queue. Towards a
receiver that is not known to ack by count, fragments leave 8 of the 33 packets that an ack reports
to messages.
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
cdef double PACED_BURST = 10.0     # packets sent at once; RFC 9002 section 7.2
cdef double PACED_FRAME = 0.020    # seconds: a game sends once per frame
cdef double AHEAD_INTERVAL = 4.0   # pacing intervals: a quarter of the rate is for packets ahead
cdef double MAX_PTO = 1.0  # seconds, unless a single probe timeout is longer

cdef enum:
    # Of the 8,192 numbers that a receiver of protocol 2 remembers half: what is sent meanwhile, and
    # what the path reorders, takes numbers too.
    MOST_WITH_RANGES = 4096
    # A path that does not reply is probed at intervals of up to 2^5 probe timeouts.
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

        `newest` is the newest packet number sent, `oldest` the oldest one undecided.
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

        They have waited for the burst, and until its acks arrive there is room for only
        `MESSAGE_ROOM` more: two thirds of it are for messages, the rest for fragments.
        """
        return (
            self.ack_frequency.in_trial(now)
            and self.newest_fragment > 0
            and span < LEAST_BURST
            and self.ack_frequency.burst_size(now) < LEAST_BURST - MESSAGE_ROOM
            and not self._pto_count
        )

    cdef bint trial_may_begin(self, int64_t newest, int64_t oldest) noexcept:
        """Return True while nothing is in flight but a few packets that were sent ahead."""
        return self.newest_behind < oldest and newest + 1 - oldest <= MESSAGE_ROOM

    cdef bint _admits(self, int64_t span, int64_t reserved, bint waits, double now) noexcept:
        """Return True if one more packet may be sent, with `span` packets in flight.

        `reserved` packets of a burst are left to messages; `waits`: a trial is waiting for less to
        be in flight.
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
        """Return the time before which no packet is sent ahead."""
        return self._ahead - (MESSAGE_ROOM - 1) * AHEAD_INTERVAL * self._interval()

    cdef void on_packet_ahead(self, double now) noexcept:
        """Record a packet sent ahead of fragments; a trial's burst has room for some."""
        if self.ack_frequency.in_trial(now):
            return
        self._ahead = max(self._ahead, now) + AHEAD_INTERVAL * self._interval()

    cdef double _interval(self) noexcept:
        """Return the pacing interval: seconds between two packets."""
        cdef double rtt = (
            self.rtt.srtt if self.rtt.measured else INITIAL_ROUND_TRIP
        )
        return rtt / (PACING_GAIN * self.congestion.packets)

    cdef bint wants_trial(self, bint span_blocked, Py_ssize_t pending) noexcept:
        """Return True if more would be sent to a receiver that is known to ack by count.

        `span_blocked`: messages wait for others to be acked; `pending`: bytes queued.
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
        """Record an ack-eliciting packet that is sent; `oldest` is the oldest one in flight."""
        cdef double interval = self._interval()
        cdef double burst = max(PACED_BURST * interval, PACED_FRAME)
        self.ack_frequency.on_packet_sent(number, oldest, now)
        self._paced = max(self._paced, now) + interval
        if self._paced - now > burst:
            self.paced_until = self._paced - burst / 2
        return 0

    cdef void on_packet_acked(self, double rtt, bint newest, double now):
        """Record the ack of an ack-eliciting packet, which is the `newest` of its ack or not."""
        self.on_delivery(now)
        self.rtt.sample(rtt)
        if newest:
            self.congestion.on_rtt_sample(rtt, now)

    cdef void on_delivery(self, double now) noexcept:
        """Record the ack of an ack-eliciting packet that yields no round-trip time."""
        self._pto_count = 0
        self._progress_at = now
        self.congestion.on_packet_acked()

    cdef void trust_receiver(self) noexcept:
        """Drop the limits for receivers whose acks report few packets: this one's have ranges."""
        self.ack_frequency.is_frequent = True
        self.congestion.most = MOST_WITH_RANGES

    cdef void on_pto(self) noexcept:
        """Record a probe timeout: nothing sent after the lost packets was acked either."""
        if self._pto_count < MAX_PTO_BACKOFF:
            self._pto_count += 1

    cdef double pto(self):
        """Return the probe timeout, doubled for each one without an ack (RFC 9002, 6.2.1)."""
        cdef double single = self.rtt.pto()
        cdef double backed_off = single * (1 << self._pto_count)
        return min(backed_off, max(single, MAX_PTO))
