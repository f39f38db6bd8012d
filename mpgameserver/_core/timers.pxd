# Timers for many items, in one heap.

from libc.stdint cimport uint64_t

cdef struct Entry:
    double when
    uint64_t order             # of scheduling, to order entries with the same time

cdef class Timed:
    # An item that can have a timer, in one `Timers`.
    cdef readonly double due   # seconds; infinity without a timer

cdef class Timers:
    cdef Entry *_entries       # a binary heap; the items are in _items, which the
    cdef list _items           # garbage collector sees
    cdef Py_ssize_t _room
    cdef Py_ssize_t _count     # of the items that have a timer
    cdef uint64_t _arrivals

    cpdef void schedule(self, Timed item, double when) except *
    cpdef void cancel(self, Timed item) noexcept
    cpdef double next_time(self) except? -1.0
    cpdef Timed pop_due(self, double now)
    cdef int _push(self, Timed item, double when) except -1
    cdef int _pop(self) except -1
    cdef int _drop_stale(self) except -1
