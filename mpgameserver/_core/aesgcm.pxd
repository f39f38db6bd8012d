# AES-128 by the interpreter's own OpenSSL, called without Python.

cdef extern from "openssl.h":
    ctypedef struct MpgCipher:
        pass
    bint mpg_find_openssl(const char *path)
    unsigned long mpg_openssl_number()
    const char *mpg_openssl_name()
    MpgCipher *mpg_new_cipher(const unsigned char *key)
    MpgCipher *mpg_new_block_cipher(const unsigned char *key)
    bint mpg_encrypt_block(MpgCipher *cipher, const unsigned char *data, unsigned char *out)
    void mpg_free_cipher(MpgCipher *cipher)
    bint mpg_seal(
        MpgCipher *cipher, const unsigned char *nonce, const unsigned char *header, int header_size,
        const unsigned char *data, int size, unsigned char *out
    )
    bint mpg_open(
        MpgCipher *cipher, const unsigned char *nonce, const unsigned char *header, int header_size,
        const unsigned char *data, int size, unsigned char *out
    )

cpdef enum:
    KEY_SIZE = 16
    BLOCK_SIZE = 16

cdef class NativeAesGcm:
    cdef MpgCipher *_cipher

    cdef bint seal(
        self, const unsigned char *nonce, const unsigned char *header, int header_size,
        const unsigned char *data, int size, unsigned char *out
    ) noexcept
    cdef bint open(
        self, const unsigned char *nonce, const unsigned char *header, int header_size,
        const unsigned char *data, int size, unsigned char *out
    ) noexcept


cdef class NativeBlockCipher:
    cdef MpgCipher *_cipher

    cdef bint encrypt_block(self, const unsigned char *data, unsigned char *out) noexcept
