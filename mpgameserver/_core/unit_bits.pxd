# A bit for each unit of a message in fragments; whole words at a time.

from libc.stdint cimport uint32_t, uint64_t

cdef extern from *:
    """
    static inline uint32_t mpg_ones(uint64_t word)
    {
        uint32_t ones = 0;
        for (; word; word &= word - 1)
            ++ones;
        return ones;
    }
    static inline uint32_t mpg_trailing_zeros(uint64_t word) /* of one that is not 0 */
    {
    #ifdef __GNUC__
        return (uint32_t)__builtin_ctzll(word);
    #else
        return mpg_ones((word & (~word + 1)) - 1);
    #endif
    }
    """
    uint32_t mpg_ones(uint64_t word) noexcept nogil
    uint32_t mpg_trailing_zeros(uint64_t word) noexcept nogil

cdef enum:
    WORD = 64    # bits


cdef inline uint64_t bits_within(uint32_t first, uint32_t end) noexcept nogil:
    # Of the word that holds the bit `first`: that bit and those behind it, to before `end`.
    cdef uint64_t mask = ~<uint64_t>0 << first % WORD
    if end - first < WORD - first % WORD:
        mask &= (<uint64_t>1 << end % WORD) - 1
    return mask


cdef inline uint32_t run_of_bits(
    const uint64_t *bits, uint32_t first, uint32_t end, bint is_set
) noexcept nogil:
    # How many bits in a row are set, or not set, from `first` to before `end`.
    cdef uint32_t at = first
    cdef uint64_t others
    while at < end:
        others = (~bits[at // WORD] if is_set else bits[at // WORD]) >> at % WORD
        if others:
            at += mpg_trailing_zeros(others)
            break
        at += WORD - at % WORD
    return min(at, end) - first
