/* AES-128, with GCM or block by block, by the libcrypto that the interpreter itself has loaded
 * (EVP_EncryptInit(3)).
 *
 * Its functions are looked up in what a loaded library depends on: nothing is linked, and nothing
 * is loaded that was not. Their prototypes are those of openssl/evp.h and openssl/crypto.h from
 * 1.1.0 on, with the tags that OpenSSL gives its structures. MPG_OPENSSL=0 is what Windows has,
 * where nobody has tried it. */
#ifndef MPG_OPENSSL
#ifdef _WIN32
#define MPG_OPENSSL 0
#else
#define MPG_OPENSSL 1
#endif
#endif

#include "wipe.h"

typedef struct evp_cipher_ctx_st MpgCipher; /* EVP_CIPHER_CTX */

#if !MPG_OPENSSL
static int mpg_find_openssl(const char *path) { (void)path; return 0; }
static unsigned long mpg_openssl_number(void) { return 0; }
static const char *mpg_openssl_name(void) { return ""; }
static MpgCipher *mpg_new_cipher(const unsigned char *key) { (void)key; return NULL; }
static MpgCipher *mpg_new_block_cipher(const unsigned char *key) { (void)key; return NULL; }
static int mpg_encrypt_block(MpgCipher *c, const unsigned char *d, unsigned char *o)
    { (void)c; (void)d; (void)o; return 0; }
static void mpg_free_cipher(MpgCipher *c) { (void)c; }
static int mpg_seal(MpgCipher *c, const unsigned char *n, const unsigned char *h, int hs,
                    const unsigned char *d, int s, unsigned char *o)
    { (void)c; (void)n; (void)h; (void)hs; (void)d; (void)s; (void)o; return 0; }
static int mpg_open(MpgCipher *c, const unsigned char *n, const unsigned char *h, int hs,
                    const unsigned char *d, int s, unsigned char *o)
    { (void)c; (void)n; (void)h; (void)hs; (void)d; (void)s; (void)o; return 0; }
#else
#include <dlfcn.h>

#define MPG_TAG_SIZE 16
#define MPG_GET_TAG 0x10 /* EVP_CTRL_AEAD_GET_TAG and _SET_TAG of openssl/evp.h */
#define MPG_SET_TAG 0x11
#define MPG_VERSION_TEXT 0 /* OPENSSL_VERSION of openssl/crypto.h */

typedef struct evp_cipher_st MpgAlgorithm; /* EVP_CIPHER */

struct mpg_functions {
    unsigned long (*version_number)(void);
    const char *(*version_text)(int);
    MpgCipher *(*new_context)(void);
    void (*free_context)(MpgCipher *);
    const MpgAlgorithm *(*aes_128_gcm)(void);
    const MpgAlgorithm *(*aes_128_ecb)(void);
    int (*init)(MpgCipher *, const MpgAlgorithm *, const unsigned char *, const unsigned char *,
                int);
    int (*update)(MpgCipher *, unsigned char *, int *, const unsigned char *, int);
    int (*final)(MpgCipher *, unsigned char *, int *);
    int (*control)(MpgCipher *, int, int, void *);
    void (*clear_errors)(void);
};

/* All of them, or none. */
static struct mpg_functions mpg_openssl;

/* Look the functions up in the library at this path, which is loaded; 0 where one is missing. */
static int mpg_find_openssl(const char *path)
{
    struct mpg_functions found;
    void *library = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    if (library == NULL)
        return 0;
    /* POSIX lets dlsym name functions; ISO C has no cast from its void pointer. */
    *(void **)&found.version_number = dlsym(library, "OpenSSL_version_num");
    *(void **)&found.version_text = dlsym(library, "OpenSSL_version");
    *(void **)&found.new_context = dlsym(library, "EVP_CIPHER_CTX_new");
    *(void **)&found.free_context = dlsym(library, "EVP_CIPHER_CTX_free");
    *(void **)&found.aes_128_gcm = dlsym(library, "EVP_aes_128_gcm");
    *(void **)&found.aes_128_ecb = dlsym(library, "EVP_aes_128_ecb");
    *(void **)&found.init = dlsym(library, "EVP_CipherInit");
    *(void **)&found.update = dlsym(library, "EVP_CipherUpdate");
    *(void **)&found.final = dlsym(library, "EVP_CipherFinal_ex");
    *(void **)&found.control = dlsym(library, "EVP_CIPHER_CTX_ctrl");
    *(void **)&found.clear_errors = dlsym(library, "ERR_clear_error");
    if (!(found.version_number && found.version_text && found.new_context &&
          found.free_context && found.aes_128_gcm && found.aes_128_ecb && found.init &&
          found.update && found.final && found.control && found.clear_errors))
        return 0;
    mpg_openssl = found;
    return 1;
}

/* The version as OPENSSL_VERSION_NUMBER has it; 0 where there is no library. */
static unsigned long mpg_openssl_number(void)
{
    return mpg_openssl.version_number == NULL ? 0 : mpg_openssl.version_number();
}

/* The library and its version, as it names itself. */
static const char *mpg_openssl_name(void)
{
    return mpg_openssl.version_text == NULL ? "" : mpg_openssl.version_text(MPG_VERSION_TEXT);
}

/* A cipher with a key of 16 bytes; NULL where there is none. */
static MpgCipher *mpg_new_cipher_of(const MpgAlgorithm *(*algorithm)(void),
                                    const unsigned char *key)
{
    MpgCipher *cipher;
    if (mpg_openssl.new_context == NULL)
        return NULL;
    cipher = mpg_openssl.new_context();
    if (cipher != NULL && mpg_openssl.init(cipher, algorithm(), key, NULL, 1))
        return cipher;
    mpg_openssl.free_context(cipher); /* does nothing for NULL */
    mpg_openssl.clear_errors();
    return NULL;
}

static MpgCipher *mpg_new_cipher(const unsigned char *key)
{
    return mpg_new_cipher_of(mpg_openssl.aes_128_gcm, key);
}

static MpgCipher *mpg_new_block_cipher(const unsigned char *key)
{
    return mpg_new_cipher_of(mpg_openssl.aes_128_ecb, key);
}

/* Encrypt 16 bytes, each block for itself; 0 when the library fails. */
static int mpg_encrypt_block(MpgCipher *cipher, const unsigned char *data, unsigned char *out)
{
    int written;
    if (mpg_openssl.update(cipher, out, &written, data, 16) && written == 16)
        return 1;
    mpg_openssl.clear_errors();
    return 0;
}

/* Free a cipher, whose key the library overwrites. */
static void mpg_free_cipher(MpgCipher *cipher)
{
    mpg_openssl.free_context(cipher);
}

/* Write the sealed data and its tag to `out`; 0 for a negative size and when the library fails. As
 * after `mpg_open`, no error is left for the next who asks the library for one. */
static int mpg_seal(MpgCipher *cipher, const unsigned char *nonce, const unsigned char *header,
                    int header_size, const unsigned char *data, int size, unsigned char *out)
{
    int written;
    if (header_size < 0 || size < 0)
        return 0;
    if (mpg_openssl.init(cipher, NULL, NULL, nonce, 1) &&
        mpg_openssl.update(cipher, NULL, &written, header, header_size) &&
        mpg_openssl.update(cipher, out, &written, data, size) &&
        mpg_openssl.final(cipher, out + size, &written) &&
        mpg_openssl.control(cipher, MPG_GET_TAG, MPG_TAG_SIZE, out + size) > 0)
        return 1;
    mpg_openssl.clear_errors();
    return 0;
}

/* Write what is sealed in `data`, whose tag comes behind its `size` bytes, to `out`. 0 when the
 * tag does not verify: what was decrypted until then is overwritten (SP 800-38D section 7.2: only
 * FAIL is returned), and no error is left for the next who asks the library for one. */
static int mpg_open(MpgCipher *cipher, const unsigned char *nonce, const unsigned char *header,
                    int header_size, const unsigned char *data, int size, unsigned char *out)
{
    int written;
    if (header_size < 0 || size < 0)
        return 0;
    if (mpg_openssl.init(cipher, NULL, NULL, nonce, 0) &&
        mpg_openssl.update(cipher, NULL, &written, header, header_size) &&
        mpg_openssl.update(cipher, out, &written, data, size) &&
        mpg_openssl.control(cipher, MPG_SET_TAG, MPG_TAG_SIZE, (void *)(data + size)) > 0 &&
        mpg_openssl.final(cipher, out + size, &written))
        return 1;
    mpg_wipe(out, (size_t)size);
    mpg_openssl.clear_errors();
    return 0;
}
#endif
