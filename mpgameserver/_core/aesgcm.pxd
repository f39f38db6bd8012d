# AES-128-GCM by the interpreter's own OpenSSL, called without Python.

cdef extern from "openssl.h":
    bint mpg_find_openssl(const char *path)
    void *mpg_new_cipher(const unsigned char *key)
    void mpg_free_cipher(void *cipher)
    bint mpg_seal(
        void *cipher, const unsigned char *nonce, const unsigned char *header, int header_size,
        const unsigned char *data, int size, unsigned char *out
    )
    bint mpg_open(
        void *cipher, const unsigned char *nonce, const unsigned char *header, int header_size,
        const unsigned char *data, int size, unsigned char *out
    )

cdef class NativeAesGcm:
    cdef void *_cipher

    cdef int seal(
        self, const unsigned char *nonce, const unsigned char *header, int header_size,
        const unsigned char *data, int size, unsigned char *out
    ) except -1
    cdef bint open(
        self, const unsigned char *nonce, const unsigned char *header, int header_size,
        const unsigned char *data, int size, unsigned char *out
    ) noexcept
