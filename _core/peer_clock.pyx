"""The clock of the peer, from TIME and TIME_REPLY frames, as in NTP (RFC 5905, section 8).

A reply yields the offset of the peer's clock, wrong by half the difference of the two ways' delays.
Queues and jitter only ever add to a delay. So the least delay of each way counts, which need not be
of the same reply: of 16 delays that vary by 30 ms the least is 2 ms too long on average, and the
same both ways but for half the difference.
"""

cimport cython

from collections import deque

__all__ = ["PeerClock"]

cdef enum:
    MAX_ASKED = 8        # TIMEs that may wait for a reply: the first ones, a round trip of 0.8 s
    MAX_SAMPLES = 64     # a minute of them: two good clocks drift apart by 1 or 2 ms
    FIRST_SAMPLES = 16   # come quickly, because a game wants the time at once

cdef double FIRST_INTERVAL = 0.1    # seconds between two TIMEs
cdef double INTERVAL = 1.0


@cython.final
cdef class PeerClock:
    """The offset of the peer's monotonic clock from this side's."""

    def __cinit__(self):
        self._asked = deque(maxlen=MAX_ASKED)
        self._samples = deque(maxlen=MAX_SAMPLES)

    cdef bint is_due(self, double now) noexcept:
        """Return True if a TIME should go with the next packet."""
        return now >= self._due_at

    cdef int on_asked(self, int64_t clock, double now) except -1:
        """Note that a TIME was sent."""
        self._asked.append(clock)
        self._due_at = now + (FIRST_INTERVAL if len(self._samples) < FIRST_SAMPLES else INTERVAL)
        return 0

    cpdef int on_reply(
        self, int64_t echo, int64_t received, int64_t sent, int64_t now
    ) except -1:
        """Take a reply, if it answers a TIME and could be true; all in microseconds."""
        if echo not in self._asked or not 0 <= sent - received <= now - echo:
            return 0
        self._asked.remove(echo)
        self._samples.append((received - echo, now - sent))
        there, back = zip(*self._samples)
        self.offset = (min(there) - min(back)) * 0.5e-6
        return 0
