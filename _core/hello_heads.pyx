"""Hellos under load: what is in them, told without an object for each field.

A flood is to cost a server little more than the reading of it. So while hellos are asked for
cookies, this reads of each what a RETRY takes, and checks all the rest. It takes no hello that
`wire.protocol2.hello` would not; what it does not take is read there, where it is refused with a
reason.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcmp

from zlib import crc32

from mpgameserver._core.bigendian cimport get16, get32
from mpgameserver._core.packet_header cimport (
    CLIENT_HELLO,
    CRC_SIZE,
    HEADER_SIZE,
    PacketFields,
    read_header,
)

__all__ = ["HelloHeads"]

cdef enum:
    # docs/protocol2.md, "The hello" and "The offer"
    HELLO2_SIZE = 1200
    HANDSHAKE_FORM = 4
    HELLO2_KIND = 1
    HEAD_SIZE = 3            # form, routing, kind
    ANY_WORKER = 255
    POINT_SIZE = 65
    POINT_FORM = 4           # uncompressed
    LONGEST_COOKIE = 32
    RANDOM_SIZE = 32
    HELLO_ID_SIZE = 8
    VERSION = 2
    ML_KEM = 1
    ENCAPSULATION_KEY_SIZE = 1184
    NUMBER_SIZE = 2          # of the message in a packet of protocol 1


@cython.final
@cython.no_gc
cdef class HelloHeads:
    """Reads hellos to a service of the name `audience`, and to `worker` or any.

    `start1` is how the message of a hello of version 1 begins, up to the point of the key, and
    `end1` what is between the point and the cookie in one with an offer.
    """

    def __cinit__(
        self, bytes audience not None, int worker, bytes start1 not None, bytes end1 not None
    ):
        self._audience, self._worker = audience, worker
        self._start1, self._end1 = start1, end1

    def read2(self, bytes datagram not None):
        """Return (client point, hello id, cookie) of a CLIENT_HELLO2; None if it is none."""
        cdef const unsigned char *data = _start(datagram)
        if PyBytes_GET_SIZE(datagram) != HELLO2_SIZE:
            return None
        if data[0] != HANDSHAKE_FORM or data[2] != HELLO2_KIND or (
            data[1] != self._worker and data[1] != ANY_WORKER
        ):
            return None
        return self._read(data + HEAD_SIZE, data + HEAD_SIZE + POINT_SIZE, data + HELLO2_SIZE)

    def read1(self, bytes datagram not None, Py_ssize_t least):
        """Return the same of a hello of version 1 with an offer, with a message of `least` bytes.
        """
        cdef const unsigned char *data = _start(datagram)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(datagram)
        cdef const unsigned char *message = data + HEADER_SIZE + NUMBER_SIZE
        cdef Py_ssize_t start = PyBytes_GET_SIZE(self._start1)
        cdef Py_ssize_t head = start + POINT_SIZE + PyBytes_GET_SIZE(self._end1)
        if size < HEADER_SIZE + NUMBER_SIZE + CRC_SIZE + max(least, head):
            return None
        if not _is_hello1(data, size) or (
            memcmp(message, _start(self._start1), start) != 0
            or memcmp(message + start + POINT_SIZE, _start(self._end1), head - start - POINT_SIZE)
        ):
            return None
        if crc32(datagram[:size - CRC_SIZE]) != get32(data + size - CRC_SIZE):
            return None
        return self._read(message + start, message + head, data + size - CRC_SIZE)

    cdef tuple _read(
        self, const unsigned char *point, const unsigned char *next, const unsigned char *end
    ):
        """Read the cookie and the offer from `next` on."""
        cdef const unsigned char *cookie = next + 1
        cdef Py_ssize_t cookie_size = next[0] if next < end else LONGEST_COOKIE + 1
        cdef Py_ssize_t size
        if point[0] != POINT_FORM or cookie_size > LONGEST_COOKIE or end - cookie < cookie_size + 2:
            return None
        next = cookie + cookie_size + 2
        size = get16(next - 2)
        if end - next < size or not _is_offer(next, size, self._audience):
            return None
        return (
            PyBytes_FromStringAndSize(<const char *>point, POINT_SIZE),
            PyBytes_FromStringAndSize(<const char *>next, HELLO_ID_SIZE),
            PyBytes_FromStringAndSize(<const char *>cookie, cookie_size),
        )


cdef inline const unsigned char *_start(bytes data) noexcept:
    return <const unsigned char *>PyBytes_AS_STRING(data)


cdef bint _is_hello1(const unsigned char *data, Py_ssize_t size) noexcept:
    """Return True for the header, and the message number, of a clear packet with a hello."""
    cdef PacketFields fields
    return (
        read_header(data, size, &fields)
        and not fields.from_server
        and fields.packet_type == CLIENT_HELLO
        and fields.count == 1
        and fields.length == size - HEADER_SIZE - CRC_SIZE
        and fields.seq != 0
        and get16(data + HEADER_SIZE) != 0
    )


cdef bint _is_offer(const unsigned char *data, Py_ssize_t size, bytes audience) noexcept:
    """Return True for an offer of version 2 to this audience."""
    cdef Py_ssize_t versions, name
    if size < RANDOM_SIZE + 1:
        return False
    versions = data[RANDOM_SIZE]
    data += RANDOM_SIZE + 1
    size -= RANDOM_SIZE + 1
    if size < versions + 1 or not _has_version(data, versions):
        return False
    name = data[versions]
    data += versions + 1
    size -= versions + 1
    if size < name + 2 or name != PyBytes_GET_SIZE(audience) or memcmp(
        data, _start(audience), name
    ):
        return False
    return get16(data + name) == size - name - 2 and _are_extensions(
        data + name + 2, size - name - 2
    )


cdef bint _has_version(const unsigned char *versions, Py_ssize_t count) noexcept:
    """Return True for versions that ascend, with 2 among them."""
    cdef bint found = False
    cdef Py_ssize_t i
    for i in range(count):
        if i and versions[i] <= versions[i - 1]:
            return False
        found |= versions[i] == VERSION
    return found


cdef bint _are_extensions(const unsigned char *data, Py_ssize_t size) noexcept:
    """Return True for extensions whose types ascend, with a key of ML-KEM's size if any."""
    cdef int kind, newest = -1
    cdef Py_ssize_t length
    while size:
        if size < 4:
            return False
        kind, length = get16(data), get16(data + 2)
        if kind <= newest or length > size - 4 or (
            kind == ML_KEM and length != ENCAPSULATION_KEY_SIZE
        ):
            return False
        newest = kind
        data += 4 + length
        size -= 4 + length
    return True
