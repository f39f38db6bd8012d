"""The packet under construction.

It is on the stack of the call that assembles it and is passed down, never stored on the connection:
a garbage collection can run any code in the middle of that call, for instance when a list is
created, and that code may ask the same connection for a datagram.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcpy, memmove

from mpgameserver._core.fragmenter cimport FragmentHeader, write_fragment_header
from mpgameserver._core.packet cimport (
    FRAGMENT_HEADER,
    SHARED_OVERHEAD,
    SINGLE_OVERHEAD,
    write_shared_head,
)
from mpgameserver._core.packet_cipher cimport borrow_buffer, give_back_buffer
from mpgameserver._core.packet_header cimport KEEP_ALIVE
from mpgameserver._core.seqnum cimport to_wire

__all__ = []


cdef int begin_packet(PacketBuilder *packet, Py_ssize_t limit) except -1:
    """Start an empty packet whose payload has at most `limit` bytes; `end_packet` must follow."""
    packet.limit = limit
    packet.size = 0
    packet.count = 0
    packet.packet_type = KEEP_ALIVE
    packet.is_probe = False
    packet.contents = NULL
    packet.buffer = borrow_buffer()
    return 0


cdef void end_packet(PacketBuilder *packet) noexcept:
    """Give back the buffer, and release the contents."""
    cdef PyObject *contents = packet.contents
    packet.contents = NULL
    give_back_buffer(packet.buffer)
    Py_XDECREF(contents)


cdef int put_message(PacketBuilder *packet, Message message) except -1:
    """Append a message, with the header of one that shares its packet.

    Raises SystemError, and writes nothing, if the message does not fit. The limit allows for a
    message that is alone, whose header is shorter.
    """
    cdef FragmentHeader fragment
    cdef unsigned char *out = packet.buffer + packet.size
    cdef bytes data = message.data
    cdef uint32_t size = message.wire_size()
    if (
        data is None
        or <Py_ssize_t>message.offset + message.size > PyBytes_GET_SIZE(data)
        or packet.size + size > packet.limit
    ):
        raise SystemError(f"a message of {size} bytes does not fit into its packet")
    write_shared_head(out, size, to_wire(message.number), message.message_type)
    out += SHARED_OVERHEAD
    if message.parent is not None:
        fragment.number = message.parent.number
        fragment.index = message.index
        fragment.count = message.parent.count
        write_fragment_header(out, &fragment)
        out += FRAGMENT_HEADER
    memcpy(out, PyBytes_AS_STRING(data) + message.offset, message.size)
    if packet.count == 0:
        packet.packet_type = message.message_type
    packet.size += SHARED_OVERHEAD + size
    packet.count += 1
    return 0


cdef void put_empty(PacketBuilder *packet, int64_t number, uint8_t message_type) noexcept:
    """Put a message without bytes into an empty packet."""
    write_shared_head(packet.buffer, 0, to_wire(number), message_type)
    packet.packet_type = message_type
    packet.size = SHARED_OVERHEAD
    packet.count = 1


cdef int remember_message(PacketBuilder *packet, Message message) except -1:
    """Add a message to the contents that the sent window remembers."""
    if packet.contents == NULL:
        _own(packet, message)
    elif type(<object>packet.contents) is Message:
        _own(packet, [<object>packet.contents, message])
    else:
        (<list?>packet.contents).append(message)
    return 0


cdef int _own(PacketBuilder *packet, object contents) except -1:
    cdef PyObject *displaced = packet.contents
    Py_INCREF(contents)
    packet.contents = <PyObject *>contents
    Py_XDECREF(displaced)
    return 0


cdef const unsigned char *finish_payload(PacketBuilder *packet) except NULL:
    """Return the payload to be sealed, of `size` bytes; a lone message gets its shorter header.

    May be called once, after the last message.
    """
    cdef unsigned char *start = packet.buffer
    if packet.count == 1:
        packet.size -= SHARED_OVERHEAD - SINGLE_OVERHEAD
        start += SHARED_OVERHEAD - SINGLE_OVERHEAD
        memmove(start, packet.buffer + 2, SINGLE_OVERHEAD)
    return start
