"""Detection of how a receiver acks: by count, every 16 packets, or by a clock.

The sender must know, because an ack reports 33 packets: of more that arrive between two acks, some
are never reported. The published package acks by a clock, and its duplicate filter is narrow. This
package acks by count.

Only a burst of packets that left together can show it, with next to nothing else in flight:
the few packets of messages that leave ahead of a transfer's count from the ack before. The acks
of a receiver that acks by count report 16 at once, and never more. They report just 16 first, but
where it had something to say in between. One that acks by a clock reports as many as came before
its tick: most often all of them, and with a chance of 1 in 16 at most just 16 first. So each burst
scores: first 16, a later step of 16, or a step of more, which is also what an ack that was lost
leaves behind. A high score is the proof. By chance alone it takes a million bursts.

A burst has 32 packets: both acks of a receiver that acks by count leave at once, and so the next
burst can, a round trip after the first. One more packet would wait for its ack.
"""

cimport cython
from libc.math cimport INFINITY

from mpgameserver._core.packet_header cimport ACK_BITS
from mpgameserver._core.seqnum cimport check_number

__all__ = ["AckFrequency"]

cdef enum:
    FIRST_STEP_SCORE = 4
    LATER_STEP_SCORE = 1
    WIDE_STEP_SCORE = -6
    PROOF = 20
    MAX_TRIALS = 32        # of a season: some receivers, and some paths, never give the proof

cdef double SEASON = 30.0  # seconds


@cython.final
cdef class AckFrequency:
    """Evidence of how the receiver acks; `is_frequent` once it is known to ack by count.

    The proof holds for the life of a connection.
    """

    def __cinit__(self):
        self._burst_time = self._trial_time = -INFINITY

    cdef bint waits(self, double now) noexcept:
        """True while a trial should wait until next to nothing is in flight."""
        if now - self._season >= SEASON:
            self._season = now
            self._trials = 0
        return self._trials < MAX_TRIALS and not self.in_trial(now)

    cdef void begin_trial(self, double now) noexcept:
        """From here on what leaves at `now` is one burst, after next to nothing in flight."""
        if now != self._trial_time:
            self._trial_time = now
            self._trials += 1

    cdef bint in_trial(self, double now) noexcept:
        return now == self._trial_time and not self.is_frequent

    cdef bint is_burst(self, double now) noexcept:
        """True when enough left at `now` to tell."""
        return now == self._burst_time and self._burst_size >= LEAST_BURST

    cpdef int on_packet_sent(self, int64_t number, int64_t oldest, double now) except -1:
        """Note that an ack-eliciting packet leaves, with the oldest one that is in flight then."""
        cdef int64_t last = self._newest
        if self.is_frequent:
            return 0
        check_number(number)
        check_number(oldest)
        self._newest = number
        if now != self._burst_time:
            if self._burst_size >= LEAST_BURST and oldest < self._burst_start + self._burst_size:
                return 0  # its acks are still to come
            self._judge()
            self._burst_time = now
            self._burst_start = number
            self._last_before = last
            self._unacked = oldest
            self._counts = 0
        self._burst_size = number + 1 - self._burst_start
        return 0

    cpdef int on_ack(self, int64_t ack, uint32_t ack_bits) except -1:
        """Note an ack of packet `ack`, in whatever order acks arrive; one below 0 is a lie."""
        cdef int64_t end = self._burst_start + self._burst_size
        cdef int count = ack < end
        if self.is_frequent or ack < 0:
            return 0
        if ack < self._burst_start:
            # What left since then and owes no ack does not count.
            self._unacked = self._burst_start if ack >= self._last_before else ack + 1
            return 0
        if ack - self._unacked > ACK_BITS:
            return 0
        while ack > self._unacked:
            ack -= 1
            count += ack_bits >> 31 & (ack < end)
            ack_bits <<= 1
        self._counts |= <uint64_t>1 << count
        return 0

    cdef void _judge(self) noexcept:
        """Score the burst that is over."""
        cdef int count, step, last = 0, score = 0
        if self._burst_size < LEAST_BURST:
            return
        for count in range(1, ACK_BITS + 2):
            if not self._counts >> count & 1:
                continue
            step = count - last
            if step > ACK_EVERY:
                score = WIDE_STEP_SCORE
                break
            if step == ACK_EVERY:
                score = max(score, FIRST_STEP_SCORE if last == 0 else LATER_STEP_SCORE)
            last = count
        if last > ACK_EVERY or score < 0:
            self.score = max(self.score + score, 0)
            self.is_frequent = self.score >= PROOF
