# AES-128-GCM by the interpreter's own OpenSSL, called without Python.

cdef extern from "openssl.h":
    ctypedef struct MpgCipher:
        pass
    bint mpg_find_openssl(const char *path)
    unsigned long mpg_openssl_number()
    const char *mpg_openssl_name()
    MpgCipher *mpg_new_cipher(const unsigned char *key)
    void mpg_free_cipher(MpgCipher *cipher)
    bint mpg_seal(
        MpgCipher *cipher, const unsigned char *nonce, const unsigned char *header, int header_size,
        const unsigned char *data, int size, unsigned char *out
    )
    bint mpg_open(
        MpgCipher *cipher, const unsigned char *nonce, const unsigned char *header, int header_size,
        const unsigned char *data, int size, unsigned char *out
    )

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
