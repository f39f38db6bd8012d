"""A limit on the messages accepted from one peer per second: each may be a call of the game's code.

A packet that partly exceeds the limit is accepted whole, and the next one waits longer.
"""

cimport cython

__all__ = ["MessageRate"]

cdef enum:
    # Seconds of the rate that may arrive at once: what a client sends after a long frame.
    MESSAGE_BURST_SECONDS = 1


@cython.final
cdef class MessageRate:
    """A rate, of which one second's worth may arrive at once; unlimited at first."""

    def limit(self, double rate):
        """Accept `rate` messages per second from now on."""
        self._interval = 1 / rate

    cpdef bint admits(self, double now) noexcept:
        """Return True if a packet with messages may be accepted."""
        return self._used_until <= now + MESSAGE_BURST_SECONDS

    cpdef void take(self, uint8_t count, double now) noexcept:
        """Count the messages of a packet that was accepted."""
        self._used_until = max(self._used_until, now) + count * self._interval
