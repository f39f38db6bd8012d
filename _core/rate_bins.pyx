"""Statistics per second, in 300 bins of one second each.

The current second is counted separately, and stored when it ends. Bins take 8 bytes each at first;
the first second that does not fit makes all of them twice as wide, once.

A bin holds at most 65,535 packets each way (nonces limit sending to 32,767 a second) and 65,535 ms;
larger values are capped.
"""

cimport cython
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.string cimport memset

from mpgameserver._core.rounding cimport floor_integer

__all__ = ["RateBins"]


@cython.final
cdef class RateBins:
    """Counts datagrams, bytes of UDP payload and round trips per second.

    `start` is the monotonic time at which the first second begins. Times before the current second
    count in the current second.
    """

    def __cinit__(self, double start):
        self._start = start
        self._narrow = <NarrowSecond *>PyMem_Calloc(BINS, sizeof(NarrowSecond))
        if self._narrow == NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_Free(self._narrow)
        PyMem_Free(self._seconds)

    cpdef void on_sent(self, uint32_t size, double now):
        """Count a datagram of `size` bytes that was sent."""
        self._move_to(now)
        self._counts.bytes_sent += size
        self._counts.packets_sent += self._counts.packets_sent < 0xFFFF

    cpdef void on_received(self, uint32_t size, double now):
        """Count a datagram of `size` bytes that was accepted."""
        self._move_to(now)
        self._counts.bytes_received += size
        self._counts.packets_received += self._counts.packets_received < 0xFFFF

    cpdef void on_rtt_sample(self, double rtt, double now):
        """Add a round-trip time, in seconds, to the mean of the current second."""
        self._move_to(now)
        self._latency_sum += max(rtt, 0.0)
        self._latency_samples += 1

    cdef void _move_to(self, double now) noexcept:
        """Make the second of `now` the current one, and clear those in between."""
        cdef int64_t second = floor_integer(now - self._start)
        if second <= self._current:
            return
        self._store()
        for passed in range(max(self._current, second - BINS) + 1, second):
            self._clear(passed)
        self._current = second
        memset(&self._counts, 0, sizeof(Second))
        self._latency_sum = 0.0
        self._latency_samples = 0

    cdef void _store(self) noexcept:
        """Put the current second into its bin."""
        cdef Second counts = self._at(self._current)
        cdef NarrowSecond *narrow
        if self._seconds == NULL and (
            counts.bytes_sent > 0xFFFF or counts.bytes_received > 0xFFFF
            or counts.packets_sent > 0xFF or counts.packets_received > 0xFF
        ) and not self._widen():
            self._clear(self._current)
            return
        if self._seconds != NULL:
            self._seconds[self._current % BINS] = counts
            return
        narrow = &self._narrow[self._current % BINS]
        narrow.bytes_sent = <uint16_t>counts.bytes_sent
        narrow.bytes_received = <uint16_t>counts.bytes_received
        narrow.packets_sent = <uint8_t>counts.packets_sent
        narrow.packets_received = <uint8_t>counts.packets_received
        narrow.latency = counts.latency

    cdef Second _at(self, int64_t second) noexcept:
        """Return the counts of a second, which may be the current one."""
        cdef Second counts
        cdef NarrowSecond *narrow
        if second == self._current:
            counts = self._counts
            counts.latency = 0
            if self._latency_samples:
                counts.latency = <uint16_t>min(
                    floor_integer(self._latency_sum / self._latency_samples * 1000 + 0.5), 0xFFFF
                )
        elif self._seconds != NULL:
            counts = self._seconds[second % BINS]
        else:
            narrow = &self._narrow[second % BINS]
            counts.bytes_sent = narrow.bytes_sent
            counts.bytes_received = narrow.bytes_received
            counts.packets_sent = narrow.packets_sent
            counts.packets_received = narrow.packets_received
            counts.latency = narrow.latency
        return counts

    cdef void _clear(self, int64_t second) noexcept:
        if self._seconds != NULL:
            memset(&self._seconds[second % BINS], 0, sizeof(Second))
        else:
            memset(&self._narrow[second % BINS], 0, sizeof(NarrowSecond))

    cdef bint _widen(self) noexcept:
        """Widen every bin so that any second fits; return False if there is no memory."""
        cdef int64_t second
        cdef Second *seconds = <Second *>PyMem_Calloc(BINS, sizeof(Second))
        if seconds == NULL:
            return False
        for second in range(max(self._current - BINS + 1, <int64_t>0), self._current):
            seconds[second % BINS] = self._at(second)
        PyMem_Free(self._narrow)
        self._narrow = NULL
        self._seconds = seconds
        return True

    def lists(self, double now):
        """Return the bins up to the second of `now`, the oldest first.

        Returns five lists of 300 integers: bytes sent, bytes received, packets sent, packets
        received, mean latency in milliseconds.
        """
        cdef int64_t second
        cdef Second counts
        self._move_to(now)
        lists = ([], [], [], [], [])
        for second in range(self._current - BINS + 1, self._current + 1):
            memset(&counts, 0, sizeof(Second))
            if second >= 0:
                counts = self._at(second)
            lists[0].append(counts.bytes_sent)
            lists[1].append(counts.bytes_received)
            lists[2].append(counts.packets_sent)
            lists[3].append(counts.packets_received)
            lists[4].append(counts.latency)
        return lists

    def __sizeof__(self):
        cdef size_t bins = sizeof(NarrowSecond) if self._seconds == NULL else sizeof(Second)
        return object.__sizeof__(self) + BINS * bins
