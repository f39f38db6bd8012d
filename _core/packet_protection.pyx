"""Sealing and opening packets of protocol 2: docs/protocol2.md, "Sealed packets".

Each direction has keys of its own. The nonce is the IV with the packet number in it, which never
repeats, and the number travels truncated and masked, so that nobody on the path can tell packets
of one session apart from those of another by counting.

A sender goes on to its next key now and then; the phase bit says so. The receiver derives the next
key when the first packet of the other phase claims to be newer, once, and goes on to it only when a
packet has opened under it: a forger can cause one derivation per phase. Packets that were overtaken
by the update still open under the previous key, until the owner forgets it.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from mpgameserver._core.bigendian cimport put32
from mpgameserver._core.packet_cipher cimport BUFFER_SIZE, borrow_buffer, give_back_buffer
from mpgameserver._core.packet_header cimport TAG_SIZE
from mpgameserver._core.varint cimport MAX_VARINT

from mpgameserver.errors import PacketError

__all__ = ["PacketMask", "PacketOpener", "PacketSealer"]

cdef enum:
    FORM_MASK = 0xF8      # of the first byte: the bits that say that a packet is sealed
    MASKED_BITS = 0x07
    PHASE_SHIFT = 2
    NUMBER_SIZE_MASK = 0x03
    LEAST_FRAMES = 1      # bytes: a packet has at least one frame


cdef inline int64_t expand_number(
    int64_t truncated, Py_ssize_t size, int64_t newest
) noexcept nogil:
    """Return the packet number nearest to the one after `newest` (RFC 9000 appendix A.3)."""
    cdef int64_t window = <int64_t>1 << 8 * size
    cdef int64_t expected = newest + 1
    cdef int64_t candidate = (expected & ~(window - 1)) | truncated
    if candidate <= expected - window // 2 and candidate + window <= MAX_VARINT:
        return candidate + window
    if candidate > expected + window // 2 and candidate >= window:
        return candidate - window
    return candidate


cdef inline void make_nonce(
    unsigned char *nonce, const unsigned char *iv, int64_t number
) noexcept nogil:
    cdef uint64_t word, last
    put32(nonce + NONCE_SIZE - 8, <uint32_t>(number >> 32))
    put32(nonce + NONCE_SIZE - 4, <uint32_t>number)
    memcpy(&word, nonce + NONCE_SIZE - 8, 8)
    memcpy(&last, iv + NONCE_SIZE - 8, 8)
    word ^= last
    memcpy(nonce, iv, NONCE_SIZE - 8)
    memcpy(nonce + NONCE_SIZE - 8, &word, 8)


@cython.final
@cython.no_gc
cdef class PacketMask:
    """The mask of one direction's headers: the block that the tag becomes under the mask key.

    `encryptor` is a `NativeBlockCipher`, or an encryptor of AES-ECB as `cryptography` has it.
    """

    def __cinit__(self, encryptor):
        self._encryptor = encryptor
        self._native = encryptor if type(encryptor) is NativeBlockCipher else None

    cdef bint compute(self, const unsigned char *tag, unsigned char *mask) except -1:
        """Write the block for a tag to `mask`; False if the cipher fails."""
        cdef bytes block
        if self._native is not None:
            return self._native.encrypt_block(tag, mask)
        block = self._encryptor.update(PyBytes_FromStringAndSize(<const char *>tag, BLOCK_SIZE))
        if PyBytes_GET_SIZE(block) != BLOCK_SIZE:
            raise ValueError(f"the cipher has returned {block!r}; expected {BLOCK_SIZE} bytes")
        memcpy(mask, PyBytes_AS_STRING(block), BLOCK_SIZE)
        return True


cdef void apply_mask(
    unsigned char *first, unsigned char *number, Py_ssize_t size, const unsigned char *mask
) noexcept nogil:
    """Mask the number's bytes, and the first byte's low bits; twice takes the mask off."""
    cdef Py_ssize_t i
    first[0] ^= mask[0] & MASKED_BITS
    for i in range(size):
        number[i] ^= mask[1 + i]


@cython.final
cdef class PacketSealer:
    """Seals the packets of one direction.

    `secret` is that of the first phase: it has `cipher()`, an AEAD as `Aead` takes it, `iv` of 12
    bytes, `next()`, the secret of the next phase, and `mixed_with(shared_secret)`, whose `next()`
    depends on that too. `mask` is the direction's `PacketMask`.
    """

    def __cinit__(self, secret, PacketMask mask not None):
        self._mask = mask
        self._take_secret(secret)

    cdef int _take_secret(self, object secret) except -1:
        self._cipher = Aead(secret.cipher())
        read_iv(self._iv, secret.iv)
        self._secret = secret
        self.sealed = 0
        return 0

    cpdef int update(self) except -1:
        """Go on to the next key; the owner knows that the peer has acked the current phase."""
        self._take_secret(self._secret.next())
        self.phase += 1
        return 0

    cpdef int mix(self, bytes shared_secret) except -1:
        """Have the next key depend on a secret that both sides share."""
        self._secret = self._secret.mixed_with(shared_secret)
        return 0

    cdef bytes seal_frames(
        self, bytes connection_id, int64_t number, int64_t newest_acked,
        const unsigned char *frames, Py_ssize_t size
    ):
        """Return the datagram with these frames; `connection_id` is empty towards a client.

        Returns None if the cipher fails, if the key belongs to another process, or if the peer
        could not tell the number.
        """
        cdef Py_ssize_t id_size = PyBytes_GET_SIZE(connection_id)
        cdef Py_ssize_t width = number_size(number, newest_acked)
        cdef Py_ssize_t head = 1 + id_size + width
        cdef unsigned char nonce[NONCE_SIZE]
        cdef unsigned char mask[BLOCK_SIZE]
        cdef unsigned char *out
        cdef bytes datagram
        cdef Py_ssize_t i
        if not LEAST_FRAMES <= size <= BUFFER_SIZE or id_size > CONNECTION_ID_SIZE:
            raise SystemError(f"{size} bytes of frames, an id of {id_size} bytes")
        if width == 0 or self.sealed >= MAX_PHASE_PACKETS:
            return None
        datagram = PyBytes_FromStringAndSize(NULL, head + size + TAG_SIZE)
        out = <unsigned char *>PyBytes_AS_STRING(datagram)
        out[0] = <unsigned char>(SEALED | (self.phase & 1) << PHASE_SHIFT | (width - 1))
        memcpy(out + 1, PyBytes_AS_STRING(connection_id), id_size)
        for i in range(width):
            out[head - 1 - i] = <unsigned char>(number >> 8 * i)
        make_nonce(nonce, self._iv, number)
        self.sealed += 1
        if not self._cipher.seal(nonce, out, head, frames, size, out + head):
            return None
        if not self._mask.compute(out + head + size, mask):
            return None
        apply_mask(out, out + 1 + id_size, width, mask)
        return datagram

    def seal(self, bytes connection_id not None, int64_t number, int64_t newest_acked,
             bytes frames not None):
        """Return the datagram with these frames, to a server with a connection id of 8 bytes.

        Raises ValueError for a number outside 1...2**62 - 1 or one that the peer, which has acked
        `newest_acked`, could not tell, and for other sizes of `connection_id` than 0 and 8 and of
        `frames` than 1...65,536 bytes.
        """
        cdef Py_ssize_t size = PyBytes_GET_SIZE(frames)
        if PyBytes_GET_SIZE(connection_id) not in (0, CONNECTION_ID_SIZE):
            raise ValueError(f"a connection id of {len(connection_id)} bytes")
        if not LEAST_FRAMES <= size <= BUFFER_SIZE:
            raise ValueError(f"{size} bytes of frames")
        if not 0 <= newest_acked < number <= MAX_VARINT or number_size(number, newest_acked) == 0:
            raise ValueError(f"a packet number of {number}, with {newest_acked} acked")
        return self.seal_frames(
            connection_id, number, newest_acked, <const unsigned char *>PyBytes_AS_STRING(frames),
            size,
        )


@cython.final
cdef class PacketOpener:
    """Opens the packets of one direction; for `secret` and `mask` see `PacketSealer`."""

    def __cinit__(self, secret, PacketMask mask not None):
        self._mask = mask
        self._secret = secret
        self._cipher = Aead(secret.cipher())
        read_iv(self._iv, secret.iv)

    cdef bint unmask(
        self, bytes datagram, Py_ssize_t id_size, int64_t newest, SealedHeader *header
    ) except -1:
        """Read the header of a datagram; False if it is too short, or not sealed.

        `newest` is the newest packet number that was opened, `id_size` the length of the
        connection id, which the owner has compared.
        """
        cdef unsigned char *data = <unsigned char *>PyBytes_AS_STRING(datagram)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(datagram)
        cdef Py_ssize_t width, i
        cdef unsigned char mask[BLOCK_SIZE]
        cdef int64_t truncated = 0
        if size < 1 + id_size + 1 + LEAST_FRAMES + TAG_SIZE or data[0] & FORM_MASK != SEALED:
            return False
        if not self._mask.compute(data + size - TAG_SIZE, mask):
            return False
        width = ((data[0] ^ mask[0]) & NUMBER_SIZE_MASK) + 1
        header.size = 1 + id_size + width
        if size < header.size + LEAST_FRAMES + TAG_SIZE:
            return False
        memcpy(header.data, data, header.size)
        apply_mask(header.data, header.data + 1 + id_size, width, mask)
        for i in range(width):
            truncated = truncated << 8 | header.data[1 + id_size + i]
        header.phase = header.data[0] >> PHASE_SHIFT & 1
        header.number = expand_number(truncated, width, newest)
        return 0 < header.number <= MAX_VARINT

    cdef Py_ssize_t open_frames(
        self, const SealedHeader *header, bytes datagram, unsigned char *out
    ) except? -1:
        """Write the frames of an unmasked datagram to `out`; return their size, -1 if forged."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(datagram) - header.size - TAG_SIZE
        if size > BUFFER_SIZE:
            return -1
        if header.phase == self.phase & 1:
            if not self._open_with(self._cipher, self._iv, header, datagram, out):
                return -1
            if self._phase_start == 0 or header.number < self._phase_start:
                self._phase_start = header.number
        elif header.number < self._phase_start:
            if self._previous is None or not self._open_with(
                self._previous, self._previous_iv, header, datagram, out
            ):
                return -1
        else:
            self._prepare_next()
            if not self._open_with(self._next, self._next_iv, header, datagram, out):
                return -1
            self._advance_phase(header.number)
        return size

    cdef bint _open_with(
        self, Aead cipher, const unsigned char *iv, const SealedHeader *header, bytes datagram,
        unsigned char *out
    ) except -1:
        cdef unsigned char nonce[NONCE_SIZE]
        cdef const unsigned char *data = <const unsigned char *>PyBytes_AS_STRING(datagram)
        make_nonce(nonce, iv, header.number)
        return cipher.open(
            nonce, header.data, header.size, data + header.size,
            PyBytes_GET_SIZE(datagram) - header.size - TAG_SIZE, out,
        )

    cdef int _prepare_next(self) except -1:
        if self._next is None:
            self._next_secret = self._secret.next()
            read_iv(self._next_iv, self._next_secret.iv)
            self._next = Aead(self._next_secret.cipher())
        return 0

    cdef int _advance_phase(self, int64_t number) except -1:
        """Make the next key the current one: a packet has opened under it."""
        memcpy(self._previous_iv, self._iv, NONCE_SIZE)
        memcpy(self._iv, self._next_iv, NONCE_SIZE)
        self._previous, self._cipher, self._next = self._cipher, self._next, None
        self._secret, self._next_secret = self._next_secret, None
        self._phase_start = number
        self.phase += 1
        return 0

    cpdef int mix(self, bytes shared_secret) except -1:
        """Have the next key depend on a secret that both sides share."""
        self._secret = self._secret.mixed_with(shared_secret)
        self._next = self._next_secret = None  # a forged packet may have claimed the other phase
        return 0

    cpdef void forget_previous(self) noexcept:
        """Open nothing more of the previous phase."""
        self._previous = None

    def open(self, bytes datagram not None, Py_ssize_t id_size, int64_t newest):
        """Return (packet number, frames) of a datagram.

        `id_size` is 8 for a datagram to a server, 0 for one to a client; `newest` the newest
        packet number that was opened before.

        Raises ValueError for other values, and PacketError for a datagram that is not a sealed
        packet, or does not open.
        """
        cdef SealedHeader header
        cdef unsigned char *out
        cdef Py_ssize_t size
        if id_size not in (0, CONNECTION_ID_SIZE) or not 0 <= newest <= MAX_VARINT:
            raise ValueError(f"an id of {id_size} bytes, {newest} as the newest number")
        if not self.unmask(datagram, id_size, newest, &header):
            raise PacketError(f"not a sealed packet: {len(datagram)} bytes")
        out = borrow_buffer()
        try:
            size = self.open_frames(&header, datagram, out)
            if size < 0:
                raise PacketError(f"packet {header.number} does not open")
            return header.number, PyBytes_FromStringAndSize(<const char *>out, size)
        finally:
            give_back_buffer(out)


cdef int read_iv(unsigned char *out, bytes iv) except -1:
    if iv is None or PyBytes_GET_SIZE(iv) != NONCE_SIZE:
        raise ValueError(f"an IV of {NONCE_SIZE} bytes was expected, not {iv!r}")
    memcpy(out, PyBytes_AS_STRING(iv), NONCE_SIZE)
    return 0
