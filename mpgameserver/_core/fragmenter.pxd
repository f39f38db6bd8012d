# Fragment headers, and the reassembly of fragmented messages.

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint16_t, uint32_t

from mpgameserver._core.budget cimport Share

cpdef enum:
    # Two and a half of the largest messages.
    MAX_REASSEMBLY_BYTES = 20 * 1024 * 1024
    # An unreliable message that lost a fragment stays until it expires; enough for 100 a second.
    MAX_REASSEMBLIES = 4096
    # Seconds. A sender retransmits a lost fragment within a few seconds, unless it has given up.
    # Of a time in which nothing arrives at all, only one second counts.
    REASSEMBLY_TIMEOUT = 60

cdef struct FragmentHeader:
    uint16_t number   # of the fragmented message, on the wire
    uint16_t index    # from 1
    uint16_t count


cdef uint32_t fragment_count(Py_ssize_t size, Py_ssize_t payload_limit) noexcept nogil
cdef void write_fragment_header(unsigned char *out, const FragmentHeader *fragment) noexcept nogil
cdef bint read_fragment_header(
    const unsigned char *data, Py_ssize_t size, FragmentHeader *fragment
) noexcept nogil

cdef class Reassembly:
    cdef PyObject *_start        # the message up to the first missing fragment; NULL: nothing
    cdef Py_ssize_t _size, _room  # bytes used and allocated
    cdef Py_ssize_t _usual        # bytes of a fragment that is not the last; 0: none has come
    cdef uint32_t _next          # index of the first missing fragment
    cdef dict _later             # later fragments: index -> bytes; None until there is one
    cdef uint16_t count
    cdef int64_t first_message   # the message number of fragment 1; 0 until it arrives
    cdef int64_t newest_message  # the newest message number of a fragment
    cdef Py_ssize_t cost         # charged against MAX_REASSEMBLY_BYTES
    cdef double last_arrival

    cdef bint has(self, uint16_t index) except -1
    cdef int add(self, uint16_t index, const unsigned char *data, Py_ssize_t size) except -1
    cdef bint is_complete(self) noexcept
    cdef bytes message(self)
    cdef tuple estimate(self)
    cdef int _append(self, const unsigned char *data, Py_ssize_t size) except -1
    cdef int _append_later(self) except -1
    cdef Py_ssize_t _size_behind(self, uint32_t index) except -1
    cdef int _make_room(self, Py_ssize_t size) except -1
    cdef int _resize(self, Py_ssize_t room) except -1

cdef class Reassembler:
    cdef readonly Share share           # charged for incomplete messages
    cdef readonly int64_t discarded     # messages: contradictory, or incomplete for too long
    cdef dict _unfinished               # number on the wire -> Reassembly
    cdef Reassembly _newest             # the one that grew last: the next fragment is probably its
    cdef uint16_t _newest_number

    cpdef list arriving(self)
    cpdef int clear(self) except -1
    cdef bint is_new(self, const FragmentHeader *fragment) except -1
    cdef bint has_room(self, Py_ssize_t size, Py_ssize_t fragments, Py_ssize_t messages) except -1
    cdef Reassembly _of(self, uint16_t number)
    cdef int _note_growth(self, uint16_t number, Reassembly reassembly) except -1
    cdef Reassembly take(
        self, const FragmentHeader *fragment, const unsigned char *data, Py_ssize_t size,
        int64_t message_number, double now
    )
    cdef int discard(self, uint16_t number) except -1
    cpdef double expire(self, double now) except? -1.0
