# The packet under construction: its payload in a borrowed buffer, and the messages in it.

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t

from mpgameserver._core.message cimport Message

cdef struct PacketBuilder:
    unsigned char *buffer  # borrowed until `end_packet`
    Py_ssize_t limit, size  # of the payload, as messages that share a packet are written
    uint8_t count          # of messages
    uint8_t packet_type    # of the first one
    bint is_probe          # a probe of the path's size, which is not in flight
    PyObject *contents     # owned: the message, or list of messages, to remember; NULL: none

cdef int begin_packet(PacketBuilder *packet, Py_ssize_t limit) except -1
cdef void end_packet(PacketBuilder *packet) noexcept
cdef int put_message(PacketBuilder *packet, Message message) except -1
cdef void put_empty(PacketBuilder *packet, int64_t number, uint8_t message_type) noexcept
cdef int remember_message(PacketBuilder *packet, Message message) except -1
cdef const unsigned char *finish_payload(PacketBuilder *packet) except NULL
