"""Detection of how a receiver acks: by count, every 16 packets, or on a timer.

The sender must know, because an ack reports 33 packets: if more arrive between two acks, some are
never reported. The published package acks on a timer and has a narrow duplicate filter. This
package acks by count.

Only a burst of packets that are sent together, with almost nothing else in flight, can show the
difference; the few packets with messages sent ahead of fragments count from the previous ack. A
receiver that acks by count reports 16 packets per ack, never more. Its first ack reports exactly
16, unless it had something to send in between. A receiver that acks on a timer reports whatever
arrived before the timer fired: usually everything, and exactly 16 first with a probability of at
most 1 in 16. So each burst scores points: for 16 first, for a later step of 16, and negative ones
for a larger step, which a lost ack also causes. A high enough score is proof; by chance alone it
takes a million bursts.

A burst has 32 packets, because a receiver that acks by count sends both acks at once, so the next
burst can follow a round trip later. A 33rd packet would wait for its ack.
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
    MAX_TRIALS = 32        # per season: some receivers, and some paths, never reach the score

cdef double SEASON = 30.0  # seconds


@cython.final
cdef class AckFrequency:
    """Evidence of how the receiver acks; `is_frequent` once it is known to ack by count.

    Once known, it holds for the life of the connection.
    """

    def __cinit__(self):
        self._burst_time = self._trial_time = -INFINITY

    cdef bint waits(self, double now) noexcept:
        """Return True while a trial should wait until almost nothing is in flight."""
        if now - self._season >= SEASON:
            self._season = now
            self._trials = 0
        return self._trials < MAX_TRIALS and not self.in_trial(now)

    cdef void begin_trial(self, double now) noexcept:
        """Treat what is sent at `now` as one burst, with almost nothing else in flight."""
        if now != self._trial_time:
            self._trial_time = now
            self._trials += 1

    cdef bint in_trial(self, double now) noexcept:
        return now == self._trial_time and not self.is_frequent

    cdef bint is_burst(self, double now) noexcept:
        """Return True if enough packets were sent at `now` to score them."""
        return now == self._burst_time and self._burst_size >= LEAST_BURST

    cpdef int on_packet_sent(self, int64_t number, int64_t oldest, double now) except -1:
        """Record an ack-eliciting packet that is sent; `oldest` is the oldest one in flight."""
        cdef int64_t last = self._newest
        if self.is_frequent:
            return 0
        check_number(number)
        check_number(oldest)
        self._newest = number
        if now != self._burst_time:
            if self._burst_size >= LEAST_BURST and oldest < self._burst_start + self._burst_size:
                return 0  # its acks are still outstanding
            self._judge()
            self._burst_time = now
            self._burst_start = number
            self._last_before = last
            self._unacked = oldest
            self._counts = 0
        self._burst_size = number + 1 - self._burst_start
        return 0

    cpdef int on_ack(self, int64_t ack, uint32_t ack_bits) except -1:
        """Record an ack of packet `ack`, in any order; a number below 0 is invalid and ignored."""
        cdef int64_t end = self._burst_start + self._burst_size
        cdef int count = ack < end
        if self.is_frequent or ack < 0:
            return 0
        if ack < self._burst_start:
            # Packets sent since then that are not ack-eliciting do not count.
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
        """Score the burst that has ended."""
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
