# A queue of objects that is embedded in its owner; an empty one is a few zeros there.
#
# The garbage collector does not see its items, which therefore must not be able to form a cycle.
# The owner calls `queue_clear` when it is deallocated.

from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport uint32_t

cdef struct Queue:
    PyObject **items       # a ring of `room` places, a power of two; NULL if 0
    uint32_t first, count, room

cdef inline object queue_front(const Queue *queue):
    # The first item; the queue must not be empty.
    assert queue.count
    return <object>queue.items[queue.first]

cdef inline int queue_append(Queue *queue, object item) except -1:
    if queue.count == queue.room:
        queue_grow(queue)
    queue.items[(queue.first + queue.count) & (queue.room - 1)] = <PyObject *>item
    Py_INCREF(item)
    queue.count += 1
    return 0

cdef int queue_grow(Queue *queue) except -1
cdef object queue_pop(Queue *queue)
cdef list queue_pop_all(Queue *queue)
cdef void queue_clear(Queue *queue)

cdef class Fifo:
    # A queue that is a Python object.
    cdef Queue _queue
