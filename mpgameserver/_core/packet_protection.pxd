# Sealed packets of protocol 2: header, number, mask, key phases.

from libc.stdint cimport int64_t, uint8_t

from mpgameserver._core.aead cimport Aead
from mpgameserver._core.aesgcm cimport BLOCK_SIZE, NativeBlockCipher
from mpgameserver._core.frames cimport CONNECTION_ID_SIZE
from mpgameserver._core.packet_header cimport NONCE_SIZE

cpdef enum:
    SEALED = 0x08             # the first byte's high bits
    MAX_NUMBER_SIZE = 4
    MAX_SEALED_HEADER = 13    # first byte, connection id, packet number
    MAX_PHASE_PACKETS = 1 << 23   # sealed under one key: RFC 9001 section 6.6

cdef struct SealedHeader:
    int64_t number            # the packet number, complete
    Py_ssize_t size
    uint8_t phase             # 0 or 1
    unsigned char data[MAX_SEALED_HEADER]   # without the mask: the associated data

cdef inline Py_ssize_t number_size(int64_t number, int64_t newest_acked) noexcept nogil:
    # The bytes that tell a number to a receiver that has acked `newest_acked`; 0 if none do.
    cdef int64_t distance = number - newest_acked
    cdef Py_ssize_t size
    for size in range(1, MAX_NUMBER_SIZE + 1):
        if distance <= <int64_t>1 << (8 * size - 1):
            return size
    return 0

cdef class PacketMask:
    cdef object _encryptor
    cdef NativeBlockCipher _native    # the same, where it is one that is called in C
    cdef bint compute(self, const unsigned char *tag, unsigned char *mask) except -1

cdef class PacketSealer:
    cdef readonly int64_t phase       # how many updates there were
    cdef readonly int64_t sealed      # packets under the key of this phase
    cdef object _secret
    cdef Aead _cipher
    cdef PacketMask _mask
    cdef unsigned char _iv[NONCE_SIZE]
    cdef int _take_secret(self, object secret) except -1
    cpdef int update(self) except -1
    cpdef int mix(self, bytes shared_secret) except -1
    cdef bytes seal_frames(
        self, bytes connection_id, int64_t number, int64_t newest_acked,
        const unsigned char *frames, Py_ssize_t size
    )

cdef class PacketOpener:
    cdef readonly int64_t phase       # that of the newest packet that was opened
    cdef object _secret, _next_secret
    cdef Aead _cipher, _previous, _next
    cdef PacketMask _mask
    cdef int64_t _phase_start         # the lowest number opened in it; 0: none
    cdef unsigned char _iv[NONCE_SIZE]
    cdef unsigned char _previous_iv[NONCE_SIZE]
    cdef unsigned char _next_iv[NONCE_SIZE]
    cdef bint unmask(
        self, bytes datagram, Py_ssize_t id_size, int64_t newest, SealedHeader *header
    ) except -1
    cdef Py_ssize_t open_frames(
        self, const SealedHeader *header, bytes datagram, unsigned char *out
    ) except? -1
    cdef bint _open_with(
        self, Aead cipher, const unsigned char *iv, const SealedHeader *header, bytes datagram,
        unsigned char *out
    ) except -1
    cdef int _prepare_next(self) except -1
    cdef int _advance_phase(self, int64_t number) except -1
    cpdef int mix(self, bytes shared_secret) except -1
    cpdef void forget_previous(self) noexcept
