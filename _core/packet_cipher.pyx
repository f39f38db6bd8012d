"""Sealing and opening packets: AES-128-GCM, with the header as associated data.

The nonce is the first 12 bytes of the header. A payload is in a buffer that is borrowed for one
call, because thousands of connections would need too many of their own. Two calls never share one:
an AEAD in Python may run any code.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.string cimport memcpy

from mpgameserver._core.packet_header cimport HEADER_SIZE, TAG_SIZE

__all__ = []

cdef enum:
    SPARE_BUFFERS = 4  # calls are rarely nested, and never deeply

cdef unsigned char *_spare[SPARE_BUFFERS]
cdef int _spare_count = 0


cdef unsigned char *borrow_buffer() except NULL:
    """Return a buffer of `BUFFER_SIZE` bytes, to be given back at the end of the call."""
    global _spare_count
    cdef unsigned char *buffer
    if _spare_count:
        _spare_count -= 1
        return _spare[_spare_count]
    buffer = <unsigned char *>PyMem_Malloc(BUFFER_SIZE)
    if buffer == NULL:
        raise MemoryError
    return buffer


cdef void give_back_buffer(unsigned char *buffer) noexcept:
    global _spare_count
    if _spare_count < SPARE_BUFFERS:
        _spare[_spare_count] = buffer
        _spare_count += 1
    else:
        PyMem_Free(buffer)


cdef bytes seal_packet(
    Aead cipher, const unsigned char *header, const unsigned char *payload, Py_ssize_t size
):
    """Return the datagram: the header and the encrypted payload of `size` bytes.

    Returns None if the cipher fails or the key belongs to another process; the session treats the
    packet as lost.
    """
    cdef bytes datagram
    cdef unsigned char *out
    if not 0 <= size <= BUFFER_SIZE:
        raise SystemError(f"a payload of {size} bytes")
    datagram = PyBytes_FromStringAndSize(NULL, HEADER_SIZE + size + TAG_SIZE)
    out = <unsigned char *>PyBytes_AS_STRING(datagram)
    memcpy(out, header, HEADER_SIZE)
    if cipher.seal(header, header, HEADER_SIZE, payload, size, out + HEADER_SIZE):
        return datagram
    return None


cdef bint open_packet(Aead cipher, bytes datagram, unsigned char *payload) except -1:
    """Decrypt the payload of a datagram into a buffer; return False if it is not authentic.

    Datagrams that are too small for a header and a tag, or larger than the buffer, are not.
    """
    cdef const unsigned char *data = <const unsigned char *>PyBytes_AS_STRING(datagram)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(datagram) - HEADER_SIZE
    if not TAG_SIZE <= size <= BUFFER_SIZE:
        return False
    return cipher.open(data, data, HEADER_SIZE, data + HEADER_SIZE, size - TAG_SIZE, payload)
