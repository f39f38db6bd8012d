# The payload of a packet: none, one or many messages. Sizes follow from the MTU.

from libc.stdint cimport uint8_t, uint16_t

cpdef enum:
    SINGLE_OVERHEAD = 2    # message number, of a message alone in its packet
    SHARED_OVERHEAD = 5    # length, message number and type, of each of two or more
    FRAGMENT_HEADER = 6    # fragmented-message number, index, count
    PREFERRED_FRAGMENT = 1024  # leaves room in its datagram for a game's small messages
    MAX_FRAGMENTS = 8192
    MIN_MTU = 512          # a SERVER_HELLO (341 bytes) is never larger than the hello
    IPV4_UDP_HEADER = 28   # bytes of the IP and UDP headers
    IPV6_UDP_HEADER = 48

# The position of one message in a payload.
cdef struct MessageView:
    const unsigned char *data
    uint16_t size
    uint16_t seq
    uint8_t message_type

# A cursor over the messages of a payload that `payload_is_valid` has checked.
cdef struct PayloadReader:
    const unsigned char *next
    Py_ssize_t size
    uint8_t count
    uint8_t packet_type


cdef bint payload_is_valid(
    const unsigned char *data, Py_ssize_t size, uint8_t count
) noexcept nogil
cdef void read_message(PayloadReader *reader, MessageView *view) noexcept nogil
cdef void write_shared_head(
    unsigned char *out, uint16_t size, uint16_t seq, uint8_t message_type
) noexcept nogil
cdef Py_ssize_t max_payload(Py_ssize_t max_datagram) noexcept nogil
cdef Py_ssize_t max_fragment(Py_ssize_t payload_limit) noexcept nogil
cdef Py_ssize_t max_message(Py_ssize_t payload_limit) noexcept nogil
