"""How many messages are taken from one peer per second: each may be a call of the game's code.

A packet of which a part would be too much is taken as a whole, and the next one waits for longer.
"""

cimport cython

__all__ = ["MessageRate"]

cdef enum:
    # Of the rate, what may come at once: what a client has to say after a long frame.
    MESSAGE_BURST_SECONDS = 1


@cython.final
cdef class MessageRate:
    """A rate over longer times, of which a second's may come at once; at first without a limit."""

    def limit(self, double rate):
        """Take `rate` messages per second from here on."""
        self._interval = 1 / rate

    cpdef bint admits(self, double now) noexcept:
        """Return True if a packet with messages may be taken."""
        return self._used_until <= now + MESSAGE_BURST_SECONDS

    cpdef void take(self, uint8_t count, double now) noexcept:
        """Count the messages of a packet that is taken."""
        self._used_until = max(self._used_until, now) + count * self._interval
