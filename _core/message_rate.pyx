"""A limit on the messages accepted per second from one peer, each of which may call the game's
code.

A packet that partly exceeds the limit is accepted whole; the excess counts against the next.
"""

cimport cython

__all__ = ["MessageRate"]

cdef enum:
    # Seconds' worth of messages that may arrive at once, as after a long frame of a client.
    MESSAGE_BURST_SECONDS = 1


@cython.final
cdef class MessageRate:
    """A rate limit with a burst of one second's worth; unlimited at first."""

    def limit(self, double rate):
        """Accept `rate` messages per second from now on."""
        self._interval = 1 / rate

    cpdef bint admits(self, double now) noexcept:
        """Return True if a packet with messages may be accepted."""
        return self._used_until <= now + MESSAGE_BURST_SECONDS

    cpdef void take(self, uint32_t count, double now) noexcept:
        """Count the messages of a packet that was accepted."""
        self._used_until = max(self._used_until, now) + count * self._interval
