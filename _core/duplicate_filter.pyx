"""The duplicate filter: a bitmap over the newest `width` numbers, which slides with them.

Numbers behind the filter count as already received, so no packet recorded long ago passes. The
bitmap starts small, because an idle connection should cost little. It grows once, to the full
width, when the numbers are further apart. Its size does not depend on the age of a connection, and
a peer cannot make it larger than 4 KiB in protocol 1, and 8 KiB for a channel of protocol 2.
"""

cimport cython
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.string cimport memset

from mpgameserver._core.seqnum cimport max_number

__all__ = ["DuplicateFilter"]

cdef extern from *:
    """
    static int mpg_leading_zeros(uint64_t word) /* of one that is not 0 */
    {
    #ifdef __GNUC__
        return __builtin_clzll(word);
    #else
        int zeros = 0;
        for (; !(word >> 63); word <<= 1)
            ++zeros;
        return zeros;
    #endif
    }
    """
    int mpg_leading_zeros(uint64_t word) noexcept

cdef enum:
    WORD_BITS = 64
    FIRST_SIZE = 256


cdef inline uint64_t _bit(int64_t number) noexcept nogil:
    return <uint64_t>1 << (number & (WORD_BITS - 1))


@cython.final
cdef class DuplicateFilter:
    """Remembers which of the newest `width` absolute numbers were inserted.

    `newest` is the largest number inserted, 0 if there is none. Raises ValueError for a `width`
    outside 1...65536.
    """

    def __cinit__(self, uint32_t width=MESSAGE_FILTER_WIDTH):
        if not 1 <= width <= CHANNEL_FILTER_WIDTH:
            raise ValueError(f"width must be 1...{CHANNEL_FILTER_WIDTH}, not {width}")
        self.width = width
        self._full_size = WORD_BITS
        while self._full_size < width:
            self._full_size *= 2
        self._mask = min(self._full_size, <uint32_t>FIRST_SIZE) - 1
        self._words = _allocate(self._mask + 1)

    def __dealloc__(self):
        PyMem_Free(self._words)

    cpdef bint contains(self, int64_t number) except -1:
        """Return True if the number was inserted or is behind the filter."""
        if number > self.newest:
            return False
        if number <= self.newest - self.width:
            return True
        if number < self._oldest:
            return False
        return (self._word(number)[0] & _bit(number)) != 0

    cpdef bint insert(self, int64_t number) except -1:
        """Insert a number; return False, with nothing changed, if it is contained already.

        Raises ValueError for a number outside 1...2^62, and MemoryError; nothing is changed then.
        """
        if not 1 <= number <= max_number():
            raise ValueError(f"number must be 1...{max_number()}, not {number}")
        if number == self.newest + 1 and self.newest and (
            number - self._oldest <= self._mask or self._mask + 1 == self._full_size
        ):
            self.newest = number  # nearly always, and its bit is the only one to be cleared
        elif self.newest == 0:
            self._oldest = number
            self.newest = number
        elif self.contains(number):
            return False
        elif number > self.newest:
            self._make_room(number - self._oldest)
            self._clear(self.newest + 1, number)
            self.newest = number
        elif number < self._oldest:
            self._make_room(self.newest - number)
            self._oldest = number
        self._word(number)[0] |= _bit(number)
        return True

    cdef uint64_t *_word(self, int64_t number) noexcept:
        return &self._words[(number & self._mask) >> 6]

    cdef int _make_room(self, int64_t span) except -1:
        """Grow the bitmap to its full size, unless it already covers `span` numbers."""
        cdef uint32_t size = self._full_size
        cdef uint64_t *words
        cdef int64_t number
        if span <= self._mask or self._mask + 1 == size:
            return 0
        words = _allocate(size)
        for number in range(max(self._oldest, self.newest - self._mask), self.newest + 1):
            if self._word(number)[0] & _bit(number):
                words[(number & (size - 1)) >> 6] |= _bit(number)
        PyMem_Free(self._words)
        self._words = words
        self._mask = size - 1
        return 0

    cdef void _clear(self, int64_t first, int64_t last) noexcept:
        """Clear the bits of first...last, whole words at a time."""
        cdef int64_t number = first
        if last - first >= self._mask:
            memset(self._words, 0, (self._mask + 1) // 8)
            return
        while number <= last:
            if number & (WORD_BITS - 1) == 0 and last - number >= WORD_BITS - 1:
                self._word(number)[0] = 0
                number += WORD_BITS
            else:
                self._word(number)[0] &= ~_bit(number)
                number += 1

    def __sizeof__(self):
        return object.__sizeof__(self) + (self._mask + 1) // 8


cdef int64_t run_start(
    DuplicateFilter numbers, int64_t number, int64_t lowest, bint inserted
) noexcept:
    """Return the first number of the run down from `number` that was, or was not, inserted.

    It is `number + 1` where there is none; no run goes below `lowest`, which is not behind the
    filter. A word is looked at as a whole.
    """
    cdef int64_t floor = max(lowest, numbers._oldest)
    cdef uint64_t ends
    while number >= floor:
        ends = numbers._word(number)[0]
        if inserted:
            ends = ~ends
        ends <<= WORD_BITS - 1 - (number & (WORD_BITS - 1))
        if ends:
            number -= mpg_leading_zeros(ends)
            break
        number -= (number & (WORD_BITS - 1)) + 1
    if number < floor:
        return floor if inserted else lowest
    return number + 1


cdef uint64_t *_allocate(uint32_t bits) except NULL:
    cdef uint64_t *words = <uint64_t *>PyMem_Calloc(bits // WORD_BITS, sizeof(uint64_t))
    if words == NULL:
        raise MemoryError
    return words
