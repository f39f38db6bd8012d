# The incomplete messages of a session of protocol 2, each on a grid of units of 64 bytes.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from mpgameserver._core.budget cimport Share
from mpgameserver._core.frames cimport Frame

cpdef enum:
    # Of one session. Protocol 2 asks for these at least, and a peer gets no more.
    MAX_INCOMPLETE_MESSAGES = 64
    MAX_INCOMPLETE_BYTES = 16 * 1024 * 1024
    # Seconds without a fragment. A sender that still wants it delivered sends one in 10.
    INCOMPLETE_TIMEOUT = 30

# A run of units that came before the message had its buffer; the bytes are behind the struct.
cdef struct EarlyRun:
    EarlyRun *next
    Py_ssize_t offset, size

cdef class GridMessage:
    cdef readonly int64_t total     # bytes
    cdef bytes _message             # all of it, or None: too little has come
    cdef EarlyRun *_early           # what came until then
    cdef uint64_t *_units           # bit n: unit n was received
    cdef Py_ssize_t _missing        # units
    cdef int64_t received           # bytes
    cdef int64_t _number
    cdef dict _home                 # number -> GridMessage: those of its channel
    cdef double _last_arrival
    cdef bint _is_ordered

    cdef int add(self, int64_t offset, const unsigned char *data, Py_ssize_t size) except -1
    cdef int _add_run(
        self, uint32_t first, uint32_t end, int64_t offset, const unsigned char *data,
        Py_ssize_t size
    ) except -1
    cdef int _keep_early(
        self, Py_ssize_t offset, const unsigned char *data, Py_ssize_t size
    ) except -1
    cdef int _allocate(self) except -1

cdef class GridReassembler:
    cdef readonly Share share       # charged for incomplete messages, and for what channels keep
    cdef readonly int64_t discarded        # messages that were given up
    cdef readonly int64_t held_bytes       # the totals of the incomplete messages
    cdef dict _by_age               # GridMessage -> None; the longest without a fragment is first
    cdef GridMessage _newest        # the last of them
    # The packet under inspection: its number, the messages that it begins (channel -> number ->
    # length; None: none yet), and the room that its frames have claimed so far.
    cdef uint64_t packet
    cdef dict _begun
    cdef Py_ssize_t _claimed_messages
    cdef int64_t _claimed_bytes, _claimed_cost

    cpdef void begin_packet(self) noexcept
    cdef inline bint has_begun(self) noexcept:
        # True if the packet begins a message, so far.
        return self._begun is not None

    cdef dict begun_on(self, uint8_t channel)
    cdef int note_begun(self, uint8_t channel, int64_t number, int64_t length) except -1
    cdef bint claim_message(self, int64_t total) noexcept
    cdef bint claim(self, int64_t cost) noexcept
    cdef GridMessage begin(self, dict home, const Frame *frame, bint is_ordered)
    cdef bytes add(self, GridMessage message, const Frame *frame, double now)
    cdef int discard(self, GridMessage message) except -1
    cpdef int clear(self) except -1
    cpdef double expire(self, double now) except? -1.0
