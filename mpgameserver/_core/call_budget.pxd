# A limit on calls of the game's code before others get their turn.

cpdef enum:
    # Calls in one batch, however short: 0.4 ms of the cheapest, and the packets of a fast sender.
    MAX_CALLS_PER_BATCH = 4096
    # Calls for one session before the next one gets its turn: three packets of a busy game.
    MAX_CALLS_PER_TURN = 64

cdef class CallBudget:
    cdef public object clock    # returns monotonic seconds; None: calls take no time
    cdef readonly int left      # calls; 0 once the time is used up
    cdef int _stride, _until_reading
    cdef double _until, _read_at

    cpdef int begin(self, double now, double until) except -1
    cdef int _read_paced(self) except -1
    cpdef double read(self) except? -1
    cpdef int count_call(self) except -1
