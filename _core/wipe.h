/* Overwriting secrets: a memset that the compiler may not leave out, however dead the bytes are. It
 * cannot see which function the volatile pointer holds (OPENSSL_cleanse(3) does the same). */
#ifndef MPG_WIPE_H
#define MPG_WIPE_H
#include <string.h>

static void *(*const volatile mpg_memset)(void *, int, size_t) = memset;

static inline void mpg_wipe(void *data, size_t size)
{
    mpg_memset(data, 0, size);
}
#endif
