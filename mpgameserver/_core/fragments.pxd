# Splitting a message into pieces, and putting pieces together.

from libc.stdint cimport int64_t, uint16_t, uint32_t

cdef enum:
    # Two of the largest messages at once, and half of one more.
    MAX_REASSEMBLY_BYTES = 20 * 1024 * 1024
    # Each unreliable one that lost a piece stays until it expires: a hundred a second do.
    MAX_REASSEMBLIES = 4096
    # What a piece costs beside its bytes, so that a flood of empty pieces is bounded too.
    PIECE_COST = 128

cdef struct Piece:
    uint16_t number   # of the fragmented message, on the wire
    uint16_t index    # from 1
    uint16_t count


cdef uint32_t piece_count(Py_ssize_t size, Py_ssize_t payload_limit) noexcept nogil
cdef Py_ssize_t piece_size(
    Py_ssize_t size, Py_ssize_t payload_limit, uint32_t index
) noexcept nogil
cdef void write_piece_header(unsigned char *out, const Piece *piece) noexcept nogil
cdef bint read_piece_header(
    const unsigned char *data, Py_ssize_t size, Piece *piece
) noexcept nogil

cdef class Reassembly:
    cdef dict pieces             # index -> bytes
    cdef uint16_t count
    cdef int64_t first_message   # the message number of piece 1; 0 until it came
    cdef int64_t newest_message  # the newest message number of a piece
    cdef Py_ssize_t cost         # charged against MAX_REASSEMBLY_BYTES
    cdef double last_arrival

    cdef bytes join(self)

cdef class ReassemblyBudget:
    cdef public Py_ssize_t limit     # bytes, of all reassemblers that share it
    cdef readonly Py_ssize_t held

cdef class Reassembler:
    cdef readonly Py_ssize_t held_bytes
    cdef ReassemblyBudget _budget
    cdef readonly int64_t discarded     # messages: contradictory, or unfinished for too long
    cdef dict _unfinished               # number on the wire -> Reassembly

    cpdef int clear(self) except -1
    cdef void _charge(self, Py_ssize_t size) noexcept
    cdef bint is_new(self, const Piece *piece) except -1
    cdef bint has_room(self, Py_ssize_t size, Py_ssize_t pieces, Py_ssize_t messages) except -1
    cdef Reassembly take(
        self, const Piece *piece, object data, int64_t message_number, double now
    )
    cdef int discard(self, uint16_t number) except -1
    cpdef double expire(self, double now) except? -1.0
