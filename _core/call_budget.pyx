"""A limit on calls of the game's code before others get their turn.

One datagram holds up to 255 messages, and each is a call of the handler: a burst of one peer must
not keep the other sessions and the tick waiting. So calls are made in goes, each limited in number
and in time, and a session with more messages waits for its next turn.

The clock is read after each slow call, and after every few fast ones. Other code that needs the
time of a call reads it here (`read`), so that each reading also counts for the go.
"""

cimport cython

__all__ = ["CallBudget"]

# Seconds: as long as reading 256 datagrams takes. A tick and the other players wait that long.
GO_TIMEOUT = 0.002

cdef enum:
    LONGEST_STRIDE = 4      # calls between two looks at the clock

cdef double FAST = 0.0001   # seconds between two looks that are too few


@cython.final
cdef class CallBudget:
    """The calls of the current go. `left` is 0 once the go has ended."""

    def __cinit__(self):
        self._stride = self._until_look = 1

    cpdef int begin(self, double now, double until) except -1:
        """Begin a go at the time `now`, which ends at `until` at the latest."""
        self._looked_at = now
        self._until = min(now + GO_TIMEOUT, until)
        self._stride = self._until_look = 1
        self.left = MAX_CALLS_PER_GO
        return 0

    cdef int _look(self) except -1:
        """Read the clock, and decide after how many calls to do so again."""
        cdef double before = self._looked_at
        self._stride = min(self._stride * 2, LONGEST_STRIDE) if self.read() - before < FAST else 1
        self._until_look = self._stride
        return 0

    cpdef double read(self) except? -1:
        """Read the clock: the time now, which may be the end of the go."""
        if self.clock is not None:
            self._looked_at = self.clock()
        if self._looked_at >= self._until:
            self.left = 0
        return self._looked_at

    cpdef int count_call(self) except -1:
        """Count a call that was made."""
        if self.left:
            self.left -= 1
        self._until_look -= 1
        if self._until_look == 0:
            self._look()
        return 0
