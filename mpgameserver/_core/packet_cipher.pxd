# Sealing and opening packets, and the buffers for their payloads.

from mpgameserver._core.aead cimport Aead

cdef enum:
    # Packets of both sides together, under one key. With packets of at most 2^11 bytes it keeps an
    # attacker's advantage below 2^-57: RFC 9001, appendix B.1.1; SP 800-38D, section 8.3.
    MAX_KEY_PACKETS = 1 << 28
    BUFFER_SIZE = 65536 + 64  # any payload, and room for the longer header of a lone message


cdef unsigned char *borrow_buffer() except NULL
cdef void give_back_buffer(unsigned char *buffer) noexcept
cdef bytes seal_packet(
    Aead cipher, const unsigned char *header, const unsigned char *payload, Py_ssize_t size
)
cdef bint open_packet(Aead cipher, bytes datagram, unsigned char *payload) except -1
