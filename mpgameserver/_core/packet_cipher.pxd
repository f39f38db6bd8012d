# Sealing and opening packets, and the buffers for their payloads.

from mpgameserver._core.aead cimport Aead

cdef enum:
    # Of both sides together, under one key. With packets of at most 2^11 bytes it keeps what an
    # attacker may gain below 2^-57: RFC 9001, appendix B.1.1, after SP 800-38D, section 8.3.
    MAX_KEY_PACKETS = 1 << 28
    BUFFER_SIZE = 65536 + 64  # any payload, and the head of its first message before it


cdef unsigned char *borrow_buffer() except NULL
cdef void give_back_buffer(unsigned char *buffer) noexcept
cdef bytes seal_packet(
    Aead cipher, const unsigned char *header, const unsigned char *payload, Py_ssize_t size
)
cdef bint open_packet(Aead cipher, bytes datagram, unsigned char *payload) except -1
