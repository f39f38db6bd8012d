"""Traffic per second: 300 bins of one second each, as narrow as the wire lets them be.

A bin holds at most 65,535 packets each way (a connection's nonces allow 32,767 sent a second)
and 65,535 ms; what is more stays at that.
"""

from libc.math cimport floor
from libc.string cimport memset

__all__ = ["TrafficBins"]

BINS = TRAFFIC_BINS


cdef class TrafficBins:
    """Counts datagrams, bytes of UDP payload and round trips by the second they fell in.

    `start` is the monotonic time that the first second begins at. A time before the current
    second counts in the current second.
    """

    def __cinit__(self, double start):
        self._start = start

    cdef Second *_at(self, double now) noexcept:
        """The bin of the second `now`; the seconds without traffic in between are cleared."""
        cdef int64_t second = <int64_t>floor(now - self._start)
        if second - self._current >= TRAFFIC_BINS:
            memset(self._seconds, 0, sizeof(self._seconds))
            self._current = second
            self._latency_samples = 0
        while self._current < second:
            self._current += 1
            self._latency_samples = 0
            memset(&self._seconds[self._current % TRAFFIC_BINS], 0, sizeof(Second))
        return &self._seconds[self._current % TRAFFIC_BINS]

    cpdef void sent(self, uint32_t size, double now):
        """Count a datagram of `size` bytes that left."""
        cdef Second *second = self._at(now)
        second.bytes_sent += size
        second.packets_sent += second.packets_sent < 0xFFFF

    cpdef void received(self, uint32_t size, double now):
        """Count a datagram of `size` bytes that was accepted."""
        cdef Second *second = self._at(now)
        second.bytes_received += size
        second.packets_received += second.packets_received < 0xFFFF

    cpdef void round_trip(self, double elapsed, double now):
        """Take a measured round trip, in seconds, into the mean of the current second."""
        cdef Second *second = self._at(now)
        if self._latency_samples == 0:
            self._latency_sum = 0.0
        self._latency_sum += max(elapsed, 0.0)
        self._latency_samples += 1
        second.latency = <uint16_t>min(
            self._latency_sum / self._latency_samples * 1000 + 0.5, 65535.0
        )

    def lists(self, double now):
        """The bins up to the second `now`, the oldest first, the current one last.

        Returns five lists of 300 integers: bytes sent, bytes received, packets sent, packets
        received, mean latency in milliseconds.
        """
        self._at(now)
        order = [(self._current + 1 + i) % TRAFFIC_BINS for i in range(TRAFFIC_BINS)]
        return (
            [self._seconds[i].bytes_sent for i in order],
            [self._seconds[i].bytes_received for i in order],
            [self._seconds[i].packets_sent for i in order],
            [self._seconds[i].packets_received for i in order],
            [self._seconds[i].latency for i in order],
        )
