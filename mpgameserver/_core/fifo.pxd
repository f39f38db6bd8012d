# A queue of objects that is embedded in its owner: an empty one is a few zeros there.
#
# The garbage collector does not see what is in it: for objects that cannot be part of a cycle.
# Whoever owns one calls `queue_clear` in the end.

from cpython.object cimport PyObject
from libc.stdint cimport uint32_t

cdef struct Queue:
    PyObject **items       # a ring of `room` places, a power of two; NULL: of none
    uint32_t first, count, room

cdef inline object queue_front(const Queue *queue):
    # The first item, of a queue that has one.
    assert queue.count
    return <object>queue.items[queue.first]

cdef int queue_append(Queue *queue, object item) except -1
cdef object queue_pop(Queue *queue)
cdef list queue_pop_all(Queue *queue)
cdef void queue_clear(Queue *queue)

cdef class Fifo:
    # One that is an object.
    cdef Queue _queue
