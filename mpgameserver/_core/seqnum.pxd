# Ring arithmetic of sequence numbers: the only module that knows of the wrap-around.
#
# On the wire a sequence number is one of the 65,535 values 1...65535, and 0 means "none yet".
# Inside, every number is absolute: a 64-bit count that never wraps, so that all other modules
# compare and subtract plainly. Only `to_wire` and `expand` convert between the two.

from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t

cpdef enum:
    RING_SIZE = 65535
    HALF_RING = 32767


cdef inline int64_t max_number() noexcept nogil:
    """The largest absolute number that is taken, so that sums and differences never overflow."""
    return <int64_t>1 << 62


cdef inline int check_number(int64_t number) except -1:
    """Refuse an absolute number of a caller in Python whose sums and differences may overflow."""
    if not 0 <= number <= max_number():
        raise ValueError(f"absolute number must be 0...{max_number()}, not {number}")
    return 0


cdef inline uint16_t to_wire(int64_t number) noexcept nogil:
    """The wire form of an absolute number (1 or more)."""
    return <uint16_t>((number - 1) % RING_SIZE + 1)


cdef inline int32_t ring_diff(uint16_t a, uint16_t b) noexcept nogil:
    """The shortest signed step from b to a on the ring, from -32767 to 32767."""
    cdef int32_t step = <int32_t>a - <int32_t>b
    if step > HALF_RING:
        return step - RING_SIZE
    if step < -HALF_RING:
        return step + RING_SIZE
    return step


cdef inline uint16_t ring_add(uint16_t a, int32_t step) noexcept nogil:
    """The number `step` places after a; 0 stands just before 1."""
    cdef int64_t place = (<int64_t>a - 1 + step) % RING_SIZE
    return <uint16_t>((place + RING_SIZE) % RING_SIZE + 1)


cdef inline int64_t expand(uint16_t wire, int64_t near) noexcept nogil:
    """The absolute number of wire form `wire` (not 0) that is nearest to the absolute `near`.

    With nothing to be near to (0), a whole ring is left below, so that older numbers that
    arrive later are positive too. The result may be below 1 when `near` is small.
    """
    if near == 0:
        return RING_SIZE + <int64_t>wire
    return near + ring_diff(wire, to_wire(near))
