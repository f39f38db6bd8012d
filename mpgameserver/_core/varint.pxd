# Variable-length integers (RFC 9000 section 16), and a cursor over bytes that a peer has sent.

from libc.stdint cimport int64_t

cdef extern from *:
    """
    #define MPG_MAX_VARINT ((int64_t)0x3FFFFFFFFFFFFFFF)
    """
    const int64_t MAX_VARINT "MPG_MAX_VARINT"

cdef struct Cursor:
    const unsigned char *next
    const unsigned char *end


cdef inline Py_ssize_t bytes_left(const Cursor *cursor) noexcept nogil:
    return cursor.end - cursor.next


cdef inline Py_ssize_t varint_size(int64_t value) noexcept nogil:
    # The fewest bytes that hold a value from 0 to MAX_VARINT.
    if value < 1 << 6:
        return 1
    if value < 1 << 14:
        return 2
    return 4 if value < 1 << 30 else 8


cdef inline unsigned char *put_varint(unsigned char *out, int64_t value) noexcept nogil:
    # Write a value from 0 to MAX_VARINT in the fewest bytes; return where the next byte goes.
    cdef Py_ssize_t size = varint_size(value), i
    if size == 1:
        out[0] = <unsigned char>value
        return out + 1
    for i in range(size):
        out[i] = <unsigned char>(value >> 8 * (size - 1 - i))
    out[0] |= 0x40 if size == 2 else 0x80 if size == 4 else 0xC0
    return out + size


cdef inline bint take_varint(Cursor *cursor, int64_t *value) noexcept nogil:
    # Read a value and move on; False, with nothing moved, if it does not end before the end.
    cdef Py_ssize_t size, i
    if cursor.next == cursor.end:
        return False
    if cursor.next[0] < 0x40:
        value[0] = cursor.next[0]
        cursor.next += 1
        return True
    size = <Py_ssize_t>1 << (cursor.next[0] >> 6)
    if size > bytes_left(cursor):
        return False
    value[0] = cursor.next[0] & 0x3F
    for i in range(1, size):
        value[0] = value[0] << 8 | cursor.next[i]
    cursor.next += size
    return True


cdef inline const unsigned char *take_bytes(Cursor *cursor, int64_t size) noexcept nogil:
    # Return where the next `size` bytes are and move on; NULL if there are fewer.
    cdef const unsigned char *start = cursor.next
    if not 0 <= size <= bytes_left(cursor):
        return NULL
    cursor.next += size
    return start
