# What a server looks at in a hello before it asks for a cookie.

cdef class HelloHeads:
    cdef bytes _audience, _start1, _end1
    cdef int _worker

    cdef tuple _read(
        self, const unsigned char *point, const unsigned char *next, const unsigned char *end
    )
