# Big-endian integers in a buffer; the caller has checked that they fit.

from libc.stdint cimport uint16_t, uint32_t


cdef inline void put16(unsigned char *out, uint16_t value) noexcept nogil:
    out[0] = <unsigned char>(value >> 8)
    out[1] = <unsigned char>value


cdef inline void put32(unsigned char *out, uint32_t value) noexcept nogil:
    put16(out, <uint16_t>(value >> 16))
    put16(out + 2, <uint16_t>value)


cdef inline uint16_t get16(const unsigned char *data) noexcept nogil:
    return <uint16_t>((<uint32_t>data[0] << 8) | data[1])


cdef inline uint32_t get32(const unsigned char *data) noexcept nogil:
    return (<uint32_t>get16(data) << 16) | get16(data + 2)
