"""How many messages are taken from one peer per second: each may be a call of the game's code.

A packet of which a part would be too much is taken as a whole, and the next one waits for longer.
"""

__all__ = ["MessageRate"]


cdef class MessageRate:
    """A rate over longer times, of which a second's may come at once; at first without a limit."""

    def limit(self, double rate):
        """Take `rate` messages per second from here on."""
        self._interval = 1 / rate

    def admits_at(self, double now):
        """True when a packet with messages may be taken."""
        return self.admits(now)

    def count(self, uint8_t messages, double now):
        """Count the messages of a packet that was taken."""
        self.take(messages, now)
