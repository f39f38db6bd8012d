"""A limit on calls of the game's code before others get their turn.

One datagram holds up to 255 messages, and each is a call of the handler: a burst from one peer must
not delay the other sessions and the tick. Calls are therefore made in batches, each limited in
number and in time, and a session with more messages waits for its next turn.

The clock is read after each slow call, and after every few fast ones. Other code that needs the
time of a call reads it through `read`, so that each reading also counts towards the batch.
"""

cimport cython

__all__ = ["CallBudget"]

# Seconds: as long as reading 256 datagrams takes. A tick and the other players wait that long.
BATCH_TIMEOUT = 0.002

cdef enum:
    LONGEST_STRIDE = 4      # calls between two readings of the clock

cdef double FAST = 0.0001   # seconds between two readings, below which the stride doubles


@cython.final
cdef class CallBudget:
    """The calls of the current batch. `left` is 0 once the batch has ended."""

    def __cinit__(self):
        self._stride = self._until_reading = 1

    cpdef int begin(self, double now, double until) except -1:
        """Begin a batch at the time `now`, which ends at `until` at the latest."""
        self._read_at = now
        self._until = min(now + BATCH_TIMEOUT, until)
        self._stride = self._until_reading = 1
        self.left = MAX_CALLS_PER_BATCH
        return 0

    cdef int _read_paced(self) except -1:
        """Read the clock, and set after how many calls to do so again."""
        cdef double before = self._read_at
        self._stride = min(self._stride * 2, LONGEST_STRIDE) if self.read() - before < FAST else 1
        self._until_reading = self._stride
        return 0

    cpdef double read(self) except? -1:
        """Read the clock and return the time; the batch ends if its time is used up."""
        if self.clock is not None:
            self._read_at = self.clock()
        if self._read_at >= self._until:
            self.left = 0
        return self._read_at

    cpdef int count_call(self) except -1:
        """Count a call that was made."""
        if self.left:
            self.left -= 1
        self._until_reading -= 1
        if self._until_reading == 0:
            self._read_paced()
        return 0
