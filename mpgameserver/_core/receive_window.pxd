# The receive window: which of the peer's packets were received.

from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t

cpdef enum:
    RECEIVE_WIDTH = 1024   # how far behind the newest a packet is still accepted
    MAX_JUMP = 16384       # a larger gap is a forgery; this one takes half a second to send

cdef enum:
    RECEIVE_WORDS = 32     # 2048 bits: enough for any RECEIVE_WIDTH + 1 numbers
    SEGMENTS = 64          # eight laps of the ring

cpdef enum:               # the result of `judge`
    FRESH = 0
    DUPLICATE = 1          # a packet with this number was accepted before
    BEHIND = 2             # too old to tell
    OUT_OF_TIME = 3        # its send time contradicts its number: a recorded packet
    TOO_FAR_AHEAD = 4

cdef struct Segment:       # a run of packet numbers, and the times of its packets
    uint32_t start, first  # the first number of the run, and the first accepted
    int32_t lowest, highest

cdef class ReceiveWindow:
    cdef readonly int64_t newest       # absolute; 0: none yet
    cdef readonly uint32_t newest_time
    cdef uint64_t _seen[RECEIVE_WORDS]
    cdef int32_t _floors[RECEIVE_WORDS]
    cdef int32_t _newest_offset
    cdef uint32_t _base_time           # of the first packet: offsets are seconds since then
    cdef int64_t _second_start, _segment_count  # the first number accepted under the newest time
    cdef bint _clock_was_set           # the sender's: times have not risen with the numbers
    cdef Segment _segments[SEGMENTS]   # the newest of them
    cdef Segment _forgotten            # those before, as one
    cpdef int judge(self, uint16_t seq, uint32_t time) except -1
    cpdef int enter(self, uint16_t seq, uint32_t time) except -1
    cpdef uint16_t ack(self) noexcept
    cpdef uint32_t ack_bits(self) noexcept
