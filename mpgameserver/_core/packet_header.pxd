# The 20-byte packet header, encoded and decoded.

from libc.stdint cimport uint8_t, uint16_t, uint32_t

cpdef enum:
    HEADER_SIZE = 20
    TYPE_OFFSET = 12
    NONCE_SIZE = 12     # the first bytes of the header: identifier, send time, packet number
    TAG_SIZE = 16       # AES-128-GCM
    CRC_SIZE = 4
    ACK_BITS = 32       # an ack reports its number and the 32 below it
    MAX_MESSAGES = 255  # the count is one byte

# The message and packet types of enums.PacketType.
cpdef enum:
    CLIENT_HELLO = 1
    SERVER_HELLO = 2
    CHALLENGE_RESP = 3
    KEEP_ALIVE = 4
    DISCONNECT = 5
    APP = 6
    APP_FRAGMENT = 7

cdef struct PacketFields:
    uint32_t time       # whole seconds, Unix time at the sender
    uint32_t ack_bits   # bit 31: ack - 1 was received, ... bit 0: ack - 32
    uint16_t seq
    uint16_t ack
    uint16_t length     # of the payload, without tag or CRC
    uint8_t packet_type
    uint8_t count       # of messages
    bint from_server


cdef void write_header(unsigned char *out, const PacketFields *fields) noexcept nogil
cdef bint read_header(
    const unsigned char *data, Py_ssize_t size, PacketFields *fields
) noexcept nogil
